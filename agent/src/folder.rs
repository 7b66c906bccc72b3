//! The node's data folder: where each file lies, and how a file is replaced without ever being half there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Mode of files that only the node may read.
const SECRET_FILE: u32 = 0o600;
/// Mode of files anyone may read.
const PLAIN_FILE: u32 = 0o644;

/// A file or folder could not be read or written. What was there before is still there.
#[derive(Debug, Error)]
#[error("{path}: cannot {action}: {source}", path = path.display())]
pub struct FileError {
    /// What was to be done.
    pub action: &'static str,
    /// With which file or folder.
    pub path: PathBuf,
    /// Why it could not.
    pub source: io::Error,
}

/// The data folder of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(PathBuf);

impl Folder {
    /// The node's folder at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Private keys.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    /// What the agency asked the authority to enrol.
    #[must_use]
    pub fn request(&self) -> PathBuf {
        self.0.join("enrolment-request.pem")
    }

    /// The certificate chain; its presence says that the node has joined.
    #[must_use]
    pub fn certificates(&self) -> PathBuf {
        self.0.join("tls.crt")
    }

    /// The roots of trust.
    #[must_use]
    pub fn trust(&self) -> PathBuf {
        self.0.join("trust.pem")
    }

    /// The newest directory.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.0.join("directory.valise")
    }

    /// The newest revocation lists.
    #[must_use]
    pub fn crls(&self) -> PathBuf {
        self.0.join("crls.pem")
    }

    /// The durable store.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    /// The configuration, if there is one.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.0.join("agent.toml")
    }

    /// The local API's socket, unless the configuration names another.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.0.join("agent.sock")
    }
}

/// Makes a folder that only its owner may enter, if it is not there.
///
/// # Errors
/// [`FileError`].
pub fn make_private(path: &Path) -> Result<(), FileError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| FileError { action: "make this folder", path: path.to_owned(), source })
}

/// Reads a whole file of at most `bytes_max`.
///
/// # Errors
/// [`FileError`], also where the file is longer.
pub fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, FileError> {
    let refused = |source| FileError { action: "read this file", path: path.to_owned(), source };
    let file = File::open(path).map_err(refused)?;
    let mut bytes = Vec::new();
    let room = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    io::Read::read_to_end(&mut io::Read::take(file, room), &mut bytes).map_err(refused)?;
    if bytes.len() > bytes_max {
        let sentence = format!("it is longer than the {bytes_max} bytes allowed");
        return Err(refused(io::Error::new(io::ErrorKind::FileTooLarge, sentence)));
    }
    Ok(bytes)
}

/// Reads a whole text file of at most `bytes_max`.
///
/// # Errors
/// [`FileError`], also where it is not UTF-8.
pub fn read_text(path: &Path, bytes_max: usize) -> Result<String, FileError> {
    String::from_utf8(read(path, bytes_max)?).map_err(|_| FileError {
        action: "read this file",
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"),
    })
}

/// Puts a file in place whole and on stable storage, or leaves what was there.
///
/// # Errors
/// [`FileError`].
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_then_rename(path, bytes, PLAIN_FILE)
}

/// The same for a file that only its owner may read.
///
/// # Errors
/// [`FileError`].
pub fn replace_secret(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_then_rename(path, bytes, SECRET_FILE)
}

fn write_then_rename(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let refused = |source| FileError { action: "write this file", path: path.to_owned(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused(error)),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new).map_err(refused)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(refused)?;
    fs::rename(&new, path).map_err(refused)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the names in a folder durable.
///
/// # Errors
/// [`FileError`].
pub fn sync_folder(path: &Path) -> Result<(), FileError> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(|source| FileError { action: "sync this folder", path: path.to_owned(), source })
}
