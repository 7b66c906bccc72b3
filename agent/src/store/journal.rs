//! The access journal's chain.
//!
//! Entry n lies under `j<n>` as `hash(n) || ciphertext(n)`, where `hash(n) = SHA-256(context || n || hash(n-1) ||
//! ciphertext(n))` and the ciphertext is bound to its place and to `hash(n-1)`. `J` holds the number of entries and the
//! last hash, encrypted: entries cut off the end are missed by it, unless an older `J` was put back as well, which
//! only a head that was noted elsewhere shows.

use std::sync::{MutexGuard, PoisonError};

use sled::Batch;
use thiserror::Error;
use valise_proto::crypto::sha256;
use valise_proto::id::Digest;

use super::{Store, StoreError, keys};
use crate::core::Change;
use crate::journal::{Entry, Query, Written};
use crate::officers::register::Register;

const CONTEXT: &[u8] = b"valise-agent/journal/1";
const DIGEST_BYTES: usize = 32;

/// How many entries there are, and the hash of the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// How many.
    pub entries: u64,
    /// The hash of the last; zeros where there is none.
    pub hash: Digest,
}

impl Head {
    pub(super) fn empty() -> Self {
        Self { entries: 0, hash: Digest::new([0; DIGEST_BYTES]) }
    }

    fn encode(self) -> Vec<u8> {
        [self.entries.to_be_bytes().as_slice(), self.hash.as_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (entries, hash) = bytes.split_first_chunk()?;
        Some(Self { entries: u64::from_be_bytes(*entries), hash: Digest::new(hash.try_into().ok()?) })
    }
}

/// The journal is not as it was written.
#[derive(Debug, Error)]
pub enum Broken {
    /// An entry.
    #[error(
        "entry {seq} of the access journal {problem}: somebody changed, removed or moved entries; keep the folder as it is, and compare with a backup"
    )]
    Entry {
        /// Its number.
        seq: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// The end.
    #[error(
        "the access journal has {found} entries and its head speaks of {told}: entries were cut off or added; keep the folder as it is, and compare with a backup"
    )]
    End {
        /// How many there are.
        found: u64,
        /// How many there should be.
        told: u64,
    },
    /// What was noted is not there.
    #[error(
        "no entry of the access journal has the hash {0}: entries up to that one were cut off or rewritten since it was noted; keep the folder as it is, and compare with a backup"
    )]
    Noted(Digest),
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl From<sled::Error> for Broken {
    fn from(error: sled::Error) -> Self {
        Self::Store(error.into())
    }
}

fn link(seq: u64, before: &Digest, ciphertext: &[u8]) -> Digest {
    sha256(&[CONTEXT, &seq.to_be_bytes(), before.as_bytes(), ciphertext])
}

fn place(seq: u64, before: &Digest) -> Vec<u8> {
    keys::join(keys::JOURNAL, &[&seq.to_be_bytes(), before.as_bytes()])
}

impl Store {
    /// The officers' accounts; none where there never was one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn officers(&self) -> Result<Option<Register>, StoreError> {
        let place = [keys::OFFICERS];
        let Some(encrypted) = self.chunks(&place)? else { return Ok(None) };
        self.parse(&self.key.decrypt(&place, &encrypted)?).map(Some)
    }

    /// How far the journal goes.
    #[must_use]
    pub fn journal_head(&self) -> Head {
        *self.chain()
    }

    /// Held while a batch is made and applied, so that entries are chained in the order in which they are written.
    pub(super) fn chain(&self) -> MutexGuard<'_, Head> {
        // Nothing panics while it holds the lock, so a poisoned one holds a whole value all the same.
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The head that was kept, which must be that of the last entry: what is then written would hide what is amiss.
    pub(super) fn open_journal(&self) -> Result<(), StoreError> {
        let kept = match self.db.get([keys::JOURNAL_HEAD])? {
            Some(kept) => Head::decode(&self.key.decrypt(&[keys::JOURNAL_HEAD], &kept)?),
            None => Some(Head::empty()),
        };
        let kept = kept.ok_or_else(|| self.unreadable("the access journal's head"))?;
        let last = self.db.scan_prefix([keys::JOURNAL]).next_back().transpose()?;
        let last = match &last {
            None => Some(Head::empty()),
            Some((key, value)) => seq_of(key)
                .zip(split(value))
                .map(|(seq, (hash, _))| Head { entries: seq.saturating_add(1), hash }),
        };
        if last != Some(kept) {
            return Err(self.unreadable(
                "the access journal does not end where its head says; entries were cut off or added",
            ));
        }
        *self.chain() = kept;
        Ok(())
    }

    /// Chains `change`, where it is an entry, to those before it.
    pub(super) fn chain_on(
        &self,
        batch: &mut Batch,
        head: &mut Head,
        change: &Change,
    ) -> Result<(), StoreError> {
        let Change::Journal(entry) = change else { return Ok(()) };
        let json = serde_json::to_vec(entry).map_err(|error| self.unreadable(error))?;
        let seq = head.entries;
        let ciphertext = self.key.encrypt(&place(seq, &head.hash), &json)?;
        let hash = link(seq, &head.hash, &ciphertext);
        *head = Head { entries: seq.saturating_add(1), hash };
        batch.insert(keys::of_entry(seq), [hash.as_bytes().as_slice(), &ciphertext].concat());
        batch.insert(&[keys::JOURNAL_HEAD], self.key.encrypt(&[keys::JOURNAL_HEAD], &head.encode())?);
        Ok(())
    }

    /// The newest entries that `query` takes, newest first, at most `count_max`.
    ///
    /// # Errors
    /// [`StoreError`], also where an entry was changed.
    pub fn journal(&self, query: &Query, count_max: usize) -> Result<Vec<Written>, StoreError> {
        let mut found = Vec::new();
        let mut head = self.journal_head();
        while head.entries > 0 && found.len() < count_max {
            let seq = head.entries.saturating_sub(1);
            let before = match seq.checked_sub(1) {
                None => Head::empty().hash,
                Some(previous) => self.stored(previous)?.map_or(Head::empty().hash, |(hash, _)| hash),
            };
            let stored = self.stored(seq)?;
            let (_, ciphertext) = stored.ok_or_else(|| self.unreadable("an entry of the access journal"))?;
            let entry = self.entry(seq, &before, &ciphertext)?;
            if query.takes(&entry) {
                found.push(Written { seq, entry });
            }
            head.entries = seq;
        }
        Ok(found)
    }

    /// Goes through the whole journal; `noted` is the hash of an entry that was noted elsewhere.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn verify_journal(&self, noted: Option<&Digest>) -> Result<Head, Broken> {
        let end = self.journal_head();
        let (mut head, mut met) = (Head::empty(), noted.is_none_or(|noted| *noted == Head::empty().hash));
        for item in self.db.scan_prefix([keys::JOURNAL]) {
            let (key, value) = item?;
            if head.entries == end.entries && seq_of(&key).is_some_and(|seq| seq >= end.entries) {
                // Written since the look began.
                break;
            }
            let seq = head.entries;
            let amiss = |problem| Broken::Entry { seq, problem };
            if seq_of(&key) != Some(seq) {
                return Err(amiss("is missing"));
            }
            let (hash, ciphertext) = split(&value).ok_or_else(|| amiss("is too short"))?;
            if link(seq, &head.hash, ciphertext) != hash {
                return Err(amiss("does not follow from those before it"));
            }
            self.entry(seq, &head.hash, ciphertext).map_err(|_| amiss("does not decrypt"))?;
            head = Head { entries: seq.saturating_add(1), hash };
            met = met || noted == Some(&hash);
        }
        if head != end {
            return Err(Broken::End { found: head.entries, told: end.entries });
        }
        match noted {
            Some(noted) if !met => Err(Broken::Noted(*noted)),
            Some(_) | None => Ok(head),
        }
    }

    fn stored(&self, seq: u64) -> Result<Option<(Digest, Vec<u8>)>, StoreError> {
        let value = self.db.get(keys::of_entry(seq))?;
        Ok(value.and_then(|value| split(&value).map(|(hash, rest)| (hash, rest.to_vec()))))
    }

    fn entry(&self, seq: u64, before: &Digest, ciphertext: &[u8]) -> Result<Entry, StoreError> {
        self.parse(&self.key.decrypt(&place(seq, before), ciphertext)?)
    }
}

fn split(value: &[u8]) -> Option<(Digest, &[u8])> {
    let (hash, rest) = value.split_first_chunk::<DIGEST_BYTES>()?;
    Some((Digest::new(*hash), rest))
}

fn seq_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(1..)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use valise_proto::id::Timestamp;

    use super::*;
    use crate::clock::randomness;
    use crate::journal::Deed;
    use crate::vault::StoreKey;

    fn entry(number: u64) -> Change {
        let at = Timestamp::from_millis(number);
        let entry = Entry::new(at, "Officer A. Example", Deed::Open).because(Some("\"\\ case \u{1}12"));
        Change::Journal(Box::new(entry.saying("\"".repeat(5000))))
    }

    fn filled() -> (tempfile::TempDir, StoreKey, Store) {
        let temp = tempfile::tempdir().unwrap();
        let key = StoreKey::generate(&mut randomness());
        let store = Store::open(&temp.path().join("store"), key.clone()).unwrap();
        store.apply(&[entry(0), entry(1)]).unwrap();
        store.apply(&[entry(2)]).unwrap();
        (temp, key, store)
    }

    /// Opens the store again. sled lets its file go a moment after the last handle is dropped.
    fn reopened(temp: &tempfile::TempDir, key: &StoreKey) -> Result<Store, StoreError> {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            match Store::open(&temp.path().join("store"), key.clone()) {
                Err(StoreError::Engine(error))
                    if error.to_string().contains("acquire lock") && std::time::Instant::now() < deadline =>
                {
                    std::thread::yield_now();
                }
                opened => return opened,
            }
        }
    }

    #[test]
    fn g09_entries_are_kept_in_order_and_found_again() {
        let (temp, key, store) = filled();
        let head = store.verify_journal(None).unwrap();
        assert_eq!(head.entries, 3);
        drop(store);
        let store = reopened(&temp, &key).unwrap();
        assert_eq!(store.verify_journal(Some(&head.hash)).unwrap(), head);
        store.apply(&[entry(3)]).unwrap();
        store.verify_journal(Some(&head.hash)).unwrap();
        let all = store.journal(&Query::default(), 10).unwrap();
        assert_eq!(all.iter().map(|written| written.seq).collect::<Vec<_>>(), [3, 2, 1, 0]);
        assert_eq!(all[0].entry.reason.as_deref(), Some("\"\\ case  12"));
        let since = Query { since: Some(Timestamp::from_millis(2)), ..Query::default() };
        assert_eq!(store.journal(&since, 10).unwrap().len(), 2);
        let nobody = Query { officer: Some("Officer B. Example".to_owned()), ..Query::default() };
        assert!(store.journal(&nobody, 10).unwrap().is_empty());
    }

    #[test]
    fn g09_no_byte_of_the_journal_can_be_changed_unnoticed() {
        let (_temp, _key, store) = filled();
        for seq in 0..3 {
            let key = keys::of_entry(seq);
            let good = store.db.get(&key).unwrap().unwrap();
            for place in 0..good.len() {
                let mut bad = good.to_vec();
                bad[place] ^= 1;
                store.db.insert(&key, bad).unwrap();
                assert!(store.verify_journal(None).is_err(), "byte {place} of entry {seq}");
            }
            store.db.insert(&key, good).unwrap();
        }
        store.verify_journal(None).unwrap();
    }

    #[test]
    fn g09_entries_removed_moved_or_cut_off_are_missed() {
        let (temp, key, store) = filled();
        let noted = store.journal_head();
        let [first, second, third] = [0, 1, 2].map(|seq| store.db.get(keys::of_entry(seq)).unwrap().unwrap());
        store.db.remove(keys::of_entry(1)).unwrap();
        assert!(matches!(store.verify_journal(None), Err(Broken::Entry { seq: 1, .. })));
        store.db.insert(keys::of_entry(1), &first).unwrap();
        store.db.insert(keys::of_entry(0), &second).unwrap();
        assert!(matches!(store.verify_journal(None), Err(Broken::Entry { seq: 0, .. })));
        store.db.insert(keys::of_entry(0), &first).unwrap();
        store.db.insert(keys::of_entry(1), &second).unwrap();
        store.db.remove(keys::of_entry(2)).unwrap();
        assert!(matches!(store.verify_journal(None), Err(Broken::End { found: 2, told: 3 })));
        store.db.flush().unwrap();
        drop(store);
        let opened = reopened(&temp, &key);
        let refused = opened.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains("access journal"), "{refused}");
        assert!(!third.is_empty());
        // An older state put back whole is consistent; whoever noted a later head finds out.
        let other = tempfile::tempdir().unwrap();
        let older = Store::open(&other.path().join("store"), key).unwrap();
        older.apply(&[entry(0), entry(1)]).unwrap();
        assert!(older.verify_journal(None).is_ok());
        assert!(matches!(older.verify_journal(Some(&noted.hash)), Err(Broken::Noted(_))));
    }
}
