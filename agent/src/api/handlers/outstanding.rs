//! Who is not known to have purged what was taken out of force, and why that may be; and what a notice rests on.

use std::collections::BTreeMap;

use valise_proto::envelope::NoticeKind;
use valise_proto::id::{AgencyId, NoticeId};
use valise_proto::notice::REPLACES_MAX;

use crate::api::error::ApiError;
use crate::api::types::{RestsOnFacts, TrackFacts};
use crate::api::views;
use crate::compose::preview::PreviewNotTold;
use crate::node::office::Office;
use crate::release::Origin;
use crate::release::standing::{Ended, ended};
use crate::store::{Store, StoreError};

/// What took a notice of ours out of force.
pub(super) struct Followed {
    /// What took its place.
    pub(super) kind: NoticeKind,
    /// Who could not be told of the newest that did, each with the reason.
    pub(super) untold: BTreeMap<AgencyId, String>,
}

/// What took the notice out of force, where something did.
pub(super) fn followed(store: &Store, id: &NoticeId) -> Result<Option<Followed>, StoreError> {
    let Some(first) = store.followed_by(id)? else { return Ok(None) };
    let kind = first.record.kind;
    let mut newest = first.record;
    for _ in 0..REPLACES_MAX {
        let Some(next) = store.followed_by(&newest.notice_id)? else { break };
        newest = next.record;
    }
    let (id, by) = (newest.notice_id, newest.kind);
    let reason = |one: PreviewNotTold| (one.agency, format!("not told of the {by} {id}: {}", one.rule));
    let untold = holders(store, &id)?.into_iter().map(reason).collect();
    Ok(Some(Followed { kind, untold }))
}

/// Who holds what a follow-up takes out of force and could not be told.
fn holders(store: &Store, follow_up: &NoticeId) -> Result<Vec<PreviewNotTold>, StoreError> {
    let table = store.table(follow_up)?;
    let not_told = table.map(|table| table.not_told).unwrap_or_default();
    Ok(not_told.into_iter().filter(|one| one.outstanding).collect())
}

/// Adds who was not told of the notice itself: holders of what it takes out of force that have not proved since that
/// they purged it are outstanding.
pub(super) fn add_untold(office: &Office, id: &NoticeId, track: &mut TrackFacts) -> Result<(), ApiError> {
    let store = office.store();
    let not_told = store.table(id)?.map(|table| table.not_told).unwrap_or_default();
    for one in &not_told {
        if one.outstanding && !has_purged(store, id, &one.agency)? {
            track.outstanding.push(outstanding(one));
        }
    }
    track.not_told = not_told;
    Ok(())
}

fn outstanding(one: &PreviewNotTold) -> crate::api::types::OutstandingFacts {
    let reason = format!("it holds what this takes out of force, and was not told: {}", one.rule);
    crate::api::types::OutstandingFacts { agency: one.agency.clone(), reason }
}

/// Whether an agency has proved that it purged whatever it was sent of what a follow-up takes out of force.
fn has_purged(store: &Store, follow_up: &NoticeId, agency: &AgencyId) -> Result<bool, StoreError> {
    let replaced = |id: &NoticeId| {
        let envelope = store.envelope(id)?;
        let header = envelope.as_ref().map(|envelope| envelope.header());
        Ok::<_, StoreError>(header.and_then(|header| header.supersedes.or(header.withdraws)))
    };
    let mut next = replaced(follow_up)?;
    for _ in 0..REPLACES_MAX {
        let Some(id) = next else { break };
        let Some(sent) = store.sent(&id)? else { break };
        let recipients = views::notice_status(&sent).recipients;
        let holds = |one: &crate::api::types::RecipientStatus| one.agency == *agency && one.state != "PURGED";
        if recipients.iter().any(holds) {
            return Ok(false);
        }
        next = replaced(&id)?;
    }
    Ok(true)
}

/// The notice that this one was made from, where that is out of force.
pub(super) fn rests_on(office: &Office, id: &NoticeId) -> Result<Option<RestsOnFacts>, ApiError> {
    let Some(origin) = Origin::of(office, id)? else { return Ok(None) };
    let ended = ended(office, &origin.source, &origin.originator)?;
    let facts = |Ended { by, kind }| RestsOnFacts {
        source: origin.source,
        originator: origin.originator.clone(),
        ended_by: by,
        ended_with: kind,
    };
    Ok(ended.map(facts))
}
