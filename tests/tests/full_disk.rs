//! G4 on a disk that runs full, and on one that fails: the node says so and ends, and what it promised it keeps.

use std::collections::BTreeSet;
use std::error::Error;

use valise_proto::id::NoticeId;
use valise_tests::network::{Room, SmallDisk};
use valise_tests::{AgencySpec, Network, notices};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Room for a few of the notices of these tests, and for many more than all of them.
const SMALL_KIB: u32 = 6 * 1024;
const AMPLE_KIB: u32 = 256 * 1024;
/// Notices sent, and the KiB of each.
const NOTICES: usize = 40;
const NOTICE_KIB: usize = 250;

fn bulky() -> notices::NoticeBuilder {
    notices::deportation("KEN", "FRA").of("FRA").bulky(NOTICE_KIB)
}

/// A test that needs a disk of its own looks at nothing where none is to be had.
#[allow(clippy::unnecessary_wraps, reason = "it is what the test ends with")]
fn left_out() -> Outcome {
    println!("this machine lets no user mount a file system: this test looked at nothing");
    Ok(())
}

/// How many of Kenya's notices are in this state.
async fn in_state(net: &Network, sent: &BTreeSet<NoticeId>, state: &str) -> Outcome<usize> {
    let mut count = 0;
    for id in sent {
        count += usize::from(net.agency("ken/ncb").status_of(*id).await?.state == state);
    }
    Ok(count)
}

/// The broker runs out of room while Kenya sends, says so, and loses nothing it accepted; nor does Kenya.
async fn a_broker_without_room(net: &Network, more_room: impl AsyncFnOnce() -> Outcome) -> Outcome {
    let (broker, ken, fra) = (net.broker(), net.agency("ken/ncb"), net.agency("fra/ncb"));
    let mut sent = BTreeSet::new();
    for _ in 0..NOTICES {
        sent.insert(ken.send(bulky()).await?.id());
    }
    let end = broker.expect_end().await?;
    assert!(end.contains("exit status: 1"), "{end}");
    assert!(end.contains("see to the disk and restart the broker"), "it is not told what to do: {end}");
    assert!(!end.contains("panicked"), "{end}");
    let accepted = in_state(net, &sent, "ACCEPTED").await?;
    assert_eq!(accepted + in_state(net, &sent, "QUEUED").await?, NOTICES, "something was refused for good");
    assert!(accepted < NOTICES, "there was room for everything");

    // Without more room it may start or not, and takes what there is room for.
    drop(broker.start().await);
    more_room().await?;
    broker.kill().await;
    broker.start().await?;
    fra.start().await?;
    for id in &sent {
        ken.expect_accepted(*id).await?;
        fra.expect_notice(*id).await?;
    }
    let inbox = fra.inbox().await?;
    let shown: BTreeSet<_> = inbox.iter().map(|entry| entry.notice_id).collect();
    assert_eq!((inbox.len(), shown), (NOTICES, sent), "each once");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g04_a_broker_on_a_full_disk_says_so_and_goes_on_when_there_is_room() -> Outcome {
    let net = Network::builder()
        .agency("ken/ncb")
        .agency(AgencySpec::new("fra/ncb").not_running())
        .broker_as_process()
        // What is left when the reserve is not enough.
        .broker_config("[limits]\ndisk_reserve_bytes = 0\n")
        .start()
        .await?;
    net.broker().stop().await?;
    let Some(disk) = SmallDisk::mount(&net.broker().data(), SMALL_KIB).await? else {
        return left_out();
    };
    net.broker().set_room(Room::Disk(disk.clone()));
    net.broker().start().await?;
    a_broker_without_room(&net, async || Ok(disk.resize(AMPLE_KIB).await?)).await?;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g04_a_broker_on_a_disk_that_fails_says_so_and_goes_on_after_a_restart() -> Outcome {
    let net = Network::builder()
        .agency("ken/ncb")
        .agency(AgencySpec::new("fra/ncb").not_running())
        .broker_as_process()
        .start()
        .await?;
    net.broker().stop().await?;
    net.broker().set_room(Room::FilesUpTo(SMALL_KIB));
    net.broker().start().await?;
    let repaired = async || -> Outcome {
        net.broker().set_room(Room::Plenty);
        Ok(())
    };
    a_broker_without_room(&net, repaired).await?;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g04_g05_an_agent_on_a_full_disk_says_so_keeps_what_it_queued_and_shows_all_once_afterwards()
-> Outcome {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").agencies_as_processes().start().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let mut disks = Vec::new();
    for agency in [ken, fra] {
        agency.stop().await?;
        let Some(disk) = SmallDisk::mount(&agency.folder()?.store(), SMALL_KIB).await? else {
            return left_out();
        };
        agency.set_room(Room::Disk(disk.clone()))?;
        disks.push(disk);
    }
    // The originator's disk runs full while it composes: what it said was queued is queued.
    ken.start().await?;
    let mut sent = BTreeSet::new();
    let refused = loop {
        assert!(sent.len() < NOTICES, "there was room for everything");
        match ken.send(bulky()).await {
            Ok(one) => sent.insert(one.id()),
            Err(refused) => break refused,
        };
    };
    assert!(!sent.is_empty(), "{refused}");
    let end = ken.expect_end().await?;
    assert!(end.contains("space and health, then start the node again"), "it is not told what to do: {end}");
    assert!(!end.contains("panicked"), "{end}");
    let [of_ken, of_fra] = disks.as_slice() else { return Err("two disks".into()) };
    of_ken.resize(AMPLE_KIB).await?;
    ken.start().await?;
    for id in &sent {
        ken.expect_accepted(*id).await?;
    }
    // The recipient's runs full while it receives: what it did not keep it did not acknowledge.
    while sent.len() < NOTICES {
        sent.insert(ken.send(bulky()).await?.id());
    }
    fra.start().await?;
    let end = fra.expect_end().await?;
    assert!(end.contains("space and health, then start the node again"), "it is not told what to do: {end}");
    assert!(!end.contains("panicked"), "{end}");
    of_fra.resize(AMPLE_KIB).await?;
    fra.start().await?;
    for id in &sent {
        fra.expect_notice(*id).await?;
        ken.expect_receipt(*id, "fra/ncb", "DELIVERED").await?;
    }
    let inbox = fra.inbox().await?;
    let shown: BTreeSet<_> = inbox.iter().map(|entry| entry.notice_id).collect();
    assert_eq!((inbox.len(), shown), (sent.len(), sent), "each once");
    net.stop().await;
    Ok(())
}
