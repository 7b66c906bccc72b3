//! An agency that is taken out is out within seconds, is told why, and leaves what waits for it where it is.
//!
//! Everybody is a process, the administrator types commands, and nobody tells the broker: the files change, as they do
//! where they are copied by hand.

use std::error::Error;
use std::time::{Duration, Instant};

use valise_agent::api::types::ExclusionFacts;
use valise_tests::wait::until;
use valise_tests::{Agency, DEADLINE, Network, notices};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// How soon a live connection ends once the authority's decision lies in the broker's folder.
const OUT_WITHIN: Duration = Duration::from_secs(10);

async fn exchange() -> Outcome<Network> {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").agency("tur/border");
    Ok(net.agencies_as_processes().broker_as_process().start().await?)
}

/// Runs a command that publishes, and returns how long after its end `agency` has lost its connection, and what its
/// status then says.
async fn taken_out(
    net: &Network,
    agency: Agency<'_>,
    command: &[&str],
) -> Outcome<(Duration, ExclusionFacts)> {
    let out = net.broker().publication().display().to_string();
    net.ca(&[command, &["--out", &out, "--json"]].concat()).await?.json()?;
    let began = Instant::now();
    let client = agency.client()?;
    let told = until("the end of its connection", OUT_WITHIN + DEADLINE, async || {
        let status = client.status().await.map_err(|error| error.to_string())?;
        let connection = status.connection;
        if connection.connected { Err(format!("{connection:?}")) } else { Ok(status.excluded) }
    })
    .await?;
    Ok((began.elapsed(), told.ok_or("its status does not say that it was taken out")?))
}

/// A notice of each of the others still arrives at the other.
async fn others_go_on(net: &Network) -> Outcome {
    let (fra, tur) = (net.agency("fra/ncb"), net.agency("tur/border"));
    let sent = fra.send(notices::deportation("FRA", "TUR").of("TUR")).await?;
    tur.expect_notice(&sent).await?;
    let sent = tur.send(notices::deportation("TUR", "FRA").of("FRA")).await?;
    fra.expect_notice(&sent).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g01_emergency_takes_a_live_agency_out_within_ten_seconds_and_tells_it_why() -> Outcome {
    let net = exchange().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let before = ken.send(notices::deportation("KEN", "FRA").of("FRA")).await?;
    fra.expect_notice(&before).await?;
    let command = ["emergency", "ken/ncb", "--reason", "key-compromise"];
    let (after, told) = taken_out(&net, ken, &command).await?;
    assert!(after <= OUT_WITHIN, "it took {after:?}");
    assert!(!told.reason.is_empty() && !told.advice.is_empty(), "{told:?}");
    // An operator reads it, and the node does not get back in.
    let shown = ken.run(&["status"]).await?;
    assert!(shown.stdout.contains(&told.code), "{shown:?}");
    assert_eq!(shown.code, Some(3), "it does not say that this wants attention: {shown:?}");
    others_go_on(&net).await?;
    assert!(!ken.client()?.status().await?.connection.connected);
    // What it sends now stays where it is.
    let sent = ken.send(notices::deportation("KEN", "FRA").of("FRA")).await;
    if let Ok(sent) = sent {
        assert_ne!(ken.status_of(&sent).await?.state, "ACCEPTED");
        assert!(fra.inbox().await?.iter().all(|entry| entry.notice_id != sent.id()));
    }
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g01_revoking_a_member_ends_its_connection_within_ten_seconds() -> Outcome {
    let net = exchange().await?;
    let ken = net.agency("ken/ncb");
    let revoked = net.ca(&["revoke", "ken/ncb", "--reason", "cessation-of-operation", "--json"]).await?;
    revoked.json()?;
    let (after, told) = taken_out(&net, ken, &["publish"]).await?;
    assert!(after <= OUT_WITHIN, "it took {after:?}");
    assert_eq!(told.code, "REVOKED", "{told:?}");
    others_go_on(&net).await?;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g01_what_waits_for_a_suspended_agency_is_kept_until_it_is_reinstated() -> Outcome {
    let net = exchange().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    ken.stop().await?;
    let waiting = fra.send(notices::deportation("FRA", "KEN").of("KEN")).await?;
    fra.expect_accepted(&waiting).await?;
    net.ca(&["suspend", "ken/ncb", "--json"]).await?.json()?;
    let version = net.publish().await?;
    fra.expect_directory(version).await?;
    ken.start().await?;
    let reason = ken.expect_disconnected_because("suspended").await?;
    let told = ken.client()?.status().await?.excluded.ok_or("its status does not say so")?;
    assert_eq!(told.code, "SUSPENDED", "{reason}");
    // To it nothing new is sent meanwhile, and whoever tries is told why.
    let refused = fra.send(notices::deportation("FRA", "KEN").of("KEN")).await;
    assert!(refused.is_err() && format!("{refused:?}").contains("is suspended"), "{refused:?}");
    net.ca(&["reinstate", "ken/ncb", "--json"]).await?.json()?;
    net.publish().await?;
    // The node asks again by itself only after a while.
    ken.stop().await?;
    ken.start().await?;
    ken.expect_notice(&waiting).await?;
    net.stop().await;
    Ok(())
}
