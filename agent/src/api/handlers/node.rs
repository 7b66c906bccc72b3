//! How the node is, and who takes part.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Asked, LIST_MAX, apart};
use crate::api::caller::Onlooker;
use crate::api::error::ApiError;
use crate::api::types::{
    AsideFacts, Direction, DirectoryView, ErrorBody, LateFacts, NodeStatus, SentFacts, StatusTotals,
};
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

/// Entries of each list in the node's status, unless more are asked for.
const STATUS_LIST: usize = 10;
/// So many at most are counted where there is no other bound.
const COUNTED_MAX: usize = 10_000;
/// Notices whose time for answers is over that are looked at for those.
const PASSED_MAX: usize = 2_000;

/// What may be asked of the node's status.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct NodeStatusQuery {
    /// At most so many of each list, 1 to 1000; 10 unless given.
    limit: Option<usize>,
}

/// How the node is.
#[utoipa::path(get, path = "/v1/status", tag = "node", params(NodeStatusQuery),
    responses((status = 200, body = NodeStatus), (status = "default", body = ErrorBody)))]
pub(in crate::api) async fn status(
    State(desk): State<Desk>,
    Asked(query): Asked<NodeStatusQuery>,
    _: Onlooker,
) -> Answer<NodeStatus> {
    let limit = query.limit.unwrap_or(STATUS_LIST);
    if !(1..=LIST_MAX).contains(&limit) {
        return Err(ApiError::bad_request(format_args!("limit: ask for 1 to {LIST_MAX} entries")));
    }
    let (link, outbox, metrics_listen) = (desk.link(), desk.outbox_len(), desk.watch.addr);
    let status = apart(&desk, move |office| {
        let now = office.now();
        let asides = office.store().asides(limit)?;
        let (late, totals) = late(office, limit)?;
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
            sent: newest_sent(office, limit)?,
            late,
            set_aside: asides
                .into_iter()
                .map(|aside| AsideFacts { at: aside.at, reason: aside.reason })
                .collect(),
            totals,
        })
    });
    Ok(Json(status.await?))
}

fn newest_sent(office: &Office, limit: usize) -> Result<Vec<SentFacts>, ApiError> {
    let mut newest = Vec::new();
    for record in office.store().sent_records(limit)? {
        let Some(sent) = office.store().sent(&record.notice_id)? else { continue };
        let ended = out_of_force(office, &record.notice_id, office.agency())?;
        newest.push(views::sent_facts(&sent, ended));
    }
    Ok(newest)
}

/// The newest notices to which answers are owed, and how many there are in all.
fn late(office: &Office, limit: usize) -> Result<(Vec<LateFacts>, StatusTotals), ApiError> {
    let store = office.store();
    let (sent, set_aside) = store.sent_and_aside_len(COUNTED_MAX)?;
    let mut totals = StatusTotals { sent, set_aside, ..StatusTotals::default() };
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
        let owing = alarms::owing(office, side, &notice_id)?;
        if owing.is_empty() {
            continue;
        }
        // Each way has a list of its own, so that what others send hides nothing of ours.
        let listed = match direction {
            Direction::Sent => &mut totals.late_sent,
            Direction::Received => &mut totals.late_received,
        };
        *listed = listed.saturating_add(1);
        if *listed <= limit {
            found.push(LateFacts { notice_id, direction, respond_by, owing });
        }
    }
    Ok((found, totals))
}

/// Who takes part.
#[utoipa::path(get, path = "/v1/directory", tag = "node",
    responses((status = 200, body = DirectoryView), (status = "default", body = ErrorBody)))]
pub(in crate::api) async fn directory(State(desk): State<Desk>, _: Onlooker) -> Json<DirectoryView> {
    Json(views::directory_view(&desk.office().directory()))
}
