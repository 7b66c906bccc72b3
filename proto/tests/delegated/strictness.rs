//! One encoding for each directory and delegation, and nothing in them that this version does not know.

use valise_proto::crypto::context;
use valise_proto::delegation::SignedDelegation;
use valise_proto::directory::DirectoryError;
use valise_proto::wire::{Signed, WireError};

use crate::exchange::{delegation, directory, root, tampered, verify};
use crate::raw::{Message, Value, edit};

const UNKNOWN: WireError = WireError::Unknown { what: "delegation" };

fn signed(body: Vec<u8>) -> Result<SignedDelegation, WireError> {
    SignedDelegation::decode(Signed::sign(context::DELEGATION, body.into(), &root()).encode())
}

fn body() -> Vec<u8> {
    Signed::decode(delegation().sign(&root()).encode()).unwrap().body.to_vec()
}

fn delegated(path: &[u64], change: &dyn Fn(&mut Message)) -> Result<SignedDelegation, WireError> {
    signed(edit(&body(), path, change))
}

fn field(result: Result<SignedDelegation, WireError>) -> &'static str {
    match result {
        Err(WireError::Field { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn g12_a_delegation_holds_nothing_that_this_version_does_not_know() {
    for path in [&[][..], &[6], &[6, 1], &[6, 3], &[6, 4]] {
        let more = delegated(path, &|message| message.push(15, Value::Varint(1)));
        assert_eq!(more, Err(UNKNOWN), "a field 15 at {path:?}");
    }
    let newer = delegated(&[], &|body| *body.field(1) = Value::Varint(2));
    assert!(matches!(newer, Err(WireError::Version { expected: 1, got: 2, .. })), "{newer:?}");
    let newer = delegated(&[], &|body| {
        *body.field(1) = Value::Varint(2);
        body.push(15, Value::Bytes(vec![7; 9]));
    });
    assert!(matches!(newer, Err(WireError::Version { .. })), "the version comes first: {newer:?}");
    let none = delegated(&[], &|body| body.remove(1));
    assert!(matches!(none, Err(WireError::Version { got: 0, .. })), "{none:?}");
}

#[test]
fn g12_a_delegation_has_one_encoding() {
    assert!(signed(body()).is_ok());
    let order = delegated(&[], &|body| body.0.swap(1, 2));
    assert_eq!(order, Err(UNKNOWN));
    let inner = delegated(&[6], &|ceiling| ceiling.0.swap(0, 1));
    assert_eq!(inner, Err(UNKNOWN));
    let twice = delegated(&[], &|body| body.0.insert(2, (3, Value::Varint(9))));
    assert_eq!(twice, Err(UNKNOWN));
    let default = delegated(&[6, 1], &|names| names.0.insert(0, (1, Value::Varint(0))));
    assert_eq!(default, Err(UNKNOWN));
    // Version 1 in two bytes.
    let mut long = vec![0x08, 0x81, 0x00];
    long.extend_from_slice(&body()[2..]);
    assert_eq!(signed(long), Err(UNKNOWN));
    // Classifications one by one, not packed.
    let unpacked = delegated(&[6], &|ceiling| {
        let classes = ceiling.bytes(2).clone();
        ceiling.remove(2);
        let each = classes.into_iter().map(|class| (2, Value::Varint(class.into())));
        ceiling.0.splice(1..1, each);
    });
    assert_eq!(unpacked, Err(UNKNOWN));
    let mut trailing = body();
    trailing.push(0);
    assert!(signed(trailing).is_err());
    let mut trailing = delegation().sign(&root()).encode().to_vec();
    trailing.extend_from_slice(&[0x78, 0x01]);
    assert_eq!(SignedDelegation::decode(trailing.into()), Err(WireError::Unknown { what: "Signed" }));
}

#[test]
fn g12_a_delegation_leaves_nothing_open() {
    for (tag, name) in [
        (4, "delegation.directory_key"),
        (5, "delegation.issuing_key"),
        (6, "delegation.ceiling"),
        (7, "delegation.not_before_ms"),
        (8, "delegation.not_after_ms"),
        (2, "delegation.trust_domain"),
    ] {
        assert_eq!(field(delegated(&[], &|body| body.remove(tag))), name);
    }
    for (tag, name) in [(1, "ceiling.states"), (3, "ceiling.compartments"), (4, "ceiling.affiliations")] {
        // Absent is neither "any" nor "none".
        assert_eq!(field(delegated(&[6], &|ceiling| ceiling.remove(tag))), name);
        let both = delegated(&[6, tag], &|names| names.0.insert(0, (1, Value::Varint(1))));
        assert_eq!(field(both), name, "any, and names beside it");
    }
    let class = delegated(&[6], &|ceiling| ceiling.bytes(2).push(99));
    assert_eq!(field(class), "classification");
    let state = delegated(&[6, 1], &|names| *names.bytes(2) = b"ZZZ".to_vec());
    assert_eq!(field(state), "ceiling.states");
    let weak = delegated(&[], &|body| {
        let mut identity = vec![0; 32];
        identity[0] = 1;
        *body.bytes(4) = identity;
    });
    assert_eq!(field(weak), "delegation.directory_key");
}

fn unknown(path: &[u64], change: &dyn Fn(&mut Message)) {
    let error = verify(&tampered(directory(|_| {}).encoded(), path, change)).unwrap_err();
    let expected = DirectoryError::Malformed(WireError::Unknown { what: "directory" });
    assert_eq!(error, expected, "at {path:?}");
}

#[test]
fn g12_a_directory_holds_nothing_that_this_version_does_not_know_and_has_one_encoding() {
    for path in [&[][..], &[7], &[7, 4], &[7, 5], &[7, 7], &[7, 8], &[8], &[8, 3]] {
        unknown(path, &|message| message.push(15, Value::Varint(1)));
        unknown(path, &|message| message.0.swap(0, 1));
    }
    let encoded = directory(|_| {});
    let newer = tampered(encoded.encoded(), &[], &|body| {
        *body.field(1) = Value::Varint(2);
        body.push(15, Value::Varint(1));
    });
    let newer = verify(&newer).unwrap_err();
    assert!(matches!(newer, DirectoryError::Malformed(WireError::Version { got: 2, .. })), "{newer}");
    let twice = tampered(encoded.encoded(), &[], &|body| {
        let first = body.field(7).clone();
        body.push(7, first);
        body.0.sort_by_key(|(tag, _)| *tag);
    });
    assert!(verify(&twice).unwrap_err().to_string().contains("stands there twice"));
}

#[test]
fn g12_of_two_delegations_in_a_directory_neither_counts() {
    let both = tampered(directory(|_| {}).encoded(), &[], &|body| {
        let first = body.field(9).clone();
        body.push(9, first);
    });
    let error = verify(&both).unwrap_err();
    assert_eq!(error, DirectoryError::Malformed(WireError::Unknown { what: "directory" }));
    let none = tampered(directory(|_| {}).encoded(), &[], &|body| body.remove(9));
    assert!(verify(&none).unwrap_err().to_string().contains("directory.delegation"));
}
