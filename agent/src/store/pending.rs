//! Drafts that wait for a second officer.

use valise_proto::id::NoticeId;
use zeroize::Zeroizing;

use super::{Store, StoreError, keys};
use crate::pending::Pending;

impl Store {
    /// A draft that waits.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pending(&self, id: &NoticeId) -> Result<Option<Pending>, StoreError> {
        let json = self.secret(&keys::of_notice(keys::PENDING, id))?;
        json.map(|json| self.parse(&json)).transpose()
    }

    /// The drafts that wait, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn all_pending(&self) -> Result<Vec<Pending>, StoreError> {
        self.secrets(keys::PENDING)?.iter().map(|(_, json)| self.parse(json)).collect()
    }

    pub(super) fn pend(&self, batch: &mut sled::Batch, pending: &Pending) -> Result<(), StoreError> {
        let json = serde_json::to_vec(pending).map_err(|error| self.unreadable(error))?;
        let place = keys::of_notice(keys::PENDING, &pending.notice_id);
        super::write::chunks(batch, &place, &self.key.encrypt(&place, &Zeroizing::new(json))?);
        Ok(())
    }
}
