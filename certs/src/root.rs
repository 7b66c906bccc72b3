//! The root: a folder of its own, which may lie on a medium in a safe.
//!
//! | file | holds |
//! |---|---|
//! | `root.key` | its private key, encrypted under a passphrase of its own |
//! | `root.crt` | its certificate |
//! | `root.json` | what it issued, delegated and revoked, signed with its key |
//!
//! Claimed: no two issuing authorities, delegations or lists of one root bear the same number, whichever machine the
//! folder is carried to; and what was revoked once stays revoked. It holds because each is noted in `root.json` before
//! it leaves this module, and because the authority tells what it got from the root ([`Known`]): where the folder was
//! put back from an older copy, it learns that again. Only making, renewing and revoking an issuing authority, and
//! renewing the root's list, open this folder.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use valise_proto::crypto::{SigningKey, VerifyingKey, context};
use valise_proto::delegation::{Delegation, SignedDelegation};
use valise_proto::id::{KeyId, Timestamp, TrustDomain};
use valise_proto::label::Ceiling;

use crate::files::{self, FileError, PLAIN_FILE, SECRET_FILE};
use crate::folder::{self, Folder, FolderError};
use crate::keys::{self, CaKey, KeysError, RootKey};
use crate::passphrase::Passphrase;
use crate::state::{self, Hex, Kept, Revoked, RootList, Serial, StateError, Stored};
use crate::x509::{Ca, Period, RevokedSerial, SignError};

/// How long the root's list counts unless told otherwise: a ceremony a year, and a month to spare.
pub const ROOT_LIST_LIFETIME: Duration = Duration::from_secs(396 * 24 * 60 * 60);

/// Why the root was not used. Its folder is as it was.
#[derive(Debug, Error)]
pub enum RootError {
    /// No root there.
    #[error("{dir} holds no root (root.json is missing); name the folder that was given to `init` as --root-dir, or the medium it is kept on", dir = .0.display())]
    Missing(PathBuf),
    /// One is there.
    #[error("{dir} holds a root already; it was left as it is. Name another folder for a new one", dir = .0.display())]
    AlreadyThere(PathBuf),
    /// Files of somebody else.
    #[error("{dir} holds {found}; name a new or empty folder for the root", dir = dir.display())]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
        /// One of the files.
        found: String,
    },
    /// Of another authority.
    #[error("{dir} holds the root of {got}; this authority's root is another one", dir = dir.display())]
    OtherRoot {
        /// The folder.
        dir: PathBuf,
        /// Whose root it is.
        got: TrustDomain,
    },
    /// An issuing authority it does not know.
    #[error("the root issued no certificate {0}; `valise-ca issuing list` shows those it issued")]
    UnknownIssuing(Serial),
    /// The folder is an older copy.
    #[error("{dir} is an older copy of the root's folder: it does not know issuing certificate {serial}, which the root revoked; use the newest copy", dir = dir.display())]
    OlderCopy {
        /// The folder.
        dir: PathBuf,
        /// What it lacks.
        serial: Serial,
    },
    /// Revoked before.
    #[error("issuing certificate {serial} was revoked at {at} already")]
    AlreadyRevoked {
        /// The certificate.
        serial: Serial,
        /// When.
        at: Timestamp,
    },
    /// Its passphrase would not change.
    #[error("the new passphrase of the root is the old one; nothing was changed")]
    SamePassphrase,
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its key.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Its state.
    #[error(transparent)]
    State(#[from] StateError),
    /// Nothing can be signed now.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl From<FileError> for RootError {
    fn from(error: FileError) -> Self {
        Self::Folder(error.into())
    }
}

/// Where a root lies, and what opens it.
#[derive(Clone, Debug)]
pub struct RootPlace {
    /// Its folder.
    pub dir: PathBuf,
    /// What its key is encrypted under.
    pub passphrase: Passphrase,
}

/// Everything the root remembers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RootState {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) founded_at: Timestamp,
    pub(crate) root_key: Stored<VerifyingKey>,
    /// DER.
    pub(crate) certificate: Hex,
    /// Of the last delegation.
    pub(crate) generation: u64,
    /// Of the last list.
    pub(crate) list_number: u64,
    pub(crate) issuing: BTreeMap<Serial, IssuingRecord>,
}

/// One issuing authority.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssuingRecord {
    pub(crate) name: String,
    pub(crate) key: KeyId,
    pub(crate) generation: u64,
    pub(crate) issued_at: Timestamp,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) revoked: Option<Revoked>,
}

/// What an authority knows of what its root did.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) generation: u64,
    pub(crate) list_number: u64,
    pub(crate) issuing: BTreeMap<Serial, IssuingRecord>,
    pub(crate) revoked: BTreeMap<Serial, Revoked>,
}

impl Kept for RootState {
    const CONTEXT: &str = context::ROOT_STATE;
    const FORMAT: u64 = 1;

    fn key(&self) -> &VerifyingKey {
        &self.root_key.0
    }
}

/// What a root makes for a new issuing authority.
pub(crate) struct Delegated {
    pub(crate) issuing: Ca,
    pub(crate) serial: Serial,
    pub(crate) delegation: SignedDelegation,
}

/// What a new issuing authority is to be.
pub(crate) struct Asked {
    pub(crate) issuing: CaKey,
    pub(crate) directory_key: VerifyingKey,
    /// Of issuing authorities of former times, which go on signing a list.
    pub(crate) former_issuing_keys: Vec<VerifyingKey>,
    pub(crate) ceiling: Ceiling,
    /// The generation is higher than this.
    pub(crate) above: u64,
}

/// An open root. Its folder belongs to this process for as long as this lives.
pub(crate) struct Root {
    dir: PathBuf,
    delegating: SigningKey,
    ca: Ca,
    pub(crate) state: RootState,
    _lock: File,
}

impl Root {
    /// Makes a root in a folder that [`check_vacant`] found vacant. Its files carry the mark of an unfinished `init`
    /// until [`Root::finish`].
    pub(crate) fn create(
        place: &RootPlace,
        domain: &TrustDomain,
        within_unfinished: bool,
        now: Timestamp,
    ) -> Result<Self, RootError> {
        let dir = &place.dir;
        let is_new = !dir.exists();
        files::make_private(dir)?;
        folder::close(dir)?;
        let lock = Folder::new(dir).lock()?;
        // Another process may have made one between the first look and the lock.
        check_vacant(dir, within_unfinished)?;
        let made = Self::make(place, domain, now, lock);
        if made.is_err() {
            unmake(dir, is_new);
        }
        made
    }

    fn make(place: &RootPlace, domain: &TrustDomain, now: Timestamp, lock: File) -> Result<Self, RootError> {
        let dir = &place.dir;
        let sentence = b"An init that was not finished; run it again.\n";
        files::replace(&Folder::new(dir).unfinished(), sentence, SECRET_FILE)?;
        let RootKey { ca, delegating } = RootKey::create(&key_file(dir), &place.passphrase)?;
        let root_key = ca.verifying_key();
        let ca = Ca::new_root(domain, ca, now)?;
        let pem = super::authority::certificates_pem(&[&ca.certificate.der]);
        files::replace(&certificate_file(dir), pem.as_bytes(), PLAIN_FILE)?;
        let state = RootState {
            trust_domain: domain.clone(),
            founded_at: now,
            root_key: Stored(root_key),
            certificate: Hex(ca.certificate.der.to_vec()),
            generation: 0,
            list_number: 0,
            issuing: BTreeMap::new(),
        };
        state::save(&state_file(dir), &state, &delegating)?;
        Ok(Self { dir: dir.clone(), delegating, ca, state, _lock: lock })
    }

    /// The root counts from now on.
    pub(crate) fn finish(&self) -> Result<(), RootError> {
        let marker = Folder::new(&self.dir).unfinished();
        files::remove_if_there(&marker)
            .map_err(|source| FileError::new("remove this file", &marker, source))?;
        Ok(files::sync_folder(&self.dir)?)
    }

    /// Opens the root whose key is `expected`.
    pub(crate) fn open(place: &RootPlace, expected: &VerifyingKey) -> Result<Self, RootError> {
        let dir = &place.dir;
        let path = state_file(dir);
        if !path.exists() {
            return Err(RootError::Missing(dir.clone()));
        }
        folder::check_private(dir, files::PRIVATE_FOLDER)?;
        let lock = Folder::new(dir).lock()?;
        // Before the passphrase is tried: is it the right root at all?
        let named: RootState = state::load(&path, None)?;
        if named.root_key.0 != *expected {
            return Err(RootError::OtherRoot { dir: dir.clone(), got: named.trust_domain });
        }
        let RootKey { ca, delegating } = RootKey::open(&key_file(dir), &place.passphrase)?;
        let state: RootState = state::load(&path, Some(&delegating.verifying_key()))?;
        let ca = Ca::open(Bytes::copy_from_slice(&state.certificate.0), ca)?;
        Ok(Self { dir: dir.clone(), delegating, ca, state, _lock: lock })
    }

    /// Learns again what an older copy of the folder lacks. It is kept with the next act.
    pub(crate) fn catch_up(&mut self, known: Known) -> Result<(), RootError> {
        let state = &mut self.state;
        state.generation = state.generation.max(known.generation);
        state.list_number = state.list_number.max(known.list_number);
        for (serial, record) in known.issuing {
            state.issuing.entry(serial).or_insert(record);
        }
        for (serial, revoked) in known.revoked {
            let older = || RootError::OlderCopy { dir: self.dir.clone(), serial };
            let record = state.issuing.get_mut(&serial).ok_or_else(older)?;
            record.revoked = record.revoked.or(Some(revoked));
        }
        Ok(())
    }

    /// Keeps what is on record now, until [`Root::settle`].
    pub(crate) fn keep_former(&self) -> Result<(), RootError> {
        Ok(files::keep_former(&state_file(&self.dir), &former_file(&self.dir))?)
    }

    /// Ends what [`Root::keep_former`] began. With `undo`, the record is what it was then: nothing left this process.
    /// It takes no room to put back what is there under another name.
    pub(crate) fn settle(&self, undo: bool) {
        let former = former_file(&self.dir);
        if undo {
            let _ = fs::rename(&former, state_file(&self.dir));
        }
        let _ = files::remove_if_there(&former);
    }

    /// The certificate, DER.
    pub(crate) fn certificate(&self) -> &Bytes {
        &self.ca.certificate.der
    }

    pub(crate) fn verifying_key(&self) -> VerifyingKey {
        self.delegating.verifying_key()
    }

    /// Certifies an issuing authority and delegates to it, under a generation that no other has.
    pub(crate) fn delegate(&mut self, asked: Asked, now: Timestamp) -> Result<Delegated, RootError> {
        let Asked { issuing, directory_key, former_issuing_keys, ceiling, above } = asked;
        let mut next = self.state.clone();
        next.generation = next.generation.max(above).saturating_add(1);
        let (name, serial) = (format!("Valise Issuing CA G{}", next.generation), Serial::draw());
        let issuing_key = issuing.verifying_key();
        let issuing = self.ca.new_issuing(&next.trust_domain, &name, serial, issuing, now)?;
        let Period { not_before, not_after } = issuing.certificate.period;
        let record = IssuingRecord {
            name,
            key: issuing_key.key_id(),
            generation: next.generation,
            issued_at: now,
            not_before,
            not_after,
            revoked: None,
        };
        next.issuing.insert(serial, record);
        let delegation = Delegation {
            trust_domain: next.trust_domain.clone(),
            generation: next.generation,
            directory_key,
            issuing_key,
            former_issuing_keys,
            ceiling,
            not_before,
            not_after,
        };
        let delegation = delegation.sign(&self.delegating);
        self.keep(next)?;
        Ok(Delegated { issuing, serial, delegation })
    }

    /// Signs a list of the issuing authorities that were revoked, under a number that no other list has.
    pub(crate) fn list(
        &mut self,
        lifetime: Duration,
        above: u64,
        now: Timestamp,
    ) -> Result<RootList, RootError> {
        let next = self.state.clone();
        self.sign_list(next, (lifetime, above), now)
    }

    /// Revokes an issuing authority, and with it all it issued. Where it is revoked already, but the authority was
    /// stopped before it took that up, the list is signed again.
    pub(crate) fn revoke(
        &mut self,
        serial: Serial,
        (revoked, taken_up): (Revoked, bool),
        (lifetime, above): (Duration, u64),
    ) -> Result<RootList, RootError> {
        let mut next = self.state.clone();
        let record = next.issuing.get_mut(&serial).ok_or(RootError::UnknownIssuing(serial))?;
        match record.revoked {
            Some(Revoked { at, .. }) if taken_up => {
                return Err(RootError::AlreadyRevoked { serial, at });
            }
            Some(_) => {}
            None => record.revoked = Some(revoked),
        }
        self.sign_list(next, (lifetime, above), revoked.at)
    }

    fn sign_list(
        &mut self,
        mut next: RootState,
        (lifetime, above): (Duration, u64),
        now: Timestamp,
    ) -> Result<RootList, RootError> {
        self.ca.check_clock(now)?;
        next.list_number = next.list_number.max(above).saturating_add(1);
        let revoked = next.issuing.iter().filter_map(|(serial, record)| {
            let Revoked { at, since, reason } = record.revoked?;
            Some(RevokedSerial { serial: *serial, at, since, reason })
        });
        let end = now.plus(lifetime).min(self.ca.certificate.period.not_after);
        let period = Period { not_before: now, not_after: end };
        let der = self.ca.crl(next.list_number, &revoked.collect::<Vec<_>>(), period)?;
        let list =
            RootList { der: Hex(der.to_vec()), number: next.list_number, this_update: now, next_update: end };
        self.keep(next)?;
        Ok(list)
    }

    fn keep(&mut self, next: RootState) -> Result<(), RootError> {
        state::save(&state_file(&self.dir), &next, &self.delegating)?;
        self.state = next;
        Ok(())
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({}, {})", self.state.trust_domain, self.dir.display())
    }
}

pub(crate) fn key_file(dir: &Path) -> PathBuf {
    dir.join("root.key")
}

fn certificate_file(dir: &Path) -> PathBuf {
    dir.join("root.crt")
}

fn state_file(dir: &Path) -> PathBuf {
    dir.join("root.json")
}

fn former_file(dir: &Path) -> PathBuf {
    dir.join("root.json.former")
}

/// Encrypts the root's key under a new passphrase; the key stays the same. The authority is not needed.
pub(crate) fn change_passphrase(place: &RootPlace, new: &Passphrase) -> Result<(), RootError> {
    let dir = &place.dir;
    if !state_file(dir).exists() {
        return Err(RootError::Missing(dir.clone()));
    }
    if place.passphrase == *new {
        return Err(RootError::SamePassphrase);
    }
    folder::check_private(dir, files::PRIVATE_FOLDER)?;
    let _lock = Folder::new(dir).lock()?;
    let path = key_file(dir);
    let text = keys::encrypt_anew(&path, &place.passphrase, new)?;
    Ok(files::replace(&path, text.as_bytes(), SECRET_FILE)?)
}

fn files_of(dir: &Path) -> Vec<PathBuf> {
    let folder = Folder::new(dir);
    let own = [key_file(dir), certificate_file(dir), state_file(dir), former_file(dir)];
    let copies: Vec<PathBuf> = own.iter().map(|path| files::copy_of(path)).collect();
    let marker = folder.unfinished();
    let marker_copy = files::copy_of(&marker);
    // The marker last: without it the rest would no longer be known to be unfinished.
    [own.to_vec(), copies, vec![folder.lock_file(), marker_copy, marker]].concat()
}

/// Whether a root may be made here. `within_unfinished` says that the folder is part of an `init` that was stopped.
pub(crate) fn check_vacant(dir: &Path, within_unfinished: bool) -> Result<(), RootError> {
    let refused = |source| FileError::new("read this folder", dir, source);
    let unfinished = within_unfinished || Folder::new(dir).unfinished().exists();
    if state_file(dir).exists() && !unfinished {
        return Err(RootError::AlreadyThere(dir.to_owned()));
    }
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(refused(source).into()),
    };
    let ours = files_of(dir);
    for entry in entries {
        let path = entry.map_err(refused)?.path();
        if !(ours.contains(&path) && (unfinished || path == Folder::new(dir).lock_file())) {
            let found = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(RootError::NotEmpty { dir: dir.to_owned(), found });
        }
    }
    Ok(())
}

/// Removes what a failed `init` made of a root.
pub(crate) fn unmake(dir: &Path, made: bool) {
    for file in files_of(dir) {
        let _ = files::remove_if_there(&file);
    }
    if made {
        let _ = fs::remove_dir(dir);
    }
}
