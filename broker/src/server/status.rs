//! `valise-broker status`: one JSON object for each connection to a Unix socket that only the broker's user can open.

use std::fs;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use valise_proto::envelope::Precedence;
use valise_proto::id::{AgencyId, KeyId, SpiffeId, Timestamp};
use valise_transport::Revocation;

use super::driver::Input;
use super::freshness::{self, Freshness};
use super::held::decimal;
use super::{Shared, Spool, now};
use crate::store::{Depth, Reader, StoreError};

/// How long whoever asks is given to read the answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Longest answer, in bytes: thousands of queues.
const STATUS_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How a broker is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Who it is.
    pub identity: SpiffeId,
    /// Its software's version.
    pub version: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where its metrics are served, if they are.
    pub metrics_listen: Option<SocketAddr>,
    /// When it was started.
    pub started_at: Timestamp,
    /// How long ago that was, in seconds.
    pub uptime_seconds: u64,
    /// Last moment at which its certificate counts.
    pub certificate_expires_at: Timestamp,
    /// The key its receipts are signed with.
    pub receipt_key: KeyId,
    /// The directory in force.
    pub directory: DirectoryStatus,
    /// The revocation lists in force.
    pub revocation_lists: Vec<RevocationStatus>,
    /// Everything that runs out.
    pub freshness: Vec<Freshness>,
    /// This node's clock.
    pub clock: Timestamp,
    /// Why files that lie there are not in force: what was before them still is.
    pub refused: Vec<String>,
    /// Connections at present.
    pub sessions: usize,
    /// The inboxes that are not empty.
    pub queues: Vec<QueueDepth>,
    /// Renewal requests on their way to the authority.
    pub spool: SpoolStatus,
    /// Entries of the log.
    pub log_entries: u64,
    /// What the committer has done since the start.
    pub commits: Commits,
    /// Why the store is not used any more, if that is so.
    pub failure: Option<String>,
}

/// The directory in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryStatus {
    /// Its version.
    pub version: u64,
    /// When it stops counting.
    pub expires_at: Timestamp,
    /// How many agencies it lists.
    pub agencies: usize,
}

/// A revocation list in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationStatus {
    /// Who issued it (RFC 4514 name).
    pub issuer: String,
    /// Its CRL number, decimal.
    pub number: String,
    /// When it runs out.
    pub next_update: Timestamp,
}

/// Renewal requests that wait to be carried to the authority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolStatus {
    /// How many.
    pub waiting: usize,
    /// Since when the oldest does, by this broker's clock.
    pub oldest: Option<Timestamp>,
}

/// How many items stand in one queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueDepth {
    /// Whose.
    pub agency: AgencyId,
    /// Which of its queues.
    pub precedence: Precedence,
    /// How many items.
    pub items: usize,
}

/// What the committer has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commits {
    /// Groups applied.
    pub groups: u64,
    /// Operations in them.
    pub operations: u64,
    /// How often the disk was waited for.
    pub syncs: u64,
}

/// The status socket cannot be opened. Nothing was changed.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Another broker listens there.
    #[error("{} answers already: another valise-broker runs there", .0.display())]
    InUse(PathBuf),
    /// Something else lies there.
    #[error("{} is not a socket: move it away, or set another `status_socket`", .0.display())]
    NotASocket(PathBuf),
    /// The operating system.
    #[error("{path}: cannot listen: {source}; `status_socket` may name another place", path = path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A running broker could not be asked.
#[derive(Debug, Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("{path}: no broker answers ({source}); start it: valise-broker run", path = path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else listens.
    #[error("{path}: the answer cannot be read: {problem}", path = path.display())]
    Answer {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// Asks the broker whose status socket is at `path`.
///
/// # Errors
/// [`AskError`].
pub fn ask(path: &Path) -> Result<Status, AskError> {
    let not_running = |source| AskError::NotRunning { path: path.to_owned(), source };
    let stream = StdUnixStream::connect(path).map_err(not_running)?;
    stream.set_read_timeout(Some(ANSWER_MAX)).map_err(not_running)?;
    let mut text = String::new();
    stream.take(STATUS_BYTES_MAX).read_to_string(&mut text).map_err(not_running)?;
    let unreadable =
        |error: serde_json::Error| AskError::Answer { path: path.to_owned(), problem: error.to_string() };
    serde_json::from_str(&text).map_err(unreadable)
}

/// An open socket, which is removed when it is no longer served.
#[derive(Debug)]
pub(super) struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

/// Opens the socket. One left by a broker that was killed is replaced; one that answers is not.
pub(super) fn listen(path: &Path) -> Result<Listener, SocketError> {
    let refused = |source| SocketError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) if StdUnixStream::connect(path).is_ok() => return Err(SocketError::InUse(path.to_owned())),
        Ok(_) => fs::remove_file(path).map_err(refused)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(refused(error)),
    }
    let bound = bind_private(path);
    let listener = bound.map_err(refused)?;
    Ok(Listener { listener, path: path.to_owned() })
}

/// Binds so that nobody else can connect, not even for a moment. The mask is that of the whole process: folders that other
/// threads make meanwhile must stay their owner's to enter, and two sockets are bound one after the other, lest one
/// restore the other's mask.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    static MASK: Mutex<()> = Mutex::new(());
    let _alone = MASK.lock().unwrap_or_else(PoisonError::into_inner);
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    let bound = bound?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(bound)
}

impl Drop for Listener {
    fn drop(&mut self) {
        // If it cannot be removed, the next start replaces it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Answers until the broker stops, one asker after the other.
pub(super) async fn serve(listener: Listener, shared: Arc<Shared>) {
    while let Some(stream) = accept(&listener, &shared).await {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            answered = tokio::time::timeout(ANSWER_MAX, answer(&shared, stream)) => match answered {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a status was not read"),
                Err(_) => tracing::debug!("a status was not read in time"),
            },
        }
    }
}

/// The next who asks; `None` once the broker stops.
pub(super) async fn accept(listener: &Listener, shared: &Shared) -> Option<UnixStream> {
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return None,
            accepted = listener.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => return Some(stream),
            Err(error) => {
                tracing::warn!(%error, path = %listener.path.display(), "a local socket cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(shared: &Arc<Shared>, mut stream: UnixStream) -> io::Result<()> {
    let mut text = match gather(shared).await {
        Ok(status) => serde_json::to_vec(&status)?,
        Err(error) => serde_json::to_vec(&serde_json::json!({ "error": error.to_string() }))?,
    };
    text.push(b'\n');
    stream.write_all(&text).await?;
    stream.shutdown().await
}

/// Looks at everything there is to tell.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn gather(shared: &Arc<Shared>) -> Result<Status, StoreError> {
    let reader = shared.reader.clone();
    let spool = Arc::clone(&shared.spool);
    let kept = tokio::task::spawn_blocking(move || read(&reader, &spool)).await;
    let (queues, log_entries, spool) =
        kept.unwrap_or_else(|error| Err(StoreError::Failed(error.to_string())))?;
    let (answer, sessions) = oneshot::channel();
    // The driver is gone only when the broker is stopping.
    let _ = shared.inputs.send(Input::Sessions { answer }).await;
    let directory = Arc::clone(&shared.policy().directory);
    let commits = shared.committer.statistics();
    Ok(Status {
        identity: shared.identity.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        listen: shared.local_addr,
        metrics_listen: shared.watch.addr,
        started_at: shared.started_at,
        uptime_seconds: now().since(shared.started_at).as_secs(),
        certificate_expires_at: shared.in_force().credentials.not_after(),
        receipt_key: shared.receipt_key.key_id(),
        directory: DirectoryStatus {
            version: directory.version(),
            expires_at: directory.content().expires_at,
            agencies: directory.content().agencies.len(),
        },
        revocation_lists: shared.transport.anchors().revocations().iter().map(revocation).collect(),
        freshness: freshness::of_shared(shared, now()),
        clock: now(),
        refused: shared.refused(),
        sessions: sessions.await.map_or(0, |(sessions, _)| sessions),
        queues,
        spool,
        log_entries,
        commits: Commits { groups: commits.groups, operations: commits.operations, syncs: commits.syncs },
        failure: shared.committer.failure().map(|error| error.to_string()),
    })
}

fn read(reader: &Reader, spool: &Spool) -> Result<(Vec<QueueDepth>, u64, SpoolStatus), StoreError> {
    let depth = |Depth { agency, precedence, items }| QueueDepth { agency, precedence, items };
    let (waiting, oldest) = spool.depth().unwrap_or_else(|error| {
        tracing::warn!(%error, "how many renewal requests wait is not known");
        (0, None)
    });
    let queues = reader.depths()?.into_iter().map(depth).collect();
    Ok((queues, reader.log_len()?, SpoolStatus { waiting, oldest }))
}

fn revocation(list: &Revocation) -> RevocationStatus {
    RevocationStatus {
        issuer: list.issuer.clone(),
        number: decimal(&list.number),
        next_update: list.next_update,
    }
}
