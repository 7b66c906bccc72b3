//! Commands about the authority itself: its founding and its root.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};
use valise_proto::id::TrustDomain;
use valise_proto::label::{AtMost, Ceiling, PolicyId};

use super::{Common, Ended, Outcome, ask, care, days, now, render};
use crate::authority::{self, Authority, Founding, Renewal};
use crate::folder::Folder;
use crate::passphrase::Passphrase;
use crate::profile::{Classes, Draft};
use crate::root::RootPlace;
use crate::state::{RevocationReason, Serial};
use crate::transcript::Ceremony;

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The exchange, such as exchange.example
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: TrustDomain,
    /// The policy that gives its labels and clearances their meaning
    #[arg(long, value_name = "POLICY")]
    policy: PolicyId,
    #[command(flatten)]
    ceiling: CeilingArgs,
    #[command(flatten)]
    root: RootArgs,
    #[command(flatten)]
    list: RootListArgs,
    /// Write the transcript of the founding to this new file too, beside those in both folders
    #[arg(long, value_name = "FILE")]
    transcript: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum IssuingCommand {
    /// List the issuing authority and those of former times whose certificates are out yet; needs neither root nor passphrase
    List,
    /// Put another issuing authority in the place of the one in force; needs the root
    ///
    /// What the former one issued goes on counting until it runs out. The directory gets a new key too. The ceiling
    /// stays, but for what --ceiling options name; ANY lifts a bound.
    Renew {
        #[command(flatten)]
        root: RootArgs,
        #[command(flatten)]
        list: RootListArgs,
        #[command(flatten)]
        ceiling: CeilingArgs,
        /// Allow a ceiling that allows more than the present one
        #[arg(long)]
        widen: bool,
        /// Go on signing the directory with the present key; never where the folder may have been in other hands
        #[arg(long)]
        keep_directory_key: bool,
        /// Write the transcript of the renewal to this new file too, beside those in both folders
        #[arg(long, value_name = "FILE")]
        transcript: Option<PathBuf>,
    },
    /// Revoke an issuing authority of former times and with it all it issued; needs the root
    Revoke {
        /// The serial of its certificate, as `issuing list` shows it
        #[arg(value_name = "SERIAL")]
        serial: Serial,
        /// Why: unspecified, key-compromise, superseded, cessation-of-operation or privilege-withdrawn
        #[arg(long, value_name = "REASON")]
        reason: RevocationReason,
        #[command(flatten)]
        root: RootArgs,
        #[command(flatten)]
        list: RootListArgs,
    },
    /// Sign a new revocation list of the root, before the last one runs out; needs the root
    Crl {
        #[command(flatten)]
        root: RootArgs,
        #[command(flatten)]
        list: RootListArgs,
    },
}

/// Where the root lies and what opens it.
#[derive(Clone, Debug, Args)]
pub(super) struct RootArgs {
    /// The root's folder, which may lie on another medium; otherwise `root` in the authority's folder
    #[arg(long, value_name = "DIR")]
    root_dir: Option<PathBuf>,
    /// Read the root's passphrase from the one line of this file (mode 0600) instead of asking for it; without
    /// --root-dir and this, the root has the authority's passphrase
    #[arg(long, value_name = "FILE")]
    root_passphrase_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct RootListArgs {
    /// Days until the root's revocation list runs out: until the next time the root is fetched, and some to spare
    #[arg(long, value_name = "DAYS", default_value_t = 396, value_parser = clap::value_parser!(u64).range(1..=1826))]
    root_crl_days: u64,
}

impl RootListArgs {
    pub(super) fn lifetime(&self) -> std::time::Duration {
        days(self.root_crl_days)
    }
}

/// The most an authority may grant; what is not given stays as it was, which is unbounded for a new one.
#[derive(Clone, Debug, Args)]
pub(super) struct CeilingArgs {
    /// A State or organisation whose agencies it may enrol, or ANY; may be given several times
    #[arg(long = "ceiling-state", value_name = "STATE", value_delimiter = ',')]
    states: Vec<String>,
    /// The classification it may grant at most, such as SECRET, or exactly those of a list, or ANY
    #[arg(long = "ceiling-clearance", value_name = "CLASSES")]
    clearance: Option<String>,
    /// A compartment it may grant, or NONE or ANY; may be given several times
    #[arg(long = "ceiling-compartment", value_name = "NAME", value_delimiter = ',')]
    compartments: Vec<String>,
    /// An affiliation it may grant beside an agency's State, or NONE or ANY; may be given several times
    #[arg(long = "ceiling-affiliation", value_name = "NAME", value_delimiter = ',')]
    affiliations: Vec<String>,
}

impl CeilingArgs {
    /// The ceiling, which is `base` in what is not given; all mistakes are told at once.
    pub(super) fn ceiling(&self, base: &Ceiling) -> Result<Ceiling, Ended> {
        let mut mistakes = Vec::new();
        let classifications = match self.clearance.as_deref() {
            None => base.classifications.clone(),
            Some(ANY) => Ceiling::unlimited().classifications,
            Some(text) => {
                let draft = Draft { clearance: Some(Classes::from_option(text)), ..Draft::default() };
                let built = draft.build().map_err(|error| mistakes.push(error.to_string()));
                built.map(|profile| profile.clearance.classes).unwrap_or_default()
            }
        };
        let ceiling = Ceiling {
            states: at_most("--ceiling-state", &self.states, &base.states, &mut mistakes),
            classifications,
            compartments: at_most(
                "--ceiling-compartment",
                &self.compartments,
                &base.compartments,
                &mut mistakes,
            ),
            affiliations: at_most(
                "--ceiling-affiliation",
                &self.affiliations,
                &base.affiliations,
                &mut mistakes,
            ),
        };
        if mistakes.is_empty() {
            return Ok(ceiling);
        }
        Err(Ended::Mistakes(anyhow::anyhow!("the ceiling has mistakes:\n  {}", mistakes.join("\n  "))))
    }
}

const ANY: &str = "ANY";

fn at_most<T: FromStr<Err: Display> + Ord + Clone>(
    option: &str,
    names: &[String],
    base: &AtMost<T>,
    mistakes: &mut Vec<String>,
) -> AtMost<T> {
    if names.is_empty() {
        return base.clone();
    }
    if names.iter().any(|name| name == ANY) {
        if names.len() > 1 {
            mistakes.push(format!("{option}: ANY, and names beside it"));
        }
        return AtMost::Any;
    }
    let mut allowed = BTreeSet::new();
    for name in names.iter().filter(|name| *name != "NONE") {
        match name.parse() {
            Ok(name) => drop(allowed.insert(name)),
            Err(error) => mistakes.push(format!("{option}: {error}")),
        }
    }
    if !allowed.is_empty() && names.iter().any(|name| name == "NONE") {
        mistakes.push(format!("{option}: NONE, and names beside it"));
    }
    AtMost::Only(allowed)
}

impl RootArgs {
    fn dir(&self, common: &Common) -> Result<PathBuf, Ended> {
        let below = || Ok(Folder::new(common.dir()?).default_root());
        self.root_dir.clone().map_or_else(below, Ok)
    }

    /// The root of an authority that is there; its passphrase is asked for. `authority` is the authority's.
    pub(super) fn place(&self, common: &Common, authority: &Passphrase) -> Result<RootPlace, Ended> {
        let passphrase = match (&self.root_passphrase_file, &self.root_dir) {
            (Some(file), _) => ask::passphrase(Some(file))?,
            (None, None) => authority.clone(),
            (None, Some(_)) => ask::root_passphrase()?,
        };
        Ok(RootPlace { dir: self.dir(common)?, passphrase })
    }

    /// The root alone, without its authority.
    pub(super) fn place_alone(&self, common: &Common) -> Result<RootPlace, Ended> {
        let below = common.passphrase_file.as_deref().filter(|_| self.root_dir.is_none());
        let passphrase = match self.root_passphrase_file.as_deref().or(below) {
            Some(file) => ask::passphrase(Some(file))?,
            None => ask::root_passphrase()?,
        };
        Ok(RootPlace { dir: self.dir(common)?, passphrase })
    }

    pub(super) fn is_given(&self) -> bool {
        self.root_dir.is_some() || self.root_passphrase_file.is_some()
    }

    fn new_place(&self, common: &Common, authority: &Passphrase) -> Result<RootPlace, Ended> {
        let passphrase = match (&self.root_passphrase_file, &self.root_dir) {
            (Some(file), _) => ask::passphrase(Some(file))?,
            (None, None) => authority.clone(),
            (None, Some(_)) => ask::new_root_passphrase()?,
        };
        Ok(RootPlace { dir: self.dir(common)?, passphrase })
    }
}

pub(super) fn init(common: &Common, args: InitArgs) -> Outcome {
    let InitArgs { trust_domain, policy, ceiling, root, list, transcript } = args;
    let dir = common.dir()?;
    // Before anybody thinks of a passphrase.
    authority::check_vacant(&Folder::new(dir), &root.dir(common)?)?;
    care::check_transcript(transcript.as_deref())?;
    let ceiling = ceiling.ceiling(&Ceiling::unlimited())?;
    let passphrase = ask::new_passphrase(common.passphrase_file.as_deref())?;
    let place = root.new_place(common, &passphrase)?;
    let founding = Founding { trust_domain, policy, ceiling, root_list: list.lifetime() };
    let authority = Authority::init_with_root(dir, &place, &founding, &passphrase, now())?;
    let view = authority.register().authority()?;
    let written =
        care::write_transcript(&authority, common, Ceremony::Founding, &place.dir, transcript.as_deref())?;
    if common.json {
        return render::json(&view);
    }
    say!("Authority of {} founded in {}", view.trust_domain, dir.display())?;
    tell!("{}", render::authority(&view))?;
    say!("")?;
    for path in written {
        say!("Transcript, to be printed and signed: {}", path.display())?;
    }
    say!("The root lies in {}: keep it apart from the rest, on a medium of its own.", place.dir.display())?;
    say!(
        "Keep a copy of both folders and, elsewhere, of the passphrases: without either the exchange ends."
    )?;
    say!("Next: valise-ca broker issue NAME --dir {} --endpoint HOST:PORT --out DIR", dir.display())
}

pub(super) fn issuing(common: &Common, command: IssuingCommand) -> Outcome {
    match command {
        IssuingCommand::List => list(common),
        IssuingCommand::Renew { root, list, ceiling, widen, keep_directory_key, transcript } => {
            care::check_transcript(transcript.as_deref())?;
            // Before the passphrases: are they names at all?
            ceiling.ceiling(&Ceiling::unlimited())?;
            let new_directory_key = !keep_directory_key;
            let renewal = Renewal { ceiling: None, widen, new_directory_key, root_list: list.lifetime() };
            renew(common, &root, (renewal, &ceiling), transcript.as_deref())
        }
        IssuingCommand::Revoke { serial, reason, root, list } => {
            let (mut authority, place, _) = with_root(common, &root)?;
            let next_update = authority.revoke_issuing(&place, serial, reason, (list.lifetime(), now()))?;
            if common.json {
                return render::json(
                    &serde_json::json!({ "revoked": serial, "root_list_next_update": next_update }),
                );
            }
            say!("Issuing certificate {serial} is revoked, and with it all it issued.")?;
            say!(
                "Members whose certificates it issued need new ones: valise-ca bundle, valise-ca broker issue."
            )?;
            super::commands::from_next_publication(common)
        }
        IssuingCommand::Crl { root, list } => {
            let (mut authority, place, _) = with_root(common, &root)?;
            let next_update = authority.renew_root_list(&place, list.lifetime(), now())?;
            if common.json {
                return render::json(&serde_json::json!({ "root_list_next_update": next_update }));
            }
            say!(
                "The root's revocation list counts until {next_update}. The root can go back into its safe."
            )?;
            super::commands::from_next_publication(common)
        }
    }
}

fn list(common: &Common) -> Outcome {
    let views = common.register()?.issuing()?;
    if common.json {
        return render::json(&views);
    }
    for view in views {
        let what = match view.revoked_at {
            Some(at) => format!("revoked at {at}"),
            None if view.in_force => "in force".to_owned(),
            None => "of former times".to_owned(),
        };
        say!("{}  {what}", view.serial)?;
        say!("  counts        {} to {}", view.not_before, view.not_after)?;
        let until = view.issued_until.map_or_else(String::new, |until| format!(", the last until {until}"));
        say!("  certificates  {}{until}", view.issued)?;
    }
    Ok(())
}

fn renew(
    common: &Common,
    root: &RootArgs,
    (mut renewal, ceiling): (Renewal, &CeilingArgs),
    transcript: Option<&Path>,
) -> Outcome {
    let (mut authority, place, passphrase) = with_root(common, root)?;
    renewal.ceiling = Some(ceiling.ceiling(authority.ceiling())?);
    let renewed = authority.renew_issuing(&place, &passphrase, &renewal, now())?;
    let written = care::write_transcript(&authority, common, Ceremony::Renewal, &place.dir, transcript)?;
    if common.json {
        return render::json(&renewed);
    }
    say!("Issuing certificate {} took over from {}.", renewed.serial, renewed.former)?;
    say!("It counts until {}; delegation {} of the root.", renewed.not_after, renewed.generation)?;
    say!("Ceiling: {}", authority.ceiling())?;
    say!("The root's revocation list counts until {}.", renewed.root_list_next_update)?;
    for path in written {
        say!("Transcript, to be printed and signed: {}", path.display())?;
    }
    say!("The root can go back into its safe. Make a new backup of both folders.")?;
    super::commands::from_next_publication(common)
}

/// Opens the authority, and finds out what opens its root.
fn with_root(common: &Common, root: &RootArgs) -> Result<(Authority, RootPlace, Passphrase), Ended> {
    common.register()?;
    let passphrase = ask::passphrase(common.passphrase_file.as_deref())?;
    let place = root.place(common, &passphrase)?;
    Ok((common.open_with(&passphrase)?, place, passphrase))
}
