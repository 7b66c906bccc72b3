//! Answers and receipts that are not about what was submitted, or not from whom they claim to be.

use valise_agent::compose::content::receipt_part;
use valise_proto::crypto::SigningKey;
use valise_proto::envelope::{HeaderDraft, NoticeKind};
use valise_proto::id::NoticeId;
use valise_proto::receipt::ReceiptKind;

use crate::case::{Case, PRIORITY, or, until};
use crate::exchange::Lie;
use crate::fixture::{agency, content, notice_json, rng};

#[tokio::test]
async fn g06_a_brokers_receipt_that_nobody_is_waiting_for() {
    let case = Case::start().await;
    let about = case.notice();
    case.broker.put_receipt("fra/ncb", PRIORITY, case.office.exchange.answer(&about, None).encode());
    case.is_set_aside(1, "about something not on record here").await;
    case.then_the_true_one_is_shown(&about).await;
}

/// What became of a notice that France's node sent to Kenya, when the broker's first answer was this lie.
async fn a_lie_does_not_count(lie: Lie) {
    let case = Case::start().await;
    case.broker.held.lock().unwrap().lies.push(lie);
    let sent = case.client().send(notice_json("ken/ncb").to_string().into()).await.unwrap().notice_id;
    case.sessions(2).await;
    // The connection was ended; the notice was kept, and submitted again.
    let accepted = async || {
        let status = case.client().notice_status(&sent).await.unwrap();
        or(status.state == "ACCEPTED", status.state.clone(), status.state)
    };
    until("the acceptance", accepted).await;
    assert_eq!(case.broker.held.lock().unwrap().accepted[&sent], 2, "it was not submitted again");
    let receipts = case.client().notice(&sent).await.unwrap().receipts;
    let broker = case.office.exchange.broker().to_string();
    assert_eq!(receipts.len(), 1, "{receipts:?}");
    assert_eq!((receipts[0].kind.as_str(), &receipts[0].issuer), ("ACCEPTED", &broker));
    case.node.stop().await;
}

#[tokio::test]
async fn g06_an_answer_about_another_notice() {
    a_lie_does_not_count(|mut receipt, key| {
        receipt.notice_id = Some(NoticeId::new(receipt.at, [7; 10]));
        receipt.sign(key)
    })
    .await;
}

#[tokio::test]
async fn g06_an_answer_about_another_header() {
    a_lie_does_not_count(|mut receipt, key| {
        receipt.header_digest = valise_proto::crypto::sha256(&[b"another"]);
        receipt.sign(key)
    })
    .await;
}

#[tokio::test]
async fn g06_an_answer_signed_with_another_key() {
    a_lie_does_not_count(|receipt, _| receipt.sign(&SigningKey::generate(&mut rng()))).await;
}

#[tokio::test]
async fn g06_an_answer_in_another_brokers_name() {
    a_lie_does_not_count(|mut receipt, key| {
        receipt.issuer = "spiffe://exchange.example/broker/b2".parse().unwrap();
        receipt.sign(key)
    })
    .await;
}

#[tokio::test]
async fn g06_an_answer_of_a_kind_that_is_no_answer() {
    a_lie_does_not_count(|mut receipt, key| {
        (receipt.kind, receipt.recipient) = (ReceiptKind::Expired, Some(agency("ken/ncb")));
        receipt.sign(key)
    })
    .await;
}

#[tokio::test]
async fn g06_a_receipt_of_an_agency_that_was_not_asked() {
    let case = Case::start().await;
    let sent = case.client().send(notice_json("ken/ncb").to_string().into()).await.unwrap().notice_id;
    let digest = case.client().notice(&sent).await.unwrap().header_digest;
    let receipt = |issuer: &str| {
        let mut receipt =
            case.office.exchange.receipt(ReceiptKind::Read, issuer, &case.notice()).receipt().clone();
        (receipt.notice_id, receipt.header_digest) = (Some(sent), digest);
        receipt.sign(&case.office.exchange.members[&agency(issuer)].signing)
    };
    let carry = |from: &str, issuer: &str| {
        let part = receipt_part(&receipt(issuer));
        let as_receipt = |draft: &mut HeaderDraft| draft.kind = NoticeKind::Receipt;
        case.office.exchange.envelope(from, &["fra/ncb"], &part, as_receipt).encode()
    };
    // One of its own, and one of Kenya's that it got hold of.
    case.deliver(carry("tur/border", "tur/border"));
    case.deliver(carry("tur/border", "ken/ncb"));
    case.is_set_aside(2, "who was not asked").await;
    let kinds = |status: valise_agent::api::types::NoticeStatus| -> Vec<String> {
        status.recipients[0].steps.iter().map(|step| step.kind.clone()).collect()
    };
    assert_eq!(kinds(case.client().notice_status(&sent).await.unwrap()), Vec::<String>::new());
    case.deliver(carry("ken/ncb", "ken/ncb"));
    case.all_acknowledged().await;
    assert_eq!(kinds(case.client().notice_status(&sent).await.unwrap()), ["READ"]);
    case.node.stop().await;
}

#[tokio::test]
async fn g01_an_answer_or_a_decision_of_an_agency_that_was_not_asked_is_set_aside() {
    let case = Case::start().await;
    let sent = case.client().send(notice_json("ken/ncb").to_string().into()).await.unwrap().notice_id;
    for kind in [NoticeKind::Response, NoticeKind::ReleaseDecision] {
        let shape = |draft: &mut HeaderDraft| (draft.kind, draft.in_reply_to) = (kind, Some(sent));
        let stranger = case.office.exchange.envelope("tur/border", &["fra/ncb"], &content(), shape);
        case.deliver(stranger.encode());
    }
    case.is_set_aside(2, "was not sent notice").await;
    let status = case.client().notice_status(&sent).await.unwrap();
    assert!(status.recipients.iter().all(|recipient| !recipient.answered), "a stranger answered: {status:?}");
    case.node.stop().await;
}
