//! The transcript of a ceremony, fit to print and sign.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may stop at the first surprise

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use common::{PASSPHRASE, ca, snapshot, text};
use valise_certs::Register;

struct Case {
    temp: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let case = Self { temp: tempfile::tempdir().unwrap() };
        for (name, content) in
            [("passphrase", PASSPHRASE), ("root-passphrase", "another medium, another phrase")]
        {
            fs::write(case.path(name), content).unwrap();
            fs::set_permissions(case.path(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn typed(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn init(&self) -> std::process::Output {
        let mut args = vec!["init".to_owned()];
        for (option, value) in [
            ("--dir", self.typed("ca")),
            ("--root-dir", self.typed("stick")),
            ("--passphrase-file", self.typed("passphrase")),
            ("--root-passphrase-file", self.typed("root-passphrase")),
            ("--trust-domain", "exchange.example".to_owned()),
            ("--policy", "exchange.example".to_owned()),
            ("--ceiling-state", "FRA".to_owned()),
            ("--ceiling-clearance", "SECRET".to_owned()),
            ("--transcript", self.typed("page.txt")),
        ] {
            args.extend([option.to_owned(), value]);
        }
        ca(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The one page of a folder.
    fn page(&self, folder: &str) -> String {
        let entries = fs::read_dir(self.path(folder)).unwrap().map(|entry| entry.unwrap().path());
        let pages: Vec<_> = entries
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("ceremony-"))
            .collect();
        assert_eq!(pages.len(), 1, "{pages:?}");
        fs::read_to_string(&pages[0]).unwrap()
    }
}

/// The digits of a fingerprint as `openssl x509 -fingerprint -sha256` shows them, without its colons.
fn openssl_fingerprint(certificate: &str) -> String {
    let mut command = std::process::Command::new("openssl");
    command.args(["x509", "-in", certificate, "-noout", "-fingerprint", "-sha256"]);
    let shown = text(&command.output().expect("install OpenSSL 3").stdout);
    shown.split_once('=').unwrap().1.trim().replace(':', "").to_lowercase()
}

#[test]
fn the_founding_writes_a_page_to_print_and_sign_into_both_folders_and_where_it_is_wanted() {
    let case = Case::new();
    let made = case.init();
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(text(&made.stdout).contains("Transcript, to be printed and signed"), "{}", text(&made.stdout));
    let page = case.page("ca");
    assert_eq!((&case.page("stick"), &fs::read_to_string(case.path("page.txt")).unwrap()), (&page, &page));
    assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
    let register = Register::open(&case.path("ca")).unwrap();
    let view = register.authority().unwrap();
    for word in [
        "founding of the authority".to_owned(),
        view.founded_at.to_string(),
        view.root_not_after.to_string(),
        view.issuing_not_after.to_string(),
        register.trust().fingerprint(),
        view.directory_key.to_string(),
        register.trust().root_keys[0].key_id().to_string(),
        format!("valise-ca {}", env!("CARGO_PKG_VERSION")),
        "generation 1".to_owned(),
        "States FRA".to_owned(),
        "0600  issuing.key".to_owned(),
        "0600  root.key".to_owned(),
        "Witness".to_owned(),
        "signature, date".to_owned(),
    ] {
        assert!(page.contains(&word), "`{word}` is not in: {page}");
    }
    // As typed, though a line may break within.
    let joined = page.replace(['\n', ' '], "");
    assert!(joined.contains(&case.typed("stick")) && joined.contains(&case.typed("ca")), "{page}");
    for file in ["stick/root.crt", "ca/issuing.crt"] {
        let digits = openssl_fingerprint(&case.typed(file));
        assert!(joined.contains(&digits), "{file}: {digits} is not in: {page}");
    }
    for secret in [PASSPHRASE, "another medium", "PRIVATE KEY"] {
        assert!(!page.contains(secret), "{page}");
    }
}

#[test]
fn the_renewal_of_the_issuing_authority_writes_another_page() {
    let case = Case::new();
    assert!(case.init().status.success());
    fs::remove_file(case.path("page.txt")).unwrap();
    for folder in ["ca", "stick"] {
        for entry in fs::read_dir(case.path(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|kind| kind == "txt") {
                fs::remove_file(path).unwrap();
            }
        }
    }
    let names = ["ca", "stick", "passphrase", "root-passphrase", "page.txt"];
    let [ca_dir, stick, secret, root_secret, page] = names.map(|name| case.typed(name));
    let renewed = ca(&[
        "issuing",
        "renew",
        "--dir",
        &ca_dir,
        "--root-dir",
        &stick,
        "--passphrase-file",
        &secret,
        "--root-passphrase-file",
        &root_secret,
        "--transcript",
        &page,
    ]);
    assert!(renewed.status.success(), "{}", text(&renewed.stderr));
    let page = case.page("ca");
    assert_eq!((&case.page("stick"), &fs::read_to_string(case.path("page.txt")).unwrap()), (&page, &page));
    for word in ["renewal of the issuing authority", "generation 2"] {
        assert!(page.contains(word), "`{word}` is not in: {page}");
    }
    let digits = openssl_fingerprint(&case.typed("ca/issuing.crt"));
    assert!(page.replace(['\n', ' '], "").contains(&digits), "{page}");
}

#[test]
fn a_page_that_was_signed_is_never_written_over() {
    let case = Case::new();
    fs::write(case.path("page.txt"), "signed").unwrap();
    let before = snapshot(case.temp.path());
    let refused = case.init();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("is there already; name a new file"), "{}", text(&refused.stderr));
    assert_eq!(snapshot(case.temp.path()), before, "something was founded all the same");
}

#[test]
fn how_the_authority_stands_is_put_on_paper_without_a_passphrase() {
    let case = Case::new();
    assert!(case.init().status.success());
    let (dir, out) = (case.typed("ca"), case.typed("standing.txt"));
    let args = ["transcript", "--dir", &dir, "--out", &out];
    let before = snapshot(&case.path("ca"));
    let written = ca(&args);
    assert!(written.status.success(), "{}", text(&written.stderr));
    assert_eq!(snapshot(&case.path("ca")), before);
    let page = fs::read_to_string(&out).unwrap();
    assert!(page.contains("how the authority stands") && !page.contains("root.key"), "{page}");
    assert_eq!(ca(&args).status.code(), Some(1), "the page was written over");
}
