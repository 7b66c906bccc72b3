//! What a CORRECTION or WITHDRAWAL takes out of force, and whom it has to reach.
//!
//! Claimed: whichever way it comes in, a correction or withdrawal is of a notice that was sent from here, of the newest
//! of its chain; it names every notice of the chain, so that a recipient that got any of them knows; and it goes to
//! everybody who was sent one, as long as they take part in the exchange. It holds because nothing of these kinds is
//! addressed without passing here.

use std::collections::BTreeSet;

use thiserror::Error;
use valise_proto::envelope::NoticeKind;
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::notice::{NoticeRef, REPLACES_MAX};

use crate::store::{Store, StoreError};

/// The label of the reason of a correction, and of a withdrawal unless another is asked for: everybody who got the notice
/// has to be able to read that it no longer counts. It is not shared onward, as what it is about may not be.
pub(crate) const FOLLOW_UP_LABEL: &str = "UNCLASSIFIED//H2";

/// Why a notice cannot be corrected or withdrawn. Nothing was changed.
#[derive(Debug, Error)]
pub enum NotFollowed {
    /// No such notice.
    #[error("there is no notice {0} here; `valise-agent status` lists what was sent")]
    Unknown(NoticeId),
    /// Another's.
    #[error(
        "notice {0} was received here: only its originator corrects or withdraws it; `valise-agent respond {0}` tells the originator what you found"
    )]
    OfAnother(NoticeId),
    /// A follow-up that has no content to correct.
    #[error(
        "notice {id} is a {kind}, which is neither corrected nor withdrawn: only a notice about persons is; {}", instead(*.kind)
    )]
    Kind {
        /// Which.
        id: NoticeId,
        /// Its kind.
        kind: NoticeKind,
    },
    /// Not the newest.
    #[error(
        "notice {id} is out of force already by the {kind} {by}: {}", left(*.kind)
    )]
    Superseded {
        /// Which.
        id: NoticeId,
        /// CORRECTION or WITHDRAWAL.
        kind: NoticeKind,
        /// What took its place.
        by: NoticeId,
    },
    /// Corrected too often.
    #[error("notice {0} has been corrected {REPLACES_MAX} times; withdraw it, and send a new one")]
    TooLong(NoticeId),
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// What to do where a notice of this kind should not have been sent as it is.
fn instead(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Withdrawal => {
            "what it took back stays out of force: if that holds after all, send it anew with valise-agent send FILE"
        }
        NoticeKind::Response => "to say something else, answer again with valise-agent respond",
        NoticeKind::ReleaseRequest => {
            "what is not answered is not granted; ask anew with valise-agent release request"
        }
        NoticeKind::ReleaseDecision => {
            "what was decided stands; leave that was given ends at its time, or when the notice it is about is corrected or withdrawn"
        }
        NoticeKind::Receipt => "what it states was done",
        NoticeKind::Travel | NoticeKind::Arrival | NoticeKind::Deportation | NoticeKind::Correction => {
            "send it anew with valise-agent send FILE"
        }
    }
}

/// What can still be done about a notice that one of this kind took out of force.
fn left(kind: NoticeKind) -> &'static str {
    if kind == NoticeKind::Withdrawal {
        "nothing of it is left to correct or withdraw; if it holds after all, send it anew with valise-agent send FILE"
    } else {
        "that one took its place, and is the one to correct or withdraw"
    }
}

/// A notice of ours and those that it took the place of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// All of them, newest first.
    pub replaces: Vec<NoticeRef>,
    /// Everybody who was sent one of them.
    pub holders: BTreeSet<AgencyId>,
    /// When the last copy of one of them expires.
    pub expires_at: Option<Timestamp>,
}

impl Chain {
    /// The chain whose newest notice is `id`.
    ///
    /// # Errors
    /// [`NotFollowed`].
    pub fn of(store: &Store, id: &NoticeId) -> Result<Self, NotFollowed> {
        if store.received(id)?.is_some() {
            return Err(NotFollowed::OfAnother(*id));
        }
        let first = store.sent_record(id)?.ok_or(NotFollowed::Unknown(*id))?;
        if !first.kind.tells_of_persons() {
            return Err(NotFollowed::Kind { id: *id, kind: first.kind });
        }
        if let Some(follow_up) = store.followed_by(id)? {
            let record = follow_up.record;
            return Err(NotFollowed::Superseded { id: *id, kind: record.kind, by: record.notice_id });
        }
        let mut chain = Self { replaces: Vec::new(), holders: BTreeSet::new(), expires_at: None };
        let mut next = Some(*id);
        while let Some(id) = next {
            if chain.replaces.len() >= REPLACES_MAX {
                return Err(NotFollowed::TooLong(id));
            }
            let Some(record) = store.sent_record(&id)? else { break };
            chain.replaces.push(NoticeRef { notice_id: id, header_digest: record.header_digest });
            chain.holders.extend(record.recipients);
            chain.expires_at = chain.expires_at.max(Some(record.expires_at));
            next = store.envelope(&id)?.and_then(|envelope| envelope.header().supersedes);
        }
        Ok(chain)
    }
}
