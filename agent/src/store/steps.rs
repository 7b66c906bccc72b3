//! What officers did with received notices.

use sled::Batch;
use valise_proto::id::{NoticeId, Timestamp};

use super::records::ReadRecord;
use super::write::receipt_record;
use super::{Store, StoreError, keys};
use crate::core::{Change, OfficerStep, Step, StepKey};

impl Store {
    /// Whether an officer did this already, and has not decided otherwise since.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_step(&self, key: &StepKey) -> Result<bool, StoreError> {
        let when = |key: &StepKey| -> Result<Option<Timestamp>, StoreError> {
            let record: Option<ReadRecord> = self.get(&keys::of_step(key))?;
            Ok(record.map(|record| record.at))
        };
        let otherwise = match key.step {
            Step::Read => None,
            Step::Actioned => when(&StepKey { step: Step::Declined, ..*key })?,
            Step::Declined => when(&StepKey { step: Step::Actioned, ..*key })?,
        };
        Ok(when(key)?.is_some_and(|at| otherwise.is_none_or(|otherwise| otherwise <= at)))
    }

    /// Whether any officer did this already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn any_step(&self, notice_id: &NoticeId, step: Step) -> Result<bool, StoreError> {
        let mut key = keys::of_step(&StepKey::new(*notice_id, step, ""));
        key.truncate(keys::OF_NOTICE_BYTES.saturating_add(1));
        Ok(self.db.scan_prefix(key).next().transpose()?.is_some())
    }

    pub(super) fn step(
        &self,
        batch: &mut Batch,
        step: &OfficerStep,
        beside: &[&Change],
    ) -> Result<(), StoreError> {
        receipt_record(batch, &step.receipt);
        let record = ReadRecord { officer: step.officer.clone(), at: step.at };
        if step.step == Step::Read && self.is_first(step, beside)? {
            self.record(batch, keys::of_notice(keys::READ, &step.notice_id), &record)?;
        }
        self.record(batch, keys::of_step(&step.key()), &record)
    }

    /// Whether nobody was shown the notice before, or earlier in the same change.
    fn is_first(&self, step: &OfficerStep, beside: &[&Change]) -> Result<bool, StoreError> {
        let reads = beside.iter().filter_map(|change| match change {
            Change::Step(other) if other.step == Step::Read && other.notice_id == step.notice_id => {
                Some(other.key())
            }
            _ => None,
        });
        let first_of_these = reads.into_iter().next() == Some(step.key());
        Ok(first_of_these && self.read_record(&step.notice_id)?.is_none())
    }
}
