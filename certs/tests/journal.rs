//! The journal: whatever is done to it by hand is named, and an interruption is mended.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a test may stop at the first surprise

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::{Founded, Node, agency, ca, earlier, member, passphrase, snapshot, text};
use valise_certs::audit::{self, AuditError};
use valise_certs::{Authority, Profile, RevocationReason};
use valise_proto::label::Classification;

/// An authority with a history of several entries, closed.
fn history() -> Founded {
    let mut founded = Founded::new();
    let (authority, now) = (&mut founded.authority, founded.now);
    authority.issue_broker(&"b1".parse().unwrap(), vec!["b:1".to_owned()], now).unwrap();
    authority.enrol(&Node::new("fra/ncb").request(), &Profile::up_to(Classification::Secret), now).unwrap();
    authority.suspend(&agency("fra/ncb"), now).unwrap();
    authority.publication(now).unwrap();
    authority.revoke(&member("fra/ncb"), RevocationReason::KeyCompromise, now).unwrap();
    founded
}

/// The folder after `change` was made to the lines of its journal: which line is named, and how.
fn named(dir: &Path, change: impl FnOnce(&mut Vec<String>)) -> (u64, String) {
    let path = dir.join("journal.jsonl");
    let before = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> = before.lines().map(ToOwned::to_owned).collect();
    change(&mut lines);
    fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let found = audit::verify(dir, None).unwrap_err();
    fs::write(&path, before).unwrap();
    audit::verify(dir, None).unwrap();
    match found {
        AuditError::Line { line, problem, .. } => (line, problem),
        other => panic!("no line is named: {other}"),
    }
}

#[test]
fn g09_every_deed_stands_in_the_journal_with_what_it_issued() {
    let founded = history();
    let entries = audit::entries(&founded.dir).unwrap();
    let told: Vec<_> = entries.iter().map(|entry| (entry.action.as_str(), entry.subject.as_str())).collect();
    assert_eq!(
        told,
        [
            ("FOUND", "exchange.example"),
            ("ISSUE_BROKER", "b1"),
            ("ENROL", "fra/ncb"),
            ("SUSPEND", "fra/ncb"),
            ("PUBLISH", "2"),
            ("REVOKE", "fra/ncb"),
        ]
    );
    assert_eq!(
        entries.iter().map(|entry| entry.issued.len()).collect::<Vec<_>>(),
        [1, 1, 1, 0, 0, 0],
        "the first is the issuing authority's own"
    );
    let audited = audit::verify(&founded.dir, None).unwrap();
    assert_eq!((audited.entries, audited.head), founded.authority.journal_head());
    assert_eq!((audited.certificates, audited.pending), (3, false));
    // A head that was noted earlier is found; one of another history is not.
    let noted = entries[4].previous;
    audit::verify(&founded.dir, Some(noted)).unwrap();
    let other = history().authority.journal_head().1;
    assert!(matches!(audit::verify(&founded.dir, Some(other)), Err(AuditError::HeadUnknown(_))));
}

#[test]
fn g09_a_line_altered_taken_out_moved_or_cut_off_is_named() {
    let Founded { temp: _temp, dir, .. } = history();
    for line in 0..6 {
        let (named, told) = named(&dir, |lines| {
            let altered = lines[line].replacen("exchange.example", "other", 1);
            lines[line] = altered.replacen("\"subject\":\"", "\"subject\":\"x", 1);
        });
        assert_eq!(named, line as u64 + 1, "{told}");
        assert!(told.contains("was altered"), "{told}");
    }
    let (line, told) = named(&dir, |lines| drop(lines.remove(2)));
    assert_eq!(line, 3, "{told}");
    assert!(told.contains("missing or out of order"), "{told}");
    let (line, told) = named(&dir, |lines| lines.swap(3, 4));
    assert_eq!((line, told.contains("out of order")), (4, true), "{told}");
    let (line, told) = named(&dir, |lines| lines.truncate(3));
    assert_eq!((line, told.contains("is missing")), (4, true), "{told}");
    let (line, told) = named(&dir, |lines| lines.push(lines[5].clone()));
    assert_eq!(line, 7, "{told}");
    let (line, told) = named(&dir, |lines| lines[3].truncate(40));
    assert_eq!((line, told.contains("cut short")), (4, true), "{told}");
    let (line, _) = named(&dir, |lines| lines[0].push(' '));
    assert_eq!(line, 1, "a line of which only the white space differs");
}

#[test]
fn g09_a_folder_whose_journal_was_changed_is_not_opened_and_not_mended() {
    let Founded { temp: _temp, dir, authority, .. } = history();
    drop(authority);
    let path = dir.join("journal.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let without_two = format!("{}\n", lines[..4].join("\n"));
    let longer = format!("{whole}{}\n", lines[5]);
    for (what, wrong) in [
        ("two lines short", without_two),
        ("longer", longer),
        ("garbled", whole.replacen("REVOKE", "REVIVE", 1)),
    ] {
        fs::write(&path, &wrong).unwrap();
        let before = snapshot(&dir);
        let error = Authority::open(&dir, &passphrase()).unwrap_err().to_string();
        assert!(error.contains("valise-ca audit verify"), "{what}: {error}");
        assert_eq!(snapshot(&dir), before, "{what}");
    }
}

#[test]
fn g09_a_power_cut_between_state_and_journal_is_mended_at_the_next_opening() {
    let Founded { temp: _temp, dir, authority, .. } = history();
    drop(authority);
    let path = dir.join("journal.jsonl");
    let whole = fs::read(&path).unwrap();
    let last =
        whole.len() - 1 - whole[..whole.len() - 1].iter().rev().position(|byte| *byte == b'\n').unwrap();
    for cut in [last, last + 1, last + 30, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(audit::verify(&dir, None).unwrap().pending, "cut at {cut}");
        assert_eq!(fs::read(&path).unwrap().len(), cut, "looking changed the journal");
        drop(Authority::open(&dir, &passphrase()).unwrap());
        assert_eq!(fs::read(&path).unwrap(), whole, "cut at {cut}");
    }
}

#[test]
fn g09_a_deed_that_cannot_be_written_to_the_journal_did_not_happen() {
    let mut founded = history();
    let path = founded.dir.join("journal.jsonl");
    // A folder in the journal's place: the state can be written, the journal cannot.
    let kept = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let before = snapshot(&founded.dir);
    let told = founded.authority.publication(founded.now).unwrap_err().to_string();
    assert!(told.contains("journal.jsonl"), "{told}");
    assert_eq!(snapshot(&founded.dir), before);
    fs::remove_dir(&path).unwrap();
    fs::write(&path, kept).unwrap();
    let version = founded.authority.publication(founded.now).unwrap().directory.version();
    assert_eq!(version, 3, "the version of the deed that did not happen is free");
    audit::verify(&founded.dir, None).unwrap();
}

#[test]
fn g12_a_clock_that_went_back_is_told_and_can_be_accepted() {
    let mut founded = history();
    let back = |minutes: u64| earlier(founded.now, Duration::from_secs(60 * minutes));
    founded.authority.suspend(&agency("fra/ncb"), back(4)).unwrap_err();
    founded.authority.set_endpoints(&"b1".parse().unwrap(), vec!["b:2".to_owned()], back(4)).unwrap();
    let before = snapshot(&founded.dir);
    let far = founded.now.plus(Duration::from_secs(3600));
    founded.authority.set_endpoints(&"b1".parse().unwrap(), vec!["b:3".to_owned()], far).unwrap();
    let ahead = snapshot(&founded.dir);
    assert_ne!(ahead, before);
    let told = founded.authority.publication(founded.now).unwrap_err().to_string();
    assert!(told.contains("set the clock") && told.contains("--accept-clock"), "{told}");
    assert_eq!(snapshot(&founded.dir), ahead);
    founded.authority.accept_clock();
    founded.authority.publication(founded.now).unwrap();
    let entries = audit::entries(&founded.dir).unwrap();
    assert!(entries.last().unwrap().facts.contains_key("clock_was_ahead_at"));
}

#[test]
fn g09_the_audit_is_a_command_without_a_passphrase() {
    let founded = history();
    let dir = founded.dir.to_str().unwrap();
    let told = text(&ca(&["audit", "verify", "--dir", dir]).stdout);
    let head = founded.authority.journal_head().1.to_string();
    assert!(told.contains("6 entries, 3 certificates") && told.contains(&head), "{told}");
    let shown = ca(&["audit", "show", "--dir", dir, "--member", "fra/ncb", "--action", "enrol", "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown.as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(shown[0]["issued"].as_array().unwrap().len(), 1);
    let none = ca(&["audit", "show", "--dir", dir, "--since", "2200-01-01T00:00:00Z", "--json"]);
    assert_eq!(text(&none.stdout).trim(), "[]");
    let path = founded.dir.join("journal.jsonl");
    let altered = fs::read_to_string(&path).unwrap().replacen("SUSPEND", "SUSPECT", 1);
    fs::write(&path, altered).unwrap();
    let output = ca(&["audit", "verify", "--dir", dir]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("line 4 was altered"), "{}", text(&output.stderr));
}
