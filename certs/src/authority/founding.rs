//! The founding of an authority: a root, the issuing authority and directory key it delegates to, and an empty state.
//!
//! A mark stands in each folder from the first file to the last. What is there with a mark was never used by anybody:
//! a later `init` may put its own in its place. The root's mark goes first, so a root without a mark is never touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use valise_proto::id::{Timestamp, TrustDomain};
use valise_proto::label::{Ceiling, PolicyId};

use super::{Authority, OpenError, Validity, certificates_pem, remove_marker};
use crate::files::{self, FileError, PLAIN_FILE, SECRET_FILE};
use crate::folder::{self, Folder};
use crate::journal::{self, Action, Deed, Head};
use crate::keys::Keys;
use crate::passphrase::Passphrase;
use crate::root::{self, Asked, Delegated, ROOT_LIST_LIFETIME, Root, RootPlace};
use crate::state::{self, Hex, State, StateError, Stored};

/// What an authority is founded on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founding {
    /// The exchange.
    pub trust_domain: TrustDomain,
    /// The one policy of its labels and clearances.
    pub policy: PolicyId,
    /// The most it may grant; only the root can change it later.
    pub ceiling: Ceiling,
    /// How long the root's revocation list counts: until the next ceremony.
    pub root_list: Duration,
}

impl Founding {
    /// Without a ceiling.
    #[must_use]
    pub fn new(trust_domain: TrustDomain, policy: PolicyId) -> Self {
        Self { trust_domain, policy, ceiling: Ceiling::unlimited(), root_list: ROOT_LIST_LIFETIME }
    }
}

impl Authority {
    /// Founds an authority in a new or empty folder, with its root in the folder `root` in it, under the same
    /// passphrase.
    ///
    /// # Errors
    /// [`OpenError`]; what was made until then is removed.
    pub fn init(
        dir: &Path,
        founding: &Founding,
        passphrase: &Passphrase,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        let place = RootPlace { dir: Folder::new(dir).default_root(), passphrase: passphrase.clone() };
        Self::init_with_root(dir, &place, founding, passphrase, now)
    }

    /// Founds an authority in a new or empty folder, with its root in another.
    ///
    /// # Errors
    /// [`OpenError`]; what was made until then is removed.
    pub fn init_with_root(
        dir: &Path,
        root: &RootPlace,
        founding: &Founding,
        passphrase: &Passphrase,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        founding.ceiling.check_sizes()?;
        let folder = Folder::new(dir);
        check_vacant(&folder, &root.dir)?;
        let made = !dir.exists();
        files::make_private(dir)?;
        folder::close(dir)?;
        let lock = folder.lock()?;
        // Another process may have founded one between the first look and the lock.
        check_vacant(&folder, &root.dir)?;
        let founded = Self::found(&folder, root, founding, passphrase, (now, lock));
        if founded.is_err() {
            unmake(&folder, made);
        }
        founded
    }

    fn found(
        folder: &Folder,
        place: &RootPlace,
        founding: &Founding,
        passphrase: &Passphrase,
        (now, lock): (Timestamp, File),
    ) -> Result<Self, OpenError> {
        let sentence = b"An init that was not finished; run it again.\n";
        let within_unfinished = folder.unfinished().exists() && place.dir == folder.default_root();
        files::replace(&folder.unfinished(), sentence, SECRET_FILE)?;
        let is_new = !place.dir.exists();
        let mut root = Root::create(place, &founding.trust_domain, within_unfinished, now)?;
        let founded = Self::found_below(folder, &mut root, founding, passphrase, (now, lock));
        if founded.is_err() {
            root::unmake(&place.dir, is_new);
        }
        founded
    }

    fn found_below(
        folder: &Folder,
        root: &mut Root,
        founding: &Founding,
        passphrase: &Passphrase,
        (now, lock): (Timestamp, File),
    ) -> Result<Self, OpenError> {
        let Keys { issuing, directory } = Keys::create(folder, passphrase)?;
        let asked = Asked {
            issuing,
            directory_key: directory.verifying_key(),
            former_issuing_keys: Vec::new(),
            ceiling: founding.ceiling.clone(),
            above: 0,
        };
        let Delegated { issuing, serial, delegation } = root.delegate(asked, now)?;
        let root_list = root.list(founding.root_list, 0, now)?;
        // For people and their tools; what counts is the copy in the signed state.
        for (path, der) in [
            (folder.root_certificate(), root.certificate()),
            (folder.issuing_certificate(), &issuing.certificate.der),
        ] {
            files::replace(&path, certificates_pem(&[der]).as_bytes(), PLAIN_FILE)?;
        }
        let deed = Deed::new(Action::Found, &founding.trust_domain, now)
            .with("policy", &founding.policy)
            .with("ceiling", &founding.ceiling)
            .with("root_key", root.verifying_key().key_id())
            .with("issuing_key", delegation.delegation().issuing_key.key_id())
            .with("directory_key", directory.verifying_key().key_id())
            .with("root_list", root_list.number);
        let state = State {
            trust_domain: founding.trust_domain.clone(),
            policy: founding.policy.clone(),
            founded_at: now,
            root_key: Stored(root.verifying_key()),
            directory_key: Stored(directory.verifying_key()),
            directory_key_generation: delegation.delegation().generation,
            journal: Head::after(None, &deed, vec![serial]).map_err(StateError::from)?,
            delegation: Hex(delegation.encode().to_vec()),
            root_certificate: Hex(root.certificate().to_vec()),
            issuing_certificate: Hex(issuing.certificate.der.to_vec()),
            issuing_serial: serial,
            former_issuing: BTreeMap::new(),
            root_floor: 0,
            directory_version: 0,
            root_list,
            crl_number: 0,
            published: None,
            agencies: BTreeMap::new(),
            brokers: BTreeMap::new(),
            certificates: BTreeMap::new(),
            retired_keys: BTreeSet::new(),
        };
        root.finish()?;
        journal::append(&folder.journal(), &state.journal)?;
        state::save(&folder.state(), &state, &directory)?;
        remove_marker(folder)?;
        Ok(Self {
            folder: folder.clone(),
            directory_key: directory,
            delegation,
            issuing,
            former: Vec::new(),
            state,
            validity: Validity::default(),
            clock_accepted: false,
            _lock: lock,
        })
    }
}

/// Whether an authority may be founded here, with its root there. Leftovers of an `init` that was stopped may be there:
/// nobody was ever told of those keys.
pub(crate) fn check_vacant(folder: &Folder, root: &Path) -> Result<(), OpenError> {
    let dir = folder.path();
    let refused = |source| FileError::new("read this folder", dir, source);
    if root == dir {
        return Err(OpenError::OneFolder(dir.to_owned()));
    }
    // The state is written last and at once, so where it stands, all else does.
    if folder.state().exists() {
        return Err(OpenError::AlreadyInitialised(dir.to_owned()));
    }
    let unfinished = folder.unfinished().exists();
    let below = root == folder.default_root();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(root::check_vacant(root, false)?);
        }
        Err(source) => return Err(refused(source).into()),
    };
    for entry in entries {
        let path = entry.map_err(refused)?.path();
        let ours = folder.files().iter().any(|file| path == *file || path == files::copy_of(file));
        if path == folder.lock_file() || path == root || (unfinished && ours) {
            continue;
        }
        if ours {
            return Err(OpenError::StateLost(dir.to_owned()));
        }
        let found = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(OpenError::NotEmpty { dir: dir.to_owned(), found });
    }
    Ok(root::check_vacant(root, unfinished && below)?)
}

/// Removes what a failed `init` made. What cannot be removed is left for the next `init`, which the marker tells that
/// it may go on.
fn unmake(folder: &Folder, made: bool) {
    let marker = folder.unfinished();
    for file in folder.files().iter().filter(|file| **file != marker) {
        let _ = files::remove_if_there(&files::copy_of(file));
        let _ = files::remove_if_there(file);
    }
    let _ = files::remove_if_there(&marker);
    if made {
        let _ = fs::remove_dir(folder.path());
    }
}
