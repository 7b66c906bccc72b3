//! What whoever watches this broker is told: numbers, whether its tasks are alive, whether it does its work.
//!
//! What counts while it happens is in [`Counts`]; everything else is looked up when it is asked for. A look at the store
//! walks every queue, so it is remembered for a second, or for ten times as long as it took: however often somebody
//! asks, at most a tenth of one core goes into looking (G10).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{Mutex, oneshot};
use tokio::task::AbortHandle;
use valise_proto::directory::Directory;
use valise_proto::envelope::Precedence;
use valise_proto::id::{AgencyId, Timestamp};

use super::driver::Input;
use super::freshness::{self, Freshness, Kind};
use super::{Shared, StartError, now};
use crate::metrics::{self, AGENCIES_MAX, Answer, Asked, Counts, Queued, Snapshot};
use crate::store::{Depth, Reader, StoreError, Submission};

/// How long the core and the committer are given to answer before they count as stuck.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long a look at the store is good for, at least.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many times longer than it took a look is good for.
const LOOK_SHARE: u32 = 10;
/// What queues of agencies without numbers of their own are counted under; no agency has such an id.
const OTHERS: &str = "others";

/// What is kept for whoever watches.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub(super) counts: Counts,
    /// Where it is served, if it is.
    pub(super) addr: Option<SocketAddr>,
    /// Tasks that are to run as long as the broker does.
    tasks: std::sync::Mutex<Vec<(&'static str, AbortHandle)>>,
    looked: Arc<Mutex<Option<Looked>>>,
}

/// The store at one moment.
#[derive(Clone, Debug)]
struct Looked {
    at: Instant,
    took: Duration,
    depths: Vec<Depth>,
    /// Since when the oldest item waits, by precedence.
    oldest: Vec<(Precedence, Option<Timestamp>)>,
    log_entries: u64,
    store_bytes: Option<u64>,
    store_free_bytes: Option<u64>,
    renewals: usize,
}

impl Watch {
    /// This task is to run as long as the broker does.
    pub(super) fn over(&self, what: &'static str, task: AbortHandle) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push((what, task));
    }

    fn ended_tasks(&self) -> Vec<&'static str> {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.iter().filter(|(_, task)| task.is_finished()).map(|(what, _)| *what).collect()
    }
}

/// Opens the address, where there is one.
pub(super) fn listen(address: Option<SocketAddr>) -> Result<(Option<TcpListener>, Watch), StartError> {
    let Some(address) = address else { return Ok((None, Watch::default())) };
    let open = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        Ok((TcpListener::from_std(listener)?, addr))
    };
    let (listener, addr) = open().map_err(|source| StartError::Metrics { address, source })?;
    Ok((Some(listener), Watch { addr: Some(addr), ..Watch::default() }))
}

/// Answers until the broker stops.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let stop = shared.stop.clone();
    let answer = move |asked| {
        let shared = Arc::clone(&shared);
        async move {
            match asked {
                Asked::Metrics => Answer::Page(page(&shared).await),
                Asked::Health => Answer::Verdict(ailments(&shared).await),
                Asked::Readiness => Answer::Verdict(hindrances(&shared).await),
            }
        }
    };
    metrics::serve(listener, stop, answer).await;
}

/// Why this process should be started again; nothing where it is well. One that is stopping is.
async fn ailments(shared: &Shared) -> Vec<String> {
    if shared.draining.is_cancelled() {
        return Vec::new();
    }
    let mut found: Vec<String> =
        shared.watch.ended_tasks().into_iter().map(|what| format!("tasks: {what} has ended")).collect();
    if connections(shared).await.is_none() {
        found.push(format!("tasks: the core did not answer within {} s", ANSWER_MAX.as_secs()));
    }
    found
}

/// Why this broker does not do its work; nothing where it does.
async fn hindrances(shared: &Shared) -> Vec<String> {
    let mut found = ailments(shared).await;
    if shared.draining.is_cancelled() {
        found.push("stopping: the broker was told to stop".to_owned());
    }
    if shared.committer.failure().is_some() {
        found.push("store: it has failed and takes nothing more; the log says why".to_owned());
    } else if !takes_commits(shared).await {
        found.push(format!("store: the committer did not answer within {} s", ANSWER_MAX.as_secs()));
    }
    if shared.disk.is_short() {
        found.push(
            "disk: less is free than disk_reserve_bytes, so submissions are refused; make room".to_owned(),
        );
    }
    let now = now();
    let over = |thing: &Freshness| now > thing.counts_until;
    found.extend(freshness::of_shared(shared, now).into_iter().filter(over).map(|thing| {
        let Freshness { kind, name, expires_at, .. } = thing;
        format!("{}: {name} ran out at {expires_at}; {}", kind.as_str(), kind.mend())
    }));
    found
}

async fn connections(shared: &Shared) -> Option<(usize, usize)> {
    let (answer, counted) = oneshot::channel();
    let asked = async {
        shared.inputs.send(Input::Sessions { answer }).await.ok()?;
        counted.await.ok()
    };
    tokio::time::timeout(ANSWER_MAX, asked).await.ok().flatten()
}

/// Whether something handed to the committer comes back. It is empty, so nothing is written.
async fn takes_commits(shared: &Shared) -> bool {
    let (done, replied) = oneshot::channel();
    let reply = Box::new(move |result: Result<Vec<_>, StoreError>| {
        // Whoever asked may have given up.
        let _ = done.send(result.is_ok());
    });
    let submitted = async {
        shared.committer.submit(Submission { operations: Vec::new(), reply }).await;
        replied.await.unwrap_or(false)
    };
    tokio::time::timeout(ANSWER_MAX, submitted).await.unwrap_or(false)
}

async fn page(shared: &Arc<Shared>) -> String {
    let now = now();
    let directory = Arc::clone(&shared.policy().directory);
    let (batches, commits) = shared.committer.observed();
    let mut snapshot = Snapshot {
        version: env!("CARGO_PKG_VERSION"),
        ready: hindrances(shared).await.is_empty(),
        counted: shared.watch.counts.counted(),
        batches,
        commits,
        connections: connections(shared).await.unwrap_or_default(),
        expiries: expiries(&freshness::of_shared(shared, now), now),
        directory_version: directory.version(),
        refused_files: shared.refused().len(),
        ..Snapshot::default()
    };
    match look(shared).await {
        Ok(looked) => {
            snapshot.queues = queues(&looked.depths, &directory);
            let age = |since: Option<Timestamp>| since.map_or(0, |since| now.since(since).as_secs());
            let oldest = looked.oldest.into_iter();
            snapshot.oldest = oldest.map(|(precedence, since)| (precedence.as_str(), age(since))).collect();
            snapshot.log_entries = looked.log_entries;
            snapshot.store_bytes = looked.store_bytes;
            snapshot.store_free_bytes = looked.store_free_bytes;
            snapshot.renewals = looked.renewals;
        }
        Err(error) => {
            tracing::error!(%error, "the store cannot be looked at for metrics");
            snapshot.ready = false;
        }
    }
    metrics::render(snapshot)
}

/// Seconds until the first of each kind runs out.
fn expiries(all: &[Freshness], now: Timestamp) -> Vec<(&'static str, i64)> {
    let left = |thing: &Freshness| {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        seconds(thing.expires_at.since(now)) - seconds(now.since(thing.expires_at))
    };
    let first = |kind: Kind| all.iter().filter(|thing| thing.kind == kind).map(left).min();
    Kind::ALL.into_iter().filter_map(|kind| Some((kind.as_str(), first(kind)?))).collect()
}

/// A number for every queue of the first agencies of the directory, and one for each precedence of all others together.
fn queues(depths: &[Depth], directory: &Directory) -> Vec<Queued> {
    let listed = directory.content().agencies.keys().take(AGENCIES_MAX);
    let mut items: BTreeMap<(&str, Precedence), usize> = listed
        .map(AgencyId::as_str)
        .chain([OTHERS])
        .flat_map(|agency| Precedence::ALL.map(|precedence| ((agency, precedence), 0)))
        .collect();
    for depth in depths {
        let key = (depth.agency.as_str(), depth.precedence);
        let key = if items.contains_key(&key) { key } else { (OTHERS, depth.precedence) };
        *items.entry(key).or_default() += depth.items;
    }
    items
        .into_iter()
        .map(|((agency, precedence), items)| Queued {
            agency: agency.to_owned(),
            precedence: precedence.as_str(),
            items,
        })
        .collect()
}

async fn look(shared: &Arc<Shared>) -> Result<Looked, StoreError> {
    // Whoever asks meanwhile waits for the same look, also where the one for whom it began is gone.
    let mut looked = Arc::clone(&shared.watch.looked).lock_owned().await;
    if let Some(looked) = looked.as_ref().filter(|looked| looked.is_good()) {
        return Ok(looked.clone());
    }
    let looking = Arc::clone(shared);
    let found =
        tokio::task::spawn_blocking(move || Looked::at(&looking).map(|found| looked.insert(found).clone()));
    found.await.unwrap_or_else(|error| Err(StoreError::Failed(error.to_string())))
}

impl Looked {
    fn at(shared: &Shared) -> Result<Self, StoreError> {
        let (at, reader) = (Instant::now(), &shared.reader);
        let depths = reader.depths()?;
        let oldest = oldest(reader, &depths)?;
        let (log_entries, store_bytes) = (reader.log_len()?, reader.size_on_disk().ok());
        let space = rustix::fs::statvfs(&shared.config.data).ok();
        let store_free_bytes = space.map(|space| space.f_bavail.saturating_mul(space.f_frsize));
        let renewals = shared.spool.depth().map_or(0, |(waiting, _)| waiting);
        let took = at.elapsed();
        Ok(Self { at, took, depths, oldest, log_entries, store_bytes, store_free_bytes, renewals })
    }

    fn is_good(&self) -> bool {
        self.at.elapsed() < LOOK_EVERY.max(self.took * LOOK_SHARE)
    }
}

fn oldest(reader: &Reader, depths: &[Depth]) -> Result<Vec<(Precedence, Option<Timestamp>)>, StoreError> {
    let mut oldest = Precedence::ALL.map(|precedence| (precedence, None)).to_vec();
    for depth in depths {
        let since = reader.oldest(&depth.agency, depth.precedence)?;
        if let Some((_, first)) = oldest.iter_mut().find(|(precedence, _)| *precedence == depth.precedence) {
            *first = [*first, since].into_iter().flatten().min();
        }
    }
    Ok(oldest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::office::Office;
    use crate::server::Broker;

    #[tokio::test]
    async fn g12_a_broker_whose_store_has_failed_is_not_ready() {
        let office = Office::of_three();
        let broker = Broker::start(office.config.clone()).await.unwrap();
        assert_eq!(hindrances(&broker.shared).await, Vec::<String>::new());
        broker.shared.committer.fail(StoreError::Failed("no space is left".to_owned()));
        let found = hindrances(&broker.shared).await;
        assert!(found.len() == 1 && found[0].starts_with("store: "), "{found:?}");
        assert_eq!(ailments(&broker.shared).await, Vec::<String>::new());
        broker.stop().await;
    }

    #[tokio::test]
    async fn a_task_that_ended_is_told_until_the_broker_stops() {
        let office = Office::of_three();
        let broker = Broker::start(office.config.clone()).await.unwrap();
        assert_eq!(ailments(&broker.shared).await, Vec::<String>::new());
        broker.driver.abort();
        let deadline = Instant::now() + Duration::from_secs(20);
        while ailments(&broker.shared).await.is_empty() {
            assert!(Instant::now() < deadline, "nobody noticed that the core has ended");
            tokio::task::yield_now().await;
        }
        let found = ailments(&broker.shared).await;
        assert!(found[0].contains("the core has ended"), "{found:?}");
        broker.shared.draining.cancel();
        assert_eq!(ailments(&broker.shared).await, Vec::<String>::new());
        broker.kill().await;
    }
}
