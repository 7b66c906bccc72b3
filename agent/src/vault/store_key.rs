//! What encrypts records at rest.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rand_core::{CryptoRng, Rng};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::clock::randomness;

/// The key of the records at rest (AES-256-GCM). Wiped when dropped.
#[derive(Clone)]
pub struct StoreKey(pub(super) Zeroizing<[u8; 32]>);

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
