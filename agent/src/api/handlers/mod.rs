//! What each path of the local API does, by matter.

pub(super) mod compose;
pub(super) mod followups;
pub(super) mod inbox;
pub(super) mod node;
pub(super) mod notices;
mod open;
mod outstanding;
pub(super) mod preview;
pub(super) mod sent;
pub(super) mod steps;
pub(super) mod track;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use valise_proto::id::NoticeId;
use zeroize::Zeroizing;

use super::error::ApiError;
use crate::node::Desk;
use crate::node::office::Office;

/// Most entries of a list.
pub(in crate::api) const LIST_MAX: usize = 1000;
/// Entries of a list unless asked otherwise.
const LIST_DEFAULT: usize = 100;
/// Longest wait a caller may ask for.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// What is asked for behind the `?`; what is wrong there is told like every other mistake.
pub(in crate::api) struct Asked<T>(pub(in crate::api) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let asked = Query::try_from_uri(&parts.uri)
            .map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
        Ok(Self(asked.0))
    }
}

pub(in crate::api) type Answer<T> = Result<Json<T>, ApiError>;

/// Reading the store and using keys take CPU and disk; they are not for the tasks that do I/O.
pub(in crate::api) async fn apart<T: Send + 'static>(
    desk: &Desk,
    work: impl FnOnce(&Office) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let office = Arc::clone(desk.office());
    tokio::task::spawn_blocking(move || work(&office)).await.map_err(ApiError::internal)?
}

pub(in crate::api) fn body_of(body: Result<Bytes, BytesRejection>) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    match body {
        Ok(bytes) => Ok(Zeroizing::new(bytes.to_vec())),
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("the request has more than the {} bytes allowed", super::BODY_BYTES_MAX);
            Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", message))
        }
        Err(rejection) => Err(ApiError::bad_request(rejection.body_text())),
    }
}

pub(in crate::api) fn id_of(text: &str) -> Result<NoticeId, ApiError> {
    text.parse().map_err(ApiError::bad_request)
}
