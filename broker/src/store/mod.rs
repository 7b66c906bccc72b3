//! The durable store.
//!
//! Its vocabulary is Valise's: accept, acknowledge, expire, review; read an inbox; say what is due. What a batch does to
//! the state follows from the batch and the state alone: times, receipts and random values are inside the batch, so two
//! brokers that apply the same batches end with the same bytes.
//!
//! Claimed: when [`Store::make_durable`] returns, everything applied before it survives `kill -9` and a power cut (G4).
//! It holds because the database file is fdatasync'ed after sled's own flush, which does not do that (ARCHITECTURE.md,
//! "Durability").

#[cfg(test)]
mod care_tests;
mod committer;
mod keys;
#[cfg(test)]
mod quota_tests;
mod record;
mod sled;
#[cfg(test)]
mod tests;
mod usage;

use bytes::Bytes;
use thiserror::Error;
use valise_proto::envelope::Precedence;
use valise_proto::id::{AgencyId, Digest, NoticeId, Timestamp};
use valise_proto::wire::session::Cursor;

use crate::core::FollowUp;

pub use self::sled::{Copying, Finding, Reader, SledStore, Step, Verification};
pub use committer::{CommitStatistics, Committer, CommitterHandle, Reply, Submission};
pub use usage::{Exceeded, Quota};

/// Longest time an accepted id is remembered after its notice expired: a clock set back by less than this does not let
/// the same envelope in again.
pub const REMEMBER_AFTER_EXPIRY: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

/// The store cannot do what was asked. Unless it says otherwise, nothing was changed.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// Another process has the folder.
    #[error(
        "the data folder {path} is in use by another broker; stop that one first, or give this one its own folder"
    )]
    InUse {
        /// The folder.
        path: String,
    },
    /// The folder cannot be opened.
    #[error("the data folder {path} cannot be used: {problem}")]
    Open {
        /// The folder.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The folder was written by a newer version.
    #[error(
        "the data folder {path} has format {got}; this broker knows format {known}; run the newer broker again"
    )]
    Format {
        /// The folder.
        path: String,
        /// Its format.
        got: String,
        /// The format known here.
        known: u32,
    },
    /// Reading or writing failed. The state on disk is as it was at the last commit; this process must not go on.
    #[error("the store failed: {0}; see to the disk and restart the broker")]
    Failed(String),
    /// A record cannot be read.
    #[error("the record {key} cannot be read: {problem}")]
    Corrupt {
        /// Its key, in hexadecimal.
        key: String,
        /// What is wrong.
        problem: String,
    },
}

/// An envelope that was admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// Its id.
    pub notice_id: NoticeId,
    /// SHA-256 of its header.
    pub header_digest: Digest,
    /// Who submitted it.
    pub originator: AgencyId,
    /// Whose inboxes it enters.
    pub recipients: Vec<AgencyId>,
    /// Which of their queues.
    pub precedence: Precedence,
    /// When it was admitted.
    pub accepted_at: Timestamp,
    /// When it is to be deleted.
    pub expires_at: Timestamp,
    /// The envelope as it was received.
    pub envelope: Bytes,
    /// The encoded signed ACCEPTED receipt.
    pub receipt: Bytes,
    /// The notice it corrects or takes back.
    pub follows: Option<Box<FollowUp>>,
    /// Whether it is a receipt, which its originator owes and which counts as no notice of its own.
    pub is_receipt: bool,
    /// What its originator and its recipients may not exceed by it.
    pub quota: Quota,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Keeps an envelope, queues it for its recipients and logs it.
    Accept(Acceptance),
    /// Removes items from an inbox. An envelope that stands in no inbox any more is deleted (G11).
    Acknowledge {
        /// Whose.
        agency: AgencyId,
        /// Which queue.
        precedence: Precedence,
        /// Which items; unknown ones do no harm.
        cursors: Vec<Cursor>,
    },
    /// Deletes an envelope that was not acknowledged in time, and queues the EXPIRED receipts for its originator.
    Expire {
        /// Which.
        notice_id: NoticeId,
        /// When.
        at: Timestamp,
        /// One encoded signed receipt for each recipient that had not acknowledged it; those that have in the meantime are
        /// left out.
        receipts: Vec<(AgencyId, Bytes)>,
    },
    /// Ends a due entry: ids that are long gone are forgotten, the others are looked at again later.
    Review {
        /// Which entry.
        due: DueKey,
        /// When.
        at: Timestamp,
    },
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The envelope is kept.
    Accepted,
    /// The same envelope was accepted before: its receipt again (G5).
    Duplicate {
        /// The encoded signed receipt of the first time.
        receipt: Bytes,
    },
    /// Another envelope was accepted under this id; nothing was changed.
    Conflict,
    /// It corrects or takes back a notice of another agency; nothing was changed.
    OfAnother,
    /// It does not go to everyone who was sent the notice that it corrects or takes back; nothing was changed.
    Incomplete {
        /// Who is left out.
        missing: Vec<AgencyId>,
    },
    /// Too much waits already; nothing was changed.
    OverQuota(Exceeded),
    /// Done, or there was nothing to do.
    Done,
}

/// The beginning of an inbox, or of what is left of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inbox {
    /// Its items, oldest first.
    pub items: Vec<InboxItem>,
    /// Whether more follow.
    pub more: bool,
}

/// An item of an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxItem {
    /// Its place.
    pub cursor: Cursor,
    /// What it is.
    pub content: InboxContent,
}

/// What an item is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InboxContent {
    /// An envelope as it was received.
    Envelope(Bytes),
    /// An encoded signed EXPIRED receipt.
    Receipt(Bytes),
    /// The record is there but cannot be read.
    Unreadable(String),
}

impl InboxContent {
    /// Bytes it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Envelope(bytes) | Self::Receipt(bytes) => bytes.len(),
            Self::Unreadable(_) => 0,
        }
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is known of a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptNotice {
    /// Who submitted it.
    pub originator: AgencyId,
    /// SHA-256 of its header.
    pub header_digest: Digest,
    /// The encoded signed ACCEPTED receipt.
    pub receipt: Bytes,
    /// Recipients that have not acknowledged it.
    pub undelivered: Vec<AgencyId>,
}

/// Names an entry of the calendar: notices to be looked at in the same second. One entry for many, because the notices of
/// one batch mostly expire together, and each entry costs a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueKey {
    /// When: seconds since the Unix epoch, rounded up.
    pub second: u64,
    /// The first of its notices.
    pub first: NoticeId,
}

impl DueKey {
    /// The second in which something that happens at `at` has happened.
    #[must_use]
    pub fn second_of(at: Timestamp) -> u64 {
        at.millis().div_ceil(1000)
    }
}

/// An entry whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its name, to be reviewed by.
    pub key: DueKey,
    /// Those of its notices that were not acknowledged in time.
    pub expired: Vec<(NoticeId, KeptNotice)>,
}

/// How many items stand in one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Whose.
    pub agency: AgencyId,
    /// Which queue.
    pub precedence: Precedence,
    /// How many.
    pub items: usize,
}

/// What changes the state. One owner; readers have [`Reader`].
pub trait Store: Send {
    /// Applies `batch` as one atomic change and says what each operation did, in order.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing of the batch was applied.
    fn apply(&mut self, batch: &[Operation]) -> Result<Vec<Outcome>, StoreError>;

    /// Returns when everything applied is on stable storage.
    ///
    /// # Errors
    /// [`StoreError::Failed`]; then it is not known what survived, and the process must stop.
    fn make_durable(&mut self) -> Result<(), StoreError>;
}
