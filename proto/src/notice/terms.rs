//! The terms under which content is shared.

use super::json::record;
use super::text::Line;
use crate::id::Timestamp;

/// Longest legal basis or purpose, in bytes.
pub const TERM_BYTES_MAX: usize = 512;

record! {
    /// On what basis, what for, and until when. Whoever can open any portion of the notice reads them, so they must
    /// not say more than the portion with the lowest label may.
    pub struct Terms {
        /// The law or agreement the notice rests on.
        legal_basis: Line<TERM_BYTES_MAX>,
        /// What the content may be used for.
        purpose: Line<TERM_BYTES_MAX>,
        /// When it is deleted unless someone finds that it is still needed.
        review_by: Timestamp,
    }
}
