//! The broker of a network.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::Mutex;
use valise_broker::config::Config;
use valise_broker::server::{self, Broker, Status};

use super::binaries::binary;
use super::process::{self, Process, Ran};
use super::room::Room;
use super::spec::Mode;
use super::{NetworkError, files_below};
use crate::DEADLINE;
use crate::relay::Relay;
use crate::scrape::{self, Scrape};
use crate::wait::until;

/// Starts, stops, kills and asks the broker.
#[derive(Debug)]
pub struct BrokerControl {
    pub(super) folder: PathBuf,
    pub(super) mode: Mode,
    /// Lines that the builder adds to the configuration.
    pub(super) extra: String,
    /// How long an expectation waits.
    pub(super) patience: Duration,
    /// What its process is given.
    pub(super) room: std::sync::Mutex<Room>,
    pub(super) node: Mutex<Option<Running>>,
    /// The relays of the agencies, which follow the broker from address to address.
    pub(super) relays: std::sync::Mutex<Vec<std::sync::Weak<super::agency::Member>>>,
}

pub(super) enum Running {
    InProcess(Broker),
    Process(Process),
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InProcess(_) => "in this process",
            Self::Process(_) => "a process",
        })
    }
}

impl BrokerControl {
    /// Its configuration file.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.folder.join("broker.toml")
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The folder that the authority publishes to: `directory.valise` and `crls.pem`. What is put there comes into
    /// force with [`BrokerControl::reload`], or by itself within seconds.
    #[must_use]
    pub fn publication(&self) -> PathBuf {
        self.folder.join("published")
    }

    /// Every file of its data folder.
    ///
    /// # Errors
    /// [`NetworkError::Io`].
    pub fn files(&self) -> Result<Vec<PathBuf>, NetworkError> {
        files_below(&self.data())
    }

    /// What it wrote to its log, where it runs as a process.
    ///
    /// # Errors
    /// [`NetworkError::Io`].
    pub fn log(&self) -> Result<String, NetworkError> {
        let path = self.log_path();
        std::fs::read_to_string(&path).map_err(NetworkError::io(&path))
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("broker.log")
    }

    /// Its process id, where it runs as a process.
    pub async fn process_id(&self) -> Option<u32> {
        match self.node.lock().await.as_ref() {
            Some(Running::Process(process)) => process.id(),
            Some(Running::InProcess(_)) | None => None,
        }
    }

    /// Starts it, on a port of its own; the agencies' relays follow.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn start(&self) -> Result<(), NetworkError> {
        let mut node = self.node.lock().await;
        if node.is_some() {
            return Err(NetworkError::State("the broker runs already".to_owned()));
        }
        let addr = free_port()?;
        self.write_config(addr)?;
        *node = Some(match self.mode {
            Mode::InProcess => Running::InProcess(self.start_here().await?),
            Mode::Process => {
                let config = self.config_path();
                let arguments: [&Path; 3] = ["run".as_ref(), "--config".as_ref(), &config];
                let log = self.log_path();
                let room = self.room.lock().unwrap_or_else(PoisonError::into_inner).clone();
                Running::Process(Process::start(&binary("valise-broker")?, &room, &arguments, &log)?)
            }
        });
        drop(node);
        self.expect_running().await?;
        self.point_relays(addr);
        Ok(())
    }

    async fn start_here(&self) -> Result<Broker, NetworkError> {
        let failed = NetworkError::start("the broker");
        let config = Config::read(&self.config_path()).map_err(|error| failed(error.to_string()))?;
        Broker::start(config).await.map_err(|error| failed(error.to_string()))
    }

    async fn expect_running(&self) -> Result<(), NetworkError> {
        until("the broker answering on its socket", DEADLINE, async || {
            if let Some(Running::Process(process)) = self.node.lock().await.as_mut()
                && let Some(end) = process.ended()
            {
                return Ok(Err(NetworkError::start("the broker")(end)));
            }
            self.status().await.map(|_| Ok(()))
        })
        .await?
    }

    /// Leads every agency to another address.
    pub(crate) fn point_relays(&self, addr: SocketAddr) {
        let relays = self.relays.lock().unwrap_or_else(PoisonError::into_inner);
        for member in relays.iter().filter_map(std::sync::Weak::upgrade) {
            let relay: &Relay = &member.relay;
            relay.set_target(addr);
        }
    }

    fn write_config(&self, listen: SocketAddr) -> Result<(), NetworkError> {
        let text = format!(
            "listen = \"{listen}\"\ndata = \"data\"\nstatus_socket = \"status.sock\"\ncertificates = \"keys/tls.crt\"\n\
             tls_key = \"keys/tls.key\"\nreceipt_key = \"keys/receipt.key\"\ntrust = \"keys/trust.pem\"\n\
             publication = \"published\"\n{}\n",
            self.extra
        );
        let path = self.config_path();
        std::fs::write(&path, text).map_err(NetworkError::io(&path))
    }

    /// Runs `valise-broker` with its configuration, as an operator does.
    ///
    /// # Errors
    /// [`NetworkError`] where it cannot be run; how it ended is for the caller to look at.
    pub async fn run(&self, arguments: &[&str]) -> Result<Ran, NetworkError> {
        let mut command = Command::new(binary("valise-broker")?);
        command.args(arguments).arg("--config").arg(self.config_path());
        process::run(command).await
    }

    /// What `valise-broker status` shows.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn status(&self) -> Result<Status, NetworkError> {
        let socket = self.folder.join("status.sock");
        let failed =
            |problem: &dyn std::fmt::Display| NetworkError::State(format!("the broker's status: {problem}"));
        let asked = tokio::task::spawn_blocking(move || server::ask(&socket)).await;
        asked.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
    }

    /// How much room it has from its next start on, as a process.
    pub fn set_room(&self, room: Room) {
        *self.room.lock().unwrap_or_else(PoisonError::into_inner) = room;
    }

    /// Waits until its process has ended by itself, and returns how, with what it said last.
    ///
    /// # Errors
    /// [`NetworkError::NotInTime`].
    pub async fn expect_end(&self) -> Result<String, NetworkError> {
        let end =
            until("the end of the broker", self.patience, async || match self.node.lock().await.as_mut() {
                Some(Running::Process(process)) => process.ended().ok_or("it runs"),
                Some(Running::InProcess(_)) | None => Err("it is no process"),
            });
        let end = end.await?;
        self.node.lock().await.take();
        Ok(end)
    }

    /// What it tells whoever watches it at `/metrics`, `/healthz` or `/readyz`; `metrics_listen` must be in its
    /// configuration.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn scrape(&self, path: &str) -> Result<Scrape, NetworkError> {
        scrape::scrape(self.status().await?.metrics_listen, path).await
    }

    /// Where it listens; `None` while it does not run.
    pub async fn listen_addr(&self) -> Option<SocketAddr> {
        self.status().await.ok().map(|status| status.listen)
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn stop(&self) -> Result<(), NetworkError> {
        match self.node.lock().await.take() {
            Some(Running::InProcess(broker)) => {
                broker.stop().await;
                Ok(())
            }
            Some(Running::Process(process)) => process.terminate().await,
            None => Ok(()),
        }
    }

    /// Kills it: `kill -9` for a process; inside this process, everything is dropped at once.
    pub async fn kill(&self) {
        match self.node.lock().await.take() {
            Some(Running::InProcess(broker)) => broker.kill().await,
            Some(Running::Process(process)) => process.kill().await,
            None => {}
        }
    }

    /// Kills it and starts it again on the same data.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn kill_and_restart(&self) -> Result<(), NetworkError> {
        self.kill().await;
        self.start().await
    }

    /// Has it read what the authority published, and waits until directory `version` is in force.
    ///
    /// # Errors
    /// [`NetworkError::State`] with what was refused and why, where it runs inside this process; as a process it says
    /// that in its log only, and the wait is in vain: [`NetworkError::NotInTime`].
    pub async fn reload(&self, version: u64) -> Result<(), NetworkError> {
        match self.node.lock().await.as_ref() {
            Some(Running::InProcess(broker)) => {
                broker.reload().await.map_err(|error| NetworkError::State(error.to_string()))?;
            }
            Some(Running::Process(process)) => process.signal(rustix::process::Signal::HUP)?,
            None => return Ok(()),
        }
        Ok(until(&format!("directory version {version} at the broker"), self.patience, async || {
            let status = self.status().await.map_err(|error| error.to_string())?;
            if status.directory.version >= version {
                Ok(())
            } else {
                Err(format!("version {}", status.directory.version))
            }
        })
        .await?)
    }
}

/// A UDP port that was free a moment ago.
fn free_port() -> Result<SocketAddr, NetworkError> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(NetworkError::io("127.0.0.1"))?;
    socket.local_addr().map_err(NetworkError::io("127.0.0.1"))
}
