//! Lowering what is ours, and passing on what is not.

use clap::{Args, Subcommand};
use valise_proto::envelope::{NoticeKind, Precedence};
use valise_proto::id::{AgencyId, NoticeId};

use super::client::ask;
use super::{Common, Outcome, render};
use crate::api::release::{Derivation, SecondOfficer, WaitingRelease};
use crate::release::downgrade::Downgrade;
use crate::release::forward::Forward;

/// What `downgrade` takes.
#[derive(Debug, Args)]
pub(super) struct DowngradeArgs {
    /// The notice, sent from here
    id: NoticeId,
    /// The portions, by their places: 0,2
    #[arg(long, value_name = "PLACES", value_delimiter = ',', required = true)]
    portions: Vec<usize>,
    /// The banner of the new notice; instructions that the portions bear are added to it
    #[arg(long, value_name = "BANNER")]
    label: String,
    /// Instructions of the portions that the new notice is not to bear, such as ORCON
    #[arg(long, value_name = "INSTRUCTIONS", value_delimiter = ',')]
    drop_handling: Vec<String>,
    /// Whom it is for
    #[arg(long, value_name = "AGENCIES", value_delimiter = ',', required = true)]
    to: Vec<AgencyId>,
    /// What it is, where it is to be another kind of notice
    #[arg(long, value_name = "KIND")]
    kind: Option<NoticeKind>,
    /// How fast it travels, where not as the notice did
    #[arg(long, value_name = "PRECEDENCE")]
    precedence: Option<Precedence>,
    #[command(flatten)]
    who: Who,
}

/// What `forward` takes.
#[derive(Debug, Args)]
pub(super) struct ForwardArgs {
    /// The notice, received here
    id: NoticeId,
    /// Whom it is for
    #[arg(long, value_name = "AGENCIES", value_delimiter = ',', required = true)]
    to: Vec<AgencyId>,
    /// The portions, by their places: 0,2; otherwise all that are held
    #[arg(long, value_name = "PLACES", value_delimiter = ',')]
    portions: Vec<usize>,
    /// The banner, where not that of the portions
    #[arg(long, value_name = "BANNER")]
    label: Option<String>,
    /// How fast it travels, where not as the notice did
    #[arg(long, value_name = "PRECEDENCE")]
    precedence: Option<Precedence>,
    #[command(flatten)]
    who: Who,
}

/// Who acts, and why.
#[derive(Debug, Args)]
pub(super) struct Who {
    /// The officer who acts, while the node has no officers' accounts
    #[arg(long, value_name = "NAME")]
    officer: Option<String>,
    /// Why, for the access journal
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// What may be done about releases.
#[derive(Debug, Subcommand)]
pub(super) enum ReleaseCommand {
    /// List what waits for a second officer
    List,
    /// Approve what another officer asked for: the notice is made and sent
    Approve {
        /// The release, as `release list` shows it
        id: NoticeId,
        #[command(flatten)]
        who: Who,
    },
    /// Refuse what waits; nothing is sent
    Refuse {
        /// The release, as `release list` shows it
        id: NoticeId,
        #[command(flatten)]
        who: Who,
    },
    /// Show what a notice was made from here, and what was made of it
    Show {
        /// The notice
        id: NoticeId,
    },
}

pub(super) fn downgrade(common: &Common, args: DowngradeArgs) -> Outcome {
    let DowngradeArgs { id, portions, label, drop_handling, to, kind, precedence, who } = args;
    let Who { officer, reason } = who;
    let what = Downgrade { portions, label, drop_handling, to, kind, precedence, officer, reason };
    let waiting = ask(common, |node| async move { node.downgrade(&id, &what).await })?;
    if common.json {
        return render::json(&waiting);
    }
    say!("{}", line(&waiting))?;
    say!("a second officer approves it with: valise-agent release approve {} --officer NAME", waiting.id)
}

pub(super) fn forward(common: &Common, args: ForwardArgs) -> Outcome {
    let ForwardArgs { id, to, portions, label, precedence, who: Who { officer, reason } } = args;
    let what = Forward { portions, to, label, precedence, officer, reason };
    let queued = ask(common, |node| async move { node.forward(&id, &what).await })?;
    if common.json { render::json(&queued) } else { tell!("{}", render::queued(&queued)) }
}

pub(super) fn release(common: &Common, command: ReleaseCommand) -> Outcome {
    match command {
        ReleaseCommand::List => list(common),
        ReleaseCommand::Approve { id, who } => {
            let who = second(who);
            let queued = ask(common, |node| async move { node.approve_release(&id, &who).await })?;
            if common.json { render::json(&queued) } else { tell!("{}", render::queued(&queued)) }
        }
        ReleaseCommand::Refuse { id, who } => {
            let who = second(who);
            let refused = ask(common, |node| async move { node.refuse_release(&id, &who).await })?;
            if common.json { render::json(&refused) } else { say!("refused: {}", line(&refused)) }
        }
        ReleaseCommand::Show { id } => show(common, id),
    }
}

fn second(who: Who) -> SecondOfficer {
    SecondOfficer { officer: who.officer, reason: who.reason }
}

fn list(common: &Common) -> Outcome {
    let waiting = ask(common, |node| async move { node.releases().await })?;
    if common.json {
        return render::json(&waiting);
    }
    if waiting.is_empty() {
        return say!("no release waits for a second officer");
    }
    waiting.iter().try_for_each(|waiting| say!("{}", line(waiting)))
}

fn show(common: &Common, id: NoticeId) -> Outcome {
    let derivations = ask(common, |node| async move { node.derivations(&id).await })?;
    if common.json {
        return render::json(&derivations);
    }
    if derivations.from.is_none() && derivations.made.is_empty() {
        return say!("{id} was not made from another notice here, and none was made of it");
    }
    derivations.from.iter().chain(&derivations.made).try_for_each(|one| say!("{}", words(one)))
}

fn words(one: &Derivation) -> String {
    let Derivation { made, action, source, originator, portions, leave, officers, at } = one;
    let leave = leave.map(|leave| format!(" by leave of {leave}")).unwrap_or_default();
    let (portions, officers) = (render::joined(portions), render::joined(officers));
    let action = action.as_str();
    render::printable(&format!(
        "{made}  {action} at {at} from {source} of {originator}, portions {portions}{leave} ({officers})"
    ))
}

fn line(waiting: &WaitingRelease) -> String {
    let WaitingRelease { id, source, officer, at, downgrade } = waiting;
    let Downgrade { portions, label, to, reason, .. } = downgrade;
    let reason = reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    render::printable(&format!(
        "{id}  portions {} of {source} as {label} to {}, asked for by {officer} at {at}{reason}",
        render::joined(portions),
        render::joined(to)
    ))
}
