//! Errors of the local API: a status, a word for programs, a sentence for people, and all mistakes at once.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use valise_proto::id::NoticeId;
use valise_proto::receipt::PurgeCause;

use super::caller::Attempt;
use super::types::{ErrorBody, ErrorFacts};
use crate::compose::followup::NotFollowed;
use crate::compose::{ComposeError, Mistake};
use crate::core::NotQueued;
use crate::journal::Entry;
use crate::node::handwork::HandworkError;
use crate::node::showing::NotShown;
use crate::node::{Gone, SendError};
use crate::store::StoreError;
use crate::vault::VaultError;

/// Why a request was refused.
pub(super) struct ApiError {
    status: StatusCode,
    facts: ErrorFacts,
    /// To be entered into the access journal before it is answered.
    attempt: Option<Attempt>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &str, message: impl std::fmt::Display) -> Self {
        let facts = ErrorFacts { code: code.to_owned(), message: message.to_string(), mistakes: Vec::new() };
        Self { status, facts, attempt: None }
    }

    pub(super) fn unknown_notice(notice_id: &NoticeId) -> Self {
        let message = format!(
            "there is no notice {notice_id} here; `valise-agent inbox` and `valise-agent status` list those there are"
        );
        Self::new(StatusCode::NOT_FOUND, "UNKNOWN_NOTICE", message)
    }

    /// For what is asked of notices sent from here only.
    pub(super) fn was_received(notice_id: &NoticeId) -> Self {
        let message = format!(
            "notice {notice_id} was received here, not sent: `valise-agent show {notice_id}` tells its header and receipts, `valise-agent read {notice_id} --officer NAME` opens it"
        );
        Self::new(StatusCode::CONFLICT, "RECEIVED_NOT_SENT", message)
    }

    /// For what is asked of received notices only.
    pub(super) fn was_sent(notice_id: &NoticeId) -> Self {
        let message = format!(
            "notice {notice_id} was sent from here, and is sealed to its recipients: `valise-agent status {notice_id}` tells what became of it, `valise-agent show {notice_id}` its header"
        );
        Self::new(StatusCode::CONFLICT, "SENT_NOT_RECEIVED", message)
    }

    pub(super) fn bad_request(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    pub(super) fn internal(message: impl std::fmt::Display) -> Self {
        tracing::error!(error = %message, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", message)
    }

    /// The same, entered into the access journal before it is answered; `entry` is made of the sentence.
    pub(super) fn journalled(mut self, entry: impl FnOnce(&str) -> Entry) -> Self {
        self.attempt = Some(Attempt(Box::new(entry(&self.facts.message))));
        self
    }

    fn with(mut self, mistakes: Vec<Mistake>) -> Self {
        self.facts.mistakes = mistakes;
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(ErrorBody { error: self.facts })).into_response();
        if let Some(attempt) = self.attempt {
            response.extensions_mut().insert(attempt);
        }
        response
    }
}

impl From<ComposeError> for ApiError {
    fn from(error: ComposeError) -> Self {
        let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
        match error {
            ComposeError::Mistakes(mistakes) => {
                Self::new(unprocessable, "INVALID_NOTICE", "the notice cannot be sent as it is")
                    .with(mistakes)
            }
            ComposeError::Directory(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "DIRECTORY_STALE", error)
            }
            ComposeError::NotListed(_) | ComposeError::Kind { .. } | ComposeError::Classification { .. } => {
                Self::new(StatusCode::FORBIDDEN, "NOT_CLEARED_TO_ORIGINATE", error)
            }
            ComposeError::NotFollowed(error) => error.into(),
            ComposeError::NotAnswered(error) => error.into(),
            ComposeError::Seal(_) => Self::new(unprocessable, "INVALID_NOTICE", error),
            ComposeError::Table(_) => Self::internal(error),
            ComposeError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", error),
        }
    }
}

impl From<NotFollowed> for ApiError {
    fn from(error: NotFollowed) -> Self {
        match error {
            NotFollowed::Unknown(id) => Self::unknown_notice(&id),
            NotFollowed::OfAnother(_) => Self::new(StatusCode::FORBIDDEN, "NOT_ORIGINATOR", error),
            NotFollowed::Superseded { .. } => Self::new(StatusCode::CONFLICT, "SUPERSEDED", error),
            NotFollowed::Kind { .. } | NotFollowed::TooLong(_) => {
                Self::new(StatusCode::CONFLICT, "NOT_FOLLOWED", error)
            }
            NotFollowed::Store(error) => error.into(),
        }
    }
}

impl From<SendError> for ApiError {
    fn from(error: SendError) -> Self {
        let code = match error {
            SendError::NotQueued(NotQueued::Full { .. }) => "OUTBOX_FULL",
            SendError::NotQueued(NotQueued::Stopping) | SendError::Gone(_) => "STOPPING",
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, error)
    }
}

impl From<Gone> for ApiError {
    fn from(error: Gone) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "STOPPING", error)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::internal(error)
    }
}

impl From<NotShown> for ApiError {
    fn from(error: NotShown) -> Self {
        let conflict = StatusCode::CONFLICT;
        match error {
            NotShown::Unknown(id) => Self::unknown_notice(&id),
            NotShown::Store(error) => error.into(),
            NotShown::Directory(_) | NotShown::NoDirectory => Self::internal(error),
            NotShown::NotVerified(_) | NotShown::Withdrawn { .. } => {
                Self::new(conflict, "NOT_VERIFIED", error)
            }
            NotShown::Purged { ref purged, .. } => {
                let code = match purged.cause {
                    PurgeCause::Withdrawn => "WITHDRAWN",
                    PurgeCause::Corrected => "SUPERSEDED",
                    PurgeCause::Review | PurgeCause::Officer => "PURGED",
                };
                Self::new(StatusCode::GONE, code, error)
            }
            NotShown::Open(_) | NotShown::Nothing => Self::new(conflict, "CANNOT_OPEN", error),
        }
    }
}

impl From<HandworkError> for ApiError {
    fn from(error: HandworkError) -> Self {
        let code = match &error {
            HandworkError::Vault(VaultError::TooManyFormer { .. }) => "TOO_MANY_KEYS",
            HandworkError::Carried(_) => "CANNOT_READ",
            HandworkError::OtherTrust | HandworkError::Refused(_) => "NOT_INSTALLED",
            HandworkError::Vault(_) | HandworkError::Renewal(_) | HandworkError::NotAdopted(_) => {
                return Self::internal(error);
            }
        };
        Self::new(StatusCode::CONFLICT, code, error)
    }
}
