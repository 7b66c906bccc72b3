//! Backups: one file that holds the authority's folder as it was at one moment.
//!
//! ```text
//! VALISE CA BACKUP 1
//! {"trust_domain":"…","made_at":"…",…,"files":[{"path":"state.json","private":true,"bytes":1234},…]}
//! the bytes of the files, one after the other
//! sha256 and 64 hexadecimal digits: the digest of all bytes before this line
//! ```
//!
//! Claimed, against whoever finds a backup: they learn no private key, because key files are taken as they lie, still
//! encrypted. Against damage: a backup that is not as it was written is not restored, because its digest is checked
//! before anything else is read. Against whoever alters a backup and its digest: they gain what they would by altering
//! the folder, which is nothing without the passphrase, because the state is signed and restoring opens it.
//!
//! Claimed of a restored authority: it never signs under a number that was used after the backup was made, however
//! often that same backup was restored before. It holds because restoring skips [`AHEAD`] numbers, more than anybody
//! publishes in the life of a root, and goes on from no lower number than the seconds that the clock counts: whoever
//! restores later begins higher, as long as nobody signs more than once a second and the clock did not go back in
//! between. What else was done since is lost, and whoever restores is told so.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use valise_proto::crypto::sha256;
use valise_proto::id::{Digest, Timestamp, TrustDomain};

use crate::audit::{self, AuditError};
use crate::authority::{Authority, OpenError};
use crate::files::{self, FileError, PLAIN_FILE, SECRET_FILE};
use crate::folder::{Folder, FolderError};
use crate::passphrase::Passphrase;
use crate::register::{Register, RegisterError};
use crate::state::StateError;

/// How far the numbers of directories and lists skip ahead, at least, when an authority is restored.
pub const AHEAD: u64 = 1_000_000;
const MAGIC: &str = "VALISE CA BACKUP ";
const FORMAT: &str = "1";
/// Longest backup.
const BACKUP_BYTES_MAX: usize = 2 * 1024 * 1024 * 1024;
/// Most files in one.
const FILES_MAX: usize = 10_000;
/// Deepest folder within the authority's.
const DEPTH_MAX: usize = 4;
/// `sha256 `, 64 digits and the line's end.
const DIGEST_LINE_BYTES: usize = 72;
/// Stands in a folder that is being restored, until it is whole.
const UNFINISHED: &str = "restore-unfinished";

/// Why no backup was made, or none restored. Nothing was changed.
#[derive(Debug, Error)]
pub enum BackupError {
    /// Nothing to back up.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The folder is in use, or open to others.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A damaged folder is not worth backing up.
    #[error("the folder is damaged, and so would its backup be: {0}")]
    Audit(#[from] AuditError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is one.
    #[error("{} is there already; a backup is never written over another: name a new file", .0.display())]
    Exists(PathBuf),
    /// The backup would be lost with the folder.
    #[error("{} lies in the authority's own folder and would be lost with it; name a place outside, best on another medium", .0.display())]
    Within(PathBuf),
    /// Too many files, or too deep.
    #[error("{} holds more than a backup does ({FILES_MAX} files, {DEPTH_MAX} folders deep); move away what is not the authority's", .0.display())]
    TooMuch(PathBuf),
    /// Something else.
    #[error("{} is not a backup of an authority: it does not begin with `{MAGIC}`", .0.display())]
    NotABackup(PathBuf),
    /// Of a version this tool does not know.
    #[error("{path} is a backup of format {got}; this valise-ca knows format {FORMAT}: use the valise-ca that wrote it", path = path.display())]
    Format {
        /// The backup.
        path: PathBuf,
        /// Its format.
        got: String,
    },
    /// Not as it was written.
    #[error("{path} is damaged: {problem}; take another copy of the backup", path = path.display())]
    Damaged {
        /// The backup.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Something stands where the folder is put together.
    #[error("{} is in the way and is not of a restore that was stopped; move it away", .0.display())]
    InTheWay(PathBuf),
    /// The folder to restore to is taken, or what was restored cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What was restored could not be signed anew.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What a backup says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Whose it is.
    pub trust_domain: TrustDomain,
    /// When it was made.
    pub made_at: Timestamp,
    /// Version of the last directory signed by then.
    pub directory_version: u64,
    /// Number of the last lists signed by then.
    pub crl_number: u64,
    /// Entries of the journal by then.
    pub journal_entries: u64,
    /// Digest of the last of them.
    pub journal_head: Digest,
    /// The files, in the order of their bytes.
    pub files: Vec<FileHeader>,
}

/// One file of a backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileHeader {
    /// Within the authority's folder.
    pub path: PathBuf,
    /// Whether only its owner may read it.
    pub private: bool,
    /// How long it is.
    pub bytes: usize,
}

/// A backup that was made, or found whole.
#[derive(Clone, Debug)]
pub struct Backup {
    header: Header,
    /// The bytes of all files.
    contents: Vec<u8>,
    digest: Digest,
}

/// The time of a restore.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// This machine's.
    pub now: Timestamp,
    /// Whether it is right although the journal's last entry is of a later time.
    pub accepted: bool,
}

impl From<Timestamp> for Clock {
    fn from(now: Timestamp) -> Self {
        Self { now, accepted: false }
    }
}

/// What a restored authority goes on with. All of it is from the signed state, not from the header.
#[derive(Clone, Debug, Serialize)]
pub struct Restored {
    /// When the last deed was done that the backup holds: what was done since is lost.
    pub last_deed_at: Timestamp,
    /// Entries of the journal that the backup holds.
    pub journal_entries: u64,
    /// Digest of the last of them: compare it with the one noted elsewhere last.
    pub journal_head: Digest,
    /// The version that directories go on from.
    pub directory_version: u64,
    /// The number that lists go on from.
    pub crl_number: u64,
}

/// Writes all files of an authority to one new file. No passphrase is needed, and nothing is decrypted.
///
/// # Errors
/// [`BackupError`].
pub fn make(dir: &Path, out: &Path, now: Timestamp) -> Result<Backup, BackupError> {
    let folder = Folder::new(dir);
    folder.check_initialised()?;
    folder.check_private()?;
    if out.exists() {
        return Err(BackupError::Exists(out.to_owned()));
    }
    if lies_within(out, dir) {
        return Err(BackupError::Within(out.to_owned()));
    }
    // So that all files are of one moment.
    let _lock = folder.lock()?;
    let audited = audit::verify(dir, None)?;
    let (mut listed, mut contents) = (Vec::new(), Vec::new());
    for path in files_of(dir)? {
        let file = dir.join(&path);
        let metadata =
            fs::metadata(&file).map_err(|source| FileError::new("read this file", &file, source))?;
        let bytes = files::read(&file, BACKUP_BYTES_MAX)?;
        let is_key = path.extension().is_some_and(|extension| extension == "key");
        let private = is_key || files::exposed_mode(&metadata).is_none();
        listed.push(FileHeader { path, private, bytes: bytes.len() });
        contents.extend_from_slice(&bytes);
    }
    let view = Register::open(dir)?.authority()?;
    let header = Header {
        trust_domain: view.trust_domain,
        made_at: now,
        directory_version: view.directory_version,
        crl_number: view.crl_number,
        journal_entries: audited.entries,
        journal_head: audited.head,
        files: listed,
    };
    write(out, &header, &contents)?;
    // What counts is what lies on the medium.
    Backup::read(out)
}

fn write(out: &Path, header: &Header, contents: &[u8]) -> Result<(), BackupError> {
    let line = serde_json::to_string(header).map_err(StateError::from)?;
    let mut bytes = format!("{MAGIC}{FORMAT}\n{line}\n").into_bytes();
    bytes.extend_from_slice(contents);
    let digest = sha256(&[&bytes]);
    bytes.extend_from_slice(format!("sha256 {}\n", hex::encode(digest.as_bytes())).as_bytes());
    Ok(files::replace(out, &bytes, SECRET_FILE)?)
}

/// The files below a folder, but for its lock and what was being written; sorted.
fn files_of(dir: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let lock = Folder::new(dir).lock_file();
    let (mut found, mut waiting) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = waiting.pop() {
        let refused = |source| FileError::new("read this folder", &folder, source);
        for entry in fs::read_dir(&folder).map_err(refused)? {
            let entry = entry.map_err(refused)?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(refused)?);
            let within = path.strip_prefix(dir).unwrap_or(&path).to_owned();
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_file() && path != lock && within.extension().is_none_or(|kind| kind != "new") {
                found.push(within);
            }
        }
        let too_deep = waiting.iter().any(|path| path.strip_prefix(dir).is_ok_and(is_too_deep));
        if too_deep || found.len() > FILES_MAX {
            return Err(BackupError::TooMuch(dir.to_owned()));
        }
    }
    found.sort();
    Ok(found)
}

fn is_too_deep(folder: &Path) -> bool {
    folder.components().count() > DEPTH_MAX
}

/// Whether a new file would lie below a folder, with those folders between that are to be made.
pub(crate) fn lies_within(file: &Path, dir: &Path) -> bool {
    let here =
        |path: &Path| if path.as_os_str().is_empty() { Path::new(".").to_owned() } else { path.to_owned() };
    let nearest = file.ancestors().skip(1).find_map(|folder| fs::canonicalize(here(folder)).ok());
    match (nearest, fs::canonicalize(dir)) {
        (Some(nearest), Ok(dir)) => nearest.starts_with(dir),
        // A folder that is not there holds nothing; writing will tell.
        (None, _) | (_, Err(_)) => false,
    }
}

impl Backup {
    /// Reads a backup and checks that it is as it was written. No passphrase is needed.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn read(path: &Path) -> Result<Self, BackupError> {
        let bytes = files::read(path, BACKUP_BYTES_MAX)?;
        let damaged =
            |problem: &str| BackupError::Damaged { path: path.to_owned(), problem: problem.to_owned() };
        let text = bytes.strip_prefix(MAGIC.as_bytes());
        let text = text.ok_or_else(|| BackupError::NotABackup(path.to_owned()))?;
        let (format, rest) = line_of(text).ok_or_else(|| damaged("it is cut short"))?;
        if format != FORMAT.as_bytes() {
            let got = String::from_utf8_lossy(format).chars().take(16).collect();
            return Err(BackupError::Format { path: path.to_owned(), got });
        }
        let body = bytes.len().checked_sub(DIGEST_LINE_BYTES).ok_or_else(|| damaged("it is cut short"))?;
        let (body, last) = bytes.split_at(body);
        let digest = sha256(&[body]);
        if last != format!("sha256 {}\n", hex::encode(digest.as_bytes())).as_bytes() {
            return Err(damaged("its digest is another than that of its last line"));
        }
        let rest = rest.get(..rest.len().saturating_sub(DIGEST_LINE_BYTES)).unwrap_or_default();
        let (header, contents) = line_of(rest).ok_or_else(|| damaged("it has no header"))?;
        let header: Header = serde_json::from_slice(header).map_err(|error| damaged(&error.to_string()))?;
        check_files(&header.files, contents.len()).map_err(|problem| damaged(&problem))?;
        Ok(Self { header, contents: contents.to_vec(), digest })
    }

    /// What it says of itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The digest of its last line.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Puts the authority in a new or empty folder, from which it goes on under numbers that were never used.
    ///
    /// The folder is put together beside its place and moved there when it is whole, so that a restore that was
    /// stopped leaves nothing that could be taken for an authority.
    ///
    /// # Errors
    /// [`BackupError`]; what was written until then is removed.
    pub fn restore(
        &self,
        dir: &Path,
        passphrase: &Passphrase,
        clock: Clock,
    ) -> Result<Restored, BackupError> {
        check_empty(dir)?;
        let mut name = dir.file_name().unwrap_or_default().to_owned();
        name.push(".restoring");
        let beside = dir.with_file_name(name);
        clear(&beside)?;
        let restored = self.put_together(&beside, passphrase, clock).and_then(|restored| {
            fs::rename(&beside, dir)
                .map_err(|source| FileError::new("put this folder in place", dir, source))?;
            Ok(restored)
        });
        if restored.is_err() {
            // What stays is cleared away by the next restore.
            let _ = fs::remove_dir_all(&beside);
        }
        let restored = restored?;
        files::sync_folder(dir.parent().unwrap_or(Path::new(".")))?;
        Ok(restored)
    }

    fn put_together(
        &self,
        dir: &Path,
        passphrase: &Passphrase,
        clock: Clock,
    ) -> Result<Restored, BackupError> {
        files::make_private(dir)?;
        let marker = dir.join(UNFINISHED);
        files::replace(&marker, b"A restore that was not finished; run it again.\n", SECRET_FILE)?;
        let mut rest = self.contents.as_slice();
        for FileHeader { path, private, bytes } in &self.header.files {
            let (content, after) = rest.split_at_checked(*bytes).unwrap_or((rest, &[]));
            rest = after;
            let path = dir.join(path);
            files::make_private(path.parent().unwrap_or(dir))?;
            files::replace(&path, content, if *private { SECRET_FILE } else { PLAIN_FILE })?;
        }
        let mut authority = Authority::open(dir, passphrase)?;
        let (journal_entries, journal_head) = authority.journal_head();
        let last_deed_at = authority.last_deed_at();
        if clock.accepted {
            authority.accept_clock();
        }
        let (directory_version, crl_number) = authority.skip_ahead(self, clock.now)?;
        drop(authority);
        audit::verify(dir, Some(journal_head))?;
        files::remove_if_there(&marker)
            .map_err(|source| FileError::new("remove this file", &marker, source))?;
        files::sync_folder(dir)?;
        Ok(Restored { last_deed_at, journal_entries, journal_head, directory_version, crl_number })
    }
}

/// Refuses a folder that holds anything.
pub(crate) fn check_empty(dir: &Path) -> Result<(), OpenError> {
    if Folder::new(dir).state().exists() {
        return Err(OpenError::AlreadyInitialised(dir.to_owned()));
    }
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(FileError::new("read this folder", dir, source).into()),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(entry) => {
                let refused = |source| FileError::new("read this folder", dir, source);
                let found = entry.map_err(refused)?.file_name().to_string_lossy().into_owned();
                Err(OpenError::NotEmpty { dir: dir.to_owned(), found })
            }
        },
    }
}

/// Removes what a restore that was stopped left.
fn clear(beside: &Path) -> Result<(), BackupError> {
    let is_empty = || fs::read_dir(beside).is_ok_and(|mut entries| entries.next().is_none());
    if !beside.exists() {
        return Ok(());
    }
    if !beside.join(UNFINISHED).exists() && !is_empty() {
        return Err(BackupError::InTheWay(beside.to_owned()));
    }
    let removed = fs::remove_dir_all(beside);
    Ok(removed.map_err(|source| FileError::new("remove this folder", beside, source))?)
}

fn line_of(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = bytes.split_at_checked(end)?;
    Some((line, rest.get(1..)?))
}

/// Every path leads into the folder, none twice, and the lengths are those of the bytes there are.
fn check_files(files: &[FileHeader], bytes: usize) -> Result<(), String> {
    if files.len() > FILES_MAX {
        return Err(format!("it holds {} files; at most {FILES_MAX} are restored", files.len()));
    }
    let (mut seen, mut sum) = (BTreeSet::new(), 0_usize);
    for file in files {
        let is_plain = file.path.components().all(|part| matches!(part, Component::Normal(_)));
        let depth = file.path.components().count();
        if !is_plain || depth == 0 || depth > DEPTH_MAX.saturating_add(1) || !seen.insert(&file.path) {
            return Err(format!("it holds a file `{}`, which no authority has", file.path.display()));
        }
        sum = sum.saturating_add(file.bytes);
    }
    if sum == bytes { Ok(()) } else { Err(format!("its files have {sum} bytes, but {bytes} are there")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, bytes: usize) -> FileHeader {
        FileHeader { path: path.into(), private: true, bytes }
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_refused() {
        assert!(check_files(&[file("state.json", 3), file("root/root.key", 4)], 7).is_ok());
        for path in ["", "/etc/passwd", "../state.json", "root/../../x", "./x", "a/b/c/d/e/f"] {
            let problem = check_files(&[file(path, 0)], 0);
            assert!(problem.is_err(), "`{path}`");
        }
        assert!(check_files(&[file("a", 1), file("a", 1)], 2).unwrap_err().contains("`a`"));
        assert!(
            check_files(&[file("a", usize::MAX), file("b", 2)], 1).unwrap_err().contains("but 1 are there")
        );
    }
}
