//! Parts: the smallest units of a notice's content.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use super::biometric::Biometric;
use super::custody::Custody;
use super::followup::{Correction, ReleaseDecision, ReleaseRequest, Response, Withdrawal};
use super::grounds::Grounds;
use super::json::{
    Fields, Json, Node, Property, Reader, Record, Word, codes, object_schema, word, write_field,
};
use super::mistake::Rule;
use super::movement::Movement;
use super::person::Person;
use super::remark::Remark;
use crate::label::Label;
use crate::receipt::SignedReceipt;

/// Longest local id, in bytes.
pub const LOCAL_ID_BYTES_MAX: usize = 8;

const ID_RULE: &str = "write a short id for references within this notice, such as p1: 1 to 8 of a-z and 0-9, \
    beginning with a letter";
/// Fields that stand in a part of any type.
const COMMON: [&str; 3] = ["type", "id", "label"];

/// The name by which parts of one notice refer to each other: `p1`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalId(Box<str>);

impl Word for LocalId {
    fn rule() -> Cow<'static, str> {
        ID_RULE.into()
    }

    fn parse(text: &str) -> Result<Self, Rule> {
        let valid = text.len() <= LOCAL_ID_BYTES_MAX
            && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if valid { Ok(Self(text.into())) } else { Err(Rule::new(ID_RULE)) }
    }

    fn text(&self) -> String {
        self.0.to_string()
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^[a-z][a-z0-9]{0,7}$", "description": ID_RULE })
    }
}

word!(LocalId);

impl fmt::Debug for LocalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

codes! {
    /// What a part is; `type` in JSON.
    pub enum PartType {
        /// A movement.
        Movement = "movement",
        /// A person.
        Person = "person",
        /// Custody.
        Custody = "custody",
        /// Grounds.
        Grounds = "grounds",
        /// A remark.
        Remark = "remark",
        /// Biometric data.
        Biometric = "biometric",
        /// What a RESPONSE says.
        Response = "response",
        /// What a CORRECTION says.
        Correction = "correction",
        /// What a WITHDRAWAL says.
        Withdrawal = "withdrawal",
        /// What a RELEASE_REQUEST asks.
        ReleaseRequest = "release_request",
        /// What a RELEASE_DECISION answers.
        ReleaseDecision = "release_decision",
        /// The receipt that a RECEIPT carries; nodes issue them, authors do not write them.
        Receipt = "receipt",
    }
}

impl PartType {
    /// The word for several of them.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Movement => "movements",
            Self::Person => "persons",
            Self::Custody => "custodies",
            Self::Grounds => "grounds",
            Self::Remark => "remarks",
            Self::Biometric => "biometrics",
            Self::Response => "responses",
            Self::Correction => "corrections",
            Self::Withdrawal => "withdrawals",
            Self::ReleaseRequest => "release requests",
            Self::ReleaseDecision => "release decisions",
            Self::Receipt => "receipts",
        }
    }
}

/// What a part says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A movement.
    Movement(Box<Movement>),
    /// A person.
    Person(Box<Person>),
    /// Custody.
    Custody(Box<Custody>),
    /// Grounds.
    Grounds(Box<Grounds>),
    /// A remark.
    Remark(Remark),
    /// Biometric data.
    Biometric(Box<Biometric>),
    /// What a RESPONSE says.
    Response(Response),
    /// What a CORRECTION says.
    Correction(Correction),
    /// What a WITHDRAWAL says.
    Withdrawal(Withdrawal),
    /// What a RELEASE_REQUEST asks.
    ReleaseRequest(Box<ReleaseRequest>),
    /// What a RELEASE_DECISION answers.
    ReleaseDecision(Box<ReleaseDecision>),
    /// The receipt that a RECEIPT carries.
    Receipt(Box<SignedReceipt>),
}

/// Runs an expression for the record of whichever variant it is; a receipt, which is no record, has its own.
macro_rules! for_record {
    ($content:expr, $record:ident => $then:expr, receipt $receipt:ident => $otherwise:expr) => {
        match $content {
            Content::Movement($record) => $then,
            Content::Person($record) => $then,
            Content::Custody($record) => $then,
            Content::Grounds($record) => $then,
            Content::Remark($record) => $then,
            Content::Biometric($record) => $then,
            Content::Response($record) => $then,
            Content::Correction($record) => $then,
            Content::Withdrawal($record) => $then,
            Content::ReleaseRequest($record) => $then,
            Content::ReleaseDecision($record) => $then,
            Content::Receipt($receipt) => $otherwise,
        }
    };
}

impl Content {
    /// What type of part it is.
    #[must_use]
    pub fn part_type(&self) -> PartType {
        match self {
            Self::Movement(_) => PartType::Movement,
            Self::Person(_) => PartType::Person,
            Self::Custody(_) => PartType::Custody,
            Self::Grounds(_) => PartType::Grounds,
            Self::Remark(_) => PartType::Remark,
            Self::Biometric(_) => PartType::Biometric,
            Self::Response(_) => PartType::Response,
            Self::Correction(_) => PartType::Correction,
            Self::Withdrawal(_) => PartType::Withdrawal,
            Self::ReleaseRequest(_) => PartType::ReleaseRequest,
            Self::ReleaseDecision(_) => PartType::ReleaseDecision,
            Self::Receipt(_) => PartType::Receipt,
        }
    }

    /// The movement, if it is one.
    #[must_use]
    pub fn as_movement(&self) -> Option<&Movement> {
        if let Self::Movement(movement) = self { Some(movement) } else { None }
    }

    /// The person, if it is one.
    #[must_use]
    pub fn as_person(&self) -> Option<&Person> {
        if let Self::Person(person) = self { Some(person) } else { None }
    }

    /// The grounds, if it is such.
    #[must_use]
    pub fn as_grounds(&self) -> Option<&Grounds> {
        if let Self::Grounds(grounds) = self { Some(grounds) } else { None }
    }

    /// The part of the same notice it is about, where it is about one.
    #[must_use]
    pub fn about(&self) -> Option<&LocalId> {
        match self {
            Self::Custody(custody) => Some(&custody.about),
            Self::Grounds(grounds) => Some(&grounds.about),
            Self::Remark(remark) => remark.about.as_ref(),
            Self::Biometric(biometric) => Some(&biometric.about),
            Self::Movement(_)
            | Self::Person(_)
            | Self::Response(_)
            | Self::Correction(_)
            | Self::Withdrawal(_)
            | Self::ReleaseRequest(_)
            | Self::ReleaseDecision(_)
            | Self::Receipt(_) => None,
        }
    }

    fn read(reader: &mut Reader<'_>, part_type: PartType, node: &Node) -> Option<Self> {
        fn record<T: Record>(reader: &mut Reader<'_>, node: &Node) -> Option<T> {
            let known: Vec<_> = COMMON.iter().chain(T::FIELDS).copied().collect();
            let fields = reader.fields(node, &known)?;
            T::read_fields(reader, &fields)
        }
        match part_type {
            PartType::Movement => record(reader, node).map(|part| Self::Movement(Box::new(part))),
            PartType::Person => record(reader, node).map(|part| Self::Person(Box::new(part))),
            PartType::Custody => record(reader, node).map(|part| Self::Custody(Box::new(part))),
            PartType::Grounds => record(reader, node).map(|part| Self::Grounds(Box::new(part))),
            PartType::Remark => record(reader, node).map(Self::Remark),
            PartType::Biometric => record(reader, node).map(|part| Self::Biometric(Box::new(part))),
            PartType::Response => record(reader, node).map(Self::Response),
            PartType::Correction => record(reader, node).map(Self::Correction),
            PartType::Withdrawal => record(reader, node).map(Self::Withdrawal),
            PartType::ReleaseRequest => record(reader, node).map(|part| Self::ReleaseRequest(Box::new(part))),
            PartType::ReleaseDecision => {
                record(reader, node).map(|part| Self::ReleaseDecision(Box::new(part)))
            }
            PartType::Receipt => {
                let rule = "receipts are issued and signed by nodes; they are not written by hand";
                reader.within("type", |reader| reader.mistake(PartType::Receipt, rule));
                None
            }
        }
    }
}

/// One part under its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its id, where others refer to it.
    pub id: Option<LocalId>,
    /// Its label.
    pub label: Label,
    /// What it says.
    pub content: Content,
}

impl Part {
    /// The JSON form.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        write_field(&mut object, "type", &self.content.part_type());
        write_field(&mut object, "id", &self.id);
        write_field(&mut object, "label", &self.label);
        for_record!(&self.content, record => record.write_fields(&mut object), receipt receipt => {
            object.insert("receipt".to_owned(), BASE64.encode(receipt.encode()).into());
        });
        Value::Object(object)
    }
}

/// A part as far as it could be read, so that rules about the whole can be checked although some of it is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) part_type: Option<PartType>,
    /// `Some(None)` where there is none; `None` where it cannot be read.
    pub(super) id: Option<Option<LocalId>>,
    /// `Some(None)` where the notice's default label is to be taken; `None` where the label cannot be read.
    pub(super) label: Option<Option<Label>>,
    pub(super) content: Option<Content>,
}

impl Slot {
    pub(super) fn of(part: &Part) -> Self {
        Self {
            part_type: Some(part.content.part_type()),
            id: Some(part.id.clone()),
            label: Some(Some(part.label.clone())),
            content: Some(part.content.clone()),
        }
    }

    /// The id, where there is one and it was read.
    pub(super) fn id(&self) -> Option<&LocalId> {
        self.id.as_ref().and_then(Option::as_ref)
    }

    /// Whether it could not be read and is, or may be, of this type.
    pub(super) fn is_unread(&self, part_type: PartType) -> bool {
        self.content.is_none() && self.part_type.is_none_or(|known| known == part_type)
    }

    /// The part, where all of it was read, under its own label or the `default`.
    pub(super) fn part(&self, default: Option<&Label>) -> Option<Part> {
        let label = self.label.as_ref()?.as_ref().or(default)?.clone();
        Some(Part { id: self.id.clone()?, label, content: self.content.clone()? })
    }

    pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Self {
        let mut slot = Self { part_type: None, id: None, label: None, content: None };
        let Node::Object(_) = node else {
            reader.mistake(node.excerpt(), "write a part as an object: {\"type\": …}");
            return slot;
        };
        let fields = Fields::of(node);
        slot.part_type = fields.read(reader, "type");
        slot.id = fields.read(reader, "id");
        slot.label = fields.read(reader, "label");
        slot.content = slot.part_type.and_then(|part_type| Content::read(reader, part_type, node));
        slot
    }
}

/// The schema of a part: one of its types.
pub(super) fn part_schema() -> Value {
    fn one<T: Record>(part_type: PartType) -> Value {
        let (about, fields) = T::describe();
        let mut properties = vec![
            Property {
                name: "type",
                about: "What the part is.",
                required: true,
                schema: json!({ "const": part_type.as_str() }),
            },
            Property {
                name: "id",
                about: "By which other parts refer to it.",
                required: part_type == PartType::Person,
                schema: <LocalId as Json>::schema(),
            },
            Property {
                name: "label",
                about: "The part's label, as a banner; without it the notice's.",
                required: false,
                schema: Label::schema(),
            },
        ];
        properties.extend(fields);
        object_schema(about, properties)
    }
    let schemas = PartType::ALL.iter().filter_map(|part_type| match part_type {
        PartType::Movement => Some(one::<Movement>(*part_type)),
        PartType::Person => Some(one::<Person>(*part_type)),
        PartType::Custody => Some(one::<Custody>(*part_type)),
        PartType::Grounds => Some(one::<Grounds>(*part_type)),
        PartType::Remark => Some(one::<Remark>(*part_type)),
        PartType::Biometric => Some(one::<Biometric>(*part_type)),
        PartType::Response => Some(one::<Response>(*part_type)),
        PartType::Correction => Some(one::<Correction>(*part_type)),
        PartType::Withdrawal => Some(one::<Withdrawal>(*part_type)),
        PartType::ReleaseRequest => Some(one::<ReleaseRequest>(*part_type)),
        PartType::ReleaseDecision => Some(one::<ReleaseDecision>(*part_type)),
        PartType::Receipt => None,
    });
    json!({ "oneOf": schemas.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_id_is_short_and_plain() {
        for good in ["p1", "p", "person12"] {
            assert_eq!(good.parse::<LocalId>().unwrap().to_string(), good);
        }
        for bad in ["", "P1", "1p", "p-1", "person123", "é1"] {
            assert!(bad.parse::<LocalId>().is_err(), "`{bad}` was taken for a local id");
        }
    }

    #[test]
    fn a_part_that_is_wrong_in_several_places_is_told_of_all() {
        let policy = "exchange.example".parse().unwrap();
        let mut reader = Reader::new(&policy);
        let json = br#"{"type": "grounds", "id": "G1", "label": "SECRIT", "about": "p1", "nature": "RUMOUR",
            "basis": [], "information_grading": "2", "religion": "x"}"#;
        let slot = Slot::read(&mut reader, &Node::parse(json).unwrap());
        assert_eq!((slot.part_type, slot.content), (Some(PartType::Grounds), None));
        let mut paths: Vec<_> = reader.into_mistakes().into_iter().map(|mistake| mistake.path).collect();
        paths.sort();
        let expected = [
            "basis",
            "id",
            "information_grading",
            "label",
            "nature",
            "religion",
            "source_grading",
            "statement",
        ];
        assert_eq!(paths, expected);
    }
}
