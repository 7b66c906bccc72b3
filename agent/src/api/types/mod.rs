//! What the local API says, as JSON, by matter.

mod followups;
mod inbox;
mod node;
mod notices;
mod sent;
mod wait;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::followups::{
    ActRequest, CorrectRequest, DeclineRequest, OutstandingFacts, RespondRequest, RestsOnFacts, TrackFacts,
    WithdrawRequest,
};
pub use self::inbox::{InboxFilter, InboxPage, SearchRequest};
pub use self::node::{
    AgencyFacts, AsideFacts, BrokerFacts, ConnectionFacts, DirectoryFacts, DirectoryView, LateFacts,
    NodeStatus, SentFacts, StatusTotals,
};
pub use self::notices::{
    Difference, Direction, InboxEntry, NoticeFacts, OpenedFacts, OpenedNotice, PortionFacts, PortionState,
    Queued, ReadFacts, ReadRequest, ReceiptFacts,
};
pub use self::sent::{NoticeStatus, RecipientStatus};
pub use self::wait::Until;
pub use super::standing::{
    CertificateFacts, ClockFacts, ExclusionFacts, InstalledFacts, KeyFacts, RefusedFacts, RenewalAnswer,
    RenewalFacts, RotateRequest, RunsOut,
};
use crate::compose::Mistake;
pub use crate::release::standing::OutOfForce;

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorFacts,
}

/// One error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorFacts {
    /// A word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// What is wrong with the input, all at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<MistakeFacts>)]
    pub mistakes: Vec<Mistake>,
}

/// How the document tells of a mistake; in the code it is [`Mistake`].
#[derive(ToSchema)]
#[schema(as = Mistake)]
pub struct MistakeFacts {
    /// Where, as a JSON path such as `parts[1].birth_date`.
    #[allow(dead_code)] // only its description is used
    path: String,
    /// The beginning of what stands there; empty where nothing does.
    #[allow(dead_code)]
    value: String,
    /// What is allowed, and what to do.
    #[allow(dead_code)]
    rule: String,
    /// The safeguard it falls short of, where it does.
    #[allow(dead_code)]
    safeguard: Option<String>,
}

/// A notice as its author writes it.
#[derive(ToSchema)]
#[schema(as = Notice)]
pub struct NoticeBody {}
