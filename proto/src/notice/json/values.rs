//! The JSON form of values that are not defined by a macro.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::{Json, Node, Reader, Word};
use crate::directory::Function;
use crate::envelope::{NoticeKind, PortionIndex, Precedence};
use crate::id::{AgencyId, Digest, NoticeId, State, Timestamp};
use crate::label::Label;
use crate::notice::mistake::Rule;
use crate::wire::limits::Limits;

/// Reads a string, by `parse`, whose error is the rule that was broken.
pub(in crate::notice) fn read_text<T>(
    reader: &mut Reader<'_>,
    node: &Node,
    rule: &str,
    parse: impl FnOnce(&Reader<'_>, &str) -> Result<T, String>,
) -> Option<T> {
    let parsed = match node {
        Node::Text(text) => parse(reader, text),
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Array(_) | Node::Object(_) => {
            Err(format!("this must be a string: {rule}"))
        }
    };
    parsed.map_err(|rule| reader.mistake(node.excerpt(), &rule)).ok()
}

impl<T: Json> Json for Option<T> {
    const OPTIONAL: bool = true;

    fn rule() -> Cow<'static, str> {
        T::rule()
    }

    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        T::read(reader, node).map(Some)
    }

    fn absent(_: &mut Reader<'_>) -> Option<Self> {
        Some(None)
    }

    fn write(&self) -> Option<Value> {
        self.as_ref().and_then(Json::write)
    }

    fn schema() -> Value {
        T::schema()
    }
}

impl Json for bool {
    const OPTIONAL: bool = true;

    fn rule() -> Cow<'static, str> {
        "write true or false, without quotation marks".into()
    }

    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let Node::Bool(value) = node else {
            reader.mistake(node.excerpt(), &Self::rule());
            return None;
        };
        Some(*value)
    }

    fn absent(_: &mut Reader<'_>) -> Option<Self> {
        Some(false)
    }

    fn write(&self) -> Option<Value> {
        self.then_some(Value::Bool(true))
    }

    fn schema() -> Value {
        json!({ "type": "boolean", "default": false })
    }
}

impl Json for u64 {
    fn rule() -> Cow<'static, str> {
        "write a whole number, 1 or more, without quotation marks".into()
    }

    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let number = match node {
            Node::Number(number) => number.as_u64().filter(|number| *number > 0),
            Node::Null | Node::Bool(_) | Node::Text(_) | Node::Array(_) | Node::Object(_) => None,
        };
        if number.is_none() {
            reader.mistake(node.excerpt(), &Self::rule());
        }
        number
    }

    fn write(&self) -> Option<Value> {
        Some((*self).into())
    }

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 1 })
    }
}

/// The place of a portion in its header.
impl Json for PortionIndex {
    fn rule() -> Cow<'static, str> {
        "write the number of a portion, from 0, without quotation marks".into()
    }

    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let number = match node {
            Node::Number(number) => number.as_u64().and_then(|number| usize::try_from(number).ok()),
            Node::Null | Node::Bool(_) | Node::Text(_) | Node::Array(_) | Node::Object(_) => None,
        };
        let index = number.filter(|number| *number < Limits::DEFAULT.portions_max).and_then(Self::new);
        if index.is_none() {
            reader.mistake(node.excerpt(), &Self::rule());
        }
        index
    }

    fn write(&self) -> Option<Value> {
        Some(self.get().into())
    }

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 0, "maximum": Limits::DEFAULT.portions_max - 1 })
    }
}

impl Json for Timestamp {
    fn rule() -> Cow<'static, str> {
        "write a time by RFC 3339, such as 2035-06-01T00:00:00Z".into()
    }

    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let rule = Self::rule();
        read_text(reader, node, &rule, |_, text| text.parse().map_err(|_| rule.to_string()))
    }

    fn write(&self) -> Option<Value> {
        Some(self.to_string().into())
    }

    fn schema() -> Value {
        json!({ "type": "string", "format": "date-time" })
    }
}

impl Json for Digest {
    fn rule() -> Cow<'static, str> {
        "write a SHA-256 in 64 hexadecimal digits".into()
    }

    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let rule = Self::rule();
        read_text(reader, node, &rule, |_, text| text.parse().map_err(|_| rule.to_string()))
    }

    fn write(&self) -> Option<Value> {
        Some(self.to_string().into())
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^[0-9A-Fa-f]{64}$" })
    }
}

/// A banner, under the policy of the exchange.
impl Json for Label {
    fn rule() -> Cow<'static, str> {
        "write a banner such as SECRET//REL TO FRA, KEN//ORCON".into()
    }

    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        read_text(reader, node, &Self::rule(), |reader, text| {
            Self::parse_banner(reader.policy().clone(), text).map_err(|error| error.to_string())
        })
    }

    fn write(&self) -> Option<Value> {
        Some(self.to_string().into())
    }

    fn schema() -> Value {
        json!({ "type": "string", "description": Self::rule() })
    }
}

/// Identifiers of the exchange. Their own errors repeat the value; these rules do not.
macro_rules! id_word {
    ($type:ty, $rule:literal) => {
        impl Word for $type {
            fn rule() -> Cow<'static, str> {
                $rule.into()
            }

            fn parse(text: &str) -> Result<Self, Rule> {
                text.parse().map_err(|_| Rule::new($rule))
            }

            fn text(&self) -> String {
                self.to_string()
            }
        }
    };
}

id_word!(State, "write an ISO 3166-1 alpha-3 code such as FRA, or an ICAO organisation such as XPO");
id_word!(AgencyId, "write <state>/<unit> in lower case, such as fra/ncb");
id_word!(NoticeId, "write the id of a notice: a version 7 UUID");

super::code_json!(Function);
super::code_json!(NoticeKind);
super::code_json!(Precedence);
