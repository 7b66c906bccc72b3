//! Signed documents: the authority's, what agencies ask of it, and receipts.
//!
//! Each target takes a body and signs it as it should be signed, so that what lies behind the signature is reached. It
//! also takes the bytes as they are, as somebody would send them who has no key.

use bytes::Bytes;
use valise_proto::crypto::{context, sha256};
use valise_proto::delegation::SignedDelegation;
use valise_proto::directory::{
    AGENCIES_MAX, BROKERS_MAX, Directory, DirectoryContent, ENDPOINTS_MAX, KEYS_MAX, TEXT_BYTES_MAX,
};
use valise_proto::enrolment::{SignedEnrolmentBundle, SignedEnrolmentRequest, Trust};
use valise_proto::label::SET_ENTRIES_MAX;
use valise_proto::receipt::{OFFICER_BYTES_MAX, SignedReceipt};
use valise_proto::refusal::DETAIL_BYTES_MAX;
use valise_proto::renewal::{RENEWAL_BYTES_MAX, SignedRenewalRequest};
use valise_proto::wire::Signed;
use valise_proto::wire::limits::DIRECTORY_BYTES_MAX;

use crate::exchange::{self, DIRECTORY, TRUST};
use crate::oracle::{bounded, field, refused};

/// The body of a directory, signed by the authority.
///
/// What is read keeps the limits and the ceiling, is kept as it came, and says the same when it is written anew.
pub fn directory(body: &[u8]) -> bool {
    let unsigned = Bytes::copy_from_slice(body);
    let nobody = bounded(body.len(), || Directory::verify(unsigned, &TRUST));
    let signed = Signed::sign(context::DIRECTORY, Bytes::copy_from_slice(body), &exchange::directory_key());
    let encoded = signed.encode();
    let directory = match bounded(body.len(), || Directory::verify(encoded.clone(), &TRUST)) {
        Ok(directory) => directory,
        Err(error) => return nobody.is_ok() || refused(&error),
    };
    assert_eq!(directory.encoded(), &encoded, "the signed bytes are not those that came");
    assert!(encoded.len() <= DIRECTORY_BYTES_MAX);
    check_directory(directory.content());
    let again = directory.content().sign(&exchange::directory_key()).unwrap();
    assert_eq!(again.content(), directory.content(), "what was read is not what was written");
    assert_eq!(directory.check_may_replace(&directory), Ok(()), "the same bytes are no fork");
    let _ = (directory.check_fresh(exchange::now()), directory.urgency(exchange::now()));
    true
}

fn check_directory(content: &DirectoryContent) {
    assert_eq!(content.check(), Ok(()), "a directory was taken that is not consistent");
    assert_eq!(content.trust_domain, TRUST.trust_domain, "a directory of another exchange was taken");
    assert!(content.agencies.len() <= AGENCIES_MAX && content.brokers.len() <= BROKERS_MAX);
    for (id, entry) in &content.agencies {
        assert_eq!(*id, entry.id, "an entry under another's id");
        assert!(entry.display_name.len() <= TEXT_BYTES_MAX);
        assert!(entry.signing_keys.len() <= KEYS_MAX && entry.sealing_keys.len() <= KEYS_MAX);
        assert!(entry.clearance.compartments.len() <= SET_ENTRIES_MAX);
        assert!(entry.clearance.affiliations.len() <= SET_ENTRIES_MAX);
        assert_eq!(entry.clearance.policy, content.policy, "a clearance of another policy");
        assert!(
            entry.signing_keys.iter().all(|key| key.key_id == key.key.key_id()),
            "a key under another name"
        );
    }
    for entry in content.brokers.values() {
        assert!(entry.endpoints.len() <= ENDPOINTS_MAX && entry.receipt_keys.len() <= KEYS_MAX);
        assert!(entry.endpoints.iter().all(|endpoint| endpoint.len() <= TEXT_BYTES_MAX));
    }
}

/// The body of a delegation, signed by the root.
pub fn delegation(body: &[u8]) -> bool {
    let _ = bounded(body.len(), || SignedDelegation::decode(Bytes::copy_from_slice(body)));
    let signed = Signed::sign(context::DELEGATION, Bytes::copy_from_slice(body), &exchange::root_key());
    let encoded = signed.encode();
    let delegation = match bounded(body.len(), || SignedDelegation::decode(encoded.clone())) {
        Ok(delegation) => delegation,
        Err(error) => return refused(&error),
    };
    assert_eq!(delegation.encode(), encoded, "the signed bytes are not those that came");
    let content = delegation.delegation();
    assert!(content.former_issuing_keys.len() <= 14 && content.ceiling.check_sizes().is_ok());
    assert!(content.ceiling.is_within(&content.ceiling), "a ceiling that is not within itself");
    let again = content.clone().sign(&exchange::root_key());
    assert_eq!(again.delegation(), content);
    let read = SignedDelegation::decode(again.encode());
    assert_eq!(read.as_ref(), Ok(&again), "what was read is not what was written");
    match delegation.verify(&TRUST) {
        Ok(()) => assert_eq!(content.trust_domain, TRUST.trust_domain),
        Err(error) => assert!(!refused(&error)),
    }
    true
}

/// The body of an enrolment request, signed by the key it carries where that is the one of `fra/ncb`; or the text of
/// one, as a file carried by hand.
pub fn enrolment_request(bytes: &[u8]) -> bool {
    let by_hand = std::str::from_utf8(bytes)
        .ok()
        .map(|text| bounded(bytes.len(), || SignedEnrolmentRequest::from_pem(text)));
    let signed = Signed::sign(
        context::ENROLMENT_REQUEST,
        Bytes::copy_from_slice(bytes),
        &exchange::signing_key("fra/ncb"),
    );
    let read = match by_hand {
        Some(Ok(request)) => Ok(request),
        Some(Err(_)) | None => bounded(bytes.len(), || SignedEnrolmentRequest::decode(signed.encode())),
    };
    let request = match read {
        Ok(request) => request,
        Err(error) => return refused(&error),
    };
    let back = SignedEnrolmentRequest::from_pem(&request.to_pem());
    assert_eq!(back.as_ref(), Ok(&request), "what was read is not what was written");
    let again = Signed::decode(request.encode()).unwrap();
    assert_eq!(again.verify(context::ENROLMENT_REQUEST, &request.request().signing_key), Ok(()));
    assert_eq!(request.digest(), sha256(&[&again.body]));
    assert_eq!(request.fingerprint().len(), 39, "eight groups of four digits, joined");
    true
}

/// The body of a renewal request, signed with the keys of `fra/ncb`, of now and brought, which are the same here; or the
/// text of one.
pub fn renewal_request(bytes: &[u8]) -> bool {
    let key = exchange::signing_key("fra/ncb");
    let by_hand = std::str::from_utf8(bytes)
        .ok()
        .map(|text| bounded(bytes.len(), || SignedRenewalRequest::from_pem(text)));
    let signed = Signed::sign(context::RENEWAL_REQUEST, Bytes::copy_from_slice(bytes), &key);
    let possession = key.sign(context::RENEWAL_POSSESSION, bytes);
    let possession = [field(1, possession.key_id.as_bytes()), field(2, &possession.value)].concat();
    let encoded = Bytes::from([field(1, &signed.encode()), field(2, &possession)].concat());
    let request = match by_hand {
        Some(Ok(request)) => request,
        Some(Err(_)) | None => match bounded(bytes.len(), || SignedRenewalRequest::decode(encoded)) {
            Ok(request) => request,
            Err(error) => return refused(&error),
        },
    };
    assert!(request.encode().len() <= RENEWAL_BYTES_MAX, "a request that no first frame has room for");
    let back = SignedRenewalRequest::from_pem(&request.to_pem());
    assert_eq!(back.as_ref(), Ok(&request), "what was read is not what was written");
    for entry in DIRECTORY.content().agencies.values() {
        if request.verify_by(entry, exchange::now()).is_ok() {
            assert_eq!(request.request().agency, entry.id, "a request of another agency was taken");
        }
    }
    true
}

/// The body of a bundle, signed by the authority whose directory is in it.
pub fn enrolment_bundle(body: &[u8]) -> bool {
    let key = exchange::directory_key();
    let signed = Signed::sign(context::ENROLMENT_BUNDLE, Bytes::copy_from_slice(body), &key);
    let bundle = match bounded(body.len(), || SignedEnrolmentBundle::decode(signed.encode())) {
        Ok(bundle) => bundle,
        Err(error) => return refused(&error),
    };
    let content = bundle.bundle();
    assert!(content.chain.len() <= 16 && content.crls.len() <= 16);
    assert!(content.trust.anchors.len() <= 16 && content.trust.root_keys.len() <= 16);
    let back = SignedEnrolmentBundle::from_pem(&bundle.to_pem());
    assert_eq!(back.as_ref(), Ok(&bundle), "what was read is not what was written");
    let again = content.clone().sign(&key);
    assert_eq!(again.bundle(), content);
    true
}

/// Roots of trust: the encoded message, or its text.
pub fn trust(bytes: &[u8]) -> bool {
    let by_hand = std::str::from_utf8(bytes).ok().map(|text| bounded(bytes.len(), || Trust::from_pem(text)));
    let trust = match by_hand {
        Some(Ok(trust)) => trust,
        Some(Err(_)) | None => match bounded(bytes.len(), || Trust::decode(Bytes::copy_from_slice(bytes))) {
            Ok(trust) => trust,
            Err(error) => return refused(&error),
        },
    };
    assert!(trust.anchors.len() <= 16 && trust.root_keys.len() <= 16);
    assert_eq!(
        Trust::from_pem(&trust.to_pem()).as_ref(),
        Ok(&trust),
        "what was read is not what was written"
    );
    assert_eq!(Trust::decode(trust.encode()).as_ref(), Ok(&trust));
    true
}

/// The body of a receipt; byte 0 says whether `fra/ncb` or the broker signs it.
///
/// What verifies was stated by whoever signed it, and only what that one may state.
pub fn receipt(bytes: &[u8]) -> bool {
    let [who, body @ ..] = bytes else { return false };
    let by_broker = who % 2 == 1;
    let key = if by_broker { exchange::broker_key() } else { exchange::signing_key("fra/ncb") };
    let signed = Signed::sign(context::RECEIPT, Bytes::copy_from_slice(body), &key);
    let receipt = match bounded(body.len(), || SignedReceipt::decode(signed.encode())) {
        Ok(receipt) => receipt,
        Err(error) => return refused(&error),
    };
    let said = receipt.receipt();
    assert!(said.officer.as_ref().is_none_or(|officer| officer.len() <= OFFICER_BYTES_MAX));
    assert!(said.refusal.as_ref().is_none_or(|refusal| refusal.detail.len() <= DETAIL_BYTES_MAX));
    assert!(said.portions.is_sorted_by(|a, b| a < b), "portions that do not rise");
    assert!(said.portions.is_empty() || said.kind.states_portions(), "{} states no portions", said.kind);
    assert_eq!(SignedReceipt::decode(receipt.encode()).as_ref(), Ok(&receipt));
    let again = said.clone().sign(&key);
    assert_eq!(again, receipt, "a receipt is the one encoding there is of what it says");
    match receipt.verify(&DIRECTORY) {
        Ok(()) => {
            assert_eq!(said.kind.is_of_a_broker(), by_broker, "{} by another than may state it", said.kind);
            let named = said.issuer.as_agency().is_none_or(|agency| *agency == exchange::id("fra/ncb"));
            assert!(named, "a receipt of {} was signed by fra/ncb", said.issuer);
        }
        Err(error) => assert!(!refused(&error)),
    }
    true
}
