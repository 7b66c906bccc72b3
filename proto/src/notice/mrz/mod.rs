//! Machine-readable zones, read and with every check digit verified (ICAO Doc 9303, parts 3 to 7).
//!
//! Written against Doc 9303, eighth edition; its specimens are the tests. `layout` says where each format has what,
//! `read` what the fields say. A zone whose check digits do not agree is refused even where the document is forged:
//! far more often it was copied wrongly. What a forged zone says is told in a remark.

mod layout;
mod read;

use std::borrow::Cow;
use std::fmt;

use serde_json::{Value, json};
use thiserror::Error;

use super::json::{Json, Node, Reader};
pub use layout::MrzFormat;
use layout::{Check, Field, NUMBER, PERSONAL};
pub use read::MrzDate;

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
    /// A character that the field at this place cannot hold, though an MRZ can.
    #[error(
        "line {line}, position {position}: the {field} holds {allowed} only; compare it with the document"
    )]
    Form {
        /// What stands there.
        field: &'static str,
        /// Which line.
        line: usize,
        /// Where in it.
        position: usize,
        /// What it may hold.
        allowed: &'static str,
    },
    /// Six characters that are no date.
    #[error(
        "line {line}, position {position}: the {field} is no date YYMMDD, in which << stands for what is not known; \
         compare it with the document"
    )]
    Date {
        /// Which date.
        field: &'static str,
        /// Which line.
        line: usize,
        /// Where it begins.
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
    /// What is wrong and where, without any character of the zone: for where personal data may not go.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Shape { lines, .. } => format!("{lines} lines of no format"),
            Self::Character { line, position } => {
                format!("line {line}, position {position}: no such character")
            }
            Self::Form { field, line, position, .. } => format!("line {line}, position {position}: {field}"),
            Self::Date { field, line, position } => {
                format!("line {line}, position {position}: {field} is no date")
            }
            Self::CheckDigit { field, line, position, .. } => {
                format!("line {line}, position {position}: check digit of the {field}")
            }
        }
    }

    /// The line it is on, from 1; `None` where it is of the whole.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Shape { .. } => None,
            Self::Character { line, .. }
            | Self::Form { line, .. }
            | Self::Date { line, .. }
            | Self::CheckDigit { line, .. } => Some(*line),
        }
    }
}

fn list(lengths: &[usize]) -> String {
    lengths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
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
        let mut faults = mrz.forms();
        faults.extend(format.layout().checks.iter().filter_map(|check| mrz.fault(check)));
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

    /// The check digit, where it does not agree with what it covers.
    fn fault(&self, check: &Check) -> Option<MrzFault> {
        let Check { name, line, mut position, over } = *check;
        let mut found = self.character(line, position);
        let mut covered: String = over.iter().map(|field| self.text(field)).collect();
        if name == NUMBER
            && let Some(long) = self.long_number()
        {
            covered.push_str(long.rest);
            (found, position) = (long.digit, long.position);
        }
        // Part 4, section 4.2.2.2: where there is no personal number, its check digit may be a filler.
        let unused = name == PERSONAL && found == '<' && covered.bytes().all(|b| b == b'<');
        let computed = check_digit(&covered);
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
        self.text(&Field { line, from: position, to: position }).chars().next().unwrap_or('<')
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
mod tests;
