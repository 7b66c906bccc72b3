//! Refusals: why something was not taken, as a numbered code and a sentence.
//!
//! Codes are part of the protocol: never renumbered, never reused (PROTOCOL.md, "Refusals").

use std::fmt;
use std::time::Duration;

/// Longest detail of a refusal, in bytes.
pub const DETAIL_BYTES_MAX: usize = 512;

macro_rules! refusal_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// Why something was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum RefusalCode {
            $($(#[$doc])* $name,)*
            /// A code that this version does not know. It counts as a final refusal; the sentence says why.
            Unknown(u32),
        }

        impl RefusalCode {
            /// Every code that this version knows.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The number on the wire.
            #[must_use]
            pub fn number(self) -> u32 {
                match self { $(Self::$name => $number,)* Self::Unknown(number) => number }
            }

            /// The name people see.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* Self::Unknown(_) => "UNKNOWN" }
            }

            /// The code of a number; `None` for one this version does not know.
            #[must_use]
            pub fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// The code of a number, known or not; `None` for 0, which is no refusal.
            #[must_use]
            pub fn read(number: u32) -> Option<Self> {
                (number != 0).then(|| Self::from_number(number).unwrap_or(Self::Unknown(number)))
            }
        }
    };
}

refusal_codes! {
    /// The bytes are not what the protocol says.
    Malformed = 1, "MALFORMED";
    /// A version this node does not speak.
    UnsupportedVersion = 2, "UNSUPPORTED_VERSION";
    /// The envelope's originator is not the peer of the connection.
    NotOriginator = 3, "NOT_ORIGINATOR";
    /// An agency the directory does not list.
    UnknownAgency = 4, "UNKNOWN_AGENCY";
    /// An agency the directory lists as suspended.
    Suspended = 5, "SUSPENDED";
    /// The signature does not verify.
    BadSignature = 6, "BAD_SIGNATURE";
    /// The directory does not list this key for this agency at this time.
    KeyNotActive = 7, "KEY_NOT_ACTIVE";
    /// A label of another policy than the directory's.
    LabelPolicy = 8, "LABEL_POLICY";
    /// The originator may not originate this kind or classification.
    NotClearedToOriginate = 9, "NOT_CLEARED_TO_ORIGINATE";
    /// A recipient may access no portion.
    RecipientNotCleared = 10, "RECIPIENT_NOT_CLEARED";
    /// Another envelope was accepted under this id.
    IdConflict = 11, "ID_CONFLICT";
    /// `expires_at` has passed.
    Expired = 12, "EXPIRED";
    /// `created_at` is too far in the future, or the lifetime is too long.
    ClockSkew = 13, "CLOCK_SKEW";
    /// A limit of size or number is exceeded.
    TooLarge = 14, "TOO_LARGE";
    /// A rate or storage quota is exceeded; `retry_after` says when to try again.
    Quota = 15, "QUOTA";
    /// The store cannot take anything at present.
    StoreUnavailable = 16, "STORE_UNAVAILABLE";
    /// The node's directory has expired.
    DirectoryStale = 17, "DIRECTORY_STALE";
    /// An agency that the authority took out for good.
    Revoked = 18, "REVOKED";
    /// An officer of the recipient found that it cannot be used there.
    Declined = 19, "DECLINED";
    /// A correction or withdrawal does not go to everyone who was sent the notice.
    IncompleteRecipients = 20, "INCOMPLETE_RECIPIENTS";
    /// The notice was corrected or withdrawn before this copy of it came.
    Superseded = 21, "SUPERSEDED";
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        if let Self::Unknown(number) = self { write!(f, " ({number})") } else { Ok(()) }
    }
}

/// A refusal: the code, a sentence, and when trying again may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// Why.
    pub code: RefusalCode,
    /// A sentence for people; at most [`DETAIL_BYTES_MAX`] bytes, no content of a notice.
    pub detail: String,
    /// Try the same again after this long; `None`: not unchanged.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal that trying again unchanged will not mend.
    #[must_use]
    pub fn new(code: RefusalCode, detail: impl fmt::Display) -> Self {
        let mut detail = detail.to_string();
        if detail.len() > DETAIL_BYTES_MAX {
            let end = (0..=DETAIL_BYTES_MAX).rev().find(|at| detail.is_char_boundary(*at)).unwrap_or(0);
            detail.truncate(end);
        }
        Self { code, detail, retry_after: None }
    }

    /// The same, with a time after which to try again.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_comes_back_from_its_number() {
        for code in RefusalCode::ALL {
            assert_eq!(RefusalCode::from_number(code.number()), Some(*code));
        }
        assert_eq!(RefusalCode::from_number(0), None, "0 means no refusal on the wire");
        assert_eq!(RefusalCode::read(0), None);
        assert_eq!(RefusalCode::read(19), Some(RefusalCode::Declined));
        assert_eq!(RefusalCode::read(4711), Some(RefusalCode::Unknown(4711)));
        assert_eq!(RefusalCode::Unknown(4711).to_string(), "UNKNOWN (4711)");
    }

    #[test]
    fn a_long_detail_is_cut_between_characters() {
        let refusal = Refusal::new(RefusalCode::Malformed, "é".repeat(400));
        assert!(refusal.detail.len() <= DETAIL_BYTES_MAX && refusal.detail.ends_with('é'));
    }
}
