//! An exchange made up for the targets: a root, an authority, two agencies and a broker, whose keys follow from fixed
//! seeds. Everybody may know them, so nothing that counts anywhere is signed with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use valise_proto::crypto::{SealingKey, SigningKey};
use valise_proto::delegation::Delegation;
use valise_proto::directory::{
    AgencyEntry, AgencyStatus, BrokerEntry, Directory, DirectoryContent, Function, KeyEntry, Origination,
};
use valise_proto::enrolment::Trust;
use valise_proto::envelope::NoticeKind;
use valise_proto::id::{AgencyId, KeyId, Timestamp};
use valise_proto::label::{Ceiling, Classification, Clearance, PolicyId};

/// A day.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The time by which everything is judged.
pub fn now() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

/// The policy of all labels.
pub fn policy() -> PolicyId {
    "exchange.example".parse().unwrap()
}

/// The root's key.
pub fn root_key() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

/// The authority's directory key.
pub fn directory_key() -> SigningKey {
    SigningKey::from_seed(&[2; 32])
}

/// The broker's receipt key.
pub fn broker_key() -> SigningKey {
    SigningKey::from_seed(&[4; 32])
}

/// The signing key of `fra/ncb`, `ken/ncb` or whoever else has an id.
pub fn signing_key(agency: &str) -> SigningKey {
    SigningKey::from_seed(&seed(agency))
}

/// The sealing key of an agency.
pub fn sealing_key(agency: &str) -> SealingKey {
    SealingKey::from_seed(&seed(agency)).unwrap()
}

fn seed(agency: &str) -> [u8; 32] {
    [agency.as_bytes().first().copied().unwrap_or_default(); 32]
}

/// An agency's id.
pub fn id(agency: &str) -> AgencyId {
    agency.parse().unwrap()
}

/// What nodes of the exchange trust.
pub static TRUST: LazyLock<Trust> = LazyLock::new(|| Trust {
    trust_domain: "exchange.example".parse().unwrap(),
    anchors: Vec::new(),
    root_keys: vec![root_key().verifying_key()],
});

/// The directory in force: `fra/ncb`, `ken/ncb` and the broker `b1`.
pub static DIRECTORY: LazyLock<Directory> = LazyLock::new(|| content().sign(&directory_key()).unwrap());

/// The root's leave for the authority.
pub fn delegation() -> Delegation {
    Delegation {
        trust_domain: TRUST.trust_domain.clone(),
        generation: 1,
        directory_key: directory_key().verifying_key(),
        issuing_key: SigningKey::from_seed(&[3; 32]).verifying_key(),
        former_issuing_keys: Vec::new(),
        ceiling: Ceiling::unlimited(),
        not_before: now(),
        not_after: now().plus(DAY * 365),
    }
}

/// What the directory says.
pub fn content() -> DirectoryContent {
    let key = broker_key().verifying_key();
    let broker = BrokerEntry {
        name: "b1".parse().unwrap(),
        endpoints: vec!["broker.example:4433".to_owned(), "[::1]:4433".to_owned()],
        receipt_keys: vec![listed(key.key_id(), key)],
    };
    DirectoryContent {
        trust_domain: TRUST.trust_domain.clone(),
        policy: policy(),
        version: 7,
        issued_at: now(),
        expires_at: now().plus(DAY * 30),
        agencies: ["fra/ncb", "ken/ncb"].map(|name| (id(name), agency(name))).into(),
        brokers: BTreeMap::from([(broker.name.clone(), broker)]),
        delegation: delegation().sign(&root_key()),
    }
}

fn agency(name: &str) -> AgencyEntry {
    let id = id(name);
    let (signing, sealing) = (signing_key(name).verifying_key(), sealing_key(name).public().clone());
    AgencyEntry {
        display_name: format!("Invented bureau {name}"),
        functions: BTreeSet::from([Function::LawEnforcement, Function::Border]),
        clearance: Clearance {
            policy: policy(),
            class_list: Classification::Secret.and_below(),
            compartments: BTreeSet::from(["ALPHA".parse().unwrap()]),
            affiliations: BTreeSet::from([id.state().into(), "EUE".parse().unwrap()]),
        },
        origination: Origination {
            kinds: NoticeKind::ALL.into_iter().collect(),
            classifications: Classification::Secret.and_below(),
        },
        contact_point: true,
        signing_keys: vec![listed(signing.key_id(), signing)],
        sealing_keys: vec![listed(sealing.key_id(), sealing)],
        status: AgencyStatus::Active,
        id,
    }
}

fn listed<K>(key_id: KeyId, key: K) -> KeyEntry<K> {
    KeyEntry { key_id, key, not_before: now(), not_after: now().plus(DAY * 90) }
}
