//! What the directory says of one agency or broker.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::crypto::{SealingPublicKey, VerifyingKey};
use crate::envelope::NoticeKind;
use crate::id::{AgencyId, BrokerName, KeyId, Timestamp};
use crate::label::{Classification, Clearance};

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

    /// The signing key of now, which alone speaks for the agency to the authority: of those listed the one that began
    /// last. Former keys stay listed for what was signed with them before.
    #[must_use]
    pub fn newest_signing_key(&self) -> Option<&KeyEntry<VerifyingKey>> {
        self.signing_keys.iter().max_by_key(|key| (key.not_before, key.not_after))
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
