//! The authority's answer to an enrolment request: by whose leave, for which request, and for which key.

use bytes::Bytes;
use rand_core::UnwrapErr;
use valise_proto::crypto::{SealingKey, SigningKey, context};
use valise_proto::delegation::{Delegation, DelegationError};
use valise_proto::directory::DirectoryError;
use valise_proto::enrolment::{
    Challenge, EnrolmentBundle, EnrolmentError, EnrolmentRequest, SignedEnrolmentBundle,
    SignedEnrolmentRequest,
};
use valise_proto::id::SpiffeId;
use valise_proto::wire::{Signed, WireError};

use crate::exchange::{
    delegation, directory, directory_key, id, issuing_key, root, sealing, signing, start, stranger, trust,
};
use crate::raw::{Message, Value, edit};

pub fn request() -> SignedEnrolmentRequest {
    let request = EnrolmentRequest {
        trust_domain: "exchange.example".parse().unwrap(),
        agency: id("fra/ncb"),
        csr_der: Bytes::from_static(&[0x30, 0x00]),
        signing_key: signing("fra/ncb").verifying_key(),
        sealing_key: sealing("fra/ncb").public().clone(),
        created_at: start(),
    };
    request.sign(&signing("fra/ncb"))
}

pub fn bundle() -> EnrolmentBundle {
    let digest = request().digest();
    let mut rng = UnwrapErr(getrandom::SysRng);
    EnrolmentBundle {
        identity: SpiffeId::agency("exchange.example".parse().unwrap(), id("fra/ncb")),
        request_digest: digest,
        chain: vec![Bytes::from_static(b"leaf"), Bytes::from_static(b"issuing authority")],
        trust: trust(),
        directory: directory(|_| {}).encoded().clone(),
        crls: vec![Bytes::from_static(b"list of the root"), Bytes::from_static(b"list of the issuer")],
        challenge: Challenge::new(sealing("fra/ncb").public(), &digest, &mut rng).unwrap(),
    }
}

fn decode(bundle: EnrolmentBundle, key: &SigningKey) -> Result<SignedEnrolmentBundle, EnrolmentError> {
    SignedEnrolmentBundle::decode(bundle.sign(key).encode())
}

#[test]
fn g01_a_bundle_by_the_delegated_key_comes_back_the_same_and_answers_its_request() {
    let made = bundle().sign(&directory_key());
    let read = SignedEnrolmentBundle::decode(made.encode()).unwrap();
    assert_eq!(read, made);
    assert_eq!(SignedEnrolmentBundle::from_pem(&made.to_pem()).unwrap(), made);
    assert_eq!(read.check_answers(&request(), &sealing("fra/ncb")), Ok(()));
}

#[test]
fn g01_a_bundle_by_another_key_than_the_delegated_one_is_refused() {
    for key in [stranger(), root(), issuing_key()] {
        let error = decode(bundle(), &key).unwrap_err();
        assert_eq!(error, EnrolmentError::Altered("enrolment bundle"));
    }
    let body = Signed::decode(bundle().sign(&directory_key()).encode()).unwrap().body;
    let otherwise = Signed::sign(context::DIRECTORY, body, &directory_key());
    let error = SignedEnrolmentBundle::decode(otherwise.encode()).unwrap_err();
    assert_eq!(error, EnrolmentError::Altered("enrolment bundle"));
}

#[test]
fn g01_a_bundle_carries_a_directory_that_its_own_roots_vouch_for() {
    let foreign = directory(|content| content.delegation = delegation().sign(&stranger()));
    let error =
        decode(EnrolmentBundle { directory: foreign.encoded().clone(), ..bundle() }, &directory_key());
    let untrusted = DelegationError::UntrustedKey(stranger().key_id());
    assert_eq!(error, Err(EnrolmentError::Directory(DirectoryError::Delegation(untrusted))));
    // Somebody's whole exchange, made anew under the old name: only the fingerprint shows it.
    let theirs = Delegation { directory_key: stranger().verifying_key(), ..delegation() }.sign(&stranger());
    let mut content = crate::exchange::content();
    content.delegation = theirs;
    let roots = vec![stranger().verifying_key()];
    let other = EnrolmentBundle {
        directory: content.sign(&stranger()).unwrap().encoded().clone(),
        trust: valise_proto::enrolment::Trust { root_keys: roots, ..trust() },
        ..bundle()
    };
    let other = other.sign(&stranger());
    assert!(SignedEnrolmentBundle::decode(other.encode()).is_ok());
    assert_ne!(other.fingerprint(), bundle().sign(&directory_key()).fingerprint());
    assert_ne!(other.bundle().trust.fingerprint(), trust().fingerprint());
}

#[test]
fn g01_a_bundle_answers_one_request_and_opens_with_one_key() {
    let signed = bundle().sign(&directory_key());
    let other =
        EnrolmentRequest { created_at: start().plus(crate::exchange::DAY), ..request().request().clone() };
    let other = other.sign(&signing("fra/ncb"));
    let own = sealing("fra/ncb");
    assert_eq!(signed.check_answers(&other, &own), Err(EnrolmentError::OtherRequest));
    let elsewhere = SealingKey::from_seed(&[77; 32]).unwrap();
    assert_eq!(signed.check_answers(&request(), &elsewhere), Err(EnrolmentError::OtherSealingKey));
    let kenya = SpiffeId::agency("exchange.example".parse().unwrap(), id("ken/ncb"));
    let renamed = EnrolmentBundle { identity: kenya, ..bundle() }.sign(&directory_key());
    assert_eq!(renamed.check_answers(&request(), &own), Err(EnrolmentError::OtherRequest));
}

fn tampered(path: &[u64], change: &dyn Fn(&mut Message)) -> WireError {
    let body = Signed::decode(bundle().sign(&directory_key()).encode()).unwrap().body;
    let body = edit(&body, path, change);
    let signed = Signed::sign(context::ENROLMENT_BUNDLE, body.into(), &directory_key());
    match SignedEnrolmentBundle::decode(signed.encode()) {
        Err(EnrolmentError::Malformed(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn g10_the_lists_of_a_bundle_are_counted_before_they_take_memory() {
    const TRUST: u64 = 5;
    let lists: [(&[u64], u64, &str); 4] = [
        (&[], 4, "bundle.chain"),
        (&[], 7, "bundle.crls"),
        (&[TRUST], 2, "trust.anchors"),
        (&[TRUST], 3, "trust.root_keys"),
    ];
    for (path, tag, field) in lists {
        let error = tampered(path, &|message| {
            message.remove(tag);
            message.0.extend((0..1_000_000).map(|_| (tag, Value::Bytes(Vec::new()))));
            message.0.sort_by_key(|(tag, _)| *tag);
        });
        assert_eq!(error, WireError::TooMany { field, got: 17, max: 16 });
    }
    let twice = tampered(&[], &|bundle| {
        let trust = bundle.field(TRUST).clone();
        bundle.push(TRUST, trust);
    });
    assert_eq!(twice, WireError::TooMany { field: "bundle.trust", got: 2, max: 1 });
}

#[test]
fn g12_a_bundle_holds_nothing_that_this_version_does_not_know() {
    for path in [&[][..], &[5]] {
        let more = tampered(path, &|message| message.push(15, Value::Varint(1)));
        assert_eq!(more, WireError::Unknown { what: "enrolment bundle" }, "at {path:?}");
    }
    let newer = tampered(&[], &|bundle| {
        *bundle.field(1) = Value::Varint(2);
        bundle.0.extend((0..20).map(|_| (7, Value::Bytes(Vec::new()))));
    });
    assert!(matches!(newer, WireError::Version { got: 2, .. }), "the version comes first: {newer}");
}
