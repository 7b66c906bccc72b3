//! Who may have an agency's certificate renewed, and which keys may be brought.

use bytes::Bytes;
use valise_proto::crypto::{Signature, context};
use valise_proto::directory::{AgencyEntry, AgencyStatus, KeyEntry};
use valise_proto::enrolment::EnrolmentError;
use valise_proto::id::{KeyId, Timestamp};
use valise_proto::renewal::{
    RENEWAL_BYTES_MAX, RENEWAL_PEM_LABEL, RenewalError, RenewalRequest, SignedRenewalRequest,
};
use valise_proto::wire::WireError;

use crate::exchange::{DAY, MOMENT, agency, before, brought, id, renewal, signing, start, stranger};
use crate::raw::{Message, Value, edit};

/// The request's own signature, and that of the key it brings.
const REQUEST: u64 = 1;
const POSSESSION: u64 = 2;
const BODY: u64 = 1;
const SIGNATURE: u64 = 2;

fn signed() -> SignedRenewalRequest {
    renewal().sign(&signing("fra/ncb"), &brought())
}

fn decode(bytes: Vec<u8>) -> Result<SignedRenewalRequest, RenewalError> {
    SignedRenewalRequest::decode(Bytes::from(bytes))
}

/// Altered on the way.
fn altered(path: &[u64], change: &dyn Fn(&mut Message)) -> Result<SignedRenewalRequest, RenewalError> {
    decode(edit(&signed().encode(), path, change))
}

fn unknown(key: KeyId, at: Timestamp) -> Result<(), RenewalError> {
    Err(RenewalError::UnknownKey { agency: id("fra/ncb"), key, at })
}

#[test]
fn g01_a_renewal_request_comes_back_the_same_from_bytes_and_text() {
    let signed = signed();
    let read = SignedRenewalRequest::decode(signed.encode()).unwrap();
    assert_eq!(read, signed);
    assert_eq!(read.request(), &renewal());
    assert_eq!(read.digest(), signed.digest());
    assert_eq!(read.signed_by(), signing("fra/ncb").key_id());
    let text = signed.to_pem();
    assert!(text.starts_with(&format!("-----BEGIN {RENEWAL_PEM_LABEL}-----\n")), "{text}");
    assert_eq!(SignedRenewalRequest::from_pem(&text).unwrap(), signed);
    assert_eq!(signed.fingerprint().len(), 39);
}

#[test]
fn g01_only_a_text_with_its_own_label_is_a_renewal_request() {
    let other = signed().to_pem().replace(RENEWAL_PEM_LABEL, "VALISE ENROLMENT REQUEST");
    let error = SignedRenewalRequest::from_pem(&other).unwrap_err();
    assert!(matches!(error, EnrolmentError::Pem { expected: RENEWAL_PEM_LABEL, .. }), "{error}");
    assert!(SignedRenewalRequest::from_pem("").is_err());
    let empty = format!("-----BEGIN {RENEWAL_PEM_LABEL}-----\n-----END {RENEWAL_PEM_LABEL}-----\n");
    assert!(matches!(SignedRenewalRequest::from_pem(&empty), Err(EnrolmentError::Renewal(_))));
}

#[test]
fn g01_the_agencys_key_of_now_vouches_with_the_keys_it_has_or_with_new_ones() {
    let entry = agency("fra/ncb");
    assert_eq!(signed().verify_by(&entry, start()), Ok(()));
    let current = signing("fra/ncb");
    let same = RenewalRequest { signing_key: current.verifying_key(), ..renewal() };
    let same = same.sign(&current, &current);
    let read = SignedRenewalRequest::decode(same.encode()).unwrap();
    assert_eq!(read.verify_by(&entry, start()), Ok(()));
}

#[test]
fn g01_a_key_that_is_not_possessed_cannot_be_brought() {
    // The agency asks for a key of somebody else's, which did not sign.
    for signer in [stranger(), signing("fra/ncb")] {
        let request = renewal().sign(&signing("fra/ncb"), &signer);
        assert_eq!(SignedRenewalRequest::decode(request.encode()), Err(RenewalError::NoPossession));
    }
    let missing = altered(&[], &|message| message.remove(POSSESSION));
    assert!(matches!(missing, Err(RenewalError::Malformed(_))), "{missing:?}");
}

#[test]
fn g01_each_signature_counts_in_its_own_place_only() {
    let both = signed().encode();
    let swapped = edit(&both, &[], &|message| {
        let request = Message::read(message.bytes(REQUEST)).bytes(SIGNATURE).clone();
        let possession = std::mem::replace(message.bytes(POSSESSION), request);
        *message.bytes(REQUEST) = edit(message.bytes(REQUEST), &[], &|inner| {
            *inner.bytes(SIGNATURE) = possession.clone();
        });
    });
    assert_eq!(decode(swapped), Err(RenewalError::NoPossession));
    // With one key for both, only the context tells them apart.
    let key = signing("fra/ncb");
    let same = RenewalRequest { signing_key: key.verifying_key(), ..renewal() }.sign(&key, &key);
    let twice = edit(&same.encode(), &[REQUEST], &|request| {
        let body = request.bytes(BODY).clone();
        *request.bytes(SIGNATURE) = encode(&key.sign(context::RENEWAL_POSSESSION, &body));
    });
    let error = decode(twice).unwrap().verify_by(&agency("fra/ncb"), start());
    assert_eq!(error, Err(RenewalError::BadSignature));
}

fn encode(signature: &Signature) -> Vec<u8> {
    let fields = [(1, signature.key_id.as_bytes().to_vec()), (2, signature.value.to_vec())];
    Message(fields.into_iter().map(|(tag, bytes)| (tag, Value::Bytes(bytes))).collect()).write()
}

#[test]
fn g01_a_key_vouches_only_while_it_counts() {
    let entry = agency("fra/ncb");
    let (key, from, to) =
        (entry.signing_keys[0].key_id, entry.signing_keys[0].not_before, entry.signing_keys[0].not_after);
    assert_eq!(signed().verify_by(&entry, from), Ok(()));
    assert_eq!(signed().verify_by(&entry, to), Ok(()));
    for at in [before(from, MOMENT), to.plus(MOMENT)] {
        assert_eq!(signed().verify_by(&entry, at), unknown(key, at));
    }
    let by_stranger = renewal().sign(&stranger(), &brought());
    assert_eq!(by_stranger.verify_by(&entry, start()), unknown(stranger().key_id(), start()));
    // The key that is brought does not vouch for itself.
    let by_itself = renewal().sign(&brought(), &brought());
    assert_eq!(by_itself.verify_by(&entry, start()), unknown(brought().key_id(), start()));
}

/// It may be former because it was stolen, and stays listed for what was signed with it before.
#[test]
fn g01_a_former_key_that_is_still_listed_does_not_vouch() {
    let mut entry = agency("fra/ncb");
    let next = KeyEntry {
        key_id: brought().key_id(),
        key: brought().verifying_key(),
        not_before: start(),
        not_after: start().plus(DAY * 365),
    };
    entry.signing_keys.push(next);
    let at = start().plus(MOMENT);
    assert!(entry.signing_keys[0].is_valid_at(at), "it is still listed, and counts for what it signed");
    assert_eq!(signed().verify_by(&entry, at), unknown(entry.signing_keys[0].key_id, at));
    assert_eq!(renewal().sign(&brought(), &brought()).verify_by(&entry, at), Ok(()));
    entry.signing_keys.swap(0, 1);
    assert!(signed().verify_by(&entry, at).is_err(), "whatever their order");
}

#[test]
fn g01_whether_the_agency_takes_part_is_left_to_the_caller() {
    let status = AgencyStatus::Suspended { since: start() };
    let entry = AgencyEntry { status, ..agency("fra/ncb") };
    assert_eq!(signed().verify_by(&entry, start().plus(DAY)), Ok(()));
}

#[test]
fn g01_a_request_cannot_be_replayed_for_another_agency() {
    // Shown for Kenya as it is: it names France.
    let kenya = agency("ken/ncb");
    assert!(matches!(signed().verify_by(&kenya, start()), Err(RenewalError::UnknownKey { .. })));
    // Even if Kenya's entry listed France's key.
    let keys = agency("fra/ncb").signing_keys;
    let both = AgencyEntry { signing_keys: keys, ..agency("ken/ncb") };
    assert!(matches!(signed().verify_by(&both, start()), Err(RenewalError::UnknownKey { .. })));
    // Rewritten for Kenya: the key it brings did not sign that.
    let rewritten = altered(&[REQUEST, BODY], &|body| *body.bytes(3) = b"ken/ncb".to_vec());
    assert_eq!(rewritten, Err(RenewalError::NoPossession));
    // Made by France for Kenya, with every signature France can make.
    let forged = RenewalRequest { agency: id("ken/ncb"), ..renewal() };
    let forged = forged.sign(&signing("fra/ncb"), &brought());
    assert!(matches!(forged.verify_by(&kenya, start()), Err(RenewalError::UnknownKey { .. })));
    // The same under the name of Kenya's key.
    let renamed = edit(&forged.encode(), &[REQUEST, SIGNATURE], &|signature| {
        *signature.bytes(1) = signing("ken/ncb").key_id().as_bytes().to_vec();
    });
    let renamed = decode(renamed).unwrap().verify_by(&kenya, start());
    assert_eq!(renamed, Err(RenewalError::BadSignature));
}

#[test]
fn g01_an_altered_request_is_refused() {
    for (what, tag) in [("trust domain", 2), ("csr", 4), ("sealing key", 6)] {
        let altered = altered(&[REQUEST, BODY], &|body| {
            let last = body.bytes(tag).last_mut().unwrap();
            *last = if *last == b'e' { b'a' } else { *last ^ 1 };
        });
        assert_eq!(altered, Err(RenewalError::NoPossession), "{what}");
    }
    let later = altered(&[REQUEST, BODY], &|body| {
        *body.field(7) = Value::Varint(start().plus(2 * DAY).millis());
    });
    assert_eq!(later, Err(RenewalError::NoPossession));
    let key = altered(&[REQUEST, BODY], &|body| {
        *body.bytes(5) = stranger().verifying_key().as_bytes().to_vec();
    });
    assert_eq!(key, Err(RenewalError::NoPossession));
    let signature = altered(&[REQUEST, SIGNATURE], &|signature| signature.bytes(2)[0] ^= 1);
    let verified = signature.unwrap().verify_by(&agency("fra/ncb"), start());
    assert_eq!(verified, Err(RenewalError::BadSignature));
    let possession = altered(&[POSSESSION], &|signature| signature.bytes(2)[0] ^= 1);
    assert_eq!(possession, Err(RenewalError::NoPossession));
}

#[test]
fn g12_a_renewal_request_holds_nothing_that_this_version_does_not_know() {
    let malformed = |result: Result<SignedRenewalRequest, RenewalError>| match result {
        Err(RenewalError::Malformed(error)) => error,
        other => panic!("{other:?}"),
    };
    let unknown = |what| WireError::Unknown { what };
    for path in [&[][..], &[REQUEST], &[REQUEST, SIGNATURE], &[POSSESSION]] {
        let more = altered(path, &|message| message.push(15, Value::Varint(1)));
        assert_eq!(malformed(more), unknown("renewal request"), "at {path:?}");
    }
    let more = altered(&[REQUEST, BODY], &|body| body.push(15, Value::Varint(1)));
    assert_eq!(malformed(more), unknown("renewal request"));
    let newer = altered(&[REQUEST, BODY], &|body| *body.field(1) = Value::Varint(2));
    assert!(matches!(malformed(newer), WireError::Version { expected: 1, got: 2, .. }));
    let order = altered(&[REQUEST, BODY], &|body| body.0.swap(1, 2));
    assert_eq!(malformed(order), unknown("renewal request"));
    let no_time = altered(&[REQUEST, BODY], &|body| body.remove(7));
    assert!(matches!(malformed(no_time), WireError::Field { field: "renewal.created_at_ms", .. }));
    let weak = altered(&[REQUEST, BODY], &|body| {
        let mut identity = vec![0; 32];
        identity[0] = 1;
        *body.bytes(5) = identity;
    });
    assert!(matches!(malformed(weak), WireError::Field { field: "renewal.signing_key", .. }));
    let short = altered(&[REQUEST, BODY], &|body| body.bytes(6).truncate(1215));
    assert!(matches!(malformed(short), WireError::Field { field: "renewal.sealing_key", .. }));
    let mut trailing = signed().encode().to_vec();
    trailing.push(0);
    assert!(decode(trailing).is_err());
}

#[test]
fn g10_a_renewal_request_has_a_greatest_length() {
    let of = |csr: usize| {
        let request = RenewalRequest { csr_der: vec![7; csr].into(), ..renewal() };
        request.sign(&signing("fra/ncb"), &brought()).encode()
    };
    let rest = of(1000).len() - 1000;
    let longest = of(RENEWAL_BYTES_MAX - rest);
    assert_eq!(longest.len(), RENEWAL_BYTES_MAX);
    assert!(SignedRenewalRequest::decode(longest).is_ok());
    let error = SignedRenewalRequest::decode(of(RENEWAL_BYTES_MAX - rest + 1)).unwrap_err();
    let too_long =
        WireError::TooMany { field: "renewal request", got: RENEWAL_BYTES_MAX + 1, max: RENEWAL_BYTES_MAX };
    assert_eq!(error, RenewalError::Malformed(too_long));
}
