//! What happens in a running node, for whoever follows it: numbered, and kept for a while, so that a follower that
//! was cut off goes on where it stopped.
//!
//! Claimed: a follower that is slow, or is gone, costs the node nothing. It holds because the node writes into one ring
//! of [`KEPT_MAX`] places and waits for nobody; who was away for longer is told that something is missing. Nothing of
//! what a notice says is in it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use valise_proto::id::{AgencyId, NoticeId, Timestamp};

use crate::core::{Alarm, Event};

/// So many are kept.
pub const KEPT_MAX: usize = 1024;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// In the core.
    Core(Event),
    /// A notice of ours was made from one that is out of force now.
    RestsOnEnded {
        /// Which notice of ours.
        notice_id: NoticeId,
        /// The CORRECTION or WITHDRAWAL that arrived.
        by: NoticeId,
    },
    /// The time for answers is running out, or over.
    Alarm {
        /// Of which notice, and how far it has gone.
        alarm: Alarm,
        /// Who owes an answer; of a received notice, this agency.
        owing: Vec<AgencyId>,
    },
    /// A connection to a broker is up.
    Connected {
        /// Which broker.
        broker: String,
    },
    /// There is no connection any more, or none could be made.
    Disconnected {
        /// Why.
        reason: String,
    },
}

/// Something that happened, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// Its number, rising by one from 1.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Happening,
}

#[derive(Debug)]
struct Ring {
    kept: VecDeque<Arc<Happened>>,
    /// The number of the next one.
    next: u64,
}

/// What happened lately.
#[derive(Debug)]
pub struct Events {
    run: u64,
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
}

/// What came after a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    /// Whether something between is no longer kept.
    pub missed: bool,
    /// What is, the oldest first.
    pub events: Vec<Arc<Happened>>,
}

impl Events {
    /// None yet, of a node that was started at this time.
    #[must_use]
    pub fn new(started: Timestamp) -> Self {
        Self {
            run: started.millis(),
            ring: Mutex::new(Ring { kept: VecDeque::new(), next: 1 }),
            newest: watch::channel(0).0,
        }
    }

    /// Tells this run of the node from others: numbers of events begin anew with each.
    #[must_use]
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Something happened.
    pub fn note(&self, at: Timestamp, what: Happening) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let number = ring.next;
        ring.next = number.saturating_add(1);
        if ring.kept.len() >= KEPT_MAX {
            ring.kept.pop_front();
        }
        ring.kept.push_back(Arc::new(Happened { number, at, what }));
        self.newest.send_replace(ring.next);
    }

    /// The number that the next one will have.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).next
    }

    /// What is kept from this number on, at most `count_max`.
    #[must_use]
    pub fn from(&self, number: u64, count_max: usize) -> After {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = ring.kept.front().map_or(ring.next, |oldest| oldest.number);
        let skipped = usize::try_from(number.saturating_sub(oldest)).unwrap_or(usize::MAX);
        let events = ring.kept.iter().skip(skipped).take(count_max).cloned().collect();
        After { missed: number < oldest, events }
    }

    /// Changes with each event.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_bounded_and_tells_who_was_away_for_too_long() {
        let events = Events::new(Timestamp::from_millis(7));
        assert_eq!(events.from(1, 10), After { missed: false, events: Vec::new() });
        for number in 1..=u64::try_from(KEPT_MAX).unwrap() + 1 {
            events.note(Timestamp::from_millis(number), Happening::Connected { broker: "b1".to_owned() });
        }
        let numbers = |after: &After| after.events.iter().map(|event| event.number).collect::<Vec<_>>();
        let all = events.from(1, usize::MAX);
        assert!(all.missed, "the first was let go, and nobody is told");
        assert_eq!(all.events.len(), KEPT_MAX);
        let some = events.from(5, 3);
        assert_eq!((some.missed, numbers(&some)), (false, vec![5, 6, 7]));
        let none = events.from(events.next(), 3);
        assert_eq!((none.missed, numbers(&none)), (false, Vec::new()));
    }
}
