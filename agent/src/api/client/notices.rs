//! Asking about notices.

use bytes::Bytes;
use valise_proto::id::NoticeId;

use super::events::encoded;
use super::{ClientError, LocalClient, unusable};
use crate::api::types::{
    InboxEntry, InboxFilter, InboxPage, NoticeFacts, NoticeStatus, OpenedNotice, Queued, ReadRequest,
    SearchRequest,
};
use crate::compose::preview::Preview;

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

impl LocalClient {
    /// Who would be able to read what of the notice in `json`. Nothing is stored.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn preview(&self, json: Bytes) -> Result<Preview, ClientError> {
        self.post("/v1/preview", json).await
    }

    /// Who can read what of a notice that was sent from here, or of what waits for a second officer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn notice_preview(&self, id: &NoticeId) -> Result<Preview, ClientError> {
        self.get(&format!("/v1/notices/{id}/preview")).await
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
        let filter = InboxFilter { limit: Some(limit), ..InboxFilter::default() };
        Ok(self.inbox_page(&filter).await?.notices)
    }

    /// A page of the received notices that the filter lets through, newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn inbox_page(&self, filter: &InboxFilter) -> Result<InboxPage, ClientError> {
        let filter = serde_json::to_value(filter).map_err(unusable)?;
        let asked = filter.as_object().into_iter().flatten().map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            format!("{name}={}", encoded(&value))
        });
        self.get(&format!("/v1/inbox?{}", asked.collect::<Vec<_>>().join("&"))).await
    }

    /// A page of the received notices whose content holds the words.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn search(&self, request: &SearchRequest) -> Result<InboxPage, ClientError> {
        self.post("/v1/search", serde_json::to_vec(request).map_err(unusable)?.into()).await
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
        self.read_because(id, officer, None).await
    }

    /// The same for a stated reason, which is needed once the node has officers' accounts.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn read_because(
        &self,
        id: &NoticeId,
        officer: &str,
        reason: Option<String>,
    ) -> Result<OpenedNotice, ClientError> {
        let request = serde_json::to_vec(&ReadRequest { officer: officer.to_owned(), reason });
        let request = request.map_err(|error| ClientError::Answer(error.to_string()))?;
        self.post(&format!("/v1/notices/{id}/read"), request.into()).await
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
}
