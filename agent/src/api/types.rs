//! What the local API says, as JSON.

use serde::{Deserialize, Serialize};
use valise_proto::envelope::{NoticeKind, Precedence};
use valise_proto::id::{AgencyId, Digest, NoticeId, Timestamp, TrustDomain};

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

/// A notice was queued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// Its id.
    pub notice_id: NoticeId,
    /// Who receives it.
    pub recipients: Vec<AgencyId>,
    /// The banner of the whole.
    pub label: String,
    /// Its precedence.
    pub precedence: Precedence,
    /// When the broker deletes it.
    pub expires_at: Timestamp,
    /// Until when answers are asked for.
    pub respond_by: Option<Timestamp>,
}

/// A received notice, in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxEntry {
    /// Its id.
    pub notice_id: NoticeId,
    /// Its kind.
    pub kind: NoticeKind,
    /// Who sent it.
    pub originator: AgencyId,
    /// Its precedence.
    pub precedence: Precedence,
    /// The banner of the whole.
    pub label: String,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Until when an answer is asked for.
    pub respond_by: Option<Timestamp>,
    /// Who was shown it first.
    pub read: Option<ReadFacts>,
}

/// Who was shown a notice first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadFacts {
    /// Who.
    pub officer: String,
    /// When.
    pub at: Timestamp,
}

/// Which way a notice went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From here.
    Sent,
    /// To here.
    Received,
}

/// What the header of a notice tells. No content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeFacts {
    /// Its id.
    pub notice_id: NoticeId,
    /// Which way it went.
    pub direction: Direction,
    /// Its kind.
    pub kind: NoticeKind,
    /// Who sent it.
    pub originator: AgencyId,
    /// Who receives it.
    pub recipients: Vec<AgencyId>,
    /// Its precedence.
    pub precedence: Precedence,
    /// The banner of the whole.
    pub label: String,
    /// SHA-256 of the header.
    pub header_digest: Digest,
    /// When it was sealed.
    pub created_at: Timestamp,
    /// When the broker deletes it.
    pub expires_at: Timestamp,
    /// Until when an answer is asked for.
    pub respond_by: Option<Timestamp>,
    /// The notice it answers.
    pub in_reply_to: Option<NoticeId>,
    /// The notice it takes the place of.
    pub supersedes: Option<NoticeId>,
    /// The notice it takes back.
    pub withdraws: Option<NoticeId>,
    /// Its portions.
    pub portions: Vec<PortionFacts>,
    /// Receipts given and got about it.
    pub receipts: Vec<ReceiptFacts>,
    /// Who was shown it first, of a received notice.
    pub read: Option<ReadFacts>,
}

/// What the header tells of a portion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortionFacts {
    /// Its place, from 0.
    pub index: usize,
    /// Its banner.
    pub label: String,
    /// Whether it is held here; otherwise it was withheld.
    pub held: bool,
    /// Bytes of its ciphertext.
    pub bytes: u64,
}

/// A receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptFacts {
    /// What it states.
    pub kind: String,
    /// Who states it.
    pub issuer: String,
    /// EXPIRED: the agency that did not fetch the notice.
    pub recipient: Option<AgencyId>,
    /// When.
    pub at: Timestamp,
    /// Which officer.
    pub officer: Option<String>,
    /// Why, of REFUSED and REJECTED.
    pub reason: Option<String>,
    /// Which portions, of DELIVERED, READ and ACTIONED: those that the recipient says it opened, showed or acted upon.
    #[serde(default)]
    pub portions: Vec<usize>,
}

/// An officer asks to be shown a notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadRequest {
    /// Who.
    pub officer: String,
}

/// An opened notice.
#[derive(Clone, Serialize, Deserialize)]
pub struct OpenedNotice {
    /// What its header tells.
    pub notice: NoticeFacts,
    /// The portions that were opened.
    pub opened: Vec<OpenedFacts>,
}

/// An opened portion.
#[derive(Clone, Serialize, Deserialize)]
pub struct OpenedFacts {
    /// Its place, from 0.
    pub index: usize,
    /// Its banner.
    pub label: String,
    /// What it says: `legal_basis`, `purpose`, `review_by` and its `parts`, in the form authors write.
    pub content: serde_json::Value,
}

/// How the node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Who it is.
    pub agency: AgencyId,
    /// Of which exchange.
    pub trust_domain: TrustDomain,
    /// Its software.
    pub version: String,
    /// Its connection.
    pub connection: ConnectionFacts,
    /// That the authority has taken it out, or its certificate, if it has.
    #[serde(default)]
    pub excluded: Option<ExclusionFacts>,
    /// The directory in force.
    pub directory: DirectoryFacts,
    /// The certificate in use.
    pub certificate: CertificateFacts,
    /// The renewal request that waits for its answer, if one does.
    #[serde(default)]
    pub renewal: Option<RenewalFacts>,
    /// How near its end each thing is that the node goes by.
    #[serde(default)]
    pub runs_out: Vec<RunsOut>,
    /// This node's clock and a broker's, when they last met.
    #[serde(default)]
    pub clock: Option<ClockFacts>,
    /// Envelopes, receipts included, that no broker has accepted yet.
    pub outbox: usize,
    /// The newest notices sent from here.
    pub sent: Vec<SentFacts>,
    /// What was set aside lately: deliveries that were not shown, and why.
    pub set_aside: Vec<AsideFacts>,
}

/// A notice sent from here, in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentFacts {
    /// Its id.
    pub notice_id: NoticeId,
    /// Its kind.
    pub kind: NoticeKind,
    /// Its precedence.
    pub precedence: Precedence,
    /// The banner of the whole.
    pub label: String,
    /// When it was sealed.
    pub created_at: Timestamp,
    /// QUEUED, ACCEPTED, REFUSED or LAPSED.
    pub state: String,
}

/// Something that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsideFacts {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// The connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionFacts {
    /// Whether there is one.
    pub connected: bool,
    /// With which broker.
    pub broker: Option<String>,
    /// At which endpoint.
    pub endpoint: Option<String>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Why there is none.
    pub reason: Option<String>,
}

/// The directory in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryFacts {
    /// Its version.
    pub version: u64,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Why it is not to be acted upon, if it is not.
    pub stale: Option<String>,
    /// Why the last publication that was offered was not taken whole, if it was not.
    #[serde(default)]
    pub refused: Option<RefusedFacts>,
}

/// What became of a notice sent from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeStatus {
    /// Its id.
    pub notice_id: NoticeId,
    /// QUEUED, ACCEPTED, REFUSED or LAPSED.
    pub state: String,
    /// Since when, other than QUEUED.
    pub at: Option<Timestamp>,
    /// Why, of REFUSED.
    pub reason: Option<String>,
    /// Until when answers are asked for.
    pub respond_by: Option<Timestamp>,
    /// Whether that time is over.
    pub deadline_passed: bool,
    /// What became of it at each recipient.
    pub recipients: Vec<RecipientStatus>,
}

/// What became of a notice at one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientStatus {
    /// Who.
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

/// The directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryView {
    /// Of which exchange.
    pub trust_domain: TrustDomain,
    /// The policy of its labels.
    pub policy: String,
    /// Its version.
    pub version: u64,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Who takes part.
    pub agencies: Vec<AgencyFacts>,
    /// The brokers.
    pub brokers: Vec<BrokerFacts>,
}

/// One agency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgencyFacts {
    /// Its id.
    pub id: AgencyId,
    /// Its name.
    pub name: String,
    /// What it does.
    pub functions: Vec<String>,
    /// What it may see.
    pub clearance: String,
    /// Kinds of notice it may originate.
    pub originates: Vec<NoticeKind>,
    /// Whether paragraph-3 notices for its State go to it.
    pub contact_point: bool,
    /// ACTIVE, SUSPENDED or REVOKED.
    pub status: String,
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerFacts {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub endpoints: Vec<String>,
}
