//! Whether a notice still stands: nothing is made of one that was corrected or withdrawn, and whoever made something of
//! it before is told.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use valise_proto::envelope::NoticeKind;
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::receipt::PurgeCause;

use super::ReleaseError;
use super::origin::derived_from;
use crate::node::office::Office;
use crate::store::StoreError;

/// What took a notice out of force: a CORRECTION or WITHDRAWAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub by: NoticeId,
    /// Its kind.
    pub kind: NoticeKind,
}

/// What took a notice of `originator` out of force, where something did.
///
/// # Errors
/// [`StoreError`].
pub fn ended(office: &Office, id: &NoticeId, originator: &AgencyId) -> Result<Option<Ended>, StoreError> {
    let store = office.store();
    if originator == office.agency() {
        let by = store.followed_by(id)?.map(|sent| sent.record);
        return Ok(by.map(|record| Ended { by: record.notice_id, kind: record.kind }));
    }
    let Some(purged) = store.purged(id, originator)? else { return Ok(None) };
    let kind = match purged.cause {
        PurgeCause::Withdrawn => NoticeKind::Withdrawal,
        PurgeCause::Corrected => NoticeKind::Correction,
        PurgeCause::Review | PurgeCause::Officer => return Ok(None),
    };
    Ok(purged.by.map(|by| Ended { by, kind }))
}

/// That a notice counts no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutOfForce {
    /// Why: WITHDRAWN, CORRECTED, REVIEW (the time until which it may be kept is over) or OFFICER (an officer's decision).
    pub cause: String,
    /// The notice that took it out of force, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<NoticeId>,
    /// Since when this is so here.
    #[schema(value_type = String)]
    pub at: Timestamp,
}

impl OutOfForce {
    fn new(cause: PurgeCause, by: Option<NoticeId>, at: Timestamp) -> Self {
        Self { cause: cause.to_string(), by, at }
    }
}

/// That a notice of `originator` counts no more, where that is so.
///
/// # Errors
/// [`StoreError`].
pub fn out_of_force(
    office: &Office,
    id: &NoticeId,
    originator: &AgencyId,
) -> Result<Option<OutOfForce>, StoreError> {
    let store = office.store();
    if originator != office.agency() {
        let purged = store.purged(id, originator)?;
        return Ok(purged.map(|purged| OutOfForce::new(purged.cause, purged.by, purged.at)));
    }
    if let Some(by) = store.followed_by(id)?.map(|sent| sent.record) {
        let withdrawn = by.kind == NoticeKind::Withdrawal;
        let cause = if withdrawn { PurgeCause::Withdrawn } else { PurgeCause::Corrected };
        return Ok(Some(OutOfForce::new(cause, Some(by.notice_id), by.created_at)));
    }
    erased(office, id)
}

/// That what a notice of ours says was deleted here, at its time.
///
/// # Errors
/// [`StoreError`].
pub fn erased(office: &Office, id: &NoticeId) -> Result<Option<OutOfForce>, StoreError> {
    let at = office.store().erased(id)?;
    Ok(at.map(|at| OutOfForce::new(PurgeCause::Review, None, at)))
}

/// The notices of ours that were made from what a notice that arrived takes out of force.
///
/// # Errors
/// [`ReleaseError`].
pub fn resting_on(office: &Office, arrived: &NoticeId) -> Result<Vec<(NoticeId, Ended)>, ReleaseError> {
    let Some(envelope) = office.store().envelope(arrived)? else { return Ok(Vec::new()) };
    let header = envelope.header();
    let Some(source) = header.supersedes.or(header.withdraws) else { return Ok(Vec::new()) };
    let made = derived_from(office, &source)?.into_iter();
    let made = made.filter(|(_, origin)| origin.originator == header.originator);
    Ok(made.map(|(made, _)| (made, Ended { by: *arrived, kind: header.kind })).collect())
}
