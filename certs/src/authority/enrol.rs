//! Enrolment: a request becomes a certificate, a place in the directory, and a bundle that carries both back.

use bytes::Bytes;
use thiserror::Error;
use valise_proto::crypto::{KeyError, VerifyingKey, sha256};
use valise_proto::directory::{AGENCIES_MAX, KEYS_MAX};
use valise_proto::enrolment::{
    Challenge, EnrolmentBundle, EnrolmentRequest, SignedEnrolmentBundle, SignedEnrolmentRequest,
};
use valise_proto::id::{AgencyId, Role, SpiffeId, Timestamp, TrustDomain};

use super::brought::Brought;
use super::{Authority, BroughtError, CeilingError, PublishError};
use crate::journal::{Action, Deed};
use crate::member;
use crate::profile::{Profile, ProfileError};
use crate::randomness;
use crate::request::{CsrError, check_csr};
use crate::state::{
    AgencyRecord, CertificateRecord, Granted, Hex, KeyRecord, Serial, Standing, State, StateError, Stored,
};
use crate::x509::{Period, SignError};

/// Why an agency was not enrolled, or got no bundle. Nothing was changed.
#[derive(Debug, Error)]
pub enum EnrolError {
    /// Of another exchange.
    #[error("the request is for trust domain {got}; this authority is of {expected}")]
    TrustDomain {
        /// This authority's.
        expected: TrustDomain,
        /// The request's.
        got: TrustDomain,
    },
    /// The certificate request in it.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// What the agency is to be.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// Enrolled with other keys.
    #[error(
        "{0} is enrolled already, with other keys; if the agency lost them or must have new ones, run `valise-ca revoke {0}` first and enrol this request then"
    )]
    AlreadyEnrolled(AgencyId),
    /// Enrolled with this request as something else.
    #[error(
        "{0} is enrolled already with this request and another profile; `valise-ca clearance set {0}` changes its clearance, `valise-ca bundle {0}` makes a bundle for what it is"
    )]
    OtherProfile(AgencyId),
    /// The keys in it.
    #[error(transparent)]
    Keys(#[from] BroughtError),
    /// More than this authority may grant.
    #[error(transparent)]
    Ceiling(#[from] CeilingError),
    /// The State has one.
    #[error("{holder} is the contact point of {state}; enrol this agency without --contact-point", state = holder.state())]
    ContactPoint {
        /// The contact point.
        holder: AgencyId,
    },
    /// The directory is full.
    #[error("{AGENCIES_MAX} agencies are enrolled, which is as many as a directory holds")]
    Full,
    /// Not enrolled.
    #[error("{0} is not enrolled; `valise-ca list` shows who is")]
    Unknown(AgencyId),
    /// No longer enrolled.
    #[error("{agency} was revoked at {at}; enrol a request with new keys")]
    Revoked {
        /// The agency.
        agency: AgencyId,
        /// When.
        at: Timestamp,
    },
    /// Its TLS key was lost.
    #[error(
        "the TLS key of {0} was revoked with its certificate; have the agency bring another: with a renewal request (`valise-ca renew FILE`), or after `valise-ca revoke {0}` with an enrolment request"
    )]
    KeyLost(AgencyId),
    /// The sealing key.
    #[error("the request's sealing key cannot be used: {0}")]
    SealingKey(#[from] KeyError),
    /// Nothing can be signed now.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The directory that goes into the bundle.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The state could not be kept.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Authority {
    /// Enrols the agency of a request whose fingerprint was compared, as `profile` says, and returns its bundle.
    ///
    /// The same request with the same profile again gives a fresh bundle for the enrolment there is.
    ///
    /// # Errors
    /// [`EnrolError`].
    pub fn enrol(
        &mut self,
        request: &SignedEnrolmentRequest,
        profile: &Profile,
        now: Timestamp,
    ) -> Result<SignedEnrolmentBundle, EnrolError> {
        let asked = request.request();
        if asked.trust_domain != self.state.trust_domain {
            return Err(EnrolError::TrustDomain {
                expected: self.state.trust_domain.clone(),
                got: asked.trust_domain.clone(),
            });
        }
        profile.validate()?;
        // One that an emergency shut out comes back like one that was revoked: with other keys.
        let former = self.state.agencies.get(&asked.agency);
        let shut_out = former.is_some_and(|record| self.state.is_shut_out(record));
        if let Some(record) = self.enrolled(&asked.agency).filter(|_| !shut_out) {
            if record.request_digest != request.digest() {
                return Err(EnrolError::AlreadyEnrolled(asked.agency.clone()));
            }
            if record.profile != *profile {
                return Err(EnrolError::OtherProfile(asked.agency.clone()));
            }
            return self.bundle(&asked.agency, now);
        }
        let identity = SpiffeId::agency(asked.trust_domain.clone(), asked.agency.clone());
        let tls_key = check_csr(&asked.csr_der, &identity)?;
        let brought = Brought::new(&tls_key, &asked.signing_key, &asked.sealing_key);
        brought.check(&self.state, None)?;
        self.check_place(asked, profile)?;
        self.state.check_ceiling(&asked.agency, profile)?;
        let mut next = self.state.clone();
        let former_signing_keys = next.take_leave(&asked.agency);
        let serial = next.fresh_serial();
        let leaf = self.issuing.leaf(&identity, &tls_key, serial, self.validity.leaf, now)?;
        next.note_certificate(serial, (&identity, &tls_key), leaf.period, now);
        let record = AgencyRecord {
            standing: Standing::Active,
            profile: profile.clone(),
            enrolled_at: now,
            request_digest: request.digest(),
            tls_key: Stored(tls_key),
            signing_key: KeyRecord::new(asked.signing_key, now),
            sealing_key: KeyRecord::new(asked.sealing_key.clone(), now),
            former_signing_keys,
            former_sealing_keys: Vec::new(),
            serial,
            certificate: Hex(leaf.der.to_vec()),
            granted: None,
        };
        next.agencies.insert(asked.agency.clone(), record);
        let deed = Deed::new(Action::Enrol, &asked.agency, now)
            .with("request", request.fingerprint())
            .with("serial", serial)
            .with("not_after", leaf.period.not_after);
        self.make_bundle(next, &asked.agency, deed, now)
    }

    /// A fresh bundle for an agency that is enrolled: its certificate, the newest directory and revocation lists.
    ///
    /// From two thirds of the certificate's lifetime on, the bundle carries a new one for the same keys.
    ///
    /// # Errors
    /// [`EnrolError`].
    pub fn bundle(&mut self, agency: &AgencyId, now: Timestamp) -> Result<SignedEnrolmentBundle, EnrolError> {
        let mut next = self.state.clone();
        let mut deed = Deed::new(Action::Bundle, agency, now);
        if self.renewal_is_due(agency, now) {
            deed = deed.with("serial", self.reissue(&mut next, agency, now)?);
        }
        self.make_bundle(next, agency, deed, now)
    }

    fn enrolled(&self, agency: &AgencyId) -> Option<&AgencyRecord> {
        self.state.agencies.get(agency).filter(|record| record.standing.is_member())
    }

    fn check_place(&self, asked: &EnrolmentRequest, profile: &Profile) -> Result<(), EnrolError> {
        let others = self.state.agencies.keys().filter(|id| **id != asked.agency);
        if others.filter(|id| self.enrolled(id).is_some()).count() >= AGENCIES_MAX {
            return Err(EnrolError::Full);
        }
        match self.state.contact_point(&asked.agency).filter(|_| profile.contact_point) {
            Some(holder) => Err(EnrolError::ContactPoint { holder: holder.clone() }),
            None => Ok(()),
        }
    }

    /// Whether the certificate in force is revoked, itself or with its issuer, or two thirds of its life are over.
    fn renewal_is_due(&self, agency: &AgencyId, now: Timestamp) -> bool {
        let serial = self.enrolled(agency).map(|record| record.serial);
        let certificate = serial.and_then(|serial| self.state.certificates.get(&serial));
        certificate.is_some_and(|certificate| {
            let CertificateRecord { not_before, not_after, revoked, .. } = *certificate;
            let issuer_revoked = serial.is_some_and(|serial| self.state.issuer_is_revoked(serial));
            issuer_revoked || revoked.is_some() || Period { not_before, not_after }.is_due(now)
        })
    }

    /// A new certificate for the keys there are, which count on for as long as those of a new enrolment would.
    fn reissue(&self, next: &mut State, agency: &AgencyId, now: Timestamp) -> Result<Serial, EnrolError> {
        let serial = next.fresh_serial();
        let identity = member::identity(&next.trust_domain, &Role::Agency(agency.clone()));
        let record = next.agencies.get_mut(agency).ok_or_else(|| EnrolError::Unknown(agency.clone()))?;
        if next.retired_keys.contains(&record.tls_key.0.key_id()) {
            return Err(EnrolError::KeyLost(agency.clone()));
        }
        let tls_key = record.tls_key.0;
        let leaf = self.issuing.leaf(&identity, &tls_key, serial, self.validity.leaf, now)?;
        record.serial = serial;
        record.certificate = Hex(leaf.der.to_vec());
        record.signing_key.extend(now);
        record.sealing_key.extend(now);
        // A request made before, which somebody may have held back, is not granted after this. No request has the digest
        // of a certificate.
        let before = record.granted.map_or(now, |granted| granted.created_at);
        record.granted = Some(Granted { digest: sha256(&[&leaf.der]), created_at: now.max(before) });
        next.note_certificate(serial, (&identity, &tls_key), leaf.period, now);
        Ok(serial)
    }

    /// Makes the bundle of an agency of `next`, commits `next`, and only then hands the bundle out.
    fn make_bundle(
        &mut self,
        mut next: State,
        agency: &AgencyId,
        deed: Deed,
        now: Timestamp,
    ) -> Result<SignedEnrolmentBundle, EnrolError> {
        let publication = self.sign_publication(&mut next, now)?;
        let record = next.agencies.get(agency).ok_or_else(|| EnrolError::Unknown(agency.clone()))?;
        if let Standing::Revoked { at, .. } = record.standing {
            return Err(EnrolError::Revoked { agency: agency.clone(), at });
        }
        let challenge = Challenge::new(&record.sealing_key.key.0, &record.request_digest, &mut randomness())?;
        let signed_version = publication.directory.version();
        let bundle = EnrolmentBundle {
            identity: SpiffeId::agency(next.trust_domain.clone(), agency.clone()),
            request_digest: record.request_digest,
            chain: vec![Bytes::copy_from_slice(&record.certificate.0), next.issuer_of(record.serial)],
            trust: publication.trust,
            directory: publication.directory.encoded().clone(),
            crls: publication.crls,
            challenge,
        };
        let signed = bundle.sign(&self.directory_key);
        self.commit(next, &deed.with("directory", signed_version))?;
        Ok(signed)
    }
}

impl State {
    /// Whether an agency was suspended and its certificate in force revoked: it must bring other keys.
    fn is_shut_out(&self, record: &AgencyRecord) -> bool {
        let revoked = || self.certificates.get(&record.serial).is_some_and(|found| found.revoked.is_some());
        match record.standing {
            Standing::Active | Standing::Revoked { .. } => false,
            Standing::Suspended { .. } => revoked(),
        }
    }

    /// Retires the keys of an agency that comes back with others. Those it signed with until it was suspended or
    /// revoked are returned: what it signed before that counts on.
    fn take_leave(&mut self, agency: &AgencyId) -> Vec<KeyRecord<VerifyingKey>> {
        let Some(record) = self.agencies.get(agency) else { return Vec::new() };
        self.retired_keys.extend(record.key_ids());
        let (Standing::Suspended { since } | Standing::Revoked { since, .. }) = record.standing else {
            return Vec::new();
        };
        // The first moment that does not count is `since`.
        let last = Timestamp::from_millis(since.millis().saturating_sub(1));
        let mut keys: Vec<_> = record.signing_keys().cloned().collect();
        keys.iter_mut().for_each(|key| key.end_at(last));
        keys.retain(|key| key.not_before < key.not_after);
        keys.truncate(KEYS_MAX.saturating_sub(1));
        keys
    }
}
