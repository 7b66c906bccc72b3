//! The daemon: the shell that joins the core to the store, the network and the local API.
//!
//! One task owns the core ([`engine`]); one thread makes changes durable, many at a time ([`committer`]); one task
//! per connection speaks the wire ([`link`], [`streams`]). Several nodes can run in one process, each with a data
//! folder of its own.

mod committer;
mod engine;
mod link;
pub mod office;
mod publication;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use rand_core::Rng;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use valise_proto::id::{AgencyId, NoticeId};
use valise_transport::{Anchors, AnchorsError, Options, Transport};

use crate::api;
use crate::clock::{Clock, randomness};
use crate::config::Config;
use crate::core::{Core, NotQueued, Outgoing, Reading};
use crate::enrol::{EnrolError, Membership};
use crate::node::engine::{Engine, Input};
use crate::node::link::Dialler;
use crate::node::office::Office;
use crate::store::{Store, StoreError};
use crate::vault::{Vault, VaultError};

pub use link::LinkState;

/// Most messages that wait for the core.
const INPUTS_MAX: usize = 1024;
/// How long a stopping node waits for what is under way.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Why a node did not start. Nothing was changed.
#[derive(Debug, Error)]
pub enum StartError {
    /// The keys.
    #[error("{0}")]
    Vault(#[from] VaultError),
    /// The membership.
    #[error("{0}")]
    Enrol(#[from] EnrolError),
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The roots of trust or revocation lists.
    #[error("{0}")]
    Anchors(#[from] AnchorsError),
    /// The local API.
    #[error("{0}")]
    Api(#[from] api::ListenError),
}

/// Why a running node gave up.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Failure(String);

/// What tests set differently.
#[derive(Clone, Debug, Default)]
pub struct NodeOptions {
    /// What tells the time.
    pub clock: Clock,
    /// Limits and times of the transport.
    pub transport: Options,
    /// Stay without a connection.
    pub offline: bool,
}

/// How everything else reaches a running node's core.
#[derive(Clone, Debug)]
pub struct Desk {
    office: Arc<Office>,
    inputs: mpsc::Sender<Input>,
    link: watch::Receiver<LinkState>,
    changes: watch::Receiver<u64>,
    outbox: watch::Receiver<usize>,
}

/// The node has stopped, or is about to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the node is stopping; try again when it has been started: valise-agent run")]
pub struct Gone;

/// Why a notice was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SendError {
    /// The core refused.
    #[error("{0}")]
    NotQueued(#[from] NotQueued),
    /// The node is gone.
    #[error("{0}")]
    Gone(#[from] Gone),
}

impl Desk {
    /// What the node acts with.
    #[must_use]
    pub fn office(&self) -> &Arc<Office> {
        &self.office
    }

    /// The connection, as it is now.
    #[must_use]
    pub fn link(&self) -> LinkState {
        self.link.borrow().clone()
    }

    /// How many envelopes wait to be accepted.
    #[must_use]
    pub fn outbox_len(&self) -> usize {
        *self.outbox.borrow()
    }

    /// Changes whenever something is recorded.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Puts a signed envelope into the outbox; returns once it is on stable storage.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(&self, outgoing: Outgoing) -> Result<(), SendError> {
        let (reply, answer) = oneshot::channel();
        let input = Input::Send { outgoing: Box::new(outgoing), reply };
        self.inputs.send(input).await.map_err(|_| Gone)?;
        Ok(answer.await.map_err(|_| Gone)??)
    }

    /// Records that an officer is about to be shown a notice; returns once that is on stable storage.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn record_reading(&self, reading: Reading) -> Result<(), Gone> {
        let (reply, answer) = oneshot::channel();
        let input = Input::Read { reading: Box::new(reading), reply };
        self.inputs.send(input).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Waits until `met` holds of the store, or `timeout` has passed; returns whether it holds.
    ///
    /// # Errors
    /// What `met` says.
    pub async fn wait_until<E>(
        &self,
        timeout: Duration,
        mut met: impl FnMut(&Store) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let deadline = tokio::time::Instant::now() + timeout;
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            if met(self.office.store())? {
                return Ok(true);
            }
            match tokio::time::timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return met(self.office.store()),
            }
        }
    }
}

/// A running node. Dropping the handle kills it.
#[derive(Debug)]
pub struct NodeHandle {
    desk: Desk,
    tasks: TaskTracker,
    cancel: DropGuard,
    failure: watch::Receiver<Option<Failure>>,
}

/// A node that has joined an exchange.
#[derive(Debug)]
pub struct Node;

impl Node {
    /// Starts a node: opens its keys and store, serves its local API, and connects to the exchange.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config, options: NodeOptions) -> Result<NodeHandle, StartError> {
        let vault = Vault::open(&config.folder)?;
        let membership = Membership::open(&config.folder, &vault)?;
        let Membership { agency, trust, directory, credentials, crls } = membership;
        let anchors = Anchors::new(trust.trust_domain.clone(), &trust.anchors, &crls)?;
        let store = Store::open(&config.folder.store(), vault.store_key())?;
        let memory = store.memory()?;
        let listener = api::listen(&config.socket)?;
        let transport = Transport::new(credentials, anchors, options.transport);

        let core = Core::new(memory, config.outbox_max, randomness().next_u64());
        let office = Arc::new(Office::new(config, options.clock, vault, store, (agency, trust, directory)));
        let tasks = TaskTracker::new();
        let cancel = CancellationToken::new();
        let (inputs, received) = mpsc::channel(INPUTS_MAX);
        let (failed, failure) = watch::channel(None);
        let dialler = Dialler::new(Arc::clone(&office), transport, inputs.clone(), options.offline);
        let (engine, views) =
            Engine::new(core, Arc::clone(&office), dialler, failed, (tasks.clone(), cancel.clone()));
        let desk = Desk {
            office,
            inputs: inputs.clone(),
            link: views.link,
            changes: views.changes,
            outbox: views.outbox,
        };
        tasks.spawn(engine.run(received, inputs));
        tasks.spawn(api::serve(listener, desk.clone(), cancel.clone()));
        tracing::info!(agency = %desk.office.agency(), directory = desk.office.directory().version(), "the node is running");
        Ok(NodeHandle { desk, tasks, cancel: cancel.drop_guard(), failure })
    }
}

impl NodeHandle {
    /// Who the node is.
    #[must_use]
    pub fn agency(&self) -> &AgencyId {
        self.desk.office.agency()
    }

    /// How to reach its core.
    #[must_use]
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Waits until the node gives up; that is when its store fails.
    pub async fn failed(&self) -> Failure {
        let mut failure = self.failure.clone();
        let found = failure.wait_for(Option::is_some).await.ok().and_then(|failure| failure.clone());
        found.unwrap_or_else(|| Failure("the node has stopped".to_owned()))
    }

    /// Waits, at most `timeout`, until the node is connected; returns whether it is.
    pub async fn connected(&self, timeout: Duration) -> bool {
        let mut link = self.desk.link.clone();
        let up = link.wait_for(|state| matches!(state, LinkState::Up { .. }));
        matches!(tokio::time::timeout(timeout, up).await, Ok(Ok(_)))
    }

    /// Waits, at most `timeout`, until a notice was received; returns whether it was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_received(&self, notice_id: &NoticeId, timeout: Duration) -> Result<bool, StoreError> {
        self.desk.wait_until(timeout, |store| Ok(store.received(notice_id)?.is_some())).await
    }

    /// Stops in order: finishes what is under way, says goodbye, and lets the data folder go.
    pub async fn stop(self) {
        let (reply, stopped) = oneshot::channel();
        if self.desk.inputs.send(Input::Stop { reply }).await.is_ok() {
            // An error says that the engine is gone already, which is what was asked for.
            let _ = tokio::time::timeout(DRAIN_MAX, stopped).await;
        }
        self.kill().await;
    }

    /// Stops at once, as a crash would, and lets the data folder go.
    pub async fn kill(self) {
        let Self { desk, tasks, cancel, failure } = self;
        drop(cancel);
        tasks.close();
        let office = Arc::downgrade(&desk.office);
        drop((desk, failure));
        tasks.wait().await;
        // Blocking work that was under way still holds the store for a moment.
        while office.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
