//! Files: read within a bound, replaced whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// Longest private key file, in bytes.
const SECRET_BYTES_MAX: usize = 16 * 1024;

/// Reads a whole file of at most `bytes_max`.
pub(crate) fn read(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    read_into(File::open(path)?, bytes_max, &mut bytes)?;
    Ok(bytes)
}

/// Reads a whole text file of at most `bytes_max`.
pub(crate) fn read_text(path: &Path, bytes_max: usize) -> io::Result<String> {
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text");
    String::from_utf8(read(path, bytes_max)?).map_err(not_text)
}

/// Why a private key's file is not read.
pub(crate) enum SecretError {
    /// It cannot be.
    Io(io::Error),
    /// Others than its owner may read or write it: this mode.
    Exposed(u32),
}

/// Reads a private key's file, which nobody but its owner may read or write.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let file = File::open(path).map_err(SecretError::Io)?;
    let mode = file.metadata().map_err(SecretError::Io)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Exposed(mode));
    }
    // As long as it can become, so that no copy is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
    read_into(file, SECRET_BYTES_MAX, &mut bytes).map_err(SecretError::Io)?;
    let text = std::str::from_utf8(&bytes).map(ToOwned::to_owned);
    let not_text = |_| SecretError::Io(io::Error::new(io::ErrorKind::InvalidData, "it is not a PEM file"));
    text.map(Zeroizing::new).map_err(not_text)
}

fn read_into(file: File, bytes_max: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    let room = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(room).read_to_end(bytes)?;
    if bytes.len() > bytes_max {
        let sentence = format!("it is longer than the {bytes_max} bytes allowed");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, sentence));
    }
    Ok(())
}

/// Puts a file in place whole and on stable storage, or leaves what was there.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_that_others_may_read_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tls.key");
        replace(&path, b"key").unwrap();
        assert_eq!(read_secret(&path).map_err(|_| ()).unwrap().as_str(), "key");
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                matches!(read_secret(&path), Err(SecretError::Exposed(found)) if found == mode),
                "{mode:o}"
            );
        }
    }

    #[test]
    fn g10_no_more_than_the_bound_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, &[0; 11]).unwrap();
        assert_eq!(read(&path, 11).unwrap().len(), 11);
        assert_eq!(read(&path, 10).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
