//! Faults on the way and of the clock, over real QUIC: what is promised holds, and whoever is concerned is told.

#![allow(clippy::expect_used, reason = "tests stop at the first surprise")]

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use valise_proto::id::NoticeId;
use valise_tests::relay::Faults;
use valise_tests::wait::until;
use valise_tests::{Agency, DEADLINE, Network, notices};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn to_france() -> notices::NoticeBuilder {
    notices::deportation("KEN", "FRA").of("FRA")
}

/// The agency shows these notices, each once, and no other.
async fn shows_once(agency: Agency<'_>, sent: &BTreeSet<NoticeId>) -> Outcome {
    for id in sent {
        agency.expect_notice(*id).await?;
    }
    let inbox = agency.inbox().await?;
    let shown: BTreeSet<NoticeId> = inbox.iter().map(|entry| entry.notice_id).collect();
    assert_eq!((inbox.len(), &shown), (sent.len(), sent), "each once");
    Ok(())
}

/// All at once: loss, delay, reordering and duplication.
const STORM: Faults = Faults {
    loss_permille: 80,
    duplicate_permille: 150,
    reorder_permille: 250,
    delay: Duration::from_millis(4),
    ..Faults::NONE
};

#[tokio::test(flavor = "multi_thread")]
async fn g04_g05_loss_delay_reordering_duplication_and_partitions_together_lose_nothing() -> Outcome {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").seed(2396).start().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    ken.set_faults(STORM)?;
    fra.set_faults(STORM)?;
    let mut sent = BTreeSet::new();
    // One side is cut off, then both, until that is noticed.
    for cut in [vec![fra], vec![ken, fra]] {
        for _ in 0..8 {
            sent.insert(ken.send(to_france().bulky(40)).await?.id());
        }
        cut.iter().try_for_each(Agency::partition)?;
        for agency in &cut {
            agency.expect_disconnected().await?;
        }
        cut.iter().try_for_each(|agency| agency.set_faults(STORM))?;
    }
    // In the storm still.
    for id in &sent {
        fra.expect_notice(*id).await?;
    }
    ken.reconnect()?;
    fra.reconnect()?;
    shows_once(fra, &sent).await?;
    for id in &sent {
        ken.expect_receipt(*id, "fra/ncb", "DELIVERED").await?;
    }
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g04_g05_an_agency_whose_address_changes_in_mid_transfer_loses_nothing_and_keeps_its_connection()
-> Outcome {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").start().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let since =
        async |agency: Agency<'_>| -> Outcome<_> { Ok(agency.client()?.status().await?.connection.since) };
    let before = (since(ken).await?, since(fra).await?);
    // Some seconds' worth of notices, so that every change falls into the middle of a transfer.
    let narrow = Faults { bytes_per_second: Some(1024 * 1024), ..Faults::NONE };
    ken.set_faults(narrow)?;
    fra.set_faults(narrow)?;
    let mut sent = BTreeSet::new();
    for moving in [ken, fra, ken] {
        let mut last = None;
        for _ in 0..3 {
            let one = ken.send(to_france().bulky(200)).await?;
            sent.insert(one.id());
            last = Some(one);
        }
        moving.change_address()?;
        ken.expect_accepted(&last.expect("three were sent")).await?;
    }
    shows_once(fra, &sent).await?;
    for id in &sent {
        ken.expect_receipt(*id, "fra/ncb", "DELIVERED").await?;
    }
    assert_eq!(
        (since(ken).await?, since(fra).await?),
        before,
        "a connection was lost by a change of address"
    );
    net.stop().await;
    Ok(())
}

/// Agencies that come back at once, and notices on their way to all of them.
const CROWD: usize = 50;
const TO_ALL: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn g04_g05_fifty_agencies_come_back_after_the_broker_was_killed_and_each_shows_every_notice_once()
-> Outcome {
    let names: Vec<String> = (0..CROWD - 1).map(|number| format!("fra/unit-{number:02}")).collect();
    let builder = Network::builder().agency("ken/ncb").agency("fra/ncb");
    let net =
        names.iter().skip(1).fold(builder, |builder, name| builder.agency(name.as_str())).start().await?;
    let ken = net.agency("ken/ncb");
    let crowd: Vec<Agency<'_>> = std::iter::once("fra/ncb")
        .chain(names.iter().skip(1).map(String::as_str))
        .map(|name| net.agency(name))
        .collect();
    assert_eq!(crowd.len() + 1, CROWD);
    let to_all = || names.iter().skip(1).fold(to_france(), |notice, name| notice.recipient(name));
    let mut sent = BTreeSet::new();
    for kill in [false, true, false] {
        for _ in 0..TO_ALL / 2 {
            sent.insert(ken.send(to_all()).await?.id());
        }
        if kill {
            net.broker().kill_and_restart().await?;
        }
    }
    for agency in &crowd {
        agency.expect_connected().await?;
    }
    for agency in &crowd {
        shows_once(*agency, &sent).await?;
    }
    let status = until("every receipt", DEADLINE * 2, async || {
        let mut missing = 0;
        for id in &sent {
            let status = ken.status_of(*id).await.map_err(|error| error.to_string())?;
            missing += status.recipients.iter().filter(|one| one.state != "DELIVERED").count();
        }
        if missing == 0 { Ok(net.broker().status().await) } else { Err(format!("{missing} are missing")) }
    });
    assert_eq!(status.await??.sessions, CROWD, "more connections than agencies");
    net.stop().await;
    Ok(())
}

/// More than the 5 minutes that a notice may be dated ahead of the broker's clock.
const TEN_MINUTES: Duration = Duration::from_secs(10 * 60);
/// Beyond the end of every directory.
const YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);

#[tokio::test(flavor = "multi_thread")]
async fn g12_an_agency_whose_clock_jumps_is_told_so_and_goes_on_when_it_is_set_right() -> Outcome {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").start().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let mut sent = BTreeSet::from([ken.send(to_france()).await?.id()]);
    shows_once(fra, &sent).await?;

    // The originator's clock goes ahead: what it dates so is refused with the reason, and the way to mend it.
    ken.set_clock_ahead(TEN_MINUTES)?;
    let ahead = ken.send(to_france()).await?;
    let refused = until("the refusal", DEADLINE, async || match ken.status_of(&ahead).await {
        Ok(status) if status.state == "REFUSED" => Ok(status.reason.unwrap_or_default()),
        Ok(status) => Err(status.state),
        Err(error) => Err(error.to_string()),
    })
    .await?;
    assert!(refused.contains("set the clock and seal again"), "{refused}");
    ken.set_clock_ahead(Duration::ZERO)?;
    sent.insert(ken.send(to_france()).await?.id());
    shows_once(fra, &sent).await?;

    // The recipient's goes beyond its directory: it shows nothing by what it takes to be a stale directory, nor gives
    // anything up, and when the clock is right again it goes on where it was.
    fra.set_clock_ahead(YEAR)?;
    let waiting = ken.send(to_france()).await?;
    ken.expect_accepted(&waiting).await?;
    let stale = until("the stale directory", DEADLINE, async || {
        let status = fra.client().map_err(|error| error.to_string())?.status().await;
        status.map_err(|error| error.to_string())?.directory.stale.ok_or_else(|| "fresh".to_owned())
    })
    .await?;
    assert!(stale.contains("expired") || stale.contains("clock"), "{stale}");
    assert_eq!(fra.inbox().await?.len(), sent.len(), "a notice was shown by a stale directory");
    fra.set_clock_ahead(Duration::ZERO)?;
    sent.insert(waiting.id());
    shows_once(fra, &sent).await?;
    ken.expect_receipt(&waiting, "fra/ncb", "DELIVERED").await?;
    net.stop().await;
    Ok(())
}
