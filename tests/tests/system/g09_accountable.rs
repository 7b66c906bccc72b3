//! G9: every reading and every omission is on record, with who, when and why, and an omission stays where it was made.

use std::error::Error;

use valise_proto::label::Classification;
use valise_tests::{AgencySpec, Network, notices};

type Outcome = Result<(), Box<dyn Error>>;

/// What the author of the example wrote about the State that was left out.
const WHY: &str = "diplomatic channel";

#[tokio::test(flavor = "multi_thread")]
async fn g09_an_omission_is_kept_with_its_reason_and_never_sent() -> Outcome {
    let net = Network::builder()
        .agency("ken/ncb")
        .agency("fra/ncb")
        .agency(AgencySpec::new("tur/border").cleared_to(Classification::Restricted))
        .agency(AgencySpec::new("xpo/general-secretariat").cleared_to(Classification::Confidential))
        .start()
        .await?;
    let written = notices::example("deportation");
    assert!(written.to_string().contains(WHY), "the example gives another reason now");
    let sent = net.agency("ken/ncb").send(written).await?;
    assert!(sent.recipients().iter().all(|recipient| recipient.state().as_str() != "TUN"));
    let id = sent.id();
    let kept =
        net.agency("ken/ncb").with_node(async |node| node.desk().office().store().draft(&id)).await??;
    let kept = kept.ok_or("the originator kept nothing of what was written")?;
    assert!(String::from_utf8_lossy(&kept).contains(WHY), "the reason of the omission is not on record");
    for agency in ["fra/ncb", "xpo/general-secretariat", "tur/border"] {
        net.agency(agency).expect_notice(&sent).await?;
        let opened = net.agency(agency).read(&sent, "Officer A. Example").await?;
        let shown = serde_json::to_string(&opened)?;
        assert!(shown.contains("legal_basis"), "{agency} opened nothing");
        assert!(!shown.contains(WHY) && !shown.contains("omission"), "{agency} is shown the omission");
    }
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g09_who_was_shown_a_notice_first_is_on_record_at_both_ends() -> Outcome {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").start().await?;
    let sent = net.agency("ken/ncb").send(notices::deportation("KEN", "FRA").of("FRA")).await?;
    let arrived = net.agency("fra/ncb").expect_notice(&sent).await?;
    assert_eq!(arrived.read.map(|read| read.officer), None, "somebody is said to have read it");
    net.agency("fra/ncb").read(&sent, "Officer A. Example").await?;
    net.agency("fra/ncb").read(&sent, "Officer B. Example").await?;
    net.agency("fra/ncb").stop().await?;
    net.agency("fra/ncb").start().await?;
    let read = net.agency("fra/ncb").expect_notice(&sent).await?.read.ok_or("the reading was forgotten")?;
    assert_eq!(read.officer, "Officer A. Example");
    assert!(read.at >= arrived.created_at);
    net.agency("ken/ncb").expect_receipt(&sent, "fra/ncb", "READ").await?;
    let told = net.agency("ken/ncb").status_of(&sent).await?;
    let step = told.recipients[0].steps.iter().find(|step| step.kind == "READ").ok_or("no READ")?;
    assert_eq!((step.officer.as_deref(), step.at), (Some("Officer A. Example"), read.at));
    net.stop().await;
    Ok(())
}
