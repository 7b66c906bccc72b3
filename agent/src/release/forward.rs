//! A notice of another agency passed on by its holder.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use valise_proto::envelope::Precedence;
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::label::Label;

use super::ReleaseError;
use super::derive::attribution;
use super::downgrade::origin;
use super::origin::{Action, Origin};
use super::request::grants;
use super::rules::{self, Leave, NotOnward, Onward};
use super::source::{Made, Source, indexes};
use crate::compose::Addressed;
use crate::node::office::Office;

/// What an officer asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// The portions, by their places in the notice; all that are held where none is named.
    #[serde(default)]
    pub portions: Vec<usize>,
    /// Whom it is for.
    #[schema(value_type = Vec<String>)]
    pub to: Vec<AgencyId>,
    /// The banner; otherwise that of the portions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How fast it travels; otherwise as the notice did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub precedence: Option<Precedence>,
    /// Who passes it on, while the node has no officers' accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub officer: Option<String>,
    /// Why, for the access journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Forward {
    /// The notice, addressed. Nothing is stored or sent.
    ///
    /// # Errors
    /// [`ReleaseError`]; [`NotOnward`] in it where the originator has to be asked.
    pub fn compose(
        &self,
        office: &Office,
        source: &NoticeId,
        officers: &[String],
        now: Timestamp,
    ) -> Result<Addressed, ReleaseError> {
        let source = Source::received(office, source)?;
        let held = source.held();
        let portions = match self.portions.is_empty() {
            true => held.portions.keys().copied().collect(),
            false => indexes(&self.portions)?,
        };
        if let Some(index) = portions.iter().find(|index| !held.portions.contains_key(*index)) {
            return Err(NotOnward::NotHeld(*index).into());
        }
        let before = source.label_of(&portions).ok_or(NotOnward::Policy)?;
        let label = match &self.label {
            Some(banner) => Label::parse_banner(office.directory().content().policy.clone(), banner)?,
            None => before.clone(),
        };
        let to: BTreeSet<AgencyId> = self.to.iter().cloned().collect();
        let wish = Onward { portions, to, label };
        let leave = rules::may_forward(&held, office.agency(), &wish, &grants(office, &source)?, now)?;
        let leave = match leave {
            Leave::Domestic => None,
            Leave::Granted(decision) => Some(decision),
        };
        let Onward { portions, to, label } = wish;
        let origin = Origin { leave, ..origin(&source, Action::Forwarded, &portions, officers, now) };
        let attribution = Some(attribution(&source.originator, office.agency(), &before));
        let made = Made { portions, to, label, kind: None, precedence: self.precedence, attribution };
        source.make(made, &origin, office, now)
    }
}
