//! Putting a backup into a new folder.
//!
//! The folder gets its name only when everything in it is whole and on stable storage. Its cursors go on far above those
//! of the backup: what an agency acknowledged after the backup was taken must not be mistaken for what is queued now.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use super::archive::{ArchiveError, Reader, Record};
use super::backup::FILES;
use crate::folder;
use crate::store::{SledStore, StoreError};

/// Nothing was restored; the folder is not there.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// Something is there.
    #[error("{} exists already: restore into a folder that does not exist", .0.display())]
    Exists(PathBuf),
    /// The backup.
    #[error("{path}: {source}", path = path.display())]
    Archive {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        source: ArchiveError,
    },
    /// It holds a file that does not belong in it.
    #[error("{path}: it holds a file `{name}`, which no broker's backup has", path = path.display())]
    Stranger {
        /// The backup.
        path: PathBuf,
        /// The file's name, escaped.
        name: String,
    },
    /// The folder cannot be written.
    #[error("{path}: cannot be written: {source}", path = path.display())]
    Write {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The data folder.
    pub data: PathBuf,
    /// Entries of its log.
    pub log_entries: u64,
}

/// Restores a backup into `data`, which must not exist.
///
/// # Errors
/// [`RestoreError`]; then `data` does not exist.
pub fn restore(file: &Path, data: &Path) -> Result<Restored, RestoreError> {
    if data.symlink_metadata().is_ok() {
        return Err(RestoreError::Exists(data.to_owned()));
    }
    let unreadable = |source| RestoreError::Archive { path: file.to_owned(), source };
    let opened = File::open(file).map_err(|error| unreadable(error.into()))?;
    let mut reader = Reader::new(BufReader::new(opened)).map_err(unreadable)?;
    let mut name = data.file_name().unwrap_or_default().to_owned();
    name.push(".restoring");
    let part = data.with_file_name(name);
    if part.symlink_metadata().is_ok() {
        return Err(RestoreError::Exists(part));
    }
    let done = fill(&mut reader, file, &part).and_then(|log_entries| {
        place(&part, data).map_err(|source| RestoreError::Write { path: data.to_owned(), source })?;
        Ok(Restored { data: data.to_owned(), log_entries })
    });
    if done.is_err() {
        let _ = fs::remove_dir_all(&part);
    }
    done
}

fn fill(reader: &mut Reader<BufReader<File>>, file: &Path, part: &Path) -> Result<u64, RestoreError> {
    let mut store = SledStore::open(part)?;
    while let Some(records) =
        reader.next().map_err(|source| RestoreError::Archive { path: file.to_owned(), source })?
    {
        let mut steps = Vec::with_capacity(records.len());
        for record in records {
            match record {
                Record::Put(key, value) => steps.push((key, Some(value))),
                Record::Remove(key) => steps.push((key, None)),
                Record::File(name, bytes) if FILES.contains(&name.as_str()) => {
                    let path = part.join(name);
                    folder::replace(&path, &bytes).map_err(|source| RestoreError::Write { path, source })?;
                }
                Record::File(name, _) => {
                    let name = name.escape_debug().to_string();
                    return Err(RestoreError::Stranger { path: file.to_owned(), name });
                }
            }
        }
        store.put_back(steps)?;
    }
    Ok(store.end_restoring(part)?)
}

fn place(part: &Path, data: &Path) -> io::Result<()> {
    fs::rename(part, data)?;
    let folder = data.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
