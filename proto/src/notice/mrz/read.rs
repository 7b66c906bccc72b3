//! What the fields of a machine-readable zone say, and whether they can say it.

use std::fmt;

use time::Month;

use super::layout::{BIRTH, EXPIRY, Field};
use super::{Mrz, MrzFault};
use crate::id::State;
use crate::notice::date::Day;
use crate::notice::person::SexCode;
use crate::notice::place::Citizenship;

/// A date in a zone: two digits each, `None` where they are not known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MrzDate {
    /// The last two digits of the year.
    pub year: Option<u8>,
    /// The month.
    pub month: Option<u8>,
    /// The day.
    pub day: Option<u8>,
}

impl fmt::Debug for MrzDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(a date)")
    }
}

impl MrzDate {
    /// `YYMMDD`, each two digits or `<<`. `None` where that is no date in any century.
    fn parse(text: &str) -> Option<Self> {
        let part = |from: usize| match text.get(from..from + 2)? {
            "<<" => Some(None),
            digits => digits.parse::<u8>().ok().map(Some),
        };
        let (year, month, day) = (part(0)?, part(2)?, part(4)?);
        // 2000 was a leap year, so a 29 February of any leap year is taken.
        let in_year = 2000 + i32::from(year.unwrap_or(0));
        let days = match month {
            Some(month) => Month::try_from(month).ok()?.length(in_year),
            None => 31,
        };
        day.is_none_or(|day| (1..=days).contains(&day)).then_some(Self { year, month, day })
    }
}

/// How a document number goes on that is longer than nine characters.
pub(super) struct LongNumber<'a> {
    pub(super) rest: &'a str,
    pub(super) digit: char,
    /// Where the digit stands.
    pub(super) position: usize,
}

impl Mrz {
    /// The document code, without fillers, such as P or ID.
    #[must_use]
    pub fn document_code(&self) -> &str {
        self.text(&self.format.layout().code).trim_end_matches('<')
    }

    /// The State or organisation that issued the document. `None` where the code stands for none that is known here,
    /// such as the `UTO` of specimens.
    #[must_use]
    pub fn issuing_state(&self) -> Option<State> {
        let code = self.text(&self.format.layout().issuer).trim_end_matches('<');
        citizenship(code).and_then(Citizenship::state).or_else(|| code.parse().ok())
    }

    /// The holder's nationality, or why there is none. `None` where the code stands for neither.
    #[must_use]
    pub fn nationality(&self) -> Option<Citizenship> {
        citizenship(self.text(&self.format.layout().nationality).trim_end_matches('<'))
    }

    /// The primary identifier: the surname, as the issuing State writes it.
    #[must_use]
    pub fn surname(&self) -> String {
        let name = self.text(&self.format.layout().name);
        words(name.split_once("<<").map_or(name, |(surname, _)| surname))
    }

    /// The secondary identifier: the given names, as far as they fit.
    #[must_use]
    pub fn given_names(&self) -> String {
        let name = self.text(&self.format.layout().name);
        words(name.split_once("<<").map_or("", |(_, given)| given))
    }

    /// The date of birth.
    #[must_use]
    pub fn birth_date(&self) -> Option<MrzDate> {
        MrzDate::parse(self.text(&self.format.layout().birth))
    }

    /// The last day of validity.
    #[must_use]
    pub fn expiry(&self) -> Option<MrzDate> {
        MrzDate::parse(self.text(&self.format.layout().expiry))
    }

    /// The holder's sex.
    #[must_use]
    pub fn sex(&self) -> SexCode {
        match self.text(&self.format.layout().sex) {
            "M" => SexCode::Male,
            "F" => SexCode::Female,
            _ => SexCode::StatedX,
        }
    }

    /// The document number, without fillers.
    #[must_use]
    pub fn document_number(&self) -> String {
        let mut number = self.text(&self.format.layout().number).trim_end_matches('<').to_owned();
        if let Some(long) = self.long_number() {
            number.push_str(long.rest);
        }
        number
    }

    /// Whether the date of expiry is, or may be, this day.
    pub(in crate::notice) fn expires_on(&self, day: Day) -> bool {
        let (year, month, date) = day.two_digits();
        self.expiry().is_some_and(|expiry| {
            expiry.year.is_none_or(|known| known == year)
                && expiry.month.is_none_or(|known| known == month)
                && expiry.day.is_none_or(|known| known == date)
        })
    }

    /// What follows the nine characters of a long document number, and its check digit. A filler in place of the
    /// check digit says that the number goes on in the optional data, and that the digit follows it there.
    pub(super) fn long_number(&self) -> Option<LongNumber<'_>> {
        let layout = self.format.layout();
        let continuation = layout.continuation.as_ref()?;
        if self.character(layout.number.line, layout.number.to + 1) != '<' {
            return None;
        }
        let rest = self.text(continuation).split('<').next()?;
        let (rest, digit) = rest.split_at_checked(rest.len().checked_sub(1)?)?;
        let position = continuation.from + rest.len();
        (!rest.is_empty()).then_some(LongNumber { rest, digit: digit.chars().next()?, position })
    }

    /// Fields that hold what they cannot, in the order of the lines. Most of them no check digit covers.
    pub(super) fn forms(&self) -> Vec<MrzFault> {
        let layout = self.format.layout();
        let letter: fn(char) -> bool = |c| c.is_ascii_uppercase();
        let letters: fn(char) -> bool = |c| c.is_ascii_uppercase() || c == '<';
        let digits: fn(char) -> bool = |c| c.is_ascii_digit() || c == '<';
        let sex: fn(char) -> bool = |c| matches!(c, 'M' | 'F' | 'X' | '<');
        let kind = Field { to: layout.code.from, ..layout.code };
        let forms = [
            ("document code", &kind, letter, "a letter first, A-Z"),
            ("issuing State", &layout.issuer, letters, "A-Z and <"),
            ("name", &layout.name, letters, "A-Z and <"),
            ("nationality", &layout.nationality, letters, "A-Z and <"),
            (BIRTH, &layout.birth, digits, "0-9 and <"),
            ("sex", &layout.sex, sex, "M, F, X or <"),
            (EXPIRY, &layout.expiry, digits, "0-9 and <"),
        ];
        let mut faults: Vec<_> = forms
            .into_iter()
            .filter_map(|(name, field, fits, allowed)| {
                let at = self.text(field).chars().position(|c| !fits(c))?;
                let position = field.from + at;
                Some(MrzFault::Form { field: name, line: field.line, position, allowed })
            })
            .collect();
        for (name, field) in [(BIRTH, &layout.birth), (EXPIRY, &layout.expiry)] {
            let text = self.text(field);
            if text.chars().all(digits) && MrzDate::parse(text).is_none() {
                faults.push(MrzFault::Date { field: name, line: field.line, position: field.from });
            }
        }
        faults
    }
}

/// A code in a zone. Germany's is D, as nowhere else.
fn citizenship(code: &str) -> Option<Citizenship> {
    match code {
        "D" => "DEU".parse().ok(),
        code => code.parse().ok(),
    }
}

fn words(text: &str) -> String {
    text.split('<').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
