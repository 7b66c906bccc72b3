//! The directory on the wire.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::convert::{
    classification_from_pb, classification_to_pb, clearance_from_pb, clearance_to_pb, convert_set,
    kind_from_pb, kind_to_pb, parse, required, time_from_pb,
};
use super::scan::{self, Bound};
use super::{WireError, check_body_version, check_count, decode_body, pb};
use crate::crypto::{KeyError, SealingPublicKey, VerifyingKey};
use crate::delegation::SignedDelegation;
use crate::directory::{
    AGENCIES_MAX, AgencyEntry, AgencyStatus, BROKERS_MAX, BrokerEntry, DirectoryContent, ENDPOINTS_MAX,
    Function, KEYS_MAX, KeyEntry, Origination, TEXT_BYTES_MAX,
};
use crate::id::{KeyId, Timestamp};
use crate::label::SET_ENTRIES_MAX;

const AGENCIES: u32 = 7;
const BROKERS: u32 = 8;
const LISTS: [Bound; 2] = [
    Bound { tag: AGENCIES, field: "directory.agencies", max: AGENCIES_MAX },
    Bound { tag: BROKERS, field: "directory.brokers", max: BROKERS_MAX },
];
const CLEARANCE: u32 = 4;
const AGENCY_LISTS: [Bound; 4] = [
    // A second one would be joined to the first, lists and all.
    Bound { tag: CLEARANCE, field: "agency.clearance", max: 1 },
    Bound { tag: 5, field: "agency.origination", max: 1 },
    Bound { tag: 7, field: "agency.signing_keys", max: KEYS_MAX },
    Bound { tag: 8, field: "agency.sealing_keys", max: KEYS_MAX },
];
const CLEARANCE_LISTS: [Bound; 2] = [
    Bound { tag: 3, field: "clearance.compartments", max: SET_ENTRIES_MAX },
    Bound { tag: 4, field: "clearance.affiliations", max: SET_ENTRIES_MAX },
];
const BROKER_LISTS: [Bound; 2] = [
    Bound { tag: 2, field: "broker.endpoints", max: ENDPOINTS_MAX },
    Bound { tag: 3, field: "broker.receipt_keys", max: KEYS_MAX },
];

pub(crate) fn encode(content: &DirectoryContent) -> Bytes {
    super::encode(&pb::Directory {
        format: 1,
        trust_domain: content.trust_domain.to_string(),
        policy: content.policy.to_string(),
        version: content.version,
        issued_at_ms: content.issued_at.millis(),
        expires_at_ms: content.expires_at.millis(),
        agencies: content.agencies.values().map(agency_to_pb).collect(),
        brokers: content.brokers.values().map(broker_to_pb).collect(),
        delegation: content.delegation.encode(),
    })
}

/// The delegation in an encoded directory; of several the last, as a decoder takes it.
pub(crate) fn delegation_of(body: &Bytes) -> Result<SignedDelegation, WireError> {
    const DELEGATION: u32 = 9;
    check_body_version("directory", body)?;
    let found = scan::inside(body, DELEGATION).last();
    SignedDelegation::decode(body.slice_ref(required("directory.delegation", found)?))
}

pub(crate) fn decode(bytes: Bytes) -> Result<DirectoryContent, WireError> {
    check_body_version("directory", &bytes)?;
    check_lists(&bytes)?;
    let message: pb::Directory = decode_body("directory", bytes, &LISTS)?;
    let mut agencies = BTreeMap::new();
    for entry in message.agencies {
        let entry = agency_from_pb(entry)?;
        if let Some(twice) = agencies.insert(entry.id.clone(), entry) {
            return Err(WireError::field("directory.agencies", format!("{} stands there twice", twice.id)));
        }
    }
    let mut brokers = BTreeMap::new();
    for entry in message.brokers {
        let entry = broker_from_pb(entry)?;
        if let Some(twice) = brokers.insert(entry.name.clone(), entry) {
            return Err(WireError::field("directory.brokers", format!("{} stands there twice", twice.name)));
        }
    }
    Ok(DirectoryContent {
        trust_domain: parse("directory.trust_domain", &message.trust_domain)?,
        policy: parse("directory.policy", &message.policy)?,
        version: message.version,
        issued_at: time_from_pb("directory.issued_at_ms", message.issued_at_ms)?,
        expires_at: time_from_pb("directory.expires_at_ms", message.expires_at_ms)?,
        agencies,
        brokers,
        delegation: SignedDelegation::decode(message.delegation)?,
    })
}

/// Counts what the entries hold before memory is taken for it: whoever signs directories is not trusted with a node's
/// memory.
fn check_lists(body: &[u8]) -> Result<(), WireError> {
    for agency in scan::inside(body, AGENCIES) {
        scan::check(agency, &AGENCY_LISTS)?;
        scan::inside(agency, CLEARANCE).try_for_each(|clearance| scan::check(clearance, &CLEARANCE_LISTS))?;
    }
    scan::inside(body, BROKERS).try_for_each(|broker| scan::check(broker, &BROKER_LISTS))
}

fn agency_to_pb(entry: &AgencyEntry) -> pb::AgencyEntry {
    let Origination { kinds, classifications } = &entry.origination;
    pb::AgencyEntry {
        id: entry.id.to_string(),
        display_name: entry.display_name.clone(),
        functions: entry.functions.iter().map(|function| function_to_pb(*function)).collect(),
        clearance: Some(clearance_to_pb(&entry.clearance)),
        origination: Some(pb::Origination {
            kinds: kinds.iter().map(|kind| kind_to_pb(*kind)).collect(),
            classifications: classifications.iter().map(|class| classification_to_pb(*class)).collect(),
        }),
        contact_point: entry.contact_point,
        signing_keys: entry.signing_keys.iter().map(|key| key_to_pb(key, key.key.as_bytes())).collect(),
        sealing_keys: entry.sealing_keys.iter().map(|key| key_to_pb(key, &key.key.to_bytes())).collect(),
        status: status_to_pb(entry.status),
        status_since_ms: entry.status.ended_at().map_or(0, Timestamp::millis),
    }
}

fn agency_from_pb(message: pb::AgencyEntry) -> Result<AgencyEntry, WireError> {
    check_count("agency.display_name", message.display_name.len(), TEXT_BYTES_MAX)?;
    let origination = required("agency.origination", message.origination)?;
    let status = status_from_pb(message.status, message.status_since_ms)?;
    Ok(AgencyEntry {
        id: parse("agency.id", &message.id)?,
        display_name: message.display_name,
        functions: convert_set(&message.functions, function_from_pb)?,
        clearance: clearance_from_pb(message.clearance)?,
        origination: Origination {
            kinds: convert_set(&origination.kinds, kind_from_pb)?,
            classifications: convert_set(&origination.classifications, classification_from_pb)?,
        },
        contact_point: message.contact_point,
        signing_keys: signing_keys_from_pb("agency.signing_keys", message.signing_keys)?,
        sealing_keys: keys_from_pb(
            "agency.sealing_keys",
            message.sealing_keys,
            SealingPublicKey::from_bytes,
            SealingPublicKey::key_id,
        )?,
        status,
    })
}

fn broker_to_pb(entry: &BrokerEntry) -> pb::BrokerEntry {
    pb::BrokerEntry {
        name: entry.name.to_string(),
        endpoints: entry.endpoints.clone(),
        receipt_keys: entry.receipt_keys.iter().map(|key| key_to_pb(key, key.key.as_bytes())).collect(),
    }
}

fn broker_from_pb(message: pb::BrokerEntry) -> Result<BrokerEntry, WireError> {
    check_count("broker.endpoints", message.endpoints.len(), ENDPOINTS_MAX)?;
    for endpoint in &message.endpoints {
        check_count("broker.endpoints", endpoint.len(), TEXT_BYTES_MAX)?;
    }
    Ok(BrokerEntry {
        name: parse("broker.name", &message.name)?,
        endpoints: message.endpoints,
        receipt_keys: signing_keys_from_pb("broker.receipt_keys", message.receipt_keys)?,
    })
}

fn key_to_pb<K>(entry: &KeyEntry<K>, key: &[u8]) -> pb::PublicKey {
    pb::PublicKey {
        key_id: Bytes::copy_from_slice(entry.key_id.as_bytes()),
        key: Bytes::copy_from_slice(key),
        not_before_ms: entry.not_before.millis(),
        not_after_ms: entry.not_after.millis(),
    }
}

fn signing_keys_from_pb(
    field: &'static str,
    messages: Vec<pb::PublicKey>,
) -> Result<Vec<KeyEntry<VerifyingKey>>, WireError> {
    keys_from_pb(field, messages, VerifyingKey::from_bytes, VerifyingKey::key_id)
}

fn keys_from_pb<K>(
    field: &'static str,
    messages: Vec<pb::PublicKey>,
    read: impl Fn(&[u8]) -> Result<K, KeyError>,
    name: impl Fn(&K) -> KeyId,
) -> Result<Vec<KeyEntry<K>>, WireError> {
    check_count(field, messages.len(), KEYS_MAX)?;
    let read_one = |message: pb::PublicKey| {
        let key = read(&message.key).map_err(|error| WireError::field(field, error))?;
        let key_id = name(&key);
        if message.key_id.as_ref() != key_id.as_bytes() {
            return Err(WireError::field(field, format!("the key named otherwise is {key_id}")));
        }
        let not_before = time_from_pb(field, message.not_before_ms)?;
        let not_after = time_from_pb(field, message.not_after_ms)?;
        Ok(KeyEntry { key_id, key, not_before, not_after })
    };
    messages.into_iter().map(read_one).collect()
}

fn function_to_pb(function: Function) -> i32 {
    let message = match function {
        Function::LawEnforcement => pb::Function::LawEnforcement,
        Function::Border => pb::Function::Border,
        Function::Customs => pb::Function::Customs,
        Function::Intelligence => pb::Function::Intelligence,
        Function::Military => pb::Function::Military,
        Function::Judicial => pb::Function::Judicial,
        Function::International => pb::Function::International,
    };
    message.into()
}

fn function_from_pb(number: i32) -> Result<Function, WireError> {
    let found = Function::ALL.into_iter().find(|function| function_to_pb(*function) == number);
    found.ok_or_else(|| WireError::field("agency.functions", format!("{number} is not a function")))
}

fn status_to_pb(status: AgencyStatus) -> i32 {
    let message = match status {
        AgencyStatus::Active => pb::AgencyStatus::Active,
        AgencyStatus::Suspended { .. } => pb::AgencyStatus::Suspended,
        AgencyStatus::Revoked { .. } => pb::AgencyStatus::Revoked,
    };
    message.into()
}

fn status_from_pb(number: i32, since_ms: u64) -> Result<AgencyStatus, WireError> {
    let since = || time_from_pb("agency.status_since_ms", since_ms);
    match pb::AgencyStatus::try_from(number) {
        Ok(pb::AgencyStatus::Active) if since_ms == 0 => Ok(AgencyStatus::Active),
        Ok(pb::AgencyStatus::Suspended) => Ok(AgencyStatus::Suspended { since: since()? }),
        Ok(pb::AgencyStatus::Revoked) => Ok(AgencyStatus::Revoked { since: since()? }),
        Ok(pb::AgencyStatus::Active) => {
            Err(WireError::field("agency.status_since_ms", "an ACTIVE one has none"))
        }
        Ok(pb::AgencyStatus::Unspecified) | Err(_) => Err(WireError::field("agency.status", "not a status")),
    }
}
