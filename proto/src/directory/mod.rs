//! The directory: the authority's signed list of who may do what.
//!
//! Claimed: a node acts only on a directory that was signed for this exchange by an authority to which the root
//! delegated that, that grants no more than the delegation's ceiling, that has not expired and is not older than the one
//! it holds. A certificate says who a peer is; only this document says what the peer may do.
//! The signature is over the bytes as they came; [`Directory`] cannot be built without checking it.

mod entry;
mod error;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

pub use entry::{AgencyEntry, AgencyStatus, BrokerEntry, Function, KeyEntry, Origination};
pub use error::DirectoryError;

use crate::crypto::{SigningKey, context};
use crate::delegation::{Delegation, SignedDelegation};
use crate::enrolment::Trust;
use crate::freshness::Urgency;
use crate::id::{AgencyId, BrokerName, State, Timestamp, TrustDomain};
use crate::label::{Classification, PolicyId};
use crate::wire::{self, Signed};
use error::inconsistent;

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
    /// Generations come before versions: whoever once had the directory key could have signed the highest version there
    /// is, and only the root can end that (the fast-forward attack of The Update Framework).
    ///
    /// # Errors
    /// [`DirectoryError::Rollback`], [`DirectoryError::Fork`] or [`DirectoryError::DelegationRollback`].
    pub fn check_may_replace(&self, held: &Self) -> Result<(), DirectoryError> {
        let generations = (held.delegation().generation, self.delegation().generation);
        if generations.1 < generations.0 {
            return Err(DirectoryError::DelegationRollback { held: generations.0, got: generations.1 });
        }
        if generations.1 > generations.0 {
            return Ok(());
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
