//! Several files of a folder that change together: all of them, or none.
//!
//! Claimed: whenever the power fails, the next to open the folder finds either every file as it was or every file as
//! it was to be. It holds because each new file is first written whole beside the old one, as `NAME.next`; then one
//! file, [`MARKER`], is put in place, which names them all, and by whose presence alone the change counts; only then is
//! each renamed over the old one. [`recover`], which every opening begins with, goes on with the renaming where the
//! marker is there, and takes the `.next` files away where it is not. It needs no passphrase.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::{self, FileError, SECRET_FILE};

/// By its presence the change counts. It holds the names of the files, one a line.
pub(crate) const MARKER: &str = "transaction";
const MARKER_BYTES_MAX: usize = 64 * 1024;
const NEXT: &str = ".next";

/// A change that is being prepared. Unless it is committed, the folder stays as it was.
pub(crate) struct Transaction {
    dir: PathBuf,
    names: Vec<String>,
    counts: bool,
}

impl Transaction {
    /// Nothing yet. The folder must be locked, and recovered.
    pub(crate) fn begin(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), names: Vec::new(), counts: false }
    }

    /// Writes what a file of the folder is to hold.
    pub(crate) fn put(&mut self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        check_name(&self.dir, name)?;
        // Known before it is there, so that it is taken away wherever this stops.
        self.names.push(name.to_owned());
        files::replace(&next_of(&self.dir, name), bytes, mode)
    }

    /// Puts all files in place, in the order in which they were written. An error from here on may mean that the
    /// change counts and is not through yet: then the next to open the folder finishes it.
    pub(crate) fn commit(mut self) -> Result<(), FileError> {
        let marker = self.dir.join(MARKER);
        files::replace(&marker, self.names.join("\n").as_bytes(), SECRET_FILE)?;
        self.counts = true;
        finish(&self.dir, &self.names)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // The marker may stand although putting it in place ended in an error: then the change counts.
        if !self.counts && !self.dir.join(MARKER).exists() {
            for name in &self.names {
                // What stays is taken away by the next to open the folder.
                let _ = files::remove_if_there(&next_of(&self.dir, name));
            }
        }
    }
}

/// Finishes a change that counts, and takes away what is left of one that does not. The folder must be locked.
pub(crate) fn recover(dir: &Path) -> Result<(), FileError> {
    let marker = dir.join(MARKER);
    match files::read_text(&marker, MARKER_BYTES_MAX) {
        Ok(text) => {
            let names: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
            names.iter().try_for_each(|name| check_name(dir, name))?;
            finish(dir, &names)
        }
        Err(error) if error.reason.kind() == io::ErrorKind::NotFound => discard(dir),
        Err(error) => Err(error),
    }
}

fn finish(dir: &Path, names: &[String]) -> Result<(), FileError> {
    for name in names {
        let path = dir.join(name);
        match fs::rename(next_of(dir, name), &path) {
            Ok(()) => {}
            // It was renamed before the interruption.
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.exists() => {}
            Err(source) => return Err(FileError::new("put the new file in place", &path, source)),
        }
    }
    files::sync_folder(dir)?;
    remove(&dir.join(MARKER))?;
    files::sync_folder(dir)
}

fn discard(dir: &Path) -> Result<(), FileError> {
    let refused = |source| FileError::new("read this folder", dir, source);
    for entry in fs::read_dir(dir).map_err(refused)? {
        let path = entry.map_err(refused)?.path();
        if path.extension().is_some_and(|extension| extension == NEXT.trim_start_matches('.')) {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), FileError> {
    files::remove_if_there(path).map_err(|source| FileError::new("remove this file", path, source))
}

fn next_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}{NEXT}"))
}

/// A name leads to a file of this folder itself.
fn check_name(dir: &Path, name: &str) -> Result<(), FileError> {
    if Path::new(name).file_name().is_some_and(|file| file == name) && !name.contains('\n') {
        return Ok(());
    }
    let problem = io::Error::new(io::ErrorKind::InvalidData, "it names what is no file of this folder");
    Err(FileError::new("use this file", &dir.join(MARKER), problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["state.json", "issuing.key", "journal.jsonl"];

    /// Three files as they were, and what they were to be beside them.
    fn prepared() -> (tempfile::TempDir, Transaction) {
        let temp = tempfile::tempdir().unwrap();
        let mut transaction = Transaction::begin(temp.path());
        for name in NAMES {
            fs::write(temp.path().join(name), "old").unwrap();
            transaction.put(&temp.path().join(name), b"new", SECRET_FILE).unwrap();
        }
        (temp, transaction)
    }

    fn contents(dir: &Path) -> Vec<String> {
        assert_eq!(fs::read_dir(dir).unwrap().count(), NAMES.len(), "something was left behind");
        NAMES.iter().map(|name| fs::read_to_string(dir.join(name)).unwrap()).collect()
    }

    #[test]
    fn all_files_change_or_none() {
        let (temp, transaction) = prepared();
        drop(transaction);
        assert_eq!(contents(temp.path()), ["old"; 3]);
        let (temp, transaction) = prepared();
        transaction.commit().unwrap();
        assert_eq!(contents(temp.path()), ["new"; 3]);
    }

    #[test]
    fn an_interruption_before_the_marker_leaves_all_as_it_was_and_one_after_it_nothing_as_it_was() {
        let (temp, transaction) = prepared();
        std::mem::forget(transaction);
        recover(temp.path()).unwrap();
        assert_eq!(contents(temp.path()), ["old"; 3]);
        for renamed in 0..=NAMES.len() {
            let (temp, transaction) = prepared();
            std::mem::forget(transaction);
            fs::write(temp.path().join(MARKER), NAMES.join("\n")).unwrap();
            for name in &NAMES[..renamed] {
                fs::rename(next_of(temp.path(), name), temp.path().join(name)).unwrap();
            }
            recover(temp.path()).unwrap();
            assert_eq!(contents(temp.path()), ["new"; 3], "stopped after {renamed} files");
            recover(temp.path()).unwrap();
        }
    }

    #[test]
    fn a_marker_leads_nowhere_else() {
        let (temp, transaction) = prepared();
        std::mem::forget(transaction);
        for name in ["../root.key", "/etc/passwd", "..", ".", "", "a/b"] {
            fs::write(temp.path().join(MARKER), format!("state.json\n{name}\nx")).unwrap();
            let error = recover(temp.path()).unwrap_err().to_string();
            assert!(error.contains("no file of this folder"), "`{name}`: {error}");
            assert_eq!(fs::read_to_string(temp.path().join("state.json")).unwrap(), "old");
        }
    }
}
