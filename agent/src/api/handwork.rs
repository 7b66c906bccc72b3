//! What an operator does by hand, asked of the running node.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Administrator;
use super::error::ApiError;
use super::handlers::{Answer, apart, body_of};
use super::standing;
use super::types::{ErrorBody, InstalledFacts, KeyFacts, RenewalAnswer, RotateRequest};
use crate::carried::Carried;
use crate::folder;
use crate::node::office::Office;
use crate::node::{Desk, LinkState, handwork};

/// The paths of this matter.
pub(in crate::api) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(keys))
        .routes(routes!(renew))
        .routes(routes!(rotate))
        .routes(routes!(install))
}

/// Every key that is held.
#[utoipa::path(get, path = "/v1/keys", tag = "node",
    responses((status = 200, body = Vec<KeyFacts>), (status = "default", body = ErrorBody)))]
pub(super) async fn keys(State(desk): State<Desk>, _: Administrator) -> Answer<Vec<KeyFacts>> {
    Ok(Json(apart(&desk, |office| Ok(standing::keys(office))).await?))
}

/// The renewal request that waits, made now where there is none.
#[utoipa::path(post, path = "/v1/renew", tag = "node",
    responses((status = 200, body = RenewalAnswer), (status = "default", body = ErrorBody)))]
pub(super) async fn renew(State(desk): State<Desk>, _: Administrator) -> Answer<RenewalAnswer> {
    let answer = |office: &Office| Ok(standing::renewal_answer(&handwork::renew(office)?, office.now()));
    Ok(Json(apart(&desk, answer).await?))
}

/// Makes keys to follow those in use, and a renewal request that brings them.
#[utoipa::path(post, path = "/v1/keys/rotate", tag = "node", request_body = RotateRequest,
    responses((status = 200, body = RenewalAnswer), (status = "default", body = ErrorBody)))]
pub(super) async fn rotate(
    State(desk): State<Desk>,
    _: Administrator,
    body: Result<Bytes, BytesRejection>,
) -> Answer<RenewalAnswer> {
    let request: RotateRequest = serde_json::from_slice(&body_of(body)?).map_err(ApiError::bad_request)?;
    let answer = move |office: &Office| {
        Ok(standing::renewal_answer(&handwork::rotate(office, request.which())?, office.now()))
    };
    Ok(Json(apart(&desk, answer).await?))
}

/// Installs what lies in the data folder's `incoming`, where the command has put it.
#[utoipa::path(post, path = "/v1/install", tag = "node",
    responses((status = 200, body = InstalledFacts), (status = "default", body = ErrorBody)))]
pub(super) async fn install(State(desk): State<Desk>, _: Administrator) -> Answer<InstalledFacts> {
    let installed = apart(&desk, |office| {
        let incoming = office.config().folder.incoming();
        let carried = Carried::read(&incoming).map_err(handwork::HandworkError::from)?;
        let installed = handwork::install(office, &carried);
        if let Err(error) = folder::remove_folder(&incoming) {
            tracing::warn!(%error, "what was carried here stays behind");
        }
        Ok(installed?)
    })
    .await?;
    // Another standing is worth another try at once, a new certificate another connection.
    let unconnected = matches!(desk.link(), LinkState::Down { .. });
    if installed.certificate.is_some() || unconnected {
        desk.renewed().await?;
    }
    Ok(Json(standing::installed_facts(&installed)))
}
