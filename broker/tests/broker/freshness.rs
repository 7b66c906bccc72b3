//! What runs out: who is warned, until when it is gone by, and that nothing older takes its place.

use std::time::Duration;

use bytes::Bytes;
use valise_broker::server::{self, Broker, Freshness, Kind, StartError};
use valise_proto::crypto::{SigningKey, context};
use valise_proto::delegation::Delegation;
use valise_proto::id::Timestamp;
use valise_proto::label::{Ceiling, Classification};
use valise_proto::refusal::RefusalCode;
use valise_proto::wire::Signed;
use valise_proto::wire::session::SessionFrame;

use crate::fixture::{DAY, MINUTE, crl_between, now, rng};
use crate::office::{Office, until};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn ago(time: Duration) -> Timestamp {
    Timestamp::from_millis(now().millis() - u64::try_from(time.as_millis()).unwrap())
}

impl Office {
    /// Directory and list as they are near their end, or past it.
    fn publish_between(&mut self, issued_at: Timestamp, expires_at: Timestamp) {
        self.exchange.content.version += 1;
        self.exchange.content.issued_at = issued_at;
        self.exchange.content.expires_at = expires_at;
        self.publish();
        let list =
            crl_between(&self.exchange.authority, self.exchange.content.version, (issued_at, expires_at));
        self.publish_crl_der(&list);
    }
}

fn of(all: &[Freshness], kind: Kind) -> &Freshness {
    all.iter().find(|thing| thing.kind == kind).expect("it is not told of")
}

async fn refused(office: &Office) -> String {
    match Broker::start(office.config.clone()).await {
        Err(StartError::Files(error)) => error.to_string(),
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
async fn g12_the_status_says_how_near_everything_is_to_its_end() {
    let mut office = Office::of_three();
    let broker = office.start().await;
    let kinds = [Kind::Directory, Kind::Delegation, Kind::Certificate, Kind::RevocationList];
    let fresh = broker.status().await.unwrap().freshness;
    for kind in kinds {
        assert!(of(&fresh, kind).is_fresh(), "{fresh:?}");
    }
    let ends = [(HOUR * 24 * 9, "HALF_OVER"), (HOUR * 23, "LAST_DAY"), (MINUTE * 59, "LAST_HOUR")];
    for (left, urgency) in ends {
        let (issued_at, expires_at) = (ago(20 * DAY), now().plus(left));
        office.publish_between(issued_at, expires_at);
        broker.reload().await.unwrap();
        let status = broker.status().await.unwrap();
        for kind in [Kind::Directory, Kind::RevocationList] {
            let thing = of(&status.freshness, kind);
            assert_eq!(
                (thing.urgency.as_str(), thing.expires_at, thing.counts_until.since(now()) <= left),
                (urgency, thing.counts_until, true)
            );
        }
        let directory = of(&status.freshness, Kind::Directory);
        assert_eq!((directory.issued_at, &directory.file), (issued_at, &office.config.directory()));
        assert!(status.clock.since(office.exchange.start) < HOUR);
    }
    // The same before a start.
    let checked = server::check(&office.config).unwrap().freshness(&office.config, now());
    assert_eq!(of(&checked, Kind::Directory).urgency, "LAST_HOUR");
    broker.stop().await;
}

#[tokio::test]
async fn g12_what_ran_out_is_gone_by_for_the_grace_and_not_longer() {
    let mut office = Office::of_three();
    office.publish_between(ago(DAY), ago(MINUTE));
    let sentences = refused(&office).await;
    let expired_at = office.exchange.content.expires_at.to_string();
    told(
        &sentences,
        &["directory.valise", "crls.pem", "ran out", "expired at", &expired_at, "this node's clock"],
    );
    told(&sentences, &[&office.exchange.content.issued_at.to_string(), "valise-ca publish"]);

    office.config.freshness_grace = HOUR;
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    assert_eq!(office.check(&kenya.send(&office.exchange.envelope("ken/ncb", &["fra/ncb"])).await), Ok(()));
    let status = broker.status().await.unwrap();
    for kind in [Kind::Directory, Kind::RevocationList] {
        let thing = of(&status.freshness, kind);
        assert_eq!((thing.urgency.as_str(), thing.counts_until), ("OVER", thing.expires_at.plus(HOUR)));
        told(&thing.to_string(), &["ran out at", "is gone by until", "valise-ca publish"]);
    }
    broker.stop().await;

    office.publish_between(ago(DAY), ago(2 * HOUR));
    told(&refused(&office).await, &["grace of 3600 s is over too", "the grace of 60 minutes is over too"]);
}

#[tokio::test]
async fn g12_when_the_grace_ends_while_running_nothing_moves_until_there_is_a_newer_directory() {
    let mut office = Office::of_three();
    office.config.freshness_grace = MINUTE;
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    // One second of the grace is left.
    let left = Duration::from_secs(1);
    office.exchange.change("fra/ncb");
    office.exchange.content.issued_at = ago(DAY);
    office.exchange.content.expires_at = ago(MINUTE - left);
    office.publish();
    broker.reload().await.unwrap();
    let send = async || office.check(&kenya.send(&office.exchange.envelope("ken/ncb", &["fra/ncb"])).await);
    assert_eq!(send().await, Ok(()), "the grace is not given");
    until(&broker, "the end of the grace", |status| {
        of(&status.freshness, Kind::Directory).counts_until < status.clock
    })
    .await;
    assert_eq!(send().await, Err(RefusalCode::DirectoryStale));
    office.exchange.change("fra/ncb");
    office.exchange.content.expires_at = now().plus(DAY);
    office.publish();
    broker.reload().await.unwrap();
    let send = kenya.send(&office.exchange.envelope("ken/ncb", &["fra/ncb"])).await;
    assert_eq!(office.check(&send), Ok(()));
    broker.stop().await;
}

#[tokio::test]
async fn g12_when_a_revocation_list_ends_while_running_everyone_is_parted_with_and_told_whose_fault_it_is() {
    let mut office = Office::of_three();
    office.config.limits.core.sweep_interval = Duration::from_millis(50);
    let end = now().plus(Duration::from_secs(2));
    office.publish_crl_der(&crl_between(&office.exchange.authority, 2, (ago(DAY), end)));
    let broker = office.start().await;
    let mut france = office.connect(&broker, "fra/ncb").await;
    let SessionFrame::Goodbye(Some(reason)) = france.session_frame().await else { panic!("no reason") };
    assert_eq!(reason.code, RefusalCode::DirectoryStale, "the agency takes it for its own fault: {reason}");
    told(
        &reason.detail,
        &["this broker cannot tell", "ran out at", "this node's clock", "valise-ca publish"],
    );
    office.publish_crl(3, &[]);
    until(&broker, "the new list", |status| status.revocation_lists[0].number == "3").await;
    let _france = office.connect(&broker, "fra/ncb").await;
    broker.stop().await;
}

#[tokio::test]
async fn g12_the_brokers_own_certificate_is_warned_of_like_everything_else() {
    let office = Office::of_three();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let (from, to) = (ago(60 * DAY), now().plus(20 * HOUR));
    office.certify(&office.exchange.issue_between(&office.exchange.broker(), 8, key, (from, to)));
    let broker = office.start().await;
    let freshness = broker.status().await.unwrap().freshness;
    let certificate = of(&freshness, Kind::Certificate);
    assert_eq!((certificate.urgency.as_str(), &certificate.file), ("LAST_DAY", &office.config.certificates));
    told(&certificate.to_string(), &["broker/b1", "valise-ca broker issue --replace"]);
    broker.stop().await;
}

fn delegation(office: &Office, generation: u64) -> Delegation {
    let given = office.exchange.content.delegation.delegation().clone();
    Delegation { generation, directory_key: office.exchange.directory_key.verifying_key(), ..given }
}

/// Publishes something that must be refused; what was in force stays, and the status says why until it is mended.
async fn stays_in_force(
    broker: &Broker,
    office: &mut Office,
    parts: &[&str],
    publish: impl FnOnce(&mut Office),
) {
    let before = broker.status().await.unwrap();
    publish(office);
    told(&broker.reload().await.unwrap_err().to_string(), parts);
    let after = broker.status().await.unwrap();
    assert_eq!((&after.directory, &after.revocation_lists), (&before.directory, &before.revocation_lists));
    told(&after.refused.join("\n"), parts);
}

#[tokio::test]
async fn g12_a_directory_by_an_older_delegation_or_above_its_ceiling_is_refused_and_the_status_says_so() {
    let mut office = Office::of_three();
    office.config.reload_interval = DAY;
    let older = office.exchange.content.delegation.clone();
    office.exchange.content.delegation = delegation(&office, 2).sign(&office.exchange.root_key);
    office.exchange.change("fra/ncb");
    office.publish();
    let broker = office.start().await;

    let rollback = ["directory.valise", "carries delegation 1 of the root; this node holds one of 2"];
    stays_in_force(&broker, &mut office, &rollback, |office| {
        let held = std::mem::replace(&mut office.exchange.content.delegation, older);
        office.exchange.change("fra/ncb");
        office.publish();
        office.exchange.content.delegation = held;
    })
    .await;

    let above = ["directory.valise", "more than its authority may"];
    stays_in_force(&broker, &mut office, &above, |office| {
        office.exchange.change("fra/ncb");
        let ceiling =
            Ceiling { classifications: Classification::Confidential.and_below(), ..Ceiling::unlimited() };
        let narrower =
            Delegation { ceiling, ..delegation(office, 2) }.sign(&office.exchange.root_key).encode();
        let bytes = with_delegation(office, &narrower);
        office.write(&office.config.directory(), &bytes);
    })
    .await;

    office.publish();
    broker.reload().await.unwrap();
    assert_eq!(broker.status().await.unwrap().refused, Vec::<String>::new());
    broker.stop().await;
}

/// The directory with another delegation in it: what an authority that is not honest can sign.
fn with_delegation(office: &Office, delegation: &Bytes) -> Bytes {
    let body = Signed::decode(office.exchange.directory().encoded().clone()).unwrap().body;
    let given = office.exchange.content.delegation.encode();
    // The delegation is the last field: its tag, a length of two bytes, and itself.
    let before = body.strip_suffix(&given[..]).expect("the delegation is the last field");
    let mut other = before[..before.len() - 2].to_vec();
    other.push(u8::try_from(delegation.len() % 128).unwrap() | 0x80);
    other.push(u8::try_from(delegation.len() / 128).unwrap());
    other.extend_from_slice(delegation);
    Signed::sign(context::DIRECTORY, other.into(), &office.exchange.directory_key).encode()
}

#[tokio::test]
async fn g12_the_next_delegation_with_a_new_directory_key_takes_over() {
    let mut office = Office::of_three();
    let broker = office.start().await;
    office.exchange.directory_key = SigningKey::generate(&mut rng());
    office.exchange.content.delegation = delegation(&office, 2).sign(&office.exchange.root_key);
    office.exchange.change("fra/ncb");
    office.publish();
    broker.reload().await.unwrap();
    let status = broker.status().await.unwrap();
    assert_eq!(status.directory.version, 2);
    told(&of(&status.freshness, Kind::Delegation).name, &["delegation 2"]);
    let kenya = office.connect(&broker, "ken/ncb").await;
    assert_eq!(office.check(&kenya.send(&office.exchange.envelope("ken/ncb", &["fra/ncb"])).await), Ok(()));
    broker.stop().await;
    office.start().await.stop().await;
}
