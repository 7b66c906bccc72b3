//! Notices that are wrong, each with the mistakes it must give: every file in `tests/vectors/notice` and its entry in
//! `expected.json`, a list of [JSON path, words of the rule]. And `tests/vectors/parts`: what the notices of
//! `deploy/examples` are on the wire, and encoded parts that are wrong, each with the error it must give.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use valise_proto::id::Timestamp;
use valise_proto::label::Label;
use valise_proto::notice::{Notice, Portion};

/// Portions in hexadecimal, each with its banner.
type Encoded = BTreeMap<String, Vec<(String, String)>>;
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

fn parts(file: &str) -> Vec<u8> {
    std::fs::read(folder().join("../parts").join(file)).unwrap()
}

#[test]
fn the_examples_are_these_bytes_on_the_wire() {
    let expected: Encoded = serde_json::from_slice(&parts("examples.json")).unwrap();
    let policy = "exchange.example".parse().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples");
    let files = std::fs::read_dir(&examples).unwrap().map(|entry| entry.unwrap().path());
    let encode = |portion: &Portion| (portion.label().to_string(), hex::encode(portion.encode()));
    let made: Encoded = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let notice = Notice::from_json(&std::fs::read(&path).unwrap(), &policy, now()).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, notice.portions().iter().map(encode).collect())
        })
        .collect();
    let shown = serde_json::to_string_pretty(&made).unwrap();
    assert!(made == expected, "tests/vectors/parts/examples.json should be:\n{shown}\n");
    // What a correction or withdrawal takes out of force is filled in by the author's agent, so theirs are not whole yet.
    let whole =
        made.iter().filter(|(name, _)| !name.starts_with("correction") && !name.starts_with("withdrawal"));
    for (banner, bytes) in whole.flat_map(|(_, portions)| portions) {
        let label = Label::parse_banner(policy.clone(), banner).unwrap();
        let portion = Portion::decode(label, &hex::decode(bytes).unwrap()).unwrap();
        assert_eq!(hex::encode(portion.encode()), *bytes);
    }
}

#[test]
fn encoded_parts_that_are_wrong_give_the_error_they_must() {
    let vectors: BTreeMap<String, (String, String)> = serde_json::from_slice(&parts("wrong.json")).unwrap();
    let label = Label::parse_banner("exchange.example".parse().unwrap(), "SECRET").unwrap();
    assert!(vectors.len() > 10);
    let mut wrong = Vec::new();
    for (name, (bytes, words)) in vectors {
        let bytes = hex::decode(bytes).unwrap();
        match Portion::decode(label.clone(), &bytes) {
            Err(error) if error.to_string().contains(&words) => {}
            other => wrong
                .push(format!("{name}: expected {words}, got {:?}", other.map(|portion| portion.holds()))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
