//! Backups of the running broker: a Unix socket in the data folder that only the broker's user can open.
//!
//! Whoever asks is sent the backup and writes it where it wants; the broker itself writes nothing. One at a time. The
//! copy begins and ends on the committer's thread, between two groups: a submission without operations is replied to
//! there, and nothing is applied until the reply returns.

use std::io::{self, BufWriter, Read};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::{Shared, status};
use crate::care::{self, Control};
use crate::store::{StoreError, Submission};

/// Why a backup was not sent.
#[derive(Debug, thiserror::Error)]
enum NotSent {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("whoever asked for it does not take it: {0}")]
    Io(#[from] io::Error),
    #[error("another is being taken")]
    Busy,
}

/// Opens the socket. Without one the broker runs all the same, and is backed up while it is stopped.
pub(super) fn listen(shared: &Shared) -> Option<status::Listener> {
    let path = care::control_path(&shared.config.data);
    match status::listen(&path) {
        Ok(listener) => Some(listener),
        Err(error) => {
            tracing::warn!(%error, "no backup can be taken while this broker runs; a shorter path of the data folder may mend it");
            None
        }
    }
}

/// Sends backups until the broker stops.
pub(super) async fn serve(listener: status::Listener, shared: Arc<Shared>) {
    while let Some(stream) = status::accept(&listener, &shared).await {
        match send(&shared, stream).await {
            Ok(bytes) => tracing::info!(bytes, "a backup was taken"),
            Err(error) => tracing::warn!(%error, "a backup was not completed"),
        }
    }
}

async fn send(shared: &Arc<Shared>, stream: UnixStream) -> Result<u64, NotSent> {
    let stream = stream.into_std()?;
    let reading = apart(move || request(stream));
    let stream = reading.await??;
    let reader = shared.reader.clone();
    let copying = between_groups(shared, move || reader.copy()).await?.ok_or(NotSent::Busy)?;
    let walking = Arc::clone(shared);
    let (sending, copying) = apart(move || -> Result<_, NotSent> {
        let mut sending = Control::new(&walking.config.data, BufWriter::new(stream))?;
        let copying = sending.walk(copying, &|| walking.stop.is_cancelled())??;
        Ok((sending, copying))
    })
    .await??;
    let steps = between_groups(shared, move || copying.finish()).await??;
    Ok(apart(move || sending.last(steps)).await??)
}

/// Reads what is asked for; there is one thing to ask for.
fn request(mut stream: StdUnixStream) -> io::Result<StdUnixStream> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(care::SILENCE_MAX))?;
    stream.set_write_timeout(Some(care::SILENCE_MAX))?;
    let mut asked = [0; care::REQUEST.len()];
    stream.read_exact(&mut asked)?;
    if asked == *care::REQUEST {
        return Ok(stream);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "something else than a backup was asked for"))
}

/// Does `work` on the committer's thread while nothing is being applied.
async fn between_groups<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    let (done, result) = oneshot::channel();
    let reply = Box::new(move |replied: Result<Vec<_>, StoreError>| {
        // Nobody waits only where the broker is stopping.
        let _ = done.send(replied.map(|_| work()));
    });
    shared.committer.submit(Submission { operations: Vec::new(), reply }).await;
    result.await.unwrap_or_else(|_| Err(StoreError::Failed("the committer has stopped".to_owned())))
}

async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}
