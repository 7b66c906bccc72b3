//! The state file.
//!
//! ```json
//! { "format": 2, "signature": { "key_id": "…", "value": "…" }, "state": { … } }
//! ```
//!
//! Claimed, against whoever can write into the folder but does not know the passphrase: they cannot raise a clearance,
//! list a key or lift a revocation. It holds because the bytes of `state`, as they stand in the file, are signed with
//! the directory key, and a state whose signature does not verify is not acted upon. Not claimed: that an older state,
//! put back whole together with an older journal, is noticed here. The nodes notice it: they refuse a directory older
//! than, or different from, the one of that version they hold; and whoever noted the journal's head of then does.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;
use valise_proto::crypto::{Signature, SigningKey, VerifyingKey, context};
use valise_proto::id::{KeyId, Timestamp};

use super::State;
use super::record::Hex;
use crate::files::{self, FileError, SECRET_FILE};

/// Longest state file: some 20 years of a full directory.
const STATE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Why the state cannot be used. Nothing was changed.
#[derive(Debug, Error)]
pub enum StateError {
    /// Cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Of a version this tool does not know.
    #[error("{path} is of format {got}; this valise-ca knows format {known}: use the valise-ca that wrote it", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        got: u64,
        /// The format that is read.
        known: u64,
    },
    /// Not a state file.
    #[error("{path} cannot be read: {problem}; restore it from a backup", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Altered by somebody who does not hold the directory key.
    #[error("{} was altered: its signature does not verify; restore it from a backup and find out who changed it", .0.display())]
    Altered(PathBuf),
    /// The journal does not end as the state says.
    #[error("{} does not end with the deed that state.json was signed after; run `valise-ca audit verify` to see which line is wrong, then restore the folder from a backup", .0.display())]
    Journal(PathBuf),
    /// The clock went back.
    #[error(
        "this machine's clock says {now}, but the journal's last entry is of {last}; set the clock (if the clock is right now and was ahead then, give --accept-clock)"
    )]
    ClockBehind {
        /// Of the last entry.
        last: Timestamp,
        /// The clock.
        now: Timestamp,
    },
}

impl From<serde_json::Error> for StateError {
    fn from(error: serde_json::Error) -> Self {
        Self::Unreadable { path: "state.json".into(), problem: error.to_string() }
    }
}

#[derive(Deserialize)]
struct Form {
    format: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u64,
    signature: SignatureRecord,
    state: Box<RawValue>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureRecord {
    key_id: KeyId,
    value: Hex,
}

/// What is kept in a file that its own key signs.
pub(crate) trait Kept: Serialize + DeserializeOwned {
    /// Type of what is signed, one of [`context`].
    const CONTEXT: &str;
    /// The format written and read.
    const FORMAT: u64;

    /// The key that signs it.
    fn key(&self) -> &VerifyingKey;
}

impl Kept for State {
    const CONTEXT: &str = context::AUTHORITY_STATE;
    const FORMAT: u64 = 2;

    fn key(&self) -> &VerifyingKey {
        &self.directory_key.0
    }
}

/// Puts the state on stable storage in place of what was there.
pub(crate) fn save<T: Kept>(path: &Path, state: &T, key: &SigningKey) -> Result<(), StateError> {
    Ok(files::replace(path, &encode(path, state, key)?, SECRET_FILE)?)
}

/// The bytes of the file.
pub(crate) fn encode<T: Kept>(path: &Path, state: &T, key: &SigningKey) -> Result<Vec<u8>, StateError> {
    let unwritable = |error: serde_json::Error| StateError::Unreadable {
        path: path.to_owned(),
        problem: error.to_string(),
    };
    // Indented as what stands inside another object: people read this file. No string of JSON holds a line's end.
    let text = serde_json::to_string_pretty(state).map_err(unwritable)?.replace('\n', "\n  ");
    let Signature { key_id, value } = key.sign(T::CONTEXT, text.as_bytes());
    let signature = SignatureRecord { key_id, value: Hex(value.to_vec()) };
    let state = RawValue::from_string(text).map_err(unwritable)?;
    let file = File { format: T::FORMAT, signature, state };
    let mut file = serde_json::to_vec_pretty(&file).map_err(unwritable)?;
    file.push(b'\n');
    Ok(file)
}

/// Reads a state that is signed with `key`, or, where none is known yet, with the key that it names itself: that
/// shows damage, not malice.
pub(crate) fn load<T: Kept>(path: &Path, key: Option<&VerifyingKey>) -> Result<T, StateError> {
    decode(path, &files::read(path, STATE_BYTES_MAX)?, key)
}

/// Reads the bytes of a file, which errors name as `path`.
pub(crate) fn decode<T: Kept>(
    path: &Path,
    bytes: &[u8],
    key: Option<&VerifyingKey>,
) -> Result<T, StateError> {
    let unreadable = |error: serde_json::Error| StateError::Unreadable {
        path: path.to_owned(),
        problem: error.to_string(),
    };
    let form: Form = serde_json::from_slice(bytes).map_err(unreadable)?;
    if form.format != T::FORMAT {
        return Err(StateError::Format { path: path.to_owned(), got: form.format, known: T::FORMAT });
    }
    let file: File = serde_json::from_slice(bytes).map_err(unreadable)?;
    let text = file.state.get();
    let altered = || StateError::Altered(path.to_owned());
    let value = file.signature.value.0.try_into().map_err(|_| altered())?;
    let signature = Signature { key_id: file.signature.key_id, value };
    let verify =
        |key: &VerifyingKey| key.verify(T::CONTEXT, text.as_bytes(), &signature).map_err(|_| altered());
    if let Some(key) = key {
        // Before the content is looked at.
        verify(key)?;
    }
    let state: T = serde_json::from_str(text).map_err(unreadable)?;
    verify(state.key())?;
    Ok(state)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;

    use super::*;
    use crate::journal::{Action, Deed, Head};
    use crate::randomness;
    use crate::state::{RootList, Stored};

    struct Case {
        _temp: tempfile::TempDir,
        path: PathBuf,
        key: SigningKey,
        state: State,
    }

    impl Case {
        fn new() -> Self {
            let temp = tempfile::tempdir().unwrap();
            let key = SigningKey::generate(&mut randomness());
            let deed =
                Deed::new(Action::Found, "exchange.example", Timestamp::from_millis(1_700_000_000_000));
            let state = State {
                trust_domain: "exchange.example".parse().unwrap(),
                policy: "exchange.example".parse().unwrap(),
                founded_at: Timestamp::from_millis(1_700_000_000_000),
                root_key: Stored(key.verifying_key()),
                directory_key: Stored(key.verifying_key()),
                directory_key_generation: 1,
                delegation: Hex(vec![3]),
                root_list: RootList {
                    der: Hex(vec![4]),
                    number: 1,
                    this_update: Timestamp::from_millis(1),
                    next_update: Timestamp::from_millis(2),
                },
                journal: Head::after(None, &deed, Vec::new()).unwrap(),
                root_certificate: Hex(vec![1]),
                issuing_certificate: Hex(vec![2]),
                issuing_serial: crate::state::Serial::draw(),
                former_issuing: BTreeMap::new(),
                root_floor: 0,
                directory_version: 7,
                crl_number: 9,
                published: None,
                agencies: BTreeMap::new(),
                brokers: BTreeMap::new(),
                certificates: BTreeMap::new(),
                retired_keys: BTreeSet::new(),
            };
            let path = temp.path().join("state.json");
            save(&path, &state, &key).unwrap();
            Self { path, key, state, _temp: temp }
        }

        fn edit(&self, from: &str, to: &str) {
            let text = fs::read_to_string(&self.path).unwrap();
            assert!(text.contains(from), "`{from}` is not in the file");
            fs::write(&self.path, text.replace(from, to)).unwrap();
        }

        fn refused(&self, sentence: &str) {
            for key in [None, Some(&self.key.verifying_key())] {
                let error = load::<State>(&self.path, key).unwrap_err().to_string();
                assert!(error.contains(sentence), "expected `{sentence}` in: {error}");
                assert!(error.contains("state.json"), "the file is not named: {error}");
            }
        }
    }

    #[test]
    fn a_state_comes_back_as_it_was_written() {
        let case = Case::new();
        let read: State = load(&case.path, Some(&case.key.verifying_key())).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", case.state));
    }

    #[test]
    fn a_state_changed_by_hand_is_refused() {
        let case = Case::new();
        case.edit("\"directory_version\": 7", "\"directory_version\": 6");
        case.refused("was altered");
    }

    #[test]
    fn a_state_signed_with_another_key_is_refused() {
        let case = Case::new();
        let other = SigningKey::generate(&mut randomness());
        let forged = State { directory_key: Stored(other.verifying_key()), ..case.state.clone() };
        save(&case.path, &forged, &other).unwrap();
        let error = load::<State>(&case.path, Some(&case.key.verifying_key())).unwrap_err();
        assert!(matches!(error, StateError::Altered(_)), "{error}");
    }

    #[test]
    fn g12_a_format_of_the_future_is_its_own_error() {
        let case = Case::new();
        case.edit("\"format\": 2", "\"format\": 3");
        case.refused("is of format 3; this valise-ca knows format 2");
    }

    #[test]
    fn a_state_cut_short_is_unreadable() {
        let case = Case::new();
        let bytes = fs::read(&case.path).unwrap();
        fs::write(&case.path, &bytes[..bytes.len() / 2]).unwrap();
        case.refused("cannot be read");
    }
}
