//! The core against a store that may lose what is not yet durable, a broker that may repeat itself, and crashes at
//! any point between two effects.

mod crashes;
mod due;
mod handover;
mod hostile;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};

use valise_proto::directory::Directory;
use valise_proto::envelope::Envelope;
use valise_proto::receipt::ReceiptKind;
use valise_proto::refusal::{Refusal, RefusalCode};

use super::*;
use crate::fixture::{DAY, Exchange, agency};

const ME: &str = "fra/ncb";
const PEER: &str = "ken/ncb";

struct Stock {
    exchange: Exchange,
    directory: Arc<Directory>,
    /// Notices for us, and the envelopes of the receipts that answer them.
    incoming: Vec<(Received, Outgoing)>,
    /// Notices of ours.
    outgoing: Vec<Outgoing>,
}

fn stock() -> &'static Stock {
    static STOCK: OnceLock<Stock> = OnceLock::new();
    STOCK.get_or_init(|| {
        let secret = valise_proto::label::Classification::Secret;
        let exchange = Exchange::new(&[(ME, secret), (PEER, secret)]);
        let directory = Arc::new(exchange.directory());
        let precedence = |n: usize| Precedence::ALL[n % 4];
        let incoming = (0..5).map(|n| {
            let envelope = exchange.envelope(PEER, &[ME], b"x", |draft| draft.precedence = precedence(n));
            let receipt = exchange.receipt(ReceiptKind::Delivered, ME, &envelope);
            let reply = exchange.envelope(ME, &[PEER], b"r", |draft| {
                draft.kind = NoticeKind::Receipt;
                draft.precedence = precedence(n);
            });
            let envelope = envelope.verify_delivered(&directory, &agency(ME)).unwrap();
            let received = Received {
                envelope,
                directory: directory.clone(),
                at: exchange.start,
                receipt,
                review_by: None,
                differences: None,
            };
            (received, Outgoing::new(reply, None))
        });
        let incoming = incoming.collect();
        let outgoing = (0..4).map(|n| {
            let envelope = exchange.envelope(ME, &[PEER], b"o", |draft| draft.precedence = precedence(n));
            Outgoing::new(envelope, None)
        });
        let outgoing = outgoing.collect();
        Stock { directory, incoming, outgoing, exchange }
    })
}

fn broker(name: &str) -> BrokerName {
    name.parse().unwrap()
}

fn answer_to(envelope: &Envelope, refusal: Option<Refusal>) -> BrokerAnswer {
    let Stock { exchange, directory, .. } = stock();
    let signed = exchange.answer(envelope, refusal).signed().clone();
    let submission = Submission::of(envelope, &envelope.encode());
    BrokerAnswer::new(signed, &exchange.broker(), &submission, directory).unwrap()
}

/// What survives a crash.
#[derive(Default)]
struct Disk {
    outbox: BTreeMap<OutboxSeq, Queued>,
    envelopes: BTreeMap<NoticeId, Envelope>,
    seen: BTreeMap<NoticeId, Seen>,
    shown: BTreeMap<NoticeId, usize>,
    replies: usize,
    reads: usize,
    passed: usize,
    lapsed: usize,
    erased: usize,
    alarms: BTreeSet<Alarm>,
    reviews: BTreeSet<Review>,
    told: Vec<(Side, Stage)>,
    purged: Vec<(NoticeId, valise_proto::receipt::PurgeCause)>,
    asides: Vec<String>,
}

impl Disk {
    fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Queue { seq, outgoing } => {
                    let queued = outgoing.queued(seq);
                    self.replies += usize::from(queued.kind == NoticeKind::Receipt);
                    self.alarms.extend(outgoing.alarm());
                    self.reviews.extend(outgoing.review());
                    self.envelopes.insert(queued.notice_id, outgoing.envelope);
                    assert_eq!(
                        self.outbox.insert(seq, queued),
                        None,
                        "two envelopes in one place of the outbox"
                    );
                }
                Change::Unqueue { queued, outcome } => {
                    self.outbox.remove(&queued.seq);
                    self.lapsed += usize::from(matches!(*outcome, Outcome::Lapsed(_)));
                }
                Change::Receive(received) => {
                    let seen = received.seen();
                    self.alarms.extend(received.alarm());
                    self.reviews.extend(received.review());
                    self.seen.insert(seen.notice_id, seen);
                    *self.shown.entry(seen.notice_id).or_default() += 1;
                }
                Change::SetAside(aside) => self.asides.push(aside.reason.to_string()),
                Change::Remember(seen) => drop(self.seen.insert(seen.notice_id, seen)),
                Change::Forget(forgotten) => {
                    for seen in forgotten {
                        self.seen.remove(&seen.notice_id);
                    }
                }
                Change::Step(_) => self.reads += 1,
                Change::Rang { entry, told, next } => {
                    assert!(self.alarms.remove(&entry), "an alarm rang twice");
                    self.alarms.extend(next);
                    self.told.push((entry.side, told));
                    self.passed += usize::from(told == Stage::Over);
                }
                Change::Reviewed(review) => drop(self.reviews.remove(&review)),
                Change::Purge(purge) => {
                    self.reviews.retain(|review| review.notice_id != purge.notice_id);
                    self.purged.push((purge.notice_id, purge.cause));
                }
                Change::Erase { .. } => self.erased += 1,
                Change::Record(_)
                | Change::Journal(_)
                | Change::Officers(_)
                | Change::Pend(_)
                | Change::Unpend(_) => {}
            }
        }
    }

    fn memory(&self) -> Memory {
        Memory {
            outbox: self.outbox.values().cloned().collect(),
            seen: self.seen.values().copied().collect(),
            alarms: self.alarms.iter().copied().collect(),
            reviews: self.reviews.iter().copied().collect(),
        }
    }
}

/// A core that holds a directory for the next thirty days.
fn core_of(memory: Memory) -> Core {
    let mut core = Core::new(memory, 100, 1);
    core.handle_directory(stock().exchange.start.plus(30 * DAY));
    core
}

/// One node between a disk and a broker.
struct Node {
    core: Core,
    disk: Disk,
    now: Timestamp,
    session: u64,
    /// The one that answers the next call.
    broker: &'static str,
    connected: bool,
    /// The connection whose place another has taken, and what was submitted on it.
    leaving: Option<(u64, Vec<NoticeId>)>,
    unwritten: VecDeque<(Ticket, Vec<Change>)>,
    submitted: Vec<NoticeId>,
    /// What the broker's inbox holds, by cursor.
    inbox: BTreeMap<Cursor, usize>,
    accepted: BTreeSet<NoticeId>,
    events: Vec<Event>,
    /// Deletions that the shell is to prepare.
    reviews: Vec<Review>,
}

impl Node {
    fn new(incoming: usize) -> Self {
        let inbox = (0..incoming).map(|n| (Cursor::new(u64::try_from(n).unwrap()), n)).collect();
        Self {
            core: core_of(Memory::default()),
            disk: Disk::default(),
            now: stock().exchange.start,
            session: 0,
            broker: "b1",
            connected: false,
            leaving: None,
            unwritten: VecDeque::new(),
            submitted: Vec::new(),
            inbox,
            accepted: BTreeSet::new(),
            events: Vec::new(),
            reviews: Vec::new(),
        }
    }

    fn run_effects(&mut self) {
        while let Some(effect) = self.core.next_effect() {
            match effect {
                Effect::Persist { ticket, changes } => self.unwritten.push_back((ticket, changes)),
                Effect::Submit { notice_id, .. } => {
                    assert!(self.disk.envelopes.contains_key(&notice_id), "submitted before it was durable");
                    self.submitted.push(notice_id);
                }
                Effect::Acknowledge { cursors, .. } => self.acknowledged(&cursors),
                Effect::Connect => {
                    if self.connected {
                        assert_eq!(self.leaving, None, "a third connection");
                        self.leaving = Some((self.session, std::mem::take(&mut self.submitted)));
                    }
                    self.session += 1;
                    self.connected = true;
                    let broker = broker(self.broker);
                    self.core.handle_connected(SessionId(self.session), &broker, 2, self.now);
                }
                Effect::Close { .. } => self.disconnect(),
                Effect::Retire { session } => {
                    assert_eq!(self.leaving.as_ref().map(|(session, _)| SessionId(*session)), Some(session));
                    self.leave();
                }
                Effect::Review(review) => self.reviews.push(review),
                Effect::Notify(event) => self.events.push(event),
            }
        }
    }

    fn acknowledged(&mut self, cursors: &[Cursor]) {
        for cursor in cursors {
            if let Some(n) = self.inbox.remove(cursor) {
                let notice_id = stock().incoming[n].0.seen().notice_id;
                assert_eq!(self.disk.shown.get(&notice_id), Some(&1), "acknowledged before it was durable");
                let reply = stock().incoming[n].1.envelope.header().notice_id;
                assert!(
                    self.disk.envelopes.contains_key(&reply),
                    "acknowledged before its receipt was durable"
                );
            }
        }
    }

    fn tick(&mut self) {
        self.now = self.now.plus(Duration::from_secs(1));
        self.core.handle_timeout(self.now);
        self.run_effects();
    }

    fn write(&mut self) {
        if let Some((ticket, changes)) = self.unwritten.pop_front() {
            self.disk.apply(changes);
            self.core.handle_persisted(&[ticket], self.now);
            self.run_effects();
        }
    }

    fn deliver(&mut self, choice: usize) {
        if !self.connected || self.inbox.is_empty() {
            return;
        }
        let (cursor, n) = self.inbox.iter().nth(choice % self.inbox.len()).map(|(c, n)| (*c, *n)).unwrap();
        self.deliver_at(cursor, n);
    }

    fn deliver_at(&mut self, cursor: Cursor, n: usize) {
        let (received, reply) = stock().incoming[n].clone();
        let precedence = received.envelope.header().precedence;
        let place = Place { session: SessionId(self.session), precedence, cursor };
        let arrival = Arrival::Notice {
            received: Box::new(received),
            reply: Some(Box::new(reply)),
            purges: Vec::new(),
        };
        self.core.handle_arrival(place, arrival, self.now);
        self.run_effects();
    }

    fn answer(&mut self, refuse: bool) {
        if !self.connected || self.submitted.is_empty() {
            return;
        }
        let notice_id = self.submitted.remove(0);
        let refusal = refuse.then(|| Refusal::new(RefusalCode::StoreUnavailable, "later"));
        if refusal.is_none() {
            self.accepted.insert(notice_id);
        }
        let answer = answer_to(&self.disk.envelopes[&notice_id], refusal);
        self.core.handle_answer(SessionId(self.session), notice_id, answer, self.now);
        self.run_effects();
    }

    fn disconnect(&mut self) {
        if self.connected {
            self.connected = false;
            self.submitted.clear();
            self.core.handle_disconnected(SessionId(self.session), Ending::Passing, self.now);
        }
    }

    /// The connection whose place another has taken ends.
    fn leave(&mut self) {
        if let Some((session, _)) = self.leaving.take() {
            self.core.handle_disconnected(SessionId(session), Ending::Passing, self.now);
            self.run_effects();
        }
    }

    /// The broker answers or delivers on the connection whose place another has taken.
    fn use_leaving(&mut self, choice: usize) {
        let Some((session, submitted)) = &mut self.leaving else { return };
        let place = |precedence, cursor| Place { session: SessionId(*session), precedence, cursor };
        if choice.is_multiple_of(2) && !submitted.is_empty() {
            let notice_id = submitted.remove(0);
            self.accepted.insert(notice_id);
            let answer = answer_to(&self.disk.envelopes[&notice_id], None);
            self.core.handle_answer(SessionId(*session), notice_id, answer, self.now);
        } else if let Some((cursor, n)) = self.inbox.iter().nth(choice % self.inbox.len().max(1)) {
            let (received, reply) = stock().incoming[*n].clone();
            let place = place(received.envelope.header().precedence, *cursor);
            let arrival = Arrival::Notice {
                received: Box::new(received),
                reply: Some(Box::new(reply)),
                purges: Vec::new(),
            };
            self.core.handle_arrival(place, arrival, self.now);
        }
        self.run_effects();
    }

    /// Everything but the disk is gone.
    fn crash(&mut self) {
        self.leaving = None;
        self.connected = false;
        self.submitted.clear();
        self.unwritten.clear();
        self.core = core_of(self.disk.memory());
    }

    fn send(&mut self, n: usize) {
        let outgoing = stock().outgoing[n].clone();
        if self.disk.envelopes.contains_key(&outgoing.envelope.header().notice_id) {
            return;
        }
        self.core.handle_send(Box::new(outgoing)).unwrap();
        self.run_effects();
    }

    fn settle(&mut self) {
        for _ in 0..400 {
            self.tick();
            while !self.unwritten.is_empty() {
                self.write();
            }
            self.deliver(0);
            self.answer(false);
        }
    }
}

#[test]
fn g08_the_highest_precedence_is_submitted_first() {
    let mut node = Node::new(0);
    for n in 0..4 {
        node.send(n);
    }
    while !node.unwritten.is_empty() {
        node.write();
    }
    node.tick();
    let precedence = |id: &NoticeId| node.disk.envelopes[id].header().precedence;
    let order: Vec<_> = node.submitted.iter().map(precedence).collect();
    assert_eq!(order, [Precedence::Flash, Precedence::Immediate, Precedence::Priority, Precedence::Routine]);
}

#[test]
fn a_passing_refusal_is_retried_after_the_time_asked_for_and_a_lasting_one_never() {
    let mut node = Node::new(0);
    node.tick();
    node.send(0);
    node.write();
    let notice_id = node.submitted.remove(0);
    let refusal = Refusal::new(RefusalCode::Quota, "slow down").retry_after(Duration::from_secs(30));
    let answer = answer_to(&node.disk.envelopes[&notice_id], Some(refusal));
    node.core.handle_answer(SessionId(1), notice_id, answer, node.now);
    for _ in 0..29 {
        node.tick();
        assert!(node.submitted.is_empty(), "retried before the time asked for");
    }
    node.tick();
    assert_eq!(node.submitted, [notice_id]);
    let lasting = Refusal::new(RefusalCode::RecipientNotCleared, "no");
    let answer = answer_to(&node.disk.envelopes[&notice_id], Some(lasting));
    node.core.handle_answer(SessionId(1), notice_id, answer, node.now);
    node.run_effects();
    node.write();
    assert!(node.disk.outbox.is_empty());
    assert!(node.events.iter().any(
        |event| matches!(event, Event::Refused { reason, .. } if reason.contains("RECIPIENT_NOT_CLEARED"))
    ));
}

#[test]
fn an_envelope_that_expires_in_the_outbox_is_told_and_not_submitted() {
    let mut node = Node::new(0);
    node.send(0);
    node.write();
    node.now = node.now.plus(2 * DAY);
    // The connection comes up in the same moment; the lapse goes first.
    node.core.handle_timeout(node.now);
    node.run_effects();
    node.write();
    assert!(node.submitted.is_empty());
    assert_eq!(node.disk.lapsed, 1);
    assert!(matches!(node.events.last(), Some(Event::Lapsed(_))));
}

#[test]
fn g05_another_envelope_under_the_same_id_is_set_aside_and_acknowledged() {
    let mut node = Node::new(1);
    node.tick();
    node.deliver(0);
    node.write();
    let Stock { exchange, directory, incoming, .. } = stock();
    let id = incoming[0].0.seen().notice_id;
    let other = exchange.envelope(PEER, &[ME], b"y", |draft| draft.notice_id = id);
    let receipt = exchange.receipt(ReceiptKind::Delivered, ME, &other);
    let envelope = other.verify_delivered(directory, &agency(ME)).unwrap();
    let received = Box::new(Received {
        envelope,
        directory: directory.clone(),
        at: node.now,
        receipt,
        review_by: None,
        differences: None,
    });
    let place = Place { session: SessionId(1), precedence: Precedence::Priority, cursor: Cursor::new(77) };
    node.core.handle_arrival(place, Arrival::Notice { received, reply: None, purges: Vec::new() }, node.now);
    node.run_effects();
    node.write();
    assert_eq!(node.disk.shown[&id], 1);
    assert!(node.disk.asides[0].contains("another envelope"), "{:?}", node.disk.asides);
}

#[test]
fn g05_what_is_delivered_long_after_its_expiry_is_not_taken_in() {
    let mut node = Node::new(1);
    node.tick();
    node.now = node.now.plus(3 * DAY);
    node.deliver_at(Cursor::new(77), 0);
    node.write();
    assert!(node.disk.shown.is_empty());
    assert!(node.disk.asides[0].contains("expired"), "{:?}", node.disk.asides);
}

#[test]
fn a_reading_is_recorded_once() {
    let mut node = Node::new(1);
    node.tick();
    node.deliver(0);
    node.write();
    let (received, _) = stock().incoming[0].clone();
    let seen = received.seen();
    let reading = || OfficerStep {
        notice_id: seen.notice_id,
        step: Step::Read,
        officer: "A. Officer".to_owned(),
        at: stock().exchange.start,
        receipt: received.receipt.clone(),
        reply: None,
    };
    node.core.handle_step(reading(), Vec::new(), false);
    node.core.handle_step(reading(), Vec::new(), false);
    node.run_effects();
    while !node.unwritten.is_empty() {
        node.write();
    }
    node.core.handle_step(reading(), Vec::new(), true);
    node.run_effects();
    assert_eq!(node.disk.reads, 1);
    let told = node.events.iter().filter(|event| matches!(event, Event::Step(_))).count();
    assert_eq!(told, 3, "each of the three is told that the reading is on record");
}

#[test]
fn g10_a_full_outbox_refuses_with_its_bound() {
    let mut core = Core::new(Memory::default(), 0, 1);
    let refused = core.handle_send(Box::new(stock().outgoing[0].clone())).unwrap_err();
    assert_eq!(refused, NotQueued::Full { max: 0 });
    assert!(core.next_effect().is_none());
}

#[test]
fn g08_a_deadline_that_passes_is_told_once() {
    let Stock { exchange, .. } = stock();
    let envelope = exchange.envelope(ME, &[PEER], b"o", |draft| {
        draft.respond_by = Some(draft.created_at.plus(Duration::from_secs(10)));
    });
    let mut node = Node::new(0);
    node.core.handle_send(Box::new(Outgoing::new(envelope, None))).unwrap();
    node.run_effects();
    for _ in 0..20 {
        node.tick();
        node.write();
    }
    assert_eq!(node.disk.passed, 1);
}

#[test]
fn g12_a_clock_that_ran_ahead_of_the_directory_ends_no_deadline() {
    let Stock { exchange, .. } = stock();
    let envelope = exchange.envelope(ME, &[PEER], b"o", |draft| {
        draft.respond_by = Some(draft.created_at.plus(Duration::from_secs(10)));
    });
    let mut node = Node::new(0);
    let start = node.now;
    node.core.handle_send(Box::new(Outgoing::new(envelope, None))).unwrap();
    node.run_effects();
    node.now = start.plus(60 * DAY);
    node.tick();
    node.write();
    assert_eq!(node.disk.passed, 0, "a wrong clock ended a deadline for good");
    node.now = start;
    for _ in 0..20 {
        node.tick();
        node.write();
    }
    assert_eq!(node.disk.passed, 1);
}
