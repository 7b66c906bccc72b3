//! One notice: what its header tells, and opening it.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use valise_proto::envelope::OpenedPortion;
use valise_proto::id::{AgencyId, NoticeId};

use super::{Answer, apart, body_of, id_of};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::types::{Direction, ErrorBody, NoticeFacts, OpenedFacts, OpenedNotice, ReadRequest};
use crate::api::views::{self, Ends};
use crate::compose::content;
use crate::core::{Change, OfficerStep, Step};
use crate::journal::{Deed, Entry};
use crate::node::Desk;
use crate::node::office::{Office, Statement};
use crate::node::showing::{self, NotShown};
use crate::officers::Role;
use crate::release::standing;
use crate::store::StoreError;

/// The paths of this matter.
pub(in crate::api) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(read))
}

/// What the header of a notice tells, and its receipts. No content.
#[utoipa::path(get, path = "/v1/notices/{id}", tag = "notices", params(("id" = String, Path, description = "The notice's id")),
    responses((status = 200, body = NoticeFacts), (status = "default", body = ErrorBody)))]
pub(in crate::api) async fn show(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    caller: Caller,
) -> Answer<NoticeFacts> {
    caller.must_any(&Role::ALL)?;
    let id = id_of(&id)?;
    Ok(Json(apart(&desk, move |office| facts_of(office, &id)).await?))
}

pub(in crate::api) fn facts_of(office: &Office, id: &NoticeId) -> Result<NoticeFacts, ApiError> {
    let store = office.store();
    let received = store.received(id)?;
    let known = received.is_some() || store.sent_record(id)?.is_some();
    let envelope = if known { store.envelope(id)? } else { None };
    let envelope = envelope.ok_or_else(|| ApiError::unknown_notice(id))?;
    let direction = if received.is_some() { Direction::Received } else { Direction::Sent };
    let read = received.and_then(|inbox| inbox.read);
    let ends = ends_of(office, id, &envelope.header().originator)?;
    Ok(views::notice_facts(&envelope, direction, &store.receipts(id)?, read.as_ref(), ends))
}

fn ends_of(office: &Office, id: &NoticeId, originator: &AgencyId) -> Result<Ends, StoreError> {
    let out_of_force = standing::out_of_force(office, id, originator)?;
    let purged = match originator == office.agency() {
        true => standing::erased(office, id)?,
        false => out_of_force.clone(),
    };
    Ok(Ends { out_of_force, purged })
}

/// Shows a received notice to an officer and tells its originator, the first time. Of a CORRECTION it shows what is other
/// than before.
#[utoipa::path(post, path = "/v1/notices/{id}/read", tag = "notices", params(("id" = String, Path, description = "The notice's id")), request_body = ReadRequest,
    responses((status = 200, body = OpenedNotice), (status = "default", body = ErrorBody)))]
pub(in crate::api) async fn read(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Answer<OpenedNotice> {
    caller.must(Role::Reader)?;
    let id = id_of(&id)?;
    let request: ReadRequest = serde_json::from_slice(&body_of(body)?).map_err(ApiError::bad_request)?;
    let officer = caller.acting_as(Some(&request.officer))?;
    let reason = caller.reason(request.reason.as_deref())?;
    let (opened, reading) = apart(&desk, move |office| open(office, id, officer)).await?;
    // Persist before you speak: nobody is shown anything before it is on record who was.
    let entry = Entry::new(reading.at, &reading.officer, Deed::Open).about(id).because(reason.as_deref());
    desk.record_step(reading, vec![Change::Journal(Box::new(entry))]).await?;
    let notice = apart(&desk, move |office| {
        // A withdrawal may have come meanwhile.
        showing::check_in_force(office, &id)?;
        Ok((facts_of(office, &id)?, differences(office, &id)?))
    });
    let (notice, changes) = notice.await?;
    Ok(Json(OpenedNotice { notice, opened, changes }))
}

fn differences(office: &Office, id: &NoticeId) -> Result<Option<Vec<Value>>, ApiError> {
    let json = office.store().differences(id)?;
    json.map(|json| serde_json::from_slice(&json).map_err(ApiError::internal)).transpose()
}

fn open(office: &Office, id: NoticeId, officer: String) -> Result<(Vec<OpenedFacts>, OfficerStep), ApiError> {
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
    let reply = office.reply(envelope.header(), &receipt, &office.directory(), now);
    Ok((opened, OfficerStep { notice_id: id, step: Step::Read, officer, at: now, receipt, reply }))
}

fn opened_facts(portion: &OpenedPortion) -> Result<OpenedFacts, ApiError> {
    let content = content::decode(portion)
        .map_err(|error| ApiError::new(StatusCode::CONFLICT, "CANNOT_READ", error))?;
    Ok(OpenedFacts { index: portion.index.get(), label: portion.label.to_string(), content })
}
