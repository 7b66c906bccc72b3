//! An agency shut out in one step: certificates revoked, suspended in the directory, and that published.
//!
//! Claimed: there is no moment at which only part of it is on record, and one passphrase is enough. It holds because
//! the certificates, the standing and the numbers of what is published are changed in one copy of the state, which is
//! committed once. Where the files then cannot be written, the same command again writes them.
//!
//! The agency is suspended, not revoked, because an emergency comes before its investigation: an enrolment request with
//! new keys is taken at once; and where no key was lost after all, `reinstate` lets it in again with a new certificate.

use std::path::Path;

use thiserror::Error;
use valise_proto::id::{AgencyId, Role, Timestamp};

use super::members::{check_since, record_of};
use super::publish::prepare;
use super::{Authority, ChangeError, PublishError, Published};
use crate::journal::{Action, Deed};
use crate::member;
use crate::state::{RevocationReason, Revoked, Standing};

/// Why an agency was not shut out. Nothing was changed, unless the files alone could not be written: then the same
/// command again writes them.
#[derive(Debug, Error)]
pub enum EmergencyError {
    /// The agency.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The publication.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// What is known when the alarm is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Why.
    pub reason: RevocationReason,
    /// From when on what the agency signed is not believed.
    pub since: Timestamp,
}

impl Authority {
    /// Revokes an agency's certificates, suspends it, and publishes to the folder `out`. Again, it moves `since` to the
    /// earlier of both times and publishes again.
    ///
    /// # Errors
    /// [`EmergencyError`].
    pub fn emergency(
        &mut self,
        agency: &AgencyId,
        alarm: Alarm,
        out: &Path,
        now: Timestamp,
    ) -> Result<Published, EmergencyError> {
        let Alarm { reason, since } = alarm;
        prepare(out).map_err(PublishError::from)?;
        check_since(since, now)?;
        let mut next = self.state.clone();
        let record = record_of(&mut next, agency)?;
        let since = match record.standing {
            Standing::Suspended { since: known } => since.min(known),
            Standing::Active | Standing::Revoked { .. } => since,
        };
        record.standing = Standing::Suspended { since };
        let (serial, holder) = (record.serial, Role::Agency(agency.clone()));
        let identity = member::identity(&next.trust_domain, &holder);
        let revoked = Revoked { at: now, since, reason };
        next.revoke_certificates(&identity, revoked);
        next.retire_lost_key(&holder, serial, revoked);
        let publication = self.sign_to_publish(&mut next, now)?;
        let deed = Deed::new(Action::Emergency, agency, now)
            .with("reason", reason)
            .with("since", since)
            .with("directory", publication.directory.version())
            .with("crl_number", publication.crl_number);
        self.commit(next, &deed).map_err(PublishError::from)?;
        Ok(self.deliver(&publication, out)?)
    }
}
