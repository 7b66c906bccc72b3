//! A node that runs as a process of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::NetworkError;
use super::room::Room;

/// A child process; it is killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` in this room; what it writes to standard error is added to `log`.
    pub(super) fn start(
        program: &Path,
        room: &Room,
        arguments: &[&Path],
        log: &Path,
    ) -> Result<Self, NetworkError> {
        let stderr = File::options().create(true).append(true).open(log).map_err(NetworkError::io(log))?;
        let child = room
            .command(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .map_err(NetworkError::io(program))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Its process id, while it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// What it wrote last, once it has ended by itself; `None` while it runs.
    pub(super) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(5).collect();
        Some(format!("it ended with {status}: {}", last.into_iter().rev().collect::<Vec<_>>().join(" / ")))
    }

    /// `kill -9`; returns when the process is gone.
    pub(super) async fn kill(mut self) {
        // It fails only where the process is gone already.
        let _ = self.child.kill().await;
    }

    /// Asks it to end in order (SIGTERM) and waits until it has.
    pub(super) async fn terminate(mut self) -> Result<(), NetworkError> {
        self.signal(rustix::process::Signal::TERM)?;
        let ended = tokio::time::timeout(crate::DEADLINE, self.child.wait()).await;
        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => {
                Err(NetworkError::State(format!("a process that was told to stop ended with {status}")))
            }
            Ok(Err(source)) => Err(NetworkError::Io { path: self.log.clone(), source }),
            Err(_) => Err(NetworkError::State("a process that was told to stop did not".to_owned())),
        }
    }

    /// Sends a signal.
    pub(super) fn signal(&self, signal: rustix::process::Signal) -> Result<(), NetworkError> {
        let gone = || NetworkError::State("the process has ended already".to_owned());
        let pid = self.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.ok_or_else(gone)?, signal).map_err(|_| gone())
    }
}

/// How a command that was run to its end ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Ran {
    /// Standard output as JSON, of a run that ended well.
    ///
    /// # Errors
    /// [`NetworkError::State`] with what it said where it ended otherwise.
    pub fn json(&self) -> Result<serde_json::Value, NetworkError> {
        if self.code != Some(0) {
            let Self { code, stdout, stderr } = self;
            return Err(NetworkError::State(format!("a command ended with {code:?}: {stdout}{stderr}")));
        }
        serde_json::from_str(&self.stdout).map_err(NetworkError::value)
    }
}

/// Runs a command to its end; the runtime goes on meanwhile.
pub(super) async fn run(mut command: Command) -> Result<Ran, NetworkError> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let program = PathBuf::from(command.as_std().get_program());
    let output = command.output().await.map_err(NetworkError::io(&program))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
}
