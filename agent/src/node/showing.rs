//! Opening what is kept: the check that stands before anybody is shown anything.
//!
//! Claimed: a notice is shown only if its originator's signature verifies under the directory of the day it arrived
//! (G1), and not if the directory in force says that what the originator signed by then no longer counts: a suspension
//! or revocation may go back to before the notice was made, though it was published after the notice arrived.

use thiserror::Error;
use valise_proto::directory::{AgencyStatus, Directory, DirectoryError};
use valise_proto::envelope::{Envelope, OpenError, OpenedPortion, VerifiedEnvelope};
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::receipt::PurgeCause;
use valise_proto::refusal::Refusal;

use super::office::Office;
use crate::store::{PurgedRecord, StoreError};

/// Why a kept notice is not shown.
#[derive(Debug, Error)]
pub enum NotShown {
    /// No such notice was received.
    #[error("no notice {0} was received here")]
    Unknown(NoticeId),
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The directory of the day.
    #[error("the directory that the notice was verified under is not to be used: {0}")]
    Directory(#[from] DirectoryError),
    /// The directory of the day is missing.
    #[error("the directory that the notice was verified under is missing; restore the folder from a backup")]
    NoDirectory,
    /// Its signature, or its form.
    #[error("the stored notice does not verify and is not shown: {0}")]
    NotVerified(#[from] Refusal),
    /// Made after its originator's word ceased to count.
    #[error(
        "{originator} is {status} since {since} by directory version {version}, and the notice was made at {created_at}: what it signed from then on does not count, and nobody is shown it"
    )]
    Withdrawn {
        /// Who sent it.
        originator: AgencyId,
        /// SUSPENDED or REVOKED.
        status: AgencyStatus,
        /// Since when.
        since: Timestamp,
        /// The directory that says so.
        version: u64,
        /// When the notice was made.
        created_at: Timestamp,
    },
    /// It was corrected or withdrawn.
    #[error("notice {id} counts no more: its originator {}, and what was held of it here was deleted at {}{}", gone(.purged.cause), .purged.at, instead(.purged.by.as_ref()))]
    Purged {
        /// Which.
        id: NoticeId,
        /// Since when, and by what.
        purged: Box<PurgedRecord>,
    },
    /// It does not open.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// Nothing of it opens.
    #[error("none of its portions opens with the keys held here; nobody is shown anything")]
    Nothing,
}

/// Whether a received notice has not been corrected or withdrawn.
///
/// # Errors
/// [`NotShown::Purged`].
pub fn check_in_force(office: &Office, id: &NoticeId) -> Result<(), NotShown> {
    let store = office.store();
    let received = store.received(id)?.ok_or(NotShown::Unknown(*id))?;
    match store.purged(id, &received.record.originator)? {
        Some(purged) => Err(NotShown::Purged { id: *id, purged: Box::new(purged) }),
        None => Ok(()),
    }
}

fn gone(cause: PurgeCause) -> &'static str {
    match cause {
        PurgeCause::Withdrawn => "has withdrawn it",
        PurgeCause::Corrected => "has corrected it",
        PurgeCause::Review => "meant it to be kept no longer",
        PurgeCause::Officer => "was told that it was deleted",
    }
}

fn instead(by: Option<&NoticeId>) -> String {
    by.map(|by| format!("; `valise-agent read {by} --officer NAME` shows what took its place"))
        .unwrap_or_default()
}

/// A received notice, verified again, and what of it opens.
pub type Opened = (VerifiedEnvelope, Vec<OpenedPortion>);

/// Verifies a received notice again and opens it, to be shown.
///
/// # Errors
/// [`NotShown`].
pub fn open(office: &Office, id: &NoticeId) -> Result<Opened, NotShown> {
    let opened = open_to_keep(office, id)?;
    check_originator(office, opened.0.envelope())?;
    Ok(opened)
}

/// The same to be kept, not shown: whose word ceased to count may be reinstated.
pub(crate) fn open_to_keep(office: &Office, id: &NoticeId) -> Result<Opened, NotShown> {
    let store = office.store();
    let received = store.received(id)?.ok_or(NotShown::Unknown(*id))?;
    check_in_force(office, id)?;
    let envelope = store.envelope(id)?.ok_or(NotShown::Unknown(*id))?;
    // The directory of the day it arrived: its originator may have left the exchange since.
    let bytes = store.directory(received.record.directory_version)?.ok_or(NotShown::NoDirectory)?;
    let directory = Directory::verify(bytes, office.trust())?;
    let verified = envelope.verify_delivered(&directory, office.agency())?;
    let opened = match verified.open(office.agency(), office.vault().sealing_keys()) {
        // Its key was destroyed; what it opened was kept before that.
        Err(OpenError::NoKey(key)) => {
            let kept = store.kept_portions(id)?.ok_or(OpenError::NoKey(key))?;
            kept.into_iter().filter_map(|(index, disclosure)| verified.reopen(index, disclosure)).collect()
        }
        opened => opened?,
    };
    if opened.is_empty() { Err(NotShown::Nothing) } else { Ok((verified, opened)) }
}

/// Whether the directory in force lets what the originator signed at that time count.
fn check_originator(office: &Office, envelope: &Envelope) -> Result<(), NotShown> {
    let directory = office.directory();
    let header = envelope.header();
    let status = directory.agency(&header.originator).map(|entry| entry.status);
    let Some((status, since)) = status.and_then(|status| Some((status, status.ended_at()?))) else {
        return Ok(());
    };
    if header.created_at < since {
        return Ok(());
    }
    Err(NotShown::Withdrawn {
        originator: header.originator.clone(),
        status,
        since,
        version: directory.version(),
        created_at: header.created_at,
    })
}
