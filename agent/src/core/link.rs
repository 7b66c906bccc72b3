//! The connection, as far as the core knows of it.

use std::time::Duration;

use valise_proto::id::Timestamp;

use super::backoff;
use super::effect::SessionId;

/// A connection that held this long forgives earlier failures.
const STEADY_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) enum Link {
    Waiting { until: Timestamp, failures: u32 },
    Connecting { failures: u32 },
    Up { session: SessionId, since: Timestamp, failures: u32, in_flight_max: usize },
}

impl Link {
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

    /// Until when nothing is dialled.
    pub(super) fn waits_until(&self) -> Option<Timestamp> {
        match self {
            Self::Waiting { until, .. } => Some(*until),
            Self::Connecting { .. } | Self::Up { .. } => None,
        }
    }

    /// Whether it is time to dial: also where that lies further ahead than any wait, for then the clock was set back.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.waits_until().is_some_and(|until| until <= now || until > now.plus(backoff::WAIT_MAX))
    }
}
