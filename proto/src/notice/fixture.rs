//! The example notice, an exchange of a few agencies and a receipt, for tests.

use std::collections::{BTreeMap, BTreeSet};

use rand_core::UnwrapErr;

use super::Notice;
use crate::crypto::SigningKey;
use crate::delegation::{Delegation, SignedDelegation};
use crate::directory::{AgencyEntry, AgencyStatus, Directory, DirectoryContent, Function, Origination};
use crate::id::{AgencyId, Digest, NoticeId, SpiffeId, Timestamp};
use crate::label::{Affiliation, Ceiling, Classification, Clearance, PolicyId};
use crate::receipt::{Receipt, ReceiptKind, SignedReceipt};

/// The example that the quickstart sends.
pub(crate) const DEPORTATION: &str = include_str!("../../../deploy/examples/deportation.json");

pub(crate) fn now() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

pub(crate) fn policy() -> PolicyId {
    "exchange.example".parse().unwrap()
}

/// The mistakes that the example has once it is `changed`.
pub(crate) fn mistakes(change: impl FnOnce(&mut serde_json::Value)) -> Vec<String> {
    match read(change) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

/// The example once it is `changed`.
pub(crate) fn notice(change: impl FnOnce(&mut serde_json::Value)) -> Notice {
    read(change).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

fn read(change: impl FnOnce(&mut serde_json::Value)) -> Result<Notice, Vec<super::Mistake>> {
    let mut json: serde_json::Value = serde_json::from_str(DEPORTATION).unwrap();
    change(&mut json);
    Notice::from_json(json.to_string().as_bytes(), &policy(), now())
}

/// `ken/ncb`, `ken/immigration`, `fra/ncb`, `tur/border` and INTERPOL, and further contact points.
pub(crate) fn directory(further: &[&str]) -> Directory {
    let known = ["ken/ncb", "ken/immigration", "fra/ncb", "tur/border", "xpo/general-secretariat"];
    let agencies = known.iter().chain(further).map(|name| agency(name.parse().unwrap()));
    sign(&DirectoryContent {
        trust_domain: "exchange.example".parse().unwrap(),
        policy: policy(),
        version: 7,
        issued_at: now(),
        expires_at: "2026-04-01T00:00:00Z".parse().unwrap(),
        agencies: agencies.map(|entry| (entry.id.clone(), entry)).collect(),
        brokers: BTreeMap::new(),
        delegation: delegation(),
    })
}

/// A delegation of a root that nobody knows, to a key that nobody has.
fn delegation() -> SignedDelegation {
    let key = SigningKey::generate(&mut UnwrapErr(getrandom::SysRng));
    let delegation = Delegation {
        trust_domain: "exchange.example".parse().unwrap(),
        generation: 1,
        directory_key: key.verifying_key(),
        issuing_key: key.verifying_key(),
        former_issuing_keys: Vec::new(),
        ceiling: Ceiling::unlimited(),
        not_before: now(),
        not_after: "2036-01-01T00:00:00Z".parse().unwrap(),
    };
    delegation.sign(&key)
}

pub(crate) fn sign(content: &DirectoryContent) -> Directory {
    content.sign(&SigningKey::generate(&mut UnwrapErr(getrandom::SysRng))).unwrap()
}

fn agency(id: AgencyId) -> AgencyEntry {
    AgencyEntry {
        display_name: id.to_string(),
        functions: BTreeSet::from([Function::LawEnforcement]),
        clearance: Clearance {
            policy: policy(),
            class_list: Classification::Secret.and_below(),
            compartments: BTreeSet::new(),
            affiliations: BTreeSet::from([Affiliation::from(id.state())]),
        },
        origination: Origination::default(),
        contact_point: id.unit() != "immigration",
        signing_keys: Vec::new(),
        sealing_keys: Vec::new(),
        status: AgencyStatus::Active,
        id,
    }
}

pub(crate) fn receipt() -> SignedReceipt {
    let receipt = Receipt {
        kind: ReceiptKind::Delivered,
        notice_id: Some(NoticeId::new(now(), [1; 10])),
        header_digest: Digest::new([2; 32]),
        issuer: SpiffeId::agency("exchange.example".parse().unwrap(), "fra/ncb".parse().unwrap()),
        recipient: None,
        at: now(),
        officer: None,
        refusal: None,
        portions: vec![crate::envelope::PortionIndex::new(0).unwrap()],
        cause: None,
    };
    receipt.sign(&SigningKey::generate(&mut UnwrapErr(getrandom::SysRng)))
}
