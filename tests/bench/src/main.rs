//! `valise-bench`: measures a broker on this machine, beside the cost of the primitives it cannot do without.
//!
//! Figures of a shared machine drift, so what counts are ratios taken in one run: the broker's CPU per notice against
//! what verifying, hashing, decrypting and syncing that notice cost by themselves.

mod cpu;
mod intake;
mod load;
mod primitives;
mod report;

use clap::{Parser, Subcommand};

/// Measures a Valise broker on this machine
#[derive(Debug, Parser)]
#[command(name = "valise-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// How many notices a broker process accepts per second, how long each takes, and what it costs
    Intake(intake::Options),
    /// The load process that `intake` starts
    #[command(hide = true)]
    Load(load::Options),
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match Cli::parse().command {
        Command::Intake(options) => runtime.block_on(intake::run(&options)),
        Command::Load(options) => runtime.block_on(load::run(&options)),
    }
}
