//! Who this node is: a certificate chain and the private key of its leaf.
//!
//! Claimed, against someone who reads this process's logs or its freed memory: the private key is in neither. The DER
//! text of the key is wiped as soon as the TLS library has taken it, every handshake uses that one copy, and `Debug`
//! shows the identity only. A chain that no peer would accept for what it says (no single SPIFFE identity, a key that
//! is not Ed25519 or not the leaf's) is refused here, before it replaces one that works.

use std::sync::Arc;

use aws_lc_rs::hmac;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use valise_proto::crypto::{context, sha256};
use valise_proto::id::{SpiffeId, Timestamp};
use zeroize::Zeroize;

use crate::error::CertificateError;
use crate::verify::{Anchors, Usage, parse};

/// Why credentials cannot be used. Nothing was changed; those in force stay in force.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// The PEM text cannot be read.
    #[error("the {what} is not a PEM file of the right kind: {problem}")]
    Pem {
        /// Certificate chain or private key.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The leaf is not usable as an identity.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] CertificateError),
    /// The key is not Ed25519, or not the leaf's.
    #[error("the private key does not belong to the certificate: {0}")]
    Mismatch(String),
}

/// A certificate chain and the private key of its leaf. `Debug` shows the identity and nothing more. Clones share both.
#[derive(Clone)]
pub struct Credentials {
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) restart: RestartKeys,
    identity: SpiffeId,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Credentials {
    /// Reads a chain (leaf first, without the root) and the leaf's private key (PKCS#8), both PEM.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn from_pem(chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, CredentialsError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_pem)
            .collect::<Result<_, _>>()
            .map_err(|error| bad_pem("certificate chain", &error))?;
        let mut key =
            PrivatePkcs8KeyDer::from_pem_slice(key_pem).map_err(|error| bad_pem("private key", &error))?;
        let credentials = Self::new(chain, &key);
        key.zeroize();
        credentials
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivatePkcs8KeyDer<'_>,
    ) -> Result<Self, CredentialsError> {
        let leaf = parse(chain.first().ok_or(CertificateError::NoCertificate)?)?;
        let identity = leaf.identity()?;
        let mismatch = |error: rustls::Error| CredentialsError::Mismatch(error.to_string());
        let restart = RestartKeys::of(key);
        let key = rustls::crypto::aws_lc_rs::sign::any_eddsa_type(key);
        let certified = CertifiedKey::new(chain, key.map_err(mismatch)?);
        certified.keys_match().map_err(mismatch)?;
        let (not_before, not_after) = (leaf.not_before, leaf.not_after);
        Ok(Self { certified: Arc::new(certified), restart, identity, not_before, not_after })
    }

    /// Who this node is.
    #[must_use]
    pub fn identity(&self) -> &SpiffeId {
        &self.identity
    }

    /// First moment at which the certificate counts.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Last moment at which the certificate counts.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Verifies this node's own chain for `usage` at `now`, as a peer that holds `anchors` would.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn verify(
        &self,
        anchors: &Anchors,
        usage: Usage,
        now: Timestamp,
    ) -> Result<SpiffeId, CertificateError> {
        anchors.verify(&self.certified.cert, usage, now)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.identity)
    }
}

/// What lets a server that was restarted tell peers of its former life that their connections are gone (RFC 9000 section
/// 10.3). Both follow from the private key, so they are the same after a restart and known to nobody else.
#[derive(Clone)]
pub(crate) struct RestartKeys {
    /// Makes the stateless reset tokens.
    pub(crate) reset: Arc<hmac::Key>,
    /// Marks the connection ids of this node. Not a secret of weight: it tells our packets from stray ones.
    pub(crate) connection_ids: u64,
}

impl RestartKeys {
    fn of(key: &PrivatePkcs8KeyDer<'_>) -> Self {
        let digest = sha256(&[context::STATELESS_RESET.as_bytes(), key.secret_pkcs8_der()]);
        let reset = Arc::new(hmac::Key::new(hmac::HMAC_SHA256, digest.as_bytes()));
        let tag = hmac::sign(&reset, b"connection ids");
        let connection_ids = tag.as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Self { reset, connection_ids }
    }
}

fn bad_pem(what: &'static str, problem: &impl std::fmt::Display) -> CredentialsError {
    CredentialsError::Pem { what, problem: problem.to_string() }
}
