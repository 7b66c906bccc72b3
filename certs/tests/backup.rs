//! Another passphrase, backups, and going on from one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may stop at the first surprise

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::{DAY, Founded, Node, PASSPHRASE, agency, ca, mode, now, passphrase, patiently, snapshot, text};
use serde_json::Value;
use valise_certs::backup::{self, AHEAD, Backup};
use valise_certs::{Authority, Passphrase, Profile, RootPlace};
use valise_proto::label::Classification;

const OTHER: &str = "another passphrase altogether";

/// A founded authority with one agency, published once; closed.
struct Case {
    temp: tempfile::TempDir,
    dir: PathBuf,
}

impl Case {
    fn new() -> Self {
        let Founded { temp, dir, mut authority, now } = Founded::new();
        let request = Node::new("fra/ncb").request();
        authority.enrol(&request, &Profile::up_to(Classification::Secret), now).unwrap();
        authority.publication(now).unwrap();
        drop(authority);
        let case = Self { temp, dir };
        case.write("passphrase", PASSPHRASE);
        case.write("other", OTHER);
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Runs the command in a folder of the case, with one of its passphrase files.
    fn run(&self, dir: &str, secret: &str, args: &[&str]) -> Output {
        let (dir, secret) = (self.path(dir), self.path(secret));
        let place = ["--dir", dir.to_str().unwrap(), "--passphrase-file", secret.to_str().unwrap()];
        ca(&[args, &place].concat())
    }

    fn done(&self, dir: &str, secret: &str, args: &[&str]) -> Value {
        let output = self.run(dir, secret, &[args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A refusal must leave everything as it was.
    fn refused(&self, dir: &str, secret: &str, args: &[&str], sentence: &str) {
        let before = snapshot(self.temp.path());
        let output = self.run(dir, secret, args);
        let told = text(&output.stderr);
        assert_ne!(output.status.code(), Some(0), "{args:?}");
        assert!(told.contains(sentence), "expected `{sentence}` in: {told}");
        assert_eq!(snapshot(self.temp.path()), before, "{args:?} changed something");
    }

    fn change(&self, new: &str) -> Vec<String> {
        let new = self.path(new).to_str().unwrap().to_owned();
        ["passphrase", "change", "--new-passphrase-file", &new].map(ToOwned::to_owned).to_vec()
    }
}

fn strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

fn other() -> Passphrase {
    Passphrase::new(OTHER).unwrap()
}

#[test]
fn the_passphrase_changes_for_all_keys_and_the_keys_stay_the_same() {
    let case = Case::new();
    let before = patiently(|| Authority::open(&case.dir, &passphrase())).unwrap().trust();
    let change = case.change("other");
    case.refused("ca", "other", &strs(&change), "the passphrase does not open");
    let same = case.change("passphrase");
    case.refused("ca", "passphrase", &strs(&same), "the new passphrase is the old one");
    case.write("short", "short");
    case.refused("ca", "passphrase", &strs(&case.change("short")), "at least 12");
    case.done("ca", "passphrase", &strs(&change));
    case.refused(
        "ca",
        "passphrase",
        &["publish", "--out", case.path("p").to_str().unwrap()],
        "does not open",
    );
    let authority = patiently(|| Authority::open(&case.dir, &other())).unwrap();
    assert_eq!(authority.trust(), before);
    drop(authority);
    case.done("ca", "other", &["audit", "verify"]);
    let shown = case.done("ca", "other", &["audit", "show", "--action", "CHANGE_PASSPHRASE"]);
    assert_eq!(shown.as_array().unwrap().len(), 1, "{shown}");
    // And back.
    case.done("ca", "other", &strs(&case.change("passphrase")));
    patiently(|| Authority::open(&case.dir, &passphrase())).unwrap();
}

#[test]
fn the_roots_passphrase_changes_alone() {
    let case = Case::new();
    let change = [&case.change("other")[..], &["--root".to_owned()]].concat();
    let root = case.dir.join("root").to_str().unwrap().to_owned();
    let unasked = [&case.change("other")[..], &["--root-dir".to_owned(), root]].concat();
    case.refused("ca", "passphrase", &strs(&unasked), "give --root too");
    case.refused(
        "ca",
        "other",
        &strs(&[&case.change("passphrase")[..], &["--root".to_owned()]].concat()),
        "does not open",
    );
    let before = snapshot(&case.dir);
    case.done("ca", "passphrase", &strs(&change));
    let after = snapshot(&case.dir);
    let changed: Vec<_> = after.iter().filter(|(path, bytes)| before.get(*path) != Some(bytes)).collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert!(changed[0].0.ends_with("root/root.key"), "{changed:?}");
    // The authority opens as before; its root only with the new one.
    case.refused("ca", "passphrase", &["issuing", "crl"], "does not open");
    let other = case.path("other").to_str().unwrap().to_owned();
    case.done("ca", "passphrase", &["issuing", "crl", "--root-passphrase-file", &other]);
}

#[test]
fn an_interrupted_change_of_the_passphrase_is_finished_or_was_never_begun() {
    let case = Case::new();
    let old = snapshot(&case.dir);
    patiently(|| Authority::open(&case.dir, &passphrase()))
        .unwrap()
        .change_passphrase(&passphrase(), &other(), now())
        .unwrap();
    let new: Vec<(PathBuf, Vec<u8>)> =
        snapshot(&case.dir).into_iter().filter(|(path, bytes)| old.get(path) != Some(bytes)).collect();
    assert!(new.len() > 3, "keys, state and journal change: {new:?}");
    let back = |renamed: usize, marker: bool| {
        for (path, bytes) in &old {
            fs::write(path, bytes).unwrap();
        }
        let names: Vec<_> = new.iter().map(|(path, _)| path.file_name().unwrap().to_str().unwrap()).collect();
        for (number, (path, bytes)) in new.iter().enumerate() {
            let name = format!("{}.next", path.file_name().unwrap().to_str().unwrap());
            let next = if number < renamed { path.clone() } else { path.with_file_name(name) };
            fs::write(&next, bytes).unwrap();
            fs::set_permissions(&next, fs::Permissions::from_mode(0o600)).unwrap();
        }
        if marker {
            fs::write(case.dir.join("transaction"), names.join("\n")).unwrap();
        }
    };
    back(0, false);
    patiently(|| Authority::open(&case.dir, &passphrase())).unwrap();
    assert_eq!(snapshot(&case.dir), old, "something was left of a change that does not count");
    for renamed in 0..=new.len() {
        back(renamed, true);
        patiently(|| Authority::open(&case.dir, &other()))
            .unwrap_or_else(|error| panic!("after {renamed} files: {error}"));
        let now: Vec<_> = snapshot(&case.dir).into_keys().collect();
        assert_eq!(now, old.keys().cloned().collect::<Vec<_>>(), "something was left");
        case.done("ca", "other", &["audit", "verify"]);
    }
}

#[test]
fn a_backup_is_restored_and_goes_on_under_numbers_that_were_never_used() {
    let case = Case::new();
    let out = case.path("ca.backup");
    let made = case.done("ca", "passphrase", &["backup", "--out", out.to_str().unwrap()]);
    assert_eq!(mode(&out), 0o600);
    let words = String::from_utf8_lossy(&fs::read(&out).unwrap()).into_owned();
    assert!(words.contains("BEGIN ENCRYPTED PRIVATE KEY") && !words.contains("BEGIN PRIVATE KEY"));
    let checked = ca(&["restore", out.to_str().unwrap(), "--check", "--json"]);
    assert_eq!(serde_json::from_slice::<Value>(&checked.stdout).unwrap(), made);
    // What is signed after the backup ...
    let published = case.path("published").to_str().unwrap().to_owned();
    let later = case.done("ca", "passphrase", &["publish", "--out", &published]);
    let restored = case.done("anew", "passphrase", &["restore", out.to_str().unwrap()]);
    let began_at = made["header"]["directory_version"].as_u64().unwrap();
    assert!(restored["directory_version"].as_u64().unwrap() >= began_at + AHEAD);
    assert_eq!(restored["journal_head"], made["header"]["journal_head"]);
    // ... is older than what the restored authority signs.
    let again = case.done("anew", "passphrase", &["publish", "--out", &published]);
    for number in ["version", "crl_number"] {
        assert!(again[number].as_u64() > later[number].as_u64(), "{number}: {again} after {later}");
    }
    assert_eq!(again["trust_fingerprint"], later["trust_fingerprint"]);
    let shown = |dir: &str| case.done(dir, "passphrase", &["show", "fra/ncb"]);
    assert_eq!(shown("anew"), shown("ca"));
    let head = made["header"]["journal_head"].as_str().unwrap();
    case.done("anew", "passphrase", &["audit", "verify", "--head", head]);
    let deeds = case.done("anew", "passphrase", &["audit", "show", "--action", "RESTORE"]);
    assert_eq!(deeds[0]["facts"]["backup_sha256"], made["sha256"]);
    let anew = case.path("anew");
    assert_eq!((mode(&anew), mode(&anew.join("issuing.key"))), (0o700, 0o600));
    let names = |dir: &Path| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let (restored, former): (std::collections::BTreeSet<_>, std::collections::BTreeSet<_>) =
        (names(&anew), names(&case.dir));
    assert_eq!(restored, former);
    let mut authority = patiently(|| Authority::open(&anew, &passphrase())).unwrap();
    authority.suspend(&agency("fra/ncb"), now()).unwrap();
}

#[test]
fn a_backup_is_whole_new_and_elsewhere_and_a_restore_is_refused_without_changing_anything() {
    let case = Case::new();
    let out = case.path("ca.backup").to_str().unwrap().to_owned();
    let backup = ["backup", "--out", &out];
    let within = case.dir.join("ca.backup").to_str().unwrap().to_owned();
    case.refused("ca", "passphrase", &["backup", "--out", &within], "and would be lost with it");
    let open = patiently(|| Authority::open(&case.dir, &passphrase())).unwrap();
    case.refused("ca", "passphrase", &backup, "is in use by another valise-ca");
    drop(open);
    case.refused("nowhere", "passphrase", &backup, "holds no authority");
    case.done("ca", "passphrase", &backup);
    case.refused("ca", "passphrase", &backup, "is there already");
    let restore = ["restore", &out];
    case.refused("anew", "other", &restore, "the passphrase does not open");
    case.refused("ca", "passphrase", &restore, "holds an authority already");
    fs::create_dir(case.path("taken")).unwrap();
    fs::write(case.path("taken/letter.txt"), "kept").unwrap();
    case.refused("taken", "passphrase", &restore, "holds letter.txt");
    // One byte altered, anywhere, or missing.
    let whole = fs::read(&out).unwrap();
    for at in (20..whole.len()).step_by(whole.len() / 40) {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        fs::write(case.path("altered"), altered).unwrap();
        let error = Backup::read(&case.path("altered")).unwrap_err().to_string();
        assert!(error.contains("is damaged: its digest"), "byte {at}: {error}");
        fs::write(case.path("altered"), &whole[..at]).unwrap();
        let error = Backup::read(&case.path("altered")).unwrap_err().to_string();
        assert!(error.contains("is damaged"), "cut at {at}: {error}");
    }
    let altered = case.path("altered").to_str().unwrap().to_owned();
    case.refused("anew", "passphrase", &["restore", &altered], "is damaged");
    let newer = String::from_utf8_lossy(&whole).replacen("BACKUP 1\n", "BACKUP 2\n", 1);
    fs::write(&altered, newer).unwrap();
    case.refused("anew", "passphrase", &["restore", &altered], "of format 2; this valise-ca knows format 1");
    case.refused("anew", "passphrase", &["restore", case.path("other").to_str().unwrap()], "is not a backup");
}

#[test]
fn a_restore_that_was_stopped_is_done_again_and_touches_nothing_of_others() {
    let case = Case::new();
    let out = case.path("ca.backup");
    let made = patiently(|| backup::make(&case.dir, &out, now())).unwrap();
    let (anew, beside) = (case.path("anew"), case.path("anew.restoring"));
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join("letter.txt"), "kept").unwrap();
    let error = made.restore(&anew, &passphrase(), now().into()).unwrap_err().to_string();
    assert!(error.contains("is in the way") && !anew.exists(), "{error}");
    assert_eq!(fs::read_to_string(beside.join("letter.txt")).unwrap(), "kept");
    fs::write(beside.join("restore-unfinished"), "").unwrap();
    made.restore(&anew, &passphrase(), now().into()).unwrap();
    assert!(!beside.exists());
    patiently(|| Authority::open(&anew, &passphrase())).unwrap();
}

#[test]
fn a_damaged_folder_is_not_backed_up() {
    let case = Case::new();
    let journal = case.dir.join("journal.jsonl");
    let altered = fs::read_to_string(&journal).unwrap().replace("fra/ncb", "ken/ncb");
    fs::write(&journal, altered).unwrap();
    let out = case.path("ca.backup");
    let error = patiently(|| backup::make(&case.dir, &out, now())).unwrap_err().to_string();
    assert!(error.contains("the folder is damaged") && !out.exists(), "{error}");
}

#[test]
fn g12_a_backup_restored_twice_repeats_no_number_and_the_header_is_not_believed() {
    let case = Case::new();
    let out = case.path("ca.backup");
    let made = patiently(|| backup::make(&case.dir, &out, now())).unwrap();
    let mut numbers = Vec::new();
    for (name, wait) in [("first", 0), ("second", 1)] {
        let at = now().plus(std::time::Duration::from_secs(3600 * wait));
        let restored = made.restore(&case.path(name), &passphrase(), at.into()).unwrap();
        assert!(restored.last_deed_at < made.header().made_at, "{restored:?}");
        let mut authority = patiently(|| Authority::open(&case.path(name), &passphrase())).unwrap();
        let place = RootPlace { dir: case.path(name).join("root"), passphrase: passphrase() };
        patiently(|| authority.renew_root_list(&place, 365 * DAY, at)).unwrap();
        for _ in 0..3 {
            let publication = authority.publication(at).unwrap();
            let (_, list) = x509_parser::parse_x509_crl(&publication.crls[0]).unwrap();
            let root_list = u64::try_from(list.crl_number().unwrap()).unwrap();
            numbers.push([publication.directory.version(), publication.crl_number, root_list]);
        }
    }
    let (first, second) = numbers.split_at(3);
    for which in 0..3 {
        assert!(second[0][which] > first[2][which], "{numbers:?}");
    }
}

#[test]
fn g12_a_backup_of_a_clock_that_was_ahead_is_restored_when_that_is_accepted() {
    let Founded { temp, dir, mut authority, now: at } = Founded::new();
    authority.publication(at.plus(DAY)).unwrap();
    drop(authority);
    let case = Case { temp, dir };
    case.write("passphrase", PASSPHRASE);
    let out = case.path("ca.backup").to_str().unwrap().to_owned();
    case.done("ca", "passphrase", &["backup", "--out", &out]);
    case.refused("anew", "passphrase", &["restore", &out], "--accept-clock");
    case.done("anew", "passphrase", &["restore", &out, "--accept-clock"]);
}
