//! The clock and the randomness of the shell. The core is handed both.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use getrandom::SysRng;
use rand_core::{Rng, UnwrapErr};
use valise_proto::id::{Derivation, NoticeId, Timestamp};

/// What tells the time. Tests hand in their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        })
    }

    /// A clock that answers with `now`.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// The operating system's randomness. Without it nothing can be sealed, so its failure stops the process.
#[must_use]
pub fn randomness() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// A handle that nothing follows from.
#[must_use]
pub fn new_handle() -> Derivation {
    let mut random = [0; Derivation::LEN];
    randomness().fill_bytes(&mut random);
    Derivation::new(random)
}

/// A new notice id.
#[must_use]
pub fn new_notice_id(now: Timestamp) -> NoticeId {
    let mut random = [0; 10];
    randomness().fill_bytes(&mut random);
    NoticeId::new(now, random)
}
