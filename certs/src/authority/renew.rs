//! Renewal: a request signed with a key of now becomes a new certificate, and the keys it brings take over.
//!
//! Claimed: only an agency that takes part is renewed, by a request that it made itself and that is newer than the
//! last one granted; nobody's place is taken. It holds because the request must be signed with the agency's signing
//! key of now (one of before may still count for what is under way, but grants nothing any more), every key it brings is looked up among all that are or were in force, and
//! the moment it was made is compared with, and replaces, that of the last one. A request that somebody withheld is of no
//! use after [`REQUEST_AGE_MAX`], nor once a bundle brought the agency another certificate. The same request again is granted
//! again without being acted upon, so that whoever was interrupted may begin anew.
//!
//! What was under way when keys changed is not lost: those of before stay listed, for [`KEY_OVERLAP`] as keys that
//! count, and a signing key after that for as long as something that it signed may be under way.

use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use valise_proto::directory::KEYS_MAX;
use valise_proto::id::{AgencyId, SpiffeId, Timestamp, TrustDomain};
use valise_proto::renewal::{RenewalError, RenewalRequest, SignedRenewalRequest};
use valise_proto::wire::limits::Limits;

use super::brought::Brought;
use super::{Authority, BroughtError};
use crate::journal::{Action, Deed};
use crate::request::{CsrError, check_csr};
use crate::state::{
    AgencyRecord, Granted, Hex, KeyRecord, Serial, Standing, State, StateError, Stored, is_sealed_to,
    is_verified_with,
};
use crate::x509::SignError;

/// How long keys of before go on counting beside those that took over: 7 days.
pub const KEY_OVERLAP: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How old a request may be: 30 days. One that was held back for longer is made anew.
pub(super) const REQUEST_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Why a renewal request was not granted. Nothing was changed.
#[derive(Debug, Error)]
pub enum RenewError {
    /// Of another exchange.
    #[error("the request is for trust domain {got}; this authority is of {expected}")]
    TrustDomain {
        /// This authority's.
        expected: TrustDomain,
        /// The request's.
        got: TrustDomain,
    },
    /// Not enrolled.
    #[error("{0} is not enrolled; `valise-ca enrol` takes its enrolment request")]
    Unknown(AgencyId),
    /// Suspended or revoked.
    #[error("{agency} is {standing}; {}", mended(*.standing))]
    NotActive {
        /// The agency.
        agency: AgencyId,
        /// What it is.
        standing: Standing,
    },
    /// Not signed with a key of the agency's.
    #[error(transparent)]
    Request(#[from] RenewalError),
    /// From the future.
    #[error(
        "the request was made at {created_at}, ahead of this machine's clock ({now}); have both clocks set and the agency ask again"
    )]
    Ahead {
        /// When it was made.
        created_at: Timestamp,
        /// The clock.
        now: Timestamp,
    },
    /// Held back for long.
    #[error(
        "the request was made at {created_at}, which is older than 30 days (this machine's clock: {now}); the agency must ask anew"
    )]
    Old {
        /// When it was made.
        created_at: Timestamp,
        /// The clock.
        now: Timestamp,
    },
    /// Older than one that was granted, or than a bundle that brought a new certificate.
    #[error(
        "the request was made at {created_at}, and one made at {granted}, or a bundle of then, was granted before; the agency must ask anew"
    )]
    Replayed {
        /// When it was made.
        created_at: Timestamp,
        /// When the last one granted was made.
        granted: Timestamp,
    },
    /// The certificate request in it.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// The keys in it.
    #[error(transparent)]
    Keys(#[from] BroughtError),
    /// Too many keys of former times.
    #[error(
        "{agency} has {KEYS_MAX} {what} keys listed, which is as many as a directory holds; until {until} it can be renewed with the one of now only"
    )]
    KeysFull {
        /// The agency.
        agency: AgencyId,
        /// Signing or sealing.
        what: &'static str,
        /// When the oldest drops out.
        until: Timestamp,
    },
    /// Nothing can be signed now.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The state could not be kept.
    #[error(transparent)]
    State(#[from] StateError),
}

fn mended(standing: Standing) -> &'static str {
    match standing {
        Standing::Active => "nothing stands against its renewal",
        Standing::Suspended { .. } => "`valise-ca reinstate` ends a suspension, then the agency asks again",
        Standing::Revoked { .. } => "it can only be enrolled anew, with new keys",
    }
}

impl RenewError {
    /// Whether the request is to blame; otherwise the authority can do nothing at all now.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::TrustDomain { .. }
            | Self::Unknown(_)
            | Self::NotActive { .. }
            | Self::Request(_)
            | Self::Ahead { .. }
            | Self::Old { .. }
            | Self::Replayed { .. }
            | Self::Csr(_)
            | Self::Keys(_)
            | Self::KeysFull { .. } => true,
            Self::Sign(_) | Self::State(_) => false,
        }
    }
}

/// What came of a request that was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Renewed {
    /// The agency.
    pub agency: AgencyId,
    /// Of its certificate.
    pub serial: Serial,
    /// Until when that counts.
    pub not_after: Timestamp,
    /// Which keys took over: TLS, signing, sealing.
    pub new_keys: Vec<&'static str>,
    /// Whether this request was granted before; then nothing was done.
    pub before: bool,
}

impl Authority {
    /// Grants a renewal request: a new certificate, and the keys it brings take over. The agency decides when; its
    /// certificates of before count until they run out. It all leaves with the next publication.
    ///
    /// # Errors
    /// [`RenewError`].
    pub fn renew(&mut self, request: &SignedRenewalRequest, now: Timestamp) -> Result<Renewed, RenewError> {
        let asked = request.request();
        let (expected, got) = (self.state.trust_domain.clone(), asked.trust_domain.clone());
        if expected != got {
            return Err(RenewError::TrustDomain { expected, got });
        }
        self.check_clock(now)?;
        let record = self.state.active(&asked.agency)?;
        if let Some(granted) = record.granted.filter(|granted| granted.digest == request.digest()) {
            return Ok(self.state.granted_before(&asked.agency, record, granted));
        }
        // Keys of before are still listed; whoever found one could otherwise undo the renewal that took it away.
        let mut entry = self.state.agency_entry(&asked.agency, record, now);
        let current = record.signing_key.key.0.key_id();
        entry.signing_keys.retain(|key| key.key_id == current);
        request.verify_by(&entry, now)?;
        check_times(record, asked.created_at, now)?;
        let identity = SpiffeId::agency(got, asked.agency.clone());
        let tls_key = check_csr(&asked.csr_der, &identity)?;
        let brought = Brought::new(&tls_key, &asked.signing_key, &asked.sealing_key);
        brought.check(&self.state, Some(record))?;
        let mut next = self.state.clone();
        let serial = next.fresh_serial();
        let leaf = self.issuing.leaf(&identity, &tls_key, serial, self.validity.leaf, now)?;
        next.note_certificate(serial, (&identity, &tls_key), leaf.period, now);
        let mut renewed = record.clone();
        renewed.serial = serial;
        renewed.certificate = Hex(leaf.der.to_vec());
        renewed.granted = Some(Granted { digest: request.digest(), created_at: asked.created_at });
        let mut new_keys = Vec::new();
        if renewed.tls_key.0 != tls_key {
            next.retired_keys.insert(renewed.tls_key.0.key_id());
            renewed.tls_key = Stored(tls_key);
            new_keys.push("TLS");
        }
        new_keys.extend(renewed.take_over(asked, now)?);
        next.put_renewed(&asked.agency, renewed, now);
        let not_after = leaf.period.not_after;
        let deed = Deed::new(Action::Renew, &asked.agency, now)
            .with("request", request.fingerprint())
            .with("serial", serial)
            .with("not_after", not_after)
            .with("new_keys", new_keys.join(", "));
        self.commit(next, &deed)?;
        Ok(Renewed { agency: asked.agency.clone(), serial, not_after, new_keys, before: false })
    }
}

impl State {
    fn active(&self, agency: &AgencyId) -> Result<&AgencyRecord, RenewError> {
        let record = self.agencies.get(agency).ok_or_else(|| RenewError::Unknown(agency.clone()))?;
        match record.standing {
            Standing::Active => Ok(record),
            standing @ (Standing::Suspended { .. } | Standing::Revoked { .. }) => {
                Err(RenewError::NotActive { agency: agency.clone(), standing })
            }
        }
    }

    fn granted_before(&self, agency: &AgencyId, record: &AgencyRecord, granted: Granted) -> Renewed {
        let certificate = self.certificates.get(&record.serial);
        Renewed {
            agency: agency.clone(),
            serial: record.serial,
            not_after: certificate.map_or(granted.created_at, |found| found.not_after),
            new_keys: Vec::new(),
            before: true,
        }
    }

    /// Puts a renewed record in place, and retires what it no longer lists.
    fn put_renewed(&mut self, agency: &AgencyId, mut record: AgencyRecord, now: Timestamp) {
        let before = record.key_ids();
        record.former_signing_keys.retain(|key| is_verified_with(key, now));
        record.former_sealing_keys.retain(|key| is_sealed_to(key, now));
        let after = record.key_ids();
        self.retired_keys.extend(before.into_iter().filter(|key| !after.contains(key)));
        self.agencies.insert(agency.clone(), record);
    }
}

impl AgencyRecord {
    /// Lets the signing and sealing key asked for take over, where they are not those of now, and says which did.
    fn take_over(&mut self, asked: &RenewalRequest, now: Timestamp) -> Result<Vec<&'static str>, RenewError> {
        let mut new_keys = Vec::new();
        let full = |what, until| RenewError::KeysFull { agency: asked.agency.clone(), what, until };
        if self.signing_key.key.0 == asked.signing_key {
            self.signing_key.extend(now);
        } else {
            let taken = KeyRecord::new(asked.signing_key, now);
            let former = std::mem::replace(&mut self.signing_key, taken);
            let listed = self.former_signing_keys.iter().filter(|key| is_verified_with(key, now));
            let ends = listed.map(|key| key.not_after.plus(Limits::DEFAULT.lifetime_max)).collect();
            check_room(ends).map_err(|until| full("signing", until))?;
            retire(&mut self.former_signing_keys, former, now);
            new_keys.push("signing");
        }
        if self.sealing_key.key.0 == asked.sealing_key {
            self.sealing_key.extend(now);
        } else {
            let taken = KeyRecord::new(asked.sealing_key.clone(), now);
            let former = std::mem::replace(&mut self.sealing_key, taken);
            let listed = self.former_sealing_keys.iter().filter(|key| is_sealed_to(key, now));
            check_room(listed.map(|key| key.not_after).collect()).map_err(|until| full("sealing", until))?;
            retire(&mut self.former_sealing_keys, former, now);
            new_keys.push("sealing");
        }
        Ok(new_keys)
    }
}

fn retire<K: Clone>(keys: &mut Vec<KeyRecord<K>>, mut former: KeyRecord<K>, now: Timestamp) {
    former.end_at(now.plus(KEY_OVERLAP));
    keys.insert(0, former);
}

/// Whether the key of now can join those of former times, which drop out at `ends`, beside the one that takes over;
/// otherwise, when it can.
fn check_room(ends: Vec<Timestamp>) -> Result<(), Timestamp> {
    match ends.iter().min() {
        Some(first) if ends.len().saturating_add(2) > KEYS_MAX => Err(*first),
        Some(_) | None => Ok(()),
    }
}

fn check_times(record: &AgencyRecord, created_at: Timestamp, now: Timestamp) -> Result<(), RenewError> {
    if created_at > now.plus(Limits::DEFAULT.clock_ahead_max) {
        return Err(RenewError::Ahead { created_at, now });
    }
    if now.since(created_at) > REQUEST_AGE_MAX {
        return Err(RenewError::Old { created_at, now });
    }
    match record.granted {
        Some(Granted { created_at: granted, .. }) if created_at <= granted => {
            Err(RenewError::Replayed { created_at, granted })
        }
        Some(_) | None => Ok(()),
    }
}
