//! What the author is shown before anything is sent: who would be able to read what, and why not.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use valise_proto::envelope::PortionIndex;
use valise_proto::id::AgencyId;

use super::deadline::RespondBy;
use super::{Addressed, Addressee};
use crate::config::Config;

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
    /// States left out, with the author's reason. They are not sent.
    pub omissions: Vec<PreviewOmission>,
    /// Why the notice cannot be sent as it is; empty where it can.
    #[schema(value_type = Vec<crate::api::types::MistakeFacts>)]
    pub mistakes: Vec<super::Mistake>,
    /// What the header shows to all.
    pub warning: String,
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
}

impl Preview {
    /// The table of an addressed notice.
    #[must_use]
    pub fn of(addressed: &Addressed, config: &Config, now: valise_proto::id::Timestamp) -> Self {
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
            omissions: content.omissions(),
            mistakes: addressed.mistakes(config, now),
            warning: HEADER_WARNING.to_owned(),
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
    PreviewRecipient { agency: addressee.agency.clone(), reasons: addressee.reasons.clone(), access }
}
