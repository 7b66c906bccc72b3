//! What an operator does by hand, asked of the running node.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;

use super::error::ApiError;
use super::handlers::{Answer, apart, body_of};
use super::standing;
use super::types::{InstalledFacts, KeyFacts, RenewalAnswer, RotateRequest};
use crate::carried::Carried;
use crate::folder;
use crate::node::office::Office;
use crate::node::{Desk, LinkState, handwork};

/// `GET /v1/keys`: every key that is held.
pub(super) async fn keys(State(desk): State<Desk>) -> Answer<Vec<KeyFacts>> {
    Ok(Json(apart(&desk, |office| Ok(standing::keys(office))).await?))
}

/// `POST /v1/renew`: the renewal request that waits, made now where there is none.
pub(super) async fn renew(State(desk): State<Desk>) -> Answer<RenewalAnswer> {
    let answer = |office: &Office| Ok(standing::renewal_answer(&handwork::renew(office)?, office.now()));
    Ok(Json(apart(&desk, answer).await?))
}

/// `POST /v1/keys/rotate`: makes keys to follow those in use, and a renewal request that brings them.
pub(super) async fn rotate(
    State(desk): State<Desk>,
    body: Result<Bytes, BytesRejection>,
) -> Answer<RenewalAnswer> {
    let request: RotateRequest = serde_json::from_slice(&body_of(body)?).map_err(ApiError::bad_request)?;
    let answer = move |office: &Office| {
        Ok(standing::renewal_answer(&handwork::rotate(office, request.which())?, office.now()))
    };
    Ok(Json(apart(&desk, answer).await?))
}

/// `POST /v1/install`: installs what lies in the data folder's `incoming`, where the command has put it.
pub(super) async fn install(State(desk): State<Desk>) -> Answer<InstalledFacts> {
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
