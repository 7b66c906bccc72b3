//! Reading and writing the JSON form, so that the author learns of every mistake at once.
//!
//! serde's own way of reading stops at the first mistake, so the author's JSON is first read into a tree
//! ([`Node`], by serde) and then walked by a [`Reader`], which notes each mistake with its path and goes on. One
//! definition of a type, by [`record`] or [`codes`], gives its reader, its writer and its JSON Schema, so the three
//! cannot disagree.

mod macros;
mod node;
mod values;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

pub(super) use macros::{code_json, codes, record, word};
pub use node::JSON_BYTES_MAX;
pub(super) use node::Node;
pub(super) use values::read_text;

use super::mistake::{Mistake, Rule};
use super::safeguards::Safeguard;
use crate::label::PolicyId;

/// Most mistakes of reading that are told at once. A mistake takes a hundred times the bytes it was made with.
const MISTAKES_MAX: usize = 256;

/// Names of fields by which persons could be profiled on a discriminatory ground. No part has any of them; whoever
/// writes one learns that it is not forgotten but left out on purpose.
const PROFILING: [&str; 20] = [
    "belief",
    "caste",
    "clan",
    "colour",
    "color",
    "creed",
    "denomination",
    "ethnic_group",
    "ethnicity",
    "faith",
    "gender_identity",
    "political_opinion",
    "race",
    "religion",
    "religious_affiliation",
    "sect",
    "sexual_orientation",
    "skin_colour",
    "tribe",
    "skin_color",
];

/// Walks the tree and notes mistakes.
pub(super) struct Reader<'a> {
    /// The policy under which labels have their meaning.
    policy: &'a PolicyId,
    path: String,
    mistakes: Vec<Mistake>,
    /// Mistakes beyond [`MISTAKES_MAX`].
    untold: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(policy: &'a PolicyId) -> Self {
        Self { policy, path: String::new(), mistakes: Vec::new(), untold: 0 }
    }

    pub(super) fn into_mistakes(mut self) -> Vec<Mistake> {
        if self.untold > 0 {
            let rule = format!("{} further mistakes are not told; mend these first", self.untold);
            self.mistakes.push(Mistake::new("notice", "", &rule));
        }
        self.mistakes
    }

    pub(super) fn policy(&self) -> &PolicyId {
        self.policy
    }

    /// Notes a mistake where the reader stands.
    pub(super) fn mistake(&mut self, value: impl ToString, rule: &str) {
        let path = if self.path.is_empty() { "notice" } else { &self.path };
        let mistake = Mistake::new(path, value, rule);
        self.note(mistake);
    }

    /// Notes, where the reader stands, what falls short of a safeguard.
    fn refuse(&mut self, safeguard: Safeguard, value: impl ToString, rule: &str) {
        self.note(Mistake::against(safeguard, &self.path, value, rule));
    }

    fn note(&mut self, mistake: Mistake) {
        if self.mistakes.len() < MISTAKES_MAX {
            self.mistakes.push(mistake);
        } else {
            self.untold += 1;
        }
    }

    /// Reads what stands in a field.
    pub(super) fn within<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let len = self.path.len();
        if len > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        let out = read(self);
        self.path.truncate(len);
        out
    }

    /// Reads what stands at a place of a list.
    pub(super) fn within_item<T>(&mut self, index: usize, read: impl FnOnce(&mut Self) -> T) -> T {
        let len = self.path.len();
        // Writing to a String does not fail.
        let _ = write!(self.path, "[{index}]");
        let out = read(self);
        self.path.truncate(len);
        out
    }

    /// The fields of an object, after noting those that are unknown or stand there twice. `None` where `node` is no
    /// object.
    pub(super) fn fields<'n>(&mut self, node: &'n Node, known: &[&str]) -> Option<Fields<'n>> {
        let Node::Object(fields) = node else {
            self.mistake(node.excerpt(), "write an object: {…}");
            return None;
        };
        let mut seen = BTreeSet::new();
        for (name, value) in fields {
            let shown = super::mistake::excerpt(name);
            if PROFILING.contains(&name.to_lowercase().as_str()) {
                // What stands there is not repeated: it is what must not be recorded.
                let rule =
                    "there is no such field and there will be none: persons are not profiled; take it off";
                self.within(&shown, |reader| reader.refuse(Safeguard::NoProfiling, "", rule));
            } else if !known.contains(&name.as_str()) {
                let rule = format!("there is no such field; the fields here are {}", known.join(", "));
                self.within(&shown, |reader| reader.mistake(value.excerpt(), &rule));
            } else if !seen.insert(name) {
                self.within(&shown, |reader| reader.mistake(value.excerpt(), "the field stands here twice"));
            }
        }
        Some(Fields(fields))
    }
}

/// The fields of an object.
pub(super) struct Fields<'n>(&'n [(String, Node)]);

impl<'n> Fields<'n> {
    /// The fields of an object, whatever they are; none where `node` is no object.
    pub(super) fn of(node: &'n Node) -> Self {
        match node {
            Node::Object(fields) => Self(fields),
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Array(_) => Self(&[]),
        }
    }

    /// What stands in a field.
    pub(super) fn node(&self, name: &str) -> Option<&Node> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, node)| node)
    }

    /// Reads a field, or what its absence means.
    pub(super) fn read<T: Json>(&self, reader: &mut Reader<'_>, name: &str) -> Option<T> {
        reader.within(name, |reader| match self.node(name) {
            Some(node) => T::read(reader, node),
            None => T::absent(reader),
        })
    }
}

/// A type with a JSON form.
pub(super) trait Json: Sized {
    /// Whether the field may be left out.
    const OPTIONAL: bool = false;

    /// What may be written.
    fn rule() -> Cow<'static, str>;

    /// Reads a value; `None` after noting every mistake in it.
    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self>;

    /// What it means that the field is not there.
    fn absent(reader: &mut Reader<'_>) -> Option<Self> {
        reader.mistake("", &format!("missing: {}", Self::rule()));
        None
    }

    /// The value; `None` where the field is left out.
    fn write(&self) -> Option<Value>;

    /// Its JSON Schema (draft 2020-12).
    fn schema() -> Value;
}

/// A type whose JSON form is an object, so that its fields can stand beside others.
pub(super) trait Record: Json {
    /// The names of its fields.
    const FIELDS: &'static [&'static str];

    /// Reads the fields.
    fn read_fields(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Self>;

    /// Writes the fields.
    fn write_fields(&self, object: &mut Map<String, Value>);

    /// What the schema says of it, and of each field.
    fn describe() -> (&'static str, Vec<Property>);
}

/// One field in a schema.
pub(super) struct Property {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) required: bool,
    pub(super) schema: Value,
}

/// The schema of an object with these fields and no others.
pub(super) fn object_schema(about: &str, properties: Vec<Property>) -> Value {
    let required: Vec<_> = properties.iter().filter(|property| property.required).map(|p| p.name).collect();
    let mut fields = Map::new();
    for Property { name, about, mut schema, .. } in properties {
        // The field says what it is for; its type adds what may be written.
        let rule = schema.get("description").and_then(Value::as_str).unwrap_or_default();
        let text = format!("{} {rule}", about.trim());
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("description".to_owned(), text.trim().into());
        }
        fields.insert(name.to_owned(), schema);
    }
    json!({
        "type": "object",
        "description": about.trim(),
        "properties": fields,
        "required": required,
        "additionalProperties": false,
    })
}

/// Writes a field unless it is left out.
pub(super) fn write_field(object: &mut Map<String, Value>, name: &str, value: &impl Json) {
    if let Some(value) = value.write() {
        object.insert(name.to_owned(), value);
    }
}

/// A value that is one string, in JSON and on the wire.
pub(crate) trait Word: Sized {
    /// What may be written.
    fn rule() -> Cow<'static, str>;

    /// Reads it.
    fn parse(text: &str) -> Result<Self, Rule>;

    /// The string.
    fn text(&self) -> String;

    /// Its JSON Schema.
    fn schema() -> Value {
        json!({ "type": "string", "description": Self::rule() })
    }
}

impl<T: Word> Json for T {
    fn rule() -> Cow<'static, str> {
        <T as Word>::rule()
    }

    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        read_text(reader, node, &<T as Word>::rule(), |_, text| {
            T::parse(text).map_err(|rule| rule.to_string())
        })
    }

    fn write(&self) -> Option<Value> {
        Some(self.text().into())
    }

    fn schema() -> Value {
        <T as Word>::schema()
    }
}
