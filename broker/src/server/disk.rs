//! Room on the disk: below `disk_reserve_bytes` nothing more is taken, so that deliveries and acknowledgements, which
//! need a little room too, go on, and so that the store never finds the disk full (G10). IMMEDIATE and FLASH are taken
//! down to half of it (G8). A file system that does not say how much is free counts as one that is full (G12).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use valise_proto::envelope::Precedence;
use valise_proto::refusal::{Refusal, RefusalCode};

use super::Shared;

/// How often the file system is asked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// When to try again: an operator has to make room, or agencies have to fetch what waits.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// What an envelope takes of the disk at most, in its own length, until the next look: its chunks, and what is rewritten for
/// them.
const COST: usize = 4;
/// The part of the reserve that is for IMMEDIATE and FLASH: one of so many.
const URGENT_SHARE: i64 = 2;

pub(super) struct DiskRoom {
    folder: PathBuf,
    reserve_bytes: u64,
    /// Bytes above the reserve at the last look, less what was taken since or was not written then; below 0 where there is
    /// less than the reserve.
    above: AtomicI64,
    /// Bytes that were taken and are not written yet.
    unwritten: AtomicI64,
    short: AtomicBool,
}

impl DiskRoom {
    /// Looks for the first time.
    pub(super) fn new(folder: PathBuf, reserve_bytes: u64) -> Self {
        let room = Self {
            folder,
            reserve_bytes,
            above: AtomicI64::new(0),
            unwritten: AtomicI64::new(0),
            short: AtomicBool::new(false),
        };
        room.look();
        room
    }

    /// Why nothing of this precedence is taken at present, if that is so.
    pub(super) fn refusal(&self, precedence: Precedence) -> Option<Refusal> {
        let floor = match precedence {
            Precedence::Routine | Precedence::Priority => 0,
            Precedence::Immediate | Precedence::Flash => -(self.reserve() / URGENT_SHARE),
        };
        let detail =
            "the broker's disk is nearly full; keep the notice and try again, and tell the broker's operator";
        (self.reserve_bytes > 0 && self.above.load(Ordering::Relaxed) < floor)
            .then(|| Refusal::new(RefusalCode::StoreUnavailable, detail).retry_after(RETRY_AFTER))
    }

    /// Whether the disk was found to have less room than the reserve.
    pub(super) fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// Envelopes of `len` bytes together are to be written. They count at once: a disk may fill faster than it is looked
    /// at.
    pub(super) fn note_taken(&self, len: usize) {
        let cost = cost(len);
        self.unwritten.fetch_add(cost, Ordering::Relaxed);
        self.above.fetch_sub(cost, Ordering::Relaxed);
    }

    /// What was noted as taken is written, or is not going to be.
    pub(super) fn note_written(&self, len: usize) {
        self.unwritten.fetch_sub(cost(len), Ordering::Relaxed);
    }

    fn reserve(&self) -> i64 {
        i64::try_from(self.reserve_bytes).unwrap_or(i64::MAX)
    }

    fn look(&self) {
        if self.reserve_bytes == 0 {
            return;
        }
        // First: what is written in between is then counted twice, not left out.
        let unwritten = self.unwritten.load(Ordering::Relaxed);
        let free =
            rustix::fs::statvfs(&self.folder).map(|found| found.f_bavail.saturating_mul(found.f_frsize));
        let found = free.as_ref().map_or(0, |free| i64::try_from(*free).unwrap_or(i64::MAX));
        let above = found.saturating_sub(self.reserve()).saturating_sub(unwritten);
        self.above.store(above, Ordering::Relaxed);
        let short = found < self.reserve();
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

fn cost(len: usize) -> i64 {
    i64::try_from(len.saturating_mul(COST)).unwrap_or(i64::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn free() -> u64 {
        let found = rustix::fs::statvfs("/").unwrap();
        found.f_bavail * found.f_frsize
    }

    fn room(reserve_bytes: u64) -> DiskRoom {
        DiskRoom::new("/".into(), reserve_bytes)
    }

    #[test]
    fn g10_what_was_taken_since_the_last_look_counts_at_once() {
        let room = room(1);
        assert_eq!(room.refusal(Precedence::Routine), None);
        let all = usize::try_from(free()).unwrap();
        room.note_taken(all);
        assert!(room.refusal(Precedence::Routine).is_some(), "a disk may fill between two looks");
        room.look();
        assert!(room.refusal(Precedence::Routine).is_some(), "what waits to be written is forgotten");
        assert!(!room.is_short(), "what waits to be written is taken for written");
        room.note_written(all);
        room.look();
        assert_eq!(room.refusal(Precedence::Routine), None);
    }

    #[test]
    fn g08_g10_half_of_the_reserve_is_for_what_is_urgent() {
        let room = room(free() / 4 * 5);
        assert!(room.refusal(Precedence::Routine).is_some());
        assert!(room.refusal(Precedence::Priority).is_some());
        assert_eq!(room.refusal(Precedence::Flash), None);
        let room = self::room(free().saturating_mul(3));
        assert!(room.refusal(Precedence::Flash).is_some());
        assert_eq!(self::room(0).refusal(Precedence::Routine), None);
    }
}
