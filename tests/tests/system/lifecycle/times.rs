//! What the clock does: reminders, lateness, and deletion at `review_by`.

use std::time::Duration;

use serde_json::{Value, json};
use valise_agent::api::client::Following;
use valise_agent::api::events::EventFacts;
use valise_agent::clock::Clock;
use valise_proto::id::NoticeId;
use valise_tests::{DEADLINE, Network};

use super::case::{
    ATTENTION, KENYA, OFFICER, Outcome, TOLD, of, refused, sent, six_agencies, told, told_of, track,
};

/// So many seconds from now, as a notice says it.
fn soon(seconds: u64) -> Value {
    json!(Clock::system().now().plus(Duration::from_secs(seconds)).to_string())
}

/// The next event of this name about this notice.
async fn next(events: &mut Following, name: &str, notice: NoticeId) -> Outcome<EventFacts> {
    let found = tokio::time::timeout(DEADLINE, async {
        loop {
            match events.next().await {
                Ok(Some(event)) if event.event == name && event.notice_id == Some(notice) => {
                    return Ok(event);
                }
                Ok(Some(_)) => {}
                Ok(None) => return Err("the node ended the stream".into()),
                Err(error) => return Err(error.to_string()),
            }
        }
    });
    let found = found.await.map_err(|_| format!("no {name} about {notice} came"))?;
    Ok(found.map_err(|error: String| error)?)
}

async fn status(net: &Network, agency: &str) -> Outcome<Value> {
    told(net, agency, &["status"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn g08_both_ends_are_reminded_of_an_answer_and_told_who_is_late() -> Outcome {
    let net = six_agencies().await?;
    let mut ours = net.agency(KENYA).client()?.events(None).await?;
    let mut theirs = net.agency("deu/bka").client()?.events(None).await?;
    let mut notice = told_of();
    notice["respond_by"] = soon(24);
    let id = sent(&net, &notice).await?;
    let parsed: NoticeId = id.parse()?;
    // France answers in time.
    told(&net, "fra/ncb", &[&["read", &id][..], &OFFICER].concat()).await?;
    let answer = told(&net, "fra/ncb", &["respond", &id, "--outcome", "WILL_ACT"]).await?;
    net.agency(KENYA).expect_notice(super::case::id(&answer)?.parse::<NoticeId>()?).await?;
    for name in ["deadline_near", "deadline_passed"] {
        let told = next(&mut ours, name, parsed).await?.detail.unwrap_or_default();
        assert!(told.contains("deu/bka") && told.contains("tur/border"), "{name}: {told}");
        assert!(!told.contains("fra/ncb"), "{name}: who has answered is called late: {told}");
    }
    next(&mut theirs, "answer_due", parsed).await?;
    next(&mut theirs, "answer_late", parsed).await?;
    let late = status(&net, KENYA).await?["late"].clone();
    assert_eq!((&late[0]["notice_id"], &late[0]["owing"]), (&json!(id), &json!(["deu/bka", "tur/border"])));
    assert_eq!(status(&net, "deu/bka").await?["late"][0]["direction"], "received");
    assert_eq!(status(&net, "fra/ncb").await?["late"], json!([]), "who has answered is called late");
    let text = net.agency("deu/bka").run(&["status"]).await?.stdout;
    assert!(text.contains(&id) && text.contains("valise-agent respond"), "{text}");
    let ran = net.agency(KENYA).run(&["--json", "track", &id]).await?;
    let seen: Value = serde_json::from_str(&ran.stdout)?;
    assert_eq!((ran.code, &seen["late"]), (Some(ATTENTION), &json!(["deu/bka", "tur/border"])), "{seen:#}");
    // Germany declines, Turkey answers late: nobody owes anything any more.
    for agency in ["deu/bka", "tur/border"] {
        told(&net, agency, &[&["read", &id][..], &OFFICER].concat()).await?;
    }
    let decline = ["decline", &id, "--reason", "A namesake.", "--officer", OFFICER[1]];
    told(&net, "deu/bka", &decline).await?;
    told(&net, "tur/border", &["respond", &id, "--outcome", "NO_MATCH"]).await?;
    net.agency(KENYA).expect_receipt(parsed, "deu/bka", "REJECTED").await?;
    let (_, seen) = track(&net, &id, "answered").await?;
    assert_eq!(seen["late"], json!([]), "{seen:#}");
    for agency in [KENYA, "deu/bka", "tur/border"] {
        assert_eq!(status(&net, agency).await?["late"], json!([]), "{agency}");
    }
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g11_at_review_by_every_holder_purges_and_proves_it_and_so_does_the_originator() -> Outcome {
    let net = six_agencies().await?;
    let mut notice = told_of();
    notice["review_by"] = soon(20);
    let id = sent(&net, &notice).await?;
    let parsed: NoticeId = id.parse()?;
    told(&net, "fra/ncb", &[&["read", &id][..], &OFFICER].concat()).await?;
    // Turkey is away when the time comes, and does it when it is back.
    net.agency(KENYA).expect_receipt(parsed, "tur/border", "DELIVERED").await?;
    net.agency("tur/border").stop().await?;
    for agency in ["fra/ncb", "deu/bka"] {
        net.agency(KENYA).expect_receipt(parsed, agency, "PURGED").await?;
    }
    let seen = told_in_any_case(&net, &["track", &id]).await?;
    assert_eq!(of(&seen, "tur/border")["state"], "DELIVERED", "{seen:#}");
    net.agency("tur/border").start().await?;
    let (_, seen) = track(&net, &id, "purged").await?;
    for agency in TOLD {
        let purged = of(&seen, agency);
        assert_eq!(purged["state"], "PURGED", "{seen:#}");
        let last = purged["steps"].as_array().and_then(|steps| steps.last()).ok_or("no step")?;
        assert_eq!(last["cause"], "REVIEW", "{seen:#}");
        let gone = refused(&net, agency, &[&["read", &id][..], &OFFICER].concat()).await?;
        assert!(gone.contains("meant it to be kept no longer"), "{gone}");
        let shown = told(&net, agency, &["show", &id]).await?;
        let held = shown["portions"].as_array().ok_or("no portions")?;
        assert!(held.iter().all(|portion| portion["held"] == false), "{agency} still holds some of it");
        let journal = told(&net, agency, &["journal"]).await?.to_string();
        assert!(journal.contains("\"deed\":\"PURGE\""), "{agency}: {journal}");
    }
    // The originator's own words are gone too; that it was sent is still known.
    let mut kept = told(&net, KENYA, &["show", &id]).await?;
    let portions = kept["portions"].take();
    assert!(portions.as_array().ok_or("no portions")?.iter().all(|portion| portion["held"] == false));
    let downgrade = ["downgrade", &id, "--portions", "0", "--label", "UNCLASSIFIED", "--to", "fra/ncb"];
    let gone = refused(&net, KENYA, &[&downgrade[..], &OFFICER].concat()).await?;
    assert!(gone.contains("no longer kept here"), "{gone}");
    let table = refused(&net, KENYA, &["preview", "--notice", &id]).await?;
    assert!(table.contains("no longer kept here"), "who was left out, and why, is still kept: {table}");
    net.stop().await;
    Ok(())
}

/// The JSON of a command, whatever its exit code.
async fn told_in_any_case(net: &Network, arguments: &[&str]) -> Outcome<Value> {
    let ran = net.agency(KENYA).run(&[&["--json"], arguments].concat()).await?;
    Ok(serde_json::from_str(&ran.stdout)?)
}
