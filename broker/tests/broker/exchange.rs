//! Notices go the whole way: submitted, accepted, kept, delivered, acknowledged.

use std::collections::BTreeSet;
use std::time::Duration;

use valise_proto::directory::AgencyStatus;
use valise_proto::envelope::{Envelope, Precedence};
use valise_proto::label::{Classification, Label};
use valise_proto::receipt::ReceiptKind;
use valise_proto::refusal::RefusalCode;
use valise_proto::wire::limits::Limits;
use valise_proto::wire::session::{Answer, Delivery, Item, NoticeStatus, Query};

use crate::fixture::{agency, now, policy};
use crate::office::{Office, depth, until};

const PRIORITY: Precedence = Precedence::Priority;

fn portions(envelope: &Envelope) -> Vec<usize> {
    envelope.portions().iter().map(|portion| portion.index.get()).collect()
}

#[tokio::test]
async fn a_notice_is_accepted_delivered_and_erased() {
    let office = Office::of_three();
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let france = office.connect(&broker, "fra/ncb").await;
    let envelope = office.exchange.envelope("ken/ncb", &["fra/ncb"]);
    assert_eq!(office.check(&kenya.send(&envelope).await), Ok(()));
    let mut inbox = france.receive(PRIORITY, 16).await;
    let (cursor, delivered) = inbox.envelope().await;
    assert_eq!(delivered.encode(), envelope.encode());
    assert_eq!(depth(&broker.status().await.unwrap(), "fra/ncb"), 1, "gone before it was acknowledged");
    inbox.ack(cursor).await;
    let status = until(&broker, "the acknowledgement", |status| depth(status, "fra/ncb") == 0).await;
    assert_eq!((status.log_entries, status.sessions, status.queues.len()), (1, 2, 0));
    broker.stop().await;
}

#[tokio::test]
async fn g03_each_recipient_gets_what_it_may_access_whatever_the_sender_wrapped() {
    let office = Office::of_three();
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let classes = [Classification::Restricted, Classification::Secret];
    let envelope =
        office.exchange.seal(office.exchange.draft("ken/ncb"), &["fra/ncb", "tur/border"], &classes);
    assert_eq!(office.check(&kenya.send(&envelope).await), Ok(()));
    for (name, expected) in [("fra/ncb", vec![0, 1]), ("tur/border", vec![0])] {
        let recipient = office.connect(&broker, name).await;
        let (_, delivered) = recipient.receive(PRIORITY, 1).await.envelope().await;
        assert_eq!(portions(&delivered), expected, "{name}");
        assert_eq!(delivered.wraps().len(), 1);
        let verified = delivered.verify_delivered(&office.exchange.directory(), &agency(name));
        assert!(verified.is_ok(), "{name}: {verified:?}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn g03_a_clearance_lowered_between_submission_and_delivery_withholds_the_portion() {
    let mut office = Office::of_three();
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let classes = [Classification::Restricted, Classification::Secret];
    let envelope = office.exchange.seal(office.exchange.draft("ken/ncb"), &["fra/ncb"], &classes);
    assert_eq!(office.check(&kenya.send(&envelope).await), Ok(()));
    office.exchange.change("fra/ncb").clearance.class_list = Classification::Restricted.and_below();
    office.publish();
    broker.reload().await.unwrap();
    let france = office.connect(&broker, "fra/ncb").await;
    let (_, delivered) = france.receive(PRIORITY, 1).await.envelope().await;
    assert_eq!(portions(&delivered), [0]);
    broker.stop().await;
}

#[tokio::test]
async fn many_notices_go_through_at_once_and_each_is_answered() {
    const NOTICES: usize = 300;
    let office = Office::of_three();
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let france = office.connect(&broker, "fra/ncb").await;
    let mut stream = kenya.submit(PRIORITY).await;
    let mut sent = BTreeSet::new();
    for _ in 0..NOTICES {
        let envelope = office.exchange.envelope("ken/ncb", &["fra/ncb"]);
        sent.insert(envelope.header().notice_id);
        stream.send(envelope.encode()).await;
    }
    let mut answered = BTreeSet::new();
    for _ in 0..NOTICES {
        let (ordinal, receipt) = stream.answer().await;
        assert_eq!(office.check(&receipt), Ok(()));
        assert!(answered.insert(ordinal), "answer {ordinal} came twice");
    }
    let mut inbox = france.receive(PRIORITY, 50).await;
    for _ in 0..NOTICES {
        let (cursor, envelope) = inbox.envelope().await;
        assert!(sent.remove(&envelope.header().notice_id), "delivered twice, or never sent");
        inbox.ack(cursor).await;
    }
    let status = until(&broker, "the acknowledgements", |status| depth(status, "fra/ncb") == 0).await;
    assert!(status.commits.syncs < 300, "no commits were shared: {:?}", status.commits);
    broker.stop().await;
}

#[tokio::test]
async fn the_largest_envelope_goes_through_with_the_least_room() {
    let mut office = Office::of_three();
    office.config.limits.intake_bytes_max = Limits::DEFAULT.envelope_bytes_max;
    office.config.limits.wire.in_flight_max = 1;
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let france = office.connect(&broker, "fra/ncb").await;
    let large = |len: usize| {
        let label = Label::plain(policy(), Classification::Unclassified);
        office.exchange.seal_labelled(
            office.exchange.draft("ken/ncb"),
            &["fra/ncb"],
            vec![label],
            &vec![7; len],
        )
    };
    let around = large(900_000).encode().len() - 900_000;
    let largest = large(Limits::DEFAULT.envelope_bytes_max - around);
    assert_eq!(largest.encode().len(), Limits::DEFAULT.envelope_bytes_max);
    let mut stream = kenya.submit(PRIORITY).await;
    for frame in [largest.encode(), large(10).encode(), large(20).encode()] {
        stream.send(frame).await;
    }
    for _ in 0..3 {
        assert_eq!(office.check(&stream.answer().await.1), Ok(()));
    }
    let (_, delivered) = france.receive(PRIORITY, 1).await.envelope().await;
    assert_eq!(delivered.encode(), largest.encode());
    broker.stop().await;
}

#[tokio::test]
async fn g05_the_same_envelope_again_gives_the_same_receipt() {
    let mut office = Office::of_three();
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let envelope = office.exchange.envelope("ken/ncb", &["fra/ncb"]);
    let first = kenya.send(&envelope).await;
    assert_eq!(office.check(&first), Ok(()));
    assert_eq!(kenya.send(&envelope).await.encode(), first.encode());

    let since = office.exchange.start;
    office.exchange.change("fra/ncb").status = AgencyStatus::Suspended { since };
    office.publish();
    broker.reload().await.unwrap();
    assert_eq!(kenya.send(&envelope).await.encode(), first.encode(), "refused after it was accepted");
    let another = office.exchange.envelope("ken/ncb", &["fra/ncb"]);
    assert_eq!(office.check(&kenya.send(&another).await), Err(RefusalCode::Suspended));
    let status = broker.status().await.unwrap();
    assert_eq!((status.log_entries, depth(&status, "fra/ncb")), (1, 1));
    broker.stop().await;
}

#[tokio::test]
async fn g05_another_envelope_under_the_same_id_is_refused() {
    let office = Office::of_three();
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let draft = office.exchange.draft("ken/ncb");
    let first = office.exchange.seal(draft.clone(), &["fra/ncb"], &[Classification::Unclassified]);
    let other = office.exchange.seal(draft, &["fra/ncb", "tur/border"], &[Classification::Unclassified]);
    assert_eq!(office.check(&kenya.send(&first).await), Ok(()));
    assert_eq!(office.check(&kenya.send(&other).await), Err(RefusalCode::IdConflict));
    let status = broker.status().await.unwrap();
    assert_eq!((status.log_entries, depth(&status, "fra/ncb"), depth(&status, "tur/border")), (1, 1, 0));
    broker.stop().await;
}

#[tokio::test]
async fn g06_the_originator_may_ask_what_became_of_its_notice_and_nobody_else() {
    let office = Office::of_three();
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let france = office.connect(&broker, "fra/ncb").await;
    let envelope = office.exchange.envelope("ken/ncb", &["fra/ncb"]);
    let receipt = kenya.send(&envelope).await;
    let query = Query::NoticeStatus(envelope.header().notice_id);
    let expected = NoticeStatus { accepted: Some(receipt), undelivered: vec![agency("fra/ncb")] };
    assert_eq!(kenya.query(query.clone()).await, Answer::NoticeStatus(Box::new(expected)));
    assert_eq!(france.query(query).await, Answer::NoticeStatus(Box::default()), "told to somebody else");
    let Answer::Publication(published) = france.query(Query::Publication).await else {
        panic!("no publication")
    };
    assert_eq!(published.directory, office.exchange.directory().encoded());
    assert_eq!(published.crls.len(), 1);
    broker.stop().await;
}

#[tokio::test]
async fn g11_a_notice_that_nobody_fetches_expires_and_its_originator_is_told() {
    let mut office = Office::of_three();
    office.config.limits.core.sweep_interval = Duration::from_millis(20);
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let mut draft = office.exchange.draft("ken/ncb");
    draft.expires_at = now().plus(Duration::from_secs(1));
    let envelope = office.exchange.seal(draft, &["fra/ncb", "tur/border"], &[Classification::Unclassified]);
    assert_eq!(office.check(&kenya.send(&envelope).await), Ok(()));
    let mut inbox = kenya.receive(Precedence::Routine, 16).await;
    for name in ["fra/ncb", "tur/border"] {
        let Delivery { item: Item::Receipt(receipt), cursor } = inbox.next().await else {
            panic!("no receipt")
        };
        receipt.verify(&office.exchange.directory()).unwrap();
        assert_eq!(receipt.receipt().kind, ReceiptKind::Expired);
        assert_eq!(receipt.receipt().recipient, Some(agency(name)));
        assert_eq!(receipt.receipt().header_digest, envelope.header_digest());
        inbox.ack(cursor).await;
    }
    let status = until(&broker, "empty inboxes", |status| status.queues.is_empty()).await;
    assert_eq!(status.log_entries, 3);
    broker.stop().await;
}

#[tokio::test]
async fn g08_a_flash_notice_does_not_wait_behind_routine_traffic() {
    let office = Office::of_three();
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let france = office.connect(&broker, "fra/ncb").await;
    for precedence in Precedence::ALL {
        let mut draft = office.exchange.draft("ken/ncb");
        draft.precedence = precedence;
        let envelope = office.exchange.seal(draft, &["fra/ncb"], &[Classification::Unclassified]);
        assert_eq!(office.check(&kenya.send(&envelope).await), Ok(()));
    }
    // The routine queue is open and full; the others have streams of their own.
    let mut routine = france.receive(Precedence::Routine, 1).await;
    routine.envelope().await;
    for precedence in [Precedence::Flash, Precedence::Immediate, PRIORITY] {
        let (_, envelope) = france.receive(precedence, 1).await.envelope().await;
        assert_eq!(envelope.header().precedence, precedence);
    }
    broker.stop().await;
}
