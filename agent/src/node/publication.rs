//! Taking a newer directory and newer revocation lists into force.

use std::cmp::Ordering;

use bytes::Bytes;
use thiserror::Error;
use valise_proto::directory::{Directory, DirectoryError};
use valise_proto::wire::session::Publication;
use valise_transport::{Anchors, AnchorsError, CertificateError, Connection, Revocation, Transport};

use super::office::Office;
use crate::enrol::crls_pem;
use crate::folder::{self, FileError};

/// Why a publication was not taken into force. What is in force stays so.
#[derive(Debug, Error)]
pub(super) enum PublicationError {
    #[error("the directory a broker offers is refused: {0}")]
    Directory(#[from] DirectoryError),
    #[error("the revocation lists a broker offers are refused: {0}")]
    Anchors(#[from] AnchorsError),
    #[error("the revocation list of {issuer} that a broker offers is older than the one held")]
    OldRevocation { issuer: String },
    #[error(
        "the revocation list of {issuer} that a broker offers is another than the one held, under the same number"
    )]
    ForkedRevocation { issuer: String },
    #[error("the revocation lists a broker offers lack the one of {issuer}, which is held")]
    MissingRevocation { issuer: String },
    #[error("by the revocation lists a broker offers, its own certificate is refused: {0}")]
    Certificate(CertificateError),
    #[error("{0}")]
    File(#[from] FileError),
}

/// Takes what is newer into force. The broker is only the messenger: signatures and versions decide, and of the lists
/// and the directory each is judged for itself.
///
/// # Errors
/// The first thing that was refused; the rest is in force all the same.
pub(super) fn take(
    office: &Office,
    transport: &Transport,
    connection: &Connection,
    offered: &Publication,
) -> Result<(), PublicationError> {
    // One at a time, lest of two that come together the older be written over the newer.
    let _alone = office.publishing();
    let Publication { directory, crls } = offered;
    let lists = if crls.is_empty() { Ok(()) } else { take_crls(office, transport, connection, crls) };
    let directory = if directory.is_empty() { Ok(()) } else { take_directory(office, directory) };
    lists.and(directory)
}

fn take_directory(office: &Office, bytes: &Bytes) -> Result<(), PublicationError> {
    let held = office.directory();
    if held.encoded() == bytes {
        return Ok(());
    }
    let directory = Directory::verify(bytes.clone(), office.trust())?;
    directory.check_may_replace(&held)?;
    directory.check_fresh(office.now())?;
    folder::replace(&office.config().folder.directory(), bytes)?;
    tracing::info!(version = directory.version(), expires_at = %directory.content().expires_at, "a newer directory is in force");
    office.replace_directory(directory);
    Ok(())
}

/// A list's signature is checked where it is used: when a chain is verified. So the lists are tried on the broker's own
/// chain, and unless that finds it in order or revoked, those held before stay in force. Otherwise a broker could
/// shut this node out of the exchange with a list of its own making.
fn take_crls(
    office: &Office,
    transport: &Transport,
    connection: &Connection,
    crls: &[Bytes],
) -> Result<(), PublicationError> {
    let trust = office.trust();
    let anchors = |crls: &[Bytes]| Anchors::new(trust.trust_domain.clone(), &trust.anchors, crls);
    let held = transport.anchors();
    let crls = &of_held_issuers(crls, held.revocations(), &anchors)?;
    let offered = anchors(crls)?;
    if offered.revocations() == held.revocations() {
        return Ok(());
    }
    for old in held.revocations() {
        check_newer(old, offered.revocations())?;
    }
    // Tried, and only then put in force: a list of the broker's own making is never acted upon.
    let checked = connection.check_under(&offered);
    match checked {
        Ok(()) | Err(CertificateError::Revoked) => {}
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "whatever else is wrong, the lists are not to be used"
        )]
        Err(error) => return Err(PublicationError::Certificate(error)),
    }
    folder::replace(&office.config().folder.crls(), crls_pem(crls).as_bytes())?;
    transport.swap_anchors(offered);
    tracing::info!("newer revocation lists are in force");
    checked.map_err(PublicationError::Certificate)
}

/// Leaves out the lists of issuers whose list is not held. Otherwise a broker could add a list of an issuer of its own
/// making, and every later publication would be refused for the lack of it.
fn of_held_issuers(
    crls: &[Bytes],
    held: &[Revocation],
    anchors: &impl Fn(&[Bytes]) -> Result<Anchors, AnchorsError>,
) -> Result<Vec<Bytes>, PublicationError> {
    let mut kept = Vec::with_capacity(crls.len());
    for crl in crls {
        let alone = anchors(std::slice::from_ref(crl))?;
        if alone.revocations().iter().all(|new| held.iter().any(|old| old.issuer == new.issuer)) {
            kept.push(crl.clone());
        }
    }
    Ok(kept)
}

/// Without this check a broker could hide a revocation by offering a list from before it.
fn check_newer(old: &Revocation, offered: &[Revocation]) -> Result<(), PublicationError> {
    let issuer = || old.issuer.clone();
    let new = offered.iter().find(|new| new.issuer == old.issuer);
    let new = new.ok_or_else(|| PublicationError::MissingRevocation { issuer: issuer() })?;
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
