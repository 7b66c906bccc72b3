//! What is due by the clock, as it lies in the store.

use sled::Batch;
use valise_proto::id::{NoticeId, Timestamp};

use super::write::{chunks, time};
use super::{Store, StoreError, keys};
use crate::core::{Alarm, Memory, Review, Side, Stage};

/// The length of a time, in bytes.
const TIME_BYTES: usize = 8;
/// The bytes of an id.
const ID_BYTES: usize = 16;

/// Writes what follows from a notice that was queued or received.
pub(super) fn due(batch: &mut Batch, alarm: Option<Alarm>, review: Option<Review>) {
    if let Some(alarm) = alarm {
        batch.insert(keys::of_alarm(&alarm), value(&alarm));
    }
    if let Some(review) = review {
        batch.insert(keys::of_review(&review), &[]);
    }
}

/// An alarm was told.
pub(super) fn rang(batch: &mut Batch, entry: &Alarm, told: Stage, next: Option<&Alarm>) {
    batch.remove(keys::of_alarm(entry));
    if let Some(next) = next {
        batch.insert(keys::of_alarm(next), value(next));
    }
    if told == Stage::Over {
        time(batch, keys::of_notice(keys::PASSED, &entry.notice_id), entry.respond_by);
    }
}

fn value(alarm: &Alarm) -> Vec<u8> {
    let stage = match alarm.stage {
        Stage::Near => b'n',
        Stage::Over => b'o',
    };
    [&[stage], alarm.respond_by.millis().to_be_bytes().as_slice()].concat()
}

impl Store {
    /// Fills in what is due.
    pub(super) fn remember_due(&self, memory: &mut Memory) -> Result<(), StoreError> {
        for item in self.db.scan_prefix([keys::ALARM]) {
            let (key, value) = item?;
            let alarm = self.alarm(key.get(1..).unwrap_or_default(), &value);
            memory.alarms.push(alarm.ok_or_else(|| self.unreadable("an alarm"))?);
        }
        for key in self.db.scan_prefix([keys::REVIEW]).keys() {
            let key = key?;
            let place = self.place(key.get(1..).unwrap_or_default());
            let (review_by, notice_id, side) = place.ok_or_else(|| self.unreadable("a time of deletion"))?;
            memory.reviews.push(Review { review_by, notice_id, side });
        }
        Ok(())
    }

    fn alarm(&self, key: &[u8], value: &[u8]) -> Option<Alarm> {
        let (at, notice_id, side) = self.place(key)?;
        let (stage, respond_by) = value.split_first()?;
        let stage = match stage {
            b'n' => Stage::Near,
            b'o' => Stage::Over,
            _ => return None,
        };
        let respond_by = Timestamp::from_millis(u64::from_be_bytes(respond_by.try_into().ok()?));
        Some(Alarm { at, notice_id, side, stage, respond_by })
    }

    fn place(&self, key: &[u8]) -> Option<(Timestamp, NoticeId, Side)> {
        let (at, rest) = key.split_first_chunk::<TIME_BYTES>()?;
        let (id, side) = rest.split_at_checked(ID_BYTES)?;
        let side = match side {
            b"o" => Side::Originator,
            b"r" => Side::Recipient,
            _ => return None,
        };
        Some((Timestamp::from_millis(u64::from_be_bytes(*at)), NoticeId::from_bytes(id).ok()?, side))
    }

    /// The newest notices, sent or received, to which answers were asked for until a time that is over, newest first, at
    /// most `count_max`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn passed(&self, count_max: usize) -> Result<Vec<NoticeId>, StoreError> {
        let newest = self.db.scan_prefix([keys::PASSED]).keys().rev().take(count_max);
        let id = |key: sled::IVec| NoticeId::from_bytes(key.get(1..).unwrap_or_default());
        newest.map(|key| id(key?).map_err(|error| self.unreadable(error))).collect()
    }

    /// Whether the time for answers to a notice is over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn is_passed(&self, notice_id: &NoticeId) -> Result<bool, StoreError> {
        Ok(self.db.contains_key(keys::of_notice(keys::PASSED, notice_id))?)
    }

    /// When what a notice of ours says was deleted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn erased(&self, notice_id: &NoticeId) -> Result<Option<Timestamp>, StoreError> {
        let at = self.db.get(keys::of_notice(keys::ERASED, notice_id))?;
        let at = at.map(|at| <[u8; TIME_BYTES]>::try_from(at.as_ref()));
        let at = at.transpose().map_err(|_| self.unreadable("a time of deletion"))?;
        Ok(at.map(|at| Timestamp::from_millis(u64::from_be_bytes(at))))
    }

    /// What a notice of ours says goes; that it was sent, to whom, and what became of it stays.
    pub(super) fn erase(
        &self,
        batch: &mut Batch,
        notice_id: &NoticeId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        for kind in [keys::DRAFT, keys::TABLE, keys::ORIGIN] {
            self.remove_chunks(batch, &keys::of_notice(kind, notice_id))?;
        }
        if let Some(envelope) = self.envelope(notice_id)? {
            let place = keys::of_notice(keys::ENVELOPE, notice_id);
            self.remove_chunks(batch, &place)?;
            chunks(batch, &place, &envelope.bare().encode());
        }
        time(batch, keys::of_notice(keys::ERASED, notice_id), at);
        Ok(())
    }
}
