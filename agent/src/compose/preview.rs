//! The table of a notice: who can read what, and why not; who is not told, and by which rule or paragraph.
//!
//! The author is shown it before anything is sent, the second officer before anything is approved; what was sent keeps
//! it, encrypted, in the batch that queues the notice, so that it can be said later who was told what and why.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use valise_proto::envelope::PortionIndex;
use valise_proto::id::{AgencyId, Timestamp};

use super::deadline::RespondBy;
use super::{Addressed, Addressee, NotTold};
use crate::config::Config;
use crate::release::standing::OutOfForce;

/// What every recipient sees, whatever it may open.
pub const HEADER_WARNING: &str = "Every recipient sees the header: the list of recipients, and the labels of the portions withheld from it. Where even that must stay hidden, send a separate notice.";

/// Recipients × portions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Preview {
    /// The kind of notice.
    pub kind: String,
    /// Its precedence.
    pub precedence: String,
    /// The banner of the whole.
    pub label: String,
    /// The portions, in order.
    pub portions: Vec<PreviewPortion>,
    /// The recipients, in order.
    pub recipients: Vec<PreviewRecipient>,
    /// Until when an answer is asked for, and what says so; nothing where none is asked for.
    pub respond_by: Option<RespondBy>,
    /// Who should be told and cannot be, which stops nobody else from being told.
    #[serde(default)]
    pub not_told: Vec<PreviewNotTold>,
    /// States left out, with the author's reason. They are not sent.
    pub omissions: Vec<PreviewOmission>,
    /// States of which a refugee is a citizen that are told nevertheless, with the author's reason. They are not sent.
    #[serde(default)]
    pub disclosures: Vec<PreviewDisclosure>,
    /// Why the notice cannot be sent as it is; empty where it can.
    #[schema(value_type = Vec<crate::api::types::MistakeFacts>)]
    pub mistakes: Vec<super::Mistake>,
    /// What the header shows to all.
    pub warning: String,
    /// That it counts no more, where what was sent was corrected, withdrawn or deleted since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_force: Option<OutOfForce>,
}

/// One portion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreviewPortion {
    /// Its place, from 0.
    pub index: usize,
    /// Its banner.
    pub label: String,
    /// What it holds, in words such as "movement, 2 persons".
    pub holds: String,
}

/// One recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreviewRecipient {
    /// Who.
    #[schema(value_type = String)]
    pub agency: AgencyId,
    /// Why it is addressed.
    pub reasons: Vec<String>,
    /// The paragraph by which it is told, where there is one.
    #[serde(default)]
    pub rests_on: Option<String>,
    /// For each portion whether it can open it, and if not, which rule says so.
    pub access: Vec<PreviewAccess>,
}

/// Whether a recipient can open a portion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreviewAccess {
    /// Which portion.
    pub portion: usize,
    /// Whether it can.
    pub allowed: bool,
    /// Which rule says no.
    pub denial: Option<String>,
}

/// A State left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreviewOmission {
    /// Which.
    pub state: String,
    /// Why.
    pub reason: String,
    /// Why paragraph 3 names it.
    #[serde(default)]
    pub named_by: Vec<String>,
    /// The paragraph by which it may be left out.
    #[serde(default)]
    pub rests_on: String,
}

/// A State that is told though persons are refugees from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreviewDisclosure {
    /// Which.
    pub state: String,
    /// Why that puts nobody at risk.
    pub reason: String,
    /// What had to be decided before.
    pub rests_on: String,
}

/// Somebody who should be told and cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreviewNotTold {
    /// Who.
    #[schema(value_type = String)]
    pub agency: AgencyId,
    /// Why it should be told.
    pub reasons: Vec<String>,
    /// Whether it holds what the notice takes out of force, and is outstanding therefore; otherwise it is an agency of
    /// the own State.
    pub outstanding: bool,
    /// The rule by which it is not told.
    pub rule: String,
    /// The paragraph by which it should be, where there is one.
    pub rests_on: Option<String>,
}

impl Preview {
    /// The table of an addressed notice.
    #[must_use]
    pub fn of(addressed: &Addressed, config: &Config, now: Timestamp) -> Self {
        let content = &addressed.content;
        let portions = addressed.portions.iter().enumerate();
        let label = valise_proto::label::Label::join(addressed.portions.iter().map(|portion| &portion.label));
        Self {
            kind: content.kind().to_string(),
            precedence: content.precedence().to_string(),
            label: label.map(|label| label.to_string()).unwrap_or_default(),
            portions: portions
                .map(|(index, portion)| PreviewPortion {
                    index,
                    label: portion.label.to_string(),
                    holds: content.holds(index),
                })
                .collect(),
            recipients: addressed.addressees.iter().map(recipient).collect(),
            respond_by: addressed.respond_by(config, now),
            not_told: addressed.not_told.iter().map(not_told).collect(),
            omissions: content.omissions(&addressed.me),
            disclosures: content.disclosures(),
            mistakes: addressed.mistakes(config, now),
            warning: HEADER_WARNING.to_owned(),
            out_of_force: None,
        }
    }
}

fn recipient(addressee: &Addressee) -> PreviewRecipient {
    let allowed = |index: &PortionIndex| PreviewAccess { portion: index.get(), allowed: true, denial: None };
    let denied = |(index, denial): &(PortionIndex, valise_proto::label::Denial)| PreviewAccess {
        portion: index.get(),
        allowed: false,
        denial: Some(denial.to_string()),
    };
    let mut access: Vec<_> =
        addressee.permitted.iter().map(allowed).chain(addressee.denied.iter().map(denied)).collect();
    access.sort_by_key(|access| access.portion);
    PreviewRecipient {
        agency: addressee.agency.clone(),
        reasons: addressee.reasons.clone(),
        rests_on: addressee.rests_on.map(ToOwned::to_owned),
        access,
    }
}

fn not_told(one: &NotTold) -> PreviewNotTold {
    let NotTold { agency, reasons, holds, rule, rests_on } = one.clone();
    PreviewNotTold { agency, reasons, outstanding: holds, rule, rests_on: rests_on.map(ToOwned::to_owned) }
}
