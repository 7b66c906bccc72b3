//! What a directory says, in words, and what differs between two of them.
//!
//! The next directory is compared with the one last published, of which `publish` keeps a copy: whoever is to sign
//! looks at what the signature will change. Numbers and times that every publication renews are no difference.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use valise_proto::crypto::{SealingPublicKey, VerifyingKey};
use valise_proto::directory::{
    AgencyEntry, AgencyStatus, BrokerEntry, Directory, DirectoryContent, DirectoryError, KeyEntry,
};
use valise_proto::id::Timestamp;
use valise_proto::wire::limits::DIRECTORY_BYTES_MAX;

use crate::authority::DIRECTORY_FILE;
use crate::files::{self, FileError};
use crate::folder::{Folder, FolderError};
use crate::register::Register;
use crate::state::{self, State, StateError};

/// What the next directory is taken to count for; how long it does, `publish` is told.
const NEXT_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Why directories cannot be compared.
#[derive(Debug, Error)]
pub enum DifferenceError {
    /// The authority's folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A directory that was published.
    #[error("{path}: {source}", path = path.display())]
    Published {
        /// Its file.
        path: PathBuf,
        /// Why it does not count.
        source: DirectoryError,
    },
    /// What would be published.
    #[error("the next directory could not be published: {0}")]
    Next(#[source] DirectoryError),
}

/// Fields of an entry with what they say.
pub type Fields = Vec<(&'static str, String)>;

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Difference {
    /// Not there before.
    Added {
        /// An agency, a broker, or the directory itself.
        subject: String,
        /// What is said of it.
        #[serde(with = "as_object")]
        fields: Fields,
    },
    /// No longer there.
    Removed {
        /// An agency, a broker, or the directory itself.
        subject: String,
    },
    /// It says something else.
    Changed {
        /// An agency, a broker, or the directory itself.
        subject: String,
        /// What it is about.
        field: &'static str,
        /// What it said.
        before: String,
        /// What it says.
        after: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { subject, fields } => {
                write!(f, "+ {subject}")?;
                fields.iter().try_for_each(|(field, said)| write!(f, "\n    {field}: {said}"))
            }
            Self::Removed { subject } => write!(f, "- {subject}"),
            Self::Changed { subject, field, before, after } => {
                write!(f, "~ {subject}\n    {field}: {before}\n    {:>1$}: {after}", "now", field.len())
            }
        }
    }
}

/// The directory last published, if there is one, or the one of a file, as nodes of this authority read it.
///
/// # Errors
/// [`DifferenceError`].
pub fn published(dir: &Path, file: Option<&Path>) -> Result<Option<Directory>, DifferenceError> {
    let register = register(dir)?;
    let copy = Folder::new(dir).published().join(DIRECTORY_FILE);
    let path = file.unwrap_or(&copy);
    let bytes = match files::read(path, DIRECTORY_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if file.is_none() && error.reason.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let read = Directory::verify(bytes.into(), &register.trust());
    read.map(Some).map_err(|source| DifferenceError::Published { path: path.to_owned(), source })
}

/// What would be published at `now`.
///
/// # Errors
/// [`DifferenceError::Next`] where the members contradict each other or are above the ceiling.
pub fn next(dir: &Path, now: Timestamp) -> Result<DirectoryContent, DifferenceError> {
    let folder = Folder::new(dir);
    folder.check_initialised()?;
    let mut state: State = state::load(&folder.state(), None)?;
    state.directory_version = state.directory_version.saturating_add(1);
    let content = state.directory(now, now.plus(NEXT_LIFETIME)).map_err(DifferenceError::Next)?;
    content.check().map_err(DifferenceError::Next)?;
    Ok(content)
}

fn register(dir: &Path) -> Result<Register, DifferenceError> {
    let folder = Folder::new(dir);
    folder.check_initialised()?;
    Ok(Register::of(state::load(&folder.state(), None)?))
}

/// What differs, the directory's own matters first, then in the order of names.
#[must_use]
pub fn between(before: Option<&DirectoryContent>, after: &DirectoryContent) -> Vec<Difference> {
    let before = before.map(entries).unwrap_or_default();
    let after = entries(after);
    let find = |list: &[(String, Fields)], name: &str| list.iter().position(|(subject, _)| subject == name);
    let mut found = Vec::new();
    for (subject, fields) in &after {
        match find(&before, subject).and_then(|position| before.get(position)) {
            None => found.push(Difference::Added { subject: subject.clone(), fields: fields.clone() }),
            Some((_, former)) => found.extend(changed(subject, former, fields)),
        }
    }
    let gone = before.iter().filter(|(subject, _)| find(&after, subject).is_none());
    found.extend(gone.map(|(subject, _)| Difference::Removed { subject: subject.clone() }));
    found
}

fn changed(subject: &str, before: &Fields, after: &Fields) -> Vec<Difference> {
    let pairs = before.iter().zip(after).filter(|((_, before), (_, after))| before != after);
    let difference = |((_, before), (field, after)): (&(_, String), &(&'static str, String))| {
        let (subject, before, after) = (subject.to_owned(), before.clone(), after.clone());
        Difference::Changed { subject, field, before, after }
    };
    pairs.map(difference).collect()
}

/// Everything a directory says, subject by subject; each kind of subject has the same fields in the same order.
#[must_use]
pub fn entries(content: &DirectoryContent) -> Vec<(String, Fields)> {
    let brokers = content.brokers.values().map(|entry| (format!("broker {}", entry.name), broker(entry)));
    let agencies = content.agencies.values().map(|entry| (entry.id.to_string(), agency(entry)));
    std::iter::once(("directory".to_owned(), whole(content))).chain(brokers).chain(agencies).collect()
}

fn whole(content: &DirectoryContent) -> Fields {
    let delegation = content.delegation.delegation();
    vec![
        ("policy", content.policy.to_string()),
        ("ceiling", delegation.ceiling.to_string()),
        ("delegation", delegation.generation.to_string()),
        ("delegated until", delegation.not_after.to_string()),
        ("directory key", delegation.directory_key.key_id().to_string()),
    ]
}

fn broker(entry: &BrokerEntry) -> Fields {
    vec![
        ("endpoints", entry.endpoints.join(", ")),
        ("receipt keys", keys(&entry.receipt_keys, VerifyingKey::key_id)),
    ]
}

fn agency(entry: &AgencyEntry) -> Fields {
    let status = match entry.status {
        AgencyStatus::Active => entry.status.to_string(),
        AgencyStatus::Suspended { since } | AgencyStatus::Revoked { since } => {
            format!("{} since {since}", entry.status)
        }
    };
    vec![
        ("status", status),
        ("name", entry.display_name.clone()),
        ("functions", listed(&entry.functions)),
        ("clearance", entry.clearance.to_string()),
        ("may originate", listed(&entry.origination.kinds)),
        ("classified", listed(&entry.origination.classifications)),
        ("contact point", if entry.contact_point { "yes" } else { "no" }.to_owned()),
        ("signing keys", keys(&entry.signing_keys, VerifyingKey::key_id)),
        ("sealing keys", keys(&entry.sealing_keys, SealingPublicKey::key_id)),
    ]
}

fn keys<K>(keys: &[KeyEntry<K>], name: impl Fn(&K) -> valise_proto::id::KeyId) -> String {
    listed(keys.iter().map(|key| format!("{} until {}", name(&key.key), key.not_after)))
}

fn listed<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// Fields as a JSON object.
mod as_object {
    use serde::Serializer;

    pub(super) fn serialize<S: Serializer>(fields: &super::Fields, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(fields.iter().map(|(field, said)| (field, said)))
    }
}
