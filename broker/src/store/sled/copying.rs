//! Copying a store while it is written to.
//!
//! Claimed: whoever puts every [`Step`] of a copy into an empty store, in order, has the store as it was between two
//! batches that were applied one after the other, the last of which was applied after the copy began. It holds because
//! the copy begins and ends on the thread that applies batches, while none is being applied; because every key that a
//! batch touches in between is noted after it was applied, and is copied again after that; and because of a key that is
//! copied twice the later value counts.
//!
//! Memory is bounded: what was touched is copied again in between ([`TOUCHED_MAX`] keys at most), and the end holds up
//! the writer only for what was touched since.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::StoreError;
use super::{Lease, failed};

/// Most keys that are remembered to be copied again; a copy that falls further behind is given up.
const TOUCHED_MAX: usize = 1 << 20;
/// Keys of one step of the walk.
const STEP_KEYS: usize = 1024;
/// So few keys may be copied while the writer waits.
const LAST_KEYS: usize = 2048;
/// How often it is tried to come so close to the writer.
const ROUNDS_MAX: usize = 64;

/// A key, and its value; `None` where it was removed after it was copied.
pub type Step = (Vec<u8>, Option<Vec<u8>>);

/// The keys that were touched since they were last copied; `None` while nobody copies.
#[derive(Clone, Debug, Default)]
pub(super) struct Touched(Arc<Mutex<Option<BTreeSet<Vec<u8>>>>>);

impl Touched {
    fn lock(&self) -> MutexGuard<'_, Option<BTreeSet<Vec<u8>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the keys of a batch that was applied.
    pub(super) fn note(&self, keys: Vec<Vec<u8>>) {
        let mut touched = self.lock();
        if let Some(set) = touched.as_mut() {
            set.extend(keys);
            // The copy finds that it was given up.
            if set.len() > TOUCHED_MAX {
                *touched = None;
            }
        }
    }
}

/// A copy under way. Dropping it gives it up.
#[derive(Debug)]
pub struct Copying {
    db: sled::Db,
    touched: Touched,
    /// The last key of the walk; `None` before the first.
    after: Option<Vec<u8>>,
    walked: bool,
    rounds: usize,
    _lease: Lease,
}

impl Copying {
    /// Begins a copy: to be called while no batch is being applied. `None` where another is under way.
    pub(super) fn begin(db: sled::Db, touched: Touched, lease: Lease) -> Option<Self> {
        let mut noted = touched.lock();
        if noted.is_some() {
            return None;
        }
        *noted = Some(BTreeSet::new());
        drop(noted);
        Some(Self { db, touched, after: None, walked: false, rounds: 0, _lease: lease })
    }

    /// The next part. An empty one says that all is copied but for [`Copying::finish`].
    ///
    /// # Errors
    /// [`StoreError`]; the copy cannot be completed.
    pub fn step(&mut self) -> Result<Vec<Step>, StoreError> {
        if !self.walked {
            let mut steps = self.walk()?;
            self.walked = steps.is_empty();
            steps.extend(self.again()?);
            if !self.walked || !steps.is_empty() {
                return Ok(steps);
            }
        }
        let close = self.touched.lock().as_ref().is_none_or(|keys| keys.len() <= LAST_KEYS);
        self.rounds += 1;
        if close || self.rounds > ROUNDS_MAX { Ok(Vec::new()) } else { self.again() }
    }

    /// The last part: to be called while no batch is being applied.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn finish(self) -> Result<Vec<Step>, StoreError> {
        self.again()
    }

    fn walk(&mut self) -> Result<Vec<Step>, StoreError> {
        let start = self.after.take().map_or(Bound::Unbounded, Bound::Excluded);
        let mut steps = Vec::new();
        for entry in self.db.range::<Vec<u8>, _>((start, Bound::Unbounded)).take(STEP_KEYS) {
            let (key, value) = entry.map_err(failed)?;
            steps.push((key.to_vec(), Some(value.to_vec())));
        }
        self.after = steps.last().map(|(key, _)| key.clone());
        Ok(steps)
    }

    /// What was touched, as it is now.
    fn again(&self) -> Result<Vec<Step>, StoreError> {
        let keys = self.touched.lock().as_mut().map(std::mem::take);
        let Some(keys) = keys else {
            return Err(StoreError::Failed(format!(
                "while it was copied more than {TOUCHED_MAX} records changed; copy it again to a faster place, or at a quieter time"
            )));
        };
        let read = |key: Vec<u8>| {
            let value = self.db.get(&key).map_err(failed)?;
            Ok((key, value.map(|value| value.to_vec())))
        };
        keys.into_iter().map(read).collect()
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        *self.touched.lock() = None;
    }
}
