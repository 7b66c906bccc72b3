//! Answering a received notice, and correcting or withdrawing one that was sent from here.
//!
//! Claimed: what is sent by these ways keeps the rules of every other notice, for it is written as one and goes the same
//! way; a correction or withdrawal is of this agency's own notice, of the newest of its chain, and is addressed to
//! everybody who got any notice of the chain.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use valise_proto::envelope::Envelope;
use valise_proto::id::NoticeId;
use valise_proto::label::Label;
use zeroize::Zeroizing;

use super::{Answer, apart, body_of, compose, id_of};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::types::{CorrectRequest, ErrorBody, Queued, RespondRequest, WithdrawRequest};
use crate::compose::followup::{Chain, FOLLOW_UP_LABEL, NotFollowed};
use crate::node::Desk;
use crate::node::office::Office;
use crate::node::showing;
use crate::officers::Role;

/// The paths of this matter.
pub(in crate::api) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(respond)).routes(routes!(correct)).routes(routes!(withdraw))
}

/// Answers a received notice; the answer goes to its originator.
#[utoipa::path(post, path = "/v1/notices/{id}/respond", tag = "follow-ups", params(("id" = String, Path, description = "The notice that is answered")),
    request_body = RespondRequest, responses((status = 200, body = Queued), (status = "default", body = ErrorBody)))]
pub(in crate::api) async fn respond(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Queued> {
    caller.must(Role::Drafter)?;
    let id = id_of(&id)?;
    let request: RespondRequest = serde_json::from_slice(&body_of(body)?).map_err(ApiError::bad_request)?;
    let json = apart(&desk, move |office| response(office, &id, request)).await?;
    compose::queue(&desk, caller, json).await.map(Json)
}

/// Sends a corrected notice in the place of one that was sent from here. Everybody who got that one gets it.
#[utoipa::path(post, path = "/v1/notices/{id}/correct", tag = "follow-ups", params(("id" = String, Path, description = "The notice that is corrected")),
    request_body = CorrectRequest, responses((status = 200, body = Queued), (status = "default", body = ErrorBody)))]
pub(in crate::api) async fn correct(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Queued> {
    caller.must(Role::Drafter)?;
    let id = id_of(&id)?;
    let request: CorrectRequest = serde_json::from_slice(&body_of(body)?).map_err(ApiError::bad_request)?;
    let asking = caller.clone();
    let json = apart(&desk, move |office| correction(office, &asking, &id, request)).await?;
    compose::queue(&desk, caller, json).await.map(Json)
}

/// Takes back a notice that was sent from here. Everybody who got it is told.
#[utoipa::path(post, path = "/v1/notices/{id}/withdraw", tag = "follow-ups", params(("id" = String, Path, description = "The notice that is withdrawn")),
    request_body = WithdrawRequest, responses((status = 200, body = Queued), (status = "default", body = ErrorBody)))]
pub(in crate::api) async fn withdraw(
    State(desk): State<Desk>,
    caller: Caller,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Queued> {
    caller.must(Role::Drafter)?;
    let id = id_of(&id)?;
    let request: WithdrawRequest = serde_json::from_slice(&body_of(body)?).map_err(ApiError::bad_request)?;
    let asking = caller.clone();
    let json = apart(&desk, move |office| withdrawal(office, &asking, &id, request)).await?;
    compose::queue(&desk, caller, json).await.map(Json)
}

/// What is written, as an author would have written it.
fn written(notice: &Value) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(notice.to_string().into_bytes())
}

fn response(office: &Office, id: &NoticeId, request: RespondRequest) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let RespondRequest { outcome, text, about, label } = request;
    let store = office.store();
    if store.received(id)?.is_none() {
        let sent = store.sent_record(id)?.is_some();
        return Err(if sent { ApiError::was_sent(id) } else { ApiError::unknown_notice(id) });
    }
    // First of all: of what counts no more nothing is held, of which a label could be derived.
    showing::check_in_force(office, id)?;
    let envelope = store.envelope(id)?.ok_or_else(|| ApiError::unknown_notice(id))?;
    let header = envelope.header();
    let label = label.map_or_else(|| label_held(&envelope), Ok)?;
    let mut part = serde_json::Map::from_iter([
        ("type".to_owned(), json!("response")),
        ("outcome".to_owned(), json!(outcome)),
    ]);
    part.extend((!about.is_empty()).then(|| ("about".to_owned(), about.into())));
    part.extend(text.map(|text| ("text".to_owned(), text.into())));
    Ok(written(&json!({
        "kind": "RESPONSE", "precedence": header.precedence, "label": label,
        "in_reply_to": id, "parts": [part],
    })))
}

/// The label of all that is held here of a notice: an answer may quote any of it, and nothing else is known here.
fn label_held(envelope: &Envelope) -> Result<String, ApiError> {
    let portions = &envelope.header().portions;
    let held = envelope.portions().iter().filter_map(|portion| portions.get(portion.index.get()));
    let label = Label::join(held.map(|portion| &portion.label));
    let label = label.map(|label| label.to_string());
    label.ok_or_else(|| ApiError::bad_request("label: name the label of the answer with --label BANNER, such as RESTRICTED//H2: no portion of the notice is held here of which it could be derived"))
}

fn correction(
    office: &Office,
    caller: &Caller,
    id: &NoticeId,
    request: CorrectRequest,
) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let CorrectRequest { reason, mut notice } = request;
    check_may_follow(office, caller, id)?;
    let Some(fields) = notice.as_object_mut() else {
        return Err(ApiError::bad_request("notice: write the corrected notice whole, as a JSON object"));
    };
    fields.insert("kind".to_owned(), "CORRECTION".into());
    fields.insert("supersedes".to_owned(), json!(id));
    // Whoever got any of it has to be able to read that it no longer counts.
    let part = json!({ "type": "correction", "reason": reason, "label": FOLLOW_UP_LABEL });
    let parts = fields.entry("parts").or_insert_with(|| Value::Array(Vec::new()));
    let Some(parts) = parts.as_array_mut() else {
        return Err(ApiError::bad_request("notice.parts: write a list"));
    };
    parts.push(part);
    Ok(written(&notice))
}

fn withdrawal(
    office: &Office,
    caller: &Caller,
    id: &NoticeId,
    request: WithdrawRequest,
) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let WithdrawRequest { reason, label } = request;
    check_may_follow(office, caller, id)?;
    let precedence = office.store().sent_record(id)?.map(|record| record.precedence);
    let label = label.unwrap_or_else(|| FOLLOW_UP_LABEL.to_owned());
    Ok(written(&json!({
        "kind": "WITHDRAWAL", "precedence": precedence, "label": label, "withdraws": id,
        "parts": [{ "type": "withdrawal", "reason": reason }],
    })))
}

/// That a notice is ours and the newest of its chain is looked at again when the follow-up is addressed; here an attempt
/// on another's is put on record.
fn check_may_follow(office: &Office, caller: &Caller, id: &NoticeId) -> Result<(), ApiError> {
    match Chain::of(office.store(), id) {
        Ok(_) => Ok(()),
        Err(error @ NotFollowed::OfAnother(_)) => Err(caller.refused("NOT_ORIGINATOR", error)),
        Err(error) => Err(error.into()),
    }
}
