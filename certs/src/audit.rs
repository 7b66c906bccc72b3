//! The audit: whether the journal is whole, and what is in it. No passphrase is needed.
//!
//! Claimed: a line that was altered, taken out, put elsewhere or cut off is named. It holds because the lines follow from
//! one another and the signed state says what the last one is ([`crate::journal`]). Whoever holds the directory key could
//! write another history whole; against them an auditor notes the head elsewhere, and asks later whether it is in the
//! chain still.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;
use valise_proto::delegation::SignedDelegation;
use valise_proto::id::{Digest, Timestamp};

use crate::authority::trust_of;
use crate::files::FileError;
use crate::folder::{Folder, FolderError};
use crate::journal::{self, End, Entry, digest};
use crate::state::{self, Serial, State, StateError};

/// What is wrong with the journal, or why it cannot be looked at. Nothing was changed.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line that is wrong.
    #[error("{path}: line {line} {problem}; find out who changed it, and restore the folder from a backup", path = path.display())]
    Line {
        /// The journal.
        path: PathBuf,
        /// The first line that is wrong, from 1 on.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate that no line tells of.
    #[error(
        "state.json holds certificate {0}, which no line of the journal issued; restore the folder from a backup"
    )]
    NotInJournal(Serial),
    /// The state was not signed by whom the root delegated that to.
    #[error("state.json is not of the authority to which its root delegated: {0}")]
    Delegation(String),
    /// A head noted earlier.
    #[error("no line of the journal has digest {0}: this is not the history of which that head was noted")]
    HeadUnknown(Digest),
}

/// A journal that is whole.
#[derive(Clone, Debug, Serialize)]
pub struct Audited {
    /// How many entries there are.
    pub entries: u64,
    /// Digest of the last: note it elsewhere.
    pub head: Digest,
    /// When the last deed was done.
    pub last_at: Timestamp,
    /// How many certificates were issued.
    pub certificates: usize,
    /// Whether the last entry is in the state only yet: a command is at work, or was stopped. The next one writes it.
    pub pending: bool,
    /// Of the roots of trust; compare it with the one noted at the founding.
    pub trust_fingerprint: String,
}

/// Checks the whole journal, and that a head noted earlier is in it.
///
/// # Errors
/// [`AuditError`] with the first line that is wrong.
pub fn verify(dir: &Path, noted: Option<Digest>) -> Result<Audited, AuditError> {
    let read = Read::open(dir)?;
    check_delegation(&read.state)?;
    let lines = read.lines()?;
    let mut issued = BTreeMap::new();
    for (number, (_, entry)) in (1..).zip(&lines) {
        for serial in &entry.issued {
            if let Some(earlier) = issued.insert(*serial, number) {
                return Err(read.wrong(number, format!("issues {serial}, which line {earlier} issued")));
            }
        }
    }
    if let Some(serial) = read.state.serials().find(|serial| !issued.contains_key(serial)) {
        return Err(AuditError::NotInJournal(serial));
    }
    if let Some(noted) = noted
        && !lines.iter().any(|(line, _)| digest(line.as_bytes()) == noted)
    {
        return Err(AuditError::HeadUnknown(noted));
    }
    let head = &read.state.journal;
    Ok(Audited {
        entries: head.entries,
        head: head.digest,
        last_at: head.at,
        certificates: issued.len(),
        pending: read.pending,
        trust_fingerprint: trust_of(&read.state).fingerprint(),
    })
}

/// The entries of a journal that is whole, oldest first.
///
/// # Errors
/// [`AuditError`] with the first line that is wrong.
pub fn entries(dir: &Path) -> Result<Vec<Entry>, AuditError> {
    Ok(Read::open(dir)?.lines()?.into_iter().map(|(_, entry)| entry).collect())
}

fn check_delegation(state: &State) -> Result<(), AuditError> {
    let wrong = |problem: &dyn std::fmt::Display| AuditError::Delegation(problem.to_string());
    let delegation =
        SignedDelegation::decode(state.delegation.0.clone().into()).map_err(|error| wrong(&error))?;
    delegation.verify(&trust_of(state)).map_err(|error| wrong(&error))?;
    if delegation.delegation().directory_key == state.directory_key.0 {
        return Ok(());
    }
    Err(wrong(&"it is signed with another key than the delegation names"))
}

/// State and journal of one moment.
struct Read {
    path: PathBuf,
    state: State,
    /// With the last line, where only the state has that yet.
    text: Vec<u8>,
    pending: bool,
}

impl Read {
    fn open(dir: &Path) -> Result<Self, AuditError> {
        let folder = Folder::new(dir);
        folder.check_initialised()?;
        let path = folder.journal();
        // A command may be at work. The state goes first, so a journal read after it lacks nothing that it tells of
        // but, for a moment, the last line; one that is longer is read again.
        let mut attempts = 0;
        loop {
            let state: State = state::load(&folder.state(), None)?;
            let mut text = journal::read(&path)?;
            let end = journal::end_of(&text, &state.journal);
            attempts += 1;
            if end == End::Other && attempts < 3 {
                continue;
            }
            let pending = match end {
                End::Whole | End::Other => false,
                End::Pending(length) => {
                    text.truncate(usize::try_from(length).unwrap_or(usize::MAX));
                    text.extend_from_slice(state.journal.line.as_bytes());
                    text.push(b'\n');
                    true
                }
            };
            return Ok(Self { path, state, text, pending });
        }
    }

    fn wrong(&self, line: u64, problem: impl Into<String>) -> AuditError {
        AuditError::Line { path: self.path.clone(), line, problem: problem.into() }
    }

    /// Every line with what it says, each checked to follow from the one before.
    fn lines(&self) -> Result<Vec<(&str, Entry)>, AuditError> {
        let head = &self.state.journal;
        let text = match std::str::from_utf8(&self.text) {
            Ok(text) => text,
            Err(error) => {
                let sound = self.text.split_at(error.valid_up_to()).0;
                let line = sound.iter().filter(|byte| **byte == b'\n').count();
                return Err(self.wrong(number(line).saturating_add(1), "was altered: it is not text"));
            }
        };
        let lines: Vec<&str> = text.split_terminator('\n').collect();
        let mut read = Vec::new();
        let (mut previous, mut expected) = (digest(b""), 1_u64);
        for (index, line) in lines.iter().enumerate() {
            let entry: Entry = serde_json::from_str(line)
                .map_err(|error| self.wrong(expected, format!("was altered or cut short: {error}")))?;
            if entry.seq != expected {
                let problem =
                    format!("bears number {}, not {expected}: lines are missing or out of order", entry.seq);
                return Err(self.wrong(expected, problem));
            }
            if entry.previous != previous {
                // Which of the two was altered? The one that the next line does not know.
                let after = lines.get(index.saturating_add(1)).copied();
                let known = after.map_or(Some(head.digest), previous_of);
                let this_is_sound = known == Some(digest(line.as_bytes())) && expected > 1;
                let wrong = if this_is_sound { expected.saturating_sub(1) } else { expected };
                return Err(self.wrong(wrong, "was altered: the lines beside it tell of another"));
            }
            previous = digest(line.as_bytes());
            read.push((*line, entry));
            expected = expected.saturating_add(1);
        }
        self.check_end(number(lines.len()), previous)?;
        Ok(read)
    }

    fn check_end(&self, count: u64, last: Digest) -> Result<(), AuditError> {
        let head = &self.state.journal;
        let entries = head.entries;
        if count < entries {
            return Err(self.wrong(
                count.saturating_add(1),
                format!("is missing, and with it all up to line {entries}"),
            ));
        }
        if count > entries {
            let problem = format!(
                "is not known to state.json, which knows of {entries}: the state is older than the journal"
            );
            return Err(self.wrong(entries.saturating_add(1), problem));
        }
        if last != head.digest {
            return Err(self.wrong(count, "was altered: state.json tells of another"));
        }
        Ok(())
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn previous_of(line: &str) -> Option<Digest> {
    serde_json::from_str::<Entry>(line).ok().map(|entry| entry.previous)
}
