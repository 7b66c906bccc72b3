//! The authority's folder: where each file lies, and who may use it at one time.

use std::fs::{File, Permissions, TryLockError};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::files::{self, FileError, SECRET_FILE};
use crate::state::Serial;

/// The folder cannot be used now. Nothing was changed.
#[derive(Debug, Error)]
pub enum FolderError {
    /// `init` was not run.
    #[error("{dir} holds no authority; if that is the right folder and there is none yet, found one: `valise-ca init --dir {dir} --trust-domain DOMAIN --policy POLICY`", dir = .0.display())]
    NotInitialised(PathBuf),
    /// Another process has it open.
    #[error("{} is in use by another valise-ca; wait until it is done", .0.display())]
    InUse(PathBuf),
    /// Others than its owner may enter it, or read a key.
    #[error("{path} can be used by others (mode {mode:04o}): run `chmod {wanted:o} {path}`, and if others use this machine, found the authority anew", path = path.display())]
    Exposed {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode it must have.
        wanted: u32,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The authority's folder at a path, which need not exist.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Stands there from the first moment of `init` to its last: what else is there then was never used.
    pub(crate) fn unfinished(&self) -> PathBuf {
        self.0.join("init-unfinished")
    }

    /// Its presence says that the authority was founded.
    pub(crate) fn state(&self) -> PathBuf {
        self.0.join("state.json")
    }

    /// Its lines follow from one another, the last from the state.
    pub(crate) fn journal(&self) -> PathBuf {
        self.0.join("journal.jsonl")
    }

    /// The state of before, for as long as a change is being put on stable storage.
    pub(crate) fn former_state(&self) -> PathBuf {
        self.0.join("state.json.former")
    }

    /// Every private key in it.
    pub(crate) fn key_files(&self) -> Result<Vec<PathBuf>, FolderError> {
        let refused = |source| FileError::new("read this folder", &self.0, source);
        let entries = std::fs::read_dir(&self.0).map_err(refused)?;
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(refused)?.path();
            if path.extension().is_some_and(|extension| extension == "key") {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Where the root lies unless it has a place of its own.
    pub(crate) fn default_root(&self) -> PathBuf {
        self.0.join("root")
    }

    pub(crate) fn issuing_key(&self) -> PathBuf {
        self.0.join("issuing.key")
    }

    /// The key of an issuing authority of former times.
    pub(crate) fn former_issuing_key(&self, serial: Serial) -> PathBuf {
        self.0.join(format!("issuing-{serial}.key"))
    }

    pub(crate) fn directory_key(&self) -> PathBuf {
        self.0.join("directory.key")
    }

    pub(crate) fn root_certificate(&self) -> PathBuf {
        self.0.join("root.crt")
    }

    pub(crate) fn issuing_certificate(&self) -> PathBuf {
        self.0.join("issuing.crt")
    }

    /// A copy of what was published last.
    pub(crate) fn published(&self) -> PathBuf {
        self.0.join("published")
    }

    /// Every file of a founded authority.
    pub(crate) fn files(&self) -> [PathBuf; 9] {
        [
            self.unfinished(),
            self.issuing_key(),
            self.directory_key(),
            self.root_certificate(),
            self.issuing_certificate(),
            self.journal(),
            self.former_state(),
            self.state(),
            self.lock_file(),
        ]
    }

    pub(crate) fn check_initialised(&self) -> Result<(), FolderError> {
        let state = self.state();
        match state.try_exists() {
            Ok(true) => Ok(()),
            Ok(false) => Err(FolderError::NotInitialised(self.0.clone())),
            // Somebody else's folder holds an authority all the same.
            Err(source) => Err(FileError::new("look for this file", &state, source).into()),
        }
    }

    /// Refuses a folder that others may enter: whoever can write there could put other files in place.
    pub(crate) fn check_private(&self) -> Result<(), FolderError> {
        check_private(&self.0, files::PRIVATE_FOLDER)
    }

    /// Takes the folder for this process alone, for as long as the file returned lives.
    pub(crate) fn lock(&self) -> Result<File, FolderError> {
        let path = self.lock_file();
        let refused = |source| FileError::new("lock this file", &path, source);
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(SECRET_FILE);
        let lock = options.open(&path).map_err(refused)?;
        match valise_process::lock(&lock) {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(FolderError::InUse(self.0.clone())),
            Err(TryLockError::Error(source)) => Err(refused(source).into()),
        }
    }
}

/// Closes a folder to all but its owner.
pub(crate) fn close(path: &Path) -> Result<(), FileError> {
    let private = std::fs::set_permissions(path, Permissions::from_mode(files::PRIVATE_FOLDER));
    private.map_err(|source| FileError::new("close this folder to others", path, source))
}

/// Refuses a file or folder that others than its owner may use.
pub(crate) fn check_private(path: &Path, wanted: u32) -> Result<(), FolderError> {
    let metadata =
        std::fs::metadata(path).map_err(|source| FileError::new("read this file", path, source))?;
    match files::exposed_mode(&metadata) {
        None => Ok(()),
        Some(mode) => Err(FolderError::Exposed { path: path.to_owned(), mode, wanted }),
    }
}
