//! Asking for what is lowered and passed on.

use valise_proto::id::NoticeId;

use super::{ClientError, LocalClient, unusable};
use crate::api::release::{Derivations, Released, SecondOfficer, WaitingRelease};
use crate::api::types::Queued;
use crate::release::decide::Decide;
use crate::release::downgrade::Downgrade;
use crate::release::forward::Forward;
use crate::release::request::Request;
use crate::release::requests::RequestFacts;

impl LocalClient {
    /// Asks for a further notice made from portions of one sent from here; it waits for a second officer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn downgrade(&self, id: &NoticeId, what: &Downgrade) -> Result<WaitingRelease, ClientError> {
        let request = serde_json::to_vec(what).map_err(unusable)?;
        self.post(&format!("/v1/notices/{id}/downgrade"), request.into()).await
    }

    /// Passes portions of a received notice on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn forward(&self, id: &NoticeId, what: &Forward) -> Result<Released, ClientError> {
        let request = serde_json::to_vec(what).map_err(unusable)?;
        self.post(&format!("/v1/notices/{id}/forward"), request.into()).await
    }

    /// Asks the originator of a received notice for leave to pass it on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn request_release(&self, id: &NoticeId, what: &Request) -> Result<Queued, ClientError> {
        let request = serde_json::to_vec(what).map_err(unusable)?;
        self.post(&format!("/v1/notices/{id}/request-release"), request.into()).await
    }

    /// The requests for leave that came and went.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn release_requests(&self) -> Result<Vec<RequestFacts>, ClientError> {
        self.get("/v1/release-requests").await
    }

    /// Decides about a request; to give leave takes a second officer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn decide_release(&self, id: &NoticeId, what: &Decide) -> Result<Released, ClientError> {
        let request = serde_json::to_vec(what).map_err(unusable)?;
        self.post(&format!("/v1/release-requests/{id}/decide"), request.into()).await
    }

    /// Where a notice came from and what was made of it here.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn derivations(&self, id: &NoticeId) -> Result<Derivations, ClientError> {
        self.get(&format!("/v1/notices/{id}/derivations")).await
    }

    /// The releases that wait for a second officer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn releases(&self) -> Result<Vec<WaitingRelease>, ClientError> {
        self.get("/v1/releases").await
    }

    /// Approves a release as a second officer; the notice is on stable storage when this returns.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn approve_release(&self, id: &NoticeId, who: &SecondOfficer) -> Result<Queued, ClientError> {
        let request = serde_json::to_vec(who).map_err(unusable)?;
        self.post(&format!("/v1/releases/{id}/approve"), request.into()).await
    }

    /// Refuses a release that waits.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn refuse_release(
        &self,
        id: &NoticeId,
        who: &SecondOfficer,
    ) -> Result<WaitingRelease, ClientError> {
        let request = serde_json::to_vec(who).map_err(unusable)?;
        self.post(&format!("/v1/releases/{id}/refuse"), request.into()).await
    }
}
