//! The passphrase that the authority's private keys are encrypted under.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::files::{self, FileError};

/// Fewest characters of a passphrase.
pub const PASSPHRASE_CHARS_MIN: usize = 12;
/// Longest passphrase, in bytes.
pub const PASSPHRASE_BYTES_MAX: usize = 1024;

/// Why a passphrase cannot be used. Nothing was changed.
#[derive(Debug, Error)]
pub enum PassphraseError {
    /// None was given.
    #[error("the passphrase is empty; give one of at least {PASSPHRASE_CHARS_MIN} characters")]
    Empty,
    /// Too few characters.
    #[error("the passphrase has {0} characters; at least {PASSPHRASE_CHARS_MIN} are needed")]
    TooShort(usize),
    /// Too many bytes.
    #[error("the passphrase has {0} bytes; at most {PASSPHRASE_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// More than one line.
    #[error("the passphrase must be one line of text")]
    NotOneLine,
    /// Others can read the file.
    #[error("{path} can be read by others (mode {mode:04o}): run `chmod 600 {path}`, and change the passphrase if others use this machine", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The passphrase in a file cannot be used.
    #[error("{}: {problem}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: Box<PassphraseError>,
    },
}

/// A passphrase of acceptable length. Wiped when dropped; its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes a passphrase as it was typed.
    ///
    /// # Errors
    /// [`PassphraseError`] where it is empty, too short, too long or more than one line.
    pub fn new(text: impl Into<String>) -> Result<Self, PassphraseError> {
        let text = Zeroizing::new(text.into());
        let chars = text.chars().count();
        if text.contains(['\n', '\r', '\0']) {
            return Err(PassphraseError::NotOneLine);
        }
        match chars {
            0 => Err(PassphraseError::Empty),
            1..PASSPHRASE_CHARS_MIN => Err(PassphraseError::TooShort(chars)),
            _ if text.len() > PASSPHRASE_BYTES_MAX => Err(PassphraseError::TooLong(text.len())),
            _ => Ok(Self(text)),
        }
    }

    /// Reads the one line of a file that only its owner may read.
    ///
    /// # Errors
    /// [`PassphraseError`].
    pub fn read(path: &Path) -> Result<Self, PassphraseError> {
        let refused = |source| FileError::new("read this file", path, source);
        // Mode and content are taken from the same open file, so neither can be changed between the two looks.
        let file = File::open(path).map_err(refused)?;
        if let Some(mode) = files::exposed_mode(&file.metadata().map_err(refused)?) {
            return Err(PassphraseError::Exposed { path: path.to_owned(), mode });
        }
        let line_end = 2;
        let bytes = files::read_open(file, PASSPHRASE_BYTES_MAX.saturating_add(line_end)).map_err(refused)?;
        let bytes = Zeroizing::new(bytes);
        let in_file = |problem| PassphraseError::InFile { path: path.to_owned(), problem: Box::new(problem) };
        let text = std::str::from_utf8(&bytes).map_err(|_| in_file(PassphraseError::NotOneLine))?;
        let line = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
        Self::new(line).map_err(in_file)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl PartialEq for Passphrase {
    fn eq(&self, other: &Self) -> bool {
        // Both were typed by the same person a moment ago: there is nobody to hide timing from.
        *self.0 == *other.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_short_passphrase_is_refused_with_the_minimum() {
        assert!(matches!(Passphrase::new(""), Err(PassphraseError::Empty)));
        let error = Passphrase::new("elevenchars").unwrap_err().to_string();
        assert!(error.contains("11 characters") && error.contains("at least 12"), "{error}");
        assert!(Passphrase::new("twelve chars").is_ok());
        assert!(matches!(Passphrase::new("two lines of\ntext"), Err(PassphraseError::NotOneLine)));
        assert!(matches!(Passphrase::new("x".repeat(1025)), Err(PassphraseError::TooLong(1025))));
    }

    #[test]
    fn a_file_gives_its_one_line_and_must_be_its_owners_only() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("passphrase");
        fs::write(&path, "correct horse battery\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(Passphrase::read(&path).unwrap(), Passphrase::new("correct horse battery").unwrap());
        for mode in [0o640, 0o604] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Passphrase::read(&path).unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn debug_of_a_passphrase_shows_nothing_of_it() {
        assert_eq!(format!("{:?}", Passphrase::new("correct horse battery").unwrap()), "Passphrase");
    }
}
