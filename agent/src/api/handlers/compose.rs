//! Looking at a notice before it is sent, and sending it.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zeroize::Zeroizing;

use super::{Answer, apart, body_of};
use crate::api::caller::Caller;
use crate::api::entries;
use crate::api::error::ApiError;
use crate::api::types::{ErrorBody, NoticeBody, Queued};
use crate::compose::preview::Preview;
use crate::compose::{Draft, Signed};
use crate::node::Desk;
use crate::officers::Role;

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
        Ok(Preview::of(&Draft::read(json, office, now)?.address(office, now)?, now))
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
    let (signed, entries): (Signed, _) = apart(desk, move |office| {
        let now = office.now();
        let addressed = Draft::read(json, office, now)?.address(office, now)?;
        let preview = Preview::of(&addressed, now);
        let signed = addressed.seal(office, now)?.sign(office)?;
        let entries = entries::of_sending(&caller, now, signed.envelope().header(), &preview.omissions);
        Ok((signed, entries))
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
    desk.send_with(signed.into_outgoing(), entries).await?;
    tracing::info!(notice = %queued.notice_id, "queued");
    Ok(queued)
}
