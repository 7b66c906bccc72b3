//! The issuance journal: what was done with the authority, one deed after the other.

use std::fmt;

use valise_proto::id::Timestamp;

/// What can be done with an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A broker was issued, or renewed.
    IssueBroker,
    /// A broker was given other endpoints.
    SetEndpoints,
    /// An agency was enrolled.
    Enrol,
    /// A bundle was made for an agency; where that was due, with a new certificate.
    Bundle,
    /// A member was taken out for good.
    Revoke,
    /// An agency was suspended.
    Suspend,
    /// A suspension was ended.
    Reinstate,
    /// An agency was cleared otherwise.
    SetClearance,
    /// Directory and revocation lists were signed.
    Publish,
}

impl Action {
    /// The word in the journal.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IssueBroker => "ISSUE_BROKER",
            Self::SetEndpoints => "SET_ENDPOINTS",
            Self::Enrol => "ENROL",
            Self::Bundle => "BUNDLE",
            Self::Revoke => "REVOKE",
            Self::Suspend => "SUSPEND",
            Self::Reinstate => "REINSTATE",
            Self::SetClearance => "SET_CLEARANCE",
            Self::Publish => "PUBLISH",
        }
    }
}

/// One deed: who or what it was about, and what there is to know of it (serial numbers, versions, reasons).
#[derive(Clone, Debug)]
pub(crate) struct Deed {
    pub(crate) action: Action,
    pub(crate) at: Timestamp,
    pub(crate) subject: String,
    pub(crate) facts: Vec<(&'static str, String)>,
}

impl Deed {
    pub(crate) fn new(action: Action, subject: impl fmt::Display, at: Timestamp) -> Self {
        Self { action, at, subject: subject.to_string(), facts: Vec::new() }
    }

    pub(crate) fn with(mut self, fact: &'static str, value: impl fmt::Display) -> Self {
        self.facts.push((fact, value.to_string()));
        self
    }
}
