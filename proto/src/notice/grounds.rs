//! Grounds: why a SUBJECT is believed to be a terrorist. Statements of fact and of assessment are separate parts, and
//! every one is graded by its source and its content.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::json::{Json, Node, Reader, codes, record};
use super::part::LocalId;
use super::text::{Line, List, Prose};

codes! {
    /// Whether a statement is of fact or of assessment.
    pub enum GroundsNature {
        /// Something that happened, or is on record.
        Fact = "FACT",
        /// What someone concludes.
        Assessment = "ASSESSMENT",
    }
}

codes! {
    /// What a statement rests on.
    pub enum GroundsBasis {
        /// A conviction.
        Conviction = "CONVICTION",
        /// A charge.
        Charge = "CHARGE",
        /// A warrant of arrest.
        Warrant = "WARRANT",
        /// An entry in a list of designated persons.
        Listing = "LISTING",
        /// An investigation that is under way.
        Investigation = "INVESTIGATION",
        /// Intelligence.
        Intelligence = "INTELLIGENCE",
        /// A witness.
        Witness = "WITNESS",
        /// Data from devices or services.
        DigitalEvidence = "DIGITAL_EVIDENCE",
        /// Material collected by armed forces.
        BattlefieldEvidence = "BATTLEFIELD_EVIDENCE",
        /// A match of biometric data.
        BiometricMatch = "BIOMETRIC_MATCH",
    }
}

codes! {
    /// How far the source is to be relied upon.
    pub enum SourceGrading {
        /// No doubt about it; it was right in all instances.
        A = "A",
        /// It was right in most instances.
        B = "B",
        /// It was wrong in most instances.
        C = "C",
        /// It cannot be judged.
        X = "X",
    }
}

/// How far the information is to be relied upon. A number from 1 to 4 in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InformationGrading {
    /// 1: its accuracy is not in doubt.
    Certain,
    /// 2: known to the source at first hand, not to the officer.
    FirstHand,
    /// 3: not known to the source at first hand, but borne out by other information.
    Corroborated,
    /// 4: it cannot be borne out.
    Uncorroborated,
}

impl InformationGrading {
    /// All of them.
    pub const ALL: &'static [Self] =
        &[Self::Certain, Self::FirstHand, Self::Corroborated, Self::Uncorroborated];

    /// 1 to 4.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Self::Certain => 1,
            Self::FirstHand => 2,
            Self::Corroborated => 3,
            Self::Uncorroborated => 4,
        }
    }
}

impl Json for InformationGrading {
    fn rule() -> Cow<'static, str> {
        "write 1 (not in doubt), 2 (known to the source at first hand), 3 (corroborated) or 4 (cannot be judged), \
         without quotation marks"
            .into()
    }

    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let number = match node {
            Node::Number(number) => number.as_u64(),
            Node::Null | Node::Bool(_) | Node::Text(_) | Node::Array(_) | Node::Object(_) => None,
        };
        let found = number.and_then(|n| Self::ALL.iter().copied().find(|grading| grading.number() == n));
        if found.is_none() {
            reader.mistake(node.excerpt(), &Self::rule());
        }
        found
    }

    fn write(&self) -> Option<Value> {
        Some(self.number().into())
    }

    fn schema() -> Value {
        json!({ "type": "integer", "enum": [1, 2, 3, 4], "description": Self::rule() })
    }
}

record! {
    /// One graded statement about a SUBJECT.
    pub struct Grounds {
        /// Whom it is about: the id of a person who is SUBJECT.
        about: LocalId,
        /// Whether it is of fact or of assessment.
        nature: GroundsNature,
        /// The statement.
        statement: Prose<8192>,
        /// What it rests on.
        basis: List<GroundsBasis, 1, 10>,
        /// The offence, as the law names it.
        offence: Option<Line<256>>,
        /// References of entries in lists, such as a UN list reference number.
        list_references: List<Line<64>, 0, 16>,
        /// How far the source is to be relied upon.
        source_grading: SourceGrading,
        /// How far the information is to be relied upon.
        information_grading: InformationGrading,
    }
}
