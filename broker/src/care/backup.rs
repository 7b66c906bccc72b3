//! Taking a backup, of a broker that runs or of one that does not.
//!
//! sled locks its files, so a running broker takes the backup itself: it answers on a Unix socket in its data folder that
//! only its user can open, and whoever asked writes the file. Two lines pass: `backup`, and then the backup, which is
//! whole only if its end is there.
//!
//! Claimed: every notice that was accepted before the backup was asked for is in it (G4). It holds because the copy is the
//! store between two batches, of which the last came after the copy began ([`crate::store::Copying`]).

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

use super::archive::{ArchiveError, BLOCK_BYTES_MAX, Reader, Record, Writer};
use crate::config::{CRLS_NAME, DIRECTORY_NAME};
use crate::folder;
use crate::store::{Copying, SledStore, Step, StoreError};

/// What is kept beside the store, so that older publications are refused.
pub(super) const FILES: [&str; 2] = [DIRECTORY_NAME, CRLS_NAME];
/// How long either side waits for the other.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(60);
pub(crate) const REQUEST: &[u8] = b"backup\n";

/// No backup was taken; there is no file.
#[derive(Debug, Error)]
pub enum BackupError {
    /// It is there already.
    #[error("{} exists already: name another file", .0.display())]
    Exists(PathBuf),
    /// There is nothing to back up.
    #[error("{} holds no broker's store: name the data folder (`data` in broker.toml)", .0.display())]
    NoStore(PathBuf),
    /// The file cannot be written.
    #[error("{path}: the backup cannot be written: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The running broker ended, or gave up.
    #[error("the running broker did not complete the backup ({0}); its log says why")]
    Broker(ArchiveError),
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Another is being taken.
    #[error("another backup is being taken; wait for it")]
    Busy,
}

/// A backup that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackedUp {
    /// Where it is.
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Whether a running broker took it.
    pub online: bool,
}

/// Where a broker with this data folder takes orders for backups.
pub(crate) fn control_path(data: &Path) -> PathBuf {
    data.join("control.sock")
}

/// Takes a backup of the broker with this data folder into a file that does not exist yet.
///
/// # Errors
/// [`BackupError`]; then there is no file.
pub fn backup(data: &Path, out: &Path) -> Result<BackedUp, BackupError> {
    if out.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(out.to_owned()));
    }
    let failed = |source| BackupError::Write { path: out.to_owned(), source };
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = out.with_file_name(name);
    let _ = fs::remove_file(&part);
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&part).map_err(failed)?;
    let written = match UnixStream::connect(control_path(data)) {
        Ok(stream) => ask(stream, &file, out).map(|bytes| (bytes, true)),
        Err(_) => here(data, &file, out).map(|bytes| (bytes, false)),
    };
    let placed = written.and_then(|written| {
        file.sync_all().and_then(|()| put_in_place(&part, out)).map_err(failed)?;
        Ok(written)
    });
    match placed {
        Ok((bytes, online)) => Ok(BackedUp { file: out.to_owned(), bytes, online }),
        Err(error) => {
            let _ = fs::remove_file(&part);
            Err(error)
        }
    }
}

/// Gives the file its name, unless another has it meanwhile.
fn put_in_place(part: &Path, out: &Path) -> io::Result<()> {
    fs::hard_link(part, out)?;
    fs::remove_file(part)?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Has the running broker send it.
fn ask(mut stream: UnixStream, file: &File, out: &Path) -> Result<u64, BackupError> {
    let lost = |error: io::Error| BackupError::Broker(ArchiveError::Io(error));
    stream.set_read_timeout(Some(SILENCE_MAX)).map_err(lost)?;
    stream.write_all(REQUEST).map_err(lost)?;
    let mut copy = Tee { from: stream, to: BufWriter::new(file), bytes: 0, failure: None };
    let read = read_through(&mut copy);
    if let Some(source) = copy.failure.take() {
        return Err(BackupError::Write { path: out.to_owned(), source });
    }
    read.map_err(BackupError::Broker)?;
    copy.to.flush().map_err(|source| BackupError::Write { path: out.to_owned(), source })?;
    Ok(copy.bytes)
}

fn read_through(copy: &mut Tee<'_>) -> Result<(), ArchiveError> {
    let mut reader = Reader::new(copy)?;
    while reader.next()?.is_some() {}
    Ok(())
}

/// Writes down what is read.
struct Tee<'a> {
    from: UnixStream,
    to: BufWriter<&'a File>,
    bytes: u64,
    /// Why it could not be written down.
    failure: Option<io::Error>,
}

impl Read for Tee<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.from.read(into)?;
        let read = into.get(..len).unwrap_or_default();
        if let Err(error) = self.to.write_all(read) {
            self.failure = Some(error);
            return Err(io::Error::other("the file cannot be written"));
        }
        self.bytes = self.bytes.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        Ok(len)
    }
}

/// Copies the store of a broker that does not run.
fn here(data: &Path, file: &File, out: &Path) -> Result<u64, BackupError> {
    if !SledStore::is_in(data) {
        return Err(BackupError::NoStore(data.to_owned()));
    }
    let store = SledStore::open(data)?;
    let copying = store.reader().copy().ok_or(BackupError::Busy)?;
    let failed = |source| BackupError::Write { path: out.to_owned(), source };
    let mut sending = Control::new(data, BufWriter::new(file)).map_err(failed)?;
    let copying = sending.walk(copying, &|| false)?.map_err(failed)?;
    sending.last(copying.finish()?).map_err(failed)
}

/// The sending side of a backup.
pub(crate) struct Control<W> {
    writer: Writer<W>,
}

impl<W: Write> Control<W> {
    /// Begins with the files beside the store.
    pub(crate) fn new(data: &Path, out: W) -> io::Result<Self> {
        let mut writer = Writer::new(out)?;
        for name in FILES {
            match folder::read(&data.join(name), BLOCK_BYTES_MAX / 2) {
                Ok(bytes) => writer.write(&Record::File(name.to_owned(), bytes))?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { writer })
    }

    /// Sends all but the last steps, unless `stop` says so.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot be read or the copy was given up; within, where it cannot be sent.
    pub(crate) fn walk(
        &mut self,
        mut copying: Copying,
        stop: &dyn Fn() -> bool,
    ) -> Result<io::Result<Copying>, StoreError> {
        loop {
            if stop() {
                return Err(StoreError::Failed("the broker is stopping".to_owned()));
            }
            let steps = copying.step()?;
            if steps.is_empty() {
                return Ok(Ok(copying));
            }
            if let Err(error) = self.send(steps) {
                return Ok(Err(error));
            }
        }
    }

    /// Sends the last steps and the end; returns how many bytes the backup has.
    pub(crate) fn last(mut self, steps: Vec<Step>) -> io::Result<u64> {
        self.send(steps)?;
        self.writer.finish()
    }

    fn send(&mut self, steps: Vec<Step>) -> io::Result<()> {
        steps.into_iter().try_for_each(|(key, value)| {
            self.writer.write(&match value {
                Some(value) => Record::Put(key, value),
                None => Record::Remove(key),
            })
        })
    }
}
