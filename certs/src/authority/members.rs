//! Changes to members: revoked, suspended, reinstated, cleared otherwise. They count from the next publication on.

use thiserror::Error;
use valise_proto::id::{AgencyId, Role, Timestamp};

use super::Authority;
use crate::journal::{Action, Deed};
use crate::member;
use crate::profile::{Grant, ProfileError};
use crate::state::{AgencyRecord, RevocationReason, Standing, State, StateError};
use crate::x509::SignError;

/// Why a member was not changed. Nothing was changed.
#[derive(Debug, Error)]
pub enum ChangeError {
    /// Not a member.
    #[error("{0} is not a member; `valise-ca list` shows who is")]
    Unknown(String),
    /// It is so already.
    #[error("{member} is {standing} already")]
    Already {
        /// The member.
        member: String,
        /// What it is.
        standing: Standing,
    },
    /// A revoked member stays revoked.
    #[error("{member} was revoked at {at} ({reason}); it can only be enrolled or issued anew, with new keys")]
    Revoked {
        /// The member.
        member: String,
        /// When.
        at: Timestamp,
        /// Why.
        reason: RevocationReason,
    },
    /// The clearance.
    #[error(transparent)]
    Clearance(#[from] ProfileError),
    /// The clock.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The state could not be kept.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Authority {
    /// Takes a member out for good: it leaves the directory, its certificates go on the revocation list, and nobody
    /// may bring its keys again.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn revoke(
        &mut self,
        member: &Role,
        reason: RevocationReason,
        now: Timestamp,
    ) -> Result<(), ChangeError> {
        self.check_clock(now)?;
        let mut next = self.state.clone();
        let unknown = || ChangeError::Unknown(member::name(member));
        let (standing, keys) = match member {
            Role::Agency(agency) => {
                let record = next.agencies.get_mut(agency).ok_or_else(unknown)?;
                let keys = record.key_ids().to_vec();
                (&mut record.standing, keys)
            }
            Role::Broker(broker) => {
                let record = next.brokers.get_mut(broker).ok_or_else(unknown)?;
                let keys = record.key_ids();
                (&mut record.standing, keys)
            }
        };
        check_not_revoked(member, *standing)?;
        *standing = Standing::Revoked { at: now, reason };
        next.retired_keys.extend(keys);
        let identity = member::identity(&next.trust_domain, member);
        next.revoke_certificates(&identity, now, reason);
        let deed = Deed::new(Action::Revoke, member::name(member), now).with("reason", reason);
        Ok(self.commit(next, &deed)?)
    }

    /// Keeps an agency listed, but from sending and receiving.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn suspend(&mut self, agency: &AgencyId, now: Timestamp) -> Result<(), ChangeError> {
        self.set_standing(agency, Standing::Suspended, Deed::new(Action::Suspend, agency, now))
    }

    /// Ends a suspension.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn reinstate(&mut self, agency: &AgencyId, now: Timestamp) -> Result<(), ChangeError> {
        self.set_standing(agency, Standing::Active, Deed::new(Action::Reinstate, agency, now))
    }

    fn set_standing(&mut self, agency: &AgencyId, standing: Standing, deed: Deed) -> Result<(), ChangeError> {
        let mut next = self.state.clone();
        let record = record_of(&mut next, agency)?;
        if record.standing == standing {
            return Err(ChangeError::Already { member: agency.to_string(), standing });
        }
        record.standing = standing;
        Ok(self.commit(next, &deed)?)
    }

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
        clearance.validate()?;
        let granted = clearance.to_clearance(agency.state(), &self.state.policy);
        let deed = Deed::new(Action::SetClearance, agency, now).with("clearance", granted);
        let mut next = self.state.clone();
        let profile = &mut record_of(&mut next, agency)?.profile;
        if let Some(classifications) = &mut profile.originate_classifications {
            classifications.retain(|class| clearance.classes.contains(class));
        }
        profile.clearance = clearance;
        Ok(self.commit(next, &deed)?)
    }
}

fn record_of<'a>(state: &'a mut State, agency: &AgencyId) -> Result<&'a mut AgencyRecord, ChangeError> {
    let member = Role::Agency(agency.clone());
    let record = state.agencies.get_mut(agency).ok_or_else(|| ChangeError::Unknown(agency.to_string()))?;
    check_not_revoked(&member, record.standing)?;
    Ok(record)
}

fn check_not_revoked(member: &Role, standing: Standing) -> Result<(), ChangeError> {
    match standing {
        Standing::Active | Standing::Suspended => Ok(()),
        Standing::Revoked { at, reason } => {
            Err(ChangeError::Revoked { member: member::name(member), at, reason })
        }
    }
}
