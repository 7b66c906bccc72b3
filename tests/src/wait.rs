//! Waiting for a condition, with a deadline. Nothing in a test sleeps for a time that is merely hoped to be enough.

use std::fmt::Debug;
use std::time::Duration;

use thiserror::Error;

/// First pause between two looks; each is longer than the one before, up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(2);
/// Longest pause between two looks.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// What was waited for did not happen.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what} did not happen within {} ms; last seen: {last}", within.as_millis())]
pub struct NotInTime {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub within: Duration,
    /// How things stood at the end.
    pub last: String,
}

/// Looks until `look` gives `Ok`, and returns that; whatever it gives as `Err` is shown if time runs out.
///
/// # Errors
/// [`NotInTime`].
pub async fn until<T, E: Debug>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, NotInTime> {
    let deadline = tokio::time::Instant::now() + within;
    let mut pause = PAUSE_FIRST;
    loop {
        match look().await {
            Ok(seen) => return Ok(seen),
            Err(last) if tokio::time::Instant::now() >= deadline => {
                return Err(NotInTime { what: what.to_owned(), within, last: format!("{last:?}") });
            }
            Err(_) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_comes_true_ends_the_wait() {
        let mut looks = 0;
        let seen = until("the third look", Duration::from_secs(5), async || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err("not yet") }
        });
        assert_eq!(seen.await, Ok(3));
    }

    #[tokio::test]
    async fn a_wait_in_vain_says_what_was_seen_last() {
        let seen = until("rain", Duration::from_millis(10), async || Err::<(), _>("sunshine")).await;
        assert!(seen.unwrap_err().to_string().contains("sunshine"));
    }
}
