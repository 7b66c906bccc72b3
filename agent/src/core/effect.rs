//! What the core is told and what it asks for.

use bytes::Bytes;
use valise_proto::directory::Directory;
use valise_proto::envelope::{NoticeKind, Precedence, VerifiedEnvelope};
use valise_proto::id::{AgencyId, Digest, NoticeId, Timestamp};
use valise_proto::receipt::{PurgeCause, ReceiptKind, SignedReceipt};
use valise_proto::refusal::Refusal;
use valise_proto::wire::session::Cursor;
use zeroize::Zeroizing;

use super::due::{Alarm, Review, Side, Stage};
use super::receipts::{BrokerAnswer, CountedReceipt};
use super::steps::{OfficerStep, StepKey};
use crate::journal::Entry;
use crate::officers::register::Register;
use crate::pending::Pending;

/// One atomic change of the store, to be reported with [`super::Core::handle_persisted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// One connection to a broker, counted by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// The place of an envelope in the outbox: older ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxSeq(pub u64);

/// Where a delivery came from, so that it can be acknowledged there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The connection; cursors mean nothing to another.
    pub session: SessionId,
    /// The stream.
    pub precedence: Precedence,
    /// The item.
    pub cursor: Cursor,
}

/// What the core remembers of an envelope in the outbox. Its bytes are in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its place.
    pub seq: OutboxSeq,
    /// Which notice.
    pub notice_id: NoticeId,
    /// Its kind.
    pub kind: NoticeKind,
    /// Which stream it goes by.
    pub precedence: Precedence,
    /// After this the broker would refuse it.
    pub expires_at: Timestamp,
}

/// An envelope of ours, sealed and signed: its bytes never change again, so that resubmitting is harmless (G5).
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The envelope.
    pub envelope: valise_proto::envelope::Envelope,
    /// Its encoding: what is submitted.
    pub encoded: Bytes,
    /// The author's JSON, for the store to encrypt; none for receipts.
    pub draft: Option<Draft>,
    /// What it was made from, for the store to encrypt, where it was made from another notice.
    pub origin: Option<Draft>,
    /// When nobody may keep what it says any longer; none where it says nothing about persons.
    pub review_by: Option<Timestamp>,
    /// Who can read what of it and why, for the store to encrypt; none for receipts.
    pub table: Option<Draft>,
}

/// What the author wrote. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Draft(pub Zeroizing<Vec<u8>>);

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Draft")
    }
}

/// The identity of an envelope: its notice, and the digest of its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which notice.
    pub notice_id: NoticeId,
    /// Which envelope under that id.
    pub header_digest: Digest,
    /// When it expires; a day after that nobody delivers it any more.
    pub expires_at: Timestamp,
}

/// A notice that was verified, opened and decoded.
#[derive(Clone, Debug)]
pub struct Received {
    /// The envelope as delivered.
    pub envelope: VerifiedEnvelope,
    /// The directory it was verified under, kept so that it can be verified again.
    pub directory: std::sync::Arc<Directory>,
    /// When.
    pub at: Timestamp,
    /// The DELIVERED receipt.
    pub receipt: SignedReceipt,
    /// When what it says is to be deleted; none where it says nothing about persons.
    pub review_by: Option<Timestamp>,
    /// Of a CORRECTION: what it changes, for the store to encrypt, where what it corrects was held.
    pub differences: Option<Draft>,
}

/// Longest [`Reason`], in bytes.
pub const REASON_BYTES_MAX: usize = 512;

/// Why something was set aside, in a sentence without content, cut to [`REASON_BYTES_MAX`]: part of it may be a peer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// The sentence, cut between characters where it is too long.
    #[must_use]
    pub fn new(sentence: impl std::fmt::Display) -> Self {
        let mut sentence = sentence.to_string();
        sentence.truncate(sentence.floor_char_boundary(REASON_BYTES_MAX));
        Self(sentence)
    }

    /// The sentence.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A delivery that is not shown to anybody.
#[derive(Clone, Debug)]
pub struct SetAside {
    /// Which envelope, where that much could be read.
    pub seen: Option<Seen>,
    /// The bytes that came.
    pub bytes: Bytes,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
    /// The REJECTED receipt, where the originator is known to be who it says.
    pub receipt: Option<SignedReceipt>,
}

/// What a delivery turned out to be.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// A notice for officers, and the envelope that carries the DELIVERED receipt (none where it cannot be sealed).
    Notice {
        /// The notice.
        received: Box<Received>,
        /// The answer.
        reply: Option<Box<Outgoing>>,
        /// What it takes out of force, each with the envelope that carries the PURGED receipt.
        purges: Vec<(Purge, Option<Box<Outgoing>>)>,
    },
    /// A recipient's receipt about a notice of ours.
    Receipt {
        /// The RECEIPT envelope that carried it.
        carrier: Seen,
        /// The receipt.
        receipt: Box<CountedReceipt>,
    },
    /// The broker's EXPIRED receipt about a notice of ours.
    Expiry(Box<CountedReceipt>),
    /// Something that is not to be shown, and the envelope that carries the REJECTED receipt.
    SetAside {
        /// What.
        aside: Box<SetAside>,
        /// The answer.
        reply: Option<Box<Outgoing>>,
    },
    /// An envelope that the store already holds.
    Again(Seen),
}

/// A change of the store. All changes of one [`Effect::Persist`] are applied together or not at all.
#[derive(Clone, Debug)]
pub enum Change {
    /// An envelope joins the outbox.
    Queue {
        /// Its place.
        seq: OutboxSeq,
        /// The envelope.
        outgoing: Box<Outgoing>,
    },
    /// An envelope leaves the outbox.
    Unqueue {
        /// Which.
        queued: Queued,
        /// Why.
        outcome: Box<Outcome>,
    },
    /// A notice for officers arrived.
    Receive(Box<Received>),
    /// Something was set aside.
    SetAside(Box<SetAside>),
    /// A receipt about a notice of ours.
    Record(Box<CountedReceipt>),
    /// An envelope that is not to be taken in again.
    Remember(Seen),
    /// Envelopes that nobody delivers any more.
    Forget(Vec<Seen>),
    /// An officer was shown a notice, acted upon it, or declined it.
    Step(Box<OfficerStep>),
    /// An alarm was told.
    Rang {
        /// Under which entry it lay.
        entry: Alarm,
        /// As what it was told.
        told: Stage,
        /// What is told next.
        next: Option<Alarm>,
    },
    /// A deletion by the clock is done.
    Reviewed(Review),
    /// What a notice of ours says is deleted: the author's JSON, what it was made from, and the sealed portions.
    Erase {
        /// Which.
        notice_id: NoticeId,
        /// When.
        at: Timestamp,
    },
    /// An entry of the access journal, in the same batch as the deed it tells of.
    Journal(Box<Entry>),
    /// The officers' accounts, all of them.
    Officers(Box<Register>),
    /// A draft waits for a second officer.
    Pend(Box<Pending>),
    /// A draft waits no longer.
    Unpend(NoticeId),
    /// A notice of another agency counts no more: what is held of it is deleted, and what may still come of it is not
    /// taken in.
    Purge(Box<Purge>),
}

/// That a notice of another agency counts no more.
#[derive(Clone, Debug)]
pub struct Purge {
    /// Which.
    pub notice_id: NoticeId,
    /// Who sent it. A notice of another agency under the same id is not meant.
    pub originator: AgencyId,
    /// When it was purged.
    pub at: Timestamp,
    /// Why.
    pub cause: PurgeCause,
    /// The notice that says so; none where its time was over.
    pub by: Option<NoticeId>,
    /// The PURGED receipt.
    pub receipt: SignedReceipt,
}

/// Why an envelope left the outbox.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The broker answered for good: ACCEPTED or REFUSED.
    Answered(Box<BrokerAnswer>),
    /// It expired before a broker could be reached.
    Lapsed(Timestamp),
    /// It was not submitted, for the broker would have ended the connection for it.
    Unsendable {
        /// When.
        at: Timestamp,
        /// Why.
        refusal: Refusal,
    },
}

impl Outcome {
    /// Whether a broker took it.
    #[must_use]
    pub fn is_acceptance(&self) -> bool {
        match self {
            Self::Answered(answer) => answer.refusal().is_none(),
            Self::Lapsed(_) | Self::Unsendable { .. } => false,
        }
    }
}

/// How a connection ended, as far as it tells when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It may succeed the next time.
    Passing,
    /// The authority has suspended or revoked this agency, or revoked its certificate: trying again soon is in vain.
    Excluded,
}

/// What the shell is to do.
#[derive(Debug)]
pub enum Effect {
    /// Apply these changes atomically, make them durable, then report with [`super::Core::handle_persisted`].
    Persist {
        /// Their number.
        ticket: Ticket,
        /// What changes.
        changes: Vec<Change>,
    },
    /// Submit the stored bytes of this envelope.
    Submit {
        /// On which connection.
        session: SessionId,
        /// On which stream.
        precedence: Precedence,
        /// Which.
        notice_id: NoticeId,
    },
    /// Acknowledge these deliveries.
    Acknowledge {
        /// On which connection.
        session: SessionId,
        /// On which stream.
        precedence: Precedence,
        /// Which.
        cursors: Vec<Cursor>,
    },
    /// Try the next endpoint, or where there is a connection make another beside it; then report with
    /// `handle_connected` or `handle_disconnected`.
    Connect,
    /// End a connection in order: another has taken its place.
    Retire {
        /// Which.
        session: SessionId,
    },
    /// End the connection.
    Close {
        /// Which.
        session: SessionId,
        /// Why.
        reason: &'static str,
    },
    /// Prepare the deletion of what nobody may keep any longer, then report with [`super::Core::handle_reviewed`].
    Review(Review),
    /// Tell whoever waits.
    Notify(Event),
}

/// What others may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A notice of ours is on stable storage.
    Queued(NoticeId),
    /// The broker took a notice of ours.
    Accepted(NoticeId),
    /// The broker refused a notice of ours for good.
    Refused {
        /// Which.
        notice_id: NoticeId,
        /// Its kind.
        kind: NoticeKind,
        /// Why.
        reason: String,
    },
    /// A notice of ours expired before a broker could be reached.
    Lapsed(NoticeId),
    /// A notice arrived.
    Received(NoticeId),
    /// A receipt of this kind about a notice of ours arrived.
    Receipt(NoticeId, ReceiptKind),
    /// Something was set aside.
    SetAside(Reason),
    /// What was held of a notice is deleted.
    Purged {
        /// Which.
        notice_id: NoticeId,
        /// The notice that says so; none where its time was over.
        by: Option<NoticeId>,
    },
    /// That an officer was shown a notice, acted upon it or declined it is on stable storage.
    Step(StepKey),
    /// What was handed to [`super::Core::handle_record`] with this number is on stable storage.
    Recorded(u64),
    /// The time for answers is running out, or over.
    Alarm(Alarm),
}

impl Outgoing {
    /// Takes a signed envelope.
    #[must_use]
    pub fn new(envelope: valise_proto::envelope::Envelope, draft: Option<Draft>) -> Self {
        let encoded = envelope.encode();
        Self { envelope, encoded, draft, origin: None, review_by: None, table: None }
    }

    /// The same with what it was made from.
    #[must_use]
    pub fn with_origin(self, origin: Option<Draft>) -> Self {
        Self { origin, ..self }
    }

    /// The same with the time until which what it says is kept.
    #[must_use]
    pub fn with_review_by(self, review_by: Option<Timestamp>) -> Self {
        Self { review_by, ..self }
    }

    /// The same with the table of who can read what.
    #[must_use]
    pub fn with_table(self, table: Draft) -> Self {
        Self { table: Some(table), ..self }
    }

    /// What the core remembers of it.
    #[must_use]
    pub fn queued(&self, seq: OutboxSeq) -> Queued {
        let header = self.envelope.header();
        Queued {
            seq,
            notice_id: header.notice_id,
            kind: header.kind,
            precedence: header.precedence,
            expires_at: header.expires_at,
        }
    }

    /// The first reminder of answers to it.
    #[must_use]
    pub fn alarm(&self) -> Option<Alarm> {
        Alarm::first(self.envelope.header(), Side::Originator)
    }

    /// When what it says is to be deleted here.
    #[must_use]
    pub fn review(&self) -> Option<Review> {
        let notice_id = self.envelope.header().notice_id;
        self.review_by.map(|review_by| Review { review_by, notice_id, side: Side::Originator })
    }
}

impl Received {
    /// The envelope's identity.
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen::of(self.envelope.envelope())
    }

    /// The first reminder to answer it.
    #[must_use]
    pub fn alarm(&self) -> Option<Alarm> {
        Alarm::first(self.envelope.header(), Side::Recipient)
    }

    /// When what it says is to be deleted here.
    #[must_use]
    pub fn review(&self) -> Option<Review> {
        let notice_id = self.envelope.header().notice_id;
        self.review_by.map(|review_by| Review { review_by, notice_id, side: Side::Recipient })
    }
}

impl Seen {
    /// The identity of `envelope`.
    #[must_use]
    pub fn of(envelope: &valise_proto::envelope::Envelope) -> Self {
        let header = envelope.header();
        Self {
            notice_id: header.notice_id,
            header_digest: envelope.header_digest(),
            expires_at: header.expires_at,
        }
    }
}
