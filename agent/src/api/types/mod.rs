//! What the local API says, as JSON, by matter.

mod node;
mod notices;
mod sent;

use serde::{Deserialize, Serialize};

pub use self::node::{
    AgencyFacts, AsideFacts, BrokerFacts, ConnectionFacts, DirectoryFacts, DirectoryView, NodeStatus,
    SentFacts,
};
pub use self::notices::{
    Direction, InboxEntry, NoticeFacts, OpenedFacts, OpenedNotice, PortionFacts, Queued, ReadFacts,
    ReadRequest, ReceiptFacts,
};
pub use self::sent::{NoticeStatus, RecipientStatus};
pub use super::standing::{
    CertificateFacts, ClockFacts, ExclusionFacts, InstalledFacts, KeyFacts, RefusedFacts, RenewalAnswer,
    RenewalFacts, RotateRequest, RunsOut,
};
use crate::compose::Mistake;

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorFacts,
}

/// One error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorFacts {
    /// A word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// What is wrong with the input, all at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<Mistake>,
}
