//! A histogram that costs whoever observes something two atomic additions and nothing else: no lock, no memory.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often a whole number fell between bounds that are known beforehand.
#[derive(Debug)]
pub(crate) struct Histogram {
    /// Upper bounds, each included, rising.
    bounds: &'static [u64],
    /// One for each bound, and one for what is above all of them.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// Observes `value` so many times.
    pub(crate) fn observe(&self, value: u64, times: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        // There is one count more than bounds.
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(times, Ordering::Relaxed);
        }
        self.sum.fetch_add(value.saturating_mul(times), Ordering::Relaxed);
    }

    /// What was observed so far, as whole multiples of `unit`.
    #[allow(clippy::cast_precision_loss, reason = "a page for people and graphs needs 15 digits at most")]
    pub(crate) fn observed(&self, unit: f64) -> Observed {
        let upper = self.bounds.iter().map(|bound| *bound as f64 * unit).chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = upper.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        Observed { buckets, count, sum: self.sum.load(Ordering::Relaxed) as f64 * unit }
    }
}

/// What a histogram holds at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Observed {
    /// Upper bound, and how often something fell below it and above the one before.
    pub(crate) buckets: Vec<(f64, u64)>,
    /// How often something was observed.
    pub(crate) count: u64,
    /// All of it together.
    pub(crate) sum: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_on_a_bound_counts_below_it_and_what_is_above_all_of_them_counts_too() {
        let histogram = Histogram::new(&[1, 10]);
        histogram.observe(1, 2);
        histogram.observe(10, 1);
        histogram.observe(11, 3);
        let expected =
            Observed { buckets: vec![(0.5, 2), (5.0, 1), (f64::INFINITY, 3)], count: 6, sum: 22.5 };
        assert_eq!(histogram.observed(0.5), expected);
    }
}
