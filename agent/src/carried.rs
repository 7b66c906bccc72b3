//! A published folder that was carried here by hand, instead of over a broker.
//!
//! Nothing in it is believed for being here: signatures, versions and times decide, as if a broker had offered it.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use thiserror::Error;
use valise_proto::enrolment::{EnrolmentError, Trust};
use valise_proto::id::SpiffeId;
use valise_proto::wire::limits::DIRECTORY_BYTES_MAX;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::enrol::{self, PEM_BYTES_MAX};
use crate::folder::{self, FileError};

const DIRECTORY: &str = "directory.valise";
const CRLS: &str = "crls.pem";
const CERTIFICATES: &str = "certificates.pem";
const TRUST: &str = "trust.pem";
/// Longest `certificates.pem`: a thousand agencies of a kilobyte or two each.
const CERTIFICATES_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most certificates in it.
const CERTIFICATES_MAX: usize = 8192;
/// Most issuing certificates that go with a leaf.
const ISSUERS_MAX: usize = 8;

/// Why a folder cannot be read. Nothing was changed.
#[derive(Debug, Error)]
pub enum CarriedError {
    /// A file.
    #[error("{0}")]
    File(#[from] FileError),
    /// Something that belongs there is not there.
    #[error("{folder} holds no {name}: name the folder that `valise-ca publish` wrote, whole", folder = .folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// The file.
        name: &'static str,
    },
    /// A file that cannot be read.
    #[error("{file}: {source}", file = .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        source: EnrolmentError,
    },
    /// Too many certificates.
    #[error("{file} holds {count} certificates; at most {CERTIFICATES_MAX} are read", file = .file.display())]
    TooMany {
        /// The file.
        file: PathBuf,
        /// How many.
        count: usize,
    },
}

/// What a published folder holds.
#[derive(Clone, Debug)]
pub struct Carried {
    /// An encoded signed directory.
    pub directory: Bytes,
    /// Revocation lists, DER.
    pub crls: Vec<Bytes>,
    /// Certificates of agencies and of issuing authorities, DER; none where the authority published none.
    pub certificates: Vec<Bytes>,
    /// Roots of trust, where they are there.
    pub trust: Option<Trust>,
}

impl Carried {
    /// Reads a folder.
    ///
    /// # Errors
    /// [`CarriedError`].
    pub fn read(folder: &Path) -> Result<Self, CarriedError> {
        let missing = |name| CarriedError::Missing { folder: folder.to_owned(), name };
        let at = |name: &'static str| Some(folder.join(name)).filter(|path| path.exists());
        let directory = folder::read(&at(DIRECTORY).ok_or_else(|| missing(DIRECTORY))?, DIRECTORY_BYTES_MAX)?;
        let crls = at(CRLS).ok_or_else(|| missing(CRLS))?;
        let unreadable = |file: &Path, source| CarriedError::Unreadable { file: file.to_owned(), source };
        let trust = match at(TRUST) {
            None => None,
            Some(path) => {
                let text = folder::read_text(&path, PEM_BYTES_MAX)?;
                Some(Trust::from_pem(&text).map_err(|source| unreadable(&path, source))?)
            }
        };
        let certificates = match at(CERTIFICATES) {
            None => Vec::new(),
            Some(path) => {
                let text = folder::read(&path, CERTIFICATES_BYTES_MAX)?;
                enrol::read_pems("CERTIFICATE", &text).map_err(|source| unreadable(&path, source))?
            }
        };
        if certificates.len() > CERTIFICATES_MAX {
            let (file, count) = (folder.join(CERTIFICATES), certificates.len());
            return Err(CarriedError::TooMany { file, count });
        }
        let lists = folder::read(&crls, PEM_BYTES_MAX)?;
        let lists = enrol::read_pems("X509 CRL", &lists).map_err(|source| unreadable(&crls, source))?;
        Ok(Self { directory: directory.into(), crls: lists, certificates, trust })
    }

    /// Writes the same into a folder of its own, whole or not at all.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn write(&self, to: &Path) -> Result<(), FileError> {
        let new = to.with_extension("new");
        for old in [&new, to] {
            folder::remove_folder(old)?;
        }
        folder::make_private(&new)?;
        folder::replace(&new.join(DIRECTORY), &self.directory)?;
        folder::replace(&new.join(CRLS), enrol::crls_pem(&self.crls).as_bytes())?;
        folder::replace(&new.join(CERTIFICATES), enrol::chain_pem(&self.certificates).as_bytes())?;
        if let Some(trust) = &self.trust {
            folder::replace(&new.join(TRUST), trust.to_pem().as_bytes())?;
        }
        folder::rename(&new, to)
    }

    /// The chains whose leaf names `identity`, the newest first, each with the certificates that may have issued it.
    #[must_use]
    pub fn chains_of(&self, identity: &SpiffeId) -> Vec<Vec<Bytes>> {
        let parsed: Vec<_> = self
            .certificates
            .iter()
            .filter_map(|der| Some((der, X509Certificate::from_der(der).ok()?.1)))
            .collect();
        let name = identity.to_string();
        let mut leaves: Vec<_> = parsed.iter().filter(|(_, leaf)| names(leaf, &name)).collect();
        leaves.sort_by_key(|(_, leaf)| Reverse(leaf.validity().not_before.timestamp()));
        let chain = |(der, leaf): &&(&Bytes, X509Certificate<'_>)| {
            let issued = |(_, issuer): &&(&Bytes, X509Certificate<'_>)| {
                issuer.is_ca() && issuer.subject().as_raw() == leaf.issuer().as_raw()
            };
            let issuers = parsed.iter().filter(issued).take(ISSUERS_MAX).map(|(der, _)| (*der).clone());
            std::iter::once((*der).clone()).chain(issuers).collect()
        };
        leaves.iter().map(chain).collect()
    }
}

fn names(certificate: &X509Certificate<'_>, identity: &str) -> bool {
    let names = certificate.subject_alternative_name().ok().flatten();
    names.is_some_and(|names| {
        let is_it = |name: &GeneralName<'_>| matches!(name, GeneralName::URI(uri) if *uri == identity);
        names.value.general_names.iter().any(is_it)
    })
}
