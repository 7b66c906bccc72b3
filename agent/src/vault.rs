//! The agency's private keys.
//!
//! Claimed, against other users of the machine and whoever reads logs: the keys lie in files that only the node's
//! user can read (a file that others can read is refused, not used), they are wiped from memory when dropped, and
//! no `Debug` or error shows them. Against someone who takes the disk while the machine is off, only what `store.key`
//! encrypts is as safe as the file that holds it; full-disk encryption is the operator's part (SECURITY.md).

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rand_core::{CryptoRng, Rng};
use thiserror::Error;
use valise_proto::crypto::{KeyError, SealingKey, SigningKey};
use zeroize::{Zeroize, Zeroizing};

use crate::clock::randomness;
use crate::folder::{self, FileError, Folder};

const SIGNING_PEM_LABEL: &str = "VALISE SIGNING KEY";
const SEALING_PEM_LABEL: &str = "VALISE SEALING KEY";
const STORE_PEM_LABEL: &str = "VALISE STORE KEY";
const KEY_FILE_BYTES_MAX: usize = 16 * 1024;
/// Most sealing keys held at once: one in use and those that old notices were sealed to.
const SEALING_KEYS_MAX: usize = 16;

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
    /// A file or folder could not be read or written.
    #[error("{0}")]
    File(#[from] FileError),
}

/// The private keys of one agency.
pub struct Vault {
    tls: Zeroizing<String>,
    signing: SigningKey,
    sealing: Vec<SealingKey>,
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
                .map_err(|source| file_error("remove this folder", &unfinished, source))?;
        }
        folder::make_private(&unfinished)?;
        let seed = vault.signing.seed();
        folder::replace_secret(&unfinished.join("tls.key"), vault.tls.as_bytes())?;
        folder::replace_secret(
            &unfinished.join("signing.key"),
            armour(SIGNING_PEM_LABEL, &*seed).as_bytes(),
        )?;
        for key in &vault.sealing {
            folder::replace_secret(
                &unfinished.join("sealing.key"),
                armour(SEALING_PEM_LABEL, &**key.seed()).as_bytes(),
            )?;
        }
        folder::replace_secret(
            &unfinished.join("store.key"),
            armour(STORE_PEM_LABEL, &*vault.store.0).as_bytes(),
        )?;
        fs::rename(&unfinished, folder.keys())
            .map_err(|source| file_error("rename this folder", &unfinished, source))?;
        folder::sync_folder(folder.path())?;
        Ok(vault)
    }

    fn generate(folder: &Folder) -> Result<Self, VaultError> {
        let tls = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)
            .map_err(|error| unreadable(&folder.keys().join("tls.key"), error))?;
        let mut rng = randomness();
        Ok(Self {
            tls: Zeroizing::new(tls.serialize_pem()),
            signing: SigningKey::generate(&mut rng),
            sealing: vec![SealingKey::generate(&mut rng)],
            store: StoreKey::generate(&mut rng),
        })
    }

    /// Reads the keys of the data folder.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn open(folder: &Folder) -> Result<Self, VaultError> {
        let keys = folder.keys();
        if !keys.exists() {
            return Err(VaultError::Missing(folder.clone()));
        }
        folder::check_own(folder.path())?;
        let found = fs::metadata(&keys).map_err(|source| file_error("read this folder", &keys, source))?;
        check_private(&found, &keys, 0o700)?;
        let tls_path = keys.join("tls.key");
        let tls = read_secret(&tls_path)?;
        let tls = std::str::from_utf8(&tls).map_err(|error| unreadable(&tls_path, error))?;
        let tls = Zeroizing::new(tls.to_owned());
        rcgen::KeyPair::from_pem(&tls).map_err(|error| unreadable(&tls_path, error))?;
        let signing = SigningKey::from_seed(&*read_seed(&keys.join("signing.key"), SIGNING_PEM_LABEL)?);
        let mut sealing = Vec::new();
        for path in sealing_key_files(&keys)? {
            let key = SealingKey::from_seed(&*read_seed(&path, SEALING_PEM_LABEL)?);
            sealing.push(key.map_err(|error: KeyError| unreadable(&path, error))?);
        }
        let store = StoreKey(read_seed(&keys.join("store.key"), STORE_PEM_LABEL)?);
        Ok(Self { tls, signing, sealing, store })
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

    /// What opens envelopes: the key in use first, then those of former times.
    #[must_use]
    pub fn sealing_keys(&self) -> &[SealingKey] {
        &self.sealing
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

/// The key of the records at rest (AES-256-GCM). Wiped when dropped.
#[derive(Clone)]
pub struct StoreKey(Zeroizing<[u8; 32]>);

/// A record does not decrypt: it was altered, moved to another place, or written under another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a record does not decrypt with keys/store.key: the store and the key do not belong together, or the record was altered"
)]
pub struct CannotDecrypt;

impl StoreKey {
    /// A new key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        rng.fill_bytes(key.as_mut());
        Self(key)
    }

    /// Encrypts `plaintext` for the record named `place`: `nonce || ciphertext || tag`.
    ///
    /// # Errors
    /// [`CannotDecrypt`], which only a plaintext beyond AES-GCM's bound could cause.
    pub fn encrypt(&self, place: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CannotDecrypt> {
        // 96 random bits a record: at 2^32 records the chance of a repeated nonce is still below 2^-32 (NIST SP 800-38D).
        let mut nonce = [0; NONCE_LEN];
        randomness().fill_bytes(&mut nonce);
        let mut sealed = plaintext.to_vec();
        let done = self.cipher()?.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(place),
            &mut sealed,
        );
        if done.is_err() {
            sealed.zeroize();
            return Err(CannotDecrypt);
        }
        let mut record = nonce.to_vec();
        record.append(&mut sealed);
        Ok(record)
    }

    /// Decrypts the record named `place`.
    ///
    /// # Errors
    /// [`CannotDecrypt`].
    pub fn decrypt(&self, place: &[u8], record: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotDecrypt> {
        let (nonce, sealed) = record.split_first_chunk::<NONCE_LEN>().ok_or(CannotDecrypt)?;
        let mut plaintext = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.cipher()?.open_in_place(nonce, Aad::from(place), &mut plaintext);
        let len = opened.map_err(|_| CannotDecrypt)?.len();
        plaintext.truncate(len);
        Ok(plaintext)
    }

    fn cipher(&self) -> Result<LessSafeKey, CannotDecrypt> {
        Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, self.0.as_ref()).map_err(|_| CannotDecrypt)?))
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKey")
    }
}

/// `sealing.key` first, then `sealing-*.key` of former times.
fn sealing_key_files(keys: &Path) -> Result<Vec<PathBuf>, VaultError> {
    let mut former = Vec::new();
    let refused = |source| file_error("read this folder", keys, source);
    for entry in fs::read_dir(keys).map_err(refused)? {
        let path = entry.map_err(refused)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("sealing-") && name.ends_with(".key") {
            former.push(path);
        }
    }
    former.sort();
    if former.len() >= SEALING_KEYS_MAX {
        let problem = format!(
            "{} sealing keys; at most {SEALING_KEYS_MAX} can be held",
            former.len().saturating_add(1)
        );
        return Err(VaultError::Unreadable { path: keys.to_owned(), problem });
    }
    Ok(std::iter::once(keys.join("sealing.key")).chain(former).collect())
}

fn check_private(found: &fs::Metadata, path: &Path, wanted: u32) -> Result<(), VaultError> {
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(VaultError::Exposed { path: path.to_owned(), mode, wanted }) }
}

/// Reads a file that holds a key, into one buffer that is wiped: one that grew would leave copies of the key behind.
fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let refused = |source| file_error("read this file", path, source);
    let mut file = fs::File::open(path).map_err(refused)?;
    // Of the file that was opened, not of whatever may take its name meanwhile.
    check_private(&file.metadata().map_err(refused)?, path, 0o600)?;
    let mut buffer = Zeroizing::new(vec![0; KEY_FILE_BYTES_MAX.saturating_add(1)]);
    let mut len = 0_usize;
    loop {
        match file.read(buffer.get_mut(len..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(read) => len = len.saturating_add(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(refused(error)),
        }
    }
    if len > KEY_FILE_BYTES_MAX {
        let sentence = format!("it is longer than the {KEY_FILE_BYTES_MAX} bytes allowed");
        return Err(refused(io::Error::new(io::ErrorKind::FileTooLarge, sentence)));
    }
    buffer.truncate(len);
    Ok(buffer)
}

fn read_seed(path: &Path, label: &str) -> Result<Zeroizing<[u8; 32]>, VaultError> {
    let text = read_secret(path)?;
    let found = pem::parse(&*text).map_err(|error| unreadable(path, error))?;
    if found.tag() != label {
        return Err(unreadable(path, format!("it is a `{}`, not a `{label}`", found.tag())));
    }
    let bytes = Zeroizing::new(found.into_contents());
    let mut seed = Zeroizing::new([0; 32]);
    if bytes.len() != seed.len() {
        return Err(unreadable(path, format!("it holds {} bytes, not 32", bytes.len())));
    }
    seed.copy_from_slice(&bytes);
    Ok(seed)
}

fn armour(label: &str, bytes: &[u8]) -> Zeroizing<String> {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    Zeroizing::new(pem::encode_config(&pem::Pem::new(label, bytes), config))
}

fn unreadable(path: &Path, problem: impl fmt::Display) -> VaultError {
    VaultError::Unreadable { path: path.to_owned(), problem: problem.to_string() }
}

fn file_error(action: &'static str, path: &Path, source: io::Error) -> VaultError {
    VaultError::File(FileError { action, path: path.to_owned(), reason: source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::new(temp.path().join("node"));
        (temp, folder)
    }

    #[test]
    fn keys_come_back_and_only_their_owner_can_read_them() {
        let (_temp, folder) = folder();
        let made = Vault::create(&folder).unwrap();
        let read = Vault::open(&folder).unwrap();
        assert_eq!(made.signing_key().key_id(), read.signing_key().key_id());
        assert_eq!(made.sealing_keys()[0].public(), read.sealing_keys()[0].public());
        assert_eq!(made.tls_key_pem().as_str(), read.tls_key_pem().as_str());
        for name in ["tls.key", "signing.key", "sealing.key", "store.key"] {
            let mode = fs::metadata(folder.keys().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name} must be for its owner only");
        }
        assert_eq!(fs::metadata(folder.keys()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_second_creation_leaves_the_keys_as_they_are() {
        let (_temp, folder) = folder();
        let first = Vault::create(&folder).unwrap().signing_key().key_id();
        assert!(matches!(Vault::create(&folder), Err(VaultError::Exists(_))));
        assert_eq!(Vault::open(&folder).unwrap().signing_key().key_id(), first);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        let (_temp, folder) = folder();
        Vault::create(&folder).unwrap();
        let path = folder.keys().join("signing.key");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Vault::open(&folder).unwrap_err().to_string();
        assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(folder.keys(), fs::Permissions::from_mode(0o755)).unwrap();
        let error = Vault::open(&folder).unwrap_err().to_string();
        assert!(error.contains("chmod 700"), "{error}");
    }

    #[test]
    fn a_key_is_read_into_one_buffer_that_never_grows() {
        let (_temp, folder) = folder();
        Vault::create(&folder).unwrap();
        let path = folder.keys().join("tls.key");
        let read = read_secret(&path).unwrap();
        assert_eq!(read.as_slice(), fs::read(&path).unwrap());
        assert_eq!(read.capacity(), KEY_FILE_BYTES_MAX + 1);
        folder::replace_secret(&path, &[b'x'; KEY_FILE_BYTES_MAX + 1]).unwrap();
        assert!(read_secret(&path).unwrap_err().to_string().contains("longer than"));
    }

    #[test]
    fn a_former_sealing_key_is_held_too() {
        let (_temp, folder) = folder();
        let old = Vault::create(&folder).unwrap().sealing_keys()[0].public().key_id();
        let keys = folder.keys();
        fs::rename(keys.join("sealing.key"), keys.join("sealing-2025.key")).unwrap();
        let new = SealingKey::generate(&mut randomness());
        folder::replace_secret(
            &keys.join("sealing.key"),
            armour(SEALING_PEM_LABEL, &**new.seed()).as_bytes(),
        )
        .unwrap();
        let held: Vec<_> =
            Vault::open(&folder).unwrap().sealing_keys().iter().map(|k| k.public().key_id()).collect();
        assert_eq!(held, [new.public().key_id(), old]);
    }

    #[test]
    fn debug_of_the_vault_shows_key_names_only() {
        let (_temp, folder) = folder();
        let vault = Vault::create(&folder).unwrap();
        let shown = format!("{vault:?}");
        let expected = format!("Vault({:?}, {:?})", vault.signing_key(), vault.sealing_keys());
        assert_eq!(shown, expected);
        assert_eq!(format!("{:?}", vault.store_key()), "StoreKey");
    }

    #[test]
    fn a_record_decrypts_in_its_own_place_only() {
        let key = StoreKey::generate(&mut randomness());
        let record = key.encrypt(b"place 1", b"words").unwrap();
        assert_eq!(key.decrypt(b"place 1", &record).unwrap().as_slice(), b"words");
        assert_eq!(key.decrypt(b"place 2", &record), Err(CannotDecrypt));
        assert!(!record.windows(5).any(|window| window == b"words"));
    }
}
