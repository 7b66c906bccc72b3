//! The delegation: what the root lets one authority do.
//!
//! Claimed: whoever holds an authority's directory key can list agencies only of the States, and grant them only the
//! classifications, compartments and affiliations, that the holder of the root key decided on. It holds because every
//! directory carries the delegation, signed by the root (the roles of TUF, the constraints of RFC 5913), and no node
//! acts on a directory that another key signed or that grants more ([`crate::directory`]). The root is needed to make
//! a delegation and for nothing else, so it can lie in a safe.

use bytes::Bytes;
use thiserror::Error;

use crate::crypto::{SigningKey, VerifyingKey, context};
use crate::enrolment::Trust;
use crate::id::{KeyId, Timestamp, TrustDomain};
use crate::label::Ceiling;
use crate::wire::limits::DELEGATION_BYTES_MAX;
use crate::wire::{self, Signed, WireError, check_count};

/// Most former issuing CAs of one delegation: with the root and the present one they sign as many revocation lists as a
/// publication holds.
pub const FORMER_ISSUING_KEYS_MAX: usize = 14;

/// Why a delegation does not count.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DelegationError {
    /// Cannot be read.
    #[error("the delegation cannot be read: {0}")]
    Malformed(#[from] WireError),
    /// Signed by no root this node trusts.
    #[error("the delegation is signed with key {0}, which is not among the trusted root keys")]
    UntrustedKey(KeyId),
    /// The signature does not verify.
    #[error("the delegation's signature does not verify under root key {0}")]
    BadSignature(KeyId),
    /// Of another exchange.
    #[error("the delegation is of trust domain {got}; this node belongs to {expected}")]
    TrustDomain {
        /// This node's.
        expected: TrustDomain,
        /// The delegation's.
        got: TrustDomain,
    },
}

/// What the root lets one authority do, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// The exchange.
    pub trust_domain: TrustDomain,
    /// Rises with every delegation of this root; nodes take no lower one than they hold.
    pub generation: u64,
    /// The key that directories are signed with.
    pub directory_key: VerifyingKey,
    /// The key that the certificates of nodes are issued with.
    pub issuing_key: VerifyingKey,
    /// Keys of former issuing CAs, whose certificates still count and whose revocation lists are still signed; at most
    /// [`FORMER_ISSUING_KEYS_MAX`].
    pub former_issuing_keys: Vec<VerifyingKey>,
    /// The most it may grant.
    pub ceiling: Ceiling,
    /// First moment at which it counts.
    pub not_before: Timestamp,
    /// Last moment at which it counts.
    pub not_after: Timestamp,
}

impl Delegation {
    /// Every key but the root's that may sign a revocation list.
    pub fn list_keys(&self) -> impl Iterator<Item = &VerifyingKey> {
        std::iter::once(&self.issuing_key).chain(&self.former_issuing_keys)
    }

    /// Signs it with the root key.
    #[must_use]
    pub fn sign(self, root: &SigningKey) -> SignedDelegation {
        let signed = Signed::sign(context::DELEGATION, wire::delegation::encode(&self), root);
        SignedDelegation { delegation: self, signed }
    }
}

/// A delegation and the signature over exactly these bytes, which [`SignedDelegation::verify`] checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedDelegation {
    delegation: Delegation,
    signed: Signed,
}

impl SignedDelegation {
    /// Reads an encoded `Signed` delegation. The signature is not checked here.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        // It is read before anybody's signature was checked, so its length bounds the memory it takes.
        check_count("delegation", bytes.len(), DELEGATION_BYTES_MAX)?;
        let signed = Signed::decode(bytes)?;
        Ok(Self { delegation: wire::delegation::decode(signed.body.clone())?, signed })
    }

    /// The encoded `Signed`.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.signed.encode()
    }

    /// What it says.
    #[must_use]
    pub fn delegation(&self) -> &Delegation {
        &self.delegation
    }

    /// Checks that a root of `trust` signed it, for this exchange. Its time is for the directory to check.
    ///
    /// # Errors
    /// [`DelegationError`].
    pub fn verify(&self, trust: &Trust) -> Result<(), DelegationError> {
        let key_id = self.signed.signature.key_id;
        let root = trust.root_keys.iter().find(|key| key.key_id() == key_id);
        let root = root.ok_or(DelegationError::UntrustedKey(key_id))?;
        let verified = self.signed.verify(context::DELEGATION, root);
        verified.map_err(|_| DelegationError::BadSignature(key_id))?;
        let got = &self.delegation.trust_domain;
        if *got == trust.trust_domain {
            return Ok(());
        }
        Err(DelegationError::TrustDomain { expected: trust.trust_domain.clone(), got: got.clone() })
    }
}
