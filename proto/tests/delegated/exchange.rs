//! An exchange from fixed seeds: a root, an authority for France and Kenya, and two agencies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use valise_proto::crypto::{SealingKey, SigningKey, context};
use valise_proto::delegation::Delegation;
use valise_proto::directory::{
    AgencyEntry, AgencyStatus, BrokerEntry, Directory, DirectoryContent, DirectoryError, Function, KeyEntry,
    Origination,
};
use valise_proto::enrolment::Trust;
use valise_proto::envelope::NoticeKind;
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::label::{AtMost, Ceiling, Classification, Clearance};
use valise_proto::renewal::RenewalRequest;
use valise_proto::wire::Signed;

use crate::raw::{Value, edit};

pub const HOUR: Duration = Duration::from_secs(60 * 60);
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);
pub const MOMENT: Duration = Duration::from_millis(1);

pub fn start() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

pub fn before(at: Timestamp, earlier: Duration) -> Timestamp {
    Timestamp::from_millis(at.millis() - u64::try_from(earlier.as_millis()).unwrap())
}

pub fn root() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

pub fn directory_key() -> SigningKey {
    SigningKey::from_seed(&[2; 32])
}

pub fn issuing_key() -> SigningKey {
    SigningKey::from_seed(&[3; 32])
}

pub fn stranger() -> SigningKey {
    SigningKey::from_seed(&[99; 32])
}

pub fn signing(name: &str) -> SigningKey {
    SigningKey::from_seed(&[name.as_bytes()[0]; 32])
}

pub fn sealing(name: &str) -> SealingKey {
    SealingKey::from_seed(&[name.as_bytes()[0]; 32]).unwrap()
}

pub fn id(name: &str) -> AgencyId {
    name.parse().unwrap()
}

pub fn trust() -> Trust {
    Trust {
        trust_domain: "exchange.example".parse().unwrap(),
        anchors: Vec::new(),
        root_keys: vec![root().verifying_key()],
    }
}

/// France and Kenya, up to CONFIDENTIAL, compartment ALPHA, affiliation EUE.
pub fn ceiling() -> Ceiling {
    Ceiling {
        states: AtMost::Only(BTreeSet::from(["FRA".parse().unwrap(), "KEN".parse().unwrap()])),
        classifications: Classification::Confidential.and_below(),
        compartments: AtMost::Only(BTreeSet::from(["ALPHA".parse().unwrap()])),
        affiliations: AtMost::Only(BTreeSet::from(["EUE".parse().unwrap()])),
    }
}

pub fn delegation() -> Delegation {
    Delegation {
        trust_domain: "exchange.example".parse().unwrap(),
        generation: 3,
        directory_key: directory_key().verifying_key(),
        issuing_key: issuing_key().verifying_key(),
        former_issuing_keys: Vec::new(),
        ceiling: ceiling(),
        not_before: before(start(), DAY),
        not_after: start().plus(365 * DAY),
    }
}

pub fn agency(name: &str) -> AgencyEntry {
    let id = id(name);
    let (signing, sealing) = (signing(name).verifying_key(), sealing(name).public().clone());
    AgencyEntry {
        display_name: format!("Invented bureau {name}"),
        functions: BTreeSet::from([Function::LawEnforcement, Function::Border]),
        clearance: Clearance {
            policy: "exchange.example".parse().unwrap(),
            class_list: Classification::Restricted.and_below(),
            compartments: BTreeSet::from(["ALPHA".parse().unwrap()]),
            affiliations: BTreeSet::from([id.state().into(), "EUE".parse().unwrap()]),
        },
        origination: Origination {
            kinds: NoticeKind::ALL.into_iter().collect(),
            classifications: Classification::Restricted.and_below(),
        },
        contact_point: true,
        signing_keys: vec![listed(signing.key_id(), signing)],
        sealing_keys: vec![listed(sealing.key_id(), sealing)],
        status: AgencyStatus::Active,
        id,
    }
}

fn listed<K>(key_id: valise_proto::id::KeyId, key: K) -> KeyEntry<K> {
    KeyEntry { key_id, key, not_before: before(start(), DAY), not_after: start().plus(90 * DAY) }
}

pub fn content() -> DirectoryContent {
    let broker = SigningKey::from_seed(&[4; 32]).verifying_key();
    let broker = BrokerEntry {
        name: "b1".parse().unwrap(),
        endpoints: vec!["broker.example:4433".to_owned()],
        receipt_keys: vec![listed(broker.key_id(), broker)],
    };
    DirectoryContent {
        trust_domain: "exchange.example".parse().unwrap(),
        policy: "exchange.example".parse().unwrap(),
        version: 7,
        issued_at: start(),
        expires_at: start().plus(30 * DAY),
        agencies: ["fra/ncb", "ken/ncb"].map(|name| (id(name), agency(name))).into(),
        brokers: BTreeMap::from([(broker.name.clone(), broker)]),
        delegation: delegation().sign(&root()),
    }
}

/// The directory of an honest authority, with a change.
pub fn directory(change: impl FnOnce(&mut DirectoryContent)) -> Directory {
    let mut content = content();
    change(&mut content);
    content.sign(&directory_key()).unwrap()
}

/// The same, from the bytes it travels as.
pub fn verify(bytes: &Bytes) -> Result<Directory, DirectoryError> {
    Directory::verify(bytes.clone(), &trust())
}

/// What an authority that is not honest can sign: a directory within a ceiling of its own, but with the delegation that
/// the root did make.
pub fn dishonest(change: impl FnOnce(&mut DirectoryContent)) -> Bytes {
    let mut content = content();
    let given = content.delegation.encode();
    content.delegation = Delegation { ceiling: Ceiling::unlimited(), ..delegation() }.sign(&root());
    change(&mut content);
    let signed = content.sign(&directory_key()).unwrap();
    tampered(signed.encoded(), &[], &|body| *body.field(9) = Value::Bytes(given.to_vec()))
}

/// A directory whose body was changed by hand and signed again by the authority.
pub fn tampered(encoded: &Bytes, path: &[u64], change: &dyn Fn(&mut crate::raw::Message)) -> Bytes {
    let body = Signed::decode(encoded.clone()).unwrap().body;
    Signed::sign(context::DIRECTORY, edit(&body, path, change).into(), &directory_key()).encode()
}

/// What `fra/ncb` asks for: new keys from the seeds 11 to 13.
pub fn renewal() -> RenewalRequest {
    RenewalRequest {
        trust_domain: "exchange.example".parse().unwrap(),
        agency: id("fra/ncb"),
        csr_der: Bytes::from_static(&[0x30, 0x00]),
        signing_key: brought().verifying_key(),
        sealing_key: SealingKey::from_seed(&[12; 32]).unwrap().public().clone(),
        created_at: start().plus(DAY),
    }
}

/// The signing key that [`renewal`] brings.
pub fn brought() -> SigningKey {
    SigningKey::from_seed(&[11; 32])
}
