//! Machine-readable zones, with their check digits verified (ICAO Doc 9303, parts 3 to 7).

use std::borrow::Cow;
use std::fmt;

use serde_json::{Value, json};
use thiserror::Error;

use super::json::{Json, Node, Reader};

/// Why lines are not a machine-readable zone. It names the place and never repeats a line; lines and positions count
/// from 1.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MrzFault {
    /// Not the number and length of lines of any format.
    #[error(
        "an MRZ has 3 lines of 30 characters (TD1), 2 of 36 (TD2, MRV-B) or 2 of 44 (TD3, MRV-A); here are {lines} of \
         {}",
        list(lengths)
    )]
    Shape {
        /// How many lines there are.
        lines: usize,
        /// The lengths of the first three.
        lengths: Vec<usize>,
    },
    /// A character that an MRZ cannot hold.
    #[error("line {line}, position {position}: an MRZ holds A-Z, 0-9 and < only")]
    Character {
        /// Which line.
        line: usize,
        /// Where in it.
        position: usize,
    },
    /// A check digit that does not agree with what it covers.
    #[error(
        "line {line}, position {position}: the check digit of the {field} is {found} where {computed} would agree; \
         compare the {field} and the digit with the document"
    )]
    CheckDigit {
        /// What it covers.
        field: &'static str,
        /// Which line it stands on.
        line: usize,
        /// Where in it.
        position: usize,
        /// What stands there.
        found: char,
        /// What the field gives.
        computed: char,
    },
}

impl MrzFault {
    /// The line it is on, from 1; `None` where it is of the whole.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Shape { .. } => None,
            Self::Character { line, .. } | Self::CheckDigit { line, .. } => Some(*line),
        }
    }
}

fn list(lengths: &[usize]) -> String {
    lengths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The format of a machine-readable zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MrzFormat {
    /// Identity card of size 1 (part 5).
    Td1,
    /// Identity card of size 2 (part 6).
    Td2,
    /// Passport (part 4).
    Td3,
    /// Visa of size A (part 7).
    MrvA,
    /// Visa of size B (part 7).
    MrvB,
}

/// Positions `from` to `to` of a line, from 1, as Doc 9303 counts them.
struct Field {
    line: usize,
    from: usize,
    to: usize,
}

/// A check digit: what it is called, where it stands, and what it covers.
struct Check {
    name: &'static str,
    line: usize,
    position: usize,
    over: &'static [Field],
}

const fn field(line: usize, from: usize, to: usize) -> Field {
    Field { line, from, to }
}

const NUMBER: &str = "document number";
const PERSONAL: &str = "personal number";
const BIRTH: &str = "date of birth";
const EXPIRY: &str = "date of expiry";
const WHOLE: &str = "whole zone";

static TD1: [Check; 4] = [
    Check { name: NUMBER, line: 1, position: 15, over: &[field(1, 6, 14)] },
    Check { name: BIRTH, line: 2, position: 7, over: &[field(2, 1, 6)] },
    Check { name: EXPIRY, line: 2, position: 15, over: &[field(2, 9, 14)] },
    Check {
        name: WHOLE,
        line: 2,
        position: 30,
        over: &[field(1, 6, 30), field(2, 1, 7), field(2, 9, 15), field(2, 19, 29)],
    },
];
static TD2: [Check; 4] = [
    Check { name: NUMBER, line: 2, position: 10, over: &[field(2, 1, 9)] },
    Check { name: BIRTH, line: 2, position: 20, over: &[field(2, 14, 19)] },
    Check { name: EXPIRY, line: 2, position: 28, over: &[field(2, 22, 27)] },
    Check {
        name: WHOLE,
        line: 2,
        position: 36,
        over: &[field(2, 1, 10), field(2, 14, 20), field(2, 22, 35)],
    },
];
static TD3: [Check; 5] = [
    Check { name: NUMBER, line: 2, position: 10, over: &[field(2, 1, 9)] },
    Check { name: BIRTH, line: 2, position: 20, over: &[field(2, 14, 19)] },
    Check { name: EXPIRY, line: 2, position: 28, over: &[field(2, 22, 27)] },
    Check { name: PERSONAL, line: 2, position: 43, over: &[field(2, 29, 42)] },
    Check {
        name: WHOLE,
        line: 2,
        position: 44,
        over: &[field(2, 1, 10), field(2, 14, 20), field(2, 22, 43)],
    },
];
/// Both visas: they have no digit over the whole.
static MRV: [Check; 3] = [
    Check { name: NUMBER, line: 2, position: 10, over: &[field(2, 1, 9)] },
    Check { name: BIRTH, line: 2, position: 20, over: &[field(2, 14, 19)] },
    Check { name: EXPIRY, line: 2, position: 28, over: &[field(2, 22, 27)] },
];

impl MrzFormat {
    fn of(lines: &[String]) -> Option<Self> {
        let lengths: Vec<_> = lines.iter().map(String::len).collect();
        let is_visa = lines.first().is_some_and(|line| line.starts_with('V'));
        match (lengths.as_slice(), is_visa) {
            ([30, 30, 30], _) => Some(Self::Td1),
            ([36, 36], false) => Some(Self::Td2),
            ([36, 36], true) => Some(Self::MrvB),
            ([44, 44], false) => Some(Self::Td3),
            ([44, 44], true) => Some(Self::MrvA),
            _ => None,
        }
    }

    fn checks(self) -> &'static [Check] {
        match self {
            Self::Td1 => &TD1,
            Self::Td2 => &TD2,
            Self::Td3 => &TD3,
            Self::MrvA | Self::MrvB => &MRV,
        }
    }

    /// The document number's nine characters, and where it goes on when it is longer (parts 5 and 6).
    fn number(self) -> (Field, Option<Field>) {
        match self {
            Self::Td1 => (field(1, 6, 14), Some(field(1, 16, 30))),
            Self::Td2 => (field(2, 1, 9), Some(field(2, 29, 35))),
            Self::Td3 | Self::MrvA | Self::MrvB => (field(2, 1, 9), None),
        }
    }
}

/// The lines of a machine-readable zone whose check digits agree. `Debug` shows the format only.
#[derive(Clone, PartialEq, Eq)]
pub struct Mrz {
    format: MrzFormat,
    lines: Vec<String>,
}

impl Mrz {
    /// Reads the lines.
    ///
    /// # Errors
    /// Every [`MrzFault`] there is.
    pub fn new(lines: Vec<String>) -> Result<Self, Vec<MrzFault>> {
        let characters = characters(&lines);
        if !characters.is_empty() {
            return Err(characters);
        }
        let lengths = lines.iter().take(3).map(String::len).collect();
        let format =
            MrzFormat::of(&lines).ok_or_else(|| vec![MrzFault::Shape { lines: lines.len(), lengths }])?;
        let mrz = Self { format, lines };
        let faults: Vec<_> = format.checks().iter().filter_map(|check| mrz.fault(check)).collect();
        if faults.is_empty() { Ok(mrz) } else { Err(faults) }
    }

    /// Its format.
    #[must_use]
    pub fn format(&self) -> MrzFormat {
        self.format
    }

    /// Its lines.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The document number, without fillers.
    #[must_use]
    pub fn document_number(&self) -> String {
        let (principal, _) = self.format.number();
        let mut number = self.text(&principal).trim_end_matches('<').to_owned();
        if let Some((rest, _)) = self.long_number() {
            number.push_str(rest);
        }
        number
    }

    /// What follows the nine characters of a long document number, and its check digit. A filler in place of the
    /// check digit says that the number goes on in the optional data, and that the digit follows it there.
    fn long_number(&self) -> Option<(&str, char)> {
        let (_, optional) = self.format.number();
        let check = self.format.checks().iter().find(|check| check.name == NUMBER)?;
        if self.character(check.line, check.position) != '<' {
            return None;
        }
        let rest = self.text(&optional?).split('<').next()?;
        let (last, digit) = rest.split_at_checked(rest.len().checked_sub(1)?)?;
        (!last.is_empty()).then_some((last, digit.chars().next()?))
    }

    fn fault(&self, check: &Check) -> Option<MrzFault> {
        let mut found = self.character(check.line, check.position);
        let mut covered: String = check.over.iter().map(|field| self.text(field)).collect();
        if check.name == NUMBER
            && let Some((rest, digit)) = self.long_number()
        {
            covered.push_str(rest);
            found = digit;
        }
        // Part 4, section 4.2.2.2: where there is no personal number, its check digit may be a filler.
        let unused = check.name == PERSONAL && found == '<' && covered.bytes().all(|b| b == b'<');
        let computed = check_digit(&covered);
        let Check { name, line, position, .. } = *check;
        (found != computed && !unused).then_some(MrzFault::CheckDigit {
            field: name,
            line,
            position,
            found,
            computed,
        })
    }

    fn text(&self, field: &Field) -> &str {
        let line = self.lines.get(field.line.saturating_sub(1));
        line.and_then(|line| line.get(field.from.saturating_sub(1)..field.to)).unwrap_or_default()
    }

    fn character(&self, line: usize, position: usize) -> char {
        self.text(&field(line, position, position)).chars().next().unwrap_or('<')
    }
}

fn characters(lines: &[String]) -> Vec<MrzFault> {
    let allowed = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '<';
    let bad = |(line, text): (usize, &String)| {
        let position = text.chars().position(|c| !allowed(c))?;
        Some(MrzFault::Character { line: line + 1, position: position + 1 })
    };
    lines.iter().enumerate().filter_map(bad).collect()
}

/// Part 3, section 4.9: weights 7, 3, 1; letters count from 10; fillers as 0; modulo 10.
fn check_digit(text: &str) -> char {
    let value = |b: u8| match b {
        b'0'..=b'9' => u32::from(b - b'0'),
        b'A'..=b'Z' => u32::from(b - b'A') + 10,
        _ => 0,
    };
    let sum: u32 = text.bytes().zip([7, 3, 1].into_iter().cycle()).map(|(b, weight)| value(b) * weight).sum();
    char::from_digit(sum % 10, 10).unwrap_or('0')
}

impl fmt::Debug for Mrz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({:?})", self.format)
    }
}

impl Json for Mrz {
    fn rule() -> Cow<'static, str> {
        "write the lines of the machine-readable zone as they stand in the document: [\"…\", \"…\"]".into()
    }

    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let lines = match node {
            Node::Array(items) => items.iter().map(|item| match item {
                Node::Text(line) => Some(line.clone()),
                Node::Null | Node::Bool(_) | Node::Number(_) | Node::Array(_) | Node::Object(_) => None,
            }),
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Object(_) => {
                reader.mistake(node.excerpt(), &Self::rule());
                return None;
            }
        };
        let Some(lines) = lines.collect::<Option<Vec<_>>>() else {
            reader.mistake(node.excerpt(), &Self::rule());
            return None;
        };
        let faults = match Self::new(lines.clone()) {
            Ok(mrz) => return Some(mrz),
            Err(faults) => faults,
        };
        for fault in faults {
            match fault.line().map(|line| line.saturating_sub(1)) {
                None => reader.mistake("", &fault.to_string()),
                Some(index) => {
                    let value = lines.get(index).cloned().unwrap_or_default();
                    reader.within_item(index, |reader| reader.mistake(value, &fault.to_string()));
                }
            }
        }
        None
    }

    fn write(&self) -> Option<Value> {
        Some(self.lines.clone().into())
    }

    fn schema() -> Value {
        json!({
            "type": "array",
            "description": Self::rule(),
            "items": { "type": "string", "pattern": "^[A-Z0-9<]{30}$|^[A-Z0-9<]{36}$|^[A-Z0-9<]{44}$" },
            "minItems": 2,
            "maxItems": 3,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // The State and the persons of these zones are those that Doc 9303 invents for its specimens.
    const TD1_LINES: [&str; 3] = [
        "I<UTOD231458907<<<<<<<<<<<<<<<",
        "7408122F1204159UTO<<<<<<<<<<<6",
        "ERIKSSON<<ANNA<MARIA<<<<<<<<<<",
    ];
    const TD2_LINES: [&str; 2] =
        ["I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<", "D231458907UTO7408122F1204159<<<<<<<6"];
    const TD3_LINES: [&str; 2] =
        ["P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L898902C36UTO7408122F1204159ZE184226B<<<<<10"];
    const MRVA_LINES: [&str; 2] =
        ["V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L8988901C4XXX4009078F96121096ZE184226B<<<<<<"];
    const MRVB_LINES: [&str; 2] =
        ["V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<", "L8988901C4XXX4009078F9612109<<<<<<<<"];

    fn mrz(lines: &[&str]) -> Result<Mrz, Vec<MrzFault>> {
        Mrz::new(lines.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_specimens_of_doc_9303_verify() {
        for (lines, format, number) in [
            (TD1_LINES.as_slice(), MrzFormat::Td1, "D23145890"),
            (&TD2_LINES, MrzFormat::Td2, "D23145890"),
            (&TD3_LINES, MrzFormat::Td3, "L898902C3"),
            (&MRVA_LINES, MrzFormat::MrvA, "L8988901C"),
            (&MRVB_LINES, MrzFormat::MrvB, "L8988901C"),
        ] {
            let mrz = mrz(lines).unwrap_or_else(|faults| panic!("{format:?}: {faults:?}"));
            assert_eq!((mrz.format(), mrz.document_number().as_str()), (format, number));
        }
    }

    #[test]
    fn a_long_document_number_goes_on_in_the_optional_data() {
        // Number D23145890734: nine characters, a filler, the other three, their check digit.
        let line = "I<UTOD23145890<7349<<<<<<<<<<<";
        let digit = check_digit(&["D23145890<7349<<<<<<<<<<<", "7408122", "1204159", "<<<<<<<<<<<"].concat());
        let second = format!("7408122F1204159UTO<<<<<<<<<<<{digit}");
        assert_eq!(mrz(&[line, &second, TD1_LINES[2]]).unwrap().document_number(), "D23145890734");
        let faults = mrz(&[&line.replace("7349", "7359"), &second, TD1_LINES[2]]).unwrap_err();
        assert!(matches!(faults[0], MrzFault::CheckDigit { field: NUMBER, found: '9', .. }), "{faults:?}");
    }

    #[test]
    fn a_wrong_check_digit_is_named_with_its_place() {
        let altered = TD3_LINES[1].replace("7408122", "7408112");
        let faults = mrz(&[TD3_LINES[0], &altered]).unwrap_err();
        let names: Vec<_> = faults
            .iter()
            .map(|fault| match fault {
                MrzFault::CheckDigit { field, line: 2, position, .. } => (*field, *position),
                other => panic!("{other}"),
            })
            .collect();
        assert_eq!(names, [(BIRTH, 20), (WHOLE, 44)]);
        assert!(!faults[0].to_string().contains("740811"), "a fault repeats the line");
    }

    #[test]
    fn an_unused_personal_number_may_have_a_filler_for_its_digit() {
        let digit = |personal: &str| {
            let digit = check_digit(&["L898902C36", "7408122", "1204159", personal].concat());
            format!("L898902C36UTO7408122F1204159{personal}{digit}")
        };
        for personal in ["<<<<<<<<<<<<<<<", "<<<<<<<<<<<<<<0"] {
            assert!(mrz(&[TD3_LINES[0], &digit(personal)]).is_ok(), "{personal}");
        }
        assert!(mrz(&[TD3_LINES[0], &digit("ZE184226B<<<<<<")]).is_err());
    }

    #[test]
    fn what_is_not_an_mrz_is_refused() {
        assert!(matches!(mrz(&[]).unwrap_err()[0], MrzFault::Shape { lines: 0, .. }));
        assert!(matches!(mrz(&TD1_LINES[..2]).unwrap_err()[0], MrzFault::Shape { lines: 2, .. }));
        let lower = TD3_LINES[1].to_lowercase();
        assert_eq!(
            mrz(&[TD3_LINES[0], &lower]).unwrap_err()[0],
            MrzFault::Character { line: 2, position: 1 }
        );
        assert!(!format!("{:?}", mrz(&TD3_LINES).unwrap()).contains("ERIKSSON"));
    }

    proptest! {
        #[test]
        fn one_altered_digit_never_passes(position in 0..6_usize, by in 1..10_u8) {
            let mut line = TD3_LINES[1].as_bytes().to_vec();
            let place = 13 + position;
            line[place] = (line[place] - b'0' + by) % 10 + b'0';
            prop_assert!(mrz(&[TD3_LINES[0], std::str::from_utf8(&line).unwrap()]).is_err());
        }

        #[test]
        fn no_lines_make_it_stop(lines in prop::collection::vec("[A-Z0-9<]{30}|[V<A]{36}|[VP<0-9]{44}|\\PC{0,44}", 0..4)) {
            let _ = Mrz::new(lines);
        }
    }
}
