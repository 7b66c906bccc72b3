//! What may be asked of the list of received notices, and what is answered.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use valise_proto::envelope::{NoticeKind, Precedence};
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::label::Classification;

use super::InboxEntry;

/// Which received notices. What is left out does not matter; what is given must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct InboxFilter {
    /// Of this kind, such as TRAVEL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    pub kind: Option<NoticeKind>,
    /// From this agency.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    pub originator: Option<AgencyId>,
    /// With this precedence.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    pub precedence: Option<Precedence>,
    /// Whose banner begins with this classification.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    pub classification: Option<Classification>,
    /// That nobody was shown yet and that still counts, without withdrawals of what nobody here was shown; false: that
    /// somebody was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<bool>,
    /// That asks for an answer, which was not given from here; not what is out of force, or was declined. False: that was
    /// answered from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<bool>,
    /// Whose time for an answer is over without one; false: all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late: Option<bool>,
    /// That arrived at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    pub since: Option<Timestamp>,
    /// That arrived before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    pub until: Option<Timestamp>,
    /// Behind this one in the list: the `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    pub before: Option<NoticeId>,
    /// At most so many, 1 to 1000; 100 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// A search of what received notices say.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// Words that must all be in the notice, in any order, in capitals or not.
    pub text: String,
    /// Why, for the access journal; needed once the node has officers' accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who searches, while the node has no officers' accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub officer: Option<String>,
    /// Among which notices.
    #[serde(default)]
    pub filter: InboxFilter,
}

/// A page of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InboxPage {
    /// The notices, newest first.
    pub notices: Vec<InboxEntry>,
    /// Where the next page begins, where there may be one: give it as `before`.
    #[schema(value_type = Option<String>)]
    pub next: Option<NoticeId>,
    /// Of a search: how many notices were opened for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub searched: Option<usize>,
}
