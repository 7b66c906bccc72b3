//! The issuance journal: what was done with the authority, one deed after the other.
//!
//! ```json
//! {"seq":2,"at":"…","action":"ENROL","subject":"fra/ncb","facts":{…},"issued":["…"],"previous":"…"}
//! ```
//!
//! Claimed: nothing that was done can be taken out of `journal.jsonl`, altered or put elsewhere without [`crate::audit`]
//! naming the line; and every certificate that left is in it. It holds because each line holds the digest of the one
//! before it, the signed state holds the digest of the last, and the only way to change the state writes a line, in
//! which the serials that the new state has and the old one had not are listed.
//!
//! The state is replaced first and the line appended then. Where the power fails between the two, the line, which the
//! state holds too, is appended when the folder is opened next; that and nothing else is mended.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use valise_proto::crypto::{context, sha256};
use valise_proto::id::{Digest, Timestamp};

use crate::files::{self, FileError, SECRET_FILE};
use crate::state::Serial;

/// Longest journal: more than a million entries.
pub(crate) const JOURNAL_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// What can be done with an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The authority was founded.
    Found,
    /// The root signed a new revocation list.
    RootList,
    /// The root certified another issuing authority and delegated to it.
    RenewIssuing,
    /// The root revoked an issuing authority.
    RevokeIssuing,
    /// A broker was issued, or renewed.
    IssueBroker,
    /// A broker was given other endpoints.
    SetEndpoints,
    /// An agency was enrolled.
    Enrol,
    /// A bundle was made for an agency; where that was due, with a new certificate.
    Bundle,
    /// An agency was given the certificate it asked for, with the keys it brought.
    Renew,
    /// A member was taken out for good.
    Revoke,
    /// One certificate was revoked.
    RevokeCertificate,
    /// An agency's certificates were revoked, it was suspended, and that was published.
    Emergency,
    /// An agency was suspended.
    Suspend,
    /// A suspension was ended.
    Reinstate,
    /// An agency was cleared otherwise.
    SetClearance,
    /// An agency was given other functions.
    SetFunctions,
    /// An agency was allowed to originate otherwise.
    SetOrigination,
    /// An agency became its State's contact point, or no longer is.
    SetContactPoint,
    /// An agency was given another name for people.
    SetName,
    /// Directory and revocation lists were signed.
    Publish,
    /// The keys were encrypted under another passphrase.
    ChangePassphrase,
    /// The authority was restored from a backup.
    Restore,
}

impl Action {
    /// The word in the journal.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Found => "FOUND",
            Self::RootList => "ROOT_LIST",
            Self::RenewIssuing => "RENEW_ISSUING",
            Self::RevokeIssuing => "REVOKE_ISSUING",
            Self::IssueBroker => "ISSUE_BROKER",
            Self::SetEndpoints => "SET_ENDPOINTS",
            Self::Enrol => "ENROL",
            Self::Bundle => "BUNDLE",
            Self::Renew => "RENEW",
            Self::Revoke => "REVOKE",
            Self::RevokeCertificate => "REVOKE_CERTIFICATE",
            Self::Emergency => "EMERGENCY",
            Self::Suspend => "SUSPEND",
            Self::Reinstate => "REINSTATE",
            Self::SetClearance => "SET_CLEARANCE",
            Self::SetFunctions => "SET_FUNCTIONS",
            Self::SetOrigination => "SET_ORIGINATION",
            Self::SetContactPoint => "SET_CONTACT_POINT",
            Self::SetName => "SET_NAME",
            Self::Publish => "PUBLISH",
            Self::ChangePassphrase => "CHANGE_PASSPHRASE",
            Self::Restore => "RESTORE",
        }
    }
}

/// One deed: who or what it was about, and what there is to know of it (versions, reasons).
#[derive(Clone, Debug)]
pub(crate) struct Deed {
    pub(crate) action: Action,
    pub(crate) at: Timestamp,
    pub(crate) subject: String,
    pub(crate) facts: Vec<(&'static str, String)>,
}

impl Deed {
    pub(crate) fn new(action: Action, subject: impl fmt::Display, at: Timestamp) -> Self {
        Self { action, at, subject: subject.to_string(), facts: Vec::new() }
    }

    /// A fact told twice holds both values.
    pub(crate) fn with(mut self, fact: &'static str, value: impl fmt::Display) -> Self {
        match self.facts.iter_mut().find(|(name, _)| *name == fact) {
            Some((_, told)) => *told = format!("{told}, {value}"),
            None => self.facts.push((fact, value.to_string())),
        }
        self
    }
}

/// One line of the journal, read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its number, from 1 on.
    pub seq: u64,
    /// When it was done.
    pub at: Timestamp,
    /// What was done: [`Action::as_str`].
    pub action: String,
    /// To whom, or what.
    pub subject: String,
    /// What there is to know of it.
    pub facts: serde_json::Map<String, serde_json::Value>,
    /// Serials of the certificates that were issued.
    pub issued: Vec<Serial>,
    /// Digest of the line before; of the first, that of no bytes.
    pub previous: Digest,
}

/// What the state holds of the journal: its last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    /// How many lines there are.
    pub(crate) entries: u64,
    /// When the last deed was done.
    pub(crate) at: Timestamp,
    /// Digest of the last line.
    pub(crate) digest: Digest,
    /// The last line, without its end.
    pub(crate) line: String,
}

impl Head {
    /// The head after one deed more, or after the first.
    pub(crate) fn after(
        former: Option<&Self>,
        deed: &Deed,
        issued: Vec<Serial>,
    ) -> Result<Self, serde_json::Error> {
        let facts = deed.facts.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into()));
        let entries = former.map_or(0, |head| head.entries).saturating_add(1);
        let entry = Entry {
            seq: entries,
            at: deed.at,
            action: deed.action.as_str().to_owned(),
            subject: deed.subject.clone(),
            facts: facts.collect(),
            issued,
            previous: former.map_or_else(|| digest(b""), |head| head.digest),
        };
        let line = serde_json::to_string(&entry)?;
        Ok(Self { entries, at: deed.at, digest: digest(line.as_bytes()), line })
    }

    /// The digest that the line before the last has, by the last.
    pub(crate) fn previous(&self) -> Option<Digest> {
        serde_json::from_str::<Entry>(&self.line).ok().map(|entry| entry.previous)
    }
}

/// The digest of a line, without its end.
pub(crate) fn digest(line: &[u8]) -> Digest {
    sha256(&[context::JOURNAL.as_bytes(), line])
}

/// Appends the last line and puts it on stable storage. Where that fails the journal is as it was.
pub(crate) fn append(path: &Path, head: &Head) -> Result<(), FileError> {
    let refused = |source| FileError::new("write this file", path, source);
    let is_new = !path.exists();
    let mut options = OpenOptions::new();
    let mut file =
        options.create(true).truncate(false).write(true).mode(SECRET_FILE).open(path).map_err(refused)?;
    let length = file.seek(SeekFrom::End(0)).map_err(refused)?;
    let written = file
        .write_all(head.line.as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all());
    if let Err(source) = written {
        let _ = file.set_len(length);
        if is_new {
            let _ = files::remove_if_there(path);
        }
        return Err(refused(source));
    }
    if is_new { files::sync_folder(path.parent().unwrap_or(Path::new("."))) } else { Ok(()) }
}

/// How the journal's end stands to what the state says is its last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It is that line.
    Whole,
    /// That line alone is missing or cut short, from this byte on: the power failed before it was written.
    Pending(u64),
    /// Neither: something else happened to it.
    Other,
}

/// Compares the end of the journal with the head that the state holds.
pub(crate) fn end_of(journal: &[u8], head: &Head) -> End {
    let whole_lines = journal.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1));
    let (lines, rest) = journal.split_at(whole_lines);
    let last = lines.strip_suffix(b"\n").unwrap_or(lines);
    let last = last.iter().rposition(|byte| *byte == b'\n').map_or(last, |at| last.split_at(at + 1).1);
    let count = u64::try_from(lines.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(u64::MAX);
    if rest.is_empty() && last == head.line.as_bytes() && count == head.entries {
        return End::Whole;
    }
    let follows = Some(digest(last)) == head.previous() && count.checked_add(1) == Some(head.entries);
    if follows && head.line.as_bytes().starts_with(rest) {
        return End::Pending(u64::try_from(whole_lines).unwrap_or(u64::MAX));
    }
    End::Other
}

/// Reads the journal; one that is not there yet is empty.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    match files::read(path, JOURNAL_BYTES_MAX) {
        Err(error) if error.reason.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

/// Writes the last line where an interruption kept it from being written. False where the end is another than the
/// state says, and nothing was changed.
pub(crate) fn complete(path: &Path, head: &Head) -> Result<bool, FileError> {
    match end_of(&read(path)?, head) {
        End::Whole => Ok(true),
        End::Other => Ok(false),
        End::Pending(length) => {
            if path.exists() {
                let refused = |source| FileError::new("write this file", path, source);
                let file = OpenOptions::new().write(true).open(path).map_err(refused)?;
                file.set_len(length).map_err(refused)?;
            }
            append(path, head).map(|()| true)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn chain(count: u64) -> (Vec<u8>, Vec<Head>) {
        let (mut journal, mut heads) = (Vec::new(), Vec::<Head>::new());
        for number in 1..=count {
            let deed =
                Deed::new(Action::Publish, number, Timestamp::from_millis(number)).with("a", 1).with("a", 2);
            let head = Head::after(heads.last(), &deed, Vec::new()).unwrap();
            journal.extend_from_slice(head.line.as_bytes());
            journal.push(b'\n');
            heads.push(head);
        }
        (journal, heads)
    }

    #[test]
    fn g09_only_a_last_line_that_was_not_written_is_pending() {
        let (journal, heads) = chain(3);
        let last = heads.last().unwrap();
        assert_eq!(end_of(&journal, last), End::Whole);
        let before = journal.len() - last.line.len() - 1;
        for cut in before..journal.len() {
            assert_eq!(end_of(&journal[..cut], last), End::Pending(before as u64), "cut at {cut}");
        }
        for cut in 0..before {
            assert_eq!(end_of(&journal[..cut], last), End::Other, "cut at {cut}");
        }
        assert_eq!(end_of(&journal, &heads[1]), End::Other, "a journal that is longer than the state says");
        assert_eq!(end_of(b"", &heads[0]), End::Pending(0));
        let mut other = journal[..before].to_vec();
        other.extend_from_slice(b"{\"seq\":9");
        assert_eq!(end_of(&other, last), End::Other);
    }

    #[test]
    fn g09_a_line_is_completed_once_and_a_fact_told_twice_is_kept_twice() {
        let (journal, heads) = chain(3);
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("journal.jsonl");
        fs::write(&path, &journal[..journal.len() - 7]).unwrap();
        for _ in 0..2 {
            assert!(complete(&path, &heads[2]).unwrap());
            assert_eq!(fs::read(&path).unwrap(), journal);
        }
        assert!(!complete(&path, &heads[1]).unwrap());
        assert_eq!(fs::read(&path).unwrap(), journal);
        let entry: Entry = serde_json::from_str(&heads[0].line).unwrap();
        assert_eq!(entry.facts["a"], "1, 2");
    }
}
