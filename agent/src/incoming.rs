//! What a delivery is: verified, opened, decoded, or set aside with the reason.
//!
//! Claimed: a notice is shown only if its originator's signature verified under the directory (G1); whoever merely
//! claims to be its originator gets no answer; and a delivery that cannot be used is kept for investigation and
//! acknowledged, so that it does not come back for ever. A receipt is never answered with a receipt.

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use valise_proto::directory::{Directory, DirectoryError};
use valise_proto::envelope::{Envelope, NoticeKind, OpenError, OpenedPortion, VerifiedEnvelope};
use valise_proto::id::Timestamp;
use valise_proto::receipt::{ReceiptKind, SignedReceipt};
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::session::Item;

use crate::compose::content;
use crate::core::{Arrival, CountedReceipt, Outgoing, Received, Seen, SetAside};
use crate::node::office::Office;
use crate::store::StoreError;

/// What an examination led to.
#[derive(Debug)]
pub enum Verdict {
    /// For the core.
    Arrival(Arrival),
    /// The directory held here is older than the one the envelope was sealed by, and does not verify it.
    NeedsNewerDirectory,
}

/// Why a delivery was not examined. It is not acknowledged.
#[derive(Debug, Error)]
pub enum NotExamined {
    /// The directory held here is not to be acted upon.
    #[error("{0}")]
    Directory(#[from] DirectoryError),
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Examines what a broker delivered. `last_try` says that no newer directory is to be had.
///
/// # Errors
/// [`NotExamined`].
pub fn examine(office: &Office, item: Item, last_try: bool) -> Result<Verdict, NotExamined> {
    let now = office.now();
    let directory = office.directory();
    directory.check_fresh(now)?;
    match item {
        Item::Receipt(receipt) => expiry(office, *receipt, &directory, now).map(Verdict::Arrival),
        Item::Envelope(envelope) => {
            let seen = Seen::of(&envelope);
            if office.store().has_seen(&seen)? {
                return Ok(Verdict::Arrival(Arrival::Again(seen)));
            }
            let examination = Examination { office, directory, now };
            examination.envelope(*envelope, last_try)
        }
    }
}

/// What cannot even be read is kept as it came.
#[must_use]
pub fn unreadable(bytes: Bytes, reason: String, now: Timestamp) -> Arrival {
    let aside = SetAside { seen: None, bytes, at: now, reason, receipt: None };
    Arrival::SetAside { aside: Box::new(aside), reply: None }
}

fn expiry(
    office: &Office,
    receipt: SignedReceipt,
    directory: &Directory,
    now: Timestamp,
) -> Result<Arrival, NotExamined> {
    let bytes = receipt.encode();
    let notice_id = receipt.receipt().notice_id;
    let sent = notice_id.map(|id| office.store().sent_record(&id)).transpose()?.flatten();
    let Some(sent) = sent else {
        // Our own receipts expire too; nobody waits for an account of that.
        let reason = "an EXPIRED receipt about something not on record here".to_owned();
        return Ok(unreadable(bytes, reason, now));
    };
    Ok(match CountedReceipt::of_expiry(receipt, &sent.facts(), directory) {
        Ok(counted) => Arrival::Expiry(Box::new(counted)),
        Err(error) => unreadable(bytes, format!("a broker's receipt that does not count: {error}"), now),
    })
}

struct Examination<'a> {
    office: &'a Office,
    directory: Arc<Directory>,
    now: Timestamp,
}

impl Examination<'_> {
    fn envelope(&self, envelope: Envelope, last_try: bool) -> Result<Verdict, NotExamined> {
        let newer = envelope.header().directory_version > self.directory.version();
        let kept = envelope.clone();
        let verified = match envelope.verify_delivered(&self.directory, self.office.agency()) {
            Ok(verified) => verified,
            Err(_) if newer && !last_try => return Ok(Verdict::NeedsNewerDirectory),
            Err(refusal) => return Ok(Verdict::Arrival(self.not_verified(&kept, refusal))),
        };
        let opened = verified.open(self.office.agency(), self.office.vault().sealing_keys());
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => return Ok(Verdict::Arrival(self.not_opened(&kept, &error))),
        };
        let arrival = match verified.header().kind {
            NoticeKind::Receipt => self.receipt(&verified, &opened)?,
            NoticeKind::Travel
            | NoticeKind::Arrival
            | NoticeKind::Deportation
            | NoticeKind::Response
            | NoticeKind::Correction
            | NoticeKind::Withdrawal
            | NoticeKind::ReleaseRequest
            | NoticeKind::ReleaseDecision => self.notice(verified, &opened),
        };
        Ok(Verdict::Arrival(arrival))
    }

    /// The header's signature is checked before anything that can be `MALFORMED`, so only then is the originator known.
    /// What is wrong may still be the broker's doing; the id is not taken as seen, lest that shut out the true one.
    fn not_verified(&self, envelope: &Envelope, refusal: Refusal) -> Arrival {
        let reason = format!("notice {} is not verified: {refusal}", envelope.header().notice_id);
        let originator_known = refusal.code == RefusalCode::Malformed;
        let answered = originator_known && envelope.header().kind != NoticeKind::Receipt;
        self.set_aside(envelope, None, reason, answered.then_some(refusal))
    }

    /// Key wraps are not covered by the originator's signature, so here too the id is not taken as seen.
    fn not_opened(&self, envelope: &Envelope, error: &OpenError) -> Arrival {
        let reason = format!("notice {} does not open: {error}", envelope.header().notice_id);
        let answered = envelope.header().kind != NoticeKind::Receipt;
        let refusal = answered.then(|| Refusal::new(RefusalCode::Malformed, error));
        self.set_aside(envelope, None, reason, refusal)
    }

    fn notice(&self, verified: VerifiedEnvelope, opened: &[OpenedPortion]) -> Arrival {
        let envelope = verified.envelope();
        if let Some(error) = opened.iter().find_map(|portion| content::decode(portion).err()) {
            let reason = format!("notice {} cannot be read: {error}", envelope.header().notice_id);
            let refusal = Refusal::new(RefusalCode::Malformed, "a portion's content cannot be read");
            return self.set_aside(envelope, Some(Seen::of(envelope)), reason, Some(refusal));
        }
        let receipt = self.office.receipt(ReceiptKind::Delivered, envelope, None, None, self.now);
        let reply = self.reply(envelope, &receipt);
        let (directory, at) = (self.directory.clone(), self.now);
        Arrival::Notice { received: Box::new(Received { envelope: verified, directory, at, receipt }), reply }
    }

    fn receipt(&self, verified: &VerifiedEnvelope, opened: &[OpenedPortion]) -> Result<Arrival, NotExamined> {
        let envelope = verified.envelope();
        let carrier = Seen::of(envelope);
        let refused = |reason: String| self.set_aside(envelope, Some(carrier), reason, None);
        let receipt = match content::receipt(opened) {
            Ok(receipt) => receipt,
            Err(error) => return Ok(refused(format!("a RECEIPT cannot be read: {error}"))),
        };
        let notice_id = receipt.receipt().notice_id;
        let sent = notice_id.map(|id| self.office.store().sent_record(&id)).transpose()?.flatten();
        let Some(sent) = sent else {
            return Ok(refused("a receipt about a notice that was not sent from here".to_owned()));
        };
        let originator = &verified.header().originator;
        Ok(match CountedReceipt::of_recipient(receipt, originator, &sent.facts(), &self.directory) {
            Ok(receipt) => Arrival::Receipt { carrier, receipt: Box::new(receipt) },
            Err(error) => refused(format!("a receipt from {originator} does not count: {error}")),
        })
    }

    fn set_aside(
        &self,
        envelope: &Envelope,
        seen: Option<Seen>,
        reason: String,
        refusal: Option<Refusal>,
    ) -> Arrival {
        let rejected = |why| self.office.receipt(ReceiptKind::Rejected, envelope, None, Some(why), self.now);
        let receipt = refusal.map(rejected);
        let reply = receipt.as_ref().and_then(|receipt| self.reply(envelope, receipt));
        let aside = SetAside { seen, bytes: envelope.encode(), at: self.now, reason, receipt };
        Arrival::SetAside { aside: Box::new(aside), reply }
    }

    /// A receipt that cannot be sent (its originator left the exchange, say) is still kept here.
    fn reply(&self, about: &Envelope, receipt: &SignedReceipt) -> Option<Box<Outgoing>> {
        match self.office.receipt_envelope(about.header(), receipt, &self.directory, self.now) {
            Ok(outgoing) => Some(Box::new(outgoing)),
            Err(error) => {
                tracing::warn!(notice = %about.header().notice_id, %error, "a receipt cannot be sent");
                None
            }
        }
    }
}
