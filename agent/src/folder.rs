//! The node's data folder: where each file lies, and how a file is replaced without ever being half there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Mode of files that only the node may read.
const SECRET_FILE: u32 = 0o600;
/// Mode of files anyone may read.
const PLAIN_FILE: u32 = 0o644;

/// A file or folder could not be read or written. What was there before is still there.
#[derive(Debug, Error)]
#[error("{path}: cannot {action}: {reason}", path = path.display())]
pub struct FileError {
    /// What was to be done.
    pub action: &'static str,
    /// With which file or folder.
    pub path: PathBuf,
    /// Why it could not.
    pub reason: io::Error,
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

    /// Keys that were made to follow those in use.
    #[must_use]
    pub fn next_keys(&self) -> PathBuf {
        self.keys().join("next")
    }

    /// Sealing keys of former times.
    #[must_use]
    pub fn former_keys(&self) -> PathBuf {
        self.keys().join("former")
    }

    /// A certificate chain for the TLS key that is to follow. While it is there, the exchange of both is under way.
    #[must_use]
    pub fn next_certificates(&self) -> PathBuf {
        self.next_keys().join("tls.crt")
    }

    /// The renewal request that waits for an answer.
    #[must_use]
    pub fn renewal(&self) -> PathBuf {
        self.0.join("renewal-request.pem")
    }

    /// What became of the renewal request.
    #[must_use]
    pub fn renewal_state(&self) -> PathBuf {
        self.0.join("renewal.json")
    }

    /// What was carried here by hand and is to be installed.
    #[must_use]
    pub fn incoming(&self) -> PathBuf {
        self.0.join("incoming")
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

/// Makes a folder, and those above it, that only its owner may enter, if it is not there; one that is there must be
/// this user's own.
///
/// # Errors
/// [`FileError`].
pub fn make_private(path: &Path) -> Result<(), FileError> {
    let missing = |above: &&Path| !above.as_os_str().is_empty() && !above.exists();
    let made: Vec<&Path> = path.ancestors().take_while(missing).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| FileError {
        action: "make this folder",
        path: path.to_owned(),
        reason: source,
    })?;
    // A new folder's name is as little durable as a new file's until the folder above is synced.
    made.iter().try_for_each(|folder| sync_folder(folder.parent().unwrap_or(Path::new("."))))?;
    check_own(path)
}

/// Checks that a folder belongs to this user and that nobody else may write to it: whoever may can put other roots of
/// trust, or another directory, in place of those inside.
///
/// # Errors
/// [`FileError`], which names the command that mends it.
pub fn check_own(path: &Path) -> Result<(), FileError> {
    let refused = |source| FileError { action: "use this folder", path: path.to_owned(), reason: source };
    let found = fs::metadata(path).map_err(refused)?;
    let user = rustix::process::geteuid().as_raw();
    let problem = if found.uid() != user {
        let owner = found.uid();
        format!(
            "it belongs to user {owner} and this is user {user}: run as that user, or give it a folder of its own"
        )
    } else if found.mode() & 0o022 != 0 {
        let mode = found.mode() & 0o7777;
        format!("others may write to it (mode {mode:04o}): run `chmod go-w {}`", path.display())
    } else {
        return Ok(());
    };
    Err(refused(io::Error::new(io::ErrorKind::PermissionDenied, problem)))
}

/// Reads a whole file of at most `bytes_max`.
///
/// # Errors
/// [`FileError`], also where the file is longer.
pub fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, FileError> {
    let refused = |source| FileError { action: "read this file", path: path.to_owned(), reason: source };
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
        reason: io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"),
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

/// Removes a file, if it is there.
///
/// # Errors
/// [`FileError`].
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(path.parent().unwrap_or(Path::new("."))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(FileError { action: "remove this file", path: path.to_owned(), reason: source }),
    }
}

/// Removes a folder and what is in it, if it is there.
///
/// # Errors
/// [`FileError`].
pub fn remove_folder(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(FileError { action: "remove this folder", path: path.to_owned(), reason: source }),
    }
}

/// Gives a file or folder another name in the same folder, durably.
///
/// # Errors
/// [`FileError`].
pub fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    let renamed = fs::rename(from, to);
    renamed.map_err(|source| FileError { action: "rename this", path: from.to_owned(), reason: source })?;
    sync_folder(to.parent().unwrap_or(Path::new(".")))
}

fn write_then_rename(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let refused = |source| FileError { action: "write this file", path: path.to_owned(), reason: source };
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
    synced.map_err(|source| FileError { action: "sync this folder", path: path.to_owned(), reason: source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_is_ones_own_or_not_used() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("a/b");
        make_private(&folder).unwrap();
        for made in [&folder, &temp.path().join("a")] {
            assert_eq!(fs::metadata(made).unwrap().mode() & 0o777, 0o700, "{}", made.display());
        }
        for (mode, own) in [(0o755, true), (0o775, false), (0o702, false)] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(check_own(&folder).is_ok(), own, "{mode:o}");
            assert_eq!(make_private(&folder).is_ok(), own, "{mode:o}");
        }
        let error = check_own(&folder).unwrap_err().to_string();
        assert!(error.contains(&format!("chmod go-w {}", folder.display())), "{error}");
    }
}
