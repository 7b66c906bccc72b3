//! What the records say, apart from envelopes and receipts, which are kept as the bytes that were signed.
//!
//! None of them holds content: names, dates and routes are only ever in sealed envelopes and encrypted drafts.

use serde::{Deserialize, Serialize};
use valise_proto::crypto::sha256;
use valise_proto::directory::Directory;
use valise_proto::envelope::{Header, NoticeKind, Precedence};
use valise_proto::id::{AgencyId, Digest, NoticeId, SpiffeId, Timestamp};
use valise_transport::Revocation;

use valise_proto::receipt::PurgeCause;

use crate::core::{OutboxSeq, Queued, Seen, SentFacts};

/// An envelope in the outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OutboxRecord {
    notice_id: NoticeId,
    kind: NoticeKind,
    precedence: Precedence,
    expires_at: Timestamp,
}

impl OutboxRecord {
    pub(super) fn of(queued: &Queued) -> Self {
        let Queued { notice_id, kind, precedence, expires_at, .. } = *queued;
        Self { notice_id, kind, precedence, expires_at }
    }

    pub(super) fn queued(&self, seq: OutboxSeq) -> Queued {
        let Self { notice_id, kind, precedence, expires_at } = *self;
        Queued { seq, notice_id, kind, precedence, expires_at }
    }
}

/// A notice of ours, as its header tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentRecord {
    /// Which.
    pub notice_id: NoticeId,
    /// SHA-256 of its header.
    pub header_digest: Digest,
    /// Its kind.
    pub kind: NoticeKind,
    /// Its precedence.
    pub precedence: Precedence,
    /// When it was sealed.
    pub created_at: Timestamp,
    /// When the broker deletes it.
    pub expires_at: Timestamp,
    /// Until when answers are asked for.
    pub respond_by: Option<Timestamp>,
    /// Who receives it.
    pub recipients: Vec<AgencyId>,
    /// The banner of the whole.
    pub label: String,
    /// When what it says is to be deleted; none where it says nothing about persons.
    #[serde(default)]
    pub review_by: Option<Timestamp>,
}

impl SentRecord {
    pub(crate) fn of(header: &Header, header_digest: Digest) -> Self {
        Self {
            notice_id: header.notice_id,
            header_digest,
            kind: header.kind,
            precedence: header.precedence,
            created_at: header.created_at,
            expires_at: header.expires_at,
            respond_by: header.respond_by,
            recipients: header.recipients.clone(),
            label: header.label.to_string(),
            review_by: None,
        }
    }

    /// What receipts about it are checked against.
    pub(super) fn facts(self, accepted_by: Option<SpiffeId>) -> SentFacts {
        let Self { notice_id, header_digest, recipients, expires_at, .. } = self;
        SentFacts { notice_id, header_digest, recipients, expires_at, accepted_by }
    }
}

/// That a notice of ours was not submitted, because the broker would not have taken it in any case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsentRecord {
    /// When.
    pub at: Timestamp,
    /// Why: a word and a sentence.
    pub reason: String,
}

/// A notice that was received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedRecord {
    /// Which.
    pub notice_id: NoticeId,
    /// SHA-256 of its header.
    pub header_digest: Digest,
    /// Its kind.
    pub kind: NoticeKind,
    /// Who sent it.
    pub originator: AgencyId,
    /// Its precedence.
    pub precedence: Precedence,
    /// The banner of the whole.
    pub label: String,
    /// Until when an answer is asked for.
    pub respond_by: Option<Timestamp>,
    /// When it was taken in.
    pub received_at: Timestamp,
    /// The directory it was verified under.
    pub directory_version: u64,
    /// When what it says is to be deleted; none where it says nothing about persons.
    #[serde(default)]
    pub review_by: Option<Timestamp>,
}

/// That an officer was shown a notice, acted upon it or declined it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadRecord {
    /// Who.
    pub officer: String,
    /// When.
    pub at: Timestamp,
}

/// That a notice of another agency counts no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgedRecord {
    /// Who sent it.
    pub originator: AgencyId,
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub cause: PurgeCause,
    /// The notice that says so; none where its time was over.
    pub by: Option<NoticeId>,
}

/// An envelope that was taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SeenRecord {
    header_digest: Digest,
    expires_at: Timestamp,
}

impl SeenRecord {
    pub(super) fn of(seen: &Seen) -> Self {
        Self { header_digest: seen.header_digest, expires_at: seen.expires_at }
    }

    pub(super) fn seen(&self, notice_id: NoticeId) -> Seen {
        Seen { notice_id, header_digest: self.header_digest, expires_at: self.expires_at }
    }
}

/// The newest directory that this node ever held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HighestDirectory {
    /// Its version.
    pub version: u64,
    /// The generation of the root's delegation in it.
    pub generation: u64,
    /// SHA-256 of it.
    pub digest: Digest,
}

impl HighestDirectory {
    pub(super) fn of(directory: &Directory) -> Self {
        Self {
            version: directory.version(),
            generation: directory.delegation().generation,
            digest: sha256(&[directory.encoded()]),
        }
    }

    /// Whether `directory` is this one or may follow it.
    #[must_use]
    pub fn allows(&self, directory: &Directory) -> bool {
        let that = Self::of(directory);
        that == *self || (that.generation, that.version) > (self.generation, self.version)
    }
}

/// The newest revocation list of an issuer that this node ever held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HighestList {
    /// Whose.
    pub issuer: String,
    /// Its number, big-endian, without zeros in front.
    pub number: Vec<u8>,
    /// SHA-256 of it.
    pub digest: Digest,
}

impl HighestList {
    pub(super) fn of(list: &Revocation) -> Self {
        let number = list.number.iter().copied().skip_while(|byte| *byte == 0).collect();
        Self { issuer: list.issuer.clone(), number, digest: list.digest }
    }

    /// Whether `list` is this one, may follow it, or is of another issuer.
    #[must_use]
    pub fn allows(&self, list: &Revocation) -> bool {
        let that = Self::of(list);
        let later = (that.number.len(), &that.number) > (self.number.len(), &self.number);
        that.issuer != self.issuer || that.digest == self.digest || later
    }
}

/// Something that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsideRecord {
    /// Which notice it says it is; only where the originator's signature verified.
    pub notice_id: Option<NoticeId>,
    /// When it came.
    pub at: Timestamp,
    /// SHA-256 of what came.
    pub digest: Digest,
    /// Why it is not shown.
    pub reason: String,
}
