//! The library as people use it who test their own integration: what a network does when it is told to, what its
//! expectations say when they are not met, and that it leaves nothing behind.

#![allow(clippy::expect_used, reason = "tests stop at the first surprise")]

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use valise_agent::api::client::ClientError;
use valise_proto::id::NoticeId;
use valise_proto::label::Classification;
use valise_tests::network::is_unknown;
use valise_tests::raw::Impostor;
use valise_tests::wait::until;
use valise_tests::{AgencySpec, DEADLINE, Network, NetworkBuilder, NetworkError, notices};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Enough for what happens at once, and soon over for what does not happen.
const SHORT: Duration = Duration::from_millis(300);

fn of_three() -> NetworkBuilder {
    Network::builder().agency("ken/ncb").agency("fra/ncb").agency("tur/border")
}

fn to_france() -> notices::NoticeBuilder {
    notices::deportation("KEN", "FRA").of("FRA")
}

fn to_turkey() -> notices::NoticeBuilder {
    notices::deportation("KEN", "TUR").of("TUR")
}

#[track_caller]
fn told(sentence: &str, parts: &[&str]) {
    for part in parts {
        assert!(sentence.contains(part), "`{part}` is not told: {sentence}");
    }
}

/// Everything that an agency's node said when it refused to send.
async fn not_sent(net: &Network, from: &str, notice: impl Into<Value>) -> String {
    let refused = net.agency(from).send(notice).await;
    assert!(
        matches!(refused, Err(NetworkError::Client(ClientError::Refused(_)))),
        "not refused: {refused:?}"
    );
    format!("{refused:?}")
}

/// A notice from `ken/ncb` goes to `agency` and is answered with a receipt.
async fn goes_through(net: &Network, agency: &str, notice: impl Into<Value>) -> Outcome<NoticeId> {
    let sent = net.agency("ken/ncb").send(notice).await?;
    net.agency(agency).expect_notice(&sent).await?;
    net.agency("ken/ncb").expect_receipt(&sent, agency, "DELIVERED").await?;
    Ok(sent.id())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_holds_everything_back_and_its_end_loses_nothing() -> Outcome {
    let net = of_three().start().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    fra.partition()?;
    told(&fra.expect_disconnected().await?, &["nothing was heard"]);
    let there = ken.send(to_france()).await?;
    ken.expect_accepted(&there).await?;
    let back = fra.send(notices::deportation("FRA", "KEN").of("KEN")).await?;
    // What the others do is not held back.
    goes_through(&net, "tur/border", to_turkey()).await?;
    assert!(fra.inbox().await?.is_empty(), "something passed a partition");
    assert_eq!(fra.status_of(&back).await?.state, "QUEUED");
    fra.reconnect()?;
    fra.expect_connected().await?;
    fra.expect_notice(&there).await?;
    ken.expect_notice(&back).await?;
    ken.expect_receipt(&there, "fra/ncb", "DELIVERED").await?;
    fra.expect_receipt(&back, "ken/ncb", "DELIVERED").await?;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_as_a_process_hears_signals_and_ends_in_order() -> Outcome {
    // The files are read again when the broker is told so, and within this test not otherwise.
    let network = of_three().agencies_as_processes().broker_as_process();
    let net = network.broker_config("reload_seconds = 3600").start().await?;
    let (broker, fra) = (net.broker(), net.agency("fra/ncb"));
    let here = std::process::id();
    let pid = broker.process_id().await.expect("the broker is a process");
    assert_ne!(pid, here);
    let inside = fra.with_node(async |_| ()).await.expect_err("an agency runs inside this process");
    told(&inside.to_string(), &["fra/ncb does not run inside this process"]);
    let first = goes_through(&net, "fra/ncb", to_france()).await?;

    // SIGHUP, by which a lowered clearance comes into force everywhere.
    let version = net.clear("tur/border", Classification::Restricted).await?;
    assert_eq!(broker.status().await?.directory.version, version);
    net.agency("ken/ncb").expect_directory(version).await?;
    told(
        &not_sent(&net, "ken/ncb", to_turkey().label("SECRET")).await,
        &["tur/border may access no portion"],
    );

    // SIGTERM, after which the exit code is 0: anything else would be an error.
    broker.stop().await?;
    assert_eq!((broker.process_id().await, broker.listen_addr().await), (None, None));
    fra.stop().await?;
    let stopped = fra.inbox().await.expect_err("a stopped agency answers");
    told(&stopped.to_string(), &["the node is not running", "valise-agent run"]);
    broker.start().await?;
    fra.start().await?;
    assert_ne!(broker.process_id().await.expect("the broker is a process"), pid);
    assert_eq!(fra.inbox().await?.first().map(|entry| entry.notice_id), Some(first));
    goes_through(&net, "fra/ncb", to_france()).await?;
    for agency in ["ken/ncb", "fra/ncb", "tur/border"] {
        net.agency(agency).stop().await?;
    }
    broker.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agency_that_was_stopped_or_killed_has_what_it_had_and_gets_what_it_missed() -> Outcome {
    let net = of_three().start().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let mut all = vec![goes_through(&net, "fra/ncb", to_france()).await?];
    fra.read(*all.first().expect("a notice"), "Officer A. Example").await?;
    for kill in [false, true] {
        let again = fra.start().await.expect_err("it runs twice");
        assert_eq!(again.to_string(), "fra/ncb runs already");
        if kill {
            fra.kill().await?;
        } else {
            fra.stop().await?;
        }
        let missed = ken.send(to_france()).await?;
        ken.expect_accepted(&missed).await?;
        fra.start().await?;
        fra.expect_notice(&missed).await?;
        all.push(missed.id());
    }
    let mut inbox = fra.inbox().await?;
    inbox.reverse();
    assert_eq!(inbox.iter().map(|entry| entry.notice_id).collect::<Vec<_>>(), all);
    let read: Vec<bool> = inbox.iter().map(|entry| entry.read.is_some()).collect();
    assert_eq!(read, [true, false, false], "who has read what was forgotten");
    // Stopping what does not run is no error.
    fra.stop().await?;
    fra.stop().await?;
    fra.kill().await?;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agency_that_the_network_does_not_have_is_told_by_its_name() -> Outcome {
    let net = Network::builder().agency(AgencySpec::new("ken/ncb").not_running()).start().await?;
    let sent = "01890000-0000-7000-8000-000000000000".parse::<NoticeId>()?;
    let nobody = net.agency("fra/ncb");
    let refused = [
        nobody.id().err(),
        nobody.folder().err(),
        nobody.client().err(),
        nobody.with_node(async |_| ()).await.err(),
        nobody.send(to_france()).await.err(),
        nobody.status_of(sent).await.err(),
        nobody.expect_accepted(sent).await.err(),
        nobody.expect_receipt(sent, "ken/ncb", "READ").await.err(),
        nobody.expect_notice(sent).await.err(),
        nobody.inbox().await.err(),
        nobody.read(sent, "Officer A. Example").await.err(),
        nobody.expect_connected().await.err(),
        nobody.expect_disconnected().await.err(),
        nobody.expect_disconnected_because("").await.err(),
        nobody.expect_directory(1).await.err(),
        nobody.start().await.err(),
        nobody.stop().await.err(),
        nobody.kill().await.err(),
        nobody.partition().err(),
        nobody.reconnect().err(),
        nobody.files().err(),
        net.clear("fra/ncb", Classification::Secret).await.err(),
        net.suspend("fra/ncb").await.err(),
        net.reinstate("fra/ncb").await.err(),
        net.revoke("fra/ncb").await.err(),
    ];
    for (call, error) in refused.into_iter().enumerate() {
        let error = error.unwrap_or_else(|| panic!("call {call} found an agency that is not there"));
        assert!(matches!(&error, NetworkError::NoSuchAgency(name) if name == "fra/ncb"), "{call}: {error:?}");
        assert_eq!(error.to_string(), "this network has no agency `fra/ncb`; add it to the builder");
    }
    let misnamed = Network::builder().agency("France").start().await.expect_err("an agency without a State");
    assert!(matches!(misnamed, NetworkError::Value(_)), "{misnamed:?}");
    told(&misnamed.to_string(), &["France"]);
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_counts_at_both_ends_until_it_is_ended() -> Outcome {
    let net = of_three().start().await?;
    let (ken, tur) = (net.agency("ken/ncb"), net.agency("tur/border"));
    let version = net.suspend("tur/border").await?;
    tur.expect_disconnected_because("SUSPENDED").await?;
    ken.expect_directory(version).await?;
    let suspended = format!("tur/border, is suspended in directory version {version}");
    told(&not_sent(&net, "ken/ncb", to_turkey()).await, &[&suspended]);
    goes_through(&net, "fra/ncb", to_france()).await?;

    let version = net.reinstate("tur/border").await?;
    tur.expect_connected().await?;
    tur.expect_directory(version).await?;
    ken.expect_directory(version).await?;
    goes_through(&net, "tur/border", to_turkey()).await?;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clearance_counts_at_both_ends_as_soon_as_it_is_changed() -> Outcome {
    let net = of_three().start().await?;
    let (ken, tur) = (net.agency("ken/ncb"), net.agency("tur/border"));
    let secret_person = || to_turkey().person_label("SECRET");
    let held = async |id: NoticeId| {
        let portions = tur.expect_notice(id).await?.portions;
        Ok::<_, NetworkError>(portions.iter().filter(|portion| portion.held).count())
    };
    assert_eq!(held(goes_through(&net, "tur/border", secret_person()).await?).await?, 2);

    let version = net.clear("tur/border", Classification::Restricted).await?;
    ken.expect_directory(version).await?;
    tur.expect_directory(version).await?;
    assert_eq!(held(goes_through(&net, "tur/border", secret_person()).await?).await?, 1);
    told(
        &not_sent(&net, "ken/ncb", to_turkey().label("SECRET")).await,
        &["tur/border may access no portion"],
    );
    // What it may see bounds what it may originate.
    let own = notices::deportation("TUR", "KEN").of("KEN").label("SECRET");
    told(&not_sent(&net, "tur/border", own).await, &["tur/border may not originate SECRET portions"]);

    let version = net.clear("tur/border", Classification::Secret).await?;
    ken.expect_directory(version).await?;
    assert_eq!(held(goes_through(&net, "tur/border", secret_person()).await?).await?, 2);
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_agency_is_out_for_everyone() -> Outcome {
    let net = of_three().start().await?;
    let (ken, tur) = (net.agency("ken/ncb"), net.agency("tur/border"));
    goes_through(&net, "tur/border", to_turkey()).await?;
    let version = net.revoke("tur/border").await?;
    // Its certificate is refused, whatever it tries.
    tur.expect_disconnected_because("refused by the peer").await?;
    ken.expect_directory(version).await?;
    told(&not_sent(&net, "ken/ncb", to_turkey()).await, &["TUR"]);
    let named = to_france().recipient("tur/border");
    told(&not_sent(&net, "ken/ncb", named).await, &["tur/border is REVOKED"]);
    goes_through(&net, "fra/ncb", to_france()).await?;
    for change in [net.suspend("tur/border").await, net.reinstate("tur/border").await] {
        told(&change.expect_err("it came back").to_string(), &["tur/border was revoked at"]);
    }
    assert_eq!(net.broker().status().await?.directory.version, version, "a refused change was published");
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expectation_that_is_not_met_says_what_was_seen_last() -> Outcome {
    let net = of_three().patience(SHORT).start().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let version = net.directory()?.version();
    let never = "01890000-0000-7000-8000-000000000000".parse::<NoticeId>()?;
    ken.partition()?;
    let sent = ken.send(to_france()).await?;
    let id = sent.id();
    let later = format!("directory version {} at", version + 1);
    let failures: [(Result<(), NetworkError>, [&str; 2]); 8] = [
        (fra.expect_notice(never).await.map(drop), ["the arrival of", "there is no notice"]),
        (ken.expect_notice(&sent).await.map(drop), ["at ken/ncb", "it was sent from here"]),
        (ken.expect_accepted(&sent).await.map(drop), ["the acceptance of", "QUEUED"]),
        (ken.expect_receipt(&sent, "fra/ncb", "READ").await, ["a READ receipt from fra/ncb", "[]"]),
        (fra.expect_disconnected().await.map(drop), ["fra/ncb being disconnected", "connected: true"]),
        (
            fra.expect_disconnected_because("rain").await.map(drop),
            ["disconnected because `rain`", "connected: true"],
        ),
        (fra.expect_directory(version + 1).await, [&later, "version"]),
        (net.broker().reload(version + 1).await, ["at the broker", "version"]),
    ];
    for (failure, parts) in failures {
        let error = failure.expect_err("it was met");
        assert!(matches!(error, NetworkError::NotInTime(_)), "{error:?}");
        told(&error.to_string(), &["did not happen within 300 ms; last seen:"]);
        told(&error.to_string(), &parts);
    }
    fra.stop().await?;
    let error = fra.expect_connected().await.expect_err("it is stopped");
    told(&error.to_string(), &["fra/ncb being connected", "the node is not running"]);
    // None of this has changed anything.
    fra.start().await?;
    ken.reconnect()?;
    until("the arrival", DEADLINE, async || fra.expect_notice(id).await).await?;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_networks_side_by_side_do_not_touch_each_other() -> Outcome {
    let (one, other) = tokio::try_join!(of_three().start(), of_three().start())?;
    assert_ne!(one.folder(), other.folder());
    let before = other.broker().status().await?;
    let id = goes_through(&one, "fra/ncb", to_france()).await?;
    one.suspend("tur/border").await?;
    one.agency("tur/border").expect_disconnected_because("SUSPENDED").await?;
    one.agency("fra/ncb").partition()?;

    let elsewhere = other.agency("fra/ncb").client()?.notice(&id).await.expect_err("it came to both");
    assert!(is_unknown(&elsewhere.into()));
    other.agency("tur/border").expect_connected().await?;
    let after = other.broker().status().await?;
    assert_eq!((after.log_entries, &after.directory), (before.log_entries, &before.directory));
    goes_through(&other, "fra/ncb", to_france()).await?;
    goes_through(&other, "tur/border", to_turkey()).await?;
    // The names are the same, but nobody of the one has any business at the other.
    let stranger = Impostor::of(&one.agency("ken/ncb").folder()?)?;
    let broker = other.broker().listen_addr().await.expect("the broker listens");
    let refused = stranger.dial(broker).await.expect_err("another authority's broker was believed");
    told(&refused.to_string(), &["issued by an authority this node does not trust"]);
    one.stop().await;
    goes_through(&other, "fra/ncb", to_france()).await?;
    other.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_dropped_leaves_nothing_behind() -> Outcome {
    let net = of_three().start().await?;
    goes_through(&net, "fra/ncb", to_france()).await?;
    let folder = net.folder().to_owned();
    assert!(folder.join("broker").is_dir() && !net.agency("fra/ncb").files()?.is_empty());
    net.stop().await;
    assert!(folder.is_dir(), "the folder went before the network");
    drop(net);
    assert!(!folder.exists(), "{} is still there", folder.display());

    // A test that fails in the middle stops nobody. An agency goes with its network all the same.
    let net = of_three().start().await?;
    let (folder, socket) = (net.folder().to_owned(), net.agency("fra/ncb").folder()?.socket());
    let socket = socket.to_str().expect("a plain path").to_owned();
    let listens = || std::fs::read_to_string("/proc/net/unix").map(|sockets| sockets.contains(&socket));
    assert!(listens()?, "the agency's socket is not where it is looked for");
    drop(net);
    assert!(!folder.exists(), "{} is still there", folder.display());
    until("the end of the agency", DEADLINE, async || match listens() {
        Ok(true) => Err("it listens".to_owned()),
        Ok(false) => Ok(()),
        Err(error) => Err(error.to_string()),
    })
    .await?;

    // So does a process.
    let net = of_three().agencies_as_processes().broker_as_process().start().await?;
    let folder = net.folder().to_owned();
    let pid = net.broker().process_id().await.expect("the broker is a process");
    let process = Path::new("/proc").join(pid.to_string());
    assert!(process.exists());
    drop(net);
    assert!(!folder.exists(), "{} is still there", folder.display());
    until("the end of the broker's process", DEADLINE, async || {
        if process.exists() { Err("it runs") } else { Ok(()) }
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn the_command_and_the_library_take_turns_at_the_authority() -> Outcome {
    let net = Network::builder().agency("fra/ncb").agency("ken/ncb").start().await?;
    let listed = net.ca(&["list", "--json"]).await?.json()?;
    assert_eq!(listed["members"].as_array().map(Vec::len), Some(3), "{listed}");
    let suspended = net.ca(&["suspend", "ken/ncb", "--json"]).await?;
    assert_eq!(suspended.code, Some(0), "{suspended:?}");
    let version = net.publish().await?;
    net.agency("fra/ncb").expect_directory(version).await?;
    let ken = net.directory()?.agency(net.agency("ken/ncb").id()?).map(|entry| entry.status.is_active());
    assert_eq!(ken, Some(false));
    let again = net.ca(&["suspend", "ken/ncb"]).await?;
    assert_eq!(again.code, Some(1), "{again:?}");
    net.stop().await;
    Ok(())
}
