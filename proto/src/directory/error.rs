//! Why a directory is not to be acted upon.

use std::time::Duration;

use thiserror::Error;

use crate::delegation::DelegationError;
use crate::id::{AgencyId, KeyId, Timestamp, TrustDomain};
use crate::label::AboveCeiling;
use crate::wire::WireError;

/// Why a directory is not to be acted upon. The node keeps the one it holds.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DirectoryError {
    /// Not a directory.
    #[error("the directory cannot be read: {0}")]
    Malformed(#[from] WireError),
    /// Entries that contradict each other.
    #[error("the directory is not consistent: {0}")]
    Inconsistent(String),
    /// The delegation in it.
    #[error("{0}")]
    Delegation(#[from] DelegationError),
    /// Signed by somebody to whom the root delegated nothing.
    #[error("the directory is signed with key {0}, which is not the one that its delegation names")]
    UntrustedKey(KeyId),
    /// It grants more than the root lets this authority grant.
    #[error("directory version {version} grants {agency} more than its authority may: {above}")]
    AboveCeiling {
        /// Its version.
        version: u64,
        /// The agency.
        agency: AgencyId,
        /// What is too much.
        above: AboveCeiling,
    },
    /// The root's leave is over, or not begun.
    #[error(
        "the root's delegation to this authority counts from {not_before} to {not_after} (this node's clock: {now}); set the clock, or have the authority make a new one: valise-ca issuing renew"
    )]
    DelegationOver {
        /// When it began.
        not_before: Timestamp,
        /// When it ended.
        not_after: Timestamp,
        /// The clock it was compared with.
        now: Timestamp,
    },
    /// By an older delegation than the one held.
    #[error("the directory carries delegation {got} of the root; this node holds one of {held}")]
    DelegationRollback {
        /// The generation held.
        held: u64,
        /// The generation offered.
        got: u64,
    },
    /// The signature does not verify.
    #[error("the directory's signature does not verify under key {0}")]
    BadSignature(KeyId),
    /// Of another exchange.
    #[error("the directory is of trust domain {got}; this node belongs to {expected}")]
    TrustDomain {
        /// This node's.
        expected: TrustDomain,
        /// The directory's.
        got: TrustDomain,
    },
    /// Past its time.
    #[error(
        "directory version {version} expired at {expires_at} (issued at {issued_at}{}; this node's clock: {now}); fetch a newer one: valise-ca publish", and_grace(.grace)
    )]
    Expired {
        /// Its version.
        version: u64,
        /// When it was signed.
        issued_at: Timestamp,
        /// When it expired.
        expires_at: Timestamp,
        /// How much longer this node went by it.
        grace: Duration,
        /// The clock it was compared with.
        now: Timestamp,
    },
    /// From the future.
    #[error(
        "directory version {version} was issued at {issued_at}, ahead of this node's clock {now}; set the clock"
    )]
    NotYetValid {
        /// Its version.
        version: u64,
        /// When it was issued.
        issued_at: Timestamp,
        /// The clock it was compared with.
        now: Timestamp,
    },
    /// Older than the one held.
    #[error("directory version {got} is older than version {held}, which this node holds")]
    Rollback {
        /// The version held.
        held: u64,
        /// The version offered.
        got: u64,
    },
    /// Another document under the version held.
    #[error(
        "two different directories carry version {0}: the authority's state was forked or restored; publish again with a higher version"
    )]
    Fork(u64),
}

/// How an error tells of a grace, where there was one.
fn and_grace(grace: &Duration) -> String {
    if grace.is_zero() { String::new() } else { format!("; a grace of {} s is over too", grace.as_secs()) }
}

pub(super) fn inconsistent(sentence: impl Into<String>) -> DirectoryError {
    DirectoryError::Inconsistent(sentence.into())
}
