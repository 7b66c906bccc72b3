//! Taking over what an earlier version wrote.

use sled::Batch;
use valise_proto::id::{NoticeId, Timestamp};

use super::due::due;
use super::records::ReadRecord;
use super::{FORMAT, Store, StoreError, keys};
use crate::core::{Alarm, Side, Stage, Step, StepKey};

/// The bytes of `t<respond_by><notice>`, which was a deadline of a notice of ours in format 1.
const DEADLINE_BYTES: usize = 1 + 8 + 16;

impl Store {
    /// From format 1: deadlines become alarms, and the first reading of a notice becomes that officer's. All of it or
    /// nothing.
    pub(super) fn take_over_format_1(&self) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for key in self.db.scan_prefix([keys::ALARM]).keys() {
            let key = key?;
            let alarm = deadline(&key).ok_or_else(|| self.unreadable("a deadline"))?;
            batch.remove(key);
            due(&mut batch, Some(alarm), None);
        }
        for item in self.db.scan_prefix([keys::READ]) {
            let (key, first) = item?;
            if key.len() != keys::OF_NOTICE_BYTES {
                continue;
            }
            let id = NoticeId::from_bytes(key.get(1..).unwrap_or_default());
            let id = id.map_err(|error| self.unreadable(error))?;
            let read: ReadRecord = self.parse(&self.whole(&key, first.to_vec())?)?;
            self.record(&mut batch, keys::of_step(&StepKey::new(id, Step::Read, &read.officer)), &read)?;
        }
        batch.insert(keys::FORMAT, &FORMAT.to_be_bytes());
        self.db.apply_batch(batch)?;
        self.make_durable()
    }
}

fn deadline(key: &[u8]) -> Option<Alarm> {
    let rest = key.get(1..).filter(|_| key.len() == DEADLINE_BYTES)?;
    let (at, id) = rest.split_first_chunk()?;
    let (at, notice_id) = (Timestamp::from_millis(u64::from_be_bytes(*at)), NoticeId::from_bytes(id).ok()?);
    Some(Alarm { at, notice_id, side: Side::Originator, stage: Stage::Over, respond_by: at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::randomness;
    use crate::vault::StoreKey;

    #[test]
    fn g04_a_store_of_format_1_is_taken_over_with_its_deadlines_and_readings() {
        let temp = tempfile::tempdir().unwrap();
        let key = StoreKey::generate(&mut randomness());
        let path = temp.path().join("store");
        let id = NoticeId::new(Timestamp::from_millis(5), [7; 10]);
        let by = Timestamp::from_millis(9_000);
        let store = Store::open(&path, key.clone()).unwrap();
        let read = ReadRecord { officer: "A. Officer".to_owned(), at: by };
        store.db.insert(keys::FORMAT, &1_u32.to_be_bytes()).unwrap();
        let place = keys::join(keys::ALARM, &[&by.millis().to_be_bytes(), id.as_bytes()]);
        store.db.insert(place, &[]).unwrap();
        store.db.insert(keys::of_notice(keys::READ, &id), serde_json::to_vec(&read).unwrap()).unwrap();
        store.make_durable().unwrap();
        drop(store);
        for _ in 0..2 {
            let store = Store::reopened(&path, &key);
            let alarms = store.memory().unwrap().alarms;
            let (side, stage) = (Side::Originator, Stage::Over);
            assert_eq!(alarms, [Alarm { at: by, notice_id: id, side, stage, respond_by: by }]);
            assert!(store.has_step(&StepKey::new(id, Step::Read, "A. Officer")).unwrap());
            assert!(!store.has_step(&StepKey::new(id, Step::Read, "B. Officer")).unwrap());
        }
    }
}
