//! Whether a notice still stands: nothing is made of one that was corrected or withdrawn, and whoever made something of
//! it before is told.

use valise_proto::envelope::NoticeKind;
use valise_proto::id::{AgencyId, NoticeId};

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
    let ends = |kind| matches!(kind, NoticeKind::Correction | NoticeKind::Withdrawal);
    let mut found = Vec::new();
    if originator == office.agency() {
        let sent = store.sent_records(usize::MAX)?.into_iter();
        found.extend(sent.map(|record| (record.notice_id, record.kind)).filter(|(_, kind)| ends(*kind)));
    } else {
        let received = store.inbox(usize::MAX)?.into_iter().map(|inbox| inbox.record);
        let theirs = received.filter(|record| record.originator == *originator);
        found.extend(theirs.map(|record| (record.notice_id, record.kind)).filter(|(_, kind)| ends(*kind)));
    }
    for (by, kind) in found {
        let envelope = store.envelope(&by)?;
        if envelope.is_some_and(|envelope| {
            let header = envelope.header();
            header.supersedes == Some(*id) || header.withdraws == Some(*id)
        }) {
            return Ok(Some(Ended { by, kind }));
        }
    }
    Ok(None)
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
