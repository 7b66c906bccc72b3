//! Keys that follow others, and what becomes of those they follow.
//!
//! Claimed: a key is signed with only once the authority lists it, and goes on opening what was sealed to it until a
//! grace after the authority no longer lists it. Each step is one rename, or is repeated by the next run:
//!
//! * TLS: the new certificate is written beside the new key, `next/tls.crt`. From then on the exchange is decided:
//!   key and certificate are renamed into place one after the other, now or by whoever opens the vault next.
//! * Signing: `next/signing.key` is renamed over `signing.key`, whose file is overwritten.
//! * Sealing: `sealing.key` is first copied to `former/`, then `next/sealing.key` is renamed over it. A copy of the key
//!   in use, which a power cut in between leaves, counts for nothing.
//!
//! The times of a former key stand in its name, so that they change by a rename:
//! `sealing-KEYID.SINCE.key`, and once no longer listed `sealing-KEYID.SINCE.UNLISTED.key`, in milliseconds since 1970.
//! UNLISTED is the time at which the authority issued the directory that lacks the key, not this machine's: a clock that
//! is wrong for a while neither hastens the end of a key nor puts it off.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use valise_proto::crypto::{SealingKey, SigningKey};
use valise_proto::directory::{AgencyEntry, KeyEntry};
use valise_proto::id::{KeyId, Timestamp};
use zeroize::Zeroizing;

use super::files::{self, file_error};
use super::{Next, SEALING_KEYS_MAX, Vault, VaultError};
use crate::clock::randomness;
use crate::folder::{self, Folder};

/// Which keys are to be followed by new ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// The key of the certificate.
    pub tls: bool,
    /// The key that signs.
    pub signing: bool,
    /// The key that envelopes are sealed to.
    pub sealing: bool,
}

/// A sealing key of former times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Former {
    /// Its name.
    pub key_id: KeyId,
    /// Since when another is in use.
    pub since: Timestamp,
    /// Since when the authority no longer lists it, by the authority's clock.
    pub unlisted: Option<Timestamp>,
}

/// What [`adopt`] changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// The signing key from now on.
    pub signing: Option<KeyId>,
    /// The sealing key from now on.
    pub sealing: Option<KeyId>,
    /// Whether a former key was found to be no longer listed, or listed again.
    pub unlisted: bool,
}

impl Adopted {
    /// Whether anything changed.
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// Makes keys to follow those in use. One that was made before and waits is kept: it may be on its way to the authority.
///
/// # Errors
/// [`VaultError`].
pub fn make_next(folder: &Folder, vault: &Vault, which: Which) -> Result<(), VaultError> {
    let held = vault.sealing_keys().len();
    if which.sealing && vault.next().sealing.is_none() && held >= SEALING_KEYS_MAX {
        return Err(VaultError::TooManyFormer { held });
    }
    let next = folder.next_keys();
    folder::make_private(&next)?;
    let mut rng = randomness();
    if which.tls && vault.next().tls.is_none() {
        let path = next.join("tls.key");
        files::write_tls(&path, &new_tls(&path)?)?;
    }
    if which.signing && vault.next().signing.is_none() {
        files::write_signing(&next.join("signing.key"), &SigningKey::generate(&mut rng))?;
    }
    if which.sealing && vault.next().sealing.is_none() {
        files::write_sealing(&next.join("sealing.key"), &SealingKey::generate(&mut rng))?;
    }
    Ok(())
}

/// Takes into use the keys to follow that `entry` lists at `now`, and marks the former ones that it, of a directory
/// issued at `issued_at`, no longer lists. `now` must be within the life of that directory. The vault is to be opened
/// anew where that changed anything, and where it failed.
///
/// # Errors
/// [`VaultError`].
pub fn adopt(
    folder: &Folder,
    vault: &Vault,
    (entry, issued_at): (&AgencyEntry, Timestamp),
    now: Timestamp,
) -> Result<Adopted, VaultError> {
    let (keys, next) = (folder.keys(), folder.next_keys());
    let mut adopted = Adopted::default();
    let signing = vault.next().signing.as_ref().map(SigningKey::key_id);
    if let Some(key_id) = signing.filter(|id| lists(&entry.signing_keys, *id, now)) {
        files::supersede(&next.join("signing.key"), &keys.join("signing.key"))?;
        adopted.signing = Some(key_id);
    }
    let sealing = vault.next().sealing.as_ref().map(|key| key.public().key_id());
    if let Some(key_id) = sealing.filter(|id| lists(&entry.sealing_keys, *id, now)) {
        if let Some(current) = vault.sealing_keys().first() {
            folder::make_private(&folder.former_keys())?;
            let former = Former { key_id: current.public().key_id(), since: now, unlisted: None };
            files::write_sealing(&former.path(folder), current)?;
        }
        files::supersede(&next.join("sealing.key"), &keys.join("sealing.key"))?;
        adopted.sealing = Some(key_id);
    }
    for former in vault.former() {
        let listed =
            entry.sealing_keys.iter().any(|key| key.key_id == former.key_id && key.not_after >= issued_at);
        let unlisted = if listed { None } else { former.unlisted.or(Some(issued_at.max(former.since))) };
        if unlisted != former.unlisted {
            rename(&former.path(folder), &Former { unlisted, ..*former }.path(folder))?;
            adopted.unlisted = true;
        }
    }
    Ok(adopted)
}

fn lists<K>(keys: &[KeyEntry<K>], key_id: KeyId, now: Timestamp) -> bool {
    keys.iter().any(|key| key.key_id == key_id && key.is_valid_at(now))
}

/// Destroys a former sealing key: nothing that is sealed to it opens here any more.
///
/// # Errors
/// [`VaultError`].
pub fn destroy(folder: &Folder, key_id: KeyId) -> Result<(), VaultError> {
    for (former, path) in former_files(folder)? {
        if former.key_id == key_id {
            files::destroy(&path)?;
        }
    }
    Ok(())
}

/// Puts a certificate chain in place that is for the TLS key in use, or with `next` for the one that follows, which is
/// in use from then on. A power cut leaves a chain and the key that belongs to it.
///
/// # Errors
/// [`VaultError`].
pub fn install_chain(folder: &Folder, chain_pem: &[u8], next: bool) -> Result<(), VaultError> {
    if !next {
        return Ok(folder::replace(&folder.certificates(), chain_pem)?);
    }
    folder::replace(&folder.next_certificates(), chain_pem)?;
    finish_installing(folder)
}

/// Goes on where [`install_chain`] was cut short.
pub(super) fn finish_installing(folder: &Folder) -> Result<(), VaultError> {
    let decided = folder.next_certificates();
    if !decided.exists() {
        return Ok(());
    }
    let key = folder.next_keys().join("tls.key");
    if key.exists() {
        files::supersede(&key, &folder.keys().join("tls.key"))?;
    }
    rename(&decided, &folder.certificates())
}

fn rename(from: &Path, to: &Path) -> Result<(), VaultError> {
    match fs::rename(from, to) {
        Ok(()) => files::sync_both(from, to),
        // Another run finished the same.
        Err(error) if error.kind() == io::ErrorKind::NotFound && to.exists() => Ok(()),
        Err(source) => Err(file_error("rename this file", from, source)),
    }
}

pub(super) fn new_tls(path: &Path) -> Result<Zeroizing<String>, VaultError> {
    let key =
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(|error| files::unreadable(path, error))?;
    Ok(Zeroizing::new(key.serialize_pem()))
}

pub(super) fn read_next(folder: &Folder) -> Result<Next, VaultError> {
    let at = |name: &str| Some(folder.next_keys().join(name)).filter(|path| path.exists());
    Ok(Next {
        tls: at("tls.key").map(|path| files::read_tls(&path)).transpose()?,
        signing: at("signing.key").map(|path| files::read_signing(&path)).transpose()?,
        sealing: at("sealing.key").map(|path| files::read_sealing(&path)).transpose()?,
    })
}

/// The former keys but for copies of the one in use, each once, the oldest first.
pub(super) fn read_former(
    folder: &Folder,
    current: KeyId,
) -> Result<(Vec<Former>, Vec<SealingKey>), VaultError> {
    let mut found = former_files(folder)?;
    found.retain(|(former, _)| former.key_id != current);
    found.sort_by_key(|(former, _)| (former.since, former.key_id));
    let (mut formers, mut keys) = (Vec::<Former>::new(), Vec::new());
    for (former, path) in found {
        if formers.iter().any(|known| known.key_id == former.key_id) {
            continue;
        }
        let key = files::read_sealing(&path)?;
        if key.public().key_id() != former.key_id {
            return Err(files::unreadable(&path, "it holds another key than its name says"));
        }
        formers.push(former);
        keys.push(key);
    }
    Ok((formers, keys))
}

fn former_files(folder: &Folder) -> Result<Vec<(Former, PathBuf)>, VaultError> {
    let keys = folder.former_keys();
    let refused = |source| file_error("read this folder", &keys, source);
    let entries = match fs::read_dir(&keys) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(refused(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(refused)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        found.extend(Former::of_name(&name).map(|former| (former, path)));
    }
    Ok(found)
}

impl Former {
    fn path(&self, folder: &Folder) -> PathBuf {
        let unlisted = self.unlisted.map(|at| format!(".{}", at.millis())).unwrap_or_default();
        let name = format!("sealing-{}.{}{unlisted}.key", self.key_id, self.since.millis());
        folder.former_keys().join(name)
    }

    fn of_name(name: &str) -> Option<Self> {
        let mut pieces = name.strip_prefix("sealing-")?.strip_suffix(".key")?.split('.');
        let key_id = pieces.next()?.parse().ok()?;
        let since = Timestamp::from_millis(pieces.next()?.parse().ok()?);
        let unlisted = pieces.next().map(|text| text.parse().map(Timestamp::from_millis)).transpose().ok()?;
        pieces.next().is_none().then_some(Self { key_id, since, unlisted })
    }
}
