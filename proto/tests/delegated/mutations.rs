//! Bytes altered at random: nothing panics, nothing verifies, and what the authority did sign stays within its ceiling.

use bytes::Bytes;
use proptest::prelude::*;
use valise_proto::crypto::context;
use valise_proto::delegation::SignedDelegation;
use valise_proto::directory::Directory;
use valise_proto::enrolment::{SignedEnrolmentBundle, SignedEnrolmentRequest, Trust};
use valise_proto::renewal::SignedRenewalRequest;
use valise_proto::wire::Signed;
use valise_proto::wire::session::{Answer, StreamOpen};

use crate::bundles;
use crate::exchange::{
    agency, brought, delegation, directory, directory_key, renewal, root, signing, start, trust, verify,
};

/// One thing that may happen to bytes; places count from the beginning and wrap around.
#[derive(Clone, Debug)]
enum Mutation {
    Flip { at: usize, bit: u8 },
    Replace { at: usize, byte: u8 },
    Insert { at: usize, bytes: Vec<u8> },
    Remove { at: usize, len: usize },
    Repeat { at: usize, len: usize },
    CutOff { at: usize },
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |at: usize| at % bytes.len().max(1);
        let range = |at: usize, len: usize| place(at)..bytes.len().min(place(at) + len);
        match self {
            Self::Flip { at, bit } => {
                let at = place(*at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            Self::Replace { at, byte } => {
                let at = place(*at);
                if let Some(old) = bytes.get_mut(at) {
                    *old = *byte;
                }
            }
            Self::Insert { at, bytes: more } => {
                let at = place(*at);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Remove { at, len } => {
                let range = range(*at, *len);
                bytes.drain(range);
            }
            Self::Repeat { at, len } => {
                let again = bytes[range(*at, *len)].to_vec();
                let at = place(*at);
                bytes.splice(at..at, again);
            }
            Self::CutOff { at } => {
                let at = place(*at);
                bytes.truncate(at);
            }
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<usize>();
    prop_oneof![
        4 => (at, 0..8_u8).prop_map(|(at, bit)| Mutation::Flip { at, bit }),
        2 => (at, any::<u8>()).prop_map(|(at, byte)| Mutation::Replace { at, byte }),
        2 => (at, prop::collection::vec(any::<u8>(), 1..6))
            .prop_map(|(at, bytes)| Mutation::Insert { at, bytes }),
        2 => (at, 1..40_usize).prop_map(|(at, len)| Mutation::Remove { at, len }),
        1 => (at, 1..40_usize).prop_map(|(at, len)| Mutation::Repeat { at, len }),
        1 => at.prop_map(|at| Mutation::CutOff { at }),
    ]
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    prop::collection::vec(mutation(), 1..4)
}

/// The bytes after all of it; `None` where they are what they were.
fn mutated(original: &[u8], mutations: &[Mutation]) -> Option<Bytes> {
    let mut bytes = original.to_vec();
    mutations.iter().for_each(|mutation| mutation.apply(&mut bytes));
    (bytes != original).then(|| bytes.into())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn g12_a_directory_that_was_altered_does_not_verify(mutations in mutations()) {
        if let Some(bytes) = mutated(directory(|_| {}).encoded(), &mutations) {
            prop_assert!(verify(&bytes).is_err());
        }
    }

    #[test]
    fn g12_a_delegation_that_was_altered_does_not_verify(mutations in mutations()) {
        if let Some(bytes) = mutated(&delegation().sign(&root()).encode(), &mutations) {
            let verified = SignedDelegation::decode(bytes).ok().map(|read| read.verify(&trust()));
            prop_assert!(!matches!(verified, Some(Ok(()))), "{verified:?}");
        }
    }

    #[test]
    fn g12_a_renewal_request_that_was_altered_does_not_verify(mutations in mutations()) {
        let original = renewal().sign(&signing("fra/ncb"), &brought()).encode();
        if let Some(bytes) = mutated(&original, &mutations) {
            let entry = agency("fra/ncb");
            let verified = SignedRenewalRequest::decode(bytes).ok().map(|read| read.verify_by(&entry, start()));
            prop_assert!(!matches!(verified, Some(Ok(()))), "{verified:?}");
        }
    }

    #[test]
    fn g12_a_bundle_or_an_enrolment_request_that_was_altered_does_not_verify(mutations in mutations()) {
        if let Some(bytes) = mutated(&bundles::request().encode(), &mutations) {
            prop_assert!(SignedEnrolmentRequest::decode(bytes).is_err());
        }
        let original = bundles::bundle().sign(&directory_key()).encode();
        if let Some(bytes) = mutated(&original, &mutations) {
            prop_assert!(SignedEnrolmentBundle::decode(bytes).is_err());
        }
    }

    #[test]
    fn g03_whatever_body_an_authority_signs_a_node_takes_nothing_above_the_ceiling(mutations in mutations()) {
        let body = Signed::decode(directory(|_| {}).encoded().clone()).unwrap().body;
        let Some(body) = mutated(&body, &mutations) else { return Ok(()) };
        let signed = Signed::sign(context::DIRECTORY, body, &directory_key()).encode();
        if let Ok(taken) = Directory::verify(signed.clone(), &trust()) {
            prop_assert_eq!(taken.encoded(), &signed);
            prop_assert_eq!(taken.delegation(), &delegation());
            for entry in taken.content().agencies.values() {
                let within =
                    delegation().ceiling.check(entry.id.state(), &entry.clearance, &entry.origination.classifications);
                prop_assert_eq!(within, Ok(()));
            }
        }
    }

    #[test]
    fn g12_whatever_body_a_root_signs_is_read_or_refused(mutations in mutations()) {
        let body = Signed::decode(delegation().sign(&root()).encode()).unwrap().body;
        let Some(body) = mutated(&body, &mutations) else { return Ok(()) };
        let signed = Signed::sign(context::DELEGATION, body, &root()).encode();
        if let Ok(read) = SignedDelegation::decode(signed.clone()) {
            prop_assert_eq!(read.encode(), signed);
            prop_assert_eq!(read.delegation().ceiling.check_sizes(), Ok(()));
        }
    }

    #[test]
    fn g12_bytes_of_no_meaning_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        prop_assert!(verify(&bytes).is_err());
        prop_assert!(SignedDelegation::decode(bytes.clone()).is_err());
        prop_assert!(SignedRenewalRequest::decode(bytes.clone()).is_err());
        let _ = (Trust::decode(bytes.clone()), Answer::decode(bytes.clone()), StreamOpen::decode(bytes));
    }
}
