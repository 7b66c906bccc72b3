//! G10: what waits at agents and brokers is seen in time by whoever watches them, in numbers that name nobody.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::time::Duration;

use valise_agent::clock::Clock;
use valise_certs::Validity;
use valise_certs::authority::DIRECTORY_FILE;
use valise_proto::id::Timestamp;
use valise_proto::label::Classification;
use valise_tests::wait::until;
use valise_tests::{AgencySpec, DEADLINE, Network, NetworkError, Scrape, notices};

type Outcome = Result<(), Box<dyn Error>>;

const WATCHED: &str = "metrics_listen = \"127.0.0.1:0\"";

async fn watched() -> Result<Network, Box<dyn Error>> {
    let network = Network::builder().agency("ken/ncb").agency(AgencySpec::new("fra/ncb").not_running());
    Ok(network.broker_config(WATCHED).agency_config(WATCHED).start().await?)
}

/// Waits until a line of an agency's page has this value.
async fn at_agency(net: &Network, agency: &str, line: &str, expected: f64) -> Result<Scrape, Box<dyn Error>> {
    let what = format!("{line} being {expected} at {agency}");
    let page = until(&what, DEADLINE, async || {
        let page = net.agency(agency).scrape("/metrics").await.map_err(|error| error.to_string())?;
        if page.value(line) == Some(expected) { Ok(page) } else { Err(page.text) }
    });
    Ok(page.await?)
}

/// Waits until a line of the broker's page has this value.
async fn at_broker(net: &Network, line: &str, expected: f64) -> Result<Scrape, Box<dyn Error>> {
    let what = format!("{line} being {expected} at the broker");
    let page = until(&what, DEADLINE, async || {
        let page = net.broker().scrape("/metrics").await.map_err(|error| error.to_string())?;
        if page.value(line) == Some(expected) { Ok(page) } else { Err(page.text) }
    });
    Ok(page.await?)
}

/// Every number that a page or a rule names.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let numbers =
        words.filter(|word| word.starts_with("valise_broker_") || word.starts_with("valise_agent_"));
    numbers.map(ToOwned::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_number_that_the_alerts_and_the_pages_name_is_told() -> Outcome {
    let net = watched().await?;
    let told = format!(
        "{}{}",
        net.broker().scrape("/metrics").await?.text,
        net.agency("ken/ncb").scrape("/metrics").await?.text
    );
    let told = named(&told);
    let pages =
        [include_str!("../../../deploy/prometheus/rules.yml"), include_str!("../../../ADMINISTRATION.md")];
    let wanted: BTreeSet<String> = pages.into_iter().flat_map(named).collect();
    assert!(wanted.len() > 10, "the pages name nothing: {wanted:?}");
    let untold: Vec<_> = wanted.difference(&told).collect();
    assert!(untold.is_empty(), "nobody tells {untold:?}");
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g10_what_waits_is_seen_first_at_the_agent_then_at_the_broker_and_falls_when_it_arrives() -> Outcome {
    let net = watched().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    assert_eq!((ken.scrape("/readyz").await?.status, ken.scrape("/healthz").await?.status), (200, 200));

    ken.partition()?;
    ken.expect_disconnected().await?;
    let sent = ken.send(notices::deportation("KEN", "FRA").of("FRA").precedence("FLASH")).await?;
    let page = at_agency(&net, "ken/ncb", "valise_agent_outbox_items{precedence=\"FLASH\"}", 1.0).await?;
    assert_eq!(
        (page.value("valise_agent_connected"), page.value("valise_agent_ready")),
        (Some(0.0), Some(0.0))
    );
    let hindered = ken.scrape("/readyz").await?;
    assert!(hindered.status == 503 && hindered.text.starts_with("connection: "), "{hindered:?}");
    assert_eq!(ken.scrape("/healthz").await?.status, 200, "a restart would not mend the network");

    ken.reconnect()?;
    ken.expect_accepted(&sent).await?;
    let page = at_agency(&net, "ken/ncb", "valise_agent_outbox_items{precedence=\"FLASH\"}", 0.0).await?;
    assert_eq!(page.value("valise_agent_accepted_total"), Some(1.0));
    assert!(page.value("valise_agent_connections_total") >= Some(2.0), "{}", page.text);
    let waiting = "valise_broker_queue_items{agency=\"fra/ncb\",precedence=\"FLASH\"}";
    let page = at_broker(&net, waiting, 1.0).await?;
    assert_eq!(page.value("valise_broker_accept_seconds_count"), Some(1.0));

    fra.start().await?;
    fra.expect_notice(&sent).await?;
    at_broker(&net, waiting, 0.0).await?;
    at_agency(&net, "fra/ncb", "valise_agent_inbox_unread", 1.0).await?;
    fra.read(&sent, "Officer A. Example").await?;
    let page = at_agency(&net, "fra/ncb", "valise_agent_inbox_unread", 0.0).await?;
    assert_eq!(page.value("valise_agent_inbox_notices"), Some(1.0));
    assert!(!page.text.contains(&sent.id().to_string()), "a notice is named: {}", page.text);
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g12_when_the_directory_runs_out_neither_the_broker_nor_an_agent_is_ready() -> Outcome {
    let net = watched().await?;
    let aside = net.folder().join("aside");
    let validity = Validity { directory: Duration::from_secs(60), ..Validity::default() };
    // Signed as if it were almost a minute ago, so that it counts for a few seconds more.
    let published_at = Clock::system().now().millis() - 52_000;
    let published = net.with_authority(|authority| {
        authority.set_validity(validity);
        authority.publish(&aside, Timestamp::from_millis(published_at))
    })?;
    fs::copy(aside.join(DIRECTORY_FILE), net.broker().publication().join(DIRECTORY_FILE))?;
    net.broker().reload(published.version).await?;
    net.agency("ken/ncb").expect_directory(published.version).await?;
    let unready = |answer: Result<Scrape, NetworkError>| {
        let answer = answer.map_err(|error| error.to_string())?;
        let told = answer.text.lines().any(|line| line.starts_with("DIRECTORY: "));
        if answer.status == 503 && told { Ok(()) } else { Err(format!("{answer:?}")) }
    };
    until("a broker that is not ready", DEADLINE, async || unready(net.broker().scrape("/readyz").await))
        .await?;
    let ken = net.agency("ken/ncb");
    until("an agent that is not ready", DEADLINE, async || unready(ken.scrape("/readyz").await)).await?;
    assert_eq!(
        (net.broker().scrape("/healthz").await?.status, ken.scrape("/healthz").await?.status),
        (200, 200)
    );
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g10_a_refusal_is_counted_by_its_code_at_the_broker_and_at_the_agent() -> Outcome {
    let net = watched().await?;
    let ken = net.agency("ken/ncb");
    ken.partition()?;
    ken.expect_disconnected().await?;
    // Sealed for a clearance that is lowered before it is submitted.
    ken.send(notices::deportation("KEN", "FRA").of("FRA").label("SECRET")).await?;
    net.clear("fra/ncb", Classification::Unclassified).await?;
    ken.reconnect()?;
    let code = "{code=\"RECIPIENT_NOT_CLEARED\"}";
    at_agency(&net, "ken/ncb", &format!("valise_agent_refusals_total{code}"), 1.0).await?;
    at_broker(&net, &format!("valise_broker_refusals_total{code}"), 1.0).await?;
    net.stop().await;
    Ok(())
}
