//! The connection, as far as the core knows of it, and the one that takes its place.
//!
//! A connection whose certificate was renewed is not ended before another stands in its place. From then on the other
//! takes what is submitted; the one that leaves gives the answers it still owes, for a short while at most.

use std::time::Duration;

use valise_proto::id::Timestamp;

use super::backoff;
use super::effect::SessionId;

/// A connection that held this long forgives earlier failures.
const STEADY_AFTER: Duration = Duration::from_secs(60);
/// How long a connection that leaves is kept at least: acknowledgements on their way would otherwise be for nothing.
const LEAVE_AFTER: Duration = Duration::from_millis(500);
/// How long it is kept at most, for the answers it owes.
const LEAVE_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) enum Link {
    Waiting {
        until: Timestamp,
        failures: u32,
        /// The longest that this wait may be.
        wait_max: Duration,
    },
    Connecting {
        failures: u32,
    },
    Up {
        session: SessionId,
        since: Timestamp,
        failures: u32,
        in_flight_max: usize,
        successor: Successor,
    },
}

/// A connection that is to take the place of the present one.
#[derive(Debug)]
pub(super) enum Successor {
    NotWanted,
    Wanted { at: Timestamp, failures: u32, wait_max: Duration },
    Dialled { failures: u32 },
}

/// A connection whose place another has taken.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) session: SessionId,
    pub(super) since: Timestamp,
    /// Whether its end was asked for.
    pub(super) told: bool,
}

impl Leaving {
    /// Whether it is time to end it. A clock that was set back is no reason to keep it.
    pub(super) fn is_due(&self, owes_answers: bool, now: Timestamp) -> bool {
        !self.told && (now >= self.due_at(owes_answers) || now < self.since)
    }

    pub(super) fn due_at(&self, owes_answers: bool) -> Timestamp {
        self.since.plus(if owes_answers { LEAVE_MAX } else { LEAVE_AFTER })
    }
}

impl Link {
    /// Nothing was tried yet.
    pub(super) fn new() -> Self {
        Self::waiting(Timestamp::from_millis(0), 0, backoff::WAIT_MAX)
    }

    pub(super) fn waiting(until: Timestamp, failures: u32, wait_max: Duration) -> Self {
        Self::Waiting { until, failures, wait_max }
    }

    pub(super) fn failures(&self) -> u32 {
        match self {
            Self::Waiting { failures, .. } | Self::Connecting { failures } | Self::Up { failures, .. } => {
                *failures
            }
        }
    }

    /// How often in a row connecting has failed, now that it has once more.
    pub(super) fn failures_with_this(&self, now: Timestamp) -> u32 {
        let forgiven = match self {
            Self::Up { since, .. } => now.since(*since) >= STEADY_AFTER,
            Self::Waiting { .. } | Self::Connecting { .. } => false,
        };
        if forgiven { 1 } else { self.failures().saturating_add(1) }
    }

    pub(super) fn session(&self) -> Option<SessionId> {
        match self {
            Self::Up { session, .. } => Some(*session),
            Self::Waiting { .. } | Self::Connecting { .. } => None,
        }
    }

    /// Until when nothing is dialled, and the longest that this may be.
    fn waits(&self) -> Option<(Timestamp, Duration)> {
        match self {
            Self::Waiting { until, wait_max, .. } => Some((*until, *wait_max)),
            Self::Up { successor: Successor::Wanted { at, wait_max, .. }, .. } => Some((*at, *wait_max)),
            Self::Connecting { .. } | Self::Up { .. } => None,
        }
    }

    /// Until when nothing is dialled.
    pub(super) fn waits_until(&self) -> Option<Timestamp> {
        self.waits().map(|(until, _)| until)
    }

    /// Whether it is time to dial: also where that lies further ahead than the wait may be, for then the clock was set
    /// back.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.waits().is_some_and(|(until, wait_max)| until <= now || until > now.plus(wait_max))
    }

    /// A connection is being dialled.
    pub(super) fn dialled(&mut self) {
        match self {
            Self::Up { successor, .. } => {
                let failures = match successor {
                    Successor::Wanted { failures, .. } | Successor::Dialled { failures } => *failures,
                    Successor::NotWanted => 0,
                };
                *successor = Successor::Dialled { failures };
            }
            Self::Waiting { .. } | Self::Connecting { .. } => {
                *self = Self::Connecting { failures: self.failures() };
            }
        }
    }

    /// Another connection is wanted at once, whatever failed before.
    pub(super) fn want_another(&mut self, now: Timestamp) {
        match self {
            Self::Up { successor: Successor::Dialled { .. }, .. } | Self::Connecting { .. } => {}
            Self::Up { successor, .. } => {
                *successor = Successor::Wanted { at: now, failures: 0, wait_max: backoff::WAIT_MAX };
            }
            Self::Waiting { .. } => *self = Self::waiting(now, 0, backoff::WAIT_MAX),
        }
    }
}
