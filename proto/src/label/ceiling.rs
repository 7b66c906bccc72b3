//! The ceiling: the most that an authority may grant (RFC 5913, authority clearance constraints).

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Affiliation, Classification, Clearance, Compartment, LabelError, check_size, list};
use crate::id::State;

/// Names of which an authority may grant any, or only some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtMost<T: Ord> {
    /// Whatever is named.
    Any,
    /// These and no others.
    Only(BTreeSet<T>),
}

impl<T: Ord> AtMost<T> {
    /// The first of `names` that may not be granted.
    fn first_above<'a>(&self, names: impl IntoIterator<Item = &'a T>) -> Option<&'a T>
    where
        T: 'a,
    {
        match self {
            Self::Any => None,
            Self::Only(allowed) => names.into_iter().find(|name| !allowed.contains(name)),
        }
    }

    fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Any) => true,
            (Self::Any, Self::Only(_)) => false,
            (Self::Only(ours), Self::Only(theirs)) => ours.is_subset(theirs),
        }
    }

    fn check_size(&self, what: &'static str) -> Result<(), LabelError> {
        match self {
            Self::Any => Ok(()),
            Self::Only(names) => check_size(what, names.len()),
        }
    }
}

impl<T: Ord + fmt::Display> fmt::Display for AtMost<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Only(names) => f.write_str(&list(names)),
        }
    }
}

/// The most an authority may grant, under its one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ceiling {
    /// States and organisations whose agencies it may enrol.
    pub states: AtMost<State>,
    /// Classifications it may clear them for, or let them originate.
    pub classifications: BTreeSet<Classification>,
    /// Compartments it may grant.
    pub compartments: AtMost<Compartment>,
    /// Affiliations it may grant beside an agency's own State, which follows from its id.
    pub affiliations: AtMost<Affiliation>,
}

/// What is above a ceiling.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AboveCeiling {
    /// An agency of another State.
    #[error("agencies of {got} are not this authority's to enrol; it may enrol those of: {allowed}")]
    State {
        /// The agency's.
        got: State,
        /// The authority's.
        allowed: String,
    },
    /// A classification.
    #[error("{got} is above this authority's ceiling; it may grant: {allowed}")]
    Classification {
        /// What was granted.
        got: Classification,
        /// What may be.
        allowed: String,
    },
    /// A compartment.
    #[error("compartment {got} is not this authority's to grant; it may grant: {allowed}")]
    Compartment {
        /// What was granted.
        got: Compartment,
        /// What may be.
        allowed: String,
    },
    /// An affiliation.
    #[error(
        "affiliation {got} is not this authority's to grant; beside an agency's own State it may grant: {allowed}"
    )]
    Affiliation {
        /// What was granted.
        got: Affiliation,
        /// What may be.
        allowed: String,
    },
}

impl Ceiling {
    /// The ceiling that is none.
    #[must_use]
    pub fn unlimited() -> Self {
        Self {
            states: AtMost::Any,
            classifications: Classification::ALL.into_iter().collect(),
            compartments: AtMost::Any,
            affiliations: AtMost::Any,
        }
    }

    /// Whether an agency of `state` may be granted this clearance, and may originate these classifications.
    ///
    /// # Errors
    /// [`AboveCeiling`] with the first thing that is above.
    pub fn check(
        &self,
        state: State,
        clearance: &Clearance,
        originates: &BTreeSet<Classification>,
    ) -> Result<(), AboveCeiling> {
        if self.states.first_above([&state]).is_some() {
            return Err(AboveCeiling::State { got: state, allowed: self.states.to_string() });
        }
        let classes = clearance.class_list.iter().chain(originates);
        if let Some(got) = classes.copied().find(|class| !self.classifications.contains(class)) {
            return Err(AboveCeiling::Classification { got, allowed: list(&self.classifications) });
        }
        if let Some(got) = self.compartments.first_above(&clearance.compartments) {
            return Err(AboveCeiling::Compartment {
                got: got.clone(),
                allowed: self.compartments.to_string(),
            });
        }
        let own = Affiliation::from(state);
        let others = clearance.affiliations.iter().filter(|affiliation| **affiliation != own);
        if let Some(got) = self.affiliations.first_above(others) {
            return Err(AboveCeiling::Affiliation {
                got: got.clone(),
                allowed: self.affiliations.to_string(),
            });
        }
        Ok(())
    }

    /// Whether whatever this ceiling allows, `other` allows too.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.states.is_within(&other.states)
            && self.classifications.is_subset(&other.classifications)
            && self.compartments.is_within(&other.compartments)
            && self.affiliations.is_within(&other.affiliations)
    }

    /// # Errors
    /// [`LabelError::TooMany`] where a set holds more than [`SET_ENTRIES_MAX`](super::SET_ENTRIES_MAX).
    pub fn check_sizes(&self) -> Result<(), LabelError> {
        self.states.check_size("States")?;
        self.compartments.check_size("compartments")?;
        self.affiliations.check_size("affiliations")
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; States {}; compartments {}; affiliations {}",
            list(&self.classifications),
            self.states,
            self.compartments,
            self.affiliations
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clearance(class: Classification) -> Clearance {
        Clearance {
            policy: "exchange.example".parse().unwrap(),
            class_list: class.and_below(),
            compartments: BTreeSet::new(),
            affiliations: BTreeSet::from(["FRA".parse().unwrap()]),
        }
    }

    fn ceiling() -> Ceiling {
        Ceiling {
            states: AtMost::Only(BTreeSet::from(["FRA".parse().unwrap()])),
            classifications: Classification::Confidential.and_below(),
            compartments: AtMost::Only(BTreeSet::from(["ALPHA".parse().unwrap()])),
            affiliations: AtMost::Only(BTreeSet::from(["EUE".parse().unwrap()])),
        }
    }

    fn check(state: &str, clearance: &Clearance) -> Result<(), String> {
        let told = |error: AboveCeiling| error.to_string();
        ceiling().check(state.parse().unwrap(), clearance, &clearance.class_list).map_err(told)
    }

    #[test]
    fn g03_what_is_within_the_ceiling_is_granted_and_all_else_is_not() {
        let mut within = clearance(Classification::Confidential);
        within.compartments.insert("ALPHA".parse().unwrap());
        within.affiliations.insert("EUE".parse().unwrap());
        assert_eq!(check("FRA", &within), Ok(()));
        assert!(check("KEN", &within).unwrap_err().contains("those of: FRA"));
        let error = check("FRA", &clearance(Classification::Secret)).unwrap_err();
        assert!(error.contains("SECRET is above"), "{error}");
        let mut compartment = within.clone();
        compartment.compartments.insert("BRAVO".parse().unwrap());
        assert!(check("FRA", &compartment).unwrap_err().contains("compartment BRAVO"));
        let mut affiliation = within;
        affiliation.affiliations.insert("NATO".parse().unwrap());
        assert!(check("FRA", &affiliation).unwrap_err().contains("affiliation NATO"));
    }

    #[test]
    fn g03_the_ceiling_bounds_what_may_be_originated_too() {
        let originates = Classification::Secret.and_below();
        let error =
            ceiling().check("FRA".parse().unwrap(), &clearance(Classification::Restricted), &originates);
        assert!(matches!(error, Err(AboveCeiling::Classification { got: Classification::Secret, .. })));
    }

    #[test]
    fn one_ceiling_is_within_another_only_as_a_whole() {
        assert!(ceiling().is_within(&Ceiling::unlimited()) && ceiling().is_within(&ceiling()));
        assert!(!Ceiling::unlimited().is_within(&ceiling()));
        let wider = Ceiling { states: AtMost::Any, ..ceiling() };
        assert!(!wider.is_within(&ceiling()));
    }
}
