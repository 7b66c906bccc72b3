//! What a reader of parts refuses.

use super::*;
use crate::notice::fixture::{notice, receipt};

fn label() -> Label {
    notice(|_| {}).portions()[1].label().clone()
}

/// The portion with the person, altered as a message.
fn altered(alter: impl FnOnce(&mut pb::Parts)) -> Result<(Option<Terms>, Vec<Part>), WireError> {
    let encoded = notice(|_| {}).portions()[1].encode();
    let mut message = pb::Parts::decode(encoded.as_slice()).unwrap();
    alter(&mut message);
    decode(&label(), &message.encode_to_vec())
}

fn person(message: &mut pb::Parts) -> &mut pb::Person {
    match message.parts[0].content.as_mut().unwrap() {
        pb::part::Content::Person(person) => person,
        other => panic!("not a person: {other:?}"),
    }
}

#[test]
fn what_was_not_altered_is_read() {
    let (terms, parts) = altered(|_| {}).unwrap();
    assert_eq!((terms.is_some(), parts.len()), (true, 2));
}

#[test]
fn g12_an_unknown_version_field_or_code_is_refused() {
    assert!(matches!(altered(|m| m.version = 2), Err(WireError::Version { got: 2, .. })));
    assert!(matches!(altered(|m| person(m).role = 99), Err(WireError::Field { field: "Person.role", .. })));
    assert!(matches!(altered(|m| person(m).role = 0), Err(WireError::Field { field: "Person.role", .. })));
    let mut bytes = notice(|_| {}).portions()[1].encode().to_vec();
    // Field 15 of Parts, a varint: nothing this version knows.
    bytes.extend_from_slice(&[0x78, 0x01]);
    assert!(matches!(decode(&label(), &bytes), Err(WireError::Unknown { what: "parts" })));
    assert!(decode(&label(), b"not protobuf").is_err());
}

#[test]
fn what_is_missing_or_too_much_is_refused() {
    assert!(altered(|m| m.parts.clear()).is_err());
    assert!(altered(|m| m.parts[0].content = None).is_err());
    assert!(altered(|m| m.parts[0].id.clear()).is_err());
    assert!(altered(|m| m.terms.as_mut().unwrap().purpose.clear()).is_err());
    assert!(altered(|m| m.terms.as_mut().unwrap().review_by_ms = 0).is_err());
    let too_many = altered(|m| m.parts = vec![m.parts[1].clone(); PARTS_MAX + 1]);
    assert!(matches!(too_many, Err(WireError::TooMany { max: PARTS_MAX, .. })));
    let beside = altered(|m| m.parts[1].content = Some(pb::part::Content::Receipt(receipt().encode())));
    assert!(beside.is_err(), "a receipt stands beside a person");
}

#[test]
fn g10_empty_parts_and_lists_are_counted_before_they_take_memory() {
    let encoded = notice(|_| {}).portions()[1].encode().to_vec();
    let empty_parts = [&encoded[..], &[0x1a, 0].repeat(500_000)].concat();
    assert!(matches!(
        decode(&label(), &empty_parts),
        Err(WireError::TooMany { field: "parts.parts", got: 257, .. })
    ));
    // One person with half a million names, in a message of version 1.
    let names = [0x1a, 0].repeat(500_000);
    let mut person = vec![0x1a];
    prost::encoding::encode_varint(names.len() as u64, &mut person);
    person.extend(names);
    let mut message = vec![0x08, 1, 0x1a];
    prost::encoding::encode_varint(person.len() as u64, &mut message);
    message.extend(person);
    assert!(matches!(
        decode(&label(), &message),
        Err(WireError::TooMany { field: "part.content", got: 257, .. })
    ));
}

#[test]
fn an_error_never_repeats_personal_data() {
    let wrong: [fn(&mut pb::Person); 5] = [
        |person| person.birth_date = "12.4.1988 WITNESS".to_owned(),
        |person| person.citizenships[0] = "WITNESS".to_owned(),
        |person| person.names[0].surname = "WITNESS\u{7}".to_owned(),
        |person| person.documents[0].mrz[1] = "WITNESS".to_owned(),
        |person| person.documents[0].issuer = "WITNESS".to_owned(),
    ];
    for alter in wrong {
        let error = altered(|message| alter(person(message))).unwrap_err().to_string();
        assert!(!error.contains("WITNESS") && !error.contains("1988"), "{error}");
    }
}
