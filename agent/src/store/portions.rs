//! Received portions whose sealing key is to be destroyed, and the newest directory and revocation lists ever held.
//!
//! Received notices are kept sealed, as they were delivered. Before a former sealing key is destroyed, what it opened
//! is kept encrypted with the vault's store key instead: an officer can still read what arrived, while whoever recorded
//! the envelope on its way can do nothing with the keys that are left here. What is kept is each portion's disclosure,
//! so that it is checked against the signed header again whenever it is shown.

use sled::Batch;
use valise_proto::directory::Directory;
use valise_proto::envelope::{OpenedPortion, PortionIndex};
use valise_proto::id::{KeyId, NoticeId};
use valise_transport::Revocation;
use zeroize::Zeroizing;

use super::records::{HighestDirectory, HighestList, ReceivedRecord};
use super::write::chunks;
use super::{Store, StoreError, keys};

/// A portion's place, and its disclosure.
pub type KeptPortion = (PortionIndex, Zeroizing<Vec<u8>>);

impl Store {
    /// Received notices that are sealed to this key and not kept otherwise.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sealed_to(&self, key_id: KeyId) -> Result<Vec<NoticeId>, StoreError> {
        let mut found = Vec::new();
        for item in self.db.scan_prefix([keys::RECEIVED]) {
            let (key, first) = item?;
            if key.len() != keys::OF_NOTICE_BYTES {
                continue;
            }
            let record: ReceivedRecord = self.parse(&self.whole(&key, first.to_vec())?)?;
            let Some(envelope) = self.envelope(&record.notice_id)? else { continue };
            let sealed = envelope.wraps().iter().any(|wrap| wrap.sealing_key_id == key_id);
            if sealed && self.kept_portions(&record.notice_id)?.is_none() {
                found.push(record.notice_id);
            }
        }
        Ok(found)
    }

    /// Keeps what was opened of a received notice, encrypted and on stable storage.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_portions(&self, notice_id: &NoticeId, opened: &[OpenedPortion]) -> Result<(), StoreError> {
        let mut plain = Zeroizing::new(Vec::new());
        // Room for all of it at once: a buffer that grew would leave copies behind.
        plain.reserve_exact(opened.iter().map(|portion| portion.disclosure().len().saturating_add(8)).sum());
        for portion in opened {
            let disclosure = portion.disclosure();
            let numbers = [portion.index.get(), disclosure.len()];
            numbers.map(|number| u32::try_from(number).unwrap_or(u32::MAX)).iter().for_each(|number| {
                plain.extend_from_slice(&number.to_be_bytes());
            });
            plain.extend_from_slice(disclosure);
        }
        let place = keys::of_notice(keys::PORTIONS, notice_id);
        // A purge deletes what is kept here, on another thread; what it has deleted does not come back.
        let _alone = self.chain();
        if let Some(held) = self.received(notice_id)?
            && self.purged(notice_id, &held.record.originator)?.is_some()
        {
            return Ok(());
        }
        let mut batch = Batch::default();
        chunks(&mut batch, &place, &self.key.encrypt(&place, &plain)?);
        self.db.apply_batch(batch)?;
        self.make_durable()
    }

    /// What was kept of a received notice by [`Store::keep_portions`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn kept_portions(&self, notice_id: &NoticeId) -> Result<Option<Vec<KeptPortion>>, StoreError> {
        let place = keys::of_notice(keys::PORTIONS, notice_id);
        let Some(encrypted) = self.chunks(&place)? else { return Ok(None) };
        let plain = self.key.decrypt(&place, &encrypted)?;
        let (mut rest, mut portions) = (plain.as_slice(), Vec::new());
        while !rest.is_empty() {
            portions.push(take_portion(&mut rest).ok_or_else(|| self.unreadable("kept portions"))?);
        }
        Ok(Some(portions))
    }

    /// Remembers a directory as the newest ever held, if it is, on stable storage.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_directory(&self, directory: &Directory) -> Result<(), StoreError> {
        let highest = HighestDirectory::of(directory);
        let held = self.highest_directory()?;
        if held.as_ref().is_some_and(|held| *held == highest || !held.allows(directory)) {
            return Ok(());
        }
        let value = serde_json::to_vec(&highest).map_err(|error| self.unreadable(error))?;
        self.db.insert([keys::HIGHEST], value)?;
        self.make_durable()
    }

    /// The newest directory ever held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn highest_directory(&self) -> Result<Option<HighestDirectory>, StoreError> {
        self.get(&[keys::HIGHEST])
    }

    /// Remembers those of these lists that are the newest ever held of their issuers, on stable storage.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_lists(&self, lists: &[Revocation]) -> Result<(), StoreError> {
        let before = self.highest_lists()?;
        let mut highest = before.clone();
        for list in lists {
            if before.iter().all(|held| held.allows(list)) {
                let newest = HighestList::of(list);
                highest.retain(|held| held.issuer != newest.issuer);
                highest.push(newest);
            }
        }
        highest.sort_by(|one, other| one.issuer.cmp(&other.issuer));
        if highest == before {
            return Ok(());
        }
        let value = serde_json::to_vec(&highest).map_err(|error| self.unreadable(error))?;
        self.db.insert([keys::HIGHEST_LISTS], value)?;
        self.make_durable()
    }

    /// The newest revocation list ever held of each issuer, by issuer.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn highest_lists(&self) -> Result<Vec<HighestList>, StoreError> {
        Ok(self.get(&[keys::HIGHEST_LISTS])?.unwrap_or_default())
    }
}

fn take_portion(rest: &mut &[u8]) -> Option<KeptPortion> {
    let mut number = || {
        let (bytes, after) = rest.split_first_chunk()?;
        *rest = after;
        usize::try_from(u32::from_be_bytes(*bytes)).ok()
    };
    let (index, len) = (PortionIndex::new(number()?)?, number()?);
    let (disclosure, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some((index, Zeroizing::new(disclosure.to_vec())))
}
