//! What became of a notice sent from here.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Asked, WAIT_MAX, apart, id_of};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::types::{ErrorBody, NoticeStatus, Until};
use crate::api::views;
use crate::node::Desk;
use crate::officers::Role;
use crate::release::standing::out_of_force;
use crate::store::Sent;

/// The paths of this matter.
pub(in crate::api) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(notice_status))
}

/// What a caller may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::api) enum WaitFor {
    /// The broker's answer.
    Accepted,
    /// The broker's answer, and DELIVERED, or whatever else ends the matter, of every recipient.
    Delivered,
}

impl From<WaitFor> for Until {
    fn from(wait: WaitFor) -> Self {
        match wait {
            WaitFor::Accepted => Self::Accepted,
            WaitFor::Delivered => Self::Delivered,
        }
    }
}

/// What may be asked of a notice's status.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct StatusQuery {
    #[param(inline)]
    wait: Option<WaitFor>,
    timeout: Option<u64>,
}

/// What became of a notice sent from here; with `wait`, not before that has happened or
/// `timeout` seconds have passed.
#[utoipa::path(get, path = "/v1/status/{id}", tag = "notices", params(("id" = String, Path, description = "The notice's id"), StatusQuery),
    responses((status = 200, body = NoticeStatus), (status = "default", body = ErrorBody)))]
pub(in crate::api) async fn notice_status(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    caller: Caller,
    Asked(query): Asked<StatusQuery>,
) -> Answer<NoticeStatus> {
    caller.must_any(&Role::ALL)?;
    let id = id_of(&id)?;
    if let Some(wait) = query.wait {
        let timeout = Duration::from_secs(query.timeout.unwrap_or(30)).min(WAIT_MAX);
        desk.wait_until(timeout, |store| {
            Ok::<_, ApiError>(store.sent(&id)?.is_none_or(|sent| met(wait.into(), &sent)))
        })
        .await?;
    }
    let status = apart(&desk, move |office| match office.store().sent(&id)? {
        Some(sent) => {
            let out_of_force = out_of_force(office, &id, office.agency())?;
            Ok(NoticeStatus { out_of_force, ..views::notice_status(&sent) })
        }
        None if office.store().received(&id)?.is_some() => Err(ApiError::was_received(&id)),
        None => Err(ApiError::unknown_notice(&id)),
    });
    Ok(Json(status.await?))
}

/// Whether what is waited for has come, or nothing more will.
pub(super) fn met(until: Until, sent: &Sent) -> bool {
    views::notice_status(sent).awaited(until).is_none()
}
