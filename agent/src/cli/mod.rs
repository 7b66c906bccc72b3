//! The command line. All but `init`, `join`, `run` and the like talk to the running node over its socket.
//!
//! Exit codes: 0 done; 1 refused or failed; 2 the command or its input has mistakes; 3 the node is not running, or what was
//! asked for is done and shows something that wants attention (someone is late, the agency is suspended); 4 what `--wait`
//! waits for has not come in time.

#![deny(clippy::print_stdout)] // `say!` reports what cannot be printed

/// Prints a line. Where it cannot be printed (a full disk), that is an error like any other.
macro_rules! say {
    ($($words:tt)*) => { $crate::cli::print(format_args!("{}\n", format_args!($($words)*))) };
}

/// Prints text that ends its lines itself.
macro_rules! tell {
    ($($words:tt)*) => { $crate::cli::print(format_args!($($words)*)) };
}

mod client;
mod events;
mod followups;
mod inbox;
mod journal;
mod local;
mod officers;
mod pending;
mod release;
mod remote;
mod render;
mod standing;
mod waiting;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use valise_proto::id::{AgencyId, NoticeId, TrustDomain};

use crate::api::client::{ClientError, Wait as WaitFor};
use crate::api::types::{RotateRequest, Until};
use crate::folder::Folder;

const EXIT_FAILED: u8 = 1;
const EXIT_MISTAKES: u8 = 2;
const EXIT_NOT_RUNNING: u8 = 3;
/// Done, but something wants attention.
const EXIT_ATTENTION: u8 = 3;
/// What `--wait` waits for has not come in time.
const EXIT_NOT_YET: u8 = 4;

/// What the help says of exit codes.
const EXIT_CODES: &str = "Exit codes:
  0  done
  1  refused or failed
  2  the command or its input has mistakes
  3  the node is not running; or done, and something wants attention: someone is late or outstanding (track), the agency
     is suspended or revoked (status)
  4  what --wait waits for has not come when --timeout is over; whatever was sent stays sent, or queued";

/// The agency's node of a Valise exchange: composes, signs, seals and sends notices; receives, verifies and opens them.
#[derive(Debug, Parser)]
#[command(name = "valise-agent", version, propagate_version = true, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Args)]
struct Common {
    /// The node's data folder
    #[arg(long, global = true, env = "VALISE_AGENT_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// The officer's token is the one line of this file; otherwise it is taken from VALISE_AGENT_TOKEN, if that is set
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the agency's keys and its enrolment request
    Init {
        /// The exchange to join
        #[arg(long, value_name = "DOMAIN")]
        trust_domain: TrustDomain,
        /// The agency, such as fra/ncb
        #[arg(long, value_name = "STATE/UNIT")]
        agency: AgencyId,
        /// Write a copy of the request here
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Install the enrolment bundle that the authority sent back
    Join {
        /// The bundle
        #[arg(value_name = "BUNDLE.pem")]
        bundle: PathBuf,
        /// The fingerprint that the authority read out by telephone
        #[arg(long, value_name = "FINGERPRINT", conflicts_with = "yes_i_compared_the_fingerprint")]
        fingerprint: Option<String>,
        /// The fingerprint was compared with the authority's before
        #[arg(long)]
        yes_i_compared_the_fingerprint: bool,
    },
    /// Run the node
    Run {
        /// Configuration file; otherwise agent.toml in the data folder, if it is there
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Do not connect; compose and queue only
        #[arg(long)]
        offline: bool,
    },
    /// Check a configuration file and tell all its mistakes
    CheckConfig {
        /// Configuration file; otherwise agent.toml in the data folder
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Show who would be able to read what of a notice, and why not; nothing is sent. With --notice: who can of one that was
    /// sent from here, or could of one that waits for a second officer
    #[command(
        override_usage = "valise-agent preview [OPTIONS] <FILE.json>\n       valise-agent preview [OPTIONS] --notice <ID>"
    )]
    Preview {
        /// The notice, JSON; `-` reads standard input
        #[arg(value_name = "FILE.json", required_unless_present = "notice", conflicts_with = "notice")]
        file: Option<PathBuf>,
        /// Instead of a file: a notice that was sent from here, or a draft or release that waits
        #[arg(long, value_name = "ID")]
        notice: Option<NoticeId>,
    },
    /// Seal, sign and queue a notice
    Send {
        /// The notice, JSON; `-` reads standard input
        #[arg(value_name = "FILE.json")]
        file: PathBuf,
        /// Wait for the broker's answer, or for every recipient's; the exit code is 4 where it has not come in time
        #[arg(long, value_name = "WHAT")]
        wait: Option<Wait>,
        /// How long to wait, in seconds; the notice stays sent, or queued, when they are over
        #[arg(long, value_name = "SECONDS", default_value_t = 30, requires = "wait", value_parser = clap::value_parser!(u64).range(1..=600))]
        timeout: u64,
    },
    /// List received notices, newest first, or search them
    Inbox(Box<inbox::InboxArgs>),
    /// Show what the header of a notice tells, and its receipts
    Show {
        /// The notice
        id: NoticeId,
    },
    /// Open a received notice; its originator is told who read it
    Read {
        /// The notice
        id: NoticeId,
        /// The officer who reads, while the node has no officers' accounts
        #[arg(long, value_name = "NAME")]
        officer: Option<String>,
        /// Why, for the access journal; needed once the node has officers' accounts
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    #[command(flatten)]
    FollowUp(followups::FollowUp),
    /// Make a further notice from portions of one sent from here, under another label; a second officer approves it
    Downgrade(Box<release::DowngradeArgs>),
    /// Pass portions of a received notice on, as far as its originator lets that happen
    Forward(Box<release::ForwardArgs>),
    /// What is lowered or passed on: list, approve, refuse, look at
    Release {
        #[command(subcommand)]
        command: release::ReleaseCommand,
    },
    /// Show how the node is, or what became of a notice sent from here
    Status {
        /// The notice
        id: Option<NoticeId>,
        /// At most so many of each list
        #[arg(long, value_name = "COUNT", conflicts_with = "id", value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: Option<u16>,
    },
    /// Show who takes part in the exchange
    Directory,
    /// Follow what happens in the node: notices and receipts that come, times that pass, connections; never what a notice says
    Events(events::EventsArgs),
    /// Show the private keys that are held, or make new ones to follow them
    Keys {
        #[command(subcommand)]
        command: Option<KeysCommand>,
    },
    /// Make a renewal request, or show the one that waits; the node does this by itself from two thirds of the
    /// certificate's life
    Renew {
        /// Write the request here, to be carried to the authority
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Install what the authority published from a folder that was carried here: directory, revocation lists, certificate
    Install {
        /// The folder that `valise-ca publish` wrote
        #[arg(value_name = "DIR")]
        from: PathBuf,
    },
    /// Manage the officers' accounts
    Officer {
        #[command(subcommand)]
        command: officers::OfficerCommand,
    },
    /// Manage the officers' tokens
    Token {
        #[command(subcommand)]
        command: officers::TokenCommand,
    },
    /// Show what waits for a second officer, approve or refuse it
    Pending {
        #[command(subcommand)]
        command: Option<pending::PendingCommand>,
    },
    /// Show the access journal: who opened, sent, left out or was refused what, when and why
    Journal(journal::JournalArgs),
    /// Print the JSON Schema of a notice
    Schema,
    /// Print the OpenAPI document of the local API
    Openapi,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write a manual page for each command
    Man {
        /// The folder, made if it is not there
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// What may be done with keys.
#[derive(Clone, Copy, Debug, Subcommand)]
enum KeysCommand {
    /// Make new keys and a renewal request that brings them; none named means all three
    Rotate {
        /// The key of the certificate
        #[arg(long)]
        tls: bool,
        /// The key that signs
        #[arg(long)]
        signing: bool,
        /// The key that envelopes are sealed to
        #[arg(long)]
        sealing: bool,
    },
}

/// What `send` may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wait {
    /// The broker's answer
    Accepted,
    /// Every recipient's answer
    Delivered,
}

impl From<Wait> for WaitFor {
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::Accepted => Self::Accepted,
            Wait::Delivered => Self::Delivered,
        }
    }
}

impl From<Wait> for Until {
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::Accepted => Self::Accepted,
            Wait::Delivered => Self::Delivered,
        }
    }
}

/// How a command ended, where not well.
#[derive(Debug)]
enum Ended {
    /// Refused or failed.
    Failed(anyhow::Error),
    /// The command or its input has mistakes.
    Mistakes(anyhow::Error),
    /// The node said no, or is not there.
    Client(ClientError),
    /// Everything was printed already; only the exit code is left to say.
    Told(u8),
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
    let cli = Cli::parse();
    if let Err(error) = valise_process::keep_memory_private() {
        eprintln!(
            "valise-agent: core files cannot be turned off: {error}; keys may be written to one after a crash"
        );
    }
    // For the node itself a peer that goes away is no reason to end.
    if !matches!(cli.command, Command::Run { .. }) {
        sigpipe::reset();
    }
    let json = cli.common.json;
    let (error, code) = match run(cli) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Ended::Told(code)) => return ExitCode::from(code),
        Err(Ended::Failed(error)) => (sentence(&error), EXIT_FAILED),
        Err(Ended::Mistakes(error)) => (sentence(&error), EXIT_MISTAKES),
        Err(Ended::Client(error)) => {
            let code = client::exit_code(&error);
            if json && let Some(body) = client::body(&error) {
                return tell_last(&body, code);
            }
            (render::client_error(&error), code)
        }
    };
    if json {
        let body = serde_json::json!({ "error": { "code": "FAILED", "message": error } });
        return tell_last(&body.to_string(), code);
    }
    // Where even this cannot be said, the exit code says it.
    let _ = writeln!(std::io::stderr(), "valise-agent: {error}");
    ExitCode::from(code)
}

/// Prints an error as JSON; where that cannot be printed, the exit code and standard error are left to say it.
fn tell_last(body: &str, code: u8) -> ExitCode {
    if let Err(Ended::Failed(error)) = say!("{body}") {
        let _ = writeln!(std::io::stderr(), "valise-agent: {}: {body}", sentence(&error));
    }
    ExitCode::from(code)
}

fn print(text: std::fmt::Arguments<'_>) -> Outcome {
    let mut out = std::io::stdout().lock();
    out.write_fmt(text).and_then(|()| out.flush()).map_err(|error| {
        Ended::Failed(
            anyhow::Error::new(error)
                .context("cannot write to standard output; what was asked for is done as far as it goes"),
        )
    })
}

/// The error and its causes in one sentence. Some say what caused them themselves; nothing is told twice.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| {
        if said.is_empty() {
            cause
        } else if said.contains(&cause) {
            said
        } else {
            format!("{said}: {cause}")
        }
    })
}

fn run(cli: Cli) -> Outcome {
    let Cli { common, command } = cli;
    match command {
        Command::Init { trust_domain, agency, out } => {
            local::init(&common, &common.folder()?, trust_domain, agency, out.as_deref())
        }
        Command::Join { bundle, fingerprint, yes_i_compared_the_fingerprint } => {
            let compared = match fingerprint {
                Some(fingerprint) => local::Compared::With(fingerprint),
                None if yes_i_compared_the_fingerprint => local::Compared::Before,
                None => local::Compared::AskNow,
            };
            local::join(&common, &common.folder()?, &bundle, &compared)
        }
        Command::Run { config, offline } => local::run(&common, config.as_deref(), offline),
        Command::CheckConfig { config } => local::check_config(&common, config.as_deref()),
        Command::Officer { command } => officers::officer(&common, command),
        Command::Token { command } => officers::token(&common, command),
        Command::Pending { command } => {
            pending::pending(&common, command.unwrap_or(pending::PendingCommand::List))
        }
        Command::Journal(args) => journal::journal(&common, args),
        Command::Schema => local::schema(),
        Command::Openapi => render::json(&crate::api::openapi::document()),
        Command::Completions { shell } => local::completions(shell),
        Command::Man { out } => local::man(&common, &out),
        Command::Keys { command: None } => standing::keys(&common),
        Command::Keys { command: Some(KeysCommand::Rotate { tls, signing, sealing }) } => {
            standing::rotate(&common, RotateRequest { tls, signing, sealing })
        }
        Command::Renew { out } => standing::renew(&common, out.as_deref()),
        Command::Install { from } => standing::install(&common, &from),
        Command::Preview { notice: Some(id), .. } => remote::notice_preview(&common, &id),
        Command::Preview { file, notice: None } => remote::preview(&common, &file.unwrap_or_default()),
        Command::Send { file, wait, timeout } => remote::send(&common, &file, wait, timeout),
        Command::Inbox(args) => inbox::inbox(&common, *args),
        Command::Show { id } => remote::show(&common, &id),
        Command::Read { id, officer, reason } => remote::read(&common, &id, officer, reason),
        Command::Downgrade(args) => release::downgrade(&common, *args),
        Command::Forward(args) => release::forward(&common, *args),
        Command::Release { command } => release::release(&common, command),
        Command::Status { id: None, limit } => remote::status(&common, limit),
        Command::Status { id: Some(id), .. } => remote::notice_status(&common, &id),
        Command::Directory => remote::directory(&common),
        Command::FollowUp(command) => followups::run(&common, command),
        Command::Events(args) => events::follow(&common, &args),
    }
}

impl Common {
    fn folder(&self) -> Result<Folder, Ended> {
        let data = self.data.as_ref().ok_or_else(|| {
            Ended::Mistakes(anyhow::anyhow!(
                "name the node's data folder: --data DIR, or set VALISE_AGENT_DATA"
            ))
        })?;
        Ok(Folder::new(data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cause_is_told_twice_and_none_is_left_out() {
        let error = anyhow::anyhow!("the disk is full").context("x.pem: cannot write: the disk is full");
        assert_eq!(sentence(&error), "x.pem: cannot write: the disk is full");
        assert_eq!(
            sentence(&error.context("not enrolled")),
            "not enrolled: x.pem: cannot write: the disk is full"
        );
    }
}
