//! `valise-ca` killed at random moments of its work.
//!
//! Whatever moment it is: the tool opens the folder afterwards, the journal is whole, the command that was killed can
//! be given again, and nothing that ever left the authority bears a number that something else bears.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may stop at the first surprise

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Founded, Node, PASSPHRASE, member, now, passphrase, text};
use getrandom::SysRng;
use rand_core::{Rng, UnwrapErr};
use valise_certs::authority::{CRLS_FILE, DIRECTORY_FILE};
use valise_certs::register::MemberView;
use valise_certs::{Authority, Passphrase, Profile, Register, audit};
use valise_proto::directory::Directory;
use valise_proto::enrolment::SignedEnrolmentBundle;
use valise_proto::id::Digest;
use valise_proto::label::Classification;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

/// How often each of the three commands that issue and publish is killed: some 200 times together.
const KILLS: u32 = 67;

/// A new authority, closed, with its passphrase in a file beside its folder.
fn found() -> (tempfile::TempDir, PathBuf) {
    let Founded { temp, dir, authority, .. } = Founded::new();
    drop(authority);
    let secret = temp.path().join("passphrase");
    fs::write(&secret, PASSPHRASE).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    (temp, dir)
}

/// An authority, and everything that ever left it.
struct Case {
    temp: tempfile::TempDir,
    dir: PathBuf,
    /// What bears each number: serials, directory versions, numbers of lists.
    seen: BTreeMap<String, Bytes>,
    /// Heads of the journal that somebody noted.
    noted: Option<Digest>,
    serials: BTreeSet<String>,
    takes: Duration,
    /// How often the command is to be killed, how often that was tried, and how often it came in time.
    kills: u32,
    tried: u32,
    killed: u32,
    /// How many of them came before the change counted, and after.
    before: u32,
    after: u32,
}

impl Case {
    fn new(kills: u32) -> Self {
        let (temp, dir) = found();
        let (seen, serials) = (BTreeMap::new(), BTreeSet::new());
        let (takes, noted) = (Duration::ZERO, None);
        let (tried, killed, before, after) = (0, 0, 0, 0);
        Self { temp, dir, seen, noted, serials, takes, kills, tried, killed, before, after }
    }

    /// Now and then goes on with another authority: what has much on record is slow to look through.
    fn now_and_then_anew(&mut self) {
        if self.tried.is_multiple_of(20) {
            (self.temp, self.dir) = found();
            (self.seen, self.serials, self.noted) = (BTreeMap::new(), BTreeSet::new(), None);
        }
    }

    fn path(&self, name: &str) -> String {
        self.temp.path().join(name).to_str().unwrap().to_owned()
    }

    fn start(&self, args: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_valise-ca"));
        command.args(args).args(["--dir", self.dir.to_str().unwrap()]);
        command.args(["--passphrase-file", &self.path("passphrase")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Lets the command come to its end, and learns from that how long it takes.
    fn finish(&mut self, args: &[&str]) -> Output {
        let began = Instant::now();
        let output = self.start(args).wait_with_output().unwrap();
        self.takes = began.elapsed();
        output
    }

    fn done(&mut self, args: &[&str]) {
        let output = self.finish(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    }

    /// Kills the command at a moment of its work: the run time is divided into as many parts as there are kills, and
    /// the moment drawn within the next of them. A kill that comes after the end shows nothing and is not counted.
    fn kill(&mut self, args: &[&str]) {
        let within = f64::from(UnwrapErr(SysRng).next_u32()) / f64::from(u32::MAX);
        let part = f64::from(self.tried % self.kills) + within;
        // A little beyond the end too, because no run takes as long as the last.
        let moment = self.takes.mul_f64(1.1 * part / f64::from(self.kills));
        self.tried += 1;
        assert!(self.tried <= 3 * self.kills, "only {} kills of {} came in time", self.killed, self.tried);
        let mut child = self.start(args);
        thread::sleep(moment);
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        if output.status.signal().is_some() {
            self.killed += 1;
        } else {
            assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        }
    }

    fn goes_on(&self) -> bool {
        self.killed < self.kills
    }

    /// Whether what was killed counts.
    fn count(&mut self, counts: bool) {
        if counts { self.after += 1 } else { self.before += 1 }
    }

    /// Everything that must hold whenever the tool was stopped.
    fn check(&mut self) {
        let audited = audit::verify(&self.dir, self.noted).unwrap_or_else(|error| panic!("audit: {error}"));
        self.noted = Some(audited.head);
        drop(Authority::open(&self.dir, &passphrase()).unwrap_or_else(|error| panic!("open: {error}")));
        let issued = audit::entries(&self.dir).unwrap().into_iter().flat_map(|entry| entry.issued);
        let issued: BTreeSet<String> = issued.map(|serial| serial.to_string()).collect();
        let unknown: Vec<_> = self.serials.difference(&issued).collect();
        assert!(unknown.is_empty(), "left without being on record: {unknown:?}");
    }

    /// Notes what bears a number, which nothing else may bear.
    fn note(&mut self, number: String, what: &Bytes) {
        let first = self.seen.entry(number.clone()).or_insert_with(|| what.clone());
        assert_eq!(first, what, "{number} was used twice");
    }

    fn note_directory(&mut self, encoded: &Bytes) {
        let trust = Register::open(&self.dir).unwrap().trust();
        let directory = Directory::verify(encoded.clone(), &trust).unwrap();
        self.note(format!("directory {}", directory.version()), encoded);
        let delegation = &directory.content().delegation;
        let generation = delegation.delegation().generation;
        self.note(format!("delegation {generation}"), &delegation.encode());
    }

    fn note_list(&mut self, der: &Bytes) {
        let (_, list) = CertificateRevocationList::from_der(der).unwrap();
        let number = list.crl_number().unwrap();
        self.note(format!("list {number} of {}", list.issuer()), der);
    }

    /// Looks at a bundle, if one left.
    fn note_bundle(&mut self, path: &str) {
        let Ok(text) = fs::read_to_string(path) else { return };
        let signed = SignedEnrolmentBundle::from_pem(&text).expect("a bundle is whole or not there");
        let bundle = signed.bundle();
        let leaf = bundle.chain[0].clone();
        let (_, parsed) = X509Certificate::from_der(&leaf).unwrap();
        let serial = hex::encode(parsed.tbs_certificate.serial.to_bytes_be());
        self.note(format!("certificate {serial}"), &leaf);
        self.serials.insert(serial);
        self.note_directory(&bundle.directory.clone());
        for der in bundle.crls.clone() {
            self.note_list(&der);
        }
    }

    /// Looks at what was published, if anything was.
    fn note_published(&mut self, out: &str) {
        if let Ok(encoded) = fs::read(Path::new(out).join(DIRECTORY_FILE)) {
            self.note_directory(&encoded.into());
        }
        let Ok(lists) = fs::read_to_string(Path::new(out).join(CRLS_FILE)) else { return };
        for der in pem::parse_many(&lists).expect("lists are whole or not there") {
            self.note_list(&der.into_contents().into());
        }
    }

    fn standing(&self, name: &str) -> Option<String> {
        let register = Register::open(&self.dir).unwrap();
        register.member(&member(name)).ok().map(|view| match view {
            MemberView::Agency(view) => view.standing.to_string(),
            MemberView::Broker(view) => view.standing.to_string(),
        })
    }

    /// The kills must have come on both sides of the moment from which the change counts.
    fn hit(&self) {
        let Self { killed, tried, before, after, .. } = self;
        println!(
            "{killed} kills of {tried} came in time; before the change counted: {before}, after: {after}"
        );
        assert!(*before >= 5 && *after >= 1, "{before} kills before the change counted, {after} after");
    }
}

/// Enrols an agency without being disturbed.
fn enrol(case: &Case, name: &str) {
    let mut authority = Authority::open(&case.dir, &passphrase()).unwrap();
    let profile = Profile::up_to(Classification::Secret);
    authority.enrol(&Node::new(name).request(), &profile, now()).unwrap();
}

#[test]
fn enrol_is_killed_at_random_and_nothing_is_lost_or_used_twice() {
    let mut case = Case::new(KILLS);
    while case.goes_on() {
        case.now_and_then_anew();
        let name = format!("fra/u{}", case.tried);
        let (request, out) = (case.path("request.pem"), case.path("bundle.pem"));
        let enrol = ["enrol", &request, "--out", &out, "--accept-fingerprint", "--clearance", "SECRET"];
        fs::write(&request, Node::new("ken/ncb").request().to_pem()).unwrap();
        if case.takes.is_zero() {
            case.done(&enrol);
        }
        fs::write(&request, Node::new(&name).request().to_pem()).unwrap();
        let _ = fs::remove_file(&out);
        case.kill(&enrol);
        case.note_bundle(&out);
        case.check();
        case.count(case.standing(&name).is_some());
        // The same request again, whether or not it was granted already.
        case.done(&enrol);
        case.note_bundle(&out);
        assert_eq!(case.standing(&name).as_deref(), Some("ACTIVE"));
    }
    case.check();
    case.hit();
}

#[test]
fn revoke_is_killed_at_random_and_is_done_or_not() {
    let mut case = Case::new(KILLS);
    while case.goes_on() {
        case.now_and_then_anew();
        let name = format!("fra/u{}", case.tried);
        enrol(&case, &name);
        let revoke = ["revoke", &name, "--reason", "key-compromise"];
        if case.takes.is_zero() {
            enrol(&case, "ken/ncb");
            case.done(&["revoke", "ken/ncb", "--reason", "key-compromise"]);
        }
        case.kill(&revoke);
        case.check();
        let counts = match case.standing(&name).as_deref() {
            Some("ACTIVE") => false,
            Some("REVOKED") => true,
            other => panic!("{name} is {other:?}"),
        };
        case.count(counts);
        if !counts {
            case.done(&revoke);
        }
        assert_eq!(case.standing(&name).as_deref(), Some("REVOKED"));
    }
    case.hit();
}

#[test]
fn publish_is_killed_at_random_and_no_number_is_used_twice() {
    let mut case = Case::new(KILLS);
    let version = |case: &Case| Register::open(&case.dir).unwrap().authority().unwrap().directory_version;
    while case.goes_on() {
        case.now_and_then_anew();
        let out = case.path("published");
        let publish = ["publish", "--out", &out];
        if case.takes.is_zero() {
            case.done(&publish);
        }
        let last = version(&case);
        case.kill(&publish);
        case.note_published(&out);
        case.check();
        case.count(version(&case) > last);
        case.done(&publish);
        case.note_published(&out);
    }
    case.check();
    case.hit();
}

#[test]
fn a_change_of_the_passphrase_is_killed_at_random_and_one_of_the_two_opens() {
    let mut case = Case::new(KILLS / 2);
    let other = case.path("other");
    fs::write(&other, "another passphrase altogether").unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
    let swap = |case: &Case| {
        fs::rename(&other, case.path("spare")).unwrap();
        fs::rename(case.path("passphrase"), &other).unwrap();
        fs::rename(case.path("spare"), case.path("passphrase")).unwrap();
    };
    let opens = |case: &Case| {
        let secret = Passphrase::read(case.path("passphrase").as_ref()).unwrap();
        // A process that another test is about to start holds a copy of the lock for a moment.
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let Err(error) = Authority::open(&case.dir, &secret).map(drop) else { return true };
            let told = error.to_string();
            if !told.contains("is in use by") || Instant::now() > deadline {
                assert!(told.contains("passphrase"), "{told}");
                return false;
            }
            thread::yield_now();
        }
    };
    let change = ["passphrase", "change", "--new-passphrase-file", &other];
    case.done(&change);
    swap(&case);
    while case.goes_on() {
        case.kill(&change);
        let counts = !opens(&case);
        case.count(counts);
        if counts {
            swap(&case);
            assert!(opens(&case), "neither passphrase opens the folder");
        }
        case.noted = Some(audit::verify(&case.dir, case.noted).unwrap().head);
        case.done(&change);
        swap(&case);
    }
    case.hit();
}

#[test]
fn a_renewal_of_the_issuing_authority_is_killed_at_random_and_the_tool_goes_on_with_one_of_the_two() {
    let mut case = Case::new(KILLS / 2);
    let renew = ["issuing", "renew"];
    let generation = |case: &Case| {
        let entries = audit::entries(&case.dir).unwrap();
        entries.iter().filter(|entry| entry.action == "RENEW_ISSUING").count()
    };
    case.done(&renew);
    while case.goes_on() {
        case.now_and_then_anew();
        let before = generation(&case);
        case.kill(&renew);
        // The folder opens, with the keys that belong to the state it holds.
        case.check();
        let counts = generation(&case) > before;
        case.count(counts);
        let out = case.path("published");
        case.done(&["publish", "--out", &out]);
        // Directories verify by a delegation that no other directory of this generation contradicts.
        case.note_published(&out);
        case.done(&renew);
        case.check();
    }
    case.hit();
}
