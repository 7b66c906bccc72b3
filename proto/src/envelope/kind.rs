//! Kinds of notice and their precedence.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a notice is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoticeKind {
    /// A person's travel.
    Travel,
    /// A person's arrival.
    Arrival,
    /// A person's deportation.
    Deportation,
    /// An answer to a notice.
    Response,
    /// Takes the place of an earlier notice.
    Correction,
    /// Takes an earlier notice back.
    Withdrawal,
    /// Carries a recipient's signed receipt to the originator.
    Receipt,
    /// Asks the originator for leave to share onward.
    ReleaseRequest,
    /// Answers such a request.
    ReleaseDecision,
}

/// How fast a notice is to travel (ACP 127). Neither importance nor secrecy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Precedence {
    /// Within the day.
    Routine,
    /// Before routine traffic.
    Priority,
    /// Without delay.
    Immediate,
    /// Before everything else.
    Flash,
}

/// A word is not one of those allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not {what}: use one of {allowed}")]
pub struct UnknownWord {
    what: &'static str,
    word: String,
    allowed: String,
}

macro_rules! words {
    ($type:ty, $what:literal, $count:literal, [$($variant:ident = $word:literal),*]) => {
        impl $type {
            /// All of them, in rising order.
            pub const ALL: [Self; $count] = [$(Self::$variant),*];

            /// The word in JSON, on the command line and in messages.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                let found = Self::ALL.into_iter().find(|value| value.as_str() == text);
                found.ok_or_else(|| UnknownWord {
                    what: $what,
                    word: text.chars().take(32).collect(),
                    allowed: Self::ALL.map(Self::as_str).join(", "),
                })
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

words!(
    NoticeKind,
    "a kind of notice",
    9,
    [
        Travel = "TRAVEL",
        Arrival = "ARRIVAL",
        Deportation = "DEPORTATION",
        Response = "RESPONSE",
        Correction = "CORRECTION",
        Withdrawal = "WITHDRAWAL",
        Receipt = "RECEIPT",
        ReleaseRequest = "RELEASE_REQUEST",
        ReleaseDecision = "RELEASE_DECISION"
    ]
);

impl NoticeKind {
    /// Whether a notice of this kind tells of persons: with terms that say how long it may be kept, and such that it is
    /// answered, corrected, withdrawn and passed on. The others are about such a notice.
    #[must_use]
    pub fn tells_of_persons(self) -> bool {
        match self {
            Self::Travel | Self::Arrival | Self::Deportation | Self::Correction => true,
            Self::Response
            | Self::Withdrawal
            | Self::Receipt
            | Self::ReleaseRequest
            | Self::ReleaseDecision => false,
        }
    }
}

impl Precedence {
    /// How soon an answer is asked for unless the author says otherwise. FLASH, PRIORITY and ROUTINE follow the terms of
    /// Directive (EU) 2023/977, article 5.
    #[must_use]
    pub fn respond_within(self) -> Duration {
        const HOUR: u64 = 60 * 60;
        Duration::from_secs(match self {
            Self::Flash => 8 * HOUR,
            Self::Immediate => 24 * HOUR,
            Self::Priority => 3 * 24 * HOUR,
            Self::Routine => 7 * 24 * HOUR,
        })
    }
}

words!(
    Precedence,
    "a precedence",
    4,
    [Routine = "ROUTINE", Priority = "PRIORITY", Immediate = "IMMEDIATE", Flash = "FLASH"]
);
