//! What needs two officers.

use valise_agent::api::pending::Decision;
use valise_agent::compose::preview::Preview;
use valise_agent::journal::Deed;
use valise_agent::officers::Role;
use valise_proto::label::Classification;

use crate::case::{Case, refused};

const A: &str = "Officer A. Example";
const B: &str = "Officer B. Example";

async fn strict() -> Case {
    // The notice of the tests is at least this.
    Case::with(|config| config.four_eyes_label = Some(Classification::Unmarked)).await
}

fn because(reason: &str) -> Decision {
    Decision { officer: None, reason: Some(reason.to_owned()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_nothing_at_the_label_leaves_before_another_officer_approved_it_and_then_once() {
    let case = strict().await;
    let drafter = case.officer(A, &[Role::Drafter, Role::Releaser]).await;
    let releaser = case.officer(B, &[Role::Releaser]).await;
    let waiting = drafter.send(case.draft()).await.unwrap();
    let id = waiting.notice_id;
    assert!(waiting.pending_until.is_some(), "it was sent by one officer");
    assert!(case.node.desk().office().store().sent_record(&id).unwrap().is_none(), "it was sent");
    assert_eq!(refused(drafter.approve(&id, &because("mine")).await).code, "SAME_OFFICER");
    assert_eq!(case.entries(Deed::Refusal).len(), 1, "the drafter's attempt is not journalled");
    let case = case.restarted().await;
    assert_eq!(releaser.pending().await.unwrap()[0].drafter, A);
    let draft = releaser.pending_draft(&id).await.unwrap();
    assert!(draft.notice.get("kind").is_some(), "the second officer is not shown what to approve");
    let decision = because("case 12");
    let (first, second) = tokio::join!(releaser.approve(&id, &decision), releaser.approve(&id, &decision));
    let sent = [&first, &second].into_iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(sent, 1, "{first:?} {second:?}");
    assert_eq!(refused(releaser.approve(&id, &because("again")).await).code, "UNKNOWN_DRAFT");
    assert!(case.node.desk().office().store().sent_record(&id).unwrap().is_some(), "it has another id");
    let who = |deed| case.entries(deed).into_iter().map(|written| written.entry.officer).collect::<Vec<_>>();
    assert_eq!((who(Deed::Send), who(Deed::Release)), (vec![A.to_owned()], vec![B.to_owned()]));
    case.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_the_second_officer_sees_the_table_before_approving() {
    let case = strict().await;
    let drafter = case.officer(A, &[Role::Drafter]).await;
    let releaser = case.officer(B, &[Role::Releaser]).await;
    let reader = case.officer("Officer C. Example", &[Role::Reader]).await;
    let drafted = drafter.preview(case.draft()).await.unwrap();
    let id = drafter.send(case.draft()).await.unwrap().notice_id;
    let draft = releaser.pending_draft(&id).await.unwrap();
    // The time for answers follows the clock.
    let undated = |table: Preview| Preview { respond_by: None, ..table };
    let drafted = undated(drafted);
    assert_eq!((draft.preview.map(undated), draft.problem), (Some(drafted.clone()), None));
    assert_eq!(undated(releaser.notice_preview(&id).await.unwrap()), drafted);
    assert_eq!(refused(reader.notice_preview(&id).await).code, "ROLE_MISSING");
    releaser.approve(&id, &because("case 12")).await.unwrap();
    assert_eq!(
        undated(releaser.notice_preview(&id).await.unwrap()),
        drafted,
        "what was sent has another table"
    );
    let looked = case.entries(Deed::Open).into_iter().filter(|one| one.entry.detail.contains("the table"));
    assert_eq!(looked.count(), 2, "who looked at the reasons of omissions is not on record");
    case.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_a_refused_draft_is_gone_and_the_reason_is_journalled() {
    let case = strict().await;
    let drafter = case.officer(A, &[Role::Drafter]).await;
    let releaser = case.officer(B, &[Role::Releaser]).await;
    let reader = case.officer("Officer C. Example", &[Role::Reader]).await;
    let id = drafter.send(case.draft()).await.unwrap().notice_id;
    assert_eq!(refused(reader.pending().await).code, "ROLE_MISSING");
    assert_eq!(refused(drafter.approve(&id, &because("mine")).await).code, "ROLE_MISSING");
    assert_eq!(refused(releaser.refuse(&id, &Decision::default()).await).code, "BAD_REQUEST");
    releaser.refuse(&id, &because("not yet")).await.unwrap();
    assert!(drafter.pending().await.unwrap().is_empty());
    assert_eq!(case.entries(Deed::Release)[0].entry.reason.as_deref(), Some("not yet"));
    case.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_while_there_are_no_accounts_the_second_name_differs_from_the_first() {
    let case = strict().await;
    let told = refused(case.socket().send(case.draft()).await);
    assert!(told.message.contains("name the officer"), "{}", told.message);
    case.node.stop().await;
}
