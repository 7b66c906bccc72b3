//! How near something signed for a time is to its end: when to warn, and when to stop.

use std::fmt;
use std::time::Duration;

use crate::id::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// How urgent it is to publish anew. Rises towards the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Nothing to do.
    Fresh,
    /// Half of its time is over.
    HalfOver,
    /// A day or less is left.
    LastDay,
    /// An hour or less is left.
    LastHour,
    /// It has run out.
    Over,
}

impl Urgency {
    /// Of something issued at `issued_at` that runs out at `expires_at`.
    #[must_use]
    pub fn of(issued_at: Timestamp, expires_at: Timestamp, now: Timestamp) -> Self {
        let left = expires_at.since(now);
        if now > expires_at {
            Self::Over
        } else if left <= HOUR {
            Self::LastHour
        } else if left <= DAY {
            Self::LastDay
        } else if left <= expires_at.since(issued_at) / 2 {
            Self::HalfOver
        } else {
            Self::Fresh
        }
    }

    /// The word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "FRESH",
            Self::HalfOver => "HALF_OVER",
            Self::LastDay => "LAST_DAY",
            Self::LastHour => "LAST_HOUR",
            Self::Over => "OVER",
        }
    }
}

impl fmt::Display for Urgency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fresh => "fresh",
            Self::HalfOver => "half of its time is over",
            Self::LastDay => "a day or less is left",
            Self::LastHour => "an hour or less is left",
            Self::Over => "it has run out",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g12_urgency_rises_at_half_life_then_a_day_then_an_hour_before_the_end() {
        let at = |hours: u64| Timestamp::from_millis(hours * 60 * 60 * 1000);
        let of = |now: u64| Urgency::of(at(1000), at(1000 + 240), at(1000 + now));
        let expected = [
            (0, Urgency::Fresh),
            (119, Urgency::Fresh),
            (120, Urgency::HalfOver),
            (215, Urgency::HalfOver),
            (216, Urgency::LastDay),
            (238, Urgency::LastDay),
            (239, Urgency::LastHour),
            (240, Urgency::LastHour),
            (241, Urgency::Over),
        ];
        for (now, urgency) in expected {
            assert_eq!(of(now), urgency, "{now} hours after it was issued");
        }
        assert!(Urgency::Fresh < Urgency::HalfOver && Urgency::LastHour < Urgency::Over);
    }
}
