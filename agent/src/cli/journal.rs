//! Commands about the access journal.

use clap::{Args, Subcommand};
use valise_proto::id::{Digest, NoticeId, Timestamp};

use super::client::ask;
use super::{Common, Ended, Outcome, render};
use crate::api::client::ClientError;
use crate::api::journal::JournalHead;
use crate::clock::Clock;
use crate::config::Config;
use crate::journal::{Deed, Query};
use crate::node::office::Office;

/// Which entries, or what else.
#[derive(Debug, Args)]
pub(super) struct JournalArgs {
    #[command(subcommand)]
    command: Option<JournalCommand>,
    /// Not before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Of this officer
    #[arg(long, value_name = "NAME")]
    officer: Option<String>,
    /// Of this deed, such as OPEN or SEND
    #[arg(long, value_name = "DEED")]
    deed: Option<Deed>,
    /// About this notice, or about one from here that corrects, withdraws or answers it
    #[arg(long, value_name = "ID")]
    notice: Option<NoticeId>,
    /// At most so many
    #[arg(long, default_value_t = 100, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=10000))]
    limit: u16,
}

/// What else may be done with the journal.
#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// Show where the journal ends, to be noted elsewhere
    Head,
    /// Go through the whole journal; also while the node is stopped
    Verify {
        /// The hash that was noted before, which must be that of an entry
        #[arg(long, value_name = "HEX")]
        head: Option<Digest>,
    },
}

pub(super) fn journal(common: &Common, args: JournalArgs) -> Outcome {
    let JournalArgs { command, since, officer, deed, notice, limit } = args;
    match command {
        Some(JournalCommand::Head) => {
            let head = ask(common, |node| async move { node.journal_head().await })?;
            told(common, &head, "")
        }
        Some(JournalCommand::Verify { head }) => verify(common, head.as_ref()),
        None => {
            let query = Query { since, officer, deed, about: notice };
            let entries = ask(common, |node| async move { node.journal(&query, limit.into()).await })?;
            if common.json {
                return render::json(&entries);
            }
            for written in &entries {
                let entry = &written.entry;
                let about = entry.about.map(|about| format!("  {about}")).unwrap_or_default();
                let reason =
                    entry.reason.as_ref().map(|reason| format!("  reason: {reason}")).unwrap_or_default();
                say!(
                    "{}  {}  {}  {}{about}  {}{reason}",
                    written.seq,
                    entry.at,
                    entry.deed,
                    entry.officer,
                    entry.detail
                )?;
            }
            Ok(())
        }
    }
}

fn verify(common: &Common, noted: Option<&Digest>) -> Outcome {
    let asked = ask(common, |node| async move { node.verify_journal(noted).await });
    let head = match asked {
        Err(Ended::Client(ClientError::NotRunning { .. })) => {
            let office = Office::at_rest(Config::of_folder(common.folder()?)?, Clock::system())?;
            JournalHead::from(office.store().verify_journal(noted)?)
        }
        answered => answered?,
    };
    told(common, &head, "The access journal is whole. ")
}

fn told(common: &Common, head: &JournalHead, sentence: &str) -> Outcome {
    if common.json {
        return render::json(head);
    }
    say!("{sentence}{} entries; head {}", head.entries, head.hash)
}
