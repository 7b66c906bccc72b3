//! Lowering what is ours, and passing on what is not.

use clap::{Args, Subcommand, ValueEnum};
use valise_proto::envelope::{NoticeKind, Precedence};
use valise_proto::id::{AgencyId, NoticeId, Timestamp};

use super::client::ask;
use super::{Common, Outcome, render};
use crate::api::release::{Derivation, Released, SecondOfficer, WaitingRelease};
use crate::release::decide::Decide;
use crate::release::downgrade::Downgrade;
use crate::release::forward::Forward;
use crate::release::orders::What;
use crate::release::request::{Asked, Request};
use crate::release::requests::RequestFacts;

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

/// What `release request` takes.
#[derive(Debug, Args)]
pub(super) struct RequestArgs {
    /// The notice, received here
    id: NoticeId,
    /// What leave is for
    #[arg(long, value_name = "WHAT", default_value = "share")]
    action: ActionArg,
    /// The portions, by their places: 0,2
    #[arg(long, value_name = "PLACES", value_delimiter = ',', required = true)]
    portions: Vec<usize>,
    /// Whom it is for
    #[arg(long, value_name = "AGENCIES", value_delimiter = ',', required_if_eq("action", "share"))]
    to: Vec<AgencyId>,
    /// The banner it is to have
    #[arg(long, value_name = "BANNER", required_if_eq("action", "downgrade"))]
    label: Option<String>,
    /// Why it is needed; the originator reads it
    #[arg(long, value_name = "TEXT")]
    justification: String,
    /// How fast it travels, where not as the notice did
    #[arg(long, value_name = "PRECEDENCE")]
    precedence: Option<Precedence>,
    /// Until when an answer is asked for; no answer is no
    #[arg(long, value_name = "TIME")]
    respond_by: Option<Timestamp>,
    #[command(flatten)]
    who: Who,
}

/// What leave is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ActionArg {
    /// To share it with others
    Share,
    /// To make a notice of it under a lower label
    Downgrade,
}

/// What `release grant` takes.
#[derive(Debug, Args)]
pub(super) struct GrantArgs {
    /// The request, as `release requests` shows it
    id: NoticeId,
    /// Fewer portions than were asked for
    #[arg(long, value_name = "PLACES", value_delimiter = ',')]
    portions: Vec<usize>,
    /// Fewer agencies than were asked for
    #[arg(long, value_name = "AGENCIES", value_delimiter = ',')]
    to: Vec<AgencyId>,
    /// A banner that protects it more than the one asked for
    #[arg(long, value_name = "BANNER")]
    label: Option<String>,
    /// Until when leave is given
    #[arg(long, value_name = "TIME")]
    valid_until: Option<Timestamp>,
    /// What the requester is told besides
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    #[command(flatten)]
    who: Who,
}

/// What may be done about releases.
#[derive(Debug, Subcommand)]
pub(super) enum ReleaseCommand {
    /// Ask the originator of a received notice for leave to pass it on
    Request(Box<RequestArgs>),
    /// List the requests for leave that came and went, and what became of them
    Requests,
    /// Give leave, as asked for or narrower; a second officer approves it
    Grant(Box<GrantArgs>),
    /// Give no leave
    Deny {
        /// The request, as `release requests` shows it
        id: NoticeId,
        /// What the requester is told
        #[arg(long, value_name = "TEXT")]
        text: Option<String>,
        #[command(flatten)]
        who: Who,
    },
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
    if common.json { render::json(&waiting) } else { waits(&waiting) }
}

pub(super) fn forward(common: &Common, args: ForwardArgs) -> Outcome {
    let ForwardArgs { id, to, portions, label, precedence, who: Who { officer, reason } } = args;
    let what = Forward { portions, to, label, precedence, officer, reason };
    released(common, &ask(common, |node| async move { node.forward(&id, &what).await })?)
}

fn released(common: &Common, released: &Released) -> Outcome {
    if common.json {
        return render::json(released);
    }
    match released {
        Released::Queued(queued) => tell!("{}", render::queued(queued)),
        Released::Waiting(waiting) => waits(waiting),
    }
}

fn waits(waiting: &WaitingRelease) -> Outcome {
    say!("{}", line(waiting))?;
    say!("a second officer approves it with: valise-agent release approve {} --officer NAME", waiting.id)
}

fn request(common: &Common, args: RequestArgs) -> Outcome {
    let RequestArgs { id, action, portions, to, label, justification, precedence, respond_by, who } = args;
    let action = match action {
        ActionArg::Share => Asked::Share,
        ActionArg::Downgrade => Asked::Downgrade,
    };
    let Who { officer, reason } = who;
    let what =
        Request { action, portions, to, label, justification, precedence, respond_by, officer, reason };
    let queued = ask(common, |node| async move { node.request_release(&id, &what).await })?;
    if common.json { render::json(&queued) } else { tell!("{}", render::queued(&queued)) }
}

fn grant(common: &Common, args: GrantArgs) -> Outcome {
    let GrantArgs { id, portions, to, label, valid_until, text, who: Who { officer, reason } } = args;
    let what = Decide { grant: true, portions, to, label, valid_until, text, officer, reason };
    released(common, &ask(common, |node| async move { node.decide_release(&id, &what).await })?)
}

fn deny(common: &Common, id: NoticeId, text: Option<String>, who: Who) -> Outcome {
    let Who { officer, reason } = who;
    let (portions, to, label, valid_until) = (Vec::new(), Vec::new(), None, None);
    let what = Decide { grant: false, portions, to, label, valid_until, text, officer, reason };
    released(common, &ask(common, |node| async move { node.decide_release(&id, &what).await })?)
}

fn requests(common: &Common) -> Outcome {
    let requests = ask(common, |node| async move { node.release_requests().await })?;
    if common.json {
        return render::json(&requests);
    }
    if requests.is_empty() {
        return say!("no request for release came or went");
    }
    requests.iter().try_for_each(|facts| say!("{}", request_line(facts)))
}

fn request_line(facts: &RequestFacts) -> String {
    let RequestFacts { id, ours, with, about, respond_by, standing, decision, valid_until, asks } = facts;
    let way = if *ours { "to" } else { "from" };
    let about = about.map(|about| format!(" about {about}")).unwrap_or_default();
    let by = respond_by.map(|by| format!(", asked for by {by}")).unwrap_or_default();
    let decision = decision.map(|decision| format!(" with {decision}")).unwrap_or_default();
    let until = valid_until.map(|until| format!(" until {until}")).unwrap_or_default();
    let asks = asks.as_deref().map(|asks| format!(": {asks}")).unwrap_or_default();
    let standing = standing.as_str();
    render::printable(&format!("{id}  {way} {with}{about}{by}  {standing}{decision}{until}{asks}"))
}

pub(super) fn release(common: &Common, command: ReleaseCommand) -> Outcome {
    match command {
        ReleaseCommand::Request(args) => request(common, *args),
        ReleaseCommand::Requests => requests(common),
        ReleaseCommand::Grant(args) => grant(common, *args),
        ReleaseCommand::Deny { id, text, who } => deny(common, id, text, who),
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
    let Derivation { made, action, source, originator, portions, leave, officers, at, .. } = one;
    let ended = match (one.source_ended_with, one.source_ended_by) {
        (Some(kind), Some(by)) => format!("; it rests on what is out of force by the {kind} {by}"),
        (None | Some(_), None) | (None, Some(_)) => String::new(),
    };
    let leave = leave.map(|leave| format!(" by leave of {leave}")).unwrap_or_default();
    let (portions, officers) = (render::joined(portions), render::joined(officers));
    let action = action.as_str();
    render::printable(&format!(
        "{made}  {action} at {at} from {source} of {originator}, portions {portions}{leave} ({officers}){ended}"
    ))
}

fn line(waiting: &WaitingRelease) -> String {
    let WaitingRelease { id, source, officer, at, what } = waiting;
    let (what, reason) = match what {
        What::Downgrade(Downgrade { portions, label, to, reason, .. }) => {
            let (portions, to) = (render::joined(portions), render::joined(to));
            (format!("portions {portions} of {source} as {label} to {to}"), reason)
        }
        What::Forward(Forward { portions, to, reason, .. }) => {
            let (portions, to) = (render::joined(portions), render::joined(to));
            (format!("portions {portions} of {source} passed on to {to}"), reason)
        }
        What::Decision(Decide { reason, .. }) => (format!("leave as asked for with {source}"), reason),
    };
    let reason = reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    render::printable(&format!("{id}  {what}, asked for by {officer} at {at}{reason}"))
}
