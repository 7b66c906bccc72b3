//! The daemon: the shell that joins the core to the store, the network and the local API.
//!
//! One task owns the core ([`engine`]); one thread makes changes durable, many at a time ([`committer`]); one task
//! per connection speaks the wire ([`link`], [`streams`]). Several nodes can run in one process, each with a data
//! folder of its own.

pub mod alarms;
mod committer;
mod engine;
pub mod events;
pub mod freshness;
pub mod handwork;
pub(crate) mod installing;
mod link;
pub mod office;
mod publication;
mod renewals;
mod reviewing;
pub mod showing;
mod streams;
mod upkeep;
pub(crate) mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand_core::Rng;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch as channels};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use valise_proto::enrolment::Trust;
use valise_proto::id::{AgencyId, NoticeId};
use valise_transport::{Anchors, AnchorsError, Options, Revocation, Transport};

use crate::api;
use crate::clock::{Clock, randomness};
use crate::config::Config;
use crate::core::{Change, Core, Depths, Memory, NotQueued, OfficerStep, Outgoing};
use crate::enrol::{EnrolError, Membership};
use crate::folder;
use crate::journal::Entry;
use crate::node::engine::{Engine, Input};
use crate::node::events::Events;
use crate::node::link::Dialler;
use crate::node::office::Office;
use crate::node::watch::Watch;
use crate::officers::guard::Guard;
use crate::store::{Store, StoreError};
use crate::vault::{Vault, VaultError};

pub use link::{Exclusion, LinkState};

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
    /// The directory file is older than one held before, or another under its number.
    #[error(
        "{file} holds directory version {got}, and this node has held version {highest}: the file was put back or exchanged, and a suspension or revocation may be missing from it. Carry the newest publication here: valise-agent install DIR", file = file.display()
    )]
    RolledBack {
        /// The directory file.
        file: PathBuf,
        /// Its version.
        got: u64,
        /// The highest version ever held.
        highest: u64,
    },
    /// A revocation list is older than one held before, or another under its number.
    #[error(
        "{file} holds a revocation list of {issuer} from before one that this node has held, or another under its number: the file was put back or exchanged, and a revocation may be missing from it. Carry the newest publication here: valise-agent install DIR", file = file.display()
    )]
    ListRolledBack {
        /// The file of the lists.
        file: PathBuf,
        /// Whose list.
        issuer: String,
    },
    /// The address for metrics.
    #[error("{address}: cannot listen for metrics: {source}; set another `metrics_listen` in agent.toml")]
    Metrics {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
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
    link: channels::Receiver<LinkState>,
    changes: channels::Receiver<u64>,
    outbox: channels::Receiver<usize>,
    events: Arc<Events>,
    pub(crate) watch: Arc<Watch>,
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

    /// How many envelopes wait to be accepted, by precedence.
    ///
    /// # Errors
    /// [`Gone`].
    pub(crate) async fn outbox_by_precedence(&self) -> Result<Depths, Gone> {
        let (reply, answer) = oneshot::channel();
        self.inputs.send(Input::Outbox { reply }).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// What happened lately.
    #[must_use]
    pub fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// Changes whenever something is recorded.
    #[must_use]
    pub fn changes(&self) -> channels::Receiver<u64> {
        self.changes.clone()
    }

    /// Puts a signed envelope into the outbox; returns once it is on stable storage.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(&self, outgoing: Outgoing) -> Result<(), SendError> {
        self.send_with(outgoing, Vec::new()).await
    }

    /// The same, with changes that come about together with it or not at all.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send_with(&self, outgoing: Outgoing, also: Vec<Change>) -> Result<(), SendError> {
        let (reply, answer) = oneshot::channel();
        let input = Input::Send { outgoing: Box::new(outgoing), also, reply };
        self.inputs.send(input).await.map_err(|_| Gone)?;
        Ok(answer.await.map_err(|_| Gone)??)
    }

    /// Records what an officer does with a received notice, with changes that come about whether it is the first time or
    /// not; returns once that is on stable storage.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn record_step(&self, step: OfficerStep, also: Vec<Change>) -> Result<(), Gone> {
        let (reply, answer) = oneshot::channel();
        let input = Input::Step { step: Box::new(step), also, reply };
        self.inputs.send(input).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Applies changes that concern no notice on its way, all or none; returns once they are on stable storage.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn record(&self, changes: Vec<Change>) -> Result<(), Gone> {
        let (reply, answer) = oneshot::channel();
        self.inputs.send(Input::Record { changes, reply }).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Enters a deed into the access journal; returns once it is on stable storage.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn journal(&self, entry: Entry) -> Result<(), Gone> {
        self.record(vec![Change::Journal(Box::new(entry))]).await
    }

    /// Tells the core that the node's certificate, or its standing with the authority, has changed.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn renewed(&self) -> Result<(), Gone> {
        self.inputs.send(Input::Renewed).await.map_err(|_| Gone)
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
    failure: channels::Receiver<Option<Failure>>,
}

/// What a node acts with, before anything runs.
struct Opened {
    office: Office,
    memory: Memory,
}

impl Opened {
    /// Opens the keys, the membership and the store of a data folder, which no other process may have open.
    fn new(config: Config, clock: Clock, options: Options) -> Result<Self, StartError> {
        let vault = Vault::open(&config.folder)?;
        // Before anything is made: is this folder one that has joined?
        Membership::open(&config.folder, &vault)?;
        let store = Store::open(&config.folder.store(), vault.store_key())?;
        // Under the store's lock: until then another process may have exchanged keys and certificate.
        let vault = Vault::open(&config.folder)?;
        let membership = Membership::open(&config.folder, &vault)?;
        let anchors = anchors_of(&membership.trust, &membership.crls, config.freshness_grace)?;
        let transport = Transport::new(membership.credentials.clone(), anchors, options);
        let memory = store.memory()?;
        let guard = Guard::new(store.officers()?);
        let office = Office::new(config, clock, (vault, store, guard), membership, transport);
        Ok(Self { office, memory })
    }
}

/// By what peers are judged: the roots of `trust` and these revocation lists, gone by for `grace` beyond their end.
fn anchors_of<B: AsRef<[u8]>>(trust: &Trust, crls: &[B], grace: Duration) -> Result<Anchors, AnchorsError> {
    let roots: Vec<&[u8]> = trust.anchors.iter().map(AsRef::as_ref).collect();
    let crls: Vec<&[u8]> = crls.iter().map(AsRef::as_ref).collect();
    Ok(Anchors::new(trust.trust_domain.clone(), &roots, &crls)?.with_grace(grace))
}

impl Office {
    /// Opens what a node acts with while none runs on the data folder, for what is done by hand.
    ///
    /// # Errors
    /// [`StartError`]; [`StoreError::InUse`] inside it where a node runs.
    pub fn at_rest(config: Config, clock: Clock) -> Result<Self, StartError> {
        Ok(Opened::new(config, clock, Options::default())?.office)
    }

    fn anchors<B: AsRef<[u8]>>(&self, crls: &[B]) -> Result<Anchors, AnchorsError> {
        anchors_of(self.trust(), crls, self.config().freshness_grace)
    }

    /// Checks that the directory and the revocation lists were not exchanged for older ones while nothing ran, and
    /// remembers them.
    fn check_not_rolled_back(&self) -> Result<(), StartError> {
        let directory = self.directory();
        let got = directory.version();
        match self.store().highest_directory()? {
            Some(highest) if !highest.allows(&directory) => {
                let file = self.config().folder.directory();
                Err(StartError::RolledBack { file, got, highest: highest.version })
            }
            Some(_) | None => Ok(self.store().note_directory(&directory)?),
        }?;
        self.check_lists_not_rolled_back()
    }

    fn check_lists_not_rolled_back(&self) -> Result<(), StartError> {
        let (anchors, highest) = (self.transport().anchors(), self.store().highest_lists()?);
        let older = |list: &&Revocation| !highest.iter().all(|highest| highest.allows(list));
        match anchors.revocations().iter().find(older) {
            Some(list) => {
                let (file, issuer) = (self.config().folder.crls(), list.issuer.clone());
                Err(StartError::ListRolledBack { file, issuer })
            }
            None => Ok(self.store().note_lists(anchors.revocations())?),
        }
    }
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
        let Opened { office, memory } = Opened::new(config, options.clock, options.transport)?;
        office.check_not_rolled_back()?;
        // A leftover of an installation that was cut short before anything was taken from it.
        folder::remove_folder(&office.config().folder.incoming()).map_err(EnrolError::File)?;
        let listener = api::listen(&office.config().socket)?;
        let tcp = match office.config().api_listen {
            Some(address) => Some(api::tcp::listen(address).await?),
            None => None,
        };
        let (metrics, watch) = watch::listen(office.config().metrics_listen).await?;
        let watch = Arc::new(watch);
        let core = Core::new(memory, office.config().outbox_max, randomness().next_u64());
        let office = Arc::new(office);
        let tasks = TaskTracker::new();
        let cancel = CancellationToken::new();
        let (inputs, received) = mpsc::channel(INPUTS_MAX);
        let (failed, failure) = channels::channel(None);
        let dialler = Dialler::new(Arc::clone(&office), inputs.clone(), options.offline);
        let watching = (failed, Arc::clone(&watch));
        let ends = (tasks.clone(), cancel.clone());
        let (engine, views) = Engine::new(core, Arc::clone(&office), dialler, watching, &inputs, ends);
        let desk = Desk {
            office,
            inputs: inputs.clone(),
            link: views.link,
            changes: views.changes,
            outbox: views.outbox,
            events: views.events,
            watch: Arc::clone(&watch),
        };
        let run = |what, task: JoinHandle<()>| watch.over(what, task.abort_handle());
        run("the core", tasks.spawn(engine.run(received, inputs)));
        run("upkeep", tasks.spawn(upkeep::run(Arc::clone(&desk.office), cancel.clone())));
        if let Some(tcp) = tcp {
            run("the local API on TCP", tasks.spawn(api::tcp::serve(tcp, desk.clone(), cancel.clone())));
        }
        run("the local API", tasks.spawn(api::serve(listener, desk.clone(), cancel.clone())));
        if let Some(metrics) = metrics {
            tasks.spawn(watch::serve(metrics, desk.clone(), cancel.clone()));
        }
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
        let gone = desk.office.gone();
        drop((desk, failure));
        tasks.wait().await;
        // Blocking work that was under way still holds the store for a moment.
        gone.cancelled().await;
    }
}
