//! The delegation on the wire.

use bytes::Bytes;

use super::convert::{
    classification_from_pb, classification_to_pb, convert_set, parse, parse_set, required, time_from_pb,
};
use super::{WireError, check_count, decode_body, pb};
use crate::crypto::VerifyingKey;
use crate::delegation::{Delegation, FORMER_ISSUING_KEYS_MAX};
use crate::label::{AtMost, Ceiling};

const FORMER: &str = "delegation.former_issuing_keys";

pub(crate) fn encode(delegation: &Delegation) -> Bytes {
    super::encode(&pb::Delegation {
        version: 1,
        trust_domain: delegation.trust_domain.to_string(),
        generation: delegation.generation,
        directory_key: key_to_pb(&delegation.directory_key),
        issuing_key: key_to_pb(&delegation.issuing_key),
        ceiling: Some(ceiling_to_pb(&delegation.ceiling)),
        not_before_ms: delegation.not_before.millis(),
        not_after_ms: delegation.not_after.millis(),
        former_issuing_keys: delegation.former_issuing_keys.iter().map(key_to_pb).collect(),
    })
}

pub(crate) fn decode(bytes: Bytes) -> Result<Delegation, WireError> {
    let message: pb::Delegation = decode_body("delegation", bytes, &[])?;
    let former = &message.former_issuing_keys;
    check_count(FORMER, former.len(), FORMER_ISSUING_KEYS_MAX)?;
    Ok(Delegation {
        trust_domain: parse("delegation.trust_domain", &message.trust_domain)?,
        generation: message.generation,
        directory_key: key("delegation.directory_key", &message.directory_key)?,
        issuing_key: key("delegation.issuing_key", &message.issuing_key)?,
        former_issuing_keys: former.iter().map(|bytes| key(FORMER, bytes)).collect::<Result<_, _>>()?,
        ceiling: ceiling_from_pb(&required("delegation.ceiling", message.ceiling)?)?,
        not_before: time_from_pb("delegation.not_before_ms", message.not_before_ms)?,
        not_after: time_from_pb("delegation.not_after_ms", message.not_after_ms)?,
    })
}

fn key_to_pb(key: &VerifyingKey) -> Bytes {
    Bytes::copy_from_slice(key.as_bytes())
}

fn key(field: &'static str, bytes: &[u8]) -> Result<VerifyingKey, WireError> {
    VerifyingKey::from_bytes(bytes).map_err(|error| WireError::field(field, error))
}

fn ceiling_to_pb(ceiling: &Ceiling) -> pb::Ceiling {
    pb::Ceiling {
        states: Some(names_to_pb(&ceiling.states)),
        classifications: ceiling.classifications.iter().map(|class| classification_to_pb(*class)).collect(),
        compartments: Some(names_to_pb(&ceiling.compartments)),
        affiliations: Some(names_to_pb(&ceiling.affiliations)),
    }
}

fn ceiling_from_pb(message: &pb::Ceiling) -> Result<Ceiling, WireError> {
    let ceiling = Ceiling {
        states: names_from_pb("ceiling.states", message.states.as_ref())?,
        classifications: convert_set(&message.classifications, classification_from_pb)?,
        compartments: names_from_pb("ceiling.compartments", message.compartments.as_ref())?,
        affiliations: names_from_pb("ceiling.affiliations", message.affiliations.as_ref())?,
    };
    ceiling.check_sizes().map_err(|error| WireError::field("ceiling", error))?;
    Ok(ceiling)
}

fn names_to_pb<T: Ord + ToString>(names: &AtMost<T>) -> pb::Names {
    match names {
        AtMost::Any => pb::Names { any: true, names: Vec::new() },
        AtMost::Only(names) => pb::Names { any: false, names: names.iter().map(T::to_string).collect() },
    }
}

fn names_from_pb<T: Ord + std::str::FromStr<Err: std::fmt::Display>>(
    field: &'static str,
    message: Option<&pb::Names>,
) -> Result<AtMost<T>, WireError> {
    let message = required(field, message)?;
    match (message.any, message.names.is_empty()) {
        (true, true) => Ok(AtMost::Any),
        (true, false) => Err(WireError::field(field, "any, and names beside it")),
        (false, _) => parse_set(field, &message.names).map(AtMost::Only),
    }
}
