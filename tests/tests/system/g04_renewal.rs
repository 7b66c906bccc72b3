//! Renewal and rotation from end to end: the request goes through the broker's spool to the authority, certificate and
//! directory come back by the broker, and notices go on meanwhile.

#![allow(clippy::expect_used, reason = "tests stop at the first surprise")]

use std::error::Error;
use std::time::Duration;

use valise_proto::id::Timestamp;
use valise_tests::network::Sent;
use valise_tests::wait::until;
use valise_tests::{Agency, DEADLINE, Network, notices};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Certificates begin five minutes early, so of this one more than two thirds are over at once.
const WANING: Duration = Duration::from_secs(140);

async fn spooled(net: &Network, wanted: usize) -> Outcome {
    until("the requests in the broker's spool", DEADLINE, async || {
        let listed = net.broker().run(&["spool", "list", "--json"]).await;
        let listed = listed.map_err(|error| error.to_string())?;
        let count = listed.stdout.matches("/ncb\"").count();
        if count >= wanted { Ok(()) } else { Err(format!("{}{}", listed.stdout, listed.stderr)) }
    })
    .await?;
    Ok(())
}

/// What an operator carries, and what an administrator does with it.
async fn carry_to_the_authority(net: &Network) -> Outcome {
    let carried = net.folder().join("carried").display().to_string();
    let exported = net.broker().run(&["spool", "export", "--out", &carried]).await?;
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let published = net.broker().publication().display().to_string();
    let renewed = net.ca(&["renew", "--spool", &carried, "--out", &published]).await?;
    assert_eq!(renewed.code, Some(0), "{renewed:?}");
    net.publish().await?;
    Ok(())
}

async fn certificate_end(agency: &Agency<'_>) -> Outcome<Timestamp> {
    Ok(agency.client()?.status().await?.certificate.not_after)
}

/// Waits until the agency is connected by a certificate that lasts longer, and its request is answered.
async fn expect_renewed(agency: &Agency<'_>, before: Timestamp) -> Outcome {
    until("the new certificate", DEADLINE, async || {
        let status = agency.client().map_err(|error| error.to_string())?.status().await;
        let status = status.map_err(|error| error.to_string())?;
        let renewed = status.certificate.not_after > before.plus(Duration::from_secs(24 * 60 * 60));
        if renewed && status.renewal.is_none() && status.connection.connected {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g04_g05_a_renewal_through_the_spool_swaps_the_certificate_and_no_notice_is_lost() -> Outcome {
    let builder = Network::builder().agency("ken/ncb").agency("fra/ncb");
    let net = builder.first_certificates_for(WANING).start().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let before = certificate_end(&ken).await?;
    spooled(&net, 2).await?;

    let mut sent: Vec<Sent> = Vec::new();
    for _ in 0..20 {
        sent.push(ken.send(notices::deportation("KEN", "FRA").of("FRA")).await?);
    }
    carry_to_the_authority(&net).await?;
    for _ in 0..20 {
        sent.push(ken.send(notices::deportation("KEN", "FRA").of("FRA")).await?);
    }
    for agency in [&ken, &fra] {
        expect_renewed(agency, before).await?;
    }
    for notice in &sent {
        ken.expect_accepted(notice).await?;
        fra.expect_notice(notice).await?;
    }
    assert_eq!(fra.inbox().await?.len(), sent.len(), "a notice is shown twice");
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g01_g04_all_keys_of_an_agency_are_exchanged_and_what_was_on_its_way_opens() -> Outcome {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").start().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let early = ken.send(notices::deportation("KEN", "FRA").of("FRA")).await?;
    fra.expect_notice(&early).await?;
    let rotated = fra.run(&["keys", "rotate", "--json"]).await?.json()?;
    assert!(rotated["renewal"]["fingerprint"].is_string(), "{rotated}");
    spooled(&net, 1).await?;
    // Sealed to the former key, and fetched once the next one is in use.
    fra.partition()?;
    let in_flight = ken.send(notices::deportation("KEN", "FRA").of("FRA")).await?;
    ken.expect_accepted(&in_flight).await?;
    carry_to_the_authority(&net).await?;
    fra.reconnect()?;
    until("the use of the new keys", DEADLINE, async || {
        let keys = fra.client().map_err(|error| error.to_string())?.keys().await;
        let keys = keys.map_err(|error| error.to_string())?;
        let states = |state: &str| keys.iter().filter(|key| key.state == state).count();
        if states("CURRENT") == 3 && states("FORMER") == 1 && states("NEXT") == 0 {
            Ok(())
        } else {
            Err(format!("{keys:?}"))
        }
    })
    .await?;
    let late = ken.send(notices::deportation("KEN", "FRA").of("FRA")).await?;
    for notice in [&early, &in_flight, &late] {
        fra.expect_notice(notice).await?;
        fra.read(notice, "Officer A. Example").await?;
    }
    // Signed with the new key, and believed.
    let back = fra.send(notices::deportation("FRA", "KEN").of("KEN")).await?;
    ken.expect_notice(&back).await?;
    ken.read(&back, "Officer B. Example").await?;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g04_kills_on_the_way_lose_neither_request_nor_certificate_nor_notice() -> Outcome {
    let builder = Network::builder().agency("ken/ncb").agency("fra/ncb");
    let builder = builder.broker_as_process().agencies_as_processes();
    let net = builder.first_certificates_for(WANING).start().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let before = certificate_end(&fra).await?;
    spooled(&net, 2).await?;
    net.broker().kill_and_restart().await?;
    spooled(&net, 2).await?;
    fra.kill().await?;
    let waiting = ken.send(notices::deportation("KEN", "FRA").of("FRA")).await?;
    carry_to_the_authority(&net).await?;
    fra.start().await?;
    expect_renewed(&fra, before).await?;
    fra.kill().await?;
    fra.start().await?;
    expect_renewed(&fra, before).await?;
    expect_renewed(&ken, before).await?;
    fra.expect_notice(&waiting).await?;
    assert_eq!(fra.inbox().await?.len(), 1, "a notice is shown twice");
    net.stop().await;
    Ok(())
}
