//! How the node is, and who takes part.

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, apart};
use crate::api::caller::Onlooker;
use crate::api::error::ApiError;
use crate::api::types::{AsideFacts, Direction, DirectoryView, ErrorBody, LateFacts, NodeStatus, SentFacts};
use crate::api::{standing, views};
use crate::core::Side;
use crate::node::office::Office;
use crate::node::{Desk, alarms};
use crate::release::standing::out_of_force;
use crate::renewal::Pending;

/// The paths of this matter.
pub(in crate::api) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(status)).routes(routes!(directory))
}

/// Entries of the short lists in the node's status.
const STATUS_LIST_MAX: usize = 10;
/// Notices whose time for answers is over that are looked at for those.
const PASSED_MAX: usize = 2_000;

/// How the node is.
#[utoipa::path(get, path = "/v1/status", tag = "node",
    responses((status = 200, body = NodeStatus), (status = "default", body = ErrorBody)))]
pub(in crate::api) async fn status(State(desk): State<Desk>, _: Onlooker) -> Answer<NodeStatus> {
    let (link, outbox, metrics_listen) = (desk.link(), desk.outbox_len(), desk.watch.addr);
    let status = apart(&desk, move |office| {
        let now = office.now();
        let asides = office.store().asides(STATUS_LIST_MAX)?;
        // One that cannot be read is told of in the log, and made anew.
        let pending = Pending::read(&office.config().folder).ok().flatten();
        Ok(NodeStatus {
            agency: office.agency().clone(),
            trust_domain: office.trust().trust_domain.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            metrics_listen,
            excluded: standing::exclusion(&link, office),
            connection: views::connection_facts(link),
            directory: views::directory_facts(office, now),
            certificate: standing::certificate(office, now),
            renewal: pending.as_ref().map(|pending| standing::renewal_facts(pending, now)),
            runs_out: standing::runs_out(office, now),
            clock: office.skew().as_ref().map(standing::clock),
            outbox,
            accounts: office.guard().register().is_some(),
            sent: newest_sent(office)?,
            late: late(office)?,
            set_aside: asides
                .into_iter()
                .map(|aside| AsideFacts { at: aside.at, reason: aside.reason })
                .collect(),
        })
    });
    Ok(Json(status.await?))
}

fn newest_sent(office: &Office) -> Result<Vec<SentFacts>, ApiError> {
    let mut newest = Vec::new();
    for record in office.store().sent_records(STATUS_LIST_MAX)? {
        let Some(sent) = office.store().sent(&record.notice_id)? else { continue };
        let ended = out_of_force(office, &record.notice_id, office.agency())?;
        newest.push(views::sent_facts(&sent, ended));
    }
    Ok(newest)
}

/// The newest notices to which answers are owed.
fn late(office: &Office) -> Result<Vec<LateFacts>, ApiError> {
    let store = office.store();
    let mut found = Vec::new();
    for notice_id in store.passed(PASSED_MAX)? {
        let (direction, respond_by) = match store.received(&notice_id)? {
            Some(received) => (Direction::Received, received.record.respond_by),
            None => (Direction::Sent, store.sent_record(&notice_id)?.and_then(|sent| sent.respond_by)),
        };
        let side = match direction {
            Direction::Sent => Side::Originator,
            Direction::Received => Side::Recipient,
        };
        // Each way has a list of its own, so that what others send hides nothing of ours.
        let listed = found.iter().filter(|late: &&LateFacts| late.direction == direction).count();
        if listed >= STATUS_LIST_MAX {
            continue;
        }
        let owing = alarms::owing(office, side, &notice_id)?;
        if !owing.is_empty() {
            found.push(LateFacts { notice_id, direction, respond_by, owing });
        }
    }
    Ok(found)
}

/// Who takes part.
#[utoipa::path(get, path = "/v1/directory", tag = "node",
    responses((status = 200, body = DirectoryView), (status = "default", body = ErrorBody)))]
pub(in crate::api) async fn directory(State(desk): State<Desk>, _: Onlooker) -> Json<DirectoryView> {
    Json(views::directory_view(&desk.office().directory()))
}
