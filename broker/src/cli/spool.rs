//! `valise-broker spool`: what waits to be carried to the authority.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Ended, Outcome, read_config};
use crate::server::{Contents, Exported, Spool, SpoolError, Waiting};

#[derive(Debug, Args)]
pub(super) struct SpoolArgs {
    #[command(subcommand)]
    command: SpoolCommand,
}

#[derive(Debug, Subcommand)]
enum SpoolCommand {
    /// Show the renewal requests that wait to be carried to the authority
    List(Place),
    /// Copy them into a folder, to be carried to `valise-ca renew --spool`; they stay here until the broker has been given the certificates
    Export {
        #[command(flatten)]
        place: Place,
        /// The folder, made where there is none; to copy into it again is harmless
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// The broker's configuration file; the broker may be running
    #[arg(long, env = "VALISE_BROKER_CONFIG", value_name = "FILE", required_unless_present = "spool")]
    config: Option<PathBuf>,
    /// The spool's folder
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
}

impl Place {
    fn open(&self) -> Result<Spool, Ended> {
        match (&self.spool, &self.config) {
            (Some(spool), _) => Ok(Spool::new(spool)),
            (None, Some(config)) => Ok(Spool::new(read_config(config)?.renewal_spool)),
            // The command line wants one of them.
            (None, None) => {
                Err(Ended::Failed(anyhow::anyhow!("name the spool: --config FILE or --spool DIR")))
            }
        }
    }
}

pub(super) fn run(SpoolArgs { command }: &SpoolArgs, json: bool) -> Outcome {
    match command {
        SpoolCommand::List(place) => list(&place.open()?, json),
        SpoolCommand::Export { place, out } => export(&place.open()?, out, json),
    }
}

fn list(spool: &Spool, json: bool) -> Outcome {
    let contents = spool.contents()?;
    if json {
        println!("{}", json!({ "waiting": contents.waiting, "unreadable": problems(&contents.unreadable) }));
        return Ok(());
    }
    if contents.waiting.is_empty() {
        println!("No renewal request waits.");
    }
    for Waiting { agency, created_at, spooled_at, fingerprint, .. } in &contents.waiting {
        println!("{agency}  made {created_at}  here since {spooled_at}  {fingerprint}");
    }
    tell_unreadable(&contents);
    Ok(())
}

fn export(spool: &Spool, out: &Path, json: bool) -> Outcome {
    let (contents, exported) = spool.export(out)?;
    let Exported { written, unchanged } = &exported;
    if json {
        let unreadable = problems(&contents.unreadable);
        println!("{}", json!({ "written": written, "unchanged": unchanged, "unreadable": unreadable }));
        return Ok(());
    }
    println!("{} written to {}, {} there already", written.len(), out.display(), unchanged.len());
    if !written.is_empty() || !unchanged.is_empty() {
        println!("Carry the folder to the authority: valise-ca renew --spool DIR --out DIR");
    }
    tell_unreadable(&contents);
    Ok(())
}

fn problems(unreadable: &[SpoolError]) -> Vec<String> {
    unreadable.iter().map(ToString::to_string).collect()
}

fn tell_unreadable(contents: &Contents) {
    for problem in &contents.unreadable {
        eprintln!("passed over: {problem}");
    }
}
