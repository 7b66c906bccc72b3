//! `valise-sim`: worlds of many seeds, or one seed again with what happened in it.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use valise_sim::{Failure, Mutation, Options, Summary, run, run_all, trace};

/// Worlds run before the figures are printed, in a run without end.
const ROUND: u64 = 1_000;

/// Runs broker and agencies in simulated worlds, every fault of which follows from a seed.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// These seeds, the last one left out.
    #[arg(long, value_name = "FROM..TO", conflicts_with_all = ["seed", "forever"])]
    seeds: Option<String>,
    /// One seed.
    #[arg(long)]
    seed: Option<u64>,
    /// One seed after the other until stopped, or until a promise does not hold; beginning with the one given, or with 0.
    #[arg(long)]
    forever: bool,
    /// Print what happened in the world of --seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Run the broker's real store beside the simulated disk and compare the two (slower).
    #[arg(long)]
    real_store: bool,
    /// Wrong something, to see that it is noticed.
    #[arg(long)]
    mutation: Option<Mutation>,
}

fn main() -> ExitCode {
    match begin(&Arguments::parse()) {
        Ok(summary) => {
            println!("every promise held: {summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn begin(arguments: &Arguments) -> Result<Summary> {
    let Arguments { seeds, seed, forever, trace: traced, real_store, mutation } = arguments;
    let options = Options { mutation: *mutation, real_store: *real_store };
    let told = |failure: Box<Failure>| anyhow::Error::from(*failure);
    if *forever {
        return without_end(seed.unwrap_or_default(), &options).map_err(told);
    }
    match (seeds, seed) {
        (Some(seeds), _) => {
            let (from, to) = seeds.split_once("..").context("--seeds takes FROM..TO, as in 0..1000")?;
            let number = |text: &str| text.parse::<u64>().with_context(|| format!("`{text}` is not a seed"));
            run_all(number(from)?..number(to)?, &options).map_err(told)
        }
        (None, Some(seed)) if *traced => {
            let (result, lines) = trace(*seed, &options);
            lines.iter().for_each(|line| println!("{line}"));
            result.map_err(told)
        }
        (None, Some(seed)) => run(*seed, &options).map_err(told),
        (None, None) => bail!("say which worlds: --seeds FROM..TO, --seed N or --forever"),
    }
}

fn without_end(first: u64, options: &Options) -> Result<Summary, Box<Failure>> {
    let mut total = Summary::default();
    let mut from = first;
    loop {
        total += run_all(from..from.saturating_add(ROUND), options)?;
        from = from.saturating_add(ROUND);
        println!("seeds {first}..{from}: {total}");
    }
}
