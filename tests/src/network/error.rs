//! What can go wrong in a network.

use std::path::{Path, PathBuf};

use thiserror::Error;
use valise_agent::api::client::ClientError;

use crate::wait::NotInTime;

/// Why a network did not do what was asked.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// No such agency was given to the builder.
    #[error("this network has no agency `{0}`; add it to the builder")]
    NoSuchAgency(String),
    /// Something that has to run does not, or the reverse.
    #[error("{0}")]
    State(String),
    /// An id, label or clearance that cannot be read.
    #[error("{0}")]
    Value(String),
    /// The authority.
    #[error("the authority: {0}")]
    Authority(String),
    /// Enrolment.
    #[error("enrolment: {0}")]
    Enrolment(#[from] valise_agent::enrol::EnrolError),
    /// A node did not start.
    #[error("{node} did not start: {problem}")]
    Start {
        /// Which.
        node: String,
        /// Why.
        problem: String,
    },
    /// The agency's node said no.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What was expected did not happen.
    #[error(transparent)]
    NotInTime(#[from] NotInTime),
    /// A file or process.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl NetworkError {
    pub(super) fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { path, source }
    }

    pub(super) fn value(error: impl std::fmt::Display) -> Self {
        Self::Value(error.to_string())
    }

    pub(super) fn authority(error: impl std::fmt::Display) -> Self {
        Self::Authority(error.to_string())
    }

    pub(crate) fn start(node: impl std::fmt::Display) -> impl Fn(String) -> Self {
        let node = node.to_string();
        move |problem| Self::Start { node: node.clone(), problem }
    }
}
