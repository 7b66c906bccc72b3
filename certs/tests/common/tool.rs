//! `valise-ca` as people use it, on an authority of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use super::{PASSPHRASE, ca, snapshot, text};

pub struct Case {
    pub temp: tempfile::TempDir,
    pub dir: PathBuf,
}

impl Case {
    /// A founded authority.
    pub fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let case = Self { dir: temp.path().join("ca"), temp };
        case.write("passphrase", PASSPHRASE);
        let made = case.init(&case.dir);
        assert!(made.status.success(), "{}", text(&made.stderr));
        case
    }

    pub fn init(&self, dir: &Path) -> Output {
        let secret = self.path("passphrase");
        let dir = dir.to_str().unwrap();
        let policy = "exchange.example";
        ca(&[
            "init",
            "--dir",
            dir,
            "--passphrase-file",
            &secret,
            "--trust-domain",
            policy,
            "--policy",
            policy,
        ])
    }

    pub fn path(&self, name: &str) -> String {
        self.temp.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file that only its owner may read.
    pub fn write(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub fn run(&self, args: &[&str]) -> Output {
        let secret = self.path("passphrase");
        let mut all = args.to_vec();
        all.extend_from_slice(&["--dir", self.dir.to_str().unwrap(), "--passphrase-file", &secret]);
        ca(&all)
    }

    pub fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let mut all = args.to_vec();
        all.push("--json");
        serde_json::from_str(&self.done(&all)).unwrap()
    }

    /// A refusal must leave the folder as it was.
    pub fn refused(&self, args: &[&str], code: i32, sentence: &str) {
        let before = snapshot(&self.dir);
        let output = self.run(args);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {told}");
        assert!(told.contains(sentence), "expected `{sentence}` in: {told}");
        assert_eq!(snapshot(&self.dir), before, "{args:?} changed the folder");
    }
}
