//! Files carried by hand, with the node running and without.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bytes::Bytes;
use valise_agent::node::LinkState;
use valise_proto::enrolment::Trust;
use valise_proto::renewal::SignedRenewalRequest;

use crate::case::{Case, FRANCE, der, office_of, or, until, waning, young};
use crate::exchange::{BROKER_SERIAL, Office};
use crate::fixture::{DAY, Exchange, now};

fn agent(data: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_valise-agent"));
    command.arg("--data").arg(data).args(args).stdin(std::process::Stdio::null());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stderr)
}

/// Refused because what was named is not what the command needs.
fn mistaken(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stderr)
}

fn pem_of(label: &str, items: &[Bytes]) -> String {
    items.iter().map(|der| pem::encode(&pem::Pem::new(label, der.as_ref()))).collect()
}

/// What the authority publishes into a folder.
fn publication(office: &Office, name: &str, certificates: &[Bytes], trust: &Trust) -> PathBuf {
    let folder = office.path().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    write("directory.valise", office.exchange.directory().encoded());
    write("crls.pem", pem_of("X509 CRL", &[office.exchange.crl_of(2, &[])]).as_bytes());
    write("certificates.pem", pem_of("CERTIFICATE", certificates).as_bytes());
    write("trust.pem", trust.to_pem().as_bytes());
    folder
}

fn renew(data: &Path, out: &Path) -> SignedRenewalRequest {
    done(&agent(data, &["renew", "--out", out.to_str().unwrap()]));
    SignedRenewalRequest::from_pem(&std::fs::read_to_string(out).unwrap()).unwrap()
}

fn files(data: &Path) -> Vec<Vec<u8>> {
    ["tls.crt", "directory.valise", "crls.pem", "keys/tls.key", "keys/signing.key", "keys/sealing.key"]
        .map(|name| std::fs::read(data.join(name)).unwrap())
        .to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g12_a_renewal_carried_by_hand_while_the_node_runs_is_the_same_request_and_swaps_the_connection() {
    let mut case = Case::of_life(waning()).await;
    let spooled = case.spooled(1).await;
    let data = case.office.data(FRANCE);
    let request = renew(&data, &case.office.path().join("request.pem"));
    assert_eq!(request.encode(), spooled.encode(), "another request than the one at the broker");
    let leaf = case.office.exchange.grant(request.request());
    let trust = case.office.exchange.trust();
    let folder = publication(&case.office, "published", std::slice::from_ref(&leaf), &trust);
    let told = done(&agent(&data, &["install", folder.to_str().unwrap()]));
    assert!(told.contains("version 2 is in force") && told.contains("a newer one is in use"), "{told}");
    case.sessions(2).await;
    assert_eq!(der(&case.file("tls.crt")), leaf);
    assert!(!data.join("incoming").exists());
    let again = done(&agent(&data, &["install", folder.to_str().unwrap()]));
    assert!(again.contains("nothing was changed"), "{again}");
    case.receives().await;
    case.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g12_keys_are_rotated_and_installed_without_a_running_node() {
    let mut office = office_of(young());
    let data = office.data(FRANCE);
    let out = office.path().join("request.pem");
    done(&agent(&data, &["keys", "rotate"]));
    let request = renew(&data, &out);
    assert_eq!(renew(&data, &out).encode(), request.encode(), "a second run makes another request");
    let listed = done(&agent(&data, &["keys"]));
    assert_eq!(listed.matches("NEXT").count(), 3, "{listed}");
    let before = files(&data);
    let leaf = office.exchange.grant(request.request());
    let trust = office.exchange.trust();
    let folder = publication(&office, "published", std::slice::from_ref(&leaf), &trust);
    done(&agent(&data, &["install", folder.to_str().unwrap()]));
    let after = files(&data);
    assert!(before.iter().zip(&after).all(|(old, new)| old != new), "not everything was exchanged");
    let keys = done(&agent(&data, &["keys", "--json"]));
    let keys: serde_json::Value = serde_json::from_str(&keys).unwrap();
    let states: Vec<_> = keys.as_array().unwrap().iter().map(|key| key["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["CURRENT", "CURRENT", "CURRENT", "FORMER"]);
    let broker = crate::exchange::Broker::start(&office.exchange);
    let node = office.start(FRANCE, Some(&broker)).await;
    assert!(node.connected(crate::case::LONG).await, "{:?}", node.desk().link());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g12_what_is_not_in_order_is_not_installed_and_changes_nothing() {
    let mut office = office_of(young());
    let data = office.data(FRANCE);
    let request = renew(&data, &office.path().join("request.pem"));
    office.exchange.content.version = 5;
    let trust = office.exchange.trust();
    let held = publication(&office, "held", &[], &trust);
    done(&agent(&data, &["install", held.to_str().unwrap()]));
    let before = files(&data);
    let check = |folder: &Path, reason: &str| {
        let told = refused(&agent(&data, &["install", folder.to_str().unwrap()]));
        assert!(told.contains(reason), "`{reason}` is not told: {told}");
        assert!(files(&data) == before, "{reason}: a refused installation changed a file");
    };
    office.exchange.content.version = 4;
    check(&publication(&office, "older", &[], &trust), "older than version 5");
    office.exchange.content.version = 6;
    let foreign = Exchange::new(&[]).trust();
    check(&publication(&office, "foreign", &[], &foreign), "is not the one that this node joined by");
    let other =
        Exchange { life: Some((now(), now().plus(90 * DAY))), ..Exchange::named("Nobody's authority") };
    let forged = other.certify(&request.request().csr_der);
    check(&publication(&office, "forged", &[forged], &trust), "an authority this node does not trust");
    let folder = publication(&office, "lists", &[], &trust);
    std::fs::write(folder.join("crls.pem"), pem_of("X509 CRL", &[office.exchange.crl_of(1, &[])])).unwrap();
    check(&folder, "older than the one held");
    std::fs::write(folder.join("crls.pem"), "not a list").unwrap();
    let told = refused(&agent(&data, &["install", folder.to_str().unwrap()]));
    assert!(told.contains("revocation"), "{told}");
    std::fs::remove_file(folder.join("directory.valise")).unwrap();
    for folder in [folder.as_path(), Path::new("/nowhere")] {
        let told = mistaken(&agent(&data, &["install", folder.to_str().unwrap()]));
        assert!(told.contains("holds no directory.valise"), "{told}");
        assert!(files(&data) == before, "a mistake changed a file");
    }
}

#[test]
fn g12_a_directory_file_that_was_put_back_is_mended_by_the_newest_and_by_nothing_older() {
    let mut office = office_of(young());
    let data = office.data(FRANCE);
    let trust = office.exchange.trust();
    let old = std::fs::read(data.join("directory.valise")).unwrap();
    let mut folders = Vec::new();
    for version in [5, 7] {
        office.exchange.content.version = version;
        folders.push(publication(&office, &version.to_string(), &[], &trust));
    }
    let install = |folder: &Path| agent(&data, &["install", folder.to_str().unwrap()]);
    done(&install(&folders[1]));
    std::fs::write(data.join("directory.valise"), &old).unwrap();
    let told = refused(&agent(&data, &["run", "--offline"]));
    assert!(told.contains("this node has held version 7") && told.contains("valise-agent install"), "{told}");
    let told = refused(&install(&folders[0]));
    assert!(told.contains("version 5 is older than version 7"), "{told}");
    assert_eq!(std::fs::read(data.join("directory.valise")).unwrap(), old);
    let told = done(&install(&folders[1]));
    assert!(told.contains("version 7 is in force"), "{told}");
}

#[test]
fn g12_a_revocation_list_that_was_put_back_is_refused_at_start_and_mended_by_the_newest() {
    let office = office_of(young());
    let data = office.data(FRANCE);
    let trust = office.exchange.trust();
    let old = std::fs::read(data.join("crls.pem")).unwrap();
    let of_number = |number: u64| {
        let folder = publication(&office, &number.to_string(), &[], &trust);
        let list = office.exchange.crl_of(number, &[]);
        std::fs::write(folder.join("crls.pem"), pem_of("X509 CRL", &[list])).unwrap();
        folder
    };
    let (fifth, seventh) = (of_number(5), of_number(7));
    let install = |folder: &Path| agent(&data, &["install", folder.to_str().unwrap()]);
    done(&install(&seventh));
    std::fs::write(data.join("crls.pem"), &old).unwrap();
    let told = refused(&agent(&data, &["run", "--offline"]));
    for piece in ["crls.pem", "from before one that this node has held", "valise-agent install"] {
        assert!(told.contains(piece), "`{piece}` is not told: {told}");
    }
    let told = refused(&install(&fifth));
    assert!(told.contains("older than the one held, or than one held before"), "{told}");
    assert_eq!(std::fs::read(data.join("crls.pem")).unwrap(), old);
    done(&install(&seventh));
    assert_ne!(std::fs::read(data.join("crls.pem")).unwrap(), old);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notice_that_went_the_other_way_is_named_with_the_right_command() {
    let case = Case::of_life(young()).await;
    let received = case.receives().await;
    let data = case.office.data(FRANCE);
    let told = refused(&agent(&data, &["status", &received.to_string()]));
    assert!(told.contains("was received here") && told.contains("valise-agent read"), "{told}");
    let json = crate::fixture::notice_json("ken/ncb").to_string();
    let sent = case.client().send(json.into()).await.unwrap().notice_id;
    let told = refused(&agent(&data, &["read", &sent.to_string(), "--officer", "Officer A. Example"]));
    assert!(told.contains("was sent from here") && told.contains("valise-agent status"), "{told}");
    let none = agent(&data, &["inbox", "--limit", "0"]);
    assert_eq!(none.status.code(), Some(2), "{}", text(&none.stderr));
    case.node.stop().await;
}

#[test]
fn a_full_standard_output_is_an_error_like_any_other() {
    let office = office_of(young());
    let data = office.data(FRANCE);
    let pages = office.path().join("pages");
    let commands: [&[&str]; 5] = [
        &["keys"],
        &["schema"],
        &["completions", "bash"],
        &["check-config"],
        &["man", "--out", pages.to_str().unwrap()],
    ];
    for command in commands {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_valise-agent"));
        let output = child.arg("--data").arg(&data).args(command).stdout(full).output().unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {told}");
        assert!(told.contains("standard output") && !told.contains("panicked"), "{command:?}: {told}");
    }
    assert!(pages.join("valise-agent-keys-rotate.1").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_was_made_by_hand_before_it_is_due_is_answered_like_any_other() {
    let mut case = Case::of_life(young()).await;
    let data = case.office.data(FRANCE);
    let request = renew(&data, &case.office.path().join("request.pem"));
    assert_eq!(case.spooled(1).await.encode(), request.encode());
    case.grant(&request);
    let answered = async || {
        let renewal = case.status().await.renewal;
        or(renewal.is_none(), renewal.clone(), renewal)
    };
    until("the end of the request", answered).await;
    case.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g12_a_list_installed_by_hand_that_revokes_the_broker_ends_the_connection_at_once() {
    let case = Case::of_life(young()).await;
    let trust = case.office.exchange.trust();
    let folder = publication(&case.office, "revoking", &[], &trust);
    let list = case.office.exchange.crl_of(2, &[BROKER_SERIAL]);
    std::fs::write(folder.join("crls.pem"), pem_of("X509 CRL", &[list])).unwrap();
    let data = case.office.data(FRANCE);
    done(&agent(&data, &["install", folder.to_str().unwrap()]));
    // Nothing comes from the broker meanwhile that would be a reason to look.
    let ended = tokio::time::timeout(std::time::Duration::from_secs(5), async {
        while matches!(case.node.desk().link(), LinkState::Up { .. }) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    assert!(ended.await.is_ok(), "still connected: {:?}", case.node.desk().link());
    case.node.stop().await;
}
