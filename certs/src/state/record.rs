//! Entries of the state.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use valise_proto::crypto::{KeyError, SealingPublicKey, VerifyingKey};
use valise_proto::directory::KeyEntry;
use valise_proto::id::{Digest, KeyId, SpiffeId, Timestamp};

use super::{KEY_LIFETIME, PublicKey, RevocationReason, Serial};
use crate::profile::Profile;
use crate::x509::BACKDATING;

/// Whether a member takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub enum Standing {
    /// It does.
    Active,
    /// It is listed, but neither sends nor receives, and what it signed from `since` on does not count.
    Suspended {
        /// From when.
        since: Timestamp,
    },
    /// It never will again: its certificates are on the revocation list. It stays listed for as long as something
    /// that it signed before `since` may be under way.
    Revoked {
        /// When that was decided.
        at: Timestamp,
        /// From when on what it signed does not count.
        since: Timestamp,
        /// Why.
        reason: RevocationReason,
    },
}

impl Standing {
    /// Whether it is a member still: it takes part, or may again.
    #[must_use]
    pub fn is_member(self) -> bool {
        match self {
            Self::Active | Self::Suspended { .. } => true,
            Self::Revoked { .. } => false,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "ACTIVE",
            Self::Suspended { .. } => "SUSPENDED",
            Self::Revoked { .. } => "REVOKED",
        })
    }
}

/// One agency.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgencyRecord {
    pub(crate) standing: Standing,
    pub(crate) profile: Profile,
    pub(crate) enrolled_at: Timestamp,
    /// The request its keys came with.
    pub(crate) request_digest: Digest,
    pub(crate) tls_key: Stored<VerifyingKey>,
    pub(crate) signing_key: KeyRecord<VerifyingKey>,
    pub(crate) sealing_key: KeyRecord<SealingPublicKey>,
    /// Signing keys of former times, newest first: what was signed with them then still counts.
    pub(crate) former_signing_keys: Vec<KeyRecord<VerifyingKey>>,
    /// Sealing keys of former times, newest first, which peers may still seal to for a while.
    pub(crate) former_sealing_keys: Vec<KeyRecord<SealingPublicKey>>,
    /// Of the certificate in force.
    pub(crate) serial: Serial,
    /// The certificate in force, DER.
    pub(crate) certificate: Hex,
    /// The last renewal it asked for and got.
    pub(crate) granted: Option<Granted>,
}

impl AgencyRecord {
    pub(crate) fn key_ids(&self) -> Vec<KeyId> {
        let mut ids = vec![self.tls_key.0.key_id()];
        ids.extend(self.signing_keys().map(|record| record.key.0.key_id()));
        ids.extend(self.sealing_keys().map(|record| record.key.0.key_id()));
        ids
    }

    /// The signing key of now, then those of former times.
    pub(crate) fn signing_keys(&self) -> impl Iterator<Item = &KeyRecord<VerifyingKey>> {
        std::iter::once(&self.signing_key).chain(&self.former_signing_keys)
    }

    /// The sealing key of now, then those of former times.
    pub(crate) fn sealing_keys(&self) -> impl Iterator<Item = &KeyRecord<SealingPublicKey>> {
        std::iter::once(&self.sealing_key).chain(&self.former_sealing_keys)
    }
}

/// A renewal that was granted: no request that is older is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Granted {
    /// Of the request.
    pub(crate) digest: Digest,
    /// When the request was made, by the agency's clock.
    pub(crate) created_at: Timestamp,
}

/// One broker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BrokerRecord {
    pub(crate) standing: Standing,
    pub(crate) issued_at: Timestamp,
    pub(crate) endpoints: Vec<String>,
    pub(crate) tls_key: Stored<VerifyingKey>,
    /// Oldest first.
    pub(crate) receipt_keys: Vec<KeyRecord<VerifyingKey>>,
    /// Of the newest certificate.
    pub(crate) serial: Serial,
}

impl BrokerRecord {
    pub(crate) fn key_ids(&self) -> Vec<KeyId> {
        let receipt = self.receipt_keys.iter().map(|record| record.key.0.key_id());
        std::iter::once(self.tls_key.0.key_id()).chain(receipt).collect()
    }
}

/// One certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateRecord {
    pub(crate) holder: SpiffeId,
    /// Its public key's name; not noted for the first ones.
    #[serde(default)]
    pub(crate) tls_key: Option<KeyId>,
    /// The issuing authority's certificate.
    pub(crate) issuer: Serial,
    pub(crate) issued_at: Timestamp,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) revoked: Option<Revoked>,
}

/// When and why a certificate was revoked.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revoked {
    /// When that was decided.
    pub(crate) at: Timestamp,
    /// From when on its key may have been in other hands.
    pub(crate) since: Timestamp,
    pub(crate) reason: RevocationReason,
}

/// A publication: its numbers, and until when it counts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublishedRecord {
    pub(crate) version: u64,
    pub(crate) directory_not_after: Timestamp,
    pub(crate) crl_number: u64,
    pub(crate) crls_not_after: Timestamp,
}

/// A public key and when it counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound = "K: PublicKey")]
pub(crate) struct KeyRecord<K> {
    pub(crate) key: Stored<K>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

impl<K: Clone> KeyRecord<K> {
    /// A key that counts from now on; a little earlier, for nodes whose clocks are behind.
    pub(crate) fn new(key: K, now: Timestamp) -> Self {
        let backdating = u64::try_from(BACKDATING.as_millis()).unwrap_or(u64::MAX);
        let not_before = Timestamp::from_millis(now.millis().saturating_sub(backdating));
        Self { key: Stored(key), not_before, not_after: now.plus(KEY_LIFETIME) }
    }

    pub(crate) fn extend(&mut self, now: Timestamp) {
        self.not_after = self.not_after.max(now.plus(KEY_LIFETIME));
    }

    /// Lets the key count until `end` and no longer.
    pub(crate) fn end_at(&mut self, end: Timestamp) {
        self.not_after = self.not_after.min(end);
    }

    pub(crate) fn to_entry(&self, name: impl Fn(&K) -> KeyId) -> KeyEntry<K> {
        KeyEntry {
            key_id: name(&self.key.0),
            key: self.key.0.clone(),
            not_before: self.not_before,
            not_after: self.not_after,
        }
    }
}

/// A public key as hexadecimal text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored<K>(pub(crate) K);

impl<K: PublicKey> Serialize for Stored<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0.to_vec()))
    }
}

impl<'de, K: PublicKey> Deserialize<'de> for Stored<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Hex(bytes) = Hex::deserialize(deserializer)?;
        K::from_slice(&bytes).map(Self).map_err(serde::de::Error::custom)
    }
}

impl PublicKey for VerifyingKey {
    fn to_vec(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_slice(bytes: &[u8]) -> Result<Self, KeyError> {
        Self::from_bytes(bytes)
    }
}

impl PublicKey for SealingPublicKey {
    fn to_vec(&self) -> Vec<u8> {
        self.to_bytes()
    }

    fn from_slice(bytes: &[u8]) -> Result<Self, KeyError> {
        Self::from_bytes(bytes)
    }
}

/// Bytes as hexadecimal text.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hex({} bytes)", self.0.len())
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex::decode(String::deserialize(deserializer)?).map(Self).map_err(serde::de::Error::custom)
    }
}
