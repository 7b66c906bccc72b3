//! An exchange made by hand, for tests: an authority, a broker's keys, agencies and their envelopes.

#![allow(dead_code, missing_docs, unreachable_pub)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use rand_core::{Rng, UnwrapErr};
use valise_proto::crypto::{SealingKey, SigningKey};
use valise_proto::delegation::{Delegation, SignedDelegation};
use valise_proto::directory::{
    AgencyEntry, AgencyStatus, BrokerEntry, Directory, DirectoryContent, Function, KeyEntry, Origination,
};
use valise_proto::enrolment::Trust;
use valise_proto::envelope::{
    Envelope, HeaderDraft, NoticeKind, PlainPortion, PortionIndex, Precedence, SealFor, seal,
};
use valise_proto::id::{AgencyId, KeyId, NoticeId, SpiffeId, Timestamp};
use valise_proto::label::{Affiliation, Ceiling, Classification, Clearance, Label, PolicyId};
use zeroize::Zeroizing;

pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);
pub const MINUTE: Duration = Duration::from_secs(60);

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
    pub receipt_key: SigningKey,
    pub members: BTreeMap<AgencyId, Member>,
    pub content: DirectoryContent,
    pub authority: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

/// A certificate and its key, PEM.
pub struct Issued {
    pub chain: String,
    pub key: String,
}

impl Exchange {
    /// An exchange with broker `b1` and these agencies, each cleared up to the classification named with it.
    pub fn new(agencies: &[(&str, Classification)]) -> Self {
        let start = now();
        let receipt_key = SigningKey::generate(&mut rng());
        let broker = BrokerEntry {
            name: "b1".parse().unwrap(),
            endpoints: vec!["127.0.0.1:9".to_owned()],
            receipt_keys: vec![entry(receipt_key.key_id(), receipt_key.verifying_key(), start)],
        };
        let (root_key, directory_key) = (SigningKey::generate(&mut rng()), SigningKey::generate(&mut rng()));
        let delegation = delegation(&root_key, &directory_key, start);
        let mut exchange = Self {
            start,
            root_key,
            directory_key,
            receipt_key,
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
        };
        for (name, class) in agencies {
            exchange.enrol(&agency(name), *class);
        }
        exchange
    }

    fn enrol(&mut self, id: &AgencyId, class: Classification) {
        let member =
            Member { signing: SigningKey::generate(&mut rng()), sealing: SealingKey::generate(&mut rng()) };
        let (signing, sealing) = (member.signing.verifying_key(), member.sealing.public().clone());
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
            contact_point: true,
            signing_keys: vec![entry(signing.key_id(), signing, self.start)],
            sealing_keys: vec![entry(sealing.key_id(), sealing, self.start)],
            status: AgencyStatus::Active,
        };
        self.content.agencies.insert(id.clone(), listed);
        self.members.insert(id.clone(), member);
    }

    pub fn directory(&self) -> Directory {
        self.content.sign(&self.directory_key).unwrap()
    }

    /// The entry of an agency, to be changed; the directory's version rises.
    pub fn change(&mut self, name: &str) -> &mut AgencyEntry {
        self.content.version += 1;
        self.content.agencies.get_mut(&agency(name)).unwrap()
    }

    pub fn trust(&self) -> Trust {
        Trust {
            trust_domain: self.content.trust_domain.clone(),
            anchors: vec![Bytes::copy_from_slice(self.authority.der())],
            root_keys: vec![self.root_key.verifying_key()],
        }
    }

    pub fn broker(&self) -> SpiffeId {
        SpiffeId::broker(self.content.trust_domain.clone(), "b1".parse().unwrap())
    }

    pub fn identity(&self, name: &str) -> SpiffeId {
        SpiffeId::agency(self.content.trust_domain.clone(), agency(name))
    }

    /// A certificate for an agency (client) or a broker (server), with this serial number.
    pub fn issue(&self, identity: &SpiffeId, serial: u64) -> Issued {
        issue(&self.authority, identity, serial)
    }

    /// A certificate for an agency with a key of its own, from `not_before` on.
    pub fn issue_for(
        &self,
        identity: &SpiffeId,
        serial: u64,
        key: rcgen::KeyPair,
        not_before: Timestamp,
    ) -> Issued {
        self.issue_between(identity, serial, key, (not_before, not_before.plus(90 * DAY)))
    }

    pub fn issue_between(
        &self,
        identity: &SpiffeId,
        serial: u64,
        key: rcgen::KeyPair,
        (from, to): (Timestamp, Timestamp),
    ) -> Issued {
        let mut params = leaf(identity, serial);
        (params.not_before, params.not_after) = (date_time(from), date_time(to));
        let leaf = params.signed_by(&key, &self.authority).unwrap();
        Issued { chain: leaf.pem(), key: key.serialize_pem() }
    }

    /// The authority's revocation list.
    pub fn crl(&self, number: u64, revoked: &[u64]) -> Bytes {
        crl(&self.authority, number, revoked, 2100)
    }

    /// What a notice of `from` to these agencies looks like before it is sealed: PRIORITY, one day.
    pub fn draft(&self, from: &str) -> HeaderDraft {
        let mut random = [0; 10];
        rng().fill_bytes(&mut random);
        HeaderDraft {
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
        }
    }

    /// A signed envelope with one portion for each classification; every recipient gets every key, as a dishonest
    /// sender would have it.
    pub fn seal(&self, draft: HeaderDraft, to: &[&str], classes: &[Classification]) -> Envelope {
        let labels = classes.iter().map(|class| Label::plain(policy(), *class)).collect();
        self.seal_labelled(draft, to, labels, b"content")
    }

    pub fn seal_labelled(
        &self,
        draft: HeaderDraft,
        to: &[&str],
        labels: Vec<Label>,
        parts: &[u8],
    ) -> Envelope {
        let portion = |label| PlainPortion { label, parts: Zeroizing::new(parts.to_vec()) };
        let portions: Vec<_> = labels.into_iter().map(portion).collect();
        let every = (0..portions.len()).map(|index| PortionIndex::new(index).unwrap()).collect::<Vec<_>>();
        let for_one = |name: &&str| SealFor {
            agency: agency(name),
            key: self.members[&agency(name)].sealing.public().clone(),
            portions: every.clone(),
        };
        let recipients: Vec<_> = to.iter().map(for_one).collect();
        let key = &self.members[&draft.originator].signing;
        seal(draft, &portions, &recipients, &mut rng()).unwrap().sign(key)
    }

    /// An UNCLASSIFIED envelope.
    pub fn envelope(&self, from: &str, to: &[&str]) -> Envelope {
        self.seal(self.draft(from), to, &[Classification::Unclassified])
    }
}

pub fn policy() -> PolicyId {
    "exchange.example".parse().unwrap()
}

fn entry<K>(key_id: KeyId, key: K, start: Timestamp) -> KeyEntry<K> {
    let not_before = Timestamp::from_millis(start.millis() - 1000);
    KeyEntry { key_id, key, not_before, not_after: start.plus(365 * DAY) }
}

/// An issuing authority below another, under a name of its own.
pub fn issuing(
    root: &rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
    name: &str,
) -> rcgen::CertifiedIssuer<'static, rcgen::KeyPair> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut params = authority_params();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    rcgen::CertifiedIssuer::signed_by(params, key, root).unwrap()
}

pub fn authority() -> rcgen::CertifiedIssuer<'static, rcgen::KeyPair> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    rcgen::CertifiedIssuer::self_signed(authority_params(), key).unwrap()
}

fn authority_params() -> rcgen::CertificateParams {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    params
}

/// A revocation list by some authority, which runs out with the beginning of a year.
pub fn crl(
    authority: &rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
    number: u64,
    revoked: &[u64],
    until: i32,
) -> Bytes {
    let period = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(until, 1, 1));
    crl_of(authority, number, revoked, period)
}

/// A revocation list by some authority, from one time to another.
pub fn crl_between(
    authority: &rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
    number: u64,
    (from, to): (Timestamp, Timestamp),
) -> Bytes {
    crl_of(authority, number, &[], (date_time(from), date_time(to)))
}

fn date_time(at: Timestamp) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(i64::try_from(at.millis() / 1000).unwrap()).unwrap()
}

fn crl_of(
    authority: &rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
    number: u64,
    revoked: &[u64],
    (this_update, next_update): (time::OffsetDateTime, time::OffsetDateTime),
) -> Bytes {
    let entry = |serial: &u64| rcgen::RevokedCertParams {
        serial_number: rcgen::SerialNumber::from(*serial),
        revocation_time: rcgen::date_time_ymd(2020, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let params = rcgen::CertificateRevocationListParams {
        this_update,
        next_update,
        crl_number: rcgen::SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(entry).collect(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    Bytes::copy_from_slice(params.signed_by(authority).unwrap().der())
}

/// A certificate by some authority.
pub fn issue(
    authority: &rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
    identity: &SpiffeId,
    serial: u64,
) -> Issued {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let leaf = leaf(identity, serial).signed_by(&key, authority).unwrap();
    Issued { chain: leaf.pem(), key: key.serialize_pem() }
}

/// What a certificate says that counts nearly for ever.
fn leaf(identity: &SpiffeId, serial: u64) -> rcgen::CertificateParams {
    let mut params = rcgen::CertificateParams::default();
    params.serial_number = Some(rcgen::SerialNumber::from(serial));
    params.subject_alt_names = vec![rcgen::SanType::URI(identity.to_string().try_into().unwrap())];
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![match identity.as_broker() {
        Some(_) => rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        None => rcgen::ExtendedKeyUsagePurpose::ClientAuth,
    }];
    params
}
