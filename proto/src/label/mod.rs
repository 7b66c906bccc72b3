//! Access classifications and the access decision.
//!
//! The model is that of X.501 (Clearance, rule-based access control), RFC 5755 section 4.4.6 / RFC 5913 (clearance
//! attribute) and STANAG 4774 (restrictive and permissive categories). Nothing here knows about envelopes,
//! networks or directories: [`may_access`] is the one place where it is decided who may see what, and sender,
//! broker and recipient all call it.

mod ceiling;
mod decision;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

pub use ceiling::{AboveCeiling, AtMost, Ceiling};
pub use decision::{Clearance, Denial, may_access};

use crate::id::State;

/// Longest policy name, compartment name or affiliation, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest text of an `H3` handling instruction, in bytes.
pub const HANDLING_TEXT_BYTES_MAX: usize = 128;
/// Longest banner, in bytes. Every record and screen that shows a label has to have room for it.
pub const BANNER_BYTES_MAX: usize = 2 * 1024;
/// Most compartments, affiliations or handling instructions in one label or clearance.
pub const SET_ENTRIES_MAX: usize = 64;

/// Why a banner or one of its words cannot be read. The fault is the writer's; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LabelError {
    /// Not a classification.
    #[error(
        "`{0}` is not a classification: use UNMARKED, UNCLASSIFIED, RESTRICTED, CONFIDENTIAL, SECRET or TOP SECRET"
    )]
    Classification(String),
    /// Not a policy, compartment or affiliation name.
    #[error(
        "`{0}` is not a name: use 1 to 64 of A-Z, a-z, 0-9, `.`, `-` and `_`, beginning with a letter or digit"
    )]
    Name(String),
    /// A compartment that would read as another segment of the banner.
    #[error("`{0}` cannot be a compartment: it is a handling instruction")]
    ReservedCompartment(String),
    /// Not a handling instruction.
    #[error("`{0}` is not a handling instruction: use ORCON, FOR OFFICIAL USE ONLY, H1, H2 or H3(text)")]
    Handling(String),
    /// Releasability in another form than its own.
    #[error(
        "`{0}` is not how releasability is written: behind the classification, as in SECRET//REL TO FRA, KEN"
    )]
    Releasability(String),
    /// A banner segment that is out of place.
    #[error("`{0}` is out of place: write CLASSIFICATION//COMPARTMENT/…//REL TO A, B//HANDLING/…")]
    Banner(String),
    /// A banner that is too long.
    #[error(
        "the banner has {got} bytes; at most {BANNER_BYTES_MAX} are allowed: use fewer or shorter H3 instructions"
    )]
    TooLong {
        /// Its length.
        got: usize,
    },
    /// Too many entries in a set.
    #[error("{got} {what} in one label; at most {max} are allowed")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many were given.
        got: usize,
        /// How many there may be.
        max: usize,
    },
}

/// The five X.501 hierarchies and UNMARKED (X.501 clause 19.3; RFC 5755 section 4.4.6 `ClassList`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Classification {
    /// No marking was made.
    Unmarked,
    /// Marked as not classified.
    Unclassified,
    /// RESTRICTED.
    Restricted,
    /// CONFIDENTIAL.
    Confidential,
    /// SECRET.
    Secret,
    /// TOP SECRET.
    TopSecret,
}

impl Classification {
    /// All of them, lowest first.
    pub const ALL: [Self; 6] = [
        Self::Unmarked,
        Self::Unclassified,
        Self::Restricted,
        Self::Confidential,
        Self::Secret,
        Self::TopSecret,
    ];

    /// The word in a banner.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unmarked => "UNMARKED",
            Self::Unclassified => "UNCLASSIFIED",
            Self::Restricted => "RESTRICTED",
            Self::Confidential => "CONFIDENTIAL",
            Self::Secret => "SECRET",
            Self::TopSecret => "TOP SECRET",
        }
    }

    /// This classification and every lower one: the usual class list of someone cleared up to it.
    #[must_use]
    pub fn and_below(self) -> BTreeSet<Self> {
        Self::ALL.into_iter().filter(|class| *class <= self).collect()
    }
}

impl FromStr for Classification {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let spaced = text.replace('_', " ");
        let found = Self::ALL.into_iter().find(|class| class.as_str() == spaced);
        found.ok_or_else(|| LabelError::Classification(excerpt(text)))
    }
}

impl fmt::Display for Classification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Classification {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.as_str().replace(' ', "_"))
    }
}

impl<'de> Deserialize<'de> for Classification {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A name of 1 to 64 plain characters, used for policies, compartments and affiliations.
macro_rules! label_name {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = LabelError;

            fn from_str(text: &str) -> Result<Self, LabelError> {
                if !is_name(text) {
                    return Err(LabelError::Name(excerpt(text)));
                }
                let check: fn(&str) -> Result<(), LabelError> = $check;
                check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

label_name!(
    /// The security policy under which a label or clearance has its meaning (X.501 `SecurityPolicyIdentifier`).
    PolicyId,
    |_| Ok(())
);

label_name!(
    /// A restrictive category: whoever sees the content must hold every compartment named (STANAG 4774 RESTRICTIVE).
    Compartment,
    |text| {
        let reserved = Classification::ALL.iter().any(|class| class.as_str() == text);
        if reserved || text.parse::<Handling>().is_ok() {
            return Err(LabelError::ReservedCompartment(text.to_owned()));
        }
        Ok(())
    }
);

label_name!(
    /// A permissive category: a State or organisation to which content may be released (STANAG 4774 PERMISSIVE).
    Affiliation,
    |_| Ok(())
);

impl From<State> for Affiliation {
    fn from(state: State) -> Self {
        Self(state.as_str().into())
    }
}

/// An instruction to whoever holds the content. It does not decide access; the agent's workflows carry it out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Handling {
    /// ORCON: the originator controls every further dissemination.
    OriginatorControlled,
    /// For official use only.
    OfficialUseOnly,
    /// H1: not to be used in proceedings without the originator's permission.
    NoProceedings,
    /// H2: not to be shared onward without the originator's permission.
    NoOnwardSharing,
    /// H3: an instruction in words.
    Text(Box<str>),
}

impl FromStr for Handling {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        match text {
            "ORCON" => return Ok(Self::OriginatorControlled),
            "FOR OFFICIAL USE ONLY" | "FOR_OFFICIAL_USE_ONLY" => return Ok(Self::OfficialUseOnly),
            "H1" => return Ok(Self::NoProceedings),
            "H2" => return Ok(Self::NoOnwardSharing),
            _ => {}
        }
        let bad = || LabelError::Handling(excerpt(text));
        let words = text.strip_prefix("H3(").and_then(|rest| rest.strip_suffix(')')).ok_or_else(bad)?;
        // Characters that turn the direction of writing could make a banner look like another one.
        let turns =
            |c| matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
        let plain = |c: char| !c.is_control() && !turns(c) && !matches!(c, '/' | '(' | ')');
        let trimmed = words.trim() == words;
        if words.is_empty() || words.len() > HANDLING_TEXT_BYTES_MAX || !trimmed || !words.chars().all(plain)
        {
            return Err(bad());
        }
        Ok(Self::Text(words.into()))
    }
}

impl fmt::Display for Handling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OriginatorControlled => f.write_str("ORCON"),
            Self::OfficialUseOnly => f.write_str("FOR OFFICIAL USE ONLY"),
            Self::NoProceedings => f.write_str("H1"),
            Self::NoOnwardSharing => f.write_str("H2"),
            Self::Text(words) => write!(f, "H3({words})"),
        }
    }
}

/// What a piece of content is marked with, under one policy. Prints and parses as the usual banner:
/// `SECRET//REL TO FRA, KEN//ORCON`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// The policy that gives the rest its meaning.
    pub policy: PolicyId,
    /// How sensitive the content is.
    pub classification: Classification,
    /// Restrictive categories: all must be held.
    pub compartments: BTreeSet<Compartment>,
    /// Permissive categories: at least one must be held; empty means every addressee.
    pub releasable_to: BTreeSet<Affiliation>,
    /// Instructions to the holder.
    pub handling: BTreeSet<Handling>,
}

impl Label {
    /// A label of `classification` with no categories and no handling.
    #[must_use]
    pub fn plain(policy: PolicyId, classification: Classification) -> Self {
        Self {
            policy,
            classification,
            compartments: BTreeSet::new(),
            releasable_to: BTreeSet::new(),
            handling: BTreeSet::new(),
        }
    }

    /// Reads a banner under `policy`.
    ///
    /// # Errors
    /// [`LabelError`] naming the word that cannot be read.
    pub fn parse_banner(policy: PolicyId, banner: &str) -> Result<Self, LabelError> {
        check_len(banner.len())?;
        let mut segments = banner.split("//");
        let first = segments.next().unwrap_or_default();
        let classification = first.parse().map_err(|error| meant_release(first).unwrap_or(error))?;
        let mut label = Self::plain(policy, classification);
        for segment in segments {
            label.read_segment(segment)?;
        }
        // Its canonical form is never longer than what was read.
        label.check_sets()?;
        Ok(label)
    }

    /// The label of a whole whose parts are `labels`: highest classification, union of compartments and handling,
    /// intersection of releasability. `None` where there are no parts, or parts of different policies.
    #[must_use]
    pub fn join<'a>(labels: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut labels = labels.into_iter();
        let mut whole = labels.next()?.clone();
        for label in labels {
            if label.policy != whole.policy {
                return None;
            }
            whole.classification = whole.classification.max(label.classification);
            whole.compartments.extend(label.compartments.iter().cloned());
            whole.handling.extend(label.handling.iter().cloned());
            whole.narrow_releasability(&label.releasable_to);
        }
        Some(whole)
    }

    /// Whether whoever may have content under this label may have content under the `other` too, and is held to no less:
    /// the same policy, no lower classification, every compartment and handling instruction, and releasable to nobody
    /// else.
    #[must_use]
    pub fn dominates(&self, other: &Self) -> bool {
        Self::join([self, other]).as_ref() == Some(self)
    }

    /// The empty set means everyone, so it is the neutral element of the intersection. Where two lists have nobody
    /// in common the result must still exclude everyone, so it keeps a name that no clearance can hold.
    fn narrow_releasability(&mut self, other: &BTreeSet<Affiliation>) {
        if other.is_empty() {
            return;
        }
        if self.releasable_to.is_empty() {
            self.releasable_to = other.clone();
            return;
        }
        self.releasable_to.retain(|affiliation| other.contains(affiliation));
        if self.releasable_to.is_empty() {
            self.releasable_to.insert(nobody());
        }
    }

    fn read_segment(&mut self, segment: &str) -> Result<(), LabelError> {
        let misplaced = || LabelError::Banner(excerpt(segment));
        if let Some(list) = segment.strip_prefix("REL TO ") {
            if !self.releasable_to.is_empty() || !self.handling.is_empty() {
                return Err(misplaced());
            }
            for name in list.split(", ") {
                let other_form = |_| LabelError::Releasability(excerpt(segment));
                self.releasable_to.insert(if name == NOBODY {
                    nobody()
                } else {
                    name.parse().map_err(other_form)?
                });
            }
            return Ok(());
        }
        let words: Vec<&str> = segment.split('/').collect();
        if words.iter().any(|word| word.parse::<Handling>().is_ok()) {
            if !self.handling.is_empty() {
                return Err(misplaced());
            }
            for word in words {
                self.handling.insert(word.parse()?);
            }
            return Ok(());
        }
        if !self.compartments.is_empty() || !self.releasable_to.is_empty() || !self.handling.is_empty() {
            return Err(misplaced());
        }
        for word in words {
            let compartment = word.parse().map_err(|error| meant_release(segment).unwrap_or(error))?;
            self.compartments.insert(compartment);
        }
        Ok(())
    }

    /// Checks what a join or a label built field by field may exceed.
    ///
    /// # Errors
    /// [`LabelError::TooMany`] where a set holds more than [`SET_ENTRIES_MAX`]; [`LabelError::TooLong`] where the banner
    /// is longer than [`BANNER_BYTES_MAX`].
    pub fn check_sizes(&self) -> Result<(), LabelError> {
        self.check_sets()?;
        check_len(self.to_string().len())
    }

    fn check_sets(&self) -> Result<(), LabelError> {
        check_size("compartments", self.compartments.len())?;
        check_size("releasability entries", self.releasable_to.len())?;
        check_size("handling instructions", self.handling.len())
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.classification)?;
        if !self.compartments.is_empty() {
            write!(f, "//{}", joined(&self.compartments, "/"))?;
        }
        if !self.releasable_to.is_empty() {
            write!(f, "//REL TO {}", joined(&self.releasable_to, ", "))?;
        }
        if !self.handling.is_empty() {
            write!(f, "//{}", joined(&self.handling, "/"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.policy)
    }
}

/// How a releasability list with nobody on it is written. It is not a name ([`is_name`] refuses it), so no
/// clearance can hold it.
const NOBODY: &str = "(nobody)";

fn nobody() -> Affiliation {
    Affiliation(NOBODY.into())
}

fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    text.len() <= NAME_BYTES_MAX
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && text.bytes().all(plain)
}

fn check_len(got: usize) -> Result<(), LabelError> {
    if got > BANNER_BYTES_MAX { Err(LabelError::TooLong { got }) } else { Ok(()) }
}

fn check_size(what: &'static str, got: usize) -> Result<(), LabelError> {
    if got > SET_ENTRIES_MAX { Err(LabelError::TooMany { what, got, max: SET_ENTRIES_MAX }) } else { Ok(()) }
}

fn joined<T: fmt::Display>(set: &BTreeSet<T>, separator: &str) -> String {
    set.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
}

fn list<T: fmt::Display>(set: &BTreeSet<T>) -> String {
    if set.is_empty() { "none".to_owned() } else { joined(set, ", ") }
}

/// Where what cannot be read begins like releasability, it was meant so.
fn meant_release(segment: &str) -> Option<LabelError> {
    let first = segment.split([' ', ',', '_']).next().unwrap_or_default();
    let meant = ["REL", "RELTO"].iter().any(|word| first.eq_ignore_ascii_case(word));
    meant.then(|| LabelError::Releasability(excerpt(segment)))
}

fn excerpt(text: &str) -> String {
    text.chars().take(64).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests;
