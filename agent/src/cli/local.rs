//! Commands that need no running node, and the one that is it.

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use valise_proto::id::{AgencyId, TrustDomain};

use super::{Cli, Common, EXIT_FAILED, Ended, Outcome, render};
use crate::clock::Clock;
use crate::compose::content;
use crate::config::{Config, ConfigError};
use crate::enrol;
use crate::folder::{self, Folder};
use crate::node::{Node, NodeOptions};

/// How the fingerprint of a bundle is compared.
pub(super) enum Compared {
    /// With this one, which the authority read out.
    With(String),
    /// It was, before this command.
    Before,
    /// By asking the person at the terminal.
    AskNow,
}

pub(super) fn init(
    common: &Common,
    folder: &Folder,
    trust_domain: TrustDomain,
    agency: AgencyId,
    out: Option<&Path>,
) -> Outcome {
    let request = enrol::init(folder, trust_domain, agency, Clock::system().now())?;
    if let Some(out) = out {
        folder::replace(out, request.to_pem().as_bytes())?;
    }
    let written = out.map_or_else(|| folder.request(), Path::to_owned);
    if common.json {
        return render::json(&serde_json::json!({
            "agency": request.request().agency,
            "trust_domain": request.request().trust_domain,
            "request": written,
            "fingerprint": request.fingerprint(),
        }));
    }
    println!("Keys made for {} in {}", request.request().agency, folder.keys().display());
    println!("Enrolment request: {}", written.display());
    println!("Fingerprint:       {}", request.fingerprint());
    println!();
    println!("Give the request to the authority and read the fingerprint to them by telephone.");
    println!(
        "With the bundle that comes back: valise-agent join --data {} BUNDLE.pem",
        folder.path().display()
    );
    Ok(())
}

pub(super) fn join(common: &Common, folder: &Folder, bundle: &Path, compared: &Compared) -> Outcome {
    // Before anybody takes up the telephone: is this folder one that could join at all?
    enrol::request(folder)?;
    let signed = enrol::read_bundle(bundle).with_context(|| format!("{}", bundle.display()))?;
    let fingerprint = signed.fingerprint();
    if !common.json {
        println!("Bundle for:  {}", signed.bundle().identity);
        println!("Fingerprint: {fingerprint}");
    }
    compare(compared, &fingerprint)?;
    let directory = enrol::join(folder, &signed, Clock::system().now())?;
    if common.json {
        return render::json(&serde_json::json!({
            "identity": signed.bundle().identity,
            "fingerprint": fingerprint,
            "directory_version": directory.version(),
        }));
    }
    println!(
        "Joined. Directory version {}, valid until {}.",
        directory.version(),
        directory.content().expires_at
    );
    println!("Start the node: valise-agent run --data {}", folder.path().display());
    Ok(())
}

fn compare(compared: &Compared, fingerprint: &str) -> Outcome {
    match compared {
        Compared::Before => Ok(()),
        Compared::With(given) if plain(given) == plain(fingerprint) => Ok(()),
        Compared::With(given) => Err(Ended::Failed(anyhow::anyhow!(
            "the bundle's fingerprint is {fingerprint}, not {given}: it is not the bundle the authority made; nothing was installed"
        ))),
        Compared::AskNow if std::io::stdin().is_terminal() => ask(),
        Compared::AskNow => Err(Ended::Mistakes(anyhow::anyhow!(
            "compare the bundle's fingerprint {fingerprint} with the authority's by telephone, then give it: --fingerprint {fingerprint}"
        ))),
    }
}

fn plain(fingerprint: &str) -> String {
    fingerprint.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase()
}

fn ask() -> Outcome {
    print!("Does the authority read out the same fingerprint by telephone? Type yes: ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.trim().eq_ignore_ascii_case("yes") {
        return Ok(());
    }
    Err(Ended::Failed(anyhow::anyhow!("the fingerprint was not confirmed; nothing was installed")))
}

fn config_of(common: &Common, config: Option<&Path>) -> Result<Config, Ended> {
    let folder = common.data.as_ref().map(Folder::new);
    let config = match (config, folder) {
        (Some(path), folder) => Config::read(path, folder),
        (None, _) => Config::of_folder(common.folder()?),
    };
    config.map_err(|error| match error {
        ConfigError::Mistakes { .. } => Ended::Mistakes(error.into()),
        ConfigError::File(_) => Ended::Failed(error.into()),
    })
}

pub(super) fn check_config(common: &Common, config: Option<&Path>) -> Outcome {
    let config = config_of(common, config)?;
    if common.json {
        let brokers: serde_json::Map<_, _> =
            config.brokers.iter().map(|(name, ends)| (name.to_string(), serde_json::json!(ends))).collect();
        return render::json(&serde_json::json!({
            "data": config.folder.path(),
            "socket": config.socket,
            "log": config.log,
            "lifetime_seconds": config.lifetime.as_secs(),
            "outbox_max": config.outbox_max,
            "brokers": brokers,
        }));
    }
    println!("The configuration is in order.");
    println!("  data folder  {}", config.folder.path().display());
    println!("  socket       {}", config.socket.display());
    println!("  log          {}", config.log);
    println!("  lifetime     {} days", config.lifetime.as_secs() / (24 * 60 * 60));
    println!("  outbox_max   {}", config.outbox_max);
    for (broker, endpoints) in &config.brokers {
        println!("  broker       {broker} at {}", endpoints.join(", "));
    }
    Ok(())
}

pub(super) fn run(common: &Common, config: Option<&Path>, offline: bool) -> Outcome {
    let config = config_of(common, config)?;
    let filter =
        EnvFilter::try_new(&config.log).unwrap_or_else(|_| EnvFilter::new(crate::config::LOG_DEFAULT));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if common.json {
        logs.json().init();
    } else {
        logs.init();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let node = Node::start(config, NodeOptions { offline, ..NodeOptions::default() }).await?;
        let failure = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            failure = node.failed() => Some(failure),
        };
        tracing::info!("the node is stopping");
        node.stop().await;
        match failure {
            None => Ok(()),
            // It was logged when it happened.
            Some(_) => Err(Ended::Told(EXIT_FAILED)),
        }
    })
}

pub(super) fn schema() -> Outcome {
    render::json(&content::schema())
}

pub(super) fn completions(shell: clap_complete::Shell) {
    clap_complete::generate(shell, &mut Cli::command(), "valise-agent", &mut std::io::stdout());
}
