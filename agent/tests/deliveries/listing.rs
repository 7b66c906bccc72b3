//! The list of what was received: filters, pages and searches; and what is said to questions that are wrong.

use std::time::Duration;

use valise_agent::api::client::ClientError;
use valise_agent::api::types::{ErrorFacts, InboxFilter, InboxPage, SearchRequest};
use valise_proto::envelope::{NoticeKind, Precedence};
use valise_proto::id::{NoticeId, Timestamp};
use valise_proto::label::Classification;

use crate::case::{Case, LONG, or, until};
use crate::commands::says;

fn ids(page: &InboxPage) -> Vec<NoticeId> {
    page.notices.iter().map(|entry| entry.notice_id).collect()
}

/// A case with three notices, the newest first.
async fn three() -> (Case, [NoticeId; 3]) {
    let case = Case::start().await;
    let mut notices = [case.notice(), case.notice(), case.notice()];
    notices.sort_by_key(|notice| std::cmp::Reverse(notice.header().notice_id));
    for notice in &notices {
        case.deliver(notice.encode());
        assert!(case.node.has_received(&notice.header().notice_id, LONG).await.unwrap());
    }
    (case, notices.map(|notice| notice.header().notice_id))
}

fn search(text: &str) -> SearchRequest {
    SearchRequest { text: text.to_owned(), reason: None, officer: None, filter: InboxFilter::default() }
}

pub fn refused<T>(answer: Result<T, ClientError>) -> ErrorFacts {
    match answer {
        Err(ClientError::Refused(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was answered"),
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_overlap() {
    let (case, all) = three().await;
    let page = |before, limit| InboxFilter { before, limit: Some(limit), ..InboxFilter::default() };
    let first = case.client().inbox_page(&page(None, 2)).await.unwrap();
    assert_eq!(ids(&first), all[..2]);
    assert_eq!(first.next, Some(all[1]));
    let second = case.client().inbox_page(&page(first.next, 2)).await.unwrap();
    assert_eq!((ids(&second), second.next), (vec![all[2]], None));
    case.node.stop().await;
}

#[tokio::test]
async fn each_filter_lets_through_what_it_says() {
    let (case, all) = three().await;
    case.client().read(&all[1], "Officer A. Example").await.unwrap();
    let found = async |filter: InboxFilter| ids(&case.client().inbox_page(&filter).await.unwrap());
    let any = InboxFilter::default;
    assert_eq!(found(InboxFilter { unread: Some(true), ..any() }).await, [all[0], all[2]]);
    assert_eq!(found(InboxFilter { unread: Some(false), ..any() }).await, [all[1]]);
    assert_eq!(found(InboxFilter { unanswered: Some(true), ..any() }).await, all);
    assert_eq!(found(InboxFilter { late: Some(true), ..any() }).await, []);
    let kenya = || "ken/ncb".parse().ok();
    assert_eq!(found(InboxFilter { originator: kenya(), ..any() }).await, all);
    assert_eq!(found(InboxFilter { originator: "tur/border".parse().ok(), ..any() }).await, []);
    let entry = case.client().inbox(1).await.unwrap().remove(0);
    let other_kind = NoticeKind::ALL.into_iter().find(|kind| *kind != entry.kind);
    assert_eq!(found(InboxFilter { kind: Some(entry.kind), ..any() }).await, all);
    assert_eq!(found(InboxFilter { kind: other_kind, ..any() }).await, []);
    let other = Precedence::ALL.into_iter().find(|precedence| *precedence != entry.precedence);
    assert_eq!(found(InboxFilter { precedence: other, ..any() }).await, []);
    let classification = entry.label.split("//").next().unwrap().parse::<Classification>().ok();
    assert_eq!(found(InboxFilter { classification, ..any() }).await, all);
    let past = Some(Timestamp::from_millis(1000));
    assert_eq!(found(InboxFilter { since: past, ..any() }).await, all);
    assert_eq!(found(InboxFilter { until: past, ..any() }).await, []);
    case.node.stop().await;
}

#[tokio::test]
async fn a_search_finds_words_in_content_and_tells_no_more_than_which_notices() {
    let (case, all) = three().await;
    let opened = case.client().read(&all[0], "Officer A. Example").await.unwrap();
    let purpose = opened.opened[0].content["purpose"].as_str().unwrap().to_uppercase();
    let found = case.client().search(&search(&purpose)).await.unwrap();
    assert_eq!((ids(&found), found.searched), (all.to_vec(), Some(3)));
    assert!(!serde_json::to_string(&found).unwrap().to_uppercase().contains(&purpose), "content is shown");
    let none = case.client().search(&search("nothing-like-this-anywhere")).await.unwrap();
    assert_eq!((ids(&none), none.next), (Vec::new(), None));
    // A search is no showing: nobody is told that it was read.
    assert!(case.client().notice(&all[1]).await.unwrap().read.is_none());
    case.node.stop().await;
}

#[tokio::test]
async fn questions_that_are_wrong_are_answered_by_place_value_and_rule() {
    let (case, _) = three().await;
    let client = case.client();
    let limit = InboxFilter { limit: Some(1001), ..InboxFilter::default() };
    assert!(refused(client.inbox_page(&limit).await).message.starts_with("limit: ask for 1 to 1000"));
    let far = Some(Timestamp::from_millis(4_102_444_800_000));
    let since = refused(client.inbox_page(&InboxFilter { since: far, ..InboxFilter::default() }).await);
    assert!(since.message.contains("since: 2100-01-01T00:00:00Z is still to come"), "{}", since.message);
    let past = |millis| Some(Timestamp::from_millis(millis));
    let turned = InboxFilter { since: past(2000), until: past(1000), ..InboxFilter::default() };
    assert!(refused(client.inbox_page(&turned).await).message.starts_with("until: "));
    for text in ["", " x ", &"word ".repeat(60)] {
        let error = refused(client.search(&search(text)).await);
        assert!(error.code == "BAD_REQUEST" && error.message.starts_with("text: "), "{}", error.message);
    }
    let unknown = "0190b6f0-0000-7000-8000-000000000000".parse().unwrap();
    let error = refused(client.notice(&unknown).await);
    assert!(error.code == "UNKNOWN_NOTICE" && error.message.contains("0190b6f0"), "{}", error.message);
    let huge = refused(client.send(vec![b' '; 10 * 1024 * 1024].into()).await);
    assert_eq!(huge.code, "TOO_LARGE");
    assert!(huge.message.contains("1048576"), "{}", huge.message);
    case.node.stop().await;
}

#[tokio::test]
async fn the_status_counts_everything_that_is_late_and_says_how_to_list_it() {
    let case = Case::start().await;
    let at_once = Some(case.office.exchange.start.plus(Duration::from_millis(1)));
    for _ in 0..11 {
        case.receive(&case.notice_shaped(|draft| draft.respond_by = at_once)).await;
    }
    let late = async || {
        let status = case.status().await;
        or(status.totals.late_received == 11, status.late.len(), status.late.len())
    };
    assert_eq!(until("eleven late answers", late).await, 10);
    let told = says(&case, &["status"]).await;
    let all = "10 of 11 received notices whose answer is late; all: valise-agent inbox --late";
    assert!(told.contains(all), "{told}");
    let late = InboxFilter { late: Some(true), ..InboxFilter::default() };
    assert_eq!(case.client().inbox_page(&late).await.unwrap().notices.len(), 11);
    case.node.stop().await;
}
