//! Ceremonies: the founding, with the root apart and a ceiling.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may stop at the first surprise

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use common::{DAY, Node, PASSPHRASE, ca, founding, mode, now, passphrase, snapshot, text};
use valise_certs::authority::OpenError;
use valise_certs::{Authority, Founding, Passphrase, Profile, RootPlace};
use valise_proto::delegation::SignedDelegation;
use valise_proto::label::{AtMost, Ceiling, Classification};

const ROOT_PASSPHRASE: &str = "another medium, another phrase";

struct Case {
    temp: tempfile::TempDir,
    dir: PathBuf,
    root: PathBuf,
}

impl Case {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        Self { dir: temp.path().join("ca"), root: temp.path().join("stick"), temp }
    }

    fn place(&self) -> RootPlace {
        RootPlace { dir: self.root.clone(), passphrase: Passphrase::new(ROOT_PASSPHRASE).unwrap() }
    }

    fn init(&self, founding: &Founding) -> Result<Authority, OpenError> {
        Authority::init_with_root(&self.dir, &self.place(), founding, &passphrase(), now())
    }

    fn secret(&self, name: &str, content: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.temp.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn ceiling() -> Ceiling {
    Ceiling {
        states: AtMost::Only(BTreeSet::from(["FRA".parse().unwrap()])),
        classifications: Classification::Confidential.and_below(),
        compartments: AtMost::Only(BTreeSet::new()),
        affiliations: AtMost::Only(BTreeSet::from(["EUE".parse().unwrap()])),
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_root_lies_apart_and_daily_work_does_without_it() {
    let case = Case::new();
    let authority = case.init(&founding()).unwrap();
    assert_eq!(names(&case.root), ["lock", "root.crt", "root.json", "root.key"]);
    assert!(!names(&case.dir).iter().any(|name| name == "root" || name == "root.key"));
    assert_eq!((mode(&case.root), mode(&case.root.join("root.key"))), (0o700, 0o600));
    drop(authority);
    // The medium goes into the safe.
    fs::rename(&case.root, case.temp.path().join("safe")).unwrap();
    let mut authority = Authority::open(&case.dir, &passphrase()).unwrap();
    authority.issue_broker(&"b1".parse().unwrap(), vec!["b:1".to_owned()], now()).unwrap();
    let profile = Profile::up_to(Classification::Secret);
    authority.enrol(&Node::new("fra/ncb").request(), &profile, now()).unwrap();
    authority.publish(&case.temp.path().join("published"), now()).unwrap();
}

#[test]
fn the_ceiling_of_the_founding_is_in_the_delegation_that_every_directory_carries() {
    let case = Case::new();
    let mut authority = case.init(&Founding { ceiling: ceiling(), ..founding() }).unwrap();
    assert_eq!(*authority.ceiling(), ceiling());
    let publication = authority.publication(now()).unwrap();
    let carried: &SignedDelegation = &publication.directory.content().delegation;
    carried.verify(&authority.trust()).unwrap();
    assert_eq!((carried.delegation().generation, &carried.delegation().ceiling), (1, &ceiling()));
    drop(authority);
    assert_eq!(*Authority::open(&case.dir, &passphrase()).unwrap().ceiling(), ceiling());
}

#[test]
fn init_takes_the_root_and_the_ceiling_as_options() {
    let case = Case::new();
    let (file, root_file) = (case.secret("p", PASSPHRASE), case.secret("r", ROOT_PASSPHRASE));
    let (dir, root) = (case.dir.to_str().unwrap(), case.root.to_str().unwrap());
    let init = |more: &[&str]| {
        let args = ["init", "--dir", dir, "--passphrase-file", &file, "--trust-domain", "exchange.example"];
        ca(&[&args[..], &["--policy", "exchange.example", "--root-dir", root], more].concat())
    };
    let unasked = init(&[]);
    assert_eq!(unasked.status.code(), Some(2));
    assert!(text(&unasked.stderr).contains("--root-passphrase-file"), "{}", text(&unasked.stderr));
    let mistaken = init(&[
        "--ceiling-state",
        "ZZZ,FRA",
        "--ceiling-clearance",
        "COSMIC",
        "--ceiling-compartment",
        "NONE,A",
    ]);
    let told = text(&mistaken.stderr);
    assert_eq!(mistaken.status.code(), Some(2), "{told}");
    for word in ["ZZZ", "COSMIC", "NONE, and names beside it"] {
        assert!(told.contains(word), "`{word}` is not in: {told}");
    }
    assert!(!case.dir.exists() && !case.root.exists(), "a mistake left folders behind");
    let options = ["--root-passphrase-file", &root_file, "--ceiling-state", "FRA", "--ceiling-clearance"];
    let more = ["CONFIDENTIAL", "--ceiling-compartment", "NONE", "--ceiling-affiliation", "EUE"];
    let made = init(&[&options[..], &more].concat());
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert_eq!(*Authority::open(&case.dir, &passphrase()).unwrap().ceiling(), ceiling());
}

#[test]
fn a_root_that_is_there_is_never_written_over() {
    let case = Case::new();
    drop(case.init(&founding()).unwrap());
    let root = snapshot(&case.root);
    let other = Case { dir: case.temp.path().join("other"), root: case.root.clone(), ..Case::new() };
    let error = other.init(&founding()).unwrap_err().to_string();
    assert!(error.contains("holds a root already"), "{error}");
    // Not even where the other authority's state was never written: the root is finished before that.
    fs::remove_file(case.dir.join("state.json")).unwrap();
    fs::write(case.dir.join("init-unfinished"), "").unwrap();
    case.init(&founding()).unwrap_err();
    assert_eq!(snapshot(&case.root), root);
    let same = Case { dir: case.root.clone(), root: case.root.clone(), ..Case::new() };
    let error = same.init(&founding()).unwrap_err();
    assert!(matches!(error, OpenError::OneFolder(_)), "{error}");
    let letter = case.temp.path().join("letters");
    fs::create_dir(&letter).unwrap();
    fs::write(letter.join("letter.txt"), "kept").unwrap();
    let taken = Case { dir: case.temp.path().join("third"), root: letter.clone(), ..Case::new() };
    let error = taken.init(&founding()).unwrap_err().to_string();
    assert!(error.contains("letter.txt"), "{error}");
    assert!(!taken.dir.exists());
    assert_eq!(names(&letter), ["letter.txt"]);
}

#[test]
fn an_init_that_was_cut_short_below_its_own_root_can_be_run_again() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("ca");
    fs::create_dir_all(dir.join("root")).unwrap();
    for name in ["init-unfinished", "lock", "issuing.key", "root/root.key", "root/root.json", "root/lock"] {
        fs::write(dir.join(name), "left behind").unwrap();
    }
    let mut authority = Authority::init(&dir, &founding(), &passphrase(), now()).unwrap();
    authority.publication(now()).unwrap();
    assert!(!dir.join("root/init-unfinished").exists() && !dir.join("init-unfinished").exists());
}

#[test]
fn g12_a_root_list_that_ran_out_is_told_and_renewed_with_the_root() {
    let case = Case::new();
    let mut authority = case.init(&Founding { root_list: 10 * DAY, ..founding() }).unwrap();
    let publication = authority.publication(now()).unwrap();
    assert!(
        publication.crls_next_update <= now().plus(10 * DAY),
        "a publication counts no longer than its lists"
    );
    let later = now().plus(11 * DAY);
    let told = authority.publication(later).unwrap_err().to_string();
    assert!(told.contains("valise-ca issuing crl"), "{told}");
    let wrong = RootPlace { dir: case.root.clone(), passphrase: passphrase() };
    let before = (snapshot(&case.dir), snapshot(&case.root));
    let told = authority.renew_root_list(&wrong, 400 * DAY, later).unwrap_err().to_string();
    assert!(told.contains("the passphrase does not open") && told.contains("root.key"), "{told}");
    let nowhere = RootPlace { dir: case.temp.path().join("nowhere"), ..case.place() };
    let told = authority.renew_root_list(&nowhere, 400 * DAY, later).unwrap_err().to_string();
    assert!(told.contains("--root-dir"), "{told}");
    let other = Case::new();
    drop(other.init(&founding()).unwrap());
    let told = authority.renew_root_list(&other.place(), 400 * DAY, later).unwrap_err().to_string();
    assert!(told.contains("root is another one"), "{told}");
    assert_eq!((snapshot(&case.dir), snapshot(&case.root)), before);
    authority.renew_root_list(&case.place(), 400 * DAY, later).unwrap();
    let renewed = authority.publication(later).unwrap();
    assert_ne!(renewed.crls[0], publication.crls[0]);
    assert_eq!(renewed.crls_next_update, later.plus(30 * DAY));
}
