//! The officers of the agency: who may do what at this node.

pub mod guard;
pub mod password;
pub mod register;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use valise_proto::receipt::OFFICER_BYTES_MAX;

/// What an officer may do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Previews, sends, corrects, withdraws, answers, downgrades.
    Drafter,
    /// Approves what another officer drafted, and decides upon requests for release.
    Releaser,
    /// Sees the inbox, reads notices, acts upon them, declines them, answers them.
    Reader,
    /// Sees the access journal.
    Auditor,
}

impl Role {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::Drafter, Self::Releaser, Self::Reader, Self::Auditor];

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drafter => "drafter",
            Self::Releaser => "releaser",
            Self::Reader => "reader",
            Self::Auditor => "auditor",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Self::Drafter => 1,
            Self::Releaser => 2,
            Self::Reader => 4,
            Self::Auditor => 8,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no role.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not a role: use drafter, releaser, reader or auditor")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(word: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == word).ok_or_else(|| UnknownRole(word.to_owned()))
    }
}

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Role>", into = "Vec<Role>")]
pub struct Roles(u8);

impl Roles {
    /// Every role.
    #[must_use]
    pub fn all() -> Self {
        Role::ALL.into_iter().collect()
    }

    /// Whether `role` is in it.
    #[must_use]
    pub fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// The roles, in their order.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |all, role| all | role.bit()))
    }
}

impl From<Vec<Role>> for Roles {
    fn from(roles: Vec<Role>) -> Self {
        roles.into_iter().collect()
    }
}

impl From<Roles> for Vec<Role> {
    fn from(roles: Roles) -> Self {
        roles.iter().collect()
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.iter().map(Role::as_str).collect();
        if words.is_empty() { f.write_str("no role") } else { f.write_str(&words.join(", ")) }
    }
}

/// A name that cannot be an officer's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("an officer's name is 1 to {OFFICER_BYTES_MAX} bytes of plain text in one line, without a colon")]
pub struct BadName;

/// An officer's name as it is kept: without blanks around it. A colon would end it in basic credentials (RFC 7617).
///
/// # Errors
/// [`BadName`].
pub fn name_of(text: &str) -> Result<String, BadName> {
    let name = text.trim();
    let bad = name.is_empty() || name.len() > OFFICER_BYTES_MAX || name.contains(':');
    if bad || name.chars().any(char::is_control) { Err(BadName) } else { Ok(name.to_owned()) }
}
