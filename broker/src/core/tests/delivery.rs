//! What goes out on receive streams, and when.

use valise_proto::directory::AgencyStatus;
use valise_proto::envelope::Precedence;
use valise_proto::id::AgencyId;
use valise_proto::label::Classification;
use valise_proto::receipt::{Receipt, ReceiptKind};
use valise_proto::refusal::RefusalCode;
use valise_proto::wire::session::{Cursor, Item};

use super::{Desk, Effect, LoadedItem, PRIORITY, three};
use crate::fixture::{DAY, MINUTE, agency};

fn france() -> (AgencyId, Precedence) {
    (agency("fra/ncb"), PRIORITY)
}

#[test]
fn what_waits_is_delivered_in_order_when_an_agency_comes() {
    let mut desk = Desk::new(three());
    let sent: Vec<Cursor> =
        (0..3).map(|_| desk.accept(&desk.exchange.envelope("ken/ncb", &["fra/ncb"]))).collect();
    let session = desk.connect("fra/ncb");
    let stream = desk.receive(session, 100);
    assert_eq!(desk.cursors(stream), sent);
    let later = desk.accept(&desk.exchange.envelope("ken/ncb", &["fra/ncb"]));
    assert_eq!(desk.cursors(stream).last(), Some(&later), "what came later was not delivered");
}

#[test]
fn no_more_than_the_window_is_outstanding() {
    let mut desk = Desk::new(three());
    let sent: Vec<Cursor> =
        (0..5).map(|_| desk.accept(&desk.exchange.envelope("ken/ncb", &["fra/ncb"]))).collect();
    let session = desk.connect("fra/ncb");
    let stream = desk.receive(session, 2);
    assert_eq!(desk.cursors(stream), sent[..2]);
    desk.ack(stream, &sent[..1]);
    assert_eq!(desk.cursors(stream), sent[..3]);
    desk.ack(stream, &sent[1..3]);
    assert_eq!(desk.cursors(stream), sent);
    desk.ack(stream, &sent[3..]);
    assert_eq!(desk.depth("fra/ncb"), 0);
}

#[test]
fn a_window_of_none_or_of_too_many_is_kept_within_bounds() {
    let mut desk = Desk::new(three());
    for _ in 0..3 {
        desk.accept(&desk.exchange.envelope("ken/ncb", &["fra/ncb"]));
    }
    let session = desk.connect("fra/ncb");
    let none = desk.receive(session, 0);
    assert_eq!(desk.cursors(none).len(), 1);
    let many = desk.receive(session, u32::MAX);
    assert_eq!(desk.cursors(many).len(), 3);
}

#[test]
fn g05_after_a_reconnection_only_what_was_not_acknowledged_comes_again() {
    let mut desk = Desk::new(three());
    let sent: Vec<Cursor> =
        (0..3).map(|_| desk.accept(&desk.exchange.envelope("ken/ncb", &["fra/ncb"]))).collect();
    let first = desk.connect("fra/ncb");
    let stream = desk.receive(first, 10);
    desk.ack(stream, &sent[..1]);
    desk.core.handle_disconnected(first);
    let second = desk.connect("fra/ncb");
    let stream = desk.receive(second, 10);
    assert_eq!(desk.cursors(stream), sent[1..]);
}

#[test]
fn a_newer_stream_takes_the_place_of_an_older_one() {
    let mut desk = Desk::new(three());
    let first = desk.accept(&desk.exchange.envelope("ken/ncb", &["fra/ncb"]));
    let session = desk.connect("fra/ncb");
    let older = desk.receive(session, 10);
    let newer = desk.receive(session, 10);
    assert_eq!(desk.closed_streams, [older]);
    assert_eq!(desk.cursors(newer), [first], "what the older one had was not delivered again");
    let second = desk.accept(&desk.exchange.envelope("ken/ncb", &["fra/ncb"]));
    assert_eq!((desk.cursors(older), desk.cursors(newer)), (vec![first], vec![first, second]));
    // The end of the older one, which comes late, does not end the newer one.
    desk.core.handle_stream_closed(older);
    desk.ack(older, &[first]);
    let third = desk.accept(&desk.exchange.envelope("ken/ncb", &["fra/ncb"]));
    assert_eq!(desk.cursors(newer), [first, second, third]);
    assert_eq!(desk.depth("fra/ncb"), 3, "a stream that was replaced acknowledged something");
}

#[test]
fn acknowledging_what_was_not_delivered_ends_the_session() {
    let mut desk = Desk::new(three());
    let sent = desk.accept(&desk.exchange.envelope("ken/ncb", &["fra/ncb"]));
    let session = desk.connect("fra/ncb");
    let stream = desk.receive(session, 10);
    desk.ack(stream, &[sent, Cursor::new(999)]);
    assert_eq!(desk.closed.get(&session), Some(&Some(RefusalCode::Malformed)));
    assert_eq!(desk.depth("fra/ncb"), 1, "a part of a false acknowledgement was taken");
}

#[test]
fn g03_each_recipient_gets_its_own_wrap_and_the_portions_it_may_access() {
    let mut desk = Desk::new(three());
    let classes = [Classification::Restricted, Classification::Secret];
    let envelope = desk.exchange.seal(desk.exchange.draft("ken/ncb"), &["fra/ncb", "tur/border"], &classes);
    desk.accept(&envelope);
    for (name, portions) in [("fra/ncb", vec![0, 1]), ("tur/border", vec![0])] {
        let session = desk.connect(name);
        let stream = desk.receive(session, 10);
        assert_eq!(desk.portions(stream), portions, "{name}");
        let Item::Envelope(delivered) = &desk.delivered[&stream][0].item else { panic!("no envelope") };
        assert_eq!(delivered.wraps().len(), 1);
        assert_eq!(delivered.wraps()[0].recipient, agency(name));
        assert!((**delivered).clone().verify_delivered(&desk.exchange.directory(), &agency(name)).is_ok());
    }
}

#[test]
fn g03_a_clearance_lowered_between_submission_and_delivery_withholds_the_portion() {
    let mut desk = Desk::new(three());
    let classes = [Classification::Restricted, Classification::Secret];
    let envelope = desk.exchange.seal(desk.exchange.draft("ken/ncb"), &["fra/ncb"], &classes);
    desk.accept(&envelope);
    desk.exchange.change("fra/ncb").clearance.class_list = Classification::Restricted.and_below();
    desk.publish();
    let session = desk.connect("fra/ncb");
    let stream = desk.receive(session, 10);
    assert_eq!(desk.portions(stream), [0]);
}

#[test]
fn g03_the_decision_is_made_by_the_directory_in_force_when_the_inbox_was_read() {
    let mut desk = Desk::new(three());
    let envelope =
        desk.exchange.seal(desk.exchange.draft("ken/ncb"), &["fra/ncb"], &[Classification::Secret]);
    desk.accept(&envelope);
    let session = desk.connect("fra/ncb");
    desk.held = Some(Vec::new());
    let stream = desk.receive(session, 10);
    desk.exchange.change("fra/ncb").clearance.class_list = Classification::Restricted.and_below();
    desk.publish();
    desk.release();
    assert_eq!(desk.cursors(stream), [], "delivered by the directory from before");
}

#[test]
fn g03_what_was_withheld_is_delivered_when_the_clearance_is_raised() {
    let mut desk = Desk::new(three());
    let secret = desk.exchange.seal(desk.exchange.draft("ken/ncb"), &["fra/ncb"], &[Classification::Secret]);
    desk.exchange.change("fra/ncb").clearance.class_list = Classification::Restricted.and_below();
    let withheld = desk.accept(&secret);
    desk.publish();
    let open = desk.accept(&desk.exchange.envelope("ken/ncb", &["fra/ncb"]));
    let session = desk.connect("fra/ncb");
    let stream = desk.receive(session, 10);
    assert_eq!(desk.cursors(stream), [open], "what is withheld holds up nothing else");
    assert_eq!(desk.depth("fra/ncb"), 2, "what is withheld stays in the inbox");
    desk.exchange.change("fra/ncb").clearance.class_list = Classification::Secret.and_below();
    desk.publish();
    assert_eq!(desk.cursors(stream), [open, withheld], "each once");
}

#[test]
fn what_was_withheld_is_not_passed_over_by_a_load_under_way() {
    let mut desk = Desk::new(three());
    let secret = desk.exchange.seal(desk.exchange.draft("ken/ncb"), &["fra/ncb"], &[Classification::Secret]);
    let withheld = desk.accept(&secret);
    desk.exchange.change("fra/ncb").clearance.class_list = Classification::Restricted.and_below();
    desk.publish();
    let session = desk.connect("fra/ncb");
    let stream = desk.receive(session, 10);
    desk.held = Some(Vec::new());
    let open = desk.accept(&desk.exchange.envelope("ken/ncb", &["fra/ncb"]));
    assert!(matches!(desk.held.as_deref(), Some([Effect::Load { .. }])), "no load is under way");
    desk.exchange.change("fra/ncb").clearance.class_list = Classification::Secret.and_below();
    desk.publish();
    desk.release();
    let mut delivered = desk.cursors(stream);
    delivered.sort();
    assert_eq!(delivered, [withheld, open]);
}

#[test]
fn g11_an_expired_notice_is_not_delivered() {
    let mut desk = Desk::new(three());
    desk.accept(&desk.exchange.envelope("ken/ncb", &["fra/ncb"]));
    desk.now = desk.now.plus(DAY);
    let session = desk.connect("fra/ncb");
    let stream = desk.receive(session, 10);
    assert_eq!(desk.cursors(stream), []);
}

#[test]
fn g12_a_stale_directory_delivers_nothing_until_a_newer_one_comes() {
    let mut exchange = three();
    exchange.content.expires_at = exchange.start.plus(MINUTE);
    let mut desk = Desk::new(exchange);
    let session = desk.connect("fra/ncb");
    let stream = desk.receive(session, 10);
    let sent = desk.accept(&desk.exchange.envelope("ken/ncb", &["fra/ncb"]));
    assert_eq!(desk.cursors(stream), [sent]);
    desk.ack(stream, &[sent]);
    let waiting = desk.accept_unannounced();
    desk.now = desk.now.plus(2 * MINUTE);
    desk.core.handle_queued(&[france()], desk.now);
    desk.run();
    assert_eq!(desk.cursors(stream), [sent], "delivered by a directory that has expired");
    let late = desk.connect("tur/border");
    assert_eq!(desk.closed.get(&late), Some(&Some(RefusalCode::DirectoryStale)));
    desk.exchange.content.version += 1;
    desk.exchange.content.expires_at = desk.now.plus(DAY);
    desk.publish();
    assert_eq!(desk.cursors(stream), [sent, waiting]);
}

#[test]
fn a_receipt_of_the_broker_is_delivered_and_an_unreadable_record_is_left_where_it_is() {
    let mut desk = Desk::new(three());
    let envelope = desk.exchange.envelope("ken/ncb", &["fra/ncb"]);
    let receipt = Receipt {
        kind: ReceiptKind::Expired,
        notice_id: Some(envelope.header().notice_id),
        header_digest: envelope.header_digest(),
        issuer: desk.exchange.broker(),
        recipient: Some(agency("tur/border")),
        at: desk.now,
        officer: None,
        refusal: None,
        portions: Vec::new(),
        cause: None,
    };
    let inbox = desk.inboxes.entry(france()).or_default();
    inbox.insert(Cursor::new(1000), LoadedItem::Unreadable);
    inbox.insert(Cursor::new(1001), LoadedItem::Receipt(Box::new(receipt.sign(&desk.exchange.receipt_key))));
    let session = desk.connect("fra/ncb");
    let stream = desk.receive(session, 10);
    assert_eq!(desk.cursors(stream), [Cursor::new(1001)]);
    assert!(matches!(desk.delivered[&stream][0].item, Item::Receipt(_)));
    assert_eq!(desk.depth("fra/ncb"), 2);
}

#[test]
fn a_suspended_recipient_gets_nothing_even_if_its_stream_is_still_there() {
    let mut desk = Desk::new(three());
    let envelope = desk.exchange.envelope("ken/ncb", &["fra/ncb"]);
    let since = desk.exchange.start;
    desk.exchange.change("fra/ncb").status = AgencyStatus::Suspended { since };
    desk.publish();
    let deliverable = desk.core.policy().deliverable(&agency("fra/ncb"), envelope.header(), desk.now);
    assert_eq!(deliverable, []);
    let elsewhere = desk.core.policy().deliverable(&agency("tur/border"), envelope.header(), desk.now);
    assert_eq!(elsewhere, [], "it is not addressed");
}
