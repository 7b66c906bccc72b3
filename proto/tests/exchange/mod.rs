//! An exchange of a few agencies, for tests: `ken/ncb`, `ken/immigration`, `fra/ncb`, `tur/border` and INTERPOL, and
//! whoever a test adds. All but `ken/immigration` are contact points.

#![allow(dead_code, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use rand_core::UnwrapErr;
use valise_proto::crypto::SigningKey;
use valise_proto::delegation::Delegation;
use valise_proto::directory::{
    AgencyEntry, AgencyStatus, Directory, DirectoryContent, Function, Origination,
};
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::label::{Affiliation, Ceiling, Classification, Clearance, PolicyId};

pub(crate) fn now() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

pub(crate) fn policy() -> PolicyId {
    "exchange.example".parse().unwrap()
}

pub(crate) fn directory(further: &[&str]) -> Directory {
    let known = ["ken/ncb", "ken/immigration", "fra/ncb", "tur/border", "xpo/general-secretariat"];
    listing(&known.iter().chain(further).map(|name| name.parse().unwrap()).collect::<Vec<_>>())
}

/// A directory of these agencies and no others.
pub(crate) fn listing(agencies: &[AgencyId]) -> Directory {
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
    let content = DirectoryContent {
        trust_domain: "exchange.example".parse().unwrap(),
        policy: policy(),
        version: 7,
        issued_at: now(),
        expires_at: "2026-04-01T00:00:00Z".parse().unwrap(),
        agencies: agencies.iter().map(|id| (id.clone(), agency(id.clone()))).collect(),
        brokers: BTreeMap::new(),
        delegation: delegation.sign(&key),
    };
    content.sign(&key).unwrap()
}

fn agency(id: AgencyId) -> AgencyEntry {
    let function = if matches!(id.unit(), "border" | "immigration") {
        Function::Border
    } else {
        Function::LawEnforcement
    };
    AgencyEntry {
        display_name: id.to_string(),
        functions: BTreeSet::from([function]),
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
