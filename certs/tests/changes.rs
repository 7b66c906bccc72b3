//! An agency changed after its enrolment, an emergency, and a look before publishing: the real tool on real files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may stop at the first surprise

mod common;

use std::fs;

use common::tool::Case;
use common::{Founded, Node, agency, member, now, passphrase, snapshot, text};
use valise_certs::authority::{Alarm, ChangeError};
use valise_certs::{Authority, Profile, RevocationReason, audit};
use valise_proto::directory::{AgencyEntry, AgencyStatus, Directory};
use valise_proto::enrolment::Trust;
use valise_proto::label::Classification;

fn secret() -> Profile {
    Profile::up_to(Classification::Secret)
}

/// An authority with these agencies.
fn with(agencies: &[&str]) -> Case {
    let case = Case::new();
    let mut authority = Authority::open(&case.dir, &passphrase()).unwrap();
    for name in agencies {
        authority.enrol(&Node::new(name).request(), &secret(), now()).unwrap();
    }
    case
}

fn published(case: &Case) -> Directory {
    let read = |name: &str| fs::read(case.temp.path().join("out").join(name)).unwrap();
    let trust = Trust::from_pem(&text(&read("trust.pem"))).unwrap();
    Directory::verify(read("directory.valise").into(), &trust).unwrap()
}

fn publish(case: &Case) -> Directory {
    case.done(&["publish", "--out", &case.path("out")]);
    published(case)
}

fn entry(directory: &Directory, name: &str) -> AgencyEntry {
    directory.agency(&agency(name)).unwrap().clone()
}

/// Exit code and what `directory diff` says changes.
fn diff(case: &Case, more: &[&str]) -> (Option<i32>, Vec<serde_json::Value>) {
    let mut args = vec!["directory", "diff", "--json"];
    args.extend_from_slice(more);
    let before = snapshot(&case.dir);
    let ran = case.run(&args);
    assert_eq!(snapshot(&case.dir), before, "looking changed the folder");
    let told: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("what it prints is JSON");
    (ran.status.code(), told["changes"].as_array().unwrap().clone())
}

#[test]
fn everything_granted_at_enrolment_can_be_changed_and_looked_at_before_it_is_published() {
    let case = with(&["fra/ncb", "fra/customs"]);
    let (code, changes) = diff(&case, &[]);
    assert_eq!((code, changes.len()), (Some(3), 3), "nothing was published: {changes:?}");
    let first = publish(&case);
    fs::copy(case.path("out/directory.valise"), case.path("first")).unwrap();
    assert_eq!(diff(&case, &[]), (Some(0), vec![]));
    for args in [
        &["functions", "set", "fra/ncb", "--function", "BORDER,CUSTOMS"][..],
        &["clearance", "set", "fra/ncb", "--clearance", "RESTRICTED", "--affiliation", "EUE"],
        &["origination", "set", "fra/ncb", "--kind", "TRAVEL", "--classification", "RESTRICTED"],
        &["contact-point", "set", "fra/ncb"],
        &["name", "set", "fra/ncb", "NCB Paris"],
    ] {
        let told = case.done(args);
        assert!(told.contains("directory diff") && told.contains("valise-ca publish"), "{told}");
    }
    let (code, changes) = diff(&case, &[]);
    assert_eq!(code, Some(3));
    let fields: Vec<_> = changes.iter().map(|change| change["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["name", "functions", "clearance", "may originate", "classified", "contact point"]);
    assert!(changes.iter().all(|change| change["subject"] == "fra/ncb" && change["change"] == "CHANGED"));
    let people = text(&case.run(&["directory", "diff"]).stdout);
    assert!(people.contains("name: fra/ncb") && people.contains("now: NCB Paris"), "{people}");
    let second = publish(&case);
    assert!(second.version() > first.version());
    assert_eq!(diff(&case, &[]), (Some(0), vec![]));
    assert_eq!(diff(&case, &["--against", &case.path("first")]).1, changes);
    let changed = entry(&second, "fra/ncb");
    assert_eq!((changed.display_name.as_str(), changed.contact_point), ("NCB Paris", true));
    assert_eq!(changed.clearance.class_list, Classification::Restricted.and_below());
    assert_eq!(changed.origination.classifications, [Classification::Restricted].into());
    assert_eq!((changed.functions.len(), changed.origination.kinds.len()), (2, 1));
    assert_eq!(entry(&second, "fra/customs"), entry(&first, "fra/customs"));
    let shown = case.json(&["directory", "show"]);
    assert_eq!(shown["entries"]["fra/ncb"]["name"], "NCB Paris");
    for args in [["contact-point", "clear", "fra/ncb"], ["name", "clear", "fra/ncb"]] {
        case.done(&args);
    }
    case.done(&["contact-point", "set", "fra/customs"]);
    let third = entry(&publish(&case), "fra/ncb");
    assert_eq!((third.display_name.as_str(), third.contact_point), ("fra/ncb", false));
}

#[test]
fn a_change_that_is_not_to_be_made_leaves_the_folder_as_it_was() {
    let case = with(&["fra/ncb", "fra/customs"]);
    case.done(&["contact-point", "set", "fra/ncb"]);
    let cases: [(&[&str], i32, &str); 10] = [
        (&["contact-point", "set", "fra/customs"], 1, "fra/ncb is the contact point of FRA"),
        (&["functions", "set", "fra/ncb", "--function", "POLICE"], 2, "`POLICE` is not a function"),
        (&["functions", "set", "ken/ncb"], 1, "ken/ncb is not a member"),
        (&["functions", "set", "zzz/ncb"], 2, "is not a State"),
        (&["origination", "set", "fra/ncb", "--kind", "RECEIPT"], 2, "RECEIPT is always allowed"),
        (
            &["origination", "set", "fra/ncb", "--kind", "TRAVEL", "--classification", "TOP_SECRET"],
            2,
            "not in the agency's own clearance",
        ),
        (&["name", "set", "fra/ncb", " "], 2, "give 1 to 256 bytes"),
        (&["suspend", "fra/ncb", "--since", "2999-01-01T00:00:00Z"], 1, "is ahead of this machine's clock"),
        (&["revoke", "--certificate", "00112233445566778899aabbccddeeff"], 1, "no certificate with serial"),
        (&["directory", "show"], 1, "nothing was published yet"),
    ];
    for (args, code, sentence) in cases {
        case.refused(args, code, sentence);
    }
    // A directory of another authority says nothing about this one.
    let other = with(&[]);
    publish(&other);
    let file = other.path("out/directory.valise");
    case.refused(&["directory", "diff", "--against", &file], 1, "directory.valise");
    case.refused(&["directory", "diff", "--against", &case.path("nothing")], 1, "cannot read this file");
}

#[test]
fn g01_an_emergency_shuts_an_agency_out_in_one_step_and_new_keys_let_it_in_again() {
    let case = with(&["fra/ncb", "ken/ncb"]);
    let first = publish(&case);
    let told =
        case.done(&["emergency", "fra/ncb", "--since", "2026-01-01T00:00:00Z", "--out", &case.path("out")]);
    assert!(told.contains("Carry the files of"), "{told}");
    let directory = published(&case);
    assert_eq!(directory.version(), first.version() + 1, "it is one publication");
    let since = "2026-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(entry(&directory, "fra/ncb").status, AgencyStatus::Suspended { since });
    assert_eq!(entry(&directory, "ken/ncb"), entry(&first, "ken/ncb"));
    let view = case.json(&["show", "fra/ncb"]);
    assert!(view["certificates"][0]["revoked_at"].is_string(), "{view}");
    let handed_out = pem::parse_many(fs::read(case.path("out/certificates.pem")).unwrap()).unwrap();
    assert_eq!(handed_out.len(), 2, "the certificate of a shut-out agency is handed out");
    // The same again changes no standing and publishes again.
    case.done(&["emergency", "fra/ncb", "--out", &case.path("out")]);
    assert_eq!(entry(&published(&case), "fra/ncb").status, AgencyStatus::Suspended { since });
    assert_eq!(diff(&case, &[]), (Some(0), vec![]));
    // An enrolment with new keys is taken without more.
    let new = Node::new("fra/ncb");
    let request = case.write("request.pem", &new.request().to_pem());
    let bundle = case.path("bundle.pem");
    case.done(&["enrol", &request, "--out", &bundle, "--accept-fingerprint", "--clearance", "SECRET"]);
    let listed = entry(&publish(&case), "fra/ncb");
    assert_eq!(listed.status, AgencyStatus::Active);
    assert!(listed.signing_key_at(new.signing.key_id(), now()).is_some());
}

#[test]
fn g01_an_emergency_that_could_not_be_carried_out_leaves_no_half_of_it() {
    let mut founded = Founded::new();
    let (now, id) = (founded.now, agency("fra/ncb"));
    let node = Node::new("fra/ncb");
    founded.authority.enrol(&node.request(), &secret(), now).unwrap();
    let alarm = Alarm { reason: RevocationReason::KeyCompromise, since: now };
    let before = snapshot(&founded.dir);
    let taken = founded.dir.join("state.json");
    assert!(founded.authority.emergency(&id, alarm, &taken, now).is_err(), "a file is no folder");
    assert!(
        founded
            .authority
            .emergency(&agency("ken/ncb"), alarm, &founded.temp.path().join("out"), now)
            .is_err()
    );
    assert_eq!(snapshot(&founded.dir), before);
    // A false alarm: it is let in again, and gets a certificate for another TLS key.
    founded.authority.emergency(&id, alarm, &founded.temp.path().join("out"), now).unwrap();
    let before = snapshot(&founded.dir);
    let error = founded.authority.reinstate(&id, now).unwrap_err();
    assert!(matches!(error, ChangeError::KeysLost(_)) && error.to_string().contains("enrol"), "{error}");
    assert_eq!(snapshot(&founded.dir), before, "a thief got everything back");
    founded.authority.reinstate_with_safe_keys(&id, now).unwrap();
    let last = audit::entries(&founded.dir).unwrap().pop().unwrap();
    assert!(format!("{last:?}").contains("keys_are_safe"), "nobody answers for it: {last:?}");
    assert!(founded.authority.renew(&node.renewal(&node, now), now).is_err(), "the lost key is certified");
    let tls = Node::new("fra/ncb");
    let request = node.renewal_with(&node, now, |request| request.csr_der = tls.csr());
    founded.authority.renew(&request, now).unwrap();
    let revoked = founded.authority.emergency(&id, alarm, &founded.temp.path().join("out"), now);
    assert!(revoked.is_ok(), "{revoked:?}");
    founded.authority.revoke(&member("fra/ncb"), RevocationReason::KeyCompromise, now).unwrap();
    assert!(founded.authority.emergency(&id, alarm, &founded.temp.path().join("out"), now).is_err());
}

#[test]
fn a_brokers_unencrypted_keys_never_lie_in_the_authoritys_folder() {
    let case = Case::new();
    for out in ["", "b1", "kits/of/b1"] {
        let out = case.dir.join(out);
        let out = out.to_str().unwrap();
        let issue = ["broker", "issue", "b1", "--endpoint", "b:1", "--out", out];
        case.refused(&issue, 1, "lies in the authority's own folder");
    }
    assert!(!case.dir.join("kits").exists() && !case.dir.join("b1").exists());
    case.done(&["broker", "issue", "b1", "--endpoint", "b:1", "--out", &case.path("kits/of/b1")]);
}
