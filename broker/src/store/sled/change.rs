//! What a batch of operations does to the keys. It follows from the batch and the state alone.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use valise_proto::crypto::sha256;
use valise_proto::envelope::Precedence;
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::log::{Entry, EntryKind};
use valise_proto::wire::session::Cursor;

use super::super::keys::{self, CHUNK_BYTES_MAX};
use super::super::record::{Counters, NoticeRecord, QueueRecord};
use super::super::usage::Usage;
use super::super::{Acceptance, DueKey, Operation, Outcome, REMEMBER_AFTER_EXPIRY, StoreError};
use super::{failed, hex};
use crate::core::FollowUp;

/// A batch under way: what it has changed so far is seen by what follows in it.
pub(super) struct Change<'a> {
    db: &'a sled::Db,
    counters: Counters,
    /// What agencies occupied before, and by how much that changes.
    usage: &'a Usage,
    used: Usage,
    /// What is only written: bodies.
    batch: Writes,
    /// What joins the log, encoded.
    log: Vec<u8>,
    /// What is to be looked at in which second.
    calendar: BTreeMap<u64, Vec<NoticeId>>,
    /// What is also read: notices, queues, due entries.
    staged: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

/// What is to be written, and under which keys.
#[derive(Default)]
pub(super) struct Writes {
    pub(super) batch: sled::Batch,
    pub(super) keys: Vec<Vec<u8>>,
}

impl Writes {
    fn insert(&mut self, key: impl AsRef<[u8]>, value: impl Into<sled::IVec>) {
        self.keys.push(key.as_ref().to_vec());
        self.batch.insert(key.as_ref(), value);
    }

    fn remove(&mut self, key: impl AsRef<[u8]>) {
        self.keys.push(key.as_ref().to_vec());
        self.batch.remove(key.as_ref());
    }
}

impl<'a> Change<'a> {
    pub(super) fn new(db: &'a sled::Db, counters: Counters, usage: &'a Usage) -> Self {
        Self {
            db,
            counters,
            usage,
            used: Usage::default(),
            batch: Writes::default(),
            log: Vec::new(),
            calendar: BTreeMap::new(),
            staged: HashMap::new(),
        }
    }

    /// The writes, the counters after them, and by how much usage changes; `before` are the counters at present.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn finish(self, before: Counters) -> Result<(Writes, Counters, Usage), StoreError> {
        let Self { db, mut batch, counters, log, calendar, mut staged, usage: _, used } = self;
        write_log(db, &mut batch, before.log_len, log)?;
        for (second, notices) in calendar {
            write_due(&mut staged, second, &notices);
        }
        for (key, value) in staged {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        if counters != before {
            batch.insert(keys::COUNTERS, counters.encode());
        }
        Ok((batch, counters, used))
    }

    pub(super) fn apply(&mut self, operation: &Operation) -> Result<Outcome, StoreError> {
        match operation {
            Operation::Accept(acceptance) => self.accept(acceptance),
            Operation::Acknowledge { agency, precedence, cursors } => {
                for cursor in cursors {
                    self.acknowledge(agency, *precedence, *cursor)?;
                }
                Ok(Outcome::Done)
            }
            Operation::Expire { notice_id, at, receipts } => self.expire(notice_id, *at, receipts),
            Operation::Review { due, at } => self.review(*due, *at),
        }
    }

    fn accept(&mut self, acceptance: &Acceptance) -> Result<Outcome, StoreError> {
        if let Some(known) = self.notice(&acceptance.notice_id)? {
            return Ok(if known.header_digest == acceptance.header_digest {
                Outcome::Duplicate { receipt: known.receipt }
            } else {
                Outcome::Conflict
            });
        }
        // What was accepted under an id whose record is spoilt is not known, and nothing takes its place.
        if self.get(&keys::quarantined(&keys::notice(&acceptance.notice_id)))?.is_some() {
            return Ok(Outcome::Conflict);
        }
        let (freed, owed) = self.follow_up_usage(acceptance)?;
        if let Some(exceeded) = self.usage.check(&self.used, &freed, acceptance, owed) {
            return Ok(Outcome::OverQuota(exceeded));
        }
        if let Some(follow_up) = &acceptance.follows
            && let Some(refused) = self.follow_up(follow_up, acceptance)?
        {
            return Ok(refused);
        }
        let cursor = self.next_cursor();
        let mut chunks = 0;
        for chunk in acceptance.envelope.chunks(CHUNK_BYTES_MAX) {
            self.batch.insert(keys::chunk(cursor, chunks), chunk);
            // An envelope has at most 1 MiB, so at most 205 chunks.
            chunks += 1;
        }
        for recipient in &acceptance.recipients {
            let record = QueueRecord::Notice(acceptance.notice_id);
            self.put(keys::item(recipient, acceptance.precedence, cursor), record.encode());
        }
        let record = NoticeRecord {
            header_digest: acceptance.header_digest,
            cursor,
            chunks,
            precedence: acceptance.precedence,
            expires_at: acceptance.expires_at,
            originator: acceptance.originator.clone(),
            is_receipt: acceptance.is_receipt,
            receipt: acceptance.receipt.clone(),
            undelivered: acceptance.recipients.clone(),
            settled: Vec::new(),
        };
        self.put(keys::notice(&acceptance.notice_id), record.encode());
        self.used.keep(&record);
        self.used.remember(&record);
        record.undelivered.iter().for_each(|recipient| self.used.queue(&record, recipient));
        self.remind(acceptance.expires_at, acceptance.notice_id);
        self.log(EntryKind::Accepted, &record, &acceptance.receipt, acceptance.accepted_at);
        Ok(Outcome::Accepted)
    }

    /// What a withdrawal takes out of the store, by how much usage changes with it, and whether it, or a correction, goes to
    /// nobody else than those who were sent the notice that it is about: they are owed it.
    fn follow_up_usage(&mut self, acceptance: &Acceptance) -> Result<(Usage, bool), StoreError> {
        let mut freed = Usage::default();
        let Some(follow_up) = &acceptance.follows else { return Ok((freed, false)) };
        let about = self.notice(&follow_up.notice_id)?;
        let Some(about) = about.filter(|about| about.originator == acceptance.originator) else {
            return Ok((freed, false));
        };
        if follow_up.withdraws && !about.undelivered.is_empty() {
            freed.release(&about);
            about.undelivered.iter().for_each(|recipient| freed.unqueue(&about, recipient));
        }
        let was_sent =
            |recipient: &AgencyId| about.undelivered.contains(recipient) || about.settled.contains(recipient);
        // Nothing follows a receipt: whoever says so is owed nothing.
        Ok((freed, !about.is_receipt && acceptance.recipients.iter().all(was_sent)))
    }

    /// What a correction or withdrawal does to the notice it is about; why it is refused, where it is. A notice that
    /// is not known here any more, or not yet, is left to the recipients, who know their own.
    fn follow_up(
        &mut self,
        follow_up: &FollowUp,
        acceptance: &Acceptance,
    ) -> Result<Option<Outcome>, StoreError> {
        let Some(mut notice) = self.notice(&follow_up.notice_id)? else { return Ok(None) };
        if notice.originator != acceptance.originator {
            return Ok(Some(Outcome::OfAnother));
        }
        let told = |agency: &&AgencyId| {
            acceptance.recipients.contains(*agency) || follow_up.excused.contains(*agency)
        };
        let everyone = notice.undelivered.iter().chain(&notice.settled);
        let missing: Vec<AgencyId> = everyone.filter(|agency| !told(agency)).cloned().collect();
        if !missing.is_empty() {
            return Ok(Some(Outcome::Incomplete { missing }));
        }
        if follow_up.withdraws && !notice.undelivered.is_empty() {
            self.unqueue_all(&mut notice);
            self.finish_notice(&notice);
            self.put(keys::notice(&follow_up.notice_id), notice.encode());
        }
        Ok(None)
    }

    fn acknowledge(
        &mut self,
        agency: &AgencyId,
        precedence: Precedence,
        cursor: Cursor,
    ) -> Result<(), StoreError> {
        let key = keys::item(agency, precedence, cursor);
        let Some(value) = self.get(&key)? else { return Ok(()) };
        let Some(record) = QueueRecord::decode(&value) else {
            // It counts until the notice expires, whichever that is.
            self.set_apart(key, value, "not a queue record");
            return Ok(());
        };
        self.remove(key);
        match record {
            QueueRecord::Receipt(_) => {
                self.used.unqueue_receipt(agency);
                Ok(())
            }
            QueueRecord::Notice(id) => {
                let Some(mut notice) = self.notice(&id)? else { return Ok(()) };
                if notice.settle(agency) {
                    self.used.unqueue(&notice, agency);
                    if notice.undelivered.is_empty() {
                        self.finish_notice(&notice);
                    }
                }
                self.put(keys::notice(&id), notice.encode());
                Ok(())
            }
        }
    }

    fn expire(
        &mut self,
        id: &NoticeId,
        at: Timestamp,
        receipts: &[(AgencyId, Bytes)],
    ) -> Result<Outcome, StoreError> {
        let Some(mut notice) = self.notice(id)? else { return Ok(Outcome::Done) };
        if notice.undelivered.is_empty() {
            return Ok(Outcome::Done);
        }
        let late = self.unqueue_all(&mut notice);
        self.finish_notice(&notice);
        // Whoever acknowledged after the receipts were made did fetch it; nothing else may be stated.
        for (_, receipt) in receipts.iter().filter(|(recipient, _)| late.contains(recipient)) {
            let cursor = self.next_cursor();
            let record = QueueRecord::Receipt(receipt.clone());
            self.put(keys::item(&notice.originator, Precedence::Routine, cursor), record.encode());
            self.used.queue_receipt(&notice.originator);
            self.log(EntryKind::Expired, &notice, receipt, at);
        }
        self.put(keys::notice(id), notice.encode());
        Ok(Outcome::Done)
    }

    fn review(&mut self, due: DueKey, at: Timestamp) -> Result<Outcome, StoreError> {
        let key = keys::due(due);
        let Some(value) = self.get(&key)? else { return Ok(Outcome::Done) };
        let Some(notices) = keys::due_notices(due, &value) else {
            self.set_apart(key, value, "not notice ids");
            // The one that the key names is looked at again; verify-store finds the others.
            if let Some(notice) = self.notice(&due.first)? {
                self.remind(notice.expires_at, due.first);
            }
            return Ok(Outcome::Done);
        };
        self.remove(key);
        for id in notices {
            let Some(notice) = self.notice(&id)? else { continue };
            let forget_at = notice.expires_at.plus(REMEMBER_AFTER_EXPIRY);
            if !notice.undelivered.is_empty() {
                self.remind(notice.expires_at, id);
            } else if at < forget_at {
                self.remind(forget_at, id);
            } else {
                self.remove(keys::notice(&id));
                self.used.forget(&notice);
            }
        }
        Ok(Outcome::Done)
    }

    /// Notes that a notice is to be looked at once it is `at`.
    fn remind(&mut self, at: Timestamp, id: NoticeId) {
        self.calendar.entry(DueKey::second_of(at)).or_default().push(id);
    }

    fn log(&mut self, kind: EntryKind, notice: &NoticeRecord, receipt: &[u8], at: Timestamp) {
        let entry =
            Entry { kind, header_digest: notice.header_digest, receipt_digest: sha256(&[receipt]), at };
        self.log.extend_from_slice(&entry.encode());
        self.counters.log_len += 1;
    }

    fn next_cursor(&mut self) -> Cursor {
        self.counters.last_cursor += 1;
        Cursor::new(self.counters.last_cursor)
    }

    /// Takes a notice out of every queue in which it still stands; returns whose these are.
    fn unqueue_all(&mut self, notice: &mut NoticeRecord) -> Vec<AgencyId> {
        let waiting = notice.settle_all();
        for recipient in &waiting {
            self.remove(keys::item(recipient, notice.precedence, notice.cursor));
            self.used.unqueue(notice, recipient);
        }
        waiting
    }

    /// Nobody waits for the notice any more: its body goes, its id is remembered a while longer.
    fn finish_notice(&mut self, notice: &NoticeRecord) {
        for number in 0..notice.chunks {
            self.batch.remove(keys::chunk(notice.cursor, number));
        }
        self.used.release(notice);
    }

    /// The record of a notice. One that cannot be read is set apart: nothing is delivered of it any more, and nothing is
    /// accepted under its id.
    fn notice(&mut self, id: &NoticeId) -> Result<Option<NoticeRecord>, StoreError> {
        let key = keys::notice(id);
        let Some(value) = self.get(&key)? else { return Ok(None) };
        let record = NoticeRecord::decode(&value);
        if record.is_none() {
            self.set_apart(key, value, "not a notice record");
        }
        Ok(record)
    }

    /// One record that cannot be read holds up nothing else: it is kept under another key, for whoever looks into it.
    fn set_apart(&mut self, key: Vec<u8>, value: Vec<u8>, problem: &str) {
        tracing::error!(record = %hex(&key), problem, "a record of the store cannot be read and is set apart; see `valise-broker verify-store`");
        self.put(keys::quarantined(&key), value);
        self.remove(key);
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(staged) = self.staged.get(key) {
            return Ok(staged.clone());
        }
        Ok(self.db.get(key).map_err(failed)?.map(|value| value.to_vec()))
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.staged.insert(key, Some(value));
    }

    fn remove(&mut self, key: Vec<u8>) {
        self.staged.insert(key, None);
    }
}

/// Adds encoded entries to a log of `len`. The last value is filled up before a new one begins, so what is written does
/// not depend on how entries were grouped.
fn write_log(db: &sled::Db, batch: &mut Writes, len: u64, entries: Vec<u8>) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    let first = len - len % keys::LOG_ENTRIES_MAX;
    let mut all = match db.get(keys::log(first)).map_err(failed)? {
        Some(begun) => begun.to_vec(),
        None => Vec::new(),
    };
    all.extend(entries);
    for (value, number) in all.chunks(keys::LOG_VALUE_BYTES_MAX).zip(0_u64..) {
        batch.insert(keys::log(first + number * keys::LOG_ENTRIES_MAX), value);
    }
    Ok(())
}

/// Adds entries to the calendar: the first id in the key, the others in the value.
fn write_due(staged: &mut HashMap<Vec<u8>, Option<Vec<u8>>>, second: u64, notices: &[NoticeId]) {
    for group in notices.chunks(keys::DUE_NOTICES_MAX) {
        if let Some((first, further)) = group.split_first() {
            let value = further.iter().flat_map(|id| *id.as_bytes()).collect();
            staged.insert(keys::due(DueKey { second, first: *first }), Some(value));
        }
    }
}
