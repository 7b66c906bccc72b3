//! What goes wrong around the folder: a full disk, two administrators at once, standard output that cannot be written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may stop at the first surprise

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use common::{DAY, Founded, Node, PASSPHRASE, agency, snapshot, text};
use valise_certs::{Profile, audit};
use valise_proto::label::Classification;

/// Most KiB that a file of these small authorities has.
const KIB_MAX: u32 = 64;

struct Case {
    temp: tempfile::TempDir,
    dir: PathBuf,
    secret: String,
}

impl Case {
    /// An authority with a broker and an agency, whose journal is longer than its state where that is asked for.
    fn new(long_journal: bool) -> Self {
        let mut founded = Founded::new();
        let (authority, now) = (&mut founded.authority, founded.now);
        authority.issue_broker(&"b1".parse().unwrap(), vec!["b:1".to_owned()], now).unwrap();
        let profile = Profile::up_to(Classification::Secret);
        authority.enrol(&Node::new("fra/ncb").request(), &profile, now).unwrap();
        for _ in 0..if long_journal { 60 } else { 0 } {
            authority.suspend(&agency("fra/ncb"), now).unwrap();
            authority.reinstate(&agency("fra/ncb"), now).unwrap();
        }
        let Founded { temp, dir, authority, .. } = founded;
        drop(authority);
        let case = Self { secret: temp.path().join("secret").to_str().unwrap().to_owned(), dir, temp };
        case.private("secret", PASSPHRASE);
        case
    }

    fn path(&self, name: &str) -> String {
        self.temp.path().join(name).to_str().unwrap().to_owned()
    }

    fn private(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Runs the command where no file may become longer than so many KiB.
    fn within(&self, kib: u32, args: &[&str]) -> Output {
        let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\"");
        let mut command = Command::new("bash");
        command.args(["-c", &script, "bash", env!("CARGO_BIN_EXE_valise-ca")]).args(args);
        command.args(["--passphrase-file", &self.secret]).stdin(Stdio::null()).output().unwrap()
    }

    fn start(&self, args: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_valise-ca"));
        command.args(args).args(["--dir", self.dir.to_str().unwrap(), "--passphrase-file", &self.secret]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Gives the disk more and more room until the command is done. As long as it is not, it says so, and the folder
    /// is as it was. Gives how often it was refused.
    fn with_more_and_more_room(&self, args: &[&str]) -> u32 {
        let args = [args, &["--dir", self.dir.to_str().unwrap()]].concat();
        for kib in 0..KIB_MAX {
            let before = snapshot(&self.dir);
            let output = self.within(kib, &args);
            let told = text(&output.stderr);
            assert!(!told.contains("panicked"), "{args:?} within {kib} KiB: {told}");
            if output.status.success() {
                audit::verify(&self.dir, None).unwrap();
                return kib;
            }
            assert_eq!(output.status.code(), Some(1), "{args:?} within {kib} KiB: {told}");
            assert!(told.contains("cannot write"), "{args:?} within {kib} KiB: {told}");
            assert_eq!(snapshot(&self.dir), before, "{args:?} within {kib} KiB: {told}");
            audit::verify(&self.dir, None).unwrap();
        }
        panic!("{args:?} is not done within {KIB_MAX} KiB");
    }
}

#[test]
fn a_full_disk_leaves_the_folder_as_it_was() {
    for long_journal in [false, true] {
        let case = Case::new(long_journal);
        let request = case.private("request.pem", &Node::new("ken/ncb").request().to_pem());
        let (bundle, published, kit) = (case.path("bundle.pem"), case.path("published"), case.path("b2"));
        let enrol = ["enrol", &request, "--out", &bundle, "--accept-fingerprint", "--clearance", "SECRET"];
        assert!(case.with_more_and_more_room(&enrol) > 1, "the disk was never full");
        for args in [
            &["suspend", "ken/ncb"][..],
            &["revoke", "ken/ncb", "--reason", "superseded"],
            &["clearance", "set", "fra/ncb", "--clearance", "RESTRICTED"],
            &["broker", "endpoints", "b1", "--endpoint", "b:2"],
            &["broker", "issue", "b2", "--endpoint", "b:3", "--out", &kit],
            &["publish", "--out", &published],
            &["issuing", "crl"],
            &["issuing", "renew"],
        ] {
            assert!(case.with_more_and_more_room(args) > 1, "{args:?}: the disk was never full");
        }
    }
}

#[test]
fn an_init_on_a_full_disk_leaves_nothing() {
    let case = Case::new(false);
    let (dir, root) = (case.path("new"), case.path("stick"));
    let args = ["init", "--dir", &dir, "--root-dir", &root, "--root-passphrase-file", &case.secret];
    let args = [&args[..], &["--trust-domain", "exchange.example", "--policy", "exchange.example"]].concat();
    let mut refused = 0;
    while !case.within(refused, &args).status.success() {
        assert!(!PathBuf::from(&dir).exists() && !PathBuf::from(&root).exists(), "within {refused} KiB");
        refused += 1;
        assert!(refused < KIB_MAX, "init is not done within {KIB_MAX} KiB");
    }
    assert!(refused > 1, "the disk was never full");
    audit::verify(dir.as_ref(), None).unwrap();
}

#[test]
fn of_two_administrators_at_once_one_is_told_to_wait_and_nothing_is_lost() {
    let case = Case::new(false);
    let before = audit::verify(&case.dir, None).unwrap().entries;
    let endpoints = ["broker", "endpoints", "b1", "--endpoint", "b:2"];
    // One who is at work for long: the other is told.
    let at_work = fs::File::open(case.dir.join("lock")).unwrap();
    at_work.lock().unwrap();
    let held = snapshot(&case.dir);
    let output = case.start(&endpoints).wait_with_output().unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("is in use by another valise-ca; wait until it is done"), "{told}");
    assert_eq!(snapshot(&case.dir), held);
    drop(at_work);
    // Those that are done in a moment wait for each other.
    const PAIRS: u64 = 20;
    for _ in 0..PAIRS {
        for process in [case.start(&endpoints), case.start(&endpoints)] {
            let output = process.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
    }
    assert_eq!(audit::verify(&case.dir, None).unwrap().entries, before + 2 * PAIRS);
}

#[test]
fn what_cannot_be_printed_was_done_all_the_same_and_ends_with_a_sentence() {
    let case = Case::new(false);
    let dir = case.dir.to_str().unwrap();
    let entries = || audit::verify(&case.dir, None).unwrap().entries;
    for (args, done) in [
        (&["list"][..], 0),
        (&["show", "fra/ncb", "--json"], 0),
        (&["suspend", "fra/ncb"], 1),
        (&["audit", "show"], 0),
    ] {
        let before = entries();
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_valise-ca"));
        command.args(args).args(["--dir", dir, "--passphrase-file", &case.secret]).stdout(full);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {told}");
        assert!(!told.contains("panicked"), "{args:?}: {told}");
        assert_eq!(entries(), before + done, "{args:?}");
    }
}

#[test]
fn g12_a_clock_before_the_founding_is_told_by_every_command_that_signs() {
    // Founded tomorrow, by the clock of this machine.
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("ca");
    let tomorrow = common::now().plus(DAY);
    let founded = valise_certs::Authority::init(&dir, &common::founding(), &common::passphrase(), tomorrow);
    drop(founded.unwrap());
    let case = Case { secret: temp.path().join("secret").to_str().unwrap().to_owned(), dir, temp };
    case.private("secret", PASSPHRASE);
    let request = case.private("request.pem", &Node::new("ken/ncb").request().to_pem());
    let (bundle, published, kit) = (case.path("bundle.pem"), case.path("published"), case.path("b2"));
    let before = snapshot(&case.dir);
    for args in [
        &["enrol", &request, "--out", &bundle, "--accept-fingerprint", "--clearance", "SECRET"][..],
        &["publish", "--out", &published],
        &["broker", "issue", "b2", "--endpoint", "b:3", "--out", &kit],
        &["issuing", "renew"],
        &["issuing", "crl"],
    ] {
        let output = case.start(args).wait_with_output().unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {told}");
        assert!(told.contains("set the clock"), "{args:?}: {told}");
        assert_eq!(snapshot(&case.dir), before, "{args:?}: {told}");
    }
}

#[test]
fn a_publication_that_is_on_record_and_was_not_written_says_so_and_what_to_do() {
    let case = Case::new(false);
    let published = case.path("published");
    // Something stands where the last of the files belongs.
    fs::create_dir_all(PathBuf::from(&published).join("directory.valise/in the way")).unwrap();
    for args in [&["publish"][..], &["emergency", "fra/ncb"]] {
        let ended = case.start(&[args, &["--out", &published]].concat()).wait_with_output().unwrap();
        let told = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{told}");
        assert!(told.contains("directory.valise") && told.contains("on record"), "{told}");
        assert!(told.contains("run `valise-ca publish --out DIR`"), "{told}");
    }
    fs::remove_dir_all(&published).unwrap();
    let ended = case.start(&["publish", "--out", &published]).wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", text(&ended.stderr));
}

#[test]
fn a_folder_of_somebody_else_is_not_taken_for_an_empty_one() {
    let case = Case::new(false);
    let nowhere = case.path("nowhere");
    let told = |dir: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_valise-ca"));
        text(&command.args(["list", "--dir", dir]).output().unwrap().stderr)
    };
    assert!(told(&nowhere).contains("if that is the right folder"), "{}", told(&nowhere));
    // A file in the place of the folder: looking into it is refused, as with a folder that is closed to this user.
    let closed = case.private("closed", "no folder");
    assert!(told(&closed).contains("cannot look for this file"), "{}", told(&closed));
}
