//! Enrolment: what passes by hand between an agency and the authority, and what it leaves behind.
//!
//! Claimed: an agency's private keys never leave it, and nobody can enrol keys they do not hold. The request is signed
//! with the signing key it carries and holds a CSR signed with the TLS key; the bundle holds a challenge sealed to the
//! sealing key, so an agency that lacks that key cannot join (the indirect method of RFC 4211 section 4). Two people
//! compare the request's and the bundle's fingerprints by telephone, which closes the gap that files carried by hand
//! leave open.

use bytes::Bytes;
use rand_core::CryptoRng;
use thiserror::Error;

use crate::crypto::{
    KeyError, Sealed, SealingKey, SealingPublicKey, SigningKey, VerifyingKey, context, fingerprint, sha256,
};
use crate::directory::{Directory, DirectoryError};
use crate::id::{AgencyId, Digest, SpiffeId, Timestamp, TrustDomain};
use crate::renewal::RenewalError;
use crate::wire::{self, Signed, WireError};

/// Largest enrolment request or bundle, encoded, in bytes.
pub const ENROLMENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// PEM label (RFC 7468) of an enrolment request.
pub const REQUEST_PEM_LABEL: &str = "VALISE ENROLMENT REQUEST";
/// PEM label of an enrolment bundle.
pub const BUNDLE_PEM_LABEL: &str = "VALISE ENROLMENT BUNDLE";
/// PEM label of roots of trust.
pub const TRUST_PEM_LABEL: &str = "VALISE TRUST";

/// Why an enrolment request or bundle is not to be acted upon.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EnrolmentError {
    /// Cannot be read.
    #[error("{0}")]
    Malformed(#[from] WireError),
    /// Not the PEM text it should be.
    #[error("this is not a `{expected}` file: {problem}")]
    Pem {
        /// The label it should have.
        expected: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The signature does not verify under the key it carries: altered since it was made.
    #[error("the {0} was altered after it was signed; have it sent again and compare the fingerprints")]
    Altered(&'static str),
    /// A key that cannot be used.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// The directory in a bundle.
    #[error("the bundle's directory is refused: {0}")]
    Directory(#[from] DirectoryError),
    /// A renewal request.
    #[error("{0}")]
    Renewal(#[from] RenewalError),
    /// The bundle answers another request than this agency's.
    #[error("the bundle answers another enrolment request than the one made here")]
    OtherRequest,
    /// The challenge does not open: the sealing key here is not the one enrolled.
    #[error("the bundle was made for another sealing key than the one in this folder")]
    OtherSealingKey,
}

/// The roots of trust of one exchange: what a node must be given by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The exchange.
    pub trust_domain: TrustDomain,
    /// Root certificates, DER.
    pub anchors: Vec<Bytes>,
    /// The roots' keys, which delegations are verified with.
    pub root_keys: Vec<VerifyingKey>,
}

impl Trust {
    /// The text form, for files carried by hand.
    #[must_use]
    pub fn to_pem(&self) -> String {
        armour(TRUST_PEM_LABEL, &self.encode())
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`EnrolmentError`].
    pub fn from_pem(text: &str) -> Result<Self, EnrolmentError> {
        Ok(Self::decode(unarmour(TRUST_PEM_LABEL, text)?)?)
    }

    /// The protobuf message `Trust`.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        wire::enrolment::encode_trust(self)
    }

    /// Reads the protobuf message `Trust`.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        wire::enrolment::decode_trust(bytes)
    }

    /// What two people compare by telephone.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&sha256(&[&self.encode()]))
    }
}

/// What an agency asks the authority to enrol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolmentRequest {
    /// The exchange it wants to join.
    pub trust_domain: TrustDomain,
    /// The id it asks for.
    pub agency: AgencyId,
    /// PKCS#10 request of its TLS key, DER.
    pub csr_der: Bytes,
    /// Its public signing key.
    pub signing_key: VerifyingKey,
    /// Its public sealing key.
    pub sealing_key: SealingPublicKey,
    /// When it was made.
    pub created_at: Timestamp,
}

impl EnrolmentRequest {
    /// Signs the request with the private half of `signing_key`.
    #[must_use]
    pub fn sign(self, key: &SigningKey) -> SignedEnrolmentRequest {
        let signed = Signed::sign(context::ENROLMENT_REQUEST, wire::enrolment::encode_request(&self), key);
        SignedEnrolmentRequest { request: self, signed }
    }
}

/// An enrolment request whose signature verifies under the key it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedEnrolmentRequest {
    request: EnrolmentRequest,
    signed: Signed,
}

impl SignedEnrolmentRequest {
    /// The text form, for files carried by hand.
    #[must_use]
    pub fn to_pem(&self) -> String {
        armour(REQUEST_PEM_LABEL, &self.encode())
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`EnrolmentError`].
    pub fn from_pem(text: &str) -> Result<Self, EnrolmentError> {
        Self::decode(unarmour(REQUEST_PEM_LABEL, text)?)
    }

    /// Reads an encoded request and checks its signature. The CSR is for the authority to check.
    ///
    /// # Errors
    /// [`EnrolmentError`].
    pub fn decode(bytes: Bytes) -> Result<Self, EnrolmentError> {
        let signed = Signed::decode(bytes)?;
        let request = wire::enrolment::decode_request(signed.body.clone())?;
        signed
            .verify(context::ENROLMENT_REQUEST, &request.signing_key)
            .map_err(|_| EnrolmentError::Altered("enrolment request"))?;
        Ok(Self { request, signed })
    }

    /// The encoded `Signed`.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.signed.encode()
    }

    /// What is asked for.
    #[must_use]
    pub fn request(&self) -> &EnrolmentRequest {
        &self.request
    }

    /// SHA-256 of the signed bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        sha256(&[&self.signed.body])
    }

    /// What two people compare by telephone.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.digest())
    }
}

/// A random value sealed to an agency's sealing key, and its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The sealed value.
    pub sealed: Sealed,
    /// SHA-256 of the value.
    pub sha256: Digest,
}

impl Challenge {
    /// Draws a value and seals it to `key`, bound to the request it answers.
    ///
    /// # Errors
    /// [`KeyError`] where the key cannot be used.
    pub fn new(
        key: &SealingPublicKey,
        request_digest: &Digest,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, KeyError> {
        let mut value = [0; 32];
        rng.fill_bytes(&mut value);
        let sealed = key.seal(context::CHALLENGE, request_digest.as_bytes(), &value, rng)?;
        Ok(Self { sealed, sha256: sha256(&[&value]) })
    }

    fn opens_with(&self, key: &SealingKey, request_digest: &Digest) -> bool {
        key.open(context::CHALLENGE, request_digest.as_bytes(), &self.sealed)
            .is_ok_and(|value| sha256(&[&value]) == self.sha256)
    }
}

/// The authority's answer to an enrolment request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolmentBundle {
    /// Who the agency is from now on.
    pub identity: SpiffeId,
    /// SHA-256 of the request this answers.
    pub request_digest: Digest,
    /// Certificates, DER, leaf first, without the root.
    pub chain: Vec<Bytes>,
    /// The roots of trust.
    pub trust: Trust,
    /// An encoded signed directory.
    pub directory: Bytes,
    /// Revocation lists, DER.
    pub crls: Vec<Bytes>,
    /// Opens only with the sealing key that was enrolled.
    pub challenge: Challenge,
}

impl EnrolmentBundle {
    /// Signs the bundle with the authority's directory key, which its directory must be signed with too.
    #[must_use]
    pub fn sign(self, key: &SigningKey) -> SignedEnrolmentBundle {
        let signed = Signed::sign(context::ENROLMENT_BUNDLE, wire::enrolment::encode_bundle(&self), key);
        SignedEnrolmentBundle { bundle: self, signed }
    }
}

/// A bundle whose signature verifies under the key that its own directory is signed with, by the roots of trust it
/// carries. That those roots are the authority's is for the fingerprint to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedEnrolmentBundle {
    bundle: EnrolmentBundle,
    signed: Signed,
}

impl SignedEnrolmentBundle {
    /// The text form, for files carried by hand.
    #[must_use]
    pub fn to_pem(&self) -> String {
        armour(BUNDLE_PEM_LABEL, &self.encode())
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`EnrolmentError`].
    pub fn from_pem(text: &str) -> Result<Self, EnrolmentError> {
        Self::decode(unarmour(BUNDLE_PEM_LABEL, text)?)
    }

    /// Reads an encoded bundle and checks its signature.
    ///
    /// # Errors
    /// [`EnrolmentError`].
    pub fn decode(bytes: Bytes) -> Result<Self, EnrolmentError> {
        let signed = Signed::decode(bytes)?;
        let bundle = wire::enrolment::decode_bundle(signed.body.clone())?;
        let altered = || EnrolmentError::Altered("enrolment bundle");
        let directory = Directory::verify(bundle.directory.clone(), &bundle.trust)?;
        let key = directory.delegation().directory_key;
        signed.verify(context::ENROLMENT_BUNDLE, &key).map_err(|_| altered())?;
        Ok(Self { bundle, signed })
    }

    /// The encoded `Signed`.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.signed.encode()
    }

    /// What it brings.
    #[must_use]
    pub fn bundle(&self) -> &EnrolmentBundle {
        &self.bundle
    }

    /// What two people compare by telephone.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&sha256(&[&self.signed.body]))
    }

    /// Checks that it answers `request` and that the challenge opens with `key`.
    ///
    /// # Errors
    /// [`EnrolmentError::OtherRequest`] or [`EnrolmentError::OtherSealingKey`].
    pub fn check_answers(
        &self,
        request: &SignedEnrolmentRequest,
        key: &SealingKey,
    ) -> Result<(), EnrolmentError> {
        let EnrolmentBundle { request_digest, identity, challenge, .. } = &self.bundle;
        let asked = SpiffeId::agency(request.request.trust_domain.clone(), request.request.agency.clone());
        if *request_digest != request.digest() || *identity != asked {
            return Err(EnrolmentError::OtherRequest);
        }
        if challenge.opens_with(key, request_digest) { Ok(()) } else { Err(EnrolmentError::OtherSealingKey) }
    }
}

pub(crate) fn armour(label: &'static str, bytes: &[u8]) -> String {
    pem::encode_config(
        &pem::Pem::new(label, bytes),
        pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
    )
}

pub(crate) fn unarmour(expected: &'static str, text: &str) -> Result<Bytes, EnrolmentError> {
    let bad = |problem: String| EnrolmentError::Pem { expected, problem };
    let found = pem::parse(text).map_err(|error| bad(error.to_string()))?;
    if found.tag() != expected {
        return Err(bad(format!("it is a `{}`", found.tag())));
    }
    Ok(Bytes::from(found.into_contents()))
}
