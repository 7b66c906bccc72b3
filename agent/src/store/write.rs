//! Applying changes: one atomic batch, then stable storage.

use serde::Serialize;
use sled::Batch;
use valise_proto::crypto::sha256;
use valise_proto::envelope::{Header, NoticeKind};
use valise_proto::id::{NoticeId, Timestamp};
use valise_proto::receipt::SignedReceipt;

use super::due::{due, rang};
use super::records::{
    AsideRecord, OutboxRecord, PurgedRecord, ReceivedRecord, SeenRecord, SentRecord, UnsentRecord,
};
use super::{Store, StoreError, keys};
use crate::core::{
    Change, OutboxSeq, Outcome, Outgoing, Purge, Queued, Received, Review, Seen, SetAside, Side,
    is_for_officers,
};

/// Longest value under one key. sled writes pages above 128 KiB to files of their own, which its flush does not cover;
/// a page splits at 17 items, so 17 values of this length stay below that: 102 KiB, and a few more for the keys.
/// Whatever is longer, records included, is kept in pieces, so that nothing a peer sends can be too long to be kept.
pub(super) const CHUNK_BYTES: usize = 6 * 1024;

impl Store {
    /// Applies all `changes` or none, and makes them durable.
    ///
    /// # Errors
    /// [`StoreError`]. After [`StoreError::Engine`] or [`StoreError::Sync`] it is not known whether they are on stable
    /// storage: the caller must stop, and start anew from what the disk then holds.
    pub fn apply<'a>(&self, changes: impl IntoIterator<Item = &'a Change>) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        let mut chain = self.chain();
        let mut head = *chain;
        let changes: Vec<&Change> = changes.into_iter().collect();
        for change in &changes {
            self.write(&mut batch, change, &changes)?;
            self.chain_on(&mut batch, &mut head, change)?;
        }
        self.db.apply_batch(batch)?;
        *chain = head;
        self.make_durable()
    }

    /// `beside` is all that changes together.
    fn write(&self, batch: &mut Batch, change: &Change, beside: &[&Change]) -> Result<(), StoreError> {
        match change {
            Change::Queue { seq, outgoing } => self.queue(batch, *seq, outgoing),
            Change::Unqueue { queued, outcome } => self.unqueue(batch, queued, outcome),
            Change::Receive(received) => self.receive(batch, received, beside),
            Change::Purge(purge) => self.purge(batch, purge),
            Change::SetAside(aside) => self.set_aside(batch, aside),
            Change::Record(receipt) => {
                receipt_record(batch, receipt.signed());
                Ok(())
            }
            Change::Remember(seen) => self.remember(batch, seen),
            Change::Forget(seen) => {
                seen.iter().for_each(|seen| batch.remove(keys::of_notice(keys::SEEN, &seen.notice_id)));
                Ok(())
            }
            Change::Step(step) => self.step(batch, step, beside),
            Change::Pend(pending) => self.pend(batch, pending),
            Change::Unpend(id) => {
                self.remove_chunks(batch, &keys::of_notice(keys::ORDER, id))?;
                self.remove_chunks(batch, &keys::of_notice(keys::PENDING, id))
            }
            Change::Officers(register) => {
                let json = serde_json::to_vec(register).map_err(|error| self.unreadable(error))?;
                let place = [keys::OFFICERS];
                self.remove_chunks(batch, &place)?;
                chunks(batch, &place, &self.key.encrypt(&place, &zeroize::Zeroizing::new(json))?);
                Ok(())
            }
            // `chain_on` writes it.
            Change::Journal(_) => Ok(()),
            Change::Rang { entry, told, next } => {
                rang(batch, entry, *told, next.as_ref());
                Ok(())
            }
            Change::Reviewed(review) => {
                batch.remove(keys::of_review(review));
                Ok(())
            }
            Change::Erase { notice_id, at } => self.erase(batch, notice_id, *at),
        }
    }

    fn queue(&self, batch: &mut Batch, seq: OutboxSeq, outgoing: &Outgoing) -> Result<(), StoreError> {
        let queued = outgoing.queued(seq);
        let notice_id = &queued.notice_id;
        self.record(batch, keys::of_seq(seq), &OutboxRecord::of(&queued))?;
        chunks(batch, &keys::of_notice(keys::ENVELOPE, notice_id), &outgoing.encoded);
        if !is_for_officers(queued.kind) {
            return Ok(());
        }
        let header = outgoing.envelope.header();
        let review_by = outgoing.review_by;
        let record = SentRecord { review_by, ..SentRecord::of(header, outgoing.envelope.header_digest()) };
        self.record(batch, keys::of_notice(keys::SENT, notice_id), &record)?;
        if let Some(draft) = &outgoing.draft {
            let place = keys::of_notice(keys::DRAFT, notice_id);
            chunks(batch, &place, &self.key.encrypt(&place, &draft.0)?);
        }
        if let Some(table) = &outgoing.table {
            let place = keys::of_notice(keys::TABLE, notice_id);
            chunks(batch, &place, &self.key.encrypt(&place, &table.0)?);
        }
        if let Some(origin) = &outgoing.origin {
            let place = keys::of_notice(keys::ORIGIN, notice_id);
            chunks(batch, &place, &self.key.encrypt(&place, &origin.0)?);
        }
        if let Some(followed) = header.supersedes.or(header.withdraws) {
            batch.insert(keys::of_notice(keys::FOLLOWED, &followed), notice_id.as_bytes().as_slice());
        }
        if let Some(answered) = header.in_reply_to.as_ref().filter(|_| header.kind == NoticeKind::Response) {
            batch.insert(keys::of_answer(answered, &header.originator), &[]);
        }
        due(batch, outgoing.alarm(), outgoing.review());
        Ok(())
    }

    fn unqueue(&self, batch: &mut Batch, queued: &Queued, outcome: &Outcome) -> Result<(), StoreError> {
        batch.remove(keys::of_seq(queued.seq));
        if queued.kind == NoticeKind::Receipt {
            // The receipt itself is kept with the notice it is about; its envelope has done its work.
            return self.remove_chunks(batch, &keys::of_notice(keys::ENVELOPE, &queued.notice_id));
        }
        if !outcome.is_acceptance() {
            self.unanswer(batch, queued)?;
        }
        match outcome {
            // A refusal of unreadable bytes names no notice, so the id is taken from what was submitted.
            Outcome::Answered(answer) => receipt_under(batch, &queued.notice_id, answer.receipt()),
            Outcome::Lapsed(at) => time(batch, keys::of_notice(keys::LAPSED, &queued.notice_id), *at),
            Outcome::Unsendable { at, refusal } => {
                let record = UnsentRecord { at: *at, reason: refusal.to_string() };
                self.record(batch, keys::of_notice(keys::UNSENT, &queued.notice_id), &record)?;
            }
        }
        Ok(())
    }

    /// An answer that no broker took answers nothing.
    fn unanswer(&self, batch: &mut Batch, queued: &Queued) -> Result<(), StoreError> {
        if queued.kind != NoticeKind::Response {
            return Ok(());
        }
        if let Some(envelope) = self.envelope(&queued.notice_id)?
            && let Some(answered) = envelope.header().in_reply_to
        {
            batch.remove(keys::of_answer(&answered, &envelope.header().originator));
        }
        Ok(())
    }

    /// What is held of a notice goes, but for its header and signature, which are evidence; what comes of it later is
    /// not kept.
    fn purge(&self, batch: &mut Batch, purge: &Purge) -> Result<(), StoreError> {
        let Purge { notice_id, originator, at, cause, by, receipt } = purge;
        let record = PurgedRecord { originator: originator.clone(), at: *at, cause: *cause, by: *by };
        self.record(batch, keys::of_purged(notice_id, originator), &record)?;
        receipt_record(batch, receipt);
        let held = self.received(notice_id)?.map(|held| held.record);
        let Some(held) = held.filter(|held| held.originator == *originator) else { return Ok(()) };
        self.remove_chunks(batch, &keys::of_notice(keys::PORTIONS, notice_id))?;
        self.remove_chunks(batch, &keys::of_notice(keys::DIFFERENCES, notice_id))?;
        if let Some(review_by) = held.review_by {
            let review = Review { review_by, notice_id: *notice_id, side: Side::Recipient };
            batch.remove(keys::of_review(&review));
        }
        if let Some(envelope) = self.envelope(notice_id)? {
            let place = keys::of_notice(keys::DELIVERED, notice_id);
            self.remove_chunks(batch, &place)?;
            chunks(batch, &place, &envelope.bare().encode());
        }
        Ok(())
    }

    /// Whether a notice that is taken in counts no more already: one that overtook it says so, in this change or before.
    fn counts_no_more(&self, header: &Header, beside: &[&Change]) -> Result<bool, StoreError> {
        let now = beside.iter().any(|change| {
            let Change::Purge(purge) = change else { return false };
            purge.notice_id == header.notice_id && purge.originator == header.originator
        });
        Ok(now || self.purged(&header.notice_id, &header.originator)?.is_some())
    }

    fn receive(&self, batch: &mut Batch, received: &Received, beside: &[&Change]) -> Result<(), StoreError> {
        let envelope = received.envelope.envelope();
        let header = envelope.header();
        let record = ReceivedRecord {
            notice_id: header.notice_id,
            header_digest: envelope.header_digest(),
            kind: header.kind,
            originator: header.originator.clone(),
            precedence: header.precedence,
            label: header.label.to_string(),
            respond_by: header.respond_by,
            received_at: received.at,
            directory_version: received.directory.version(),
            review_by: received.review_by,
        };
        self.record(batch, keys::of_notice(keys::RECEIVED, &header.notice_id), &record)?;
        // What counts no more leaves nothing behind but its header, whatever came first.
        let gone = self.counts_no_more(header, beside)?;
        let kept = if gone { envelope.bare() } else { envelope.clone() };
        chunks(batch, &keys::of_notice(keys::DELIVERED, &header.notice_id), &kept.encode());
        receipt_record(batch, &received.receipt);
        if !gone {
            due(batch, received.alarm(), received.review());
        }
        if let Some(differences) = received.differences.as_ref().filter(|_| !gone) {
            let place = keys::of_notice(keys::DIFFERENCES, &header.notice_id);
            chunks(batch, &place, &self.key.encrypt(&place, &differences.0)?);
        }
        if let Some(answered) = header.in_reply_to.as_ref().filter(|_| header.kind == NoticeKind::Response) {
            batch.insert(keys::of_answer(answered, &header.originator), &[]);
        }
        let place = keys::of_directory(received.directory.version());
        if self.db.scan_prefix(&place).next().transpose()?.is_none() {
            chunks(batch, &place, received.directory.encoded());
        }
        self.remember(batch, &received.seen())
    }

    fn set_aside(&self, batch: &mut Batch, aside: &SetAside) -> Result<(), StoreError> {
        let digest = sha256(&[&aside.bytes]);
        let notice_id = aside.seen.map(|seen| seen.notice_id);
        let record = AsideRecord { notice_id, at: aside.at, digest, reason: aside.reason.to_string() };
        self.record(batch, keys::of_aside(keys::ASIDE, aside.at, &digest), &record)?;
        chunks(batch, &keys::of_aside(keys::ASIDE_BYTES, aside.at, &digest), &aside.bytes);
        if let Some(receipt) = &aside.receipt {
            receipt_record(batch, receipt);
        }
        aside.seen.map_or(Ok(()), |seen| self.remember(batch, &seen))
    }

    fn remember(&self, batch: &mut Batch, seen: &Seen) -> Result<(), StoreError> {
        self.record(batch, keys::of_notice(keys::SEEN, &seen.notice_id), &SeenRecord::of(seen))
    }

    pub(super) fn record(
        &self,
        batch: &mut Batch,
        key: Vec<u8>,
        record: &impl Serialize,
    ) -> Result<(), StoreError> {
        let value = serde_json::to_vec(record).map_err(|error| self.unreadable(error))?;
        pieces(batch, key, &value);
        Ok(())
    }

    pub(super) fn remove_chunks(&self, batch: &mut Batch, place: &[u8]) -> Result<(), StoreError> {
        for key in self.db.scan_prefix(place).keys() {
            batch.remove(key?);
        }
        Ok(())
    }
}

pub(super) fn receipt_record(batch: &mut Batch, receipt: &SignedReceipt) {
    if let Some(notice_id) = &receipt.receipt().notice_id {
        receipt_under(batch, notice_id, receipt);
    }
}

fn receipt_under(batch: &mut Batch, notice_id: &NoticeId, receipt: &SignedReceipt) {
    let encoded = receipt.encode();
    pieces(batch, keys::of_receipt(notice_id, &sha256(&[&encoded])), &encoded);
}

pub(super) fn time(batch: &mut Batch, key: Vec<u8>, at: Timestamp) {
    batch.insert(key, &at.millis().to_be_bytes());
}

/// Writes a record under `key`, which is one value in most cases, and what does not fit (64 recipients of 36 bytes and a
/// banner of 2 KiB in which every byte is escaped, say) under the keys of its further pieces. Records that may be so
/// long are written once and for ever, so that no piece of an earlier one stays behind.
fn pieces(batch: &mut Batch, key: Vec<u8>, value: &[u8]) {
    let mut pieces = value.chunks(CHUNK_BYTES);
    let first = pieces.next().unwrap_or_default();
    for (number, piece) in (1_u16..).zip(pieces) {
        batch.insert(keys::of_piece(&key, number), piece);
    }
    batch.insert(key, first);
}

/// Writes `bytes` under `place` followed by the chunk's number.
pub(super) fn chunks(batch: &mut Batch, place: &[u8], bytes: &[u8]) {
    // No value is longer than a directory (3 MiB), so the number fits two bytes.
    for (number, chunk) in (0_u16..).zip(bytes.chunks(CHUNK_BYTES)) {
        batch.insert(keys::of_piece(place, number), chunk);
    }
}
