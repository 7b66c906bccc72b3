//! The shell: carries the core's effects out against the store and the transport.
//!
//! | task | what it does |
//! |---|---|
//! | [`driver`] | owns the core; the only place where its state changes |
//! | [`session`] | one per connection: the session stream, and whichever streams the agency opens |
//! | [`intake`] | one per submit stream: verification on every core, then group commit |
//! | [`outgoing`] | one per receive stream: deliveries out, acknowledgements in |
//! | [`reload`] | watches the files that the authority publishes |
//! | [`status`] | answers `valise-broker status` on a Unix socket |
//!
//! Queues between tasks are bounded, or hold no more than what a bounded one let in.

mod driver;
mod files;
mod intake;
mod outgoing;
mod reload;
mod session;
mod status;

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use valise_proto::crypto::SigningKey;
use valise_proto::envelope::{Envelope, Precedence};
use valise_proto::id::{AgencyId, Digest, NoticeId, SpiffeId, Timestamp};
use valise_proto::receipt::{Receipt, ReceiptKind, SignedReceipt};
use valise_proto::refusal::Refusal;
use valise_transport::{Server, Transport, TransportError};

pub use files::{FilesError, NodeFiles};
pub use status::{QueueDepth, Status};

use crate::config::Config;
use crate::core::{Core, Policy};
use crate::store::{Committer, CommitterHandle, Reader, SledStore, StoreError};

/// Inputs waiting for the core; beyond it, tasks wait.
const INPUTS_MAX: usize = 1024;

/// Why a broker cannot start. Nothing was changed.
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
    receipt_key: SigningKey,
    policy: RwLock<Arc<Policy>>,
    transport: Transport,
    committer: CommitterHandle,
    reader: Reader,
    workers: rayon::ThreadPool,
    inputs: mpsc::Sender<driver::Input>,
    /// Told by the committer's thread, which must not wait.
    queued: mpsc::UnboundedSender<Vec<(AgencyId, Precedence)>>,
    /// Bytes of envelopes between the socket and the disk, in KiB.
    intake_kib: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
    started_at: Timestamp,
}

impl Shared {
    /// What decisions are made by at present.
    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
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
        Receipt { kind, notice_id, header_digest, issuer, recipient, at: now(), officer: None, refusal }
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

/// A running broker. Dropping it without [`Broker::stop`] leaves its tasks running until the runtime ends.
pub struct Broker {
    shared: Arc<Shared>,
    committer: Committer,
    local_addr: SocketAddr,
    driver: tokio::task::JoinHandle<()>,
}

impl Broker {
    /// Opens the store, reads the files and listens. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: Config) -> Result<Self, StartError> {
        let files = NodeFiles::load(&config)?;
        files.check(&config, now())?;
        let store = SledStore::open(&config.data)?;
        let reader = store.reader();
        let transport = Transport::new(files.credentials, files.anchors, config.transport_options());
        let server = Server::bind(&transport, config.listen)?;
        let system = |what| move |source| StartError::System { what, source };
        let local_addr = server.local_addr().map_err(system("the listening address cannot be read"))?;
        let (committer, handle) = Committer::start(store).map_err(system("no committer thread"))?;
        let workers = rayon::ThreadPoolBuilder::new().thread_name(|n| format!("valise-verify-{n}")).build()?;
        let policy = Policy { directory: Arc::new(files.directory), limits: config.limits.wire.clone() };
        let core = Core::new(policy.clone(), files.publication, config.limits.core, now());
        let (inputs, inputs_receiver) = mpsc::channel(INPUTS_MAX);
        let (queued, queued_receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            identity: transport.identity(),
            receipt_key: files.receipt_key,
            policy: RwLock::new(Arc::new(policy)),
            transport,
            committer: handle,
            reader,
            workers,
            inputs,
            queued,
            intake_kib: Arc::new(Semaphore::new(config.limits.intake_bytes_max / 1024)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            started_at: now(),
            config,
        });
        let driver = driver::Driver::new(core, Arc::clone(&shared));
        let driver = tokio::spawn(driver.run(inputs_receiver, queued_receiver));
        shared.tasks.spawn(session::accept_all(server, Arc::clone(&shared)));
        shared.tasks.spawn(reload::watch(Arc::clone(&shared)));
        shared.tasks.spawn(status::serve(Arc::clone(&shared)));
        tracing::info!(identity = %shared.identity, listen = %local_addr, "broker started");
        Ok(Self { shared, committer, local_addr, driver })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Reads the published files again now; what has changed is applied.
    ///
    /// # Errors
    /// [`FilesError`]; then what was in force stays in force.
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

    /// Says goodbye to every agency, commits what was submitted, and stops.
    pub async fn stop(self) {
        let Self { shared, committer, driver, .. } = self;
        // The driver ends the sessions; streams that still wait for a commit get their answer before it ends.
        if shared.inputs.send(driver::Input::Shutdown).await.is_err() {
            tracing::warn!("the core had stopped already");
        }
        let _ = driver.await;
        shared.stop.cancel();
        shared.tasks.close();
        shared.tasks.wait().await;
        drop(shared);
        let joined = tokio::task::spawn_blocking(move || committer.join()).await;
        if joined.is_err() {
            tracing::error!("waiting for the committer failed");
        }
        tracing::info!("broker stopped");
    }
}
