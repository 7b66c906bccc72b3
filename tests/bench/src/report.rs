//! What is printed.

use std::fmt;

use serde::Serialize;

use crate::load::Found;
use crate::primitives::Primitives;

/// The figures of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    body_bytes: u32,
    outstanding: u32,
    envelope_bytes: usize,
    accepted: usize,
    accepted_per_second: f64,
    latency_p50_ms: f64,
    latency_p99_ms: f64,
    latency_max_ms: f64,
    broker_cpu_us: f64,
    load_cpu_us: f64,
    notices_per_fdatasync: f64,
    primitives: Primitives,
    /// fdatasync divided among the notices of a group.
    fdatasync_share_us: f64,
    /// verify + hash + AEAD + share of fdatasync.
    primitives_us: f64,
    /// The broker's CPU per notice divided by that.
    pub(crate) times_primitives: f64,
}

#[allow(clippy::cast_precision_loss, reason = "figures of a bench are far below 2^52")]
impl Report {
    pub(crate) fn new(
        body_bytes: u32,
        outstanding: u32,
        found: &Found,
        notices_per_fdatasync: f64,
        primitives: Primitives,
    ) -> Self {
        let accepted = found.accepted as f64;
        let broker_cpu_us = found.broker_cpu_us as f64 / accepted;
        let fdatasync_share_us = primitives.fdatasync_us / notices_per_fdatasync.max(1.0);
        let primitives_us =
            primitives.verify_us + primitives.hash_us + primitives.aead_us + fdatasync_share_us;
        Self {
            body_bytes,
            outstanding,
            envelope_bytes: found.envelope_bytes,
            accepted: found.accepted,
            accepted_per_second: accepted / (found.wall_us as f64 / 1e6),
            latency_p50_ms: percentile(&found.latencies_us, 50) / 1e3,
            latency_p99_ms: percentile(&found.latencies_us, 99) / 1e3,
            latency_max_ms: percentile(&found.latencies_us, 100) / 1e3,
            broker_cpu_us,
            load_cpu_us: found.load_cpu_us as f64 / accepted,
            notices_per_fdatasync,
            primitives,
            fdatasync_share_us,
            primitives_us,
            times_primitives: broker_cpu_us / primitives_us,
        }
    }
}

/// The value below which `percent` of the sorted `values` lie.
#[allow(clippy::cast_precision_loss, reason = "microseconds of a bench are far below 2^52")]
fn percentile(values: &[u64], percent: usize) -> f64 {
    let last = values.len().saturating_sub(1);
    values.get(last * percent / 100).copied().unwrap_or_default() as f64
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Primitives { verify_us, sign_us, hash_us, aead_us, fdatasync_us } = self.primitives;
        writeln!(
            f,
            "{} notices of {} bytes in envelopes of {}, {} outstanding",
            self.accepted, self.body_bytes, self.envelope_bytes, self.outstanding
        )?;
        writeln!(f, "accepted            {:>10.0} notices/s", self.accepted_per_second)?;
        writeln!(
            f,
            "latency             {:>10.1} ms p50, {:.1} ms p99, {:.1} ms max",
            self.latency_p50_ms, self.latency_p99_ms, self.latency_max_ms
        )?;
        writeln!(f, "broker CPU          {:>10.1} µs per notice", self.broker_cpu_us)?;
        writeln!(f, "load CPU            {:>10.1} µs per notice", self.load_cpu_us)?;
        writeln!(f, "group               {:>10.1} notices per fdatasync", self.notices_per_fdatasync)?;
        writeln!(f, "primitives, each by itself on every core at once:")?;
        writeln!(f, "  verify            {verify_us:>10.1} µs")?;
        writeln!(f, "  hash              {hash_us:>10.1} µs")?;
        writeln!(f, "  AEAD              {aead_us:>10.1} µs")?;
        writeln!(
            f,
            "  fdatasync         {fdatasync_us:>10.1} µs, {:.1} µs per notice of a group",
            self.fdatasync_share_us
        )?;
        writeln!(f, "  together          {:>10.1} µs per notice", self.primitives_us)?;
        writeln!(f, "  (sign a receipt   {sign_us:>10.1} µs, not counted)")?;
        writeln!(
            f,
            "broker CPU is {:.2} times verify + hash + AEAD + share of fdatasync",
            self.times_primitives
        )
    }
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_of_a_hundred_values() {
        let values: Vec<u64> = (1..=101).collect();
        assert!((percentile(&values, 50) - 51.0).abs() < f64::EPSILON);
        assert!((percentile(&values, 99) - 100.0).abs() < f64::EPSILON);
        assert!((percentile(&values, 100) - 101.0).abs() < f64::EPSILON);
        assert!(percentile(&[], 50).abs() < f64::EPSILON);
    }
}
