//! What one agency may take of this broker at a time, over all its connections.
//!
//! Claimed, against an agency that floods or stalls (G10): the others wait for no more than its share. It holds because
//! whatever goes into a queue that agencies have in common (worker threads, committer, store) first takes a permit of
//! the agency's own, and gives it back only when it has left that queue.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use valise_proto::envelope::Precedence;
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::refusal::Refusal;

use crate::config::Limits;
use crate::core::{Accounts, Verdict};

/// Inboxes of one agency read at a time: one for each precedence.
const LOADS_MAX: usize = 4;
/// Questions of one agency answered at a time; an answer may be as large as the directory.
const QUERIES_MAX: usize = 8;

/// The shares of everyone. There are never more than agencies that were given certificates.
pub(super) struct Shares {
    /// Rates are counted by a clock that nobody sets.
    started: Instant,
    accounts: Mutex<Accounts>,
    shares: Mutex<BTreeMap<AgencyId, Arc<Share>>>,
    work_max: usize,
    kib_max: u32,
    /// Bytes of everybody's envelopes between the network and the disk, in KiB.
    pub(super) all_kib: Arc<Semaphore>,
    /// How many there are in all.
    pub(super) all_kib_max: u32,
}

/// One agency's.
pub(super) struct Share {
    /// Envelopes between the network and the disk.
    pub(super) work: Arc<Semaphore>,
    /// Their size in KiB.
    pub(super) kib: Arc<Semaphore>,
    /// How many KiB there are in all.
    pub(super) kib_max: u32,
    /// Inboxes being read.
    pub(super) loads: Semaphore,
    /// Questions being answered.
    pub(super) queries: Semaphore,
}

impl Shares {
    pub(super) fn new(limits: &Limits) -> Self {
        let kib = |bytes: usize| u32::try_from(bytes / 1024).unwrap_or(u32::MAX).max(1);
        let (kib_max, all_kib_max) = (kib(limits.intake_bytes_per_agency_max), kib(limits.intake_bytes_max));
        Self {
            started: Instant::now(),
            accounts: Mutex::new(Accounts::new(limits.rates)),
            shares: Mutex::default(),
            work_max: limits.work_per_agency_max,
            kib_max,
            all_kib: places(all_kib_max),
            all_kib_max,
        }
    }

    pub(super) fn of(&self, agency: &AgencyId) -> Arc<Share> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let share = shares.entry(agency.clone()).or_insert_with(|| {
            Arc::new(Share {
                work: Arc::new(Semaphore::new(self.work_max)),
                kib: places(self.kib_max),
                kib_max: self.kib_max,
                loads: Semaphore::new(LOADS_MAX),
                queries: Semaphore::new(QUERIES_MAX),
            })
        });
        Arc::clone(share)
    }

    /// What is to be done with an envelope of `len` bytes.
    pub(super) fn judge(&self, agency: &AgencyId, precedence: Precedence, len: usize) -> Verdict {
        self.with(|accounts, now| accounts.handle_envelope(agency, precedence, len, now))
    }

    /// The same where it is to be refused in any case.
    pub(super) fn refuse(&self, agency: &AgencyId, refusal: Refusal) -> Verdict {
        self.with(|accounts, now| accounts.handle_refused(agency, refusal, now))
    }

    /// How long a stream that was opened has to wait.
    pub(super) fn stream(&self, agency: &AgencyId) -> Duration {
        self.with(|accounts, now| accounts.handle_stream(agency, now))
    }

    fn with<T>(&self, decide: impl FnOnce(&mut Accounts, Timestamp) -> T) -> T {
        let since = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Nothing panics while it holds the lock.
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        decide(&mut accounts, Timestamp::from_millis(since))
    }
}

fn places(count: u32) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(usize::try_from(count).unwrap_or(Semaphore::MAX_PERMITS)))
}
