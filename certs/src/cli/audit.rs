//! Commands about the journal.

use clap::Subcommand;
use valise_proto::id::{Digest, Timestamp};

use super::{Common, Outcome, render};
use crate::audit;
use crate::journal::Entry;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Check that no entry of the journal was altered, taken out, moved or cut off; needs no passphrase
    Verify {
        /// Check also that this head, noted earlier, is in the journal
        #[arg(long, value_name = "DIGEST")]
        head: Option<Digest>,
    },
    /// Print the entries of the journal; needs no passphrase
    Show {
        /// Those about this member only
        #[arg(long, value_name = "ID")]
        member: Option<String>,
        /// Those from this moment on only, such as 2026-03-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        since: Option<Timestamp>,
        /// Those of this action only, such as ENROL
        #[arg(long, value_name = "ACTION")]
        action: Option<String>,
    },
}

pub(super) fn run(common: &Common, command: AuditCommand) -> Outcome {
    match command {
        AuditCommand::Verify { head } => verify(common, head),
        AuditCommand::Show { member, since, action } => {
            let wanted = |entry: &Entry| {
                member.as_ref().is_none_or(|member| entry.subject == *member)
                    && since.is_none_or(|since| entry.at >= since)
                    && action.as_ref().is_none_or(|action| entry.action == action.to_ascii_uppercase())
            };
            show(common, wanted)
        }
    }
}

fn verify(common: &Common, head: Option<Digest>) -> Outcome {
    let audited = audit::verify(common.dir()?, head)?;
    if common.json {
        return render::json(&audited);
    }
    say!("The journal is whole: {} entries, {} certificates.", audited.entries, audited.certificates)?;
    say!("Last entry of:      {}", audited.last_at)?;
    say!("Head, to be noted:  {}", audited.head)?;
    say!("Trust fingerprint:  {}", audited.trust_fingerprint)?;
    if head.is_some() {
        say!("The head that was noted is in it.")?;
    }
    if audited.pending {
        say!("The last entry is in state.json only yet; the next command writes it to the journal.")?;
    }
    Ok(())
}

fn show(common: &Common, wanted: impl Fn(&Entry) -> bool) -> Outcome {
    let entries: Vec<Entry> = audit::entries(common.dir()?)?.into_iter().filter(wanted).collect();
    if common.json {
        return render::json(&entries);
    }
    for entry in &entries {
        say!("{:>6}  {}  {}  {}", entry.seq, entry.at, entry.action, entry.subject)?;
        for (name, value) in &entry.facts {
            say!("        {name}: {}", value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned))?;
        }
        for serial in &entry.issued {
            say!("        issued: {serial}")?;
        }
    }
    Ok(())
}
