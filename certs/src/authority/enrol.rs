//! Enrolment: a request becomes a certificate, a place in the directory, and a bundle that carries both back.

use bytes::Bytes;
use thiserror::Error;
use valise_proto::crypto::{KeyError, VerifyingKey};
use valise_proto::directory::AGENCIES_MAX;
use valise_proto::enrolment::{
    Challenge, EnrolmentBundle, EnrolmentRequest, SignedEnrolmentBundle, SignedEnrolmentRequest,
};
use valise_proto::id::{AgencyId, KeyId, Role, SpiffeId, Timestamp, TrustDomain};

use super::{Authority, PublishError};
use crate::journal::{Action, Deed};
use crate::member;
use crate::profile::{Profile, ProfileError};
use crate::randomness;
use crate::request::{CsrError, check_csr};
use crate::state::{AgencyRecord, Hex, KeyHolder, KeyRecord, Serial, Standing, State, StateError, Stored};
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
    /// Another member has this key.
    #[error(
        "the request's {what} key {key} belongs to {holder} already; every agency makes its own keys with `valise-agent init`"
    )]
    KeyInUse {
        /// Which of the request's keys.
        what: &'static str,
        /// Its name.
        key: KeyId,
        /// Who has it.
        holder: String,
    },
    /// A revoked member had this key.
    #[error(
        "the request's {what} key {key} was revoked; have the agency make new keys with `valise-agent init` in a new folder"
    )]
    KeyRevoked {
        /// Which of the request's keys.
        what: &'static str,
        /// Its name.
        key: KeyId,
    },
    /// One key for two purposes.
    #[error(
        "the request uses one key for TLS and for signing; have the agency make its keys with `valise-agent init`"
    )]
    OneKeyTwice,
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
        if let Some(record) = self.enrolled(&asked.agency) {
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
        self.check_keys(asked, &tls_key)?;
        self.check_place(asked, profile)?;
        let mut next = self.state.clone();
        let serial = next.fresh_serial();
        let leaf = self.issuing.leaf(&identity, &tls_key, serial, self.validity.leaf, now)?;
        next.note_certificate(serial, &identity, leaf.period, now);
        let record = AgencyRecord {
            standing: Standing::Active,
            profile: profile.clone(),
            enrolled_at: now,
            request_digest: request.digest(),
            tls_key: Stored(tls_key),
            signing_key: KeyRecord::new(asked.signing_key, now),
            sealing_key: KeyRecord::new(asked.sealing_key.clone(), now),
            serial,
            certificate: Hex(leaf.der.to_vec()),
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
            deed = deed.with("serial", self.renew(&mut next, agency, now)?);
        }
        self.make_bundle(next, agency, deed, now)
    }

    fn enrolled(&self, agency: &AgencyId) -> Option<&AgencyRecord> {
        self.state.agencies.get(agency).filter(|record| match record.standing {
            Standing::Active | Standing::Suspended => true,
            Standing::Revoked { .. } => false,
        })
    }

    fn check_keys(&self, asked: &EnrolmentRequest, tls_key: &VerifyingKey) -> Result<(), EnrolError> {
        let keys = [
            ("TLS", tls_key.key_id()),
            ("signing", asked.signing_key.key_id()),
            ("sealing", asked.sealing_key.key_id()),
        ];
        for (what, key) in keys {
            match self.state.key_holder(key) {
                None => {}
                Some(KeyHolder::Retired) => return Err(EnrolError::KeyRevoked { what, key }),
                Some(KeyHolder::Member(holder)) => {
                    return Err(EnrolError::KeyInUse { what, key, holder: member::name(&holder) });
                }
            }
        }
        if tls_key.key_id() == asked.signing_key.key_id() { Err(EnrolError::OneKeyTwice) } else { Ok(()) }
    }

    fn check_place(&self, asked: &EnrolmentRequest, profile: &Profile) -> Result<(), EnrolError> {
        let enrolled = self.state.agencies.keys().filter(|id| self.enrolled(id).is_some());
        if enrolled.clone().count() >= AGENCIES_MAX {
            return Err(EnrolError::Full);
        }
        let contact_point = |id: &&AgencyId| {
            id.state() == asked.agency.state()
                && self.enrolled(id).is_some_and(|record| record.profile.contact_point)
        };
        match enrolled.clone().find(contact_point) {
            Some(holder) if profile.contact_point => Err(EnrolError::ContactPoint { holder: holder.clone() }),
            Some(_) | None => Ok(()),
        }
    }

    fn renewal_is_due(&self, agency: &AgencyId, now: Timestamp) -> bool {
        let certificate =
            self.enrolled(agency).and_then(|record| self.state.certificates.get(&record.serial));
        certificate.is_some_and(|certificate| {
            Period { not_before: certificate.not_before, not_after: certificate.not_after }.is_due(now)
        })
    }

    /// A new certificate for the keys there are, which count on for as long as those of a new enrolment would.
    fn renew(&self, next: &mut State, agency: &AgencyId, now: Timestamp) -> Result<Serial, EnrolError> {
        let serial = next.fresh_serial();
        let identity = member::identity(&next.trust_domain, &Role::Agency(agency.clone()));
        let record = next.agencies.get_mut(agency).ok_or_else(|| EnrolError::Unknown(agency.clone()))?;
        let leaf = self.issuing.leaf(&identity, &record.tls_key.0, serial, self.validity.leaf, now)?;
        record.serial = serial;
        record.certificate = Hex(leaf.der.to_vec());
        record.signing_key.extend(now);
        record.sealing_key.extend(now);
        next.note_certificate(serial, &identity, leaf.period, now);
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
            chain: vec![Bytes::copy_from_slice(&record.certificate.0), self.issuing.certificate.der.clone()],
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
