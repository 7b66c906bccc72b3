//! The author's JSON as a tree that keeps what a map would lose: a field written twice.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::notice::mistake::{Mistake, excerpt};

/// Longest notice in JSON, in bytes.
pub const JSON_BYTES_MAX: usize = 1024 * 1024;

/// One JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Node {
    /// Reads one JSON value and nothing after it.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, Mistake> {
        if json.len() > JSON_BYTES_MAX {
            let rule = format!("it has {} bytes; a notice has at most {JSON_BYTES_MAX}", json.len());
            return Err(Mistake::new("notice", "", &rule));
        }
        let mut reader = serde_json::Deserializer::from_slice(json);
        let node = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            // `?` stands for a place inside an object whose field was not read to its end.
            let path = error.path().to_string();
            not_json(&excerpt(path.trim_end_matches('?').trim_end_matches('.')), error.inner())
        })?;
        reader.end().map_err(|error| not_json("", &error))?;
        Ok(node)
    }

    /// The beginning of the value, for a mistake.
    pub(crate) fn excerpt(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => excerpt(text),
            Self::Array(items) => format!("[…] ({} items)", items.len()),
            Self::Object(fields) => format!("{{…}} ({} fields)", fields.len()),
        }
    }
}

/// Where no name that can be shown leads to it, it is of the whole.
fn not_json(path: &str, error: &serde_json::Error) -> Mistake {
    let path = if path.is_empty() { "notice" } else { path };
    Mistake::new(path, "", &format!("this is not JSON: {error}"))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        serde_json::Number::from_f64(value).map(Node::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Node::Array(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(field) = fields.next_entry()? {
            nodes.push(field);
        }
        Ok(Node::Object(nodes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_json_is_reported_with_its_place() {
        let mistake = Node::parse(br#"{"parts": [{"id": "p1" "role": 1}]}"#).unwrap_err();
        assert_eq!(mistake.path, "parts[0]");
        assert!(mistake.rule.contains("line 1 column 24"), "{}", mistake.rule);
        let nameless = Node::parse("{\"\u{7f}\":x}".as_bytes()).unwrap_err();
        assert_eq!(nameless.path, "notice", "a name that cannot be shown is no place");
        for bad in ["", "{", "{} {}", "nul", "[1,]", "{\"a\":NaN}"] {
            assert!(Node::parse(bad.as_bytes()).is_err(), "`{bad}` was taken for JSON");
        }
    }

    #[test]
    fn nesting_and_length_are_bounded() {
        assert!(Node::parse("[".repeat(100_000).as_bytes()).is_err());
        let long = vec![b' '; JSON_BYTES_MAX + 1];
        assert!(Node::parse(&long).unwrap_err().rule.contains("at most 1048576"));
    }

    #[test]
    fn a_field_written_twice_is_kept_twice() {
        let Ok(Node::Object(fields)) = Node::parse(br#"{"a":1,"a":2}"#) else { panic!("not an object") };
        assert_eq!(fields.len(), 2);
    }
}
