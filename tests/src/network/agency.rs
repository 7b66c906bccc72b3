//! One agency of a network.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::process::Command;
use tokio::sync::Mutex;
use valise_agent::api::client::{ClientError, LocalClient};
use valise_agent::api::types::{Direction, InboxEntry, NoticeFacts, NoticeStatus, OpenedNotice, Queued};
use valise_agent::clock::Clock;
use valise_agent::config::Config;
use valise_agent::folder::Folder;
use valise_agent::node::{Node, NodeHandle, NodeOptions};
use valise_proto::id::{AgencyId, NoticeId};

use super::binaries::binary;
use super::process::{self, Process, Ran};
use super::room::Room;
use super::spec::{AgencySpec, Mode};
use super::{NetworkError, Sent};
use crate::DEADLINE;
use crate::relay::{Direction as Way, Faults, Relay};
use crate::scrape::{self, Scrape};
use crate::wait::until;

/// Silence after which an agency of a network gives a connection up: short, so that partitions are noticed quickly.
const IDLE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: AgencyId,
    pub(super) spec: AgencySpec,
    pub(super) config: Config,
    pub(super) relay: Relay,
    pub(super) mode: Mode,
    /// What its process is given.
    pub(super) room: std::sync::Mutex<Room>,
    /// By how many milliseconds its clock is ahead, inside this process.
    pub(super) clock_ahead: Arc<AtomicU64>,
    /// How long an expectation waits.
    pub(super) patience: Duration,
    pub(super) node: Mutex<Option<Running>>,
}

#[derive(Debug)]
pub(super) enum Running {
    InProcess(NodeHandle),
    Process(Process),
}

impl Member {
    pub(super) async fn start(&self) -> Result<(), NetworkError> {
        let mut node = self.node.lock().await;
        if node.is_some() {
            return Err(NetworkError::State(format!("{} runs already", self.id)));
        }
        let failed = NetworkError::start(&self.id);
        *node = Some(match self.mode {
            Mode::InProcess => {
                let mut options = NodeOptions { clock: self.clock(), ..NodeOptions::default() };
                options.transport.idle_timeout = IDLE;
                options.transport.keep_alive = IDLE / 3;
                let started = Node::start(self.config.clone(), options).await;
                Running::InProcess(started.map_err(|error| failed(error.to_string()))?)
            }
            Mode::Process => {
                let data = self.config.folder.path();
                let log = self.log();
                let arguments = ["run".as_ref(), "--data".as_ref(), data];
                let room = self.room.lock().unwrap_or_else(PoisonError::into_inner).clone();
                Running::Process(Process::start(&binary("valise-agent")?, &room, &arguments, &log)?)
            }
        });
        drop(node);
        until(&format!("{} listening on its socket", self.id), DEADLINE, async || {
            if let Some(Running::Process(process)) = self.node.lock().await.as_mut()
                && let Some(end) = process.ended()
            {
                return Ok(Err(failed(end)));
            }
            self.client().status().await.map(|_| Ok(()))
        })
        .await?
    }

    /// The machine's clock, as far ahead as a test has set it.
    fn clock(&self) -> Clock {
        let ahead = Arc::clone(&self.clock_ahead);
        Clock::new(move || Clock::system().now().plus(Duration::from_millis(ahead.load(Ordering::Relaxed))))
    }

    fn log(&self) -> PathBuf {
        self.config.folder.path().with_extension("log")
    }

    pub(super) fn client(&self) -> LocalClient {
        LocalClient::new(&self.config)
    }

    async fn process_id(&self) -> Option<u32> {
        match self.node.lock().await.as_ref() {
            Some(Running::Process(process)) => process.id(),
            Some(Running::InProcess(_)) | None => None,
        }
    }

    pub(super) async fn kill(&self) {
        match self.node.lock().await.take() {
            Some(Running::InProcess(node)) => node.kill().await,
            Some(Running::Process(process)) => process.kill().await,
            None => {}
        }
    }

    pub(super) async fn stop(&self) -> Result<(), NetworkError> {
        match self.node.lock().await.take() {
            Some(Running::InProcess(node)) => {
                node.stop().await;
                Ok(())
            }
            Some(Running::Process(process)) => process.terminate().await,
            None => Ok(()),
        }
    }
}

/// A handle to one agency of a network. Calls to an agency that the network does not have give
/// [`NetworkError::NoSuchAgency`].
#[derive(Clone, Copy, Debug)]
pub struct Agency<'n> {
    pub(super) name: &'n str,
    pub(super) member: Option<&'n Member>,
}

impl<'n> Agency<'n> {
    fn member(&self) -> Result<&'n Member, NetworkError> {
        self.member.ok_or_else(|| NetworkError::NoSuchAgency(self.name.to_owned()))
    }

    /// Its id.
    ///
    /// # Errors
    /// [`NetworkError::NoSuchAgency`].
    pub fn id(&self) -> Result<&'n AgencyId, NetworkError> {
        Ok(&self.member()?.id)
    }

    /// Its data folder.
    ///
    /// # Errors
    /// [`NetworkError::NoSuchAgency`].
    pub fn folder(&self) -> Result<Folder, NetworkError> {
        Ok(self.member()?.config.folder.clone())
    }

    /// Its local API.
    ///
    /// # Errors
    /// [`NetworkError::NoSuchAgency`].
    pub fn client(&self) -> Result<LocalClient, NetworkError> {
        Ok(self.member()?.client())
    }

    /// What its node wrote to its log, where it runs as a process.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn log(&self) -> Result<String, NetworkError> {
        let path = self.member()?.log();
        std::fs::read_to_string(&path).map_err(NetworkError::io(&path))
    }

    /// Its node's process id, where it runs as a process.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn process_id(&self) -> Result<Option<u32>, NetworkError> {
        Ok(self.member()?.process_id().await)
    }

    /// What its node tells whoever watches it at `/metrics`, `/healthz` or `/readyz`; `metrics_listen` must be in its
    /// configuration.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn scrape(&self, path: &str) -> Result<Scrape, NetworkError> {
        scrape::scrape(self.member()?.client().status().await?.metrics_listen, path).await
    }

    /// Runs `valise-agent` on its data folder, as an operator does.
    ///
    /// # Errors
    /// [`NetworkError`] where it cannot be run; how it ended is for the caller to look at.
    pub async fn run(&self, arguments: &[&str]) -> Result<Ran, NetworkError> {
        let mut command = Command::new(binary("valise-agent")?);
        command.arg("--data").arg(self.member()?.config.folder.path()).args(arguments);
        process::run(command).await
    }

    /// Its node, where it runs inside this process.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn with_node<T>(&self, look: impl AsyncFnOnce(&NodeHandle) -> T) -> Result<T, NetworkError> {
        match self.member()?.node.lock().await.as_ref() {
            Some(Running::InProcess(node)) => Ok(look(node).await),
            Some(Running::Process(_)) | None => {
                Err(NetworkError::State(format!("{} does not run inside this process", self.name)))
            }
        }
    }

    /// Sends a notice: a builder of [`crate::notices`], or JSON as an author writes it. It is on the agency's stable
    /// storage when this returns.
    ///
    /// # Errors
    /// [`NetworkError::Client`] with the node's reasons.
    pub async fn send(&self, notice: impl Into<serde_json::Value>) -> Result<Sent, NetworkError> {
        let json = Bytes::from(notice.into().to_string());
        let Queued { notice_id, recipients, .. } = self.member()?.client().send(json).await?;
        Ok(Sent { id: notice_id, recipients })
    }

    /// What became of a notice sent from here.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn status_of(&self, notice: impl Into<NoticeId>) -> Result<NoticeStatus, NetworkError> {
        Ok(self.member()?.client().notice_status(&notice.into()).await?)
    }

    /// Waits until the broker has accepted a notice sent from here.
    ///
    /// # Errors
    /// [`NetworkError::NotInTime`], also where it was refused.
    pub async fn expect_accepted(&self, notice: impl Into<NoticeId>) -> Result<NoticeStatus, NetworkError> {
        let (client, id) = (self.member()?.client(), notice.into());
        let accepted = async || {
            let status = client.notice_status(&id).await.map_err(|error| error.to_string())?;
            if status.state == "ACCEPTED" {
                Ok(status)
            } else {
                Err(format!("{} {:?}", status.state, status.reason))
            }
        };
        self.until(&format!("the acceptance of {id} from {}", self.name), accepted).await
    }

    /// Waits until the originator, this agency, holds a receipt of `kind` (`DELIVERED`, `READ`, …) from `recipient`.
    ///
    /// # Errors
    /// [`NetworkError::NotInTime`].
    pub async fn expect_receipt(
        &self,
        notice: impl Into<NoticeId>,
        recipient: &str,
        kind: &str,
    ) -> Result<(), NetworkError> {
        let (client, id) = (self.member()?.client(), notice.into());
        let holds = async || {
            let status = client.notice_status(&id).await.map_err(|error| error.to_string())?;
            let steps = status.recipients.into_iter().filter(|one| one.agency.as_str() == recipient);
            let kinds: Vec<String> = steps.flat_map(|one| one.steps).map(|step| step.kind).collect();
            if kinds.iter().any(|held| held == kind) { Ok(()) } else { Err(format!("{kinds:?}")) }
        };
        self.until(&format!("a {kind} receipt from {recipient} about {id}"), holds).await
    }

    /// Waits until a notice has arrived here and stands in the inbox, and returns what its header tells.
    ///
    /// # Errors
    /// [`NetworkError::NotInTime`].
    pub async fn expect_notice(&self, notice: impl Into<NoticeId>) -> Result<NoticeFacts, NetworkError> {
        let (client, id) = (self.member()?.client(), notice.into());
        let arrived = async || match client.notice(&id).await {
            Ok(facts) if facts.direction == Direction::Received => Ok(facts),
            Ok(_) => Err("it was sent from here".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        self.until(&format!("the arrival of {id} at {}", self.name), arrived).await
    }

    /// The inbox, newest first.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn inbox(&self) -> Result<Vec<InboxEntry>, NetworkError> {
        Ok(self.member()?.client().inbox(1000).await?)
    }

    /// Opens a received notice for an officer.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn read(
        &self,
        notice: impl Into<NoticeId>,
        officer: &str,
    ) -> Result<OpenedNotice, NetworkError> {
        Ok(self.member()?.client().read(&notice.into(), officer).await?)
    }

    /// Waits until it is connected to the broker.
    ///
    /// # Errors
    /// [`NetworkError::NotInTime`].
    pub async fn expect_connected(&self) -> Result<(), NetworkError> {
        self.expect_link(true, self.member()?.patience).await.map(|_| ())
    }

    /// Waits until it is not connected, and returns the reason it gives.
    ///
    /// # Errors
    /// [`NetworkError::NotInTime`].
    pub async fn expect_disconnected(&self) -> Result<String, NetworkError> {
        self.expect_link(false, self.member()?.patience).await
    }

    /// Waits until it is not connected for a reason that contains `words`, and returns the whole of it.
    ///
    /// # Errors
    /// [`NetworkError::NotInTime`].
    pub async fn expect_disconnected_because(&self, words: &str) -> Result<String, NetworkError> {
        let client = self.member()?.client();
        let look = async || {
            let connection = client.status().await.map_err(|error| error.to_string())?.connection;
            let reason = connection.reason.clone().filter(|reason| reason.contains(words));
            reason.ok_or_else(|| format!("{connection:?}"))
        };
        self.until(&format!("{} being disconnected because `{words}`", self.name), look).await
    }

    pub(super) async fn expect_link(
        &self,
        connected: bool,
        within: Duration,
    ) -> Result<String, NetworkError> {
        let client = self.member()?.client();
        let what = if connected { "connected" } else { "disconnected" };
        let look = async || match client.status().await {
            Ok(status) if status.connection.connected == connected => {
                Ok(status.connection.reason.unwrap_or_default())
            }
            Ok(status) => Err(format!("{:?}", status.connection)),
            Err(error) => Err(error.to_string()),
        };
        Ok(until(&format!("{} being {what}", self.name), within, look).await?)
    }

    async fn until<T, E: std::fmt::Debug>(
        &self,
        what: &str,
        look: impl AsyncFnMut() -> Result<T, E>,
    ) -> Result<T, NetworkError> {
        Ok(until(what, self.member()?.patience, look).await?)
    }

    /// Waits until its directory has at least this version.
    ///
    /// # Errors
    /// [`NetworkError::NotInTime`].
    pub async fn expect_directory(&self, version: u64) -> Result<(), NetworkError> {
        let client = self.member()?.client();
        let look = async || match client.status().await {
            Ok(status) if status.directory.version >= version => Ok(()),
            Ok(status) => Err(format!("version {}", status.directory.version)),
            Err(error) => Err(error.to_string()),
        };
        self.until(&format!("directory version {version} at {}", self.name), look).await
    }

    /// Starts its node.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn start(&self) -> Result<(), NetworkError> {
        self.member()?.start().await
    }

    /// Stops its node in order.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn stop(&self) -> Result<(), NetworkError> {
        self.member()?.stop().await
    }

    /// Kills its node: `kill -9` for a process; inside this process, everything is dropped at once.
    ///
    /// # Errors
    /// [`NetworkError::NoSuchAgency`].
    pub async fn kill(&self) -> Result<(), NetworkError> {
        self.member()?.kill().await;
        Ok(())
    }

    /// Cuts it off from the broker, both ways, until [`Agency::reconnect`].
    ///
    /// # Errors
    /// [`NetworkError::NoSuchAgency`].
    pub fn partition(&self) -> Result<(), NetworkError> {
        self.set_faults(Faults::CUT)
    }

    /// Ends every fault between it and the broker.
    ///
    /// # Errors
    /// [`NetworkError::NoSuchAgency`].
    pub fn reconnect(&self) -> Result<(), NetworkError> {
        self.set_faults(Faults::NONE)
    }

    /// Sets the faults of both directions between it and the broker.
    ///
    /// # Errors
    /// [`NetworkError::NoSuchAgency`].
    pub fn set_faults(&self, faults: Faults) -> Result<(), NetworkError> {
        let relay = &self.member()?.relay;
        relay.set_faults(Way::ToBroker, faults);
        relay.set_faults(Way::ToAgency, faults);
        Ok(())
    }

    /// Gives it another address towards the broker, in the middle of whatever is under way.
    ///
    /// # Errors
    /// [`NetworkError::NoSuchAgency`].
    pub fn change_address(&self) -> Result<(), NetworkError> {
        self.member()?.relay.change_address();
        Ok(())
    }

    /// Sets the clock of its node ahead of the machine's, where it runs inside this process; zero sets it right again. Its
    /// transport judges certificates by the machine's all the same.
    ///
    /// # Errors
    /// [`NetworkError::NoSuchAgency`].
    pub fn set_clock_ahead(&self, ahead: Duration) -> Result<(), NetworkError> {
        let millis = u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX);
        self.member()?.clock_ahead.store(millis, Ordering::Relaxed);
        Ok(())
    }

    /// How much room it has from its next start on, as a process.
    ///
    /// # Errors
    /// [`NetworkError::NoSuchAgency`].
    pub fn set_room(&self, room: Room) -> Result<(), NetworkError> {
        *self.member()?.room.lock().unwrap_or_else(PoisonError::into_inner) = room;
        Ok(())
    }

    /// Waits until its process has ended by itself, and returns how, with what it said last.
    ///
    /// # Errors
    /// [`NetworkError::NotInTime`].
    pub async fn expect_end(&self) -> Result<String, NetworkError> {
        let member = self.member()?;
        let look = async || match member.node.lock().await.as_mut() {
            Some(Running::Process(process)) => process.ended().ok_or("it runs"),
            Some(Running::InProcess(_)) | None => Err("it is no process"),
        };
        let end = self.until(&format!("the end of {}", self.name), look).await?;
        member.node.lock().await.take();
        Ok(end)
    }

    /// Every file of its data folder.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn files(&self) -> Result<Vec<PathBuf>, NetworkError> {
        super::files_below(self.member()?.config.folder.path())
    }
}

/// Whether a node said that it knows no such notice.
#[must_use]
pub fn is_unknown(error: &NetworkError) -> bool {
    matches!(error, NetworkError::Client(ClientError::Refused(facts)) if facts.code == "UNKNOWN_NOTICE")
}
