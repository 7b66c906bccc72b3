//! `valise-bench intake`: one broker process, one load process, notices sealed beforehand.

use std::process::Stdio;

use anyhow::{Context, bail};
use clap::Args;
use tokio::process::Command;
use valise_tests::{AgencySpec, Network};

use crate::load::Found;
use crate::primitives;
use crate::report::Report;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Notices to submit and measure
    #[arg(long, default_value_t = 40_000, value_parser = clap::value_parser!(u32).range(100..=2_000_000))]
    count: u32,
    /// Notices to submit before measuring
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    warm_up: u32,
    /// Bytes of each notice's one portion
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..=900_000))]
    body_bytes: u32,
    /// Submissions without an answer at any time
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1024))]
    outstanding: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// End with exit code 1 where the broker's CPU per notice is more than so many times the primitives' cost
    #[arg(long, value_name = "TIMES")]
    at_most: Option<f64>,
}

/// One agency may use the whole machine: its share of it is not what is measured.
const ONE_AGENCY_ALONE: &str = "[limits]\nenvelopes_per_second = 1000000\nenvelopes_burst = 10000000\n\
    submit_bytes_per_second = 17179869184\nsubmit_bytes_burst = 68719476736\nstored_notices_per_agency_max = 100000000\n\
    stored_bytes_per_agency_max = 1125899906842624\ninbox_items_max = 400000000\nwork_per_agency_max = 4096\n\
    intake_bytes_per_agency_max = 268435456\n";

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    eprintln!("starting a broker process");
    let network = Network::builder()
        // In this order, so that the sender's directory lists the recipient.
        .agency(AgencySpec::new("fra/ncb").not_running())
        .agency(AgencySpec::new("ken/ncb").not_running())
        .broker_as_process()
        .broker_config(ONE_AGENCY_ALONE);
    let network = network.start().await?;
    let before = network.broker().status().await?.commits;
    let found = run_load(options, &network).await?;
    let after = network.broker().status().await?.commits;
    let group =
        ratio(after.operations.saturating_sub(before.operations), after.syncs.saturating_sub(before.syncs));
    eprintln!("measuring the primitives");
    let primitives = primitives::measure(found.header_bytes, found.envelope_bytes, network.folder())?;
    let report = Report::new(options.body_bytes, options.outstanding, &found, group, primitives);
    network.stop().await;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    match options.at_most {
        Some(most) if report.times_primitives > most => {
            bail!("{:.2} times the primitives' cost is more than {most}", report.times_primitives)
        }
        Some(_) | None => Ok(()),
    }
}

async fn run_load(options: &Options, network: &Network) -> anyhow::Result<Found> {
    eprintln!("sealing {} notices, then submitting them", options.count + options.warm_up);
    let agency = network.agency("ken/ncb").folder()?;
    let endpoint = network.broker().listen_addr().await.context("the broker does not listen")?;
    let pid = network.broker().process_id().await.context("the broker is no process")?;
    let output = Command::new(std::env::current_exe()?)
        .arg("load")
        .args(["--data".as_ref(), agency.path().as_os_str()])
        .args(["--endpoint", &endpoint.to_string()])
        .args(["--broker-pid", &pid.to_string()])
        .args(["--recipient", "fra/ncb"])
        .args(["--count", &options.count.to_string()])
        .args(["--warm-up", &options.warm_up.to_string()])
        .args(["--body-bytes", &options.body_bytes.to_string()])
        .args(["--outstanding", &options.outstanding.to_string()])
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    if !output.status.success() {
        bail!("the load process ended with {}", output.status);
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[allow(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^52")]
fn ratio(count: u64, of: u64) -> f64 {
    count as f64 / of.max(1) as f64
}
