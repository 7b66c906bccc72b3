//! What is submitted and not taken: each refusal has its code, is signed, and changes nothing.

use bytes::Bytes;
use valise_broker::server::Broker;
use valise_proto::envelope::{Envelope, Precedence};
use valise_proto::label::{Classification, Label};
use valise_proto::receipt::SignedReceipt;
use valise_proto::refusal::RefusalCode;

use crate::fixture::{DAY, Exchange, MINUTE};
use crate::office::Office;

const UNCLASSIFIED: [Classification; 1] = [Classification::Unclassified];

/// Submits as `ken/ncb` what `make` makes, and checks that it was refused, that nothing was kept and that the next
/// notice is taken all the same.
async fn refused(make: impl FnOnce(&mut Exchange) -> Bytes) -> RefusalCode {
    let mut office = Office::of_three();
    let broker = office.start().await;
    let frame = make(&mut office.exchange);
    let kenya = office.connect(&broker, "ken/ncb").await;
    let mut stream = kenya.submit(Precedence::Priority).await;
    let receipt: SignedReceipt = stream.ask(frame).await;
    let code = office.check(&receipt).expect_err("it was accepted");
    unchanged(&broker).await;
    let good = office.exchange.envelope("ken/ncb", &["fra/ncb"]);
    assert_eq!(office.check(&stream.ask(good.encode()).await), Ok(()), "the stream is of no use any more");
    broker.stop().await;
    code
}

async fn unchanged(broker: &Broker) {
    let status = broker.status().await.unwrap();
    assert_eq!((status.log_entries, status.queues.len()), (0, 0), "a refusal changed something");
}

/// The frame with one byte of `part` altered.
fn altered(envelope: &Envelope, part: &[u8]) -> Bytes {
    let mut frame = envelope.encode().to_vec();
    let at = frame.windows(part.len()).position(|window| window == part).unwrap();
    frame[at] ^= 1;
    frame.into()
}

#[tokio::test]
async fn g01_an_envelope_in_anothers_name() {
    let code = refused(|exchange| exchange.envelope("fra/ncb", &["tur/border"]).encode()).await;
    assert_eq!(code, RefusalCode::NotOriginator);
}

#[tokio::test]
async fn g01_a_broken_signature() {
    let code = refused(|exchange| {
        let envelope = exchange.envelope("ken/ncb", &["fra/ncb"]);
        altered(&envelope, &envelope.signature().value)
    });
    assert_eq!(code.await, RefusalCode::BadSignature);
}

#[tokio::test]
async fn g02_an_altered_ciphertext() {
    let code = refused(|exchange| {
        let envelope = exchange.envelope("ken/ncb", &["fra/ncb"]);
        altered(&envelope, &envelope.portions()[0].ciphertext)
    });
    assert_eq!(code.await, RefusalCode::Malformed);
}

#[tokio::test]
async fn a_recipient_that_is_not_listed() {
    let code = refused(|exchange| {
        // Enrolled elsewhere, or after the broker was given its directory.
        let others = Exchange::new(&[("xpo/general-secretariat", Classification::Secret)]);
        exchange.members.extend(others.members);
        exchange.envelope("ken/ncb", &["fra/ncb", "xpo/general-secretariat"]).encode()
    });
    assert_eq!(code.await, RefusalCode::UnknownAgency);
}

#[tokio::test]
async fn g03_a_recipient_that_may_access_no_portion() {
    let code = refused(|exchange| {
        let classes = [Classification::Secret];
        exchange.seal(exchange.draft("ken/ncb"), &["fra/ncb", "tur/border"], &classes).encode()
    });
    assert_eq!(code.await, RefusalCode::RecipientNotCleared);
}

#[tokio::test]
async fn g03_a_classification_its_originator_may_not_originate() {
    let code = refused(|exchange| {
        let classes = [Classification::TopSecret, Classification::Unclassified];
        exchange.seal(exchange.draft("ken/ncb"), &["fra/ncb"], &classes).encode()
    });
    assert_eq!(code.await, RefusalCode::NotClearedToOriginate);
}

#[tokio::test]
async fn g12_a_label_of_another_policy() {
    let code = refused(|exchange| {
        let label = Label::plain("elsewhere.example".parse().unwrap(), Classification::Unclassified);
        exchange.seal_labelled(exchange.draft("ken/ncb"), &["fra/ncb"], vec![label], b"content").encode()
    });
    assert_eq!(code.await, RefusalCode::LabelPolicy);
}

#[tokio::test]
async fn a_notice_from_the_future() {
    let code = refused(|exchange| {
        let mut draft = exchange.draft("ken/ncb");
        draft.created_at = exchange.start.plus(20 * MINUTE);
        exchange.seal(draft, &["fra/ncb"], &UNCLASSIFIED).encode()
    });
    assert_eq!(code.await, RefusalCode::ClockSkew);
}

#[tokio::test]
async fn a_notice_past_its_time() {
    let code = refused(|exchange| {
        let mut draft = exchange.draft("ken/ncb");
        (draft.created_at, draft.expires_at) = (earlier(exchange, 2), earlier(exchange, 1));
        exchange.seal(draft, &["fra/ncb"], &UNCLASSIFIED).encode()
    });
    assert_eq!(code.await, RefusalCode::Expired);
}

fn earlier(exchange: &Exchange, days: u32) -> valise_proto::id::Timestamp {
    let ago = u64::try_from((DAY * days).as_millis()).unwrap();
    valise_proto::id::Timestamp::from_millis(exchange.start.millis() - ago)
}

#[tokio::test]
async fn g10_a_notice_that_would_wait_too_long() {
    let code = refused(|exchange| {
        let mut draft = exchange.draft("ken/ncb");
        draft.expires_at = exchange.start.plus(367 * DAY);
        exchange.seal(draft, &["fra/ncb"], &UNCLASSIFIED).encode()
    });
    assert_eq!(code.await, RefusalCode::TooLarge);
}

#[tokio::test]
async fn g12_bytes_that_are_no_envelope() {
    assert_eq!(refused(|_| Bytes::from_static(b"\xff\xff\xff")).await, RefusalCode::Malformed);
    assert_eq!(refused(|_| Bytes::new()).await, RefusalCode::Malformed);
}

#[tokio::test]
async fn g12_a_header_of_another_version() {
    let code = refused(|exchange| {
        let envelope = exchange.envelope("ken/ncb", &["fra/ncb"]);
        let mut frame = envelope.encode().to_vec();
        let header = envelope.header_bytes();
        let at = frame.windows(header.len()).position(|window| window == &header[..]).unwrap();
        // The header begins with field 1, the version.
        frame[at + 1] = 2;
        frame.into()
    });
    assert_eq!(code.await, RefusalCode::UnsupportedVersion);
}

#[tokio::test]
async fn an_envelope_on_the_stream_of_another_precedence() {
    let code = refused(|exchange| {
        let mut draft = exchange.draft("ken/ncb");
        draft.precedence = Precedence::Flash;
        exchange.seal(draft, &["fra/ncb"], &UNCLASSIFIED).encode()
    });
    assert_eq!(code.await, RefusalCode::Malformed);
}

#[tokio::test]
async fn g10_more_recipients_than_this_broker_takes() {
    let mut office = Office::of_three();
    office.config.limits.wire.recipients_max = 1;
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    assert_eq!(kenya.welcome.limits.recipients_max, 1, "the agents are not told");
    let envelope = office.exchange.envelope("ken/ncb", &["fra/ncb", "tur/border"]);
    let mut stream = kenya.submit(Precedence::Priority).await;
    stream.send(envelope.encode()).await;
    assert_eq!(office.check(&stream.answer().await.1), Err(RefusalCode::TooLarge));
    unchanged(&broker).await;
    broker.stop().await;
}
