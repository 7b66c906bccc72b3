//! The seam to the notice model: what the rest of the agent needs to know of a notice's content.

use serde::{Deserialize, Serialize};
use valise_proto::directory::Directory;
use valise_proto::envelope::{NoticeKind, OpenedPortion, PlainPortion, Precedence};
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::receipt::SignedReceipt;
use zeroize::Zeroizing;

use super::preview::PreviewOmission;

/// One thing wrong with what the author wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mistake {
    /// Where, as a JSON path.
    pub path: String,
    /// What stands there.
    pub value: String,
    /// What is allowed.
    pub rule: String,
}

impl Mistake {
    /// A mistake at `path`.
    #[must_use]
    pub fn new(path: &str, value: impl ToString, rule: &str) -> Self {
        Self { path: path.to_owned(), value: value.to_string(), rule: rule.to_owned() }
    }
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.value.is_empty() {
            write!(f, "{}: {}", self.path, self.rule)
        } else {
            write!(f, "{}: `{}`: {}", self.path, self.value, self.rule)
        }
    }
}

pub(super) struct Content;
#[derive(Debug, thiserror::Error)]
#[error("unreadable")]
pub struct Unreadable;

pub(super) fn read(_json: &[u8], _now: Timestamp) -> Result<Content, Vec<Mistake>> {
    Err(vec![])
}
impl Content {
    pub(super) fn kind(&self) -> NoticeKind {
        NoticeKind::Travel
    }
    pub(super) fn precedence(&self) -> Precedence {
        Precedence::Flash
    }
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        None
    }
    pub(super) fn respond_by(&self) -> Option<Timestamp> {
        None
    }
    pub(super) fn in_reply_to(&self) -> Option<NoticeId> {
        None
    }
    pub(super) fn supersedes(&self) -> Option<NoticeId> {
        None
    }
    pub(super) fn withdraws(&self) -> Option<NoticeId> {
        None
    }
    pub(super) fn portions(&self, _d: &Directory) -> Result<Vec<PlainPortion>, Vec<Mistake>> {
        Ok(vec![])
    }
    pub(super) fn holds(&self, _i: usize) -> String {
        String::new()
    }
    pub(super) fn omissions(&self) -> Vec<PreviewOmission> {
        vec![]
    }
    pub(super) fn addressees(
        &self,
        _me: &AgencyId,
        _d: &Directory,
    ) -> Result<Vec<(AgencyId, Vec<String>)>, Vec<Mistake>> {
        Ok(vec![])
    }
}
pub fn decode(_p: &OpenedPortion) -> Result<serde_json::Value, Unreadable> {
    Err(Unreadable)
}
pub fn receipt(_p: &[OpenedPortion]) -> Result<SignedReceipt, Unreadable> {
    Err(Unreadable)
}
pub fn receipt_part(_r: &SignedReceipt) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(vec![])
}
pub fn schema() -> serde_json::Value {
    serde_json::Value::Null
}
