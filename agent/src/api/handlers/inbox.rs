//! The list of what was received.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, Asked, LIST_DEFAULT, LIST_MAX, apart};
use crate::api::error::ApiError;
use crate::api::types::{ErrorBody, InboxEntry};
use crate::api::views;
use crate::node::Desk;

/// The paths of this matter.
pub(in crate::api) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(inbox))
}

/// What may be asked of a list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct ListQuery {
    limit: Option<usize>,
}

/// Received notices, newest first.
#[utoipa::path(get, path = "/v1/inbox", tag = "notices", params(ListQuery),
    responses((status = 200, body = Vec<InboxEntry>), (status = "default", body = ErrorBody)))]
pub(in crate::api) async fn inbox(
    State(desk): State<Desk>,
    Asked(query): Asked<ListQuery>,
) -> Answer<Vec<InboxEntry>> {
    let limit = query.limit.unwrap_or(LIST_DEFAULT).min(LIST_MAX);
    if limit == 0 {
        return Err(ApiError::bad_request(format_args!("limit: ask for 1 to {LIST_MAX} notices")));
    }
    let inbox = apart(&desk, move |office| Ok(office.store().inbox(limit)?)).await?;
    Ok(Json(inbox.iter().map(views::inbox_entry).collect()))
}
