//! The other side of the local API: what the command line, and programs in Rust, ask a running node through.

use std::fmt::Display;
use std::path::PathBuf;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::UnixStream;
use valise_proto::id::NoticeId;

use super::types::{
    DirectoryView, ErrorBody, ErrorFacts, InboxEntry, InstalledFacts, KeyFacts, NodeStatus, NoticeFacts,
    NoticeStatus, OpenedNotice, Queued, ReadRequest, RenewalAnswer, RotateRequest,
};
use crate::compose::preview::Preview;
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

/// How long [`LocalClient::notice_status_after`] waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until the broker answered.
    Accepted,
    /// Until every recipient answered, or the matter ended otherwise.
    Delivered,
}

impl Wait {
    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
        }
    }
}

/// Asks one node. Each request has a connection of its own, so clones and calls do not disturb each other.
#[derive(Clone, Debug)]
pub struct LocalClient {
    socket: PathBuf,
    data: PathBuf,
}

impl LocalClient {
    /// A client of the node that runs by `config`.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { socket: config.socket.clone(), data: config.folder.path().to_owned() }
    }

    /// Who would be able to read what of the notice in `json`. Nothing is stored.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn preview(&self, json: Bytes) -> Result<Preview, ClientError> {
        self.post("/v1/preview", json).await
    }

    /// Seals, signs and queues the notice in `json`; it is on stable storage when this returns.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send(&self, json: Bytes) -> Result<Queued, ClientError> {
        self.post("/v1/notices", json).await
    }

    /// Received notices, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn inbox(&self, limit: usize) -> Result<Vec<InboxEntry>, ClientError> {
        self.get(&format!("/v1/inbox?limit={limit}")).await
    }

    /// What the header of a notice tells, and its receipts. No content.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn notice(&self, id: &NoticeId) -> Result<NoticeFacts, ClientError> {
        self.get(&format!("/v1/notices/{id}")).await
    }

    /// Opens a received notice for `officer`; its originator is told, the first time.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn read(&self, id: &NoticeId, officer: &str) -> Result<OpenedNotice, ClientError> {
        let request = serde_json::to_vec(&ReadRequest { officer: officer.to_owned() });
        let request = request.map_err(|error| ClientError::Answer(error.to_string()))?;
        self.post(&format!("/v1/notices/{id}/read"), request.into()).await
    }

    /// How the node is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<NodeStatus, ClientError> {
        self.get("/v1/status").await
    }

    /// What became of a notice sent from here.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn notice_status(&self, id: &NoticeId) -> Result<NoticeStatus, ClientError> {
        self.get(&format!("/v1/status/{id}")).await
    }

    /// The same, not before what `wait` says has happened or `timeout_seconds` have passed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn notice_status_after(
        &self,
        id: &NoticeId,
        wait: Wait,
        timeout_seconds: u64,
    ) -> Result<NoticeStatus, ClientError> {
        self.get(&format!("/v1/status/{id}?wait={}&timeout={timeout_seconds}", wait.as_str())).await
    }

    /// Who takes part in the exchange.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn directory(&self) -> Result<DirectoryView, ClientError> {
        self.get("/v1/directory").await
    }

    /// Every key that is held.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn keys(&self) -> Result<Vec<KeyFacts>, ClientError> {
        self.get("/v1/keys").await
    }

    /// Makes keys to follow those in use, and a renewal request that brings them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rotate(&self, which: RotateRequest) -> Result<RenewalAnswer, ClientError> {
        let request = serde_json::to_vec(&which).map_err(|error| ClientError::Answer(error.to_string()))?;
        self.post("/v1/keys/rotate", request.into()).await
    }

    /// The renewal request that waits, made now where there is none.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn renew(&self) -> Result<RenewalAnswer, ClientError> {
        self.post("/v1/renew", Bytes::new()).await
    }

    /// Installs what lies in the data folder's `incoming`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn install(&self) -> Result<InstalledFacts, ClientError> {
        self.post("/v1/install", Bytes::new()).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: Bytes) -> Result<T, ClientError> {
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
        let not_running =
            |_| ClientError::NotRunning { socket: self.socket.clone(), data: self.data.clone() };
        let stream = UnixStream::connect(&self.socket).await.map_err(not_running)?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(unusable)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "valise-agent")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(unusable)?;
        let response = sender.send_request(request).await.map_err(unusable)?;
        let ok = response.status().is_success();
        let bytes = response.into_body().collect().await.map_err(unusable)?.to_bytes();
        Ok((ok, bytes))
    }
}

fn unusable(error: impl Display) -> ClientError {
    ClientError::Answer(error.to_string())
}
