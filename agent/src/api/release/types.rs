//! What is said of releases, as JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use valise_proto::envelope::NoticeKind;
use valise_proto::id::{AgencyId, NoticeId, Timestamp};

use crate::api::types::Queued;
use crate::release::Origin;
use crate::release::orders::{Order, What};
use crate::release::standing::Ended;

/// What came of asking for something to be released: it waits for a second officer, or it is queued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Released {
    /// It waits.
    Waiting(WaitingRelease),
    /// It is queued.
    Queued(Queued),
}

/// A release that waits for a second officer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitingRelease {
    /// By which it is approved or refused.
    #[schema(value_type = String)]
    pub id: NoticeId,
    /// The notice, or the request, it is about.
    #[schema(value_type = String)]
    pub source: NoticeId,
    /// Who asked.
    pub officer: String,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// What is to be done.
    pub what: What,
}

/// A second officer's word about a release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecondOfficer {
    /// Who, while the node has no officers' accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub officer: Option<String>,
    /// Why, for the access journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Where a notice came from, or what was made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Derivation {
    /// The notice that was made.
    #[schema(value_type = String)]
    pub made: NoticeId,
    /// DOWNGRADED or FORWARDED.
    pub action: crate::release::Action,
    /// The notice it was made from.
    #[schema(value_type = String)]
    pub source: NoticeId,
    /// Whose that is.
    #[schema(value_type = String)]
    pub originator: AgencyId,
    /// Its portions that were chosen.
    pub portions: Vec<usize>,
    /// The decision that gave leave, where leave was needed.
    #[schema(value_type = Option<String>)]
    pub leave: Option<NoticeId>,
    /// Who did it.
    pub officers: Vec<String>,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// The CORRECTION or WITHDRAWAL by which the notice it was made from is out of force, where it is.
    #[schema(value_type = Option<String>)]
    pub source_ended_by: Option<NoticeId>,
    /// Which of the two.
    #[schema(value_type = Option<String>)]
    pub source_ended_with: Option<NoticeKind>,
}

/// Where a notice came from and what was made of it, as this node alone knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Derivations {
    /// Where it came from, where it was made from another here.
    pub from: Option<Derivation>,
    /// What was made of it here, oldest first.
    pub made: Vec<Derivation>,
}

impl Derivation {
    pub(super) fn of(made: NoticeId, origin: Origin, ended: Option<Ended>) -> Self {
        let Origin { action, source, originator, portions, leave, officers, at, source_digest: _ } = origin;
        let (source_ended_by, source_ended_with) =
            ended.map_or((None, None), |ended| (Some(ended.by), Some(ended.kind)));
        Self {
            made,
            action,
            source,
            originator,
            portions,
            leave,
            officers,
            at,
            source_ended_by,
            source_ended_with,
        }
    }
}

impl WaitingRelease {
    pub(super) fn of(id: NoticeId, order: Order) -> Self {
        let Order { source, what, officer, at } = order;
        Self { id, source, officer, at, what }
    }
}
