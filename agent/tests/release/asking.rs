//! A holder asks its originator, and passes on what it was given leave for.

use serde_json::json;
use valise_agent::api::client::LocalClient;
use valise_agent::api::release::{Released, SecondOfficer, WaitingRelease};
use valise_agent::release::decide::Decide;
use valise_agent::release::request::{Asked, Request};
use valise_agent::release::requests::Standing;
use valise_proto::id::NoticeId;

use crate::case::{BORDER, Case, FRANCE, GERMANY, KENYA, forward, notice, queued, refused};
use crate::fixture::agency;

fn request(action: Asked, portions: &[usize], to: &[&str], label: Option<&str>) -> Request {
    Request {
        action,
        portions: portions.to_vec(),
        to: to.iter().map(|name| agency(name)).collect(),
        label: label.map(ToOwned::to_owned),
        justification: "An invented officer has to know.".to_owned(),
        precedence: None,
        respond_by: None,
        officer: Some("Asker".to_owned()),
        reason: None,
    }
}

fn decide(grant: bool) -> Decide {
    Decide {
        grant,
        portions: Vec::new(),
        to: Vec::new(),
        label: None,
        valid_until: None,
        text: Some("As discussed.".to_owned()),
        officer: Some("First".to_owned()),
        reason: None,
    }
}

fn waiting(released: Released) -> WaitingRelease {
    match released {
        Released::Waiting(waiting) => waiting,
        Released::Queued(queued) => panic!("one officer alone released {}", queued.notice_id),
    }
}

async fn approve(node: &LocalClient, waiting: &WaitingRelease) -> NoticeId {
    let second = SecondOfficer { officer: Some("Second".to_owned()), reason: None };
    node.approve_release(&waiting.id, &second).await.unwrap().notice_id
}

/// Asks from France, and waits until Kenya has it.
async fn asked(case: &Case, about: &NoticeId, what: &Request) -> NoticeId {
    let sent = case.client(FRANCE).request_release(about, what).await.unwrap();
    assert!(sent.respond_by.is_some(), "a request without a time by which no answer is no");
    case.arrives(KENYA, &sent.notice_id).await;
    sent.notice_id
}

#[tokio::test]
async fn g03_leave_that_two_officers_gave_lets_through_what_it_covers_and_no_more() {
    let case = Case::start().await;
    let source = case.sent(&notice("RESTRICTED//ORCON", "SECRET//ORCON")).await;
    let (france, kenya) = (case.client(FRANCE), case.client(KENYA));
    let what = request(Asked::Share, &[0, 1], &[GERMANY, BORDER], None);
    let id = asked(&case, &source, &what).await;
    let asks = &kenya.release_requests().await.unwrap()[0];
    assert_eq!((asks.id, asks.ours, asks.standing, asks.about), (id, false, Standing::Waiting, Some(source)));
    assert!(asks.asks.as_ref().unwrap().contains("SHARE portions 0, 1"), "{:?}", asks.asks);
    // No answer yet is no.
    let to_germany = forward(&[GERMANY], &[0], None);
    assert_eq!(refused(france.forward(&source, &to_germany).await).code, "NOT_RELEASED");

    let narrower = Decide { portions: vec![0], to: vec![agency(GERMANY)], ..decide(true) };
    let waits = waiting(kenya.decide_release(&id, &narrower).await.unwrap());
    let alone = SecondOfficer { officer: Some("first".to_owned()), reason: None };
    assert_eq!(refused(kenya.approve_release(&waits.id, &alone).await).code, "SAME_OFFICER");
    let decision = approve(&kenya, &waits).await;
    assert_eq!(refused(kenya.decide_release(&id, &decide(false)).await).code, "DECIDED");
    case.arrives(FRANCE, &decision).await;
    let answered = &france.release_requests().await.unwrap()[0];
    assert_eq!((answered.standing, answered.decision), (Standing::Granted, Some(decision)));

    let made = queued(france.forward(&source, &to_germany).await.unwrap());
    assert_eq!(made.label, "RESTRICTED//ORCON", "what binds Germany is gone");
    case.arrives(GERMANY, &made.notice_id).await;
    let from = france.derivations(&made.notice_id).await.unwrap().from.unwrap();
    assert_eq!((from.source, from.leave), (source, Some(decision)));
    for (what, lacks) in [
        (forward(&[GERMANY, BORDER], &[0], None), "it is not for fra/border"),
        (forward(&[GERMANY], &[0, 1], None), "it is not for portion 1"),
        (forward(&[GERMANY], &[0], Some("RESTRICTED")), "it asks for RESTRICTED//ORCON"),
    ] {
        let facts = refused(france.forward(&source, &what).await);
        assert!(facts.code == "NOT_RELEASED" && facts.message.contains(lacks), "{}", facts.message);
    }
    // Leave about one notice is none about another.
    let other = case.sent(&notice("RESTRICTED//ORCON", "SECRET//ORCON")).await;
    assert_eq!(refused(france.forward(&other, &to_germany).await).code, "NOT_RELEASED");
    case.stop().await;
}

#[tokio::test]
async fn g03_leave_to_lower_a_label_is_given_and_refused() {
    let case = Case::start().await;
    let source = case.sent(&notice("CONFIDENTIAL", "SECRET")).await;
    let (france, kenya) = (case.client(FRANCE), case.client(KENYA));
    let lower = request(Asked::Downgrade, &[0], &[], Some("RESTRICTED"));
    let first = asked(&case, &source, &lower).await;
    let denied = queued(kenya.decide_release(&first, &decide(false)).await.unwrap());
    case.arrives(FRANCE, &denied.notice_id).await;
    let to_border = forward(&[BORDER], &[0], Some("RESTRICTED"));
    assert_eq!(refused(france.forward(&source, &to_border).await).code, "NOT_RELEASED");
    assert_eq!(france.release_requests().await.unwrap()[0].standing, Standing::Refused);

    let second = asked(&case, &source, &lower).await;
    let granted =
        approve(&kenya, &waiting(kenya.decide_release(&second, &decide(true)).await.unwrap())).await;
    case.arrives(FRANCE, &granted).await;
    let made = queued(france.forward(&source, &to_border).await.unwrap());
    case.arrives(BORDER, &made.notice_id).await;
    // Nobody named means the own State.
    let abroad = refused(france.forward(&source, &forward(&[GERMANY], &[0], Some("RESTRICTED"))).await);
    assert!(abroad.message.contains("it is not for deu/ncb"), "{}", abroad.message);
    case.stop().await;
}

#[tokio::test]
async fn leave_is_neither_asked_for_nor_given_by_hand_nor_to_whom_it_does_not_belong() {
    let case = Case::start().await;
    let source = case.sent(&notice("RESTRICTED", "SECRET")).await;
    let kenya = case.client(KENYA);
    let digest = case.envelope(KENYA, &source).header_digest().to_string();
    let decision = json!({
        "kind": "RELEASE_DECISION", "precedence": "ROUTINE", "label": "RESTRICTED", "recipients": [FRANCE],
        "in_reply_to": source, "parts": [{ "type": "release_decision", "decision": "GRANTED", "action": "SHARE",
            "about": { "notice_id": source, "header_digest": digest }, "portions": [0], "to": [GERMANY] }],
    });
    let facts = refused(kenya.send(decision.to_string().into()).await);
    assert_eq!(facts.code, "NOT_BY_HAND", "{facts:?}");
    let facts = refused(kenya.decide_release(&source, &decide(true)).await);
    assert_eq!(facts.code, "UNKNOWN_NOTICE", "{facts:?}");
    let facts = refused(case.client(FRANCE).decide_release(&source, &decide(true)).await);
    assert_eq!(facts.code, "NOT_A_REQUEST", "{facts:?}");
    let own = refused(kenya.request_release(&source, &request(Asked::Share, &[0], &[GERMANY], None)).await);
    assert_eq!(own.code, "SENT_NOT_RECEIVED");
    case.stop().await;
}

#[tokio::test]
async fn g03_no_leave_is_given_that_would_reach_a_state_that_persons_are_protected_from() {
    let case = Case::start().await;
    let mut protective = notice("RESTRICTED//H2", "SECRET//H2");
    protective["parts"][1]["citizenships"] = json!(["DEU"]);
    protective["omissions"] = json!([{ "state": "DEU", "reason": "NON_REFOULEMENT" }]);
    let source = case.sent(&protective).await;
    let id = asked(&case, &source, &request(Asked::Share, &[0], &[GERMANY], None)).await;
    let facts = refused(case.client(KENYA).decide_release(&id, &decide(true)).await);
    assert!(
        facts.code == "NOT_RELEASED" && facts.message.contains("protected from DEU"),
        "{}",
        facts.message
    );
    case.stop().await;
}
