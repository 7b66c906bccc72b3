//! What is due by the clock, in words: reminders of answers, and what is to be deleted.

use valise_proto::envelope::Header;
use valise_proto::id::{NoticeId, Timestamp};

use super::effect::Outgoing;
use super::effect::Purge;
use crate::journal::Entry;

/// Whose notice it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// One of ours.
    Originator,
    /// One that was received.
    Recipient,
}

/// How far the time for answers has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Three quarters of it are over.
    Near,
    /// All of it.
    Over,
}

/// A time at which somebody is reminded of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    /// When.
    pub at: Timestamp,
    /// Of which notice.
    pub notice_id: NoticeId,
    /// Whose.
    pub side: Side,
    /// How far the time for answers has gone then.
    pub stage: Stage,
    /// Until when answers are asked for.
    pub respond_by: Timestamp,
}

impl Alarm {
    /// The first reminder of answers to the notice of this header: after three quarters of the time. Where that is over
    /// already, the reminder is due at once.
    pub(super) fn first(header: &Header, side: Side) -> Option<Self> {
        let (created_at, respond_by) = (header.created_at, header.respond_by?);
        // Whoever asks for an answer before the question was put asks for none.
        if respond_by <= created_at {
            return None;
        }
        let most = respond_by.since(created_at).checked_div(4).unwrap_or_default().saturating_mul(3);
        let (at, notice_id) = (created_at.plus(most), header.notice_id);
        Some(Self { at, notice_id, side, stage: Stage::Near, respond_by })
    }
}

/// A time at which what a notice says is to be deleted: its `review_by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Review {
    /// When.
    pub review_by: Timestamp,
    /// Which notice.
    pub notice_id: NoticeId,
    /// Whose.
    pub side: Side,
}

/// What the shell has prepared for a [`Review`].
#[derive(Debug)]
pub enum Reviewed {
    /// What was received is deleted.
    Received {
        /// With the PURGED receipt.
        purge: Box<Purge>,
        /// The envelope that carries it.
        reply: Option<Box<Outgoing>>,
        /// The entry of the access journal.
        journal: Box<Entry>,
    },
    /// What was sent is deleted.
    Sent {
        /// When.
        at: Timestamp,
        /// The entry of the access journal.
        journal: Box<Entry>,
    },
    /// Nothing is held any more.
    Gone,
}
