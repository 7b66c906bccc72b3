//! The authority as people use it: the command line, on real files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may stop at the first surprise

mod common;

use std::fs;
use std::process::Command;

use common::tool::Case;
use common::{Node, PASSPHRASE, ca, mode, passphrase, snapshot, text};
use valise_certs::Authority;
use valise_proto::directory::Directory;
use valise_proto::enrolment::{REQUEST_PEM_LABEL, SignedEnrolmentBundle, Trust};

#[test]
fn the_whole_story() {
    let case = Case::new();
    let issued =
        case.done(&["broker", "issue", "b1", "--endpoint", "127.0.0.1:4433", "--out", &case.path("b1")]);
    assert!(issued.contains("tls.key"), "{issued}");
    assert_eq!(mode(&case.temp.path().join("b1/receipt.key")), 0o600);
    let node = Node::new("fra/ncb");
    let request = node.request();
    let (file, out) = (case.write("request.pem", &request.to_pem()), case.path("bundle.pem"));
    let fingerprint = request.fingerprint();
    let profile = case.write(
        "fra.toml",
        "display_name = \"NCB Paris\"\nclearance = \"RESTRICTED\"\ncontact_point = true\n",
    );
    let spoken = fingerprint.to_lowercase().replace('-', "");
    let enrolled = case.done(&[
        "enrol",
        &file,
        "--out",
        &out,
        "--fingerprint",
        &spoken,
        "--profile",
        &profile,
        "--clearance",
        "SECRET",
        "--function",
        "LAW_ENFORCEMENT,BORDER",
        "--affiliation",
        "EUE",
        "--valid-days",
        "7",
    ]);
    let bundle = SignedEnrolmentBundle::from_pem(&fs::read_to_string(&out).unwrap()).unwrap();
    bundle.check_answers(&request, &node.sealing).unwrap();
    assert!(enrolled.contains(&fingerprint) && enrolled.contains(&bundle.fingerprint()), "{enrolled}");
    let again = case.json(&["bundle", "fra/ncb", "--out", &out]);
    assert_eq!(again["agency"], "fra/ncb");

    let published = case.json(&["publish", "--out", &case.path("published")]);
    assert_eq!(published["version"], 3);
    let trust = Trust::from_pem(&fs::read_to_string(case.path("published/trust.pem")).unwrap()).unwrap();
    assert_eq!(published["trust_fingerprint"], trust.fingerprint());
    assert_eq!(case.done(&["fingerprint"]).trim(), trust.fingerprint());
    assert_eq!(case.done(&["fingerprint", &file]).trim(), fingerprint);
    let directory = fs::read(case.path("published/directory.valise")).unwrap();
    assert!(Directory::verify(directory.into(), &trust).unwrap().agency(&node.id).is_some());

    let list = ca(&["list", "--dir", case.dir.to_str().unwrap()]);
    let listed = text(&list.stdout);
    for word in ["broker b1", "127.0.0.1:4433", "fra/ncb", "ACTIVE", "SECRET", "FRA"] {
        assert!(listed.contains(word), "`{word}` is not in: {listed}");
    }
    let shown = case.json(&["show", "fra/ncb"]);
    assert_eq!(shown["display_name"], "NCB Paris");
    assert_eq!(shown["clearance"].as_array().unwrap().last().unwrap(), "SECRET");
    assert_eq!(shown["affiliations"], serde_json::json!(["EUE", "FRA"]));
    assert_eq!(shown["functions"], serde_json::json!(["LAW_ENFORCEMENT", "BORDER"]));
    assert_eq!(shown["request_fingerprint"], fingerprint);
    assert_eq!(case.json(&["list"])["members"].as_array().unwrap().len(), 2);

    assert_eq!(case.json(&["suspend", "fra/ncb"])["standing"]["status"], "SUSPENDED");
    assert!(case.done(&["reinstate", "fra/ncb"]).contains("valise-ca publish"));
    case.done(&["clearance", "set", "fra/ncb", "--clearance", "UNCLASSIFIED,CONFIDENTIAL"]);
    assert_eq!(
        case.json(&["show", "fra/ncb"])["clearance"],
        serde_json::json!(["UNCLASSIFIED", "CONFIDENTIAL"])
    );
    let revoked = case.json(&["revoke", "fra/ncb", "--reason", "key-compromise"]);
    assert_eq!(revoked["standing"]["reason"], "KEY_COMPROMISE");
    assert!(!revoked["certificates"][0]["revoked_at"].is_null());
    assert!(case.done(&["show", "b1"]).contains("spiffe://exchange.example/broker/b1"));
}

#[test]
fn the_fingerprint_of_a_request_must_be_compared() {
    let case = Case::new();
    let request = Node::new("fra/ncb").request();
    let (file, out) = (case.write("request.pem", &request.to_pem()), case.path("bundle.pem"));
    let enrol = ["enrol", file.as_str(), "--out", out.as_str(), "--clearance", "SECRET"];
    case.refused(&enrol, 2, &format!("--fingerprint {}", request.fingerprint()));
    let wrong = [&enrol[..], &["--fingerprint", "0000-0000-0000-0000-0000-0000-0000-0000"]].concat();
    case.refused(&wrong, 1, "it is not the request the agency made");
    assert!(!std::path::Path::new(&out).exists());
    case.done(&[&enrol[..], &["--accept-fingerprint"]].concat());
}

#[test]
fn requests_and_profiles_with_mistakes_change_nothing() {
    let case = Case::new();
    let request = Node::new("fra/ncb").request();
    let out = case.path("bundle.pem");
    let enrol = |file: &str, code: i32, sentence: &str| {
        let args = ["enrol", file, "--out", &out, "--accept-fingerprint", "--clearance", "SECRET"];
        case.refused(&args, code, sentence);
    };
    // Bytes of a good request, with some of them put in place of others.
    let altered = |from: &[u8], to: &[u8]| {
        let mut bytes = request.encode().to_vec();
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to);
        case.write("altered.pem", &pem::encode(&pem::Pem::new(REQUEST_PEM_LABEL, bytes)))
    };
    enrol(&altered(b"fra/ncb", b"ken/ncb"), 1, "was altered after it was signed");
    enrol(&altered(b"fra/ncb", b"zzz/ncb"), 1, "is not a State");
    let mut weak = [0; 32];
    weak[0] = 1;
    enrol(&altered(request.request().signing_key.as_bytes(), &weak), 1, "weak");
    enrol(&case.write("not.pem", "not PEM"), 1, "not a `VALISE ENROLMENT REQUEST` file");
    enrol(&case.path("nowhere.pem"), 1, "cannot read this file");
    let good = case.write("request.pem", &request.to_pem());
    let profile = case.write("bad.toml", "clearance = \"COSMIC\"\ncolour = 1\nfunctions = [\"POLICE\"]\n");
    let args = ["enrol", &good, "--out", &out, "--accept-fingerprint", "--profile", &profile];
    case.refused(&args, 2, "the profile has 3 mistakes");
    case.refused(&["enrol", &good, "--out", &out, "--accept-fingerprint"], 2, "`clearance` is missing");
    let nowhere = case.path("nowhere/bundle.pem");
    let args = ["enrol", &good, "--out", &nowhere, "--accept-fingerprint", "--clearance", "SECRET"];
    case.refused(&args, 1, "cannot write into this folder");
    case.refused(&["show", "zzz/ncb"], 2, "is not a State");
    case.refused(&["show", "ken/ncb"], 1, "ken/ncb is not a member");
    case.refused(&["publish", "--out", &out, "--valid-days", "0"], 2, "1..=366");
}

#[test]
fn a_folder_is_founded_once_used_by_one_and_opened_with_its_passphrase() {
    let case = Case::new();
    let dir = case.dir.to_str().unwrap();
    let before = snapshot(&case.dir);
    let again = case.init(&case.dir);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("holds an authority already"), "{}", text(&again.stderr));
    let open = Authority::open(&case.dir, &passphrase()).unwrap();
    let out = case.path("published");
    case.refused(&["publish", "--out", &out], 1, "is in use by another valise-ca");
    drop(open);
    let publish = |file: &str, code: i32, sentence: &str| {
        let output = ca(&["publish", "--out", &out, "--dir", dir, "--passphrase-file", file]);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(sentence), "expected `{sentence}` in: {told}");
        assert!(!told.contains("another passphrase"), "the passphrase is shown: {told}");
    };
    publish(&case.write("wrong", "another passphrase"), 1, "the passphrase does not open");
    publish(&case.write("short", "short"), 1, "at least 12");
    publish(&case.write("empty", ""), 1, "is empty");
    publish("/dev/null/nothing", 1, "cannot read this file");
    let open_to_all = case.write("open", PASSPHRASE);
    fs::set_permissions(&open_to_all, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    publish(&open_to_all, 1, "chmod 600");
    let unasked = ca(&["publish", "--out", &out, "--dir", dir]);
    assert_eq!(unasked.status.code(), Some(2));
    assert!(text(&unasked.stderr).contains("--passphrase-file"), "{}", text(&unasked.stderr));
    assert_eq!(snapshot(&case.dir), before);
    let nowhere = ca(&["list", "--dir", &case.path("nowhere"), "--json"]);
    assert_eq!(nowhere.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&nowhere.stdout).unwrap();
    assert!(told["error"]["message"].as_str().unwrap().contains("valise-ca init"), "{told}");
    let unnamed = ca(&["list"]);
    assert_eq!(unnamed.status.code(), Some(2));
    assert!(text(&unnamed.stderr).contains("VALISE_CA_DIR"), "{}", text(&unnamed.stderr));
}

#[test]
fn a_kit_is_not_written_over_another_unless_that_is_wanted() {
    let case = Case::new();
    let out = case.path("b1");
    let issue = ["broker", "issue", "b1", "--endpoint", "127.0.0.1:4433", "--out", &out];
    case.done(&issue);
    let before = snapshot(out.as_ref());
    case.refused(&issue, 1, "--replace");
    assert_eq!(snapshot(out.as_ref()), before);
    case.done(&[&issue[..], &["--replace"]].concat());
    assert_ne!(snapshot(out.as_ref()), before);
    case.refused(
        &["broker", "issue", "b2", "--endpoint", "nowhere", "--out", &case.path("b2")],
        1,
        "is not an endpoint",
    );
    let moved = case.json(&["broker", "endpoints", "b1", "--endpoint", "b1.example:4433"]);
    assert_eq!(moved["endpoints"], serde_json::json!(["b1.example:4433"]));
}

#[test]
fn completions_are_printed() {
    assert!(text(&ca(&["completions", "bash"]).stdout).contains("valise-ca"));
}

#[test]
fn every_command_has_its_page() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("man1");
    let told = text(&ca(&["man", "--out", out.to_str().unwrap()]).stdout);
    assert!(told.contains("pages written to"), "{told}");
    for page in ["valise-ca.1", "valise-ca-enrol.1", "valise-ca-broker-issue.1", "valise-ca-publish.1"] {
        let text = fs::read_to_string(out.join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
}

#[test]
fn what_cannot_be_printed_is_an_error_and_no_panic() {
    for args in [&["completions", "bash"][..], &["--json", "completions", "zsh"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_valise-ca"));
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command.args(args).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output.stderr));
        assert!(!text(&output.stderr).contains("panicked"), "{args:?}: {}", text(&output.stderr));
    }
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_valise-ca"));
    let output = command.args(["completions", "bash"]).stdout(full).output().unwrap();
    let told = text(&output.stderr);
    assert!(told.contains("standard output: cannot write"), "{told}");
}
