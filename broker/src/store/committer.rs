//! Group commit: one thread gathers what is waiting, applies it as one batch, makes it durable, then releases every
//! reply. While one group is on its way to the disk the next one gathers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use super::{Operation, Outcome, Store, StoreError};

/// Most operations in one group.
const GROUP_OPERATIONS_MAX: usize = 1024;
/// Most submissions waiting; beyond it, submitters wait.
const QUEUE_LEN: usize = 256;

/// Called once, on the committer's thread, when the operations are durable or have failed. It must not block.
pub type Reply = Box<dyn FnOnce(Result<Vec<Outcome>, StoreError>) + Send>;

/// Operations that belong together, and what to do when they are durable.
pub struct Submission {
    /// Applied in one batch, in this order.
    pub operations: Vec<Operation>,
    /// Called with their outcomes.
    pub reply: Reply,
}

/// What the committer has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitStatistics {
    /// Groups applied.
    pub groups: u64,
    /// Operations in them.
    pub operations: u64,
    /// How often the disk was waited for.
    pub syncs: u64,
}

#[derive(Debug, Default)]
struct Counts {
    groups: AtomicU64,
    operations: AtomicU64,
    syncs: AtomicU64,
}

/// Submits operations. Clones share one committer.
#[derive(Clone, Debug)]
pub struct CommitterHandle {
    queue: mpsc::Sender<Submission>,
    counts: Arc<Counts>,
}

impl CommitterHandle {
    /// Submits, waiting while the queue is full. The reply is called exactly once; if the committer has stopped, at
    /// once and with an error.
    pub async fn submit(&self, submission: Submission) {
        if let Err(mpsc::error::SendError(submission)) = self.queue.send(submission).await {
            (submission.reply)(Err(stopped()));
        }
    }

    /// What the committer has done so far.
    #[must_use]
    pub fn statistics(&self) -> CommitStatistics {
        CommitStatistics {
            groups: self.counts.groups.load(Ordering::Relaxed),
            operations: self.counts.operations.load(Ordering::Relaxed),
            syncs: self.counts.syncs.load(Ordering::Relaxed),
        }
    }
}

/// The thread. It ends when every handle is dropped, after committing what was submitted.
#[derive(Debug)]
pub struct Committer {
    thread: JoinHandle<()>,
}

impl Committer {
    /// Starts a committer for `store`.
    ///
    /// # Errors
    /// As the operating system says, where no thread can be started.
    pub fn start(store: impl Store + 'static) -> std::io::Result<(Self, CommitterHandle)> {
        let (queue, waiting) = mpsc::channel(QUEUE_LEN);
        let counts = Arc::new(Counts::default());
        let handle = CommitterHandle { queue, counts: Arc::clone(&counts) };
        let thread = std::thread::Builder::new()
            .name("valise-committer".to_owned())
            .spawn(move || run(store, waiting, &counts))?;
        Ok((Self { thread }, handle))
    }

    /// Waits for the end of the thread; every handle must have been dropped.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the committer's thread panicked");
        }
    }
}

fn run(mut store: impl Store, mut waiting: mpsc::Receiver<Submission>, counts: &Counts) {
    while let Some(first) = waiting.blocking_recv() {
        let group = gather(first, &mut waiting);
        let lens: Vec<usize> = group.iter().map(|submission| submission.operations.len()).collect();
        let mut operations = Vec::with_capacity(lens.iter().sum());
        let mut replies = Vec::with_capacity(group.len());
        for submission in group {
            operations.extend(submission.operations);
            replies.push(submission.reply);
        }
        counts.groups.fetch_add(1, Ordering::Relaxed);
        counts.operations.fetch_add(u64::try_from(operations.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        match commit(&mut store, &operations, counts) {
            Ok(mut outcomes) => {
                for (reply, len) in replies.into_iter().zip(lens) {
                    let rest = outcomes.split_off(len.min(outcomes.len()));
                    reply(Ok(std::mem::replace(&mut outcomes, rest)));
                }
            }
            Err(error) => {
                tracing::error!(%error, "nothing more is taken");
                for reply in replies {
                    reply(Err(error.clone()));
                }
                return refuse_rest(waiting, &error);
            }
        }
    }
}

fn gather(first: Submission, waiting: &mut mpsc::Receiver<Submission>) -> Vec<Submission> {
    let mut operations = first.operations.len();
    let mut group = vec![first];
    while operations < GROUP_OPERATIONS_MAX {
        let Ok(next) = waiting.try_recv() else { break };
        operations += next.operations.len();
        group.push(next);
    }
    group
}

fn commit(store: &mut impl Store, operations: &[Operation], counts: &Counts) -> Result<Vec<Outcome>, StoreError> {
    let outcomes = store.apply(operations)?;
    // A lost acknowledgement costs a redelivery, which the recipient absorbs (G5), so it alone is not worth the wait.
    // A duplicate's receipt may be for an acceptance of this very group, so it waits with the others.
    let must_last = operations.iter().any(|operation| match operation {
        Operation::Accept(_) | Operation::Expire { .. } => true,
        Operation::Acknowledge { .. } | Operation::Forget { .. } => false,
    });
    if must_last {
        counts.syncs.fetch_add(1, Ordering::Relaxed);
        store.make_durable()?;
    }
    Ok(outcomes)
}

/// After a failure the state on disk is not known, so nothing is guessed: everything is refused until a restart.
fn refuse_rest(mut waiting: mpsc::Receiver<Submission>, error: &StoreError) {
    while let Some(submission) = waiting.blocking_recv() {
        (submission.reply)(Err(error.clone()));
    }
}

fn stopped() -> StoreError {
    StoreError::Failed("the committer has stopped".to_owned())
}
