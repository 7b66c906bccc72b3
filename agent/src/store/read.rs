//! Reading what the store holds.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use valise_proto::envelope::Envelope;
use valise_proto::id::{AgencyId, Digest, NoticeId, Timestamp};
use valise_proto::receipt::{ReceiptKind, SignedReceipt};
use valise_proto::wire::limits::Limits;
use zeroize::Zeroizing;

use super::records::{
    AsideRecord, OutboxRecord, PurgedRecord, ReadRecord, ReceivedRecord, SeenRecord, SentRecord, UnsentRecord,
};
use super::write::CHUNK_BYTES;
use super::{Store, StoreError, keys};
use crate::compose::preview::Preview;
use crate::core::{Memory, OutboxSeq, Seen, SentFacts};

/// A notice of ours and what became of it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// What its header tells.
    pub record: SentRecord,
    /// Receipts about it, by time.
    pub receipts: Vec<SignedReceipt>,
    /// When it lapsed in the outbox, if it did.
    pub lapsed_at: Option<Timestamp>,
    /// Why it was never submitted, if it was not.
    pub unsent: Option<UnsentRecord>,
    /// Whether the time for answers is over.
    pub deadline_passed: bool,
    /// Who answered.
    pub answered: Vec<AgencyId>,
}

/// What is kept under a notice's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A received notice, whose header has this digest.
    Received(Digest),
    /// An envelope of ours.
    Sent,
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
        self.remember_due(&mut memory)?;
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

    /// What is kept under a notice's id, received or sent: it outlives [`Store::has_seen`], which forgets.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn kept(&self, notice_id: &NoticeId) -> Result<Option<Kept>, StoreError> {
        let received: Option<ReceivedRecord> = self.get(&keys::of_notice(keys::RECEIVED, notice_id))?;
        if let Some(received) = received {
            return Ok(Some(Kept::Received(received.header_digest)));
        }
        // Of a RECEIPT of ours there is no record, but its envelope, for as long as it is in the outbox.
        let envelope = keys::of_piece(&keys::of_notice(keys::ENVELOPE, notice_id), 0);
        Ok(self.db.contains_key(envelope)?.then_some(Kept::Sent))
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

    /// Who can read what of a notice of ours, and why, as it was when it was sent; none where the draft is gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn table(&self, notice_id: &NoticeId) -> Result<Option<Preview>, StoreError> {
        let table = self.secret(&keys::of_notice(keys::TABLE, notice_id))?;
        table.map(|json| self.parse(&json)).transpose()
    }

    /// What is known of a notice of ours, without its receipts.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sent_record(&self, notice_id: &NoticeId) -> Result<Option<SentRecord>, StoreError> {
        self.get(&keys::of_notice(keys::SENT, notice_id))
    }

    /// What receipts about a notice of ours are checked against.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sent_facts(&self, notice_id: &NoticeId) -> Result<Option<SentFacts>, StoreError> {
        let Some(record) = self.sent_record(notice_id)? else { return Ok(None) };
        let receipts = self.receipts(notice_id)?;
        let accepted = receipts.iter().find(|signed| signed.receipt().kind == ReceiptKind::Accepted);
        Ok(Some(record.facts(accepted.map(|signed| signed.receipt().issuer.clone()))))
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
            unsent: self.get(&keys::of_notice(keys::UNSENT, notice_id))?,
            deadline_passed: self.is_passed(notice_id)?,
            answered: self.answered(notice_id)?,
        }))
    }

    /// Who answered a notice; of a received one, this agency itself where it did.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn answered(&self, notice_id: &NoticeId) -> Result<Vec<AgencyId>, StoreError> {
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
        self.newest(keys::SENT, keys::OF_NOTICE_BYTES, count_max)
    }

    /// Receipts that we gave or got about a notice, by time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn receipts(&self, notice_id: &NoticeId) -> Result<Vec<SignedReceipt>, StoreError> {
        let mut receipts = Vec::new();
        for item in self.db.scan_prefix(keys::of_notice(keys::RECEIPT, notice_id)) {
            let (key, first) = item?;
            if key.len() != keys::OF_RECEIPT_BYTES {
                continue;
            }
            let receipt = SignedReceipt::decode(self.whole(&key, first.to_vec())?.into());
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
        let newest: Vec<ReceivedRecord> = self.newest(keys::RECEIVED, keys::OF_NOTICE_BYTES, count_max)?;
        for record in newest {
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

    /// That this agency's notice counts no more, where it was corrected or withdrawn.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn purged(
        &self,
        notice_id: &NoticeId,
        originator: &AgencyId,
    ) -> Result<Option<PurgedRecord>, StoreError> {
        self.get(&keys::of_purged(notice_id, originator))
    }

    /// The notice of ours that corrects or withdraws this one of ours, and stands: a follow-up that no broker took has
    /// changed nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn followed_by(&self, notice_id: &NoticeId) -> Result<Option<Sent>, StoreError> {
        let Some(by) = self.db.get(keys::of_notice(keys::FOLLOWED, notice_id))? else { return Ok(None) };
        let sent = self.sent(&self.notice_id(Some(&by))?)?;
        let refused =
            |sent: &Sent| sent.receipts.iter().any(|one| one.receipt().kind == ReceiptKind::Refused);
        Ok(sent.filter(|sent| sent.unsent.is_none() && sent.lapsed_at.is_none() && !refused(sent)))
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

    /// What a received CORRECTION changes, as JSON, where that is known.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn differences(&self, notice_id: &NoticeId) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let place = keys::of_notice(keys::DIFFERENCES, notice_id);
        let Some(encrypted) = self.chunks(&place)? else { return Ok(None) };
        Ok(Some(self.key.decrypt(&place, &encrypted)?))
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
        self.newest(keys::ASIDE, keys::OF_ASIDE_BYTES, count_max)
    }

    pub(super) fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        let Some(first) = self.db.get(key)? else { return Ok(None) };
        self.parse(&self.whole(key, first.to_vec())?).map(Some)
    }

    /// The last records of a kind, whose keys have `key_len` bytes; keys of further pieces are longer.
    fn newest<T: DeserializeOwned>(
        &self,
        kind: u8,
        key_len: usize,
        count_max: usize,
    ) -> Result<Vec<T>, StoreError> {
        let mut records = Vec::new();
        for item in self.db.scan_prefix([kind]).rev() {
            if records.len() >= count_max {
                break;
            }
            let (key, first) = item?;
            if key.len() == key_len {
                records.push(self.parse(&self.whole(&key, first.to_vec())?)?);
            }
        }
        Ok(records)
    }

    /// A record of which the first piece is known.
    pub(super) fn whole(&self, key: &[u8], first: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let (mut last_len, mut whole) = (first.len(), first);
        for number in 1_u16.. {
            if last_len < CHUNK_BYTES {
                break;
            }
            let Some(piece) = self.db.get(keys::of_piece(key, number))? else { break };
            last_len = piece.len();
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    pub(super) fn parse<T: DeserializeOwned>(&self, value: &[u8]) -> Result<T, StoreError> {
        serde_json::from_slice(value).map_err(|error| self.unreadable(error))
    }

    fn number(&self, bytes: Option<&[u8]>) -> Result<u64, StoreError> {
        let bytes = bytes.and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
        bytes.map(u64::from_be_bytes).ok_or_else(|| self.unreadable("a number"))
    }

    fn notice_id(&self, bytes: Option<&[u8]>) -> Result<NoticeId, StoreError> {
        NoticeId::from_bytes(bytes.unwrap_or_default()).map_err(|error| self.unreadable(error))
    }

    pub(super) fn chunks(&self, place: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut whole = None;
        for value in self.db.scan_prefix(place).values() {
            whole.get_or_insert_with(Vec::new).extend_from_slice(&value?);
        }
        Ok(whole)
    }
}
