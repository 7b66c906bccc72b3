//! What an agency is, changed after its enrolment. It counts from the next publication on.

use std::collections::BTreeSet;

use thiserror::Error;
use valise_proto::delegation::DelegationError;
use valise_proto::directory::{Function, Origination};
use valise_proto::envelope::NoticeKind;
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::label::{AboveCeiling, Ceiling, Classification};

use super::members::record_of;
use super::{Authority, ChangeError};
use crate::journal::{Action, Deed};
use crate::profile::{Grant, Profile};
use crate::state::State;

/// Why the ceiling of this authority forbids something. Nothing was changed.
#[derive(Debug, Error)]
pub enum CeilingError {
    /// Above it.
    #[error(
        "{agency} would be granted more than this authority may grant: {above}; ask whoever holds the root: only `valise-ca issuing renew` changes the ceiling"
    )]
    Above {
        /// The agency.
        agency: AgencyId,
        /// What is too much.
        above: AboveCeiling,
    },
    /// The ceiling cannot be read.
    #[error("the root's delegation to this authority cannot be read: {0}; restore state.json from a backup")]
    Delegation(#[from] DelegationError),
}

impl Authority {
    /// Clears an agency for exactly what `clearance` says. Classifications it might originate by name and is no longer
    /// cleared for are taken away.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn set_clearance(
        &mut self,
        agency: &AgencyId,
        clearance: Grant,
        now: Timestamp,
    ) -> Result<(), ChangeError> {
        let granted = clearance.to_clearance(agency.state(), &self.state.policy);
        let deed = Deed::new(Action::SetClearance, agency, now).with("clearance", granted);
        self.change(agency, deed, |profile| {
            if let Some(classifications) = &mut profile.originate_classifications {
                classifications.retain(|class| clearance.classes.contains(class));
            }
            profile.clearance = clearance;
        })
    }

    /// Lists an agency with exactly these functions.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn set_functions(
        &mut self,
        agency: &AgencyId,
        functions: BTreeSet<Function>,
        now: Timestamp,
    ) -> Result<(), ChangeError> {
        let deed = Deed::new(Action::SetFunctions, agency, now).with("functions", joined(&functions));
        self.change(agency, deed, |profile| profile.functions = functions)
    }

    /// Lets an agency originate exactly this; without `classifications`, those of its clearance, whatever that becomes.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn set_origination(
        &mut self,
        agency: &AgencyId,
        kinds: BTreeSet<NoticeKind>,
        classifications: Option<BTreeSet<Classification>>,
        now: Timestamp,
    ) -> Result<(), ChangeError> {
        let classes = classifications.as_ref().map_or_else(|| "those of its clearance".to_owned(), joined);
        let deed = Deed::new(Action::SetOrigination, agency, now)
            .with("kinds", joined(&kinds))
            .with("classifications", classes);
        self.change(agency, deed, |profile| {
            profile.originate_kinds = kinds;
            profile.originate_classifications = classifications;
        })
    }

    /// Makes an agency the contact point of its State, or one that no longer is.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn set_contact_point(
        &mut self,
        agency: &AgencyId,
        is: bool,
        now: Timestamp,
    ) -> Result<(), ChangeError> {
        let holder = self.state.contact_point(agency).filter(|_| is);
        if let Some(holder) = holder {
            return Err(ChangeError::ContactPoint { holder: holder.clone() });
        }
        let deed = Deed::new(Action::SetContactPoint, agency, now).with("contact_point", is);
        self.change(agency, deed, |profile| profile.contact_point = is)
    }

    /// Lists an agency under another name for people; without one, under its id.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn set_name(
        &mut self,
        agency: &AgencyId,
        name: Option<String>,
        now: Timestamp,
    ) -> Result<(), ChangeError> {
        let deed = Deed::new(Action::SetName, agency, now).with("name", name.as_deref().unwrap_or_default());
        self.change(agency, deed, |profile| profile.display_name = name)
    }

    /// Changes a profile as a whole or not at all.
    fn change(
        &mut self,
        agency: &AgencyId,
        deed: Deed,
        edit: impl FnOnce(&mut Profile),
    ) -> Result<(), ChangeError> {
        let mut next = self.state.clone();
        let profile = &mut record_of(&mut next, agency)?.profile;
        edit(profile);
        profile.validate()?;
        let profile = profile.clone();
        next.check_ceiling(agency, &profile)?;
        Ok(self.commit(next, &deed)?)
    }
}

impl State {
    /// The most that may be granted.
    fn ceiling(&self) -> Result<Ceiling, DelegationError> {
        Ok(self.root_delegation()?.delegation().ceiling.clone())
    }

    /// Refuses a profile that grants more than this authority may.
    pub(super) fn check_ceiling(&self, agency: &AgencyId, profile: &Profile) -> Result<(), CeilingError> {
        let clearance = profile.clearance.to_clearance(agency.state(), &self.policy);
        let Origination { classifications, .. } = profile.origination();
        let within = self.ceiling()?.check(agency.state(), &clearance, &classifications);
        within.map_err(|above| CeilingError::Above { agency: agency.clone(), above })
    }

    /// Another agency that is the contact point of this one's State.
    pub(super) fn contact_point(&self, agency: &AgencyId) -> Option<&AgencyId> {
        let others = self.agencies.iter().filter(|(id, record)| {
            *id != agency && id.state() == agency.state() && record.standing.is_member()
        });
        others.filter(|(_, record)| record.profile.contact_point).map(|(id, _)| id).next()
    }
}

fn joined<T: ToString>(items: &BTreeSet<T>) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
