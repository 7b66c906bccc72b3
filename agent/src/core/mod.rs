//! The agent's state machine: outbox, dedupe, resume, receipts, deadlines. It touches nothing: the shell carries out
//! its effects and tells it what came of them; time and randomness are handed in.
//!
//! Claimed, whatever is resent, reconnected, killed or restarted: nothing is submitted, acknowledged or announced
//! before the change it speaks of is on stable storage (persist before you speak), so a notice is never lost (G4); and
//! a notice is taken in once (G5). It holds because every word to the outside waits for the [`Ticket`] of its change,
//! and because what is in memory can be rebuilt from the store at any such point ([`Memory`]).

mod backoff;
mod calendar;
mod connecting;
mod due;
mod effect;
mod link;
mod outbox;
mod receipts;
mod seen;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use thiserror::Error;
use valise_proto::envelope::{NoticeKind, Precedence};
use valise_proto::id::{BrokerName, NoticeId, Timestamp};
use valise_proto::refusal::Refusal;
use valise_proto::wire::session::Cursor;

pub use due::{Alarm, Review, Reviewed, Side, Stage};
pub use effect::{
    Arrival, Change, Draft, Effect, Ending, Event, OutboxSeq, Outcome, Outgoing, Place, Purge, Queued,
    REASON_BYTES_MAX, Reason, Received, Seen, SessionId, SetAside, Ticket,
};
pub use outbox::Depths;
pub use receipts::{BrokerAnswer, CountedReceipt, NotCounted, SentFacts, Submission};
pub use steps::{OfficerStep, Step, StepKey};

use backoff::Jitter;
use calendar::Calendar;
use link::{Leaving, Link};
use outbox::Outbox;
use seen::{Familiar, SeenNotices};
use steps::Underway;

/// How long after its expiry a notice may still be on its way to us, for clocks that differ.
pub const EXPIRY_GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// What a broker is told that leaves a submission without an answer.
const UNANSWERED: &str = "a submission has gone without an answer for too long";
/// Most envelopes forgotten in one change.
const FORGET_MAX: usize = 256;

/// What the store gives back at start.
#[derive(Debug, Default)]
pub struct Memory {
    /// Envelopes no broker has accepted.
    pub outbox: Vec<Queued>,
    /// Envelopes taken in.
    pub seen: Vec<Seen>,
    /// When somebody is to be reminded of answers.
    pub alarms: Vec<Alarm>,
    /// When what a notice says is to be deleted.
    pub reviews: Vec<Review>,
}

/// Why an envelope was not taken into the outbox. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotQueued {
    /// Too many wait already.
    #[error(
        "{max} notices wait in the outbox, which is all it holds (outbox_max): connect to a broker, or raise the limit in agent.toml"
    )]
    Full {
        /// Most that may wait.
        max: usize,
    },
    /// The node is stopping.
    #[error("the node is stopping; send again when it has been started: valise-agent run")]
    Stopping,
}

/// What follows once a change is on stable storage.
#[derive(Debug, Default)]
struct Afterwards {
    acknowledge: Vec<Place>,
    queue: Vec<Queued>,
    events: Vec<Event>,
    settled: Option<NoticeId>,
    step: Option<StepKey>,
    /// What is to be deleted by the clock, once it is there.
    review: Option<Review>,
}

/// The state machine of one agency's node.
#[derive(Debug)]
pub struct Core {
    outbox: Outbox,
    outbox_max: usize,
    next_seq: u64,
    seen: SeenNotices,
    steps: Underway,
    alarms: BTreeSet<Alarm>,
    calendar: Calendar,
    /// Until when the directory counts. A clock beyond that may be wrong, so nothing is given up by it for ever.
    directory_until: Timestamp,
    /// Whether the clock was within that when it was last told.
    directory_counts: bool,
    /// Whether the clock was found to be ahead, so that nothing is deleted by it.
    clock_doubted: bool,
    link: Link,
    /// The broker of the last connection that was up.
    broker: Option<BrokerName>,
    /// The connection whose place the present one has taken, until it has ended.
    leaving: Option<Leaving>,
    jitter: Jitter,
    next_ticket: u64,
    tickets: BTreeMap<Ticket, Afterwards>,
    effects: VecDeque<Effect>,
    stopping: bool,
}

impl Core {
    /// A machine in the state that the store gives back. `seed` spreads retries and need not be secret.
    #[must_use]
    pub fn new(memory: Memory, outbox_max: usize, seed: u64) -> Self {
        let mut outbox = Outbox::default();
        let last = memory.outbox.iter().map(|queued| queued.seq.0).max();
        memory.outbox.into_iter().for_each(|queued| outbox.insert(queued));
        Self {
            outbox,
            outbox_max,
            next_seq: last.map_or(0, |last| last.saturating_add(1)),
            seen: SeenNotices::new(memory.seen),
            steps: Underway::new(),
            alarms: memory.alarms.into_iter().collect(),
            calendar: Calendar::new(memory.reviews),
            directory_until: Timestamp::from_millis(0),
            directory_counts: false,
            clock_doubted: false,
            link: Link::new(),
            broker: None,
            leaving: None,
            jitter: Jitter::new(seed),
            next_ticket: 0,
            tickets: BTreeMap::new(),
            effects: VecDeque::new(),
            stopping: false,
        }
    }

    /// The next thing for the shell to do.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// How many envelopes wait to be accepted.
    #[must_use]
    pub fn outbox_len(&self) -> usize {
        self.outbox.len()
    }

    /// Whether nothing is being made durable and no answer of the broker is awaited.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.tickets.is_empty() && self.effects.is_empty() && self.outbox.in_flight() == 0
    }

    /// The directory in force counts until `expires_at`. Only until then do envelopes lapse in the outbox and are others
    /// forgotten: a clock that jumped ahead of everything the authority signed must not cost a notice.
    pub fn handle_directory(&mut self, expires_at: Timestamp) {
        self.directory_until = expires_at;
    }

    /// Whether this node's clock was found to be ahead of a broker's. Nothing is deleted by such a clock.
    pub fn handle_doubt(&mut self, clock_doubted: bool) {
        self.clock_doubted = clock_doubted;
    }

    /// A notice that was sealed and signed here. [`Event::Queued`] follows once it is on stable storage.
    ///
    /// # Errors
    /// [`NotQueued`].
    pub fn handle_send(&mut self, outgoing: Box<Outgoing>) -> Result<(), NotQueued> {
        self.handle_send_with(outgoing, Vec::new())
    }

    /// The same, with changes that come about together with it or not at all.
    ///
    /// # Errors
    /// [`NotQueued`].
    pub fn handle_send_with(
        &mut self,
        outgoing: Box<Outgoing>,
        mut changes: Vec<Change>,
    ) -> Result<(), NotQueued> {
        if self.stopping {
            return Err(NotQueued::Stopping);
        }
        if self.outbox.notices() >= self.outbox_max {
            return Err(NotQueued::Full { max: self.outbox_max });
        }
        let notice_id = outgoing.envelope.header().notice_id;
        self.alarms.extend(outgoing.alarm());
        let review = outgoing.review();
        let mut then = Afterwards { events: vec![Event::Queued(notice_id)], review, ..Afterwards::default() };
        changes.push(self.queue(outgoing, &mut then));
        self.persist(changes, then);
        Ok(())
    }

    /// Changes that concern no notice on its way. [`Event::Recorded`] with `number` follows once they are on stable
    /// storage.
    pub fn handle_record(&mut self, changes: Vec<Change>, number: u64) {
        let then = Afterwards { events: vec![Event::Recorded(number)], ..Afterwards::default() };
        self.persist(changes, then);
    }

    /// A delivery, verified and opened by the shell as far as it can be.
    pub fn handle_arrival(&mut self, place: Place, arrival: Arrival, now: Timestamp) {
        match arrival {
            Arrival::Again(seen) => self.acknowledge_once_durable(&seen, place),
            Arrival::Notice { received, reply, purges } => {
                let seen = received.seen();
                let Some(()) = self.admit(place, seen, now, || received.envelope.envelope().encode()) else {
                    return;
                };
                let event = Event::Received(seen.notice_id);
                self.alarms.extend(received.alarm());
                let review = received.review();
                let mut changes = vec![Change::Receive(received)];
                let mut events = vec![event];
                let mut replies: Vec<Outgoing> = reply.into_iter().map(|reply| *reply).collect();
                for (purge, reply) in purges {
                    // Of what was not held there is nothing to forget; another agency's may lie under that id.
                    if !purge.receipt.receipt().portions.is_empty() {
                        self.calendar.remove(Side::Recipient, &purge.notice_id);
                    }
                    events.push(Event::Purged { notice_id: purge.notice_id, by: purge.by });
                    changes.push(Change::Purge(Box::new(purge)));
                    replies.extend(reply.map(|reply| *reply));
                }
                let ticket = self.take_in(place, Some(seen), changes, replies, events);
                if let Some(then) = self.tickets.get_mut(&ticket) {
                    then.review = review;
                }
            }
            Arrival::Receipt { carrier, receipt } => {
                let Some(()) = self.admit(place, carrier, now, || receipt.signed().encode()) else { return };
                let event = self.receipt_event(&receipt);
                let changes = vec![Change::Record(receipt), Change::Remember(carrier)];
                self.take_in(place, Some(carrier), changes, Vec::new(), vec![event]);
            }
            Arrival::Expiry(receipt) => {
                let event = self.receipt_event(&receipt);
                self.take_in(place, None, vec![Change::Record(receipt)], Vec::new(), vec![event]);
            }
            Arrival::SetAside { aside, reply } => {
                if let Some(seen) = aside.seen {
                    let Some(()) = self.admit(place, seen, now, || aside.bytes.clone()) else { return };
                }
                let event = Event::SetAside(aside.reason.clone());
                let replies = reply.into_iter().map(|reply| *reply).collect();
                self.take_in(place, aside.seen, vec![Change::SetAside(aside)], replies, vec![event]);
            }
        }
    }

    fn receipt_event(&self, receipt: &CountedReceipt) -> Event {
        // A counted receipt always names its notice; the other arm keeps this total.
        match receipt.signed().receipt().notice_id {
            Some(notice_id) => Event::Receipt(notice_id, receipt.signed().receipt().kind),
            None => Event::SetAside(Reason::new("a receipt without a notice")),
        }
    }

    /// Whether an envelope is new. One taken in before is acknowledged as soon as that is durable; another envelope
    /// under the same id, or one that expired long ago, is set aside.
    fn admit(
        &mut self,
        place: Place,
        seen: Seen,
        now: Timestamp,
        bytes: impl FnOnce() -> bytes::Bytes,
    ) -> Option<()> {
        let reason = match self.seen.check(&seen) {
            Familiar::New if seen.expires_at.plus(EXPIRY_GRACE) >= now => return Some(()),
            Familiar::New => format!(
                "notice {} expired at {} and was delivered after that",
                seen.notice_id, seen.expires_at
            ),
            Familiar::Same(_) => {
                self.acknowledge_once_durable(&seen, place);
                return None;
            }
            Familiar::Other => {
                format!("another envelope was taken in before under notice id {}", seen.notice_id)
            }
        };
        let reason = Reason::new(reason);
        let event = Event::SetAside(reason.clone());
        let aside = SetAside { seen: None, bytes: bytes(), at: now, reason, receipt: None };
        self.take_in(place, None, vec![Change::SetAside(Box::new(aside))], Vec::new(), vec![event]);
        None
    }

    /// What was taken in before is acknowledged when that is on stable storage, which it may not be yet though the store
    /// shows it already.
    fn acknowledge_once_durable(&mut self, seen: &Seen, place: Place) {
        if let Familiar::Same(Some(ticket)) = self.seen.check(seen)
            && let Some(then) = self.tickets.get_mut(&ticket)
        {
            return then.acknowledge.push(place);
        }
        self.acknowledge(vec![place]);
    }

    fn take_in(
        &mut self,
        place: Place,
        seen: Option<Seen>,
        mut changes: Vec<Change>,
        replies: Vec<Outgoing>,
        events: Vec<Event>,
    ) -> Ticket {
        let settled = seen.map(|seen| seen.notice_id);
        let mut then = Afterwards { acknowledge: vec![place], events, settled, ..Afterwards::default() };
        changes.extend(replies.into_iter().map(|reply| self.queue(Box::new(reply), &mut then)));
        let ticket = self.persist(changes, then);
        if let Some(seen) = seen {
            self.seen.insert_pending(seen, ticket);
        }
        ticket
    }

    /// The broker's answer to a submission on `session`.
    pub fn handle_answer(
        &mut self,
        session: SessionId,
        notice_id: NoticeId,
        answer: BrokerAnswer,
        now: Timestamp,
    ) {
        if !self.serves(session) {
            return;
        }
        let Some(queued) = self.outbox.in_flight_of(&notice_id).cloned() else { return };
        if let Some(refusal) = answer.passing_refusal() {
            let refusals = self.outbox.count_refusal(queued.seq).unwrap_or(1);
            let wait = self.jitter.wait(refusals).max(refusal.retry_after.unwrap_or_default());
            self.outbox.wait(queued.seq, wait, now);
            return;
        }
        let event = match answer.refusal() {
            None => Event::Accepted(notice_id),
            Some(refusal) => Event::Refused { notice_id, kind: queued.kind, reason: refusal.to_string() },
        };
        self.unqueue(queued, Outcome::Answered(Box::new(answer)), event, now);
        self.submit_what_fits(now);
    }

    /// An envelope was not submitted on `session`, because the broker would end the connection for it.
    pub fn handle_unsendable(
        &mut self,
        session: SessionId,
        notice_id: NoticeId,
        refusal: Refusal,
        now: Timestamp,
    ) {
        if !self.serves(session) {
            return;
        }
        let Some(queued) = self.outbox.in_flight_of(&notice_id).cloned() else { return };
        let event = Event::Refused { notice_id, kind: queued.kind, reason: refusal.to_string() };
        self.unqueue(queued, Outcome::Unsendable { at: now, refusal }, event, now);
        self.submit_what_fits(now);
    }

    fn unqueue(&mut self, queued: Queued, outcome: Outcome, event: Event, now: Timestamp) {
        self.outbox.remove(queued.seq, now);
        let then = Afterwards { events: vec![event], ..Afterwards::default() };
        self.persist(vec![Change::Unqueue { queued, outcome: Box::new(outcome) }], then);
    }

    /// A change is on stable storage: what waited for it may be said.
    pub fn handle_persisted(&mut self, tickets: &[Ticket], now: Timestamp) {
        let mut places = Vec::new();
        for ticket in tickets {
            let Some(then) = self.tickets.remove(ticket) else { continue };
            places.extend(then.acknowledge);
            then.queue.into_iter().for_each(|queued| self.outbox.insert(queued));
            if let Some(notice_id) = then.settled {
                self.seen.settle(&notice_id);
            }
            if let Some(review) = then.review {
                self.calendar.insert(review);
            }
            if let Some(key) = then.step {
                self.steps.remove(&key);
            }
            self.effects.extend(then.events.into_iter().map(Effect::Notify));
        }
        self.acknowledge(places);
        self.submit_what_fits(now);
    }

    /// The node is to stop: nothing new is taken or submitted; what is under way is finished.
    pub fn handle_stop(&mut self) {
        self.stopping = true;
    }

    /// A time that was asked for by [`Core::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.outbox.wake(now);
        self.directory_counts = now <= self.directory_until;
        if self.directory_counts {
            self.give_up_what_expired(now);
            self.tell_what_is_due(now);
        }
        if self.outbox.is_overdue(now)
            && let Some(session) = self.link.session()
        {
            self.effects.push_back(Effect::Close { session, reason: UNANSWERED });
        }
        self.end_what_leaves_and_dial(now);
        self.submit_what_fits(now);
    }

    fn give_up_what_expired(&mut self, now: Timestamp) {
        while let Some(queued) = self.outbox.next_expired(now) {
            let event = Event::Lapsed(queued.notice_id);
            self.unqueue(queued, Outcome::Lapsed(now), event, now);
        }
        let forgotten = self.seen.forget_expired(now, FORGET_MAX);
        if !forgotten.is_empty() {
            self.persist(vec![Change::Forget(forgotten)], Afterwards::default());
        }
    }

    /// When [`Core::handle_timeout`] is next to be called. A clock that is set, or another directory, may make more
    /// things due than this says, so it is to be called every few seconds in any case.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let given_up = [self.outbox.next_expiry(), self.seen.next_time(), self.next_due()];
        let given_up = given_up.map(|at| at.filter(|_| self.directory_counts));
        let [connect, leaving] = self.connection_times();
        let times = [connect, leaving, self.outbox.next_wake(), self.outbox.overdue_at()];
        times.into_iter().chain(given_up).flatten().min()
    }

    fn queue(&mut self, outgoing: Box<Outgoing>, then: &mut Afterwards) -> Change {
        let seq = OutboxSeq(self.next_seq);
        self.next_seq = self.next_seq.saturating_add(1);
        then.queue.push(outgoing.queued(seq));
        Change::Queue { seq, outgoing }
    }

    fn persist(&mut self, changes: Vec<Change>, then: Afterwards) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.saturating_add(1);
        self.tickets.insert(ticket, then);
        self.effects.push_back(Effect::Persist { ticket, changes });
        ticket
    }

    fn acknowledge(&mut self, places: Vec<Place>) {
        let mut cursors: BTreeMap<(Precedence, SessionId), Vec<Cursor>> = BTreeMap::new();
        for place in places.into_iter().filter(|place| self.serves(place.session)) {
            cursors.entry((place.precedence, place.session)).or_default().push(place.cursor);
        }
        for ((precedence, session), cursors) in cursors.into_iter().rev() {
            self.effects.push_back(Effect::Acknowledge { session, precedence, cursors });
        }
    }

    fn submit_what_fits(&mut self, now: Timestamp) {
        let Link::Up { session, in_flight_max, .. } = self.link else { return };
        if self.stopping {
            return;
        }
        while let Some((precedence, notice_id)) = self.outbox.next_to_submit(in_flight_max, now) {
            self.effects.push_back(Effect::Submit { session, precedence, notice_id });
        }
    }
}

/// Whether a kind of notice is for officers to see; receipts are for the node.
#[must_use]
pub fn is_for_officers(kind: NoticeKind) -> bool {
    match kind {
        NoticeKind::Receipt => false,
        NoticeKind::Travel
        | NoticeKind::Arrival
        | NoticeKind::Deportation
        | NoticeKind::Response
        | NoticeKind::Correction
        | NoticeKind::Withdrawal
        | NoticeKind::ReleaseRequest
        | NoticeKind::ReleaseDecision => true,
    }
}
