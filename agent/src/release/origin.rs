//! What is kept, for this node alone, of where a notice came from that was made from another.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use valise_proto::envelope::PortionIndex;
use valise_proto::id::{AgencyId, Digest, NoticeId, Timestamp};
use zeroize::Zeroizing;

use super::ReleaseError;
use crate::core::Draft;
use crate::node::office::Office;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    /// A notice of ours was made anew under another label.
    Downgraded,
    /// A notice of another agency was passed on.
    Forwarded,
}

impl Action {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Downgraded => "DOWNGRADED",
            Self::Forwarded => "FORWARDED",
        }
    }
}

/// Where a notice came from. It is never sent: the header bears a random handle that means nothing to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// What was done.
    pub action: Action,
    /// The notice it was made from.
    pub source: NoticeId,
    /// SHA-256 of that notice's header.
    pub source_digest: Digest,
    /// Whose that is.
    pub originator: AgencyId,
    /// Its portions that were chosen.
    pub portions: Vec<usize>,
    /// The decision of its originator that gave leave, where leave was needed.
    pub leave: Option<NoticeId>,
    /// Who did it: one who asked and, for a downgrade, one who approved.
    pub officers: Vec<String>,
    /// When.
    pub at: Timestamp,
}

impl Origin {
    pub(super) fn encode(&self) -> Result<Draft, ReleaseError> {
        let json = serde_json::to_vec(self).map_err(|error| ReleaseError::Record(error.to_string()))?;
        Ok(Draft(Zeroizing::new(json)))
    }

    /// Where a notice of ours came from, where it was made from another.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn of(office: &Office, notice_id: &NoticeId) -> Result<Option<Self>, ReleaseError> {
        office.store().origin(notice_id)?.map(|json| decode(&json)).transpose()
    }
}

fn decode(json: &[u8]) -> Result<Origin, ReleaseError> {
    serde_json::from_slice(json).map_err(|error| ReleaseError::Record(error.to_string()))
}

/// The notices of ours that were made from `source`, oldest first.
///
/// # Errors
/// [`ReleaseError`].
pub fn derived_from(office: &Office, source: &NoticeId) -> Result<Vec<(NoticeId, Origin)>, ReleaseError> {
    let mut derived = Vec::new();
    for (id, json) in office.store().origins()? {
        let origin = decode(&json)?;
        if origin.source == *source {
            derived.push((id, origin));
        }
    }
    Ok(derived)
}

pub(super) fn places(portions: &BTreeSet<PortionIndex>) -> Vec<usize> {
    portions.iter().map(|index| index.get()).collect()
}
