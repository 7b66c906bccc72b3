//! The files a broker acts by: its certificate and keys, the roots of trust, and what the authority published.
//!
//! Claimed: nothing is acted upon that the authority did not sign, that has run out, or that is older than what this
//! broker acted upon before, even where the files were exchanged while it was stopped (G12). It holds because each
//! loader below checks its file alone, [`NodeFiles::load`] checks them against each other, and what is in force is
//! kept in the data folder ([`Held`]) before it comes into force.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use thiserror::Error;
use valise_proto::crypto::{KeyError, SigningKey, VerifyingKey, sha256};
use valise_proto::directory::{Directory, DirectoryError};
use valise_proto::enrolment::{EnrolmentError, Trust};
use valise_proto::id::{BrokerName, KeyId, SpiffeId, Timestamp};
use valise_proto::wire::limits::{DIRECTORY_BYTES_MAX, PUBLICATION_BYTES_MAX};
use valise_proto::wire::session::{Publication, SessionFrame};
use valise_transport::{
    Anchors, AnchorsError, CertificateError, Credentials, CredentialsError, Revocation, Usage,
};

use super::certificates::Certificates;
use super::freshness::{self, Freshness};
use super::held::decimal;
use crate::config::Config;
use crate::folder::{self, SecretError};

/// Longest PEM file, in bytes: of certificates, roots or revocation lists.
pub(super) const PEM_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most revocation lists in a publication (PROTOCOL.md, "Publication").
pub(super) const CRLS_MAX: usize = 16;
/// PEM label of a revocation list (RFC 7468 section 6).
pub(super) const CRL_PEM_LABEL: &str = "X509 CRL";

/// The files cannot be used. Every problem that was found, one a line.
#[derive(Debug)]
pub struct FilesError {
    /// At least one.
    pub problems: Vec<FileProblem>,
}

impl std::error::Error for FilesError {}

impl fmt::Display for FilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentences: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        f.write_str(&sentences.join("\n"))
    }
}

impl From<FileProblem> for FilesError {
    fn from(problem: FileProblem) -> Self {
        Self { problems: vec![problem] }
    }
}

/// What is wrong with a file, and how to mend it.
#[derive(Debug, Error)]
pub enum FileProblem {
    /// It cannot be read.
    #[error("{}: cannot read this file: {source}; {mend}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// Where it comes from.
        mend: &'static str,
    },
    /// It cannot be written.
    #[error("{}: cannot write this file: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was last in force cannot be read.
    #[error(
        "{path}: what this broker last went by cannot be read: {problem}; restore the file, or, once you have compared the published files with the authority's by other means, remove it",
        path = path.display()
    )]
    Held {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// A private key that others may read.
    #[error("{path}: this private key has mode {mode:03o}, so others may read it; run: chmod 600 {path}", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The receipt key is none.
    #[error("{}: this is not a receipt key: {source}; make one: valise-ca broker issue", path.display())]
    ReceiptKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// The roots of trust cannot be used.
    #[error("{}: {problem}; copy the authority's trust.pem here", path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// Certificate and key do not make credentials.
    #[error("{} and {}: {source}; {}", certificates.display(), tls_key.display(), mend_credentials(source))]
    Credentials {
        /// The certificate chain.
        certificates: PathBuf,
        /// The key.
        tls_key: PathBuf,
        /// Why.
        source: CredentialsError,
    },
    /// The certificate is not accepted, by this broker's own roots and revocation lists.
    #[error("{}: {source}; issue a certificate for this broker: valise-ca broker issue", path.display())]
    Certificate {
        /// The certificate chain.
        path: PathBuf,
        /// Why.
        source: CertificateError,
    },
    /// The certificate is of somebody else than before.
    #[error("{}: the certificate is of {got}; this broker runs as {expected}: restart it to change that", path.display())]
    Identity {
        /// The certificate chain.
        path: PathBuf,
        /// Who the broker is.
        expected: SpiffeId,
        /// Whom the certificate names.
        got: SpiffeId,
    },
    /// The directory is not to be acted upon.
    #[error("{}: {source}; put the newest directory here (valise-ca publish)", path.display())]
    Directory {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DirectoryError,
    },
    /// The directory does not list this broker's receipt key, so nobody would accept its receipts.
    #[error(
        "{}: directory version {version} does not list receipt key {key_id} for broker {broker}; register the key \
         (valise-ca broker issue), then publish: valise-ca publish", path.display()
    )]
    NotListed {
        /// The directory.
        path: PathBuf,
        /// Its version.
        version: u64,
        /// This broker.
        broker: BrokerName,
        /// Its key.
        key_id: KeyId,
    },
    /// The published certificates cannot be used.
    #[error("{}: {problem}; put the newest certificates here (valise-ca publish)", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The revocation lists cannot be used.
    #[error("{}: {problem}; put the newest revocation lists here (valise-ca publish)", path.display())]
    Crls {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
}

/// Most often one of the two files was copied and the other forgotten.
fn mend_credentials(source: &CredentialsError) -> &'static str {
    match source {
        CredentialsError::Mismatch(_) => {
            "copy both files of one and the same run of valise-ca broker issue, or issue both anew: valise-ca broker issue --replace"
        }
        CredentialsError::Pem { .. } | CredentialsError::Certificate(_) => {
            "issue them again: valise-ca broker issue --replace"
        }
    }
}

/// Everything a broker needs to start, checked.
#[derive(Debug)]
pub struct NodeFiles {
    /// The certificate and its key.
    pub credentials: Credentials,
    /// What receipts are signed with.
    pub receipt_key: SigningKey,
    /// The roots of trust.
    pub trust: Trust,
    /// The directory.
    pub directory: Directory,
    /// The revocation lists, DER.
    pub crls: Vec<Bytes>,
    /// Roots and revocation lists together.
    pub anchors: Anchors,
    /// What agencies are given when they ask for their certificate.
    pub certificates: Certificates,
    /// What is not in order, and keeps no broker from running.
    pub warnings: Vec<FileProblem>,
}

impl NodeFiles {
    /// Loads and checks the files that `config` names, as of `now`.
    ///
    /// # Errors
    /// [`FilesError`], with every problem that could be found.
    pub fn load(config: &Config, now: Timestamp) -> Result<Self, FilesError> {
        let mut problems = Vec::new();
        let credentials = keep(load_credentials(config), &mut problems);
        let receipt_key = keep(load_receipt_key(config), &mut problems);
        let trust = keep(load_trust(config), &mut problems);
        let published = trust.as_ref().map(|trust| {
            let directory = keep(load_directory(config, trust, now), &mut problems);
            (directory, keep(load_crls(config, trust, now), &mut problems))
        });
        let (
            Some(credentials),
            Some(receipt_key),
            Some(trust),
            Some((Some(directory), Some((crls, anchors)))),
        ) = (credentials, receipt_key, trust, published)
        else {
            return Err(FilesError { problems });
        };
        keep(check_signed(config, &anchors, &[&directory]), &mut problems);
        keep(check_certificate(config, &credentials, &anchors, now), &mut problems);
        keep(
            check_listed(config, &directory, credentials.identity(), receipt_key.key_id(), now),
            &mut problems,
        );
        keep(check_publication_len(config, &directory, &crls), &mut problems);
        if !problems.is_empty() {
            return Err(FilesError { problems });
        }
        let mut warnings = Vec::new();
        let certificates = keep(Certificates::load(config, &anchors, now, None), &mut warnings)
            .flatten()
            .unwrap_or_default();
        Ok(Self { credentials, receipt_key, trust, directory, crls, anchors, certificates, warnings })
    }

    /// Everything that runs out, as of `now`.
    #[must_use]
    pub fn freshness(&self, config: &Config, now: Timestamp) -> Vec<Freshness> {
        freshness::of(config, &self.credentials, &self.directory, self.anchors.revocations(), now)
    }

    /// What agents are given.
    #[must_use]
    pub fn publication(&self) -> Publication {
        Publication { directory: self.directory.encoded().clone(), crls: self.crls.clone() }
    }
}

fn keep<T>(result: Result<T, FileProblem>, problems: &mut Vec<FileProblem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

fn read_secret(path: &Path) -> Result<zeroize::Zeroizing<String>, FileProblem> {
    folder::read_secret(path).map_err(|error| match error {
        SecretError::Io(source) => {
            read_problem(path, source, "issue this broker's certificate and keys: valise-ca broker issue")
        }
        SecretError::Exposed(mode) => FileProblem::Exposed { path: path.to_owned(), mode },
    })
}

pub(super) fn read_problem(path: &Path, source: io::Error, mend: &'static str) -> FileProblem {
    FileProblem::Read { path: path.to_owned(), source, mend }
}

pub(super) fn load_credentials(config: &Config) -> Result<Credentials, FileProblem> {
    let Config { certificates, tls_key, .. } = config;
    let issue = "issue this broker's certificate and keys: valise-ca broker issue";
    let chain = folder::read(certificates, PEM_BYTES_MAX)
        .map_err(|error| read_problem(certificates, error, issue))?;
    let key = read_secret(tls_key)?;
    Credentials::from_pem(&chain, key.as_bytes()).map_err(|source| FileProblem::Credentials {
        certificates: certificates.clone(),
        tls_key: tls_key.clone(),
        source,
    })
}

fn load_receipt_key(config: &Config) -> Result<SigningKey, FileProblem> {
    let path = &config.receipt_key;
    let text = read_secret(path)?;
    SigningKey::from_pkcs8_pem(&text).map_err(|source| FileProblem::ReceiptKey { path: path.clone(), source })
}

fn load_trust(config: &Config) -> Result<Trust, FileProblem> {
    let path = &config.trust;
    let text = folder::read_text(path, PEM_BYTES_MAX);
    let text = text.map_err(|error| read_problem(path, error, "copy the authority's trust.pem here"))?;
    let unusable = |problem: String| FileProblem::Trust { path: path.clone(), problem };
    let trust = Trust::from_pem(&text).map_err(|error: EnrolmentError| unusable(error.to_string()))?;
    let none: &[Bytes] = &[];
    let roots = Anchors::new(trust.trust_domain.clone(), &trust.anchors, none);
    roots.map(|_| trust).map_err(|error| unusable(error.to_string()))
}

pub(super) fn load_directory(
    config: &Config,
    trust: &Trust,
    now: Timestamp,
) -> Result<Directory, FileProblem> {
    let path = config.directory();
    let bytes = folder::read(&path, DIRECTORY_BYTES_MAX)
        .map_err(|error| read_problem(&path, error, "publish it and copy it here: valise-ca publish"))?;
    let directory = Directory::verify(bytes.into(), trust);
    let directory = directory.map(|directory| directory.with_grace(config.freshness_grace));
    let fresh = directory.and_then(|directory| directory.check_fresh(now).map(|()| directory));
    fresh.map_err(|source| FileProblem::Directory { path, source })
}

/// Who signed a list is for [`check_signed`].
pub(super) fn load_crls(
    config: &Config,
    trust: &Trust,
    now: Timestamp,
) -> Result<(Vec<Bytes>, Anchors), FileProblem> {
    let path = config.crls();
    let text = folder::read(&path, PEM_BYTES_MAX)
        .map_err(|error| read_problem(&path, error, "publish them and copy them here: valise-ca publish"))?;
    let unusable = |problem: String| FileProblem::Crls { path: path.clone(), problem };
    let mut crls = parse_crls(&text).map_err(unusable)?;
    let anchors = anchors_of(config, trust, &crls)?;
    if anchors.revocations().len() < crls.len() {
        // Several of one issuer would take the room of others.
        let mut wanted: Vec<_> = anchors.revocations().iter().map(|list| Some(list.digest)).collect();
        crls.retain(|crl| {
            let digest = Some(sha256(&[crl]));
            wanted.iter_mut().find(|wanted| **wanted == digest).and_then(Option::take).is_some()
        });
    }
    let grace = config.freshness_grace;
    for Revocation { issuer, number, this_update, next_update, .. } in anchors.revocations() {
        if now > next_update.plus(grace) {
            let minutes = grace.as_secs() / 60;
            let beyond = match minutes {
                0 => String::new(),
                _ => format!("; the grace of {minutes} minutes is over too"),
            };
            let number = decimal(number);
            return Err(unusable(format!(
                "list {number} of {issuer}, issued at {this_update}, ran out at {next_update} (this node's clock: {now}{beyond})"
            )));
        }
    }
    Ok((crls, anchors))
}

/// webpki checks a list's signature when a chain needs it. One that none needs yet, in the name of an issuing CA that is
/// to come or was there before, would keep out that CA's own; so whoever signed must be named by one of `directories`.
pub(super) fn check_signed(
    config: &Config,
    anchors: &Anchors,
    directories: &[&Directory],
) -> Result<(), FileProblem> {
    anchors.check_lists(&list_keys(directories)).map_err(|error| bad_lists(config, &error))
}

/// The same for lists that were carried over too, whose keys no directory may name any more: no key has two.
pub(super) fn check_one_list_each(
    config: &Config,
    anchors: &Anchors,
    directories: &[&Directory],
) -> Result<(), FileProblem> {
    anchors.check_one_list_each(&list_keys(directories)).map_err(|error| bad_lists(config, &error))
}

fn list_keys(directories: &[&Directory]) -> Vec<VerifyingKey> {
    directories.iter().flat_map(|directory| directory.delegation().list_keys()).copied().collect()
}

fn bad_lists(config: &Config, error: &AnchorsError) -> FileProblem {
    FileProblem::Crls { path: config.crls(), problem: error.to_string() }
}

/// Roots and these lists together.
pub(super) fn anchors_of(config: &Config, trust: &Trust, crls: &[Bytes]) -> Result<Anchors, FileProblem> {
    let anchors = Anchors::new(trust.trust_domain.clone(), &trust.anchors, crls);
    let unusable =
        |error: AnchorsError| FileProblem::Crls { path: config.crls(), problem: error.to_string() };
    anchors.map(|anchors| anchors.with_grace(config.freshness_grace)).map_err(unusable)
}

pub(super) fn parse_crls(text: &[u8]) -> Result<Vec<Bytes>, String> {
    let blocks = pem::parse_many(text).map_err(|error| error.to_string())?;
    if let Some(other) = blocks.iter().find(|block| block.tag() != CRL_PEM_LABEL) {
        return Err(format!("it holds a `{}`; only `{CRL_PEM_LABEL}` blocks belong in it", other.tag()));
    }
    match blocks.len() {
        0 => Err(format!("it holds no `{CRL_PEM_LABEL}` block")),
        1..=CRLS_MAX => Ok(blocks.into_iter().map(|block| Bytes::from(block.into_contents())).collect()),
        len => Err(format!("it holds {len} revocation lists; agents take at most {CRLS_MAX}")),
    }
}

/// Whether this broker's own chain is what the peers will accept.
pub(super) fn check_certificate(
    config: &Config,
    credentials: &Credentials,
    anchors: &Anchors,
    now: Timestamp,
) -> Result<(), FileProblem> {
    let verified = credentials.verify(anchors, Usage::Server, now);
    verified.map(|_| ()).map_err(|source| match source {
        // These are mended by a publication, and say so.
        CertificateError::RevocationUnknown
        | CertificateError::RevocationListExpired { .. }
        | CertificateError::RevocationListNotYetValid { .. } => {
            FileProblem::Crls { path: config.crls(), problem: source.to_string() }
        }
        CertificateError::NoCertificate
        | CertificateError::Malformed(_)
        | CertificateError::UnknownAuthority
        | CertificateError::Expired { .. }
        | CertificateError::NotYetValid { .. }
        | CertificateError::Revoked
        | CertificateError::WrongAlgorithm
        | CertificateError::WrongUsage(_)
        | CertificateError::WrongTrustDomain { .. }
        | CertificateError::WrongRole { .. }
        | CertificateError::NotSpiffe(_)
        | CertificateError::Invalid(_) => {
            FileProblem::Certificate { path: config.certificates.clone(), source }
        }
    })
}

/// Whether agents will accept this broker's receipts.
pub(super) fn check_listed(
    config: &Config,
    directory: &Directory,
    identity: &SpiffeId,
    key_id: KeyId,
    now: Timestamp,
) -> Result<(), FileProblem> {
    // The certificate's own check tells of an identity that is no broker's.
    let Some(broker) = identity.as_broker() else { return Ok(()) };
    let keys = directory.broker(broker).map(|entry| entry.receipt_keys.as_slice()).unwrap_or_default();
    if keys.iter().any(|key| key.key_id == key_id && key.is_valid_at(now)) {
        return Ok(());
    }
    let (path, version, broker) = (config.directory(), directory.version(), broker.clone());
    Err(FileProblem::NotListed { path, version, broker, key_id })
}

/// Whether agents can be given directory and lists in one frame.
pub(super) fn check_publication_len(
    config: &Config,
    directory: &Directory,
    crls: &[Bytes],
) -> Result<(), FileProblem> {
    let publication = Publication { directory: directory.encoded().clone(), crls: crls.to_vec() };
    let len = SessionFrame::Publication(publication).encode().len();
    if len <= PUBLICATION_BYTES_MAX {
        return Ok(());
    }
    let problem =
        format!("with the directory it makes {len} bytes; agents take at most {PUBLICATION_BYTES_MAX}");
    Err(FileProblem::Crls { path: config.crls(), problem })
}
