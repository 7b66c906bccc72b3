//! What the broker's tasks count as it happens.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use valise_proto::refusal::RefusalCode;

use super::histogram::{Histogram, Observed};

/// Upper bounds of the time an answer takes, in microseconds.
const ACCEPT_MICROS: &[u64] = &[
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];
/// Seconds in a microsecond.
const MICRO: f64 = 1e-6;

/// Counters since the start. Each is one atomic number: counting waits for nobody and takes no memory.
#[derive(Debug)]
pub(crate) struct Counts {
    accepted: AtomicU64,
    resubmitted: AtomicU64,
    delivered: AtomicU64,
    expired: AtomicU64,
    refusals: ByCode,
    partings: ByCode,
    accept: Histogram,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            accepted: AtomicU64::new(0),
            resubmitted: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            refusals: ByCode::default(),
            partings: ByCode::default(),
            accept: Histogram::new(ACCEPT_MICROS),
        }
    }
}

impl Counts {
    /// A notice was accepted, and it is on stable storage.
    pub(crate) fn note_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// A notice was submitted again and given its first receipt.
    pub(crate) fn note_resubmitted(&self) {
        self.resubmitted.fetch_add(1, Ordering::Relaxed);
    }

    /// The answers to so many envelopes were released `after` the first of them had been read.
    pub(crate) fn note_answered(&self, answers: usize, after: Duration) {
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.accept.observe(micros, u64::try_from(answers).unwrap_or(u64::MAX));
    }

    /// An envelope was refused.
    pub(crate) fn note_refused(&self, code: RefusalCode) {
        self.refusals.add(code);
    }

    /// The broker ended a session for this reason.
    pub(crate) fn note_parted(&self, code: RefusalCode) {
        self.partings.add(code);
    }

    /// Recipients hold so many items on stable storage.
    pub(crate) fn note_delivered(&self, items: usize) {
        self.delivered.fetch_add(u64::try_from(items).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The time of so many notices ran out before every recipient had acknowledged them.
    pub(crate) fn note_expired(&self, notices: usize) {
        self.expired.fetch_add(u64::try_from(notices).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How things stand.
    pub(crate) fn counted(&self) -> Counted {
        Counted {
            accepted: self.accepted.load(Ordering::Relaxed),
            resubmitted: self.resubmitted.load(Ordering::Relaxed),
            delivered: self.delivered.load(Ordering::Relaxed),
            expired: self.expired.load(Ordering::Relaxed),
            refusals: self.refusals.counted(),
            partings: self.partings.counted(),
            accept: self.accept.observed(MICRO),
        }
    }
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counted {
    pub(crate) accepted: u64,
    pub(crate) resubmitted: u64,
    pub(crate) delivered: u64,
    pub(crate) expired: u64,
    pub(crate) refusals: Vec<(&'static str, u64)>,
    pub(crate) partings: Vec<(&'static str, u64)>,
    pub(crate) accept: Observed,
}

/// A counter for each refusal code of this version, and one for all others.
#[derive(Debug)]
struct ByCode([AtomicU64; RefusalCode::ALL.len() + 1]);

impl Default for ByCode {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; RefusalCode::ALL.len() + 1])
    }
}

impl ByCode {
    fn add(&self, code: RefusalCode) {
        let known = RefusalCode::ALL.iter().position(|known| *known == code);
        // There is one counter more than codes.
        if let Some(count) = self.0.get(known.unwrap_or(RefusalCode::ALL.len())) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counted(&self) -> Vec<(&'static str, u64)> {
        let names =
            RefusalCode::ALL.iter().map(|code| code.as_str()).chain([RefusalCode::Unknown(0).as_str()]);
        names.zip(self.0.iter().map(|count| count.load(Ordering::Relaxed))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_counter_of_its_own_and_no_code_is_lost() {
        let counts = Counts::default();
        for (code, times) in RefusalCode::ALL.iter().zip(1..) {
            (0..times).for_each(|_| counts.note_refused(*code));
        }
        counts.note_refused(RefusalCode::Unknown(4000));
        counts.note_refused(RefusalCode::Unknown(4001));
        let refusals = counts.counted().refusals;
        for (code, times) in RefusalCode::ALL.iter().zip(1..) {
            assert!(refusals.contains(&(code.as_str(), times)), "{code:?} was not counted: {refusals:?}");
        }
        assert_eq!(refusals.last(), Some(&("UNKNOWN", 2)));
    }
}
