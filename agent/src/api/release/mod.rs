//! Lowering what is ours, asking for leave and giving it, passing on what is not ours, and what waits for a second
//! officer.

mod types;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use valise_proto::id::{NoticeId, Timestamp};

pub use self::types::{Derivation, Derivations, Released, SecondOfficer, WaitingRelease};
use super::caller::Caller;
use super::entries;
use super::error::ApiError;
use super::handlers::compose::queued_of;
use super::handlers::{Answer, LIST_MAX, apart, body_of, id_of};
use super::types::{ErrorBody, Queued};
use crate::compose::Signed;
use crate::core::Change;
use crate::journal::{Deed, Entry};
use crate::node::Desk;
use crate::node::office::Office;
use crate::officers::Role;
use crate::pending;
use crate::release::decide::Decide;
use crate::release::downgrade::Downgrade;
use crate::release::forward::Forward;
use crate::release::orders::{self, Order, What};
use crate::release::request::Request;
use crate::release::requests::{self, RequestFacts};
use crate::release::standing::ended;
use crate::release::{Origin, ReleaseError, derived_from};

/// The paths of this matter.
pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .routes(routes!(downgrade_notice))
        .routes(routes!(forward_notice))
        .routes(routes!(derivations))
        .routes(routes!(request_release))
        .routes(routes!(release_requests))
        .routes(routes!(decide_release))
        .routes(routes!(releases))
        .routes(routes!(approve_release))
        .routes(routes!(refuse_release))
}

fn asked<T: serde::de::DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, ApiError> {
    serde_json::from_slice(&body_of(body)?).map_err(ApiError::bad_request)
}

/// Who does something, about what, and why.
struct Act {
    caller: Caller,
    officer: String,
    reason: Option<String>,
    about: NoticeId,
}

impl Act {
    fn new(
        caller: Caller,
        about: &str,
        officer: Option<&str>,
        reason: Option<&str>,
    ) -> Result<Self, ApiError> {
        let officer = caller.acting_as(officer)?;
        let reason = caller.reason(reason)?;
        let caller = Caller { officer: officer.clone(), ..caller };
        Ok(Self { caller, officer, reason, about: id_of(about)? })
    }

    fn entry(&self, deed: Deed, at: Timestamp, saying: impl std::fmt::Display) -> Entry {
        let entry = Entry::new(at, &self.officer, deed).about(self.about);
        entry.because(self.reason.as_deref()).saying(saying)
    }

    /// What goes into the journal with a notice that is queued.
    fn sending(&self, deed: Deed, at: Timestamp, signed: &Signed) -> Vec<Change> {
        let header = signed.envelope().header();
        let mut changes = entries::of_sending(&self.caller, at, signed);
        let entry = self.entry(deed, at, format_args!("{} {}", header.kind, header.notice_id));
        changes.push(Change::Journal(Box::new(entry)));
        changes
    }

    /// Keeps what waits for a second officer.
    fn place(&self, what: What, office: &Office) -> Result<WaitingRelease, ApiError> {
        let now = office.now();
        let order = Order { source: self.about, what, officer: self.officer.clone(), at: now };
        let id = order.place(office, now).map_err(|error| refused(&self.caller, self.about, error))?;
        Ok(WaitingRelease::of(id, order))
    }
}

async fn queue(desk: &Desk, signed: Signed, changes: Vec<Change>) -> Result<Queued, ApiError> {
    let queued = queued_of(&signed);
    desk.send_with(signed.into_outgoing(), changes).await?;
    tracing::info!(notice = %queued.notice_id, "queued");
    Ok(queued)
}

async fn journal_waiting(
    desk: &Desk,
    act: &Act,
    deed: Deed,
    waiting: &WaitingRelease,
) -> Result<(), ApiError> {
    let entry = act.entry(deed, waiting.at, format!("asked for as {}", waiting.id));
    desk.journal(entry).await?;
    tracing::info!(notice = %act.about, release = %waiting.id, "a release waits for a second officer");
    Ok(())
}

/// Queues what may leave, or puts on record that it waits for a second officer.
async fn release(
    desk: &Desk,
    act: &Act,
    deed: Deed,
    done: Result<(Signed, Vec<Change>), WaitingRelease>,
) -> Result<Released, ApiError> {
    match done {
        Ok((signed, changes)) => Ok(Released::Queued(queue(desk, signed, changes).await?)),
        Err(waiting) => {
            journal_waiting(desk, act, deed, &waiting).await?;
            Ok(Released::Waiting(waiting))
        }
    }
}

/// Asks for a further notice made from portions of one sent from here, under another label. It waits for a second
/// officer.
#[utoipa::path(post, path = "/v1/notices/{id}/downgrade", tag = "release", request_body = Downgrade,
    params(("id" = String, Path, description = "The notice's id")),
    responses((status = 200, body = WaitingRelease), (status = "default", body = ErrorBody)))]
async fn downgrade_notice(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Answer<WaitingRelease> {
    caller.must(Role::Drafter)?;
    let downgrade: Downgrade = asked(body)?;
    let act = Act::new(caller, &id, downgrade.officer.as_deref(), downgrade.reason.as_deref())?;
    let (act, waiting) = apart(&desk, move |office| {
        let waiting = act.place(What::Downgrade(downgrade), office)?;
        Ok((act, waiting))
    })
    .await?;
    journal_waiting(&desk, &act, Deed::Downgrade, &waiting).await?;
    Ok(Json(waiting))
}

/// Passes portions of a received notice on. What is highly marked waits for a second officer.
#[utoipa::path(post, path = "/v1/notices/{id}/forward", tag = "release", request_body = Forward,
    params(("id" = String, Path, description = "The notice's id")),
    responses((status = 200, body = Released), (status = "default", body = ErrorBody)))]
async fn forward_notice(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Released> {
    caller.must(Role::Drafter)?;
    let forward: Forward = asked(body)?;
    let act = Act::new(caller, &id, forward.officer.as_deref(), forward.reason.as_deref())?;
    let (act, done) = apart(&desk, move |office| {
        let now = office.now();
        let officers = std::slice::from_ref(&act.officer);
        let compose = || {
            let addressed = forward.compose(office, &act.about, officers, now)?;
            Ok::<_, ReleaseError>(addressed.seal(office, now)?.sign(office)?)
        };
        let signed = compose().map_err(|error| refused(&act.caller, act.about, error))?;
        let classification = signed.envelope().header().label.classification;
        if pending::is_needed(office.config().four_eyes_label, classification) {
            let waiting = act.place(What::Forward(forward), office)?;
            return Ok((act, Err(waiting)));
        }
        let changes = act.sending(Deed::Release, now, &signed);
        Ok((act, Ok((signed, changes))))
    })
    .await?;
    release(&desk, &act, Deed::Release, done).await.map(Json)
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
        let from = Origin::of(office, &id)?.map(|origin| derivation(office, id, origin)).transpose()?;
        let made = derived_from(office, &id)?.into_iter();
        let made = made.map(|(made, origin)| derivation(office, made, origin)).collect::<Result<_, _>>()?;
        Ok(Derivations { from, made })
    });
    Ok(Json(derivations.await?))
}

fn derivation(office: &Office, made: NoticeId, origin: Origin) -> Result<Derivation, ApiError> {
    let ended = ended(office, &origin.source, &origin.originator)?;
    Ok(Derivation::of(made, origin, ended))
}

/// Asks the originator of a received notice for leave to pass it on. No answer is no.
#[utoipa::path(post, path = "/v1/notices/{id}/request-release", tag = "release", request_body = Request,
    params(("id" = String, Path, description = "The notice's id")),
    responses((status = 200, body = Queued), (status = "default", body = ErrorBody)))]
async fn request_release(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Queued> {
    caller.must(Role::Drafter)?;
    let request: Request = asked(body)?;
    let act = Act::new(caller, &id, request.officer.as_deref(), request.reason.as_deref())?;
    let (signed, changes) = apart(&desk, move |office| {
        let now = office.now();
        let compose = || {
            let addressed = request.compose(office, &act.about, now)?;
            Ok::<_, ReleaseError>(addressed.seal(office, now)?.sign(office)?)
        };
        let signed = compose().map_err(|error| refused(&act.caller, act.about, error))?;
        let changes = act.sending(Deed::Release, now, &signed);
        Ok((signed, changes))
    })
    .await?;
    Ok(Json(queue(&desk, signed, changes).await?))
}

/// The requests for leave that came and went, newest first, and what became of them.
#[utoipa::path(get, path = "/v1/release-requests", tag = "release",
    responses((status = 200, body = Vec<RequestFacts>), (status = "default", body = ErrorBody)))]
async fn release_requests(State(desk): State<Desk>, caller: Caller) -> Answer<Vec<RequestFacts>> {
    caller.must_any(&[Role::Drafter, Role::Releaser, Role::Reader])?;
    let list = apart(&desk, |office| Ok(requests::list(office, LIST_MAX, office.now())?)).await?;
    let opened = list.iter().filter(|facts| facts.asks.is_some()).count();
    if opened > 0 {
        let entry = Entry::new(desk.office().now(), &caller.officer, Deed::Open);
        desk.journal(entry.saying(format!("{opened} release requests, listed"))).await?;
    }
    Ok(Json(list))
}

/// Decides about a request. To give leave takes a second officer.
#[utoipa::path(post, path = "/v1/release-requests/{id}/decide", tag = "release", request_body = Decide,
    params(("id" = String, Path, description = "The request's id")),
    responses((status = 200, body = Released), (status = "default", body = ErrorBody)))]
async fn decide_release(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Released> {
    caller.must_any(&[Role::Drafter, Role::Releaser])?;
    let decide: Decide = asked(body)?;
    let act = Act::new(caller, &id, decide.officer.as_deref(), decide.reason.as_deref())?;
    let _alone = desk.office().guard().deciding().await;
    let (act, done) = apart(&desk, move |office| {
        if decide.grant {
            let waiting = act.place(What::Decision(decide), office)?;
            return Ok((act, Err(waiting)));
        }
        let now = office.now();
        let compose = || {
            let addressed = decide.compose(office, &act.about, now)?;
            Ok::<_, ReleaseError>(addressed.seal(office, now)?.sign(office)?)
        };
        let signed = compose().map_err(|error| refused(&act.caller, act.about, error))?;
        let changes = act.sending(Deed::Decide, now, &signed);
        Ok((act, Ok((signed, changes))))
    })
    .await?;
    release(&desk, &act, Deed::Decide, done).await.map(Json)
}

/// The releases that wait for a second officer, oldest first.
#[utoipa::path(get, path = "/v1/releases", tag = "release",
    responses((status = 200, body = Vec<WaitingRelease>), (status = "default", body = ErrorBody)))]
async fn releases(State(desk): State<Desk>, caller: Caller) -> Answer<Vec<WaitingRelease>> {
    caller.must_any(&[Role::Drafter, Role::Releaser])?;
    let waiting = apart(&desk, |office| Ok(orders::waiting(office, office.now())?)).await?;
    Ok(Json(waiting.into_iter().map(|(id, order)| WaitingRelease::of(id, order)).collect()))
}

/// Approves a release, as another officer than the one who asked for it: the notice is made, sealed and queued.
#[utoipa::path(post, path = "/v1/releases/{id}/approve", tag = "release", request_body = SecondOfficer,
    params(("id" = String, Path, description = "The release's id")),
    responses((status = 200, body = Queued), (status = "default", body = ErrorBody)))]
async fn approve_release(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Queued> {
    caller.must(Role::Releaser)?;
    let second: SecondOfficer = asked(body)?;
    let act = Act::new(caller, &id, second.officer.as_deref(), second.reason.as_deref())?;
    // One decision at a time: of two who approve, the second finds nothing to approve.
    let _alone = desk.office().guard().deciding().await;
    let (signed, changes) = apart(&desk, move |office| {
        let now = office.now();
        let approved = orders::approve(office, &act.about, &act.officer, now);
        let (order, signed) = approved.map_err(|error| refused(&act.caller, act.about, error))?;
        let mut changes = act.sending(Deed::Release, now, &signed);
        let entry = Entry::new(now, &order.officer, Deed::Release).about(order.source);
        let entry = entry.saying(format_args!("carried out as {}, approved by {}", act.about, act.officer));
        changes.extend([Change::Journal(Box::new(entry)), Change::Unpend(act.about)]);
        Ok((signed, changes))
    })
    .await?;
    Ok(Json(queue(&desk, signed, changes).await?))
}

/// Refuses a release that waits; nothing is sent. Who asked for it may take it back so.
#[utoipa::path(post, path = "/v1/releases/{id}/refuse", tag = "release", request_body = SecondOfficer,
    params(("id" = String, Path, description = "The release's id")),
    responses((status = 200, body = WaitingRelease), (status = "default", body = ErrorBody)))]
async fn refuse_release(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Answer<WaitingRelease> {
    caller.must_any(&[Role::Releaser, Role::Drafter])?;
    let second: SecondOfficer = asked(body)?;
    let act = Act::new(caller, &id, second.officer.as_deref(), second.reason.as_deref())?;
    let _alone = desk.office().guard().deciding().await;
    let (id, order, now) = (act.about, act.about, desk.office().now());
    let order = apart(&desk, move |office| Ok(orders::get(office, &order, now)?)).await?;
    if !pending::is_same_officer(&order.officer, &act.officer) {
        act.caller.must(Role::Releaser)?;
    }
    let entry = act.entry(Deed::Release, now, format!("refused, asked for by {}", order.officer));
    desk.record(vec![Change::Unpend(id), Change::Journal(Box::new(entry))]).await?;
    Ok(Json(WaitingRelease::of(id, order)))
}

/// A refusal by the rules is an attempt that is entered into the access journal.
fn refused(caller: &Caller, about: NoticeId, error: ReleaseError) -> ApiError {
    let matters = match &error {
        ReleaseError::NotOnward(_)
        | ReleaseError::NotReleased(_)
        | ReleaseError::NotOurs { .. }
        | ReleaseError::NotARecipient { .. }
        | ReleaseError::ByHand(_)
        | ReleaseError::SameOfficer(_) => true,
        ReleaseError::Compose(_)
        | ReleaseError::NotShown(_)
        | ReleaseError::Store(_)
        | ReleaseError::Unknown(_)
        | ReleaseError::Ours(_)
        | ReleaseError::Kind { .. }
        | ReleaseError::MadeKind(_)
        | ReleaseError::Purged(_)
        | ReleaseError::Ended { .. }
        | ReleaseError::ReviewPassed { .. }
        | ReleaseError::Label(_)
        | ReleaseError::NotThere(_)
        | ReleaseError::Record(_)
        | ReleaseError::NoOrder(_)
        | ReleaseError::NotARequest { .. }
        | ReleaseError::Decided { .. }
        | ReleaseError::TooMany
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
            ReleaseError::ByHand(_) => (StatusCode::FORBIDDEN, "NOT_BY_HAND"),
            ReleaseError::NotARecipient { .. } => (StatusCode::FORBIDDEN, "NOT_A_RECIPIENT"),
            ReleaseError::NotARequest { .. } => (StatusCode::CONFLICT, "NOT_A_REQUEST"),
            ReleaseError::Decided { .. } => (StatusCode::CONFLICT, "DECIDED"),
            ReleaseError::TooMany => (StatusCode::CONFLICT, "TOO_MANY"),
            ReleaseError::NotOurs { .. } => (StatusCode::FORBIDDEN, "NOT_ORIGINATOR"),
            ReleaseError::SameOfficer(_) => (StatusCode::FORBIDDEN, "SAME_OFFICER"),
            ReleaseError::Ours(_) => (StatusCode::CONFLICT, "SENT_NOT_RECEIVED"),
            ReleaseError::Kind { .. } => (StatusCode::CONFLICT, "NOT_RELEASABLE"),
            ReleaseError::Ended { .. } => (StatusCode::GONE, "OUT_OF_FORCE"),
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
