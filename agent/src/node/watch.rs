//! What whoever watches this node is told on loopback: numbers, whether its tasks are alive, whether it does its work.
//!
//! What counts while it happens is in [`Counts`]; everything else is looked up when it is asked for. A look at the store
//! goes through the keys of the inbox, so it is remembered for a second, or for ten times as long as it took: however
//! often somebody asks, at most a tenth of one core goes into looking (G10).

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use valise_proto::envelope::Precedence;
use valise_proto::id::Timestamp;

use super::{Desk, LinkState, StartError};
use crate::api;
use crate::metrics::{self, Counts, Snapshot};
use crate::node::office::Office;
use crate::store::StoreError;

/// How long the core is given to answer before it counts as stuck.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long a look at the store is good for, at least.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many times longer than it took a look is good for.
const LOOK_SHARE: u32 = 10;
/// What a page of numbers is (OpenMetrics 1.0).
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is kept for whoever watches.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(super) counts: Counts,
    /// Where it is served, if it is.
    pub(crate) addr: Option<SocketAddr>,
    /// Tasks that are to run as long as the node does.
    tasks: std::sync::Mutex<Vec<(&'static str, AbortHandle)>>,
    looked: Arc<Mutex<Option<Looked>>>,
}

/// The store at one moment.
#[derive(Clone, Copy, Debug)]
struct Looked {
    at: Instant,
    took: Duration,
    /// Notices in the inbox, and those of them that were shown.
    inbox: (usize, usize),
    bytes: Option<u64>,
    free_bytes: Option<u64>,
}

impl Watch {
    /// This task is to run as long as the node does.
    pub(super) fn over(&self, what: &'static str, task: AbortHandle) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push((what, task));
    }

    fn ended_tasks(&self) -> Vec<&'static str> {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.iter().filter(|(_, task)| task.is_finished()).map(|(what, _)| *what).collect()
    }
}

/// Opens the address, where there is one.
pub(super) async fn listen(address: Option<SocketAddr>) -> Result<(Option<TcpListener>, Watch), StartError> {
    let Some(address) = address else { return Ok((None, Watch::default())) };
    let failed = |source| StartError::Metrics { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((Some(listener), Watch { addr: Some(addr), ..Watch::default() }))
}

/// Answers until `cancel`.
pub(super) async fn serve(listener: TcpListener, desk: Desk, cancel: CancellationToken) {
    let (numbers, health, readiness) = (desk.clone(), desk.clone(), desk);
    let page = async move || ([(header::CONTENT_TYPE, OPENMETRICS)], page(&numbers).await);
    let router = Router::new()
        .route("/metrics", get(page))
        .route("/healthz", get(async move || verdict(&ailments(&health).await)))
        .route("/readyz", get(async move || verdict(&hindrances(&readiness).await)))
        .fallback((StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n"));
    api::tcp::serve_router(listener, router, cancel).await;
}

fn verdict(reasons: &[String]) -> Response {
    if reasons.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
}

/// Why this process should be started again; nothing where it is well.
async fn ailments(desk: &Desk) -> Vec<String> {
    let ended = desk.watch.ended_tasks();
    let mut found: Vec<String> = ended.into_iter().map(|what| format!("tasks: {what} has ended")).collect();
    if outbox(desk).await.is_none() {
        found.push(format!("tasks: the core did not answer within {} s", ANSWER_MAX.as_secs()));
    }
    found
}

/// Why this node does not do its work; nothing where it does.
async fn hindrances(desk: &Desk) -> Vec<String> {
    let mut found = ailments(desk).await;
    match desk.link() {
        LinkState::Up { .. } => {}
        LinkState::Down { reason, .. } => found.push(format!("connection: {reason}")),
    }
    let (office, now) = (desk.office(), desk.office().now());
    found.extend(office.check_fresh(&office.directory(), now).err().map(|_| {
        "DIRECTORY: it has run out, or does not count yet; valise-agent status says why".to_owned()
    }));
    let grace = office.config().freshness_grace;
    let over = ends(office).into_iter().filter(|(kind, end)| {
        let grace = if *kind == "CERTIFICATE" { Duration::ZERO } else { grace };
        *kind != "DIRECTORY" && now > end.plus(grace)
    });
    found.extend(
        over.map(|(kind, end)| format!("{kind}: ran out at {end}; valise-agent status says what mends it")),
    );
    found
}

async fn outbox(desk: &Desk) -> Option<[(Precedence, usize); Precedence::ALL.len()]> {
    tokio::time::timeout(ANSWER_MAX, desk.outbox_by_precedence()).await.ok()?.ok()
}

/// When the first of each kind runs out.
fn ends(office: &Office) -> Vec<(&'static str, Timestamp)> {
    let directory = office.directory();
    let lists = office.transport().anchors().revocations().iter().map(|list| list.next_update).min();
    let all = [
        ("DIRECTORY", Some(directory.content().expires_at)),
        ("DELEGATION", Some(directory.delegation().not_after)),
        ("REVOCATION_LIST", lists),
        ("CERTIFICATE", Some(office.credentials().not_after())),
    ];
    all.into_iter().filter_map(|(kind, end)| Some((kind, end?))).collect()
}

async fn page(desk: &Desk) -> String {
    let (office, now) = (Arc::clone(desk.office()), desk.office().now());
    let left = |end: Timestamp| {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        seconds(end.since(now)) - seconds(now.since(end))
    };
    let outbox =
        outbox(desk).await.map(|depths| depths.map(|(precedence, items)| (precedence.as_str(), items)));
    let looked = match look(desk).await {
        Ok(looked) => Some(looked),
        Err(error) => {
            tracing::error!(%error, "the store cannot be looked at for metrics");
            None
        }
    };
    metrics::render(Snapshot {
        version: env!("CARGO_PKG_VERSION"),
        ready: hindrances(desk).await.is_empty(),
        connected: matches!(desk.link(), LinkState::Up { .. }),
        counted: desk.watch.counts.counted(),
        outbox: outbox.map(Vec::from).unwrap_or_default(),
        inbox: looked.map(|looked| looked.inbox),
        expiries: ends(&office).into_iter().map(|(kind, end)| (kind, left(end))).collect(),
        directory_version: office.directory().version(),
        clock_ahead: office.skew().map(|skew| skew.ahead_millis() / 1000),
        store_bytes: looked.and_then(|looked| looked.bytes),
        store_free_bytes: looked.and_then(|looked| looked.free_bytes),
    })
}

async fn look(desk: &Desk) -> Result<Looked, StoreError> {
    // Whoever asks meanwhile waits for the same look, also where the one for whom it began is gone.
    let mut looked = Arc::clone(&desk.watch.looked).lock_owned().await;
    if let Some(looked) = looked.filter(Looked::is_good) {
        return Ok(looked);
    }
    let office = Arc::clone(desk.office());
    let found =
        tokio::task::spawn_blocking(move || Looked::at(&office).map(|found| *looked.insert(found))).await;
    found.map_err(|error| StoreError::Sync(std::io::Error::other(error)))?
}

impl Looked {
    fn at(office: &Office) -> Result<Self, StoreError> {
        let (at, store) = (Instant::now(), office.store());
        let (inbox, bytes) = (store.inbox_len()?, store.size_on_disk().ok());
        let space = rustix::fs::statvfs(office.config().folder.path()).ok();
        let free_bytes = space.map(|space| space.f_bavail.saturating_mul(space.f_frsize));
        Ok(Self { at, took: at.elapsed(), inbox, bytes, free_bytes })
    }

    fn is_good(&self) -> bool {
        self.at.elapsed() < LOOK_EVERY.max(self.took * LOOK_SHARE)
    }
}
