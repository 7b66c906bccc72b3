//! The table of who can read what: kept with what was sent, shown to both officers, and telling who was not told and why.

use std::error::Error;
use std::path::Path;

use serde_json::{Value, json};
use valise_agent::compose::deadline::Because;
use valise_agent::compose::preview::Preview;
use valise_agent::journal::{Deed, Query};
use valise_proto::directory::Function;
use valise_proto::id::NoticeId;
use valise_proto::label::Classification;
use valise_tests::{AgencySpec, Network, notices};
use walkdir::WalkDir;

type Outcome = Result<(), Box<dyn Error>>;

const KENYA: &str = "ken/ncb";
const BORDER: &str = "ken/immigration";
const TURKEY: &str = "tur/border";
/// Whom the notice of [`told_of`] is for.
const TOLD: [&str; 3] = ["deu/bka", "fra/ncb", TURKEY];
/// What `track` ends with where somebody is late or outstanding.
const ATTENTION: i32 = 3;

async fn network() -> Result<Network, Box<dyn Error>> {
    let border = AgencySpec::new(BORDER).with_function(Function::Border);
    let net = Network::builder()
        .agency(KENYA)
        .agency(border.cleared_to(Classification::Unclassified))
        .agency("deu/bka")
        .agency("fra/ncb")
        .agency(AgencySpec::new(TURKEY).cleared_to(Classification::Confidential))
        .start()
        .await?;
    Ok(net)
}

/// From Kenya to France through Turkey, of a German.
fn told_of() -> Value {
    notices::deportation("KEN", "FRA").through("TUR").of("DEU").into()
}

/// What a command of Kenya's says.
async fn says(net: &Network, arguments: &[&str]) -> Result<(i32, Value), Box<dyn Error>> {
    let ran = net.agency(KENYA).run(&[&["--json"], arguments].concat()).await?;
    let told = if ran.stdout.is_empty() { &ran.stderr } else { &ran.stdout };
    Ok((ran.code.unwrap_or(-1), serde_json::from_str(told)?))
}

async fn file(net: &Network, notice: &Value) -> Result<String, Box<dyn Error>> {
    let path = net.folder().join("notice.json");
    std::fs::write(&path, notice.to_string())?;
    Ok(path.display().to_string())
}

/// How the journal tells of a deed about a notice.
async fn journal(net: &Network, deed: Deed, about: NoticeId) -> Result<Vec<String>, Box<dyn Error>> {
    let query = Query { deed: Some(deed), about: Some(about), ..Query::default() };
    let entries =
        net.agency(KENYA).with_node(async |node| node.desk().office().store().journal(&query, 100)).await??;
    Ok(entries.into_iter().map(|written| written.entry.detail).collect())
}

/// The table without the time for answers, which follows the clock.
fn undated(table: Preview) -> Preview {
    Preview { respond_by: None, ..table }
}

/// Whether a file below `folder` holds these words in the clear.
fn is_in_the_clear(folder: &Path, words: &str) -> Result<bool, Box<dyn Error>> {
    for entry in WalkDir::new(folder) {
        let entry = entry?;
        if entry.file_type().is_file() {
            let bytes = std::fs::read(entry.path())?;
            if bytes.windows(words.len()).any(|window| window == words.as_bytes()) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_the_table_by_which_a_notice_was_sealed_is_kept_encrypted_and_shown() -> Outcome {
    let net = Network::builder()
        .agency(KENYA)
        .agency("fra/ncb")
        .agency(AgencySpec::new(TURKEY).cleared_to(Classification::Restricted))
        .agency(AgencySpec::new("xpo/general-secretariat").cleared_to(Classification::Confidential))
        .start()
        .await?;
    let example = notices::example("deportation");
    let before = net.agency(KENYA).client()?.preview(example.to_string().into()).await?;
    let sent = net.agency(KENYA).send(example).await?;
    let kept = net.agency(KENYA).client()?.notice_preview(&sent.id()).await?;
    assert_eq!(undated(kept.clone()), undated(before), "what is kept is not what the author was shown");
    let turkey = kept.recipients.iter().find(|one| one.agency.as_str() == TURKEY).ok_or("no Turkey")?;
    assert_eq!(turkey.rests_on.as_deref(), Some("S/RES/2396, paragraph 3"));
    let denied: Vec<_> = turkey.access.iter().filter_map(|access| access.denial.as_deref()).collect();
    assert!(denied.len() == 2 && denied[0].contains("classification CONFIDENTIAL is needed"), "{denied:?}");
    let omission = kept.omissions.first().ok_or("no omission")?;
    assert_eq!((omission.state.as_str(), omission.rests_on.as_str()), ("TUN", "S/RES/2396, paragraph 3"));
    assert!(!omission.named_by.is_empty(), "nothing says why paragraph 3 names it");
    assert_eq!(kept.respond_by.map(|time| time.because), Some(Because::Precedence));
    let journalled = journal(&net, Deed::Omission, sent.id()).await?;
    assert_eq!(journalled, ["TUN (S/RES/2396, paragraph 3)"]);
    // It outlives the node, and is the author's alone.
    net.agency(KENYA).stop().await?;
    let folder = net.agency(KENYA).folder()?;
    assert!(!is_in_the_clear(folder.path(), "classification CONFIDENTIAL is needed")?, "it is not encrypted");
    net.agency(KENYA).start().await?;
    let (code, shown) = says(&net, &["preview", "--notice", &sent.id().to_string()]).await?;
    assert_eq!((code, serde_json::from_value::<Preview>(shown)?), (0, kept));
    let told = net.agency(KENYA).run(&["preview", "--notice", &sent.id().to_string()]).await?.stdout;
    assert!(told.contains("TUN") && told.contains("(by the precedence)"), "{told}");
    net.agency("fra/ncb").expect_notice(&sent).await?;
    let refused = net.agency("fra/ncb").client()?.notice_preview(&sent.id()).await.err();
    assert!(refused.is_some_and(|error| error.to_string().contains("was received here")), "France sees it");
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g11_a_holder_that_may_read_nothing_of_a_withdrawal_is_outstanding_and_blocks_nobody() -> Outcome {
    let net = network().await?;
    let mut notice = told_of();
    notice["expires_at"] = json!("2027-09-01T00:00:00Z");
    let sent = net.agency(KENYA).send(notice).await?;
    for agency in TOLD {
        net.agency(KENYA).expect_receipt(&sent, agency, "DELIVERED").await?;
    }
    let version = net.clear(TURKEY, Classification::Unclassified).await?;
    net.agency(KENYA).expect_directory(version).await?;
    let notice = sent.id().to_string();
    let withdraw = ["withdraw", &notice, "--reason", "A mistake.", "--label", "RESTRICTED"];
    let (code, withdrawal) = says(&net, &withdraw).await?;
    assert_eq!((code, &withdrawal["recipients"]), (0, &json!(["deu/bka", "fra/ncb"])), "{withdrawal:#}");
    let not_told = &withdrawal["not_told"][0];
    assert_eq!((&not_told["agency"], &not_told["outstanding"]), (&json!(TURKEY), &json!(true)));
    let by: NoticeId = withdrawal["notice_id"].as_str().ok_or("no id")?.parse()?;
    for agency in ["deu/bka", "fra/ncb"] {
        net.agency(KENYA).expect_receipt(&sent, agency, "PURGED").await?;
    }
    // A copy of the notice may wait until it expires; the withdrawal waits as long.
    let expires = |facts: valise_agent::api::types::NoticeFacts| facts.expires_at;
    let client = net.agency(KENYA).client()?;
    assert_eq!(expires(client.notice(&by).await?), expires(client.notice(&sent.id()).await?));
    for of in [sent.id(), by] {
        let (code, seen) = says(&net, &["track", &of.to_string()]).await?;
        let outstanding = seen["outstanding"].as_array().ok_or("no list")?;
        assert_eq!(outstanding.iter().map(|one| &one["agency"]).collect::<Vec<_>>(), [TURKEY], "{seen:#}");
        let reason = outstanding[0]["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("may access no portion (portion 0: classification RESTRICTED"), "{reason}");
        assert_eq!(code, ATTENTION);
    }
    let journalled = journal(&net, Deed::NotTold, by).await?;
    assert!(journalled.len() == 1 && journalled[0].contains("outstanding: tur/border may"), "{journalled:?}");
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_an_agency_of_the_own_state_that_may_read_nothing_is_listed_and_the_notice_goes_out() -> Outcome {
    let net = network().await?;
    let mut notice = told_of();
    notice["domestic"] = json!(["BORDER"]);
    let sent = net.agency(KENYA).send(notice.clone()).await?;
    assert_eq!(sent.recipients().iter().map(|it| it.as_str()).collect::<Vec<_>>(), TOLD);
    let table = net.agency(KENYA).client()?.notice_preview(&sent.id()).await?;
    let [border] = table.not_told.as_slice() else { return Err(format!("{table:?}").into()) };
    assert_eq!(
        (border.agency.as_str(), border.outstanding, border.rests_on.as_deref()),
        (BORDER, false, Some("S/RES/2396, paragraph 7"))
    );
    assert!(border.rule.contains("may access no portion"), "{}", border.rule);
    let journalled = journal(&net, Deed::NotTold, sent.id()).await?;
    assert!(journalled.len() == 1 && journalled[0].contains("paragraph 7"), "{journalled:?}");
    let track = net.agency(KENYA).client()?.track(&sent.id()).await?;
    assert_eq!(track.not_told, table.not_told);
    assert!(track.outstanding.iter().all(|one| one.agency.as_str() != BORDER), "{track:?}");
    // Where nobody else is left, it is not sent.
    notice["parts"][0]["destination"] = json!("KEN");
    notice["parts"][0]["transit"] = json!([]);
    notice["parts"][1]["citizenships"] = json!(["KEN"]);
    let (code, refused) = says(&net, &["send", &file(&net, &notice).await?]).await?;
    let said = refused.to_string();
    assert!(code != 0 && said.contains("nobody is left") && said.contains(BORDER), "{said}");
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g03_a_contact_point_cleared_for_nothing_is_a_mistake_unless_its_state_is_left_out() -> Outcome {
    let net = network().await?;
    let mut notice = told_of();
    notice["label"] = json!("SECRET");
    let (code, refused) = says(&net, &["send", &file(&net, &notice).await?]).await?;
    let mistake = &refused["error"]["mistakes"][0];
    assert_eq!((code, &mistake["value"]), (2, &json!(TURKEY)), "{refused:#}");
    let rule = mistake["rule"].as_str().unwrap_or_default();
    assert!(rule.contains("add the omission {\"state\": \"TUR\""), "{rule}");
    assert!(rule.ends_with("(S/RES/2396, paragraph 3)"), "{rule}");
    assert_eq!(net.broker().status().await?.log_entries, 0, "something reached the broker all the same");
    notice["omissions"] = json!([{ "state": "TUR", "reason": "OTHER", "text": "told by other means" }]);
    let sent = net.agency(KENYA).send(notice).await?;
    assert_eq!(sent.recipients().iter().map(|it| it.as_str()).collect::<Vec<_>>(), ["deu/bka", "fra/ncb"]);
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g11_a_correction_whose_reason_somebody_could_not_open_is_refused() -> Outcome {
    let net = network().await?;
    let sent = net.agency(KENYA).send(told_of()).await?;
    net.agency(KENYA).expect_accepted(&sent).await?;
    let mut correction = told_of();
    correction["kind"] = json!("CORRECTION");
    correction["supersedes"] = json!(sent.id());
    let part = json!({ "type": "correction", "reason": "The date.", "label": "SECRET" });
    correction["parts"].as_array_mut().ok_or("no parts")?.push(part);
    let (code, refused) = says(&net, &["send", &file(&net, &correction).await?]).await?;
    let mistake = &refused["error"]["mistakes"][0];
    let place = (code, &mistake["path"], &mistake["value"]);
    assert_eq!(place, (2, &json!("parts[2].label"), &json!("SECRET")), "{refused:#}");
    let rule = mistake["rule"].as_str().unwrap_or_default();
    assert!(rule.contains(TURKEY) && rule.contains("write UNCLASSIFIED//H2"), "{rule}");
    correction["parts"][2]["label"] = json!("UNCLASSIFIED//H2");
    let corrected = net.agency(KENYA).send(correction).await?;
    for agency in TOLD {
        net.agency(KENYA).expect_receipt(&sent, agency, "PURGED").await?;
        net.agency(agency).expect_notice(&corrected).await?;
    }
    net.stop().await;
    Ok(())
}
