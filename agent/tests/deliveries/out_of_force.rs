//! How what was corrected or withdrawn is marked, wherever it is listed or shown, and where it is no longer listed.

use serde_json::Value;
use valise_agent::api::types::{CorrectRequest, InboxFilter, PortionState, RespondRequest, WithdrawRequest};
use valise_proto::envelope::PortionIndex;
use valise_proto::id::NoticeId;
use valise_proto::label::{Classification, Label};

use crate::case::Case;
use crate::commands::says;
use crate::fixture::{agency, content, notice_json, policy};
use crate::listing::refused;

async fn json(case: &Case, arguments: &[&str]) -> Value {
    serde_json::from_str(&says(case, &[&["--json"], arguments].concat()).await).unwrap()
}

/// The mark, as text and as JSON, that a notice counts no more.
fn mark(cause: &str, by: NoticeId) -> (String, impl Fn(&Value) -> bool) {
    let (words, json) = (format!("{cause} by {by}"), by.to_string());
    let cause = cause.to_owned();
    (words, move |told: &Value| told["out_of_force"]["cause"] == cause && told["out_of_force"]["by"] == json)
}

#[tokio::test]
async fn what_was_sent_and_corrected_or_withdrawn_is_marked_wherever_it_is_shown() {
    let case = Case::start().await;
    let client = case.client();
    let first = client.send(notice_json("ken/ncb").to_string().into()).await.unwrap().notice_id;
    let (reason, notice) = ("The date of birth.".to_owned(), notice_json("ken/ncb"));
    let second = client.correct(&first, &CorrectRequest { reason, notice }).await.unwrap().notice_id;
    let reason = "Another person of the same name.".to_owned();
    let last = client.withdraw(&second, &WithdrawRequest { reason, label: None }).await.unwrap().notice_id;
    for (id, (words, marked)) in [(first, mark("CORRECTED", second)), (second, mark("WITHDRAWN", last))] {
        let id = id.to_string();
        for shown in [&["status", &id][..], &["track", &id], &["show", &id], &["preview", "--notice", &id]] {
            let told = says(&case, shown).await;
            assert!(told.contains("OUT OF FORCE") && told.contains(&words), "{shown:?}: {told}");
            let told = json(&case, shown).await;
            assert!(marked(told.get("status").unwrap_or(&told)), "{shown:?}: {told:#}");
        }
        let listed = says(&case, &["status"]).await;
        assert!(listed.lines().any(|line| line.starts_with(&id) && line.ends_with(&words)), "{listed}");
        let listed = json(&case, &["status"]).await;
        let sent = listed["sent"].as_array().unwrap();
        assert!(sent.iter().any(|sent| sent["notice_id"] == id && marked(sent)), "{listed:#}");
    }
    let last = client.notice_status(&last).await.unwrap();
    assert_eq!(last.out_of_force, None, "what counts is marked");
    case.node.stop().await;
}

#[tokio::test]
async fn what_was_received_and_withdrawn_is_marked_and_its_portions_are_told_to_be_purged() {
    let case = Case::start().await;
    let notice = case.notice();
    let id = case.receive(&notice).await;
    let held = case.client().notice(&id).await.unwrap();
    assert_eq!((held.portions[0].state, held.out_of_force), (PortionState::Held, None));
    let by = case.receive(&case.withdrawal_of(&notice)).await;
    case.all_acknowledged().await;
    let (words, marked) = mark("WITHDRAWN", by);
    let listed = says(&case, &["inbox"]).await;
    assert!(
        listed.lines().any(|line| line.starts_with(&id.to_string()) && line.ends_with(&words)),
        "{listed}"
    );
    let shown = json(&case, &["show", &id.to_string()]).await;
    assert!(marked(&shown), "{shown:#}");
    let portion = &shown["portions"][0];
    assert_eq!((&portion["state"], &portion["purge_cause"]), (&"PURGED".into(), &"WITHDRAWN".into()));
    assert_eq!(portion["purged_at"], shown["out_of_force"]["at"]);
    let told = says(&case, &["show", &id.to_string()]).await;
    assert!(told.contains(&words) && told.contains("purged at 2") && told.contains("(WITHDRAWN)"), "{told}");
    assert!(!told.contains("withheld"), "what was deleted is told to be withheld: {told}");
    case.node.stop().await;
}

#[tokio::test]
async fn what_never_came_of_a_withdrawn_notice_is_withheld_and_what_came_is_purged() {
    let case = Case::start().await;
    let content = content();
    let label = |class| (Label::plain(policy(), class), &content[..]);
    let portions = [label(Classification::Unclassified), label(Classification::Restricted)];
    let notice = case.office.exchange.envelope_in_portions("ken/ncb", &["fra/ncb"], &portions, |_| {});
    let id = case.receive(&notice.for_recipient(&agency("fra/ncb"), &[PortionIndex::new(1).unwrap()])).await;
    let states = async || {
        let shown = case.client().notice(&id).await.unwrap();
        shown.portions.iter().map(|portion| portion.state).collect::<Vec<_>>()
    };
    assert_eq!(states().await, [PortionState::Withheld, PortionState::Held]);
    case.receive(&case.withdrawal_of(&notice)).await;
    case.all_acknowledged().await;
    assert_eq!(states().await, [PortionState::Withheld, PortionState::Purged]);
    case.node.stop().await;
}

#[tokio::test]
async fn what_no_longer_asks_for_a_reading_or_an_answer_is_not_listed_as_if_it_did() {
    let case = Case::start().await;
    let (withdrawn, corrected, read) = (case.notice(), case.notice(), case.notice());
    for notice in [&withdrawn, &corrected, &read] {
        case.receive(notice).await;
    }
    let read_id = read.header().notice_id;
    case.client().read(&read_id, "Officer A. Example").await.unwrap();
    let unknown = case.receive(&case.withdrawal_of(&withdrawn)).await;
    let correction = case.receive(&case.correction_of(&corrected)).await;
    let known = case.receive(&case.withdrawal_of(&read)).await;
    case.all_acknowledged().await;
    let listed = async |filter: InboxFilter| {
        let page = case.client().inbox_page(&filter).await.unwrap();
        let mut ids: Vec<_> = page.notices.iter().map(|entry| entry.notice_id).collect();
        ids.sort_by_key(|id| *id != correction);
        ids
    };
    let any = InboxFilter::default;
    assert_eq!(listed(any()).await.len(), 6);
    // Of the withdrawals only that of what somebody here knows.
    assert_eq!(listed(InboxFilter { unread: Some(true), ..any() }).await, [correction, known], "{unknown}");
    assert_eq!(listed(InboxFilter { unanswered: Some(true), ..any() }).await, [correction]);
    assert_eq!(listed(InboxFilter { unread: Some(false), ..any() }).await, [read_id]);
    case.node.stop().await;
}

#[tokio::test]
async fn whoever_follows_up_in_a_way_that_cannot_be_is_told_what_can() {
    let case = Case::start().await;
    let client = case.client();
    let notice = case.notice();
    let id = case.receive(&notice).await;
    let answer = |label: Option<&str>| RespondRequest {
        outcome: "WILL_ACT".to_owned(),
        label: label.map(ToOwned::to_owned),
        ..RespondRequest::default()
    };
    let said = refused(client.respond(&id, &answer(Some("UNCLASSIFIED//REL FRA"))).await);
    let rule = &said.mistakes[0].rule;
    assert!(said.code == "INVALID_NOTICE" && rule.contains("SECRET//REL TO FRA, KEN"), "{said:?}");
    let by = case.receive(&case.withdrawal_of(&notice)).await;
    for label in [None, Some("UNCLASSIFIED")] {
        let said = refused(client.respond(&id, &answer(label)).await);
        assert!(said.code == "WITHDRAWN" && said.message.contains(&by.to_string()), "{said:?}");
    }
    let sent = client.send(notice_json("ken/ncb").to_string().into()).await.unwrap().notice_id;
    let why = WithdrawRequest { reason: "Another person.".to_owned(), label: None };
    let withdrawal = client.withdraw(&sent, &why).await.unwrap().notice_id;
    let said = refused(client.withdraw(&withdrawal, &why).await);
    assert_eq!(said.code, "NOT_FOLLOWED");
    assert!(said.message.contains("is a WITHDRAWAL") && said.message.contains("send it anew"), "{said:?}");
    let said = refused(client.withdraw(&sent, &why).await);
    assert!(said.code == "SUPERSEDED" && said.message.contains("nothing of it is left"), "{said:?}");
    case.node.stop().await;
}
