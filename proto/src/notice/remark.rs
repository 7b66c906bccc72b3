//! Remarks.

use super::json::record;
use super::part::LocalId;
use super::text::Prose;

record! {
    /// A remark about a part, or about the whole notice.
    pub struct Remark {
        /// The id of the part it is about; without one it is about the whole.
        about: Option<LocalId>,
        /// The remark.
        text: Prose<4096>,
    }
}
