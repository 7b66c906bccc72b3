//! Runs the real cores of a broker and of several agencies in a simulated world, every fault of which follows from one
//! seed.
//!
//! Claimed: what a seed shows it shows each time, and after every step the promises G1, G3, G4, G5, G8, G10 and G11 held
//! ([`model`] and [`watch`] say what that means). It holds because nothing here reads a clock, a socket, a file or the operating
//! system's randomness (the real store beside the simulated disk, where asked for, is only compared with), and because
//! the cores do not either. What the world is made of:
//!
//! * [`schedule`]: virtual time; the only thing that moves the world;
//! * [`network`]: connections of reliable streams over packets that are lost, late, doubled; cuts, in one direction too;
//! * [`disk`], [`agent_disk`]: storage that loses what it did not confirm, fails, fills up;
//! * [`broker`], [`intake`]: the broker's shell around `valise_broker::core`;
//! * [`agent`], [`link`], [`desk`], [`compose`]: an agency's shell around `valise_agent::core`, with real cryptography;
//! * [`exchange`], [`trouble`]: administrators, and what goes wrong;
//! * [`plan`]: how much of all that a seed brings, and the mutations that show that the simulator can fail.

mod agent;
mod agent_disk;
mod broker;
mod compose;
mod desk;
mod dice;
mod disk;
mod exchange;
mod intake;
mod link;
mod model;
mod network;
mod plan;
mod schedule;
mod stage;
mod trouble;
mod twin;
mod watch;
mod world;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

pub use plan::Mutation;
use thiserror::Error;

/// What is to be run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What is to be wronged.
    pub mutation: Option<Mutation>,
    /// Whether the broker's real store runs beside the simulated disk and is compared with it.
    pub real_store: bool,
}

/// A promise that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{promise} does not hold: {what}")]
pub struct Violation {
    /// Which promise; `simulator` where the simulator itself is at a loss.
    pub promise: &'static str,
    /// In what way.
    pub what: String,
}

impl Violation {
    pub(crate) fn new(promise: &'static str, what: impl Into<String>) -> Self {
        Self { promise, what: what.into() }
    }

    pub(crate) fn surprise(what: impl std::fmt::Display) -> Self {
        Self::new("simulator", what.to_string())
    }

    pub(crate) fn unless(
        holds: bool,
        promise: &'static str,
        what: impl FnOnce() -> String,
    ) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::new(promise, what())) }
    }
}

/// A world in which a promise did not hold, and how to see it again.
#[derive(Clone, Debug, Error)]
#[error(
    "seed {seed}, step {step}, {at_ms} ms: {violation}\nsee it again: cargo run --release -p valise-sim -- --seed {seed} --trace{}",
    replay(*mutation)
)]
pub struct Failure {
    /// Whose world.
    pub seed: u64,
    /// What was wronged in it.
    pub mutation: Option<Mutation>,
    /// After how many events.
    pub step: usize,
    /// At which virtual time, in milliseconds.
    pub at_ms: u64,
    /// What did not hold.
    pub violation: Violation,
}

fn replay(mutation: Option<Mutation>) -> String {
    let named = mutation.and_then(|mutation| clap::ValueEnum::to_possible_value(&mutation));
    named.map_or_else(String::new, |value| format!(" --mutation {}", value.get_name()))
}

/// What happened in a world, or in several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events.
    pub steps: usize,
    /// Virtual time.
    pub virtual_ms: u64,
    /// Envelopes sealed.
    pub composed: usize,
    /// Envelopes accepted.
    pub accepted: usize,
    /// Submissions refused.
    pub refused: usize,
    /// Notices refused by a full outbox.
    pub not_queued: usize,
    /// Deliveries.
    pub handed_out: usize,
    /// Notices shown to recipients.
    pub shown: usize,
    /// Deliveries set aside.
    pub set_aside: usize,
    /// Envelopes that expired at the broker.
    pub expired: usize,
    /// Crashes of the broker.
    pub broker_crashes: usize,
    /// Those in which the disk lost what it had not confirmed.
    pub lossy_crashes: usize,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.steps += other.steps;
        self.virtual_ms += other.virtual_ms;
        self.composed += other.composed;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.not_queued += other.not_queued;
        self.handed_out += other.handed_out;
        self.shown += other.shown;
        self.set_aside += other.set_aside;
        self.expired += other.expired;
        self.broker_crashes += other.broker_crashes;
        self.lossy_crashes += other.lossy_crashes;
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} steps, {} s of virtual time; {} sealed, {} accepted, {} refused, {} not queued, {} handed out, {} shown, {} set aside, {} \
             expired; {} crashes of the broker, {} of which lost something",
            self.steps,
            self.virtual_ms / 1000,
            self.composed,
            self.accepted,
            self.refused,
            self.not_queued,
            self.handed_out,
            self.shown,
            self.set_aside,
            self.expired,
            self.broker_crashes,
            self.lossy_crashes
        )
    }
}

/// Runs the world of one seed.
///
/// # Errors
/// The promise that did not hold, and how to see it again.
pub fn run(seed: u64, options: &Options) -> Result<Summary, Box<Failure>> {
    world::run(seed, options, false).0
}

/// Runs the world of one seed, and tells what happened in it, line by line.
pub fn trace(seed: u64, options: &Options) -> (Result<Summary, Box<Failure>>, Vec<String>) {
    world::run(seed, options, true)
}

/// Runs the worlds of many seeds on every core of the machine. Which of several failures is given does not depend on
/// which was found first: it is that of the lowest seed.
///
/// # Errors
/// As [`run`].
pub fn run_all(seeds: Range<u64>, options: &Options) -> Result<Summary, Box<Failure>> {
    let (next, stop_at) = (AtomicU64::new(seeds.start), AtomicU64::new(seeds.end));
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let work = || {
        let (mut total, mut failed) = (Summary::default(), None::<Box<Failure>>);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= stop_at.load(Ordering::Relaxed) {
                return (total, failed);
            }
            match run(seed, options) {
                Ok(summary) => total += summary,
                Err(failure) => {
                    stop_at.fetch_min(seed, Ordering::Relaxed);
                    failed = Some(failure);
                }
            }
        }
    };
    let results = std::thread::scope(|scope| {
        let started: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        started.into_iter().filter_map(|worker| worker.join().ok()).collect::<Vec<_>>()
    });
    let mut total = Summary::default();
    let mut failures = Vec::new();
    for (summary, failed) in results {
        total += summary;
        failures.extend(failed);
    }
    failures.into_iter().min_by_key(|failure| failure.seed).map_or(Ok(total), Err)
}
