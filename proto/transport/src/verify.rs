//! Whom this node believes.
//!
//! Claimed, against anyone on the network: a connection is handed out only if its peer holds the private key of a
//! certificate that chains to one of our roots, is within its time, is not revoked by a list that is itself within
//! its time, and names exactly one SPIFFE identity of our trust domain in the part (agency or broker) that this end
//! expects. It holds because both sides' verifiers are this one function over webpki, the TLS handshake proves
//! possession of the key, revocation is checked for the whole chain, and an unknown or stale answer is a refusal (G12).

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};
use thiserror::Error;
use valise_proto::id::{Role, SpiffeId, Timestamp, TrustDomain};
use webpki::{CertRevocationList, ExpirationPolicy, OwnedCertRevocationList, RevocationCheckDepth, UnknownStatusPolicy};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Ed25519 only, for certificates, CRLs and handshakes alike.
static SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[webpki::aws_lc_rs::ED25519],
    mapping: &[(SignatureScheme::ED25519, &[webpki::aws_lc_rs::ED25519])],
};

/// Why a peer's certificate (or our own) is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// None was presented.
    #[error("no certificate was presented")]
    NoCertificate,
    /// Not a certificate that can be read.
    #[error("the certificate cannot be read: {0}")]
    Malformed(String),
    /// Chains to none of our roots.
    #[error("the certificate was issued by an authority this node does not trust; compare the trust anchors on both sides")]
    UnknownAuthority,
    /// Past its time.
    #[error("the certificate expired at {not_after} (this node's clock: {now}); renew it, or set the clock")]
    Expired {
        /// Its end.
        not_after: Timestamp,
        /// The clock it was compared with.
        now: Timestamp,
    },
    /// Before its time.
    #[error("the certificate counts only from {not_before} (this node's clock: {now}); set the clock")]
    NotYetValid {
        /// Its beginning.
        not_before: Timestamp,
        /// The clock it was compared with.
        now: Timestamp,
    },
    /// On a revocation list.
    #[error("the certificate, or the one that issued it, has been revoked")]
    Revoked,
    /// The list that would tell is stale.
    #[error("a revocation list ran out at {next_update} (this node's clock: {now}); publish a new one: valise-ca publish")]
    RevocationListExpired {
        /// When it ran out.
        next_update: Timestamp,
        /// The clock it was compared with.
        now: Timestamp,
    },
    /// No list covers the issuer.
    #[error("no revocation list covers the certificate's issuer; publish one: valise-ca publish")]
    RevocationUnknown,
    /// Not issued for this side of a connection.
    #[error("the certificate was not issued for {0}")]
    WrongUsage(Usage),
    /// Of another exchange.
    #[error("the certificate is of trust domain {got}; this node belongs to {expected}")]
    WrongTrustDomain {
        /// This node's.
        expected: TrustDomain,
        /// The certificate's.
        got: TrustDomain,
    },
    /// An agency where a broker is expected, the reverse, or another broker.
    #[error("the certificate is of {got}; {expected} is expected here")]
    WrongRole {
        /// Who is expected.
        expected: String,
        /// Who it is.
        got: SpiffeId,
    },
    /// Not an X.509-SVID.
    #[error("the certificate is not an X.509-SVID: {0}")]
    NotSpiffe(String),
    /// Anything else webpki found.
    #[error("the certificate chain is not valid: {0}")]
    Invalid(String),
}

/// Which side of a connection a certificate is used on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// By the side that connects: agencies.
    Client,
    /// By the side that listens: brokers.
    Server,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "TLS client authentication",
            Self::Server => "TLS server authentication",
        })
    }
}

/// Why trust anchors or revocation lists cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AnchorsError {
    /// No root.
    #[error("there is no trust anchor: install the authority's trust.pem")]
    None,
    /// A root that cannot be read.
    #[error("trust anchor {index} cannot be read: {problem}")]
    Anchor {
        /// Which, from 0.
        index: usize,
        /// What is wrong.
        problem: String,
    },
    /// A revocation list that cannot be read.
    #[error("revocation list {index} cannot be read: {problem}")]
    Crl {
        /// Which, from 0.
        index: usize,
        /// What is wrong.
        problem: String,
    },
}

/// What a revocation list says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Who issued it (RFC 4514 name).
    pub issuer: String,
    /// Its CRL number, big-endian (RFC 5280 section 5.2.3).
    pub number: Vec<u8>,
    /// When it was issued.
    pub this_update: Timestamp,
    /// When it runs out.
    pub next_update: Timestamp,
}

/// The roots, revocation lists and trust domain by which peers are judged.
pub struct Anchors {
    trust_domain: TrustDomain,
    roots: Vec<TrustAnchor<'static>>,
    crls: Vec<CertRevocationList<'static>>,
    revocations: Vec<Revocation>,
}

impl Anchors {
    /// Reads DER roots and CRLs.
    ///
    /// # Errors
    /// [`AnchorsError`].
    pub fn new<B: AsRef<[u8]>>(trust_domain: TrustDomain, roots: &[B], crls: &[B]) -> Result<Self, AnchorsError> {
        if roots.is_empty() {
            return Err(AnchorsError::None);
        }
        let read_root = |(index, der): (usize, &B)| {
            let der = CertificateDer::from(der.as_ref());
            let anchor = webpki::anchor_from_trusted_cert(&der).map(|anchor| anchor.to_owned());
            anchor.map_err(|error| AnchorsError::Anchor { index, problem: error.to_string() })
        };
        let read_crl = |(index, der): (usize, &B)| {
            let bad = |problem: String| AnchorsError::Crl { index, problem };
            let revocation = read_revocation(der.as_ref()).map_err(bad)?;
            let crl = OwnedCertRevocationList::from_der(der.as_ref()).map_err(|error| bad(error.to_string()))?;
            Ok((CertRevocationList::from(crl), revocation))
        };
        let lists: Vec<_> = crls.iter().enumerate().map(read_crl).collect::<Result<_, _>>()?;
        let (crls, revocations) = lists.into_iter().unzip();
        Ok(Self {
            trust_domain,
            roots: roots.iter().enumerate().map(read_root).collect::<Result<_, _>>()?,
            crls,
            revocations,
        })
    }

    /// What the revocation lists say of themselves.
    #[must_use]
    pub fn revocations(&self) -> &[Revocation] {
        &self.revocations
    }

    /// Verifies a chain (leaf first) for `usage` at `now` and returns who it names. Possession of the key is not shown
    /// by this; the handshake does that.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn verify(&self, chain: &[CertificateDer<'_>], usage: Usage, now: Timestamp) -> Result<SpiffeId, CertificateError> {
        let (leaf, intermediates) = chain.split_first().ok_or(CertificateError::NoCertificate)?;
        self.verify_path(leaf, intermediates, usage, now)?;
        let identity = identity_of(leaf)?;
        if identity.trust_domain != self.trust_domain {
            return Err(CertificateError::WrongTrustDomain {
                expected: self.trust_domain.clone(),
                got: identity.trust_domain,
            });
        }
        let (expected, right) = match usage {
            Usage::Client => ("an agency", matches!(identity.role, Role::Agency(_))),
            Usage::Server => ("a broker", matches!(identity.role, Role::Broker(_))),
        };
        if right { Ok(identity) } else { Err(CertificateError::WrongRole { expected: expected.to_owned(), got: identity }) }
    }

    fn verify_path(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: Usage,
        now: Timestamp,
    ) -> Result<(), CertificateError> {
        let end_entity = webpki::EndEntityCert::try_from(leaf).map_err(|error| certificate_error(&error, usage, now))?;
        let crls: Vec<&CertRevocationList<'_>> = self.crls.iter().collect();
        let revocation = webpki::RevocationOptionsBuilder::new(&crls)
            .map_err(|_| CertificateError::RevocationUnknown)?
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build();
        let key_usage = match usage {
            Usage::Client => webpki::KeyUsage::client_auth(),
            Usage::Server => webpki::KeyUsage::server_auth(),
        };
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_millis(now.millis()));
        end_entity
            .verify_for_usage(SIGNATURES.all, &self.roots, intermediates, time, key_usage, Some(revocation), None)
            .map(|_| ())
            .map_err(|error| certificate_error(&error, usage, now))
    }
}

impl fmt::Debug for Anchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Anchors({}, {} roots, {} CRLs)", self.trust_domain, self.roots.len(), self.crls.len())
    }
}

fn certificate_error(error: &webpki::Error, usage: Usage, now: Timestamp) -> CertificateError {
    use webpki::Error;
    // webpki's own enum is marked non-exhaustive, so a last arm is needed.
    match error {
        Error::UnknownIssuer => CertificateError::UnknownAuthority,
        Error::CertExpired { not_after, .. } => CertificateError::Expired { not_after: timestamp(*not_after), now },
        Error::CertNotValidYet { not_before, .. } => {
            CertificateError::NotYetValid { not_before: timestamp(*not_before), now }
        }
        Error::CertRevoked => CertificateError::Revoked,
        Error::CrlExpired { next_update, .. } => {
            CertificateError::RevocationListExpired { next_update: timestamp(*next_update), now }
        }
        Error::UnknownRevocationStatus => CertificateError::RevocationUnknown,
        Error::RequiredEkuNotFoundContext(_) => CertificateError::WrongUsage(usage),
        other => CertificateError::Invalid(other.to_string()),
    }
}

fn timestamp(time: UnixTime) -> Timestamp {
    Timestamp::from_millis(time.as_secs().saturating_mul(1000))
}

fn parse(der: &CertificateDer<'_>) -> Result<Parsed, CertificateError> {
    let malformed = |error: String| CertificateError::Malformed(error);
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| malformed(error.to_string()))?;
    let names = certificate.subject_alternative_name().map_err(|error| malformed(error.to_string()))?;
    let uris = names.map(|names| {
        let uri = |name: &GeneralName<'_>| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        };
        names.value.general_names.iter().map(uri).collect()
    });
    let validity = certificate.validity();
    let millis = |seconds: i64| Timestamp::from_millis(u64::try_from(seconds).unwrap_or_default().saturating_mul(1000));
    Ok(Parsed {
        names: uris.unwrap_or_default(),
        not_before: millis(validity.not_before.timestamp()),
        not_after: millis(validity.not_after.timestamp()),
    })
}

struct Parsed {
    /// Each subject alternative name; `None` for one that is not a URI.
    names: Vec<Option<String>>,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// The one SPIFFE identity a leaf names (SPIFFE X509-SVID section 2).
pub(crate) fn identity_of(leaf: &CertificateDer<'_>) -> Result<SpiffeId, CertificateError> {
    match parse(leaf)?.names.as_slice() {
        [Some(uri)] => uri.parse().map_err(|error: valise_proto::id::IdError| CertificateError::NotSpiffe(error.to_string())),
        names => {
            let sentence = format!("it has {} subject alternative names; exactly one URI is needed", names.len());
            Err(CertificateError::NotSpiffe(sentence))
        }
    }
}

pub(crate) fn validity_of(leaf: &CertificateDer<'_>) -> Result<(Timestamp, Timestamp), CertificateError> {
    parse(leaf).map(|parsed| (parsed.not_before, parsed.not_after))
}

fn read_revocation(der: &[u8]) -> Result<Revocation, String> {
    let (_, crl) = x509_parser::revocation_list::CertificateRevocationList::from_der(der).map_err(|e| e.to_string())?;
    let millis = |seconds: i64| Timestamp::from_millis(u64::try_from(seconds).unwrap_or_default().saturating_mul(1000));
    let next_update = crl.next_update().ok_or("it has no nextUpdate")?;
    Ok(Revocation {
        issuer: crl.issuer().to_string(),
        number: crl.crl_number().map(|number| number.to_bytes_be()).unwrap_or_default(),
        this_update: millis(crl.last_update().timestamp()),
        next_update: millis(next_update.timestamp()),
    })
}

/// rustls' view of [`Anchors`].
#[derive(Debug)]
pub(crate) struct Verifier {
    anchors: Arc<Anchors>,
    /// Only this peer, when connecting.
    expected: Option<SpiffeId>,
    /// Why the last certificate was not accepted: rustls passes it on as text only.
    refused: std::sync::Mutex<Option<CertificateError>>,
}

impl Verifier {
    pub(crate) fn new(anchors: Arc<Anchors>, expected: Option<SpiffeId>) -> Self {
        Self { anchors, expected, refused: std::sync::Mutex::new(None) }
    }

    pub(crate) fn take_refused(&self) -> Option<CertificateError> {
        self.refused.lock().ok()?.take()
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: Usage,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let chain: Vec<CertificateDer<'_>> = std::iter::once(leaf).chain(intermediates).cloned().collect();
        let result = self.anchors.verify(&chain, usage, timestamp(now)).and_then(|identity| match &self.expected {
            Some(expected) if *expected != identity => {
                Err(CertificateError::WrongRole { expected: expected.to_string(), got: identity })
            }
            Some(_) | None => Ok(()),
        });
        result.map_err(|error| {
            let refusal = rustls::CertificateError::Other(OtherError(Arc::new(error.clone())));
            if let Ok(mut refused) = self.refused.lock() {
                *refused = Some(error);
            }
            rustls::Error::InvalidCertificate(refusal)
        })
    }
}

/// TLS 1.2 is not offered, so its signatures never come.
fn no_tls12() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, Usage::Server, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &SIGNATURES)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SIGNATURES.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, Usage::Client, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &SIGNATURES)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SIGNATURES.supported_schemes()
    }
}
