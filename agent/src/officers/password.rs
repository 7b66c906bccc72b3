//! Passwords at rest: argon2id with OWASP's parameters.

use argon2::{Algorithm, Argon2, Params, Version};
use rand_core::Rng;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::clock::randomness;

/// Fewest characters of a password.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// Longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// OWASP's password storage cheat sheet: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// A password that cannot be used. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PasswordError {
    /// Too few characters.
    #[error("the password has {0} characters; at least {PASSWORD_CHARS_MIN} are needed")]
    TooShort(usize),
    /// Too many bytes.
    #[error("the password has {0} bytes; at most {PASSWORD_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// The function refused its parameters.
    #[error("the password cannot be hashed: this build of argon2 refuses the parameters")]
    Hash,
}

/// What is kept of a password. The parameters are kept too, so that they can be raised.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    hash: String,
}

impl PasswordHash {
    /// Hashes a new password. Takes 19 MiB and tens of milliseconds.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub fn of(password: &str) -> Result<Self, PasswordError> {
        let chars = password.chars().count();
        if chars < PASSWORD_CHARS_MIN {
            return Err(PasswordError::TooShort(chars));
        }
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(PasswordError::TooLong(password.len()));
        }
        let mut salt = [0; SALT_BYTES];
        randomness().fill_bytes(&mut salt);
        let hash = derive(password, &salt, (MEMORY_KIB, PASSES, LANES))?;
        Ok(Self {
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: hex::encode(salt),
            hash: hex::encode(hash.as_slice()),
        })
    }

    /// Whether `password` is the one. The comparison takes the same time wherever the hashes differ.
    #[must_use]
    pub fn matches(&self, password: &str) -> bool {
        let (Ok(salt), Ok(hash)) = (hex::decode(&self.salt), hex::decode(&self.hash)) else { return false };
        let parameters = (self.memory_kib, self.passes, self.lanes);
        let good = |derived: Zeroizing<[u8; HASH_BYTES]>| bool::from(derived.as_slice().ct_eq(&hash));
        password.len() <= PASSWORD_BYTES_MAX && derive(password, &salt, parameters).is_ok_and(good)
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash")
    }
}

/// Does the work of checking a password where there is no account, so that an unknown name takes as long as a wrong
/// password.
pub fn in_vain(password: &str) {
    let text = if password.len() <= PASSWORD_BYTES_MAX { password } else { "" };
    // What comes out is for nobody.
    let _ = std::hint::black_box(derive(text, &[0; SALT_BYTES], (MEMORY_KIB, PASSES, LANES)));
}

fn derive(
    password: &str,
    salt: &[u8],
    (memory_kib, passes, lanes): (u32, u32, u32),
) -> Result<Zeroizing<[u8; HASH_BYTES]>, PasswordError> {
    let parameters =
        Params::new(memory_kib, passes, lanes, Some(HASH_BYTES)).map_err(|_| PasswordError::Hash)?;
    let function = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
    let mut hash = Zeroizing::new([0; HASH_BYTES]);
    let hashed = function.hash_password_into(password.as_bytes(), salt, hash.as_mut());
    hashed.map_err(|_| PasswordError::Hash)?;
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g09_a_password_matches_itself_and_nothing_else() {
        let hash = PasswordHash::of("correct horse battery").unwrap();
        assert!(hash.matches("correct horse battery"));
        assert!(!hash.matches("correct horse batterz") && !hash.matches(""));
        assert_eq!(format!("{hash:?}"), "PasswordHash");
        assert_eq!(PasswordHash::of("short"), Err(PasswordError::TooShort(5)));
        assert_ne!(hash, PasswordHash::of("correct horse battery").unwrap(), "the salt is the same");
    }
}
