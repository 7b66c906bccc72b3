//! Calendar dates, and birth dates as they are known: EDTF level 1 (ISO 8601-2:2019, annex A).

use std::borrow::Cow;
use std::fmt;

use time::{Date, Month};

use super::json::{Word, word};
use super::local_time::LocalTime;
use super::mistake::Rule;

/// Years from which a person stops being a child (Convention on the Rights of the Child, article 1).
pub const ADULT_YEARS: i32 = 18;
/// How far an approximate or uncertain birth date may be off, in years. Estimates of age are commonly given so.
pub const QUALIFIED_MARGIN_YEARS: i32 = 2;
/// First year of birth that is believed.
const YEAR_MIN: i32 = 1800;

const DAY_RULE: &str = "write a calendar date YYYY-MM-DD, such as 2035-04-01";
const BIRTH_RULE: &str = "write what is known as EDTF level 1: 1980, 1980-04, 1980-04-01, 1980-04-XX, 198X, 1980~ \
    (approximately), 1980? (uncertain), 1980% (both), or an interval such as 1980/1985 or ../2000";

/// A calendar date. `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(Date);

impl Word for Day {
    fn rule() -> Cow<'static, str> {
        DAY_RULE.into()
    }

    fn parse(text: &str) -> Result<Self, Rule> {
        let span = Span::parse(text).filter(|span| span.earliest == span.latest && text.len() == 10);
        span.and_then(|span| span.earliest).map(Self).ok_or_else(|| Rule::new(DAY_RULE))
    }

    fn text(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.0.year(), u8::from(self.0.month()), self.0.day())
    }
}

word!(Day);

impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(a day)")
    }
}

/// A birth date, as far as it is known. Seasons, negative years and years of more than four digits, which EDTF level
/// 1 has too, say nothing about a living person and are refused. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BirthDate {
    text: Box<str>,
    span: Span,
}

impl BirthDate {
    /// Whether the person may be under 18 at `at`, by the calendar of the place: whatever the date leaves open is
    /// taken to be as late as it can be.
    #[must_use]
    pub fn possibly_under_18_at(&self, at: &LocalTime) -> bool {
        let adult_from = self.span.latest.and_then(|latest| plus_years(latest, ADULT_YEARS));
        adult_from.is_none_or(|adult_from| at.local_date() < adult_from)
    }

    /// Whether the person was certainly not yet born at `at`.
    #[must_use]
    pub fn is_after(&self, at: &LocalTime) -> bool {
        self.span.earliest.is_some_and(|earliest| earliest > at.local_date())
    }
}

impl Word for BirthDate {
    fn rule() -> Cow<'static, str> {
        BIRTH_RULE.into()
    }

    fn parse(text: &str) -> Result<Self, Rule> {
        let span = match text.split_once('/') {
            None => Span::parse(text),
            Some((from, to)) => Span::parse_interval(from, to),
        };
        let span = span.ok_or_else(|| Rule::new(BIRTH_RULE))?;
        Ok(Self { text: text.into(), span })
    }

    fn text(&self) -> String {
        self.text.to_string()
    }
}

word!(BirthDate);

impl fmt::Debug for BirthDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(a birth date)")
    }
}

/// The first and the last day that a date may be; `None` where it is open.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Span {
    earliest: Option<Date>,
    latest: Option<Date>,
}

impl Span {
    fn parse_interval(from: &str, to: &str) -> Option<Self> {
        let open = |side: &str| side.is_empty() || side == "..";
        let from = if open(from) { None } else { Some(Self::parse(from)?) };
        let to = if open(to) { None } else { Some(Self::parse(to)?) };
        match (from, to) {
            (None, None) => None,
            (Some(from), Some(to)) if from.earliest > to.earliest || from.latest > to.latest => None,
            (from, to) => Some(Self {
                earliest: from.and_then(|span| span.earliest),
                latest: to.and_then(|span| span.latest),
            }),
        }
    }

    /// A date without `/`: year, month, day, each with unspecified digits, and a qualifier.
    fn parse(text: &str) -> Option<Self> {
        let plain = text.strip_suffix(['?', '~', '%']);
        let mut fields = plain.unwrap_or(text).split('-');
        let year = Digits::parse(fields.next()?, 4)?;
        let month = optional_digits(fields.next())?;
        let day = optional_digits(fields.next())?;
        if fields.next().is_some() || !Digits::coarsen(&[Some(year), month, day]) {
            return None;
        }
        let known = |part: Option<Digits>| part.filter(|digits| digits.unspecified == 0);
        let (month, day) = (known(month), known(day));
        let (first, last) = (month.map_or(1, |m| m.low), month.map_or(12, |m| m.low));
        let earliest = date(year.low, first, day.map(|d| d.low).or(Some(1)))?;
        let latest = date(year.high, last, day.map(|d| d.low))?;
        if earliest.year() < YEAR_MIN {
            return None;
        }
        let margin = if plain.is_some() { QUALIFIED_MARGIN_YEARS } else { 0 };
        Some(Self { earliest: plus_years(earliest, -margin), latest: plus_years(latest, margin) })
    }
}

/// A field of a date: what its digits may stand for. `X` is an unspecified digit.
#[derive(Clone, Copy)]
struct Digits {
    low: i32,
    high: i32,
    unspecified: usize,
}

impl Digits {
    /// At most the two rightmost digits may be unspecified; of a month or a day, both or none.
    fn parse(text: &str, len: usize) -> Option<Self> {
        let digits = text.trim_end_matches('X');
        let unspecified = text.len() - digits.len();
        let allowed = if len == 4 { unspecified <= 2 } else { unspecified == 0 || unspecified == 2 };
        if text.len() != len || !allowed || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let (low, high) = (text.replace('X', "0"), text.replace('X', "9"));
        Some(Self { low: low.parse().ok()?, high: high.parse().ok()?, unspecified })
    }

    /// Nothing is known in a finer field than the first that leaves something open (finer patterns are level 2).
    fn coarsen(fields: &[Option<Self>]) -> bool {
        let mut open = false;
        fields.iter().flatten().all(|digits| {
            let allowed = !open || digits.unspecified > 0;
            open |= digits.unspecified > 0;
            allowed
        })
    }
}

/// A field that may be absent: `Some(None)` where it is, `None` where it cannot be read.
fn optional_digits(text: Option<&str>) -> Option<Option<Digits>> {
    match text {
        None => Some(None),
        Some(text) => Digits::parse(text, 2).map(Some),
    }
}

/// A date; the last of its month where the day is open.
fn date(year: i32, month: i32, day: Option<i32>) -> Option<Date> {
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let day = match day {
        Some(day) => u8::try_from(day).ok()?,
        None => month.length(year),
    };
    Date::from_calendar_date(year, month, day).ok()
}

/// The same day some years later or earlier; 1 March where there is no 29 February. `None` past the year 9999.
fn plus_years(day: Date, years: i32) -> Option<Date> {
    let year = day.year().checked_add(years)?;
    day.replace_year(year).or_else(|_| Date::from_calendar_date(year, Month::March, 1)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn born(text: &str) -> BirthDate {
        text.parse().unwrap_or_else(|_| panic!("`{text}` was not taken for a birth date"))
    }

    fn at(text: &str) -> LocalTime {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_known_of_a_birth_date_can_be_written() {
        for text in [
            "1980",
            "1980-04",
            "1980-04-30",
            "1980-04-XX",
            "1980-XX-XX",
            "1980-XX",
            "198X",
            "19XX",
            "1980~",
            "1980?",
            "1980-04-30%",
            "1980/1985",
            "1980-04/1980-06",
            "../2000",
            "1980/..",
            "/2000",
            "1980~/1985?",
            "1988-02-29",
        ] {
            assert_eq!(born(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_birth_date_is_refused() {
        for text in [
            "",
            "80",
            "1980-13",
            "1980-00",
            "1980-02-30",
            "1981-02-29",
            "1980-4-1",
            "1980-04-3X",
            "1XXX",
            "198X-04",
            "1980-XX-04",
            "X980",
            "1980~~",
            "~1980",
            "..",
            "../..",
            "/",
            "1985/1980",
            "1980/1985/1990",
            "1980-21",
            "1980-04-01-01",
            "-0044",
            "Y17000",
            "0001",
            "1980-04-01T00:00",
            "１９８０",
        ] {
            assert!(text.parse::<BirthDate>().is_err(), "`{text}` was taken for a birth date");
        }
    }

    #[test]
    fn whoever_may_be_under_18_is_found() {
        let event = at("2026-03-01T12:00:00Z");
        for text in
            ["2008-03-02", "2008-03", "2008", "2008-XX-XX", "200X", "2006~", "2006?", "1980/2009", "1980/.."]
        {
            assert!(born(text).possibly_under_18_at(&event), "{text} may be under 18");
        }
        for text in ["2008-03-01", "2008-02", "2007", "199X", "2005~", "1980/2007", "../2007"] {
            assert!(!born(text).possibly_under_18_at(&event), "{text} is 18 or older");
        }
    }

    #[test]
    fn a_birthday_begins_at_midnight_where_the_event_is() {
        let born = born("2008-03-02");
        assert!(born.possibly_under_18_at(&at("2026-03-01T23:30:00Z")));
        assert!(!born.possibly_under_18_at(&at("2026-03-02T02:30:00+03:00")));
    }

    #[test]
    fn whoever_is_born_on_29_february_comes_of_age_on_1_march() {
        let born = born("2008-02-29");
        assert!(born.possibly_under_18_at(&at("2026-02-28T12:00:00Z")));
        assert!(!born.possibly_under_18_at(&at("2026-03-01T00:00:00Z")));
    }

    #[test]
    fn nobody_is_born_after_the_event() {
        assert!(born("2030").is_after(&at("2026-03-01T12:00:00Z")));
        assert!(!born("2026").is_after(&at("2026-03-01T12:00:00Z")));
        assert!(!born("../2030").is_after(&at("2026-03-01T12:00:00Z")));
    }

    #[test]
    fn a_day_is_written_in_full() {
        assert_eq!("2035-04-01".parse::<Day>().unwrap().to_string(), "2035-04-01");
        for bad in ["2035-04", "2035-04-XX", "2035-04-31", "2035-4-1", "20350401", "2035-04-01?"] {
            assert!(bad.parse::<Day>().is_err(), "`{bad}` was taken for a day");
        }
        assert!(!format!("{:?}{:?}", "2035-04-01".parse::<Day>(), born("1980")).contains("19"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_stop(text in "[0-9X/.?~%-]{0,24}|\\PC{0,12}") {
            let _ = text.parse::<BirthDate>();
            let _ = text.parse::<Day>();
        }

        #[test]
        fn a_coarser_date_never_makes_a_minor_an_adult(year in 1950..2020_i32, month in 1..=12_u8, day in 1..=28_u8) {
            let event = at("2026-03-01T12:00:00Z");
            let exact = born(&format!("{year}-{month:02}-{day:02}"));
            if exact.possibly_under_18_at(&event) {
                for coarser in [
                    format!("{year}-{month:02}-XX"), format!("{year}-{month:02}"), format!("{year}"),
                    format!("{}X", year / 10), format!("{year}-{month:02}-{day:02}~"), format!("../{year}"),
                ] {
                    prop_assert!(born(&coarser).possibly_under_18_at(&event), "{}", coarser);
                }
            }
        }
    }
}
