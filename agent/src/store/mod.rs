//! The durable store of one node.
//!
//! Claimed: when [`Store::apply`] returns, every change given to it is on stable storage, and a power cut at any moment
//! leaves all of a change or nothing of it. sled applies a batch atomically but its flush is not an fsync (design,
//! section 10), so `fdatasync` of its file follows. Content is never stored in the clear: drafts are encrypted
//! with the vault's store key, received notices stay sealed and are opened again when they are read.

mod due;
mod journal;
mod keys;
mod listing;
mod pending;
mod portions;
mod read;
mod records;
mod releases;
mod steps;
#[cfg(test)]
mod tests;
mod upgrade;
mod write;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use thiserror::Error;
use valise_proto::wire::WireError;

pub use journal::{Broken, Head};
pub use listing::{Look, Page};
pub use portions::KeptPortion;
pub use read::{Inbox, Kept, Sent};
pub use records::{
    AsideRecord, HighestDirectory, HighestList, PurgedRecord, ReadRecord, ReceivedRecord, SentRecord,
    UnsentRecord,
};
pub use releases::Secret;

use crate::folder::{self, FileError};
use crate::vault::{CannotDecrypt, StoreKey};

/// The version of the records written here.
const FORMAT: u32 = 2;
/// Memory for pages read before, in bytes.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// Why the store cannot be used. What it holds is unchanged.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("{} is in use by another valise-agent: stop that one first, or give this one a data folder of its own", .0.display())]
    InUse(PathBuf),
    /// Written by a newer version.
    #[error("{path} was written by a newer valise-agent (format {got}; this one reads format {FORMAT}): run that version", path = path.display())]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its format.
        got: u32,
    },
    /// A record that cannot be read.
    #[error("{path} holds a record that cannot be read ({problem}): restore the folder from a backup", path = path.display())]
    Unreadable {
        /// The store.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file.
    #[error("{0}")]
    File(#[from] FileError),
    /// The engine.
    #[error("the store failed: {0}; check the disk's space and health, then start the node again")]
    Engine(#[from] sled::Error),
    /// Stable storage.
    #[error("the disk did not confirm a write: {0}; check its space and health, then start the node again")]
    Sync(io::Error),
    /// Encryption.
    #[error("{0}")]
    Decrypt(#[from] CannotDecrypt),
}

/// The durable store of one node. One process at a time may have it open.
pub struct Store {
    db: sled::Db,
    /// sled's file, opened a second time to make it durable.
    file: File,
    path: PathBuf,
    key: StoreKey,
    /// Where the access journal ends.
    chain: Mutex<Head>,
    /// Held for as long as the store is open.
    _lock: File,
}

impl Store {
    /// Opens the store in the folder at `path`, which is made if it is not there.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::InUse`] where another process, or another node in this one, has it open.
    pub fn open(path: &Path, key: StoreKey) -> Result<Self, StoreError> {
        folder::make_private(path)?;
        let lock = lock(path)?;
        let engine = path.join("sled");
        remove_begun_snapshots(&engine).map_err(|reason| FileError {
            action: "remove what was only begun in this folder",
            path: engine.clone(),
            reason,
        })?;
        let db = sled::Config::new().path(&engine).cache_capacity(CACHE_BYTES).flush_every_ms(None).open()?;
        let file_path = engine.join("db");
        let opened = File::options().read(true).write(true).open(&file_path);
        let file = opened.map_err(|source| FileError {
            action: "open this file",
            path: file_path,
            reason: source,
        })?;
        let store =
            Self { db, file, path: path.to_owned(), key, chain: Mutex::new(Head::empty()), _lock: lock };
        let former = store.check_format()?;
        store.open_journal()?;
        // Only what is sound in every other way is changed.
        if former {
            store.take_over_format_1()?;
        }
        folder::sync_folder(&engine)?;
        folder::sync_folder(path)?;
        Ok(store)
    }

    /// Whether it is of the former format, which is to be taken over.
    fn check_format(&self) -> Result<bool, StoreError> {
        let Some(found) = self.db.get(keys::FORMAT)? else {
            if !self.db.is_empty() {
                return Err(self.unreadable("it has no format record"));
            }
            self.db.insert(keys::FORMAT, &FORMAT.to_be_bytes())?;
            self.make_durable()?;
            return Ok(false);
        };
        let bytes: [u8; 4] = found.as_ref().try_into().map_err(|_| self.unreadable("the format record"))?;
        let got = u32::from_be_bytes(bytes);
        match got {
            FORMAT => Ok(false),
            0 => Err(self.unreadable("the format record")),
            1 => Ok(true),
            newer => Err(StoreError::Newer { path: self.path.clone(), got: newer }),
        }
    }

    /// Hands everything to the disk and waits until the disk has confirmed it.
    fn make_durable(&self) -> Result<(), StoreError> {
        self.db.flush()?;
        self.file.sync_data().map_err(StoreError::Sync)
    }

    fn unreadable(&self, problem: impl std::fmt::Display) -> StoreError {
        StoreError::Unreadable { path: self.path.clone(), problem: problem.to_string() }
    }

    fn wire(&self, error: &WireError) -> StoreError {
        self.unreadable(error)
    }
}

#[cfg(test)]
impl Store {
    /// Opens it again. sled lets its file go a moment after the last handle is dropped.
    fn reopened(path: &Path, key: &StoreKey) -> Self {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            match Self::open(path, key.clone()) {
                Err(StoreError::Engine(error))
                    if error.to_string().contains("acquire lock") && std::time::Instant::now() < deadline =>
                {
                    std::thread::yield_now();
                }
                opened => return opened.unwrap(),
            }
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.path.display())
    }
}

/// sled takes a snapshot that it had only begun to write for the newest, and then opens nothing. Such a file is what a full
/// disk or a kill leaves behind; the one before it is deleted only once the new one is whole and has its name.
fn remove_begun_snapshots(engine: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(engine) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let lock_path = path.join("lock");
    let refused = |source| FileError { action: "lock this file", path: lock_path.clone(), reason: source };
    let lock = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(refused)?;
    match valise_process::lock(&lock) {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(refused(source).into()),
    }
}
