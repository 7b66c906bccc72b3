//! Oversight: who is a member, what is on record, what runs out; all without the passphrase.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may stop at the first surprise

mod common;

use std::time::Duration;

use common::{DAY, Founded, Node, agency, ca, earlier, member, text};
use serde_json::Value;
use valise_certs::expiry::{Expiring, Perishable};
use valise_certs::{Profile, RevocationReason, Validity};
use valise_proto::id::Timestamp;
use valise_proto::label::Classification;

fn days(count: u32) -> Duration {
    DAY * count
}

/// Certificates of `leaf` days from the next on.
fn certificates_of(founded: &mut Founded, leaf: u32) {
    founded.authority.set_validity(Validity { leaf: days(leaf), ..Validity::default() });
}

/// fra/ncb for 7 days, ken/ncb for 90, b1 for 20; published for 5 days, with lists for 3.
fn exchange() -> Founded {
    let mut founded = Founded::new();
    let now = founded.now;
    for (name, leaf) in [("fra/ncb", 7), ("ken/ncb", 90)] {
        certificates_of(&mut founded, leaf);
        let request = Node::new(name).request();
        founded.authority.enrol(&request, &Profile::up_to(Classification::Secret), now).unwrap();
    }
    certificates_of(&mut founded, 20);
    founded.authority.issue_broker(&"b1".parse().unwrap(), vec!["b1.example:4433".to_owned()], now).unwrap();
    founded.authority.set_validity(Validity { directory: days(5), crls: days(3), leaf: days(90) });
    founded.authority.publication(now).unwrap();
    founded
}

fn within(founded: &Founded, count: u32, at: Timestamp) -> Vec<Expiring> {
    founded.authority.register().expiring(days(count), at).unwrap()
}

fn names(found: &[Expiring]) -> Vec<(Perishable, &str)> {
    found.iter().map(|item| (item.kind, item.of.as_str())).collect()
}

#[test]
fn g12_what_runs_out_is_told_the_soonest_first_and_with_its_mend() {
    let mut founded = exchange();
    let now = founded.now;
    let found = within(&founded, 30, now);
    let lists = (Perishable::RevocationLists, "exchange.example");
    let directory = (Perishable::Directory, "exchange.example");
    let (fra, b1) = ((Perishable::AgencyCertificate, "fra/ncb"), (Perishable::BrokerCertificate, "b1"));
    assert_eq!(names(&found), [lists, directory, fra, b1]);
    assert!(found.iter().all(|item| !item.expired), "{found:?}");
    assert!(
        found[0].mend.contains("valise-ca publish") && found[2].mend.contains("valise-ca bundle fra/ncb")
    );
    assert!(found[3].mend.contains("valise-ca broker issue b1 --endpoint b1.example:4433"), "{found:?}");
    assert_eq!(names(&within(&founded, 4, now)), [lists]);
    // What is over stays told until it is mended.
    let later = now.plus(days(4));
    let found = within(&founded, 2, later);
    assert_eq!(found.iter().map(|item| item.expired).collect::<Vec<_>>(), [true, false]);
    certificates_of(&mut founded, 90);
    founded.authority.publication(later).unwrap();
    assert_eq!(names(&within(&founded, 2, later)), []);
    // Renewed, suspended, revoked: what nobody waits for is not told, what comes back is.
    founded.authority.bundle(&agency("fra/ncb"), now.plus(days(6))).unwrap();
    founded.authority.suspend(&agency("ken/ncb"), now.plus(days(6))).unwrap();
    founded.authority.revoke(&member("b1"), RevocationReason::KeyCompromise, now.plus(days(6))).unwrap();
    let found = within(&founded, 85, now.plus(days(6)));
    let ken = (Perishable::AgencyCertificate, "ken/ncb");
    assert_eq!(names(&found), [directory, lists, ken]);
}

#[test]
fn keys_and_the_authoritys_own_certificates_are_told_too() {
    let founded = exchange();
    let kinds: Vec<_> = within(&founded, 1000, founded.now).iter().map(|item| item.kind).collect();
    let count = |kind| kinds.iter().filter(|found| **found == kind).count();
    assert_eq!(count(Perishable::SigningKey), 2, "{kinds:?}");
    assert_eq!(count(Perishable::SealingKey), 2, "{kinds:?}");
    assert_eq!(count(Perishable::ReceiptKey), 1, "{kinds:?}");
    assert_eq!(count(Perishable::IssuingCertificate), 0, "{kinds:?}");
    let all = within(&founded, 8000, founded.now);
    assert!(names(&all).contains(&(Perishable::IssuingCertificate, "exchange.example")), "{all:?}");
    assert_eq!(all.last().unwrap().kind, Perishable::RootCertificate);
}

#[test]
fn g12_a_clock_before_the_founding_is_named_and_not_believed() {
    let founded = Founded::new();
    let before = earlier(founded.now, days(400));
    let error = founded.authority.register().expiring(days(30), before).unwrap_err().to_string();
    assert!(error.contains(&before.to_string()) && error.contains("set the clock"), "{error}");
}

fn run(founded: &Founded, args: &[&str]) -> (i32, String, String) {
    let output = ca(&[args, &["--dir", founded.dir.to_str().unwrap()]].concat());
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn json(founded: &Founded, args: &[&str], code: i32) -> Value {
    let (got, out, err) = run(founded, &[args, &["--json"]].concat());
    assert_eq!(got, code, "{args:?}: {out}{err}");
    serde_json::from_str(&out).unwrap()
}

#[test]
fn the_exit_code_tells_cron_whether_anything_runs_out() {
    let founded = exchange();
    let (code, out, err) = run(&founded, &["expiring", "--within", "30d"]);
    assert_eq!((code, err.as_str()), (3, ""), "{out}");
    for word in ["revocation lists", "directory", "fra/ncb", "b1", "valise-ca publish --out DIR"] {
        assert!(out.contains(word), "`{word}` is not in: {out}");
    }
    let (code, out, err) = run(&founded, &["expiring", "--within", "36h"]);
    assert_eq!((code, out.as_str()), (0, "Nothing runs out within 36 hours.\n"), "{err}");
    let told = json(&founded, &["expiring", "--within", "6d"], 3);
    assert_eq!(told["within_seconds"], 6 * 86_400);
    let kinds: Vec<_> = told["expiring"].as_array().unwrap().iter().map(|item| &item["kind"]).collect();
    assert_eq!(kinds, ["REVOCATION_LISTS", "DIRECTORY"]);
    assert_eq!(told["expiring"][1]["expired"], false);
    assert_eq!(json(&founded, &["expiring", "--within", "1d"], 0)["expiring"], serde_json::json!([]));
    let (code, _, err) = run(&founded, &["expiring", "--within", "soon"]);
    assert!(code == 2 && err.contains("such as 30d"), "{code}: {err}");
}

#[test]
fn members_are_listed_by_state_and_status_and_shown_with_their_keys() {
    let mut founded = exchange();
    founded.authority.suspend(&agency("ken/ncb"), founded.now).unwrap();
    let ids = |args: &[&str]| {
        let listed = json(&founded, &[&["list"], args].concat(), 0);
        let id =
            |member: &Value| member.get("id").or(member.get("name")).unwrap().as_str().unwrap().to_owned();
        listed["members"].as_array().unwrap().iter().map(id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&[]), ["b1", "fra/ncb", "ken/ncb"]);
    assert_eq!(ids(&["--state", "FRA"]), ["fra/ncb"]);
    assert_eq!(ids(&["--state", "FRA,KEN"]), ["fra/ncb", "ken/ncb"]);
    assert_eq!(ids(&["--status", "active"]), ["b1", "fra/ncb"]);
    assert_eq!(ids(&["--status", "SUSPENDED", "--state", "KEN"]), ["ken/ncb"]);
    assert!(ids(&["--status", "revoked"]).is_empty());
    let (code, _, err) = run(&founded, &["list", "--state", "ZZZ"]);
    assert!(code == 2 && err.contains("is not a State"), "{code}: {err}");
    let (_, out, _) = run(&founded, &["list", "--status", "revoked"]);
    assert!(out.contains("No member matches.") && out.contains("`valise-ca expiring` tells what"), "{out}");
    let shown = json(&founded, &["show", "fra/ncb"], 0);
    let uses: Vec<_> = shown["keys"].as_array().unwrap().iter().map(|key| &key["use"]).collect();
    assert_eq!(uses, ["SIGNING", "SEALING"]);
    assert!(shown["keys"][0]["not_after"].is_string() && shown["certificates"][0]["serial"].is_string());
    let (_, out, _) = run(&founded, &["show", "b1"]);
    assert!(out.contains("receipt key") && out.contains("certificate"), "{out}");
}
