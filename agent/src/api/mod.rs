//! The local API: HTTP and JSON on a Unix socket that only the node's user can open.
//!
//! Claimed: whoever can reach the socket may do everything the agency may; so its mode is 0600 from the moment it is
//! there, and it lies in the data folder. Bodies are bounded before they are read.

mod caller;
pub mod client;
mod entries;
mod error;
pub mod events;
mod handlers;
mod handwork;
pub mod journal;
pub mod officers;
pub mod openapi;
pub mod pending;
pub mod release;
pub mod standing;
pub(crate) mod tcp;
pub mod types;
mod views;

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::{Extension, Router};
use thiserror::Error;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use self::caller::Via;
use self::error::ApiError;
use crate::node::Desk;

/// Longest request body, in bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The socket cannot be opened. Nothing was changed.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Another node listens there.
    #[error("{} answers already: another valise-agent runs there", .0.display())]
    InUse(PathBuf),
    /// Something else lies there.
    #[error("{} is not a socket: move it away, or set another `socket` in agent.toml", .0.display())]
    NotASocket(PathBuf),
    /// The TCP port.
    #[error("{address}: cannot listen: {source}; set another `listen` under [api] in agent.toml")]
    Tcp {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The operating system.
    #[error("{path}: cannot listen: {source}", path = path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// An open socket, which is removed when it is no longer served.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

/// Opens the socket. One left by a node that was killed is replaced; one that answers is not.
///
/// # Errors
/// [`ListenError`].
pub fn listen(path: &Path) -> Result<Listener, ListenError> {
    let refused = |source| ListenError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(ListenError::NotASocket(path.to_owned())),
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(ListenError::InUse(path.to_owned())),
        Ok(_) => fs::remove_file(path).map_err(refused)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(refused(error)),
    }
    let listener = bind_private(path).map_err(refused)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(refused)?;
    Ok(Listener { listener, path: path.to_owned() })
}

/// Binds so that nobody else can connect, not even for a moment. The mask is that of the whole process: meanwhile what
/// other threads make is private too, and two sockets are bound one after the other, lest one restore the other's mask.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    static MASK: Mutex<()> = Mutex::new(());
    let _alone = MASK.lock().unwrap_or_else(PoisonError::into_inner);
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    bound
}

impl Drop for Listener {
    fn drop(&mut self) {
        // If it cannot be removed, the next start replaces it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Serves the API until `cancel`.
pub(crate) async fn serve(listener: Listener, desk: Desk, cancel: CancellationToken) {
    let router = router(desk).layer(Extension(Via::Socket));
    let connections = tokio_util::task::TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let service = hyper_util::service::TowerToHyperService::new(router.clone());
                let cancel = cancel.clone();
                connections.spawn(async move {
                    let io = hyper_util::rt::TokioIo::new(stream);
                    let served = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
                    tokio::select! {
                        () = cancel.cancelled() => {}
                        // A caller that breaks off is nothing to report.
                        _ = served => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the local API cannot accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

/// Every path, with what the document says of it.
fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new()
        .merge(handlers::compose::routes())
        .merge(handlers::notices::routes())
        .merge(handlers::inbox::routes())
        .merge(handlers::followups::routes())
        .merge(handlers::steps::routes())
        .merge(handlers::track::routes())
        .merge(handlers::sent::routes())
        .merge(handlers::preview::routes())
        .merge(handlers::node::routes())
        .merge(handwork::routes())
        .merge(events::routes())
        .merge(officers::routes())
        .merge(journal::routes())
        .merge(release::routes())
        .merge(pending::routes())
        .merge(openapi::routes())
}

fn router(desk: Desk) -> Router {
    Router::from(routes())
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(axum::middleware::from_fn_with_state(desk.clone(), caller::journal_refusals))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(desk)
}

async fn unknown_path() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "UNKNOWN_PATH",
        "the local API has no such path; paths begin with /v1/, and GET /v1/openapi.json tells them all",
    )
}

async fn unknown_method(method: Method, uri: Uri) -> ApiError {
    let message =
        format!("{} is not asked for with {method}; GET /v1/openapi.json tells how it is", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_private_before_anything_more_is_done_about_it() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("s");
        let _bound = bind_private(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "others can connect (mode {mode:o})");
    }
}
