//! Commands that need no running node, and the one that is it.

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use valise_process::{Confined, Confinement};
use valise_proto::id::{AgencyId, TrustDomain};

use super::client::{misconfigured, unreadable};
use super::{Cli, Common, EXIT_FAILED, Ended, Outcome, render};
use crate::clock::Clock;
use crate::compose::content;
use crate::config::Config;
use crate::enrol::{self, EnrolError};
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
    say!("Keys made for {} in {}", request.request().agency, folder.keys().display())?;
    say!("Enrolment request: {}", written.display())?;
    say!("Fingerprint:       {}", request.fingerprint())?;
    say!("")?;
    say!("Give the request to the authority and read the fingerprint to them by telephone.")?;
    say!("With the bundle that comes back: valise-agent join --data {} BUNDLE.pem", folder.path().display())?;
    Ok(())
}

pub(super) fn join(common: &Common, folder: &Folder, bundle: &Path, compared: &Compared) -> Outcome {
    // Before anybody takes up the telephone: is this folder one that could join at all?
    enrol::request(folder)?;
    let signed = enrol::read_bundle(bundle).map_err(|error| match error {
        EnrolError::File(error) => unreadable(error),
        error => Ended::Failed(anyhow::Error::new(error).context(format!("{}", bundle.display()))),
    })?;
    let fingerprint = signed.fingerprint();
    if !common.json {
        say!("Bundle for:  {}", signed.bundle().identity)?;
        say!("Fingerprint: {fingerprint}")?;
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
    say!(
        "Joined. Directory version {}, valid until {}.",
        directory.version(),
        directory.content().expires_at
    )?;
    say!("Start the node: valise-agent run --data {}", folder.path().display())?;
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
            "the bundle's fingerprint is {fingerprint}: have the authority read out theirs by telephone (valise-ca prints it beside the bundle), and only if both are the same give it: --fingerprint {fingerprint}. Whoever could exchange the file on its way could not exchange what is said"
        ))),
    }
}

fn plain(fingerprint: &str) -> String {
    fingerprint.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase()
}

fn ask() -> Outcome {
    tell!("Does the authority read out the same fingerprint by telephone? Type yes: ")?;
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
    config.map_err(misconfigured)
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
            "freshness_grace_seconds": config.freshness_grace.as_secs(),
            "sealing_key_grace_seconds": config.sealing_key_grace.as_secs(),
            "brokers": brokers,
            "advice": config.advice(),
        }));
    }
    say!("The configuration is in order.")?;
    say!("  data folder  {}", config.folder.path().display())?;
    say!("  socket       {}", config.socket.display())?;
    say!("  log          {}", config.log)?;
    say!("  lifetime     {} days", config.lifetime.as_secs() / (24 * 60 * 60))?;
    say!("  outbox_max   {}", config.outbox_max)?;
    say!("  freshness_grace_minutes  {}", config.freshness_grace.as_secs() / 60)?;
    say!("  sealing_key_grace_days   {}", config.sealing_key_grace.as_secs() / (24 * 60 * 60))?;
    for (broker, endpoints) in &config.brokers {
        say!("  broker       {broker} at {}", endpoints.join(", "))?;
    }
    for advice in config.advice() {
        say!("Mind: {advice}")?;
    }
    Ok(())
}

pub(super) fn run(common: &Common, config: Option<&Path>, offline: bool) -> Outcome {
    let config = config_of(common, config)?;
    let filter =
        EnvFilter::try_new(&config.log).unwrap_or_else(|_| EnvFilter::new(crate::config::LOG_DEFAULT));
    // Colours are for terminals; in a file they are noise.
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if common.json {
        logs.json().finish().with(filter_fn(is_let)).init();
    } else {
        logs.finish().with(filter_fn(is_let)).init();
    }
    confine(&config);
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

/// The store's engine writes whole records to the log at the lowest levels, receipts with names among them: whatever
/// `log` says, that is not let.
fn is_let(metadata: &tracing::Metadata<'_>) -> bool {
    *metadata.level() <= tracing::Level::WARN || !metadata.target().starts_with("sled")
}

/// Before any other thread is started: what follows opens nothing that is not said here.
fn confine(config: &Config) {
    let confinement = Confinement::new().writing(config.folder.path()).making_file(&config.socket);
    let listens = config.api_listen.into_iter().chain(config.metrics_listen);
    let confinement = listens.fold(confinement, |all, address| all.listening(address.port()));
    match confinement.enforce() {
        Ok(confined @ Confined::Fully) => tracing::info!("{confined}"),
        Ok(confined @ (Confined::Partly | Confined::NotAtAll)) => tracing::warn!("{confined}"),
        Err(error) => tracing::warn!(%error, "the process can open what its user can"),
    }
}

pub(super) fn schema() -> Outcome {
    render::json(&content::schema())
}

pub(super) fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "valise-agent", &mut script);
    tell!("{}", String::from_utf8_lossy(&script))
}

/// Writes a page for the tool and one for each of its commands.
pub(super) fn man(common: &Common, out: &Path) -> Outcome {
    std::fs::create_dir_all(out).with_context(|| format!("{}: cannot make this folder", out.display()))?;
    let mut tool = Cli::command().disable_help_subcommand(true);
    tool.build();
    let mut written = Vec::new();
    let mut waiting = vec![tool];
    while let Some(command) = waiting.pop() {
        waiting.extend(command.get_subcommands().filter(|below| !below.is_hide_set()).cloned());
        let page = clap_mangen::Man::new(command);
        let path = out.join(page.get_filename());
        let mut text = Vec::new();
        page.render(&mut text)?;
        folder::replace(&path, &text)?;
        written.push(path);
    }
    written.sort();
    if common.json {
        return render::json(&serde_json::json!({ "files": written }));
    }
    say!("{} pages written to {}", written.len(), out.display())
}
