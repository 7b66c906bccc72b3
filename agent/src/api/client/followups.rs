//! Asking about follow-ups.

use valise_proto::id::NoticeId;

use super::{ClientError, LocalClient, unusable};
use crate::api::types::{
    ActRequest, CorrectRequest, DeclineRequest, NoticeFacts, Queued, RespondRequest, TrackFacts, Until,
    WithdrawRequest,
};

impl LocalClient {
    /// Answers a received notice.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn respond(&self, id: &NoticeId, request: &RespondRequest) -> Result<Queued, ClientError> {
        let request = serde_json::to_vec(request).map_err(unusable)?;
        self.post(&format!("/v1/notices/{id}/respond"), request.into()).await
    }

    /// Sends a notice in the place of one that was sent from here.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn correct(&self, id: &NoticeId, request: &CorrectRequest) -> Result<Queued, ClientError> {
        let request = serde_json::to_vec(request).map_err(unusable)?;
        self.post(&format!("/v1/notices/{id}/correct"), request.into()).await
    }

    /// Takes back a notice that was sent from here.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn withdraw(&self, id: &NoticeId, request: &WithdrawRequest) -> Result<Queued, ClientError> {
        let request = serde_json::to_vec(request).map_err(unusable)?;
        self.post(&format!("/v1/notices/{id}/withdraw"), request.into()).await
    }

    /// States that a received notice was acted upon.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn act(&self, id: &NoticeId, request: &ActRequest) -> Result<NoticeFacts, ClientError> {
        let request = serde_json::to_vec(request).map_err(unusable)?;
        self.post(&format!("/v1/notices/{id}/act"), request.into()).await
    }

    /// States that a received notice cannot be used here.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn decline(&self, id: &NoticeId, request: &DeclineRequest) -> Result<NoticeFacts, ClientError> {
        let request = serde_json::to_vec(request).map_err(unusable)?;
        self.post(&format!("/v1/notices/{id}/decline"), request.into()).await
    }

    /// The way of a notice that was sent from here.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn track(&self, id: &NoticeId) -> Result<TrackFacts, ClientError> {
        self.get(&format!("/v1/notices/{id}/track")).await
    }

    /// The same, not before what `until` says has happened or `timeout_seconds` have passed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn track_after(
        &self,
        id: &NoticeId,
        until: Until,
        timeout_seconds: u64,
    ) -> Result<TrackFacts, ClientError> {
        let until = until.as_str();
        self.get(&format!("/v1/notices/{id}/track?wait={until}&timeout={timeout_seconds}")).await
    }
}
