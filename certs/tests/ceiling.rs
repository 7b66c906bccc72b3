//! The ceiling: whatever an administrator does, no directory grants an agency more than the root lets this authority
//! grant, and nothing that was refused leaves a trace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may stop at the first surprise

mod common;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use common::{Node, PASSPHRASE, ca, csr, founding, member, now, passphrase, snapshot, text};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, TestRunner};
use rcgen::{KeyPair, SanType};
use valise_certs::authority::{Alarm, ChangeError, EnrolError};
use valise_certs::profile::ORIGINATE_KINDS_DEFAULT;
use valise_certs::{Authority, Founding, Grant, Profile, RevocationReason};
use valise_proto::directory::Directory;
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::label::{AtMost, Ceiling, Classification};

const AGENCIES: [&str; 4] = ["fra/ncb", "fra/customs", "ken/ncb", "deu/police"];

fn set<T: std::str::FromStr<Err: std::fmt::Debug> + Ord>(words: &[&str]) -> BTreeSet<T> {
    words.iter().map(|word| word.parse().unwrap()).collect()
}

fn ceiling() -> Ceiling {
    Ceiling {
        states: AtMost::Only(set(&["FRA", "KEN"])),
        classifications: Classification::Confidential.and_below(),
        compartments: AtMost::Only(set(&["ALPHA"])),
        affiliations: AtMost::Only(set(&["EUE"])),
    }
}

/// What an administrator may do to one of [`AGENCIES`].
#[derive(Clone, Debug)]
enum Step {
    Enrol(Profile),
    Clear(Grant),
    Originate(Option<BTreeSet<Classification>>),
    ContactPoint(bool),
    Suspend,
    Reinstate,
    Revoke,
    Emergency,
    Renew,
    Bundle,
}

fn grants() -> impl Strategy<Value = Grant> {
    // Below the ceiling as often as above it, or the walk would hardly ever get anywhere.
    let high = select(vec![false, false, true]);
    let names = || subsequence(vec![0, 1], 0..=2);
    (select(Classification::ALL.to_vec()), high, names(), names()).prop_map(|(class, high, alpha, eue)| {
        let named = |picked: &[usize], words: [&str; 2]| {
            let picked = picked.iter().filter(|index| high || **index == 0);
            picked.map(|index| words[*index].to_owned()).collect::<Vec<_>>()
        };
        let class = if high { class } else { class.min(Classification::Confidential) };
        Grant {
            classes: class.and_below(),
            compartments: named(&alpha, ["ALPHA", "BRAVO"])
                .iter()
                .map(|word| word.parse().unwrap())
                .collect(),
            affiliations: named(&eue, ["EUE", "NATO"]).iter().map(|word| word.parse().unwrap()).collect(),
        }
    })
}

fn classes() -> impl Strategy<Value = Option<BTreeSet<Classification>>> {
    proptest::option::of(select(Classification::ALL.to_vec()).prop_map(Classification::and_below))
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let enrol = (grants(), any::<bool>()).prop_map(|(clearance, contact_point)| {
        Step::Enrol(Profile { clearance, contact_point, ..Profile::up_to(Classification::Unclassified) })
    });
    let step = prop_oneof![
        4 => enrol,
        3 => grants().prop_map(Step::Clear),
        2 => classes().prop_map(Step::Originate),
        1 => any::<bool>().prop_map(Step::ContactPoint),
        1 => Just(Step::Suspend),
        2 => Just(Step::Reinstate),
        1 => Just(Step::Revoke),
        1 => Just(Step::Emergency),
        2 => Just(Step::Renew),
        1 => Just(Step::Bundle),
    ];
    proptest::collection::vec((0..AGENCIES.len(), step), 1..20)
}

/// The nodes that were enrolled last, and how the authority answered.
struct Walk {
    authority: RefCell<Authority>,
    out: std::path::PathBuf,
    nodes: RefCell<Vec<Node>>,
    clock: Cell<Timestamp>,
    granted: Cell<usize>,
    above: Cell<usize>,
}

impl Walk {
    fn tick(&self) -> Timestamp {
        let next = Timestamp::from_millis(self.clock.get().millis() + 1);
        self.clock.set(next);
        next
    }

    /// Takes a step; that it was refused is no failure.
    fn take(&self, index: usize, step: Step) {
        let (id, now): (AgencyId, _) = (AGENCIES[index].parse().unwrap(), self.tick());
        let mut authority = self.authority.borrow_mut();
        let compromise = RevocationReason::KeyCompromise;
        let changed = match step {
            Step::Enrol(profile) => {
                let node = Node::new(AGENCIES[index]);
                let enrolled = authority.enrol(&node.request(), &profile, now);
                self.count(matches!(enrolled, Err(EnrolError::Ceiling(_))), enrolled.is_ok());
                if enrolled.is_ok() {
                    self.nodes.borrow_mut()[index] = node;
                }
                return;
            }
            Step::Renew => {
                let node = &self.nodes.borrow()[index];
                let _ = authority.renew(&node.renewal(node, now), now);
                return;
            }
            Step::Bundle => {
                let _ = authority.bundle(&id, now);
                return;
            }
            Step::Emergency => {
                let _ = authority.emergency(&id, Alarm { reason: compromise, since: now }, &self.out, now);
                return;
            }
            Step::Clear(grant) => authority.set_clearance(&id, grant, now),
            Step::Originate(classes) => {
                authority.set_origination(&id, ORIGINATE_KINDS_DEFAULT.into(), classes, now)
            }
            Step::ContactPoint(is) => authority.set_contact_point(&id, is, now),
            Step::Suspend => authority.suspend(&id, now),
            Step::Reinstate => authority.reinstate(&id, now),
            Step::Revoke => authority.revoke(&member(AGENCIES[index]), compromise, now),
        };
        self.count(matches!(changed, Err(ChangeError::Ceiling(_))), changed.is_ok());
    }

    fn count(&self, above: bool, granted: bool) {
        self.above.set(self.above.get() + usize::from(above));
        self.granted.set(self.granted.get() + usize::from(granted));
    }

    /// What is published now, as a node reads it.
    fn published(&self) -> Directory {
        let mut authority = self.authority.borrow_mut();
        let publication = authority.publication(self.tick()).expect("the authority can always publish");
        Directory::verify(publication.directory.encoded().clone(), &authority.trust()).unwrap()
    }
}

/// In words of its own, so that a mistake of the library's check shows.
fn check_within(directory: &Directory) -> Result<(), TestCaseError> {
    for entry in directory.content().agencies.values() {
        let (id, clearance) = (&entry.id, &entry.clearance);
        prop_assert!(["FRA", "KEN"].contains(&id.state().to_string().as_str()), "{id} is listed");
        let classes = clearance.class_list.iter().chain(&entry.origination.classifications);
        for class in classes {
            prop_assert!(*class <= Classification::Confidential, "{id} has {class}");
        }
        prop_assert!(
            clearance.compartments.iter().all(|name| name.to_string() == "ALPHA"),
            "{id}: {clearance}"
        );
        let own = id.state().to_string();
        for affiliation in &clearance.affiliations {
            let name = affiliation.to_string();
            prop_assert!(name == "EUE" || name == own, "{id}: {clearance}");
        }
        let within = ceiling().check(id.state(), clearance, &entry.origination.classifications);
        prop_assert_eq!(within, Ok(()));
    }
    Ok(())
}

#[test]
fn g03_no_sequence_of_commands_grants_more_than_the_ceiling() {
    let temp = tempfile::tempdir().unwrap();
    let founding = Founding { ceiling: ceiling(), ..founding() };
    let start = now();
    let authority = Authority::init(&temp.path().join("ca"), &founding, &passphrase(), start).unwrap();
    // One authority for all sequences: what one leaves is where the next begins.
    let walk = Walk {
        authority: RefCell::new(authority),
        out: temp.path().join("out"),
        nodes: RefCell::new(AGENCIES.map(Node::new).into()),
        clock: Cell::new(start),
        granted: Cell::new(0),
        above: Cell::new(0),
    };
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&steps(), |steps| {
            for (index, step) in steps {
                walk.take(index, step);
            }
            check_within(&walk.published())
        })
        .unwrap();
    let (granted, above) = (walk.granted.get(), walk.above.get());
    assert!(granted > 20 && above > 20, "{granted} steps were taken and {above} refused: that shows nothing");
}

/// A founded authority with the ceiling, through the real command line.
struct Desk {
    temp: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { temp: tempfile::tempdir().unwrap() };
        desk.write("passphrase", PASSPHRASE);
        let made = desk.run(&[
            "init",
            "--trust-domain",
            "exchange.example",
            "--policy",
            "exchange.example",
            "--ceiling-state",
            "FRA,KEN",
            "--ceiling-clearance",
            "CONFIDENTIAL",
            "--ceiling-compartment",
            "ALPHA",
            "--ceiling-affiliation",
            "EUE",
        ]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        desk
    }

    fn path(&self, name: &str) -> String {
        self.temp.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, content: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn run(&self, args: &[&str]) -> std::process::Output {
        let (dir, secret) = (self.path("ca"), self.path("passphrase"));
        let mut all = args.to_vec();
        all.extend_from_slice(&["--dir", &dir, "--passphrase-file", &secret]);
        ca(&all)
    }

    fn enrol(&self, request: &str, more: &[&str]) -> std::process::Output {
        let out = self.path("bundle.pem");
        let mut args = vec!["enrol", request, "--out", &out, "--accept-fingerprint"];
        args.extend_from_slice(more);
        self.run(&args)
    }

    /// A refusal must leave the folder as it was.
    fn refused(&self, sentence: &str, act: impl FnOnce() -> std::process::Output) {
        let before = snapshot(&self.temp.path().join("ca"));
        let output = act();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{sentence}: {told}");
        assert!(told.contains(sentence), "expected `{sentence}` in: {told}");
        assert_eq!(snapshot(&self.temp.path().join("ca")), before, "{sentence}");
        assert!(!self.temp.path().join("bundle.pem").exists(), "{sentence}: a bundle was written");
    }
}

#[test]
fn g03_what_is_above_the_ceiling_is_refused_by_name_and_leaves_the_folder_as_it_was() {
    let desk = Desk::new();
    let fra = desk.write("fra.pem", &Node::new("fra/ncb").request().to_pem());
    let deu = desk.write("deu.pem", &Node::new("deu/police").request().to_pem());
    let confidential = ["--clearance", "CONFIDENTIAL"];
    desk.refused("agencies of DEU are not this authority's", || desk.enrol(&deu, &confidential));
    for (more, sentence) in [
        (&["--clearance", "SECRET"][..], "SECRET is above this authority's ceiling"),
        (&["--clearance", "CONFIDENTIAL", "--compartment", "BRAVO"], "compartment BRAVO is not"),
        (&["--clearance", "CONFIDENTIAL", "--affiliation", "NATO"], "affiliation NATO is not"),
    ] {
        desk.refused(sentence, || desk.enrol(&fra, more));
    }
    let told =
        desk.enrol(&fra, &["--clearance", "CONFIDENTIAL", "--compartment", "ALPHA", "--affiliation", "EUE"]);
    assert!(told.status.success(), "{}", text(&told.stderr));
    assert!(text(&told.stdout).contains("clearance:"), "what is granted is not told: {}", text(&told.stdout));
    std::fs::remove_file(desk.path("bundle.pem")).unwrap();
    let clear = |more: &[&str]| {
        let mut args = vec!["clearance", "set", "fra/ncb"];
        args.extend_from_slice(more);
        desk.run(&args)
    };
    desk.refused("SECRET is above", || clear(&["--clearance", "SECRET"]));
    desk.refused("compartment BRAVO", || clear(&["--clearance", "RESTRICTED", "--compartment", "BRAVO"]));
}

#[test]
fn requests_that_are_not_what_they_seem_leave_the_folder_as_it_was() {
    let desk = Desk::new();
    let (fra, ken) = (Node::new("fra/ncb"), Node::new("ken/ncb"));
    let enrolled = desk.write("fra.pem", &fra.request().to_pem());
    assert!(desk.enrol(&enrolled, &["--clearance", "CONFIDENTIAL"]).status.success());
    std::fs::remove_file(desk.path("bundle.pem")).unwrap();
    let refused = |request: valise_proto::enrolment::SignedEnrolmentRequest, sentence: &str| {
        let file = desk.write("request.pem", &request.to_pem());
        desk.refused(sentence, || desk.enrol(&file, &["--clearance", "CONFIDENTIAL"]));
    };
    refused(Node::new("fra/ncb").request(), "fra/ncb is enrolled already, with other keys");
    // Another agency's certificate request, and then its keys, in a request of one's own.
    refused(
        ken.request_with(|request| request.csr_der = fra.csr()),
        "must name spiffe://exchange.example/agency/ken/ncb",
    );
    let uri = [SanType::URI(ken.identity().to_string().try_into().unwrap())];
    refused(ken.request_with(|request| request.csr_der = csr(&fra.tls, &uri)), "belongs to fra/ncb already");
    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    refused(ken.request_with(|request| request.csr_der = csr(&rsa, &uri)), "is for an RSA key");
    // The neutral element as key: a signature of zeroes verifies under it, whatever was signed.
    let weak = ken.request_with(|request| {
        let mut der = request.csr_der.to_vec();
        let key = ken.tls.public_key_raw();
        let at = der.windows(key.len()).position(|window| window == key).unwrap();
        let neutral = [&[1_u8][..], &[0; 31]].concat();
        der[at..at + 32].copy_from_slice(&neutral);
        let signature = der.len() - 64;
        der[signature..].copy_from_slice(&[&neutral[..], &[0; 32]].concat());
        request.csr_der = der.into();
    });
    refused(weak, "key cannot be used");
}
