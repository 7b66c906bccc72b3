//! Asking about the node.

use bytes::Bytes;

use super::{ClientError, LocalClient};
use crate::api::types::{DirectoryView, InstalledFacts, KeyFacts, NodeStatus, RenewalAnswer, RotateRequest};

impl LocalClient {
    /// How the node is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<NodeStatus, ClientError> {
        self.get("/v1/status").await
    }

    /// The same with at most so many entries in each of its lists.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status_listing(&self, limit: Option<u16>) -> Result<NodeStatus, ClientError> {
        match limit {
            Some(limit) => self.get(&format!("/v1/status?limit={limit}")).await,
            None => self.status().await,
        }
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
}
