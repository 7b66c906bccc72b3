//! Who gets a connection, and what ends one.

use std::time::Duration;

use bytes::Bytes;
use valise_broker::server::Broker;
use valise_proto::envelope::Precedence;
use valise_proto::refusal::RefusalCode;
use valise_proto::wire::session::{Cursor, SessionFrame, StreamOpen, VERSION};
use valise_transport::{ALPN, FrameReceiver, FrameSender};

use crate::fixture::{Issued, authority, issue};
use crate::office::{Agency, Office, code_of, hello, open, soon, until};
use crate::stranger::knock;

const PRIORITY: Precedence = Precedence::Priority;

/// A certificate that the exchange's authority issued to `fra/ncb`.
fn of_france(office: &Office) -> Issued {
    office.exchange.issue(&office.exchange.identity("fra/ncb"), 900)
}

async fn nobody_came(broker: &Broker) {
    let status = until(broker, "no session", |status| status.sessions == 0).await;
    assert_eq!((status.log_entries, status.queues.len()), (0, 0));
}

#[tokio::test]
async fn another_protocol_gets_no_connection() {
    let office = Office::of_three();
    let broker = office.start().await;
    let refused = knock(broker.local_addr(), b"h3", Some(&of_france(&office))).await;
    assert!(refused.contains("application protocol") || refused.contains("error 120"), "{refused}");
    nobody_came(&broker).await;
    broker.stop().await;
}

#[tokio::test]
async fn g01_nobody_gets_a_connection_without_a_certificate_of_this_exchange() {
    let office = Office::of_three();
    let broker = office.start().await;
    let identity = office.exchange.identity("fra/ncb");
    let elsewhere: valise_proto::id::SpiffeId = "spiffe://elsewhere.example/agency/fra/ncb".parse().unwrap();
    let strangers = [
        ("no certificate", None),
        ("another authority's", Some(issue(&authority(), &identity, 1))),
        ("a broker's", Some(office.exchange.issue(&office.exchange.broker(), 901))),
        ("another trust domain's", Some(office.exchange.issue(&elsewhere, 902))),
    ];
    for (what, certificate) in strangers {
        let refused = knock(broker.local_addr(), ALPN, certificate.as_ref()).await;
        assert!(refused.contains("aborted by peer"), "{what}: {refused}");
    }
    nobody_came(&broker).await;
    broker.stop().await;
}

#[tokio::test]
async fn an_agency_that_the_directory_does_not_list_is_told_so() {
    let office = Office::of_three();
    let broker = office.start().await;
    let certificate = office.exchange.issue(&office.exchange.identity("deu/bka"), 903);
    let connection = office.dial_as(&broker, &certificate).await.unwrap();
    assert_eq!(code_of(&soon("the end", connection.closed()).await), Some(RefusalCode::UnknownAgency));
    nobody_came(&broker).await;
    broker.stop().await;
}

#[tokio::test]
async fn g12_an_agent_of_another_version_is_told_so() {
    let office = Office::of_three();
    let broker = office.start().await;
    let connection = office.dial(&broker, "fra/ncb").await;
    let (_sender, mut receiver) = open(&connection, &hello(vec![VERSION + 1])).await;
    let frame = soon("a goodbye", receiver.next()).await.unwrap().unwrap();
    let SessionFrame::Goodbye(Some(reason)) = SessionFrame::decode(frame).unwrap() else {
        panic!("no goodbye")
    };
    assert_eq!(reason.code, RefusalCode::UnsupportedVersion);
    assert!(reason.detail.contains(&format!("version {VERSION}")), "{reason}");
    assert_eq!(code_of(&soon("the end", connection.closed()).await), Some(RefusalCode::UnsupportedVersion));
    nobody_came(&broker).await;
    broker.stop().await;
}

#[tokio::test]
async fn a_connection_that_does_not_begin_with_hello_is_closed() {
    let office = Office::of_three();
    let broker = office.start().await;
    for first in [StreamOpen::Submit(PRIORITY).encode(), Bytes::from_static(b"\xff"), Bytes::new()] {
        let connection = office.dial(&broker, "fra/ncb").await;
        let (mut sender, _receiver) = connection.open(1024, 0).await.unwrap();
        sender.send(first.clone()).await.unwrap();
        let end = soon("the end", connection.closed()).await;
        assert_eq!(code_of(&end), Some(RefusalCode::Malformed), "{first:?}");
    }
    nobody_came(&broker).await;
    broker.stop().await;
}

#[tokio::test]
async fn g10_a_connection_that_says_nothing_is_closed() {
    let mut office = Office::of_three();
    office.config.limits.handshake_timeout = Duration::from_millis(200);
    let broker = office.start().await;
    let connection = office.dial(&broker, "fra/ncb").await;
    assert_eq!(code_of(&soon("the end", connection.closed()).await), Some(RefusalCode::Malformed));
    broker.stop().await;
}

/// Sends bytes on a new stream of a welcomed agency, and says how the connection ends.
async fn end_after(first: StreamOpen, then: Option<Bytes>) -> Option<RefusalCode> {
    let office = Office::of_three();
    let broker = office.start().await;
    let mut france = office.connect(&broker, "fra/ncb").await;
    let (mut sender, _receiver) = open(&france.connection, &first).await;
    if let Some(bytes) = then {
        sender.send(bytes).await.unwrap();
    }
    let told = france.goodbye().await;
    assert_eq!(code_of(&france.closed().await), told, "the goodbye and the close differ");
    nobody_came(&broker).await;
    broker.stop().await;
    told
}

#[tokio::test]
async fn g10_a_length_above_the_limit_ends_the_connection() {
    // The frame of a stream's opening may be 4 KiB; the prefix alone is enough.
    let office = Office::of_three();
    let broker = office.start().await;
    let mut france = office.connect(&broker, "fra/ncb").await;
    let (mut sender, _receiver) = france.connection.open(1024, 0).await.unwrap();
    sender.send(vec![0; 5 * 1024].into()).await.unwrap();
    assert_eq!(france.goodbye().await, Some(RefusalCode::TooLarge));
    broker.stop().await;
    let too_long = Bytes::from(vec![0; 1024 * 1024 + 1]);
    assert_eq!(end_after(StreamOpen::Submit(PRIORITY), Some(too_long)).await, Some(RefusalCode::TooLarge));
    let too_many = Bytes::from(vec![0; 17 * 1024]);
    let receive = StreamOpen::Receive { precedence: PRIORITY, window: 1 };
    assert_eq!(end_after(receive, Some(too_many)).await, Some(RefusalCode::TooLarge));
}

#[tokio::test]
async fn a_second_hello_ends_the_connection() {
    assert_eq!(end_after(hello(vec![VERSION]), None).await, Some(RefusalCode::Malformed));
}

#[tokio::test]
async fn an_acknowledgement_that_cannot_be_read_ends_the_connection() {
    let receive = StreamOpen::Receive { precedence: PRIORITY, window: 1 };
    assert_eq!(end_after(receive, Some(Bytes::from_static(b"\xff"))).await, Some(RefusalCode::Malformed));
}

#[tokio::test]
async fn acknowledging_what_was_not_delivered_ends_the_connection() {
    let office = Office::of_three();
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    kenya.send(&office.exchange.envelope("ken/ncb", &["fra/ncb"])).await;
    let mut france = office.connect(&broker, "fra/ncb").await;
    france.receive(PRIORITY, 1).await.ack(Cursor::new(77)).await;
    assert_eq!(france.goodbye().await, Some(RefusalCode::Malformed));
    let status = broker.status().await.unwrap();
    assert_eq!(status.queues.len(), 1, "an inbox lost something");
    broker.stop().await;
}

#[tokio::test]
async fn no_stream_is_served_before_the_welcome() {
    let office = Office::of_three();
    let broker = office.start().await;
    let connection = office.dial(&broker, "fra/ncb").await;
    let _session = open(&connection, &hello(vec![VERSION + 1])).await;
    let _submit: (FrameSender, FrameReceiver) = open(&connection, &StreamOpen::Submit(PRIORITY)).await;
    assert!(code_of(&soon("the end", connection.closed()).await).is_some());
    broker.stop().await;
}

#[tokio::test]
async fn an_agent_may_finish_its_side_of_the_session_stream() {
    let mut office = Office::of_three();
    let broker = office.start().await;
    let connection = office.dial(&broker, "fra/ncb").await;
    let mut france = Agency::greet(connection).await;
    france.finish_session();
    office.exchange.change("tur/border");
    office.publish();
    broker.reload().await.unwrap();
    assert_eq!(france.publication().await.directory, office.exchange.directory().encoded());
    broker.stop().await;
    assert_eq!(france.goodbye().await, None);
}

#[tokio::test]
async fn g10_an_agency_has_no_more_connections_than_allowed() {
    let mut office = Office::of_three();
    office.config.limits.core.connections_per_agency_max = 1;
    let broker = office.start().await;
    let _first = office.connect(&broker, "fra/ncb").await;
    let second = office.dial(&broker, "fra/ncb").await;
    assert_eq!(code_of(&soon("the end", second.closed()).await), Some(RefusalCode::Quota));
    let _other = office.connect(&broker, "tur/border").await;
    assert_eq!(broker.status().await.unwrap().sessions, 2);
    broker.stop().await;
}

#[tokio::test]
async fn a_newer_stream_takes_the_place_of_an_older_one() {
    let office = Office::of_three();
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let france = office.connect(&broker, "fra/ncb").await;
    let mut older = france.receive(PRIORITY, 10).await;
    kenya.send(&office.exchange.envelope("ken/ncb", &["fra/ncb"])).await;
    let (first, _) = older.envelope().await;
    let mut newer = france.receive(PRIORITY, 10).await;
    assert_eq!(newer.envelope().await.0, first);
    assert_eq!(
        soon("the older one's end", older.receiver.next()).await,
        Ok(None),
        "the older stream goes on"
    );
    newer.ack(first).await;
    until(&broker, "the acknowledgement", |status| status.queues.is_empty()).await;
    broker.stop().await;
}
