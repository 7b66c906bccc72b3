//! What is kept, read.
//!
//! Claimed: nothing is read that is not on stable storage, so that nothing is said of it either (G4). It holds because
//! every notice has a cursor, cursors rise, and [`Reader`] looks no further than the last one that was made durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use valise_proto::envelope::Precedence;
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::log::{ENTRY_LEN, Entry};
use valise_proto::receipt::SignedReceipt;
use valise_proto::wire::session::Cursor;

use super::super::keys;
use super::super::record::{Counters, NoticeRecord, QueueRecord};
use super::super::{Depth, Due, Inbox, InboxContent, InboxItem, KeptNotice, StoreError};
use super::copying::{Copying, Touched};
use super::{Lease, corrupt, failed, hex};

/// The reading side; clones share the same store.
#[derive(Clone, Debug)]
pub struct Reader {
    db: sled::Db,
    /// The last cursor on stable storage.
    durable: Arc<AtomicU64>,
    touched: Touched,
    /// Dropped after the database: the folder is free only when that is closed.
    lease: Lease,
}

impl Reader {
    pub(super) fn new(db: sled::Db, durable: Arc<AtomicU64>, touched: Touched, lease: Lease) -> Self {
        Self { db, durable, touched, lease }
    }

    /// Begins a copy of everything: to be called while no batch is being applied. `None` where another is under way.
    #[must_use]
    pub fn copy(&self) -> Option<Copying> {
        Copying::begin(self.db.clone(), self.touched.clone(), self.lease.clone())
    }

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
    ) -> Result<Inbox, StoreError> {
        let start = keys::item(agency, precedence, Cursor::new(after.number().saturating_add(1)));
        let prefix = keys::queue(agency, precedence);
        let mut inbox = Inbox::default();
        let mut bytes = 0;
        for entry in self.db.range(start..) {
            let (key, value) = entry.map_err(failed)?;
            if !key.starts_with(&prefix) {
                break;
            }
            let Some(cursor) = keys::cursor_of(&key) else { continue };
            // A commit is under way; its inboxes are looked into again when it is done.
            if !self.is_durable(cursor) {
                break;
            }
            if inbox.items.len() >= count || bytes >= bytes_max {
                inbox.more = true;
                break;
            }
            let Some(content) = self.content(&key, &value, cursor)? else { continue };
            bytes += content.len();
            inbox.items.push(InboxItem { cursor, content });
        }
        Ok(inbox)
    }

    /// What an item holds; `None` where it was removed while it was read.
    fn content(&self, key: &[u8], value: &[u8], cursor: Cursor) -> Result<Option<InboxContent>, StoreError> {
        match QueueRecord::decode(value) {
            Some(QueueRecord::Receipt(receipt)) => return Ok(Some(InboxContent::Receipt(receipt))),
            Some(QueueRecord::Notice(id)) => {
                if let Some(body) = self.whole_body(&id, cursor)? {
                    return Ok(Some(InboxContent::Envelope(body)));
                }
            }
            None => {}
        }
        // The last acknowledgement, or the expiry, deletes item and body as one change. So a body that is not whole is
        // a fault only if the item still stands.
        let stands = self.db.get(key).map_err(failed)?.is_some();
        Ok(stands.then(|| InboxContent::Unreadable(hex(key))))
    }

    /// The envelope under `cursor`, if every chunk of it is there.
    fn whole_body(&self, id: &NoticeId, cursor: Cursor) -> Result<Option<Bytes>, StoreError> {
        let Some(value) = self.db.get(keys::notice(id)).map_err(failed)? else { return Ok(None) };
        let Some(record) = NoticeRecord::decode(&value) else { return Ok(None) };
        let mut body = BytesMut::new();
        let mut chunks: usize = 0;
        for value in self.db.scan_prefix(keys::body(cursor)).values() {
            body.extend_from_slice(&value.map_err(failed)?);
            chunks += 1;
        }
        let whole = record.cursor == cursor && chunks == usize::from(record.chunks);
        Ok(whole.then(|| body.freeze()))
    }

    fn is_durable(&self, cursor: Cursor) -> bool {
        cursor.number() <= self.durable.load(Ordering::Acquire)
    }

    /// What is known of a notice.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn notice(&self, id: &NoticeId) -> Result<Option<KeptNotice>, StoreError> {
        let key = keys::notice(id);
        let Some(value) = self.db.get(&key).map_err(failed)? else { return Ok(None) };
        let record = NoticeRecord::decode(&value).ok_or_else(|| corrupt(&key, "not a notice record"))?;
        let NoticeRecord { cursor, originator, header_digest, receipt, undelivered, .. } = record;
        let kept = KeptNotice { originator, header_digest, receipt, undelivered };
        Ok(self.is_durable(cursor).then_some(kept))
    }

    /// Up to `count` entries of the calendar whose time has come by `now`, the earliest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn due(&self, now: Timestamp, count: usize) -> Result<Vec<Due>, StoreError> {
        let mut due = Vec::new();
        for entry in self.db.scan_prefix(keys::DUE) {
            if due.len() >= count {
                break;
            }
            let (name, value) = entry.map_err(failed)?;
            // Its place tells nothing, so that nothing can be ended by it: verify-store finds it.
            let Some(key) = keys::due_of(&name) else { continue };
            if key.second > now.seconds() {
                break;
            }
            // What cannot be read is set apart by the operation that ends this entry.
            let notices = keys::due_notices(key, &value).unwrap_or_default();
            let mut expired = Vec::new();
            for id in notices {
                let kept = match self.notice(&id) {
                    Ok(kept) => kept,
                    Err(StoreError::Corrupt { .. }) => None,
                    Err(error) => return Err(error),
                };
                expired.extend(kept.filter(|kept| !kept.undelivered.is_empty()).map(|kept| (id, kept)));
            }
            due.push(Due { key, expired });
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

    /// Since when the oldest item of a queue waits: the time of its receipt. `None` where none does.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn oldest(&self, agency: &AgencyId, precedence: Precedence) -> Result<Option<Timestamp>, StoreError> {
        let Some(entry) = self.db.scan_prefix(keys::queue(agency, precedence)).next() else {
            return Ok(None);
        };
        let (_, value) = entry.map_err(failed)?;
        let receipt = match QueueRecord::decode(&value) {
            Some(QueueRecord::Receipt(receipt)) => Some(receipt),
            Some(QueueRecord::Notice(id)) => self.notice(&id)?.map(|kept| kept.receipt),
            None => None,
        };
        Ok(receipt.and_then(|receipt| SignedReceipt::decode(receipt).ok()).map(|signed| signed.receipt().at))
    }

    /// How many bytes the store takes on disk. Asks the file system about each of its files.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.db.size_on_disk().map_err(failed)
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

    /// The log entry at `index`; `None` beyond the end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn log_entry(&self, index: u64) -> Result<Option<Entry>, StoreError> {
        let place = index % keys::LOG_ENTRIES_MAX;
        let key = keys::log(index - place);
        let Some(entries) = self.db.get(&key).map_err(failed)? else { return Ok(None) };
        let (entries, rest) = entries.as_chunks::<ENTRY_LEN>();
        if !rest.is_empty() {
            return Err(corrupt(&key, "not a whole number of log entries"));
        }
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let Some(entry) = entries.get(place) else { return Ok(None) };
        Entry::decode(entry).map(Some).ok_or_else(|| corrupt(&key, "not a log entry"))
    }

    /// Every key and value, for comparing stores.
    #[cfg(test)]
    pub(in crate::store) fn dump(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.db
            .iter()
            .map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap())
            .collect()
    }

    /// Spoils the store.
    #[cfg(test)]
    pub(in crate::store) fn dangerous_write(&self, key: &[u8], value: Option<&[u8]>) {
        match value {
            Some(value) => self.db.insert(key, value).unwrap(),
            None => self.db.remove(key).unwrap(),
        };
        self.db.flush().unwrap();
    }
}
