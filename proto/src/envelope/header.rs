//! The header: what the broker may read.

use crate::envelope::{NoticeKind, Precedence};
use crate::id::{AgencyId, Derivation, Digest, NoticeId, Timestamp};
use crate::label::Label;

/// The place of a portion in its header, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortionIndex(u8);

impl PortionIndex {
    /// The place of the nth portion; `None` beyond 255, which no limit allows.
    #[must_use]
    pub fn new(index: usize) -> Option<Self> {
        u8::try_from(index).ok().map(Self)
    }

    /// As an index.
    #[must_use]
    pub fn get(self) -> usize {
        usize::from(self.0)
    }

    pub(crate) fn byte(self) -> u8 {
        self.0
    }

    pub(crate) fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    pub(crate) fn number(self) -> u32 {
        u32::from(self.0)
    }
}

impl std::fmt::Display for PortionIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What the header says of one portion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortionHeader {
    /// Its access classification.
    pub label: Label,
    /// Bytes of its ciphertext, tag included.
    pub ciphertext_len: u64,
    /// SHA-256 of its ciphertext.
    pub ciphertext_sha256: Digest,
    /// SHA-256 of `"valise/v1/commitment" || salt || parts`: lets a holder disclose this portion alone.
    pub commitment: Digest,
}

/// What travels in the clear between originator, broker and recipients. Never a name, a date of birth or a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The notice.
    pub notice_id: NoticeId,
    /// What it is for.
    pub kind: NoticeKind,
    /// Who wrote, sealed and signed it.
    pub originator: AgencyId,
    /// How fast it is to travel.
    pub precedence: Precedence,
    /// When it was sealed, by the originator's clock.
    pub created_at: Timestamp,
    /// When the broker deletes it, acknowledged or not.
    pub expires_at: Timestamp,
    /// Until when an answer is asked for.
    pub respond_by: Option<Timestamp>,
    /// The directory it was sealed by.
    pub directory_version: u64,
    /// Who receives it; at least one, none twice, never the originator.
    pub recipients: Vec<AgencyId>,
    /// The join of the portions' labels.
    pub label: Label,
    /// The portions; at least one.
    pub portions: Vec<PortionHeader>,
    /// The notice this answers.
    pub in_reply_to: Option<NoticeId>,
    /// The notice this takes the place of.
    pub supersedes: Option<NoticeId>,
    /// The notice this takes back.
    pub withdraws: Option<NoticeId>,
    /// Which notice this was derived from, in a way that only the originator can read.
    pub derived_from: Option<Derivation>,
}

impl Header {
    /// The portions that someone with `clearance` may access, in order.
    #[must_use]
    pub fn permitted(&self, clearance: &crate::label::Clearance) -> Vec<PortionIndex> {
        let may = |portion: &PortionHeader| crate::label::may_access(clearance, &portion.label).is_ok();
        let permitted = self.portions.iter().enumerate().filter(|(_, portion)| may(portion));
        permitted.filter_map(|(index, _)| PortionIndex::new(index)).collect()
    }
}
