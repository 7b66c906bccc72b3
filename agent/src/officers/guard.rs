//! Telling who asks: tokens and passwords checked, guessing slowed down.
//!
//! Claimed: an unknown name costs as much as a wrong password; guessing one officer's password ever longer waits;
//! and checks take no more than [`CHECKS_AT_ONCE`] times the memory of one, however many ask. Failed attempts are
//! journalled, but at most [`JOURNALLED_A_MINUTE`] a minute, the rest by their number: whoever can reach the node must not
//! be able to fill its disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Semaphore;
use valise_proto::id::Timestamp;
use zeroize::Zeroizing;

use super::Roles;
use super::password;
use super::register::Register;

/// Passwords that are checked at the same time.
pub const CHECKS_AT_ONCE: usize = 2;
/// Callers that may wait for a check.
const WAITING_MAX: usize = 32;
/// Wrong passwords in a row before the next has to wait.
const FREE_FAILURES: u32 = 4;
/// Longest wait after a wrong password.
const WAIT_MAX: Duration = Duration::from_secs(15 * 60);
/// Names whose failures are remembered.
const NAMES_MAX: usize = 1024;
/// Failed attempts that are journalled one by one.
pub const JOURNALLED_A_MINUTE: u32 = 20;

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotKnown {
    /// Wrong token.
    #[error(
        "the token is not one of this node's, was revoked, or has run out: valise-agent token issue makes another"
    )]
    Token,
    /// Wrong name or password.
    #[error("name or password are wrong, or the account is disabled")]
    Password,
    /// Too many wrong passwords.
    #[error("too many wrong passwords for this name: try again in {} s", .0.as_secs().max(1))]
    Wait(Duration),
    /// Too many callers.
    #[error("too many callers wait for their password to be checked: try again in a moment, or use a token")]
    Busy,
}

/// Whom a credential is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The officer.
    pub officer: String,
    /// What the officer may do.
    pub roles: Roles,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    in_a_row: u32,
    last: Timestamp,
}

#[derive(Debug, Default)]
struct Journalled {
    minute: u64,
    count: u32,
    left_out: u32,
}

/// The accounts in force, and what guards them.
#[derive(Debug)]
pub struct Guard {
    register: RwLock<Option<Arc<Register>>>,
    checks: Semaphore,
    waiting: Semaphore,
    failures: Mutex<BTreeMap<String, Failures>>,
    journalled: Mutex<Journalled>,
    /// Held while accounts are changed: the change is of what is then in force.
    changing: tokio::sync::Mutex<()>,
    /// Held while it is decided upon a draft.
    deciding: tokio::sync::Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Guard {
    /// By this register; none says that there never was an account.
    #[must_use]
    pub fn new(register: Option<Register>) -> Self {
        Self {
            register: RwLock::new(register.map(Arc::new)),
            checks: Semaphore::new(CHECKS_AT_ONCE),
            waiting: Semaphore::new(WAITING_MAX),
            failures: Mutex::default(),
            journalled: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            deciding: tokio::sync::Mutex::default(),
        }
    }

    /// The accounts; none says that there never was one, so that the socket is open to whoever can reach it.
    #[must_use]
    pub fn register(&self) -> Option<Arc<Register>> {
        self.register.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts `register` in force; it is on stable storage.
    pub fn replace(&self, register: Register) {
        *self.register.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(register));
    }

    /// To be held while accounts are changed.
    pub async fn changing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// To be held while it is decided upon a draft that waits for a second officer.
    pub async fn deciding(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.deciding.lock().await
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// [`NotKnown::Token`].
    pub fn by_token(&self, secret: &str, now: Timestamp) -> Result<Known, NotKnown> {
        let register = self.register().ok_or(NotKnown::Token)?;
        let (officer, account) = register.by_token(secret, now).ok_or(NotKnown::Token)?;
        Ok(Known { officer: officer.to_owned(), roles: account.roles })
    }

    /// Whether name and password belong together.
    ///
    /// # Errors
    /// [`NotKnown`].
    pub async fn by_password(
        &self,
        name: &str,
        given: Zeroizing<String>,
        now: Timestamp,
    ) -> Result<Known, NotKnown> {
        if let Some(wait) = self.wait(name, now) {
            return Err(NotKnown::Wait(wait));
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| NotKnown::Busy)?;
        let _check = self.checks.acquire().await.map_err(|_| NotKnown::Busy)?;
        let account = self.register().and_then(|register| register.active(name).cloned());
        let checked = tokio::task::spawn_blocking(move || match account {
            Some(account) => account.password().matches(&given).then_some(account.roles),
            None => {
                password::in_vain(&given);
                None
            }
        });
        match checked.await {
            Ok(Some(roles)) => {
                lock(&self.failures).remove(name);
                Ok(Known { officer: name.to_owned(), roles })
            }
            Ok(None) | Err(_) => {
                self.note_failure(name, now);
                Err(NotKnown::Password)
            }
        }
    }

    /// How long the next password for `name` has to wait. Unknown names wait as known ones do.
    fn wait(&self, name: &str, now: Timestamp) -> Option<Duration> {
        let failures = *lock(&self.failures).get(name)?;
        let doublings = failures.in_a_row.checked_sub(FREE_FAILURES)?.min(16);
        let until = failures.last.plus(Duration::from_secs(1_u64 << doublings).min(WAIT_MAX));
        // A clock that was set back must not keep anybody out for longer.
        (until > now).then(|| until.since(now).min(WAIT_MAX))
    }

    fn note_failure(&self, name: &str, now: Timestamp) {
        let mut failures = lock(&self.failures);
        if failures.len() >= NAMES_MAX && !failures.contains_key(name) {
            let oldest =
                failures.iter().min_by_key(|(_, failures)| failures.last).map(|(name, _)| name.clone());
            oldest.map(|oldest| failures.remove(&oldest));
        }
        let entry = failures.entry(name.to_owned()).or_insert(Failures { in_a_row: 0, last: now });
        *entry = Failures { in_a_row: entry.in_a_row.saturating_add(1), last: now };
    }

    /// Whether a failed attempt is journalled by itself, and how many were not since the last that was.
    pub fn is_journalled(&self, now: Timestamp) -> Option<u32> {
        let mut journalled = lock(&self.journalled);
        let minute = now.seconds() / 60;
        if journalled.minute != minute {
            journalled.minute = minute;
            journalled.count = 0;
        }
        if journalled.count >= JOURNALLED_A_MINUTE {
            journalled.left_out = journalled.left_out.saturating_add(1);
            return None;
        }
        journalled.count = journalled.count.saturating_add(1);
        Some(std::mem::take(&mut journalled.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::officers::Role;
    use crate::officers::password::PasswordHash;

    #[tokio::test]
    async fn g09_guessing_waits_ever_longer_and_an_unknown_name_waits_as_well() {
        let start = Timestamp::from_millis(1_000_000_000);
        let mut register = Register::default();
        let hash = PasswordHash::of("correct horse battery").unwrap();
        register.add("Officer A. Example", [Role::Reader].into_iter().collect(), hash, start).unwrap();
        let guard = Guard::new(Some(register));
        for name in ["Officer A. Example", "Nobody"] {
            for _ in 0..FREE_FAILURES {
                let refused = guard.by_password(name, "wrong".to_owned().into(), start).await;
                assert_eq!(refused, Err(NotKnown::Password), "{name}");
            }
            let refused = guard.by_password(name, "correct horse battery".to_owned().into(), start).await;
            assert!(matches!(refused, Err(NotKnown::Wait(_))), "{name}: {refused:?}");
        }
        let later = start.plus(Duration::from_secs(2));
        let known = guard.by_password("Officer A. Example", "correct horse battery".to_owned().into(), later);
        assert_eq!(known.await.map(|known| known.officer), Ok("Officer A. Example".to_owned()));
        assert_eq!(guard.wait("Officer A. Example", later), None, "the failures are not forgotten");
    }

    #[test]
    fn g09_a_flood_of_failures_does_not_fill_the_journal() {
        let guard = Guard::new(None);
        let now = Timestamp::from_millis(60_000);
        let journalled = (0..100).filter(|_| guard.is_journalled(now).is_some()).count();
        assert_eq!(u32::try_from(journalled), Ok(JOURNALLED_A_MINUTE));
        assert_eq!(guard.is_journalled(Timestamp::from_millis(120_000)), Some(80));
    }
}
