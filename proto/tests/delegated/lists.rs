//! What is listed is counted before memory is taken for it, whoever signed it.

use bytes::Bytes;
use valise_proto::crypto::context;
use valise_proto::delegation::{DelegationError, SignedDelegation};
use valise_proto::directory::DirectoryError;
use valise_proto::enrolment::Trust;
use valise_proto::wire::limits::DELEGATION_BYTES_MAX;
use valise_proto::wire::{Signed, WireError};

use crate::exchange::{delegation, directory, root, stranger, tampered, trust, verify};
use crate::raw::{Message, Value, edit};

/// A million empty entries: two bytes each here, and hundreds once they are decoded.
const MANY: usize = 1_000_000;

fn flood(message: &mut Message, tag: u64, count: usize) {
    message.remove(tag);
    message.0.extend((0..count).map(|_| (tag, Value::Bytes(Vec::new()))));
    message.0.sort_by_key(|(tag, _)| *tag);
}

fn refused(path: &[u64], tag: u64, count: usize) -> WireError {
    let flooded = tampered(directory(|_| {}).encoded(), path, &|message| flood(message, tag, count));
    match verify(&flooded) {
        Err(DirectoryError::Malformed(error)) => error,
        other => panic!("{:?}", other.map(|directory| directory.version())),
    }
}

#[test]
fn g10_the_lists_of_a_directory_are_counted_before_they_take_memory() {
    const AGENCY: u64 = 7;
    const BROKER: u64 = 8;
    const CLEARANCE: u64 = 4;
    let lists: [(&[u64], u64, &str, usize); 8] = [
        (&[], AGENCY, "directory.agencies", 1024),
        (&[], BROKER, "directory.brokers", 64),
        (&[AGENCY], 7, "agency.signing_keys", 8),
        (&[AGENCY], 8, "agency.sealing_keys", 8),
        (&[AGENCY, CLEARANCE], 3, "clearance.compartments", 64),
        (&[AGENCY, CLEARANCE], 4, "clearance.affiliations", 64),
        (&[BROKER], 2, "broker.endpoints", 8),
        (&[BROKER], 3, "broker.receipt_keys", 8),
    ];
    for (path, tag, field, max) in lists {
        assert_eq!(refused(path, tag, MANY), WireError::TooMany { field, got: max + 1, max });
    }
    let twice = WireError::TooMany { field: "agency.clearance", got: 2, max: 1 };
    assert_eq!(refused(&[AGENCY], CLEARANCE, MANY), twice);
}

#[test]
fn g10_a_directory_has_a_greatest_length() {
    let long = Bytes::from(vec![0; 3 * 1024 * 1024 + 1]);
    assert!(matches!(verify(&long), Err(DirectoryError::Malformed(WireError::TooMany { .. }))));
}

#[test]
fn g10_a_delegation_has_a_greatest_length_that_counts_before_its_signature() {
    const CEILING: u64 = 6;
    const COMPARTMENTS: u64 = 3;
    let body = Signed::decode(delegation().sign(&root()).encode()).unwrap().body;
    let flooded = edit(&body, &[CEILING, COMPARTMENTS], &|names| flood(names, 2, MANY));
    let foreign = Signed::sign(context::DELEGATION, flooded.into(), &stranger()).encode();
    let len = foreign.len();
    let too_long = WireError::TooMany { field: "delegation", got: len, max: DELEGATION_BYTES_MAX };
    assert_eq!(SignedDelegation::decode(foreign.clone()), Err(too_long.clone()));
    let carrying = tampered(directory(|_| {}).encoded(), &[], &|body| {
        *body.field(9) = Value::Bytes(foreign.to_vec());
    });
    assert_eq!(verify(&carrying).unwrap_err(), DirectoryError::Malformed(too_long));
}

#[test]
fn g10_a_ceiling_holds_no_more_than_64_names_of_a_kind() {
    let names = |count: usize| {
        let body = Signed::decode(delegation().sign(&root()).encode()).unwrap().body;
        let body = edit(&body, &[6, 3], &|names| {
            names.0 = (0..count).map(|n| (2, Value::Bytes(format!("{n:0>64}").into_bytes()))).collect();
        });
        SignedDelegation::decode(Signed::sign(context::DELEGATION, body.into(), &root()).encode())
    };
    assert_eq!(names(64).unwrap().verify(&trust()), Ok::<(), DelegationError>(()));
    assert!(names(65).unwrap_err().to_string().contains("at most 64"));
}

#[test]
fn g10_the_lists_of_a_trust_are_counted_before_they_take_memory() {
    for (tag, field) in [(2, "trust.anchors"), (3, "trust.root_keys")] {
        let flooded = edit(&trust().encode(), &[], &|trust| flood(trust, tag, MANY));
        let error = Trust::decode(flooded.into()).unwrap_err();
        assert_eq!(error, WireError::TooMany { field, got: 17, max: 16 });
    }
}

#[test]
fn the_roots_of_trust_come_back_the_same_from_bytes_and_text() {
    let anchors = vec![Bytes::from_static(b"a root certificate")];
    let made =
        Trust { anchors, root_keys: vec![root().verifying_key(), stranger().verifying_key()], ..trust() };
    assert_eq!(Trust::decode(made.encode()).unwrap(), made);
    assert_eq!(Trust::from_pem(&made.to_pem()).unwrap(), made);
}
