//! What was drafted and waits for a second officer.
//!
//! Claimed: at or above the configured label nothing leaves by one officer alone; whoever drafted cannot approve; and
//! approving twice sends once, also where the node dies between. It holds because nothing is sealed before the approval,
//! and the batch that queues the envelope also takes the draft off; the id under which it will be sent is fixed from
//! the beginning.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use valise_proto::envelope::NoticeKind;
use valise_proto::id::{NoticeId, Timestamp};
use valise_proto::label::Classification;

/// Most drafts that wait.
pub const PENDING_MAX: usize = 1000;

/// A draft that waits for a second officer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The id under which it will be sent.
    pub notice_id: NoticeId,
    /// Its kind.
    pub kind: NoticeKind,
    /// The banner of the whole.
    pub label: String,
    /// Who drafted it.
    pub drafter: String,
    /// When.
    pub at: Timestamp,
    /// Until when it can be approved.
    pub until: Timestamp,
    /// The author's JSON.
    json: String,
}

/// Why a draft is not decided upon. It waits on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotDecided {
    /// No such draft.
    #[error(
        "no draft {0} waits for a second officer; it may have been decided upon, or have lapsed: valise-agent pending"
    )]
    Unknown(NoticeId),
    /// The drafter cannot be the second officer.
    #[error("{0:?} drafted it: somebody else must approve it")]
    SameOfficer(String),
    /// Too many wait.
    #[error(
        "{PENDING_MAX} drafts wait for a second officer, which is all that is kept: valise-agent pending"
    )]
    Full,
}

impl Pending {
    /// A draft that waits until `until`.
    #[must_use]
    pub fn new(
        (notice_id, kind, label): (NoticeId, NoticeKind, String),
        drafter: String,
        (at, until): (Timestamp, Timestamp),
        json: String,
    ) -> Self {
        Self { notice_id, kind, label, drafter, at, until, json }
    }

    /// What the author wrote.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Whether `officer` may be the second one.
    ///
    /// # Errors
    /// [`NotDecided::SameOfficer`].
    pub fn check_second(&self, officer: &str) -> Result<(), NotDecided> {
        if is_same_officer(officer, &self.drafter) {
            Err(NotDecided::SameOfficer(self.drafter.clone()))
        } else {
            Ok(())
        }
    }
}

/// The draft is content.
impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending({})", self.notice_id)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.json);
    }
}

/// Whether two names are those of one officer. Capitals and blanks make nobody somebody else.
#[must_use]
pub fn is_same_officer(one: &str, other: &str) -> bool {
    let plain = |name: &str| name.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    plain(one) == plain(other)
}

/// Whether a notice of this classification needs a second officer, by the lowest that does.
#[must_use]
pub fn is_needed(from: Option<Classification>, classification: Classification) -> bool {
    from.is_some_and(|from| classification >= from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g09_a_drafter_is_not_the_second_officer_under_another_spelling() {
        let id = NoticeId::new(Timestamp::from_millis(1), [0; 10]);
        let times = (Timestamp::from_millis(1), Timestamp::from_millis(2));
        let what = (id, NoticeKind::Travel, "SECRET".to_owned());
        let pending = Pending::new(what, "Officer A. Example".to_owned(), times, "{}".to_owned());
        for same in ["Officer A. Example", "officer a.  example", " Officer A. Example "] {
            assert!(pending.check_second(same).is_err(), "{same:?}");
        }
        assert!(pending.check_second("Officer B. Example").is_ok());
        assert!(is_needed(Some(Classification::Secret), Classification::TopSecret));
        assert!(!is_needed(Some(Classification::Secret), Classification::Confidential));
        assert!(!is_needed(None, Classification::TopSecret));
    }
}
