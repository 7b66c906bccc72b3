//! Renewal requests on the wire.

use bytes::Bytes;

use super::convert::{parse, required, time_from_pb};
use super::{
    Signed, WireError, check_count, decode_body, decode_strict, pb, signature_from_pb, signature_to_pb,
};
use crate::crypto::{SealingPublicKey, Signature, VerifyingKey};
use crate::renewal::{RENEWAL_BYTES_MAX, RenewalRequest};

pub(crate) fn encode(request: &RenewalRequest) -> Bytes {
    super::encode(&pb::RenewalRequest {
        version: 1,
        trust_domain: request.trust_domain.to_string(),
        agency: request.agency.to_string(),
        csr: request.csr_der.clone(),
        signing_key: Bytes::copy_from_slice(request.signing_key.as_bytes()),
        sealing_key: request.sealing_key.to_bytes().into(),
        created_at_ms: request.created_at.millis(),
    })
}

pub(crate) fn decode(bytes: Bytes) -> Result<RenewalRequest, WireError> {
    let message: pb::RenewalRequest = decode_body("renewal request", bytes, &[])?;
    Ok(RenewalRequest {
        trust_domain: parse("renewal.trust_domain", &message.trust_domain)?,
        agency: parse("renewal.agency", &message.agency)?,
        csr_der: message.csr,
        signing_key: VerifyingKey::from_bytes(&message.signing_key)
            .map_err(|error| WireError::field("renewal.signing_key", error))?,
        sealing_key: SealingPublicKey::from_bytes(&message.sealing_key)
            .map_err(|error| WireError::field("renewal.sealing_key", error))?,
        created_at: time_from_pb("renewal.created_at_ms", message.created_at_ms)?,
    })
}

pub(crate) fn encode_signed(signed: &Signed, possession: &Signature) -> Bytes {
    super::encode(&pb::SignedRenewalRequest {
        request: Some(signed.to_pb()),
        possession: Some(signature_to_pb(possession)),
    })
}

pub(crate) fn decode_signed(bytes: Bytes) -> Result<(Signed, Signature), WireError> {
    check_count("renewal request", bytes.len(), RENEWAL_BYTES_MAX)?;
    let message: pb::SignedRenewalRequest = decode_strict("renewal request", bytes)?;
    let signed = Signed::from_pb(required("renewal.request", message.request)?)?;
    Ok((signed, signature_from_pb(message.possession)?))
}
