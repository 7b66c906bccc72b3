//! The authority's private keys.
//!
//! Claimed, against whoever copies the folder or the disk it lies on: without the passphrase the keys cannot be used.
//! Each lies in a file of its own, PKCS#8 encrypted with PBES2 (RFC 8018): scrypt and AES-256-CBC, salt and IV fresh
//! for each file. They are decrypted once, when the folder is opened, and wiped when it is closed; no `Debug` or error
//! shows them. Against whoever reads this process's memory while it runs, nothing is claimed: the machine that runs
//! it should be offline and its owner's alone.

use std::fmt;
use std::path::{Path, PathBuf};
use std::thread;

use pkcs8::der::SecretDocument;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::pem::LineEnding;
use pkcs8::pkcs5::pbes2::{Kdf, Parameters};
use pkcs8::pkcs5::scrypt;
use pkcs8::{AlgorithmIdentifierRef, EncryptedPrivateKeyInfoRef, ObjectIdentifier, PrivateKeyInfoRef};
use rand_core::Rng;
use rcgen::{KeyPair, PublicKeyData, SignatureAlgorithm};
use thiserror::Error;
use valise_proto::crypto::{KeyError, SigningKey, VerifyingKey};
use zeroize::{Zeroize, Zeroizing};

use crate::files::{self, FileError, SECRET_FILE};
use crate::folder::{self, Folder, FolderError};
use crate::passphrase::Passphrase;
use crate::randomness;

/// RFC 8410 `id-Ed25519`.
const ED25519_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const KEY_FILE_BYTES_MAX: usize = 16 * 1024;
const PEM_LABEL: &str = "ENCRYPTED PRIVATE KEY";

/// scrypt (RFC 7914) with N = 2^14, r = 8, p = 5: 16 MiB, and one of the settings of equal strength that OWASP's
/// password storage guidance lists. A larger N would exceed what `openssl pkey` accepts, and in an emergency the keys
/// must be readable without this tool.
/// A build for tests, whose folders hold nothing worth keeping, does an eightieth of that work.
const SCRYPT_LOG_N: u8 = if cfg!(debug_assertions) { 10 } else { 14 };
const SCRYPT_R: u32 = 8;
const SCRYPT_P: u32 = if cfg!(debug_assertions) { 1 } else { 5 };
/// No build that people use is made with less.
const _: () = assert!(cfg!(debug_assertions) || (SCRYPT_LOG_N == 14 && SCRYPT_R == 8 && SCRYPT_P == 5));
/// Most work a key file may ask for: a file put in place by somebody else must not take the machine's memory.
const SCRYPT_BYTES_MAX: u64 = 256 * 1024 * 1024;
const SCRYPT_P_MAX: u16 = 64;
const PBKDF2_ITERATIONS_MAX: u32 = 10_000_000;

/// Why the private keys cannot be used. Nothing was changed.
#[derive(Debug, Error)]
pub enum KeysError {
    /// Wrong passphrase, or an altered file: the two look alike.
    #[error("the passphrase does not open {}; type it again (if it is the right one, the file was altered: restore it from a backup)", .0.display())]
    WrongPassphrase(PathBuf),
    /// Not a key file.
    #[error("{}: {problem}; restore this file from a backup", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A key could not be made or encrypted.
    #[error("the keys could not be made: {0}")]
    NotMade(String),
    /// A file that cannot be read, written, or that others can read.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

impl From<FileError> for KeysError {
    fn from(error: FileError) -> Self {
        Self::Folder(error.into())
    }
}

/// The private keys of one authority: all that its daily work needs.
pub(crate) struct Keys {
    pub(crate) issuing: CaKey,
    pub(crate) directory: SigningKey,
}

impl Keys {
    /// Makes new keys and writes their files.
    pub(crate) fn create(folder: &Folder, passphrase: &Passphrase) -> Result<Self, KeysError> {
        let (issuing, directory) = (Seed::generate(), Seed::generate());
        issuing.write(&folder.issuing_key(), passphrase)?;
        directory.write(&folder.directory_key(), passphrase)?;
        Ok(Self { issuing: issuing.ca_key()?, directory: directory.signing_key() })
    }

    /// Reads the key files and decrypts them.
    pub(crate) fn open(folder: &Folder, passphrase: &Passphrase) -> Result<Self, KeysError> {
        let paths = [folder.issuing_key(), folder.directory_key()];
        let seeds = Seed::read_all(&paths, passphrase)?;
        let [issuing, directory] =
            seeds.try_into().map_err(|_| KeysError::NotMade("a key is missing".to_owned()))?;
        Ok(Self { issuing: issuing.ca_key()?, directory: directory.signing_key() })
    }
}

/// The private key of a root: for certificates and lists, and for delegations.
pub(crate) struct RootKey {
    pub(crate) ca: CaKey,
    pub(crate) delegating: SigningKey,
}

impl RootKey {
    /// Makes a new key and writes its file.
    pub(crate) fn create(path: &Path, passphrase: &Passphrase) -> Result<Self, KeysError> {
        let seed = Seed::generate();
        seed.write(path, passphrase)?;
        Ok(Self { ca: seed.ca_key()?, delegating: seed.signing_key() })
    }

    /// Reads the key file and decrypts it.
    pub(crate) fn open(path: &Path, passphrase: &Passphrase) -> Result<Self, KeysError> {
        let seed = Seed::read(path, passphrase)?;
        Ok(Self { ca: seed.ca_key()?, delegating: seed.signing_key() })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({:?}, {:?})", self.issuing, self.directory)
    }
}

/// An Ed25519 key that certificates and revocation lists are signed with. Its PKCS#8 form is wiped when dropped.
pub(crate) struct CaKey {
    pair: KeyPair,
    public: VerifyingKey,
}

impl CaKey {
    fn new(seed: &Seed) -> Result<Self, String> {
        let der = seed.pkcs8_der().map_err(|error| error.to_string())?;
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der.as_slice().into(), &rcgen::PKCS_ED25519)
            .map_err(|error| error.to_string())?;
        let public =
            VerifyingKey::from_bytes(pair.public_key_raw()).map_err(|error: KeyError| error.to_string())?;
        Ok(Self { pair, public })
    }

    pub(crate) fn verifying_key(&self) -> VerifyingKey {
        self.public
    }
}

impl Drop for CaKey {
    fn drop(&mut self) {
        self.pair.zeroize();
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        self.pair.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.pair.algorithm()
    }
}

impl rcgen::SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        rcgen::SigningKey::sign(&self.pair, message)
    }
}

impl fmt::Debug for CaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaKey({})", self.public.key_id())
    }
}

/// The 32 bytes of an Ed25519 private key (RFC 8032). Wiped when dropped.
pub(crate) struct Seed(Zeroizing<[u8; 32]>);

impl Seed {
    pub(crate) fn generate() -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        randomness().fill_bytes(seed.as_mut());
        Self(seed)
    }

    pub(crate) fn verifying_key(&self) -> VerifyingKey {
        SigningKey::from_seed(&self.0).verifying_key()
    }

    /// The text of an unencrypted PKCS#8 file, for a broker's kit.
    pub(crate) fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, KeysError> {
        let not_made = |error: pkcs8::der::Error| KeysError::NotMade(error.to_string());
        let der = self.pkcs8_der().map_err(not_made)?;
        let document = SecretDocument::try_from(der.as_slice()).map_err(not_made)?;
        document.to_pem("PRIVATE KEY", LineEnding::LF).map_err(not_made)
    }

    pub(crate) fn signing_key(&self) -> SigningKey {
        SigningKey::from_seed(&self.0)
    }

    pub(crate) fn ca_key(&self) -> Result<CaKey, KeysError> {
        CaKey::new(self).map_err(KeysError::NotMade)
    }

    fn write(&self, path: &Path, passphrase: &Passphrase) -> Result<(), KeysError> {
        Ok(files::replace(path, self.encrypt(passphrase)?.as_bytes(), SECRET_FILE)?)
    }

    /// Key derivation is slow on purpose; side by side several files take little longer than one.
    pub(crate) fn read_all(paths: &[PathBuf], passphrase: &Passphrase) -> Result<Vec<Self>, KeysError> {
        let stopped = || Err(KeysError::NotMade("a worker stopped".to_owned()));
        thread::scope(|scope| {
            let reading: Vec<_> =
                paths.iter().map(|path| scope.spawn(move || Self::read(path, passphrase))).collect();
            reading.into_iter().map(|read| read.join().unwrap_or_else(|_| stopped())).collect()
        })
    }

    pub(crate) fn read(path: &Path, passphrase: &Passphrase) -> Result<Self, KeysError> {
        folder::check_private(path, SECRET_FILE)?;
        Self::parse(&files::read_text(path, KEY_FILE_BYTES_MAX)?, path, passphrase)
    }

    fn parse(text: &str, path: &Path, passphrase: &Passphrase) -> Result<Self, KeysError> {
        let (label, document) = SecretDocument::from_pem(text).map_err(|error| unreadable(path, error))?;
        if label != PEM_LABEL {
            return Err(unreadable(path, format!("it is a `{label}`, not an `{PEM_LABEL}`")));
        }
        let encrypted: EncryptedPrivateKeyInfoRef<'_> =
            document.decode_msg().map_err(|error: pkcs8::der::Error| unreadable(path, error))?;
        let parameters = encrypted.encryption_algorithm.pbes2();
        let parameters = parameters.ok_or_else(|| unreadable(path, "it is not encrypted with PBES2"))?;
        check_cost(&parameters.kdf).map_err(|problem| unreadable(path, problem))?;
        let decrypted = encrypted
            .decrypt(passphrase.as_bytes())
            .map_err(|_| KeysError::WrongPassphrase(path.to_owned()))?;
        Self::from_pkcs8_der(decrypted.as_bytes()).ok_or_else(|| unreadable(path, "it is not an Ed25519 key"))
    }

    /// PKCS#8 version 1 (RFC 8410 section 7), which every tool reads.
    fn pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, pkcs8::der::Error> {
        let octets = self.octets();
        let algorithm = AlgorithmIdentifierRef { oid: ED25519_OID, parameters: None };
        let info = PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(octets.as_ref())?);
        Ok(SecretDocument::encode_msg(&info)?.to_bytes())
    }

    /// RFC 8410 `CurvePrivateKey`: the seed as an OCTET STRING of its own.
    fn octets(&self) -> Zeroizing<Vec<u8>> {
        let mut octets = Zeroizing::new(vec![0x04, 0x20]);
        octets.extend_from_slice(self.0.as_ref());
        octets
    }

    fn from_pkcs8_der(der: &[u8]) -> Option<Self> {
        let info = PrivateKeyInfoRef::try_from(der).ok()?;
        let octets = info.private_key.as_bytes().strip_prefix(&[0x04, 0x20])?;
        if info.algorithm.oid != ED25519_OID || octets.len() != 32 {
            return None;
        }
        let mut seed = Zeroizing::new([0; 32]);
        seed.copy_from_slice(octets);
        Some(Self(seed))
    }

    /// The text of a key file.
    pub(crate) fn encrypt(&self, passphrase: &Passphrase) -> Result<Zeroizing<String>, KeysError> {
        let not_made = |error: &dyn fmt::Display| KeysError::NotMade(error.to_string());
        let (mut salt, mut iv) = ([0; 16], [0; 16]);
        randomness().fill_bytes(&mut salt);
        randomness().fill_bytes(&mut iv);
        let cost = scrypt::Params::new(SCRYPT_LOG_N, SCRYPT_R, SCRYPT_P).map_err(|error| not_made(&error))?;
        let parameters =
            Parameters::generate_scrypt_aes256cbc(cost, &salt, iv).map_err(|error| not_made(&error))?;
        let octets = self.octets();
        let algorithm = AlgorithmIdentifierRef { oid: ED25519_OID, parameters: None };
        let octets = OctetStringRef::new(octets.as_ref()).map_err(|error| not_made(&error))?;
        let encrypted = PrivateKeyInfoRef::new(algorithm, octets)
            .encrypt_with_params(parameters, passphrase.as_bytes())
            .map_err(|error| not_made(&error))?;
        encrypted.to_pem(PEM_LABEL, LineEnding::LF).map_err(|error| not_made(&error))
    }
}

/// The text of a key file for the same key under another passphrase. It is opened once with that before it is handed
/// out: nobody is to be locked out.
pub(crate) fn encrypt_anew(
    path: &Path,
    old: &Passphrase,
    new: &Passphrase,
) -> Result<Zeroizing<String>, KeysError> {
    let seed = Seed::read(path, old)?;
    let text = seed.encrypt(new)?;
    if *Seed::parse(&text, path, new)?.0 == *seed.0 {
        return Ok(text);
    }
    Err(KeysError::NotMade("a key came back as another".to_owned()))
}

/// Keys may have been encrypted anew with another tool, so PBKDF2 and other costs are read too, within bounds.
fn check_cost(kdf: &Kdf) -> Result<(), String> {
    if let Some(scrypt) = kdf.scrypt() {
        let bytes = scrypt.cost_parameter.saturating_mul(128).saturating_mul(u64::from(scrypt.block_size));
        if bytes > SCRYPT_BYTES_MAX || scrypt.parallelization > SCRYPT_P_MAX {
            return Err(format!(
                "it asks for {bytes} bytes of memory to open; at most {SCRYPT_BYTES_MAX} are given"
            ));
        }
    }
    if let Some(pbkdf2) = kdf.pbkdf2()
        && pbkdf2.iteration_count > PBKDF2_ITERATIONS_MAX
    {
        let count = pbkdf2.iteration_count;
        return Err(format!(
            "it asks for {count} iterations to open; at most {PBKDF2_ITERATIONS_MAX} are done"
        ));
    }
    Ok(())
}

fn unreadable(path: &Path, problem: impl fmt::Display) -> KeysError {
    KeysError::Unreadable { path: path.to_owned(), problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn passphrase() -> Passphrase {
        Passphrase::new("correct horse battery").unwrap()
    }

    #[test]
    fn keys_come_back_with_the_passphrase_and_not_without() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::new(temp.path());
        let made = Keys::create(&folder, &passphrase()).unwrap();
        let began = std::time::Instant::now();
        let read = Keys::open(&folder, &passphrase()).unwrap();
        println!("the keys opened in {:?}", began.elapsed());
        assert_eq!(format!("{made:?}"), format!("{read:?}"));
        let other = Passphrase::new("another passphrase").unwrap();
        let error = Keys::open(&folder, &other).unwrap_err();
        assert!(error.to_string().contains("the passphrase does not open"), "{error}");
        for path in [folder.issuing_key(), folder.directory_key()] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert!(fs::read_to_string(&path).unwrap().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
        }
        fs::set_permissions(folder.issuing_key(), fs::Permissions::from_mode(0o644)).unwrap();
        let error = Keys::open(&folder, &passphrase()).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_key_is_told_with_its_path() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("root.key");
        for text in ["", "not PEM", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            files::replace(&path, text.as_bytes(), SECRET_FILE).unwrap();
            let error = Seed::read(&path, &passphrase()).err().unwrap();
            assert!(matches!(&error, KeysError::Unreadable { path: told, .. } if *told == path), "{error}");
        }
    }

    #[test]
    fn a_key_file_that_asks_for_the_machines_memory_is_not_opened() {
        let cost = scrypt::Params::new(24, 8, 1).unwrap();
        let parameters = Parameters::generate_scrypt_aes256cbc(cost, &[0; 16], [0; 16]).unwrap();
        assert!(check_cost(&parameters.kdf).unwrap_err().contains("at most"));
        let parameters = Parameters::generate_pbkdf2_sha256_aes256cbc(50_000_000, &[0; 16], [0; 16]).unwrap();
        assert!(check_cost(&parameters.kdf).unwrap_err().contains("iterations"));
    }

    #[test]
    fn debug_of_a_key_shows_its_name_only() {
        let key = CaKey::new(&Seed(Zeroizing::new([7; 32]))).unwrap();
        assert_eq!(format!("{key:?}"), format!("CaKey({})", key.verifying_key().key_id()));
    }
}
