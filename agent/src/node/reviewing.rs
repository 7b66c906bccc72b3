//! Deleting what nobody may keep any longer (G11).
//!
//! A notice says in its terms until when it may be kept (`review_by`). At that time a recipient deletes what it holds of
//! it and proves that to the originator with a PURGED receipt, and the originator deletes what it wrote; headers,
//! signatures and receipts stay, which say nothing about persons.

use valise_proto::envelope::Envelope;
use valise_proto::receipt::PurgeCause;

use super::office::{Office, Statement};
use crate::core::{Purge, Review, Reviewed, Side};
use crate::journal::{Deed, Entry};
use crate::store::StoreError;

/// Under which name the node itself stands in the access journal.
const NODE: &str = "(this node)";

/// What is to be done about a notice whose time is over. Nothing is changed yet.
///
/// # Errors
/// [`StoreError`].
pub(super) fn review(office: &Office, review: &Review) -> Result<Reviewed, StoreError> {
    match review.side {
        Side::Recipient => received(office, review),
        Side::Originator => sent(office, review),
    }
}

fn received(office: &Office, review: &Review) -> Result<Reviewed, StoreError> {
    let (store, id, now) = (office.store(), review.notice_id, office.now());
    let Some(held) = store.received(&id)? else { return Ok(Reviewed::Gone) };
    let originator = held.record.originator;
    if store.purged(&id, &originator)?.is_some() {
        return Ok(Reviewed::Gone);
    }
    let Some(envelope) = store.envelope(&id)? else { return Ok(Reviewed::Gone) };
    let portions = envelope.portions().iter().map(|portion| portion.index).collect();
    let cause = PurgeCause::Review;
    let receipt = office.receipt(Statement::Purged { cause, portions }, &envelope, now);
    let reply = office.reply(envelope.header(), &receipt, &office.directory(), now);
    let journal = Box::new(entry(now, &envelope));
    let purge = Box::new(Purge { notice_id: id, originator, at: now, cause, by: None, receipt });
    Ok(Reviewed::Received { purge, reply, journal })
}

fn sent(office: &Office, review: &Review) -> Result<Reviewed, StoreError> {
    let store = office.store();
    if store.erased(&review.notice_id)?.is_some() {
        return Ok(Reviewed::Gone);
    }
    let Some(envelope) = store.envelope(&review.notice_id)? else { return Ok(Reviewed::Gone) };
    let at = office.now();
    Ok(Reviewed::Sent { at, journal: Box::new(entry(at, &envelope)) })
}

fn entry(at: valise_proto::id::Timestamp, envelope: &Envelope) -> Entry {
    let header = envelope.header();
    let entry = Entry::new(at, NODE, Deed::Purge).about(header.notice_id);
    entry.saying(format_args!("{} of {}: its review_by has passed", header.kind, header.originator))
}
