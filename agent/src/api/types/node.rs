//! What is said of the node, and of the exchange.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use valise_proto::envelope::{NoticeKind, Precedence};
use valise_proto::id::{AgencyId, NoticeId, Timestamp, TrustDomain};

use super::{CertificateFacts, ClockFacts, ExclusionFacts, OutOfForce, RefusedFacts, RenewalFacts, RunsOut};

/// How the node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// Who it is.
    #[schema(value_type = String)]
    pub agency: AgencyId,
    /// Of which exchange.
    #[schema(value_type = String)]
    pub trust_domain: TrustDomain,
    /// Its software.
    pub version: String,
    /// Where its metrics are served, if they are.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub metrics_listen: Option<std::net::SocketAddr>,
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
    /// Whether officers have accounts; otherwise whoever can open the socket may do everything.
    pub accounts: bool,
    /// The newest notices sent from here: as many as were asked for, ten unless said otherwise.
    pub sent: Vec<SentFacts>,
    /// Notices to which answers are owed since a time that is over: of ours, and received ones that this agency has not
    /// answered.
    #[serde(default)]
    pub late: Vec<LateFacts>,
    /// What was set aside lately: deliveries that were not shown, and why.
    pub set_aside: Vec<AsideFacts>,
    /// How many there are of what the short lists begin to tell.
    #[serde(default)]
    pub totals: StatusTotals,
}

/// How many there are in all of what a status lists the newest of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusTotals {
    /// Notices sent from here, up to 10000.
    pub sent: usize,
    /// Notices of ours to which answers are owed, among the 2000 whose time was over last.
    pub late_sent: usize,
    /// Received notices that this agency owes an answer to, among the same.
    pub late_received: usize,
    /// Deliveries that were set aside, up to 10000.
    pub set_aside: usize,
}

/// A notice sent from here, in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SentFacts {
    /// Its id.
    #[schema(value_type = String)]
    pub notice_id: NoticeId,
    /// Its kind.
    #[schema(value_type = String)]
    pub kind: NoticeKind,
    /// Its precedence.
    #[schema(value_type = String)]
    pub precedence: Precedence,
    /// The banner of the whole.
    pub label: String,
    /// When it was sealed.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// QUEUED, ACCEPTED, REFUSED or LAPSED.
    pub state: String,
    /// That it counts no more, where it was corrected, withdrawn or deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_force: Option<OutOfForce>,
}

/// A notice to which answers are owed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LateFacts {
    /// Its id.
    #[schema(value_type = String)]
    pub notice_id: NoticeId,
    /// Which way it went.
    pub direction: super::Direction,
    /// Until when answers were asked for.
    #[schema(value_type = Option<String>)]
    pub respond_by: Option<Timestamp>,
    /// Who owes one.
    #[schema(value_type = Vec<String>)]
    pub owing: Vec<AgencyId>,
}

/// Something that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AsideFacts {
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// The connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConnectionFacts {
    /// Whether there is one.
    pub connected: bool,
    /// With which broker.
    pub broker: Option<String>,
    /// At which endpoint.
    pub endpoint: Option<String>,
    /// Since when.
    #[schema(value_type = Option<String>)]
    pub since: Option<Timestamp>,
    /// Why there is none.
    pub reason: Option<String>,
}

/// The directory in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DirectoryFacts {
    /// Its version.
    pub version: u64,
    /// When it expires.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
    /// Why it is not to be acted upon, if it is not.
    pub stale: Option<String>,
    /// Why the last publication that was offered was not taken whole, if it was not.
    #[serde(default)]
    pub refused: Option<RefusedFacts>,
}

/// The directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DirectoryView {
    /// Of which exchange.
    #[schema(value_type = String)]
    pub trust_domain: TrustDomain,
    /// The policy of its labels.
    pub policy: String,
    /// Its version.
    pub version: u64,
    /// When it was signed.
    #[schema(value_type = String)]
    pub issued_at: Timestamp,
    /// When it expires.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
    /// Who takes part.
    pub agencies: Vec<AgencyFacts>,
    /// The brokers.
    pub brokers: Vec<BrokerFacts>,
}

/// One agency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgencyFacts {
    /// Its id.
    #[schema(value_type = String)]
    pub id: AgencyId,
    /// Its name.
    pub name: String,
    /// What it does.
    pub functions: Vec<String>,
    /// What it may see.
    pub clearance: String,
    /// Kinds of notice it may originate.
    #[schema(value_type = Vec<String>)]
    pub originates: Vec<NoticeKind>,
    /// Whether paragraph-3 notices for its State go to it.
    pub contact_point: bool,
    /// ACTIVE, SUSPENDED or REVOKED.
    pub status: String,
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BrokerFacts {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub endpoints: Vec<String>,
}
