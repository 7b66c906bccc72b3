//! Whom an alarm concerns, when it rings.
//!
//! What became of a notice since its alarm was set is asked of the store then: an answer, a purge or a follow-up needs to
//! know of no alarm.

use valise_proto::id::{AgencyId, NoticeId};
use valise_proto::receipt::{ReceiptKind, SignedReceipt};
use valise_proto::refusal::RefusalCode;

use super::office::Office;
use crate::core::{Side, Step};
use crate::store::{Sent, Store, StoreError};

/// Who owes an answer to a notice: of ours those recipients that have not answered, of a received one
/// this agency. Nobody where it no longer counts.
///
/// # Errors
/// [`StoreError`].
pub fn owing(office: &Office, side: Side, id: &NoticeId) -> Result<Vec<AgencyId>, StoreError> {
    let store = office.store();
    match side {
        Side::Originator => match store.sent(id)? {
            Some(sent) if store.followed_by(id)?.is_none() => Ok(late(&sent)),
            Some(_) | None => Ok(Vec::new()),
        },
        Side::Recipient => Ok(if owes(office, id)? { vec![office.agency().clone()] } else { Vec::new() }),
    }
}

/// Whether this agency owes an answer to a received notice that asks for one.
///
/// # Errors
/// [`StoreError`].
pub fn owes(office: &Office, id: &NoticeId) -> Result<bool, StoreError> {
    let store: &Store = office.store();
    let Some(received) = store.received(id)? else { return Ok(false) };
    let done = store.purged(id, &received.record.originator)?.is_some()
        || !store.answered(id)?.is_empty()
        || store.any_step(id, Step::Declined)?;
    Ok(!done)
}

/// The recipients of a notice of ours that have neither answered it, nor said that they cannot use it, nor deleted it.
#[must_use]
pub fn late(sent: &Sent) -> Vec<AgencyId> {
    let is_done = |agency: &AgencyId| {
        sent.answered.contains(agency)
            || sent.receipts.iter().map(SignedReceipt::receipt).any(|receipt| {
                let declined = receipt.refusal.as_ref().is_some_and(|why| why.code == RefusalCode::Declined);
                receipt.issuer.as_agency() == Some(agency)
                    && (receipt.kind == ReceiptKind::Purged || declined)
            })
    };
    sent.record.recipients.iter().filter(|agency| !is_done(agency)).cloned().collect()
}
