//! How files are read and replaced: whole or not at all, and never readable by more people than they should be.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Mode of files that only their owner may read.
pub const SECRET_FILE: u32 = 0o600;
/// Mode of files anyone may read.
pub const PLAIN_FILE: u32 = 0o644;
/// Mode of folders that only their owner may enter.
pub const PRIVATE_FOLDER: u32 = 0o700;

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

impl FileError {
    pub(crate) fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self { action, path: path.to_owned(), reason: source }
    }
}

/// Makes a folder, and those above it, that only its owner may enter, if it is not there.
pub(crate) fn make_private(path: &Path) -> Result<(), FileError> {
    make(path, DirBuilder::new().mode(PRIVATE_FOLDER))
}

/// Makes a folder for files that anyone may read, and those above it, if it is not there.
pub(crate) fn make_folder(path: &Path) -> Result<(), FileError> {
    make(path, &mut DirBuilder::new())
}

fn make(path: &Path, builder: &mut DirBuilder) -> Result<(), FileError> {
    let missing = |above: &&Path| !above.as_os_str().is_empty() && !above.exists();
    let made: Vec<&Path> = path.ancestors().take_while(missing).collect();
    let refused = |source| FileError::new("make this folder", path, source);
    builder.recursive(true).create(path).map_err(refused)?;
    // A new folder's name is as little durable as a new file's until the folder above is synced.
    made.iter().try_for_each(|folder| sync_folder(folder.parent().unwrap_or(Path::new("."))))
}

/// Reads a whole file of at most `bytes_max`.
pub(crate) fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, FileError> {
    let refused = |source| FileError::new("read this file", path, source);
    read_open(File::open(path).map_err(refused)?, bytes_max).map_err(refused)
}

/// Reads what is left of an open file, of at most `bytes_max`.
pub(crate) fn read_open(file: File, bytes_max: usize) -> Result<Vec<u8>, io::Error> {
    let room = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    file.take(room).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        let sentence = format!("it is longer than the {bytes_max} bytes allowed");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, sentence));
    }
    Ok(bytes)
}

/// Reads a whole text file of at most `bytes_max`.
pub(crate) fn read_text(path: &Path, bytes_max: usize) -> Result<String, FileError> {
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text");
    String::from_utf8(read(path, bytes_max)?)
        .map_err(|error| FileError::new("read this file", path, not_text(error.utf8_error())))
}

/// Puts a file in place whole and on stable storage, with `mode`, or leaves what was there.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let refused = |source| FileError::new("write this file", path, source);
    let new = copy_of(path);
    remove_if_there(&new).map_err(refused)?;
    let written = write_new(&new, bytes, mode).and_then(|()| fs::rename(&new, path));
    if let Err(source) = written {
        // What was there is untouched; only the half-written copy goes.
        let _ = remove_if_there(&new);
        return Err(refused(source));
    }
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The process's umask may have taken bits away that readers of a published file need.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Where a file is written before it is put in place.
pub(crate) fn copy_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

/// Gives the file at `path` a second name, under which it stays when it is replaced.
pub(crate) fn keep_former(path: &Path, former: &Path) -> Result<(), FileError> {
    let refused = |source| FileError::new("write this file", former, source);
    remove_if_there(former).map_err(refused)?;
    // Not every file system knows second names.
    fs::hard_link(path, former).or_else(|_| fs::copy(path, former).map(|_| ())).map_err(refused)
}

/// Removes a file; one that is not there is no error.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Checks that files can be made in a folder, before anything is decided that would have to be written there.
pub(crate) fn check_writable(folder: &Path) -> Result<(), FileError> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let probe = folder.join(".valise-ca.probe");
    let refused = |source| FileError::new("write into this folder", folder, source);
    remove_if_there(&probe).map_err(refused)?;
    OpenOptions::new().write(true).create_new(true).mode(SECRET_FILE).open(&probe).map_err(refused)?;
    remove_if_there(&probe).map_err(refused)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), FileError> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(|source| FileError::new("sync this folder", path, source))
}

/// The mode of a file or folder where others than its owner may use it.
pub(crate) fn exposed_mode(metadata: &fs::Metadata) -> Option<u32> {
    let mode = metadata.permissions().mode() & 0o7777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_with_the_mode_asked_for() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("directory.valise");
        replace(&path, b"one", SECRET_FILE).unwrap();
        replace(&path, b"two", PLAIN_FILE).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, PLAIN_FILE);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "a copy was left behind");
    }

    #[test]
    fn a_replacement_that_fails_leaves_what_was_there_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), b"kept").unwrap();
        let error = replace(&path, b"two", PLAIN_FILE).unwrap_err().to_string();
        assert!(error.contains("cannot write this file"), "{error}");
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"kept");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "a copy was left behind");
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("long");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(read(&path, 4).unwrap_err().to_string().contains("longer than the 4 bytes"));
    }
}
