//! Taking a newer directory and newer revocation lists into force.
//!
//! The broker, or whoever carried the files here, is only the messenger: signatures and versions decide, and of the
//! lists and the directory each is judged for itself. Everything is judged before anything is exchanged.

use std::cmp::Ordering;

use bytes::Bytes;
use thiserror::Error;
use valise_proto::crypto::sha256;
use valise_proto::directory::{Directory, DirectoryError};
use valise_proto::id::Timestamp;
use valise_proto::wire::session::Publication;
use valise_transport::{Anchors, AnchorsError, CertificateError, Connection, Revocation, Usage};

use super::office::Office;
use crate::enrol::{self, crls_pem};
use crate::folder::{self, FileError};
use crate::store::StoreError;

/// Why a publication was not taken into force. What is in force stays so.
#[derive(Debug, Error)]
pub(crate) enum PublicationError {
    /// The directory.
    #[error("the directory that is offered is refused: {0}")]
    Directory(#[from] DirectoryError),
    /// The revocation lists.
    #[error("the revocation lists that are offered are refused: {0}")]
    Anchors(#[from] AnchorsError),
    /// A list from before the one held.
    #[error(
        "the revocation list of {issuer} that is offered is older than the one held, or than one held before"
    )]
    OldRevocation {
        /// Whose list.
        issuer: String,
    },
    /// Another list under the number held.
    #[error(
        "the revocation list of {issuer} that is offered is another than the one held, under the same number"
    )]
    ForkedRevocation {
        /// Whose list.
        issuer: String,
    },
    /// A list is missing.
    #[error("the revocation lists that are offered lack the one of {issuer}, which is held")]
    MissingRevocation {
        /// Whose list.
        issuer: String,
    },
    /// The certificate that the lists were tried on.
    #[error("by the revocation lists that are offered, the certificate they came with is refused: {0}")]
    Certificate(CertificateError),
    /// A file.
    #[error("{0}")]
    File(#[from] FileError),
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Something that a revocation list can be tried on: a certificate chain, verified under anchors that hold the list.
///
/// A list's signature is checked where it is used: when a chain is verified. So lists are tried on a chain, and unless
/// that finds it in order or revoked, those held before stay in force. Otherwise a broker could shut this node out of
/// the exchange with a list of its own making. A list that the chain does without is tried on this node's own
/// certificate; where that does without it too, nothing here depends on it, and the one held stays.
pub(super) type Witness<'a> = &'a dyn Fn(&Anchors) -> Result<(), CertificateError>;

/// Takes what a broker offers and is newer into force.
///
/// # Errors
/// The first thing that was refused; the rest is in force all the same.
pub(super) fn take(
    office: &Office,
    connection: &Connection,
    offered: &Publication,
) -> Result<(), PublicationError> {
    take_seen_by(office, &|anchors| connection.check_under(anchors), offered)
}

/// The same, with the lists tried on another chain than the broker's.
///
/// # Errors
/// As [`take`].
pub(super) fn take_seen_by(
    office: &Office,
    witness: Witness<'_>,
    offered: &Publication,
) -> Result<(), PublicationError> {
    // One at a time, lest of two that come together the older be written over the newer.
    let alone = office.publishing();
    let Publication { directory, crls } = offered;
    let lists = if crls.is_empty() { Ok(false) } else { take_crls(office, crls, witness) };
    let directory = if directory.is_empty() { Ok(false) } else { take_directory(office, directory) };
    drop(alone);
    if [&lists, &directory].iter().any(|taken| matches!(taken, Ok(true))) {
        office.stir();
    }
    let taken = lists.and(directory);
    office.note_publication(taken.as_ref().err().map(ToString::to_string));
    taken.map(|_| ())
}

fn take_directory(office: &Office, bytes: &Bytes) -> Result<bool, PublicationError> {
    match check_directory(office, bytes)? {
        Some(directory) => put_directory(office, directory).map(|()| true),
        None => Ok(false),
    }
}

/// Judges a directory; `None` where it is the one in force.
pub(super) fn check_directory(office: &Office, bytes: &Bytes) -> Result<Option<Directory>, PublicationError> {
    let held = office.directory();
    if held.encoded() == bytes {
        return Ok(None);
    }
    let directory = Directory::verify(bytes.clone(), office.trust())?;
    directory.check_may_replace(&held)?;
    // What is held may itself have been put back by somebody: the store remembers.
    if let Some(highest) = office.store().highest_directory()?.filter(|highest| !highest.allows(&directory)) {
        let (held, got) = (highest.version, directory.version());
        let error =
            if got == held { DirectoryError::Fork(got) } else { DirectoryError::Rollback { held, got } };
        return Err(error.into());
    }
    let directory = directory.with_grace(office.config().freshness_grace);
    directory.check_fresh(office.now())?;
    Ok(Some(directory))
}

/// The file comes first: a power cut in between leaves a file that is newer than what the store remembers, never older.
pub(super) fn put_directory(office: &Office, directory: Directory) -> Result<(), PublicationError> {
    folder::replace(&office.config().folder.directory(), directory.encoded())?;
    office.store().note_directory(&directory)?;
    tracing::info!(version = directory.version(), expires_at = %directory.content().expires_at, "a newer directory is in force");
    office.replace_directory(directory);
    Ok(())
}

fn take_crls(office: &Office, crls: &[Bytes], witness: Witness<'_>) -> Result<bool, PublicationError> {
    match check_crls(office, crls, witness)? {
        None => Ok(false),
        Some(lists) => {
            let checked = witness(&lists.anchors);
            put_crls(office, lists)?;
            checked.map(|()| true).map_err(PublicationError::Certificate)
        }
    }
}

/// Revocation lists that may take the place of those held.
pub(super) struct Lists {
    pub(super) anchors: Anchors,
    crls: Vec<Bytes>,
}

/// Judges revocation lists; `None` where they are those in force.
pub(super) fn check_crls(
    office: &Office,
    crls: &[Bytes],
    witness: Witness<'_>,
) -> Result<Option<Lists>, PublicationError> {
    let held = office.transport().anchors();
    let crls = of_known_issuers(office, crls, held.revocations(), witness)?;
    let crls = with_those_held(office, crls, held.revocations(), witness)?;
    let anchors = office.anchors(&crls)?;
    if anchors.revocations() == held.revocations() {
        return Ok(None);
    }
    for old in held.revocations() {
        check_newer(old, anchors.revocations(), office.now())?;
    }
    // What is held may itself have been put back by somebody: the store remembers.
    let highest = office.store().highest_lists()?;
    let older = |list: &&Revocation| !highest.iter().all(|highest| highest.allows(list));
    if let Some(list) = anchors.revocations().iter().find(older) {
        return Err(PublicationError::OldRevocation { issuer: list.issuer.clone() });
    }
    match witness(&anchors) {
        Ok(()) | Err(CertificateError::Revoked) => Ok(Some(Lists { anchors, crls })),
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "whatever else is wrong, the lists are not to be used"
        )]
        Err(error) => Err(PublicationError::Certificate(error)),
    }
}

/// The file comes first, as with the directory.
pub(super) fn put_crls(office: &Office, lists: Lists) -> Result<(), PublicationError> {
    folder::replace(&office.config().folder.crls(), crls_pem(&lists.crls).as_bytes())?;
    office.store().note_lists(lists.anchors.revocations())?;
    office.transport().swap_anchors(lists.anchors);
    tracing::info!("newer revocation lists are in force");
    Ok(())
}

/// Leaves out the lists of issuers whose list is not held, unless the chain they are tried on cannot do without: so an
/// issuing authority that followed another becomes known. Otherwise a broker could add a list of an issuer of its own
/// making, and every later publication would be refused for the lack of it.
fn of_known_issuers(
    office: &Office,
    crls: &[Bytes],
    held: &[Revocation],
    witness: Witness<'_>,
) -> Result<Vec<Bytes>, PublicationError> {
    let (mut kept, mut strangers) = (Vec::with_capacity(crls.len()), Vec::new());
    for crl in crls {
        let alone = office.anchors(std::slice::from_ref(crl))?;
        let known = alone.revocations().iter().all(|new| held.iter().any(|old| old.issuer == new.issuer));
        if known { kept.push(crl.clone()) } else { strangers.push(crl.clone()) }
    }
    for stranger in strangers {
        if witness(&office.anchors(&kept)?) != Err(CertificateError::RevocationUnknown) {
            break;
        }
        kept.push(stranger);
        if !matches!(witness(&office.anchors(&kept)?), Ok(()) | Err(CertificateError::Revoked)) {
            kept.pop();
        }
    }
    Ok(kept)
}

/// Puts the list that is held in the place of each one that is offered and that no chain shows to be its issuer's.
fn with_those_held(
    office: &Office,
    offered: Vec<Bytes>,
    held: &[Revocation],
    witness: Witness<'_>,
) -> Result<Vec<Bytes>, PublicationError> {
    let own =
        |anchors: &Anchors| office.credentials().verify(anchors, Usage::Client, office.now()).map(|_| ());
    let kept = enrol::read_crls(&office.config().folder).unwrap_or_default();
    let all = office.anchors(&offered)?;
    let mut lists = Vec::with_capacity(offered.len());
    for crl in &offered {
        let this = revocation(office, crl)?;
        let old = held.iter().find(|old| old.issuer == this.issuer && old.digest != this.digest);
        let others: Vec<&Bytes> = offered.iter().filter(|other| *other != crl).collect();
        let without = office.anchors(&others)?;
        let shows = |chain: Witness<'_>| {
            chain(&without) == Err(CertificateError::RevocationUnknown)
                && matches!(chain(&all), Ok(()) | Err(CertificateError::Revoked))
        };
        // Whether the witness finds a fault is for the caller to see, so what it needs is left for it.
        let needed = witness(&without) == Err(CertificateError::RevocationUnknown) || shows(&own);
        let stays = old.filter(|_| !needed);
        let same = |bytes: &&Bytes| stays.is_some_and(|old| sha256(&[bytes.as_ref()]) == old.digest);
        lists.push(kept.iter().find(same).unwrap_or(crl).clone());
    }
    Ok(lists)
}

fn revocation(office: &Office, crl: &Bytes) -> Result<Revocation, PublicationError> {
    let alone = office.anchors(std::slice::from_ref(crl))?;
    alone.revocations().first().cloned().ok_or(PublicationError::Anchors(AnchorsError::Crl {
        index: 0,
        problem: "it names no issuer".to_owned(),
    }))
}

/// Without this check a broker could hide a revocation by offering a list from before it. Of an issuer that is no more
/// there is no list; one that has run out hides nothing, for without a list nothing of that issuer is accepted.
fn check_newer(old: &Revocation, offered: &[Revocation], now: Timestamp) -> Result<(), PublicationError> {
    let issuer = || old.issuer.clone();
    let Some(new) = offered.iter().find(|new| new.issuer == old.issuer) else {
        if old.next_update < now {
            return Ok(());
        }
        return Err(PublicationError::MissingRevocation { issuer: issuer() });
    };
    if compare(&new.number, &old.number) == Ordering::Less {
        return Err(PublicationError::OldRevocation { issuer: issuer() });
    }
    if compare(&new.number, &old.number) == Ordering::Equal && new.digest != old.digest {
        return Err(PublicationError::ForkedRevocation { issuer: issuer() });
    }
    Ok(())
}

/// Compares two big-endian numbers of any length.
fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let significant = |bytes: &[u8]| bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let left = left.get(significant(left)..).unwrap_or_default();
    let right = right.get(significant(right)..).unwrap_or_default();
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crl_numbers_compare_by_value_not_by_length() {
        assert_eq!(compare(&[0, 0, 2], &[1]), Ordering::Greater);
        assert_eq!(compare(&[1, 0], &[255]), Ordering::Greater);
        assert_eq!(compare(&[0, 7], &[7]), Ordering::Equal);
    }
}
