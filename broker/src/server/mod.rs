//! The shell: carries the core's effects out against the store and the transport.
//!
//! | task | what it does |
//! |---|---|
//! | [`driver`] | owns the core; the only place where its state changes |
//! | [`session`] | one per connection: the session stream, and whichever streams the agency opens |
//! | [`intake`] | one per submit stream: verification on every core, then group commit |
//! | [`outgoing`] | one per receive stream: deliveries out, acknowledgements in |
//! | [`shares`] | no task: what one agency may take at a time of what all share |
//! | [`disk`] | whether there is room on the disk |
//! | [`sweep`] | deletes what has expired; one at a time |
//! | [`recheck`] | whether those who are connected still may be |
//! | [`reload`] | watches certificate, revocation lists and directory |
//! | [`freshness`] | what runs out, and who says so in time |
//! | [`spool`] | renewal requests, kept until they were carried to the authority and granted |
//! | [`status`] | answers `valise-broker status` on a Unix socket |
//! | [`watch`] | answers whoever watches this broker on loopback: numbers, health, readiness |
//!
//! Queues between tasks are bounded, or hold no more than what a bounded one let in.

mod certificates;
mod control;
mod disk;
mod driver;
mod files;
mod freshness;
mod held;
mod intake;
mod outgoing;
mod recheck;
mod reload;
mod session;
mod shares;
mod spool;
mod status;
mod sweep;
mod watch;

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use valise_proto::crypto::SigningKey;
use valise_proto::enrolment::Trust;
use valise_proto::envelope::{Envelope, Precedence};
use valise_proto::id::{AgencyId, Digest, NoticeId, SpiffeId, Timestamp};
use valise_proto::receipt::{Receipt, ReceiptKind, SignedReceipt};
use valise_proto::refusal::Refusal;
use valise_transport::{Credentials, Server, Transport, TransportError};

use certificates::Certificates;
pub use files::{FileProblem, FilesError, NodeFiles};
pub use freshness::{Freshness, Kind};
pub use spool::{Contents, Exported, Spool, SpoolError, Waiting};
pub use status::{
    AskError, Commits, DirectoryStatus, QueueDepth, RevocationStatus, SocketError, SpoolStatus, Status, ask,
};

use crate::config::Config;
use crate::core::{Core, Policy};
use crate::store::{Committer, CommitterHandle, Reader, SledStore, StoreError};

/// Inputs waiting for the core; beyond it, tasks wait.
const INPUTS_MAX: usize = 1024;
/// How long a stopping broker waits for its tasks once every connection is closed.
const END_MAX: Duration = Duration::from_secs(10);

/// Why a broker cannot start. Nothing that was kept is lost; the data folder may have been made.
#[derive(Debug, Error)]
pub enum StartError {
    /// A file it needs cannot be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The data folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address cannot be listened on.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The status socket cannot be opened.
    #[error(transparent)]
    Status(#[from] SocketError),
    /// The address for metrics cannot be listened on.
    #[error("{address}: cannot listen for metrics: {source}; set another `metrics_listen`")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The operating system refused something.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// No worker threads.
    #[error("no worker threads: {0}")]
    Workers(#[from] rayon::ThreadPoolBuildError),
}

/// What the tasks share.
pub(crate) struct Shared {
    config: Config,
    identity: SpiffeId,
    local_addr: SocketAddr,
    receipt_key: SigningKey,
    trust: Trust,
    policy: RwLock<Arc<Policy>>,
    in_force: RwLock<Arc<InForce>>,
    reloading: Mutex<()>,
    /// Why files that lie there are not in force, as of the last look.
    refused: RwLock<Vec<String>>,
    transport: Transport,
    committer: CommitterHandle,
    reader: Reader,
    spool: Arc<Spool>,
    workers: rayon::ThreadPool,
    watch: watch::Watch,
    inputs: mpsc::Sender<driver::Input>,
    /// Told by the committer's thread, which must not wait.
    queued: mpsc::UnboundedSender<Vec<(AgencyId, Precedence)>>,
    disk: disk::DiskRoom,
    /// What each agency may take.
    shares: shares::Shares,
    /// Connections, and the ends of connections.
    sessions: TaskTracker,
    /// Everything else.
    tasks: TaskTracker,
    /// No new connections are taken.
    draining: CancellationToken,
    /// Everything ends.
    stop: CancellationToken,
    started_at: Timestamp,
}

/// What can be exchanged while running, beside the policy.
#[derive(Clone)]
struct InForce {
    credentials: Credentials,
    /// DER.
    crls: Vec<Bytes>,
    /// What agencies are given when they ask for their certificate.
    certificates: Arc<Certificates>,
}

impl Shared {
    /// Starts a task that is to run as long as the broker does.
    fn spawn(&self, what: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.watch.over(what, self.tasks.spawn(task).abort_handle());
    }

    /// What decisions are made by at present.
    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why files that lie there are not in force.
    fn refused(&self) -> Vec<String> {
        self.refused.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace_refused(&self, problems: &[FileProblem]) {
        let sentences = problems.iter().map(ToString::to_string).collect();
        *self.refused.write().unwrap_or_else(PoisonError::into_inner) = sentences;
    }

    fn replace_in_force(&self, in_force: InForce) {
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(in_force);
    }

    /// Signs a statement of this broker.
    fn sign(
        &self,
        kind: ReceiptKind,
        about: (Option<NoticeId>, Digest),
        recipient: Option<AgencyId>,
        refusal: Option<Refusal>,
    ) -> SignedReceipt {
        let (notice_id, header_digest) = about;
        let issuer = self.identity.clone();
        Receipt {
            kind,
            notice_id,
            header_digest,
            issuer,
            recipient,
            at: now(),
            officer: None,
            refusal,
            portions: Vec::new(),
            cause: None,
        }
        .sign(&self.receipt_key)
    }

    fn sign_acceptance(&self, envelope: &Envelope) -> SignedReceipt {
        let about = (Some(envelope.header().notice_id), envelope.header_digest());
        self.sign(ReceiptKind::Accepted, about, None, None)
    }
}

/// The broker's clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A running broker. Several can run in one process, each with a data folder of its own. Dropping it without
/// [`Broker::stop`] or [`Broker::kill`] leaves its tasks running until the runtime ends.
pub struct Broker {
    shared: Arc<Shared>,
    committer: Committer,
    driver: tokio::task::JoinHandle<()>,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Broker({} at {})", self.shared.identity, self.shared.local_addr)
    }
}

/// Loads and checks everything a broker with this configuration would start from, and changes nothing.
///
/// # Errors
/// [`FilesError`], with every problem that could be found.
pub fn check(config: &Config) -> Result<NodeFiles, FilesError> {
    let mut files = NodeFiles::load(config, now())?;
    held::check(config, &mut files, now()).map(|()| files)
}

impl Broker {
    /// Starts a broker: opens its store, listens, and serves until it is stopped. It needs a multi-threaded tokio
    /// runtime or one that is never blocked.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let opening = config.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let mut files = NodeFiles::load(&opening, now())?;
            let store = SledStore::open(&opening.data)?;
            held::check(&opening, &mut files, now())?;
            let spool = Spool::new(&opening.renewal_spool);
            spool.create().map_err(system("the spool of renewal requests cannot be made"))?;
            // Of requests from before the last stop only those that are older than what is published are surely granted.
            let certificates = &files.certificates;
            spool.settle(|request| {
                certificates.grants(request, &files.directory, (certificates, &files.directory))
            });
            Ok::<_, StartError>((files, store, spool))
        });
        let interrupted =
            |error: tokio::task::JoinError| system("starting was interrupted")(std::io::Error::other(error));
        let (files, store, spool) = opened.await.map_err(interrupted)??;
        Self::start_with(config, files, store, Arc::new(spool))
    }

    fn start_with(
        config: Config,
        files: NodeFiles,
        store: SledStore,
        spool: Arc<Spool>,
    ) -> Result<Self, StartError> {
        let publication = files.publication();
        let NodeFiles { credentials, receipt_key, trust, directory, crls, anchors, certificates, warnings } =
            files;
        for warning in &warnings {
            tracing::warn!(%warning, "the broker runs without this file");
        }
        let refused = warnings.iter().map(ToString::to_string).collect();
        let status = status::listen(&config.status_socket)?;
        held::keep_directory(&config, &directory).map_err(FilesError::from)?;
        held::keep_crls(&config, &crls).map_err(FilesError::from)?;
        let reader = store.reader();
        let workers =
            rayon::ThreadPoolBuilder::new().thread_name(|n| format!("valise-verify-{n}")).build()?;
        let transport = Transport::new(credentials.clone(), anchors, config.transport_options());
        let server = Server::bind(&transport, config.listen)?;
        let local_addr = server.local_addr().map_err(system("the listening address cannot be read"))?;
        let (committer, handle) = Committer::start(store).map_err(system("no committer thread"))?;
        let (metrics, watch) = watch::listen(config.metrics_listen)?;
        let policy = Policy { directory: Arc::new(directory), limits: config.limits.wire.clone() };
        let core = Core::new(policy.clone(), publication, config.limits.core, now());
        let (inputs, inputs_receiver) = mpsc::channel(INPUTS_MAX);
        let (queued, queued_receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            identity: credentials.identity().clone(),
            local_addr,
            receipt_key,
            trust,
            policy: RwLock::new(Arc::new(policy)),
            in_force: RwLock::new(Arc::new(InForce {
                credentials,
                crls,
                certificates: Arc::new(certificates),
            })),
            reloading: Mutex::new(()),
            refused: RwLock::new(refused),
            transport,
            committer: handle,
            reader,
            spool,
            workers,
            watch,
            inputs,
            queued,
            disk: disk::DiskRoom::new(config.data.clone(), config.limits.disk_reserve_bytes),
            shares: shares::Shares::new(&config.limits),
            sessions: TaskTracker::new(),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            stop: CancellationToken::new(),
            started_at: now(),
            config,
        });
        let driver = driver::Driver::new(core, Arc::clone(&shared));
        let driver = tokio::spawn(driver.run(inputs_receiver, queued_receiver));
        shared.watch.over("the core", driver.abort_handle());
        shared.spawn("listening for agencies", session::accept_all(server, Arc::clone(&shared)));
        shared.spawn("watching for newer files", reload::watch(Arc::clone(&shared)));
        shared.spawn("watching what runs out", freshness::watch(Arc::clone(&shared)));
        shared.spawn("watching for room on the disk", disk::watch(Arc::clone(&shared)));
        shared.spawn("the status socket", status::serve(status, Arc::clone(&shared)));
        if let Some(control) = control::listen(&shared) {
            shared.spawn("the socket for backups", control::serve(control, Arc::clone(&shared)));
        }
        if let Some(metrics) = metrics {
            shared.tasks.spawn(watch::serve(metrics, Arc::clone(&shared)));
        }
        tracing::info!(identity = %shared.identity, listen = %local_addr, "the broker is running");
        Ok(Self { shared, committer, driver })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &SpiffeId {
        &self.shared.identity
    }

    /// Reads the watched files now; what is newer is in force when this returns.
    ///
    /// # Errors
    /// [`FilesError`] for what was refused; there, what was in force stays in force.
    pub async fn reload(&self) -> Result<(), FilesError> {
        reload::reload(&self.shared).await
    }

    /// What `valise-broker status` shows.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn status(&self) -> Result<Status, StoreError> {
        status::gather(&self.shared).await
    }

    /// Waits until the store has failed. Nothing is accepted from then on; the process must end.
    pub async fn failed(&self) -> StoreError {
        self.shared.committer.failed().await
    }

    /// Stops in order: takes nothing new, commits and answers what was taken, says goodbye to every agency, and lets
    /// the data folder go.
    pub async fn stop(self) {
        self.shared.draining.cancel();
        if self.shared.inputs.send(driver::Input::Shutdown).await.is_err() {
            tracing::warn!("the core had stopped already");
        }
        // Twice the time a session is given, so that only what hangs is cut off.
        let deadline = Instant::now() + 2 * self.shared.config.limits.goodbye_timeout;
        self.shared.sessions.close();
        if timeout_at(deadline, self.shared.sessions.wait()).await.is_err() {
            tracing::warn!("not every session ended in time; they are closed now");
        }
        self.end().await;
        tracing::info!("the broker has stopped");
    }

    /// Stops at once, as far as a process can stop as in a crash: nothing more is committed, answered or said. The
    /// data folder is free when this returns.
    pub async fn kill(self) {
        self.committer.abort();
        self.driver.abort();
        self.end().await;
    }

    async fn end(self) {
        let Self { shared, committer, driver } = self;
        let deadline = Instant::now() + END_MAX;
        shared.stop.cancel();
        let finished = async {
            // An error says that it was aborted, which is what was asked for.
            let _ = driver.await;
            shared.tasks.close();
            shared.tasks.wait().await;
            shared.sessions.close();
            shared.sessions.wait().await;
        };
        let in_time = timeout_at(deadline, finished).await.is_ok();
        let left = Arc::downgrade(&shared);
        drop(shared);
        // The committer's thread ends with the last handle; work on other threads may hold one for a moment more.
        while left.strong_count() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if !in_time || left.strong_count() > 0 {
            tracing::error!("some tasks did not end; the data folder is in use until the process ends");
            return;
        }
        if tokio::task::spawn_blocking(move || committer.join()).await.is_err() {
            tracing::error!("waiting for the committer failed");
        }
    }
}

fn system(what: &'static str) -> impl Fn(std::io::Error) -> StartError {
    move |source| StartError::System { what, source }
}
