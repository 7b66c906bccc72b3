//! Members and their certificates taken out, suspended and reinstated. It counts from the next publication on.

use thiserror::Error;
use valise_proto::id::{AgencyId, KeyId, Role, Timestamp};

use super::{Authority, CeilingError};
use crate::journal::{Action, Deed};
use crate::member;
use crate::profile::ProfileError;
use crate::state::{
    AgencyRecord, CertificateRecord, RevocationReason, Revoked, Serial, Standing, State, StateError,
};
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
    /// No such certificate.
    #[error("no certificate with serial {0} was issued; `valise-ca show ID` lists those of a member")]
    UnknownCertificate(Serial),
    /// A revoked certificate stays revoked.
    #[error("certificate {serial} was revoked at {at}")]
    CertificateRevoked {
        /// Its number.
        serial: Serial,
        /// When.
        at: Timestamp,
    },
    /// Suspended, with a key that was lost.
    #[error(
        "{0} lost its TLS key, and whoever has that may have the others: have it make new keys and take its request with `valise-ca enrol`; give --keys-are-safe only where nobody else can have had its signing and sealing keys"
    )]
    KeysLost(AgencyId),
    /// From a time to come.
    #[error(
        "--since {since} is ahead of this machine's clock ({now}); give the time from when on it may not be believed, or none for now"
    )]
    SinceAhead {
        /// The time given.
        since: Timestamp,
        /// The clock.
        now: Timestamp,
    },
    /// The State has one.
    #[error("{holder} is the contact point of {state}; `valise-ca contact-point clear {holder}` first", state = holder.state())]
    ContactPoint {
        /// The contact point.
        holder: AgencyId,
    },
    /// What the agency is to be.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// More than this authority may grant.
    #[error(transparent)]
    Ceiling(#[from] CeilingError),
    /// The clock.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The state could not be kept.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Authority {
    /// [`Authority::revoke_since`] now.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn revoke(
        &mut self,
        member: &Role,
        reason: RevocationReason,
        now: Timestamp,
    ) -> Result<(), ChangeError> {
        self.revoke_since(member, reason, now, now)
    }

    /// Takes a member out for good: its certificates go on the revocation list, nobody may bring its keys again, and
    /// what an agency signed from `since` on does not count. A broker leaves the directory; an agency stays listed as
    /// revoked for as long as something that it signed before may be under way.
    ///
    /// Where the agency was suspended from an earlier time on, that time stays. Again with an earlier `since`, this moves
    /// it: it is often found out later when a key was lost.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn revoke_since(
        &mut self,
        member: &Role,
        reason: RevocationReason,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<(), ChangeError> {
        self.check_clock(now)?;
        check_since(since, now)?;
        let mut next = self.state.clone();
        let unknown = || ChangeError::Unknown(member::name(member));
        let (standing, keys) = match member {
            Role::Agency(agency) => {
                let record = next.agencies.get_mut(agency).ok_or_else(unknown)?;
                let keys = record.key_ids();
                (&mut record.standing, keys)
            }
            Role::Broker(broker) => {
                let record = next.brokers.get_mut(broker).ok_or_else(unknown)?;
                let keys = record.key_ids();
                (&mut record.standing, keys)
            }
        };
        let (at, since) = match *standing {
            Standing::Active => (now, since),
            // What a suspension took back is not believed again.
            Standing::Suspended { since: known } => (now, since.min(known)),
            Standing::Revoked { at, since: known, .. } if since < known => (at, since),
            Standing::Revoked { at, reason, .. } => {
                return Err(ChangeError::Revoked { member: member::name(member), at, reason });
            }
        };
        *standing = Standing::Revoked { at, since, reason };
        next.retired_keys.extend(keys);
        let identity = member::identity(&next.trust_domain, member);
        next.revoke_certificates(&identity, Revoked { at, since, reason });
        let deed = Deed::new(Action::Revoke, member::name(member), now).with("reason", reason);
        Ok(self.commit(next, &deed.with("since", since))?)
    }

    /// Revokes one certificate; its holder stays what it is. An agency gets another one by the next renewal or bundle:
    /// for the same key, unless that was lost (`KEY_COMPROMISE`): then all certificates of that key are revoked, and it
    /// must bring another.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn revoke_certificate(
        &mut self,
        serial: Serial,
        reason: RevocationReason,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Role, ChangeError> {
        self.check_clock(now)?;
        check_since(since, now)?;
        let mut next = self.state.clone();
        let unknown = || ChangeError::UnknownCertificate(serial);
        let CertificateRecord { holder, revoked: known, .. } =
            next.certificates.get_mut(&serial).ok_or_else(unknown)?;
        if let Some(Revoked { at, .. }) = *known {
            return Err(ChangeError::CertificateRevoked { serial, at });
        }
        let revoked = Revoked { at: now, since, reason };
        *known = Some(revoked);
        let member = holder.role.clone();
        next.retire_lost_key(&member, serial, revoked);
        let deed = Deed::new(Action::RevokeCertificate, member::name(&member), now)
            .with("serial", serial)
            .with("reason", reason);
        self.commit(next, &deed.with("since", since))?;
        Ok(member)
    }

    /// [`Authority::suspend_since`] now.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn suspend(&mut self, agency: &AgencyId, now: Timestamp) -> Result<(), ChangeError> {
        self.suspend_since(agency, now, now)
    }

    /// Keeps an agency listed, but from sending and receiving; what it signed from `since` on does not count until it
    /// is reinstated. Again with an earlier `since`, this moves that time.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn suspend_since(
        &mut self,
        agency: &AgencyId,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<(), ChangeError> {
        check_since(since, now)?;
        let mut next = self.state.clone();
        let standing = &mut record_of(&mut next, agency)?.standing;
        if matches!(*standing, Standing::Suspended { since: known } if known <= since) {
            return Err(ChangeError::Already { member: agency.to_string(), standing: *standing });
        }
        *standing = Standing::Suspended { since };
        Ok(self.commit(next, &Deed::new(Action::Suspend, agency, now).with("since", since))?)
    }

    /// Ends a suspension. What the agency signed meanwhile counts again, so this is refused where its TLS key was lost:
    /// then it is enrolled with new keys.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn reinstate(&mut self, agency: &AgencyId, now: Timestamp) -> Result<(), ChangeError> {
        self.let_in(agency, false, now)
    }

    /// The same although its TLS key was lost: the operator answers for the others, and the journal says so.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn reinstate_with_safe_keys(&mut self, agency: &AgencyId, now: Timestamp) -> Result<(), ChangeError> {
        self.let_in(agency, true, now)
    }

    fn let_in(&mut self, agency: &AgencyId, keys_are_safe: bool, now: Timestamp) -> Result<(), ChangeError> {
        let mut next = self.state.clone();
        let record = record_of(&mut next, agency)?;
        if record.standing == Standing::Active {
            return Err(ChangeError::Already { member: agency.to_string(), standing: record.standing });
        }
        record.standing = Standing::Active;
        let tls_key = record.tls_key.0.key_id();
        let lost = next.retired_keys.contains(&tls_key);
        if lost && !keys_are_safe {
            return Err(ChangeError::KeysLost(agency.clone()));
        }
        let deed = Deed::new(Action::Reinstate, agency, now);
        let deed = if lost { deed.with("keys_are_safe", true) } else { deed };
        Ok(self.commit(next, &deed)?)
    }
}

impl State {
    /// Where a certificate was revoked because its key was lost, sees to it that none of that key counts, and that no
    /// other is issued for it.
    pub(super) fn retire_lost_key(&mut self, member: &Role, serial: Serial, revoked: Revoked) {
        if revoked.reason != RevocationReason::KeyCompromise {
            return;
        }
        let Some(lost) = self.key_of(member, serial) else { return };
        self.retired_keys.insert(lost);
        let of_key = self.certificates.values_mut().filter(|record| record.tls_key == Some(lost));
        for record in of_key.filter(|record| record.revoked.is_none()) {
            record.revoked = Some(revoked);
        }
    }

    /// The key of a certificate: of one that was noted without it, where it is the one in force.
    fn key_of(&self, member: &Role, serial: Serial) -> Option<KeyId> {
        let noted = self.certificates.get(&serial).and_then(|record| record.tls_key);
        let in_force = || match member {
            Role::Agency(id) => {
                let record = self.agencies.get(id).filter(|record| record.serial == serial)?;
                Some(record.tls_key.0.key_id())
            }
            Role::Broker(name) => {
                let record = self.brokers.get(name).filter(|record| record.serial == serial)?;
                Some(record.tls_key.0.key_id())
            }
        };
        noted.or_else(in_force)
    }
}

/// The record of an agency that is a member still.
pub(super) fn record_of<'a>(
    state: &'a mut State,
    agency: &AgencyId,
) -> Result<&'a mut AgencyRecord, ChangeError> {
    let record = state.agencies.get_mut(agency).ok_or_else(|| ChangeError::Unknown(agency.to_string()))?;
    match record.standing {
        Standing::Active | Standing::Suspended { .. } => Ok(record),
        Standing::Revoked { at, reason, .. } => {
            Err(ChangeError::Revoked { member: agency.to_string(), at, reason })
        }
    }
}

/// What is to count from a time on counts from now on at the latest.
pub(super) fn check_since(since: Timestamp, now: Timestamp) -> Result<(), ChangeError> {
    if since > now { Err(ChangeError::SinceAhead { since, now }) } else { Ok(()) }
}
