//! The content of a notice on the wire.
//!
//! Errors name the field and the rule, and never repeat a value: they may be logged, and content is personal data.
//! For each type of a field [`Twin`] says what its protobuf twin is; [`record`] and [`codes`] say it of structures
//! and enumerations, field by field, so that a field forgotten on either side does not compile.

use bytes::Bytes;
use prost::Message;
use zeroize::Zeroizing;

use super::convert::time_from_pb;
use super::limits::PARTS_MAX;
use super::scan::{self, Bound, Value};
use super::{WireError, check_body_version, check_count, decode_body, pb};
use crate::id::{Digest, State, Timestamp};
use crate::label::Label;
use crate::notice::{
    Biometric, BiometricKind, BirthDate, BirthPlace, Citizenship, ConsularAccess, ConsularStep, Content,
    Correction, Country, Custody, CustodyStatus, Day, Document, DocumentFlag, DocumentKind, Grounds,
    GroundsBasis, GroundsNature, InformationGrading, Leg, Line, List, LocalId, LocalTime, Movement,
    MovementEvent, MovementStatus, Mrz, Name, NameKind, Part, Person, PersonRole, PlaceCode, Prose, Remark,
    Residence, Response, Script, Sex, SexCode, SourceGrading, Terms, TransportMode, Withdrawal, Word,
};
use crate::receipt::SignedReceipt;

/// Most entries of one list in a part; the rules of a notice are narrower.
const LIST_ENTRIES_MAX: usize = 256;

/// The message `Parts`, in memory that is wiped when it is no longer needed.
pub(crate) fn encode(terms: Option<&Terms>, parts: &[Part]) -> Zeroizing<Vec<u8>> {
    let message = pb::Parts {
        version: 1,
        terms: terms.map(terms_to_pb),
        parts: parts.iter().map(part_to_pb).collect(),
    };
    Zeroizing::new(message.encode_to_vec())
}

/// A message `Parts` that holds a receipt and nothing else.
pub(crate) fn encode_receipt(receipt: &SignedReceipt) -> Zeroizing<Vec<u8>> {
    let content = Some(pb::part::Content::Receipt(receipt.encode()));
    let parts = vec![pb::Part { id: String::new(), content }];
    Zeroizing::new(pb::Parts { version: 1, terms: None, parts }.encode_to_vec())
}

/// Reads a message `Parts`, all of whose parts have this label.
pub(crate) fn decode(label: &Label, bytes: &[u8]) -> Result<(Option<Terms>, Vec<Part>), WireError> {
    check_body_version("parts", bytes)?;
    check_lists(bytes)?;
    let message: pb::Parts = decode_body("parts", Bytes::copy_from_slice(bytes), &[])?;
    let parts: Vec<_> =
        message.parts.into_iter().map(|part| part_from_pb(label, part)).collect::<Result<_, _>>()?;
    let receipts = parts.iter().filter(|part| matches!(part.content, Content::Receipt(_))).count();
    if parts.is_empty() || (receipts > 0 && parts.len() > 1) {
        return Err(WireError::field(
            "parts.parts",
            "a portion has at least one part, and a receipt stands alone",
        ));
    }
    Ok((message.terms.map(terms_from_pb).transpose()?, parts))
}

/// Counts the parts, and what is listed in each, before memory is taken for them.
fn check_lists(bytes: &[u8]) -> Result<(), WireError> {
    const PARTS: u32 = 3;
    scan::check(bytes, &[Bound { tag: PARTS, field: "parts.parts", max: PARTS_MAX }])?;
    for (_, value) in scan::inside(bytes, PARTS).flat_map(scan::fields) {
        if let Value::Bytes(content) = value {
            scan::check_every("part.content", content, LIST_ENTRIES_MAX)?;
        }
    }
    Ok(())
}

fn terms_to_pb(terms: &Terms) -> pb::Terms {
    pb::Terms {
        legal_basis: terms.legal_basis.to_pb(),
        purpose: terms.purpose.to_pb(),
        review_by_ms: terms.review_by.millis(),
    }
}

fn terms_from_pb(message: pb::Terms) -> Result<Terms, WireError> {
    Ok(Terms {
        legal_basis: Twin::from_pb("terms.legal_basis", message.legal_basis)?,
        purpose: Twin::from_pb("terms.purpose", message.purpose)?,
        review_by: time_from_pb("terms.review_by_ms", message.review_by_ms)?,
    })
}

fn part_to_pb(part: &Part) -> pb::Part {
    use pb::part::Content as Pb;
    let content = match &part.content {
        Content::Movement(part) => Pb::Movement(part.to_item()),
        Content::Person(part) => Pb::Person(part.to_item()),
        Content::Custody(part) => Pb::Custody(part.to_item()),
        Content::Grounds(part) => Pb::Grounds(part.to_item()),
        Content::Remark(part) => Pb::Remark(part.to_item()),
        Content::Biometric(part) => Pb::Biometric(part.to_item()),
        Content::Response(part) => Pb::Response(part.to_item()),
        Content::Correction(part) => Pb::Correction(part.to_item()),
        Content::Withdrawal(part) => Pb::Withdrawal(part.to_item()),
        Content::Receipt(receipt) => Pb::Receipt(receipt.encode()),
    };
    pb::Part { id: part.id.to_pb(), content: Some(content) }
}

fn part_from_pb(label: &Label, message: pb::Part) -> Result<Part, WireError> {
    use pb::part::Content as Pb;
    let content = match message.content.ok_or_else(|| WireError::field("part.content", "missing"))? {
        Pb::Movement(part) => Content::Movement(Box::new(Movement::from_item("part.movement", part)?)),
        Pb::Person(part) => Content::Person(Box::new(Person::from_item("part.person", part)?)),
        Pb::Custody(part) => Content::Custody(Box::new(Custody::from_item("part.custody", part)?)),
        Pb::Grounds(part) => Content::Grounds(Box::new(Grounds::from_item("part.grounds", part)?)),
        Pb::Remark(part) => Content::Remark(Remark::from_item("part.remark", part)?),
        Pb::Biometric(part) => Content::Biometric(Box::new(Biometric::from_item("part.biometric", part)?)),
        Pb::Response(part) => Content::Response(Response::from_item("part.response", part)?),
        Pb::Correction(part) => Content::Correction(Correction::from_item("part.correction", part)?),
        Pb::Withdrawal(part) => Content::Withdrawal(Withdrawal::from_item("part.withdrawal", part)?),
        Pb::Receipt(bytes) => Content::Receipt(Box::new(SignedReceipt::decode(bytes)?)),
    };
    let id: Option<LocalId> = Twin::from_pb("part.id", message.id)?;
    if id.is_none() && matches!(content, Content::Person(_)) {
        return Err(WireError::field("part.id", "missing: a person has an id"));
    }
    Ok(Part { id, label: label.clone(), content })
}

/// A type whose values stand in a field of their own.
trait Twin: Sized {
    /// The type of the field in the generated message.
    type Pb;
    fn to_pb(&self) -> Self::Pb;
    fn from_pb(field: &'static str, message: Self::Pb) -> Result<Self, WireError>;
}

/// A type whose values stand in a repeated field.
trait Item: Sized {
    type Pb;
    fn to_item(&self) -> Self::Pb;
    fn from_item(field: &'static str, message: Self::Pb) -> Result<Self, WireError>;
}

/// How proto3 says that a field is not there.
trait Absent {
    fn absent() -> Self;
    fn is_absent(&self) -> bool;
}

impl Absent for String {
    fn absent() -> Self {
        Self::new()
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

impl<M> Absent for Option<M> {
    fn absent() -> Self {
        None
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Twin<Pb: Absent>> Twin for Option<T> {
    type Pb = T::Pb;

    fn to_pb(&self) -> T::Pb {
        self.as_ref().map_or_else(T::Pb::absent, Twin::to_pb)
    }

    fn from_pb(field: &'static str, message: T::Pb) -> Result<Self, WireError> {
        if message.is_absent() { Ok(None) } else { T::from_pb(field, message).map(Some) }
    }
}

impl<T: Item + PartialEq, const MIN: usize, const MAX: usize> Twin for List<T, MIN, MAX> {
    type Pb = Vec<T::Pb>;

    fn to_pb(&self) -> Vec<T::Pb> {
        self.iter().map(Item::to_item).collect()
    }

    fn from_pb(field: &'static str, message: Vec<T::Pb>) -> Result<Self, WireError> {
        check_count(field, message.len(), MAX)?;
        let entries = message.into_iter().map(|item| T::from_item(field, item)).collect::<Result<_, _>>()?;
        Self::new(entries).map_err(|rule| WireError::field(field, rule))
    }
}

/// Words that are strings on the wire too.
trait StringTwin: Word {}

impl StringTwin for State {}
impl StringTwin for BirthDate {}
impl StringTwin for Citizenship {}
impl StringTwin for Country {}
impl StringTwin for Day {}
impl StringTwin for LocalId {}
impl StringTwin for PlaceCode {}
impl StringTwin for Script {}
impl<const MAX: usize> StringTwin for Line<MAX> {}
impl<const MAX: usize> StringTwin for Prose<MAX> {}

impl<T: StringTwin> Twin for T {
    type Pb = String;

    fn to_pb(&self) -> String {
        self.text()
    }

    fn from_pb(field: &'static str, message: String) -> Result<Self, WireError> {
        T::parse(&message).map_err(|rule| WireError::field(field, rule))
    }
}

impl<T: StringTwin> Item for T {
    type Pb = String;

    fn to_item(&self) -> String {
        self.text()
    }

    fn from_item(field: &'static str, message: String) -> Result<Self, WireError> {
        T::from_pb(field, message)
    }
}

impl Twin for u64 {
    type Pb = Self;

    fn to_pb(&self) -> Self {
        *self
    }

    fn from_pb(field: &'static str, message: Self) -> Result<Self, WireError> {
        if message == 0 { Err(WireError::field(field, "missing")) } else { Ok(message) }
    }
}

impl Twin for Digest {
    type Pb = Bytes;

    fn to_pb(&self) -> Bytes {
        Bytes::copy_from_slice(self.as_bytes())
    }

    fn from_pb(field: &'static str, message: Bytes) -> Result<Self, WireError> {
        Self::from_bytes(&message).map_err(|error| WireError::field(field, error))
    }
}

impl Twin for LocalTime {
    type Pb = Option<pb::LocalTime>;

    fn to_pb(&self) -> Self::Pb {
        Some(pb::LocalTime { at_ms: self.at().millis(), offset_minutes: self.offset_minutes().into() })
    }

    fn from_pb(field: &'static str, message: Self::Pb) -> Result<Self, WireError> {
        let message = message.ok_or_else(|| WireError::field(field, "missing"))?;
        let at: Timestamp = time_from_pb(field, message.at_ms)?;
        let offset = i16::try_from(message.offset_minutes).map_err(|error| WireError::field(field, error))?;
        Self::new(at, offset).map_err(|rule| WireError::field(field, rule))
    }
}

impl Twin for Option<Mrz> {
    type Pb = Vec<String>;

    fn to_pb(&self) -> Vec<String> {
        self.as_ref().map(|mrz| mrz.lines().to_vec()).unwrap_or_default()
    }

    fn from_pb(field: &'static str, message: Vec<String>) -> Result<Self, WireError> {
        if message.is_empty() {
            return Ok(None);
        }
        let fault = |faults: Vec<crate::notice::MrzFault>| {
            let places: Vec<_> = faults.iter().map(crate::notice::MrzFault::place).collect();
            WireError::field(field, format!("not a machine-readable zone: {}", places.join("; ")))
        };
        Mrz::new(message).map(Some).map_err(fault)
    }
}

/// Structures, field by field. Both sides have the same fields.
macro_rules! records {
    ($($name:ident { $($field:ident),* $(,)? })*) => {$(
        impl Item for $name {
            type Pb = pb::$name;

            fn to_item(&self) -> pb::$name {
                let Self { $($field),* } = self;
                pb::$name { $($field: $field.to_pb()),* }
            }

            fn from_item(_: &'static str, message: pb::$name) -> Result<Self, WireError> {
                let pb::$name { $($field),* } = message;
                Ok(Self { $($field: Twin::from_pb(
                    concat!(stringify!($name), ".", stringify!($field)), $field)?),* })
            }
        }

        impl Twin for $name {
            type Pb = Option<pb::$name>;

            fn to_pb(&self) -> Self::Pb {
                Some(self.to_item())
            }

            fn from_pb(field: &'static str, message: Self::Pb) -> Result<Self, WireError> {
                Self::from_item(field, message.ok_or_else(|| WireError::field(field, "missing"))?)
            }
        }
    )*};
}

records! {
    Movement { event, status, event_time, source, destination, transit, legs, escort, deportation_order }
    Leg { mode, carrier, number, from, to, departs, arrives }
    Person { role, minor_subject, names, birth_date, birth_place, sex, citizenships, residence, documents }
    Name { kind, surname, given_names, script }
    BirthPlace { place, state }
    Sex { code, source }
    Residence { state, address }
    Document { kind, number, issuer, expiry, mrz, flags }
    Custody { about, status, since, authority, place, consular_access }
    ConsularAccess { state, step, at }
    Grounds {
        about, nature, statement, basis, offence, list_references, source_grading, information_grading,
    }
    Remark { about, text }
    Biometric { about, kind, format, captured_at, sha256, size }
    Response { text }
    Correction { reason }
    Withdrawal { reason }
}

/// Enumerations, variant by variant.
macro_rules! codes {
    ($($name:ident { $($variant:ident),* $(,)? })*) => {$(
        impl Item for $name {
            type Pb = i32;

            fn to_item(&self) -> i32 {
                match self { $(Self::$variant => pb::$name::$variant),* }.into()
            }

            fn from_item(field: &'static str, message: i32) -> Result<Self, WireError> {
                let found = Self::ALL.iter().copied().find(|code| code.to_item() == message);
                found.ok_or_else(|| WireError::field(field, format!("{message} is no code of it")))
            }
        }

        impl Twin for $name {
            type Pb = i32;

            fn to_pb(&self) -> i32 {
                self.to_item()
            }

            fn from_pb(field: &'static str, message: i32) -> Result<Self, WireError> {
                Self::from_item(field, message)
            }
        }
    )*};
}

codes! {
    MovementEvent { Travel, Arrival, Deportation }
    MovementStatus { Planned, UnderWay, Completed, Attempted, Cancelled }
    TransportMode { Air, Sea, Land, Rail }
    PersonRole { Subject, AccompanyingAdult, Child, PossibleVictim }
    NameKind { Primary, Alias, OriginalScript, Transliteration }
    SexCode { Male, Female, StatedX, Unknown }
    DocumentKind {
        Passport, OfficialPassport, IdentityCard, Visa, ResidencePermit, RefugeeTravelDocument,
        EmergencyTravelDocument, LaissezPasser, SeafarerDocument, Other,
    }
    DocumentFlag { Lost, Stolen, Forged }
    CustodyStatus { Captured, Detained, Released, Transferred }
    ConsularStep { Offered, Requested, Granted, Refused, Pending }
    GroundsNature { Fact, Assessment }
    GroundsBasis {
        Conviction, Charge, Warrant, Listing, Investigation, Intelligence, Witness, DigitalEvidence,
        BattlefieldEvidence, BiometricMatch,
    }
    SourceGrading { A, B, C, X }
    InformationGrading { Certain, FirstHand, Corroborated, Uncorroborated }
    BiometricKind { Face, Fingerprints, Palm, Iris, Dna, Voice }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::fixture::{notice, receipt};

    fn label() -> Label {
        notice(|_| {}).portions()[1].label().clone()
    }

    /// The portion with the person, altered as a message.
    fn altered(alter: impl FnOnce(&mut pb::Parts)) -> Result<(Option<Terms>, Vec<Part>), WireError> {
        let encoded = notice(|_| {}).portions()[1].encode();
        let mut message = pb::Parts::decode(encoded.as_slice()).unwrap();
        alter(&mut message);
        decode(&label(), &message.encode_to_vec())
    }

    fn person(message: &mut pb::Parts) -> &mut pb::Person {
        match message.parts[0].content.as_mut().unwrap() {
            pb::part::Content::Person(person) => person,
            other => panic!("not a person: {other:?}"),
        }
    }

    #[test]
    fn what_was_not_altered_is_read() {
        let (terms, parts) = altered(|_| {}).unwrap();
        assert_eq!((terms.is_some(), parts.len()), (true, 2));
    }

    #[test]
    fn g12_an_unknown_version_field_or_code_is_refused() {
        assert!(matches!(altered(|m| m.version = 2), Err(WireError::Version { got: 2, .. })));
        assert!(matches!(
            altered(|m| person(m).role = 99),
            Err(WireError::Field { field: "Person.role", .. })
        ));
        assert!(matches!(
            altered(|m| person(m).role = 0),
            Err(WireError::Field { field: "Person.role", .. })
        ));
        let mut bytes = notice(|_| {}).portions()[1].encode().to_vec();
        // Field 15 of Parts, a varint: nothing this version knows.
        bytes.extend_from_slice(&[0x78, 0x01]);
        assert!(matches!(decode(&label(), &bytes), Err(WireError::Unknown { what: "parts" })));
        assert!(decode(&label(), b"not protobuf").is_err());
    }

    #[test]
    fn what_is_missing_or_too_much_is_refused() {
        assert!(altered(|m| m.parts.clear()).is_err());
        assert!(altered(|m| m.parts[0].content = None).is_err());
        assert!(altered(|m| m.parts[0].id.clear()).is_err());
        assert!(altered(|m| m.terms.as_mut().unwrap().purpose.clear()).is_err());
        assert!(altered(|m| m.terms.as_mut().unwrap().review_by_ms = 0).is_err());
        let too_many = altered(|m| m.parts = vec![m.parts[1].clone(); PARTS_MAX + 1]);
        assert!(matches!(too_many, Err(WireError::TooMany { max: PARTS_MAX, .. })));
        let beside = altered(|m| m.parts[1].content = Some(pb::part::Content::Receipt(receipt().encode())));
        assert!(beside.is_err(), "a receipt stands beside a person");
    }

    #[test]
    fn g10_empty_parts_and_lists_are_counted_before_they_take_memory() {
        let encoded = notice(|_| {}).portions()[1].encode().to_vec();
        let empty_parts = [&encoded[..], &[0x1a, 0].repeat(500_000)].concat();
        assert!(matches!(
            decode(&label(), &empty_parts),
            Err(WireError::TooMany { field: "parts.parts", got: 257, .. })
        ));
        // One person with half a million names, in a message of version 1.
        let names = [0x1a, 0].repeat(500_000);
        let mut person = vec![0x1a];
        prost::encoding::encode_varint(names.len() as u64, &mut person);
        person.extend(names);
        let mut message = vec![0x08, 1, 0x1a];
        prost::encoding::encode_varint(person.len() as u64, &mut message);
        message.extend(person);
        assert!(matches!(
            decode(&label(), &message),
            Err(WireError::TooMany { field: "part.content", got: 257, .. })
        ));
    }

    #[test]
    fn an_error_never_repeats_personal_data() {
        let wrong: [fn(&mut pb::Person); 5] = [
            |person| person.birth_date = "12.4.1988 WITNESS".to_owned(),
            |person| person.citizenships[0] = "WITNESS".to_owned(),
            |person| person.names[0].surname = "WITNESS\u{7}".to_owned(),
            |person| person.documents[0].mrz[1] = "WITNESS".to_owned(),
            |person| person.documents[0].issuer = "WITNESS".to_owned(),
        ];
        for alter in wrong {
            let error = altered(|message| alter(person(message))).unwrap_err().to_string();
            assert!(!error.contains("WITNESS") && !error.contains("1988"), "{error}");
        }
    }
}
