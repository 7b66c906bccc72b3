//! `valise-broker backup`, `restore` and `verify-store`.

use std::path::PathBuf;

use clap::Args;

use super::{Ended, Outcome, read_config};
use crate::care::{self, Verification};
use crate::store::SledStore;

/// Which broker's data.
#[derive(Debug, Args)]
struct Place {
    /// Its configuration file
    #[arg(long, env = "VALISE_BROKER_CONFIG", value_name = "FILE", required_unless_present = "data")]
    config: Option<PathBuf>,
    /// Its data folder
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Place {
    fn data(&self) -> Result<PathBuf, Ended> {
        match (&self.data, &self.config) {
            (Some(data), _) => Ok(data.clone()),
            (None, Some(config)) => Ok(read_config(config)?.data),
            // The command line wants one of them.
            (None, None) => {
                Err(Ended::Failed(anyhow::anyhow!("name the broker: --config FILE or --data DIR")))
            }
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    #[command(flatten)]
    place: Place,
    /// The file, which must not exist; it holds no key and no content, but every header: keep it as the data folder is kept
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The data folder, which must not exist
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    place: Place,
    /// Set apart what cannot be read, so that the broker runs without it
    #[arg(long)]
    quarantine: bool,
}

pub(super) fn backup(BackupArgs { place, out }: &BackupArgs, json: bool) -> Outcome {
    let taken = care::backup(&place.data()?, out)?;
    if json {
        println!("{}", serde_json::to_string(&taken)?);
        return Ok(());
    }
    let how = if taken.online { "by the running broker" } else { "of a broker that does not run" };
    println!("{} bytes written to {}, {how}.", taken.bytes, taken.file.display());
    println!("Restore it with: valise-broker restore {} --data DIR", taken.file.display());
    Ok(())
}

pub(super) fn restore(RestoreArgs { file, data }: &RestoreArgs, json: bool) -> Outcome {
    let restored = care::restore(file, data)?;
    if json {
        println!("{}", serde_json::to_string(&restored)?);
        return Ok(());
    }
    println!("Restored into {}; its log has {} entries.", data.display(), restored.log_entries);
    println!("Look at it before it is used: valise-broker verify-store --data {}", data.display());
    Ok(())
}

pub(super) fn verify(VerifyArgs { place, quarantine }: &VerifyArgs, json: bool) -> Outcome {
    let data = place.data()?;
    if !SledStore::is_in(&data) {
        return Err(Ended::Failed(care::BackupError::NoStore(data).into()));
    }
    let mut progress = |records: u64| eprintln!("{records} records");
    let found = SledStore::open(&data)?.verify(*quarantine, &mut progress)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        render(&found, *quarantine);
    }
    if found.is_sound() { Ok(()) } else { Err(Ended::Attention) }
}

fn render(found: &Verification, quarantine: bool) {
    for finding in &found.findings {
        let notice = finding.notice.map(|id| format!(" notice {id}")).unwrap_or_default();
        let of = finding.originator.as_ref().map(|agency| format!(" of {agency}")).unwrap_or_default();
        println!("record {}{notice}{of}: {}", finding.record, finding.problem);
    }
    if found.further_findings > 0 {
        println!("{} more findings are not listed", found.further_findings);
    }
    println!("  records       {}", found.records);
    println!("  notices       {}, of which {} wait for somebody", found.notices, found.waiting);
    println!("  inbox items   {}", found.queued);
    println!("  log           {} entries", found.log_entries);
    if let Some(root) = found.log_root {
        println!("  log root      {root}");
    }
    println!("  set apart     {}", found.quarantined);
    match (found.is_sound(), quarantine) {
        (true, _) => println!("The store is sound."),
        (false, true) => println!(
            "What cannot be read was set apart; the rest goes on. Run this again to see what is left."
        ),
        (false, false) => println!("Set apart what cannot be read: valise-broker verify-store --quarantine"),
    }
}
