//! The questions and answers by which certificates are renewed.

use bytes::Bytes;
use valise_proto::crypto::sha256;
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::renewal::{RENEWAL_BYTES_MAX, SignedRenewalRequest};
use valise_proto::wire::WireError;
use valise_proto::wire::limits::STREAM_OPEN_BYTES_MAX;
use valise_proto::wire::session::{Answer, Query, StreamOpen};

use crate::exchange::{brought, renewal, signing};
use crate::raw::{Value, edit};

#[test]
fn questions_about_certificates_come_back_the_same() {
    let request = renewal().sign(&signing("fra/ncb"), &brought()).encode();
    for query in [Query::Renewal(request), Query::Renewal(Bytes::new()), Query::Certificate] {
        let open = StreamOpen::Query(query);
        assert_eq!(StreamOpen::decode(open.encode()).unwrap(), open);
    }
}

#[test]
fn answers_about_certificates_come_back_the_same() {
    let chain = vec![Bytes::from_static(b"leaf"), Bytes::from_static(b"issuing authority")];
    let refusal = Refusal::new(RefusalCode::KeyNotActive, "the request is signed with an unknown key");
    for answer in [
        Answer::Spooled(sha256(&[b"request"])),
        Answer::Certificate(chain),
        Answer::Certificate(Vec::new()),
        Answer::Certificate(vec![Bytes::from_static(b"c"); 16]),
        Answer::Refusal(refusal),
    ] {
        assert_eq!(Answer::decode(answer.encode()).unwrap(), answer);
    }
}

#[test]
fn g10_the_longest_renewal_request_fits_the_first_frame_of_a_stream() {
    let longest = StreamOpen::Query(Query::Renewal(vec![7; RENEWAL_BYTES_MAX].into()));
    assert!(longest.encode().len() <= STREAM_OPEN_BYTES_MAX);
}

#[test]
fn g10_certificates_are_counted_before_they_take_memory() {
    let answer = Answer::Certificate(vec![Bytes::from_static(b"c"); 17]).encode();
    let too_many = WireError::TooMany { field: "certificate.chain", got: 17, max: 16 };
    assert_eq!(Answer::decode(answer), Err(too_many.clone()));
    // Empty ones take two bytes each; the count ends at the bound, however many there are.
    let many = Answer::Certificate(vec![Bytes::new(); 1_000_000]).encode();
    assert_eq!(Answer::decode(many), Err(too_many));
}

#[test]
fn a_digest_of_a_kept_request_has_32_bytes() {
    const SPOOLED: u64 = 4;
    let answer = Answer::Spooled(sha256(&[b"request"])).encode();
    for len in [0, 31, 33] {
        let other = edit(&answer, &[SPOOLED], &|spooled| spooled.bytes(1).resize(len, 0));
        let error = Answer::decode(other.into()).unwrap_err();
        assert!(matches!(error, WireError::Field { field: "spooled.request_digest", .. }), "{error}");
    }
}

#[test]
fn a_question_and_an_answer_of_a_later_version_are_errors() {
    let unset = edit(&StreamOpen::Query(Query::Certificate).encode(), &[], &|open| {
        *open.bytes(4) = edit(&[], &[], &|query| query.push(15, Value::Bytes(Vec::new())));
    });
    assert!(StreamOpen::decode(unset.into()).is_err());
    let unset = edit(&[], &[], &|answer| answer.push(15, Value::Bytes(Vec::new())));
    assert!(Answer::decode(unset.into()).is_err());
}

#[test]
fn what_a_broker_hands_to_an_authority_is_what_the_agency_asked() {
    let request = renewal().sign(&signing("fra/ncb"), &brought());
    let frame = StreamOpen::Query(Query::Renewal(request.encode())).encode();
    let StreamOpen::Query(Query::Renewal(bytes)) = StreamOpen::decode(frame).unwrap() else {
        panic!("another question")
    };
    assert_eq!(SignedRenewalRequest::decode(bytes).unwrap(), request);
}
