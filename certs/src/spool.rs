//! Renewal requests as files: read before anything is decided, and put away once all is done.
//!
//! Claimed: whatever lies in a spool, reading it takes bounded memory, harms nothing and keeps no other file from being
//! dealt with; what it is named cannot pass for words of this tool; and no file is ever lost: one that was dealt with is
//! moved to where such files go, to another medium by a copy that is durable there before the file leaves the spool.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use valise_proto::crypto::sha256;
use valise_proto::renewal::{RENEWAL_BYTES_MAX, SignedRenewalRequest};

use crate::files::{self, FileError, SECRET_FILE};

/// Most files taken from a spool at once: twice as many as there are agencies in a directory.
pub const REQUESTS_MAX: usize = 2048;
/// Longest PEM text of a request: base64 is a third longer than what it carries.
pub const REQUEST_PEM_BYTES_MAX: usize = RENEWAL_BYTES_MAX * 3 / 2;

/// How much of a file's name it keeps when it is put away.
const STEM_CHARS_MAX: usize = 48;

/// One file with a renewal request, or with what should be one.
#[derive(Debug)]
pub struct Waiting {
    /// The file.
    pub path: PathBuf,
    /// The request, or why it cannot be read.
    pub request: Result<SignedRenewalRequest, String>,
    bytes: Vec<u8>,
}

impl Waiting {
    /// Reads one file of a spool; that it cannot be read is told in place of the request.
    fn of_spool(path: PathBuf) -> Self {
        Self::read(&path).unwrap_or_else(|error| {
            let reason = format!("it cannot be read: {}", error.reason);
            Self { path, request: Err(reason), bytes: Vec::new() }
        })
    }

    /// Reads one file.
    ///
    /// # Errors
    /// [`FileError`] where the file cannot be read; what is wrong with its content is no error here.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let (bytes, request) = match files::read(path, REQUEST_PEM_BYTES_MAX) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                let request = SignedRenewalRequest::from_pem(&text).map_err(|error| error.to_string());
                (bytes, request)
            }
            Err(error) if error.reason.kind() == io::ErrorKind::FileTooLarge => {
                // Its beginning stands for it.
                (Vec::new(), Err(error.reason.to_string()))
            }
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_owned(), request, bytes })
    }

    /// Moves the file to a folder, under a name that tells its content apart from others of that name; with `reason`
    /// written beside it. Again, this does no harm.
    ///
    /// # Errors
    /// [`FileError`]; the file is still where it was.
    pub fn put_away(&self, folder: &Path, reason: Option<&str>) -> Result<PathBuf, FileError> {
        files::make_private(folder)?;
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        // What is added must find room in a name, too; a character has at most four bytes.
        let stem: String = stem.chars().take(STEM_CHARS_MAX).collect();
        let digest: String = sha256(&[&self.bytes]).to_string().chars().take(16).collect();
        let to = free(folder, &format!("{stem}-{digest}"));
        if let Some(reason) = reason {
            files::replace(&to.with_extension("txt"), format!("{reason}\n").as_bytes(), SECRET_FILE)?;
        }
        let moved = |source| FileError::new("move this file", &self.path, source);
        match fs::rename(&self.path, &to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                self.copy_to(&to).map_err(moved)?;
                files::sync_folder(folder)?;
                fs::remove_file(&self.path).map_err(moved)?;
            }
            Err(error) => return Err(moved(error)),
        }
        files::sync_folder(folder)?;
        files::sync_folder(self.path.parent().unwrap_or(Path::new(".")))?;
        Ok(to)
    }

    /// Puts a copy on another medium, whole and durable.
    fn copy_to(&self, to: &Path) -> io::Result<()> {
        let new = files::copy_of(to);
        fs::copy(&self.path, &new)?;
        fs::File::open(&new)?.sync_all()?;
        fs::rename(&new, to)
    }
}

/// A name in `folder` that no file has: what came before is never written over.
fn free(folder: &Path, stem: &str) -> PathBuf {
    let numbered = (2_u32..).map(|number| folder.join(format!("{stem}-{number}.pem")));
    let mut names = std::iter::once(folder.join(format!("{stem}.pem"))).chain(numbered);
    names.find(|name| !name.exists()).unwrap_or_else(|| folder.join(stem))
}

/// The requests of a spool: its files that end in `.pem`, in the order of their names; and how many more there are
/// than are taken at once. Folders, links and other files are left alone.
///
/// # Errors
/// [`FileError`].
pub fn read(spool: &Path) -> Result<(Vec<Waiting>, usize), FileError> {
    let refused = |source| FileError::new("read this folder", spool, source);
    let mut paths = Vec::new();
    let mut more = 0_usize;
    for entry in fs::read_dir(spool).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let path = entry.path();
        let is_request = path.extension().is_some_and(|extension| extension == "pem");
        if !is_request || !entry.file_type().map_err(refused)?.is_file() {
            continue;
        }
        if paths.len() < REQUESTS_MAX {
            paths.push(path);
        } else {
            more = more.saturating_add(1);
        }
    }
    paths.sort();
    Ok((paths.into_iter().map(Waiting::of_spool).collect(), more))
}

/// Words that came with a file, fit to be printed: on one line, and without signs that steer a terminal.
#[must_use]
pub fn on_one_line(words: &str) -> String {
    let quoted = |sign: char| match sign {
        '"' | '\'' => sign.to_string(),
        _ => sign.escape_debug().to_string(),
    };
    words.chars().map(quoted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_told_in_place_of_its_request() {
        let temp = tempfile::tempdir().unwrap();
        let gone = Waiting::of_spool(temp.path().join("gone.pem"));
        assert!(gone.request.unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn words_stay_on_one_line_and_steer_no_terminal() {
        let words = "a\nb\u{1b}[2K\u{202e}\u{2028} it's \u{e9}";
        assert_eq!(on_one_line(words), "a\\nb\\u{1b}[2K\\u{202e}\\u{2028} it's \u{e9}");
    }
}
