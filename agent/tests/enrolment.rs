//! Enrolment as people do it: the command line, a bundle made by hand, and everything that can be wrong with it.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

#[path = "../src/fixture.rs"]
mod fixture;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fixture::Exchange;
use valise_proto::enrolment::{EnrolmentBundle, SignedEnrolmentRequest};
use valise_proto::label::Classification;

fn agent(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_valise-agent"));
    command.env_remove("VALISE_AGENT_DATA").args(args).stdin(std::process::Stdio::null());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn init(data: &Path, agency: &str) -> Output {
    agent(&[
        "init",
        "--data",
        data.to_str().unwrap(),
        "--trust-domain",
        "exchange.example",
        "--agency",
        agency,
    ])
}

fn request(data: &Path) -> SignedEnrolmentRequest {
    SignedEnrolmentRequest::from_pem(&std::fs::read_to_string(data.join("enrolment-request.pem")).unwrap())
        .unwrap()
}

struct Case {
    _temp: tempfile::TempDir,
    data: PathBuf,
    exchange: Exchange,
}

impl Case {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let data = temp.path().join("node");
        let made = init(&data, "fra/ncb");
        assert!(made.status.success(), "{}", text(&made.stderr));
        Self { _temp: temp, data, exchange: Exchange::new(&[("ken/ncb", Classification::Secret)]) }
    }

    fn join(&self, bundle: &str, extra: &[&str]) -> Output {
        let path = self.data.with_extension("bundle.pem");
        std::fs::write(&path, bundle).unwrap();
        let mut args = vec!["join", "--data", self.data.to_str().unwrap(), path.to_str().unwrap()];
        args.extend_from_slice(extra);
        agent(&args)
    }

    /// A refusal must leave the folder as one that has not joined.
    fn refused(&self, bundle: &str, sentence: &str) {
        let output = self.join(bundle, &["--yes-i-compared-the-fingerprint"]);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(sentence), "expected `{sentence}` in: {told}");
        for name in ["tls.crt", "trust.pem", "directory.valise", "crls.pem"] {
            assert!(!self.data.join(name).exists(), "{name} was written by a refused join");
        }
    }
}

#[test]
fn a_second_init_destroys_nothing_and_says_so() {
    let case = Case::new();
    let before = std::fs::read(case.data.join("keys/signing.key")).unwrap();
    let again = init(&case.data, "fra/ncb");
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("already holds this agency's keys"), "{}", text(&again.stderr));
    assert_eq!(std::fs::read(case.data.join("keys/signing.key")).unwrap(), before);
}

#[test]
fn an_init_that_was_cut_short_goes_on_with_the_keys_it_made() {
    let case = Case::new();
    let before = request(&case.data);
    std::fs::remove_file(case.data.join("enrolment-request.pem")).unwrap();
    assert!(init(&case.data, "fra/ncb").status.success());
    assert_eq!(request(&case.data).request().signing_key, before.request().signing_key);
}

#[test]
fn the_fingerprint_must_be_compared() {
    let mut case = Case::new();
    let bundle = case.exchange.enrol(&request(&case.data), Classification::Secret);
    let (pem, fingerprint) = (bundle.to_pem(), bundle.fingerprint());
    let unasked = case.join(&pem, &[]);
    assert_eq!(unasked.status.code(), Some(2));
    assert!(text(&unasked.stderr).contains(&fingerprint), "{}", text(&unasked.stderr));
    let other = case.join(&pem, &["--fingerprint", "0000-0000-0000-0000-0000-0000-0000-0000"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(!case.data.join("tls.crt").exists());
    let spaced = fingerprint.replace('-', " ").to_lowercase();
    let joined = case.join(&pem, &["--fingerprint", &spaced, "--json"]);
    assert!(joined.status.success(), "{}{}", text(&joined.stdout), text(&joined.stderr));
    let json: serde_json::Value = serde_json::from_slice(&joined.stdout).unwrap();
    assert_eq!(json["identity"], "spiffe://exchange.example/agency/fra/ncb");
}

#[test]
fn g12_a_bundle_that_is_not_ours_is_refused() {
    let mut case = Case::new();
    let ours = request(&case.data);
    let temp = tempfile::tempdir().unwrap();
    let other = temp.path().join("other");
    assert!(init(&other, "fra/ncb").status.success());
    let theirs = case.exchange.enrol(&request(&other), Classification::Secret);
    case.refused(&theirs.to_pem(), "answers another enrolment request");
    case.refused(&ours.to_pem(), "VALISE ENROLMENT BUNDLE");
    case.refused("not PEM", "VALISE ENROLMENT BUNDLE");
    // The directory lists the other folder's keys for this agency.
    case.refused(&case.exchange.bundle(&ours).to_pem(), "does not list fra/ncb");
    let mut old = Exchange::new(&[]);
    old.content.issued_at = valise_proto::id::Timestamp::from_millis(1_000);
    old.content.expires_at = valise_proto::id::Timestamp::from_millis(2_000);
    case.refused(&old.enrol(&ours, Classification::Secret).to_pem(), "expired");
}

#[test]
fn g12_a_directory_older_than_the_one_held_is_refused() {
    let mut case = Case::new();
    case.exchange.content.version = 5;
    let newer = case.exchange.enrol(&request(&case.data), Classification::Secret).to_pem();
    assert!(case.join(&newer, &["--yes-i-compared-the-fingerprint"]).status.success());
    case.exchange.content.version = 4;
    let older = case.exchange.bundle(&request(&case.data)).to_pem();
    let output = case.join(&older, &["--yes-i-compared-the-fingerprint"]);
    assert!(text(&output.stderr).contains("older than version 5"), "{}", text(&output.stderr));
}

const COMPARED: &[&str] = &["--yes-i-compared-the-fingerprint"];

#[test]
fn g12_a_bundle_whose_certificate_no_broker_would_accept_is_refused() {
    let mut case = Case::new();
    let ours = request(&case.data);
    case.exchange.enrol(&ours, Classification::Secret);
    let shaped = |shape: fn(&mut EnrolmentBundle)| case.exchange.bundle_shaped(&ours, shape).to_pem();
    let anchors =
        |bundle: &mut EnrolmentBundle| bundle.trust.anchors = Exchange::named("Other").trust().anchors;
    case.refused(&shaped(anchors), "an authority this node does not trust");
    let no_lists = |bundle: &mut EnrolmentBundle| bundle.crls.clear();
    case.refused(&shaped(no_lists), "no revocation list covers");
    let domain = |bundle: &mut EnrolmentBundle| bundle.trust.trust_domain = "other.example".parse().unwrap();
    case.refused(&shaped(domain), "this node belongs to other.example");
    let garbage = |bundle: &mut EnrolmentBundle| bundle.crls.push("not a list".into());
    case.refused(&shaped(garbage), "revocation list 1 cannot be read");
}

#[test]
fn g12_a_renewal_brings_no_other_roots_of_trust() {
    let mut case = Case::new();
    let ours = request(&case.data);
    let bundle = case.exchange.enrol(&ours, Classification::Secret).to_pem();
    let joined = case.join(&bundle, COMPARED);
    assert!(joined.status.success(), "{}", text(&joined.stderr));
    let names = ["tls.crt", "trust.pem", "directory.valise", "crls.pem"];
    let files = || names.map(|name| std::fs::read(case.data.join(name)).unwrap());
    let before = files();
    // An authority of its own; then the same roots, and one more root key.
    let mut other = Exchange::new(&[]);
    other.content.version = 9;
    let one_more = |bundle: &mut EnrolmentBundle| {
        bundle.trust.root_keys.extend(Exchange::new(&[]).trust().root_keys);
    };
    for bundle in [other.enrol(&ours, Classification::Secret), case.exchange.bundle_shaped(&ours, one_more)] {
        let output = case.join(&bundle.to_pem(), COMPARED);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("other roots of trust") && told.contains("valise-agent init --data"), "{told}");
        assert!(files() == before, "a refused renewal changed a file");
    }
    case.exchange.content.version = 2;
    let renewed = case.join(&case.exchange.bundle(&ours).to_pem(), COMPARED);
    assert!(renewed.status.success(), "{}", text(&renewed.stderr));
    assert!(files() != before, "the renewal was not installed");
}

#[test]
fn a_data_folder_that_others_may_write_to_is_refused_with_the_command_that_mends_it() {
    let case = Case::new();
    std::fs::set_permissions(&case.data, std::fs::Permissions::from_mode(0o770)).unwrap();
    let data = case.data.to_str().unwrap();
    let output = agent(&["run", "--data", data]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains(&format!("chmod go-w {data}")), "{told}");
    // Nor are keys made in such a folder.
    let shared = case.data.with_extension("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o777)).unwrap();
    let output = init(&shared, "fra/ncb");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("chmod go-w"), "{}", text(&output.stderr));
    assert!(!shared.join("keys").exists());
}

#[test]
fn commands_that_need_the_node_say_how_to_start_it() {
    let case = Case::new();
    let data = case.data.to_str().unwrap();
    for command in
        [&["inbox"][..], &["status"], &["directory"], &["show", "0190b6f0-0000-7000-8000-000000000000"]]
    {
        let mut args = command.to_vec();
        args.extend_from_slice(&["--data", data]);
        let output = agent(&args);
        assert_eq!(output.status.code(), Some(3), "{command:?}");
        let told = text(&output.stderr);
        assert!(told.contains(&format!("valise-agent run --data {data}")), "{told}");
    }
    let output = agent(&["status", "--data", data, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["error"]["code"], "NOT_RUNNING");
}

#[test]
fn a_node_that_has_not_joined_says_what_to_do() {
    let case = Case::new();
    let output = agent(&["run", "--data", case.data.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("valise-agent join"), "{}", text(&output.stderr));
    let nowhere = agent(&["run", "--data", case.data.with_extension("nowhere").to_str().unwrap()]);
    assert!(text(&nowhere.stderr).contains("valise-agent init"), "{}", text(&nowhere.stderr));
    let unnamed = agent(&["status"]);
    assert_eq!(unnamed.status.code(), Some(2));
    assert!(text(&unnamed.stderr).contains("VALISE_AGENT_DATA"), "{}", text(&unnamed.stderr));
}

#[test]
fn a_configuration_with_mistakes_tells_all_of_them() {
    let case = Case::new();
    std::fs::write(case.data.join("agent.toml"), "log = 3\nlifetime_days = 0\nshade = 1\n").unwrap();
    let output = agent(&["check-config", "--data", case.data.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    for key in ["log", "lifetime_days", "shade"] {
        assert!(told.contains(&format!("`{key}`")), "{key} is not told: {told}");
    }
}

#[test]
fn what_is_wrong_with_a_command_or_its_input_ends_with_2_and_names_it() {
    let case = Case::new();
    let data = case.data.to_str().unwrap();
    let missing = case.data.join("missing");
    let missing = missing.to_str().unwrap();
    for (args, says) in [
        (vec!["run", "--config", missing], "missing"),
        (vec!["check-config", "--config", missing], "missing"),
        (vec!["join", missing, "--data", data, "--yes-i-compared-the-fingerprint"], "missing"),
        (vec!["install", missing, "--data", data], "missing"),
        (vec!["preview", missing, "--data", data], "missing"),
        (vec!["inbox", "--kind", "RUMOUR", "--data", data], "RUMOUR"),
        (vec!["inbox", "--reason", "a case", "--data", data], "--search"),
    ] {
        let output = agent(&args);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {told}");
        assert!(told.contains(says), "{args:?}: {told}");
    }
    // A configuration with a bad endpoint, whatever the command.
    std::fs::write(case.data.join("agent.toml"), "[brokers]\nb1 = [\"nowhere\"]\n").unwrap();
    for command in ["status", "keys", "events", "run"] {
        let output = agent(&[command, "--data", data]);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command}: {told}");
        assert!(told.contains("nowhere"), "{command}: {told}");
    }
}
