//! Applying changes: one atomic batch, then stable storage.

use serde::Serialize;
use sled::Batch;
use valise_proto::crypto::sha256;
use valise_proto::envelope::NoticeKind;
use valise_proto::id::{NoticeId, Timestamp};
use valise_proto::receipt::SignedReceipt;

use super::records::{AsideRecord, OutboxRecord, ReadRecord, ReceivedRecord, SeenRecord, SentRecord};
use super::{Store, StoreError, keys};
use crate::core::{Change, OutboxSeq, Outcome, Outgoing, Queued, Received, Seen, SetAside, is_for_officers};

/// Longest value of one record. sled writes pages above 128 KiB to files of their own, which its flush does not cover;
/// a page splits at 17 items, so 17 values of this length stay below that.
pub(super) const CHUNK_BYTES: usize = 6 * 1024;

impl Store {
    /// Applies all `changes` or none, and makes them durable.
    ///
    /// # Errors
    /// [`StoreError`]. After [`StoreError::Engine`] or [`StoreError::Sync`] it is not known whether they are on stable
    /// storage: the caller must stop, and start anew from what the disk then holds.
    pub fn apply<'a>(&self, changes: impl IntoIterator<Item = &'a Change>) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for change in changes {
            self.write(&mut batch, change)?;
        }
        self.db.apply_batch(batch)?;
        self.make_durable()
    }

    fn write(&self, batch: &mut Batch, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::Queue { seq, outgoing } => self.queue(batch, *seq, outgoing),
            Change::Unqueue { queued, outcome } => self.unqueue(batch, queued, outcome),
            Change::Receive(received) => self.receive(batch, received),
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
            Change::Read { notice_id, officer, at, receipt } => {
                receipt_record(batch, receipt);
                let record = ReadRecord { officer: officer.clone(), at: *at };
                self.record(batch, keys::of_notice(keys::READ, notice_id), &record)
            }
            Change::DeadlinePassed(deadline) => {
                batch.remove(keys::of_deadline(deadline.respond_by, &deadline.notice_id));
                time(batch, keys::of_notice(keys::PASSED, &deadline.notice_id), deadline.respond_by);
                Ok(())
            }
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
        let record = SentRecord::of(header, outgoing.envelope.header_digest());
        self.record(batch, keys::of_notice(keys::SENT, notice_id), &record)?;
        if let Some(draft) = &outgoing.draft {
            let place = keys::of_notice(keys::DRAFT, notice_id);
            chunks(batch, &place, &self.key.encrypt(&place, &draft.0)?);
        }
        if let Some(deadline) = outgoing.deadline() {
            batch.insert(keys::of_deadline(deadline.respond_by, notice_id), &[]);
        }
        Ok(())
    }

    fn unqueue(&self, batch: &mut Batch, queued: &Queued, outcome: &Outcome) -> Result<(), StoreError> {
        batch.remove(keys::of_seq(queued.seq));
        if queued.kind == NoticeKind::Receipt {
            // The receipt itself is kept with the notice it is about; its envelope has done its work.
            return self.remove_chunks(batch, &keys::of_notice(keys::ENVELOPE, &queued.notice_id));
        }
        match outcome {
            // A refusal of unreadable bytes names no notice, so the id is taken from what was submitted.
            Outcome::Answered(answer) => receipt_under(batch, &queued.notice_id, answer.receipt()),
            Outcome::Lapsed(at) => time(batch, keys::of_notice(keys::LAPSED, &queued.notice_id), *at),
        }
        Ok(())
    }

    fn receive(&self, batch: &mut Batch, received: &Received) -> Result<(), StoreError> {
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
        };
        self.record(batch, keys::of_notice(keys::RECEIVED, &header.notice_id), &record)?;
        chunks(batch, &keys::of_notice(keys::DELIVERED, &header.notice_id), &envelope.encode());
        receipt_record(batch, &received.receipt);
        if let Some(answered) = &header.in_reply_to {
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
        let record = AsideRecord { notice_id, at: aside.at, digest, reason: aside.reason.clone() };
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

    fn record(&self, batch: &mut Batch, key: Vec<u8>, record: &impl Serialize) -> Result<(), StoreError> {
        let value = serde_json::to_vec(record).map_err(|error| self.unreadable(error))?;
        // A record of 64 recipients is some 4 KiB; one beyond the bound would be a mistake here, not an input.
        if value.len() > CHUNK_BYTES {
            return Err(self.unreadable(format!("a record of {} bytes; at most {CHUNK_BYTES}", value.len())));
        }
        batch.insert(key, value);
        Ok(())
    }

    fn remove_chunks(&self, batch: &mut Batch, place: &[u8]) -> Result<(), StoreError> {
        for key in self.db.scan_prefix(place).keys() {
            batch.remove(key?);
        }
        Ok(())
    }
}

fn receipt_record(batch: &mut Batch, receipt: &SignedReceipt) {
    if let Some(notice_id) = &receipt.receipt().notice_id {
        receipt_under(batch, notice_id, receipt);
    }
}

fn receipt_under(batch: &mut Batch, notice_id: &NoticeId, receipt: &SignedReceipt) {
    let encoded = receipt.encode();
    batch.insert(keys::of_receipt(notice_id, &sha256(&[&encoded])), encoded.as_ref());
}

fn time(batch: &mut Batch, key: Vec<u8>, at: Timestamp) {
    batch.insert(key, &at.millis().to_be_bytes());
}

/// Writes `bytes` under `place` followed by the chunk's number.
fn chunks(batch: &mut Batch, place: &[u8], bytes: &[u8]) {
    // No value is longer than a directory (3 MiB), so the number fits two bytes.
    for (number, chunk) in (0_u16..).zip(bytes.chunks(CHUNK_BYTES)) {
        let mut key = place.to_vec();
        key.extend_from_slice(&number.to_be_bytes());
        batch.insert(key, chunk);
    }
}
