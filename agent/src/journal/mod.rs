//! The access journal: who saw, sent, left out or was refused what, when, and the reason that was stated.
//!
//! Claimed: an entry is on stable storage in the same batch as the deed it tells of, before anybody is shown or told
//! anything; and whoever changes, removes or moves an entry, or cuts some off the end, is found out by whoever noted a
//! head of the chain. It holds because the store chains each entry to all before it ([`crate::store`]), encrypted with
//! the store's key. Not claimed: somebody who has that key and the folder can write another journal from the
//! beginning, which only a head that was noted elsewhere (`journal head`) shows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use valise_proto::id::{NoticeId, Timestamp};
use valise_proto::receipt::OFFICER_BYTES_MAX;

/// Longest stated reason, in bytes.
pub const REASON_BYTES_MAX: usize = 512;
/// Longest detail, in bytes.
pub const DETAIL_BYTES_MAX: usize = 1024;

macro_rules! deeds {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What was done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        pub enum Deed {
            $($(#[$doc])* #[serde(rename = $word)] $name,)*
        }

        impl Deed {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

deeds! {
    /// A notice was opened for an officer.
    Open = "OPEN",
    /// Content was written to a file.
    Export = "EXPORT",
    /// The inbox was searched.
    Search = "SEARCH",
    /// A notice was sealed and queued.
    Send = "SEND",
    /// A second officer approved, or refused, what another had drafted.
    Release = "RELEASE",
    /// A State was left out.
    Omission = "OMISSION",
    /// Somebody who should be told could not be: a holder of what was taken out of force, or an agency of the own State.
    NotTold = "NOT_TOLD",
    /// A portion was disclosed to somebody outside the exchange.
    Disclosure = "DISCLOSURE",
    /// Something was refused: for want of a role, or because it was not the caller's to do.
    Refusal = "REFUSAL",
    /// An officer stated that the notice was acted upon.
    Act = "ACT",
    /// An officer found that the notice cannot be used here.
    Decline = "DECLINE",
    /// An answer to a notice was sealed and queued.
    Respond = "RESPOND",
    /// A correction, which takes the place of a notice, was sealed and queued.
    Correct = "CORRECT",
    /// A withdrawal, which takes a notice back, was sealed and queued.
    Withdraw = "WITHDRAW",
    /// A notice was derived at a lower label.
    Downgrade = "DOWNGRADE",
    /// A request for release was decided upon.
    Decide = "DECIDE",
    /// Content was purged.
    Purge = "PURGE",
    /// Somebody gave a wrong name, password or token.
    LoginFailed = "LOGIN_FAILED",
    /// An officer's account or token was made, changed or removed.
    OfficerChanged = "OFFICER_CHANGED",
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no deed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not a deed: use one of {words}", words = words())]
pub struct UnknownDeed(String);

fn words() -> String {
    Deed::ALL.iter().map(|deed| deed.as_str()).collect::<Vec<_>>().join(", ")
}

impl FromStr for Deed {
    type Err = UnknownDeed;

    fn from_str(word: &str) -> Result<Self, UnknownDeed> {
        let found = Deed::ALL.iter().copied().find(|deed| deed.as_str().eq_ignore_ascii_case(word));
        found.ok_or_else(|| UnknownDeed(word.to_owned()))
    }
}

/// One entry. The store gives it its number and chains it to those before.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Entry {
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// Who; of a failed login the name that was given, which may be nobody's.
    pub officer: String,
    /// What was done.
    pub deed: Deed,
    /// About which notice.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<NoticeId>,
    /// The other notice that it concerns: the one that was corrected, withdrawn or answered.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concerns: Option<NoticeId>,
    /// The reason that the officer stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// More about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl Entry {
    /// An entry that says who did what, and when.
    #[must_use]
    pub fn new(at: Timestamp, officer: &str, deed: Deed) -> Self {
        let officer = bounded(officer, OFFICER_BYTES_MAX);
        Self { at, officer, deed, about: None, concerns: None, reason: None, detail: String::new() }
    }

    /// About this notice.
    #[must_use]
    pub fn about(self, notice_id: NoticeId) -> Self {
        Self { about: Some(notice_id), ..self }
    }

    /// Which concerns this notice too, where there is one.
    #[must_use]
    pub fn concerning(self, notice_id: Option<NoticeId>) -> Self {
        Self { concerns: notice_id, ..self }
    }

    /// For this reason, cut to [`REASON_BYTES_MAX`].
    #[must_use]
    pub fn because(self, reason: Option<&str>) -> Self {
        Self { reason: reason.map(|reason| bounded(reason, REASON_BYTES_MAX)), ..self }
    }

    /// With this said about it, cut to [`DETAIL_BYTES_MAX`].
    #[must_use]
    pub fn saying(self, detail: impl fmt::Display) -> Self {
        Self { detail: bounded(&detail.to_string(), DETAIL_BYTES_MAX), ..self }
    }
}

/// Reasons are content.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({} at {})", self.deed, self.at)
    }
}

/// Cut between characters, and without control characters: so that an entry fits one record however it is escaped.
fn bounded(text: &str, bytes_max: usize) -> String {
    let mut text = text.replace(char::is_control, " ");
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

/// An entry and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Written {
    /// Its number, from 0.
    pub seq: u64,
    /// The entry.
    #[serde(flatten)]
    pub entry: Entry,
}

/// Which entries are asked for.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Of this officer.
    pub officer: Option<String>,
    /// Of this deed.
    pub deed: Option<Deed>,
    /// About this notice, or concerning it too.
    pub about: Option<NoticeId>,
}

impl Query {
    /// Whether `entry` is asked for.
    #[must_use]
    pub fn takes(&self, entry: &Entry) -> bool {
        self.since.is_none_or(|since| entry.at >= since)
            && self.officer.as_ref().is_none_or(|officer| *officer == entry.officer)
            && self.deed.is_none_or(|deed| deed == entry.deed)
            && self.about.is_none_or(|about| entry.about == Some(about) || entry.concerns == Some(about))
    }
}
