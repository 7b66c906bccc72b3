//! An exchange made by hand, for tests: an authority, a broker's keys, agencies and their envelopes.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "shared by several tests, none of which uses all of it; tests stop at the first surprise"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use rand_core::UnwrapErr;
use valise_proto::crypto::{SealingKey, SealingPublicKey, SigningKey, VerifyingKey};
use valise_proto::delegation::{Delegation, SignedDelegation};
use valise_proto::directory::{
    AgencyEntry, AgencyStatus, BrokerEntry, Directory, DirectoryContent, Function, KeyEntry, Origination,
};
use valise_proto::enrolment::{
    Challenge, EnrolmentBundle, SignedEnrolmentBundle, SignedEnrolmentRequest, Trust,
};
use valise_proto::envelope::{
    Envelope, HeaderDraft, NoticeKind, PlainPortion, PortionIndex, Precedence, SealFor, seal,
};
use valise_proto::id::{AgencyId, KeyId, NoticeId, SpiffeId, Timestamp};
use valise_proto::label::{Affiliation, Ceiling, Classification, Clearance, Label, PolicyId};
use valise_proto::receipt::{PurgeCause, Receipt, ReceiptKind, SignedReceipt};
use valise_proto::refusal::Refusal;
use valise_proto::renewal::RenewalRequest;
use zeroize::Zeroizing;

/// Serial number of the certificates that agencies join with.
pub const AGENCY_SERIAL: u64 = 4711;
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub fn rng() -> UnwrapErr<getrandom::SysRng> {
    UnwrapErr(getrandom::SysRng)
}

pub fn agency(name: &str) -> AgencyId {
    name.parse().unwrap()
}

/// The machine's time, so that certificates made by hand are valid.
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

pub struct Member {
    pub signing: SigningKey,
    pub sealing: SealingKey,
}

/// What a root lets the holder of `directory_key` do: everything.
pub fn delegation(root: &SigningKey, directory_key: &SigningKey, start: Timestamp) -> SignedDelegation {
    let delegation = Delegation {
        trust_domain: "exchange.example".parse().unwrap(),
        generation: 1,
        directory_key: directory_key.verifying_key(),
        issuing_key: directory_key.verifying_key(),
        former_issuing_keys: Vec::new(),
        ceiling: Ceiling::unlimited(),
        not_before: start,
        not_after: start.plus(3650 * DAY),
    };
    delegation.sign(root)
}

pub struct Exchange {
    pub start: Timestamp,
    pub root_key: SigningKey,
    pub directory_key: SigningKey,
    pub broker_key: SigningKey,
    pub members: BTreeMap<AgencyId, Member>,
    pub content: DirectoryContent,
    pub authority: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
    /// From when to when the certificates of agencies count; as long as can be unless a test says otherwise.
    pub life: Option<(Timestamp, Timestamp)>,
}

impl Exchange {
    /// An exchange with broker `b1` and these agencies, each cleared up to the classification named with it.
    pub fn new(agencies: &[(&str, Classification)]) -> Self {
        let start = now();
        let mut rng = rng();
        let broker_key = SigningKey::generate(&mut rng);
        let broker = BrokerEntry {
            name: "b1".parse().unwrap(),
            endpoints: vec!["127.0.0.1:9".to_owned()],
            receipt_keys: vec![entry(broker_key.key_id(), broker_key.verifying_key(), start)],
        };
        let (root_key, directory_key) = (SigningKey::generate(&mut rng), SigningKey::generate(&mut rng));
        let delegation = delegation(&root_key, &directory_key, start);
        let mut exchange = Self {
            start,
            root_key,
            directory_key,
            broker_key,
            members: BTreeMap::new(),
            content: DirectoryContent {
                trust_domain: "exchange.example".parse().unwrap(),
                policy: policy(),
                version: 1,
                issued_at: start,
                expires_at: start.plus(30 * DAY),
                agencies: BTreeMap::new(),
                brokers: BTreeMap::from([(broker.name.clone(), broker)]),
                delegation,
            },
            authority: authority(),
            life: None,
        };
        for (name, class) in agencies {
            let member =
                Member { signing: SigningKey::generate(&mut rng), sealing: SealingKey::generate(&mut rng) };
            let keys = (member.signing.verifying_key(), member.sealing.public().clone());
            exchange.list(&agency(name), *class, keys);
            exchange.members.insert(agency(name), member);
        }
        exchange
    }

    /// An exchange without agencies, whose authority has a name of its own.
    pub fn named(name: &str) -> Self {
        Self { authority: authority_named(Some(name)), ..Self::new(&[]) }
    }

    /// Lists an agency with these keys.
    pub fn list(&mut self, id: &AgencyId, class: Classification, keys: (VerifyingKey, SealingPublicKey)) {
        let (signing, sealing) = keys;
        let start = self.start;
        let listed = AgencyEntry {
            id: id.clone(),
            display_name: id.to_string(),
            functions: BTreeSet::from([Function::LawEnforcement]),
            clearance: Clearance {
                policy: policy(),
                class_list: class.and_below(),
                compartments: BTreeSet::new(),
                affiliations: BTreeSet::from([Affiliation::from(id.state())]),
            },
            origination: Origination {
                kinds: NoticeKind::ALL.into_iter().collect(),
                classifications: class.and_below(),
            },
            // A State has one.
            contact_point: !self.content.agencies.values().any(|other| other.id.state() == id.state()),
            signing_keys: vec![entry(signing.key_id(), signing, start)],
            sealing_keys: vec![entry(sealing.key_id(), sealing, start)],
            status: AgencyStatus::Active,
        };
        self.content.agencies.insert(id.clone(), listed);
    }

    pub fn directory(&self) -> Directory {
        self.content.sign(&self.directory_key).unwrap()
    }

    pub fn trust(&self) -> Trust {
        Trust {
            trust_domain: self.content.trust_domain.clone(),
            anchors: vec![Bytes::copy_from_slice(self.authority.der())],
            root_keys: vec![self.root_key.verifying_key()],
        }
    }

    pub fn identity(&self, id: &AgencyId) -> SpiffeId {
        SpiffeId::agency(self.content.trust_domain.clone(), id.clone())
    }

    pub fn broker(&self) -> SpiffeId {
        SpiffeId::broker(self.content.trust_domain.clone(), "b1".parse().unwrap())
    }

    /// Enrols the agency of a request with this clearance and answers with its bundle.
    pub fn enrol(
        &mut self,
        request: &SignedEnrolmentRequest,
        class: Classification,
    ) -> SignedEnrolmentBundle {
        let asked = request.request().clone();
        self.list(&asked.agency, class, (asked.signing_key, asked.sealing_key.clone()));
        self.bundle(request)
    }

    /// Answers a request without listing its agency.
    pub fn bundle(&self, request: &SignedEnrolmentRequest) -> SignedEnrolmentBundle {
        self.bundle_shaped(request, |_| {})
    }

    /// The same with something about it changed before it is signed.
    pub fn bundle_shaped(
        &self,
        request: &SignedEnrolmentRequest,
        shape: impl FnOnce(&mut EnrolmentBundle),
    ) -> SignedEnrolmentBundle {
        let asked = request.request();
        let leaf = self.certify(&asked.csr_der);
        let mut bundle = EnrolmentBundle {
            identity: SpiffeId::agency(asked.trust_domain.clone(), asked.agency.clone()),
            request_digest: request.digest(),
            chain: vec![leaf],
            trust: self.trust(),
            directory: self.directory().encoded().clone(),
            crls: vec![self.crl()],
            challenge: Challenge::new(&asked.sealing_key, &request.digest(), &mut rng()).unwrap(),
        };
        shape(&mut bundle);
        bundle.sign(&self.directory_key)
    }

    /// An agency's certificate for the key and name of a certificate request.
    pub fn certify(&self, csr_der: &[u8]) -> Bytes {
        self.certify_as(csr_der, AGENCY_SERIAL)
    }

    /// The same with this serial number.
    pub fn certify_as(&self, csr_der: &[u8], serial: u64) -> Bytes {
        let mut csr = rcgen::CertificateSigningRequestParams::from_der(&csr_der.to_vec().into()).unwrap();
        csr.params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        csr.params.serial_number = Some(rcgen::SerialNumber::from(serial));
        if let Some((from, until)) = self.life {
            let at =
                |time: Timestamp| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(time.millis());
            (csr.params.not_before, csr.params.not_after) = (at(from), at(until));
        }
        Bytes::copy_from_slice(csr.signed_by(&self.authority).unwrap().der())
    }

    /// What the authority makes of a renewal request: the keys it brings are listed beside those there are, and a
    /// certificate that counts for ninety days is issued.
    pub fn grant(&mut self, request: &RenewalRequest) -> Bytes {
        let now = now();
        let entry = self.content.agencies.get_mut(&request.agency).unwrap();
        request_key(&mut entry.signing_keys, request.signing_key.key_id(), request.signing_key, now);
        request_key(&mut entry.sealing_keys, request.sealing_key.key_id(), request.sealing_key.clone(), now);
        self.content.version += 1;
        self.life = Some((ago(Duration::from_secs(60)), now.plus(90 * DAY)));
        self.certify_as(&request.csr_der, AGENCY_SERIAL + 1)
    }

    pub fn crl(&self) -> Bytes {
        self.crl_of(1, &[])
    }

    /// A revocation list with this number, of certificates with these serial numbers.
    pub fn crl_of(&self, number: u64, revoked: &[u64]) -> Bytes {
        let entry = |serial: &u64| rcgen::RevokedCertParams {
            serial_number: rcgen::SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(2100, 1, 1),
            crl_number: rcgen::SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        Bytes::copy_from_slice(params.signed_by(&self.authority).unwrap().der())
    }

    /// A signed envelope with one UNCLASSIFIED portion, every recipient being able to open it.
    pub fn envelope(
        &self,
        from: &str,
        to: &[&str],
        parts: &[u8],
        shape: impl FnOnce(&mut HeaderDraft),
    ) -> Envelope {
        let label = Label::plain(policy(), Classification::Unclassified);
        self.envelope_in_portions(from, to, &[(label, parts)], shape)
    }

    /// A signed envelope with these portions, every recipient being able to open all of them.
    pub fn envelope_in_portions(
        &self,
        from: &str,
        to: &[&str],
        portions: &[(Label, &[u8])],
        shape: impl FnOnce(&mut HeaderDraft),
    ) -> Envelope {
        let first = |entry: &AgencyEntry| entry.sealing_keys[0].key.clone();
        self.envelope_by_keys((from, to), portions, shape, &first)
    }

    /// A signed envelope with one UNCLASSIFIED portion, sealed to this key of its one recipient.
    pub fn envelope_to_key(&self, from: &str, to: &str, key_id: KeyId, parts: &[u8]) -> Envelope {
        let chosen = |entry: &AgencyEntry| {
            entry.sealing_keys.iter().find(|key| key.key_id == key_id).unwrap().key.clone()
        };
        let label = Label::plain(policy(), Classification::Unclassified);
        self.envelope_by_keys((from, &[to]), &[(label, parts)], |_| {}, &chosen)
    }

    fn envelope_by_keys(
        &self,
        (from, to): (&str, &[&str]),
        portions: &[(Label, &[u8])],
        shape: impl FnOnce(&mut HeaderDraft),
        key_of: &dyn Fn(&AgencyEntry) -> SealingPublicKey,
    ) -> Envelope {
        let mut random = [0; 10];
        rand_core::Rng::fill_bytes(&mut rng(), &mut random);
        let mut draft = HeaderDraft {
            notice_id: NoticeId::new(self.start, random),
            kind: NoticeKind::Deportation,
            originator: agency(from),
            precedence: Precedence::Priority,
            created_at: self.start,
            expires_at: self.start.plus(DAY),
            respond_by: None,
            directory_version: self.content.version,
            in_reply_to: None,
            supersedes: None,
            withdraws: None,
            derived_from: None,
        };
        shape(&mut draft);
        let plain = |(label, parts): &(Label, &[u8])| PlainPortion {
            label: label.clone(),
            parts: Zeroizing::new(parts.to_vec()),
        };
        let portions: Vec<_> = portions.iter().map(plain).collect();
        let for_one = |name: &&str| SealFor {
            agency: agency(name),
            key: key_of(&self.content.agencies[&agency(name)]),
            portions: (0..portions.len()).map(|index| PortionIndex::new(index).unwrap()).collect(),
        };
        let recipients: Vec<_> = to.iter().map(for_one).collect();
        seal(draft, &portions, &recipients, &mut rng()).unwrap().sign(&self.members[&agency(from)].signing)
    }

    /// A receipt of an agency about an envelope.
    pub fn receipt(&self, kind: ReceiptKind, issuer: &str, about: &Envelope) -> SignedReceipt {
        let receipt = Receipt {
            kind,
            notice_id: Some(about.header().notice_id),
            header_digest: about.header_digest(),
            issuer: self.identity(&agency(issuer)),
            recipient: None,
            at: self.start,
            officer: None,
            refusal: None,
            portions: if kind.states_portions() { vec![PortionIndex::new(0).unwrap()] } else { Vec::new() },
            cause: (kind == ReceiptKind::Purged).then_some(PurgeCause::Withdrawn),
        };
        receipt.sign(&self.members[&agency(issuer)].signing)
    }

    /// The broker's ACCEPTED, or its REFUSED with this reason.
    pub fn answer(&self, about: &Envelope, refusal: Option<Refusal>) -> SignedReceipt {
        let receipt = Receipt {
            kind: if refusal.is_some() { ReceiptKind::Refused } else { ReceiptKind::Accepted },
            notice_id: Some(about.header().notice_id),
            header_digest: about.header_digest(),
            issuer: self.broker(),
            recipient: None,
            at: self.start,
            officer: None,
            refusal,
            portions: Vec::new(),
            cause: None,
        };
        receipt.sign(&self.broker_key)
    }
}

/// A notice as its author writes it: from Kenya's border to France's, to one agency. The person is invented.
pub fn notice_json(recipient: &str) -> serde_json::Value {
    serde_json::json!({
        "kind": "DEPORTATION", "precedence": "PRIORITY", "label": "UNCLASSIFIED",
        "legal_basis": "Invented Act, section 1", "purpose": "to test", "review_by": "2035-01-01T00:00:00Z",
        "recipients": [recipient],
        "parts": [
            { "type": "movement", "event": "DEPORTATION", "status": "UNDER_WAY",
              "event_time": "2026-03-01T12:00:00+03:00", "source": "KEN", "destination": "FRA" },
            { "type": "person", "id": "p1", "role": "SUBJECT", "birth_date": "1988-04-12", "citizenships": ["XXX"],
              "names": [{ "kind": "PRIMARY", "surname": "EXAMPLE-SPECIMEN", "given_names": "Nobody" }] },
        ],
    })
}

/// The parts of such a notice, encoded as one portion: content that an agent can show.
pub fn content() -> Vec<u8> {
    let json = notice_json("fra/ncb").to_string();
    let notice = valise_proto::notice::Notice::from_json(json.as_bytes(), &policy(), now()).unwrap();
    let portions = notice.portions();
    assert_eq!(portions.len(), 1);
    portions[0].encode().to_vec()
}

pub fn policy() -> PolicyId {
    "exchange.example".parse().unwrap()
}

fn entry<K>(key_id: KeyId, key: K, start: Timestamp) -> KeyEntry<K> {
    KeyEntry {
        key_id,
        key,
        not_before: Timestamp::from_millis(start.millis() - 1000),
        not_after: start.plus(365 * DAY),
    }
}

/// Lists a key, if it is not, as the one that counts longest.
fn request_key<K>(keys: &mut Vec<KeyEntry<K>>, key_id: KeyId, key: K, start: Timestamp) {
    if keys.iter().all(|listed| listed.key_id != key_id) {
        let mut entry = entry(key_id, key, start);
        entry.not_after = start.plus(400 * DAY);
        keys.push(entry);
    }
}

/// So long before now.
pub fn ago(time: Duration) -> Timestamp {
    Timestamp::from_millis(now().millis() - u64::try_from(time.as_millis()).unwrap())
}

fn authority() -> rcgen::CertifiedIssuer<'static, rcgen::KeyPair> {
    authority_named(None)
}

fn authority_named(name: Option<&str>) -> rcgen::CertifiedIssuer<'static, rcgen::KeyPair> {
    let mut params = rcgen::CertificateParams::default();
    if let Some(name) = name {
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
    }
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    rcgen::CertifiedIssuer::self_signed(params, key).unwrap()
}
