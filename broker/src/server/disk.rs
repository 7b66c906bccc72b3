//! Room on the disk: below `disk_reserve_bytes` nothing more is taken, so that deliveries and acknowledgements, which
//! need a little room too, go on, and so that the store never finds the disk full (G10). A file system that does not say
//! how much is free counts as one that is full (G12).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use valise_proto::refusal::{Refusal, RefusalCode};

use super::Shared;

/// How often the file system is asked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// When to try again: an operator has to make room, or agencies have to fetch what waits.
const RETRY_AFTER: Duration = Duration::from_secs(30);

pub(super) struct DiskRoom {
    folder: PathBuf,
    reserve_bytes: u64,
    short: AtomicBool,
}

impl DiskRoom {
    /// Looks for the first time.
    pub(super) fn new(folder: PathBuf, reserve_bytes: u64) -> Self {
        let room = Self { folder, reserve_bytes, short: AtomicBool::new(false) };
        room.look();
        room
    }

    /// Why nothing is taken at present, if that is so.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let detail =
            "the broker's disk is nearly full; keep the notice and try again, and tell the broker's operator";
        self.short
            .load(Ordering::Relaxed)
            .then(|| Refusal::new(RefusalCode::StoreUnavailable, detail).retry_after(RETRY_AFTER))
    }

    fn look(&self) {
        if self.reserve_bytes == 0 {
            return;
        }
        let free =
            rustix::fs::statvfs(&self.folder).map(|found| found.f_bavail.saturating_mul(found.f_frsize));
        let short = !free.as_ref().is_ok_and(|free| *free >= self.reserve_bytes);
        if self.short.swap(short, Ordering::Relaxed) == short {
            return;
        }
        let (folder, disk_reserve_bytes) = (self.folder.display(), self.reserve_bytes);
        match free {
            Ok(free_bytes) if short => tracing::warn!(
                %folder, free_bytes, disk_reserve_bytes,
                "submissions are refused: the disk has less room than is to be kept free; make room, or lower disk_reserve_bytes"
            ),
            Ok(free_bytes) => {
                tracing::info!(%folder, free_bytes, "submissions are taken again: there is room on the disk");
            }
            Err(error) => tracing::error!(
                %folder, %error,
                "submissions are refused: the file system does not say how much room there is"
            ),
        }
    }
}

pub(super) async fn watch(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let looking = Arc::clone(&shared);
        // It fails only where the runtime is ending.
        let _ = tokio::task::spawn_blocking(move || looking.disk.look()).await;
    }
}
