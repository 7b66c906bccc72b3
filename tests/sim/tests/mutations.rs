//! That the simulator can fail: each test wrongs one thing, in the simulator's own shell or store, and expects the broken
//! promise to be noticed within the worlds that every run of the tests goes through. A world that failed fails again in
//! the same step.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use valise_sim::{Mutation, Options, run, run_all};

/// As many worlds as `worlds.rs` goes through.
const SEEDS: u64 = 3_000;

fn is_noticed(mutation: Mutation, promises: &[&str]) {
    let options = Options { mutation: Some(mutation), ..Options::default() };
    let failure = match run_all(0..SEEDS, &options) {
        Err(failure) => failure,
        Ok(summary) => panic!("{mutation:?} was not noticed: {summary}"),
    };
    println!("{failure}");
    assert!(promises.contains(&failure.violation.promise), "{failure}");
    assert!(
        failure.to_string().contains(&format!("--seed {} --trace --mutation", failure.seed)),
        "{failure}"
    );
    let again = run(failure.seed, &options).unwrap_err();
    assert_eq!((again.step, again.at_ms), (failure.step, failure.at_ms), "it does not fail alike");
    assert_eq!(again.violation, failure.violation);
    run(failure.seed, &Options::default()).unwrap();
}

#[test]
fn g04_accepted_before_the_disk_has_confirmed_is_noticed() {
    is_noticed(Mutation::AcknowledgeBeforeSync, &["G4"]);
}

#[test]
fn g04_a_batch_that_a_crash_leaves_in_part_is_noticed() {
    is_noticed(Mutation::TornBatch, &["G4", "G11"]);
}

#[test]
fn g03_no_access_decision_at_submission_is_noticed() {
    is_noticed(Mutation::SkipSubmissionDecision, &["G3"]);
}

#[test]
fn g03_no_access_decision_at_delivery_is_noticed() {
    is_noticed(Mutation::SkipDeliveryDecision, &["G3"]);
}

#[test]
fn g05_a_broker_that_forgets_what_it_accepted_is_noticed() {
    is_noticed(Mutation::ForgetAccepted, &["G5"]);
}

#[test]
fn g05_an_agency_that_forgets_what_it_took_in_is_noticed() {
    is_noticed(Mutation::ForgetSeen, &["G5"]);
}

#[test]
fn g04_an_agency_that_speaks_before_it_persists_is_noticed() {
    is_noticed(Mutation::AcknowledgeBeforePersist, &["G4"]);
}

#[test]
fn g01_an_agency_that_takes_any_signature_is_noticed() {
    is_noticed(Mutation::SkipSignature, &["G1"]);
}

#[test]
fn g11_a_broker_that_keeps_ciphertexts_is_noticed() {
    is_noticed(Mutation::KeepBodies, &["G11"]);
}

#[test]
fn g10_a_broker_that_ignores_the_window_is_noticed() {
    is_noticed(Mutation::IgnoreWindow, &["G10"]);
}

#[test]
fn g08_precedences_that_share_a_lane_are_noticed() {
    is_noticed(Mutation::OneLane, &["G8"]);
}
