//! Whom this node believes.
//!
//! Claimed, against anyone on the network: a connection is handed out only if its peer holds the private key of a
//! certificate that chains to one of our roots, is within its time, is not revoked by a list that is itself within
//! its time, and names exactly one SPIFFE identity of our trust domain in the part (agency or broker) that this end
//! expects. It holds because both sides' verifiers are this one function over webpki, the TLS handshake proves
//! possession of the key, revocation is checked for the whole chain, and an unknown or stale answer is a refusal (G12).
//!
//! A wrong clock is the other way to be cheated: set back, it would let an expired certificate or a list from before a
//! revocation pass. Nothing here can know the time, but a revocation list dated after now shows that the clock is wrong
//! or the list is, and is a refusal too. Of several lists of one issuer only the newest is kept: webpki would use
//! whichever comes first, and so whoever orders them could hide a revocation behind an older list.

use std::fmt;
use std::time::Duration;

use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use valise_proto::crypto::VerifyingKey;
use valise_proto::id::{IdError, Role, SpiffeId, Timestamp, TrustDomain};
use webpki::{CertRevocationList, ExpirationPolicy, RevocationCheckDepth, UnknownStatusPolicy};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::error::{AnchorsError, CertificateError};
use crate::lists::{self, List, Revocation, from_seconds, newest_of_each_issuer};

/// Ed25519 only, for certificates, CRLs and handshakes alike.
pub(crate) static SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[webpki::aws_lc_rs::ED25519],
    mapping: &[(SignatureScheme::ED25519, &[webpki::aws_lc_rs::ED25519])],
};
/// The algorithm of a leaf's key (RFC 8410).
const ED25519_OID: &str = "1.3.101.112";
/// How far ahead of this node's clock a revocation list may be dated: clocks differ a little.
const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(5 * 60);

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

/// The roots, revocation lists and trust domain by which peers are judged.
pub struct Anchors {
    trust_domain: TrustDomain,
    roots: Vec<TrustAnchor<'static>>,
    lists: Vec<List>,
    /// What they say of themselves, in the same order.
    revocations: Vec<Revocation>,
    grace: Duration,
}

impl Anchors {
    /// Reads DER roots and CRLs. Of several lists of one issuer the newest counts.
    ///
    /// # Errors
    /// [`AnchorsError`].
    pub fn new<B: AsRef<[u8]>>(
        trust_domain: TrustDomain,
        roots: &[B],
        crls: &[B],
    ) -> Result<Self, AnchorsError> {
        if roots.is_empty() {
            return Err(AnchorsError::None);
        }
        let read_root = |(index, der): (usize, &B)| {
            let der = CertificateDer::from(der.as_ref());
            let anchor = webpki::anchor_from_trusted_cert(&der).map(|anchor| anchor.to_owned());
            anchor.map_err(|error| AnchorsError::Anchor { index, problem: error.to_string() })
        };
        let read_crl = |(index, der): (usize, &B)| {
            List::read(der.as_ref()).map_err(|problem| AnchorsError::Crl { index, problem })
        };
        let lists = newest_of_each_issuer(crls.iter().enumerate().map(read_crl).collect::<Result<_, _>>()?);
        Ok(Self {
            trust_domain,
            roots: roots.iter().enumerate().map(read_root).collect::<Result<_, _>>()?,
            revocations: lists.iter().map(|list| list.says.clone()).collect(),
            lists,
            grace: Duration::ZERO,
        })
    }

    /// The same, with revocation lists gone by for `grace` beyond their end: for an exchange that would rather act on
    /// lists that are a little old than stand still.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// How long revocation lists are gone by beyond their end.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// What the revocation lists that count say of themselves, ordered by issuer.
    #[must_use]
    pub fn revocations(&self) -> &[Revocation] {
        &self.revocations
    }

    /// Checks that every revocation list is signed by one of the roots or with one of `issuing` keys: those that the
    /// root delegated to. A list of anybody else would push aside the issuer's own.
    ///
    /// # Errors
    /// [`AnchorsError::Signature`] with the first that is not.
    pub fn check_lists(&self, issuing: &[VerifyingKey]) -> Result<(), AnchorsError> {
        let foreign = self.lists.iter().find(|list| {
            let roots = self.roots.iter().filter_map(lists::key_of);
            !list.is_signed_by(roots) && !list.is_signed_by(issuing.iter().map(lists::bytes_of))
        });
        if let Some(list) = foreign {
            return Err(AnchorsError::Signature { issuer: list.says.issuer.clone() });
        }
        self.check_one_list_each(issuing)
    }

    /// Checks that none of these keys, and no root, signed two lists: an issuing CA has one name, and a list of it under
    /// another's would push that one's own aside.
    ///
    /// # Errors
    /// [`AnchorsError::SecondList`].
    pub fn check_one_list_each(&self, issuing: &[VerifyingKey]) -> Result<(), AnchorsError> {
        let roots = self.roots.iter().filter_map(lists::key_of);
        for key in roots.chain(issuing.iter().map(lists::bytes_of)) {
            let mut signed = self.lists.iter().filter(|list| list.is_signed_by(std::iter::once(key)));
            if let (Some(one), Some(other)) = (signed.next(), signed.next()) {
                let (one, other) = (one.says.issuer.clone(), other.says.issuer.clone());
                return Err(AnchorsError::SecondList { one, other });
            }
        }
        Ok(())
    }

    /// Verifies a chain (leaf first) for `usage` at `now` and returns who it names. Possession of the key is not shown
    /// by this; the handshake does that.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        usage: Usage,
        now: Timestamp,
    ) -> Result<SpiffeId, CertificateError> {
        let (leaf, intermediates) = chain.split_first().ok_or(CertificateError::NoCertificate)?;
        self.verify_dates(now)?;
        self.verify_path(leaf, intermediates, usage, now)?;
        let leaf = parse(leaf)?;
        // webpki takes a leaf that says nothing of its usage for one that may be used for anything.
        if !leaf.is_for(usage) {
            return Err(CertificateError::WrongUsage(usage));
        }
        let identity = leaf.identity()?;
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
        if right {
            Ok(identity)
        } else {
            Err(CertificateError::WrongRole { expected: expected.to_owned(), got: identity })
        }
    }

    /// webpki refuses a list that has run out, but takes one from the future.
    fn verify_dates(&self, now: Timestamp) -> Result<(), CertificateError> {
        let latest = now.plus(CLOCK_AHEAD_MAX);
        match self.revocations.iter().find(|revocation| revocation.this_update > latest) {
            Some(Revocation { issuer, this_update, .. }) => {
                Err(CertificateError::RevocationListNotYetValid {
                    issuer: issuer.clone(),
                    this_update: *this_update,
                    now,
                })
            }
            None => Ok(()),
        }
    }

    /// Only where a list has run out, and no longer ago than the grace, webpki is asked again without regard to the
    /// ends of lists; each list that it may then use was looked at here.
    fn verify_path(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: Usage,
        now: Timestamp,
    ) -> Result<(), CertificateError> {
        let end_entity =
            webpki::EndEntityCert::try_from(leaf).map_err(|error| self.refusal(&error, usage, now))?;
        match self.walk(&end_entity, intermediates, usage, now, ExpirationPolicy::Enforce) {
            Err(webpki::Error::CrlExpired { next_update, .. })
                if now <= timestamp(next_update).plus(self.grace) =>
            {
                for certificate in std::iter::once(leaf).chain(intermediates) {
                    self.check_within_grace(&parse(certificate)?.issuer, now)?;
                }
                self.walk(&end_entity, intermediates, usage, now, ExpirationPolicy::Ignore)
            }
            walked => walked,
        }
        .map_err(|error| self.refusal(&error, usage, now))
    }

    fn walk(
        &self,
        end_entity: &webpki::EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: Usage,
        now: Timestamp,
        expiration: ExpirationPolicy,
    ) -> Result<(), webpki::Error> {
        let crls: Vec<&CertRevocationList<'_>> = self.lists.iter().map(|list| &list.usable).collect();
        let revocation = webpki::RevocationOptionsBuilder::new(&crls)
            .map_err(|_| webpki::Error::UnknownRevocationStatus)?
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(expiration)
            .build();
        let key_usage = match usage {
            Usage::Client => webpki::KeyUsage::client_auth(),
            Usage::Server => webpki::KeyUsage::server_auth(),
        };
        let time = UnixTime::since_unix_epoch(Duration::from_millis(now.millis()));
        let roots = &self.roots;
        let walked = end_entity.verify_for_usage(
            SIGNATURES.all,
            roots,
            intermediates,
            time,
            key_usage,
            Some(revocation),
            None,
        );
        walked.map(|_| ())
    }

    fn check_within_grace(&self, issuer: &str, now: Timestamp) -> Result<(), CertificateError> {
        let mut of_issuer = self.revocations.iter().filter(|list| list.issuer == issuer);
        of_issuer.find_map(|list| list.run_out(self.grace, now)).map_or(Ok(()), Err)
    }

    fn refusal(&self, error: &webpki::Error, usage: Usage, now: Timestamp) -> CertificateError {
        let webpki::Error::CrlExpired { next_update, .. } = error else {
            return certificate_error(error, usage, now);
        };
        let end = timestamp(*next_update);
        let mut ending = self.revocations.iter().filter(|list| list.next_update == end);
        let run_out = ending.find_map(|list| list.run_out(self.grace, now));
        run_out.unwrap_or_else(|| certificate_error(error, usage, now))
    }
}

impl fmt::Debug for Anchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Anchors({}, {} roots, {} CRLs)", self.trust_domain, self.roots.len(), self.lists.len())
    }
}

fn certificate_error(error: &webpki::Error, usage: Usage, now: Timestamp) -> CertificateError {
    use webpki::Error;
    // webpki's own enum is marked non-exhaustive, so a last arm is needed.
    match error {
        // Under our authority's name, but not by its key: an authority that was made anew, or someone who poses as it.
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => CertificateError::UnknownAuthority,
        Error::CertExpired { not_after, .. } => {
            CertificateError::Expired { not_after: timestamp(*not_after), now }
        }
        Error::CertNotValidYet { not_before, .. } => {
            CertificateError::NotYetValid { not_before: timestamp(*not_before), now }
        }
        Error::CertRevoked => CertificateError::Revoked,
        Error::UnknownRevocationStatus => CertificateError::RevocationUnknown,
        Error::RequiredEkuNotFoundContext(_) => CertificateError::WrongUsage(usage),
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
        | Error::UnsupportedCrlSignatureAlgorithmContext(_)
        | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => CertificateError::WrongAlgorithm,
        other => CertificateError::Invalid(other.to_string()),
    }
}

pub(crate) fn timestamp(time: UnixTime) -> Timestamp {
    Timestamp::from_millis(time.as_secs().saturating_mul(1000))
}

pub(crate) fn parse(der: &CertificateDer<'_>) -> Result<Parsed, CertificateError> {
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
    let usages = certificate.extended_key_usage().map_err(|error| malformed(error.to_string()))?;
    let validity = certificate.validity();
    Ok(Parsed {
        issuer: certificate.issuer().to_string(),
        client: usages.as_ref().is_some_and(|usages| usages.value.client_auth),
        server: usages.as_ref().is_some_and(|usages| usages.value.server_auth),
        names: uris.unwrap_or_default(),
        ed25519: certificate.public_key().algorithm.algorithm.to_id_string() == ED25519_OID,
        not_before: from_seconds(validity.not_before.timestamp()),
        not_after: from_seconds(validity.not_after.timestamp()),
    })
}

/// What a leaf says, whether or not anyone vouches for it.
pub(crate) struct Parsed {
    /// Each subject alternative name; `None` for one that is not a URI.
    names: Vec<Option<String>>,
    issuer: String,
    client: bool,
    server: bool,
    ed25519: bool,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

impl Parsed {
    fn is_for(&self, usage: Usage) -> bool {
        match usage {
            Usage::Client => self.client,
            Usage::Server => self.server,
        }
    }

    /// The one SPIFFE identity it names (SPIFFE X509-SVID section 2), if its key is one we take.
    pub(crate) fn identity(&self) -> Result<SpiffeId, CertificateError> {
        if !self.ed25519 {
            return Err(CertificateError::WrongAlgorithm);
        }
        match self.names.as_slice() {
            [Some(uri)] => {
                uri.parse().map_err(|error: IdError| CertificateError::NotSpiffe(error.to_string()))
            }
            names => {
                let count = names.len();
                let sentence = format!("it has {count} subject alternative names; exactly one URI is needed");
                Err(CertificateError::NotSpiffe(sentence))
            }
        }
    }
}
