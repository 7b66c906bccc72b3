//! What is said of a notice sent from here.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use valise_proto::id::{AgencyId, NoticeId, Timestamp};

use super::{OutOfForce, ReceiptFacts};

/// What became of a notice sent from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NoticeStatus {
    /// Its id.
    #[schema(value_type = String)]
    pub notice_id: NoticeId,
    /// QUEUED, ACCEPTED, REFUSED or LAPSED.
    pub state: String,
    /// Since when, other than QUEUED.
    #[schema(value_type = Option<String>)]
    pub at: Option<Timestamp>,
    /// Why, of REFUSED.
    pub reason: Option<String>,
    /// Until when answers are asked for.
    #[schema(value_type = Option<String>)]
    pub respond_by: Option<Timestamp>,
    /// Whether that time is over.
    pub deadline_passed: bool,
    /// That it counts no more, where it was corrected, withdrawn or deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_force: Option<OutOfForce>,
    /// What became of it at each recipient.
    pub recipients: Vec<RecipientStatus>,
}

/// What became of a notice at one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecipientStatus {
    /// Who.
    #[schema(value_type = String)]
    pub agency: AgencyId,
    /// PENDING, DELIVERED, READ, ACTIONED, PURGED, REJECTED or EXPIRED. Where it once said that it has the notice, that
    /// counts, whatever else was said.
    pub state: String,
    /// The portions that it says it has opened, in order.
    #[serde(default)]
    pub portions: Vec<usize>,
    /// Whether it answered with a notice of its own.
    pub answered: bool,
    /// Every step, by time.
    pub steps: Vec<ReceiptFacts>,
}
