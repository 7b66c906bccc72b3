//! What a received notice still asks of the officers here.

use valise_proto::envelope::NoticeKind;
use valise_proto::id::NoticeId;
use valise_proto::notice::REPLACES_MAX;

use crate::api::error::ApiError;
use crate::node::alarms;
use crate::node::office::Office;
use crate::release::decide::decided;
use crate::release::derived_from;
use crate::release::standing::out_of_force;
use crate::store::ReceivedRecord;

/// Whether somebody should still be shown it: what is out of force is not shown to anybody, and a withdrawal of what
/// nobody here knows of changes nothing here.
pub(super) fn asks_to_be_read(office: &Office, record: &ReceivedRecord) -> Result<bool, ApiError> {
    if out_of_force(office, &record.notice_id, &record.originator)?.is_some() {
        return Ok(false);
    }
    if record.kind != NoticeKind::Withdrawal {
        return Ok(true);
    }
    let envelope = office.store().envelope(&record.notice_id)?;
    match envelope.and_then(|envelope| envelope.header().withdraws) {
        Some(withdrawn) => is_known_here(office, withdrawn),
        None => Ok(true),
    }
}

/// Whether anybody here was shown a notice, or one that it took the place of, or made another of it. Where it cannot be
/// said what it took the place of, that may be so.
fn is_known_here(office: &Office, newest: NoticeId) -> Result<bool, ApiError> {
    let store = office.store();
    let mut next = Some(newest);
    for _ in 0..=REPLACES_MAX {
        let Some(id) = next else { return Ok(false) };
        if store.read_record(&id)?.is_some() || !derived_from(office, &id)?.is_empty() {
            return Ok(true);
        }
        let Some(envelope) = store.envelope(&id)? else { break };
        next = envelope.header().supersedes;
    }
    Ok(true)
}

/// Whether an answer to it is still owed from here.
pub(super) fn asks_for_an_answer(office: &Office, record: &ReceivedRecord) -> Result<bool, ApiError> {
    let id = &record.notice_id;
    match record.kind {
        NoticeKind::Travel | NoticeKind::Arrival | NoticeKind::Deportation | NoticeKind::Correction => {
            Ok(alarms::owes(office, id)?)
        }
        NoticeKind::ReleaseRequest => Ok(alarms::owes(office, id)? && decided(office, id)?.is_none()),
        NoticeKind::Response | NoticeKind::Withdrawal | NoticeKind::Receipt | NoticeKind::ReleaseDecision => {
            Ok(false)
        }
    }
}
