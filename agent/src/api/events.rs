//! What happens in the node, as it happens: server-sent events (WHATWG HTML, section 9.2).
//!
//! Claimed: no content leaves by this way, only ids, kinds, agencies, times and words about connections; and a caller
//! that reads slowly is cut off rather than waited for. It comes back with the id of the last event it saw
//! (`Last-Event-ID`, or `after`) and goes on there; what is no longer kept is announced by the event `missed`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use valise_proto::id::{AgencyId, NoticeId, Timestamp};

use super::caller::Caller;
use super::error::ApiError;
use super::handlers::Asked;
use super::types::ErrorBody;
use crate::core::{Alarm, Event, Side, Stage, Step};
use crate::node::Desk;
use crate::node::events::{Events, Happened, Happening};
use crate::officers::Role;

/// At most so many callers follow at the same time.
const FOLLOWERS_MAX: usize = 64;
/// Events that are written and not yet taken by the caller's connection.
const WRITTEN_MAX: usize = 16;
/// A caller that takes nothing for so long is cut off.
const TAKES_WITHIN: Duration = Duration::from_secs(10);
/// A comment is sent after so long without an event, so that both ends know that the other is there.
const QUIET_MAX: Duration = Duration::from_secs(15);

static FOLLOWERS: Semaphore = Semaphore::const_new(FOLLOWERS_MAX);

/// The paths of this matter.
pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(events))
}

/// Something that happened in the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventFacts {
    /// Its id: give it as `after`, or in the header `Last-Event-ID`, to go on behind it.
    pub id: String,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// What: queued, accepted, refused, lapsed, received, receipt, read, actioned, declined, set_aside, purged,
    /// deadline_near and deadline_passed (answers to a notice of ours), answer_due and answer_late (to one received),
    /// rests_on_ended, connected, disconnected, missed.
    pub event: String,
    /// About which notice, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub notice_id: Option<NoticeId>,
    /// Of `receipt`: what it states, such as DELIVERED, READ, ACTIONED, PURGED, REJECTED or EXPIRED.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt_kind: Option<String>,
    /// Why, or what it is about, in words without content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Where to begin.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// The id of the last event that was seen; without it, what happens from now on.
    after: Option<String>,
}

/// What happens in the node, as it happens, without any content: a stream of server-sent events, each with an id to go
/// on behind.
#[utoipa::path(get, path = "/v1/events", tag = "node", params(EventsQuery),
    responses((status = 200, body = EventFacts, content_type = "text/event-stream"), (status = "default", body = ErrorBody)))]
async fn events(
    State(desk): State<Desk>,
    caller: Caller,
    headers: HeaderMap,
    Asked(query): Asked<EventsQuery>,
) -> Result<Response, ApiError> {
    caller.must_any(&Role::ALL)?;
    let Ok(permit) = FOLLOWERS.try_acquire() else {
        let message = format!("{FOLLOWERS_MAX} callers follow the events already; close one of them");
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "TOO_MANY_FOLLOWERS", message));
    };
    let events = Arc::clone(desk.events());
    let last_seen = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    let from = match query.after.or(last_seen) {
        Some(after) => from_id(&events, &after)?,
        None => Some(events.next()),
    };
    let (sender, body) = Channel::<Bytes, Infallible>::new(WRITTEN_MAX);
    // It holds nothing of the node but the ring, so that a stopping node does not wait for it.
    tokio::spawn(async move {
        follow(&events, from, sender).await;
        drop(permit);
    });
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "text/event-stream")
        .header(header::CACHE_CONTROL, "no-store");
    response.body(Body::new(body)).map_err(ApiError::internal)
}

/// The number after the event with this id; none where that was in another run of the node.
fn from_id(events: &Events, id: &str) -> Result<Option<u64>, ApiError> {
    let parts = id.split_once('-');
    let numbers =
        parts.and_then(|(run, number)| Some((run.parse::<u64>().ok()?, number.parse::<u64>().ok()?)));
    let Some((run, number)) = numbers else {
        let message = format!("after: `{id}` is no id of an event; give the `id` of the last event you saw");
        return Err(ApiError::bad_request(message));
    };
    Ok((run == events.run()).then(|| number.saturating_add(1)))
}

async fn follow(events: &Events, from: Option<u64>, mut sender: Sender<Bytes, Infallible>) {
    let mut newest = events.newest();
    // What happened before the node was started again is no longer kept.
    let mut away = from.is_none();
    let mut next = from.unwrap_or(1);
    if write(&mut sender, ": the events follow\n\n".to_owned()).await.is_err() {
        return;
    }
    loop {
        newest.mark_unchanged();
        let after = events.from(next, WRITTEN_MAX);
        if away || after.missed {
            away = false;
            let oldest = after.events.first().map_or_else(|| events.next(), |event| event.number);
            if write(&mut sender, missed(events, oldest)).await.is_err() {
                return;
            }
        }
        let quiet = after.events.is_empty();
        for event in after.events {
            next = event.number.saturating_add(1);
            if write(&mut sender, written(&facts(events.run(), &event))).await.is_err() {
                return;
            }
        }
        if quiet
            && tokio::time::timeout(QUIET_MAX, newest.changed()).await.is_err()
            && write(&mut sender, ": nothing happened\n\n".to_owned()).await.is_err()
        {
            return;
        }
    }
}

/// The caller is gone, or too slow.
struct CutOff;

async fn write(sender: &mut Sender<Bytes, Infallible>, text: String) -> Result<(), CutOff> {
    match tokio::time::timeout(TAKES_WITHIN, sender.send_data(text.into())).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(CutOff),
        Err(_) => {
            tracing::warn!(
                "a caller that follows the events reads too slowly and is cut off; it can go on behind the last id it saw"
            );
            Err(CutOff)
        }
    }
}

fn missed(events: &Events, oldest: u64) -> String {
    let facts = EventFacts {
        // Behind this one comes the oldest that is kept.
        id: format!("{}-{}", events.run(), oldest.saturating_sub(1)),
        at: Timestamp::from_millis(events.run()),
        event: "missed".to_owned(),
        notice_id: None,
        receipt_kind: None,
        detail: Some(
            "some events before this are no longer kept: look at the inbox and at what was sent".to_owned(),
        ),
    };
    written(&facts)
}

fn written(facts: &EventFacts) -> String {
    // A line break would end the field; JSON has none.
    let data = serde_json::to_string(facts).unwrap_or_default();
    format!("id: {}\nevent: {}\ndata: {data}\n\n", facts.id, facts.event)
}

/// What is said of an event.
fn facts(run: u64, happened: &Happened) -> EventFacts {
    let (event, notice_id, detail) = match &happened.what {
        Happening::Core(event) => of_core(event),
        Happening::RestsOnEnded { notice_id, by } => {
            let detail = format!("what it was made from is out of force by {by}");
            ("rests_on_ended", Some(*notice_id), Some(detail))
        }
        Happening::Alarm { alarm, owing } => of_alarm(alarm, owing),
        Happening::Connected { broker } => ("connected", None, Some(broker.clone())),
        Happening::Disconnected { reason } => ("disconnected", None, Some(reason.clone())),
    };
    EventFacts {
        id: format!("{run}-{}", happened.number),
        at: happened.at,
        event: event.to_owned(),
        notice_id,
        receipt_kind: receipt_kind(&happened.what),
        detail,
    }
}

/// What a receipt that came states.
fn receipt_kind(what: &Happening) -> Option<String> {
    match what {
        Happening::Core(Event::Receipt(_, kind)) => Some(kind.to_string()),
        Happening::Core(_)
        | Happening::RestsOnEnded { .. }
        | Happening::Alarm { .. }
        | Happening::Connected { .. }
        | Happening::Disconnected { .. } => None,
    }
}

fn of_alarm(alarm: &Alarm, owing: &[AgencyId]) -> (&'static str, Option<NoticeId>, Option<String>) {
    let event = match (alarm.side, alarm.stage) {
        (Side::Originator, Stage::Near) => "deadline_near",
        (Side::Originator, Stage::Over) => "deadline_passed",
        (Side::Recipient, Stage::Near) => "answer_due",
        (Side::Recipient, Stage::Over) => "answer_late",
    };
    let owing = owing.iter().map(AgencyId::as_str).collect::<Vec<_>>().join(", ");
    let detail = format!("an answer was asked for until {}; {owing} owes one", alarm.respond_by);
    (event, Some(alarm.notice_id), Some(detail))
}

fn of_core(event: &Event) -> (&'static str, Option<NoticeId>, Option<String>) {
    match event {
        Event::Queued(id) => ("queued", Some(*id), None),
        Event::Accepted(id) => ("accepted", Some(*id), None),
        Event::Refused { notice_id, kind, reason } => {
            ("refused", Some(*notice_id), Some(format!("{kind}: {reason}")))
        }
        Event::Lapsed(id) => ("lapsed", Some(*id), None),
        Event::Received(id) => ("received", Some(*id), None),
        Event::Receipt(id, _) => ("receipt", Some(*id), None),
        Event::SetAside(reason) => ("set_aside", None, Some(reason.to_string())),
        Event::Purged { notice_id, by } => {
            let why = by.as_ref().map(|by| format!("notice {by} took it out of force"));
            ("purged", Some(*notice_id), Some(why.unwrap_or_else(|| "its review_by has passed".to_owned())))
        }
        Event::Step(key) => (of_step(key.step), Some(key.notice_id), None),
        Event::Recorded(_) => ("recorded", None, None),
        // Whom it concerns is told by `Happening::Alarm`.
        Event::Alarm(alarm) => ("alarm", Some(alarm.notice_id), None),
    }
}

fn of_step(step: Step) -> &'static str {
    match step {
        Step::Read => "read",
        Step::Actioned => "actioned",
        Step::Declined => "declined",
    }
}
