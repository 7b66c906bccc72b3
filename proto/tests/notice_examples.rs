//! The notices of `deploy/examples` follow every rule and go, sent by `ken/ncb`, to whom they should.

#![allow(clippy::unwrap_used, clippy::panic)]

mod exchange;

use std::collections::BTreeSet;
use std::path::Path;

use exchange::{directory, now, policy};
use valise_proto::notice::{Content, MovementStatus, Notice, PersonRole};

/// Each example with its recipients and with the States it leaves out.
const EXAMPLES: [(&str, &[&str], &[&str]); 7] = [
    ("arrival", &["fra/ncb"], &[]),
    ("attempted-transit", &["deu/bka", "fra/ncb", "tur/border", "xpo/general-secretariat"], &[]),
    ("deportation", &["fra/ncb", "tur/border", "xpo/general-secretariat"], &["TUN"]),
    ("family", &["fra/ncb", "ken/immigration", "tur/border", "xpo/general-secretariat"], &[]),
    ("four-citizenships", &["deu/bka", "fra/ncb", "gbr/nca", "tur/border"], &["TUN"]),
    ("stateless", &["tur/border"], &[]),
    ("travel", &["tur/border", "xpo/general-secretariat"], &[]),
];

/// The follow-ups among them: whom they are for, the notices that they follow say.
const FOLLOW_UPS: [&str; 3] = ["correction", "response", "withdrawal"];

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples")
}

fn example(name: &str) -> Notice {
    let json = std::fs::read(folder().join(format!("{name}.json"))).unwrap();
    Notice::from_json(&json, &policy(), now()).unwrap_or_else(|mistakes| panic!("{name}: {mistakes:#?}"))
}

#[test]
fn every_example_goes_to_whom_paragraph_3_names() {
    let directory = directory(&["deu/bka", "gbr/nca"]);
    for (name, told, left_out) in EXAMPLES {
        let notice = example(name);
        let addressees = notice.addressees(&"ken/ncb".parse().unwrap(), &directory);
        let addressees = addressees.unwrap_or_else(|mistakes| panic!("{name}: {mistakes:#?}"));
        let agencies: Vec<_> = addressees.iter().map(|addressee| addressee.agency.as_str()).collect();
        assert_eq!(agencies, told, "{name}");
        let omitted = notice.left_out("KEN".parse().unwrap());
        let omitted: Vec<_> = omitted.iter().map(|left| left.omission.state.to_string()).collect();
        assert_eq!(omitted, left_out, "{name}");
    }
}

#[test]
fn the_examples_stay_notices_for_years() {
    for name in EXAMPLES.into_iter().map(|(name, _, _)| name).chain(FOLLOW_UPS) {
        let json = std::fs::read(folder().join(format!("{name}.json"))).unwrap();
        for now in ["2026-03-01T00:00:00Z", "2027-11-25T12:00:00Z", "2034-12-31T00:00:00Z"] {
            let read = Notice::from_json(&json, &policy(), now.parse().unwrap());
            assert!(read.is_ok(), "{name} at {now}: {read:#?}");
        }
    }
}

#[test]
fn the_example_of_the_page_is_a_notice_and_goes_where_the_page_says() {
    let page = include_str!("../../PROTOCOL.md");
    let json = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let notice = Notice::from_json(json.as_bytes(), &policy(), now()).unwrap();
    let told = notice.addressees(&"ken/ncb".parse().unwrap(), &directory(&[])).unwrap();
    let told: Vec<_> = told.iter().map(|to| to.agency.as_str()).collect();
    assert_eq!(told, ["tur/border", "xpo/general-secretariat"]);
    let labels: Vec<_> = notice.portions().iter().map(|portion| portion.label().to_string()).collect();
    assert_eq!(labels, ["RESTRICTED", "CONFIDENTIAL", "SECRET//REL TO TUR"]);
}

#[test]
fn every_file_is_an_example_that_is_tested() {
    let files =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<_> = files.filter_map(|file| Some(file.strip_suffix(".json")?.to_owned())).collect();
    let tested = EXAMPLES.into_iter().map(|(name, _, _)| name).chain(FOLLOW_UPS);
    let tested: BTreeSet<_> = tested.map(ToOwned::to_owned).collect();
    assert_eq!(files, tested);
}

#[test]
fn the_examples_show_what_they_are_named_for() {
    let persons = |name: &str| -> Vec<_> {
        let notice = example(name);
        notice.parts().iter().filter_map(|part| part.content.as_person().cloned()).collect()
    };
    let family: Vec<_> = persons("family").iter().map(|person| person.role).collect();
    assert_eq!(family, [PersonRole::Subject, PersonRole::AccompanyingAdult, PersonRole::Child]);
    assert_eq!(persons("four-citizenships")[0].citizenships.len(), 4);
    assert!(example("four-citizenships").omissions()[0].reason.is_protective());
    assert_eq!(persons("stateless")[0].citizenships[0].to_string(), "XXA");
    let attempted = example("attempted-transit");
    let movement = attempted.parts().iter().find_map(|part| match &part.content {
        Content::Movement(movement) => Some(movement),
        _ => None,
    });
    let movement = movement.unwrap();
    assert_eq!(movement.status, MovementStatus::Attempted);
    assert!(!movement.transit.is_empty());
}

#[test]
fn an_example_with_a_minor_is_reviewed_within_a_year() {
    for name in ["family", "travel"] {
        let review_by = example(name).terms().unwrap().review_by;
        assert_eq!(review_by, "2027-03-02T00:00:00Z".parse().unwrap(), "{name}");
    }
}
