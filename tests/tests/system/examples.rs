//! The notices of `deploy/examples`, sent by the command over a network and delivered to whom paragraph 3 names, and
//! to nobody else.

use std::error::Error;
use std::path::{Path, PathBuf};

use valise_proto::directory::Function;
use valise_proto::id::NoticeId;
use valise_proto::label::Classification;
use valise_tests::network::binary;
use valise_tests::{AgencySpec, Network, notices};

type Outcome = Result<(), Box<dyn Error>>;

const EXAMPLES: [&str; 7] =
    ["arrival", "attempted-transit", "deportation", "family", "four-citizenships", "stateless", "travel"];
const OTHERS: [&str; 6] =
    ["deu/bka", "fra/ncb", "gbr/nca", "ken/immigration", "tur/border", "xpo/general-secretariat"];

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples")
}

fn file(name: &str) -> String {
    examples().join(format!("{name}.json")).display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_is_sent_and_reaches_whom_paragraph_3_names() -> Outcome {
    let net = Network::builder()
        .agency("ken/ncb")
        .agency(AgencySpec::new("ken/immigration").with_function(Function::Border))
        .agency("fra/ncb")
        .agency("deu/bka")
        .agency("gbr/nca")
        .agency(AgencySpec::new("tur/border").cleared_to(Classification::Confidential))
        .agency(AgencySpec::new("xpo/general-secretariat").cleared_to(Classification::Confidential))
        .start()
        .await?;
    for name in EXAMPLES {
        let sent = net.agency("ken/ncb").run(&["--json", "send", &file(name)]).await?.json()?;
        let id: NoticeId = sent["notice_id"].as_str().ok_or("no notice id")?.parse()?;
        let told = sent["recipients"].as_array().ok_or("no recipients")?;
        let told: Vec<&str> = told.iter().filter_map(serde_json::Value::as_str).collect();
        assert!(!told.is_empty(), "{name} is for nobody");
        for agency in &told {
            net.agency(agency).expect_notice(id).await?;
            net.agency("ken/ncb").expect_receipt(id, agency, "DELIVERED").await?;
            let opened = net.agency(agency).read(id, "Officer A. Example").await?;
            assert!(!opened.opened.is_empty(), "{agency} can open nothing of {name}");
        }
        for agency in OTHERS.iter().filter(|agency| !told.contains(agency)) {
            let inbox = net.agency(agency).inbox().await?;
            assert!(inbox.iter().all(|entry| entry.notice_id != id), "{agency} was told of {name}");
        }
    }
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g11_two_agencies_play_a_whole_matter_with_the_example_follow_ups() -> Outcome {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").start().await?;
    let commands = binary("valise-agent")?;
    let folder = commands.parent().ok_or("the command lies in no folder")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let ran = tokio::process::Command::new(examples().join("two-agencies"))
        .env("PATH", format!("{}:{path}", folder.display()))
        .arg(net.agency("ken/ncb").folder()?.path())
        .arg(net.agency("fra/ncb").folder()?.path())
        .output()
        .await?;
    let (told, errors) = (String::from_utf8(ran.stdout)?, String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{told}{errors}");
    let steps: Vec<_> = told.lines().filter_map(|line| line.split_once(' ')).collect();
    let names: Vec<_> = steps.iter().map(|(step, _)| *step).collect();
    assert_eq!(names, ["sent", "read", "answered", "corrected", "withdrawn", "gone"]);
    let of = |name| steps.iter().find(|(step, _)| *step == name).map(|(_, id)| id.parse::<NoticeId>());
    let (notice, withdrawal) = (of("sent").ok_or("not sent")??, of("withdrawn").ok_or("not withdrawn")??);
    let track = net.agency("ken/ncb").client()?.track(&notice).await?;
    assert!(track.status.recipients[0].answered && track.status.recipients[0].state == "PURGED", "{track:?}");
    net.agency("fra/ncb").expect_notice(withdrawal).await?;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_left_out_for_non_refoulement_learns_nothing_though_it_is_a_member() -> Outcome {
    let net = Network::builder()
        .agency("ken/ncb")
        .agency("fra/ncb")
        .agency("deu/bka")
        .agency("gbr/nca")
        .agency("tur/border")
        .agency("tun/ncb")
        .start()
        .await?;
    let sent = net.agency("ken/ncb").send(notices::example("four-citizenships")).await?;
    for agency in sent.recipients() {
        net.agency(agency.as_str()).expect_notice(&sent).await?;
        let opened = net.agency(agency.as_str()).read(&sent, "Officer A. Example").await?;
        let shown = serde_json::to_string(&opened)?;
        assert!(
            !shown.contains("NON_REFOULEMENT") && !shown.contains("tribunal"),
            "{agency} sees the omission"
        );
    }
    assert!(sent.recipients().iter().all(|agency| agency.as_str() != "tun/ncb"));
    // Whatever was sent before this has arrived: one inbox keeps its order.
    let later = net.agency("ken/ncb").send(notices::deportation("KEN", "TUN")).await?;
    net.agency("tun/ncb").expect_notice(&later).await?;
    assert_eq!(net.agency("tun/ncb").inbox().await?.len(), 1, "tun/ncb holds more than what was sent to it");
    let named = notices::example("four-citizenships");
    let mut named = named.as_object().cloned().ok_or("no object")?;
    named.insert("recipients".to_owned(), serde_json::json!(["tun/ncb"]));
    let refused = net.agency("ken/ncb").send(serde_json::Value::Object(named)).await.err();
    let refused = refused.ok_or("a State that persons are protected from was named and told")?;
    let refused = format!("{refused:?}");
    assert!(refused.contains("Convention relating to the Status of Refugees, article 33"), "{refused}");
    net.stop().await;
    Ok(())
}
