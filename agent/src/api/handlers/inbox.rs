//! The list of what was received.

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::{Answer, LIST_DEFAULT, LIST_MAX, apart};
use crate::api::error::ApiError;
use crate::api::types::InboxEntry;
use crate::api::views;
use crate::node::Desk;

/// What may be asked of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct ListQuery {
    limit: Option<usize>,
}

/// `GET /v1/inbox`: received notices, newest first.
pub(in crate::api) async fn inbox(
    State(desk): State<Desk>,
    Query(query): Query<ListQuery>,
) -> Answer<Vec<InboxEntry>> {
    let limit = query.limit.unwrap_or(LIST_DEFAULT).min(LIST_MAX);
    if limit == 0 {
        return Err(ApiError::bad_request(format_args!("limit: ask for 1 to {LIST_MAX} notices")));
    }
    let inbox = apart(&desk, move |office| Ok(office.store().inbox(limit)?)).await?;
    Ok(Json(inbox.iter().map(views::inbox_entry).collect()))
}
