//! The command line's side of the local API.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::UnixStream;

use super::{Common, EXIT_FAILED, EXIT_MISTAKES, EXIT_NOT_RUNNING, Ended};
use crate::api::types::{ErrorBody, ErrorFacts};
use crate::config::Config;

/// Why a request got no answer that could be used.
#[derive(Debug, Error)]
pub(super) enum ClientError {
    /// Nobody listens.
    #[error("the node is not running (nobody answers at {socket}): start it with `valise-agent run --data {data}`", socket = .socket.display(), data = .data.display())]
    NotRunning {
        /// Where it should listen.
        socket: PathBuf,
        /// Its data folder.
        data: PathBuf,
    },
    /// The node said no.
    #[error("{}", .0.message)]
    Refused(ErrorFacts),
    /// The answer cannot be used.
    #[error("the node's answer cannot be used: {0}; is it of the same version as this command?")]
    Answer(String),
}

impl ClientError {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::NotRunning { .. } => EXIT_NOT_RUNNING,
            Self::Refused(facts) if facts.code == "INVALID_NOTICE" || facts.code == "BAD_REQUEST" => {
                EXIT_MISTAKES
            }
            Self::Refused(_) | Self::Answer(_) => EXIT_FAILED,
        }
    }

    /// The node's own words, for `--json`.
    pub(super) fn body(&self) -> Option<String> {
        let facts = match self {
            Self::Refused(facts) => facts.clone(),
            Self::NotRunning { .. } => {
                ErrorFacts { code: "NOT_RUNNING".to_owned(), message: self.to_string(), mistakes: Vec::new() }
            }
            Self::Answer(_) => return None,
        };
        serde_json::to_string_pretty(&ErrorBody { error: facts }).ok()
    }
}

/// What one node is asked through.
pub(super) struct Client {
    socket: PathBuf,
    data: PathBuf,
}

impl Client {
    pub(super) fn new(common: &Common) -> Result<Self, Ended> {
        let folder = common.folder()?;
        let config = Config::of_folder(folder)?;
        Ok(Self { socket: config.socket, data: config.folder.path().to_owned() })
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Ended> {
        self.ask(Method::GET, path, Bytes::new())
    }

    pub(super) fn post<T: DeserializeOwned>(&self, path: &str, body: Bytes) -> Result<T, Ended> {
        self.ask(Method::POST, path, body)
    }

    fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, Ended> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (ok, bytes) = runtime.block_on(self.exchange(method, path, body)).map_err(Ended::Client)?;
        let answer = |error: serde_json::Error| Ended::Client(ClientError::Answer(error.to_string()));
        if ok {
            return serde_json::from_slice(&bytes).map_err(answer);
        }
        let refused: ErrorBody = serde_json::from_slice(&bytes).map_err(answer)?;
        Err(Ended::Client(ClientError::Refused(refused.error)))
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<(bool, Bytes), ClientError> {
        let stream = self.connect(&self.socket).await?;
        let answer = |error: &dyn std::fmt::Display| ClientError::Answer(error.to_string());
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| answer(&error))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "valise-agent")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| answer(&error))?;
        let response = sender.send_request(request).await.map_err(|error| answer(&error))?;
        let ok = response.status().is_success();
        let bytes = response.into_body().collect().await.map_err(|error| answer(&error))?.to_bytes();
        Ok((ok, bytes))
    }

    async fn connect(&self, socket: &Path) -> Result<UnixStream, ClientError> {
        let not_running = |_| ClientError::NotRunning { socket: socket.to_owned(), data: self.data.clone() };
        UnixStream::connect(socket).await.map_err(not_running)
    }
}
