//! Lowering what is ours, passing on what is not, and what waits for a second officer.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use valise_proto::id::{AgencyId, NoticeId, Timestamp};

use super::caller::Caller;
use super::entries;
use super::error::ApiError;
use super::handlers::{Answer, apart, body_of, id_of};
use super::types::{ErrorBody, Queued};
use crate::compose::Signed;
use crate::core::Change;
use crate::journal::{Deed, Entry};
use crate::node::Desk;
use crate::officers::Role;
use crate::release::downgrade::Downgrade;
use crate::release::forward::Forward;
use crate::release::orders::{self, Approved, Order};
use crate::release::{Origin, ReleaseError, derived_from};

/// A release that waits for a second officer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitingRelease {
    /// By which it is approved or refused.
    #[schema(value_type = String)]
    pub id: NoticeId,
    /// The notice it is of.
    #[schema(value_type = String)]
    pub source: NoticeId,
    /// Who asked.
    pub officer: String,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// What for.
    pub downgrade: Downgrade,
}

/// A second officer's word about a release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecondOfficer {
    /// Who, while the node has no officers' accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub officer: Option<String>,
    /// Why, for the access journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Where a notice came from, or what was made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Derivation {
    /// The notice that was made.
    #[schema(value_type = String)]
    pub made: NoticeId,
    /// DOWNGRADED or FORWARDED.
    pub action: crate::release::Action,
    /// The notice it was made from.
    #[schema(value_type = String)]
    pub source: NoticeId,
    /// Whose that is.
    #[schema(value_type = String)]
    pub originator: AgencyId,
    /// Its portions that were chosen.
    pub portions: Vec<usize>,
    /// The decision that gave leave, where leave was needed.
    #[schema(value_type = Option<String>)]
    pub leave: Option<NoticeId>,
    /// Who did it.
    pub officers: Vec<String>,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
}

/// Where a notice came from and what was made of it, as this node alone knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Derivations {
    /// Where it came from, where it was made from another here.
    pub from: Option<Derivation>,
    /// What was made of it here, oldest first.
    pub made: Vec<Derivation>,
}

impl Derivation {
    fn of(made: NoticeId, origin: Origin) -> Self {
        let Origin { action, source, originator, portions, leave, officers, at, source_digest: _ } = origin;
        Self { made, action, source, originator, portions, leave, officers, at }
    }
}

/// The paths of this matter.
pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(downgrade))
        .routes(routes!(forward))
        .routes(routes!(derivations))
        .routes(routes!(waiting))
        .routes(routes!(approve))
        .routes(routes!(refuse))
}

fn asked<T: serde::de::DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, ApiError> {
    serde_json::from_slice(&body_of(body)?).map_err(ApiError::bad_request)
}

/// Asks for a further notice made from portions of one sent from here, under another label. It waits for a second
/// officer.
#[utoipa::path(post, path = "/v1/notices/{id}/downgrade", tag = "release", request_body = Downgrade,
    params(("id" = String, Path, description = "The notice's id")),
    responses((status = 200, body = WaitingRelease), (status = "default", body = ErrorBody)))]
async fn downgrade(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Answer<WaitingRelease> {
    caller.must(Role::Drafter)?;
    let (source, downgrade): (_, Downgrade) = (id_of(&id)?, asked(body)?);
    let officer = caller.acting_as(downgrade.officer.as_deref())?;
    let reason = caller.reason(downgrade.reason.as_deref())?;
    let waiting = apart(&desk, move |office| {
        let now = office.now();
        let order = Order { source, downgrade, officer, at: now };
        let id = order.clone().place(office, now).map_err(|error| refused(&caller, source, error))?;
        let Order { source, downgrade, officer, at } = order;
        Ok(WaitingRelease { id, source, officer, at, downgrade })
    })
    .await?;
    let entry = Entry::new(waiting.at, &waiting.officer, Deed::Downgrade).about(source);
    let asked_for = format!("asked for as {}: {}", waiting.id, waiting.downgrade.label);
    desk.journal(entry.because(reason.as_deref()).saying(asked_for)).await?;
    tracing::info!(notice = %source, release = %waiting.id, "a release waits for a second officer");
    Ok(Json(waiting))
}

/// Passes portions of a received notice on.
#[utoipa::path(post, path = "/v1/notices/{id}/forward", tag = "release", request_body = Forward,
    params(("id" = String, Path, description = "The notice's id")),
    responses((status = 200, body = Queued), (status = "default", body = ErrorBody)))]
async fn forward(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Queued> {
    caller.must(Role::Drafter)?;
    let (source, forward): (_, Forward) = (id_of(&id)?, asked(body)?);
    let officer = caller.acting_as(forward.officer.as_deref())?;
    let reason = caller.reason(forward.reason.as_deref())?;
    let (signed, entries) = apart(&desk, move |office| {
        let now = office.now();
        let compose = || {
            let addressed = forward.compose(office, &source, &officer, now)?;
            Ok::<_, ReleaseError>(addressed.seal(office, now)?.sign(office)?)
        };
        let signed = compose().map_err(|error| refused(&caller, source, error))?;
        let caller = Caller { officer: officer.clone(), ..caller };
        let mut entries = entries::of_sending(&caller, now, signed.envelope().header(), &[]);
        let entry = Entry::new(now, &officer, Deed::Release).about(source).because(reason.as_deref());
        let passed_on = format!("passed on as {}", signed.envelope().header().notice_id);
        entries.push(Change::Journal(Box::new(entry.saying(passed_on))));
        Ok((signed, entries))
    })
    .await?;
    Ok(Json(queue(&desk, signed, entries).await?))
}

async fn queue(desk: &Desk, signed: Signed, entries: Vec<Change>) -> Result<Queued, ApiError> {
    let header = signed.envelope().header();
    let queued = Queued {
        notice_id: header.notice_id,
        recipients: header.recipients.clone(),
        label: header.label.to_string(),
        precedence: header.precedence,
        expires_at: header.expires_at,
        respond_by: header.respond_by,
        pending_until: None,
    };
    desk.send_with(signed.into_outgoing(), entries).await?;
    tracing::info!(notice = %queued.notice_id, "queued");
    Ok(queued)
}

/// Where a notice came from and what was made of it, as this node alone knows.
#[utoipa::path(get, path = "/v1/notices/{id}/derivations", tag = "release",
    params(("id" = String, Path, description = "The notice's id")),
    responses((status = 200, body = Derivations), (status = "default", body = ErrorBody)))]
async fn derivations(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    caller: Caller,
) -> Answer<Derivations> {
    caller.must_any(&Role::ALL)?;
    let id = id_of(&id)?;
    let derivations = apart(&desk, move |office| {
        if office.store().kept(&id)?.is_none() {
            return Err(ApiError::unknown_notice(&id));
        }
        let from = Origin::of(office, &id)?.map(|origin| Derivation::of(id, origin));
        let made = derived_from(office, &id)?.into_iter();
        Ok(Derivations { from, made: made.map(|(made, origin)| Derivation::of(made, origin)).collect() })
    });
    Ok(Json(derivations.await?))
}

/// The releases that wait for a second officer, oldest first.
#[utoipa::path(get, path = "/v1/releases", tag = "release",
    responses((status = 200, body = Vec<WaitingRelease>), (status = "default", body = ErrorBody)))]
async fn waiting(State(desk): State<Desk>, caller: Caller) -> Answer<Vec<WaitingRelease>> {
    caller.must_any(&[Role::Drafter, Role::Releaser, Role::Auditor])?;
    let waiting = apart(&desk, |office| Ok(orders::waiting(office, office.now())?)).await?;
    let waiting = waiting.into_iter().map(|(id, order)| {
        let Order { source, downgrade, officer, at } = order;
        WaitingRelease { id, source, officer, at, downgrade }
    });
    Ok(Json(waiting.collect()))
}

/// Approves a release, as another officer than the one who asked for it: the notice is made, sealed and queued.
#[utoipa::path(post, path = "/v1/releases/{id}/approve", tag = "release", request_body = SecondOfficer,
    params(("id" = String, Path, description = "The release's id")),
    responses((status = 200, body = Queued), (status = "default", body = ErrorBody)))]
async fn approve(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Queued> {
    caller.must(Role::Releaser)?;
    let (id, second): (_, SecondOfficer) = (id_of(&id)?, asked(body)?);
    let officer = caller.acting_as(second.officer.as_deref())?;
    let reason = caller.reason(second.reason.as_deref())?;
    let (order, signed, entries) = apart(&desk, move |office| {
        let now = office.now();
        let approved = orders::approve(office, &id, &officer, now);
        let Approved { order, signed } = approved.map_err(|error| refused(&caller, id, error))?;
        let made = signed.envelope().header().notice_id;
        let drafter = Caller { officer: order.officer.clone(), ..caller };
        let mut entries = entries::of_sending(&drafter, now, signed.envelope().header(), &[]);
        let entry = Entry::new(now, &officer, Deed::Release).about(order.source);
        let entry = entry.because(reason.as_deref()).saying(format_args!("approved as {made}"));
        entries.push(Change::Journal(Box::new(entry)));
        Ok((order, signed, entries))
    })
    .await?;
    match queue(&desk, signed, entries).await {
        Ok(queued) => Ok(Json(queued)),
        // The outbox did not take it: it waits on.
        Err(error) => {
            apart(&desk, move |office| Ok(orders::put_back(office, &id, &order)?)).await?;
            Err(error)
        }
    }
}

/// Refuses a release that waits; nothing is sent.
#[utoipa::path(post, path = "/v1/releases/{id}/refuse", tag = "release", request_body = SecondOfficer,
    params(("id" = String, Path, description = "The release's id")),
    responses((status = 200, body = WaitingRelease), (status = "default", body = ErrorBody)))]
async fn refuse(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Answer<WaitingRelease> {
    caller.must_any(&[Role::Releaser, Role::Drafter])?;
    let (id, second): (_, SecondOfficer) = (id_of(&id)?, asked(body)?);
    let officer = caller.acting_as(second.officer.as_deref())?;
    let reason = caller.reason(second.reason.as_deref())?;
    let refused = apart(&desk, move |office| {
        let order = orders::refuse(office, &id)?;
        let Order { source, downgrade, officer, at } = order;
        Ok(WaitingRelease { id, source, officer, at, downgrade })
    })
    .await?;
    let entry = Entry::new(desk.office().now(), &officer, Deed::Release).about(refused.source);
    let entry = entry.because(reason.as_deref()).saying(format!("refused {id}"));
    desk.journal(entry).await?;
    Ok(Json(refused))
}

/// A refusal by the rules is an attempt that is entered into the access journal.
fn refused(caller: &Caller, about: NoticeId, error: ReleaseError) -> ApiError {
    let matters = match &error {
        ReleaseError::NotOnward(_)
        | ReleaseError::NotReleased(_)
        | ReleaseError::NotOurs { .. }
        | ReleaseError::SameOfficer(_) => true,
        ReleaseError::Compose(_)
        | ReleaseError::NotShown(_)
        | ReleaseError::Store(_)
        | ReleaseError::Unknown(_)
        | ReleaseError::Ours(_)
        | ReleaseError::Kind { .. }
        | ReleaseError::MadeKind(_)
        | ReleaseError::Purged(_)
        | ReleaseError::ReviewPassed { .. }
        | ReleaseError::Label(_)
        | ReleaseError::NotThere(_)
        | ReleaseError::Record(_)
        | ReleaseError::NoOrder(_)
        | ReleaseError::OrderLapsed { .. } => false,
    };
    let error = ApiError::from(error);
    if !matters {
        return error;
    }
    error.journalled(|message| caller.entry(Deed::Refusal).about(about).saying(message))
}

impl From<ReleaseError> for ApiError {
    fn from(error: ReleaseError) -> Self {
        let (status, code) = match error {
            ReleaseError::Compose(error) => return error.into(),
            ReleaseError::NotShown(error) => return error.into(),
            ReleaseError::Store(error) => return error.into(),
            ReleaseError::Unknown(id) => return Self::unknown_notice(&id),
            ReleaseError::Record(_) => return Self::internal(error),
            ReleaseError::NotOnward(_) | ReleaseError::NotReleased(_) => {
                (StatusCode::FORBIDDEN, "NOT_RELEASED")
            }
            ReleaseError::NotOurs { .. } => (StatusCode::FORBIDDEN, "NOT_ORIGINATOR"),
            ReleaseError::SameOfficer(_) => (StatusCode::FORBIDDEN, "SAME_OFFICER"),
            ReleaseError::Ours(_) => (StatusCode::CONFLICT, "SENT_NOT_RECEIVED"),
            ReleaseError::Kind { .. } => (StatusCode::CONFLICT, "NOT_RELEASABLE"),
            ReleaseError::Purged(_) | ReleaseError::ReviewPassed { .. } => (StatusCode::GONE, "PURGED"),
            ReleaseError::MadeKind(_) | ReleaseError::Label(_) | ReleaseError::NotThere(_) => {
                (StatusCode::BAD_REQUEST, "BAD_REQUEST")
            }
            ReleaseError::NoOrder(_) => (StatusCode::NOT_FOUND, "UNKNOWN_RELEASE"),
            ReleaseError::OrderLapsed { .. } => (StatusCode::GONE, "RELEASE_LAPSED"),
        };
        Self::new(status, code, error)
    }
}
