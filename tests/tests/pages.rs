//! What SECURITY.md says of tests is so.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use walkdir::WalkDir;

const CRATES: [&str; 5] = ["proto", "broker", "agent", "certs", "tests"];

/// The names of all functions that are tests, or could be.
fn functions() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let files = CRATES.iter().flat_map(|folder| WalkDir::new(root.join(folder))).map(Result::unwrap);
    let sources = files.filter(|entry| entry.path().extension().is_some_and(|end| end == "rs"));
    sources.flat_map(|source| named(&fs::read_to_string(source.path()).unwrap())).collect()
}

fn named(source: &str) -> Vec<String> {
    let name = |rest: &str| rest.split('(').next().unwrap_or_default().to_owned();
    source.split("fn ").skip(1).map(name).collect()
}

/// The words between backticks that have the form of a test's name.
fn tests_of(page: &str) -> BTreeSet<&str> {
    let is_name = |word: &&str| {
        word.matches('_').count() > 1
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    page.split('`').skip(1).step_by(2).filter(is_name).collect()
}

#[test]
fn every_test_that_is_named_exists() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../SECURITY.md")).unwrap();
    let (functions, told) = (functions(), tests_of(&page));
    assert!(told.len() > 40, "only {} tests were found in the page", told.len());
    let missing: Vec<_> = told.into_iter().filter(|name| !functions.contains(*name)).collect();
    assert!(missing.is_empty(), "SECURITY.md names tests that do not exist: {missing:?}");
}

#[test]
fn every_promise_has_a_test_that_bears_its_number() {
    let functions = functions();
    for promise in 1..=12 {
        let number = format!("g{promise:02}_");
        assert!(functions.iter().any(|name| name.starts_with(&number)), "no test bears {number}");
    }
}

#[test]
fn names_are_found_where_they_stand() {
    assert_eq!(named("async fn g01_a_b() {}\nfn other(x: u8)"), ["g01_a_b", "other"]);
    assert_eq!(tests_of("| `g01_a_b`, `created_at` and `Upper_a_b` |"), BTreeSet::from(["g01_a_b"]));
}
