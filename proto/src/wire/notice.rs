//! The content of a notice on the wire.
//!
//! Errors name the field and the rule, and never repeat a value: they may be logged, and content is personal data.
//! For each type of a field [`Twin`] says what its protobuf twin is; [`record`] and [`codes`] say it of structures
//! and enumerations, field by field, so that a field forgotten on either side does not compile.

use bytes::Bytes;
use prost::Message;
use zeroize::Zeroizing;

use super::convert::{label_from_pb, label_to_pb, time_from_pb};
use super::envelope::index;
use super::limits::PARTS_MAX;
use super::scan::{self, Bound, Value};
use super::{WireError, check_body_version, check_count, decode_body, pb};
use crate::envelope::PortionIndex;
use crate::id::{AgencyId, Digest, NoticeId, State, Timestamp};
use crate::label::Label;
use crate::notice::{
    Biometric, BiometricKind, BirthDate, BirthPlace, Citizenship, ConsularAccess, ConsularStep, Content,
    Correction, Country, Custody, CustodyStatus, Day, Decision, Document, DocumentFlag, DocumentKind,
    Grounds, GroundsBasis, GroundsNature, InformationGrading, Leg, Line, List, LocalId, LocalTime, Movement,
    MovementEvent, MovementStatus, Mrz, Name, NameKind, NoticeRef, Part, Person, PersonRole, PlaceCode,
    Prose, ReleaseAction, ReleaseDecision, ReleaseRequest, Remark, Residence, Response, ResponseOutcome,
    Script, Sex, SexCode, SourceGrading, Terms, TransportMode, Withdrawal, Word,
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
        Content::ReleaseRequest(part) => Pb::ReleaseRequest(part.to_item()),
        Content::ReleaseDecision(part) => Pb::ReleaseDecision(part.to_item()),
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
        Pb::Correction(part) => {
            some("Correction.replaces", &part.replaces)?;
            Content::Correction(Correction::from_item("part.correction", part)?)
        }
        Pb::Withdrawal(part) => {
            some("Withdrawal.replaces", &part.replaces)?;
            Content::Withdrawal(Withdrawal::from_item("part.withdrawal", part)?)
        }
        Pb::ReleaseRequest(part) => {
            Content::ReleaseRequest(Box::new(ReleaseRequest::from_item("part.release_request", part)?))
        }
        Pb::ReleaseDecision(part) => {
            Content::ReleaseDecision(Box::new(ReleaseDecision::from_item("part.release_decision", part)?))
        }
        Pb::Receipt(bytes) => Content::Receipt(Box::new(SignedReceipt::decode(bytes)?)),
    };
    let id: Option<LocalId> = Twin::from_pb("part.id", message.id)?;
    if id.is_none() && matches!(content, Content::Person(_)) {
        return Err(WireError::field("part.id", "missing: a person has an id"));
    }
    Ok(Part { id, label: label.clone(), content })
}

/// What takes notices out of force names them: a reader that never got one can say so of it all the same.
fn some(field: &'static str, replaces: &[pb::NoticeRef]) -> Result<(), WireError> {
    if replaces.is_empty() { Err(WireError::field(field, "missing")) } else { Ok(()) }
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

impl Absent for u64 {
    fn absent() -> Self {
        0
    }

    fn is_absent(&self) -> bool {
        *self == 0
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

impl StringTwin for AgencyId {}
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

impl Twin for NoticeId {
    type Pb = Bytes;

    fn to_pb(&self) -> Bytes {
        Bytes::copy_from_slice(self.as_bytes())
    }

    fn from_pb(field: &'static str, message: Bytes) -> Result<Self, WireError> {
        Self::from_bytes(&message).map_err(|error| WireError::field(field, error))
    }
}

impl Twin for Timestamp {
    type Pb = u64;

    fn to_pb(&self) -> u64 {
        self.millis()
    }

    fn from_pb(field: &'static str, message: u64) -> Result<Self, WireError> {
        time_from_pb(field, message)
    }
}

impl Twin for Label {
    type Pb = Option<pb::Label>;

    fn to_pb(&self) -> Self::Pb {
        Some(label_to_pb(self))
    }

    fn from_pb(field: &'static str, message: Self::Pb) -> Result<Self, WireError> {
        label_from_pb(field, message)
    }
}

impl Item for PortionIndex {
    type Pb = u32;

    fn to_item(&self) -> u32 {
        self.number()
    }

    fn from_item(field: &'static str, message: u32) -> Result<Self, WireError> {
        index(field, message)
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
    Response { outcome, about, text }
    NoticeRef { notice_id, header_digest }
    Correction { reason, replaces }
    Withdrawal { reason, replaces }
    ReleaseRequest { action, portions, to, under, justification }
    ReleaseDecision { decision, action, about, portions, to, under, valid_until, text }
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
    ResponseOutcome { Match, NoMatch, NeedMore, WillAct }
    ReleaseAction { Downgrade, Share }
    Decision { Granted, Refused }
    BiometricKind { Face, Fingerprints, Palm, Iris, Dna, Voice }
}

#[cfg(test)]
mod tests;
