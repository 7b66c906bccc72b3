//! The store on sled 0.34. The only file that names it.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use valise_proto::envelope::Precedence;
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::log::{Entry, EntryKind};
use valise_proto::wire::session::Cursor;

use super::keys::{self, CHUNK_BYTES_MAX};
use super::record::{Counters, NoticeRecord, QueueRecord};
use super::{
    Acceptance, Depth, Due, InboxContent, InboxItem, KeptNotice, Operation, Outcome, REMEMBER_AFTER_EXPIRY, Store, StoreError,
};
use valise_proto::crypto::sha256;

/// The format of the data folder.
const FORMAT: u32 = 1;
/// Memory for pages, in bytes.
const CACHE_BYTES: u64 = 256 * 1024 * 1024;

/// The writing side.
#[derive(Debug)]
pub struct SledStore {
    db: sled::Db,
    counters: Counters,
    /// A handle of our own to sled's file: what fdatasync is called on.
    file: File,
    /// Held for as long as the store is open.
    _lock: File,
}

/// The reading side; clones share the same store.
#[derive(Clone, Debug)]
pub struct Reader {
    db: sled::Db,
}

impl SledStore {
    /// Opens the store in `folder`, making it where there is none.
    ///
    /// # Errors
    /// [`StoreError`]; the folder is as it was.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.display().to_string();
        let unusable = |problem: String| StoreError::Open { path: path.clone(), problem };
        fs::create_dir_all(folder).map_err(|error| unusable(error.to_string()))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("lock"))
            .map_err(|error| unusable(error.to_string()))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => StoreError::InUse { path: path.clone() },
            fs::TryLockError::Error(error) => unusable(error.to_string()),
        })?;
        let store = folder.join("store");
        let db = sled::Config::new()
            .path(&store)
            .mode(sled::Mode::HighThroughput)
            .cache_capacity(CACHE_BYTES)
            // The committer flushes when there is something to flush.
            .flush_every_ms(None)
            .open()
            .map_err(|error| unusable(error.to_string()))?;
        let counters = read_format(&db, &path)?;
        let file = File::open(store.join("db")).map_err(|error| unusable(error.to_string()))?;
        let mut opened = Self { db, counters, file, _lock: lock };
        opened.make_durable()?;
        // The names of the files, and of the folder itself, must be as durable as what is in them.
        for made in [store.as_path(), folder] {
            File::open(made).and_then(|dir| dir.sync_all()).map_err(|error| unusable(error.to_string()))?;
        }
        File::open(store.join("conf")).and_then(|conf| conf.sync_all()).map_err(|error| unusable(error.to_string()))?;
        Ok(opened)
    }

    /// A reader of this store.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader { db: self.db.clone() }
    }
}

fn read_format(db: &sled::Db, path: &str) -> Result<Counters, StoreError> {
    match db.get(keys::FORMAT).map_err(failed)? {
        None if db.is_empty() => {
            let mut batch = sled::Batch::default();
            batch.insert(keys::FORMAT, &FORMAT.to_be_bytes());
            batch.insert(keys::COUNTERS, Counters::default().encode());
            db.apply_batch(batch).map_err(failed)?;
            Ok(Counters::default())
        }
        Some(format) if format.as_ref() == FORMAT.to_be_bytes() => {
            let value = db.get(keys::COUNTERS).map_err(failed)?;
            let counters = value.as_ref().and_then(|value| Counters::decode(value));
            counters.ok_or_else(|| corrupt(keys::COUNTERS, "missing or of the wrong length"))
        }
        other => {
            let got = other.map_or_else(|| "none".to_owned(), |format| hex(&format));
            Err(StoreError::Format { path: path.to_owned(), got, known: FORMAT })
        }
    }
}

impl Store for SledStore {
    fn apply(&mut self, batch: &[Operation]) -> Result<Vec<Outcome>, StoreError> {
        let mut change = Change {
            db: &self.db,
            counters: self.counters,
            batch: sled::Batch::default(),
            staged: HashMap::new(),
        };
        let outcomes = batch.iter().map(|operation| change.apply(operation)).collect::<Result<_, _>>()?;
        let Change { mut batch, counters, staged, .. } = change;
        for (key, value) in staged {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        if counters != self.counters {
            batch.insert(keys::COUNTERS, counters.encode());
        }
        self.db.apply_batch(batch).map_err(failed)?;
        self.counters = counters;
        Ok(outcomes)
    }

    fn make_durable(&mut self) -> Result<(), StoreError> {
        self.db.flush().map_err(failed)?;
        self.file.sync_data().map_err(|error| StoreError::Failed(error.to_string()))
    }
}

/// A batch under way: what it has changed so far is seen by what follows in it.
struct Change<'a> {
    db: &'a sled::Db,
    counters: Counters,
    /// What is only written: bodies, log entries.
    batch: sled::Batch,
    /// What is also read: notices, queues, due times.
    staged: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Change<'_> {
    fn apply(&mut self, operation: &Operation) -> Result<Outcome, StoreError> {
        match operation {
            Operation::Accept(acceptance) => self.accept(acceptance),
            Operation::Acknowledge { agency, precedence, cursors } => {
                for cursor in cursors {
                    self.acknowledge(agency, *precedence, *cursor)?;
                }
                Ok(Outcome::Done)
            }
            Operation::Expire { notice_id, at, receipts } => self.expire(notice_id, *at, receipts),
            Operation::Forget { notice_id } => self.forget(notice_id),
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
            receipt: acceptance.receipt.clone(),
            undelivered: acceptance.recipients.clone(),
        };
        self.put(keys::notice(&acceptance.notice_id), record.encode());
        self.put(keys::due(acceptance.expires_at, &acceptance.notice_id), Vec::new());
        self.log(EntryKind::Accepted, &record, &acceptance.receipt, acceptance.accepted_at);
        Ok(Outcome::Accepted)
    }

    fn acknowledge(&mut self, agency: &AgencyId, precedence: Precedence, cursor: Cursor) -> Result<(), StoreError> {
        let key = keys::item(agency, precedence, cursor);
        let Some(value) = self.get(&key)? else { return Ok(()) };
        let record = QueueRecord::decode(&value).ok_or_else(|| corrupt(&key, "not a queue record"))?;
        self.remove(key);
        match record {
            QueueRecord::Receipt(_) => Ok(()),
            QueueRecord::Notice(id) => {
                let Some(mut notice) = self.notice(&id)? else { return Ok(()) };
                notice.undelivered.retain(|recipient| recipient != agency);
                if notice.undelivered.is_empty() {
                    self.finish(&id, &notice);
                }
                self.put(keys::notice(&id), notice.encode());
                Ok(())
            }
        }
    }

    fn expire(&mut self, id: &NoticeId, at: Timestamp, receipts: &[Bytes]) -> Result<Outcome, StoreError> {
        let Some(mut notice) = self.notice(id)? else { return Ok(Outcome::Done) };
        if notice.undelivered.is_empty() {
            return Ok(Outcome::Done);
        }
        for recipient in std::mem::take(&mut notice.undelivered) {
            self.remove(keys::item(&recipient, notice.precedence, notice.cursor));
        }
        self.finish(id, &notice);
        for receipt in receipts {
            let cursor = self.next_cursor();
            let record = QueueRecord::Receipt(receipt.clone());
            self.put(keys::item(&notice.originator, Precedence::Routine, cursor), record.encode());
            self.log(EntryKind::Expired, &notice, receipt, at);
        }
        self.put(keys::notice(id), notice.encode());
        Ok(Outcome::Done)
    }

    fn forget(&mut self, id: &NoticeId) -> Result<Outcome, StoreError> {
        let Some(notice) = self.notice(id)? else { return Ok(Outcome::Done) };
        if notice.undelivered.is_empty() {
            self.remove(keys::notice(id));
            self.remove(keys::due(notice.expires_at.plus(REMEMBER_AFTER_EXPIRY), id));
        }
        Ok(Outcome::Done)
    }

    fn log(&mut self, kind: EntryKind, notice: &NoticeRecord, receipt: &[u8], at: Timestamp) {
        let entry = Entry { kind, header_digest: notice.header_digest, receipt_digest: sha256(&[receipt]), at };
        self.batch.insert(keys::log(self.counters.log_len), entry.encode().as_slice());
        self.counters.log_len += 1;
    }

    fn next_cursor(&mut self) -> Cursor {
        self.counters.last_cursor += 1;
        Cursor::new(self.counters.last_cursor)
    }

    /// Nobody waits for the notice any more: its body goes, its id is remembered a while longer.
    fn finish(&mut self, id: &NoticeId, notice: &NoticeRecord) {
        for number in 0..notice.chunks {
            self.batch.remove(keys::chunk(notice.cursor, number));
        }
        self.remove(keys::due(notice.expires_at, id));
        self.put(keys::due(notice.expires_at.plus(REMEMBER_AFTER_EXPIRY), id), Vec::new());
    }

    fn notice(&self, id: &NoticeId) -> Result<Option<NoticeRecord>, StoreError> {
        let key = keys::notice(id);
        let Some(value) = self.get(&key)? else { return Ok(None) };
        NoticeRecord::decode(&value).map(Some).ok_or_else(|| corrupt(&key, "not a notice record"))
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

impl Reader {
    /// Up to `count` items of an inbox after `after`, oldest first, until they hold `bytes_max` bytes; at least one
    /// where there is one.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn inbox(
        &self,
        agency: &AgencyId,
        precedence: Precedence,
        after: Cursor,
        count: usize,
        bytes_max: usize,
    ) -> Result<Vec<InboxItem>, StoreError> {
        let start = keys::item(agency, precedence, Cursor::new(after.number().saturating_add(1)));
        let prefix = keys::queue(agency, precedence);
        let mut items = Vec::new();
        let mut bytes = 0;
        for entry in self.db.range(start..).take(count) {
            let (key, value) = entry.map_err(failed)?;
            if !key.starts_with(&prefix) || bytes >= bytes_max {
                break;
            }
            let Some(cursor) = keys::cursor_of(&key) else { continue };
            let content = match QueueRecord::decode(&value) {
                Some(QueueRecord::Notice(_)) => InboxContent::Envelope(self.body(cursor)?),
                Some(QueueRecord::Receipt(receipt)) => InboxContent::Receipt(receipt),
                None => InboxContent::Unreadable(hex(&key)),
            };
            bytes += content.len();
            items.push(InboxItem { cursor, content });
        }
        Ok(items)
    }

    fn body(&self, cursor: Cursor) -> Result<Bytes, StoreError> {
        let mut body = BytesMut::new();
        for value in self.db.scan_prefix(keys::body(cursor)).values() {
            body.extend_from_slice(&value.map_err(failed)?);
        }
        Ok(body.freeze())
    }

    /// What is known of a notice.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn notice(&self, id: &NoticeId) -> Result<Option<KeptNotice>, StoreError> {
        let key = keys::notice(id);
        let Some(value) = self.db.get(&key).map_err(failed)? else { return Ok(None) };
        let record = NoticeRecord::decode(&value).ok_or_else(|| corrupt(&key, "not a notice record"))?;
        let NoticeRecord { originator, header_digest, receipt, undelivered, .. } = record;
        Ok(Some(KeptNotice { originator, header_digest, receipt, undelivered }))
    }

    /// Up to `count` notices whose time has come by `now`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn due(&self, now: Timestamp, count: usize) -> Result<Vec<Due>, StoreError> {
        let mut due = Vec::new();
        for entry in self.db.scan_prefix(keys::DUE).keys() {
            let key = entry.map_err(failed)?;
            let Some((at, notice_id)) = keys::due_of(&key) else { continue };
            if at > now || due.len() >= count {
                break;
            }
            let Some(notice) = self.notice(&notice_id)? else { continue };
            due.push(if notice.undelivered.is_empty() {
                Due::Forgotten { notice_id }
            } else {
                Due::Expired { notice_id, notice }
            });
        }
        Ok(due)
    }

    /// How many items stand in each inbox that is not empty. Walks every queue: for status, not for every request.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn depths(&self) -> Result<Vec<Depth>, StoreError> {
        let mut depths: Vec<Depth> = Vec::new();
        for key in self.db.scan_prefix(keys::QUEUES).keys() {
            let Some(queue) = keys::queue_of(&key.map_err(failed)?) else { continue };
            match depths.last_mut() {
                Some(last) if last.agency == queue.0 && last.precedence == queue.1 => last.items += 1,
                Some(_) | None => depths.push(Depth { agency: queue.0, precedence: queue.1, items: 1 }),
            }
        }
        Ok(depths)
    }

    /// How many entries the log has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn log_len(&self) -> Result<u64, StoreError> {
        let value = self.db.get(keys::COUNTERS).map_err(failed)?;
        let counters = value.as_ref().and_then(|value| Counters::decode(value));
        counters.map(|counters| counters.log_len).ok_or_else(|| corrupt(keys::COUNTERS, "missing"))
    }

    /// The log entry at `index`, encoded; `None` beyond the end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn log_entry(&self, index: u64) -> Result<Option<Entry>, StoreError> {
        let key = keys::log(index);
        let Some(value) = self.db.get(&key).map_err(failed)? else { return Ok(None) };
        Entry::decode(&value).map(Some).ok_or_else(|| corrupt(&key, "not a log entry"))
    }

    /// Every key and value, for comparing stores.
    #[cfg(test)]
    pub(super) fn dump(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.db.iter().map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap()).collect()
    }
}

fn failed(error: sled::Error) -> StoreError {
    StoreError::Failed(error.to_string())
}

fn corrupt(key: &[u8], problem: &str) -> StoreError {
    StoreError::Corrupt { key: hex(key), problem: problem.to_owned() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
