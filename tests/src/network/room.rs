//! How much room a node that runs as a process has for what it keeps.
//!
//! A full disk is a small file system of its own (tmpfs), mounted where the node keeps its store, in a mount namespace that
//! only the node sees; a bad disk is a limit on the length of every file, beyond which a write fails (EFBIG).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::NetworkError;

/// What a node's process is given.
#[derive(Clone, Debug, Default)]
pub enum Room {
    /// The machine's disk.
    #[default]
    Plenty,
    /// A disk of its own.
    Disk(Arc<SmallDisk>),
    /// Writing to a file fails where it would become longer than so many KiB.
    FilesUpTo(u32),
}

impl Room {
    /// The command that runs `program` in this room.
    pub(super) fn command(&self, program: &Path) -> Command {
        match self {
            Self::Plenty => Command::new(program),
            Self::Disk(disk) => {
                let mut command = disk.inside();
                command.arg(program);
                command
            }
            Self::FilesUpTo(kib) => {
                let mut command = Command::new("bash");
                let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\"");
                command.args(["-c", &script, "bash"]).arg(program);
                command
            }
        }
    }
}

/// A file system of a few MiB. It is gone, with all it holds, when this and every node on it are.
#[derive(Debug)]
pub struct SmallDisk {
    /// Holds the namespace; it ends when its standard input does.
    holder: Child,
    _alive: Option<ChildStdin>,
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts an empty disk of `kib` KiB over the folder `at`, for nodes that are started on it. `None` where this machine
    /// lets no user have a namespace.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn mount(at: &Path, kib: u32) -> Result<Option<Arc<Self>>, NetworkError> {
        std::fs::create_dir_all(at).map_err(NetworkError::io(at))?;
        let script =
            format!("mount -t tmpfs -o mode=0700,size={kib}k tmpfs \"$1\" && echo mounted && exec cat");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"]).arg(at);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let Ok(mut holder) = command.spawn() else { return Ok(None) };
        let (alive, said) = (holder.stdin.take(), holder.stdout.take());
        let mut line = String::new();
        if let Some(said) = said {
            let mut said = BufReader::new(said);
            let in_time = tokio::time::timeout(crate::DEADLINE, said.read_line(&mut line)).await;
            in_time.map_err(|_| silent("unshare"))?.map_err(NetworkError::io("unshare"))?;
        }
        let disk = Self { holder, _alive: alive, at: at.to_owned() };
        Ok((line.trim() == "mounted").then(|| Arc::new(disk)))
    }

    /// Gives it another size.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn resize(&self, kib: u32) -> Result<(), NetworkError> {
        let mut command = self.inside();
        command.args([OsStr::new("mount"), "-o".as_ref(), format!("remount,size={kib}k").as_ref()]);
        let status = command.arg(&self.at).status().await.map_err(NetworkError::io("mount"))?;
        let failed = || NetworkError::State(format!("a small disk was not resized: {status}"));
        status.success().then_some(()).ok_or_else(failed)
    }

    /// A command inside the namespace; what is to be run follows.
    fn inside(&self) -> Command {
        let mut command = Command::new("nsenter");
        let holder = self.holder.id().unwrap_or_default().to_string();
        command.args(["--user", "--mount", "--preserve-credentials", "--target", &holder, "--"]);
        command
    }
}

fn silent(program: &str) -> NetworkError {
    NetworkError::State(format!("{program} said nothing for {} s", crate::DEADLINE.as_secs()))
}
