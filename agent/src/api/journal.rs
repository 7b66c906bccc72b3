//! The access journal, for auditors.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use valise_proto::id::{Digest, NoticeId, Timestamp};

use super::caller::Caller;
use super::error::ApiError;
use super::handlers::{Answer, Asked, apart};
use super::types::ErrorBody;
use crate::journal::{Query, Written};
use crate::node::Desk;
use crate::officers::Role;
use crate::store::{Broken, Head};

const LIMIT_DEFAULT: usize = 100;
/// Most entries of one answer.
pub const LIMIT_MAX: usize = 10_000;

/// Which entries are asked for.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct JournalQuery {
    #[param(value_type = Option<String>)]
    since: Option<Timestamp>,
    officer: Option<String>,
    deed: Option<String>,
    /// About this notice, or about one that corrects, withdraws or answers it.
    #[param(value_type = Option<String>)]
    notice: Option<NoticeId>,
    limit: Option<usize>,
}

/// A journal's end, to be noted elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JournalHead {
    /// How many entries there are.
    pub entries: u64,
    /// The hash of the last.
    #[schema(value_type = String)]
    pub hash: Digest,
}

impl From<Head> for JournalHead {
    fn from(head: Head) -> Self {
        Self { entries: head.entries, hash: head.hash }
    }
}

/// What the journal is compared with.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct VerifyQuery {
    #[param(value_type = Option<String>)]
    head: Option<Digest>,
}

/// The paths of this matter.
pub(in crate::api) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(journal))
        .routes(routes!(journal_head))
        .routes(routes!(verify_journal))
}

/// Entries of the access journal, newest first.
#[utoipa::path(get, path = "/v1/journal", tag = "journal", params(JournalQuery),
    responses((status = 200, body = Vec<Written>), (status = "default", body = ErrorBody)))]
async fn journal(
    State(desk): State<Desk>,
    caller: Caller,
    Asked(query): Asked<JournalQuery>,
) -> Answer<Vec<Written>> {
    caller.must(Role::Auditor)?;
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::bad_request(format_args!("limit: ask for 1 to {LIMIT_MAX} entries")));
    }
    let deed = query.deed.map(|word| word.parse()).transpose();
    let deed = deed.map_err(|error| ApiError::bad_request(format_args!("deed: {error}")))?;
    let query = Query { since: query.since, officer: query.officer, deed, about: query.notice };
    Ok(Json(apart(&desk, move |office| Ok(office.store().journal(&query, limit)?)).await?))
}

/// Where the access journal ends; noted elsewhere, it shows later whether entries were cut off or rewritten.
#[utoipa::path(get, path = "/v1/journal/head", tag = "journal",
    responses((status = 200, body = JournalHead), (status = "default", body = ErrorBody)))]
async fn journal_head(State(desk): State<Desk>, caller: Caller) -> Answer<JournalHead> {
    caller.must(Role::Auditor)?;
    Ok(Json(desk.office().store().journal_head().into()))
}

/// Goes through the whole access journal, and says where it ends if it is whole.
#[utoipa::path(get, path = "/v1/journal/verify", tag = "journal", params(VerifyQuery),
    responses((status = 200, body = JournalHead), (status = "default", body = ErrorBody)))]
async fn verify_journal(
    State(desk): State<Desk>,
    caller: Caller,
    Asked(query): Asked<VerifyQuery>,
) -> Answer<JournalHead> {
    caller.must(Role::Auditor)?;
    let verified = apart(&desk, move |office| match office.store().verify_journal(query.head.as_ref()) {
        Ok(head) => Ok(head.into()),
        Err(Broken::Store(error)) => Err(error.into()),
        Err(error @ (Broken::Entry { .. } | Broken::End { .. } | Broken::Noted(_))) => {
            Err(ApiError::new(StatusCode::CONFLICT, "JOURNAL_BROKEN", error))
        }
    });
    Ok(Json(verified.await?))
}
