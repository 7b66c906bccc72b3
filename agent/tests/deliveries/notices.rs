//! Notices that the broker alters, mixes up, repeats or makes up.

use bytes::Bytes;
use valise_agent::compose::content::receipt_part;
use valise_agent::core::{Change, Seen};
use valise_agent::store::Store;
use valise_proto::crypto::{SealingKey, SigningKey};
use valise_proto::envelope::{Envelope, NoticeKind, PortionIndex, Precedence};
use valise_proto::id::Timestamp;
use valise_proto::label::{Classification, Label};
use valise_proto::notice::Notice;
use valise_proto::receipt::ReceiptKind;

use crate::case::{Case, LONG};
use crate::exchange::{self, Office};
use crate::fixture::{agency, content, notice_json, policy, rng};

/// The encoded envelope with one byte of `part` altered, `offset` from the part's end.
fn altered(envelope: &Envelope, part: &[u8], offset: usize) -> Bytes {
    let mut bytes = envelope.encode().to_vec();
    let at = bytes.windows(part.len()).position(|window| window == part).unwrap() + part.len() - 1 - offset;
    bytes[at] ^= 1;
    bytes.into()
}

/// The encoded envelope with `part` replaced by another of the same length.
fn exchanged(envelope: &Envelope, part: &[u8], other: &[u8]) -> Bytes {
    assert_eq!(part.len(), other.len());
    let mut bytes = envelope.encode().to_vec();
    let at = bytes.windows(part.len()).position(|window| window == part).unwrap();
    bytes[at..at + part.len()].copy_from_slice(other);
    bytes.into()
}

#[tokio::test]
async fn g01_no_byte_of_a_header_can_be_altered() {
    let case = Case::start().await;
    let notice = case.notice();
    for offset in 0..notice.header_bytes().len() {
        case.deliver(altered(&notice, notice.header_bytes(), offset));
    }
    case.all_acknowledged().await;
    assert_eq!(case.shown().await, [], "an altered header is shown");
    assert!(!case.status().await.set_aside.is_empty());
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g01_an_altered_signature() {
    let case = Case::start().await;
    let notice = case.notice();
    case.deliver(altered(&notice, &notice.signature().value, 0));
    case.deliver(altered(&notice, &notice.signature().value, 63));
    case.is_set_aside(2, "does not verify under key").await;
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g01_an_altered_ciphertext() {
    let case = Case::start().await;
    let notice = case.notice();
    case.deliver(altered(&notice, &notice.portions()[0].ciphertext, 0));
    case.is_set_aside(1, "is not the one the header commits to").await;
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g01_an_altered_key_wrap() {
    let case = Case::start().await;
    let notice = case.notice();
    case.deliver(altered(&notice, &notice.wraps()[0].ciphertext, 0));
    case.deliver(altered(&notice, &notice.wraps()[0].encapsulated, 0));
    case.is_set_aside(2, "does not open").await;
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g01_key_wraps_swapped_between_two_notices() {
    let case = Case::start().await;
    let (one, other) = (case.notice(), case.notice());
    let wrap = |envelope: &Envelope| {
        let wrap = &envelope.wraps()[0];
        (wrap.encapsulated.clone(), wrap.ciphertext.clone())
    };
    let (of_one, of_other) = (wrap(&one), wrap(&other));
    let swap = |envelope: &Envelope, from: &(Bytes, Bytes), to: &(Bytes, Bytes)| {
        let half = exchanged(envelope, &from.0, &to.0);
        let half = Envelope::decode(half, &valise_proto::wire::limits::Limits::DEFAULT).unwrap();
        exchanged(&half, &from.1, &to.1)
    };
    case.deliver(swap(&one, &of_one, &of_other));
    case.deliver(swap(&other, &of_other, &of_one));
    case.is_set_aside(2, "does not open").await;
    case.deliver(one.encode());
    assert!(case.node.has_received(&one.header().notice_id, LONG).await.unwrap());
    case.deliver(other.encode());
    assert!(case.node.has_received(&other.header().notice_id, LONG).await.unwrap());
    case.node.stop().await;
}

#[tokio::test]
async fn g01_a_key_wrap_that_was_dropped() {
    let case = Case::start().await;
    let notice = case.notice();
    let bare = notice.for_recipient(&agency("tur/border"), &notice.header().permitted(&clearance(&case)));
    assert!(bare.wraps().is_empty());
    case.deliver(bare.encode());
    case.is_set_aside(1, "exactly one key wrap").await;
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g06_a_notice_of_which_every_portion_was_dropped_is_not_signed_for() {
    let case = Case::start().await;
    let notice = case.notice();
    case.deliver(notice.for_recipient(&agency("fra/ncb"), &[]).encode());
    case.is_set_aside(1, "no portion came with its key").await;
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g06_a_receipt_of_which_the_portion_was_dropped_comes_in_afterwards() {
    let case = Case::start().await;
    let sent = case.client().send(notice_json("ken/ncb").to_string().into()).await.unwrap().notice_id;
    let digest = case.client().notice(&sent).await.unwrap().header_digest;
    let mut receipt =
        case.office.exchange.receipt(ReceiptKind::Delivered, "ken/ncb", &case.notice()).receipt().clone();
    (receipt.notice_id, receipt.header_digest) = (Some(sent), digest);
    receipt.portions = vec![PortionIndex::new(0).unwrap(), PortionIndex::new(2).unwrap()];
    let part = receipt_part(&receipt.sign(&case.office.exchange.members[&agency("ken/ncb")].signing));
    let carrier = case.office.exchange.envelope("ken/ncb", &["fra/ncb"], &part, |draft| {
        draft.kind = NoticeKind::Receipt;
    });
    case.deliver(carrier.for_recipient(&agency("fra/ncb"), &[]).encode());
    case.is_set_aside(1, "no portion came with its key").await;
    case.deliver(carrier.encode());
    case.all_acknowledged().await;
    // Its originator is told which portions Kenya says it opened.
    let status = case.client().notice_status(&sent).await.unwrap();
    assert_eq!(status.recipients[0].state, "DELIVERED");
    assert_eq!(status.recipients[0].portions, [0, 2]);
    let receipts = case.client().notice(&sent).await.unwrap().receipts;
    assert!(receipts.iter().any(|receipt| receipt.kind == "DELIVERED" && receipt.portions == [0, 2]));
    case.node.stop().await;
}

#[tokio::test]
async fn g06_a_receipt_names_the_portions_that_were_opened_and_no_other() {
    let case = Case::start().await;
    let label = |class| Label::plain(policy(), class);
    let content = content();
    let portions = [
        (label(Classification::Unclassified), &content[..]),
        (label(Classification::Restricted), &content[..]),
    ];
    let notice = case.office.exchange.envelope_in_portions("ken/ncb", &["fra/ncb"], &portions, |_| {});
    let id = notice.header().notice_id;
    // France may access both; whoever carries it drops the first.
    let second = PortionIndex::new(1).unwrap();
    case.deliver(notice.for_recipient(&agency("fra/ncb"), &[second]).encode());
    assert!(case.node.has_received(&id, LONG).await.unwrap(), "{:?}", case.status().await);
    let opened = case.client().read(&id, "Officer A. Example").await.unwrap();
    assert_eq!(opened.opened.len(), 1);
    let stated: Vec<_> =
        opened.notice.receipts.iter().map(|receipt| (receipt.kind.as_str(), &receipt.portions[..])).collect();
    assert_eq!(stated, [("DELIVERED", &[1][..]), ("READ", &[1][..])]);
    // The whole of it is the same notice, taken in before.
    case.deliver(notice.encode());
    case.all_acknowledged().await;
    assert_eq!((case.shown().await, case.status().await.set_aside), (vec![id], Vec::new()));
    case.node.stop().await;
}

fn clearance(case: &Case) -> valise_proto::label::Clearance {
    case.office.exchange.content.agencies[&agency("fra/ncb")].clearance.clone()
}

#[tokio::test]
async fn g01_a_notice_to_somebody_else() {
    let case = Case::start().await;
    case.deliver(case.office.exchange.envelope("ken/ncb", &["tur/border"], &content(), |_| {}).encode());
    case.is_set_aside(1, "fra/ncb is not among the recipients").await;
    let notice = case.notice();
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g01_a_notice_sealed_to_a_key_that_is_not_ours() {
    let mut case = Case::start().await;
    let notice = case.notice();
    let listed = case.office.exchange.content.agencies.get_mut(&agency("fra/ncb")).unwrap();
    let ours =
        std::mem::replace(&mut listed.sealing_keys[0].key, SealingKey::generate(&mut rng()).public().clone());
    case.deliver(case.notice().encode());
    let listed = case.office.exchange.content.agencies.get_mut(&agency("fra/ncb")).unwrap();
    listed.sealing_keys[0].key = ours;
    case.is_set_aside(1, "does not open").await;
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g01_a_notice_signed_with_a_key_that_the_directory_does_not_list() {
    let mut case = Case::start().await;
    let notice = case.notice();
    case.office.exchange.members.get_mut(&agency("ken/ncb")).unwrap().signing =
        SigningKey::generate(&mut rng());
    case.deliver(case.notice_shaped(|draft| draft.notice_id = notice.header().notice_id).encode());
    case.is_set_aside(1, "lists no signing key").await;
    assert_eq!(case.status().await.outbox, 0, "whoever merely claims to be the originator is answered");
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g01_a_notice_in_kenyas_name_signed_with_another_agencys_key() {
    let mut case = Case::start().await;
    let notice = case.notice();
    let turkeys = case.office.exchange.members[&agency("tur/border")].signing.clone();
    case.office.exchange.members.get_mut(&agency("ken/ncb")).unwrap().signing = turkeys;
    case.deliver(case.notice_shaped(|draft| draft.notice_id = notice.header().notice_id).encode());
    case.is_set_aside(1, "lists no signing key").await;
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g01_a_notice_created_before_its_key_counted() {
    let case = Case::start().await;
    let early = Timestamp::from_millis(case.office.exchange.start.millis() - 60_000);
    case.deliver(case.notice_shaped(|draft| draft.created_at = early).encode());
    case.is_set_aside(1, "lists no signing key").await;
    let notice = case.notice();
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g05_a_notice_delivered_again_and_again_is_shown_once() {
    let case = Case::start().await;
    let notice = case.notice();
    for _ in 0..5 {
        case.deliver(notice.encode());
        case.broker.put("fra/ncb", Precedence::Flash, notice.encode());
    }
    case.all_acknowledged().await;
    assert_eq!(case.status().await.set_aside, []);
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g05_a_notice_replayed_after_a_restart_is_shown_once() {
    let mut case = Case::start().await;
    let notice = case.notice();
    case.deliver(notice.encode());
    assert!(case.node.has_received(&notice.header().notice_id, LONG).await.unwrap());
    case.all_acknowledged().await;
    case.node.kill().await;
    case.node = case.office.start("fra/ncb", Some(&case.broker)).await;
    case.deliver(notice.encode());
    case.all_acknowledged().await;
    assert_eq!(case.status().await.set_aside, []);
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g05_another_notice_under_an_id_that_was_shown() {
    let case = Case::start().await;
    let notice = case.notice();
    case.deliver(notice.encode());
    assert!(case.node.has_received(&notice.header().notice_id, LONG).await.unwrap());
    case.deliver(case.notice_shaped(|draft| draft.notice_id = notice.header().notice_id).encode());
    case.all_acknowledged().await;
    let aside = case.status().await.set_aside;
    assert!(
        aside.len() == 1 && aside[0].reason.contains("another envelope was taken in before"),
        "{aside:?}"
    );
    case.then_the_true_one_is_shown(&notice).await;
}

/// Lets the node forget an envelope, as it does a day after the envelope has expired.
fn forget(office: &Office, envelope: &Envelope) {
    let vault = office.vault("fra/ncb");
    let store = Store::open(&office.data("fra/ncb").join("store"), vault.store_key()).unwrap();
    let seen = Seen::of(envelope);
    assert!(store.has_seen(&seen).unwrap());
    store.apply([&Change::Forget(vec![seen])]).unwrap();
    assert!(!store.has_seen(&seen).unwrap());
}

#[tokio::test]
async fn g05_another_notice_under_an_id_that_was_forgotten_overwrites_nothing() {
    let mut case = Case::start().await;
    let notice = case.notice();
    let id = notice.header().notice_id;
    case.deliver(notice.encode());
    assert!(case.node.has_received(&id, LONG).await.unwrap());
    case.all_acknowledged().await;
    let read = case.client().read(&id, "Officer A. Example").await.unwrap();
    case.node.kill().await;
    forget(&case.office, &notice);
    case.node = case.office.start("fra/ncb", Some(&case.broker)).await;
    case.deliver(case.notice_shaped(|draft| draft.notice_id = id).encode());
    case.all_acknowledged().await;
    let aside = case.status().await.set_aside;
    assert!(
        aside.len() == 1 && aside[0].reason.contains("another envelope was taken in before"),
        "{aside:?}"
    );
    case.deliver(notice.encode());
    case.all_acknowledged().await;
    assert_eq!(case.status().await.set_aside.len(), 1);
    assert_eq!(case.shown().await, [id]);
    let kept = case.client().notice(&id).await.unwrap();
    assert_eq!((kept.header_digest, kept.read), (notice.header_digest(), read.notice.read));
    case.node.stop().await;
}

#[tokio::test]
async fn g05_a_notice_under_the_id_of_one_that_was_sent_from_here() {
    let case = Case::start().await;
    let sent = case.client().send(notice_json("ken/ncb").to_string().into()).await.unwrap().notice_id;
    let before = case.client().notice(&sent).await.unwrap();
    case.deliver(case.notice_shaped(|draft| draft.notice_id = sent).encode());
    case.is_set_aside(1, "that of an envelope of our own").await;
    let after = case.client().notice(&sent).await.unwrap();
    assert_eq!((after.direction, after.header_digest), (before.direction, before.header_digest));
    let notice = case.notice();
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g05_a_notice_that_expired_long_ago() {
    let case = Case::with(|exchange| {
        // A key old enough to have signed it.
        let listed = exchange.content.agencies.get_mut(&agency("ken/ncb")).unwrap();
        listed.signing_keys[0].not_before = Timestamp::from_millis(1);
        exchange.content.version += 1;
    })
    .await;
    let days_ago =
        |days: u64| Timestamp::from_millis(case.office.exchange.start.millis() - days * 86_400_000);
    let old = case.notice_shaped(|draft| {
        (draft.created_at, draft.expires_at) = (days_ago(10), days_ago(2));
    });
    case.deliver(old.encode());
    case.is_set_aside(1, "was delivered after that").await;
    let notice = case.notice();
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g12_bytes_that_are_no_envelope_are_set_aside() {
    let case = Case::start().await;
    let notice = case.notice();
    // Nothing, and a whole envelope with something more in its header than this version knows.
    case.deliver(Bytes::new());
    let header = [&notice.header_bytes()[..], b"\xa2\x06\x01x"].concat();
    let signing = &case.office.exchange.members[&agency("ken/ncb")].signing;
    case.deliver(signed_anew(&notice, &header, signing));
    case.is_set_aside(2, "a delivery cannot be read").await;
    case.then_the_true_one_is_shown(&notice).await;
}

/// The envelope with another header, signed as if it were in order.
fn signed_anew(envelope: &Envelope, header: &[u8], key: &SigningKey) -> Bytes {
    let signature = key.sign(valise_proto::crypto::context::HEADER, header);
    let whole = exchanged(envelope, &envelope.signature().value, &signature.value);
    // Field 1 of an envelope is its header; what follows stays.
    let rest =
        whole.windows(envelope.header_bytes().len()).position(|window| window == envelope.header_bytes());
    let rest = &whole[rest.unwrap() + envelope.header_bytes().len()..];
    [&exchange::field(1, header)[..], rest].concat().into()
}

#[tokio::test]
async fn g12_a_frame_that_is_no_delivery_ends_the_connection() {
    let case = Case::start().await;
    let notice = case.notice();
    // A length that leads beyond the end: not even the cursor can be read.
    case.deliver(b"\x0a\x7f".as_slice());
    case.sessions(2).await;
    assert_eq!(case.broker.held.lock().unwrap().acknowledged.len(), 0);
    assert_eq!(case.shown().await, []);
    case.broker.withdraw_everything();
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g11_what_says_of_persons_nothing_or_something_unfit_about_how_long_it_may_be_kept_is_set_aside() {
    let case = Case::start().await;
    let start = case.office.exchange.start;
    let read = |json: serde_json::Value| {
        let notice = Notice::from_json(json.to_string().as_bytes(), &policy(), start).unwrap();
        notice.portions()[0].encode()
    };
    // To be deleted before anybody could read it; and the parts of an answer, which has no terms, as a deportation.
    let mut short = notice_json("fra/ncb");
    short["review_by"] = start.plus(std::time::Duration::from_secs(60)).to_string().into();
    let answer = serde_json::json!({ "kind": "RESPONSE", "precedence": "ROUTINE", "label": "UNCLASSIFIED",
        "in_reply_to": case.notice().header().notice_id.to_string(),
        "parts": [{ "type": "response", "outcome": "WILL_ACT" }] });
    for parts in [read(short), read(answer)] {
        case.deliver(case.office.exchange.envelope("ken/ncb", &["fra/ncb"], &parts, |_| {}).encode());
    }
    case.is_set_aside(2, "is not acted upon: MALFORMED").await;
    case.node.stop().await;
}
