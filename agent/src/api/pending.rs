//! What waits for a second officer: listed, shown, approved, refused.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use valise_proto::id::{NoticeId, Timestamp};
use zeroize::Zeroizing;

use super::caller::Caller;
use super::entries;
use super::error::ApiError;
use super::handlers::{Answer, apart, body_of, compose, id_of, preview};
use super::types::{ErrorBody, Queued};
use crate::compose::Draft;
use crate::compose::preview::Preview;
use crate::core::Change;
use crate::journal::{Deed, Entry};
use crate::node::Desk;
use crate::node::office::Office;
use crate::officers::Role;
use crate::pending::{NotDecided, Pending};

/// A draft that waits, without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PendingFacts {
    /// The id under which it will be sent.
    #[schema(value_type = String)]
    pub notice_id: NoticeId,
    /// Its kind.
    pub kind: String,
    /// The banner of the whole.
    pub label: String,
    /// Who drafted it.
    pub drafter: String,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// Until when it can be approved.
    #[schema(value_type = String)]
    pub until: Timestamp,
}

/// A draft that waits, and what the author wrote.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct PendingDraft {
    /// What is told of it to all.
    pub pending: PendingFacts,
    /// What the author wrote.
    pub notice: Value,
    /// Who would be able to read what if it were approved now.
    #[serde(default)]
    pub preview: Option<Preview>,
    /// Why there is no such table: what was written cannot be sent any more.
    #[serde(default)]
    pub problem: Option<String>,
}

/// Who decides, and why.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DraftDecision)]
pub struct Decision {
    /// Who, while the node has no officers' accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub officer: Option<String>,
    /// Why, for the access journal; a refusal needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The paths of this matter.
pub(in crate::api) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(pending))
        .routes(routes!(pending_draft))
        .routes(routes!(approve_draft))
        .routes(routes!(refuse_draft))
}

impl From<&Pending> for PendingFacts {
    fn from(pending: &Pending) -> Self {
        Self {
            notice_id: pending.notice_id,
            kind: pending.kind.to_string(),
            label: pending.label.clone(),
            drafter: pending.drafter.clone(),
            at: pending.at,
            until: pending.until,
        }
    }
}

impl From<NotDecided> for ApiError {
    fn from(error: NotDecided) -> Self {
        match error {
            NotDecided::Unknown(_) => Self::new(StatusCode::NOT_FOUND, "UNKNOWN_DRAFT", error),
            NotDecided::SameOfficer(_) => Self::new(StatusCode::FORBIDDEN, "SAME_OFFICER", error),
            NotDecided::Full => Self::new(StatusCode::CONFLICT, "TOO_MANY", error),
        }
    }
}

fn decision(body: Result<Bytes, BytesRejection>) -> Result<Decision, ApiError> {
    serde_json::from_slice(&body_of(body)?).map_err(ApiError::bad_request)
}

/// Takes off what waited too long, and says so in the journal.
async fn let_lapse(desk: &Desk) -> Result<(), ApiError> {
    let changes = apart(desk, |office| {
        let now = office.now();
        let waiting = office.store().all_pending()?;
        let lapsed = waiting.iter().filter(|pending| pending.until < now).flat_map(|pending| {
            let entry = Entry::new(now, &pending.drafter, Deed::Release).about(pending.notice_id);
            [
                Change::Unpend(pending.notice_id),
                Change::Journal(Box::new(entry.saying("lapsed: nobody approved it"))),
            ]
        });
        Ok(lapsed.collect::<Vec<_>>())
    });
    let changes = changes.await?;
    if changes.is_empty() { Ok(()) } else { Ok(desk.record(changes).await?) }
}

fn waiting(office: &Office, id: &NoticeId) -> Result<Pending, ApiError> {
    let pending = office.store().pending(id)?.filter(|pending| pending.until >= office.now());
    Ok(pending.ok_or(NotDecided::Unknown(*id))?)
}

/// The drafts that wait for a second officer, oldest first, without content.
#[utoipa::path(get, path = "/v1/pending", tag = "pending",
    responses((status = 200, body = Vec<PendingFacts>), (status = "default", body = ErrorBody)))]
async fn pending(State(desk): State<Desk>, caller: Caller) -> Answer<Vec<PendingFacts>> {
    caller.must_any(&[Role::Drafter, Role::Releaser])?;
    let_lapse(&desk).await?;
    let facts =
        apart(&desk, |office| Ok(office.store().all_pending()?.iter().map(PendingFacts::from).collect()));
    Ok(Json(facts.await?))
}

/// What the author of a draft wrote, for whoever is to approve it, and the author.
#[utoipa::path(get, path = "/v1/pending/{id}", tag = "pending", params(("id" = String, Path, description = "The draft's id")),
    responses((status = 200, body = PendingDraft), (status = "default", body = ErrorBody)))]
async fn pending_draft(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    caller: Caller,
) -> Answer<PendingDraft> {
    let id = id_of(&id)?;
    caller.must_any(&[Role::Drafter, Role::Releaser])?;
    let (pending, table) = apart(&desk, move |office| {
        let pending = waiting(office, &id)?;
        let table = preview::of_draft(office, &pending);
        Ok((pending, table))
    })
    .await?;
    if pending.drafter != caller.officer {
        caller.must(Role::Releaser)?;
    }
    let notice = serde_json::from_str(pending.json()).map_err(ApiError::internal)?;
    let entry = Entry::new(desk.office().now(), &caller.officer, Deed::Open).about(id);
    desk.journal(entry.saying("a draft that waits for a second officer")).await?;
    let (preview, problem) = match table {
        Ok(table) => (Some(table), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Ok(Json(PendingDraft { pending: PendingFacts::from(&pending), notice, preview, problem }))
}

/// Sends what another officer drafted, by the directory and the clock of now.
#[utoipa::path(post, path = "/v1/pending/{id}/approve", tag = "pending", request_body = Decision,
    params(("id" = String, Path, description = "The draft's id")),
    responses((status = 200, body = Queued), (status = "default", body = ErrorBody)))]
async fn approve_draft(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Queued> {
    let id = id_of(&id)?;
    caller.must(Role::Releaser)?;
    let Decision { officer, reason } = decision(body)?;
    let officer = caller.acting_as(officer.as_deref())?;
    let reason = reason.as_deref().map(|reason| caller.reason(Some(reason))).transpose()?.flatten();
    // One decision at a time: of two who approve, the second finds nothing to approve.
    let _alone = desk.office().guard().deciding().await;
    let pending = apart(&desk, move |office| waiting(office, &id)).await?;
    if let Err(error) = pending.check_second(&officer) {
        return Err(caller.refused("SAME_OFFICER", error));
    }
    let (signed, mut changes) = apart(&desk, move |office| {
        let now = office.now();
        let json = Zeroizing::new(pending.json().as_bytes().to_vec());
        let addressed = Draft::read(json, office, now)?.address(office, now)?;
        let signed = addressed.seal_as(id, office, now)?.sign(office)?;
        let drafter = Caller { officer: pending.drafter.clone(), ..caller };
        let mut changes = entries::of_sending(&drafter, now, &signed);
        let entry = Entry::new(now, &officer, Deed::Release).about(id).because(reason.as_deref());
        let detail = format!("approved {} {}, drafted by {}", pending.kind, pending.label, pending.drafter);
        changes.push(Change::Journal(Box::new(entry.saying(detail))));
        Ok((signed, changes))
    })
    .await?;
    changes.push(Change::Unpend(id));
    let queued = compose::queued_of(&signed);
    desk.send_with(signed.into_outgoing(), changes).await?;
    tracing::info!(notice = %id, "approved by a second officer and queued");
    Ok(Json(queued))
}

/// Takes a draft off unsent. Its author may do so too.
#[utoipa::path(post, path = "/v1/pending/{id}/refuse", tag = "pending", request_body = Decision,
    params(("id" = String, Path, description = "The draft's id")),
    responses((status = 200, body = PendingFacts), (status = "default", body = ErrorBody)))]
async fn refuse_draft(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Answer<PendingFacts> {
    let id = id_of(&id)?;
    caller.must_any(&[Role::Drafter, Role::Releaser])?;
    let Decision { officer, reason } = decision(body)?;
    let officer = caller.acting_as(officer.as_deref())?;
    let reason = reason.filter(|reason| !reason.trim().is_empty());
    let reason =
        reason.ok_or_else(|| ApiError::bad_request("reason: say why it is refused: --reason TEXT"))?;
    let reason = caller.reason(Some(&reason))?;
    let _alone = desk.office().guard().deciding().await;
    let pending = apart(&desk, move |office| waiting(office, &id)).await?;
    if pending.drafter != officer {
        caller.must(Role::Releaser)?;
    }
    let entry = Entry::new(desk.office().now(), &officer, Deed::Release).about(id).because(reason.as_deref());
    let entry = entry
        .saying(format_args!("refused {} {}, drafted by {}", pending.kind, pending.label, pending.drafter));
    desk.record(vec![Change::Unpend(id), Change::Journal(Box::new(entry))]).await?;
    Ok(Json(PendingFacts::from(&pending)))
}
