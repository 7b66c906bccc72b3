//! By whose leave a directory counts.

use valise_proto::crypto::{Signature, SigningKey, context};
use valise_proto::delegation::{Delegation, DelegationError, FORMER_ISSUING_KEYS_MAX, SignedDelegation};
use valise_proto::directory::DirectoryError;
use valise_proto::enrolment::Trust;
use valise_proto::wire::{Signed, WireError};

use crate::exchange::{
    content, delegation, directory, directory_key, issuing_key, root, stranger, trust, verify,
};

fn signed(key: &SigningKey, context: &str) -> Signed {
    let body = Signed::decode(delegation().sign(key).encode()).unwrap().body;
    Signed::sign(context, body, key)
}

fn judge(signed: &Signed) -> Result<(), DelegationError> {
    SignedDelegation::decode(signed.encode()).unwrap().verify(&trust())
}

#[test]
fn g01_a_delegation_says_what_the_root_signed() {
    let made = delegation().sign(&root());
    let read = SignedDelegation::decode(made.encode()).unwrap();
    assert_eq!(read, made);
    assert_eq!(read.delegation(), &delegation());
    assert_eq!(read.verify(&trust()), Ok(()));
}

#[test]
fn g01_any_of_several_roots_may_delegate_and_nobody_else() {
    let both = Trust { root_keys: vec![stranger().verifying_key(), root().verifying_key()], ..trust() };
    assert_eq!(delegation().sign(&root()).verify(&both), Ok(()));
    assert_eq!(delegation().sign(&stranger()).verify(&both), Ok(()));
    for key in [stranger(), directory_key(), issuing_key()] {
        let error = delegation().sign(&key).verify(&trust());
        assert_eq!(error, Err(DelegationError::UntrustedKey(key.key_id())));
    }
    let nobody = Trust { root_keys: Vec::new(), ..trust() };
    assert_eq!(
        delegation().sign(&root()).verify(&nobody),
        Err(DelegationError::UntrustedKey(root().key_id()))
    );
}

#[test]
fn g01_a_foreign_signature_under_the_name_of_the_root_does_not_count() {
    let foreign = signed(&stranger(), context::DELEGATION);
    let signature = Signature { key_id: root().key_id(), ..foreign.signature };
    let error = judge(&Signed { signature, ..foreign });
    assert_eq!(error, Err(DelegationError::BadSignature(root().key_id())));
}

#[test]
fn g01_what_the_root_signed_as_something_else_is_no_delegation() {
    assert_eq!(judge(&signed(&root(), context::DELEGATION)), Ok(()));
    for other in
        [context::DIRECTORY, context::ENROLMENT_BUNDLE, context::ROOT_STATE, context::RENEWAL_REQUEST]
    {
        let error = judge(&signed(&root(), other));
        assert_eq!(error, Err(DelegationError::BadSignature(root().key_id())), "signed as {other}");
    }
}

#[test]
fn g01_a_delegation_of_another_exchange_does_not_count() {
    let other = Delegation { trust_domain: "other.example".parse().unwrap(), ..delegation() };
    let error = other.sign(&root()).verify(&trust());
    assert!(matches!(error, Err(DelegationError::TrustDomain { .. })), "{error:?}");
}

#[test]
fn g01_a_directory_counts_by_the_key_its_delegation_names_and_no_other() {
    assert!(verify(directory(|_| {}).encoded()).is_ok());
    for key in [stranger(), root(), issuing_key()] {
        let signed = content().sign(&key).unwrap();
        assert_eq!(verify(signed.encoded()).unwrap_err(), DirectoryError::UntrustedKey(key.key_id()));
    }
    let body = Signed::decode(directory(|_| {}).encoded().clone()).unwrap().body;
    let foreign = Signed::sign(context::DIRECTORY, body.clone(), &stranger());
    let signature = Signature { key_id: directory_key().key_id(), ..foreign.signature };
    let bad = DirectoryError::BadSignature(directory_key().key_id());
    assert_eq!(verify(&Signed { signature, ..foreign }.encode()).unwrap_err(), bad);
    let otherwise = Signed::sign(context::ENROLMENT_BUNDLE, body, &directory_key());
    assert_eq!(verify(&otherwise.encode()).unwrap_err(), bad);
}

#[test]
fn g01_a_directory_carries_its_trust_in_vain_when_the_root_is_foreign() {
    // A whole authority of somebody else's: root, delegation and directory key fit each other.
    let foreign = directory(|content| content.delegation = delegation().sign(&stranger()));
    let error = verify(foreign.encoded()).unwrap_err();
    assert_eq!(error, DirectoryError::Delegation(DelegationError::UntrustedKey(stranger().key_id())));
    assert!(error.to_string().contains("trusted root keys"), "{error}");
}

#[test]
fn g01_directory_and_delegation_are_both_of_this_exchange() {
    let other = || "other.example".parse().unwrap();
    let elsewhere = directory(|content| content.trust_domain = other());
    assert!(matches!(verify(elsewhere.encoded()), Err(DirectoryError::TrustDomain { .. })));
    let delegated = directory(|content| {
        content.delegation = Delegation { trust_domain: other(), ..delegation() }.sign(&root());
    });
    let error = verify(delegated.encoded()).unwrap_err();
    assert!(matches!(error, DirectoryError::Delegation(DelegationError::TrustDomain { .. })), "{error}");
}

#[test]
fn g12_former_issuing_keys_are_the_roots_to_name_and_are_bounded() {
    let former = [stranger().verifying_key(), directory_key().verifying_key()];
    let made = Delegation { former_issuing_keys: former.to_vec(), ..delegation() }.sign(&root());
    let read = SignedDelegation::decode(made.encode()).unwrap();
    assert_eq!(read, made);
    let keys: Vec<_> = read.delegation().list_keys().cloned().collect();
    assert_eq!(keys, [issuing_key().verifying_key(), former[0], former[1]]);
    let many = vec![stranger().verifying_key(); FORMER_ISSUING_KEYS_MAX + 1];
    let made = Delegation { former_issuing_keys: many, ..delegation() }.sign(&root());
    let field = "delegation.former_issuing_keys";
    let (got, max) = (FORMER_ISSUING_KEYS_MAX + 1, FORMER_ISSUING_KEYS_MAX);
    assert_eq!(SignedDelegation::decode(made.encode()), Err(WireError::TooMany { field, got, max }));
}
