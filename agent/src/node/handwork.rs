//! What an operator does by hand: renew, rotate keys, and install what was carried here.
//!
//! All of it works with the node running, which then does it, and without, when the command does it under the store's
//! lock; so two never do it at once.

use thiserror::Error;
use valise_proto::crypto::sha256;
use valise_proto::id::Timestamp;
use valise_transport::{Anchors, CertificateError, Usage};

use super::installing::{self, Candidate, NotAdopted, NotInstalled};
use super::office::Office;
use super::publication::{self, PublicationError};
use crate::carried::{Carried, CarriedError};
use crate::renewal::{self, Pending, RenewError};
use crate::vault::{Vault, VaultError, Which, rotation};

/// Why something was not done by hand. What is in force stays so.
#[derive(Debug, Error)]
pub enum HandworkError {
    /// The keys.
    #[error("{0}")]
    Vault(#[from] VaultError),
    /// The renewal request.
    #[error("{0}")]
    Renewal(#[from] RenewError),
    /// The folder that was carried here.
    #[error("{0}")]
    Carried(#[from] CarriedError),
    /// It is another exchange's, or an authority's that was begun anew.
    #[error(
        "the folder's trust.pem is not the one that this node joined by: it is of another exchange, or of an authority that was begun anew; nothing was installed"
    )]
    OtherTrust,
    /// What it holds is refused.
    #[error("{0}; nothing was installed")]
    Refused(String),
    /// Keys that could not be exchanged.
    #[error("what was carried here is installed, but {0}; it is tried again by the running node")]
    NotAdopted(String),
}

impl From<PublicationError> for HandworkError {
    fn from(error: PublicationError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<NotInstalled> for HandworkError {
    fn from(error: NotInstalled) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<NotAdopted> for HandworkError {
    fn from(error: NotAdopted) -> Self {
        Self::NotAdopted(error.to_string())
    }
}

/// What was installed; nothing of what is in force already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// The version of a newer directory.
    pub directory: Option<u64>,
    /// Whether newer revocation lists.
    pub lists: bool,
    /// The end of a newer certificate.
    pub certificate: Option<Timestamp>,
}

/// The renewal request that waits, made now where there is none.
///
/// # Errors
/// [`HandworkError`].
pub fn renew(office: &Office) -> Result<Pending, HandworkError> {
    let alone = office.publishing();
    let now = office.now();
    let pending = office.as_holder(|holder| match renewal::keep_up(holder, true, now)? {
        Some(pending) => Ok(pending),
        None => renewal::make(holder, now),
    })?;
    drop(alone);
    office.stir();
    Ok(pending)
}

/// Makes keys to follow those in use, and a renewal request that brings them. Keys that wait already are kept.
///
/// # Errors
/// [`HandworkError`].
pub fn rotate(office: &Office, which: Which) -> Result<Pending, HandworkError> {
    let alone = office.publishing();
    let folder = &office.config().folder;
    rotation::make_next(folder, &office.vault(), which)?;
    office.replace_vault(Vault::open(folder)?);
    drop(alone);
    renew(office)
}

/// Installs what was carried here, as far as it is newer. Everything is judged before anything is exchanged.
///
/// # Errors
/// [`HandworkError`].
pub fn install(office: &Office, carried: &Carried) -> Result<Installed, HandworkError> {
    let installed = install_judged(office, carried)?;
    office.note_publication(None);
    if installed.certificate.is_some() {
        office.note_certificate(None);
    }
    installing::keep_up(office)?;
    office.stir();
    Ok(installed)
}

fn install_judged(office: &Office, carried: &Carried) -> Result<Installed, HandworkError> {
    let _alone = office.publishing();
    let trusted = |encoded: &[u8]| sha256(&[encoded]) == sha256(&[&office.trust().encode()]);
    if carried.trust.as_ref().is_some_and(|trust| !trusted(&trust.encode())) {
        return Err(HandworkError::OtherTrust);
    }
    let directory = publication::check_directory(office, &carried.directory)?;
    let candidate = newest(office, carried)?;
    let shown = candidate.as_ref().map_or_else(|| office.credentials(), |found| found.credentials.clone());
    let witness = |anchors: &Anchors| -> Result<(), CertificateError> {
        shown.verify(anchors, Usage::Client, office.now()).map(|_| ())
    };
    let lists = publication::check_crls(office, &carried.crls, &witness)?;
    if candidate.is_some() {
        let held = office.transport().anchors();
        let anchors = lists.as_ref().map_or(&*held, |lists| &lists.anchors);
        witness(anchors).map_err(NotInstalled::Certificate)?;
    }
    let installed = Installed {
        directory: directory.as_ref().map(valise_proto::directory::Directory::version),
        lists: lists.is_some(),
        certificate: candidate.as_ref().map(|found| found.credentials.not_after()),
    };
    if let Some(lists) = lists {
        publication::put_crls(office, lists)?;
    }
    if let Some(directory) = directory {
        publication::put_directory(office, directory)?;
    }
    if let Some(candidate) = candidate {
        candidate.on_path(office, &office.transport().anchors())?.install(office)?;
    }
    Ok(installed)
}

/// The newest certificate for a key held here, where it is newer than the one in use.
fn newest(office: &Office, carried: &Carried) -> Result<Option<Candidate>, NotInstalled> {
    let chains = carried.chains_of(&office.identity());
    let mut other_key = None;
    for chain in &chains {
        match installing::candidate(office, chain) {
            Err(NotInstalled::OtherKey) => other_key = Some(NotInstalled::OtherKey),
            judged => return judged,
        }
    }
    other_key.map_or(Ok(None), Err)
}
