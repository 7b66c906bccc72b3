//! Bounded text and bounded lists.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde_json::{Value, json};

use super::json::{Json, Node, Reader, Word};
use super::mistake::Rule;

/// One line of text: 1 to `MAX` bytes of UTF-8, without control characters. `Debug` shows its length only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Line<const MAX: usize>(Box<str>);

/// Text of several lines: 1 to `MAX` bytes of UTF-8, without control characters but line feeds and tabs. `Debug`
/// shows its length only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prose<const MAX: usize>(Box<str>);

macro_rules! text {
    ($name:ident, $what:literal, $allowed:expr) => {
        impl<const MAX: usize> $name<MAX> {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<const MAX: usize> Word for $name<MAX> {
            fn rule() -> Cow<'static, str> {
                format!(concat!("write ", $what, " of 1 to {} bytes, without blanks around it"), MAX).into()
            }

            fn parse(text: &str) -> Result<Self, Rule> {
                let rule = |problem: &str| Rule::new(format!("{problem}; {}", <Self as Word>::rule()));
                let allowed: fn(char) -> bool = $allowed;
                if text.is_empty() {
                    return Err(rule("it is empty"));
                }
                if text.len() > MAX {
                    return Err(rule(&format!("it has {} bytes", text.len())));
                }
                if text.trim() != text {
                    return Err(rule("it begins or ends with a blank"));
                }
                if let Some(bad) = text.chars().find(|c| !allowed(*c) || is_bidi_override(*c)) {
                    return Err(rule(&format!("it holds the control character U+{:04X}", u32::from(bad))));
                }
                Ok(Self(text.into()))
            }

            fn text(&self) -> String {
                self.0.to_string()
            }

            fn schema() -> Value {
                json!({ "type": "string", "description": <Self as Word>::rule(), "minLength": 1, "maxLength": MAX })
            }
        }

        impl<const MAX: usize> std::str::FromStr for $name<MAX> {
            type Err = Rule;

            fn from_str(text: &str) -> Result<Self, Rule> {
                <Self as Word>::parse(text)
            }
        }

        impl<const MAX: usize> fmt::Debug for $name<MAX> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "({} bytes)", self.0.len())
            }
        }
    };
}

text!(Line, "one line of text", |c| !c.is_control());
text!(Prose, "text", |c| !c.is_control() || matches!(c, '\n' | '\t'));

/// Characters that make text be shown in another order than it is stored, by which a reader could be misled
/// (Unicode Technical Report 36, section 2.5). The marks that scripts such as Arabic need are not among them.
fn is_bidi_override(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// `MIN` to `MAX` entries, none of them twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T, const MIN: usize, const MAX: usize>(Vec<T>);

impl<T: PartialEq, const MIN: usize, const MAX: usize> List<T, MIN, MAX> {
    /// Takes the entries.
    ///
    /// # Errors
    /// [`Rule`] where there are too few, too many, or one twice.
    pub fn new(entries: Vec<T>) -> Result<Self, Rule> {
        let got = entries.len();
        if got < MIN || got > MAX {
            return Err(Rule::new(format!("{got} entries stand here; {MIN} to {MAX} are allowed")));
        }
        match first_twice(&entries) {
            Some(index) => Err(Rule::new(format!("entry {index} repeats an earlier one"))),
            None => Ok(Self(entries)),
        }
    }
}

impl<T, const MAX: usize> Default for List<T, 0, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MIN: usize, const MAX: usize> List<T, MIN, MAX> {
    /// The entries.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MIN: usize, const MAX: usize> Deref for List<T, MIN, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

fn first_twice<T: PartialEq>(entries: &[T]) -> Option<usize> {
    entries
        .iter()
        .enumerate()
        .position(|(index, entry)| entries.iter().take(index).any(|earlier| earlier == entry))
}

impl<T: Json + PartialEq, const MIN: usize, const MAX: usize> Json for List<T, MIN, MAX> {
    const OPTIONAL: bool = MIN == 0;

    fn rule() -> Cow<'static, str> {
        format!("write a list of {MIN} to {MAX} entries: [ … ]; for each, {}", T::rule()).into()
    }

    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let Node::Array(items) = node else {
            reader.mistake(node.excerpt(), &Self::rule());
            return None;
        };
        // Too many are counted, not read: what is wrong with each would bury the reason.
        if items.len() < MIN || items.len() > MAX {
            let rule = format!("{} entries stand here; {MIN} to {MAX} are allowed", items.len());
            reader.mistake("", &rule);
            return None;
        }
        let read = |(index, item)| reader.within_item(index, |reader| T::read(reader, item));
        let entries: Vec<Option<T>> = items.iter().enumerate().map(read).collect();
        let entries = entries.into_iter().collect::<Option<Vec<T>>>()?;
        if let Some(index) = first_twice(&entries) {
            let value = items.get(index).map(Node::excerpt).unwrap_or_default();
            reader.within_item(index, |reader| reader.mistake(value, "it repeats an earlier entry"));
            return None;
        }
        Some(Self(entries))
    }

    fn absent(reader: &mut Reader<'_>) -> Option<Self> {
        if MIN == 0 {
            return Some(Self(Vec::new()));
        }
        reader.mistake("", &format!("missing: {}", Self::rule()));
        None
    }

    fn write(&self) -> Option<Value> {
        let entries: Vec<_> = self.0.iter().filter_map(Json::write).collect();
        (MIN > 0 || !entries.is_empty()).then_some(Value::Array(entries))
    }

    fn schema() -> Value {
        json!({ "type": "array", "items": T::schema(), "minItems": MIN, "maxItems": MAX, "uniqueItems": true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_bounded_and_cannot_mislead_its_reader() {
        assert!("Example-Specimen Ødegård عربي".parse::<Line<64>>().is_ok());
        for bad in ["", " x", "x ", "a\nb", "a\u{7}b", "a\u{202E}b", "12345"] {
            assert!(bad.parse::<Line<4>>().is_err(), "{bad:?} was taken for a line of 4 bytes");
        }
        assert!("first\n\tsecond".parse::<Prose<64>>().is_ok());
        assert!("first\r\nsecond".parse::<Prose<64>>().is_err());
    }

    #[test]
    fn a_rule_and_debug_do_not_repeat_the_text() {
        let rule = "secret name\u{7}".parse::<Line<64>>().unwrap_err();
        assert!(!rule.to_string().contains("secret"), "{rule}");
        assert_eq!(format!("{:?}", "secret name".parse::<Line<64>>().unwrap()), "(11 bytes)");
    }

    #[test]
    fn a_list_has_bounds_and_no_entry_twice() {
        assert!(List::<u8, 1, 2>::new(vec![]).is_err());
        assert!(List::<u8, 1, 2>::new(vec![1, 2, 3]).is_err());
        assert!(List::<u8, 1, 2>::new(vec![1, 1]).is_err());
        assert_eq!(&*List::<u8, 1, 2>::new(vec![1, 2]).unwrap(), &[1, 2]);
    }
}
