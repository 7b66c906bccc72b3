//! Certificates, revocation lists and directories: what a broker starts by, and what it takes while running.

use valise_broker::server::{self, Broker, FilesError, StartError};
use valise_proto::crypto::SigningKey;
use valise_proto::directory::AgencyStatus;
use valise_proto::id::Timestamp;
use valise_proto::label::Classification;
use valise_proto::refusal::RefusalCode;

use crate::fixture::{DAY, agency, authority, crl, issue, rng};
use crate::office::{BROKER_SERIAL, Office, code_of, soon, until};

/// The sentences by which a start was refused.
async fn refused(office: &Office) -> String {
    let checked = server::check(&office.config).map(|_| ()).unwrap_err();
    match Broker::start(office.config.clone()).await {
        Err(StartError::Files(error)) => {
            assert_eq!(
                error.problems.len(),
                checked.problems.len(),
                "check-config says something else than {error}"
            );
            error.to_string()
        }
        other => panic!("not refused for its files: {other:?}"),
    }
}

#[track_caller]
fn told(sentences: &str, parts: &[&str]) {
    for part in parts {
        assert!(sentences.contains(part), "`{part}` is not told: {sentences}");
    }
}

#[tokio::test]
async fn everything_that_is_missing_is_told_at_once_with_the_command_that_mends_it() {
    let office = Office::of_three();
    std::fs::remove_dir_all(office.path("identity")).unwrap();
    let sentences = refused(&office).await;
    assert_eq!(sentences.lines().count(), 3, "{sentences}");
    told(&sentences, &["tls.crt", "receipt.key", "trust.pem", "valise-ca broker issue"]);

    let office = Office::of_three();
    std::fs::remove_dir_all(office.path("published")).unwrap();
    let sentences = refused(&office).await;
    assert_eq!(sentences.lines().count(), 2, "{sentences}");
    told(&sentences, &["directory.valise", "crls.pem", "valise-ca publish"]);
    assert!(!office.config.data.exists(), "a refused start changed something");
}

#[tokio::test]
async fn a_key_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let office = Office::of_three();
    for key in [&office.config.tls_key, &office.config.receipt_key] {
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let sentences = refused(&office).await;
    assert_eq!(sentences.lines().count(), 2, "{sentences}");
    told(&sentences, &["chmod 600", "tls.key", "receipt.key", "644"]);
}

#[tokio::test]
async fn g12_files_that_do_not_belong_together_are_refused() {
    let office = Office::of_three();
    office.write(&office.config.trust, b"not trust");
    told(&refused(&office).await, &["trust.pem"]);

    let office = Office::of_three();
    let other = office.exchange.issue(&office.exchange.broker(), 7);
    office.write_secret(&office.config.tls_key, other.key.as_bytes());
    told(&refused(&office).await, &["private key does not belong"]);

    let office = Office::of_three();
    office.certify(&office.exchange.issue(&office.exchange.identity("fra/ncb"), 7));
    told(&refused(&office).await, &["tls.crt", "valise-ca broker issue"]);

    let office = Office::of_three();
    office.certify(&issue(&authority(), &office.exchange.broker(), 7));
    told(&refused(&office).await, &["tls.crt", "authority"]);

    let office = Office::of_three();
    office.publish_crl(2, &[BROKER_SERIAL]);
    told(&refused(&office).await, &["revoked", "valise-ca broker issue"]);
}

#[tokio::test]
async fn g12_a_directory_that_counts_no_more_or_is_not_the_authoritys_is_refused() {
    let mut office = Office::of_three();
    office.exchange.content.issued_at = Timestamp::from_millis(1);
    office.exchange.content.expires_at = Timestamp::from_millis(2);
    office.publish();
    told(&refused(&office).await, &["expired", "valise-ca publish"]);

    let mut office = Office::of_three();
    office.exchange.directory_key = SigningKey::generate(&mut rng());
    office.publish();
    told(&refused(&office).await, &["not the one that its delegation names"]);

    let office = Office::of_three();
    office.write(&office.config.directory(), b"not a directory");
    told(&refused(&office).await, &["directory.valise", "cannot be read"]);

    let mut office = Office::of_three();
    office.exchange.content.brokers.clear();
    office.publish();
    told(&refused(&office).await, &["does not list receipt key", "broker b1", "valise-ca publish"]);
}

#[tokio::test]
async fn g12_revocation_lists_that_ran_out_or_cover_nothing_are_refused() {
    let office = Office::of_three();
    office.publish_crl_der(&crl(&office.exchange.authority, 2, &[], 2021));
    told(&refused(&office).await, &["crls.pem", "ran out", "valise-ca publish"]);

    let office = Office::of_three();
    office.write(&office.config.crls(), b"");
    told(&refused(&office).await, &["crls.pem", "X509 CRL"]);

    let office = Office::of_three();
    office.write(&office.config.crls(), office.exchange.trust().to_pem().as_bytes());
    told(&refused(&office).await, &["crls.pem", "VALISE TRUST"]);
}

#[tokio::test]
async fn g12_older_files_are_refused_after_a_restart_too() {
    let mut office = Office::of_three();
    let oldest = office.exchange.directory();
    office.exchange.change("fra/ncb");
    office.publish();
    office.publish_crl(5, &[]);
    office.start().await.stop().await;
    office.write(&office.config.directory(), oldest.encoded());
    office.publish_crl(4, &[]);
    let sentences = refused(&office).await;
    told(&sentences, &["version 1 is older than version 2", "older than the one this broker holds"]);
    office.publish();
    office.publish_crl(5, &[]);
    office.start().await.stop().await;
}

#[tokio::test]
async fn a_newer_directory_is_in_force_at_once_and_told_to_everyone() {
    let mut office = Office::of_three();
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let mut france = office.connect(&broker, "fra/ncb").await;
    let envelope = || office.exchange.envelope("ken/ncb", &["tur/border"]);
    let (before, after) = (envelope(), envelope());
    assert_eq!(office.check(&kenya.send(&before).await), Ok(()));
    let since = office.exchange.start;
    office.exchange.change("tur/border").status = AgencyStatus::Suspended { since };
    office.publish();
    broker.reload().await.unwrap();
    assert_eq!(office.check(&kenya.send(&after).await), Err(RefusalCode::Suspended));
    assert_eq!(france.publication().await.directory, office.exchange.directory().encoded());
    assert_eq!(broker.status().await.unwrap().directory.version, 2);
    broker.stop().await;
}

#[tokio::test]
async fn a_changed_file_is_noticed_without_being_told() {
    let mut office = Office::of_three();
    let broker = office.start().await;
    office.exchange.change("fra/ncb");
    office.publish();
    until(&broker, "the new directory", |status| status.directory.version == 2).await;
    office.publish_crl(0x0102, &[]);
    until(&broker, "the new list", |status| status.revocation_lists[0].number == "258").await;
    broker.stop().await;
}

/// Publishes something that must be refused, and checks that what was in force stays in force.
async fn refused_while_running(change: impl FnOnce(&mut Office), parts: &[&str]) {
    let mut office = Office::of_three();
    office.exchange.change("fra/ncb");
    office.publish();
    office.publish_crl(5, &[]);
    // Only what the test says.
    office.config.reload_interval = DAY;
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let before = broker.status().await.unwrap();
    change(&mut office);
    let error: FilesError = broker.reload().await.unwrap_err();
    told(&error.to_string(), parts);
    let after = broker.status().await.unwrap();
    assert_eq!(after.directory, before.directory);
    assert_eq!(after.revocation_lists, before.revocation_lists);
    assert_eq!(after.certificate_expires_at, before.certificate_expires_at);
    let receipt = kenya.send(&office.exchange.envelope("ken/ncb", &["fra/ncb"])).await;
    assert!(receipt.receipt().refusal.is_none(), "the broker does not work any more: {receipt:?}");
    broker.stop().await;
}

#[tokio::test]
async fn g12_an_older_directory_is_refused_while_running() {
    let older = |office: &mut Office| {
        office.exchange.content.version = 1;
        office.publish();
    };
    refused_while_running(older, &["version 1 is older than version 2"]).await;
}

#[tokio::test]
async fn g12_a_forked_directory_is_refused_while_running() {
    let forked = |office: &mut Office| {
        office.exchange.content.agencies.get_mut(&agency("fra/ncb")).unwrap().display_name =
            "Another".to_owned();
        office.publish();
    };
    refused_while_running(forked, &["two different directories carry version 2"]).await;
}

#[tokio::test]
async fn g12_a_directory_that_expired_is_refused_while_running() {
    let expired = |office: &mut Office| {
        office.exchange.change("fra/ncb");
        office.exchange.content.issued_at = Timestamp::from_millis(1);
        office.exchange.content.expires_at = Timestamp::from_millis(2);
        office.publish();
    };
    refused_while_running(expired, &["directory version 3 expired"]).await;
}

#[tokio::test]
async fn g12_a_directory_of_somebody_else_is_refused_while_running() {
    let foreign = |office: &mut Office| {
        office.exchange.change("fra/ncb");
        office.exchange.directory_key = SigningKey::generate(&mut rng());
        office.publish();
    };
    refused_while_running(foreign, &["not the one that its delegation names"]).await;
}

#[tokio::test]
async fn g12_an_older_revocation_list_is_refused_while_running() {
    refused_while_running(
        |office| office.publish_crl(4, &[]),
        &["(number 4) is older than the one this broker holds (number 5)"],
    )
    .await;
}

#[tokio::test]
async fn g12_a_revocation_list_of_somebody_else_is_refused_while_running() {
    let foreign = |office: &mut Office| office.publish_crl_der(&crl(&authority(), 9, &[], 2100));
    refused_while_running(foreign, &["crls.pem", "signed neither by a root nor"]).await;
}

#[tokio::test]
async fn g12_a_revocation_list_that_ran_out_is_refused_while_running() {
    let stale = |office: &mut Office| office.publish_crl_der(&crl(&office.exchange.authority, 9, &[], 2021));
    refused_while_running(stale, &["ran out"]).await;
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_refused_while_running() {
    let other = |office: &mut Office| {
        let identity = "spiffe://exchange.example/broker/b2".parse().unwrap();
        office.certify(&office.exchange.issue(&identity, 9));
    };
    refused_while_running(other, &["broker/b2", "broker/b1"]).await;
    let foreign = |office: &mut Office| office.certify(&issue(&authority(), &office.exchange.broker(), 9));
    refused_while_running(foreign, &["tls.crt", "authority"]).await;
}

#[tokio::test]
async fn one_bad_file_does_not_hold_a_good_one_back() {
    let mut office = Office::of_three();
    office.config.reload_interval = DAY;
    let broker = office.start().await;
    office.write(&office.config.crls(), b"spoilt");
    office.exchange.change("fra/ncb");
    office.publish();
    told(&broker.reload().await.unwrap_err().to_string(), &["crls.pem"]);
    assert_eq!(broker.status().await.unwrap().directory.version, 2);
    broker.stop().await;
}

#[tokio::test]
async fn g12_a_revoked_agency_loses_its_connection_and_gets_no_other() {
    let office = Office::of_three();
    let broker = office.start().await;
    let mut france = office.connect(&broker, "fra/ncb").await;
    let _turkey = office.connect(&broker, "tur/border").await;
    // Agencies have 101, 102, 103, in the order of the directory given.
    office.publish_crl(2, &[102]);
    broker.reload().await.unwrap();
    assert_eq!(france.goodbye().await, Some(RefusalCode::KeyNotActive));
    assert_eq!(code_of(&france.closed().await), Some(RefusalCode::KeyNotActive));
    until(&broker, "the end of the session", |status| status.sessions == 1).await;
    let again = office.dial(&broker, "fra/ncb").await;
    let end = soon("the refusal", again.closed()).await;
    assert!(end.to_string().contains("refused"), "{end}");
    broker.stop().await;
}

#[tokio::test]
async fn g03_a_suspended_agency_loses_its_connection_and_gets_no_other() {
    let mut office = Office::of_three();
    let broker = office.start().await;
    let mut france = office.connect(&broker, "fra/ncb").await;
    let since = office.exchange.start;
    office.exchange.change("fra/ncb").status = AgencyStatus::Suspended { since };
    office.publish();
    broker.reload().await.unwrap();
    assert_eq!(france.goodbye().await, Some(RefusalCode::Suspended));
    let again = office.dial(&broker, "fra/ncb").await;
    assert_eq!(code_of(&soon("the refusal", again.closed()).await), Some(RefusalCode::Suspended));
    broker.stop().await;
}

#[tokio::test]
async fn g03_what_was_withheld_comes_when_the_clearance_is_raised() {
    let mut office = Office::of_three();
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let secret =
        office.exchange.seal(office.exchange.draft("ken/ncb"), &["fra/ncb"], &[Classification::Secret]);
    office.exchange.change("ken/ncb");
    assert_eq!(office.check(&kenya.send(&secret).await), Ok(()));
    office.exchange.change("fra/ncb").clearance.class_list = Classification::Restricted.and_below();
    office.publish();
    broker.reload().await.unwrap();
    let france = office.connect(&broker, "fra/ncb").await;
    let mut inbox = france.receive(valise_proto::envelope::Precedence::Priority, 4).await;
    let open = office.exchange.envelope("ken/ncb", &["fra/ncb"]);
    assert_eq!(office.check(&kenya.send(&open).await), Ok(()));
    assert_eq!(inbox.envelope().await.1.header().notice_id, open.header().notice_id);
    office.exchange.change("fra/ncb").clearance.class_list = Classification::Secret.and_below();
    office.publish();
    broker.reload().await.unwrap();
    assert_eq!(inbox.envelope().await.1.header().notice_id, secret.header().notice_id);
    broker.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_serves_the_connections_that_follow() {
    let office = Office::of_three();
    let broker = office.start().await;
    let france = office.connect(&broker, "fra/ncb").await;
    office.certify(&office.exchange.issue(&office.exchange.broker(), 500));
    broker.reload().await.unwrap();
    // The old one is revoked; whoever comes now must see the new one.
    office.publish_crl(2, &[BROKER_SERIAL]);
    broker.reload().await.unwrap();
    let _turkey = office.connect(&broker, "tur/border").await;
    assert_eq!(broker.status().await.unwrap().sessions, 2, "the connection from before goes on");
    drop(france);
    broker.stop().await;
}
