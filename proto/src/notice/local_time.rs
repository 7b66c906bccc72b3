//! A moment with the time of day that the clocks on the spot showed.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime, UtcOffset};

use super::json::{Word, word};
use super::mistake::Rule;
use crate::id::Timestamp;

/// Local offsets in use anywhere, in minutes east of UTC.
const OFFSET_MINUTES: std::ops::RangeInclusive<i16> = -12 * 60..=14 * 60;

const RULE: &str = "write a time by RFC 3339 with the local offset, such as 2026-03-01T14:30:00+03:00";

const WITHOUT_OFFSET: &str = "without the local offset the moment is not known; write it at the end, such as +03:00, or \
    Z for UTC";

/// A moment after 1970, in UTC, with the offset of the local clock kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalTime {
    at: Timestamp,
    offset_minutes: i16,
}

impl LocalTime {
    /// A moment and the local offset, in minutes east of UTC.
    ///
    /// # Errors
    /// [`Rule`] where the moment is the epoch itself, the offset is not in use anywhere (-12:00 to +14:00), or the
    /// local year is past 9999.
    pub fn new(at: Timestamp, offset_minutes: i16) -> Result<Self, Rule> {
        let time = Self { at, offset_minutes };
        let valid = at.millis() > 0 && OFFSET_MINUTES.contains(&offset_minutes) && time.local().is_some();
        if valid { Ok(time) } else { Err(Rule::new(RULE)) }
    }

    /// A moment by UTC.
    #[must_use]
    pub fn utc(at: Timestamp) -> Self {
        Self { at, offset_minutes: 0 }
    }

    /// The moment.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// How far the local clock was ahead of UTC, in minutes.
    #[must_use]
    pub fn offset_minutes(&self) -> i16 {
        self.offset_minutes
    }

    /// The date that the local calendar showed.
    pub(super) fn local_date(&self) -> Date {
        self.local().map_or(Date::MIN, OffsetDateTime::date)
    }

    /// `None` where the offset leads past the year 9999, which [`LocalTime::new`] refuses.
    fn local(&self) -> Option<OffsetDateTime> {
        let utc = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.at.millis()) * 1_000_000).ok()?;
        let offset = UtcOffset::from_whole_seconds(i32::from(self.offset_minutes) * 60).ok()?;
        utc.checked_to_offset(offset)
    }
}

impl Word for LocalTime {
    fn rule() -> Cow<'static, str> {
        RULE.into()
    }

    fn parse(text: &str) -> Result<Self, Rule> {
        let bad = || Rule::new(RULE);
        let local = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
            // With an offset it would be a time: what is missing is said.
            let without = OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339).is_ok();
            if without { Rule::new(WITHOUT_OFFSET) } else { bad() }
        })?;
        let millis = local.unix_timestamp_nanos().div_euclid(1_000_000);
        let millis = u64::try_from(millis).ok().filter(|millis| *millis <= Timestamp::MAX.millis());
        Self::new(Timestamp::from_millis(millis.ok_or_else(bad)?), local.offset().whole_minutes())
    }

    fn text(&self) -> String {
        let text = self.local().and_then(|local| local.format(&Rfc3339).ok());
        text.unwrap_or_else(|| self.at.to_string())
    }

    fn schema() -> Value {
        json!({ "type": "string", "format": "date-time", "description": RULE })
    }
}

word!(LocalTime);

impl fmt::Debug for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_kept_and_the_moment_is_utc() {
        let time: LocalTime = "2026-03-01T14:30:00+03:00".parse().unwrap();
        assert_eq!(time.to_string(), "2026-03-01T14:30:00+03:00");
        assert_eq!(time.at(), "2026-03-01T11:30:00Z".parse().unwrap());
        assert_eq!(time.offset_minutes(), 180);
        assert_eq!("2026-03-01T11:30:00Z".parse::<LocalTime>().unwrap().to_string(), "2026-03-01T11:30:00Z");
    }

    #[test]
    fn the_local_calendar_may_show_another_day() {
        let time: LocalTime = "2026-03-02T00:30:00+03:00".parse().unwrap();
        assert_eq!(time.local_date(), time::macros::date!(2026 - 03 - 02));
        assert_eq!(LocalTime::utc(time.at()).local_date(), time::macros::date!(2026 - 03 - 01));
    }

    #[test]
    fn a_time_without_an_offset_is_told_what_is_missing() {
        let rule = "2026-03-01T14:30:00".parse::<LocalTime>().unwrap_err().to_string();
        assert!(rule.starts_with("without the local offset"), "{rule}");
        assert!(
            "2026-02-30T14:30:00".parse::<LocalTime>().unwrap_err().to_string().starts_with("write a time")
        );
    }

    #[test]
    fn what_is_not_a_time_with_an_offset_is_refused() {
        for bad in [
            "",
            "2026-03-01",
            "2026-03-01T14:30:00",
            "2026-02-30T14:30:00Z",
            "2026-03-01T14:30:00+15:00",
            "1970-01-01T00:00:00Z",
            "1969-12-31T23:00:00Z",
            "9999-12-31T23:59:59-12:00",
        ] {
            assert!(bad.parse::<LocalTime>().is_err(), "`{bad}` was taken for a local time");
        }
    }
}
