//! The files of the keys: read into memory that is wiped, written whole, destroyed as well as the file system allows.

use std::fmt;
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use valise_proto::crypto::{KeyError, SealingKey, SigningKey};
use zeroize::Zeroizing;

use super::VaultError;
use crate::folder::{self, FileError};

const SIGNING_PEM_LABEL: &str = "VALISE SIGNING KEY";
const SEALING_PEM_LABEL: &str = "VALISE SEALING KEY";
const STORE_PEM_LABEL: &str = "VALISE STORE KEY";
const KEY_FILE_BYTES_MAX: usize = 16 * 1024;

pub(super) fn check_private(found: &fs::Metadata, path: &Path, wanted: u32) -> Result<(), VaultError> {
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(VaultError::Exposed { path: path.to_owned(), mode, wanted }) }
}

/// Reads a file that holds a key, into one buffer that is wiped: one that grew would leave copies of the key behind.
pub(super) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, VaultError> {
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

/// The TLS key, PKCS#8 PEM.
pub(super) fn read_tls(path: &Path) -> Result<Zeroizing<String>, VaultError> {
    let text = read_secret(path)?;
    let text = std::str::from_utf8(&text).map_err(|error| unreadable(path, error))?;
    let text = Zeroizing::new(text.to_owned());
    rcgen::KeyPair::from_pem(&text).map_err(|error| unreadable(path, error))?;
    Ok(text)
}

pub(super) fn read_signing(path: &Path) -> Result<SigningKey, VaultError> {
    Ok(SigningKey::from_seed(&*read_seed(path, SIGNING_PEM_LABEL)?))
}

pub(super) fn read_sealing(path: &Path) -> Result<SealingKey, VaultError> {
    let key = SealingKey::from_seed(&*read_seed(path, SEALING_PEM_LABEL)?);
    key.map_err(|error: KeyError| unreadable(path, error))
}

pub(super) fn read_store(path: &Path) -> Result<Zeroizing<[u8; 32]>, VaultError> {
    read_seed(path, STORE_PEM_LABEL)
}

pub(super) fn write_tls(path: &Path, pem: &str) -> Result<(), VaultError> {
    Ok(folder::replace_secret(path, pem.as_bytes())?)
}

pub(super) fn write_signing(path: &Path, key: &SigningKey) -> Result<(), VaultError> {
    let seed = key.seed();
    Ok(folder::replace_secret(path, armour(SIGNING_PEM_LABEL, &*seed).as_bytes())?)
}

pub(super) fn write_sealing(path: &Path, key: &SealingKey) -> Result<(), VaultError> {
    Ok(folder::replace_secret(path, armour(SEALING_PEM_LABEL, &**key.seed()).as_bytes())?)
}

pub(super) fn write_store(path: &Path, key: &[u8; 32]) -> Result<(), VaultError> {
    Ok(folder::replace_secret(path, armour(STORE_PEM_LABEL, key).as_bytes())?)
}

/// The end of a file's name once it is to be destroyed.
const DESTROYED: &str = ".destroyed";

/// Puts `new` in the place of `old` and destroys what was there. A power cut in between leaves either the old key or
/// the new one under the name, and nothing that [`sweep`] does not finish.
pub(super) fn supersede(new: &Path, old: &Path) -> Result<(), VaultError> {
    let doomed = doomed(old);
    sweep_one(&doomed)?;
    match fs::hard_link(old, &doomed) {
        Ok(()) => sync_both(&doomed, old)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(file_error("give this key another name", old, source)),
    }
    fs::rename(new, old).map_err(|source| file_error("rename this file", new, source))?;
    sync_both(new, old)?;
    overwrite_and_remove(&doomed)
}

pub(super) fn sync_both(one: &Path, other: &Path) -> Result<(), VaultError> {
    for path in [one, other] {
        folder::sync_folder(path.parent().unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// Overwrites a file and removes it, under another name: a power cut in between leaves no key of zeros under the name
/// of one. On a file system that writes elsewhere (copy on write, snapshots, the spare blocks of a flash disk) the old
/// bytes may live on; full-disk encryption is what makes them worthless.
pub(super) fn destroy(path: &Path) -> Result<(), VaultError> {
    let doomed = doomed(path);
    match fs::rename(path, &doomed) {
        Ok(()) => sync_both(path, &doomed)?,
        // Another run came as far.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(file_error("rename this file", path, source)),
    }
    overwrite_and_remove(&doomed)
}

/// Finishes what [`destroy`] and [`supersede`] left in a folder, if it is there.
pub(super) fn sweep(folder: &Path) -> Result<(), VaultError> {
    let refused = |source| file_error("read this folder", folder, source);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error)),
    };
    for entry in entries {
        let path = entry.map_err(refused)?.path();
        if path.to_string_lossy().ends_with(DESTROYED) && path.is_file() {
            sweep_one(&path)?;
        }
    }
    Ok(())
}

/// Destroys a leftover, unless it is but another name of a key in use, which a power cut left before a new one took its
/// place.
fn sweep_one(doomed: &Path) -> Result<(), VaultError> {
    let file_of = |path: &Path| fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let name = doomed.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let original = doomed.with_file_name(name.strip_suffix(DESTROYED).unwrap_or_default());
    match file_of(doomed) {
        None => Ok(()),
        found if found == file_of(&original) => Ok(folder::remove(doomed)?),
        Some(_) => overwrite_and_remove(doomed),
    }
}

fn doomed(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(DESTROYED);
    path.with_file_name(name)
}

fn overwrite_and_remove(path: &Path) -> Result<(), VaultError> {
    let refused = |source| file_error("destroy this key", path, source);
    let file = match fs::File::options().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error)),
    };
    overwrite(&file).map_err(refused)?;
    Ok(folder::remove(path)?)
}

fn overwrite(mut file: &fs::File) -> io::Result<()> {
    let len = usize::try_from(file.metadata()?.len()).unwrap_or(KEY_FILE_BYTES_MAX);
    file.rewind()?;
    file.write_all(&vec![0; len.min(KEY_FILE_BYTES_MAX)])?;
    file.sync_all()
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

pub(super) fn unreadable(path: &Path, problem: impl fmt::Display) -> VaultError {
    VaultError::Unreadable { path: path.to_owned(), problem: problem.to_string() }
}

pub(super) fn file_error(action: &'static str, path: &Path, source: io::Error) -> VaultError {
    VaultError::File(FileError { action, path: path.to_owned(), reason: source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_whole_into_one_buffer_and_no_further() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("tls.key");
        folder::replace_secret(&path, b"words").unwrap();
        let read = read_secret(&path).unwrap();
        assert_eq!(read.as_slice(), b"words");
        assert_eq!(read.capacity(), KEY_FILE_BYTES_MAX + 1);
        folder::replace_secret(&path, &[b'x'; KEY_FILE_BYTES_MAX + 1]).unwrap();
        assert!(read_secret(&path).unwrap_err().to_string().contains("longer than"));
    }

    #[test]
    fn what_is_destroyed_was_overwritten_first() {
        let temp = tempfile::tempdir().unwrap();
        let (path, other_name) = (temp.path().join("a"), temp.path().join("b"));
        folder::replace_secret(&path, b"a secret").unwrap();
        // A second name shows what became of the bytes.
        fs::hard_link(&path, &other_name).unwrap();
        destroy(&path).unwrap();
        assert!(!path.exists());
        assert_eq!(fs::read(&other_name).unwrap(), [0; 8]);
        destroy(&path).unwrap();

        folder::replace_secret(&path, b"new").unwrap();
        folder::replace_secret(&other_name, b"a secret").unwrap();
        let third_name = temp.path().join("c");
        fs::hard_link(&other_name, &third_name).unwrap();
        supersede(&path, &other_name).unwrap();
        assert_eq!(fs::read(&other_name).unwrap(), b"new");
        assert_eq!(fs::read(&third_name).unwrap(), [0; 8]);
    }

    #[test]
    fn g04_a_power_cut_while_a_key_is_destroyed_is_finished_by_the_sweep() {
        let temp = tempfile::tempdir().unwrap();
        let (key, doomed) = (temp.path().join("a.key"), temp.path().join("a.key.destroyed"));
        // Cut before the new key took its place: the name alone goes.
        folder::replace_secret(&key, b"a secret").unwrap();
        fs::hard_link(&key, &doomed).unwrap();
        sweep(temp.path()).unwrap();
        assert_eq!((fs::read(&key).unwrap().as_slice(), doomed.exists()), (&b"a secret"[..], false));
        // Cut after that: the bytes go too.
        let other_name = temp.path().join("b");
        folder::replace_secret(&doomed, b"a former secret").unwrap();
        fs::hard_link(&doomed, &other_name).unwrap();
        sweep(temp.path()).unwrap();
        assert_eq!((fs::read(&key).unwrap().as_slice(), doomed.exists()), (&b"a secret"[..], false));
        assert_eq!(fs::read(&other_name).unwrap(), [0; 15]);
        sweep(&temp.path().join("nowhere")).unwrap();
    }
}
