//! Commands that change what an agency is.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use valise_proto::directory::Function;
use valise_proto::envelope::NoticeKind;
use valise_proto::id::{AgencyId, Role, Timestamp};
use valise_proto::label::Classification;

use super::commands::changed;
use super::{Common, Ended, Outcome, now};
use crate::authority::{Authority, ChangeError};

#[derive(Debug, Subcommand)]
pub(super) enum FunctionsCommand {
    /// List an agency with exactly these functions, or with none
    Set {
        /// The agency
        #[arg(value_name = "STATE/UNIT")]
        agency: AgencyId,
        /// LAW_ENFORCEMENT, BORDER, CUSTOMS, INTELLIGENCE, MILITARY, JUDICIAL, INTERNATIONAL
        #[arg(long = "function", value_name = "FUNCTION", value_delimiter = ',')]
        functions: Vec<Function>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum OriginationCommand {
    /// Let an agency originate exactly this
    Set(OriginationArgs),
}

#[derive(Debug, Args)]
pub(super) struct OriginationArgs {
    /// The agency
    #[arg(value_name = "STATE/UNIT")]
    agency: AgencyId,
    /// Kinds of notice, such as TRAVEL,ARRIVAL
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',', required = true)]
    kinds: Vec<NoticeKind>,
    /// Classifications; otherwise those of its clearance, whatever that becomes
    #[arg(long = "classification", value_name = "CLASS", value_delimiter = ',')]
    classifications: Option<Vec<Classification>>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ContactPointCommand {
    /// Paragraph-3 notices for its State go to this agency
    Set {
        /// The agency
        #[arg(value_name = "STATE/UNIT")]
        agency: AgencyId,
    },
    /// Paragraph-3 notices for its State no longer go to this agency
    Clear {
        /// The agency
        #[arg(value_name = "STATE/UNIT")]
        agency: AgencyId,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum NameCommand {
    /// Give an agency a name for people
    Set {
        /// The agency
        #[arg(value_name = "STATE/UNIT")]
        agency: AgencyId,
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Show an agency under its id
    Clear {
        /// The agency
        #[arg(value_name = "STATE/UNIT")]
        agency: AgencyId,
    },
}

pub(super) fn functions(common: &Common, command: FunctionsCommand) -> Outcome {
    let FunctionsCommand::Set { agency, functions } = command;
    let functions = functions.into_iter().collect();
    change(common, &agency, |authority, now| authority.set_functions(&agency, functions, now))
}

pub(super) fn origination(common: &Common, command: OriginationCommand) -> Outcome {
    let OriginationCommand::Set(OriginationArgs { agency, kinds, classifications }) = command;
    let kinds: BTreeSet<_> = kinds.into_iter().collect();
    let classifications = classifications.map(|list| list.into_iter().collect());
    change(common, &agency, |authority, now| authority.set_origination(&agency, kinds, classifications, now))
}

pub(super) fn contact_point(common: &Common, command: ContactPointCommand) -> Outcome {
    let (agency, is) = match command {
        ContactPointCommand::Set { agency } => (agency, true),
        ContactPointCommand::Clear { agency } => (agency, false),
    };
    change(common, &agency, |authority, now| authority.set_contact_point(&agency, is, now))
}

pub(super) fn name(common: &Common, command: NameCommand) -> Outcome {
    let (agency, name) = match command {
        NameCommand::Set { agency, name } => (agency, Some(name)),
        NameCommand::Clear { agency } => (agency, None),
    };
    change(common, &agency, |authority, now| authority.set_name(&agency, name, now))
}

/// Changes an agency and tells what it is now. What was asked for wrongly is a mistake of the command.
fn change(
    common: &Common,
    agency: &AgencyId,
    step: impl FnOnce(&mut Authority, Timestamp) -> Result<(), ChangeError>,
) -> Outcome {
    let mut authority = common.open()?;
    match step(&mut authority, now()) {
        Ok(()) => changed(common, &authority, &Role::Agency(agency.clone())),
        Err(ChangeError::Profile(error)) => Err(Ended::Mistakes(error.into())),
        Err(error) => Err(error.into()),
    }
}
