//! The broker's real store beside the simulated disk: it is given the same batches, and must answer the same. A crash
//! is another store with what the disk still holds; that a real one holds as much is for tests with real processes.

use tempfile::TempDir;
use valise_broker::store::{Due, Inbox, Operation, Outcome, Reader, SledStore, Store};
use valise_proto::envelope::Precedence;
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::wire::session::Cursor;

use crate::Violation;
use crate::disk::Disk;

/// More than any envelope here, so that counts alone bound what is read.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// The real store, and the batches it was given.
pub(crate) struct Twin {
    store: SledStore,
    reader: Reader,
    /// Dropped after the store.
    _folder: TempDir,
    confirmed: Vec<Vec<Operation>>,
    unconfirmed: Vec<Vec<Operation>>,
}

impl std::fmt::Debug for Twin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Twin({} batches)", self.confirmed.len() + self.unconfirmed.len())
    }
}

impl Twin {
    pub(crate) fn new() -> Result<Self, Violation> {
        let folder = tempfile::tempdir().map_err(Violation::surprise)?;
        let store = SledStore::open(&folder.path().join("data")).map_err(Violation::surprise)?;
        let reader = store.reader();
        Ok(Self { store, reader, _folder: folder, confirmed: Vec::new(), unconfirmed: Vec::new() })
    }

    /// Applies a batch, and compares what it did with what it did to the simulated disk.
    pub(crate) fn apply(&mut self, batch: &[Operation], expected: &[Outcome]) -> Result<(), Violation> {
        let outcomes = self.store.apply(batch).map_err(Violation::surprise)?;
        self.unconfirmed.push(batch.to_vec());
        same("a batch", &outcomes.as_slice(), &expected)
    }

    pub(crate) fn make_durable(&mut self) -> Result<(), Violation> {
        self.confirmed.append(&mut self.unconfirmed);
        self.store.make_durable().map_err(Violation::surprise)
    }

    /// Begins again with what survived.
    pub(crate) fn crash(&mut self, survived: &[Vec<Operation>], disk: &Disk) -> Result<(), Violation> {
        let mut again = Self::new()?;
        for batch in self.confirmed.iter().chain(survived) {
            again.store.apply(batch).map_err(Violation::surprise)?;
            again.confirmed.push(batch.clone());
        }
        again.store.make_durable().map_err(Violation::surprise)?;
        *self = again;
        for id in disk.durable.notices.keys() {
            same("a notice", &self.reader.notice(id).map_err(Violation::surprise)?, &disk.notice(id))?;
        }
        Ok(())
    }

    pub(crate) fn compare_inbox(
        &self,
        agency: &AgencyId,
        precedence: Precedence,
        after: Cursor,
        count: usize,
        expected: &Inbox,
    ) -> Result<(), Violation> {
        let inbox = self.reader.inbox(agency, precedence, after, count, BYTES_MAX);
        same("an inbox", &inbox.map_err(Violation::surprise)?, expected)
    }

    pub(crate) fn compare_due(
        &self,
        now: Timestamp,
        count: usize,
        expected: &[Due],
    ) -> Result<(), Violation> {
        same("the calendar", &self.reader.due(now, count).map_err(Violation::surprise)?.as_slice(), &expected)
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: &T, expected: &T) -> Result<(), Violation> {
    Violation::unless(got == expected, "G4", || {
        format!("the store and its model differ about {what}: {got:?} instead of {expected:?}")
    })
}
