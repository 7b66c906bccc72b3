//! Brokers that hold notices back, receipts that are not theirs to give, and clocks that jump.

use valise_proto::envelope::HeaderDraft;
use valise_proto::receipt::SignedReceipt;

use super::super::outbox::Outbox;
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A node with one notice submitted and not answered.
fn with_one_submitted() -> (Node, NoticeId) {
    let mut node = Node::new(0);
    node.tick();
    node.send(0);
    node.write();
    let notice_id = node.submitted[0];
    (node, notice_id)
}

/// The same, refused until `retry_after` has passed.
fn with_one_refused(retry_after: Duration) -> (Node, NoticeId) {
    let (mut node, notice_id) = with_one_submitted();
    node.submitted.clear();
    let refusal = Refusal::new(RefusalCode::Quota, "slow down").retry_after(retry_after);
    let answer = answer_to(&node.disk.envelopes[&notice_id], Some(refusal));
    node.core.handle_answer(SessionId(node.session), notice_id, answer, node.now);
    node.run_effects();
    (node, notice_id)
}

#[test]
fn g08_a_broker_cannot_ask_for_a_longer_wait_than_a_quarter_of_an_hour() {
    let (mut node, notice_id) = with_one_refused(300 * DAY);
    node.now = node.now.plus(15 * MINUTE - 2 * SECOND);
    node.tick();
    assert!(node.submitted.is_empty(), "the wait that was asked for is not kept at all");
    node.tick();
    assert_eq!(node.submitted, [notice_id]);
}

#[test]
fn g10_a_wait_that_a_broker_asked_for_is_kept_when_it_is_called_again() {
    let (mut node, notice_id) = with_one_refused(MINUTE);
    node.disconnect();
    for _ in 0..55 {
        node.tick();
        assert!(node.submitted.is_empty(), "submitted before the time asked for");
    }
    assert_eq!(node.session, 2, "the broker was not called again");
    for _ in 0..6 {
        node.tick();
    }
    assert_eq!((node.session, &node.submitted), (2, &vec![notice_id]));
}

#[test]
fn g08_what_one_broker_asked_for_does_not_bind_towards_another() {
    let (mut node, notice_id) = with_one_refused(10 * MINUTE);
    node.disconnect();
    node.broker = "b2";
    node.tick();
    node.tick();
    assert_eq!((node.session, &node.submitted), (2, &vec![notice_id]));
}

#[test]
fn g08_g10_receipts_take_turns_with_notices_and_none_of_their_places() {
    let start = stock().exchange.start;
    let mut outbox = Outbox::default();
    let queued = |n: u64, kind| Queued {
        seq: OutboxSeq(n),
        notice_id: NoticeId::new(start, [u8::try_from(n).unwrap(); 10]),
        kind,
        precedence: Precedence::Routine,
        expires_at: start.plus(DAY),
    };
    (0..6).for_each(|n| outbox.insert(queued(n, NoticeKind::Receipt)));
    (6..8).for_each(|n| outbox.insert(queued(n, NoticeKind::Travel)));
    assert_eq!((outbox.len(), outbox.notices()), (8, 2));
    let mut order = Vec::new();
    while let Some((_, notice_id)) = outbox.next_to_submit(10, start) {
        order.push(notice_id.as_bytes()[15]);
    }
    assert_eq!(order, [6, 0, 7, 1, 2, 3, 4, 5]);
    outbox.remove(OutboxSeq(0), start);
    outbox.remove(OutboxSeq(6), start);
    assert_eq!((outbox.len(), outbox.notices()), (6, 1));
    // What was removed while it waited does not come back.
    outbox.wait(OutboxSeq(1), MINUTE, start);
    assert_eq!(outbox.next_wake(), Some(start.plus(MINUTE)));
    outbox.remove(OutboxSeq(1), start);
    assert_eq!(outbox.next_wake(), None);
}

#[test]
fn g08_a_submission_without_an_answer_ends_the_session_after_a_minute() {
    let (mut node, notice_id) = with_one_submitted();
    for _ in 0..59 {
        node.tick();
        assert_eq!(node.session, 1, "the session ended early");
    }
    for _ in 0..3 {
        node.tick();
    }
    assert_eq!((node.session, &node.submitted), (2, &vec![notice_id]), "another broker was not tried");
}

#[test]
fn g08_answers_to_later_submissions_do_not_hide_one_that_is_held_back() {
    let start = stock().exchange.start;
    let at = |seconds: u32| start.plus(SECOND * seconds);
    let mut outbox = Outbox::default();
    let queued: Vec<_> = (0..3)
        .map(|n| {
            let random = [u8::try_from(n).unwrap(); 10];
            Queued {
                seq: OutboxSeq(n),
                notice_id: NoticeId::new(start, random),
                kind: NoticeKind::Travel,
                precedence: Precedence::Routine,
                expires_at: start.plus(DAY),
            }
        })
        .collect();
    queued.iter().for_each(|queued| outbox.insert(queued.clone()));
    while outbox.next_to_submit(10, at(0)).is_some() {}
    outbox.remove(OutboxSeq(1), at(50));
    assert!(!outbox.is_overdue(at(59)));
    assert_eq!(outbox.overdue_at(), Some(at(60)), "the first has waited all that time");
    // On a slow line each is answered in its turn, and the next one's minute begins then.
    outbox.remove(OutboxSeq(0), at(55));
    assert!(!outbox.is_overdue(at(114)));
    assert!(outbox.is_overdue(at(115)));
}

#[test]
fn g08_a_clock_set_back_delays_neither_dialling_nor_retries() {
    let hour_ago = |node: &Node| Timestamp::from_millis(node.now.millis() - 3_600_000);
    let (mut node, notice_id) = with_one_refused(10 * MINUTE);
    node.now = hour_ago(&node);
    node.tick();
    assert_eq!(node.submitted, [notice_id], "not submitted again");
    node.disconnect();
    node.now = hour_ago(&node);
    node.tick();
    assert_eq!(node.session, 2, "not dialled");
    // Nor does it make what was submitted look unanswered for longer.
    node.now = hour_ago(&node);
    for _ in 0..70 {
        node.tick();
    }
    assert_eq!(node.session, 3, "silence of a minute was not seen");
}

#[test]
fn g04_a_clock_ahead_of_the_directory_costs_no_notice() {
    let mut node = Node::new(1);
    node.tick();
    node.deliver(0);
    node.write();
    node.disconnect();
    node.send(0);
    node.write();
    let before = node.now;
    node.now = before.plus(40 * DAY);
    node.tick();
    assert_eq!((node.disk.lapsed, node.unwritten.len()), (0, 0), "something was given up for ever");
    assert_eq!(node.disk.seen.len(), 1);
    let next = node.core.poll_timeout();
    assert!(next.is_none_or(|at| at > node.now), "it asks to be woken for what it will not do");
    // With a directory that reaches so far the clock is right after all.
    node.disconnect();
    node.core.handle_directory(before.plus(50 * DAY));
    node.tick();
    while !node.unwritten.is_empty() {
        node.write();
    }
    assert_eq!((node.disk.lapsed, node.disk.seen.len()), (2, 0), "the notice, and the receipt for the other");
}

#[test]
fn g06_an_acceptance_that_was_dated_back_or_ahead_does_not_count() {
    let Stock { exchange, directory, .. } = stock();
    let start = exchange.start;
    let later = |draft: &mut HeaderDraft| {
        (draft.created_at, draft.expires_at) = (start.plus(60 * MINUTE), start.plus(120 * MINUTE));
    };
    let envelope = exchange.envelope(ME, &[PEER], b"o", later);
    let answered = |minutes: u32, refusal: Option<Refusal>| {
        let mut receipt = exchange.answer(&envelope, refusal).receipt().clone();
        receipt.at = start.plus(minutes * MINUTE);
        let signed = receipt.sign(&exchange.broker_key).signed().clone();
        let submission = Submission::of(&envelope, &envelope.encode());
        BrokerAnswer::new(signed, &exchange.broker(), &submission, directory).map(drop)
    };
    for minutes in [55, 60, 119, 125] {
        assert_eq!(answered(minutes, None), Ok(()), "accepted after {minutes} minutes");
    }
    for minutes in [0, 54, 126, 600] {
        let refused = answered(minutes, None);
        assert!(matches!(refused, Err(NotCounted::Untimely { .. })), "after {minutes} minutes: {refused:?}");
    }
    // A refusal may be about exactly this.
    let skewed = Refusal::new(RefusalCode::ClockSkew, "written ahead of the broker's clock");
    assert_eq!(answered(0, Some(skewed)), Ok(()));
}

#[test]
fn g06_expired_counts_from_the_broker_that_accepted_and_not_before_its_time() {
    let Stock { exchange, directory, outgoing, .. } = stock();
    let envelope = &outgoing[0].envelope;
    let expires_at = envelope.header().expires_at;
    let sent = SentFacts {
        notice_id: envelope.header().notice_id,
        header_digest: envelope.header_digest(),
        recipients: vec![agency(PEER)],
        expires_at,
        accepted_by: Some(exchange.broker()),
    };
    let expired = |at: Timestamp| -> SignedReceipt {
        let mut receipt = exchange.answer(envelope, None).receipt().clone();
        (receipt.kind, receipt.recipient, receipt.at) = (ReceiptKind::Expired, Some(agency(PEER)), at);
        receipt.sign(&exchange.broker_key)
    };
    assert!(CountedReceipt::of_expiry(expired(expires_at), &sent, directory).is_ok());
    let early = Timestamp::from_millis(expires_at.millis() - 1);
    let told = CountedReceipt::of_expiry(expired(early), &sent, directory);
    assert_eq!(told, Err(NotCounted::Early { at: early, expires_at }));
    let others = "spiffe://exchange.example/broker/b2".parse().unwrap();
    for accepted_by in [None, Some(others)] {
        let sent = SentFacts { accepted_by, ..sent.clone() };
        let told = CountedReceipt::of_expiry(expired(expires_at), &sent, directory);
        assert_eq!(told, Err(NotCounted::Stranger(exchange.broker())));
    }
}

#[test]
fn g08_an_envelope_that_the_broker_would_part_for_is_refused_here_and_final() {
    let (mut node, notice_id) = with_one_submitted();
    let refusal = Refusal::new(RefusalCode::TooLarge, "divide it");
    node.core.handle_unsendable(SessionId(node.session), notice_id, refusal, node.now);
    node.run_effects();
    node.write();
    assert!(node.disk.outbox.is_empty());
    assert!(
        node.events
            .iter()
            .any(|event| matches!(event, Event::Refused { reason, .. } if reason == "TOO_LARGE: divide it"))
    );
}

#[test]
fn g06_a_receipt_counts_only_from_who_was_asked_about_what_was_sent() {
    let Stock { exchange, directory, outgoing, .. } = stock();
    let envelope = &outgoing[0].envelope;
    let sent = SentFacts {
        notice_id: envelope.header().notice_id,
        header_digest: envelope.header_digest(),
        recipients: vec![agency(PEER)],
        expires_at: envelope.header().expires_at,
        accepted_by: Some(exchange.broker()),
    };
    let receipt = exchange.receipt(ReceiptKind::Delivered, PEER, envelope);
    assert!(CountedReceipt::of_recipient(receipt.clone(), &agency(PEER), &sent, directory).is_ok());
    let carried = CountedReceipt::of_recipient(receipt.clone(), &agency(ME), &sent, directory);
    assert!(matches!(carried, Err(NotCounted::Stranger(_))), "carried by someone else");
    let mine = exchange.receipt(ReceiptKind::Delivered, ME, envelope);
    let stranger = CountedReceipt::of_recipient(mine, &agency(ME), &sent, directory);
    assert!(matches!(stranger, Err(NotCounted::Stranger(_))), "not a recipient");
    let other = SentFacts { header_digest: valise_proto::id::Digest::new([0; 32]), ..sent };
    let elsewhere = CountedReceipt::of_recipient(receipt, &agency(PEER), &other, directory);
    assert_eq!(elsewhere, Err(NotCounted::OtherEnvelope));
}
