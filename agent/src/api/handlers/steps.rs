//! What an officer states of a received notice: that it was acted upon, or that it cannot be used here.
//!
//! Claimed: an officer states only what concerns a notice that this officer was shown and that counts; the statement is on
//! record with its receipt, and in the access journal, before anybody is told.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use valise_proto::envelope::Envelope;
use valise_proto::id::NoticeId;
use valise_proto::refusal::{Refusal, RefusalCode};

use super::notices::facts_of;
use super::{Answer, apart, body_of, id_of};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::types::{ActRequest, DeclineRequest, ErrorBody, NoticeFacts};
use crate::core::{Change, OfficerStep, Step, StepKey};
use crate::journal::{Deed, Entry};
use crate::node::Desk;
use crate::node::office::{Office, Statement};
use crate::node::showing;
use crate::officers::Role;

/// The paths of this matter.
pub(in crate::api) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(act)).routes(routes!(decline))
}

/// States that a received notice was acted upon; its originator is told by whom and when.
#[utoipa::path(post, path = "/v1/notices/{id}/act", tag = "follow-ups", params(("id" = String, Path, description = "The notice that was acted upon")),
    request_body = ActRequest, responses((status = 200, body = NoticeFacts), (status = "default", body = ErrorBody)))]
pub(in crate::api) async fn act(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Answer<NoticeFacts> {
    caller.must(Role::Reader)?;
    let id = id_of(&id)?;
    let request: ActRequest = serde_json::from_slice(&body_of(body)?).map_err(ApiError::bad_request)?;
    let officer = caller.acting_as(request.officer.as_deref())?;
    let reason = caller.reason(request.reason.as_deref())?;
    let step = apart(&desk, move |office| {
        stated(office, id, Step::Actioned, officer, |officer, envelope| {
            let portions = envelope.portions().iter().map(|portion| portion.index).collect();
            Statement::Actioned { officer, portions }
        })
    });
    record(&desk, step.await?, Deed::Act, reason).await
}

/// States that a received notice cannot be used here; its originator is told by whose decision, when and why.
#[utoipa::path(post, path = "/v1/notices/{id}/decline", tag = "follow-ups", params(("id" = String, Path, description = "The notice that is declined")),
    request_body = DeclineRequest, responses((status = 200, body = NoticeFacts), (status = "default", body = ErrorBody)))]
pub(in crate::api) async fn decline(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Answer<NoticeFacts> {
    caller.must(Role::Reader)?;
    let id = id_of(&id)?;
    let request: DeclineRequest = serde_json::from_slice(&body_of(body)?).map_err(ApiError::bad_request)?;
    let officer = caller.acting_as(request.officer.as_deref())?;
    if request.reason.trim().is_empty() {
        return Err(ApiError::bad_request("reason: say why; the originator reads it: --reason TEXT"));
    }
    let reason = caller.reason(Some(&request.reason))?;
    let refusal = Refusal::new(RefusalCode::Declined, request.reason.trim());
    let step = apart(&desk, move |office| {
        stated(office, id, Step::Declined, officer, |officer, _| Statement::Declined { officer, refusal })
    });
    record(&desk, step.await?, Deed::Decline, reason).await
}

fn stated(
    office: &Office,
    id: NoticeId,
    step: Step,
    officer: String,
    statement: impl FnOnce(String, &Envelope) -> Statement,
) -> Result<OfficerStep, ApiError> {
    let store = office.store();
    if store.received(&id)?.is_none() {
        let sent = store.sent_record(&id)?.is_some();
        return Err(if sent { ApiError::was_sent(&id) } else { ApiError::unknown_notice(&id) });
    }
    showing::check_in_force(office, &id)?;
    if !store.has_step(&StepKey::new(id, Step::Read, &officer))? {
        let message = format!(
            "{officer} was not shown notice {id}, and states nothing of it: valise-agent read {id} first"
        );
        return Err(ApiError::new(StatusCode::CONFLICT, "NOT_READ", message));
    }
    let envelope = store.envelope(&id)?.ok_or_else(|| ApiError::unknown_notice(&id))?;
    let at = office.now();
    let receipt = office.receipt(statement(officer.clone(), &envelope), &envelope, at);
    let reply = office.reply(envelope.header(), &receipt, &office.directory(), at);
    Ok(OfficerStep { notice_id: id, step, officer, at, receipt, reply })
}

async fn record(desk: &Desk, step: OfficerStep, deed: Deed, reason: Option<String>) -> Answer<NoticeFacts> {
    let id = step.notice_id;
    let entry = Entry::new(step.at, &step.officer, deed).about(id).because(reason.as_deref());
    desk.record_step(step, vec![Change::Journal(Box::new(entry))]).await?;
    Ok(Json(apart(desk, move |office| facts_of(office, &id)).await?))
}
