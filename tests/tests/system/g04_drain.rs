//! G4: a node that is told to stop (SIGTERM) finishes what it took, says goodbye, and ends with exit code 0.

use std::error::Error;

use valise_proto::envelope::Precedence;
use valise_proto::receipt::ReceiptKind;
use valise_tests::raw::Impostor;
use valise_tests::{AgencySpec, Network, notices};

type Outcome = Result<(), Box<dyn Error>>;

/// Notices on their way when the broker is told to stop.
const PRESSED: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn g04_a_broker_that_is_told_to_stop_answers_what_it_took_and_says_goodbye() -> Outcome {
    let net = Network::builder()
        .agency(AgencySpec::new("ken/ncb").not_running())
        .agency(AgencySpec::new("fra/ncb").not_running())
        .broker_as_process()
        .start()
        .await?;
    let recipient = Impostor::of(&net.agency("fra/ncb").folder()?)?;
    let mut sender = Impostor::of(&net.agency("ken/ncb").folder()?)?;
    sender.set_directory(recipient.directory().clone());
    let broker = net.broker().listen_addr().await.ok_or("the broker listens nowhere")?;
    let mut session = sender.connect(broker).await?;
    let mut stream = session.submit(Precedence::Priority).await?;
    let mut sealed = Vec::with_capacity(PRESSED);
    for _ in 0..PRESSED {
        let notice = sender.notice(&[recipient.agency()], "RESTRICTED", b"on its way");
        sealed.push(sender.seal(notice)?.encode());
    }
    for frame in sealed {
        stream.send(frame).await?;
    }
    let mut accepted = usize::from(stream.answer().await?.1.receipt().kind == ReceiptKind::Accepted);
    let answers = async {
        // The stream ends when everything that was taken is answered.
        while let Ok((_, receipt)) = stream.answer().await {
            assert_eq!(receipt.receipt().kind, ReceiptKind::Accepted, "{receipt:?}");
            accepted += 1;
        }
    };
    // `stop` fails where the process ends with anything but 0.
    let (stopped, (), goodbye) = tokio::join!(net.broker().stop(), answers, session.goodbye());
    stopped?;
    assert_eq!(goodbye?, None, "an end in order has no reason");

    net.broker().start().await?;
    let log = net.broker().status().await?.log_entries;
    assert_eq!(log, u64::try_from(accepted)?, "something was accepted without an answer, or lost");
    println!("{accepted} of {PRESSED} were answered before the end");
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g04_an_agent_that_is_told_to_stop_keeps_what_it_queued_and_sends_it_later() -> Outcome {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").agencies_as_processes().start().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    ken.partition()?;
    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.push(ken.send(notices::deportation("KEN", "FRA").of("FRA")).await?);
    }
    ken.stop().await?;
    ken.reconnect()?;
    ken.start().await?;
    sent.push(ken.send(notices::deportation("KEN", "FRA").of("FRA")).await?);
    // With submissions on their way.
    ken.stop().await?;
    ken.start().await?;
    for notice in &sent {
        fra.expect_notice(notice).await?;
    }
    assert_eq!(fra.inbox().await?.len(), sent.len(), "a notice is shown twice");
    fra.stop().await?;
    ken.stop().await?;
    net.stop().await;
    Ok(())
}
