//! What is due by the clock, with kills at any point: told once, deleted once, and never by a clock that ran ahead.

use valise_proto::receipt::PurgeCause;

use super::*;
use crate::journal::{Deed, Entry};

fn asking(within: Duration) -> Outgoing {
    let asks = |draft: &mut valise_proto::envelope::HeaderDraft| {
        draft.respond_by = Some(draft.created_at.plus(within));
    };
    Outgoing::new(stock().exchange.envelope(ME, &[PEER], b"o", asks), None)
}

/// A notice for us that asks for an answer and may be kept for `kept`.
fn received(within: Duration, kept: Duration) -> Box<Received> {
    let Stock { exchange, directory, .. } = stock();
    let asks = |draft: &mut valise_proto::envelope::HeaderDraft| {
        draft.respond_by = Some(draft.created_at.plus(within));
    };
    let envelope = exchange.envelope(PEER, &[ME], b"i", asks);
    let receipt = exchange.receipt(ReceiptKind::Delivered, ME, &envelope);
    let envelope = envelope.verify_delivered(directory, &agency(ME)).unwrap();
    let (directory, at, review_by) = (directory.clone(), exchange.start, Some(exchange.start.plus(kept)));
    Box::new(Received { envelope, directory, at, receipt, review_by, differences: None })
}

impl Node {
    fn arrive(&mut self, received: Box<Received>, purges: Vec<(Purge, Option<Box<Outgoing>>)>) {
        let place = Place { session: SessionId(1), precedence: Precedence::Routine, cursor: Cursor::new(99) };
        self.core.handle_arrival(place, Arrival::Notice { received, reply: None, purges }, self.now);
        self.run_effects();
        self.write_all();
    }

    fn write_all(&mut self) {
        while !self.unwritten.is_empty() {
            self.write();
        }
    }

    /// Looks at the clock after `pause`, and writes what that led to.
    fn after(&mut self, pause: Duration) {
        self.now = self.now.plus(pause);
        self.core.handle_timeout(self.now);
        self.run_effects();
        self.write_all();
    }

    /// A kill: what was not written is lost.
    fn killed(&mut self) {
        self.unwritten.clear();
        self.reviews.clear();
        (self.connected, self.leaving) = (false, None);
        self.core = core_of(self.disk.memory());
    }

    fn told(&mut self) -> Vec<(Side, Stage)> {
        std::mem::take(&mut self.disk.told)
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// What the shell makes of a review of what was received.
fn purged(received: &Received, cause: PurgeCause) -> Purge {
    let envelope = received.envelope.envelope();
    let header = envelope.header();
    let receipt = stock().exchange.receipt(ReceiptKind::Purged, ME, envelope);
    let (originator, at) = (header.originator.clone(), stock().exchange.start);
    Purge { notice_id: header.notice_id, originator, at, cause, by: None, receipt }
}

fn journal() -> Box<Entry> {
    Box::new(Entry::new(stock().exchange.start, "(this node)", Deed::Purge))
}

fn reviewed(received: &Received) -> Reviewed {
    let purge = Box::new(purged(received, PurgeCause::Review));
    Reviewed::Received { purge, reply: None, journal: journal() }
}

#[test]
fn g08_both_ends_are_reminded_and_then_told_that_the_time_is_over_each_once() {
    let mut node = Node::new(0);
    node.core.handle_send(Box::new(asking(40 * MINUTE))).unwrap();
    node.run_effects();
    node.arrive(received(80 * MINUTE, 30 * DAY), Vec::new());
    node.after(29 * MINUTE);
    assert_eq!(node.told(), []);
    node.after(2 * MINUTE);
    assert_eq!(node.told(), [(Side::Originator, Stage::Near)]);
    node.after(10 * MINUTE);
    assert_eq!(node.told(), [(Side::Originator, Stage::Over)]);
    node.killed();
    node.after(20 * MINUTE);
    assert_eq!(node.told(), [(Side::Recipient, Stage::Near)]);
    node.killed();
    node.after(60 * MINUTE);
    assert_eq!(node.told(), [(Side::Recipient, Stage::Over)]);
    node.after(20 * DAY);
    assert_eq!(node.told(), []);
    assert!(node.disk.alarms.is_empty());
}

#[test]
fn g08_a_node_that_slept_through_both_times_tells_the_later_alone() {
    let mut node = Node::new(0);
    node.core.handle_send(Box::new(asking(40 * MINUTE))).unwrap();
    node.run_effects();
    node.write_all();
    node.killed();
    node.after(DAY);
    assert_eq!(node.told(), [(Side::Originator, Stage::Over)]);
}

#[test]
fn g08_a_reminder_whose_record_was_lost_in_a_kill_comes_again() {
    let mut node = Node::new(0);
    node.core.handle_send(Box::new(asking(40 * MINUTE))).unwrap();
    node.run_effects();
    node.write_all();
    node.now = node.now.plus(31 * MINUTE);
    node.core.handle_timeout(node.now);
    node.run_effects();
    let told_before = node.events.iter().filter(|event| matches!(event, Event::Alarm(_))).count();
    assert_eq!(told_before, 0, "somebody was told before it was on stable storage");
    node.killed();
    node.after(MINUTE);
    assert_eq!(node.told(), [(Side::Originator, Stage::Near)]);
}

#[test]
fn g11_what_may_be_kept_no_longer_is_deleted_once_whenever_the_node_is_killed() {
    let mut node = Node::new(0);
    let notice = received(MINUTE, 2 * DAY);
    node.arrive(notice.clone(), Vec::new());
    let review = notice.review().unwrap();
    node.after(DAY);
    assert_eq!(node.reviews, []);
    node.after(DAY + MINUTE);
    assert_eq!(node.reviews, [review]);
    // Killed while the shell prepares it, and again while it is being written.
    node.killed();
    node.after(MINUTE);
    assert_eq!(node.reviews, [review]);
    node.core.handle_reviewed(review, reviewed(&notice));
    node.run_effects();
    node.killed();
    node.after(MINUTE);
    assert_eq!(node.reviews, [review]);
    node.core.handle_reviewed(review, reviewed(&notice));
    node.run_effects();
    node.write_all();
    assert_eq!(node.disk.purged, [(review.notice_id, PurgeCause::Review)]);
    node.after(DAY);
    node.killed();
    node.after(DAY);
    assert_eq!(node.reviews, [], "it is deleted a second time");
}

#[test]
fn g11_what_was_withdrawn_while_its_deletion_was_prepared_is_deleted_once() {
    let mut node = Node::new(0);
    let notice = received(MINUTE, 60 * MINUTE);
    node.arrive(notice.clone(), Vec::new());
    node.after(61 * MINUTE);
    let review = notice.review().unwrap();
    assert_eq!(node.reviews, [review]);
    let withdrawal = received(MINUTE, 9 * DAY);
    node.arrive(withdrawal, vec![(purged(&notice, PurgeCause::Withdrawn), None)]);
    node.core.handle_reviewed(review, reviewed(&notice));
    node.run_effects();
    node.write_all();
    assert_eq!(node.disk.purged, [(review.notice_id, PurgeCause::Withdrawn)]);
}

#[test]
fn g11_a_notice_of_ours_is_not_deleted_while_it_is_on_its_way() {
    let mut node = Node::new(0);
    let kept_until = stock().exchange.start.plus(MINUTE);
    let outgoing = stock().outgoing[0].clone().with_review_by(Some(kept_until));
    let review = outgoing.review().unwrap();
    node.core.handle_send(Box::new(outgoing)).unwrap();
    node.run_effects();
    node.write_all();
    node.after(2 * MINUTE);
    assert_eq!(node.reviews, [], "it was deleted under the broker's answer");
    node.now = node.now.plus(2 * DAY);
    // It lapses, and then nothing holds it.
    node.after(MINUTE);
    node.after(2 * MINUTE);
    assert_eq!((node.disk.lapsed, node.reviews.as_slice()), (1, [review].as_slice()));
    node.core.handle_reviewed(review, Reviewed::Sent { at: node.now, journal: journal() });
    node.run_effects();
    node.write_all();
    assert_eq!((node.disk.erased, node.disk.reviews.len()), (1, 0));
}

#[test]
fn g12_a_clock_that_ran_ahead_of_the_directory_deletes_nothing() {
    let mut node = Node::new(0);
    let start = node.now;
    node.arrive(received(MINUTE, 2 * DAY), Vec::new());
    node.after(60 * DAY);
    assert_eq!(node.told(), []);
    assert_eq!(node.reviews, []);
    node.now = start;
    node.after(2 * DAY + MINUTE);
    assert_eq!(node.reviews.len(), 1);
}
