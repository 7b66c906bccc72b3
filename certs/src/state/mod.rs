//! What the authority has issued and decided: everything that must outlive the process.
//!
//! `file` keeps it; `record` are its entries; `listing` is what the directory says of them. A change is made on a copy, which takes the place of what is held
//! only once it is on stable storage; so a failure at any point leaves the authority as it was.

mod file;
mod listing;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use valise_proto::crypto::{KeyError, VerifyingKey};
use valise_proto::id::{AgencyId, BrokerName, IdError, KeyId, Role, SpiffeId, Timestamp, TrustDomain};
use valise_proto::label::PolicyId;

pub use file::StateError;
pub(crate) use file::{Kept, encode, load, save};
pub(crate) use listing::{is_sealed_to, is_verified_with};
pub use record::Standing;
pub(crate) use record::{
    AgencyRecord, BrokerRecord, CertificateRecord, Granted, Hex, KeyRecord, PublishedRecord, Revoked, Stored,
};

use crate::journal::Head;
use crate::x509::{Period, RevokedSerial};

/// How long a signing or sealing key counts in the directory from enrolment or renewal on: 2 years.
pub const KEY_LIFETIME: Duration = Duration::from_secs(730 * 24 * 60 * 60);
/// How long an expired certificate stays on revocation lists. RFC 5280 section 3.3 asks for one list more.
const REVOKED_AFTER_EXPIRY: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The number of a certificate: 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial([u8; 16]);

impl Serial {
    /// How many bytes it has.
    pub const LEN: usize = 16;

    pub(crate) fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes, big-endian.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl FromStr for Serial {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0; Self::LEN];
        let bad = |_| IdError::Hex { value: text.chars().take(64).collect(), expected: Self::LEN };
        hex::decode_to_slice(text, &mut bytes).map_err(bad)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Serial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Serial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a member was revoked (RFC 5280 section 5.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RevocationReason {
    /// Not told.
    #[default]
    Unspecified,
    /// Somebody else may hold a private key.
    KeyCompromise,
    /// Another certificate takes its place.
    Superseded,
    /// The member no longer exists or takes part.
    CessationOfOperation,
    /// The member may no longer take part.
    PrivilegeWithdrawn,
}

impl RevocationReason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// The word in commands and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "UNSPECIFIED",
            Self::KeyCompromise => "KEY_COMPROMISE",
            Self::Superseded => "SUPERSEDED",
            Self::CessationOfOperation => "CESSATION_OF_OPERATION",
            Self::PrivilegeWithdrawn => "PRIVILEGE_WITHDRAWN",
        }
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RevocationReason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = || Self::ALL.map(Self::as_str).join(", ");
        let word = text.to_ascii_uppercase().replace('-', "_");
        let found = Self::ALL.into_iter().find(|reason| reason.as_str() == word);
        found.ok_or_else(|| format!("`{text}` is not a reason: use one of {}", allowed()))
    }
}

/// Everything the authority remembers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) policy: PolicyId,
    pub(crate) founded_at: Timestamp,
    pub(crate) root_key: Stored<VerifyingKey>,
    pub(crate) directory_key: Stored<VerifyingKey>,
    /// Of the delegation that named this directory key first: it lay beside the issuing keys of that one and of all
    /// that came after it.
    #[serde(default)]
    pub(crate) directory_key_generation: u64,
    /// The last line of the journal.
    pub(crate) journal: Head,
    /// An encoded, signed delegation.
    pub(crate) delegation: Hex,
    /// DER.
    pub(crate) root_certificate: Hex,
    /// DER.
    pub(crate) issuing_certificate: Hex,
    pub(crate) issuing_serial: Serial,
    /// Issuing authorities of former times, whose certificates are out yet.
    pub(crate) former_issuing: BTreeMap<Serial, FormerIssuing>,
    /// Every number that the root gives is higher: a restored authority knows not how far the root has gone.
    pub(crate) root_floor: u64,
    /// Of the last directory signed.
    pub(crate) directory_version: u64,
    /// The root's revocation list, which lasts from one ceremony to the next.
    pub(crate) root_list: RootList,
    /// Of the last revocation list of the issuing authority.
    pub(crate) crl_number: u64,
    /// What was published last; bundles, which carry a directory too, do not count.
    #[serde(default)]
    pub(crate) published: Option<PublishedRecord>,
    pub(crate) agencies: BTreeMap<AgencyId, AgencyRecord>,
    pub(crate) brokers: BTreeMap<BrokerName, BrokerRecord>,
    /// Every certificate the issuing authority ever made.
    pub(crate) certificates: BTreeMap<Serial, CertificateRecord>,
    /// Keys of revoked members, which nobody may bring again.
    pub(crate) retired_keys: BTreeSet<KeyId>,
}

/// An issuing authority of former times.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FormerIssuing {
    /// DER.
    pub(crate) certificate: Hex,
    /// When the last certificate it issued runs out. Until then it signs the list of those revoked.
    pub(crate) until: Timestamp,
    /// Whether the root revoked it, and with it all it issued.
    pub(crate) revoked: Option<Revoked>,
}

/// The root's list of issuing authorities that were revoked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RootList {
    /// DER.
    pub(crate) der: Hex,
    pub(crate) number: u64,
    pub(crate) this_update: Timestamp,
    pub(crate) next_update: Timestamp,
}

/// Who has a key already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyHolder {
    Member(Role),
    Retired,
}

impl State {
    /// A serial that no certificate has.
    pub(crate) fn fresh_serial(&self) -> Serial {
        loop {
            let serial = Serial::draw();
            if !self.certificates.contains_key(&serial) {
                return serial;
            }
        }
    }

    /// Notes a certificate, which must happen before it leaves.
    pub(crate) fn note_certificate(
        &mut self,
        serial: Serial,
        (holder, tls_key): (&SpiffeId, &VerifyingKey),
        period: Period,
        now: Timestamp,
    ) {
        let record = CertificateRecord {
            holder: holder.clone(),
            tls_key: Some(tls_key.key_id()),
            issuer: self.issuing_serial,
            issued_at: now,
            not_before: period.not_before,
            not_after: period.not_after,
            revoked: None,
        };
        self.certificates.insert(serial, record);
    }

    /// The certificates that this state has and an earlier one had not.
    pub(crate) fn issued_since(&self, earlier: &Self) -> Vec<Serial> {
        let new = self.certificates.keys().filter(|serial| !earlier.certificates.contains_key(serial));
        let issuing = (self.issuing_serial != earlier.issuing_serial).then_some(self.issuing_serial);
        new.copied().chain(issuing).collect()
    }

    /// Every certificate on record, those of issuing authorities among them.
    pub(crate) fn serials(&self) -> impl Iterator<Item = Serial> {
        let issuing = self.former_issuing.keys().chain([&self.issuing_serial]);
        self.certificates.keys().chain(issuing).copied()
    }

    /// The certificate, DER, of the authority that issued this one.
    pub(crate) fn issuer_of(&self, serial: Serial) -> Bytes {
        let issuer = self.certificates.get(&serial).map(|record| record.issuer);
        let former = issuer.and_then(|issuer| self.former_issuing.get(&issuer));
        let certificate = former.map_or(&self.issuing_certificate, |former| &former.certificate);
        Bytes::copy_from_slice(&certificate.0)
    }

    /// Whether the root revoked the authority that issued this certificate.
    pub(crate) fn issuer_is_revoked(&self, serial: Serial) -> bool {
        let issuer = self.certificates.get(&serial).map(|record| record.issuer);
        let former = issuer.and_then(|issuer| self.former_issuing.get(&issuer));
        former.is_some_and(|former| former.revoked.is_some())
    }

    /// Puts every certificate of `holder` that still counts on the revocation list. For those put there at that same
    /// moment before, when they may have been in other hands is corrected.
    pub(crate) fn revoke_certificates(&mut self, holder: &SpiffeId, revoked: Revoked) {
        let of_holder = self.certificates.values_mut().filter(|certificate| certificate.holder == *holder);
        let meant = |known: Option<Revoked>| known.is_none_or(|known| known.at == revoked.at);
        for certificate in of_holder.filter(|certificate| meant(certificate.revoked)) {
            certificate.revoked = Some(revoked);
        }
    }

    /// What a revocation list of `now` holds, of the issuing authority with this certificate.
    pub(crate) fn revoked(&self, issuer: Serial, now: Timestamp) -> Vec<RevokedSerial> {
        let listed = self.certificates.iter().filter(|(_, record)| {
            record.issuer == issuer && record.not_after.plus(REVOKED_AFTER_EXPIRY) >= now
        });
        let entry = |(serial, record): (&Serial, &CertificateRecord)| {
            let Revoked { at, since, reason } = record.revoked?;
            Some(RevokedSerial { serial: *serial, at, since, reason })
        };
        listed.filter_map(entry).collect()
    }

    /// Who has this key.
    pub(crate) fn key_holder(&self, key: KeyId) -> Option<KeyHolder> {
        if self.retired_keys.contains(&key) {
            return Some(KeyHolder::Retired);
        }
        let agency = self.agencies.iter().find(|(_, record)| record.key_ids().contains(&key));
        let broker = || self.brokers.iter().find(|(_, record)| record.key_ids().contains(&key));
        let role = agency
            .map(|(id, _)| Role::Agency(id.clone()))
            .or_else(|| broker().map(|(name, _)| Role::Broker(name.clone())));
        role.map(KeyHolder::Member)
    }
}

/// Keys that are kept as hexadecimal text.
pub(crate) trait PublicKey: Sized {
    fn to_vec(&self) -> Vec<u8>;
    fn from_slice(bytes: &[u8]) -> Result<Self, KeyError>;
}
