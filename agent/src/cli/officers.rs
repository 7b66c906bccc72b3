//! Commands about officers' accounts and tokens.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::client::ask;
use super::{Common, Ended, Outcome, render};
use crate::api::officers::{NewOfficer, NewPassword, NewRoles, NewToken, SetDisabled};
use crate::folder;
use crate::officers::Role;
use crate::officers::password::PASSWORD_BYTES_MAX;

/// What may be done with accounts.
#[derive(Debug, Subcommand)]
pub(super) enum OfficerCommand {
    /// Make an account; from the first one on, everybody needs one
    Add {
        /// The officer's name
        name: String,
        /// What the officer may do: drafter, releaser, reader, auditor; may be given several times
        #[arg(long = "role", value_name = "ROLE", required = true)]
        roles: Vec<Role>,
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// List the officers
    List,
    /// Give an officer another password; tokens issued before end
    Passwd {
        /// The officer's name
        name: String,
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// Give an officer these roles and no others
    Roles {
        /// The officer's name
        name: String,
        /// What the officer may do; may be given several times
        #[arg(long = "role", value_name = "ROLE", required = true)]
        roles: Vec<Role>,
    },
    /// Shut an officer out for the time being: password and tokens are refused until it is undone
    Disable {
        /// The officer's name
        name: String,
        /// Let the officer in again, with the same password and tokens
        #[arg(long)]
        undo: bool,
    },
    /// Remove an account and its tokens
    Remove {
        /// The officer's name
        name: String,
    },
}

/// What may be done with tokens.
#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Issue a token, which is shown this once
    Issue {
        /// The officer's name
        name: String,
        /// For how many days it is taken
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=366))]
        days: u64,
        /// What it is for
        #[arg(long, default_value = "unnamed")]
        label: String,
    },
    /// List the tokens, without their secrets
    List,
    /// End a token
    Revoke {
        /// Its id
        id: String,
    },
}

/// Where a password comes from. It is never an argument, which others on the machine could see.
#[derive(Debug, Args)]
pub(super) struct PasswordFrom {
    /// Read the password from the one line of this file; otherwise it is asked for
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordFrom {
    fn read(&self) -> Result<String, Ended> {
        match &self.password_file {
            Some(path) => line_of(path),
            None if std::io::stdin().is_terminal() => {
                let first = Zeroizing::new(rpassword::prompt_password("Password: ")?);
                let second = Zeroizing::new(rpassword::prompt_password("The same again: ")?);
                if *first != *second {
                    return Err(Ended::Mistakes(anyhow::anyhow!(
                        "the two passwords differ; nothing was changed"
                    )));
                }
                Ok(first.as_str().to_owned())
            }
            None => Err(Ended::Mistakes(anyhow::anyhow!(
                "give the password with --password-file FILE, or run this at a terminal"
            ))),
        }
    }
}

/// The one line of a file that only its owner may read.
pub(super) fn line_of(path: &Path) -> Result<String, Ended> {
    use std::os::unix::fs::MetadataExt;
    let shown = || format!("{}", path.display());
    let mode = std::fs::metadata(path).with_context(shown).map_err(Ended::Mistakes)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Ended::Mistakes(anyhow::anyhow!(
            "{path} can be read by others (mode {mode:04o}): run `chmod 600 {path}`, and exchange what it holds if others use this machine",
            path = path.display()
        )));
    }
    let text = folder::read_text(path, PASSWORD_BYTES_MAX.saturating_add(2))
        .map_err(|error| Ended::Mistakes(error.into()))?;
    let text = Zeroizing::new(text);
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.contains(['\r', '\n']) {
        return Err(Ended::Mistakes(anyhow::anyhow!("{} must hold one line of text", path.display())));
    }
    Ok(line.to_owned())
}

fn done(common: &Common, sentence: &str) -> Outcome {
    if common.json { render::json(&serde_json::json!({ "done": true })) } else { say!("{sentence}") }
}

pub(super) fn officer(common: &Common, command: OfficerCommand) -> Outcome {
    match command {
        OfficerCommand::Add { name, roles, password } => {
            let officer = NewOfficer { name, roles, password: password.read()? };
            ask(common, |node| async move { node.add_officer(&officer).await })?;
            done(common, "The account is made. From now on this node asks everybody who they are.")
        }
        OfficerCommand::List => list(common),
        OfficerCommand::Passwd { name, password } => {
            let password = NewPassword { name, password: password.read()? };
            ask(common, |node| async move { node.set_password(&password).await })?;
            done(common, "The password is changed. Tokens issued before have ended.")
        }
        OfficerCommand::Roles { name, roles } => {
            let roles = NewRoles { name, roles };
            ask(common, |node| async move { node.set_roles(&roles).await })?;
            done(common, "The roles are changed.")
        }
        OfficerCommand::Disable { name, undo } => {
            let disabled = SetDisabled { name, disabled: !undo };
            ask(common, |node| async move { node.set_disabled(&disabled).await })?;
            done(
                common,
                if undo {
                    "The officer is let in again."
                } else {
                    "The officer is shut out: password and tokens are refused until `officer disable NAME --undo`."
                },
            )
        }
        OfficerCommand::Remove { name } => {
            ask(common, |node| async move { node.remove_officer(&name).await })?;
            done(common, "The account is removed. What the officer did stays in the journal.")
        }
    }
}

fn list(common: &Common) -> Outcome {
    let officers = ask(common, |node| async move { node.officers().await })?;
    if common.json {
        return render::json(&officers);
    }
    if officers.is_empty() {
        return say!(
            "No officer has an account. Where none ever had, whoever can open the node's socket may do everything."
        );
    }
    for officer in &officers {
        let roles: Vec<_> = officer.roles.iter().map(|role| role.as_str()).collect();
        let disabled = if officer.disabled { "  DISABLED" } else { "" };
        say!(
            "{}  {}  since {}  {} tokens{disabled}",
            officer.name,
            roles.join(", "),
            officer.since,
            officer.tokens.len()
        )?;
    }
    Ok(())
}

pub(super) fn token(common: &Common, command: TokenCommand) -> Outcome {
    match command {
        TokenCommand::Issue { name, days, label } => {
            let token = NewToken { name, label, days };
            let issued = ask(common, |node| async move { node.issue_token(&token).await })?;
            if common.json {
                return render::json(&issued);
            }
            say!("Token {} is taken until {}. It is shown this once:", issued.id, issued.until)?;
            say!("{}", issued.token)
        }
        TokenCommand::List => {
            let officers = ask(common, |node| async move { node.officers().await })?;
            if common.json {
                let tokens: Vec<_> = officers
                    .iter()
                    .flat_map(|officer| {
                        officer
                            .tokens
                            .iter()
                            .map(|token| serde_json::json!({ "officer": officer.name, "token": token }))
                    })
                    .collect();
                return render::json(&tokens);
            }
            for (officer, token) in
                officers.iter().flat_map(|officer| officer.tokens.iter().map(move |token| (officer, token)))
            {
                let used = token.used.map_or_else(|| "never".to_owned(), |used| used.to_string());
                say!("{}  {}  {}  until {}  used {used}", token.id, officer.name, token.label, token.until)?;
            }
            Ok(())
        }
        TokenCommand::Revoke { id } => {
            ask(common, |node| async move { node.revoke_token(&id).await })?;
            done(common, "The token has ended.")
        }
    }
}
