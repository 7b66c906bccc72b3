//! What a notice says: parts, persons, movements, and the rules that bind them.
//!
//! An author writes JSON ([`Notice::from_json`]); on the wire the parts are protobuf, one message per portion
//! ([`Portion`]). A [`Notice`] can only be made by reading JSON that follows every rule, so past that point nobody
//! checks again. Mistakes come all at once, each with its JSON path.
//!
//! Where to look: `part` is the list of parts, and each has a file of its own; `written` is the notice as JSON;
//! `validate` has the rules about the whole, `safeguards` those that protect persons, each with the paragraph it rests
//! on; `addressing` works out who paragraph 3 says is to be told; `portion` groups parts by label. `json` is how all
//! of these are read.
//!
//! Personal data: `Debug` of texts, dates and documents shows none of it, and errors of [`Portion::decode`] never
//! repeat a value. A [`Mistake`] does, for the author alone.

mod addressing;
mod biometric;
mod custody;
mod date;
mod difference;
mod document;
#[cfg(test)]
pub(crate) mod fixture;
mod following;
mod followup;
mod grounds;
mod json;
mod local_time;
mod mistake;
mod movement;
mod mrz;
mod part;
mod person;
mod place;
mod portion;
mod remark;
mod safeguards;
mod schema;
mod terms;
mod text;
mod validate;
mod written;

pub use addressing::{Addressee, LeftOut, Reason};
pub use biometric::{Biometric, BiometricKind};
pub use custody::{ConsularAccess, ConsularStep, Custody, CustodyStatus};
pub use date::{ADULT_YEARS, BirthDate, Day, QUALIFIED_MARGIN_YEARS};
pub use difference::{Change, Difference, difference};
pub use document::{Document, DocumentFlag, DocumentKind};
pub use following::{arrival, has_minor, replaces};
pub use followup::{
    Correction, Decision, NoticeRef, REPLACES_MAX, ReleaseAction, ReleaseDecision, ReleaseRequest, Response,
    ResponseOutcome, Withdrawal,
};
pub use grounds::{Grounds, GroundsBasis, GroundsNature, InformationGrading, SourceGrading};
pub use json::JSON_BYTES_MAX;
pub(crate) use json::Word;
pub use local_time::LocalTime;
pub use mistake::{Mistake, Rule};
pub use movement::{Leg, Movement, MovementEvent, MovementStatus, TransportMode};
pub use mrz::{Mrz, MrzDate, MrzFault, MrzFormat};
pub use part::{Content, LOCAL_ID_BYTES_MAX, LocalId, Part, PartType};
pub use person::{BirthPlace, Name, NameKind, Person, PersonRole, Residence, Sex, SexCode};
pub use place::{British, Citizenship, Country, NoState, PlaceCode, Script};
pub use portion::Portion;
pub use remark::Remark;
pub use safeguards::{MINOR_REVIEW_MAX, REVIEW_DEFAULT, REVIEW_MAX, Safeguard, about_minors};
pub use schema::schema;
pub use terms::{TERM_BYTES_MAX, Terms};
pub use text::{Line, List, Prose};
pub use written::{Disclosure, Omission, OmissionReason};

use json::{Json, Node, Reader};
use part::Slot;
use written::{Given, Slots, Written};

use crate::directory::Function;
use crate::envelope::{NoticeKind, Precedence};
use crate::id::{AgencyId, NoticeId, Timestamp};
use crate::label::PolicyId;

/// A notice that follows every rule that can be checked without a directory. There is no other way to make one than
/// [`Notice::from_json`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    kind: NoticeKind,
    precedence: Precedence,
    terms: Option<Terms>,
    respond_by: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    share_with_interpol: bool,
    recipients: Vec<AgencyId>,
    domestic: Vec<Function>,
    omissions: Vec<Omission>,
    disclosures: Vec<Disclosure>,
    in_reply_to: Option<NoticeId>,
    supersedes: Option<NoticeId>,
    withdraws: Option<NoticeId>,
    parts: Vec<Part>,
}

impl Notice {
    /// Reads the author's JSON. Labels are banners under `policy`, the directory's; times are compared with `now`.
    ///
    /// # Errors
    /// Every [`Mistake`]; never an empty list.
    pub fn from_json(json: &[u8], policy: &PolicyId, now: Timestamp) -> Result<Self, Vec<Mistake>> {
        let node = Node::parse(json).map_err(|mistake| vec![mistake])?;
        let mut reader = Reader::new(policy);
        let written = Written::read(&mut reader, &node);
        let mut mistakes = reader.into_mistakes();
        let Some(written) = written else { return Err(mistakes) };
        validate::check(&written, now, &mut mistakes);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let incomplete = || vec![Mistake::new("notice", "", "it is incomplete in a way that no rule names")];
        Self::of(written, now).ok_or_else(incomplete)
    }

    /// Takes over what was written; `None` where some of it could not be read, of which there is a mistake.
    fn of(written: Written, now: Timestamp) -> Option<Self> {
        let review_by_default = safeguards::review_by_default(&written, now);
        let default = written.label.value();
        let parts = written.parts.0.iter().map(|slot| slot.part(default)).collect::<Option<_>>()?;
        let review_by = written.review_by.0?.unwrap_or(review_by_default);
        let terms = match (written.legal_basis.0?, written.purpose.0?) {
            (Some(legal_basis), Some(purpose)) => Some(Terms { legal_basis, purpose, review_by }),
            (Some(_), None) | (None, Some(_)) | (None, None) => None,
        };
        Some(Self {
            kind: written.kind.0?,
            precedence: written.precedence.0?,
            terms,
            respond_by: written.respond_by.0?,
            expires_at: written.expires_at.0?,
            share_with_interpol: written.share_with_interpol.0?,
            recipients: written.recipients.0?.into_vec(),
            domestic: written.domestic.0?.into_vec(),
            omissions: written.omissions.0?.into_vec(),
            disclosures: written.disclosures.0?.into_vec(),
            in_reply_to: written.in_reply_to.0?,
            supersedes: written.supersedes.0?,
            withdraws: written.withdraws.0?,
            parts,
        })
    }

    /// The JSON form, every part with its label. It holds the omissions and disclosures: it is for the originator's
    /// eyes only.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let terms = self.terms.as_ref();
        let written = Written {
            kind: Given(Some(self.kind)),
            precedence: Given(Some(self.precedence)),
            label: Given(None),
            legal_basis: Given(Some(terms.map(|terms| terms.legal_basis.clone()))),
            purpose: Given(Some(terms.map(|terms| terms.purpose.clone()))),
            review_by: Given(Some(terms.map(|terms| terms.review_by))),
            respond_by: Given(Some(self.respond_by)),
            expires_at: Given(Some(self.expires_at)),
            share_with_interpol: Given(Some(self.share_with_interpol)),
            recipients: Given(List::new(self.recipients.clone()).ok()),
            domestic: Given(List::new(self.domestic.clone()).ok()),
            omissions: Given(List::new(self.omissions.clone()).ok()),
            disclosures: Given(List::new(self.disclosures.clone()).ok()),
            in_reply_to: Given(Some(self.in_reply_to)),
            supersedes: Given(Some(self.supersedes)),
            withdraws: Given(Some(self.withdraws)),
            parts: Slots(self.parts.iter().map(Slot::of).collect()),
        };
        written.write().unwrap_or_default()
    }

    /// What it is for.
    #[must_use]
    pub fn kind(&self) -> NoticeKind {
        self.kind
    }

    /// How fast it is to travel.
    #[must_use]
    pub fn precedence(&self) -> Precedence {
        self.precedence
    }

    /// On what basis, what for, and until when; follow-ups without persons may have none.
    #[must_use]
    pub fn terms(&self) -> Option<&Terms> {
        self.terms.as_ref()
    }

    /// Until when an answer is asked for.
    #[must_use]
    pub fn respond_by(&self) -> Option<Timestamp> {
        self.respond_by
    }

    /// When the broker is to delete it, where the author says so.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// Whether INTERPOL receives it too.
    #[must_use]
    pub fn share_with_interpol(&self) -> bool {
        self.share_with_interpol
    }

    /// The agencies the author names.
    #[must_use]
    pub fn recipients(&self) -> &[AgencyId] {
        &self.recipients
    }

    /// The functions of which the own State's agencies are told too.
    #[must_use]
    pub fn domestic(&self) -> &[Function] {
        &self.domestic
    }

    /// The States of which a refugee is a citizen that are told nevertheless. They are never sent.
    #[must_use]
    pub fn disclosures(&self) -> &[Disclosure] {
        &self.disclosures
    }

    /// The States left out. They are never sent.
    #[must_use]
    pub fn omissions(&self) -> &[Omission] {
        &self.omissions
    }

    /// RESPONSE: the notice it answers.
    #[must_use]
    pub fn in_reply_to(&self) -> Option<NoticeId> {
        self.in_reply_to
    }

    /// CORRECTION: the notice it takes the place of.
    #[must_use]
    pub fn supersedes(&self) -> Option<NoticeId> {
        self.supersedes
    }

    /// WITHDRAWAL: the notice it takes back.
    #[must_use]
    pub fn withdraws(&self) -> Option<NoticeId> {
        self.withdraws
    }

    /// The parts, in the author's order.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
}
