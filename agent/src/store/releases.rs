//! What notices of ours were made from, and releases that wait for a second officer: both encrypted, for they tell of
//! notices that may be classified higher than those who see the store's files.

use sled::Batch;
use valise_proto::id::NoticeId;
use zeroize::Zeroizing;

use super::write::chunks;
use super::{Store, StoreError, keys};

/// What is kept encrypted under a notice's id.
pub type Secret = (NoticeId, Zeroizing<Vec<u8>>);

impl Store {
    /// What a notice of ours was made from, where it was made from another.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn origin(&self, notice_id: &NoticeId) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        self.secret(&keys::of_notice(keys::ORIGIN, notice_id))
    }

    /// The notices of ours that were made from others, each with what it was made from, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn origins(&self) -> Result<Vec<Secret>, StoreError> {
        self.secrets(keys::ORIGIN)
    }

    /// Keeps a release that waits for a second officer, on stable storage.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_order(&self, id: &NoticeId, order: &[u8]) -> Result<(), StoreError> {
        let place = keys::of_notice(keys::ORDER, id);
        let mut batch = Batch::default();
        chunks(&mut batch, &place, &self.key.encrypt(&place, order)?);
        self.db.apply_batch(batch)?;
        self.make_durable()
    }

    /// A release that waits.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn order(&self, id: &NoticeId) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        self.secret(&keys::of_notice(keys::ORDER, id))
    }

    /// The releases that wait, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn orders(&self) -> Result<Vec<Secret>, StoreError> {
        self.secrets(keys::ORDER)
    }

    /// Takes a release that waits off, on stable storage; whether it was there. Of several who take it, one is told so.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn take_order(&self, id: &NoticeId) -> Result<bool, StoreError> {
        let place = keys::of_notice(keys::ORDER, id);
        let taken = self.db.remove(keys::of_piece(&place, 0))?.is_some();
        for key in self.db.scan_prefix(&place).keys() {
            self.db.remove(key?)?;
        }
        self.make_durable()?;
        Ok(taken)
    }

    pub(super) fn secret(&self, place: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let Some(encrypted) = self.chunks(place)? else { return Ok(None) };
        Ok(Some(self.key.decrypt(place, &encrypted)?))
    }

    pub(super) fn secrets(&self, kind: u8) -> Result<Vec<Secret>, StoreError> {
        let mut secrets = Vec::new();
        for key in self.db.scan_prefix([kind]).keys() {
            let key = key?;
            let Some((bytes, [0, 0])) = key.get(1..).and_then(|rest| rest.split_last_chunk::<2>()) else {
                continue;
            };
            let id = NoticeId::from_bytes(bytes).map_err(|error| self.unreadable(error))?;
            secrets.extend(self.secret(&keys::of_notice(kind, &id))?.map(|secret| (id, secret)));
        }
        Ok(secrets)
    }
}
