//! The command line.
//!
//! Exit codes: 0 done; 1 refused or failed; 2 the command or the configuration has mistakes; 3 done, and something wants
//! attention.

mod care;
mod render;
mod spool;

use std::fs::DirBuilder;
use std::io::IsTerminal as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, CommandFactory, Parser, Subcommand};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use valise_process::{Confined, Confinement};

use crate::config::{Config, ConfigError, LOG_DEFAULT, LogFormat};
use crate::server::{self, Broker, NodeFiles};

const EXIT_FAILED: u8 = 1;
const EXIT_MISTAKES: u8 = 2;
const EXIT_ATTENTION: u8 = 3;
/// How long the process waits for its threads after the broker has stopped.
const SHUTDOWN_MAX: Duration = Duration::from_secs(1);

/// The exchange operator's node of a Valise exchange: stores and forwards envelopes it cannot read.
#[derive(Debug, Parser)]
#[command(name = "valise-broker", version, propagate_version = true)]
pub struct Cli {
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker; SIGTERM stops it in order, SIGHUP reads certificate, revocation lists and directory again
    Run(ConfigFile),
    /// Check a configuration and the files it names, and tell everything that is wrong
    CheckConfig(ConfigFile),
    /// Show how a running broker is
    Status {
        /// Its configuration file
        #[arg(long, env = "VALISE_BROKER_CONFIG", value_name = "FILE", required_unless_present = "socket")]
        config: Option<PathBuf>,
        /// Its status socket
        #[arg(long, value_name = "SOCKET")]
        socket: Option<PathBuf>,
    },
    /// Renewal requests of agencies, on their way to the authority
    Spool(spool::SpoolArgs),
    /// Write a consistent copy of everything a broker keeps into one file; the broker may be running
    Backup(care::BackupArgs),
    /// Put a backup into a new data folder
    Restore(care::RestoreArgs),
    /// Look at every record of a stopped broker's store: exit code 3 where something is wrong
    VerifyStore(care::VerifyArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write a man page for each command
    Man {
        /// To this folder, made where there is none
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// Configuration file
    #[arg(long, env = "VALISE_BROKER_CONFIG", value_name = "FILE")]
    config: PathBuf,
}

/// How a command ended, where not well.
enum Ended {
    /// Refused or failed.
    Failed(anyhow::Error),
    /// The command or the configuration has mistakes, all of them.
    Mistakes(anyhow::Error, Vec<String>),
    /// Done and told, and something wants attention.
    Attention,
}

impl<E: Into<anyhow::Error>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

type Outcome = Result<(), Ended>;

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { json, command } = Cli::parse();
    if let Err(error) = valise_process::keep_memory_private() {
        eprintln!(
            "valise-broker: core files cannot be turned off: {error}; keys may be written to one after a crash"
        );
    }
    // For the broker itself a peer that goes away is no reason to end.
    if !matches!(command, Command::Run(_)) {
        sigpipe::reset();
    }
    let ended = match command {
        Command::Run(ConfigFile { config }) => run(&config),
        Command::CheckConfig(ConfigFile { config }) => check_config(&config, json),
        Command::Status { config, socket } => status(config.as_deref(), socket, json),
        Command::Spool(arguments) => spool::run(&arguments, json),
        Command::Backup(arguments) => care::backup(&arguments, json),
        Command::Restore(arguments) => care::restore(&arguments, json),
        Command::VerifyStore(arguments) => care::verify(&arguments, json),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "valise-broker", &mut std::io::stdout());
            Ok(())
        }
        Command::Man { out } => man(&out, json),
    };
    let (error, mistakes, code) = match ended {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Ended::Failed(error)) => (error, Vec::new(), EXIT_FAILED),
        Err(Ended::Mistakes(error, mistakes)) => (error, mistakes, EXIT_MISTAKES),
        Err(Ended::Attention) => return ExitCode::from(EXIT_ATTENTION),
    };
    if json {
        println!("{}", json!({ "error": { "message": format!("{error}"), "mistakes": mistakes } }));
    } else {
        eprintln!("valise-broker: {error}");
    }
    ExitCode::from(code)
}

/// Writes a page for the tool and one for each of its commands.
fn man(out: &Path, json: bool) -> Outcome {
    let failed =
        |path: &Path, error: std::io::Error| anyhow!("{}: cannot be written: {error}", path.display());
    std::fs::create_dir_all(out).map_err(|error| failed(out, error))?;
    let mut tool = Cli::command().disable_help_subcommand(true);
    tool.build();
    let (mut written, mut waiting) = (Vec::new(), vec![tool]);
    while let Some(command) = waiting.pop() {
        waiting.extend(command.get_subcommands().filter(|below| !below.is_hide_set()).cloned());
        let page = clap_mangen::Man::new(command);
        let path = out.join(page.get_filename());
        let mut text = Vec::new();
        page.render(&mut text)?;
        std::fs::write(&path, &text).map_err(|error| failed(&path, error))?;
        written.push(path);
    }
    written.sort();
    if json {
        println!("{}", json!({ "files": written }));
    } else {
        println!("{} pages written to {}", written.len(), out.display());
    }
    Ok(())
}

fn read_config(path: &Path) -> Result<Config, Ended> {
    Config::read(path).map_err(|error| match &error {
        ConfigError::Mistakes { mistakes, .. } => {
            let mistakes = mistakes.clone();
            Ended::Mistakes(error.into(), mistakes)
        }
        ConfigError::File { .. } => Ended::Failed(error.into()),
    })
}

fn run(path: &Path) -> Outcome {
    let config = read_config(path)?;
    let filter = EnvFilter::try_new(&config.log).unwrap_or_else(|_| EnvFilter::new(LOG_DEFAULT));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Nobody wants escape sequences in a journal or a file.
    let logs = logs.with_ansi(std::io::stderr().is_terminal());
    match config.log_format {
        LogFormat::Text => logs.finish().with(filter_fn(is_let)).init(),
        LogFormat::Json => logs.json().finish().with(filter_fn(is_let)).init(),
    }
    confine(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(config));
    // What hangs, hangs on a disk that does not answer; nothing durable is lost by not waiting for it.
    runtime.shutdown_timeout(SHUTDOWN_MAX);
    outcome
}

/// The store's engine writes whole records to the log at the lowest levels, receipts among them: whatever
/// `log` says, that is not let.
fn is_let(metadata: &tracing::Metadata<'_>) -> bool {
    *metadata.level() <= tracing::Level::WARN || !metadata.target().starts_with("sled")
}

/// Before any other thread is started: what follows opens nothing that is not said here.
fn confine(config: &Config) {
    for folder in [&config.data, &config.renewal_spool] {
        // Where one cannot be made, the start says why.
        let _ = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    }
    let confinement = Confinement::new()
        .writing(&config.data)
        .writing(&config.renewal_spool)
        .making_file(&config.status_socket)
        .reading(&config.publication)
        .reading_file(&config.certificates)
        .reading_file(&config.tls_key)
        .reading_file(&config.receipt_key)
        .reading_file(&config.trust);
    let listens = config.metrics_listen.into_iter();
    let confinement = listens.fold(confinement, |all, address| all.listening(address.port()));
    match confinement.enforce() {
        Ok(confined @ Confined::Fully) => tracing::info!("{confined}"),
        Ok(confined @ (Confined::Partly | Confined::NotAtAll)) => tracing::warn!("{confined}"),
        Err(error) => tracing::warn!(%error, "the process can open what its user can"),
    }
}

/// Runs until a signal says stop, or the store fails.
async fn serve(config: Config) -> Outcome {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let broker = Broker::start(config).await?;
    let failure = loop {
        tokio::select! {
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            failure = broker.failed() => break Some(failure),
            _ = hang_up.recv() => match broker.reload().await {
                Ok(()) => tracing::info!("the files were read again"),
                Err(error) => tracing::error!(%error, "what was in force stays in force"),
            },
        }
    };
    tracing::info!("the broker is stopping");
    broker.stop().await;
    match failure {
        None => Ok(()),
        Some(failure) => Err(failure.into()),
    }
}

fn check_config(path: &Path, json: bool) -> Outcome {
    let config = read_config(path)?;
    let files = server::check(&config).map_err(|error| {
        let problems = error.problems.iter().map(ToString::to_string).collect();
        Ended::Mistakes(error.into(), problems)
    })?;
    let NodeFiles { credentials, receipt_key, directory, anchors, .. } = &files;
    let freshness = files.freshness(&config, server::now());
    if json {
        let lists = anchors.revocations().iter();
        let summary = json!({
            "identity": credentials.identity(),
            "listen": config.listen,
            "data": config.data,
            "status_socket": config.status_socket,
            "certificate_expires_at": credentials.not_after(),
            "receipt_key": receipt_key.key_id(),
            "directory": { "version": directory.version(), "expires_at": directory.content().expires_at },
            "revocation_lists": lists
                .map(|list| json!({ "issuer": list.issuer, "next_update": list.next_update }))
                .collect::<Vec<_>>(),
            "freshness": freshness,
            "warnings": files.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        });
        println!("{summary}");
        return Ok(());
    }
    for warning in &files.warnings {
        eprintln!("warning: {warning}");
    }
    for thing in freshness.iter().filter(|thing| !thing.is_fresh()) {
        eprintln!("warning: {thing}");
    }
    println!("The configuration is in order.");
    println!("  identity     {}", credentials.identity());
    println!("  listen       {}", config.listen);
    println!("  data folder  {}", config.data.display());
    println!("  certificate  until {}", credentials.not_after());
    println!("  receipt key  {}", receipt_key.key_id());
    println!("  directory    version {}, until {}", directory.version(), directory.content().expires_at);
    for list in anchors.revocations() {
        println!("  revocations  of {}, until {}", list.issuer, list.next_update);
    }
    Ok(())
}

fn status(config: Option<&Path>, socket: Option<PathBuf>, json: bool) -> Outcome {
    let socket = match (socket, config) {
        (Some(socket), _) => socket,
        (None, Some(config)) => read_config(config)?.status_socket,
        (None, None) => {
            return Err(Ended::Failed(anyhow!("name the broker: --config FILE or --socket SOCKET")));
        }
    };
    let status = server::ask(&socket)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        print!("{}", render::render(&status));
    }
    Ok(())
}
