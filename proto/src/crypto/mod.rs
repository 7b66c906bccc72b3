//! Keys, signatures and the context strings that keep their uses apart.
//!
//! Claimed, against anyone who does not hold a private key: a signature made for one purpose cannot be shown for
//! another, and a key wrap opens only in the place it was made for. It holds because every signature is over a DSSE
//! pre-authentication encoding that begins with one of the types below, because every AEAD and HPKE call carries its
//! own context, and because each string is written once, here. The primitives are ed25519-dalek, hpke and aws-lc-rs.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::signature::Ed25519KeyPair;
use ed25519_dalek::Signer;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::id::{Digest, KeyId};

pub mod context;

/// Bytes of an X-Wing public key (draft-connolly-cfrg-xwing-kem section 5.1).
pub const SEALING_PUBLIC_KEY_LEN: usize = 1216;
/// Bytes of an X-Wing encapsulated key.
pub const ENCAPSULATED_LEN: usize = 1120;
/// Bytes of an AES-256-GCM tag.
pub const TAG_LEN: usize = 16;

/// Why bytes are not a usable public key. The fault is with whoever made the key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Not a key of this kind.
    #[error("these {got} bytes are not {what} key; {expected} bytes of a valid key are needed")]
    Malformed {
        /// The kind of key.
        what: &'static str,
        /// Its length.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// A key under which forgeries exist (small-order point).
    #[error("this Ed25519 key is weak: signatures under it prove nothing; make a new one")]
    Weak,
}

/// The signature does not verify under this key, for this type and these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// A sealed value does not open: wrong key, wrong place or altered bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the sealed value does not open with this key in this place")]
pub struct CannotOpen;

/// SHA-256 of the concatenation of `parts`.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> Digest {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in parts {
        hash.update(part);
    }
    let mut out = [0; Digest::LEN];
    out.copy_from_slice(hash.finish().as_ref());
    Digest::new(out)
}

/// DSSE pre-authentication encoding: what is signed in place of `body`.
#[must_use]
pub fn pae(payload_type: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), body.len()).into_bytes();
    out.extend_from_slice(body);
    out
}

/// An Ed25519 signature (RFC 8032) and the name of the key that made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signature {
    /// Which key.
    pub key_id: KeyId,
    /// The 64 bytes.
    pub value: [u8; 64],
}

/// An Ed25519 private key. Wiped when dropped; its `Debug` shows its name only.
#[derive(Clone)]
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    /// The same key at aws-lc, which signs in half the time. A signature of RFC 8032 follows from key and message
    /// alone, so it does not matter which of the two makes it; `None` would only be slower.
    pair: Option<Arc<Ed25519KeyPair>>,
    key_id: KeyId,
}

impl SigningKey {
    /// A new key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut());
        Self::from_seed(&seed)
    }

    /// The key of this RFC 8032 seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let key_id = signing_key_id(key.verifying_key().as_bytes());
        let pair = Ed25519KeyPair::from_seed_and_public_key(seed, key.verifying_key().as_bytes());
        Self { key, pair: pair.ok().map(Arc::new), key_id }
    }

    /// The seed, for keeping the key in a file.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// Reads an unencrypted PKCS#8 PEM file's text (RFC 8410).
    ///
    /// # Errors
    /// [`KeyError::Malformed`].
    pub fn from_pkcs8_pem(text: &str) -> Result<Self, KeyError> {
        let key = ed25519_dalek::SigningKey::from_pkcs8_pem(text).map_err(|_| KeyError::Malformed {
            what: "an Ed25519 PKCS#8",
            expected: 32,
            got: text.len(),
        })?;
        Ok(Self::from_seed(&Zeroizing::new(key.to_bytes())))
    }

    /// The text of an unencrypted PKCS#8 PEM file (RFC 8410).
    ///
    /// # Errors
    /// [`KeyError::Malformed`], which only a fault in the encoder could cause.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let malformed = |_| KeyError::Malformed { what: "an Ed25519 PKCS#8", expected: 32, got: 32 };
        self.key.to_pkcs8_pem(ed25519_dalek::pkcs8::spki::der::pem::LineEnding::LF).map_err(malformed)
    }

    /// The name of the public key.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The public key.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey { key: self.key.verifying_key(), key_id: self.key_id }
    }

    /// Signs `body` as a payload of `payload_type`, one of [`context`].
    #[must_use]
    pub fn sign(&self, payload_type: &str, body: &[u8]) -> Signature {
        Signature { key_id: self.key_id, value: self.sign_bytes(&pae(payload_type, body)) }
    }

    fn sign_bytes(&self, message: &[u8]) -> [u8; 64] {
        let quick = self.pair.as_ref().map(|pair| pair.sign(message));
        let quick = quick.and_then(|signature| signature.as_ref().try_into().ok());
        quick.unwrap_or_else(|| self.key.sign(message).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.key_id)
    }
}

/// An Ed25519 public key that is not weak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey {
    key: ed25519_dalek::VerifyingKey,
    key_id: KeyId,
}

impl VerifyingKey {
    /// Reads the 32 bytes of a key.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] or [`KeyError::Weak`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let bad = || KeyError::Malformed { what: "an Ed25519", expected: 32, got: bytes.len() };
        let array: &[u8; 32] = bytes.try_into().map_err(|_| bad())?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(array).map_err(|_| bad())?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        Ok(Self { key, key_id: signing_key_id(array) })
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// The key's name.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Strict verification (no small-order components, canonical encodings) of a signature over `body`.
    ///
    /// # Errors
    /// [`BadSignature`], also where the signature names another key.
    pub fn verify(&self, payload_type: &str, body: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        if signature.key_id != self.key_id {
            return Err(BadSignature);
        }
        let value = ed25519_dalek::Signature::from_bytes(&signature.value);
        self.key.verify_strict(&pae(payload_type, body), &value).map_err(|_| BadSignature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.key_id)
    }
}

fn signing_key_id(public: &[u8; 32]) -> KeyId {
    key_id(context::SIGNING_KEY_ID, public)
}

fn key_id(context: &str, public: &[u8]) -> KeyId {
    let digest = sha256(&[context.as_bytes(), public]);
    let mut id = [0; KeyId::LEN];
    for (to, from) in id.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    KeyId::new(id)
}

/// An HPKE message: the encapsulated key and the ciphertext (RFC 9180 section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// HPKE `enc`, [`ENCAPSULATED_LEN`] bytes.
    pub encapsulated: Vec<u8>,
    /// The ciphertext, tag last.
    pub ciphertext: Vec<u8>,
}

/// An X-Wing private key (KEM 0x647a): 32 bytes. Wiped when dropped; its `Debug` shows its name only.
#[derive(Clone)]
pub struct SealingKey {
    seed: Zeroizing<[u8; 32]>,
    public: SealingPublicKey,
}

impl SealingKey {
    /// A new key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut());
        // An X-Wing decapsulation key is any 32 bytes, so this cannot fail; were it to, another draw follows.
        Self::from_seed(&seed).unwrap_or_else(|_| Self::generate(rng))
    }

    /// The key of these 32 bytes (the X-Wing decapsulation key).
    ///
    /// # Errors
    /// [`KeyError::Malformed`].
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyError> {
        let private = private_key(seed).map_err(|CannotOpen| sealing_key_malformed(seed.len()))?;
        let public = SealingPublicKey::from_bytes(&XWing::sk_to_pk(&private).to_bytes())?;
        Ok(Self { seed: Zeroizing::new(*seed), public })
    }

    /// The 32 bytes, for keeping the key in a file.
    #[must_use]
    pub fn seed(&self) -> &Zeroizing<[u8; 32]> {
        &self.seed
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> &SealingPublicKey {
        &self.public
    }

    /// Opens an HPKE base-mode message made for this key with the same `info` and `aad`.
    ///
    /// # Errors
    /// [`CannotOpen`].
    pub fn open(&self, info: &str, aad: &[u8], sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
        let private = private_key(&self.seed)?;
        let encapsulated =
            <XWing as Kem>::EncappedKey::from_bytes(&sealed.encapsulated).map_err(|_| CannotOpen)?;
        let mut context = hpke::setup_receiver::<AesGcm256, HkdfSha256, XWing>(
            &OpModeR::Base,
            &private,
            &encapsulated,
            info.as_bytes(),
        )
        .map_err(|_| CannotOpen)?;
        context.open(&sealed.ciphertext, aad).map(Zeroizing::new).map_err(|_| CannotOpen)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", self.public.key_id)
    }
}

fn private_key(seed: &[u8; 32]) -> Result<<XWing as Kem>::PrivateKey, CannotOpen> {
    <XWing as Kem>::PrivateKey::from_bytes(seed).map_err(|_| CannotOpen)
}

fn sealing_key_malformed(got: usize) -> KeyError {
    KeyError::Malformed { what: "an X-Wing", expected: SEALING_PUBLIC_KEY_LEN, got }
}

/// An X-Wing public key.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingPublicKey {
    key: Box<<XWing as Kem>::PublicKey>,
    key_id: KeyId,
}

impl SealingPublicKey {
    /// Reads the [`SEALING_PUBLIC_KEY_LEN`] bytes of a key.
    ///
    /// # Errors
    /// [`KeyError::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let key =
            <XWing as Kem>::PublicKey::from_bytes(bytes).map_err(|_| sealing_key_malformed(bytes.len()))?;
        Ok(Self { key: Box::new(key), key_id: key_id(context::SEALING_KEY_ID, bytes) })
    }

    /// The bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.key.to_bytes().to_vec()
    }

    /// The key's name.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Seals `plaintext` to this key (HPKE base mode, X-Wing, HKDF-SHA256, AES-256-GCM).
    ///
    /// # Errors
    /// [`KeyError::Malformed`] where the key turns out to be unusable.
    pub fn seal(
        &self,
        info: &str,
        aad: &[u8],
        plaintext: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Sealed, KeyError> {
        let unusable = |_| sealing_key_malformed(SEALING_PUBLIC_KEY_LEN);
        let (encapsulated, mut context) = hpke::setup_sender_with_rng::<AesGcm256, HkdfSha256, XWing>(
            &OpModeS::Base,
            &self.key,
            info.as_bytes(),
            rng,
        )
        .map_err(unusable)?;
        let ciphertext = context.seal(plaintext, aad).map_err(unusable)?;
        Ok(Sealed { encapsulated: encapsulated.to_bytes().to_vec(), ciphertext })
    }
}

impl fmt::Debug for SealingPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingPublicKey({})", self.key_id)
    }
}

/// Gives 128 bits as eight groups of four hexadecimal digits, for two people to compare by telephone.
#[must_use]
pub fn fingerprint(digest: &Digest) -> String {
    let groups: Vec<String> = digest.as_bytes().chunks(2).take(8).map(hex::encode_upper).collect();
    groups.join("-")
}

#[cfg(test)]
mod tests {
    use rand_core::UnwrapErr;

    use super::*;

    fn rng() -> impl CryptoRng {
        UnwrapErr(getrandom::SysRng)
    }

    #[test]
    fn both_libraries_make_the_same_signature() {
        let key = SigningKey::generate(&mut rng());
        assert!(key.pair.is_some(), "aws-lc does not take the key");
        for message in [b"".as_slice(), b"a", &[7; 1000]] {
            assert_eq!(key.sign_bytes(message), key.key.sign(message).to_bytes());
        }
    }

    #[test]
    fn g01_a_signature_counts_for_its_type_its_bytes_and_its_key_only() {
        let key = SigningKey::generate(&mut rng());
        let signature = key.sign(context::HEADER, b"body");
        assert_eq!(key.verifying_key().verify(context::HEADER, b"body", &signature), Ok(()));
        assert!(key.verifying_key().verify(context::RECEIPT, b"body", &signature).is_err());
        assert!(key.verifying_key().verify(context::HEADER, b"bodY", &signature).is_err());
        let kept = SigningKey::from_pkcs8_pem(&key.to_pkcs8_pem().unwrap()).unwrap();
        assert_eq!(kept.key_id(), key.key_id());
        let other = SigningKey::generate(&mut rng()).verifying_key();
        assert!(other.verify(context::HEADER, b"body", &signature).is_err());
        let renamed = Signature { key_id: other.key_id(), ..signature };
        assert!(other.verify(context::HEADER, b"body", &renamed).is_err());
    }

    #[test]
    fn g01_weak_keys_are_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(VerifyingKey::from_bytes(&identity), Err(KeyError::Weak));
        assert!(VerifyingKey::from_bytes(&[0; 31]).is_err());
    }

    #[test]
    fn g02_a_sealed_value_opens_with_its_key_in_its_place_only() {
        let key = SealingKey::generate(&mut rng());
        let sealed = key.public().seal(context::WRAP, b"place", b"secret", &mut rng()).unwrap();
        assert_eq!(sealed.encapsulated.len(), ENCAPSULATED_LEN);
        assert_eq!(key.open(context::WRAP, b"place", &sealed).unwrap().as_slice(), b"secret");
        assert!(key.open(context::WRAP, b"elsewhere", &sealed).is_err());
        assert!(key.open(context::CHALLENGE, b"place", &sealed).is_err());
        assert!(SealingKey::generate(&mut rng()).open(context::WRAP, b"place", &sealed).is_err());
        let again = SealingKey::from_seed(key.seed()).unwrap();
        assert_eq!(again.public(), key.public());
    }

    #[test]
    fn g02_debug_of_a_private_key_shows_its_name_and_nothing_more() {
        let signing = SigningKey::generate(&mut rng());
        assert_eq!(format!("{signing:?}"), format!("SigningKey({})", signing.key_id()));
        let sealing = SealingKey::generate(&mut rng());
        assert_eq!(format!("{sealing:?}"), format!("SealingKey({})", sealing.public().key_id()));
    }

    #[test]
    fn the_pre_authentication_encoding_is_that_of_dsse() {
        // The example of the DSSE protocol specification, section "Test Vectors".
        let encoded = pae("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn a_fingerprint_is_eight_groups_of_four() {
        assert_eq!(fingerprint(&Digest::new([0xAB; 32])), "ABAB-ABAB-ABAB-ABAB-ABAB-ABAB-ABAB-ABAB");
    }
}
