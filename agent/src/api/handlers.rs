//! What each path of the local API does.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use valise_proto::envelope::OpenedPortion;
use valise_proto::id::NoticeId;
use valise_proto::receipt::OFFICER_BYTES_MAX;
use zeroize::Zeroizing;

use super::error::ApiError;
use super::standing;
use super::types::{
    AsideFacts, Direction, DirectoryView, InboxEntry, NodeStatus, NoticeFacts, NoticeStatus, OpenedFacts,
    OpenedNotice, Queued, ReadRequest, SentFacts,
};
use super::views::{self, SentState};
use crate::compose::preview::Preview;
use crate::compose::{Draft, Signed, content};
use crate::core::Reading;
use crate::node::Desk;
use crate::node::office::{Office, Statement};
use crate::node::showing::{self, NotShown};
use crate::renewal::Pending;
use crate::store::Sent;

/// Most entries of a list.
const LIST_MAX: usize = 1000;
/// Entries of a list unless asked otherwise.
const LIST_DEFAULT: usize = 100;
/// Entries of the short lists in the node's status.
const STATUS_LIST_MAX: usize = 10;
/// Longest wait a caller may ask for.
const WAIT_MAX: Duration = Duration::from_secs(600);

pub(super) type Answer<T> = Result<Json<T>, ApiError>;

/// Reading the store and using keys take CPU and disk; they are not for the tasks that do I/O.
pub(super) async fn apart<T: Send + 'static>(
    desk: &Desk,
    work: impl FnOnce(&Office) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let office = Arc::clone(desk.office());
    tokio::task::spawn_blocking(move || work(&office)).await.map_err(ApiError::internal)?
}

pub(super) fn body_of(body: Result<Bytes, BytesRejection>) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    match body {
        Ok(bytes) => Ok(Zeroizing::new(bytes.to_vec())),
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("the request has more than the {} bytes allowed", super::BODY_BYTES_MAX);
            Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", message))
        }
        Err(rejection) => Err(ApiError::bad_request(rejection.body_text())),
    }
}

fn id_of(text: &str) -> Result<NoticeId, ApiError> {
    text.parse().map_err(ApiError::bad_request)
}

/// `POST /v1/preview`: who would be able to read what. Nothing is stored.
pub(super) async fn preview(
    State(desk): State<Desk>,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Preview> {
    let json = body_of(body)?;
    let preview = apart(&desk, move |office| {
        let now = office.now();
        Ok(Preview::of(&Draft::read(json, office, now)?.address(office, now)?, now))
    });
    Ok(Json(preview.await?))
}

/// `POST /v1/notices`: seals, signs and queues a notice.
pub(super) async fn send(State(desk): State<Desk>, body: Result<Bytes, BytesRejection>) -> Answer<Queued> {
    let json = body_of(body)?;
    let signed: Signed = apart(&desk, move |office| {
        let now = office.now();
        Ok(Draft::read(json, office, now)?.address(office, now)?.seal(office, now)?.sign(office)?)
    })
    .await?;
    let header = signed.envelope().header();
    let queued = Queued {
        notice_id: header.notice_id,
        recipients: header.recipients.clone(),
        label: header.label.to_string(),
        precedence: header.precedence,
        expires_at: header.expires_at,
        respond_by: header.respond_by,
    };
    desk.send(signed.into_outgoing()).await?;
    tracing::info!(notice = %queued.notice_id, "queued");
    Ok(Json(queued))
}

/// What may be asked of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    limit: Option<usize>,
}

/// `GET /v1/inbox`: received notices, newest first.
pub(super) async fn inbox(
    State(desk): State<Desk>,
    Query(query): Query<ListQuery>,
) -> Answer<Vec<InboxEntry>> {
    let limit = query.limit.unwrap_or(LIST_DEFAULT).min(LIST_MAX);
    if limit == 0 {
        return Err(ApiError::bad_request(format_args!("limit: ask for 1 to {LIST_MAX} notices")));
    }
    let inbox = apart(&desk, move |office| Ok(office.store().inbox(limit)?)).await?;
    Ok(Json(inbox.iter().map(views::inbox_entry).collect()))
}

/// `GET /v1/notices/{id}`: what the header of a notice tells, and its receipts. No content.
pub(super) async fn show(State(desk): State<Desk>, Path(id): Path<String>) -> Answer<NoticeFacts> {
    let id = id_of(&id)?;
    Ok(Json(apart(&desk, move |office| facts_of(office, &id)).await?))
}

fn facts_of(office: &Office, id: &NoticeId) -> Result<NoticeFacts, ApiError> {
    let store = office.store();
    let received = store.received(id)?;
    let known = received.is_some() || store.sent_record(id)?.is_some();
    let envelope = if known { store.envelope(id)? } else { None };
    let envelope = envelope.ok_or_else(|| ApiError::unknown_notice(id))?;
    let direction = if received.is_some() { Direction::Received } else { Direction::Sent };
    let read = received.and_then(|inbox| inbox.read);
    Ok(views::notice_facts(&envelope, direction, &store.receipts(id)?, read.as_ref()))
}

/// `POST /v1/notices/{id}/read`: shows a received notice to an officer and tells its originator, the first time.
pub(super) async fn read(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer<OpenedNotice> {
    let id = id_of(&id)?;
    let request: ReadRequest = serde_json::from_slice(&body_of(body)?).map_err(ApiError::bad_request)?;
    let officer = officer_of(request.officer)?;
    let (opened, reading) = apart(&desk, move |office| open(office, id, officer)).await?;
    // Persist before you speak: nobody is shown anything before it is on record who was.
    desk.record_reading(reading).await?;
    let notice = apart(&desk, move |office| facts_of(office, &id)).await?;
    Ok(Json(OpenedNotice { notice, opened }))
}

fn officer_of(name: String) -> Result<String, ApiError> {
    let name = name.trim().to_owned();
    if name.is_empty() || name.len() > OFFICER_BYTES_MAX || name.chars().any(char::is_control) {
        let message =
            format!("officer: name the officer who reads, in 1 to {OFFICER_BYTES_MAX} bytes of plain text");
        return Err(ApiError::bad_request(message));
    }
    Ok(name)
}

fn open(office: &Office, id: NoticeId, officer: String) -> Result<(Vec<OpenedFacts>, Reading), ApiError> {
    let now = office.now();
    let (verified, opened) = match showing::open(office, &id) {
        Err(NotShown::Unknown(id)) if office.store().sent_record(&id)?.is_some() => {
            return Err(ApiError::was_sent(&id));
        }
        opened => opened?,
    };
    let portions = opened.iter().map(|portion| portion.index).collect();
    let opened = opened.iter().map(opened_facts).collect::<Result<_, _>>()?;
    let envelope = verified.envelope();
    let statement = Statement::Read { officer: officer.clone(), portions };
    let receipt = office.receipt(statement, envelope, now);
    let reply = office.receipt_envelope(envelope.header(), &receipt, &office.directory(), now);
    let reply = match reply {
        Ok(outgoing) => Some(Box::new(outgoing)),
        Err(error) => {
            tracing::warn!(notice = %id, %error, "a receipt cannot be sent");
            None
        }
    };
    Ok((opened, Reading { notice_id: id, officer, at: now, receipt, reply }))
}

fn opened_facts(portion: &OpenedPortion) -> Result<OpenedFacts, ApiError> {
    let content = content::decode(portion)
        .map_err(|error| ApiError::new(StatusCode::CONFLICT, "CANNOT_READ", error))?;
    Ok(OpenedFacts { index: portion.index.get(), label: portion.label.to_string(), content })
}

/// `GET /v1/status`: how the node is.
pub(super) async fn status(State(desk): State<Desk>) -> Answer<NodeStatus> {
    let (link, outbox) = (desk.link(), desk.outbox_len());
    let status = apart(&desk, move |office| {
        let now = office.now();
        let asides = office.store().asides(STATUS_LIST_MAX)?;
        // One that cannot be read is told of in the log, and made anew.
        let pending = Pending::read(&office.config().folder).ok().flatten();
        Ok(NodeStatus {
            agency: office.agency().clone(),
            trust_domain: office.trust().trust_domain.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            excluded: standing::exclusion(&link, office),
            connection: views::connection_facts(link),
            directory: views::directory_facts(office, now),
            certificate: standing::certificate(office, now),
            renewal: pending.as_ref().map(|pending| standing::renewal_facts(pending, now)),
            runs_out: standing::runs_out(office, now),
            clock: office.skew().as_ref().map(standing::clock),
            outbox,
            sent: newest_sent(office)?,
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
        newest.extend(office.store().sent(&record.notice_id)?.as_ref().map(views::sent_facts));
    }
    Ok(newest)
}

/// What a caller may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WaitFor {
    /// The broker's answer.
    Accepted,
    /// The broker's answer, and DELIVERED, or whatever else ends the matter, of every recipient.
    Delivered,
}

/// What may be asked of a notice's status.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatusQuery {
    wait: Option<WaitFor>,
    timeout: Option<u64>,
}

/// `GET /v1/status/{id}`: what became of a notice sent from here; with `wait`, not before that has happened or
/// `timeout` seconds have passed.
pub(super) async fn notice_status(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    Query(query): Query<StatusQuery>,
) -> Answer<NoticeStatus> {
    let id = id_of(&id)?;
    if let Some(wait) = query.wait {
        let timeout = Duration::from_secs(query.timeout.unwrap_or(30)).min(WAIT_MAX);
        desk.wait_until(timeout, |store| {
            Ok::<_, ApiError>(store.sent(&id)?.is_none_or(|sent| met(wait, &sent)))
        })
        .await?;
    }
    let sent = apart(&desk, move |office| match office.store().sent(&id)? {
        Some(sent) => Ok(sent),
        None if office.store().received(&id)?.is_some() => Err(ApiError::was_received(&id)),
        None => Err(ApiError::unknown_notice(&id)),
    });
    Ok(Json(views::notice_status(&sent.await?)))
}

fn met(wait: WaitFor, sent: &Sent) -> bool {
    match (SentState::of(sent), wait) {
        (SentState::Queued, _) => false,
        (SentState::Refused | SentState::Lapsed, _) | (SentState::Accepted, WaitFor::Accepted) => true,
        (SentState::Accepted, WaitFor::Delivered) => {
            let status = views::notice_status(sent);
            status.recipients.iter().all(|recipient| recipient.state != "PENDING")
        }
    }
}

/// `GET /v1/directory`: who takes part.
pub(super) async fn directory(State(desk): State<Desk>) -> Json<DirectoryView> {
    Json(views::directory_view(&desk.office().directory()))
}
