//! Thousands of worlds, in each of which every promise is looked at after every step.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use valise_sim::{Options, Summary, run, run_all, trace};

/// Worlds of one run of the tests.
const SEEDS: u64 = 3_000;
/// Those in which the broker's real store runs beside the simulated disk.
const REAL_STORE_SEEDS: u64 = 60;

#[test]
fn g01_g03_g04_g05_g08_g10_g11_hold_in_thousands_of_worlds() {
    let summary = run_all(0..SEEDS, &Options::default()).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{SEEDS} seeds: {summary}");
    // Promises that were never put to the test do not count as held.
    let Summary { accepted, refused, shown, set_aside, expired, lossy_crashes, .. } = summary;
    for (what, count) in [
        ("accepted", accepted),
        ("refused", refused),
        ("shown", shown),
        ("set aside", set_aside),
        ("expired", expired),
        ("lost in crashes", lossy_crashes),
    ] {
        assert!(count > 100, "only {count} were {what}: these worlds are too tame");
    }
}

#[test]
fn g04_g11_the_real_store_does_with_every_batch_what_the_simulated_one_does() {
    let options = Options { real_store: true, ..Options::default() };
    let summary = run_all(0..REAL_STORE_SEEDS, &options).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(summary.expired > 0 && summary.broker_crashes > 0, "{summary}");
}

#[test]
fn a_seed_makes_the_same_world_each_time() {
    for seed in 0..20 {
        let first = run(seed, &Options::default()).unwrap();
        assert_eq!(first, run(seed, &Options::default()).unwrap(), "seed {seed}");
        assert_eq!(first, trace(seed, &Options::default()).0.unwrap(), "looking at world {seed} changes it");
    }
}
