//! Commands about what waits for a second officer.

use clap::{Args, Subcommand};
use valise_proto::id::NoticeId;

use super::client::ask;
use super::{Common, Outcome, render};
use crate::api::pending::Decision;

/// Which drafts.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum PendingCommand {
    /// List the drafts that wait
    List,
    /// Show who would be able to read a draft, and what its author wrote
    Show {
        /// The draft
        id: NoticeId,
    },
    /// Send what another officer drafted
    Approve(Decided),
    /// Take a draft off unsent
    Refuse(Decided),
}

/// A decision.
#[derive(Clone, Debug, Args)]
pub(super) struct Decided {
    /// The draft
    id: NoticeId,
    /// Why, for the access journal; a refusal needs it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Who decides, while the node has no officers' accounts
    #[arg(long, value_name = "NAME")]
    officer: Option<String>,
}

pub(super) fn pending(common: &Common, command: PendingCommand) -> Outcome {
    match command {
        PendingCommand::List => list(common),
        PendingCommand::Show { id } => {
            let draft = ask(common, |node| async move { node.pending_draft(&id).await })?;
            if common.json {
                return render::json(&draft);
            }
            if let Some(preview) = &draft.preview {
                tell!("{}", render::preview(preview))?;
            }
            if let Some(problem) = &draft.problem {
                say!("It cannot be approved as it is: {problem}")?;
            }
            render::json(&draft.notice)
        }
        PendingCommand::Approve(Decided { id, reason, officer }) => {
            let decision = Decision { officer, reason };
            let queued = ask(common, |node| async move { node.approve(&id, &decision).await })?;
            if common.json { render::json(&queued) } else { tell!("{}", render::queued(&queued)) }
        }
        PendingCommand::Refuse(Decided { id, reason, officer }) => {
            let decision = Decision { officer, reason };
            let refused = ask(common, |node| async move { node.refuse(&id, &decision).await })?;
            if common.json {
                render::json(&refused)
            } else {
                say!("{id} is not sent, and its draft is gone.")
            }
        }
    }
}

fn list(common: &Common) -> Outcome {
    let waiting = ask(common, |node| async move { node.pending().await })?;
    if common.json {
        return render::json(&waiting);
    }
    for draft in &waiting {
        say!(
            "{}  {}  {}  drafted by {} at {}  until {}",
            draft.notice_id,
            draft.kind,
            draft.label,
            draft.drafter,
            draft.at,
            draft.until
        )?;
    }
    if waiting.is_empty() { say!("Nothing waits for a second officer.") } else { Ok(()) }
}
