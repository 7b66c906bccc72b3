//! What a caller may wait for of a notice that was sent from here, and what of it is still to come.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{NoticeStatus, RecipientStatus};

/// What a caller may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Until {
    /// The broker's answer
    Accepted,
    /// The broker's answer, and DELIVERED, or whatever else ends the matter, of every recipient
    Delivered,
    /// Every recipient's answer
    Answered,
    /// Every recipient's proof that it has purged the notice
    Purged,
}

impl Until {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
            Self::Answered => "answered",
            Self::Purged => "purged",
        }
    }

    /// Whether it has come of a recipient of a notice that a broker has accepted.
    #[must_use]
    pub fn has_come(self, recipient: &RecipientStatus) -> bool {
        match self {
            Self::Accepted => true,
            Self::Delivered => recipient.state != "PENDING",
            Self::Answered => recipient.answered,
            Self::Purged => recipient.state == "PURGED",
        }
    }
}

impl NoticeStatus {
    /// The recipients of which what is waited for is still to come; none where it has come of all of them, or nothing more
    /// will come because no broker has the notice.
    #[must_use]
    pub fn awaited(&self, until: Until) -> Option<Vec<&RecipientStatus>> {
        match self.state.as_str() {
            "QUEUED" => Some(self.recipients.iter().collect()),
            "ACCEPTED" => {
                let open = self.recipients.iter().filter(|recipient| !until.has_come(recipient));
                Some(open.collect()).filter(|open: &Vec<_>| !open.is_empty())
            }
            _ => None,
        }
    }
}
