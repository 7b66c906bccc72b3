//! Looking at a notice before it is sent, and sending it.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use valise_proto::envelope::Header;
use zeroize::Zeroizing;

use super::{Answer, apart, body_of};
use crate::api::caller::Caller;
use crate::api::entries;
use crate::api::error::ApiError;
use crate::api::types::{ErrorBody, NoticeBody, Queued};
use crate::compose::preview::Preview;
use crate::compose::{Draft, Signed};
use crate::core::Change;
use crate::node::Desk;
use crate::node::office::Office;
use crate::officers::Role;
use crate::pending::{self, NotDecided, PENDING_MAX, Pending};
use crate::release;

/// The paths of this matter.
pub(in crate::api) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(preview)).routes(routes!(send))
}

/// Who would be able to read what. Nothing is stored.
#[utoipa::path(post, path = "/v1/preview", tag = "notices", request_body = NoticeBody,
    responses((status = 200, body = Preview), (status = "default", body = ErrorBody)))]
pub(in crate::api) async fn preview(
    State(desk): State<Desk>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Preview> {
    caller.must(Role::Drafter)?;
    let json = body_of(body)?;
    let preview = apart(&desk, move |office| {
        let now = office.now();
        let addressed = Draft::read(json, office, now)?.address(office, now)?;
        Ok(Preview::of(&addressed, office.config(), now))
    });
    Ok(Json(preview.await?))
}

/// Seals, signs and queues a notice.
#[utoipa::path(post, path = "/v1/notices", tag = "notices", request_body = NoticeBody,
    responses((status = 200, body = Queued), (status = "default", body = ErrorBody)))]
pub(in crate::api) async fn send(
    State(desk): State<Desk>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Queued> {
    caller.must(Role::Drafter)?;
    queue(&desk, caller, body_of(body)?).await.map(Json)
}

/// Seals, signs and queues what was written, in the caller's name.
pub(super) async fn queue(desk: &Desk, caller: Caller, json: Zeroizing<Vec<u8>>) -> Result<Queued, ApiError> {
    let (signed, changes, until): (Signed, _, _) = apart(desk, move |office| {
        let now = office.now();
        let draft = Zeroizing::new(json.to_vec());
        let addressed = Draft::read(json, office, now)?.address(office, now)?;
        let signed = addressed.seal(office, now)?.sign(office)?;
        let header = signed.envelope().header();
        release::check_by_hand(office, header)?;
        if pending::is_needed(office.config().four_eyes_label, header.label.classification) {
            let waiting = put_off(office, &caller, header, &draft)?;
            let until = waiting.until;
            return Ok((signed, vec![Change::Pend(Box::new(waiting))], Some(until)));
        }
        let entries = entries::of_sending(&caller, now, &signed);
        Ok((signed, entries, None))
    })
    .await?;
    let queued = Queued { pending_until: until, ..queued_of(&signed) };
    if until.is_some() {
        // What was sealed to see whether it can be is dropped: it is sealed again when it is approved.
        desk.record(changes).await?;
        tracing::info!(notice = %queued.notice_id, "waits for a second officer");
    } else {
        desk.send_with(signed.into_outgoing(), changes).await?;
        tracing::info!(notice = %queued.notice_id, "queued");
    }
    Ok(queued)
}

/// A draft that is to wait for a second officer, by a drafter who is known by name.
fn put_off(office: &Office, caller: &Caller, header: &Header, draft: &[u8]) -> Result<Pending, ApiError> {
    let drafter = caller.acting_as(None)?;
    if office.store().all_pending()?.len() >= PENDING_MAX {
        return Err(NotDecided::Full.into());
    }
    let what = (header.notice_id, header.kind, header.label.to_string());
    let now = office.now();
    let times = (now, now.plus(office.config().pending_wait));
    let json = std::str::from_utf8(draft).map_err(ApiError::bad_request)?;
    Ok(Pending::new(what, drafter, times, json.to_owned()))
}

/// What is told of a notice that was sealed.
pub(in crate::api) fn queued_of(signed: &Signed) -> Queued {
    let header = signed.envelope().header();
    Queued {
        notice_id: header.notice_id,
        recipients: header.recipients.clone(),
        label: header.label.to_string(),
        precedence: header.precedence,
        expires_at: header.expires_at,
        respond_by: header.respond_by,
        pending_until: None,
        not_told: signed.table().not_told.clone(),
    }
}
