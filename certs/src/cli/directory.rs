//! Commands that look at directories: what the next one changes, and what one says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use valise_proto::directory::DirectoryContent;

use super::{Common, Ended, Outcome, now, render};
use crate::difference::{self, Difference};

#[derive(Debug, Subcommand)]
pub(super) enum DirectoryCommand {
    /// Tell what the next publication changes; exit code 3 if there is anything
    ///
    /// Compares with the copy that `publish` kept in the authority's folder. Lines with + are new, with - are gone, and
    /// ~ says what was and what is now. Numbers and times that every publication renews are no change.
    Diff {
        /// Compare with this directory.valise instead
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
    },
    /// Print what a directory says: the one last published, or that of a file
    Show {
        /// A directory.valise
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

pub(super) fn run(common: &Common, command: DirectoryCommand) -> Outcome {
    match command {
        DirectoryCommand::Diff { against } => diff(common, against.as_deref()),
        DirectoryCommand::Show { file } => show(common, file.as_deref()),
    }
}

fn diff(common: &Common, against: Option<&Path>) -> Outcome {
    let dir = common.dir()?;
    let before = difference::published(dir, against)?;
    let before = before.as_ref().map(valise_proto::directory::Directory::content);
    let after = difference::next(dir, now())?;
    let changes = difference::between(before, &after);
    if common.json {
        let before = before.map(head);
        render::json(&serde_json::json!({ "before": before, "after": after.version, "changes": changes }))?;
    } else {
        told(before, &after, &changes)?;
    }
    if changes.is_empty() { Ok(()) } else { Err(Ended::Attention) }
}

fn told(before: Option<&DirectoryContent>, after: &DirectoryContent, changes: &[Difference]) -> Outcome {
    match before {
        None => say!("Nothing was published before; version {} will say:", after.version)?,
        Some(before) => say!(
            "Version {} of {}, compared with what version {} will say:",
            before.version,
            before.issued_at,
            after.version
        )?,
    }
    if changes.is_empty() {
        say!("No change.")?;
    }
    for change in changes {
        say!("{change}")?;
    }
    Ok(())
}

fn show(common: &Common, file: Option<&Path>) -> Outcome {
    let Some(directory) = difference::published(common.dir()?, file)? else {
        return Err(Ended::Failed(anyhow::anyhow!(
            "nothing was published yet; `valise-ca directory diff` tells what will be, `valise-ca publish` does it"
        )));
    };
    let content = directory.content();
    let entries = difference::entries(content);
    if common.json {
        let mut told = head(content);
        let entries: BTreeMap<_, BTreeMap<_, _>> =
            entries.into_iter().map(|(subject, fields)| (subject, fields.into_iter().collect())).collect();
        if let Some(object) = told.as_object_mut() {
            object.insert("entries".to_owned(), serde_json::json!(entries));
        }
        return render::json(&told);
    }
    say!(
        "Version {}, signed at {}, counts until {}",
        content.version,
        content.issued_at,
        content.expires_at
    )?;
    for (subject, fields) in entries {
        say!("{subject}")?;
        for (field, said) in fields {
            say!("    {field}: {said}")?;
        }
    }
    Ok(())
}

fn head(content: &DirectoryContent) -> serde_json::Value {
    serde_json::json!({
        "trust_domain": content.trust_domain,
        "version": content.version,
        "issued_at": content.issued_at,
        "expires_at": content.expires_at,
    })
}
