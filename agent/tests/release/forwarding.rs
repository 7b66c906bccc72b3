//! What a holder passes on.

use serde_json::json;
use valise_agent::api::types::WithdrawRequest;

use crate::case::{BORDER, Case, FRANCE, GERMANY, KENYA, downgrade, forward, notice, queued, refused};

#[tokio::test]
async fn a_holder_passes_on_within_its_own_state_and_says_whose_content_it_is() {
    let case = Case::start().await;
    let source = case.sent(&notice("RESTRICTED", "SECRET")).await;
    let france = case.client(FRANCE);
    let made = queued(france.forward(&source, &forward(&[BORDER], &[0], None)).await.unwrap());
    assert_eq!(made.label, "RESTRICTED");
    case.arrives(BORDER, &made.notice_id).await;
    let shown = case.shown(BORDER, &made.notice_id).await;
    let remark = shown[0]["parts"][2]["text"].as_str().unwrap();
    assert!(remark.contains("content of ken/ncb, who marked it RESTRICTED"), "{remark}");
    assert_eq!(shown[0]["parts"][1]["names"][0]["surname"], "EXAMPLE-SPECIMEN");
    assert!(!shown[0].to_string().contains(&source.to_string()), "the source's id is told");
    let from = france.derivations(&made.notice_id).await.unwrap().from.unwrap();
    assert_eq!((from.source, from.originator.as_str(), from.leave), (source, KENYA, None));
    case.stop().await;
}

#[tokio::test]
async fn g03_what_needs_its_originators_leave_does_not_leave_without_it() {
    let case = Case::start().await;
    let plain = case.sent(&notice("RESTRICTED", "SECRET")).await;
    let marked = case.sent(&notice("RESTRICTED//ORCON", "SECRET//ORCON/H2")).await;
    let france = case.client(FRANCE);
    let refusal = async |id, what| {
        let facts = refused(france.forward(id, &what).await);
        assert_eq!(facts.code, "NOT_RELEASED", "{}", facts.message);
        assert!(facts.message.contains("ask ken/ncb: valise-agent release request"), "{}", facts.message);
        facts.message
    };
    let abroad = refusal(&plain, forward(&[GERMANY], &[0], None)).await;
    assert!(abroad.contains("deu/ncb is an agency of another State"), "{abroad}");
    let lowered = refusal(&plain, forward(&[BORDER], &[0], Some("UNCLASSIFIED"))).await;
    assert!(lowered.contains("UNCLASSIFIED protects it less than RESTRICTED"), "{lowered}");
    let orcon = refusal(&marked, forward(&[BORDER], &[0], None)).await;
    assert!(orcon.contains("portion 0 is marked ORCON"), "{orcon}");
    let dropped = refusal(&marked, forward(&[BORDER], &[0], Some("RESTRICTED"))).await;
    assert!(dropped.contains("ORCON"), "{dropped}");
    let both = refusal(&marked, forward(&[BORDER], &[], Some("SECRET//ORCON/H2"))).await;
    assert!(both.contains("portion 1 is marked H2"), "{both}");
    let status = france.status().await.unwrap();
    assert!(status.outbox == 0 || france.derivations(&marked).await.unwrap().made.is_empty());
    case.stop().await;
}

#[tokio::test]
async fn g03_content_about_a_minor_is_not_passed_on_even_within_the_own_state() {
    let case = Case::start().await;
    let mut family = notice("RESTRICTED//H2", "SECRET//H2");
    let child = json!({ "type": "person", "id": "p4", "role": "CHILD", "birth_date": "2020-02-02", "citizenships": ["XXX"],
        "names": [{ "kind": "PRIMARY", "surname": "EXAMPLE-SPECIMEN", "given_names": "Child" }] });
    family["parts"].as_array_mut().unwrap().push(child);
    family.as_object_mut().unwrap().remove("review_by");
    let source = case.sent(&family).await;
    let facts = refused(case.client(FRANCE).forward(&source, &forward(&[BORDER], &[0], None)).await);
    assert_eq!(facts.code, "NOT_RELEASED");
    assert!(
        facts.message.contains("under 18") && facts.message.contains("paragraphs 30 and 31"),
        "{}",
        facts.message
    );
    case.stop().await;
}

#[tokio::test]
async fn g03_a_recipient_that_is_not_cleared_gets_nothing_passed_on() {
    let case = Case::start().await;
    let source = case.sent(&notice("CONFIDENTIAL", "SECRET")).await;
    let facts = refused(case.client(FRANCE).forward(&source, &forward(&[BORDER], &[0], None)).await);
    assert_eq!(facts.code, "INVALID_NOTICE");
    assert!(facts.mistakes[0].rule.contains("may access no portion"), "{:?}", facts.mistakes);
    let own = refused(case.client(KENYA).forward(&source, &forward(&[BORDER], &[0], None)).await);
    assert_eq!(own.code, "SENT_NOT_RECEIVED");
    case.stop().await;
}

fn withdrawal_for(reason: &str) -> WithdrawRequest {
    WithdrawRequest { reason: reason.to_owned(), label: None }
}

#[tokio::test]
async fn g11_nothing_is_made_of_a_withdrawn_notice() {
    let case = Case::start().await;
    let source = case.sent(&notice("RESTRICTED", "SECRET")).await;
    let kenya = case.client(KENYA);
    kenya.withdraw(&source, &withdrawal_for("Another person of the same name.")).await.unwrap();
    let facts = refused(kenya.downgrade(&source, &downgrade(&[BORDER], &[0], "RESTRICTED")).await);
    assert_eq!(facts.code, "OUT_OF_FORCE", "{facts:?}");
    case.stop().await;
}

#[tokio::test]
async fn g11_a_notice_that_rests_on_a_withdrawn_one_says_so() {
    let case = Case::start().await;
    let source = case.sent(&notice("RESTRICTED", "SECRET")).await;
    let (kenya, france) = (case.client(KENYA), case.client(FRANCE));
    let passed_on = queued(france.forward(&source, &forward(&[BORDER], &[0], None)).await.unwrap()).notice_id;
    assert_eq!(france.track(&passed_on).await.unwrap().rests_on, None);
    let by = kenya.withdraw(&source, &withdrawal_for("Another person.")).await.unwrap().notice_id;
    case.arrives(FRANCE, &by).await;
    let rests_on = france.track(&passed_on).await.unwrap().rests_on.unwrap();
    assert_eq!((rests_on.source, rests_on.originator.as_str(), rests_on.ended_by), (source, KENYA, by));
    assert_eq!(rests_on.ended_with.to_string(), "WITHDRAWAL");
    let from = france.derivations(&passed_on).await.unwrap().from.unwrap();
    assert_eq!(from.source_ended_by, Some(by));
    case.stop().await;
}

#[tokio::test]
async fn what_was_made_from_another_is_not_corrected_by_hand() {
    let case = Case::start().await;
    let source = case.sent(&notice("RESTRICTED", "SECRET")).await;
    let france = case.client(FRANCE);
    let made = queued(france.forward(&source, &forward(&[BORDER], &[0], None)).await.unwrap()).notice_id;
    let mut correction = notice("RESTRICTED", "SECRET");
    correction["kind"] = json!("CORRECTION");
    correction["supersedes"] = json!(made);
    correction["recipients"] = json!([BORDER]);
    correction["omissions"] = json!([]);
    correction["parts"].as_array_mut().unwrap().push(json!({ "type": "correction", "reason": "Invented." }));
    let facts = refused(france.send(correction.to_string().into()).await);
    assert_eq!(facts.code, "NOT_BY_HAND", "{facts:?}");
    case.stop().await;
}
