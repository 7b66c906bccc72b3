//! What counts of an agency that was suspended or revoked: what it signed before, nothing from then on.

use valise_proto::crypto::sha256;
use valise_proto::directory::{AgencyStatus, Directory, DirectoryError};
use valise_proto::envelope::{
    Envelope, HeaderDraft, NoticeKind, PlainPortion, PortionIndex, Precedence, SealFor, seal,
};
use valise_proto::id::{NoticeId, SpiffeId, Timestamp};
use valise_proto::label::{Classification, Label};
use valise_proto::receipt::{Receipt, ReceiptError, ReceiptKind};
use valise_proto::refusal::{Refusal, RefusalCode};
use zeroize::Zeroizing;

use crate::exchange::{
    DAY, MOMENT, agency, before, content, directory, directory_key, id, sealing, signing, start, tampered,
    verify,
};
use crate::raw::Value;

fn since() -> Timestamp {
    start().plus(DAY)
}

fn ended() -> [AgencyStatus; 2] {
    [AgencyStatus::Suspended { since: since() }, AgencyStatus::Revoked { since: since() }]
}

/// The directory once `fra/ncb` is no longer active.
fn after(status: AgencyStatus) -> Directory {
    directory(|content| {
        let entry = content.agencies.get_mut(&id("fra/ncb")).unwrap();
        (entry.status, entry.contact_point) = (status, false);
    })
}

/// From `fra/ncb` to `ken/ncb`.
fn envelope(created_at: Timestamp) -> Envelope {
    let draft = HeaderDraft {
        notice_id: NoticeId::new(created_at, [7; 10]),
        kind: NoticeKind::Arrival,
        originator: id("fra/ncb"),
        precedence: Precedence::Routine,
        created_at,
        expires_at: created_at.plus(10 * DAY),
        respond_by: None,
        directory_version: 7,
        in_reply_to: None,
        supersedes: None,
        withdraws: None,
        derived_from: None,
    };
    let label = Label::plain("exchange.example".parse().unwrap(), Classification::Restricted);
    let portion = PlainPortion { label, parts: Zeroizing::new(b"content".to_vec()) };
    let to = SealFor {
        agency: id("ken/ncb"),
        key: sealing("ken/ncb").public().clone(),
        portions: vec![PortionIndex::new(0).unwrap()],
    };
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    seal(draft, &[portion], &[to], &mut rng).unwrap().sign(&signing("fra/ncb"))
}

fn delivered(directory: &Directory, created_at: Timestamp) -> Result<(), Refusal> {
    envelope(created_at).verify_delivered(directory, &id("ken/ncb")).map(|_| ())
}

fn submitted(directory: &Directory, created_at: Timestamp, now: Timestamp) -> Result<(), Refusal> {
    envelope(created_at).verify_submitted(directory, now).map(|_| ())
}

#[test]
fn g01_a_signature_of_an_ended_agency_counts_for_the_time_before() {
    let mut entry = agency("fra/ncb");
    let key = signing("fra/ncb").key_id();
    let last = entry.signing_keys[0].not_after;
    assert!(entry.signing_key_at(key, last).is_some(), "active, to the key's last moment");
    assert!(entry.signing_key_at(key, last.plus(MOMENT)).is_none());
    assert!(entry.signing_key_at(key, before(entry.signing_keys[0].not_before, MOMENT)).is_none());
    assert!(entry.signing_key_at(signing("ken/ncb").key_id(), start()).is_none());
    for status in ended() {
        entry.status = status;
        assert!(!status.is_active());
        assert!(entry.signing_key_at(key, before(since(), MOMENT)).is_some(), "{status}, before");
        assert!(entry.signing_key_at(key, since()).is_none(), "{status}, from the moment itself");
        assert!(entry.signing_key_at(key, since().plus(MOMENT)).is_none(), "{status}, after");
    }
}

#[test]
fn g01_a_signing_key_stands_in_a_directory_once() {
    let mut content = content();
    let twice = content.agencies[&id("ken/ncb")].signing_keys.clone();
    let france = content.agencies.get_mut(&id("fra/ncb")).unwrap();
    france.signing_keys.extend(twice);
    let error = content.sign(&directory_key()).unwrap_err();
    assert!(matches!(error, DirectoryError::Inconsistent(_)), "at two agencies: {error}");
    let mut content = crate::exchange::content();
    let france = content.agencies.get_mut(&id("fra/ncb")).unwrap();
    france.signing_keys.extend(france.signing_keys.clone());
    assert!(content.sign(&directory_key()).is_err(), "twice at one agency");
}

#[test]
fn g01_of_several_sealing_keys_the_one_that_counts_longest_is_used() {
    let mut entry = agency("fra/ncb");
    let mut next = entry.sealing_keys[0].clone();
    (next.key, next.key_id) = (sealing("ken/ncb").public().clone(), sealing("ken/ncb").public().key_id());
    next.not_before = start();
    next.not_after = start().plus(180 * DAY);
    entry.sealing_keys.push(next.clone());
    assert_eq!(entry.sealing_key_at(before(start(), MOMENT)), entry.sealing_keys.first());
    assert_eq!(entry.sealing_key_at(start()), Some(&next));
    assert_eq!(entry.sealing_key_at(start().plus(181 * DAY)), None);
}

#[test]
fn g01_a_recipient_takes_what_was_signed_before_and_refuses_the_rest_with_the_reason() {
    assert_eq!(delivered(&directory(|_| {}), since()), Ok(()));
    for status in ended() {
        let (directory, code) = (after(status), code(status));
        assert_eq!(delivered(&directory, before(since(), MOMENT)), Ok(()), "{status}");
        for created_at in [since(), since().plus(DAY)] {
            let refusal = delivered(&directory, created_at).unwrap_err();
            assert_eq!(refusal.code, code);
            assert!(refusal.detail.contains("2026-03-02T00:00:00Z"), "{refusal}");
        }
    }
}

#[test]
fn g01_a_broker_takes_nothing_from_an_ended_agency_whatever_the_time_on_it() {
    let now = since().plus(DAY);
    assert_eq!(submitted(&directory(|_| {}), since(), now), Ok(()));
    for status in ended() {
        let (directory, code) = (after(status), code(status));
        for (created_at, now) in [(start(), now), (now, now), (start(), start())] {
            let refusal = submitted(&directory, created_at, now).unwrap_err();
            assert_eq!(refusal.code, code, "{status}, made {created_at}, submitted {now}");
        }
    }
}

fn receipt(directory: &Directory, at: Timestamp) -> Result<(), ReceiptError> {
    let receipt = Receipt {
        kind: ReceiptKind::Delivered,
        notice_id: Some(NoticeId::new(start(), [7; 10])),
        header_digest: sha256(&[b"header"]),
        issuer: SpiffeId::agency("exchange.example".parse().unwrap(), id("fra/ncb")),
        recipient: None,
        at,
        officer: None,
        refusal: None,
        portions: vec![PortionIndex::new(0).unwrap()],
        cause: None,
    };
    receipt.sign(&signing("fra/ncb")).verify(directory)
}

#[test]
fn g06_a_receipt_of_an_ended_agency_counts_for_the_time_before() {
    assert_eq!(receipt(&directory(|_| {}), since()), Ok(()));
    for status in ended() {
        let directory = after(status);
        assert_eq!(receipt(&directory, before(since(), MOMENT)), Ok(()), "{status}");
        for at in [since(), since().plus(DAY)] {
            let error = receipt(&directory, at).unwrap_err();
            assert!(matches!(error, ReceiptError::Ended { .. }), "{error}");
            let told = error.to_string();
            assert!(told.contains(&format!("{status} since 2026-03-02T00:00:00Z")), "{told}");
        }
    }
}

fn code(status: AgencyStatus) -> RefusalCode {
    match status {
        AgencyStatus::Suspended { .. } => RefusalCode::Suspended,
        AgencyStatus::Revoked { .. } => RefusalCode::Revoked,
        AgencyStatus::Active => panic!("nothing is refused"),
    }
}

#[test]
fn the_code_of_a_revocation_is_18() {
    assert_eq!(RefusalCode::Revoked.number(), 18);
    assert_eq!(RefusalCode::from_number(18), Some(RefusalCode::Revoked));
    assert_eq!(RefusalCode::Revoked.as_str(), "REVOKED");
    for (index, code) in RefusalCode::ALL.iter().enumerate() {
        assert_eq!(RefusalCode::from_number(u32::try_from(index).unwrap() + 1), Some(*code));
    }
}

#[test]
fn g01_a_status_comes_back_with_its_time() {
    for status in ended() {
        let read = verify(after(status).encoded()).unwrap();
        assert_eq!(read.agency(&id("fra/ncb")).unwrap().status, status);
    }
}

#[test]
fn g12_a_status_and_its_time_must_fit() {
    const AGENCY: [u64; 1] = [7];
    let active = directory(|_| {});
    let with_time = tampered(active.encoded(), &AGENCY, &|agency| {
        agency.push(10, Value::Varint(since().millis()));
    });
    assert!(verify(&with_time).unwrap_err().to_string().contains("status_since_ms"));
    let ended = after(AgencyStatus::Suspended { since: since() });
    let without = tampered(ended.encoded(), &AGENCY, &|agency| agency.remove(10));
    assert!(verify(&without).unwrap_err().to_string().contains("status_since_ms"));
    let beyond = tampered(ended.encoded(), &AGENCY, &|agency| *agency.field(10) = Value::Varint(u64::MAX));
    assert!(verify(&beyond).unwrap_err().to_string().contains("status_since_ms"));
    let none = tampered(active.encoded(), &AGENCY, &|agency| agency.remove(9));
    assert!(verify(&none).unwrap_err().to_string().contains("agency.status"));
    let unknown = tampered(active.encoded(), &AGENCY, &|agency| *agency.field(9) = Value::Varint(4));
    assert!(verify(&unknown).unwrap_err().to_string().contains("agency.status"));
}
