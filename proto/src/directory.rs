//! The directory: the authority's signed list of who may do what.
//!
//! Claimed: a node acts only on a directory that was signed for this exchange by an authority to which the root
//! delegated that, that grants no more than the delegation's ceiling, that has not expired and is not older than the one
//! it holds. A certificate says who a peer is; only this document says what the peer may do.
//! The signature is over the bytes as they came; [`Directory`] cannot be built without checking it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use crate::crypto::{SealingPublicKey, SigningKey, VerifyingKey, context};
use crate::delegation::{Delegation, DelegationError, SignedDelegation};
use crate::enrolment::Trust;
use crate::envelope::NoticeKind;
use crate::freshness::Urgency;
use crate::id::{AgencyId, BrokerName, KeyId, State, Timestamp, TrustDomain};
use crate::label::{AboveCeiling, Classification, Clearance, PolicyId};
use crate::wire::{self, Signed, WireError};

/// Most agencies in one directory.
pub const AGENCIES_MAX: usize = 1024;
/// Most brokers in one directory.
pub const BROKERS_MAX: usize = 64;
/// Most keys of one kind in one entry.
pub const KEYS_MAX: usize = 8;
/// Most endpoints of one broker.
pub const ENDPOINTS_MAX: usize = 8;
/// Longest display name or endpoint, in bytes.
pub const TEXT_BYTES_MAX: usize = 256;

/// Why a directory is not to be acted upon. The node keeps the one it holds.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DirectoryError {
    /// Not a directory.
    #[error("the directory cannot be read: {0}")]
    Malformed(#[from] WireError),
    /// Entries that contradict each other.
    #[error("the directory is not consistent: {0}")]
    Inconsistent(String),
    /// The delegation in it.
    #[error("{0}")]
    Delegation(#[from] DelegationError),
    /// Signed by somebody to whom the root delegated nothing.
    #[error("the directory is signed with key {0}, which is not the one that its delegation names")]
    UntrustedKey(KeyId),
    /// It grants more than the root lets this authority grant.
    #[error("directory version {version} grants {agency} more than its authority may: {above}")]
    AboveCeiling {
        /// Its version.
        version: u64,
        /// The agency.
        agency: AgencyId,
        /// What is too much.
        above: AboveCeiling,
    },
    /// The root's leave is over, or not begun.
    #[error(
        "the root's delegation to this authority counts from {not_before} to {not_after} (this node's clock: {now}); set the clock, or have the authority make a new one: valise-ca issuing renew"
    )]
    DelegationOver {
        /// When it began.
        not_before: Timestamp,
        /// When it ended.
        not_after: Timestamp,
        /// The clock it was compared with.
        now: Timestamp,
    },
    /// By an older delegation than the one held.
    #[error("the directory carries delegation {got} of the root; this node holds one of {held}")]
    DelegationRollback {
        /// The generation held.
        held: u64,
        /// The generation offered.
        got: u64,
    },
    /// The signature does not verify.
    #[error("the directory's signature does not verify under key {0}")]
    BadSignature(KeyId),
    /// Of another exchange.
    #[error("the directory is of trust domain {got}; this node belongs to {expected}")]
    TrustDomain {
        /// This node's.
        expected: TrustDomain,
        /// The directory's.
        got: TrustDomain,
    },
    /// Past its time.
    #[error(
        "directory version {version} expired at {expires_at} (issued at {issued_at}{}; this node's clock: {now}); fetch a newer one: valise-ca publish", and_grace(.grace)
    )]
    Expired {
        /// Its version.
        version: u64,
        /// When it was signed.
        issued_at: Timestamp,
        /// When it expired.
        expires_at: Timestamp,
        /// How much longer this node went by it.
        grace: Duration,
        /// The clock it was compared with.
        now: Timestamp,
    },
    /// From the future.
    #[error(
        "directory version {version} was issued at {issued_at}, ahead of this node's clock {now}; set the clock"
    )]
    NotYetValid {
        /// Its version.
        version: u64,
        /// When it was issued.
        issued_at: Timestamp,
        /// The clock it was compared with.
        now: Timestamp,
    },
    /// Older than the one held.
    #[error("directory version {got} is older than version {held}, which this node holds")]
    Rollback {
        /// The version held.
        held: u64,
        /// The version offered.
        got: u64,
    },
    /// Another document under the version held.
    #[error(
        "two different directories carry version {0}: the authority's state was forked or restored; publish again with a higher version"
    )]
    Fork(u64),
}

/// How an error tells of a grace, where there was one.
fn and_grace(grace: &Duration) -> String {
    if grace.is_zero() { String::new() } else { format!("; a grace of {} s is over too", grace.as_secs()) }
}

/// What an agency does (it guides whom to address at home; it grants nothing).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Function {
    /// Police and prosecution services.
    LawEnforcement,
    /// Border guards and immigration.
    Border,
    /// Customs.
    Customs,
    /// Intelligence and security services.
    Intelligence,
    /// Armed forces.
    Military,
    /// Courts.
    Judicial,
    /// International organisations.
    International,
}

impl Function {
    /// Every function.
    pub const ALL: [Self; 7] = [
        Self::LawEnforcement,
        Self::Border,
        Self::Customs,
        Self::Intelligence,
        Self::Military,
        Self::Judicial,
        Self::International,
    ];

    /// The word in commands and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LawEnforcement => "LAW_ENFORCEMENT",
            Self::Border => "BORDER",
            Self::Customs => "CUSTOMS",
            Self::Intelligence => "INTELLIGENCE",
            Self::Military => "MILITARY",
            Self::Judicial => "JUDICIAL",
            Self::International => "INTERNATIONAL",
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Function {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = || Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|function| function.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is not a function: use one of {}", allowed()))
    }
}

/// Whether an agency takes part at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgencyStatus {
    /// It does.
    Active,
    /// It neither sends nor receives, and what it signed from `since` on does not count.
    Suspended {
        /// From when.
        since: Timestamp,
    },
    /// It never will again; what it signed before `since` still counts.
    Revoked {
        /// From when.
        since: Timestamp,
    },
}

impl AgencyStatus {
    /// Whether it takes part.
    #[must_use]
    pub fn is_active(self) -> bool {
        match self {
            Self::Active => true,
            Self::Suspended { .. } | Self::Revoked { .. } => false,
        }
    }

    /// From when on what it signs does not count.
    #[must_use]
    pub fn ended_at(self) -> Option<Timestamp> {
        match self {
            Self::Active => None,
            Self::Suspended { since } | Self::Revoked { since } => Some(since),
        }
    }
}

impl fmt::Display for AgencyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "ACTIVE",
            Self::Suspended { .. } => "SUSPENDED",
            Self::Revoked { .. } => "REVOKED",
        })
    }
}

/// A public key and when what was made with it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry<K> {
    /// Its name.
    pub key_id: KeyId,
    /// The key.
    pub key: K,
    /// First moment at which it counts.
    pub not_before: Timestamp,
    /// Last moment at which it counts.
    pub not_after: Timestamp,
}

impl<K> KeyEntry<K> {
    /// Whether something made at `at` with this key counts.
    #[must_use]
    pub fn is_valid_at(&self, at: Timestamp) -> bool {
        self.not_before <= at && at <= self.not_after
    }
}

/// What an agency may originate. RECEIPT is always allowed and not listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origination {
    /// Kinds of notice.
    pub kinds: BTreeSet<NoticeKind>,
    /// Classifications of portions.
    pub classifications: BTreeSet<Classification>,
}

/// One agency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgencyEntry {
    /// Its id.
    pub id: AgencyId,
    /// Its name for people.
    pub display_name: String,
    /// What it does.
    pub functions: BTreeSet<Function>,
    /// What it may see.
    pub clearance: Clearance,
    /// What it may send.
    pub origination: Origination,
    /// Whether paragraph-3 notices for its State go to it.
    pub contact_point: bool,
    /// Keys its envelopes and receipts are verified with.
    pub signing_keys: Vec<KeyEntry<VerifyingKey>>,
    /// Keys that portion keys are wrapped to.
    pub sealing_keys: Vec<KeyEntry<SealingPublicKey>>,
    /// Whether it takes part.
    pub status: AgencyStatus,
}

impl AgencyEntry {
    /// The signing key of this name, if what it signed at `at` counts: within the key's time, and before the agency was
    /// suspended or revoked.
    #[must_use]
    pub fn signing_key_at(&self, key_id: KeyId, at: Timestamp) -> Option<&KeyEntry<VerifyingKey>> {
        let before_the_end = self.status.ended_at().is_none_or(|end| at < end);
        let counts = |key: &&KeyEntry<VerifyingKey>| key.key_id == key_id && key.is_valid_at(at);
        self.signing_keys.iter().filter(|_| before_the_end).find(counts)
    }

    /// The sealing key to use at `now`: the one that counts longest.
    #[must_use]
    pub fn sealing_key_at(&self, now: Timestamp) -> Option<&KeyEntry<SealingPublicKey>> {
        self.sealing_keys.iter().filter(|key| key.is_valid_at(now)).max_by_key(|key| key.not_after)
    }
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerEntry {
    /// Its name.
    pub name: BrokerName,
    /// `host:port` or `[v6]:port`.
    pub endpoints: Vec<String>,
    /// Keys its receipts are verified with.
    pub receipt_keys: Vec<KeyEntry<VerifyingKey>>,
}

/// What a directory says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryContent {
    /// The exchange.
    pub trust_domain: TrustDomain,
    /// The one policy of its labels and clearances.
    pub policy: PolicyId,
    /// Strictly rising.
    pub version: u64,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// When it stops counting.
    pub expires_at: Timestamp,
    /// The agencies by id.
    pub agencies: BTreeMap<AgencyId, AgencyEntry>,
    /// The brokers by name.
    pub brokers: BTreeMap<BrokerName, BrokerEntry>,
    /// By whose leave, and within which ceiling.
    pub delegation: SignedDelegation,
}

impl DirectoryContent {
    /// Checks what no single field can show.
    ///
    /// # Errors
    /// [`DirectoryError::Inconsistent`].
    pub fn check(&self) -> Result<(), DirectoryError> {
        if self.version == 0 || self.expires_at <= self.issued_at {
            return Err(inconsistent("the version must be above 0 and expires_at after issued_at"));
        }
        let mut contact_points = BTreeSet::new();
        let mut signing_keys = BTreeSet::new();
        for entry in self.agencies.values() {
            self.check_agency(entry)?;
            if entry.contact_point && !contact_points.insert(entry.id.state()) {
                return Err(inconsistent(format!("{} has two contact points", entry.id.state())));
            }
            if let Some(key) = entry.signing_keys.iter().find(|key| !signing_keys.insert(key.key_id)) {
                return Err(inconsistent(format!("signing key {} stands at two agencies", key.key_id)));
            }
        }
        Ok(())
    }

    fn check_agency(&self, entry: &AgencyEntry) -> Result<(), DirectoryError> {
        let AgencyEntry { id, clearance, origination, .. } = entry;
        if clearance.policy != self.policy {
            let sentence =
                format!("the clearance of {id} is of policy {}, not {}", clearance.policy, self.policy);
            return Err(inconsistent(sentence));
        }
        if !clearance.class_list.contains(&Classification::Unclassified) {
            return Err(inconsistent(format!("{id} is not cleared for UNCLASSIFIED, which receipts are")));
        }
        if entry.contact_point && matches!(entry.status, AgencyStatus::Revoked { .. }) {
            return Err(inconsistent(format!("{id} is a contact point and revoked")));
        }
        let ceiling = &self.delegation.delegation().ceiling;
        let within = ceiling.check(id.state(), clearance, &origination.classifications);
        let (version, agency) = (self.version, id.clone());
        within.map_err(|above| DirectoryError::AboveCeiling { version, agency, above })
    }

    /// Signs the directory with the authority's directory key.
    ///
    /// # Errors
    /// [`DirectoryError`] where it is not consistent or exceeds the limits.
    pub fn sign(&self, key: &SigningKey) -> Result<Directory, DirectoryError> {
        let signed = Signed::sign(context::DIRECTORY, wire::directory::encode(self), key);
        Directory::from_signed(signed)
    }
}

/// A directory whose signature was checked, with the bytes it came in.
#[derive(Clone, Debug)]
pub struct Directory {
    content: DirectoryContent,
    contact_points: BTreeMap<State, AgencyId>,
    encoded: Bytes,
    grace: Duration,
}

impl Directory {
    /// Reads a directory and checks that a root of `trust` delegated to the key that signed it. Freshness is for
    /// [`Directory::check_fresh`].
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn verify(bytes: Bytes, trust: &Trust) -> Result<Self, DirectoryError> {
        wire::check_directory_len(bytes.len())?;
        let signed = Signed::decode(bytes)?;
        let key_id = signed.signature.key_id;
        // Nothing else of the body is looked at before its signature was checked.
        let delegation = wire::directory::delegation_of(&signed.body)?;
        delegation.verify(trust)?;
        let key = &delegation.delegation().directory_key;
        if key.key_id() != key_id {
            return Err(DirectoryError::UntrustedKey(key_id));
        }
        signed.verify(context::DIRECTORY, key).map_err(|_| DirectoryError::BadSignature(key_id))?;
        let directory = Self::from_signed(signed)?;
        if directory.content.trust_domain != trust.trust_domain {
            return Err(DirectoryError::TrustDomain {
                expected: trust.trust_domain.clone(),
                got: directory.content.trust_domain,
            });
        }
        Ok(directory)
    }

    fn from_signed(signed: Signed) -> Result<Self, DirectoryError> {
        let encoded = signed.encode();
        wire::check_directory_len(encoded.len())?;
        let content = wire::directory::decode(signed.body)?;
        content.check()?;
        let contact_points = content
            .agencies
            .values()
            .filter(|entry| entry.contact_point)
            .map(|entry| (entry.id.state(), entry.id.clone()))
            .collect();
        Ok(Self { content, contact_points, encoded, grace: Duration::ZERO })
    }

    /// The same, to be gone by for `grace` beyond its end: for an exchange that would rather act on what is a little
    /// old than stand still.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// Whether it may be acted upon at `now`.
    ///
    /// # Errors
    /// [`DirectoryError::Expired`] once the grace is over too; more than five minutes ahead,
    /// [`DirectoryError::NotYetValid`]; [`DirectoryError::DelegationOver`].
    pub fn check_fresh(&self, now: Timestamp) -> Result<(), DirectoryError> {
        let DirectoryContent { version, issued_at, expires_at, .. } = self.content;
        let grace = self.grace;
        if now > expires_at.plus(grace) {
            return Err(DirectoryError::Expired { version, issued_at, expires_at, grace, now });
        }
        let ahead_max = wire::limits::Limits::DEFAULT.clock_ahead_max;
        if issued_at > now.plus(ahead_max) {
            return Err(DirectoryError::NotYetValid { version, issued_at, now });
        }
        let Delegation { not_before, not_after, .. } = *self.delegation();
        if not_before > now.plus(ahead_max) || now > not_after.plus(grace) {
            return Err(DirectoryError::DelegationOver { not_before, not_after, now });
        }
        Ok(())
    }

    /// How near its end is, without regard to any grace.
    #[must_use]
    pub fn urgency(&self, now: Timestamp) -> Urgency {
        Urgency::of(self.content.issued_at, self.content.expires_at, now)
    }

    /// Until when it is gone by: its end and the grace.
    #[must_use]
    pub fn counts_until(&self) -> Timestamp {
        self.content.expires_at.plus(self.grace).min(self.delegation().not_after.plus(self.grace))
    }

    /// By whose leave it was signed, and within which ceiling.
    #[must_use]
    pub fn delegation(&self) -> &Delegation {
        self.content.delegation.delegation()
    }

    /// Whether it may take the place of `held`. The same bytes again are no error.
    ///
    /// # Errors
    /// [`DirectoryError::Rollback`], [`DirectoryError::Fork`] or [`DirectoryError::DelegationRollback`].
    pub fn check_may_replace(&self, held: &Self) -> Result<(), DirectoryError> {
        let generations = (held.delegation().generation, self.delegation().generation);
        if generations.1 < generations.0 {
            return Err(DirectoryError::DelegationRollback { held: generations.0, got: generations.1 });
        }
        let (got, held_version) = (self.version(), held.version());
        if got < held_version {
            return Err(DirectoryError::Rollback { held: held_version, got });
        }
        if got == held_version && self.encoded != held.encoded {
            return Err(DirectoryError::Fork(got));
        }
        Ok(())
    }

    /// What it says.
    #[must_use]
    pub fn content(&self) -> &DirectoryContent {
        &self.content
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.content.version
    }

    /// The entry of an agency.
    #[must_use]
    pub fn agency(&self, id: &AgencyId) -> Option<&AgencyEntry> {
        self.content.agencies.get(id)
    }

    /// The entry of a broker.
    #[must_use]
    pub fn broker(&self, name: &BrokerName) -> Option<&BrokerEntry> {
        self.content.brokers.get(name)
    }

    /// The agency to which paragraph-3 notices for `state` go.
    #[must_use]
    pub fn contact_point(&self, state: State) -> Option<&AgencyId> {
        self.contact_points.get(&state)
    }

    /// The encoded `Signed`, as it is published.
    #[must_use]
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }
}

fn inconsistent(sentence: impl Into<String>) -> DirectoryError {
    DirectoryError::Inconsistent(sentence.into())
}
