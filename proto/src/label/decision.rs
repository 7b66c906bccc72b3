//! Clearances, and the access decision.

use std::collections::BTreeSet;
use std::fmt;

use thiserror::Error;

use super::{
    Affiliation, Classification, Compartment, Label, LabelError, PolicyId, check_size, joined, list,
};

/// What an agency may see, under one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clearance {
    /// The policy that gives the rest its meaning.
    pub policy: PolicyId,
    /// Every classification held. X.501 lists them; holding a higher one does not imply a lower.
    pub class_list: BTreeSet<Classification>,
    /// Compartments held.
    pub compartments: BTreeSet<Compartment>,
    /// Own State code and organisations.
    pub affiliations: BTreeSet<Affiliation>,
}

impl Clearance {
    /// # Errors
    /// [`LabelError::TooMany`] where a set holds more than [`SET_ENTRIES_MAX`](super::SET_ENTRIES_MAX).
    pub fn check_sizes(&self) -> Result<(), LabelError> {
        check_size("compartments", self.compartments.len())?;
        check_size("affiliations", self.affiliations.len())
    }
}

impl fmt::Display for Clearance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", joined(&self.class_list, ", "))?;
        if !self.compartments.is_empty() {
            write!(f, "; compartments {}", joined(&self.compartments, ", "))?;
        }
        write!(f, "; affiliations {}", joined(&self.affiliations, ", "))
    }
}

/// Why content may not be seen: which rule failed, what was held and what was needed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Denial {
    /// Label and clearance mean different things: a mistake of administration, not a decision.
    #[error(
        "the label is of policy {label} and the clearance of policy {clearance}: they cannot be compared"
    )]
    Policy {
        /// The label's policy.
        label: PolicyId,
        /// The clearance's policy.
        clearance: PolicyId,
    },
    /// The classification is not in the class list.
    #[error("classification {needed} is needed; held: {}", list(held))]
    Classification {
        /// The label's classification.
        needed: Classification,
        /// The class list.
        held: BTreeSet<Classification>,
    },
    /// Compartments are missing.
    #[error("compartments {} are needed and not held", list(missing))]
    Compartments {
        /// Those needed and not held.
        missing: BTreeSet<Compartment>,
    },
    /// None of the affiliations is among those it may be released to.
    #[error("releasable to {} only; affiliations held: {}", list(releasable_to), list(held))]
    Releasability {
        /// To whom it may be released.
        releasable_to: BTreeSet<Affiliation>,
        /// The affiliations held.
        held: BTreeSet<Affiliation>,
    },
}

/// The access decision: may someone with `clearance` see content marked `label`?
///
/// # Errors
/// The first rule that fails, in the order policy, classification, compartments, releasability.
pub fn may_access(clearance: &Clearance, label: &Label) -> Result<(), Denial> {
    if clearance.policy != label.policy {
        return Err(Denial::Policy { label: label.policy.clone(), clearance: clearance.policy.clone() });
    }
    if !clearance.class_list.contains(&label.classification) {
        return Err(Denial::Classification {
            needed: label.classification,
            held: clearance.class_list.clone(),
        });
    }
    if !label.compartments.is_subset(&clearance.compartments) {
        let missing = label.compartments.difference(&clearance.compartments).cloned().collect();
        return Err(Denial::Compartments { missing });
    }
    if !label.releasable_to.is_empty() && label.releasable_to.is_disjoint(&clearance.affiliations) {
        return Err(Denial::Releasability {
            releasable_to: label.releasable_to.clone(),
            held: clearance.affiliations.clone(),
        });
    }
    Ok(())
}
