//! A notice as the author wrote it: read as far as it can be, before the rules about the whole are checked.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::json::{Json, Node, Reader, codes, record};
use super::part::{Slot, part_schema};
use super::place::Country;
use super::safeguards::Safeguard;
use super::terms::TERM_BYTES_MAX;
use super::text::{Line, List, Prose};
use crate::directory::Function;
use crate::envelope::{NoticeKind, Precedence};
use crate::id::{AgencyId, NoticeId, Timestamp};
use crate::label::Label;
use crate::wire::limits::{Limits, PARTS_MAX};

/// Most recipients that can be named.
pub(super) const RECIPIENTS_MAX: usize = Limits::DEFAULT.recipients_max;
/// Most omissions, and most disclosures.
pub(super) const OMISSIONS_MAX: usize = 64;

codes! {
    /// Why a State that paragraph 3 names is not told.
    pub enum OmissionReason {
        /// To tell it would put someone at risk of persecution or torture.
        NonRefoulement = "NON_REFOULEMENT",
        /// Someone has asked for protection from it.
        ProtectionClaim = "PROTECTION_CLAIM",
        /// It would harm an investigation.
        OngoingInvestigation = "ONGOING_INVESTIGATION",
        /// None of its agencies receives paragraph-3 notices in this exchange.
        NoContactPoint = "NO_CONTACT_POINT",
        /// Another concern for human rights.
        HumanRights = "HUMAN_RIGHTS",
        /// Another reason, given in words.
        Other = "OTHER",
    }
}

impl OmissionReason {
    /// Whether the reason protects persons from the State, so that none of its agencies may be told, by whatever way.
    #[must_use]
    pub fn is_protective(self) -> bool {
        match self {
            Self::NonRefoulement | Self::ProtectionClaim | Self::HumanRights => true,
            Self::OngoingInvestigation | Self::NoContactPoint | Self::Other => false,
        }
    }

    /// The safeguard that lets the State be left out: one that protects persons from it, or that of paragraph 3 itself,
    /// by which a State is told or is left out for a reason on record.
    #[must_use]
    pub fn safeguard(self) -> Safeguard {
        if self.is_protective() { Safeguard::NonRefoulement } else { Safeguard::NobodyForgotten }
    }
}

record! {
    /// A State that paragraph 3 names and that is not told. It stays in the originator's records and is never sent.
    pub struct Omission {
        /// The State.
        state: Country,
        /// Why.
        reason: OmissionReason,
        /// The reason in words; OTHER needs them.
        text: Option<Prose<1024>>,
    }
}

record! {
    /// A State of which a refugee is a citizen and that is told nevertheless. It stays in the originator's records and
    /// is never sent.
    pub struct Disclosure {
        /// The State.
        state: Country,
        /// Why to tell it puts nobody at risk.
        text: Prose<1024>,
    }
}

record! {
    /// A notice about the travel, arrival or deportation of someone believed to be a terrorist (S/RES/2396, paragraph
    /// 3), or a follow-up to one.
    pub(super) struct Written {
        /// What the notice is for.
        kind: Given<NoticeKind>,
        /// How fast it is to travel. Neither importance nor secrecy.
        precedence: Given<Precedence>,
        /// The label of parts that have none of their own.
        label: Given<Option<Label>>,
        /// The law or agreement the notice rests on. Whoever can open any portion reads it.
        legal_basis: Given<Option<Line<TERM_BYTES_MAX>>>,
        /// What the content may be used for. Whoever can open any portion reads it.
        purpose: Given<Option<Line<TERM_BYTES_MAX>>>,
        /// When the content is deleted unless someone finds that it is still needed. Without it after three years, or
        /// after 366 days where someone is, or may be, under 18.
        review_by: Given<Option<Timestamp>>,
        /// Until when an answer is asked for.
        respond_by: Given<Option<Timestamp>>,
        /// When the broker deletes what it could not deliver.
        expires_at: Given<Option<Timestamp>>,
        /// Whether INTERPOL receives it too.
        share_with_interpol: Given<bool>,
        /// Agencies to address besides those that paragraph 3 names.
        recipients: Given<List<AgencyId, 0, RECIPIENTS_MAX>>,
        /// Functions of which the own State's agencies are told too (paragraph 7).
        domestic: Given<List<Function, 0, 7>>,
        /// States that paragraph 3 names and that are not told.
        omissions: Given<List<Omission, 0, OMISSIONS_MAX>>,
        /// States of which a refugee is a citizen and that are told nevertheless.
        disclosures: Given<List<Disclosure, 0, OMISSIONS_MAX>>,
        /// RESPONSE: the notice it answers.
        in_reply_to: Given<Option<NoticeId>>,
        /// CORRECTION: the notice it takes the place of.
        supersedes: Given<Option<NoticeId>>,
        /// WITHDRAWAL: the notice it takes back.
        withdraws: Given<Option<NoticeId>>,
        /// What the notice says.
        parts: Slots,
    }
}

/// A field that may have been wrong: `None` after its mistakes were noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given<T>(pub(super) Option<T>);

impl<T> Given<Option<T>> {
    /// The value, where it is there and right.
    pub(super) fn value(&self) -> Option<&T> {
        self.0.as_ref().and_then(Option::as_ref)
    }

    /// Whether the author left it out.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self.0, Some(None))
    }
}

impl<T: Json> Json for Given<T> {
    const OPTIONAL: bool = T::OPTIONAL;

    fn rule() -> Cow<'static, str> {
        T::rule()
    }

    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        Some(Self(T::read(reader, node)))
    }

    fn absent(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self(T::absent(reader)))
    }

    fn write(&self) -> Option<Value> {
        self.0.as_ref().and_then(Json::write)
    }

    fn schema() -> Value {
        T::schema()
    }
}

/// The parts, each as far as it could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slots(pub(super) Vec<Slot>);

impl Json for Slots {
    fn rule() -> Cow<'static, str> {
        format!("write a list of 1 to {PARTS_MAX} parts: [{{\"type\": …}}, …]").into()
    }

    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let Node::Array(items) = node else {
            reader.mistake(node.excerpt(), &Self::rule());
            return Some(Self(Vec::new()));
        };
        if items.is_empty() || items.len() > PARTS_MAX {
            reader.mistake("", &format!("{} parts stand here; a notice has 1 to {PARTS_MAX}", items.len()));
            return Some(Self(Vec::new()));
        }
        let read = |(index, item)| reader.within_item(index, |reader| Slot::read(reader, item));
        Some(Self(items.iter().enumerate().map(read).collect()))
    }

    fn absent(reader: &mut Reader<'_>) -> Option<Self> {
        reader.mistake("", &format!("missing: {}", Self::rule()));
        Some(Self(Vec::new()))
    }

    fn write(&self) -> Option<Value> {
        Some(self.0.iter().filter_map(|slot| slot.part(None)).map(|part| part.to_json()).collect())
    }

    fn schema() -> Value {
        json!({ "type": "array", "items": part_schema(), "minItems": 1, "maxItems": PARTS_MAX })
    }
}
