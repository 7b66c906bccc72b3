//! What whoever watches a broker is told on loopback: numbers, health, readiness.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use valise_broker::server::{Broker, StartError};
use valise_proto::envelope::Precedence;
use valise_proto::label::Classification;

use crate::fixture::{DAY, crl_between, now};
use crate::office::{LONG, Office, soon};

/// An exchange whose broker serves metrics.
fn watched() -> Office {
    let mut office = Office::of_three();
    office.config.metrics_listen = Some("127.0.0.1:0".parse().unwrap());
    office
}

async fn address(broker: &Broker) -> SocketAddr {
    broker.status().await.unwrap().metrics_listen.expect("metrics are served")
}

/// Asks with these lines, and returns status and body.
async fn ask(address: SocketAddr, head: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn get(broker: &Broker, path: &str) -> (u16, String) {
    ask(address(broker).await, &format!("GET {path} HTTP/1.1\r\nHost: localhost")).await
}

/// The value of one line of a page.
fn value(page: &str, line: &str) -> f64 {
    let found = page.lines().find_map(|told| told.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no `{line}`:\n{page}")).parse().unwrap()
}

/// Waits until a line of the page has this value.
async fn until(broker: &Broker, line: &str, expected: f64) -> String {
    let deadline = tokio::time::Instant::now() + LONG;
    loop {
        let (_, page) = get(broker, "/metrics").await;
        if (value(&page, line) - expected).abs() < f64::EPSILON {
            return page;
        }
        assert!(tokio::time::Instant::now() < deadline, "`{line}` did not become {expected}:\n{page}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_broker_serves_metrics_only_where_it_is_told_to() {
    let office = Office::of_three();
    let broker = office.start().await;
    assert_eq!(broker.status().await.unwrap().metrics_listen, None);
    broker.stop().await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_and_nothing_starts() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut office = Office::of_three();
    office.config.metrics_listen = Some(taken.local_addr().unwrap());
    match Broker::start(office.config.clone()).await {
        Err(error @ StartError::Metrics { .. }) => {
            assert!(error.to_string().contains("set another `metrics_listen`"), "{error}");
        }
        other => panic!("not refused for its address: {other:?}"),
    }
    office.config.metrics_listen = None;
    office.start().await.stop().await;
}

#[tokio::test]
async fn g10_what_waits_rises_and_falls_and_every_answer_is_counted() {
    let office = watched();
    let broker = office.start().await;
    let waiting = "valise_broker_queue_items{agency=\"fra/ncb\",precedence=\"PRIORITY\"}";
    let (_, page) = get(&broker, "/metrics").await;
    assert_eq!((value(&page, waiting), value(&page, "valise_broker_connections")), (0.0, 0.0));

    let kenya = office.connect(&broker, "ken/ncb").await;
    for _ in 0..3 {
        let envelope = office.exchange.envelope("ken/ncb", &["fra/ncb"]);
        office.check(&kenya.send(&envelope).await).unwrap();
        office.check(&kenya.send(&envelope).await).unwrap();
    }
    let page = until(&broker, waiting, 3.0).await;
    assert_eq!(value(&page, "valise_broker_notices_accepted_total"), 3.0);
    assert_eq!(value(&page, "valise_broker_notices_resubmitted_total"), 3.0);
    assert_eq!(value(&page, "valise_broker_accept_seconds_count"), 6.0);
    assert_eq!(value(&page, "valise_broker_accept_seconds_bucket{le=\"+Inf\"}"), 6.0);
    assert_eq!(value(&page, "valise_broker_commit_batch_operations_sum"), 6.0);
    assert_eq!((value(&page, "valise_broker_connections"), value(&page, "valise_broker_ready")), (1.0, 1.0));
    assert!(value(&page, "valise_broker_store_size_bytes") > 0.0);
    assert!(
        value(&page, "valise_broker_oldest_item_age_seconds{precedence=\"PRIORITY\"}") < LONG.as_secs_f64()
    );

    let mut stream = kenya.submit(Precedence::Priority).await;
    office.check(&stream.ask(Bytes::from_static(b"no envelope")).await).unwrap_err();
    let bold =
        office.exchange.seal(office.exchange.draft("ken/ncb"), &["tur/border"], &[Classification::Secret]);
    office.check(&kenya.send(&bold).await).unwrap_err();
    let (_, page) = get(&broker, "/metrics").await;
    assert_eq!(value(&page, "valise_broker_refusals_total{code=\"MALFORMED\"}"), 1.0);
    assert_eq!(value(&page, "valise_broker_refusals_total{code=\"RECIPIENT_NOT_CLEARED\"}"), 1.0);
    assert_eq!(value(&page, "valise_broker_refusals_total{code=\"QUOTA\"}"), 0.0);

    let france = office.connect(&broker, "fra/ncb").await;
    let mut inbox = france.receive(Precedence::Priority, 8).await;
    for _ in 0..3 {
        let (cursor, _) = inbox.envelope().await;
        inbox.ack(cursor).await;
    }
    let page = until(&broker, waiting, 0.0).await;
    assert_eq!(value(&page, "valise_broker_items_delivered_total"), 3.0);
    assert_eq!(value(&page, "valise_broker_agencies_connected"), 2.0);
    assert_eq!(value(&page, "valise_broker_oldest_item_age_seconds{precedence=\"PRIORITY\"}"), 0.0);
    broker.stop().await;
}

#[tokio::test]
async fn g12_a_broker_whose_directory_or_lists_run_out_is_not_ready_and_says_why() {
    for kind in ["DIRECTORY", "REVOCATION_LIST"] {
        let mut office = watched();
        let broker = office.start().await;
        assert_eq!(get(&broker, "/readyz").await, (200, "ok\n".to_owned()));
        let (issued_at, expires_at) =
            (office.exchange.content.issued_at, now().plus(Duration::from_millis(1500)));
        if kind == "DIRECTORY" {
            office.exchange.content.version += 1;
            office.exchange.content.expires_at = expires_at;
            office.publish();
        } else {
            let list = crl_between(&office.exchange.authority, 2, (issued_at, expires_at));
            office.publish_crl_der(&list);
        }
        broker.reload().await.unwrap();
        assert_eq!(get(&broker, "/readyz").await.0, 200);
        let page = until(&broker, "valise_broker_ready", 0.0).await;
        let expiry = |kind: &str| value(&page, &format!("valise_broker_expiry_seconds{{kind=\"{kind}\"}}"));
        assert!(expiry(kind) <= 0.0 && expiry("CERTIFICATE") > 0.0, "{page}");
        let (status, reasons) = get(&broker, "/readyz").await;
        assert_eq!(status, 503);
        assert!(reasons.starts_with(kind) && reasons.contains("valise-ca publish"), "{reasons}");
        assert_eq!(get(&broker, "/healthz").await, (200, "ok\n".to_owned()), "a restart would not mend it");
        broker.stop().await;
    }
}

#[tokio::test]
async fn only_those_who_name_a_loopback_host_are_answered_and_only_on_three_paths() {
    let office = watched();
    let broker = office.start().await;
    let address = address(&broker).await;
    let (status, text) = ask(address, "GET /metrics HTTP/1.1\r\nHost: metrics.example").await;
    assert_eq!(status, 403, "{text}");
    assert_eq!(get(&broker, "/").await.0, 404);
    assert_eq!(ask(address, "DELETE /metrics HTTP/1.1\r\nHost: localhost").await.0, 405);
    broker.stop().await;
}

#[tokio::test]
async fn g10_callers_that_say_nothing_hold_nobody_up_for_ever() {
    let office = watched();
    let broker = office.start().await;
    let address = address(&broker).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    // Each is given up in time, and whoever asks behind them all is answered.
    let asked = ask(address, "GET /healthz HTTP/1.1\r\nHost: localhost");
    assert_eq!(tokio::time::timeout(3 * LONG, asked).await.unwrap().0, 200);
    broker.stop().await;
}

#[tokio::test]
async fn metrics_name_the_agencies_of_the_directory_and_nobody_else() {
    let mut office = watched();
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    office.check(&kenya.send(&office.exchange.envelope("ken/ncb", &["tur/border"])).await).unwrap();
    office.exchange.content.agencies.remove(&"tur/border".parse().unwrap());
    office.exchange.content.version += 1;
    office.publish();
    broker.reload().await.unwrap();
    let page =
        until(&broker, "valise_broker_queue_items{agency=\"others\",precedence=\"PRIORITY\"}", 1.0).await;
    assert!(!page.contains("tur/border"), "{page}");
    assert!(value(&page, "valise_broker_expiry_seconds{kind=\"DIRECTORY\"}") < (30 * DAY).as_secs_f64());
    broker.stop().await;
}
