//! The certificates that the authority published, so that agencies need nobody's hands to renew theirs.
//!
//! Claimed: an agency is given only a chain that every node of the exchange accepts at this moment, and only its own. It
//! holds because each leaf is verified by the anchors and revocation lists in force when the file is read, is found by
//! the identity it names, and is not served once it has expired. They are public data: what an agency does with one is
//! worth nothing without the private key, which never left it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::Duration;

use bytes::Bytes;
use rustls_pki_types::CertificateDer;
use valise_proto::crypto::sha256;
use valise_proto::directory::Directory;
use valise_proto::id::{AgencyId, Digest, Timestamp};
use valise_proto::renewal::RenewalRequest;
use valise_transport::{Anchors, CertificateError, Usage};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::files::{FileProblem, PEM_BYTES_MAX, read_problem};
use crate::config::Config;
use crate::folder;

/// PEM label of a certificate (RFC 7468 section 5).
const CERTIFICATE_PEM_LABEL: &str = "CERTIFICATE";
/// Most certificates of authorities in the file: with every agency's leaf each is tried.
const ISSUERS_MAX: usize = 16;
/// How much later than its certificate counts from a request may have been made: authorities date certificates back.
const BACKDATED_MAX: Duration = Duration::from_secs(60 * 60);

/// The newest chain of each agency.
#[derive(Debug, Default)]
pub struct Certificates {
    newest: HashMap<AgencyId, Published>,
    /// SHA-256 of the file, where each leaf of it verified: then it need not be read again for its own sake.
    settled: Option<Digest>,
}

/// A chain that verified when it was read.
#[derive(Debug)]
struct Published {
    /// DER, leaf first, without the root.
    chain: Vec<Bytes>,
    /// SHA-256 of the leaf.
    digest: Digest,
    /// The leaf's SubjectPublicKeyInfo, DER.
    public_key: Bytes,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// What is needed of a certificate of the file.
struct Parsed {
    subject: Vec<u8>,
    issuer: Vec<u8>,
    is_authority: bool,
    public_key: Bytes,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Certificates {
    /// Reads the published file. Where there is none, an older authority published, and there are no certificates. `None`
    /// where it is the one that `held` was read from and nothing can have changed: there are thousands of signatures in it.
    ///
    /// # Errors
    /// [`FileProblem`] where it is no list of certificates. One in it that does not verify is left out.
    pub(super) fn load(
        config: &Config,
        anchors: &Anchors,
        now: Timestamp,
        held: Option<&Self>,
    ) -> Result<Option<Self>, FileProblem> {
        let path = config.published_certificates();
        let text = match folder::read(&path, PEM_BYTES_MAX) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Self::default())),
            Err(error) => {
                return Err(read_problem(&path, error, "publish it and copy it here: valise-ca publish"));
            }
        };
        let digest = sha256(&[&text]);
        if held.and_then(|held| held.settled) == Some(digest) {
            return Ok(None);
        }
        let read = Self::parse(&text, digest, anchors, now);
        read.map(Some).map_err(|problem| FileProblem::Certificates { path, problem })
    }

    fn parse(text: &[u8], digest: Digest, anchors: &Anchors, now: Timestamp) -> Result<Self, String> {
        let blocks = pem::parse_many(text).map_err(|error| error.to_string())?;
        let (mut issuers, mut leaves) = (Vec::new(), Vec::new());
        for (index, block) in blocks.into_iter().enumerate() {
            if block.tag() != CERTIFICATE_PEM_LABEL {
                let tag = block.tag();
                return Err(format!(
                    "it holds a `{tag}`; only `{CERTIFICATE_PEM_LABEL}` blocks belong in it"
                ));
            }
            let der = Bytes::from(block.into_contents());
            let parsed = Parsed::read(&der).map_err(|problem| format!("certificate {index}: {problem}"))?;
            let list = if parsed.is_authority { &mut issuers } else { &mut leaves };
            list.push((parsed, der));
        }
        if issuers.len() > ISSUERS_MAX {
            return Err(format!(
                "it holds {} certificates of authorities, of {ISSUERS_MAX} at most",
                issuers.len()
            ));
        }
        let mut certificates = Self::default();
        let mut left_out = Vec::new();
        for (leaf, der) in leaves {
            match chain_of(&leaf, &der, &issuers, anchors, now) {
                Ok((agency, chain)) => certificates.add(agency, leaf, chain, &der),
                Err(problem) => left_out.push(problem),
            }
        }
        if let Some(first) = left_out.first() {
            let count = left_out.len();
            tracing::warn!(count, first, "published certificates that no node would accept are not served");
        } else {
            certificates.settled = Some(digest);
        }
        Ok(certificates)
    }

    fn add(&mut self, agency: AgencyId, leaf: Parsed, chain: Vec<Bytes>, der: &[u8]) {
        let Parsed { public_key, not_before, not_after, .. } = leaf;
        let key = |published: &Published| (published.not_before, published.not_after);
        if self.newest.get(&agency).is_some_and(|held| key(held) >= (not_before, not_after)) {
            return;
        }
        let digest = sha256(&[der]);
        self.newest.insert(agency, Published { chain, digest, public_key, not_before, not_after });
    }

    /// The newest chain of an agency, DER, leaf first, without the root; empty where there is none that counts.
    pub(super) fn chain(&self, agency: &AgencyId, now: Timestamp) -> Vec<Bytes> {
        let counts = |published: &&Published| now <= published.not_after;
        self.newest.get(agency).filter(counts).map(|published| published.chain.clone()).unwrap_or_default()
    }

    /// Whether lists that are about to come into force bear the signatures of the authorities whose certificates are
    /// served. Nothing else would show it before an agency is shut out.
    ///
    /// # Errors
    /// A sentence with the first that does not.
    pub(super) fn check_lists(&self, anchors: &Anchors, now: Timestamp) -> Result<(), String> {
        let mut seen = HashSet::new();
        for (agency, Published { chain, .. }) in &self.newest {
            if !seen.insert(chain.get(1)) {
                continue;
            }
            let ders: Vec<CertificateDer<'_>> =
                chain.iter().map(|der| CertificateDer::from(&der[..])).collect();
            if let Err(error @ CertificateError::Invalid(_)) = anchors.verify(&ders, Usage::Client, now) {
                return Err(format!("tried on the certificate of {agency}: {error}"));
            }
        }
        Ok(())
    }

    /// How many agencies have one.
    pub(super) fn len(&self) -> usize {
        self.newest.len()
    }

    /// Whether what is published here and in `directory` answers a renewal request: a certificate of its key, not much
    /// older than it, and the other keys it brings listed. Plain renewals keep the keys, so what was in force `before`
    /// bears them too, and nothing of it is news.
    pub(super) fn grants(
        &self,
        request: &RenewalRequest,
        directory: &Directory,
        before: (&Self, &Directory),
    ) -> bool {
        if !lists_keys_of(directory, request) {
            return false;
        }
        let (before, listed_before) = (before.0, lists_keys_of(before.1, request));
        let Some(published) = self.newest.get(&request.agency) else { return false };
        let known = before.newest.get(&request.agency).is_some_and(|held| held.digest == published.digest);
        let Ok((_, asked)) = X509CertificationRequest::from_der(&request.csr_der) else { return false };
        let asked = asked.certification_request_info.subject_pki.raw;
        let slack = if known && listed_before { Duration::ZERO } else { BACKDATED_MAX };
        *asked == *published.public_key && published.not_before.plus(slack) > request.created_at
    }
}

/// Whether the signing and the sealing key that a request brings are the agency's by this directory.
fn lists_keys_of(directory: &Directory, request: &RenewalRequest) -> bool {
    let (signing, sealing) = (request.signing_key.key_id(), request.sealing_key.key_id());
    directory.agency(&request.agency).is_some_and(|entry| {
        entry.signing_keys.iter().any(|key| key.key_id == signing)
            && entry.sealing_keys.iter().any(|key| key.key_id == sealing)
    })
}

/// Whose leaf it is, and the chain by which the nodes accept it.
fn chain_of(
    leaf: &Parsed,
    der: &Bytes,
    issuers: &[(Parsed, Bytes)],
    anchors: &Anchors,
    now: Timestamp,
) -> Result<(AgencyId, Vec<Bytes>), String> {
    // An authority that renewed its issuing certificate may have used its name again.
    let named = issuers.iter().filter(|(issuer, _)| issuer.subject == leaf.issuer);
    let below_root = named.filter(|(issuer, _)| issuer.subject != issuer.issuer);
    let with_issuer = below_root.map(|(_, issuer)| vec![der.clone(), issuer.clone()]);
    let alone = std::iter::once(vec![der.clone()]);
    let mut problem = None;
    for chain in with_issuer.chain(alone) {
        let ders: Vec<CertificateDer<'_>> = chain.iter().map(|der| CertificateDer::from(&der[..])).collect();
        match anchors.verify(&ders, Usage::Client, now) {
            Ok(identity) => {
                // The transport takes agencies only for clients.
                let agency = identity.as_agency().cloned();
                return agency
                    .map(|agency| (agency, chain))
                    .ok_or_else(|| format!("{identity} is no agency"));
            }
            Err(error) => problem = problem.or(Some(error.to_string())),
        }
    }
    Err(problem.unwrap_or_default())
}

impl Parsed {
    fn read(der: &[u8]) -> Result<Self, String> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        if !rest.is_empty() {
            return Err("bytes follow its end".to_owned());
        }
        let validity = certificate.validity();
        let time = |seconds: i64| {
            Timestamp::from_millis(u64::try_from(seconds).unwrap_or_default().saturating_mul(1000))
        };
        Ok(Self {
            subject: certificate.subject().as_raw().to_vec(),
            issuer: certificate.issuer().as_raw().to_vec(),
            is_authority: certificate.is_ca(),
            public_key: Bytes::copy_from_slice(certificate.public_key().raw),
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
        })
    }
}
