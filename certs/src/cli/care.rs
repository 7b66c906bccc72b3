//! Commands that look after the folder as a whole: its transcripts, its passphrase, its backups.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::authority::RootArgs;
use super::{Common, Ended, Outcome, ask, now, render};
use crate::authority::Authority;
use crate::backup::{self, Backup, Clock};
use crate::files::{self, PLAIN_FILE};
use crate::root;
use crate::transcript::{self, Ceremony, Places};

#[derive(Debug, Args)]
pub(super) struct TranscriptArgs {
    /// Write the page to this new file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The root's folder, if its files are to be listed too
    #[arg(long, value_name = "DIR")]
    root_dir: Option<PathBuf>,
}

pub(super) fn transcript(common: &Common, args: &TranscriptArgs) -> Outcome {
    check_transcript(Some(&args.out))?;
    let places = Places { dir: common.dir()?, root: args.root_dir.as_deref() };
    let text = transcript::compose(&common.register()?, Ceremony::Standing, places, now())?;
    files::replace(&args.out, text.as_bytes(), PLAIN_FILE)?;
    if common.json {
        return render::json(&serde_json::json!({ "file": args.out }));
    }
    say!("Transcript written to {}", args.out.display())
}

/// Before anything is done: a page that was signed is never written over.
pub(super) fn check_transcript(path: Option<&Path>) -> Outcome {
    match path.filter(|path| path.exists()) {
        None => Ok(()),
        Some(path) => Err(Ended::Failed(anyhow::anyhow!(
            "{} is there already; name a new file for the transcript",
            path.display()
        ))),
    }
}

/// Writes the page of a ceremony that was just held into both folders, and further if that is wanted.
pub(super) fn write_transcript(
    authority: &Authority,
    common: &Common,
    ceremony: Ceremony,
    root: &Path,
    further: Option<&Path>,
) -> Result<Vec<PathBuf>, Ended> {
    let (now, places) = (now(), Places { dir: common.dir()?, root: Some(root) });
    let text = transcript::compose(&authority.register(), ceremony, places, now)?;
    let written = transcript::write(&text, places, further, now);
    Ok(written.map_err(|error| {
        anyhow::Error::new(error).context(
            "the ceremony counts, but its transcript is missing: run `valise-ca transcript --out FILE`",
        )
    })?)
}

#[derive(Debug, Subcommand)]
pub(super) enum PassphraseCommand {
    /// Encrypt the private keys under a new passphrase; the keys stay the same
    ///
    /// Backups made before still open with the old passphrase: destroy them if it became known.
    Change(ChangeArgs),
}

#[derive(Debug, Args)]
pub(super) struct ChangeArgs {
    /// Change the root's passphrase, not the authority's; only the root's folder is needed
    #[arg(long)]
    root: bool,
    #[command(flatten)]
    place: RootArgs,
    /// Read the new passphrase from the one line of this file (mode 0600) instead of asking for it
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
}

pub(super) fn change_passphrase(common: &Common, args: &ChangeArgs) -> Outcome {
    if args.root {
        return change_root_passphrase(common, args);
    }
    if args.place.is_given() {
        return Err(Ended::Mistakes(anyhow::anyhow!(
            "--root-dir and --root-passphrase-file are for the root's passphrase: give --root too"
        )));
    }
    common.register()?;
    let old = ask::passphrase(common.passphrase_file.as_deref())?;
    // Before anybody thinks of a new one.
    let mut authority = common.open_with(&old)?;
    let new = ask::new_passphrase(args.new_passphrase_file.as_deref())?;
    authority.change_passphrase(&old, &new, now())?;
    if common.json {
        return render::json(&serde_json::json!({ "changed": true }));
    }
    say!("The keys in {} now open with the new passphrase only.", common.dir()?.display())?;
    say!("Backups made before open with the old one: make a new backup, and destroy them if it became known.")
}

fn change_root_passphrase(common: &Common, args: &ChangeArgs) -> Outcome {
    let place = args.place.place_alone(common)?;
    let new = match &args.new_passphrase_file {
        Some(file) => ask::new_passphrase(Some(file))?,
        None => ask::new_root_passphrase()?,
    };
    root::change_passphrase(&place, &new)?;
    if common.json {
        return render::json(&serde_json::json!({ "changed": true }));
    }
    say!("The root's key in {} now opens with the new passphrase only.", place.dir.display())?;
    say!("Copies of the folder made before open with the old one: destroy them if it became known.")
}

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Write the backup to this new file, best on another medium
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn back_up(common: &Common, args: &BackupArgs) -> Outcome {
    let made = backup::make(common.dir()?, &args.out, now())?;
    tell_of(common, &args.out, &made)?;
    if common.json {
        return Ok(());
    }
    say!("Its keys are encrypted as they are in the folder: keep the passphrase elsewhere.")
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only check that the backup is as it was written, and print what it holds; needs neither folder nor passphrase
    #[arg(long)]
    check: bool,
}

pub(super) fn restore(common: &Common, args: &RestoreArgs) -> Outcome {
    let found = Backup::read(&args.file)?;
    if args.check {
        return tell_of(common, &args.file, &found);
    }
    let dir = common.dir()?;
    backup::check_empty(dir)?;
    let passphrase = ask::passphrase(common.passphrase_file.as_deref())?;
    let clock = Clock { now: now(), accepted: common.accept_clock };
    let restored = found.restore(dir, &passphrase, clock)?;
    if common.json {
        return render::json(&restored);
    }
    say!("The authority of {} is restored in {}.", found.header().trust_domain, dir.display())?;
    say!(
        "Directories go on from version {}, lists from number {}.",
        restored.directory_version,
        restored.crl_number
    )?;
    say!(
        "Restored up to entry {} of the journal, of {}; its head: {}",
        restored.journal_entries,
        restored.last_deed_at,
        restored.journal_head
    )?;
    say!("Compare that with the head noted last. What was done after it is lost: do it again, revocations")?;
    say!("first, then publish.")?;
    say!("Destroy the former folder if it still exists: two authorities must not go on from one backup.")
}

fn tell_of(common: &Common, path: &Path, backup: &Backup) -> Outcome {
    let header = backup.header();
    if common.json {
        return render::json(&serde_json::json!({
            "file": path,
            "sha256": backup.digest(),
            "header": header,
        }));
    }
    say!(
        "Backup of the authority of {}, made at {}: {}",
        header.trust_domain,
        header.made_at,
        path.display()
    )?;
    say!(
        "Directory version {}, lists number {}, {} files",
        header.directory_version,
        header.crl_number,
        header.files.len()
    )?;
    say!("Journal: {} entries, head {}", header.journal_entries, header.journal_head)?;
    say!("SHA-256 of all but its last line: {}", backup.digest())
}
