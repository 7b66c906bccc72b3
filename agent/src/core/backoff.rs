//! How long to wait before trying again.

use std::time::Duration;

/// Longest wait after the first failure.
const FIRST: Duration = Duration::from_millis(500);
/// Longest wait after any number of failures.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60);
/// Longest first wait of one whom the authority has taken out. A suspension may be a mistake that is mended at once.
const EXCLUDED_FIRST: Duration = Duration::from_secs(10);
/// Longest wait of one whom the authority has taken out: mostly it asks in vain.
pub(super) const EXCLUDED_WAIT_MAX: Duration = Duration::from_secs(10 * 60);
/// Doublings after which the wait no longer grows.
const DOUBLINGS_MAX: u32 = 10;

/// Spreads retries, so that agencies that lost the same broker do not all come back in the same moment.
///
/// This is splitmix64: the numbers need only differ between nodes, not be hard to guess.
#[derive(Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A wait after the nth failure in a row, counted from 1: between half of the longest and the longest.
    pub(super) fn wait(&mut self, failures: u32) -> Duration {
        self.grown(FIRST, failures, WAIT_MAX)
    }

    /// The same for one whom the authority has taken out.
    pub(super) fn wait_excluded(&mut self, failures: u32) -> Duration {
        self.grown(EXCLUDED_FIRST, failures, EXCLUDED_WAIT_MAX)
    }

    fn grown(&mut self, first: Duration, failures: u32, wait_max: Duration) -> Duration {
        let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
        self.spread(first.saturating_mul(1 << doublings).min(wait_max))
    }

    fn spread(&mut self, longest: Duration) -> Duration {
        let half = longest / 2;
        let span = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        half + Duration::from_millis(self.next() % span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_minute_and_no_further() {
        let mut jitter = Jitter::new(7);
        for failures in 1..40 {
            let wait = jitter.wait(failures);
            assert!(wait >= FIRST / 2 && wait <= WAIT_MAX, "{failures} failures: {wait:?}");
        }
        assert!(jitter.wait(1) <= FIRST);
        assert!(jitter.wait(39) >= WAIT_MAX / 2);
    }
}
