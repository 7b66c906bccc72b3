//! What waits for a second officer.

use valise_proto::id::NoticeId;

use super::{ClientError, LocalClient, unusable};
use crate::api::pending::{Decision, PendingDraft, PendingFacts};
use crate::api::types::Queued;

impl LocalClient {
    /// The drafts that wait.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn pending(&self) -> Result<Vec<PendingFacts>, ClientError> {
        self.get("/v1/pending").await
    }

    /// One of them, with what the author wrote.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn pending_draft(&self, id: &NoticeId) -> Result<PendingDraft, ClientError> {
        self.get(&format!("/v1/pending/{id}")).await
    }

    /// Sends what another officer drafted.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn approve(&self, id: &NoticeId, decision: &Decision) -> Result<Queued, ClientError> {
        let body = serde_json::to_vec(decision).map_err(unusable)?;
        self.post(&format!("/v1/pending/{id}/approve"), body.into()).await
    }

    /// Takes a draft off unsent.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn refuse(&self, id: &NoticeId, decision: &Decision) -> Result<PendingFacts, ClientError> {
        let body = serde_json::to_vec(decision).map_err(unusable)?;
        self.post(&format!("/v1/pending/{id}/refuse"), body.into()).await
    }
}
