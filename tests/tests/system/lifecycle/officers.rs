//! What officers state of a notice, each under a name.

use serde_json::{Value, json};

use super::case::{ATTENTION, KENYA, OFFICER, Outcome, of, refused, sent, six_agencies, told, told_of};

const SECOND: [&str; 4] = ["--officer", "Officer B. Example", "--reason", "a second look"];

/// The steps of one recipient that are of this kind.
fn steps<'a>(track: &'a Value, agency: &str, kind: &str) -> Vec<&'a Value> {
    let steps = of(track, agency)["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    steps.iter().filter(|step| step["kind"] == kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_the_originator_sees_who_read_acted_and_declined_each_by_name_and_once() -> Outcome {
    let net = six_agencies().await?;
    let notice = sent(&net, &told_of()).await?;
    let parsed = notice.parse::<valise_proto::id::NoticeId>()?;
    // Two officers of France read it, one of them twice, and one acts, twice.
    for officer in [OFFICER, SECOND, OFFICER] {
        told(&net, "fra/ncb", &[&["read", &notice][..], &officer].concat()).await?;
    }
    for _ in 0..2 {
        told(&net, "fra/ncb", &[&["act", &notice][..], &SECOND].concat()).await?;
    }
    // Germany finds that it cannot use it; who was not shown it states nothing of it.
    let decline =
        ["decline", &notice, "--reason", "Held under another name.", "--officer", "Officer A. Example"];
    let unread = refused(&net, "deu/bka", &decline).await?;
    assert!(unread.contains("was not shown"), "{unread}");
    told(&net, "deu/bka", &[&["read", &notice][..], &OFFICER].concat()).await?;
    told(&net, "deu/bka", &decline).await?;
    let stranger = refused(&net, "gbr/nca", &[&["act", &notice][..], &OFFICER].concat()).await?;
    assert!(stranger.contains("there is no notice"), "{stranger}");
    let own = refused(&net, KENYA, &[&["act", &notice][..], &OFFICER].concat()).await?;
    assert!(own.contains("sent from here"), "{own}");
    net.agency(KENYA).expect_receipt(parsed, "fra/ncb", "ACTIONED").await?;
    net.agency(KENYA).expect_receipt(parsed, "deu/bka", "REJECTED").await?;

    let ran = net.agency(KENYA).run(&["--json", "track", &notice]).await?;
    let seen: Value = serde_json::from_str(&ran.stdout)?;
    let officers = |agency: &str, kind: &str| -> Vec<Value> {
        steps(&seen, agency, kind).iter().map(|step| step["officer"].clone()).collect()
    };
    let (first, second) = (OFFICER[1], SECOND[1]);
    assert_eq!(officers("fra/ncb", "READ"), [json!(first), json!(second)], "{seen:#}");
    assert_eq!(officers("fra/ncb", "ACTIONED"), [json!(second)], "{seen:#}");
    assert_eq!(officers("deu/bka", "REJECTED"), [json!(first)], "{seen:#}");
    assert_eq!(
        [of(&seen, "fra/ncb")["state"].as_str(), of(&seen, "deu/bka")["state"].as_str()],
        [Some("ACTIONED"), Some("REJECTED")]
    );
    assert_eq!(ran.code, Some(ATTENTION), "that Germany cannot use it is not told: {seen:#}");
    let why =
        seen["outstanding"].as_array().and_then(|all| all.iter().find(|one| one["agency"] == "deu/bka"));
    let why = why.and_then(|one| one["reason"].as_str()).unwrap_or_default();
    assert!(why.contains("DECLINED") && why.contains("Held under another name."), "{seen:#}");
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_every_statement_is_in_the_access_journal_of_whoever_made_it() -> Outcome {
    let net = six_agencies().await?;
    let notice = sent(&net, &told_of()).await?;
    told(&net, "fra/ncb", &[&["read", &notice][..], &OFFICER].concat()).await?;
    told(&net, "fra/ncb", &[&["act", &notice][..], &OFFICER].concat()).await?;
    let declined = ["decline", &notice, "--reason", "A namesake.", "--officer", OFFICER[1]];
    told(&net, "fra/ncb", &declined).await?;
    let journal = told(&net, "fra/ncb", &["journal"]).await?.to_string();
    for deed in ["OPEN", "ACT", "DECLINE"] {
        assert!(journal.contains(&format!("\"deed\":\"{deed}\"")), "{deed} is not in the journal: {journal}");
    }
    assert!(journal.contains("A namesake."), "the reason is not in the journal: {journal}");
    // The later of two decisions counts, and an officer may change their mind twice.
    let parsed = notice.parse::<valise_proto::id::NoticeId>()?;
    net.agency(KENYA).expect_receipt(parsed, "fra/ncb", "REJECTED").await?;
    told(&net, "fra/ncb", &[&["act", &notice][..], &OFFICER].concat()).await?;
    net.agency(KENYA).expect_receipt(parsed, "fra/ncb", "ACTIONED").await?;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_shows_what_is_other_than_before_and_nothing_of_what_was_wrong() -> Outcome {
    let net = six_agencies().await?;
    let mut wrong = told_of();
    wrong["purpose"] = json!("An invented purpose that was WRONG");
    let notice = sent(&net, &wrong).await?;
    let mut right = told_of();
    right["purpose"] = json!("Another invented purpose");
    let file = net.folder().join("right.json");
    std::fs::write(&file, serde_json::to_vec(&right)?)?;
    let correct = ["correct", &notice, &file.display().to_string(), "--reason", "The purpose."];
    let newest = super::case::id(&told(&net, KENYA, &correct).await?)?;
    net.agency("fra/ncb").expect_notice(newest.parse::<valise_proto::id::NoticeId>()?).await?;
    let opened = told(&net, "fra/ncb", &[&["read", &newest][..], &OFFICER].concat()).await?;
    let changes = opened["changes"].as_array().ok_or_else(|| format!("no changes are shown: {opened:#}"))?;
    let purpose =
        changes.iter().find(|change| change["path"] == "purpose").ok_or("the purpose is not there")?;
    assert_eq!(
        (&purpose["change"], &purpose["value"]),
        (&json!("CHANGED"), &json!("Another invented purpose"))
    );
    assert!(!opened.to_string().contains("WRONG"), "what was wrong is still shown: {opened:#}");
    let text = net.agency("fra/ncb").run(&[&["read", &newest][..], &OFFICER].concat()).await?.stdout;
    assert!(text.contains("What is other than in what it corrects"), "{text}");
    // Who never held the first has nothing to compare with.
    let nothing = told(&net, KENYA, &["show", &newest]).await?;
    assert!(nothing["changes"].is_null());
    net.stop().await;
    Ok(())
}
