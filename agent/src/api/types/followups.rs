//! What is asked of follow-ups, and what is told of a notice's way.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use valise_proto::envelope::NoticeKind;
use valise_proto::id::{AgencyId, NoticeId, Timestamp};

use super::NoticeStatus;
use crate::compose::preview::PreviewNotTold;

/// An answer to a received notice.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RespondRequest {
    /// MATCH, NO_MATCH, NEED_MORE or WILL_ACT.
    pub outcome: String,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The ids of the parts of the notice that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub about: Vec<String>,
    /// Its label; unless given, that of all that is held of the notice here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// What is to take the place of a notice that was sent from here.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CorrectRequest {
    /// What was wrong.
    pub reason: String,
    /// The notice whole, as it should be. Its kind, the notice that it takes the place of, and whoever got that one are
    /// filled in.
    #[schema(value_type = super::NoticeBody)]
    pub notice: serde_json::Value,
}

/// Why a notice that was sent from here is taken back.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WithdrawRequest {
    /// The reason, which every recipient reads.
    pub reason: String,
    /// The label of the reason: UNCLASSIFIED unless given, so that everybody who got the notice can read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// That a received notice was acted upon.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActRequest {
    /// The officer who acted, while the node has no officers' accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub officer: Option<String>,
    /// Why, for the access journal; needed once the node has officers' accounts. It is not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// That a received notice cannot be used here.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclineRequest {
    /// The officer who decided it, while the node has no officers' accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub officer: Option<String>,
    /// Why; the originator reads it, and it is entered into the access journal.
    pub reason: String,
}

/// The way of a notice that was sent from here: every step at every recipient, and what is still to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrackFacts {
    /// What became of it.
    pub status: NoticeStatus,
    /// Who should have answered by now, and did not.
    #[schema(value_type = Vec<String>)]
    pub late: Vec<AgencyId>,
    /// Who has not said that it has the notice, and why that may be.
    pub outstanding: Vec<OutstandingFacts>,
    /// Who should have been told when it was sent and could not be, by which rule.
    #[serde(default)]
    pub not_told: Vec<PreviewNotTold>,
    /// The notice it was made from, where that was corrected or withdrawn since.
    #[serde(default)]
    pub rests_on: Option<RestsOnFacts>,
    /// When this was so.
    #[schema(value_type = String)]
    pub at: Timestamp,
}

/// A notice that another was made from, and that is out of force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestsOnFacts {
    /// Which.
    #[schema(value_type = String)]
    pub source: NoticeId,
    /// Whose.
    #[schema(value_type = String)]
    pub originator: AgencyId,
    /// The notice that took it out of force.
    #[schema(value_type = String)]
    pub ended_by: NoticeId,
    /// CORRECTION or WITHDRAWAL.
    #[schema(value_type = String)]
    pub ended_with: NoticeKind,
}

/// A recipient that is not known to have a notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutstandingFacts {
    /// Who.
    #[schema(value_type = String)]
    pub agency: AgencyId,
    /// Why: the last that is known.
    pub reason: String,
}
