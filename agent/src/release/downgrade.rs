//! A notice of ours made anew from some of its portions, under another label, for those an officer names.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use valise_proto::envelope::{NoticeKind, PortionIndex, Precedence};
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::label::{Handling, Label};

use super::origin::{Action, Origin, places};
use super::source::{Made, Source, indexes};
use super::{ReleaseError, rules};
use crate::compose::Addressed;
use crate::node::office::Office;

/// What an officer asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Downgrade {
    /// The portions, by their places in the notice.
    pub portions: Vec<usize>,
    /// The banner of the new notice. Instructions to holders that the portions bear are added to it.
    pub label: String,
    /// Instructions of the portions that the new notice is not to bear.
    #[serde(default)]
    pub drop_handling: Vec<String>,
    /// Whom it is for.
    #[schema(value_type = Vec<String>)]
    pub to: Vec<AgencyId>,
    /// What it is; otherwise what the notice is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub kind: Option<NoticeKind>,
    /// How fast it travels; otherwise as the notice did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub precedence: Option<Precedence>,
    /// Who asks, while the node has no officers' accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub officer: Option<String>,
    /// Why, for the access journal and for the officer who is to approve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Downgrade {
    /// The notice, addressed. Nothing is stored or sent.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn compose(
        &self,
        office: &Office,
        source: &NoticeId,
        officers: &[String],
        now: Timestamp,
    ) -> Result<Addressed, ReleaseError> {
        let source = Source::sent(office, source)?;
        let directory = office.directory();
        let owned = source.owned();
        let portions = indexes(&self.portions)?;
        let before = owned.label_of(&portions)?;
        let label = Label::parse_banner(directory.content().policy.clone(), &self.label)?;
        let label = self.keep_handling(label, &before)?;
        let to: BTreeSet<AgencyId> = self.to.iter().cloned().collect();
        rules::may_release(&owned, &portions, &to, &label, &directory)?;
        let origin = origin(&source, Action::Downgraded, &portions, officers, now);
        let (kind, precedence) = (self.kind, self.precedence);
        let made = Made { portions, to, label, kind, precedence, attribution: None };
        source.make(made, &origin, office, now)
    }

    /// Instructions stay unless they are dropped by name.
    fn keep_handling(&self, mut label: Label, before: &Label) -> Result<Label, ReleaseError> {
        let mut dropped = BTreeSet::new();
        for word in &self.drop_handling {
            let handling: Handling = word.parse()?;
            if !before.handling.contains(&handling) {
                return Err(ReleaseError::NotThere(word.clone()));
            }
            dropped.insert(handling);
        }
        label.handling.extend(before.handling.difference(&dropped).cloned());
        label.check_sizes()?;
        Ok(label)
    }
}

pub(super) fn origin(
    source: &Source,
    action: Action,
    portions: &BTreeSet<PortionIndex>,
    officers: &[String],
    now: Timestamp,
) -> Origin {
    Origin {
        action,
        source: source.id,
        source_digest: source.digest,
        originator: source.originator.clone(),
        portions: places(portions),
        leave: None,
        officers: officers.to_vec(),
        at: now,
    }
}
