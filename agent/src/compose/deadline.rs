//! Until when an answer is asked for.
//!
//! Paragraph 3 of resolution 2396 asks for notice "in a timely manner"; an answer that comes after the person has arrived
//! is of no use to whoever waits there. So a notice about persons always asks for an answer, within the time of its
//! precedence ([`Precedence::respond_within`], or what the configuration says instead), and never later than the arrival.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use valise_proto::envelope::{NoticeKind, Precedence};
use valise_proto::id::Timestamp;

use super::content::Mistake;

/// Until when an answer is asked for, and what says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RespondBy {
    /// Until when.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// What says so.
    pub because: Because,
}

/// What says until when an answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Because {
    /// The author.
    Author,
    /// The precedence.
    Precedence,
    /// Somebody arrives then.
    Arrival,
    /// The notice is carried no longer than that.
    Expiry,
}

impl Because {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Author => "the author wrote it",
            Self::Precedence => "by the precedence",
            Self::Arrival => "somebody arrives then",
            Self::Expiry => "the notice is carried no longer",
        }
    }
}

/// What a deadline follows from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Basis<'a> {
    pub(super) kind: NoticeKind,
    pub(super) precedence: Precedence,
    /// What the author wrote.
    pub(super) written: Option<Timestamp>,
    /// When somebody arrives, as far as that is known.
    pub(super) arrival: Option<Timestamp>,
    pub(super) expires_at: Timestamp,
    /// How soon answers are asked for by the configuration.
    pub(super) within: &'a BTreeMap<Precedence, Duration>,
}

impl Basis<'_> {
    /// Until when an answer is asked for; `None` for what asks for none.
    pub(super) fn respond_by(self, now: Timestamp) -> Option<RespondBy> {
        if let Some(at) = self.written {
            return Some(RespondBy { at, because: Because::Author });
        }
        if !self.kind.tells_of_persons() {
            return None;
        }
        let within = self.within.get(&self.precedence).copied();
        let within = within.unwrap_or_else(|| self.precedence.respond_within());
        let times = [
            (Some(now.plus(within)), Because::Precedence),
            (self.coming(now), Because::Arrival),
            (Some(self.expires_at), Because::Expiry),
        ];
        let times = times.into_iter().filter_map(|(at, because)| Some(RespondBy { at: at?, because }));
        times.min_by_key(|time| time.at)
    }

    /// What is wrong with what the author wrote.
    pub(super) fn mistake(self, now: Timestamp) -> Option<Mistake> {
        let (written, arrival) = (self.written?, self.coming(now)?);
        let rule = format!("it is later than the arrival: write {arrival}, or earlier");
        (written > arrival).then(|| Mistake::new("respond_by", written, &rule))
    }

    /// An arrival that is still to come.
    fn coming(self, now: Timestamp) -> Option<Timestamp> {
        self.arrival.filter(|arrival| *arrival > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn hour(hour: u64) -> Timestamp {
        Timestamp::from_millis(hour * HOUR)
    }

    fn basis(within: &BTreeMap<Precedence, Duration>) -> Basis<'_> {
        let (kind, precedence) = (NoticeKind::Travel, Precedence::Flash);
        Basis { kind, precedence, written: None, arrival: None, expires_at: hour(10_000), within }
    }

    #[test]
    fn g08_each_precedence_asks_within_its_time_and_the_configuration_may_say_otherwise() {
        let defaults = BTreeMap::new();
        let hours = [
            (Precedence::Flash, 8),
            (Precedence::Immediate, 24),
            (Precedence::Priority, 72),
            (Precedence::Routine, 168),
        ];
        for (precedence, within) in hours {
            let found = Basis { precedence, ..basis(&defaults) }.respond_by(hour(100));
            assert_eq!(found, Some(RespondBy { at: hour(100 + within), because: Because::Precedence }));
        }
        let sooner = BTreeMap::from([(Precedence::Flash, Duration::from_secs(3600))]);
        assert_eq!(basis(&sooner).respond_by(hour(100)).unwrap().at, hour(101));
    }

    #[test]
    fn g08_nobody_is_asked_for_an_answer_after_the_arrival_or_the_end_of_the_notice() {
        let defaults = BTreeMap::new();
        let arrives = |arrival| Basis { arrival: Some(hour(arrival)), ..basis(&defaults) };
        let found = arrives(103).respond_by(hour(100)).unwrap();
        assert_eq!(found, RespondBy { at: hour(103), because: Because::Arrival });
        assert_eq!(arrives(120).respond_by(hour(100)).unwrap().because, Because::Precedence);
        assert_eq!(arrives(99).respond_by(hour(100)).unwrap().at, hour(108), "who has arrived sets no term");
        let short = Basis { expires_at: hour(101), ..basis(&defaults) };
        assert_eq!(short.respond_by(hour(100)), Some(RespondBy { at: hour(101), because: Because::Expiry }));
        let late = Basis { written: Some(hour(104)), ..arrives(103) };
        assert_eq!(late.mistake(hour(100)).unwrap().path, "respond_by");
        assert!(Basis { written: Some(hour(103)), ..arrives(103) }.mistake(hour(100)).is_none());
        assert!(late.mistake(hour(103)).is_none(), "who has arrived sets no term");
    }

    #[test]
    fn g08_only_what_tells_of_persons_asks_by_itself() {
        let defaults = BTreeMap::new();
        let asks = |kind| Basis { kind, ..basis(&defaults) }.respond_by(hour(1)).is_some();
        for kind in [NoticeKind::Response, NoticeKind::Withdrawal, NoticeKind::ReleaseRequest] {
            assert!(!asks(kind), "{kind}");
        }
        assert!(asks(NoticeKind::Correction) && asks(NoticeKind::Deportation));
    }
}
