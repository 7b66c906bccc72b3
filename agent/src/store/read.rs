//! Reading what the store holds.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use valise_proto::envelope::Envelope;
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::receipt::SignedReceipt;
use valise_proto::wire::limits::Limits;
use zeroize::Zeroizing;

use super::records::{AsideRecord, OutboxRecord, ReadRecord, ReceivedRecord, SeenRecord, SentRecord};
use super::{Store, StoreError, keys};
use crate::core::{Deadline, Memory, OutboxSeq, Seen};

/// A notice of ours and what became of it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// What its header tells.
    pub record: SentRecord,
    /// Receipts about it, by time.
    pub receipts: Vec<SignedReceipt>,
    /// When it lapsed in the outbox, if it did.
    pub lapsed_at: Option<Timestamp>,
    /// Whether the time for answers is over.
    pub deadline_passed: bool,
    /// Who answered.
    pub answered: Vec<AgencyId>,
}

/// A received notice and whether it was read.
#[derive(Clone, Debug)]
pub struct Inbox {
    /// What its header tells.
    pub record: ReceivedRecord,
    /// Who was shown it first.
    pub read: Option<ReadRecord>,
}

impl Store {
    /// What the core needs to go on where it stopped.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn memory(&self) -> Result<Memory, StoreError> {
        let mut memory = Memory::default();
        for item in self.db.scan_prefix([keys::OUTBOX]) {
            let (key, value) = item?;
            let record: OutboxRecord = self.parse(&value)?;
            memory.outbox.push(record.queued(OutboxSeq(self.number(key.get(1..))?)));
        }
        for item in self.db.scan_prefix([keys::SEEN]) {
            let (key, value) = item?;
            let record: SeenRecord = self.parse(&value)?;
            memory.seen.push(record.seen(self.notice_id(key.get(1..))?));
        }
        for key in self.db.scan_prefix([keys::DEADLINE]).keys() {
            let key = key?;
            let respond_by = Timestamp::from_millis(self.number(key.get(1..9))?);
            memory.deadlines.push(Deadline { respond_by, notice_id: self.notice_id(key.get(9..))? });
        }
        Ok(memory)
    }

    /// Whether this envelope was taken in.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_seen(&self, seen: &Seen) -> Result<bool, StoreError> {
        let record: Option<SeenRecord> = self.get(&keys::of_notice(keys::SEEN, &seen.notice_id))?;
        Ok(record.is_some_and(|record| record.seen(seen.notice_id).header_digest == seen.header_digest))
    }

    /// The bytes of an envelope of ours, as they are submitted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn outgoing_bytes(&self, notice_id: &NoticeId) -> Result<Option<Bytes>, StoreError> {
        Ok(self.chunks(&keys::of_notice(keys::ENVELOPE, notice_id))?.map(Bytes::from))
    }

    /// The author's JSON of a notice of ours.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn draft(&self, notice_id: &NoticeId) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let place = keys::of_notice(keys::DRAFT, notice_id);
        let Some(encrypted) = self.chunks(&place)? else { return Ok(None) };
        Ok(Some(self.key.decrypt(&place, &encrypted)?))
    }

    /// What is known of a notice of ours, without its receipts.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sent_record(&self, notice_id: &NoticeId) -> Result<Option<SentRecord>, StoreError> {
        self.get(&keys::of_notice(keys::SENT, notice_id))
    }

    /// A notice of ours and what became of it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sent(&self, notice_id: &NoticeId) -> Result<Option<Sent>, StoreError> {
        let Some(record) = self.sent_record(notice_id)? else { return Ok(None) };
        let lapsed = self.db.get(keys::of_notice(keys::LAPSED, notice_id))?;
        let lapsed_at =
            lapsed.map(|value| self.number(Some(&value)).map(Timestamp::from_millis)).transpose()?;
        Ok(Some(Sent {
            record,
            receipts: self.receipts(notice_id)?,
            lapsed_at,
            deadline_passed: self.db.contains_key(keys::of_notice(keys::PASSED, notice_id))?,
            answered: self.answered(notice_id)?,
        }))
    }

    fn answered(&self, notice_id: &NoticeId) -> Result<Vec<AgencyId>, StoreError> {
        let place = keys::of_notice(keys::ANSWERED, notice_id);
        let mut agencies = Vec::new();
        for key in self.db.scan_prefix(&place).keys() {
            let key = key?;
            let name = String::from_utf8_lossy(key.get(place.len()..).unwrap_or_default()).into_owned();
            agencies.push(name.parse().map_err(|error| self.unreadable(error))?);
        }
        Ok(agencies)
    }

    /// The newest notices of ours, newest first, at most `count_max`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sent_records(&self, count_max: usize) -> Result<Vec<SentRecord>, StoreError> {
        let newest = self.db.scan_prefix([keys::SENT]).rev().take(count_max);
        newest.map(|item| self.parse(&item?.1)).collect()
    }

    /// Receipts that we gave or got about a notice, by time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn receipts(&self, notice_id: &NoticeId) -> Result<Vec<SignedReceipt>, StoreError> {
        let mut receipts = Vec::new();
        for item in self.db.scan_prefix(keys::of_notice(keys::RECEIPT, notice_id)) {
            let (_, value) = item?;
            let receipt = SignedReceipt::decode(Bytes::copy_from_slice(&value));
            receipts.push(receipt.map_err(|error| self.wire(&error))?);
        }
        receipts.sort_by_key(|receipt| (receipt.receipt().at, receipt.receipt().kind));
        Ok(receipts)
    }

    /// The newest received notices, newest first, at most `count_max`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn inbox(&self, count_max: usize) -> Result<Vec<Inbox>, StoreError> {
        let mut notices = Vec::new();
        for item in self.db.scan_prefix([keys::RECEIVED]).rev().take(count_max) {
            let record: ReceivedRecord = self.parse(&item?.1)?;
            let read = self.read_record(&record.notice_id)?;
            notices.push(Inbox { record, read });
        }
        Ok(notices)
    }

    /// A received notice.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn received(&self, notice_id: &NoticeId) -> Result<Option<Inbox>, StoreError> {
        let record: Option<ReceivedRecord> = self.get(&keys::of_notice(keys::RECEIVED, notice_id))?;
        let Some(record) = record else { return Ok(None) };
        Ok(Some(Inbox { read: self.read_record(notice_id)?, record }))
    }

    /// Who was shown a notice first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read_record(&self, notice_id: &NoticeId) -> Result<Option<ReadRecord>, StoreError> {
        self.get(&keys::of_notice(keys::READ, notice_id))
    }

    /// An envelope as it was delivered, or as it was sent from here. Its signature is to be verified again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn envelope(&self, notice_id: &NoticeId) -> Result<Option<Envelope>, StoreError> {
        let delivered = self.chunks(&keys::of_notice(keys::DELIVERED, notice_id))?;
        let bytes = match delivered {
            Some(bytes) => Some(Bytes::from(bytes)),
            None => self.outgoing_bytes(notice_id)?,
        };
        let Some(bytes) = bytes else { return Ok(None) };
        Envelope::decode(bytes, &Limits::DEFAULT).map(Some).map_err(|error| self.wire(&error))
    }

    /// The encoded directory of a version that a notice was verified under.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn directory(&self, version: u64) -> Result<Option<Bytes>, StoreError> {
        Ok(self.chunks(&keys::of_directory(version))?.map(Bytes::from))
    }

    /// What was set aside, newest first, at most `count_max`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn asides(&self, count_max: usize) -> Result<Vec<AsideRecord>, StoreError> {
        let newest = self.db.scan_prefix([keys::ASIDE]).rev().take(count_max);
        newest.map(|item| self.parse(&item?.1)).collect()
    }

    fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.db.get(key)?.map(|value| self.parse(&value)).transpose()
    }

    fn parse<T: DeserializeOwned>(&self, value: &[u8]) -> Result<T, StoreError> {
        serde_json::from_slice(value).map_err(|error| self.unreadable(error))
    }

    fn number(&self, bytes: Option<&[u8]>) -> Result<u64, StoreError> {
        let bytes = bytes.and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
        bytes.map(u64::from_be_bytes).ok_or_else(|| self.unreadable("a number"))
    }

    fn notice_id(&self, bytes: Option<&[u8]>) -> Result<NoticeId, StoreError> {
        NoticeId::from_bytes(bytes.unwrap_or_default()).map_err(|error| self.unreadable(error))
    }

    fn chunks(&self, place: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut whole = None;
        for value in self.db.scan_prefix(place).values() {
            whole.get_or_insert_with(Vec::new).extend_from_slice(&value?);
        }
        Ok(whole)
    }
}
