//! The agency's private keys.
//!
//! Claimed, against other users of the machine and whoever reads logs: the keys lie in files that only the node's
//! user can read (a file that others can read is refused, not used), they are wiped from memory when dropped, and
//! no `Debug` or error shows them. Against someone who takes the disk while the machine is off, only what `store.key`
//! encrypts is as safe as the file that holds it; full-disk encryption is the operator's part (SECURITY.md).
//!
//! Keys change with overlap ([`rotation`]): `keys/` holds those in use, `keys/next/` those that were made to follow and
//! are used once the authority lists them, `keys/former/` the sealing keys that notices may still be on their way to.
//! A power cut at any moment leaves a key in one of these places at least, and a TLS key that belongs to its
//! certificate.

mod files;
pub mod rotation;
mod store_key;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::path::PathBuf;

use thiserror::Error;
use valise_proto::crypto::{SealingKey, SigningKey};
use zeroize::Zeroizing;

pub use rotation::{Former, Which};
pub use store_key::{CannotDecrypt, StoreKey};

use crate::clock::randomness;
use crate::folder::{self, FileError, Folder};

/// Most sealing keys held at once: one in use, one to follow, and those that old notices were sealed to.
pub const SEALING_KEYS_MAX: usize = 16;

/// Why the private keys cannot be used. Nothing was changed.
#[derive(Debug, Error)]
pub enum VaultError {
    /// Keys are there already.
    #[error("{} already holds this agency's keys; they were left as they are. To start again, move that folder away first: every notice sealed to those keys can then no longer be opened", .0.display())]
    Exists(PathBuf),
    /// No keys were made here.
    #[error("{} holds no keys: run `valise-agent init --data {} --trust-domain DOMAIN --agency STATE/UNIT`", .0.path().display(), .0.path().display())]
    Missing(Folder),
    /// Others can read a key.
    #[error("{path} can be read by others (mode {mode:04o}): run `chmod {wanted:o} {path}`, and if others use this machine, have the agency enrolled anew", path = path.display())]
    Exposed {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode it must have.
        wanted: u32,
    },
    /// Not a key.
    #[error("{}: {problem}; restore this file from a backup", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Too many former sealing keys.
    #[error(
        "{held} sealing keys are held and at most {SEALING_KEYS_MAX} can be: rotate again once a former one was destroyed (see `valise-agent keys`)"
    )]
    TooManyFormer {
        /// How many are held.
        held: usize,
    },
    /// A file or folder could not be read or written.
    #[error("{0}")]
    File(#[from] FileError),
}

/// Keys that were made to follow those in use.
#[derive(Default)]
pub struct Next {
    /// The TLS key, PKCS#8 PEM.
    pub tls: Option<Zeroizing<String>>,
    /// The signing key.
    pub signing: Option<SigningKey>,
    /// The sealing key.
    pub sealing: Option<SealingKey>,
}

/// The private keys of one agency.
pub struct Vault {
    tls: Zeroizing<String>,
    signing: SigningKey,
    /// The key in use, the one to follow, then those of former times.
    sealing: Vec<SealingKey>,
    next: Next,
    former: Vec<Former>,
    store: StoreKey,
}

impl Vault {
    /// Makes new keys in the data folder. Either all of them are there afterwards or none.
    ///
    /// # Errors
    /// [`VaultError::Exists`] where there are keys already.
    pub fn create(folder: &Folder) -> Result<Self, VaultError> {
        if folder.keys().exists() {
            return Err(VaultError::Exists(folder.keys()));
        }
        folder::make_private(folder.path())?;
        let vault = Self::generate(folder)?;
        // A leftover of an interrupted `init`: nobody was ever told of those keys.
        let unfinished = folder.path().join("keys.new");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)
                .map_err(|source| files::file_error("remove this folder", &unfinished, source))?;
        }
        folder::make_private(&unfinished)?;
        files::write_tls(&unfinished.join("tls.key"), &vault.tls)?;
        files::write_signing(&unfinished.join("signing.key"), &vault.signing)?;
        for key in &vault.sealing {
            files::write_sealing(&unfinished.join("sealing.key"), key)?;
        }
        files::write_store(&unfinished.join("store.key"), &vault.store.0)?;
        fs::rename(&unfinished, folder.keys())
            .map_err(|source| files::file_error("rename this folder", &unfinished, source))?;
        folder::sync_folder(folder.path())?;
        Ok(vault)
    }

    fn generate(folder: &Folder) -> Result<Self, VaultError> {
        let tls = rotation::new_tls(&folder.keys().join("tls.key"))?;
        let mut rng = randomness();
        Ok(Self {
            tls,
            signing: SigningKey::generate(&mut rng),
            sealing: vec![SealingKey::generate(&mut rng)],
            next: Next::default(),
            former: Vec::new(),
            store: StoreKey::generate(&mut rng),
        })
    }

    /// Reads the keys of the data folder, after finishing an exchange of the certificate's key that was cut short.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn open(folder: &Folder) -> Result<Self, VaultError> {
        let keys = folder.keys();
        if !keys.exists() {
            return Err(VaultError::Missing(folder.clone()));
        }
        folder::check_own(folder.path())?;
        for private in [keys.clone(), folder.next_keys(), folder.former_keys()] {
            match fs::metadata(&private) {
                Ok(found) => files::check_private(&found, &private, 0o700)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && private != keys => {}
                Err(source) => return Err(files::file_error("read this folder", &private, source)),
            }
        }
        for private in [keys.clone(), folder.next_keys(), folder.former_keys()] {
            files::sweep(&private)?;
        }
        rotation::finish_installing(folder)?;
        let next = rotation::read_next(folder)?;
        let current = files::read_sealing(&keys.join("sealing.key"))?;
        let (former, former_keys) = rotation::read_former(folder, current.public().key_id())?;
        let mut sealing = vec![current];
        sealing.extend(next.sealing.clone());
        sealing.extend(former_keys);
        if sealing.len() > SEALING_KEYS_MAX {
            let problem = format!("{} sealing keys; at most {SEALING_KEYS_MAX} can be held", sealing.len());
            return Err(files::unreadable(&folder.former_keys(), problem));
        }
        Ok(Self {
            tls: files::read_tls(&keys.join("tls.key"))?,
            signing: files::read_signing(&keys.join("signing.key"))?,
            sealing,
            next,
            former,
            store: StoreKey(files::read_store(&keys.join("store.key"))?),
        })
    }

    /// The TLS key, PKCS#8 PEM.
    #[must_use]
    pub fn tls_key_pem(&self) -> &Zeroizing<String> {
        &self.tls
    }

    /// What headers and receipts are signed with.
    #[must_use]
    pub fn signing_key(&self) -> &SigningKey {
        &self.signing
    }

    /// What opens envelopes: the key in use first, then the one to follow (others may know of it sooner than this node),
    /// then those of former times.
    #[must_use]
    pub fn sealing_keys(&self) -> &[SealingKey] {
        &self.sealing
    }

    /// Keys that were made to follow those in use.
    #[must_use]
    pub fn next(&self) -> &Next {
        &self.next
    }

    /// Former sealing keys, the oldest first.
    #[must_use]
    pub fn former(&self) -> &[Former] {
        &self.former
    }

    /// What encrypts records at rest.
    #[must_use]
    pub fn store_key(&self) -> StoreKey {
        self.store.clone()
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({:?}, {:?})", self.signing, self.sealing)
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.tls.is_some() { "a TLS key" } else { "no TLS key" };
        write!(f, "Next({tls}, {:?}, {:?})", self.signing, self.sealing)
    }
}
