//! The accounts and their tokens.
//!
//! Claimed: whoever reads the store without its key learns no name and no password hash, and whoever has the key
//! learns no token and no password: of a token, 256 random bits, only the SHA-256 is kept, of a password its
//! argon2id hash. Once there was an account, the node never opens to the nameless again: the register stays when the
//! last account is removed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rand_core::Rng;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use valise_proto::crypto::sha256;
use valise_proto::id::Timestamp;
use zeroize::Zeroizing;

use super::password::{PasswordError, PasswordHash};
use super::{BadName, Roles, name_of};
use crate::clock::randomness;

/// Most accounts.
pub const OFFICERS_MAX: usize = 1000;
/// Most tokens of one officer.
pub const TOKENS_MAX: usize = 16;
/// Longest life of a token, in days.
pub const TOKEN_DAYS_MAX: u64 = 366;
/// Longest label of a token, in bytes.
pub const TOKEN_LABEL_BYTES_MAX: usize = 64;
/// How every token begins, so that one that lies about is known for what it is.
const TOKEN_PREFIX: &str = "vat_";
const TOKEN_BYTES: usize = 32;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Why an account was not changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RegisterError {
    /// The name.
    #[error("{0}")]
    Name(#[from] BadName),
    /// The password.
    #[error("{0}")]
    Password(#[from] PasswordError),
    /// There is one already.
    #[error("there is an officer {0:?} already: valise-agent officer roles or passwd changes the account")]
    Exists(String),
    /// There is none.
    #[error("there is no officer {0:?}: valise-agent officer list tells those there are")]
    Unknown(String),
    /// No role.
    #[error("an officer needs a role: drafter, releaser, reader or auditor")]
    NoRole,
    /// Too many accounts.
    #[error("{OFFICERS_MAX} officers have accounts, which is all this node keeps: remove one first")]
    Full,
    /// Too many tokens.
    #[error(
        "{0:?} has {TOKENS_MAX} tokens, which is all an officer may have: revoke one first (valise-agent token list)"
    )]
    TooManyTokens(String),
    /// A token's life.
    #[error("days: a token lives for 1 to {TOKEN_DAYS_MAX} days")]
    Days,
    /// A token's label.
    #[error("label: 1 to {TOKEN_LABEL_BYTES_MAX} bytes of plain text say what the token is for")]
    Label,
    /// No such token.
    #[error("there is no token {0:?}: valise-agent token list tells those there are")]
    UnknownToken(String),
}

/// One officer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What the officer may do.
    pub roles: Roles,
    /// Whether nothing is taken from the officer for the time being.
    pub disabled: bool,
    /// Since when there is the account.
    pub since: Timestamp,
    password: PasswordHash,
    tokens: BTreeMap<String, Token>,
}

/// One token, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// What it is for.
    pub label: String,
    /// Since when there is it.
    pub since: Timestamp,
    /// Until when it is taken.
    pub until: Timestamp,
    /// When it was used last, to the hour.
    pub used: Option<Timestamp>,
    sha256: String,
}

/// A token as it is handed out, once.
pub struct Issued {
    /// Its id, by which it is revoked.
    pub id: String,
    /// Until when it is taken.
    pub until: Timestamp,
    /// The secret.
    pub secret: Zeroizing<String>,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issued({})", self.id)
    }
}

/// All accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    officers: BTreeMap<String, Account>,
}

impl Register {
    /// The accounts, by name.
    pub fn officers(&self) -> impl Iterator<Item = (&str, &Account)> {
        self.officers.iter().map(|(name, account)| (name.as_str(), account))
    }

    /// An account that is not disabled.
    #[must_use]
    pub fn active(&self, name: &str) -> Option<&Account> {
        self.officers.get(name).filter(|account| !account.disabled)
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn add(
        &mut self,
        name: &str,
        roles: Roles,
        password: PasswordHash,
        now: Timestamp,
    ) -> Result<(), RegisterError> {
        let name = name_of(name)?;
        if self.officers.contains_key(&name) {
            return Err(RegisterError::Exists(name));
        }
        if roles.is_empty() {
            return Err(RegisterError::NoRole);
        }
        if self.officers.len() >= OFFICERS_MAX {
            return Err(RegisterError::Full);
        }
        let account = Account { roles, disabled: false, since: now, password, tokens: BTreeMap::new() };
        self.officers.insert(name, account);
        Ok(())
    }

    /// Gives an officer another password; tokens that were issued before end with the old one.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn set_password(&mut self, name: &str, password: PasswordHash) -> Result<(), RegisterError> {
        let account = self.account(name)?;
        account.password = password;
        account.tokens.clear();
        Ok(())
    }

    /// Gives an officer these roles and no others.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn set_roles(&mut self, name: &str, roles: Roles) -> Result<(), RegisterError> {
        if roles.is_empty() {
            return Err(RegisterError::NoRole);
        }
        self.account(name)?.roles = roles;
        Ok(())
    }

    /// Takes nothing from an officer for the time being, or takes it again.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn set_disabled(&mut self, name: &str, disabled: bool) -> Result<(), RegisterError> {
        self.account(name)?.disabled = disabled;
        Ok(())
    }

    /// Removes an account and its tokens.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn remove(&mut self, name: &str) -> Result<(), RegisterError> {
        self.officers.remove(name).map(drop).ok_or_else(|| RegisterError::Unknown(name.to_owned()))
    }

    /// Issues a token. Those that have run out make room.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn issue(
        &mut self,
        name: &str,
        label: &str,
        days: u64,
        now: Timestamp,
    ) -> Result<Issued, RegisterError> {
        let label = label.trim();
        if label.is_empty() || label.len() > TOKEN_LABEL_BYTES_MAX || label.chars().any(char::is_control) {
            return Err(RegisterError::Label);
        }
        let days = u32::try_from(days).ok().filter(|days| (1..=TOKEN_DAYS_MAX).contains(&u64::from(*days)));
        let until = now.plus(DAY.saturating_mul(days.ok_or(RegisterError::Days)?));
        let account = self.account(name)?;
        account.tokens.retain(|_, token| token.until > now);
        if account.tokens.len() >= TOKENS_MAX {
            return Err(RegisterError::TooManyTokens(name.to_owned()));
        }
        let mut random = Zeroizing::new([0; TOKEN_BYTES]);
        randomness().fill_bytes(random.as_mut());
        let digits = Zeroizing::new(hex::encode(random.as_slice()));
        let secret = Zeroizing::new(format!("{TOKEN_PREFIX}{}", digits.as_str()));
        let sha256 = digest(&secret);
        let id: String = sha256.chars().take(12).collect();
        let token = Token { label: label.to_owned(), since: now, until, used: None, sha256 };
        account.tokens.insert(id.clone(), token);
        Ok(Issued { id, until, secret })
    }

    /// Ends a token; returns whose it was.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn revoke(&mut self, id: &str) -> Result<String, RegisterError> {
        let found = self
            .officers
            .iter_mut()
            .find_map(|(name, account)| account.tokens.remove(id).map(|_| name.clone()));
        found.ok_or_else(|| RegisterError::UnknownToken(id.to_owned()))
    }

    /// The officer and id of a token that is taken at `now`.
    #[must_use]
    pub fn by_token(&self, secret: &str, now: Timestamp) -> Option<(&str, &Account)> {
        // The digest of 256 random bits tells nothing about them, so that comparing it may take what time it likes.
        let sha256 = digest(secret);
        let good = |token: &Token| token.sha256 == sha256 && token.until > now && token.since <= now;
        self.officers()
            .filter(|(_, account)| !account.disabled)
            .find(|(_, account)| account.tokens.values().any(good))
    }

    /// Whether [`Register::note_use`] would have news.
    #[must_use]
    pub fn is_use_news(&self, secret: &str, now: Timestamp) -> bool {
        let sha256 = digest(secret);
        let mut tokens = self.officers.values().flat_map(|account| account.tokens.values());
        tokens.any(|token| token.sha256 == sha256 && token.is_use_news(now))
    }

    /// Notes when a token was used, to the hour; returns whether that is news.
    pub fn note_use(&mut self, secret: &str, now: Timestamp) -> bool {
        let sha256 = digest(secret);
        let tokens = self.officers.values_mut().flat_map(|account| account.tokens.values_mut());
        for token in tokens.filter(|token| token.sha256 == sha256) {
            if token.is_use_news(now) {
                token.used = Some(now);
                return true;
            }
        }
        false
    }

    fn account(&mut self, name: &str) -> Result<&mut Account, RegisterError> {
        self.officers.get_mut(name).ok_or_else(|| RegisterError::Unknown(name.to_owned()))
    }
}

impl Token {
    fn is_use_news(&self, now: Timestamp) -> bool {
        self.used.is_none_or(|used| now.since(used) >= Duration::from_secs(60 * 60))
    }
}

impl Account {
    /// What is kept of the password.
    #[must_use]
    pub fn password(&self) -> &PasswordHash {
        &self.password
    }

    /// The tokens, by id.
    pub fn tokens(&self) -> impl Iterator<Item = (&str, &Token)> {
        self.tokens.iter().map(|(id, token)| (id.as_str(), token))
    }
}

fn digest(secret: &str) -> String {
    hex::encode(sha256(&[b"valise-agent/token/1", secret.as_bytes()]).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::officers::Role;

    fn at(days: u32) -> Timestamp {
        Timestamp::from_millis(1_000_000_000).plus(DAY * days)
    }

    #[test]
    fn g09_tokens_run_out_and_end_with_the_password_the_account_and_their_revocation() {
        let hash = PasswordHash::of("correct horse battery").unwrap();
        let mut register = Register::default();
        let roles: Roles = [Role::Reader].into_iter().collect();
        register.add("Officer A. Example", roles, hash.clone(), at(0)).unwrap();
        assert!(matches!(
            register.add("Officer A. Example", roles, hash.clone(), at(0)),
            Err(RegisterError::Exists(_))
        ));
        let issue = |register: &mut Register| register.issue("Officer A. Example", "desk", 2, at(0)).unwrap();
        let issued = issue(&mut register);
        let known = |register: &Register, days| register.by_token(&issued.secret, at(days)).is_some();
        assert!(known(&register, 1) && !known(&register, 2));
        assert!(!serde_json::to_string(&register).unwrap().contains(issued.secret.as_str()));
        register.set_disabled("Officer A. Example", true).unwrap();
        assert!(!known(&register, 1), "a disabled officer's token is taken");
        register.set_disabled("Officer A. Example", false).unwrap();
        assert!(register.note_use(&issued.secret, at(1)) && !register.note_use(&issued.secret, at(1)));
        register.revoke(&issued.id).unwrap();
        assert!(!known(&register, 1), "a revoked token is taken");
        let issued = issue(&mut register);
        register.set_password("Officer A. Example", hash).unwrap();
        assert!(register.by_token(&issued.secret, at(1)).is_none(), "a token outlives the password");
        for _ in 0..TOKENS_MAX {
            issue(&mut register);
        }
        let refused = register.issue("Officer A. Example", "one more", 2, at(0));
        assert!(matches!(refused, Err(RegisterError::TooManyTokens(_))));
        assert!(
            register.issue("Officer A. Example", "one more", 2, at(3)).is_ok(),
            "what ran out keeps its place"
        );
    }
}
