//! G5: each recipient's officer sees a notice once, whatever is resent, reconnected or restarted.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use valise_proto::envelope::Precedence;
use valise_proto::receipt::ReceiptKind;
use valise_proto::refusal::RefusalCode;
use valise_tests::raw::Impostor;
use valise_tests::relay::Faults;
use valise_tests::wait::until;
use valise_tests::{AgencySpec, DEADLINE, Network, notices};

type Outcome = Result<(), Box<dyn Error>>;

#[tokio::test(flavor = "multi_thread")]
async fn g05_the_same_envelope_gets_the_same_receipt_and_another_under_its_id_is_refused() -> Outcome {
    let net = Network::builder()
        .agency(AgencySpec::new("ken/ncb").not_running())
        .agency(AgencySpec::new("fra/ncb").not_running())
        .start()
        .await?;
    let broker = net.broker().listen_addr().await.expect("the broker listens");
    let recipient = Impostor::of(&net.agency("fra/ncb").folder()?)?;
    let mut sender = Impostor::of(&net.agency("ken/ncb").folder()?)?;
    sender.set_directory(recipient.directory().clone());
    let notice = sender.notice(&[net.agency("fra/ncb").id()?], "RESTRICTED", b"once");
    let envelope = sender.seal(notice.clone())?;
    let mut stream = sender.connect(broker).await?.submit(Precedence::Priority).await?;
    stream.send(envelope.encode()).await?;
    let (_, first) = stream.answer().await?;
    assert_eq!(first.receipt().kind, ReceiptKind::Accepted, "{first:?}");
    // Again on the same stream, and after the broker was killed, on a new connection.
    stream.send(envelope.encode()).await?;
    assert_eq!(stream.answer().await?.1.encode(), first.encode(), "a second receipt differs from the first");
    net.broker().kill_and_restart().await?;
    let broker = net.broker().listen_addr().await.expect("the broker listens");
    let session = sender.connect(broker).await?;
    let mut stream = session.submit(Precedence::Priority).await?;
    stream.send(envelope.encode()).await?;
    assert_eq!(
        stream.answer().await?.1.encode(),
        first.encode(),
        "a receipt after a restart differs from the first"
    );
    // Sealed anew under the same id: other keys, so other bytes.
    let other = stream.ask(sender.seal(notice)?.encode()).await?;
    assert_eq!(other.refusal.map(|refusal| refusal.code), Some(RefusalCode::IdConflict));
    let status = net.broker().status().await?;
    assert_eq!(status.log_entries, 1, "one notice stands in the log {} times", status.log_entries);
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g05_loss_duplication_and_restarts_show_each_notice_once() -> Outcome {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").seed(5).start().await?;
    let rough = Faults {
        loss_permille: 50,
        duplicate_permille: 200,
        delay: Duration::from_millis(3),
        ..Faults::NONE
    };
    net.agency("ken/ncb").set_faults(rough)?;
    net.agency("fra/ncb").set_faults(rough)?;
    let mut sent = BTreeSet::new();
    for round in 0..6 {
        for _ in 0..4 {
            sent.insert(net.agency("ken/ncb").send(notices::deportation("KEN", "FRA").of("FRA")).await?.id());
        }
        match round % 3 {
            0 => net.broker().kill_and_restart().await?,
            1 => {
                net.agency("fra/ncb").kill().await?;
                net.agency("fra/ncb").start().await?;
            }
            _ => {
                net.agency("ken/ncb").kill().await?;
                net.agency("ken/ncb").start().await?;
            }
        }
    }
    net.agency("ken/ncb").reconnect()?;
    net.agency("fra/ncb").reconnect()?;
    for id in &sent {
        net.agency("fra/ncb").expect_notice(*id).await?;
        net.agency("ken/ncb").expect_receipt(*id, "fra/ncb", "DELIVERED").await?;
    }
    let inbox = net.agency("fra/ncb").inbox().await?;
    let shown: BTreeSet<_> = inbox.iter().map(|entry| entry.notice_id).collect();
    assert_eq!(inbox.len(), shown.len(), "a notice stands in the inbox twice");
    assert_eq!(shown, sent);
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g05_each_officers_reading_is_told_to_the_originator_once() -> Outcome {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").start().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let sent = ken.send(notices::deportation("KEN", "FRA").of("FRA")).await?;
    fra.expect_notice(&sent).await?;
    for officer in ["Officer A. Example", "Officer A. Example", "Officer B. Example"] {
        fra.read(&sent, officer).await?;
    }
    until("the readings of both officers", DEADLINE, async || {
        let status = ken.status_of(&sent).await.map_err(|error| error.to_string())?;
        let steps = status.recipients.iter().flat_map(|recipient| &recipient.steps);
        let readers: Vec<_> = steps.filter(|step| step.kind == "READ").map(|step| &step.officer).collect();
        let both = ["Officer A. Example", "Officer B. Example"].map(|name| Some(name.to_owned()));
        if readers == both.iter().collect::<Vec<_>>() { Ok(()) } else { Err(format!("{readers:?}")) }
    })
    .await?;
    net.stop().await;
    Ok(())
}
