//! The store on sled 0.34. The only module that names it: [`change`] says what a batch does, [`read`] what is kept.

mod change;
mod copying;
mod read;
mod verify;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use change::Change;
use copying::Touched;
pub use copying::{Copying, Step};
pub use read::Reader;
pub use verify::{Finding, Verification};

use super::keys;
use super::record::{Counters, NoticeRecord, QueueRecord};
use super::usage::Usage;
use super::{Operation, Outcome, Store, StoreError};

/// The format of the data folder.
const FORMAT: u32 = 3;
/// Those that are read here too. Records of 1 lack the recipients that wait no more; neither says what is a receipt.
const FORMER: [u32; 2] = [1, 2];
/// Memory for pages, in bytes.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// How far above those of a copy the cursors of a restored store begin: more than a broker accepts in years.
const RESTORED_CURSORS: u64 = 1 << 40;
/// How long sled is given to let go of its file: after a store is closed its threads hold it for a moment more.
const LET_GO_MAX: Duration = Duration::from_secs(2);

/// The writing side.
#[derive(Debug)]
pub struct SledStore {
    db: sled::Db,
    counters: Counters,
    usage: Usage,
    /// A handle of our own to sled's file: what fdatasync is called on.
    file: File,
    durable: Arc<AtomicU64>,
    touched: Touched,
    lease: Lease,
}

/// The lock on the data folder, held until the last side of the store is dropped.
#[derive(Clone, Debug)]
struct Lease {
    _lock: Arc<File>,
}

impl SledStore {
    /// Opens the store in `folder`, making it where there is none.
    ///
    /// # Errors
    /// [`StoreError`]; the folder is as it was.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.display().to_string();
        let unusable = |problem: String| StoreError::Open { path: path.clone(), problem };
        let io = |error: std::io::Error| unusable(error.to_string());
        make_private(folder).map_err(io)?;
        let lease = lock(folder, &path)?;
        let store = folder.join("store");
        remove_begun_snapshots(&store).map_err(io)?;
        let db = open_sled(&store).map_err(|error| unusable(error.to_string()))?;
        let counters = read_format(&db, &path)?;
        let usage = count_usage(&db).map_err(|error| unusable(error.to_string()))?;
        let file = File::open(store.join("db")).map_err(io)?;
        let mut opened = Self {
            db,
            counters,
            usage,
            file,
            durable: Arc::new(AtomicU64::new(0)),
            touched: Touched::default(),
            lease,
        };
        opened.make_durable()?;
        // The names of the files, and of the folder itself, must be as durable as what is in them.
        for made in [store.as_path(), folder] {
            File::open(made).and_then(|dir| dir.sync_all()).map_err(io)?;
        }
        File::open(store.join("conf")).and_then(|conf| conf.sync_all()).map_err(io)?;
        Ok(opened)
    }

    /// Whether a store lies in this folder.
    #[must_use]
    pub fn is_in(folder: &Path) -> bool {
        folder.join("store").join("db").is_file()
    }

    /// Puts what a copy gave into a store that was just made.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn put_back(&mut self, steps: Vec<Step>) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in steps {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.db.apply_batch(batch).map_err(failed)
    }

    /// Ends what [`SledStore::put_back`] did: checks the format, lets cursors go on far above those of the copy, and
    /// returns how many entries the log has once all is on stable storage.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn end_restoring(mut self, folder: &Path) -> Result<u64, StoreError> {
        let mut counters = read_format(&self.db, &folder.display().to_string())?;
        counters.last_cursor = counters.last_cursor.saturating_add(RESTORED_CURSORS);
        self.db.insert(keys::COUNTERS, counters.encode()).map_err(failed)?;
        self.counters = counters;
        self.make_durable()?;
        Ok(counters.log_len)
    }

    /// Whether what is counted while batches are applied is what a count of everything gives.
    #[cfg(test)]
    pub(in crate::store) fn counts_what_is_there(&self) -> bool {
        count_usage(&self.db).unwrap() == self.usage
    }

    /// A reader of this store.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.db.clone(), Arc::clone(&self.durable), self.touched.clone(), self.lease.clone())
    }
}

/// Makes the folder, and those above it, for its owner alone; a folder that is there must be so too: whoever may write to
/// it could put older files in the place of those in force.
fn make_private(folder: &Path) -> std::io::Result<()> {
    let missing = |above: &&Path| !above.as_os_str().is_empty() && !above.exists();
    let made: Vec<&Path> = folder.ancestors().take_while(missing).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // A new folder's name is as little durable as a new file's until the folder above is synced.
    for folder in made {
        let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
        File::open(above.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    let found = fs::metadata(folder)?;
    let ours = found.uid() == rustix::process::geteuid().as_raw();
    if ours && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let sentence = format!(
        "others than this broker's user may write to it; run: chown {} {folder} && chmod 700 {folder}",
        rustix::process::geteuid().as_raw(),
        folder = folder.display()
    );
    Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, sentence))
}

fn lock(folder: &Path, path: &str) -> Result<Lease, StoreError> {
    let unusable =
        |error: std::io::Error| StoreError::Open { path: path.to_owned(), problem: error.to_string() };
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let lock = options.open(folder.join("lock")).map_err(unusable)?;
    valise_process::lock(&lock).map_err(|error| match error {
        fs::TryLockError::WouldBlock => StoreError::InUse { path: path.to_owned() },
        fs::TryLockError::Error(error) => unusable(error),
    })?;
    Ok(Lease { _lock: Arc::new(lock) })
}

/// sled takes a snapshot that it had only begun to write for the newest, and then opens nothing. Such a file is what a full
/// disk or a kill leaves behind; the one before it is deleted only once the new one is whole and has its name.
fn remove_begun_snapshots(engine: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(engine) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
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

/// Our own lock is held, so a lock of sled's can only be one that is about to be let go.
fn open_sled(store: &Path) -> sled::Result<sled::Db> {
    let config = sled::Config::new()
        .path(store)
        .mode(sled::Mode::HighThroughput)
        .cache_capacity(CACHE_BYTES)
        // The committer flushes when there is something to flush.
        .flush_every_ms(None);
    let deadline = Instant::now() + LET_GO_MAX;
    loop {
        match config.open() {
            Err(sled::Error::Io(error))
                if error.to_string().contains("acquire lock") && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
}

fn read_format(db: &sled::Db, path: &str) -> Result<Counters, StoreError> {
    match db.get(keys::FORMAT).map_err(failed)? {
        None if db.is_empty() => {
            let mut batch = sled::Batch::default();
            batch.insert(keys::FORMAT, &FORMAT.to_be_bytes());
            batch.insert(keys::COUNTERS, Counters::default().encode());
            db.apply_batch(batch).map_err(failed)?;
            Ok(Counters::default())
        }
        Some(format)
            if FORMER.iter().chain([&FORMAT]).any(|known| format.as_ref() == known.to_be_bytes()) =>
        {
            if format.as_ref() != FORMAT.to_be_bytes() {
                // Before the first record that the former version could not read: sled recovers writes in order.
                db.insert(keys::FORMAT, &FORMAT.to_be_bytes()).map_err(failed)?;
            }
            let value = db.get(keys::COUNTERS).map_err(failed)?;
            let counters = value.as_ref().and_then(|value| Counters::decode(value));
            counters.ok_or_else(|| corrupt(keys::COUNTERS, "missing or of the wrong length"))
        }
        other => Err(StoreError::Format {
            path: path.to_owned(),
            got: format_name(other.as_deref()),
            known: FORMAT,
        }),
    }
}

/// What agencies occupy. A record that cannot be read counts for nobody; `valise-broker verify-store` names it.
fn count_usage(db: &sled::Db) -> sled::Result<Usage> {
    let mut usage = Usage::default();
    for value in db.scan_prefix([keys::NOTICE]).values() {
        let Some(notice) = NoticeRecord::decode(&value?) else { continue };
        usage.remember(&notice);
        notice.undelivered.iter().for_each(|recipient| usage.queue(&notice, recipient));
        if !notice.undelivered.is_empty() {
            usage.keep(&notice);
        }
    }
    for item in db.scan_prefix(keys::QUEUES) {
        let (key, value) = item?;
        let receipt = matches!(QueueRecord::decode(&value), Some(QueueRecord::Receipt(_)));
        if let Some((originator, _)) = keys::queue_of(&key).filter(|_| receipt) {
            usage.queue_receipt(&originator);
        }
    }
    Ok(usage)
}

fn format_name(value: Option<&[u8]>) -> String {
    match value.map(|value| (value, <[u8; 4]>::try_from(value))) {
        None => "none".to_owned(),
        Some((_, Ok(number))) => u32::from_be_bytes(number).to_string(),
        Some((value, Err(_))) => format!("0x{}", hex(value)),
    }
}

impl Store for SledStore {
    fn apply(&mut self, batch: &[Operation]) -> Result<Vec<Outcome>, StoreError> {
        let mut change = Change::new(&self.db, self.counters, &self.usage);
        let outcomes = batch.iter().map(|operation| change.apply(operation)).collect::<Result<_, _>>()?;
        let (writes, counters, used) = change.finish(self.counters)?;
        self.db.apply_batch(writes.batch).map_err(failed)?;
        // Only now: what is copied again before it was applied would be copied as it was.
        self.touched.note(writes.keys);
        self.counters = counters;
        self.usage.add(used);
        Ok(outcomes)
    }

    fn make_durable(&mut self) -> Result<(), StoreError> {
        self.db.flush().map_err(failed)?;
        self.file.sync_data().map_err(|error| StoreError::Failed(error.to_string()))?;
        // Only now may readers see it: what they read is spoken of.
        self.durable.store(self.counters.last_cursor, Ordering::Release);
        Ok(())
    }
}

fn failed(error: sled::Error) -> StoreError {
    StoreError::Failed(error.to_string())
}

fn corrupt(key: &[u8], problem: &str) -> StoreError {
    StoreError::Corrupt { key: hex(key), problem: problem.to_owned() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
