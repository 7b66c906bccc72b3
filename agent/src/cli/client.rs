//! The command line's way to the running node.

use std::future::Future;

use zeroize::Zeroizing;

use super::officers::line_of;
use super::{Common, EXIT_FAILED, EXIT_MISTAKES, EXIT_NOT_RUNNING, Ended};
use crate::api::client::{ClientError, LocalClient};
use crate::api::types::{ErrorBody, ErrorFacts};
use crate::config::{Config, ConfigError};
use crate::folder::FileError;

/// Where an officer's token may be, so that it is not an argument.
const TOKEN_VARIABLE: &str = "VALISE_AGENT_TOKEN";

/// Asks the node of the data folder named on the command line.
pub(super) fn ask<T, F>(common: &Common, question: impl FnOnce(LocalClient) -> F) -> Result<T, Ended>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let client = client_of(common)?;
    runtime()?.block_on(question(client)).map_err(Ended::Client)
}

/// A client in the name of the officer whose token is given.
pub(super) fn client_of(common: &Common) -> Result<LocalClient, Ended> {
    let client = LocalClient::new(&config(common)?);
    let token = match &common.token_file {
        Some(path) => Some(line_of(path)?),
        None => std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty()),
    };
    Ok(token.map(Zeroizing::new).map_or(client.clone(), |token| client.with_token(&token)))
}

/// The configuration in the data folder named on the command line.
pub(super) fn config(common: &Common) -> Result<Config, Ended> {
    Config::of_folder(common.folder()?).map_err(misconfigured)
}

/// Mistakes in a configuration, and one that is named and not there, are the caller's to mend.
pub(super) fn misconfigured(error: ConfigError) -> Ended {
    match error {
        ConfigError::Mistakes { .. } => Ended::Mistakes(error.into()),
        ConfigError::File(error) => unreadable(error),
    }
}

/// A file that was named and is not there is a mistake in the command; one that cannot be read is a failure.
pub(super) fn unreadable(error: FileError) -> Ended {
    match error.reason.kind() {
        std::io::ErrorKind::NotFound => Ended::Mistakes(error.into()),
        _ => Ended::Failed(error.into()),
    }
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Ended> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

pub(super) fn exit_code(error: &ClientError) -> u8 {
    match error {
        ClientError::NotRunning { .. } => EXIT_NOT_RUNNING,
        ClientError::Refused(facts) if facts.code == "INVALID_NOTICE" || facts.code == "BAD_REQUEST" => {
            EXIT_MISTAKES
        }
        ClientError::Refused(_) | ClientError::Answer(_) => EXIT_FAILED,
    }
}

/// The node's own words, for `--json`.
pub(super) fn body(error: &ClientError) -> Option<String> {
    let facts = match error {
        ClientError::Refused(facts) => facts.clone(),
        ClientError::NotRunning { .. } => {
            ErrorFacts { code: "NOT_RUNNING".to_owned(), message: error.to_string(), mistakes: Vec::new() }
        }
        ClientError::Answer(_) => return None,
    };
    serde_json::to_string_pretty(&ErrorBody { error: facts }).ok()
}
