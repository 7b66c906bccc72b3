//! Notices that are wrong, each with the mistakes it must give: every file in `tests/vectors/notice` and its entry in
//! `expected.json`, a list of [JSON path, words of the rule].

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use valise_proto::id::Timestamp;
use valise_proto::notice::Notice;

type Expected = BTreeMap<String, Vec<(String, String)>>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/notice")
}

fn expected() -> Expected {
    serde_json::from_slice(&std::fs::read(folder().join("expected.json")).unwrap()).unwrap()
}

fn now() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

#[test]
fn every_vector_gives_exactly_its_mistakes() {
    let policy = "exchange.example".parse().unwrap();
    let mut wrong = Vec::new();
    for (name, expected) in expected() {
        let json = std::fs::read(folder().join(&name)).unwrap();
        let mistakes = Notice::from_json(&json, &policy, now()).err().unwrap_or_default();
        let as_expected = mistakes.len() == expected.len()
            && mistakes
                .iter()
                .zip(&expected)
                .all(|(mistake, (path, words))| mistake.path == *path && mistake.rule.contains(words));
        if !as_expected || expected.is_empty() {
            wrong.push(format!("{name}: expected {expected:#?}, got {mistakes:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_vector_is_in_the_table() {
    let table = expected();
    let files =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for file in files.filter(|file| file != "expected.json") {
        assert!(table.contains_key(&file), "{file} is not in expected.json");
    }
}
