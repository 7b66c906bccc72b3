//! The command line of the authority.
//!
//! Exit codes: 0 done; 1 refused or failed; 2 the command or its input has mistakes; 3 done, and what was found wants
//! attention.

#![deny(clippy::print_stdout)] // `say!` reports what cannot be printed

/// Prints a line. Where it cannot be printed (a full disk), that is an error like any other.
macro_rules! say {
    ($($words:tt)*) => { $crate::cli::print(format_args!("{}\n", format_args!($($words)*))) };
}

/// Prints text that ends its lines itself.
macro_rules! tell {
    ($($words:tt)*) => { $crate::cli::print(format_args!($($words)*)) };
}

mod ask;
mod audit;
mod authority;
mod care;
mod changes;
mod commands;
mod directory;
mod enrol;
mod members;
mod oversight;
mod render;
mod renew;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, CommandFactory, Parser, Subcommand};
use valise_proto::id::{AgencyId, BrokerName, Role, Timestamp};

use crate::authority::{Authority, Validity};
use crate::member;
use crate::passphrase::Passphrase;
use crate::register::Register;

const EXIT_FAILED: u8 = 1;
const EXIT_MISTAKES: u8 = 2;
const EXIT_ATTENTION: u8 = 3;

/// The authority of a Valise exchange: issues and revokes certificates, enrols agencies, publishes the directory.
///
/// Works offline, on one folder. `list`, `show`, `expiring`, `audit` and `fingerprint` do without its passphrase.
#[derive(Debug, Parser)]
#[command(name = "valise-ca", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Args)]
struct Common {
    /// The authority's folder
    #[arg(long, global = true, env = "VALISE_CA_DIR", value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Read the passphrase from the one line of this file (mode 0600) instead of asking for it
    #[arg(long, global = true, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// This machine's clock is right, though the journal's last entry is of a later time
    #[arg(long, global = true)]
    accept_clock: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Found an authority in a new or empty folder
    ///
    /// Root, issuing authority and directory key each get a file of their own. The root is needed only to make, renew and
    /// revoke issuing authorities; give it a folder on another medium.
    Init(Box<authority::InitArgs>),
    /// Issue brokers and say where they listen
    #[command(subcommand)]
    Broker(BrokerCommand),
    /// Enrol an agency: turn its enrolment request into an enrolment bundle
    Enrol(Box<enrol::EnrolArgs>),
    /// Make a fresh bundle for an agency that is enrolled; renews its certificate when that is due
    Bundle {
        /// The agency
        #[arg(value_name = "STATE/UNIT")]
        agency: AgencyId,
        /// Write the bundle here
        #[arg(long, value_name = "BUNDLE.pem")]
        out: PathBuf,
        #[command(flatten)]
        validity: ValidityArgs,
        #[command(flatten)]
        leaf: LeafArgs,
    },
    /// Grant the renewal requests that are in order, and publish; exit code 3 if some were refused
    Renew(renew::RenewArgs),
    /// Sign a new directory and new revocation lists, and write what every node must hold
    Publish {
        /// Write directory.valise, crls.pem, certificates.pem and trust.pem to this folder
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        validity: ValidityArgs,
    },
    /// List brokers and agencies
    List(oversight::ListArgs),
    /// Show all that is on record about a member
    Show {
        /// An agency such as fra/ncb, or a broker
        #[arg(value_name = "ID", value_parser = member::parse)]
        member: Role,
    },
    /// List what runs out, and the command that mends it; exit code 3 if there is anything
    ///
    /// Certificates in force, keys in the directory, the authority's own certificates, and what was published last.
    /// Needs no passphrase, so it can run daily. Agents ask for renewal with a third of a certificate's life to go:
    /// what is left of it with a quarter to go was not renewed.
    Expiring(oversight::ExpiringArgs),
    /// Take a member out for good: certificates revoked, keys never accepted again
    ///
    /// An agency stays listed as REVOKED for as long as something it signed before may be under way. Given again with
    /// an earlier --since, this moves that time.
    Revoke(members::RevokeArgs),
    /// Keep an agency listed, but from sending and receiving
    Suspend {
        /// The agency
        #[arg(value_name = "STATE/UNIT")]
        agency: AgencyId,
        #[command(flatten)]
        since: members::SinceArgs,
    },
    /// Shut an agency out in one step: revoke its certificates, suspend it, and publish
    ///
    /// The directory lists it as SUSPENDED, because what happened is looked into afterwards. Then `enrol` takes an
    /// enrolment request with new keys, without `revoke` before; or `revoke` ends it; or, where no key was lost after
    /// all, `reinstate` lets it in again.
    Emergency(members::EmergencyArgs),
    /// End a suspension
    ///
    /// What the agency signed from the time of its suspension on counts again. Where its TLS key was revoked for key
    /// compromise this is refused: `enrol` takes a request with new keys.
    Reinstate {
        /// The agency
        #[arg(value_name = "STATE/UNIT")]
        agency: AgencyId,
        /// Reinstate it although its TLS key was lost: nobody else can have had its signing and sealing keys. It gets a
        /// certificate for a renewal request with a new TLS key
        #[arg(long)]
        keys_are_safe: bool,
    },
    /// Change what agencies may see
    #[command(subcommand)]
    Clearance(ClearanceCommand),
    /// Look after the issuing authority and the root's revocation list
    #[command(subcommand)]
    Issuing(authority::IssuingCommand),
    /// Change what agencies are said to do
    #[command(subcommand)]
    Functions(changes::FunctionsCommand),
    /// Change what agencies may originate
    #[command(subcommand)]
    Origination(changes::OriginationCommand),
    /// Change to whom paragraph-3 notices for a State go
    #[command(subcommand)]
    ContactPoint(changes::ContactPointCommand),
    /// Change what people read instead of an agency's id
    #[command(subcommand)]
    Name(changes::NameCommand),
    /// Look at directories before and after they are published; needs no passphrase
    #[command(subcommand)]
    Directory(directory::DirectoryCommand),
    /// Check and print the journal of what was done
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Put on one page how the authority stands, fit to print and sign: fingerprints, parameters, files
    ///
    /// `init` and `issuing renew` write such a page themselves. Needs no passphrase.
    Transcript(care::TranscriptArgs),
    /// Change the passphrase
    #[command(subcommand)]
    Passphrase(care::PassphraseCommand),
    /// Write all of the authority's folder to one file, its keys encrypted as they are; needs no passphrase
    Backup(care::BackupArgs),
    /// Put an authority back from a backup, in a new or empty folder (--dir)
    ///
    /// Directories and lists go on under numbers that were never used. What was done after the backup is lost.
    Restore(care::RestoreArgs),
    /// Print the fingerprint of the authority's roots of trust, or of a request, bundle or trust file
    Fingerprint {
        /// The file
        #[arg(value_name = "FILE.pem")]
        file: Option<PathBuf>,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write a man page for each command
    Man {
        /// To this folder
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum BrokerCommand {
    /// Make a broker's keys and certificate; for one that is there already, its renewal
    Issue {
        /// Its name, such as b1
        #[arg(value_name = "NAME")]
        name: BrokerName,
        /// Where agencies reach it; may be given several times
        #[arg(long = "endpoint", value_name = "HOST:PORT", required = true)]
        endpoints: Vec<String>,
        /// Write tls.crt, tls.key, receipt.key and trust.pem to this folder
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Put the new keys in place of those that are in the folder
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        leaf: LeafArgs,
    },
    /// List a broker with other endpoints
    Endpoints {
        /// Its name
        #[arg(value_name = "NAME")]
        name: BrokerName,
        /// Where agencies reach it; may be given several times
        #[arg(long = "endpoint", value_name = "HOST:PORT", required = true)]
        endpoints: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
enum ClearanceCommand {
    /// Clear an agency for exactly this
    Set {
        /// The agency
        #[arg(value_name = "STATE/UNIT")]
        agency: AgencyId,
        #[command(flatten)]
        clearance: enrol::ClearanceArgs,
    },
}

#[derive(Clone, Debug, Args)]
struct ValidityArgs {
    /// Days until the directory expires
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=366))]
    valid_days: u64,
    /// Days until the revocation lists run out
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=366))]
    crl_valid_days: u64,
}

#[derive(Clone, Debug, Args)]
struct LeafArgs {
    /// Days until the certificate runs out; nodes ask for the next one from two thirds of them on
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=397))]
    leaf_days: u64,
}

impl ValidityArgs {
    fn validity(&self) -> Validity {
        let (directory, crls) = (days(self.valid_days), days(self.crl_valid_days));
        Validity { directory, crls, ..Validity::default() }
    }

    /// The same, with the lifetime of certificates that a command issues.
    fn with_leaf(&self, leaf: &LeafArgs) -> Validity {
        Validity { leaf: days(leaf.leaf_days), ..self.validity() }
    }
}

impl LeafArgs {
    fn validity(&self) -> Validity {
        Validity { leaf: days(self.leaf_days), ..Validity::default() }
    }
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days.saturating_mul(24 * 60 * 60))
}

/// How a command ended, where not well.
#[derive(Debug)]
enum Ended {
    /// Refused or failed.
    Failed(anyhow::Error),
    /// The command or its input has mistakes.
    Mistakes(anyhow::Error),
    /// Well, and everything is said; but what was found wants attention.
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
    let cli = Cli::parse();
    if let Err(error) = valise_process::keep_memory_private() {
        eprintln!(
            "valise-ca: core files cannot be turned off: {error}; keys may be written to one after a crash"
        );
    }
    sigpipe::reset();
    let json = cli.common.json;
    let (error, code, name) = match run(cli) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Ended::Failed(error)) => (error, EXIT_FAILED, "FAILED"),
        Err(Ended::Mistakes(error)) => (error, EXIT_MISTAKES, "MISTAKES"),
        Err(Ended::Attention) => return ExitCode::from(EXIT_ATTENTION),
    };
    if json {
        let body = serde_json::json!({ "error": { "code": name, "message": sentence(&error) } });
        // Where not even this can be printed, the exit code alone tells.
        let _ = say!("{body}");
    } else {
        eprintln!("valise-ca: {}", sentence(&error));
    }
    ExitCode::from(code)
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
        Command::Init(args) => authority::init(&common, *args),
        Command::Broker(BrokerCommand::Issue { name, endpoints, out, replace, leaf }) => {
            let kit = commands::Kit { out: &out, replace, validity: leaf.validity() };
            commands::issue_broker(&common, &name, endpoints, &kit)
        }
        Command::Broker(BrokerCommand::Endpoints { name, endpoints }) => {
            commands::set_endpoints(&common, &name, endpoints)
        }
        Command::Enrol(args) => enrol::enrol(&common, *args),
        Command::Bundle { agency, out, validity, leaf } => {
            enrol::bundle(&common, &agency, &out, validity.with_leaf(&leaf))
        }
        Command::Renew(args) => renew::renew(&common, args),
        Command::Publish { out, validity } => commands::publish(&common, &out, &validity),
        Command::List(args) => oversight::list(&common, &args),
        Command::Show { member } => oversight::show(&common, &member),
        Command::Expiring(args) => oversight::expiring(&common, &args),
        Command::Revoke(args) => members::revoke(&common, args),
        Command::Suspend { agency, since } => members::suspend(&common, &agency, since),
        Command::Emergency(args) => members::emergency(&common, args),
        Command::Reinstate { agency, keys_are_safe } => members::reinstate(&common, &agency, keys_are_safe),
        Command::Clearance(ClearanceCommand::Set { agency, clearance }) => {
            enrol::set_clearance(&common, &agency, clearance)
        }
        Command::Issuing(command) => authority::issuing(&common, command),
        Command::Audit(command) => audit::run(&common, command),
        Command::Passphrase(care::PassphraseCommand::Change(args)) => care::change_passphrase(&common, &args),
        Command::Transcript(args) => care::transcript(&common, &args),
        Command::Backup(args) => care::back_up(&common, &args),
        Command::Restore(args) => care::restore(&common, &args),
        Command::Functions(command) => changes::functions(&common, command),
        Command::Origination(command) => changes::origination(&common, command),
        Command::ContactPoint(command) => changes::contact_point(&common, command),
        Command::Name(command) => changes::name(&common, command),
        Command::Directory(command) => directory::run(&common, command),
        Command::Fingerprint { file } => commands::fingerprint(&common, file.as_deref()),
        Command::Completions { shell } => {
            // Not straight to standard output: a generator that cannot write stops the process.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "valise-ca", &mut script);
            tell!("{}", String::from_utf8_lossy(&script))
        }
        Command::Man { out } => commands::man(&common, Cli::command(), &out),
    }
}

/// Prints text on standard output, at once.
fn print(words: std::fmt::Arguments<'_>) -> Outcome {
    let mut out = std::io::stdout().lock();
    let printed = out.write_fmt(words).and_then(|()| out.flush());
    printed.map_err(|error| {
        Ended::Failed(anyhow::anyhow!(
            "standard output: cannot write: {error}; `valise-ca audit show` tells what was done before"
        ))
    })
}

impl Common {
    fn dir(&self) -> Result<&Path, Ended> {
        self.dir.as_deref().ok_or_else(|| {
            Ended::Mistakes(anyhow::anyhow!("name the authority's folder: --dir DIR, or set VALISE_CA_DIR"))
        })
    }

    fn register(&self) -> Result<Register, Ended> {
        Ok(Register::open(self.dir()?)?)
    }

    /// Opens the authority; the passphrase is asked for only where there is one to open.
    fn open(&self) -> Result<Authority, Ended> {
        self.register()?;
        self.open_with(&ask::passphrase(self.passphrase_file.as_deref())?)
    }

    fn open_with(&self, passphrase: &Passphrase) -> Result<Authority, Ended> {
        let mut authority = Authority::open(self.dir()?, passphrase)?;
        if self.accept_clock {
            authority.accept_clock();
        }
        Ok(authority)
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
