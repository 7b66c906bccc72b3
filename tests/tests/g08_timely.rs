//! G8: a FLASH notice overtakes queued ROUTINE traffic and is never stuck behind a large transfer; the originator is told
//! when a deadline passes without an answer.
//!
//! The lines here are narrow, so that what is sent first takes seconds; the order of arrival is the one that the
//! recipient's agent recorded.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use serde_json::{Value, json};
use valise_agent::api::types::InboxEntry;
use valise_agent::clock::Clock;
use valise_proto::envelope::Precedence;
use valise_proto::id::NoticeId;
use valise_tests::relay::Faults;
use valise_tests::wait::until;
use valise_tests::{Agency, AgencySpec, DEADLINE, Network, notices};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// A line that a bulky notice takes about a tenth of a second to pass.
const NARROW: Faults = Faults { bytes_per_second: Some(1_000_000), ..Faults::NONE };
/// Size of a bulky notice, in KiB.
const BULK_KIB: usize = 100;

fn bulky(precedence: Precedence) -> notices::NoticeBuilder {
    notices::deportation("KEN", "FRA").of("FRA").precedence(precedence.as_str()).bulky(BULK_KIB)
}

/// Sends `count` bulky notices and waits for none of them.
async fn send(from: Agency<'_>, precedence: Precedence, count: usize) -> Outcome<BTreeSet<NoticeId>> {
    let mut sent = BTreeSet::new();
    for _ in 0..count {
        sent.insert(from.send(bulky(precedence)).await?.id());
    }
    Ok(sent)
}

/// What came to `fra/ncb` once all of `sent` has: each notice once, nothing else, in the order of arrival.
async fn arrivals(net: &Network, sent: &BTreeSet<NoticeId>) -> Outcome<Vec<InboxEntry>> {
    let fra = net.agency("fra/ncb");
    until("the arrival of every notice", DEADLINE, async || {
        let come = fra.inbox().await.map_err(|error| error.to_string())?.len();
        if come >= sent.len() { Ok(()) } else { Err(format!("{come} of {} have come", sent.len())) }
    })
    .await?;
    let mut inbox = fra.inbox().await?;
    let come: BTreeSet<NoticeId> = inbox.iter().map(|entry| entry.notice_id).collect();
    assert_eq!(&come, sent, "what was sent is not what came");
    assert_eq!(inbox.len(), sent.len(), "a notice came twice");
    inbox.sort_by_key(|entry| entry.received_at);
    Ok(inbox)
}

/// Each precedence is through before half of the next one has come. It is not before all of it, because a line that
/// loses a datagram carries something else until that is sent again.
fn came_by_precedence(arrivals: &[InboxEntry]) {
    for pair in Precedence::ALL.windows(2) {
        let &[lower, higher] = pair else { continue };
        let last_of_higher = arrivals.iter().rposition(|entry| entry.precedence == higher);
        let overtaken = arrivals.iter().enumerate().filter(|(_, entry)| entry.precedence == lower);
        let before = overtaken.clone().filter(|(place, _)| Some(*place) < last_of_higher).count();
        let order: Vec<_> = arrivals.iter().map(|entry| entry.precedence.as_str()).collect();
        assert!(before * 2 <= overtaken.count(), "{before} {lower} came before the last {higher}: {order:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g08_what_waited_at_the_broker_comes_by_precedence_to_an_agency_that_comes_online() -> Outcome {
    let net =
        Network::builder().agency("ken/ncb").agency(AgencySpec::new("fra/ncb").not_running()).start().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let mut sent = BTreeSet::new();
    // The most urgent is sent last.
    for precedence in Precedence::ALL {
        sent.extend(send(ken, precedence, 8).await?);
    }
    for id in &sent {
        ken.expect_accepted(*id).await?;
    }
    fra.set_faults(NARROW)?;
    fra.start().await?;
    came_by_precedence(&arrivals(&net, &sent).await?);
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g08_what_waited_in_the_outbox_leaves_by_precedence_when_the_line_is_back() -> Outcome {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").start().await?;
    let ken = net.agency("ken/ncb");
    ken.partition()?;
    ken.expect_disconnected().await?;
    let mut sent = BTreeSet::new();
    for precedence in Precedence::ALL {
        sent.extend(send(ken, precedence, 8).await?);
    }
    ken.set_faults(NARROW)?;
    came_by_precedence(&arrivals(&net, &sent).await?);
    net.stop().await;
    Ok(())
}

/// `count` bulky ROUTINE notices wait for the lines of `slow`, which then come back with these faults. When the first of
/// them has arrived, a FLASH notice is sent. Returns how many of them came after it.
async fn flash_among_bulk(slow: &[&str], faults: Faults, count: usize) -> Outcome<usize> {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").seed(8).start().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    for agency in slow {
        net.agency(agency).partition()?;
    }
    for agency in slow {
        net.agency(agency).expect_disconnected().await?;
    }
    let mut sent = send(ken, Precedence::Routine, count).await?;
    if !slow.contains(&"ken/ncb") {
        for id in &sent {
            ken.expect_accepted(*id).await?;
        }
    }
    for agency in slow {
        net.agency(agency).set_faults(faults)?;
    }
    until("the first arrival", DEADLINE, async || match fra.inbox().await {
        Ok(inbox) if inbox.is_empty() => Err("an empty inbox".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    })
    .await?;
    let flash = ken.send(bulky(Precedence::Flash)).await?;
    sent.insert(flash.id());
    let arrivals = arrivals(&net, &sent).await?;
    let after = arrivals.iter().rev().take_while(|entry| entry.notice_id != flash.id()).count();
    ken.expect_receipt(&flash, "fra/ncb", "DELIVERED").await?;
    net.stop().await;
    Ok(after)
}

#[tokio::test(flavor = "multi_thread")]
async fn g08_a_flash_notice_is_not_stuck_behind_what_its_originator_is_sending() -> Outcome {
    let after = flash_among_bulk(&["ken/ncb"], NARROW, 30).await?;
    assert!(after >= 5, "FLASH came with only {after} of 30 ROUTINE notices behind it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g08_a_flash_notice_is_not_stuck_behind_what_its_recipient_is_receiving() -> Outcome {
    let after = flash_among_bulk(&["fra/ncb"], NARROW, 30).await?;
    assert!(after >= 5, "FLASH came with only {after} of 30 ROUTINE notices behind it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g08_lost_datagrams_do_not_hold_a_flash_notice_back() -> Outcome {
    let rough = Faults { loss_permille: 30, delay: Duration::from_millis(5), ..NARROW };
    let after = flash_among_bulk(&["ken/ncb", "fra/ncb"], rough, 20).await?;
    assert!(after >= 5, "FLASH came with only {after} of 20 ROUTINE notices behind it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g08_the_originator_is_told_who_did_not_answer_in_time() -> Outcome {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").agency("tur/border").start().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let mut notice: Value = notices::deportation("KEN", "FRA").of("FRA").through("TUR").into();
    let respond_by = Clock::system().now().plus(Duration::from_secs(4));
    notice["respond_by"] = respond_by.to_string().into();
    let sent = ken.send(notice).await?;
    assert_eq!(fra.expect_notice(&sent).await?.respond_by, Some(respond_by));
    net.agency("tur/border").expect_notice(&sent).await?;
    let answer = json!({
        "kind": "RESPONSE", "precedence": "FLASH", "label": "RESTRICTED", "recipients": ["ken/ncb"],
        "in_reply_to": sent.id(), "parts": [{ "type": "response", "outcome": "WILL_ACT", "text": "Officers will meet the flight." }],
    });
    let answer = fra.send(answer).await?;
    ken.expect_notice(&answer).await?;
    let early = ken.status_of(&sent).await?;
    let status =
        until("the end of the time for answers", DEADLINE, async || match ken.status_of(&sent).await {
            Ok(status) if status.deadline_passed => Ok(status),
            Ok(status) => Err(format!("{:?}", status.respond_by)),
            Err(error) => Err(error.to_string()),
        })
        .await?;
    assert!(Clock::system().now() > respond_by, "the time was declared over before it was");
    let mut answered: Vec<_> =
        status.recipients.iter().map(|one| (one.agency.as_str(), one.answered)).collect();
    answered.sort_unstable();
    assert_eq!(answered, [("fra/ncb", true), ("tur/border", false)], "before: {early:?}");
    net.stop().await;
    Ok(())
}
