//! What happens in a node, as a program follows it over the local API.

use std::time::Duration;

use valise_agent::api::client::{ClientError, Following};
use valise_agent::api::events::EventFacts;
use valise_agent::compose::content::receipt_part;
use valise_proto::envelope::{HeaderDraft, NoticeKind};
use valise_proto::receipt::ReceiptKind;

use crate::case::{Case, LONG};
use crate::commands::says;
use crate::fixture::{agency, notice_json};

/// The next event with this name; those before it are passed over.
async fn next_named(following: &mut Following, name: &str) -> EventFacts {
    let found = async {
        loop {
            let event = following.next().await.unwrap().unwrap();
            if event.event == name {
                return event;
            }
        }
    };
    tokio::time::timeout(LONG, found).await.unwrap_or_else(|_| panic!("no `{name}` came in time"))
}

#[tokio::test]
async fn whoever_follows_is_told_of_a_notice_without_what_it_says() {
    let case = Case::start().await;
    let mut following = case.client().events(None).await.unwrap();
    let notice = case.notice();
    case.deliver(notice.encode());
    let event = next_named(&mut following, "received").await;
    assert_eq!(event.notice_id, Some(notice.header().notice_id));
    assert_eq!(event.detail, None, "more is told than which");
    case.client().read(&notice.header().notice_id, "Officer A. Example").await.unwrap();
    let read = next_named(&mut following, "read").await;
    assert!(!serde_json::to_string(&read).unwrap().contains("Example"), "the officer is named: {read:?}");
    case.node.stop().await;
}

#[tokio::test]
async fn whoever_was_cut_off_goes_on_behind_the_last_event_it_saw() {
    let case = Case::start().await;
    let (one, other) = (case.notice(), case.notice());
    let mut following = case.client().events(None).await.unwrap();
    case.deliver(one.encode());
    let seen = next_named(&mut following, "received").await;
    drop(following);
    case.deliver(other.encode());
    assert!(case.node.has_received(&other.header().notice_id, LONG).await.unwrap());
    let mut again = case.client().events(Some(&seen.id)).await.unwrap();
    let event = next_named(&mut again, "received").await;
    assert_eq!(event.notice_id, Some(other.header().notice_id), "an event was told twice, or lost");
    case.node.stop().await;
}

#[tokio::test]
async fn whoever_was_away_while_the_node_was_started_again_is_told_that_something_is_missing() {
    let case = Case::start().await;
    let mut following = case.client().events(Some("1-1")).await.unwrap();
    let first = tokio::time::timeout(LONG, following.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(first.event, "missed", "{first:?}");
    // What is kept of this run follows, from its beginning.
    next_named(&mut following, "connected").await;
    case.node.stop().await;
}

#[tokio::test]
async fn a_stopping_node_does_not_wait_for_whoever_follows() {
    let case = Case::start().await;
    let mut following = case.client().events(None).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), case.node.stop()).await.unwrap();
    let end = async {
        // What happened while it stopped may come first.
        while following.next().await.unwrap().is_some() {}
    };
    tokio::time::timeout(LONG, end).await.unwrap();
}

#[tokio::test]
async fn an_id_that_is_none_is_a_mistake_that_is_named() {
    let case = Case::start().await;
    let Err(ClientError::Refused(error)) = case.client().events(Some("yesterday & before")).await else {
        panic!("it was taken")
    };
    assert_eq!(error.code, "BAD_REQUEST");
    assert!(error.message.contains("after: `yesterday & before`"), "{}", error.message);
    case.node.stop().await;
}

#[tokio::test]
async fn whoever_follows_is_told_what_a_receipt_states() {
    let case = Case::start().await;
    let sent = case.client().send(notice_json("ken/ncb").to_string().into()).await.unwrap().notice_id;
    let digest = case.client().notice(&sent).await.unwrap().header_digest;
    let mut following = case.client().events(None).await.unwrap();
    let mut receipt =
        case.office.exchange.receipt(ReceiptKind::Read, "ken/ncb", &case.notice()).receipt().clone();
    (receipt.notice_id, receipt.header_digest) = (Some(sent), digest);
    let part = receipt_part(&receipt.sign(&case.office.exchange.members[&agency("ken/ncb")].signing));
    let as_receipt = |draft: &mut HeaderDraft| draft.kind = NoticeKind::Receipt;
    case.deliver(case.office.exchange.envelope("ken/ncb", &["fra/ncb"], &part, as_receipt).encode());
    let event = next_named(&mut following, "receipt").await;
    assert_eq!((event.notice_id, event.receipt_kind.as_deref()), (Some(sent), Some("READ")));
    let (run, number) = event.id.split_once('-').unwrap();
    let before = format!("{run}-{}", number.parse::<u64>().unwrap() - 1);
    let told = says(&case, &["events", "--after", &before, "--count", "1"]).await;
    assert!(told.contains("receipt") && told.contains(&format!("{sent}  READ")), "{told}");
    case.node.stop().await;
}
