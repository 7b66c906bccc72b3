//! Enrolment requests, bundles and roots of trust on the wire.

use bytes::Bytes;

use super::convert::{parse, required, time_from_pb};
use super::scan::{self, Bound};
use super::{WireError, check_body_version, check_count, decode_body, decode_strict, pb};
use crate::crypto::{Sealed, SealingPublicKey, VerifyingKey};
use crate::enrolment::{Challenge, ENROLMENT_BYTES_MAX, EnrolmentBundle, EnrolmentRequest, Trust};
use crate::id::Digest;

/// Most certificates in one chain, CRLs in one bundle, anchors or root keys in one trust.
const ENTRIES_MAX: usize = 16;

const TRUST: u32 = 5;
const BUNDLE_LISTS: [Bound; 3] = [
    Bound { tag: 4, field: "bundle.chain", max: ENTRIES_MAX },
    // A second one would be joined to the first, lists and all.
    Bound { tag: TRUST, field: "bundle.trust", max: 1 },
    Bound { tag: 7, field: "bundle.crls", max: ENTRIES_MAX },
];
const TRUST_LISTS: [Bound; 2] = [
    Bound { tag: 2, field: "trust.anchors", max: ENTRIES_MAX },
    Bound { tag: 3, field: "trust.root_keys", max: ENTRIES_MAX },
];

pub(crate) fn encode_request(request: &EnrolmentRequest) -> Bytes {
    super::encode(&pb::EnrolmentRequest {
        version: 1,
        trust_domain: request.trust_domain.to_string(),
        agency: request.agency.to_string(),
        csr: request.csr_der.clone(),
        signing_key: Bytes::copy_from_slice(request.signing_key.as_bytes()),
        sealing_key: request.sealing_key.to_bytes().into(),
        created_at_ms: request.created_at.millis(),
    })
}

pub(crate) fn decode_request(bytes: Bytes) -> Result<EnrolmentRequest, WireError> {
    check_count("enrolment request", bytes.len(), ENROLMENT_BYTES_MAX)?;
    let message: pb::EnrolmentRequest = decode_body("enrolment request", bytes, &[])?;
    Ok(EnrolmentRequest {
        trust_domain: parse("request.trust_domain", &message.trust_domain)?,
        agency: parse("request.agency", &message.agency)?,
        csr_der: message.csr,
        signing_key: VerifyingKey::from_bytes(&message.signing_key)
            .map_err(|error| WireError::field("request.signing_key", error))?,
        sealing_key: SealingPublicKey::from_bytes(&message.sealing_key)
            .map_err(|error| WireError::field("request.sealing_key", error))?,
        created_at: time_from_pb("request.created_at_ms", message.created_at_ms)?,
    })
}

pub(crate) fn encode_bundle(bundle: &EnrolmentBundle) -> Bytes {
    super::encode(&pb::EnrolmentBundle {
        version: 1,
        identity: bundle.identity.to_string(),
        request_digest: Bytes::copy_from_slice(bundle.request_digest.as_bytes()),
        chain: bundle.chain.clone(),
        trust: Some(trust_to_pb(&bundle.trust)),
        directory: bundle.directory.clone(),
        crls: bundle.crls.clone(),
        challenge_encapsulated: bundle.challenge.sealed.encapsulated.clone().into(),
        challenge_ciphertext: bundle.challenge.sealed.ciphertext.clone().into(),
        challenge_sha256: Bytes::copy_from_slice(bundle.challenge.sha256.as_bytes()),
    })
}

pub(crate) fn decode_bundle(bytes: Bytes) -> Result<EnrolmentBundle, WireError> {
    check_count("enrolment bundle", bytes.len(), ENROLMENT_BYTES_MAX)?;
    check_body_version("enrolment bundle", &bytes)?;
    scan::inside(&bytes, TRUST).try_for_each(|trust| scan::check(trust, &TRUST_LISTS))?;
    let message: pb::EnrolmentBundle = decode_body("enrolment bundle", bytes, &BUNDLE_LISTS)?;
    Ok(EnrolmentBundle {
        identity: parse("bundle.identity", &message.identity)?,
        request_digest: digest("bundle.request_digest", &message.request_digest)?,
        chain: message.chain,
        trust: trust_from_pb(required("bundle.trust", message.trust)?)?,
        directory: message.directory,
        crls: message.crls,
        challenge: Challenge {
            sealed: Sealed {
                encapsulated: message.challenge_encapsulated.to_vec(),
                ciphertext: message.challenge_ciphertext.to_vec(),
            },
            sha256: digest("bundle.challenge_sha256", &message.challenge_sha256)?,
        },
    })
}

pub(crate) fn encode_trust(trust: &Trust) -> Bytes {
    super::encode(&trust_to_pb(trust))
}

pub(crate) fn decode_trust(bytes: Bytes) -> Result<Trust, WireError> {
    check_count("trust", bytes.len(), ENROLMENT_BYTES_MAX)?;
    scan::check(&bytes, &TRUST_LISTS)?;
    trust_from_pb(decode_strict("trust", bytes)?)
}

fn trust_to_pb(trust: &Trust) -> pb::Trust {
    pb::Trust {
        trust_domain: trust.trust_domain.to_string(),
        anchors: trust.anchors.clone(),
        root_keys: trust.root_keys.iter().map(|key| Bytes::copy_from_slice(key.as_bytes())).collect(),
    }
}

fn trust_from_pb(message: pb::Trust) -> Result<Trust, WireError> {
    let read = |key: &Bytes| {
        VerifyingKey::from_bytes(key).map_err(|error| WireError::field("trust.root_keys", error))
    };
    Ok(Trust {
        trust_domain: parse("trust.trust_domain", &message.trust_domain)?,
        anchors: message.anchors,
        root_keys: message.root_keys.iter().map(read).collect::<Result<_, _>>()?,
    })
}

fn digest(field: &'static str, bytes: &[u8]) -> Result<Digest, WireError> {
    Digest::from_bytes(bytes).map_err(|error| WireError::field(field, error))
}
