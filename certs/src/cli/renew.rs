//! Renewal requests, from files or from a broker's spool.
//!
//! All is read first, then granted, then published, then told, and only then do files move: whoever was interrupted runs
//! the command again, and what was granted before is granted as it was. A file that cannot be moved stays where it is,
//! and that is said.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use valise_proto::id::AgencyId;

use super::{Common, Ended, LeafArgs, Outcome, ValidityArgs, now, render};
use crate::authority::{Authority, Published, Renewed};
use crate::files;
use crate::spool::{self, Waiting};

#[derive(Debug, Args)]
pub(super) struct RenewArgs {
    /// Renewal requests; they stay where they are
    #[arg(value_name = "FILE", required_unless_present = "spool")]
    files: Vec<PathBuf>,
    /// Take every *.pem of this folder, as `valise-broker spool export` writes it, and move each when it is dealt with
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// Write what every node must hold to this folder, as `publish` does
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Move requests that were granted here; otherwise to `done` in the spool
    #[arg(long, value_name = "DIR", requires = "spool")]
    done: Option<PathBuf>,
    /// Move requests that were refused here, each with a .txt that says why; otherwise to `refused` in the spool
    #[arg(long, value_name = "DIR", requires = "spool")]
    refused: Option<PathBuf>,
    #[command(flatten)]
    validity: ValidityArgs,
    #[command(flatten)]
    leaf: LeafArgs,
}

/// Where files of the spool go.
struct Away {
    done: PathBuf,
    refused: PathBuf,
}

#[derive(Serialize)]
struct Granted {
    file: PathBuf,
    #[serde(flatten)]
    renewed: Renewed,
}

#[derive(Serialize)]
struct Refused {
    file: PathBuf,
    /// Whose request it says it is.
    agency: Option<AgencyId>,
    reason: String,
}

#[derive(Default, Serialize)]
struct Report {
    issued: Vec<Granted>,
    refused: Vec<Refused>,
    /// Requests that wait for the next time: more came than are taken at once.
    waiting: usize,
    /// Nothing is published where nothing was granted.
    published: Option<Published>,
}

pub(super) fn renew(common: &Common, args: RenewArgs) -> Outcome {
    let RenewArgs { files: by_hand, spool, out, done, refused, validity, leaf } = args;
    common.register()?;
    let (from_spool, waiting) = spool.as_deref().map(spool::read).transpose()?.unwrap_or_default();
    let by_hand: Vec<_> = by_hand.iter().map(|path| Waiting::read(path)).collect::<Result<_, _>>()?;
    let mut report = Report { waiting, ..Report::default() };
    if from_spool.is_empty() && by_hand.is_empty() {
        return told(common, &report);
    }
    // Where they were named, they must be fit; those within the spool need not be: it may lie on a medium that is not.
    for folder in done.iter().chain(&refused) {
        files::make_private(folder)?;
        files::check_writable(folder)?;
    }
    let away = spool.map(|spool| Away {
        done: done.unwrap_or_else(|| spool.join("done")),
        refused: refused.unwrap_or_else(|| spool.join("refused")),
    });
    files::make_folder(&out)?;
    files::check_writable(&out)?;
    let mut authority = common.open()?;
    authority.set_validity(validity.with_leaf(&leaf));
    for waiting in newest_first(from_spool.iter().chain(&by_hand)) {
        decide(&mut authority, waiting, &mut report)?;
    }
    if !report.issued.is_empty() {
        report.published = Some(authority.publish(&out, now())?);
    }
    // Before anything moves: what is printed nowhere would be gone from the spool unseen.
    let told = told(common, &report);
    if let Err(ended @ (Ended::Failed(_) | Ended::Mistakes(_))) = told {
        return Err(ended);
    }
    match away.map_or(0, |away| put_away(&from_spool, &report, &away)) {
        0 => told,
        _ => Err(Ended::Attention),
    }
}

/// The newest first, so that an older one of the same agency is refused instead of acted upon in vain.
fn newest_first<'a>(waiting: impl Iterator<Item = &'a Waiting>) -> Vec<&'a Waiting> {
    let mut all: Vec<_> = waiting.collect();
    let made = |waiting: &Waiting| waiting.request.as_ref().ok().map(|signed| signed.request().created_at);
    all.sort_by_key(|waiting| std::cmp::Reverse(made(waiting)));
    all
}

fn decide(authority: &mut Authority, waiting: &Waiting, report: &mut Report) -> Outcome {
    let file = waiting.path.clone();
    let signed = match &waiting.request {
        Ok(signed) => signed,
        Err(reason) => {
            report.refused.push(Refused { file, agency: None, reason: reason.clone() });
            return Ok(());
        }
    };
    match authority.renew(signed, now()) {
        Ok(renewed) => report.issued.push(Granted { file, renewed }),
        Err(error) if error.is_refusal() => {
            let agency = Some(signed.request().agency.clone());
            report.refused.push(Refused { file, agency, reason: error.to_string() });
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Moves the files of the spool, and gives how many had to stay.
fn put_away(from_spool: &[Waiting], report: &Report, away: &Away) -> usize {
    let mut stayed = 0_usize;
    for waiting in from_spool {
        let refused = report.refused.iter().find(|refused| refused.file == waiting.path);
        let (folder, reason): (&Path, _) = match refused {
            Some(refused) => (&away.refused, Some(spool::on_one_line(&refused.reason))),
            None => (&away.done, None),
        };
        if let Err(error) = waiting.put_away(folder, reason.as_deref()) {
            stayed = stayed.saturating_add(1);
            let error = spool::on_one_line(&error.to_string());
            eprintln!("valise-ca: {error}; it was dealt with as told, and stays in the spool");
        }
    }
    stayed
}

fn told(common: &Common, report: &Report) -> Outcome {
    if common.json {
        render::json(report)?;
    } else {
        tell(report)?;
    }
    if report.refused.is_empty() { Ok(()) } else { Err(Ended::Attention) }
}

fn tell(report: &Report) -> Outcome {
    if report.issued.is_empty() && report.refused.is_empty() {
        say!("No request waits.")?;
    }
    for Granted { renewed, .. } in &report.issued {
        let Renewed { agency, serial, not_after, new_keys, before } = renewed;
        let keys =
            if new_keys.is_empty() { String::new() } else { format!("; new keys: {}", new_keys.join(", ")) };
        let how = if *before { "was renewed before" } else { "renewed" };
        say!("{agency} {how}: certificate {serial}, until {not_after}{keys}")?;
    }
    for Refused { file, agency, reason } in &report.refused {
        let who = agency.as_ref().map_or_else(|| "REFUSED".to_owned(), |agency| format!("{agency} REFUSED"));
        say!("{who}: {}", spool::on_one_line(reason))?;
        say!("  {}", spool::on_one_line(&file.to_string_lossy()))?;
    }
    if report.waiting > 0 {
        say!("{} more wait: run this again", report.waiting)?;
    }
    if let Some(published) = &report.published {
        say!("Directory version {}, valid until {}.", published.version, published.expires_at)?;
        for path in &published.files {
            say!("  {}", path.display())?;
        }
        say!("Carry them to the brokers, which hand each agency its certificate.")?;
    }
    Ok(())
}
