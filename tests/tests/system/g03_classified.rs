//! G3: no agency receives a portion its clearance does not permit; decided by the sender, by the broker at submission,
//! and by the broker again at delivery.

use std::error::Error;

use valise_proto::envelope::Precedence;
use valise_proto::label::Classification;
use valise_proto::receipt::ReceiptKind;
use valise_proto::refusal::RefusalCode;
use valise_proto::wire::session::Item;
use valise_tests::raw::Impostor;
use valise_tests::{AgencySpec, Network, notices};

type Outcome = Result<(), Box<dyn Error>>;

#[tokio::test(flavor = "multi_thread")]
async fn g03_each_recipient_of_the_example_opens_what_it_is_cleared_for_and_no_more() -> Outcome {
    let net = Network::builder()
        .agency("ken/ncb")
        .agency("fra/ncb")
        .agency(AgencySpec::new("tur/border").cleared_to(Classification::Restricted))
        .agency(AgencySpec::new("xpo/general-secretariat").cleared_to(Classification::Confidential))
        .start()
        .await?;
    let sent = net.agency("ken/ncb").send(notices::example("deportation")).await?;
    let cases = [
        ("fra/ncb", vec!["RESTRICTED", "CONFIDENTIAL", "SECRET//REL TO FRA, KEN"]),
        ("xpo/general-secretariat", vec!["RESTRICTED", "CONFIDENTIAL"]),
        ("tur/border", vec!["RESTRICTED"]),
    ];
    for (agency, labels) in cases {
        let facts = net.agency(agency).expect_notice(&sent).await?;
        assert_eq!(facts.portions.len(), 3, "{agency} does not see that three portions exist");
        let opened = net.agency(agency).read(&sent, "Officer A. Example").await?;
        let got: Vec<&str> = opened.opened.iter().map(|portion| portion.label.as_str()).collect();
        assert_eq!(got, labels, "what {agency} opened");
        let withheld: Vec<_> = opened.notice.portions.iter().filter(|portion| !portion.held).collect();
        assert_eq!(withheld.len(), 3 - labels.len(), "what {agency} is told was withheld: {withheld:?}");
        net.agency("ken/ncb").expect_receipt(&sent, agency, "DELIVERED").await?;
        net.agency("ken/ncb").expect_receipt(&sent, agency, "READ").await?;
    }
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g03_a_clearance_lowered_between_submission_and_delivery_keeps_the_portion_back() -> Outcome {
    let net =
        Network::builder().agency("ken/ncb").agency(AgencySpec::new("fra/ncb").not_running()).start().await?;
    let notice = notices::deportation("KEN", "FRA")
        .of("FRA")
        .movement_label("RESTRICTED")
        .person_label("SECRET")
        .recipient("fra/ncb");
    let sent = net.agency("ken/ncb").send(notice).await?;
    net.agency("ken/ncb").expect_accepted(&sent).await?;
    net.clear("fra/ncb", Classification::Restricted).await?;
    net.agency("fra/ncb").start().await?;
    let facts = net.agency("fra/ncb").expect_notice(&sent).await?;
    let held: Vec<&str> =
        facts.portions.iter().filter(|portion| portion.held).map(|portion| portion.label.as_str()).collect();
    assert_eq!(held, ["RESTRICTED"], "fra/ncb received what it was cleared for when the notice was sent");
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g03_a_clearance_lowered_below_everything_keeps_the_notice_back_until_it_is_raised() -> Outcome {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").start().await?;
    net.agency("fra/ncb").stop().await?;
    let notice = notices::deportation("KEN", "FRA").of("FRA").label("SECRET");
    let sent = net.agency("ken/ncb").send(notice).await?;
    net.agency("ken/ncb").expect_accepted(&sent).await?;
    net.clear("fra/ncb", Classification::Unclassified).await?;
    net.agency("fra/ncb").start().await?;
    net.agency("fra/ncb").expect_connected().await?;
    // What is sent later and may be had comes; what came before and may not be had has not.
    let open = notices::deportation("KEN", "FRA").of("FRA").label("UNCLASSIFIED");
    let later = net.agency("ken/ncb").send(open).await?;
    net.agency("fra/ncb").expect_notice(&later).await?;
    assert_eq!(net.agency("fra/ncb").inbox().await?.len(), 1);
    net.clear("fra/ncb", Classification::Secret).await?;
    net.agency("fra/ncb").expect_notice(&sent).await?;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g03_keys_wrapped_by_a_dishonest_sender_open_nothing_for_an_uncleared_recipient() -> Outcome {
    let net = Network::builder()
        .agency(AgencySpec::new("ken/ncb").not_running())
        .agency(AgencySpec::new("tur/border").cleared_to(Classification::Restricted).not_running())
        .start()
        .await?;
    let dishonest = Impostor::of(&net.agency("ken/ncb").folder()?)?;
    let uncleared = Impostor::of(&net.agency("tur/border").folder()?)?;
    let tur = net.agency("tur/border").id()?;
    let mut dishonest = dishonest;
    dishonest.set_directory(uncleared.directory().clone());
    let broker = net.broker().listen_addr().await.expect("the broker listens");

    // The wrap holds the keys of both portions, though tur/border is cleared for the first only.
    let mut notice = dishonest.notice(&[tur], "RESTRICTED", b"for all");
    notice.portions.push(("SECRET".to_owned(), b"not for tur/border".to_vec()));
    notice.recipients = vec![(tur.clone(), vec![0, 1])];
    let envelope = dishonest.seal(notice)?;
    let session = dishonest.connect(broker).await?;
    let receipt = session.submit(Precedence::Priority).await?.ask(envelope.encode()).await?;
    assert_eq!(receipt.kind, ReceiptKind::Accepted, "{receipt:?}");

    let receiving = uncleared.connect(broker).await?;
    let delivery = receiving.receive(Precedence::Priority, 10).await?.delivery().await?;
    let Item::Envelope(delivered) = delivery.item else { panic!("a receipt came in place of the notice") };
    let indexes: Vec<usize> = delivered.portions().iter().map(|portion| portion.index.get()).collect();
    assert_eq!(indexes, [0], "the ciphertext of an uncleared portion was handed out");
    let verified = delivered.verify_delivered(uncleared.directory(), tur)?;
    let opened = verified.open(tur, uncleared.vault().sealing_keys())?;
    assert_eq!(opened.len(), 1, "an uncleared portion was opened");
    assert_eq!(opened[0].parts(), b"for all");

    // Where there is no portion it may access, the broker does not take the notice at all.
    let secret = dishonest.seal(dishonest.notice(&[tur], "SECRET", b"not for tur/border"))?;
    let refused = session.submit(Precedence::Priority).await?.ask(secret.encode()).await?;
    assert_eq!(refused.refusal.map(|refusal| refusal.code), Some(RefusalCode::RecipientNotCleared));
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g03_the_senders_own_agent_refuses_a_recipient_that_could_read_nothing() -> Outcome {
    let net = Network::builder()
        .agency("ken/ncb")
        .agency(AgencySpec::new("tur/border").cleared_to(Classification::Restricted))
        .start()
        .await?;
    let notice = notices::deportation("KEN", "TUR").of("TUR").label("SECRET");
    let refused = net.agency("ken/ncb").send(notice).await.expect_err("a notice nobody could read was sent");
    let sentence = refused.to_string();
    assert!(sentence.contains("tur/border") || format!("{refused:?}").contains("tur/border"), "{sentence}");
    assert_eq!(net.broker().status().await?.log_entries, 0, "something reached the broker all the same");
    net.stop().await;
    Ok(())
}
