//! Renewal: an agency that is enrolled asks for a new certificate, and may bring new keys.
//!
//! Claimed: nobody but the holder of an agency's signing key of now can have its certificate renewed or its keys
//! exchanged, and nobody can have a TLS or signing key listed that they do not hold. The request is signed with the
//! current signing key; the signing key it brings signs it too, and the certificate request in it is signed with the
//! TLS key. For the sealing key the agency's own signature vouches: nothing sealed to a key that the agency does not
//! hold can be opened by anybody else for that, and the authority lists no key that another agency has. A request
//! carries nothing secret, so it may pass through anybody's hands.

use bytes::Bytes;
use thiserror::Error;

use crate::crypto::{SealingPublicKey, Signature, SigningKey, VerifyingKey, context, fingerprint, sha256};
use crate::directory::AgencyEntry;
use crate::enrolment::{EnrolmentError, armour, unarmour};
use crate::id::{AgencyId, Digest, KeyId, Timestamp, TrustDomain};
use crate::wire::{self, Signed, WireError};

/// PEM label (RFC 7468) of a renewal request.
pub const RENEWAL_PEM_LABEL: &str = "VALISE RENEWAL REQUEST";
/// Largest encoded renewal request, in bytes: it must fit the first frame of a stream.
pub const RENEWAL_BYTES_MAX: usize = 3 * 1024;

/// Why a renewal request is not to be acted upon.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RenewalError {
    /// Cannot be read.
    #[error("the renewal request cannot be read: {0}")]
    Malformed(#[from] WireError),
    /// The key it brings did not sign it.
    #[error(
        "the renewal request is not signed with the signing key it brings, or was altered after it was signed"
    )]
    NoPossession,
    /// Signed by a key that is not the agency's at this time.
    #[error("the renewal request is signed with key {key}, which is not the signing key of {agency} at {at}")]
    UnknownKey {
        /// The agency it is for.
        agency: AgencyId,
        /// The key named by the signature.
        key: KeyId,
        /// The time for which it was looked up.
        at: Timestamp,
    },
    /// The signature does not verify.
    #[error("the renewal request's signature does not verify: it was altered, or another agency made it")]
    BadSignature,
}

/// What an agency asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalRequest {
    /// The exchange.
    pub trust_domain: TrustDomain,
    /// The agency.
    pub agency: AgencyId,
    /// PKCS#10 request of its TLS key from now on, DER.
    pub csr_der: Bytes,
    /// Its signing key from now on.
    pub signing_key: VerifyingKey,
    /// Its sealing key from now on.
    pub sealing_key: SealingPublicKey,
    /// When it was made. An authority takes none that is older than the last it granted.
    pub created_at: Timestamp,
}

impl RenewalRequest {
    /// Signs it with the signing key of now and with the one it brings; they may be the same.
    #[must_use]
    pub fn sign(self, current: &SigningKey, brought: &SigningKey) -> SignedRenewalRequest {
        let signed = Signed::sign(context::RENEWAL_REQUEST, wire::renewal::encode(&self), current);
        let possession = brought.sign(context::RENEWAL_POSSESSION, &signed.body);
        SignedRenewalRequest { request: self, signed, possession }
    }
}

/// A renewal request that the key it brings has signed. Whether the agency's key of now did, [`verify_by`] tells.
///
/// [`verify_by`]: SignedRenewalRequest::verify_by
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRenewalRequest {
    request: RenewalRequest,
    signed: Signed,
    possession: Signature,
}

impl SignedRenewalRequest {
    /// The text form, for files carried by hand.
    #[must_use]
    pub fn to_pem(&self) -> String {
        armour(RENEWAL_PEM_LABEL, &self.encode())
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`EnrolmentError::Pem`] where it is no such text; [`RenewalError`] inside it otherwise.
    pub fn from_pem(text: &str) -> Result<Self, EnrolmentError> {
        Ok(Self::decode(unarmour(RENEWAL_PEM_LABEL, text)?)?)
    }

    /// The protobuf message `SignedRenewalRequest`.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        wire::renewal::encode_signed(&self.signed, &self.possession)
    }

    /// Reads the protobuf message `SignedRenewalRequest` and checks possession of the signing key it brings.
    ///
    /// # Errors
    /// [`RenewalError::Malformed`] or [`RenewalError::NoPossession`].
    pub fn decode(bytes: Bytes) -> Result<Self, RenewalError> {
        let (signed, possession) = wire::renewal::decode_signed(bytes)?;
        let request = wire::renewal::decode(signed.body.clone())?;
        let possessed = request.signing_key.verify(context::RENEWAL_POSSESSION, &signed.body, &possession);
        possessed.map_err(|_| RenewalError::NoPossession)?;
        Ok(Self { request, signed, possession })
    }

    /// Checks that the newest signing key which `entry` lists, and which counts at `now`, signed it. A former one that is
    /// still listed does not do: it may be former because it was stolen. Whether the agency takes part is for the caller
    /// to check.
    ///
    /// # Errors
    /// [`RenewalError::UnknownKey`] or [`RenewalError::BadSignature`].
    pub fn verify_by(&self, entry: &AgencyEntry, now: Timestamp) -> Result<(), RenewalError> {
        let key_id = self.signed.signature.key_id;
        let newest = entry.newest_signing_key().filter(|_| entry.id == self.request.agency);
        let key = newest.filter(|key| key.key_id == key_id && key.is_valid_at(now));
        let unknown =
            || RenewalError::UnknownKey { agency: self.request.agency.clone(), key: key_id, at: now };
        self.verify_with(&key.ok_or_else(unknown)?.key)
    }

    /// Checks the signature under one key.
    ///
    /// # Errors
    /// [`RenewalError::BadSignature`].
    pub fn verify_with(&self, key: &VerifyingKey) -> Result<(), RenewalError> {
        self.signed.verify(context::RENEWAL_REQUEST, key).map_err(|_| RenewalError::BadSignature)
    }

    /// The key named by its signature.
    #[must_use]
    pub fn signed_by(&self) -> KeyId {
        self.signed.signature.key_id
    }

    /// What is asked for.
    #[must_use]
    pub fn request(&self) -> &RenewalRequest {
        &self.request
    }

    /// SHA-256 of the signed bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        sha256(&[&self.signed.body])
    }

    /// What people may compare.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.digest())
    }
}
