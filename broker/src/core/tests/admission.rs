//! Every refusal that admission can give.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use valise_proto::crypto::{SealingKey, SigningKey};
use valise_proto::directory::AgencyStatus;
use valise_proto::envelope::{Envelope, NoticeKind, Precedence};
use valise_proto::id::Timestamp;
use valise_proto::label::{Classification, Label};
use valise_proto::refusal::RefusalCode;
use valise_proto::wire::limits::Limits;

use super::{PRIORITY, Policy, three};
use crate::fixture::{DAY, Exchange, MINUTE, agency, policy, rng};

/// What an exchange's broker, with these limits, says of a frame that `ken/ncb` submits.
fn judge_by(exchange: &Exchange, limits: Limits, frame: Bytes, now: Timestamp) -> Result<(), RefusalCode> {
    let policy = Policy { directory: Arc::new(exchange.directory()), limits };
    match policy.admit(&agency("ken/ncb"), PRIORITY, frame, now) {
        Ok(_) => Ok(()),
        Err((_, refusal)) => {
            assert!(refusal.detail.len() > 10, "{refusal} does not say what to do");
            Err(refusal.code)
        }
    }
}

fn judge(exchange: &Exchange, envelope: &Envelope) -> Result<(), RefusalCode> {
    judge_by(exchange, Limits::DEFAULT, envelope.encode(), exchange.start)
}

/// The same frame with some bytes exchanged for others.
fn altered(envelope: &Envelope, from: &[u8], change: impl FnOnce(&mut [u8])) -> Bytes {
    let mut frame = envelope.encode().to_vec();
    let at =
        frame.windows(from.len()).position(|window| window == from).expect("the bytes to alter are there");
    change(&mut frame[at..at + from.len()]);
    frame.into()
}

#[test]
fn a_notice_in_order_is_admitted() {
    let exchange = three();
    assert_eq!(judge(&exchange, &exchange.envelope("ken/ncb", &["fra/ncb", "tur/border"])), Ok(()));
}

#[test]
fn g12_bytes_that_are_no_envelope_are_malformed() {
    let exchange = three();
    let judged = |frame| judge_by(&exchange, Limits::DEFAULT, frame, exchange.start);
    assert_eq!(judged(Bytes::new()), Err(RefusalCode::Malformed));
    assert_eq!(judged(Bytes::from_static(b"\xff\xff\xff")), Err(RefusalCode::Malformed));
    let whole = exchange.envelope("ken/ncb", &["fra/ncb"]).encode();
    assert_eq!(judged(whole.slice(..whole.len() - 1)), Err(RefusalCode::Malformed));
    let with_more = [whole.as_ref(), b"\x78\x01"].concat();
    assert_eq!(judged(with_more.into()), Err(RefusalCode::Malformed), "an unknown field");
}

#[test]
fn a_notice_on_the_stream_of_another_precedence_is_malformed() {
    let exchange = three();
    let mut draft = exchange.draft("ken/ncb");
    draft.precedence = Precedence::Flash;
    let flash = exchange.seal(draft, &["fra/ncb"], &[Classification::Unclassified]);
    assert_eq!(judge(&exchange, &flash), Err(RefusalCode::Malformed));
}

#[test]
fn g02_a_ciphertext_the_header_does_not_commit_to_is_malformed() {
    let exchange = three();
    let envelope = exchange.envelope("ken/ncb", &["fra/ncb"]);
    let frame = altered(&envelope, &envelope.portions()[0].ciphertext, |ciphertext| ciphertext[0] ^= 1);
    assert_eq!(judge_by(&exchange, Limits::DEFAULT, frame, exchange.start), Err(RefusalCode::Malformed));
}

#[test]
fn g03_a_wrap_for_somebody_who_is_not_a_recipient_is_malformed() {
    let exchange = three();
    let envelope = exchange.envelope("ken/ncb", &["fra/ncb"]);
    let frame = altered(&envelope, &envelope.wraps()[0].ciphertext, |_| ());
    assert_eq!(judge_by(&exchange, Limits::DEFAULT, frame.clone(), exchange.start), Ok(()));
    // The recipient's name in the wrap comes after the header, which names it too: alter the last one.
    let mut frame = frame.to_vec();
    let at = frame.windows(7).rposition(|window| window == b"fra/ncb").unwrap();
    frame[at..at + 7].copy_from_slice(b"ken/ncb");
    assert_eq!(
        judge_by(&exchange, Limits::DEFAULT, frame.into(), exchange.start),
        Err(RefusalCode::Malformed)
    );
}

#[test]
fn g12_a_header_of_another_version_is_an_error_of_its_own() {
    let exchange = three();
    let envelope = exchange.envelope("ken/ncb", &["fra/ncb"]);
    // The header begins with field 1, the version.
    let frame = altered(&envelope, &envelope.header_bytes()[..2], |version| version[1] = 2);
    assert_eq!(
        judge_by(&exchange, Limits::DEFAULT, frame, exchange.start),
        Err(RefusalCode::UnsupportedVersion)
    );
}

#[test]
fn g01_nobody_submits_in_anothers_name() {
    let exchange = three();
    assert_eq!(
        judge(&exchange, &exchange.envelope("fra/ncb", &["tur/border"])),
        Err(RefusalCode::NotOriginator)
    );
}

#[test]
fn an_originator_or_recipient_that_is_not_listed_is_unknown() {
    for name in ["ken/ncb", "fra/ncb"] {
        let mut exchange = three();
        let envelope = exchange.envelope("ken/ncb", &["fra/ncb"]);
        exchange.content.agencies.remove(&agency(name));
        assert_eq!(judge(&exchange, &envelope), Err(RefusalCode::UnknownAgency), "{name} is not listed");
    }
}

#[test]
fn a_suspended_agency_neither_sends_nor_receives() {
    for name in ["ken/ncb", "fra/ncb"] {
        let mut exchange = three();
        let since = exchange.start;
        exchange.change(name).status = AgencyStatus::Suspended { since };
        let envelope = exchange.envelope("ken/ncb", &["fra/ncb"]);
        assert_eq!(judge(&exchange, &envelope), Err(RefusalCode::Suspended), "{name} is suspended");
    }
}

#[test]
fn g01_a_broken_signature_is_refused() {
    let exchange = three();
    let envelope = exchange.envelope("ken/ncb", &["fra/ncb"]);
    let frame = altered(&envelope, &envelope.signature().value, |value| value[0] ^= 1);
    assert_eq!(judge_by(&exchange, Limits::DEFAULT, frame, exchange.start), Err(RefusalCode::BadSignature));
}

#[test]
fn g01_a_key_that_does_not_count_is_refused() {
    let mut exchange = three();
    let member = exchange.members.get_mut(&agency("ken/ncb")).unwrap();
    let listed = std::mem::replace(&mut member.signing, SigningKey::generate(&mut rng()));
    let by_another_key = exchange.envelope("ken/ncb", &["fra/ncb"]);
    assert_eq!(judge(&exchange, &by_another_key), Err(RefusalCode::KeyNotActive), "not listed");

    exchange.members.get_mut(&agency("ken/ncb")).unwrap().signing = listed;
    let envelope = exchange.envelope("ken/ncb", &["fra/ncb"]);
    exchange.change("ken/ncb").signing_keys[0].not_after =
        Timestamp::from_millis(exchange.start.millis() - 1);
    assert_eq!(judge(&exchange, &envelope), Err(RefusalCode::KeyNotActive), "past its time");

    // It counts now, but did not when the notice was created: no recipient would take it.
    let later = exchange.start.plus(MINUTE);
    let listed = &mut exchange.change("ken/ncb").signing_keys[0];
    (listed.not_before, listed.not_after) = (later, later.plus(DAY));
    let judged = judge_by(&exchange, Limits::DEFAULT, envelope.encode(), later);
    assert_eq!(judged, Err(RefusalCode::KeyNotActive), "before its time");
}

#[test]
fn g02_a_wrap_to_a_key_that_is_not_listed_is_refused() {
    let mut exchange = three();
    exchange.members.get_mut(&agency("fra/ncb")).unwrap().sealing = SealingKey::generate(&mut rng());
    let envelope = exchange.envelope("ken/ncb", &["fra/ncb"]);
    assert_eq!(judge(&exchange, &envelope), Err(RefusalCode::KeyNotActive));
}

#[test]
fn g12_a_label_of_another_policy_is_refused() {
    let exchange = three();
    let other = Label::plain("elsewhere.example".parse().unwrap(), Classification::Unclassified);
    let envelope = exchange.seal_labelled(exchange.draft("ken/ncb"), &["fra/ncb"], vec![other], b"content");
    assert_eq!(judge(&exchange, &envelope), Err(RefusalCode::LabelPolicy));
}

#[test]
fn g03_an_agency_originates_only_what_the_directory_lets_it() {
    let mut exchange = three();
    let secret = exchange.seal(exchange.draft("ken/ncb"), &["fra/ncb"], &[Classification::Secret]);
    exchange.change("ken/ncb").origination.classifications.remove(&Classification::Secret);
    assert_eq!(judge(&exchange, &secret), Err(RefusalCode::NotClearedToOriginate), "the classification");

    let envelope = exchange.envelope("ken/ncb", &["fra/ncb"]);
    exchange.change("ken/ncb").origination.kinds.remove(&NoticeKind::Deportation);
    assert_eq!(judge(&exchange, &envelope), Err(RefusalCode::NotClearedToOriginate), "the kind");
}

#[test]
fn a_receipt_may_always_be_sent_at_unclassified_and_no_higher() {
    let mut exchange = three();
    exchange.change("ken/ncb").origination = Default::default();
    let receipt = |class| {
        let mut draft = exchange.draft("ken/ncb");
        draft.kind = NoticeKind::Receipt;
        exchange.seal(draft, &["fra/ncb"], &[class])
    };
    assert_eq!(judge(&exchange, &receipt(Classification::Unclassified)), Ok(()));
    assert_eq!(
        judge(&exchange, &receipt(Classification::Restricted)),
        Err(RefusalCode::NotClearedToOriginate)
    );
}

#[test]
fn g03_a_recipient_that_may_access_nothing_is_refused() {
    let exchange = three();
    let draft = || exchange.draft("ken/ncb");
    let for_turkey = exchange.seal(draft(), &["fra/ncb", "tur/border"], &[Classification::Secret]);
    assert_eq!(judge(&exchange, &for_turkey), Err(RefusalCode::RecipientNotCleared));
    let classes = [Classification::Restricted, Classification::Secret];
    assert_eq!(
        judge(&exchange, &exchange.seal(draft(), &["tur/border"], &classes)),
        Ok(()),
        "one portion is enough"
    );
    let mut released = Label::plain(policy(), Classification::Restricted);
    released.releasable_to = ["FRA".parse().unwrap()].into();
    let envelope = exchange.seal_labelled(draft(), &["tur/border"], vec![released], b"content");
    assert_eq!(judge(&exchange, &envelope), Err(RefusalCode::RecipientNotCleared), "not released to it");
}

#[test]
fn a_notice_past_its_time_is_refused() {
    let exchange = three();
    let envelope = exchange.envelope("ken/ncb", &["fra/ncb"]);
    let judged = |now| judge_by(&exchange, Limits::DEFAULT, envelope.encode(), now);
    let expires_at = envelope.header().expires_at;
    assert_eq!(judged(Timestamp::from_millis(expires_at.millis() - 1)), Ok(()));
    assert_eq!(judged(expires_at), Err(RefusalCode::Expired));
}

#[test]
fn a_notice_from_the_future_is_refused() {
    let exchange = three();
    let ahead = |by: Duration| {
        let mut draft = exchange.draft("ken/ncb");
        draft.created_at = exchange.start.plus(by);
        judge(&exchange, &exchange.seal(draft, &["fra/ncb"], &[Classification::Unclassified]))
    };
    assert_eq!(ahead(5 * MINUTE), Ok(()));
    assert_eq!(ahead(5 * MINUTE + Duration::from_millis(1)), Err(RefusalCode::ClockSkew));
}

#[test]
fn g10_what_exceeds_a_limit_is_too_large() {
    let exchange = three();
    let envelope = exchange.envelope("ken/ncb", &["fra/ncb", "tur/border"]);
    let judged = |limits| judge_by(&exchange, limits, envelope.encode(), exchange.start);
    let bytes = envelope.encode().len();
    assert_eq!(judged(Limits { envelope_bytes_max: bytes, ..Limits::DEFAULT }), Ok(()));
    assert_eq!(
        judged(Limits { envelope_bytes_max: bytes - 1, ..Limits::DEFAULT }),
        Err(RefusalCode::TooLarge)
    );
    assert_eq!(judged(Limits { recipients_max: 1, ..Limits::DEFAULT }), Err(RefusalCode::TooLarge));
    assert_eq!(judged(Limits { portions_max: 0, ..Limits::DEFAULT }), Err(RefusalCode::TooLarge));
    assert_eq!(judged(Limits { lifetime_max: DAY, ..Limits::DEFAULT }), Ok(()));
    assert_eq!(judged(Limits { lifetime_max: DAY - MINUTE, ..Limits::DEFAULT }), Err(RefusalCode::TooLarge));
}

#[test]
fn g12_nothing_is_admitted_by_a_directory_that_has_expired() {
    let mut exchange = three();
    exchange.content.expires_at = exchange.start.plus(MINUTE);
    let envelope = exchange.envelope("ken/ncb", &["fra/ncb"]);
    let judged = |now| judge_by(&exchange, Limits::DEFAULT, envelope.encode(), now);
    assert_eq!(judged(exchange.start.plus(MINUTE)), Ok(()));
    assert_eq!(judged(exchange.start.plus(2 * MINUTE)), Err(RefusalCode::DirectoryStale));
}

#[test]
fn g11_who_has_no_sealing_key_need_not_be_told() {
    let mut exchange = three();
    let mut draft = exchange.draft("ken/ncb");
    (draft.kind, draft.withdraws) = (NoticeKind::Withdrawal, Some(draft.notice_id));
    let withdrawal = exchange.seal(draft, &["tur/border"], &[Classification::Unclassified]);
    let excused = |exchange: &Exchange| {
        let policy = Policy { directory: Arc::new(exchange.directory()), limits: Limits::DEFAULT };
        policy.follow_up(withdrawal.header(), exchange.start).map(|follow_up| follow_up.excused)
    };
    assert_eq!(excused(&exchange), Some(Vec::new()), "somebody who can be told need not be");
    let france = exchange.content.agencies.get_mut(&agency("fra/ncb")).unwrap();
    france.sealing_keys[0].not_before = exchange.start.plus(DAY);
    assert_eq!(excused(&exchange), Some(vec![agency("fra/ncb")]));
}
