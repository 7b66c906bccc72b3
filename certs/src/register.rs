//! What is on record, for people to look at: no passphrase, no lock, no change.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use bytes::Bytes;
use serde::Serialize;
use thiserror::Error;
use valise_proto::crypto::{SealingPublicKey, VerifyingKey, fingerprint};
use valise_proto::enrolment::Trust;
use valise_proto::envelope::NoticeKind;
use valise_proto::id::{AgencyId, BrokerName, KeyId, Role, SpiffeId, Timestamp, TrustDomain};
use valise_proto::label::{Affiliation, Classification, Compartment, PolicyId};

use crate::authority::trust_of;
use crate::folder::{Folder, FolderError};
use crate::member;
use crate::state::{
    self, AgencyRecord, BrokerRecord, CertificateRecord, KeyRecord, RevocationReason, Serial, Standing,
    State, StateError,
};
use crate::x509::{SignError, read_certificate};

/// Why the folder cannot be looked at.
#[derive(Debug, Error)]
pub enum RegisterError {
    /// Nothing there.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The authority's own certificates.
    #[error(transparent)]
    Certificate(#[from] SignError),
    /// Not a member.
    #[error("{0} is not a member; `valise-ca list` shows who is")]
    Unknown(String),
}

/// What an authority has issued and decided.
#[derive(Clone, Debug)]
pub struct Register {
    state: State,
}

/// The authority itself.
#[derive(Clone, Debug, Serialize)]
pub struct AuthorityView {
    /// The exchange.
    pub trust_domain: TrustDomain,
    /// The policy of its labels and clearances.
    pub policy: PolicyId,
    /// When it was founded.
    pub founded_at: Timestamp,
    /// When the root runs out.
    pub root_not_after: Timestamp,
    /// When the issuing certificate runs out.
    pub issuing_not_after: Timestamp,
    /// The key that directories are signed with.
    pub directory_key: KeyId,
    /// Version of the last directory signed; 0 for none.
    pub directory_version: u64,
    /// Number of the last revocation lists signed; 0 for none.
    pub crl_number: u64,
    /// What people compare by telephone when a node is given the roots of trust.
    pub trust_fingerprint: String,
}

/// One member.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum MemberView {
    /// An agency.
    Agency(Box<AgencyView>),
    /// A broker.
    Broker(Box<BrokerView>),
}

/// One agency.
#[derive(Clone, Debug, Serialize)]
pub struct AgencyView {
    /// Its id.
    pub id: AgencyId,
    /// What its certificate says.
    pub identity: SpiffeId,
    /// Its name for people.
    pub display_name: String,
    /// Whether it takes part.
    pub standing: Standing,
    /// What it does.
    pub functions: Vec<&'static str>,
    /// Classifications held.
    pub clearance: BTreeSet<Classification>,
    /// Compartments held.
    pub compartments: BTreeSet<Compartment>,
    /// Its State and organisations.
    pub affiliations: BTreeSet<Affiliation>,
    /// Kinds of notice it may originate.
    pub originate_kinds: BTreeSet<NoticeKind>,
    /// Classifications it may originate.
    pub originate_classifications: BTreeSet<Classification>,
    /// Whether paragraph-3 notices for its State go to it.
    pub contact_point: bool,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// Fingerprint of the request it was enrolled with.
    pub request_fingerprint: String,
    /// The keys that the directory lists, those of now before those of former times.
    pub keys: Vec<KeyView>,
    /// Its certificates, newest first.
    pub certificates: Vec<CertificateView>,
}

/// One broker.
#[derive(Clone, Debug, Serialize)]
pub struct BrokerView {
    /// Its name.
    pub name: BrokerName,
    /// What its certificate says.
    pub identity: SpiffeId,
    /// Whether it takes part.
    pub standing: Standing,
    /// Where it listens.
    pub endpoints: Vec<String>,
    /// When its newest kit was issued.
    pub issued_at: Timestamp,
    /// Its receipt keys, newest first.
    pub keys: Vec<KeyView>,
    /// Its certificates, newest first.
    pub certificates: Vec<CertificateView>,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum KeyUse {
    /// Signing notices.
    Signing,
    /// Being sealed to.
    Sealing,
    /// Signing receipts.
    Receipt,
}

impl fmt::Display for KeyUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signing => "signing key",
            Self::Sealing => "sealing key",
            Self::Receipt => "receipt key",
        })
    }
}

/// One key.
#[derive(Clone, Debug, Serialize)]
pub struct KeyView {
    /// What for.
    #[serde(rename = "use")]
    pub for_use: KeyUse,
    /// Its name.
    pub key_id: KeyId,
    /// First moment at which it counts.
    pub not_before: Timestamp,
    /// Last moment at which it counts.
    pub not_after: Timestamp,
}

impl KeyView {
    fn of<K>(for_use: KeyUse, record: &KeyRecord<K>, name: impl Fn(&K) -> KeyId) -> Self {
        let KeyRecord { key, not_before, not_after } = record;
        Self { for_use, key_id: name(&key.0), not_before: *not_before, not_after: *not_after }
    }
}

/// One certificate.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateView {
    /// Its number.
    pub serial: Serial,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// First moment at which it counts.
    pub not_before: Timestamp,
    /// Last moment at which it counts.
    pub not_after: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Why it was.
    pub revocation_reason: Option<RevocationReason>,
}

impl Register {
    /// Reads a folder. That its state was not altered is checked against the key it names itself, which shows damage;
    /// only opening the authority shows malice.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn open(dir: &Path) -> Result<Self, RegisterError> {
        let folder = Folder::new(dir);
        folder.check_initialised()?;
        Ok(Self::of(state::load(&folder.state(), None)?))
    }

    pub(crate) fn of(state: State) -> Self {
        Self { state }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// The roots of trust.
    #[must_use]
    pub fn trust(&self) -> Trust {
        trust_of(&self.state)
    }

    /// The authority itself.
    ///
    /// # Errors
    /// [`RegisterError::Certificate`].
    pub fn authority(&self) -> Result<AuthorityView, RegisterError> {
        let state = &self.state;
        let end =
            |der: &[u8]| Ok::<_, SignError>(read_certificate(Bytes::copy_from_slice(der))?.period.not_after);
        Ok(AuthorityView {
            trust_domain: state.trust_domain.clone(),
            policy: state.policy.clone(),
            founded_at: state.founded_at,
            root_not_after: end(&state.root_certificate.0)?,
            issuing_not_after: end(&state.issuing_certificate.0)?,
            directory_key: state.directory_key.0.key_id(),
            directory_version: state.directory_version,
            crl_number: state.crl_number,
            trust_fingerprint: self.trust().fingerprint(),
        })
    }

    /// Brokers and agencies, in the order of their names.
    #[must_use]
    pub fn members(&self) -> Vec<MemberView> {
        let brokers = self.state.brokers.iter().map(|(name, record)| self.broker_view(name, record));
        let agencies = self.state.agencies.iter().map(|(id, record)| self.agency_view(id, record));
        brokers.chain(agencies).collect()
    }

    /// One member.
    ///
    /// # Errors
    /// [`RegisterError::Unknown`].
    pub fn member(&self, member: &Role) -> Result<MemberView, RegisterError> {
        let found = match member {
            Role::Agency(id) => self.state.agencies.get(id).map(|record| self.agency_view(id, record)),
            Role::Broker(name) => self.state.brokers.get(name).map(|record| self.broker_view(name, record)),
        };
        found.ok_or_else(|| RegisterError::Unknown(member::name(member)))
    }

    fn agency_view(&self, id: &AgencyId, record: &AgencyRecord) -> MemberView {
        let identity = SpiffeId::agency(self.state.trust_domain.clone(), id.clone());
        let profile = &record.profile;
        let clearance = profile.clearance.to_clearance(id.state(), &self.state.policy);
        let origination = profile.origination();
        let signing = record.signing_keys();
        let signing = signing.map(|key| KeyView::of(KeyUse::Signing, key, VerifyingKey::key_id));
        let sealing = record.sealing_keys();
        let sealing = sealing.map(|key| KeyView::of(KeyUse::Sealing, key, SealingPublicKey::key_id));
        MemberView::Agency(Box::new(AgencyView {
            id: id.clone(),
            display_name: profile.display_name.clone().unwrap_or_else(|| id.to_string()),
            standing: record.standing,
            functions: profile.functions.iter().map(|function| function.as_str()).collect(),
            clearance: clearance.class_list,
            compartments: clearance.compartments,
            affiliations: clearance.affiliations,
            originate_kinds: origination.kinds,
            originate_classifications: origination.classifications,
            contact_point: profile.contact_point,
            enrolled_at: record.enrolled_at,
            request_fingerprint: fingerprint(&record.request_digest),
            keys: signing.chain(sealing).collect(),
            certificates: self.certificates(&identity),
            identity,
        }))
    }

    fn broker_view(&self, name: &BrokerName, record: &BrokerRecord) -> MemberView {
        let identity = SpiffeId::broker(self.state.trust_domain.clone(), name.clone());
        MemberView::Broker(Box::new(BrokerView {
            name: name.clone(),
            standing: record.standing,
            endpoints: record.endpoints.clone(),
            issued_at: record.issued_at,
            keys: record
                .receipt_keys
                .iter()
                .rev()
                .map(|key| KeyView::of(KeyUse::Receipt, key, VerifyingKey::key_id))
                .collect(),
            certificates: self.certificates(&identity),
            identity,
        }))
    }

    fn certificates(&self, holder: &SpiffeId) -> Vec<CertificateView> {
        let of_holder = self.state.certificates.iter().filter(|(_, record)| record.holder == *holder);
        let view = |(serial, record): (&Serial, &CertificateRecord)| CertificateView {
            serial: *serial,
            issued_at: record.issued_at,
            not_before: record.not_before,
            not_after: record.not_after,
            revoked_at: record.revoked.map(|revoked| revoked.at),
            revocation_reason: record.revoked.map(|revoked| revoked.reason),
        };
        let mut views: Vec<_> = of_holder.map(view).collect();
        views.sort_by_key(|view| std::cmp::Reverse(view.issued_at));
        views
    }
}
