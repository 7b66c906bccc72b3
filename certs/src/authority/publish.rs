//! What every node must hold: the directory, the revocation lists, the roots of trust, and the certificates issued.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Serialize;
use thiserror::Error;
use valise_proto::directory::{Directory, DirectoryError};
use valise_proto::enrolment::Trust;
use valise_proto::id::Timestamp;

use super::{Authority, armour, certificates_pem};
use crate::files::{self, FileError, PLAIN_FILE};
use crate::journal::{Action, Deed};
use crate::state::{AgencyRecord, PublishedRecord, Standing, State, StateError};
use crate::x509::{Period, SignError};

/// File name of the encoded, signed directory.
pub const DIRECTORY_FILE: &str = "directory.valise";
/// File name of the revocation lists, PEM.
pub const CRLS_FILE: &str = "crls.pem";
/// File name of the agencies' newest certificates and those of their issuers, PEM.
pub const CERTIFICATES_FILE: &str = "certificates.pem";
/// File name of the roots of trust, PEM.
pub const TRUST_FILE: &str = "trust.pem";
/// PEM label of a revocation list (RFC 7468 section 6).
const CRL_PEM_LABEL: &str = "X509 CRL";

/// Why nothing was published. The authority is as it was, unless the files alone could not be written: then the
/// version is used up, and publishing again takes the next.
#[derive(Debug, Error)]
pub enum PublishError {
    /// Nothing can be signed now.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The members contradict each other, or are too many.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The state could not be kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file could not be written, before anything was signed.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is on record already could not be written.
    #[error(
        "{source}; directory version {version} is signed and on record, but nobody has it: make room or choose another folder, and run `valise-ca publish --out DIR`, which signs the next"
    )]
    NotWritten {
        /// Its version.
        version: u64,
        /// Which file, and why.
        source: FileError,
    },
}

/// A directory and revocation lists made at the same moment.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The signed directory.
    pub directory: Directory,
    /// Revocation lists, DER: the root's, then the issuing authority's.
    pub crls: Vec<Bytes>,
    /// The number of the issuing authority's list.
    pub crl_number: u64,
    /// When the first of them runs out.
    pub crls_next_update: Timestamp,
    /// The roots of trust.
    pub trust: Trust,
    /// The newest certificate of every agency that takes part, then those of their issuers, DER. They are public, so
    /// that a broker can hand each agency the one it asked for.
    pub certificates: Vec<Bytes>,
}

/// What was published where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Published {
    /// Version of the directory.
    pub version: u64,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// When it stops counting.
    pub expires_at: Timestamp,
    /// Number of the revocation lists.
    pub crl_number: u64,
    /// When they run out.
    pub crls_next_update: Timestamp,
    /// What people compare by telephone when a node is given `trust.pem`.
    pub trust_fingerprint: String,
    /// The files written.
    pub files: Vec<PathBuf>,
}

impl Publication {
    /// The revocation lists as PEM text.
    #[must_use]
    pub fn crls_pem(&self) -> String {
        armour(CRL_PEM_LABEL, &self.crls.iter().collect::<Vec<_>>())
    }

    /// The certificates as PEM text.
    #[must_use]
    pub fn certificates_pem(&self) -> String {
        certificates_pem(&self.certificates.iter().collect::<Vec<_>>())
    }

    /// Writes `certificates.pem`, `trust.pem`, `crls.pem` and `directory.valise`, each put in place whole.
    ///
    /// Stopped between two files, this leaves some of an older publication beside some of this one. That is harmless:
    /// each file is complete and signed on its own, and says itself until when it counts; the roots of trust are the
    /// same in every publication; and nothing in a directory depends on the lists it was published with. A node may
    /// thus learn of a revocation a little before the agency leaves its directory, and never acts on half of anything.
    /// The lists of a new issuing authority alone wait for the directory that names its key: until that is written,
    /// brokers keep to the lists they have.
    /// Certificates go first, because without a directory they allow nothing; then the lists, because they only ever
    /// take rights away.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn write(&self, out: &Path) -> Result<Published, FileError> {
        files::make_folder(out)?;
        let contents: [(&str, Vec<u8>); 4] = [
            (CERTIFICATES_FILE, self.certificates_pem().into_bytes()),
            (TRUST_FILE, self.trust.to_pem().into_bytes()),
            (CRLS_FILE, self.crls_pem().into_bytes()),
            (DIRECTORY_FILE, self.directory.encoded().to_vec()),
        ];
        let mut written = Vec::new();
        for (name, bytes) in contents {
            let path = out.join(name);
            files::replace(&path, &bytes, PLAIN_FILE)?;
            written.push(path);
        }
        let content = self.directory.content();
        Ok(Published {
            version: content.version,
            issued_at: content.issued_at,
            expires_at: content.expires_at,
            crl_number: self.crl_number,
            crls_next_update: self.crls_next_update,
            trust_fingerprint: self.trust.fingerprint(),
            files: written,
        })
    }
}

impl Authority {
    /// Signs a new version of the directory and new revocation lists, and writes them to the folder `out`.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn publish(&mut self, out: &Path, now: Timestamp) -> Result<Published, PublishError> {
        prepare(out)?;
        let publication = self.publication(now)?;
        self.deliver(&publication, out)
    }

    /// Writes what was signed to the folder `out`, and then keeps a copy, with which a next publication is compared.
    pub(super) fn deliver(&self, publication: &Publication, out: &Path) -> Result<Published, PublishError> {
        let version = publication.directory.version();
        let not_written = |source| PublishError::NotWritten { version, source };
        let published = publication.write(out).map_err(not_written)?;
        publication.write(&self.folder.published()).map_err(not_written)?;
        Ok(published)
    }

    /// Signs a new version of the directory and new revocation lists. The version rises with each, whether or not
    /// anything changed: two directories never carry the same one.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn publication(&mut self, now: Timestamp) -> Result<Publication, PublishError> {
        let mut next = self.state.clone();
        let publication = self.sign_to_publish(&mut next, now)?;
        let deed = Deed::new(Action::Publish, publication.directory.version(), now);
        self.commit(next, &deed.with("crl_number", publication.crl_number))?;
        Ok(publication)
    }

    /// [`Authority::sign_publication`], noted in `next` as what was published last.
    pub(super) fn sign_to_publish(
        &self,
        next: &mut State,
        now: Timestamp,
    ) -> Result<Publication, PublishError> {
        let publication = self.sign_publication(next, now)?;
        next.published = Some(PublishedRecord {
            version: publication.directory.version(),
            directory_not_after: publication.directory.content().expires_at,
            crl_number: publication.crl_number,
            crls_not_after: publication.crls_next_update,
        });
        Ok(publication)
    }

    /// Signs what `next` says, under new numbers noted in `next`, which must be committed before this is handed out.
    pub(super) fn sign_publication(
        &self,
        next: &mut State,
        now: Timestamp,
    ) -> Result<Publication, PublishError> {
        self.check_clock(now)?;
        next.directory_version = next.directory_version.saturating_add(1);
        next.crl_number = next.crl_number.saturating_add(1);
        let directory = next.directory(now, now.plus(self.validity.directory))?.sign(&self.directory_key)?;
        let period = Period { not_before: now, not_after: now.plus(self.validity.crls) };
        let crls = self.lists(next, period)?;
        Ok(Publication {
            directory,
            crls,
            crl_number: next.crl_number,
            crls_next_update: period.not_after.min(next.root_list.next_update),
            trust: self.trust(),
            certificates: next
                .certificates_in_force(now)
                .chain([self.issuing.certificate.der.clone()])
                .chain(next.former_issuers(now))
                .collect(),
        })
    }
}

/// A version is used up once signed, so what can be known to fail is tried before.
pub(super) fn prepare(out: &Path) -> Result<(), FileError> {
    files::make_folder(out)?;
    files::check_writable(out)
}

impl State {
    /// The certificates, DER, of issuing authorities of former times that nodes still meet.
    fn former_issuers(&self, now: Timestamp) -> impl Iterator<Item = Bytes> {
        let met = self.former_issuing.values().filter(move |former| former.until > now);
        met.filter(|former| former.revoked.is_none())
            .map(|former| Bytes::copy_from_slice(&former.certificate.0))
    }

    /// The certificate in force of every agency that takes part, DER.
    fn certificates_in_force(&self, now: Timestamp) -> impl Iterator<Item = Bytes> {
        let counts = move |record: &&AgencyRecord| {
            let certificate = self.certificates.get(&record.serial);
            let in_force = certificate.is_some_and(|found| found.revoked.is_none() && found.not_after > now)
                && !self.issuer_is_revoked(record.serial);
            in_force && record.standing == Standing::Active
        };
        let records = self.agencies.values().filter(counts);
        records.map(|record| Bytes::copy_from_slice(&record.certificate.0))
    }
}
