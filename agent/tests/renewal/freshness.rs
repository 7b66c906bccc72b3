//! What runs out: warned of, then refused with everything that is needed to mend it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use valise_agent::api::client::LocalClient;
use valise_agent::clock::Clock;
use valise_agent::node::{Node, NodeOptions, StartError};
use valise_proto::crypto::context;
use valise_proto::id::Timestamp;
use valise_proto::label::Classification;
use valise_proto::wire::Signed;
use valise_proto::wire::session::{Publication, SessionFrame};

use crate::case::{Case, FRANCE, KENYA, office_of, or, until, young};
use crate::exchange::field;
use crate::fixture::{DAY, Exchange, notice_json, now};

/// What composing says when this long has passed, with this grace.
async fn composing_after(passed: Duration, grace: Duration) -> Result<(), String> {
    let office = office_of(young());
    let time = Arc::new(AtomicU64::new(now().millis()));
    let clock = {
        let time = Arc::clone(&time);
        Clock::new(move || Timestamp::from_millis(time.load(Ordering::Relaxed)))
    };
    let mut config = office.config(FRANCE, None);
    config.freshness_grace = grace;
    let options = NodeOptions { clock, offline: true, ..NodeOptions::default() };
    let node = Node::start(config, options).await.unwrap();
    time.store(now().plus(passed).millis(), Ordering::Relaxed);
    let client = LocalClient::new(&office.config(FRANCE, None));
    let sent = client.send(notice_json(KENYA).to_string().into()).await;
    let status = client.status().await.unwrap();
    let told = status.runs_out.iter().find(|document| document.name.starts_with("directory")).unwrap();
    let urgency = match passed.as_secs() / DAY.as_secs() {
        0..15 => "FRESH",
        15..29 => "HALF_OVER",
        29 => "LAST_DAY",
        _ => "OVER",
    };
    assert_eq!((told.urgency.as_str(), told.advice.is_some()), (urgency, urgency != "FRESH"));
    assert_eq!(told.counts_until, told.expires_at.plus(grace));
    node.stop().await;
    sent.map(|_| ()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn g12_past_its_end_nothing_is_composed_and_the_refusal_names_file_times_clocks_and_remedy() {
    for days in [1, 16, 29] {
        composing_after(DAY * days, Duration::ZERO).await.unwrap();
    }
    let told = composing_after(DAY * 30 + Duration::from_secs(120), Duration::ZERO).await.unwrap_err();
    let needed = [
        "directory.valise",
        "version 1 expired at",
        "issued at",
        "this node's clock",
        "broker's clock",
        "valise-ca publish",
        "valise-agent install",
    ];
    for piece in needed {
        assert!(told.contains(piece), "`{piece}` is not told: {told}");
    }
}

#[tokio::test]
async fn g12_a_grace_lets_it_count_a_little_longer_and_then_no_more() {
    let hour = Duration::from_secs(3600);
    composing_after(DAY * 30 + hour / 2, hour).await.unwrap();
    let told = composing_after(DAY * 30 + hour * 2, hour).await.unwrap_err();
    assert!(told.contains("a grace of 3600 s is over too"), "{told}");
}

#[tokio::test]
async fn g12_a_directory_file_that_was_put_back_is_refused_at_start_and_the_newest_mends_it() {
    let mut case = Case::of_life(young()).await;
    let old = case.file("directory.valise");
    case.office.exchange.content.version = 7;
    case.publish(Vec::new());
    let newer = async || {
        let version = case.status().await.directory.version;
        or(version == 7, version, version)
    };
    until("directory version 7", newer).await;
    case.node.stop().await;
    let path = case.office.data(FRANCE).join("directory.valise");
    let newest = std::fs::read(&path).unwrap();
    std::fs::write(&path, &old).unwrap();
    let started = Node::start(case.office.config(FRANCE, None), NodeOptions::default()).await;
    assert!(matches!(started, Err(StartError::RolledBack { got: 1, highest: 7, .. })), "{started:?}");
    assert_eq!(std::fs::read(&path).unwrap(), old, "a refused start changed the file");
    std::fs::write(&path, newest).unwrap();
    case.office.start(FRANCE, None).await.stop().await;
}

/// What an authority that is not honest can sign: a directory within a ceiling of its own, but with the delegation that
/// the root did make.
fn above_its_ceiling(exchange: &Exchange) -> Bytes {
    const DELEGATION_FIELD: u8 = 9;
    let mut content = exchange.content.clone();
    content.version = 9;
    let mine = field(DELEGATION_FIELD, &content.delegation.encode());
    let mut given = content.delegation.delegation().clone();
    given.ceiling.classifications = Classification::Unclassified.and_below();
    let given = field(DELEGATION_FIELD, &given.sign(&exchange.root_key).encode());
    let honest = content.sign(&exchange.directory_key).unwrap();
    let body = Signed::decode(honest.encoded().clone()).unwrap().body;
    let at = body.windows(mine.len()).position(|window| window == mine).unwrap();
    let body = [&body[..at], &given, &body[at + mine.len()..]].concat();
    Signed::sign(context::DIRECTORY, body.into(), &exchange.directory_key).encode()
}

#[tokio::test]
async fn g12_a_directory_above_its_ceiling_is_not_taken_and_status_says_why() {
    let mut case = Case::of_life(young()).await;
    let held = case.file("directory.valise");
    let above = above_its_ceiling(&case.office.exchange);
    case.broker.say(SessionFrame::Publication(Publication { directory: above, crls: Vec::new() }));
    let told = async || {
        let refused = case.status().await.directory.refused.map(|no| no.reason).unwrap_or_default();
        or(refused.contains("more than its authority may"), refused.clone(), refused)
    };
    until("the refusal", told).await;
    assert_eq!(case.file("directory.valise"), held);
    case.office.exchange.content.version = 10;
    case.publish(Vec::new());
    let mended = async || {
        let directory = case.status().await.directory;
        or(directory.version == 10 && directory.refused.is_none(), directory.clone(), directory)
    };
    until("a directory within the ceiling", mended).await;
    case.node.stop().await;
}

#[tokio::test]
async fn g12_the_skew_against_the_brokers_clock_is_told() {
    let case = Case::of_life(young()).await;
    let clock = case.status().await.clock.unwrap();
    assert!(clock.ahead_millis.abs() < 5_000, "{clock:?}");
    case.node.stop().await;
}

#[tokio::test]
async fn g12_the_end_of_the_roots_delegation_is_told_beforehand() {
    let office = office_of(young());
    let delegation = office.exchange.content.delegation.delegation().clone();
    let life = delegation.not_after.since(delegation.not_before);
    for (passed, urgency) in [(life / 10 * 8, "FRESH"), (life / 20 * 19, "HALF_OVER"), (life + DAY, "OVER")] {
        let at = delegation.not_before.plus(passed);
        let options = NodeOptions { clock: Clock::new(move || at), offline: true, ..NodeOptions::default() };
        let node = Node::start(office.config(FRANCE, None), options).await.unwrap();
        let status = LocalClient::new(&office.config(FRANCE, None)).status().await.unwrap();
        let told = status.runs_out.iter().find(|document| document.name == "delegation of generation 1");
        let told = told.unwrap_or_else(|| panic!("it is not told of: {:?}", status.runs_out));
        assert_eq!((told.urgency.as_str(), told.expires_at), (urgency, delegation.not_after));
        assert_eq!(
            told.advice.as_ref().is_some_and(|advice| advice.contains("issuing renew")),
            urgency != "FRESH"
        );
        node.stop().await;
    }
}
