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
        let rule = |fault: Fault| Rule::new(format!("{fault}; {DAY_RULE}"));
        let span = Span::parse(text).map_err(rule)?;
        let day = span.earliest.filter(|_| span.earliest == span.latest && text.len() == 10);
        day.map(Self).ok_or_else(|| rule("it is no single day"))
    }

    fn text(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.0.year(), u8::from(self.0.month()), self.0.day())
    }
}

impl Day {
    /// The last two digits of the year, the month and the day, as documents write them.
    pub(super) fn two_digits(self) -> (u8, u8, u8) {
        let year = u8::try_from(self.0.year().rem_euclid(100)).unwrap_or(0);
        (year, self.0.month().into(), self.0.day())
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

    /// Whether the person is certainly under 18 at `at`: whatever the date leaves open is taken to be as early as it
    /// can be.
    #[must_use]
    pub fn certainly_under_18_at(&self, at: &LocalTime) -> bool {
        let adult_from = self.span.earliest.and_then(|earliest| plus_years(earliest, ADULT_YEARS));
        adult_from.is_some_and(|adult_from| at.local_date() < adult_from)
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
        let span = span.map_err(|fault| Rule::new(format!("{fault}; {BIRTH_RULE}")))?;
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

/// Why a text is no date. It never repeats the text.
type Fault = &'static str;

const AMBIGUOUS: Fault = "day and month cannot be told apart when written so";
const NO_FORM: Fault = "it is not written in a form that is known";
const NO_MONTH: Fault = "there is no such month";
const NO_DAY: Fault = "that month of that year has no such day";
const SEASON: Fault = "seasons and other parts of a year are not taken";
const TOO_EARLY: Fault = "it is before 1800";
const TIME_OF_DAY: Fault = "a time of day does not belong here";
const UNSPECIFIED: Fault = "X stands for the last one or two digits of a year, or for a whole month or day";
const FINER_THAN_OPEN: Fault = "nothing can be known that is finer than what X leaves open";
const QUALIFIER: Fault = "one of ~ ? % stands once, at the end of a date";
const OPEN_BOTH_WAYS: Fault = "an interval open on both sides says nothing; leave the field out";
const BACKWARDS: Fault = "the interval ends before it begins";
const TWO_ENDS: Fault = "an interval has two ends";

/// The first and the last day that a date may be; `None` where it is open.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Span {
    earliest: Option<Date>,
    latest: Option<Date>,
}

impl Span {
    fn parse_interval(from: &str, to: &str) -> Result<Self, Fault> {
        if to.contains('/') {
            let short = |part: &str| part.len() <= 2 && part.bytes().all(|b| b.is_ascii_digit());
            let written_with_slashes = short(from) || to.split('/').all(short);
            return Err(if written_with_slashes { AMBIGUOUS } else { TWO_ENDS });
        }
        let open = |side: &str| side.is_empty() || side == "..";
        let side = |side: &str| if open(side) { Ok(None) } else { Self::parse(side).map(Some) };
        match (side(from)?, side(to)?) {
            (None, None) => Err(OPEN_BOTH_WAYS),
            (Some(from), Some(to)) if from.earliest > to.earliest || from.latest > to.latest => {
                Err(BACKWARDS)
            }
            (from, to) => Ok(Self {
                earliest: from.and_then(|span| span.earliest),
                latest: to.and_then(|span| span.latest),
            }),
        }
    }

    /// A date without `/`: year, month, day, each with unspecified digits, and a qualifier.
    fn parse(text: &str) -> Result<Self, Fault> {
        let plain = text.strip_suffix(['?', '~', '%']);
        let text = plain.unwrap_or(text);
        if text.contains(['?', '~', '%']) {
            return Err(QUALIFIER);
        }
        if text.contains(['T', ':']) {
            return Err(TIME_OF_DAY);
        }
        if text.contains(['.', ' ']) && text.contains(|c: char| c.is_ascii_digit()) {
            return Err(AMBIGUOUS);
        }
        // As in 01-04-1980, which is April in one country and January in another.
        if text.len() == 10 && text.rsplit('-').next().is_some_and(|last| last.len() == 4) {
            return Err(AMBIGUOUS);
        }
        let mut fields = text.split('-');
        let year = Digits::parse(fields.next().unwrap_or_default(), 4)?;
        let month = fields.next().map(|month| Digits::parse(month, 2)).transpose()?;
        let day = fields.next().map(|day| Digits::parse(day, 2)).transpose()?;
        if fields.next().is_some() {
            return Err(NO_FORM);
        }
        if !Digits::coarsen(&[Some(year), month, day]) {
            return Err(FINER_THAN_OPEN);
        }
        let known = |part: Option<Digits>| part.filter(|digits| digits.unspecified == 0);
        let (month, day) = (known(month), known(day));
        let (first, last) = (month.map_or(1, |m| m.low), month.map_or(12, |m| m.low));
        let earliest = date(year.low, first, day.map(|d| d.low).or(Some(1)))?;
        let latest = date(year.high, last, day.map(|d| d.low))?;
        if earliest.year() < YEAR_MIN {
            return Err(TOO_EARLY);
        }
        let margin = if plain.is_some() { QUALIFIED_MARGIN_YEARS } else { 0 };
        Ok(Self { earliest: plus_years(earliest, -margin), latest: plus_years(latest, margin) })
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
    fn parse(text: &str, len: usize) -> Result<Self, Fault> {
        if text.len() != len || !text.bytes().all(|b| b.is_ascii_digit() || b == b'X') {
            return Err(NO_FORM);
        }
        let digits = text.trim_end_matches('X');
        let unspecified = text.len() - digits.len();
        let allowed = if len == 4 { unspecified <= 2 } else { unspecified == 0 || unspecified == 2 };
        if !allowed || digits.contains('X') {
            return Err(UNSPECIFIED);
        }
        let number = |digit: &str| text.replace('X', digit).parse().map_err(|_| NO_FORM);
        Ok(Self { low: number("0")?, high: number("9")?, unspecified })
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

/// A date; the last of its month where the day is open.
fn date(year: i32, month: i32, day: Option<i32>) -> Result<Date, Fault> {
    // EDTF numbers seasons, quarters and halves of a year from 21 on.
    let no_month = if (21..=41).contains(&month) { SEASON } else { NO_MONTH };
    let month = u8::try_from(month).ok().and_then(|month| Month::try_from(month).ok()).ok_or(no_month)?;
    let day = match day {
        Some(day) => u8::try_from(day).map_err(|_| NO_DAY)?,
        None => month.length(year),
    };
    Date::from_calendar_date(year, month, day).map_err(|_| NO_DAY)
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
    fn a_refusal_says_why_and_never_repeats_the_date() {
        for (text, why) in [
            ("1980-13", NO_MONTH),
            ("1980-00", NO_MONTH),
            ("1980-21", SEASON),
            ("1981-02-29", NO_DAY),
            ("1980-04-31", NO_DAY),
            ("1799-12-31", TOO_EARLY),
            ("12.4.1988", AMBIGUOUS),
            ("12/04/1988", AMBIGUOUS),
            ("1988/04/12", AMBIGUOUS),
            ("12-04-1988", AMBIGUOUS),
            ("1980-04-01T00:00", TIME_OF_DAY),
            ("1980-04-3X", UNSPECIFIED),
            ("1XXX", UNSPECIFIED),
            ("X980", UNSPECIFIED),
            ("198X-04", FINER_THAN_OPEN),
            ("1980-XX-04", FINER_THAN_OPEN),
            ("?1980", QUALIFIER),
            ("1980~-04", QUALIFIER),
            ("../..", OPEN_BOTH_WAYS),
            ("1985/1980", BACKWARDS),
            ("1980/1985/1990", TWO_ENDS),
            ("80", NO_FORM),
            ("-0044", NO_FORM),
        ] {
            let rule = text.parse::<BirthDate>().expect_err(text).to_string();
            assert!(rule.starts_with(&format!("{why}; write what is known")), "{text}: {rule}");
        }
        for (text, why) in
            [("2035-04-31", NO_DAY), ("2035-04", "it is no single day"), ("1.4.2035", AMBIGUOUS)]
        {
            let rule = text.parse::<Day>().expect_err(text).to_string();
            assert!(rule.starts_with(&format!("{why}; write a calendar date")), "{text}: {rule}");
        }
    }

    #[test]
    fn only_who_cannot_be_18_is_certainly_under_18() {
        let event = at("2026-03-01T12:00:00Z");
        for text in ["2008-03-02", "2009", "201X", "2012~", "2010/.."] {
            assert!(born(text).certainly_under_18_at(&event), "{text} is under 18");
        }
        for text in ["2008-03-01", "2008", "200X", "2009~", "../2020", "1980"] {
            assert!(!born(text).certainly_under_18_at(&event), "{text} may be 18");
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
