//! The table of a notice that was sent from here, or of what waits for a second officer.
//!
//! Claimed: the second officer sees, before approving, what the drafter would see at that moment; what was sent keeps the
//! table by which it was sealed. It holds because one function makes the table, and sealing takes no other.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use valise_proto::id::NoticeId;
use zeroize::Zeroizing;

use super::{Answer, apart, id_of};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::types::ErrorBody;
use crate::compose::preview::Preview;
use crate::compose::{ComposeError, Draft};
use crate::journal::{Deed, Entry};
use crate::node::Desk;
use crate::node::office::Office;
use crate::officers::Role;
use crate::pending::Pending;
use crate::release::orders;
use crate::release::standing::out_of_force;

/// The paths of this matter.
pub(in crate::api) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(notice_preview))
}

/// Who can read what of a notice that was sent from here, who was left out or could not be told, and why: as it was when
/// the notice was sealed. Of what waits for a second officer: as it would be now.
#[utoipa::path(get, path = "/v1/notices/{id}/preview", tag = "notices",
    params(("id" = String, Path, description = "The notice's id, or that of a draft or release that waits")),
    responses((status = 200, body = Preview), (status = "default", body = ErrorBody)))]
pub(in crate::api) async fn notice_preview(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    caller: Caller,
) -> Answer<Preview> {
    caller.must_any(&[Role::Drafter, Role::Releaser])?;
    let id = id_of(&id)?;
    let asking = caller.clone();
    let table = apart(&desk, move |office| table_of(office, &asking, &id)).await?;
    // The reasons of omissions are content.
    let entry = Entry::new(desk.office().now(), &caller.officer, Deed::Open).about(id);
    desk.journal(entry.saying("the table of who can read what")).await?;
    Ok(Json(table))
}

fn table_of(office: &Office, caller: &Caller, id: &NoticeId) -> Result<Preview, ApiError> {
    let (store, now) = (office.store(), office.now());
    if let Some(table) = store.table(id)? {
        return Ok(Preview { out_of_force: out_of_force(office, id, office.agency())?, ..table });
    }
    if store.sent_record(id)?.is_some() {
        let message =
            format!("the table of notice {id} is no longer kept here: it went with what was written");
        return Err(ApiError::new(StatusCode::GONE, "PURGED", message));
    }
    if store.received(id)?.is_some() {
        return Err(ApiError::was_received(id));
    }
    if let Some(pending) = store.pending(id)?.filter(|pending| pending.until >= now) {
        if pending.drafter != caller.officer {
            caller.must(Role::Releaser)?;
        }
        return Ok(of_draft(office, &pending)?);
    }
    if store.order(id)?.is_some() {
        return Ok(orders::table(office, id, now)?);
    }
    Err(ApiError::unknown_notice(id))
}

/// The table of a draft that waits, by the directory and the clock of now.
pub(in crate::api) fn of_draft(office: &Office, pending: &Pending) -> Result<Preview, ComposeError> {
    let now = office.now();
    let json = Zeroizing::new(pending.json().as_bytes().to_vec());
    let addressed = Draft::read(json, office, now)?.address(office, now)?;
    Ok(Preview::of(&addressed, office.config(), now))
}
