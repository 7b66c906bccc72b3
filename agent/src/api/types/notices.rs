//! What is said of a notice, and of the list of those received.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use valise_proto::envelope::{NoticeKind, Precedence};
use valise_proto::id::{AgencyId, Digest, NoticeId, Timestamp};

use super::OutOfForce;
use crate::compose::preview::PreviewNotTold;

/// A notice was queued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Queued {
    /// Its id.
    #[schema(value_type = String)]
    pub notice_id: NoticeId,
    /// Who receives it.
    #[schema(value_type = Vec<String>)]
    pub recipients: Vec<AgencyId>,
    /// The banner of the whole.
    pub label: String,
    /// Its precedence.
    #[schema(value_type = String)]
    pub precedence: Precedence,
    /// When the broker deletes it.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
    /// Until when answers are asked for.
    #[schema(value_type = Option<String>)]
    pub respond_by: Option<Timestamp>,
    /// Where a second officer has to approve it first: until when it waits for that. Nothing was sent.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_until: Option<Timestamp>,
    /// Who should be told and cannot be, by which rule; everybody else is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_told: Vec<PreviewNotTold>,
}

/// A received notice, in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InboxEntry {
    /// Its id.
    #[schema(value_type = String)]
    pub notice_id: NoticeId,
    /// Its kind.
    #[schema(value_type = String)]
    pub kind: NoticeKind,
    /// Who sent it.
    #[schema(value_type = String)]
    pub originator: AgencyId,
    /// Its precedence.
    #[schema(value_type = String)]
    pub precedence: Precedence,
    /// The banner of the whole.
    pub label: String,
    /// When it arrived.
    #[schema(value_type = String)]
    pub received_at: Timestamp,
    /// Until when an answer is asked for.
    #[schema(value_type = Option<String>)]
    pub respond_by: Option<Timestamp>,
    /// Who was shown it first.
    pub read: Option<ReadFacts>,
    /// That it counts no more, where it was corrected, withdrawn or deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_force: Option<OutOfForce>,
}

/// Who was shown a notice first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReadFacts {
    /// Who.
    pub officer: String,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
}

/// Which way a notice went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From here.
    Sent,
    /// To here.
    Received,
}

/// What the header of a notice tells. No content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NoticeFacts {
    /// Its id.
    #[schema(value_type = String)]
    pub notice_id: NoticeId,
    /// Which way it went.
    pub direction: Direction,
    /// Its kind.
    #[schema(value_type = String)]
    pub kind: NoticeKind,
    /// Who sent it.
    #[schema(value_type = String)]
    pub originator: AgencyId,
    /// Who receives it.
    #[schema(value_type = Vec<String>)]
    pub recipients: Vec<AgencyId>,
    /// Its precedence.
    #[schema(value_type = String)]
    pub precedence: Precedence,
    /// The banner of the whole.
    pub label: String,
    /// SHA-256 of the header.
    #[schema(value_type = String)]
    pub header_digest: Digest,
    /// When it was sealed.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When the broker deletes it.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
    /// Until when an answer is asked for.
    #[schema(value_type = Option<String>)]
    pub respond_by: Option<Timestamp>,
    /// The notice it answers.
    #[schema(value_type = Option<String>)]
    pub in_reply_to: Option<NoticeId>,
    /// The notice it takes the place of.
    #[schema(value_type = Option<String>)]
    pub supersedes: Option<NoticeId>,
    /// The notice it takes back.
    #[schema(value_type = Option<String>)]
    pub withdraws: Option<NoticeId>,
    /// Its portions.
    pub portions: Vec<PortionFacts>,
    /// Receipts given and got about it.
    pub receipts: Vec<ReceiptFacts>,
    /// Who was shown it first, of a received notice.
    pub read: Option<ReadFacts>,
    /// That it counts no more, where it was corrected, withdrawn or deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_force: Option<OutOfForce>,
}

/// What the header tells of a portion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortionFacts {
    /// Its place, from 0.
    pub index: usize,
    /// Its banner.
    pub label: String,
    /// Whether it is held here.
    pub held: bool,
    /// Whether it is held, and why not where it is not.
    pub state: PortionState,
    /// PURGED: when it was deleted here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub purged_at: Option<Timestamp>,
    /// PURGED: why, WITHDRAWN, CORRECTED, REVIEW or OFFICER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purge_cause: Option<String>,
    /// Bytes of its ciphertext.
    pub bytes: u64,
}

/// What there is of a portion here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum PortionState {
    /// It is held.
    Held,
    /// It was held, and was deleted.
    Purged,
    /// It never came: this agency may not have it.
    Withheld,
}

/// A receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReceiptFacts {
    /// What it states.
    pub kind: String,
    /// Who states it.
    pub issuer: String,
    /// EXPIRED: the agency that did not fetch the notice.
    #[schema(value_type = Option<String>)]
    pub recipient: Option<AgencyId>,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// Which officer.
    pub officer: Option<String>,
    /// Why, of REFUSED and REJECTED.
    pub reason: Option<String>,
    /// Which portions, of DELIVERED, READ and ACTIONED: those that the recipient says it opened, showed or acted upon.
    #[serde(default)]
    pub portions: Vec<usize>,
    /// PURGED: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// An officer asks to be shown a notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadRequest {
    /// Who.
    #[serde(default)]
    pub officer: String,
    /// Why, for the access journal; needed once the node has officers' accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An opened notice.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct OpenedNotice {
    /// What its header tells.
    pub notice: NoticeFacts,
    /// The portions that were opened.
    pub opened: Vec<OpenedFacts>,
    /// Of a CORRECTION: what is other than in what it corrects, as far as that was held here; nothing where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Difference>>)]
    pub changes: Option<Vec<serde_json::Value>>,
}

/// An opened portion.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct OpenedFacts {
    /// Its place, from 0.
    pub index: usize,
    /// Its banner.
    pub label: String,
    /// What it says: `legal_basis`, `purpose`, `review_by` and its `parts`, in the form authors write.
    pub content: serde_json::Value,
}

/// How the document tells of something that a correction changed; in the code it is the notice model's `Difference`.
#[derive(ToSchema)]
pub struct Difference {
    /// Where, by the id of the part: `parts[p1].birth_date`.
    #[allow(dead_code)] // only its description is used
    path: String,
    /// ADDED, REMOVED or CHANGED.
    #[allow(dead_code)]
    change: String,
    /// What stands there now; nothing where it was removed.
    #[allow(dead_code)]
    value: Option<serde_json::Value>,
}
