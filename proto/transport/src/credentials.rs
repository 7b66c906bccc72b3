//! Who this node is: a certificate chain and the private key of its leaf.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use valise_proto::id::{SpiffeId, Timestamp};

use crate::verify::{CertificateError, identity_of, validity_of};

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
    /// The key is not the leaf's.
    #[error("the private key does not belong to the certificate: {0}")]
    Mismatch(String),
}

/// A certificate chain and the private key of its leaf. `Debug` shows the identity and nothing more.
pub struct Credentials {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
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
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| bad_pem("private key", &error))?;
        Self::new(chain, key)
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, CredentialsError> {
        let leaf = chain.first().ok_or(CertificateError::NoCertificate)?;
        let identity = identity_of(leaf)?;
        let (not_before, not_after) = validity_of(leaf)?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let mismatch = |error: rustls::Error| CredentialsError::Mismatch(error.to_string());
        let certified = CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider).map_err(mismatch)?;
        certified.keys_match().map_err(mismatch)?;
        Ok(Self { chain, key, identity, not_before, not_after })
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
}

impl Clone for Credentials {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            identity: self.identity.clone(),
            not_before: self.not_before,
            not_after: self.not_after,
        }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.identity)
    }
}

fn bad_pem(what: &'static str, problem: &impl std::fmt::Display) -> CredentialsError {
    CredentialsError::Pem { what, problem: problem.to_string() }
}
