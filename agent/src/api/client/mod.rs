//! The other side of the local API: what the command line, and programs in Rust, ask a running node through.

mod events;
mod followups;
mod node;
mod notices;
mod officers;
mod pending;
mod release;

use std::fmt::Display;
use std::path::PathBuf;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::UnixStream;
use zeroize::Zeroizing;

pub use self::events::Following;
pub use self::notices::Wait;
pub use super::types::Until;
use super::types::{ErrorBody, ErrorFacts};
use crate::config::Config;

/// Why a request got no answer that could be used.
#[derive(Clone, Debug, Error)]
pub enum ClientError {
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

/// Asks one node. Each request has a connection of its own, so clones and calls do not disturb each other.
#[derive(Clone, Debug)]
pub struct LocalClient {
    socket: PathBuf,
    data: PathBuf,
    token: Option<Token>,
}

/// An officer's token. Its `Debug` shows nothing of it.
#[derive(Clone)]
struct Token(Zeroizing<String>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl LocalClient {
    /// A client of the node that runs by `config`.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { socket: config.socket.clone(), data: config.folder.path().to_owned(), token: None }
    }

    /// The same, in the name of the officer whose token this is.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        Self { token: Some(Token(Zeroizing::new(token.to_owned()))), ..self }
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: Bytes) -> Result<T, ClientError> {
        self.ask(Method::POST, path, body).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let (ok, bytes) = self.exchange(method, path, body).await?;
        if ok {
            return serde_json::from_slice(&bytes).map_err(unusable);
        }
        let refused: ErrorBody = serde_json::from_slice(&bytes).map_err(unusable)?;
        Err(ClientError::Refused(refused.error))
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<(bool, Bytes), ClientError> {
        let response = self.open(method, path, body).await?;
        let ok = response.status().is_success();
        let bytes = response.into_body().collect().await.map_err(unusable)?.to_bytes();
        Ok((ok, bytes))
    }

    /// Asks, and returns when the answer begins.
    async fn open(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, ClientError> {
        let not_running =
            |_| ClientError::NotRunning { socket: self.socket.clone(), data: self.data.clone() };
        let stream = UnixStream::connect(&self.socket).await.map_err(not_running)?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(unusable)?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "valise-agent")
            .header("content-type", "application/json");
        if let Some(Token(token)) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.as_str()));
        }
        let request = request.body(Full::new(body)).map_err(unusable)?;
        sender.send_request(request).await.map_err(unusable)
    }
}

fn unusable(error: impl Display) -> ClientError {
    ClientError::Answer(error.to_string())
}
