//! The authority at work: an open folder whose keys are decrypted.
//!
//! Claimed: whatever leaves this module (a certificate, a directory, a list) is on record in the folder before it
//! leaves, under a number that nothing else will bear; and a step that fails leaves folder and memory as they were. It
//! holds because every step changes a copy of the state, makes everything it will hand out, puts the copy on stable
//! storage in one atomic replacement, and only then returns. Only one process has the folder open at a time.

mod broker;
mod brought;
mod care;
mod changes;
mod emergency;
mod enrol;
mod founding;
mod issuing;
mod known;
mod members;
mod publish;
mod renew;

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use valise_proto::crypto::SigningKey;
use valise_proto::delegation::SignedDelegation;
use valise_proto::enrolment::Trust;
use valise_proto::id::{Digest, Timestamp, TrustDomain};
use valise_proto::label::{Ceiling, LabelError, PolicyId};
use valise_proto::wire::WireError;

pub use broker::{BrokerError, BrokerKit, CHAIN_FILE, RECEIPT_KEY_FILE, TLS_KEY_FILE};
pub use brought::BroughtError;
pub use care::PassphraseChangeError;
pub use changes::CeilingError;
pub use emergency::{Alarm, EmergencyError};
pub use enrol::EnrolError;
pub use founding::Founding;
pub(crate) use founding::check_vacant;
pub use issuing::{IssuingError, IssuingView, Renewal, Successor};
pub use members::ChangeError;
pub use publish::{
    CERTIFICATES_FILE, CRLS_FILE, DIRECTORY_FILE, Publication, PublishError, Published, TRUST_FILE,
};
pub use renew::{KEY_OVERLAP, RenewError, Renewed};

use crate::files::{self, FileError, SECRET_FILE};
use crate::folder::{Folder, FolderError};
use crate::journal::{self, Deed, Head};
use crate::keys::{Keys, KeysError, Seed};
use crate::passphrase::Passphrase;
use crate::register::Register;
use crate::root::RootError;
use crate::state::{self, FormerIssuing, Serial, State, StateError};
use crate::transaction::{self, Transaction};
use crate::x509::{Ca, LEAF_LIFETIME, SignError};

/// Why an authority was not founded or opened. The folder is as it was.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Founded before.
    #[error("{} holds an authority already; it was left as it is. Name another folder to found a new one", .0.display())]
    AlreadyInitialised(PathBuf),
    /// Files that are not of an unfinished `init`.
    #[error("{dir} holds {found}; name a new or empty folder", dir = dir.display())]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
        /// One of the files.
        found: String,
    },
    /// Keys without the record of what was done with them.
    #[error("{dir} holds the keys of an authority but no state.json; restore it from a backup: without it nobody knows what was issued", dir = .0.display())]
    StateLost(PathBuf),
    /// The folder cannot be used now.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The authority's own certificates.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The root.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The root and the authority in one folder.
    #[error("{} cannot hold the root and the authority both; name another folder: --root-dir DIR", .0.display())]
    OneFolder(PathBuf),
    /// The root's delegation in the state.
    #[error("state.json holds a delegation that cannot be read: {0}; restore it from a backup")]
    Delegation(#[from] WireError),
    /// The ceiling asked for.
    #[error("the ceiling cannot be used: {0}")]
    Ceiling(#[from] LabelError),
}

impl From<FileError> for OpenError {
    fn from(error: FileError) -> Self {
        Self::Folder(error.into())
    }
}

/// How long what leaves the authority counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The directory, from `issued_at` to `expires_at`.
    pub directory: Duration,
    /// Revocation lists, from `thisUpdate` to `nextUpdate`.
    pub crls: Duration,
    /// The certificates of nodes; none outlives its issuer.
    pub leaf: Duration,
}

impl Default for Validity {
    /// 30 days for what is published: as long as an authority may be away before the exchange stands still (G12).
    /// 90 days for certificates.
    fn default() -> Self {
        let month = Duration::from_secs(30 * 24 * 60 * 60);
        Self { directory: month, crls: month, leaf: LEAF_LIFETIME }
    }
}

/// An open authority. Its folder belongs to this process for as long as this lives.
pub struct Authority {
    folder: Folder,
    directory_key: SigningKey,
    delegation: SignedDelegation,
    issuing: Ca,
    /// With the serial of its certificate.
    former: Vec<(Serial, Ca)>,
    state: State,
    validity: Validity,
    clock_accepted: bool,
    _lock: File,
}

/// How far the clock may be behind the journal's last entry.
const CLOCK_SLACK: Duration = Duration::from_secs(5 * 60);

impl Authority {
    /// Opens an authority and decrypts its keys.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: &Path, passphrase: &Passphrase) -> Result<Self, OpenError> {
        let folder = Folder::new(dir);
        folder.check_initialised()?;
        folder.check_private()?;
        let lock = folder.lock()?;
        transaction::recover(dir)?;
        let Keys { issuing, directory } = Keys::open(&folder, passphrase)?;
        let state: State = state::load(&folder.state(), Some(&directory.verifying_key()))?;
        let delegation = SignedDelegation::decode(state.delegation.0.clone().into())?;
        let issuing = Ca::open(Bytes::copy_from_slice(&state.issuing_certificate.0), issuing)?;
        let predecessors = open_former(&folder, &state, passphrase)?;
        if !journal::complete(&folder.journal(), &state.journal)? {
            return Err(StateError::Journal(folder.journal()).into());
        }
        // Left by a change that was stopped: the state in place is whole, whichever it is.
        let former = folder.former_state();
        files::remove_if_there(&former)
            .map_err(|source| FileError::new("remove this file", &former, source))?;
        // So would be the keys of issuing authorities that the state no longer knows.
        known::destroy_keys_over(&folder, &state);
        // An init that was stopped at its very last step is finished.
        remove_marker(&folder)?;
        let validity = Validity::default();
        Ok(Self {
            folder,
            directory_key: directory,
            delegation,
            issuing,
            former: predecessors,
            state,
            validity,
            clock_accepted: false,
            _lock: lock,
        })
    }

    /// How long what is issued and published from now on counts. It is not remembered in the folder.
    pub fn set_validity(&mut self, validity: Validity) {
        self.validity = validity;
    }

    /// The exchange.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.state.trust_domain
    }

    /// The policy of its labels and clearances.
    #[must_use]
    pub fn policy(&self) -> &PolicyId {
        &self.state.policy
    }

    /// The most it may grant, by the root's delegation.
    #[must_use]
    pub fn ceiling(&self) -> &Ceiling {
        &self.delegation.delegation().ceiling
    }

    /// The roots of trust, which every node must be given by hand.
    #[must_use]
    pub fn trust(&self) -> Trust {
        trust_of(&self.state)
    }

    /// What was issued and decided so far.
    #[must_use]
    pub fn register(&self) -> Register {
        Register::of(self.state.clone())
    }

    fn check_clock(&self, now: Timestamp) -> Result<(), SignError> {
        self.issuing.check_clock(now)?;
        let next_update = self.state.root_list.next_update;
        if now < next_update { Ok(()) } else { Err(SignError::RootListOver { next_update, now }) }
    }

    /// Puts the next state on stable storage and the deed in the journal; only then does it count. Where either fails,
    /// both are as they were.
    fn commit(&mut self, mut next: State, deed: &Deed) -> Result<(), StateError> {
        let deed = self.at_its_time(deed)?;
        next.journal = Head::after(Some(&self.state.journal), &deed, next.issued_since(&self.state))?;
        let (state, former) = (self.folder.state(), self.folder.former_state());
        files::keep_former(&state, &former)?;
        let saved = state::save(&state, &next, &self.directory_key)
            .and_then(|()| Ok(journal::append(&self.folder.journal(), &next.journal)?));
        if saved.is_err() {
            // It takes no room to put back what is there under another name.
            let _ = fs::rename(&former, &state);
        }
        let _ = files::remove_if_there(&former);
        saved?;
        self.state = next;
        Ok(())
    }

    /// The same for a change that other files of the folder (path, bytes, mode) change with: all of them, or none.
    fn commit_with<'a>(
        &mut self,
        next: State,
        deed: &Deed,
        others: impl IntoIterator<Item = (&'a Path, &'a [u8], u32)>,
    ) -> Result<(), StateError> {
        let key = self.directory_key.clone();
        self.commit_under(next, deed, others, &key)
    }

    /// The same where the next state is signed with another key.
    fn commit_under<'a>(
        &mut self,
        mut next: State,
        deed: &Deed,
        others: impl IntoIterator<Item = (&'a Path, &'a [u8], u32)>,
        key: &SigningKey,
    ) -> Result<(), StateError> {
        let deed = self.at_its_time(deed)?;
        next.journal = Head::after(Some(&self.state.journal), &deed, next.issued_since(&self.state))?;
        let path = self.folder.state();
        let state = state::encode(&path, &next, key)?;
        let mut journal = journal::read(&self.folder.journal())?;
        journal.extend_from_slice(next.journal.line.as_bytes());
        journal.push(b'\n');
        let mut all = Transaction::begin(self.folder.path());
        // The state first and the journal last: whoever looks in between finds a journal whose last line is pending.
        all.put(&path, &state, SECRET_FILE)?;
        for (path, bytes, mode) in others {
            all.put(path, bytes, mode)?;
        }
        all.put(&self.folder.journal(), &journal, SECRET_FILE)?;
        all.commit()?;
        self.state = next;
        Ok(())
    }

    /// A clock that went back would give later deeds earlier times, in the journal and in all that leaves.
    fn at_its_time(&self, deed: &Deed) -> Result<Deed, StateError> {
        let last = self.state.journal.at;
        if deed.at.plus(CLOCK_SLACK) >= last {
            return Ok(deed.clone());
        }
        if self.clock_accepted {
            return Ok(deed.clone().with("clock_was_ahead_at", last));
        }
        Err(StateError::ClockBehind { last, now: deed.at })
    }

    /// Goes on although the journal's last entry is of a later time than the clock: the clock was wrong then.
    pub fn accept_clock(&mut self) {
        self.clock_accepted = true;
    }

    /// When the last deed was done.
    pub(crate) fn last_deed_at(&self) -> Timestamp {
        self.state.journal.at
    }

    /// How many entries the journal has, and the digest of the last: what an operator notes elsewhere.
    #[must_use]
    pub fn journal_head(&self) -> (u64, Digest) {
        (self.state.journal.entries, self.state.journal.digest)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({}, {})", self.state.trust_domain, self.folder.path().display())
    }
}

pub(crate) fn trust_of(state: &State) -> Trust {
    Trust {
        trust_domain: state.trust_domain.clone(),
        anchors: vec![Bytes::copy_from_slice(&state.root_certificate.0)],
        root_keys: vec![state.root_key.0],
    }
}

/// Issuing authorities of former times, which sign their lists as long as anything they issued is out.
fn open_former(
    folder: &Folder,
    state: &State,
    passphrase: &Passphrase,
) -> Result<Vec<(Serial, Ca)>, OpenError> {
    let paths: Vec<_> =
        state.former_issuing.keys().map(|serial| folder.former_issuing_key(*serial)).collect();
    let seeds = Seed::read_all(&paths, passphrase)?;
    let open = |((serial, former), seed): ((&Serial, &FormerIssuing), Seed)| {
        Ok((*serial, Ca::open(Bytes::copy_from_slice(&former.certificate.0), seed.ca_key()?)?))
    };
    state.former_issuing.iter().zip(seeds).map(open).collect()
}

/// Certificates as PEM text.
pub(crate) fn certificates_pem(certificates: &[&Bytes]) -> String {
    armour("CERTIFICATE", certificates)
}

fn armour(label: &str, items: &[&Bytes]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let pems: Vec<_> = items.iter().map(|der| pem::Pem::new(label, der.as_ref())).collect();
    pem::encode_many_config(&pems, config)
}

fn remove_marker(folder: &Folder) -> Result<(), FileError> {
    let marker = folder.unfinished();
    if marker.exists() {
        files::remove_if_there(&marker)
            .map_err(|source| FileError::new("remove this file", &marker, source))?;
        files::sync_folder(folder.path())?;
    }
    Ok(())
}
