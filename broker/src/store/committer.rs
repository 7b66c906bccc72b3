//! Group commit: one thread gathers what is waiting, applies it as one batch, makes it durable, then releases every
//! reply. While one group is on its way to the disk the next one gathers.
//!
//! After a failure nothing is guessed: everything is refused until a restart, and [`CommitterHandle::failed`] tells
//! whoever runs the process to end it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use super::{Operation, Outcome, Store, StoreError};
use crate::metrics::{Histogram, Observed};

/// Most operations in one group.
const GROUP_OPERATIONS_MAX: usize = 1024;
/// Most submissions waiting; beyond it, submitters wait.
const QUEUE_LEN: usize = 256;
/// Upper bounds of the operations in a group.
const BATCH_OPERATIONS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
/// Upper bounds of the time a group takes, in microseconds.
const COMMIT_MICROS: &[u64] =
    &[500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000];
/// Seconds in a microsecond.
const MICRO: f64 = 1e-6;

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

#[derive(Debug)]
struct Counts {
    groups: AtomicU64,
    operations: AtomicU64,
    syncs: AtomicU64,
    batches: Histogram,
    commits: Histogram,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            groups: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            batches: Histogram::new(BATCH_OPERATIONS),
            commits: Histogram::new(COMMIT_MICROS),
        }
    }
}

impl Counts {
    /// A group is on stable storage. One without operations only asked to be let in between two others.
    fn note_committed(&self, operations: usize, begun: Instant) {
        if operations > 0 {
            self.batches.observe(u64::try_from(operations).unwrap_or(u64::MAX), 1);
            self.commits.observe(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX), 1);
        }
    }
}

/// Submits operations. Clones share one committer.
#[derive(Clone, Debug)]
pub struct CommitterHandle {
    queue: mpsc::Sender<Submission>,
    counts: Arc<Counts>,
    failure: watch::Sender<Option<StoreError>>,
}

impl CommitterHandle {
    /// Submits, waiting while the queue is full. The reply is called exactly once; if the committer has stopped, at
    /// once and with an error.
    pub async fn submit(&self, submission: Submission) {
        if let Err(mpsc::error::SendError(submission)) = self.queue.send(submission).await {
            (submission.reply)(Err(stopped()));
        }
    }

    /// Reports a failure that was found by reading. The first one counts.
    pub fn fail(&self, error: StoreError) {
        tell(&self.failure, &error);
    }

    /// Why the store is not to be used any more, if that is so.
    #[must_use]
    pub fn failure(&self) -> Option<StoreError> {
        self.failure.borrow().clone()
    }

    /// Waits until the store has failed; the process must not go on then.
    pub async fn failed(&self) -> StoreError {
        let mut failure = self.failure.subscribe();
        let found = failure.wait_for(Option::is_some).await.ok().and_then(|failure| failure.clone());
        found.unwrap_or_else(stopped)
    }

    /// How many operations groups had, and how many seconds each took.
    pub(crate) fn observed(&self) -> (Observed, Observed) {
        (self.counts.batches.observed(1.0), self.counts.commits.observed(MICRO))
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
    aborted: Arc<AtomicBool>,
}

impl Committer {
    /// Starts a committer for `store`.
    ///
    /// # Errors
    /// As the operating system says, where no thread can be started.
    pub fn start(store: impl Store + 'static) -> std::io::Result<(Self, CommitterHandle)> {
        let (queue, waiting) = mpsc::channel(QUEUE_LEN);
        let counts = Arc::new(Counts::default());
        let failure = watch::Sender::new(None);
        let aborted = Arc::new(AtomicBool::new(false));
        let handle = CommitterHandle { queue, counts: Arc::clone(&counts), failure: failure.clone() };
        let side = Side { counts, failure, aborted: Arc::clone(&aborted) };
        let thread = std::thread::Builder::new()
            .name("valise-committer".to_owned())
            .spawn(move || run(store, waiting, &side))?;
        Ok((Self { thread, aborted }, handle))
    }

    /// Takes no further group: what is submitted and not begun is refused, as if the process had ended.
    pub fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
    }

    /// Waits for the end of the thread; every handle must have been dropped.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the committer's thread panicked");
        }
    }
}

/// What the thread shares with its handles.
struct Side {
    counts: Arc<Counts>,
    failure: watch::Sender<Option<StoreError>>,
    aborted: Arc<AtomicBool>,
}

fn run(mut store: impl Store, mut waiting: mpsc::Receiver<Submission>, side: &Side) {
    while let Some(first) = waiting.blocking_recv() {
        if side.aborted.load(Ordering::Acquire) {
            (first.reply)(Err(stopped()));
            return refuse_rest(waiting, &stopped());
        }
        let group = gather(first, &mut waiting);
        if let Err(error) = commit_group(&mut store, group, &side.counts) {
            tracing::error!(%error, "nothing more is taken");
            tell(&side.failure, &error);
            return refuse_rest(waiting, &error);
        }
    }
}

/// Applies a group, waits for the disk, and releases every reply.
fn commit_group(store: &mut impl Store, group: Vec<Submission>, counts: &Counts) -> Result<(), StoreError> {
    let lens: Vec<usize> = group.iter().map(|submission| submission.operations.len()).collect();
    let mut operations = Vec::with_capacity(lens.iter().sum());
    let mut replies = Vec::with_capacity(group.len());
    for submission in group {
        operations.extend(submission.operations);
        replies.push(submission.reply);
    }
    let begun = Instant::now();
    counts.groups.fetch_add(1, Ordering::Relaxed);
    counts.operations.fetch_add(u64::try_from(operations.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
    match commit(store, &operations, counts) {
        Ok(mut outcomes) => {
            counts.note_committed(operations.len(), begun);
            for (reply, len) in replies.into_iter().zip(lens) {
                let rest = outcomes.split_off(len.min(outcomes.len()));
                reply(Ok(std::mem::replace(&mut outcomes, rest)));
            }
            Ok(())
        }
        Err(error) => {
            for reply in replies {
                reply(Err(error.clone()));
            }
            Err(error)
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

fn commit(
    store: &mut impl Store,
    operations: &[Operation],
    counts: &Counts,
) -> Result<Vec<Outcome>, StoreError> {
    let outcomes = store.apply(operations)?;
    // A lost acknowledgement costs a redelivery, which the recipient absorbs (G5), so it alone is not worth the wait.
    // A duplicate's receipt may be for an acceptance of this very group, so it waits with the others.
    let must_last = operations.iter().any(|operation| match operation {
        Operation::Accept(_) | Operation::Expire { .. } => true,
        Operation::Acknowledge { .. } | Operation::Review { .. } => false,
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

fn tell(failure: &watch::Sender<Option<StoreError>>, error: &StoreError) {
    failure.send_if_modified(|known| {
        let first = known.is_none();
        if first {
            *known = Some(error.clone());
        }
        first
    });
}

fn stopped() -> StoreError {
    StoreError::Failed("the committer has stopped".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc as std_mpsc};
    use std::time::Duration;

    use valise_proto::envelope::Precedence;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Event {
        Applied(usize),
        Durable,
        Replied(usize),
        Refused,
    }

    /// A store that records what happens to it, and fails when told to.
    #[derive(Clone, Default)]
    struct Recorder {
        events: Arc<Mutex<Vec<Event>>>,
        fail_sync: Arc<AtomicBool>,
        /// Where there is one, every group waits for a word.
        gate: Option<Arc<Mutex<std_mpsc::Receiver<()>>>>,
        /// A group is complete and about to be applied.
        begun: Arc<AtomicBool>,
    }

    impl Recorder {
        fn record(&self, event: Event) {
            self.events.lock().unwrap().push(event);
        }

        fn events(&self) -> Vec<Event> {
            self.events.lock().unwrap().clone()
        }

        /// A submission whose reply is recorded too; the receiver is told when it was called.
        fn submission(&self, operations: Vec<Operation>) -> (Submission, std_mpsc::Receiver<()>) {
            let (told, reply) = std_mpsc::channel();
            let recorder = self.clone();
            let reply_to = Box::new(move |result: Result<Vec<Outcome>, StoreError>| {
                recorder.record(result.map_or(Event::Refused, |outcomes| Event::Replied(outcomes.len())));
                told.send(()).unwrap();
            });
            (Submission { operations, reply: reply_to }, reply)
        }
    }

    impl Store for Recorder {
        fn apply(&mut self, batch: &[Operation]) -> Result<Vec<Outcome>, StoreError> {
            self.begun.store(true, Ordering::Release);
            if let Some(gate) = &self.gate {
                gate.lock().unwrap().recv_timeout(LONG).unwrap();
            }
            self.record(Event::Applied(batch.len()));
            Ok(batch.iter().map(|_| Outcome::Done).collect())
        }

        fn make_durable(&mut self) -> Result<(), StoreError> {
            self.record(Event::Durable);
            if self.fail_sync.load(Ordering::Relaxed) {
                return Err(StoreError::Failed("no space is left".to_owned()));
            }
            Ok(())
        }
    }

    fn lasting() -> Operation {
        let notice_id = valise_proto::id::NoticeId::new(valise_proto::id::Timestamp::from_millis(1), [0; 10]);
        Operation::Expire { notice_id, at: valise_proto::id::Timestamp::from_millis(1), receipts: Vec::new() }
    }

    fn acknowledgement() -> Operation {
        let agency = "fra/ncb".parse().unwrap();
        Operation::Acknowledge { agency, precedence: Precedence::Flash, cursors: Vec::new() }
    }

    #[tokio::test]
    async fn g04_a_reply_comes_only_after_what_it_speaks_of_is_durable() {
        let store = Recorder::default();
        let (committer, handle) = Committer::start(store.clone()).unwrap();
        let (submission, reply) = store.submission(vec![lasting(), acknowledgement()]);
        handle.submit(submission).await;
        reply.recv_timeout(LONG).unwrap();
        assert_eq!(store.events(), [Event::Applied(2), Event::Durable, Event::Replied(2)]);
        assert_eq!(handle.statistics(), CommitStatistics { groups: 1, operations: 2, syncs: 1 });
        drop(handle);
        committer.join();
    }

    #[tokio::test]
    async fn acknowledgements_alone_do_not_wait_for_the_disk() {
        let store = Recorder::default();
        let (_committer, handle) = Committer::start(store.clone()).unwrap();
        let (submission, reply) = store.submission(vec![acknowledgement()]);
        handle.submit(submission).await;
        reply.recv_timeout(LONG).unwrap();
        assert_eq!(store.events(), [Event::Applied(1), Event::Replied(1)]);
    }

    #[tokio::test]
    async fn g04_what_waits_together_is_committed_together() {
        let (open, gate) = std_mpsc::channel();
        let store = Recorder { gate: Some(Arc::new(Mutex::new(gate))), ..Recorder::default() };
        let (_committer, handle) = Committer::start(store.clone()).unwrap();
        let mut replies = Vec::new();
        for operations in [1, 2, 3] {
            let (submission, reply) = store.submission((0..operations).map(|_| lasting()).collect());
            handle.submit(submission).await;
            replies.push(reply);
            if operations == 1 {
                // What is submitted before the first group is complete would belong to it.
                while !store.begun.load(Ordering::Acquire) {
                    std::thread::yield_now();
                }
            }
        }
        open.send(()).unwrap();
        open.send(()).unwrap();
        for reply in replies {
            reply.recv_timeout(LONG).unwrap();
        }
        let (first, second) = (Event::Replied(1), [Event::Replied(2), Event::Replied(3)]);
        let expected = [
            Event::Applied(1),
            Event::Durable,
            first,
            Event::Applied(5),
            Event::Durable,
            second[0],
            second[1],
        ];
        assert_eq!(store.events(), expected);
        assert_eq!(handle.statistics(), CommitStatistics { groups: 2, operations: 6, syncs: 2 });
    }

    #[tokio::test]
    async fn g04_after_a_failure_nothing_more_is_applied_and_whoever_runs_it_is_told() {
        let store = Recorder::default();
        store.fail_sync.store(true, Ordering::Relaxed);
        let (committer, handle) = Committer::start(store.clone()).unwrap();
        for _ in 0..2 {
            let (submission, reply) = store.submission(vec![lasting()]);
            handle.submit(submission).await;
            reply.recv_timeout(LONG).unwrap();
            store.fail_sync.store(false, Ordering::Relaxed);
        }
        assert_eq!(store.events(), [Event::Applied(1), Event::Durable, Event::Refused, Event::Refused]);
        let failure = tokio::time::timeout(LONG, handle.failed()).await.unwrap();
        assert!(failure.to_string().contains("no space is left"), "{failure}");
        assert!(handle.failure().is_some());
        drop(handle);
        committer.join();
    }

    #[tokio::test]
    async fn the_first_failure_is_the_one_that_is_told() {
        let (_committer, handle) = Committer::start(Recorder::default()).unwrap();
        handle.fail(StoreError::Failed("first".to_owned()));
        handle.fail(StoreError::Failed("second".to_owned()));
        assert!(handle.failed().await.to_string().contains("first"));
    }

    #[tokio::test]
    async fn what_was_submitted_is_committed_before_the_thread_ends() {
        let store = Recorder::default();
        let (committer, handle) = Committer::start(store.clone()).unwrap();
        let (submission, _reply) = store.submission(vec![lasting()]);
        handle.submit(submission).await;
        drop(handle);
        tokio::task::spawn_blocking(move || committer.join()).await.unwrap();
        assert_eq!(store.events(), [Event::Applied(1), Event::Durable, Event::Replied(1)]);
    }

    #[tokio::test]
    async fn an_aborted_committer_takes_no_further_group() {
        let store = Recorder::default();
        let (committer, handle) = Committer::start(store.clone()).unwrap();
        committer.abort();
        let (submission, reply) = store.submission(vec![lasting()]);
        handle.submit(submission).await;
        reply.recv_timeout(LONG).unwrap();
        assert_eq!(store.events(), [Event::Refused]);
    }
}
