//! The issuing authority by command. Apart from the tests that open a root themselves: a process that is just being
//! started holds, for a moment, the locks of the one that starts it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may stop at the first surprise

mod common;

use std::fs;

use common::{Founded, PASSPHRASE, ca, text};

#[test]
fn the_issuing_authority_is_listed_renewed_and_revoked_by_command() {
    let founded = Founded::new();
    let secret = founded.temp.path().join("passphrase");
    fs::write(&secret, PASSPHRASE).unwrap();
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let Founded { temp: _temp, dir, authority, .. } = founded;
    drop(authority);
    let run = |args: &[&str]| {
        let common =
            ["--dir", dir.to_str().unwrap(), "--passphrase-file", secret.to_str().unwrap(), "--json"];
        let output = ca(&[args, &common].concat());
        assert!(output.status.success(), "{args:?}: {}", text(&output.stdout));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let first = run(&["issuing", "renew", "--ceiling-state", "FRA"]);
    let second = run(&["issuing", "renew", "--ceiling-clearance", "SECRET"]);
    assert_ne!(first["directory_key"], second["directory_key"], "a thief of the folder signs directories on");
    let renewed = run(&["issuing", "renew", "--keep-directory-key", "--widen", "--ceiling-state", "ANY"]);
    assert_eq!(second["directory_key"], renewed["directory_key"]);
    let listed = run(&["issuing", "list"]);
    assert_eq!((&listed[0]["serial"], &listed[0]["in_force"]), (&renewed["serial"], &true.into()));
    assert_eq!(listed[1]["serial"], renewed["former"]);
    run(&["issuing", "revoke", renewed["former"].as_str().unwrap(), "--reason", "superseded"]);
    assert!(!run(&["issuing", "list"])[1]["revoked_at"].is_null());
    run(&["issuing", "crl", "--root-crl-days", "30"]);
    let actions = run(&["audit", "show"]);
    let actions: Vec<_> = actions.as_array().unwrap().iter().map(|entry| entry["action"].clone()).collect();
    let renewals = ["RENEW_ISSUING"; 3];
    assert_eq!(actions, [&["FOUND"][..], &renewals, &["REVOKE_ISSUING", "ROOT_LIST"]].concat());
    let ceilings: Vec<_> =
        run(&["audit", "show"]).as_array().unwrap()[1..4].iter().map(ToString::to_string).collect();
    let bounded = |text: &str| (text.contains("States FRA"), !text.contains("TOP SECRET"));
    let bounds: Vec<_> = ceilings.iter().map(|text| bounded(text)).collect();
    assert_eq!(
        bounds,
        [(true, false), (true, true), (false, true)],
        "a bound was lifted or lost: {ceilings:?}"
    );
}
