//! Whether a notice still stands: nothing is made of one that was corrected or withdrawn, and whoever made something of
//! it before is told.

use valise_proto::envelope::NoticeKind;
use valise_proto::id::{AgencyId, NoticeId};
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
