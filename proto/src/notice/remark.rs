//! Words: remarks, and what a follow-up says.

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

record! {
    /// What a RESPONSE answers.
    pub struct Response {
        /// The answer.
        text: Prose<8192>,
    }
}

record! {
    /// Why a CORRECTION takes the place of an earlier notice. Its other parts are the content as it should be.
    pub struct Correction {
        /// What was wrong.
        reason: Prose<2048>,
    }
}

record! {
    /// Why an earlier notice is taken back.
    pub struct Withdrawal {
        /// The reason.
        reason: Prose<2048>,
    }
}
