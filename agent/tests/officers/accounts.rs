//! Accounts, tokens, roles, and the journal of all of it.

use valise_agent::api::officers::SetDisabled;
use valise_agent::journal::Deed;
use valise_agent::officers::Role;

use crate::case::{Case, refused};

const A: &str = "Officer A. Example";
const B: &str = "Officer B. Example";

#[tokio::test(flavor = "multi_thread")]
async fn g09_each_opening_search_and_sending_is_in_the_journal_with_officer_and_reason() {
    let case = Case::start().await;
    let socket = case.socket();
    // While there are no accounts, under the name that is given.
    socket.read(&case.received, A).await.unwrap();
    let both = case.officer(B, &[Role::Reader, Role::Drafter]).await;
    let told = refused(both.read_because(&case.received, "", None).await);
    assert!(told.message.contains("--reason"), "{}", told.message);
    both.read_because(&case.received, "", Some("case 12".to_owned())).await.unwrap();
    let sent = both.send(case.draft()).await.unwrap();
    let opened = case.entries(Deed::Open);
    let by: Vec<_> =
        opened.iter().map(|open| (open.entry.officer.as_str(), open.entry.reason.as_deref())).collect();
    assert_eq!(by, [(B, Some("case 12")), (A, None)]);
    assert!(opened.iter().all(|open| open.entry.about == Some(case.received)));
    let sending = &case.entries(Deed::Send)[0].entry;
    assert_eq!((sending.officer.as_str(), sending.about), (B, Some(sent.notice_id)));
    let case = case.restarted().await;
    assert_eq!(case.entries(Deed::Open).len(), 2, "the journal forgets");
    case.node.desk().office().store().verify_journal(None).unwrap();
    case.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_from_the_first_account_on_nobody_is_let_in_without_saying_who() {
    let case = Case::start().await;
    case.socket().inbox(1).await.unwrap();
    assert!(!case.socket().status().await.unwrap().accounts);
    let reader = case.officer(A, &[Role::Reader]).await;
    reader.inbox(1).await.unwrap();
    let told = refused(case.socket().inbox(1).await);
    assert_eq!(told.code, "LOGIN_NEEDED", "{}", told.message);
    let case = case.restarted().await;
    assert_eq!(refused(case.socket().inbox(1).await).code, "LOGIN_NEEDED", "a restart opens the socket");
    assert!(case.socket().status().await.unwrap().accounts, "whoever runs the node cannot see how it is");
    reader.inbox(1).await.unwrap();
    case.socket().remove_officer(A).await.unwrap();
    assert_eq!(refused(reader.inbox(1).await).code, "LOGIN_FAILED");
    assert_eq!(
        refused(case.socket().inbox(1).await).code,
        "LOGIN_NEEDED",
        "the last removal opens the socket"
    );
    assert_eq!(case.entries(Deed::OfficerChanged).len(), 3);
    case.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_an_officer_without_the_role_is_refused_and_the_attempt_is_journalled() {
    let case = Case::start().await;
    let reader = case.officer(A, &[Role::Reader]).await;
    let drafter = case.officer(B, &[Role::Drafter]).await;
    let told = refused(reader.send(case.draft()).await);
    assert_eq!(told.code, "ROLE_MISSING");
    assert!(told.message.contains("drafter") && told.message.contains(A), "{}", told.message);
    let told = refused(drafter.read_because(&case.received, "", Some("case 12".to_owned())).await);
    assert_eq!(told.code, "ROLE_MISSING");
    assert_eq!(refused(drafter.journal_head().await).code, "ROLE_MISSING");
    assert!(case.entries(Deed::Open).is_empty() && case.entries(Deed::Send).is_empty());
    let who: Vec<_> =
        case.entries(Deed::Refusal).iter().map(|refusal| refusal.entry.officer.clone()).collect();
    assert_eq!(who, [B, B, A]);
    // In another's name.
    let other = refused(reader.read_because(&case.received, B, Some("case 12".to_owned())).await);
    assert_eq!(other.code, "OTHER_OFFICER");
    let auditor = case.officer("Officer C. Example", &[Role::Auditor]).await;
    let head = auditor.journal_head().await.unwrap();
    assert_eq!(auditor.verify_journal(Some(&head.hash)).await.unwrap().entries, head.entries);
    let query = valise_agent::journal::Query { officer: Some(B.to_owned()), ..Default::default() };
    assert_eq!(auditor.journal(&query, 10).await.unwrap().len(), 2);
    assert_eq!(refused(auditor.inbox(1).await).code, "ROLE_MISSING");
    case.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_a_wrong_token_is_refused_and_journalled_and_a_disabled_officer_is_not_let_in() {
    let case = Case::start().await;
    let reader = case.officer(A, &[Role::Reader]).await;
    let stranger = case.socket().with_token("vat_00");
    assert_eq!(refused(stranger.inbox(1).await).code, "LOGIN_FAILED");
    assert_eq!(case.entries(Deed::LoginFailed).len(), 1);
    let set = |disabled| SetDisabled { name: A.to_owned(), disabled };
    case.socket().set_disabled(&set(true)).await.unwrap();
    assert_eq!(refused(reader.inbox(1).await).code, "LOGIN_FAILED");
    case.socket().set_disabled(&set(false)).await.unwrap();
    reader.inbox(1).await.unwrap();
    assert!(case.socket().officers().await.unwrap()[0].tokens[0].used.is_some(), "the use is not noted");
    case.node.stop().await;
}
