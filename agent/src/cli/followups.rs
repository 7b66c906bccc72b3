//! Answering, correcting, withdrawing, and following what becomes of a notice.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use valise_proto::id::NoticeId;

use super::client::ask;
use super::waiting::Waiting;
use super::{Common, EXIT_ATTENTION, Ended, Outcome, remote, render};
use crate::api::types::{
    ActRequest, CorrectRequest, DeclineRequest, NoticeFacts, Queued, RespondRequest, TrackFacts, Until,
    WithdrawRequest,
};

/// What is done about a notice after it was sent.
#[derive(Debug, Subcommand)]
pub(super) enum FollowUp {
    /// Answer a received notice
    Respond(RespondArgs),
    /// State that a received notice was acted upon; its originator is told by whom
    Act {
        /// The notice, which the officer has read
        id: NoticeId,
        /// The officer who acted, while the node has no officers' accounts
        #[arg(long, value_name = "NAME")]
        officer: Option<String>,
        /// Why, for the access journal; needed once the node has officers' accounts
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// State that a received notice cannot be used here; its originator is told by whose decision, and why
    Decline {
        /// The notice, which the officer has read
        id: NoticeId,
        /// Why, without a word about persons; the originator reads it, and it is kept with the receipt
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// The officer who decided it, while the node has no officers' accounts
        #[arg(long, value_name = "NAME")]
        officer: Option<String>,
    },
    /// Send a corrected notice in the place of one that was sent from here
    Correct {
        /// The notice that is corrected
        id: NoticeId,
        /// The notice whole, as it should be, JSON; `-` reads standard input
        #[arg(value_name = "FILE.json")]
        file: PathBuf,
        /// What was wrong
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Take back a notice that was sent from here
    Withdraw {
        /// The notice
        id: NoticeId,
        /// Why; every recipient reads it
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// The label of the reason; UNCLASSIFIED unless given
        #[arg(long, value_name = "BANNER")]
        label: Option<String>,
    },
    /// Show every step of a notice at every recipient, and who is late; the exit code is 3 where someone is late or
    /// not known to have it, or where it was made from a notice that is out of force, and 4 where what --wait waits for
    /// has not come in time, whoever is late
    Track {
        /// The notice
        id: NoticeId,
        /// Wait until this has happened at every recipient; the exit code is 4 where it has not in time
        #[arg(long, value_name = "WHAT")]
        wait: Option<Until>,
        /// How long to wait, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 30, requires = "wait", value_parser = clap::value_parser!(u64).range(1..=600))]
        timeout: u64,
    },
}

/// What `respond` takes.
#[derive(Debug, Args)]
pub(super) struct RespondArgs {
    /// The notice that is answered
    id: NoticeId,
    /// MATCH, NO_MATCH, NEED_MORE or WILL_ACT
    #[arg(long, value_name = "OUTCOME")]
    outcome: String,
    /// What else there is to say
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// The id of a part that it is about; may be given several times
    #[arg(long, value_name = "PART")]
    about: Vec<String>,
    /// The label of the answer; unless given, that of all that is held of the notice here
    #[arg(long, value_name = "BANNER")]
    label: Option<String>,
}

pub(super) fn run(common: &Common, command: FollowUp) -> Outcome {
    match command {
        FollowUp::Respond(RespondArgs { id, outcome, text, about, label }) => {
            let request = RespondRequest { outcome, text, about, label };
            let queued = ask(common, |node| async move { node.respond(&id, &request).await })?;
            queued_so(common, &queued)
        }
        FollowUp::Act { id, officer, reason } => {
            let request = ActRequest { officer, reason };
            stated(common, &ask(common, |node| async move { node.act(&id, &request).await })?)
        }
        FollowUp::Decline { id, reason, officer } => {
            let request = DeclineRequest { officer, reason };
            stated(common, &ask(common, |node| async move { node.decline(&id, &request).await })?)
        }
        FollowUp::Correct { id, file, reason } => correct(common, &id, &file, reason),
        FollowUp::Withdraw { id, reason, label } => {
            let request = WithdrawRequest { reason, label };
            let queued = ask(common, |node| async move { node.withdraw(&id, &request).await })?;
            queued_so(common, &queued)
        }
        FollowUp::Track { id, wait, timeout } => track(common, &id, wait, timeout),
    }
}

fn queued_so(common: &Common, queued: &Queued) -> Outcome {
    if common.json { render::json(queued) } else { tell!("{}", render::queued(queued)) }
}

fn stated(common: &Common, notice: &NoticeFacts) -> Outcome {
    if common.json { render::json(notice) } else { tell!("{}", render::notice(notice)) }
}

fn correct(common: &Common, id: &NoticeId, file: &Path, reason: String) -> Outcome {
    let notice = serde_json::from_slice(&remote::notice(file)?).map_err(|error| {
        Ended::Mistakes(anyhow::Error::new(error).context(format!("{}: not JSON", file.display())))
    })?;
    let request = CorrectRequest { reason, notice };
    let queued = ask(common, |node| async move { node.correct(id, &request).await })?;
    queued_so(common, &queued)
}

fn track(common: &Common, id: &NoticeId, wait: Option<Until>, timeout: u64) -> Outcome {
    let track: TrackFacts = ask(common, |node| async move {
        match wait {
            Some(wait) => node.track_after(id, wait, timeout).await,
            None => node.track(id).await,
        }
    })?;
    if common.json {
        render::json(&track)?;
    } else {
        tell!("{}", render::track(&track))?;
    }
    if let Some(until) = wait {
        Waiting { until, seconds: timeout }.check(&track.status)?;
    }
    if track.late.is_empty() && track.outstanding.is_empty() && track.rests_on.is_none() {
        return Ok(());
    }
    Err(Ended::Told(EXIT_ATTENTION))
}
