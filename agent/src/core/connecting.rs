//! What the core makes of connections: the present one, the next try, and one that takes another's place.
//!
//! Claimed: while a connection is exchanged for another, notices go on without a break and none is lost or taken in
//! twice. It holds because the former connection is ended only after another is up; what it still owes an answer for
//! is submitted again on the other once it has ended, which is harmless (G5); and what both deliver is taken in once
//! and acknowledged on each.

use std::time::Duration;

use valise_proto::id::{BrokerName, Timestamp};

use super::backoff::{self, Jitter};
use super::link::{Leaving, Link, Successor};
use super::{Core, Effect, Ending, SessionId};

impl Core {
    /// A connection to `broker` is up and its directory is one to act upon. Where there is one already, it takes its
    /// place. What this broker asked to wait for is still waited for: it may have asked because of a quota, which a new
    /// connection does not change.
    pub fn handle_connected(
        &mut self,
        session: SessionId,
        broker: &BrokerName,
        in_flight_max: usize,
        now: Timestamp,
    ) {
        if let Some(former) = self.link.session() {
            self.outbox.hand_over();
            self.leaving = Some(Leaving { session: former, since: now, told: false });
        }
        let failures = self.link.failures();
        let successor = Successor::NotWanted;
        self.link = Link::Up { session, since: now, failures, in_flight_max, successor };
        if self.broker.as_ref() != Some(broker) {
            self.broker = Some(broker.clone());
            self.outbox.wake_all();
        }
        self.submit_what_fits(now);
    }

    /// A connection ended, or could not be made.
    pub fn handle_disconnected(&mut self, session: SessionId, ending: Ending, now: Timestamp) {
        if self.leaving.as_ref().is_some_and(|leaving| leaving.session == session) {
            self.leaving = None;
            self.outbox.reset_leaving();
            return self.submit_what_fits(now);
        }
        match &mut self.link {
            Link::Up { session: present, successor, .. } if *present != session => {
                let Successor::Dialled { failures } = *successor else { return };
                let failures = failures.saturating_add(1);
                let (wait, wait_max) = wait_after(&mut self.jitter, ending, failures);
                *successor = Successor::Wanted { at: now.plus(wait), failures, wait_max };
            }
            Link::Up { successor: Successor::Dialled { failures }, .. } => {
                // The one that was dialled to take its place is now the only one.
                let failures = *failures;
                self.outbox.reset_in_flight();
                self.link = Link::Connecting { failures };
            }
            Link::Up { .. } | Link::Connecting { .. } => self.lose(ending, now),
            Link::Waiting { .. } => {}
        }
    }

    fn lose(&mut self, ending: Ending, now: Timestamp) {
        self.outbox.reset_in_flight();
        let failures = self.link.failures_with_this(now);
        let (wait, wait_max) = wait_after(&mut self.jitter, ending, failures);
        self.link = Link::waiting(now.plus(wait), failures, wait_max);
    }

    /// Who this node is has changed (a new certificate, or another standing with the authority): a connection is made
    /// with that at once, and takes the place of the one there is.
    pub fn handle_renewed(&mut self, now: Timestamp) {
        self.link.want_another(now);
    }

    /// The peer broke the rules of the protocol.
    pub fn handle_misbehaviour(&mut self, session: SessionId, reason: &'static str) {
        if self.serves(session) {
            self.effects.push_back(Effect::Close { session, reason });
        }
    }

    pub(super) fn end_what_leaves_and_dial(&mut self, now: Timestamp) {
        let owes_answers = self.outbox.leaving() > 0;
        if let Some(leaving) = self.leaving.as_mut().filter(|leaving| leaving.is_due(owes_answers, now)) {
            leaving.told = true;
            self.effects.push_back(Effect::Retire { session: leaving.session });
        }
        // One at a time: a third connection waits until the first has ended.
        if self.link.is_due(now) && !self.stopping && self.leaving.is_none() {
            self.link.dialled();
            self.effects.push_back(Effect::Connect);
        }
    }

    /// When a connection is to be tried, and when the one that leaves is to be ended.
    pub(super) fn connection_times(&self) -> [Option<Timestamp>; 2] {
        let connect = self.link.waits_until().filter(|_| !self.stopping && self.leaving.is_none());
        let owes_answers = self.outbox.leaving() > 0;
        let leaving = self.leaving.as_ref().filter(|leaving| !leaving.told);
        [connect, leaving.map(|leaving| leaving.due_at(owes_answers))]
    }

    /// Whether a connection is the present one, or the one whose place it has taken.
    pub(super) fn serves(&self, session: SessionId) -> bool {
        let leaving = self.leaving.as_ref().map(|leaving| leaving.session);
        [self.link.session(), leaving].contains(&Some(session))
    }
}

/// How long to wait before the next try, and the longest that this may be.
fn wait_after(jitter: &mut Jitter, ending: Ending, failures: u32) -> (Duration, Duration) {
    match ending {
        Ending::Passing => (jitter.wait(failures), backoff::WAIT_MAX),
        Ending::Excluded => (jitter.wait_excluded(failures), backoff::EXCLUDED_WAIT_MAX),
    }
}
