//! What the originator may release of its own, and grant: never to a State that persons are protected from, and never
//! leave to pass on what concerns a minor.

use std::collections::BTreeSet;

use thiserror::Error;
use valise_proto::directory::Directory;
use valise_proto::envelope::PortionIndex;
use valise_proto::id::{AgencyId, State, Timestamp};
use valise_proto::label::{Affiliation, Denial, Handling, Label, may_access};
use valise_proto::notice::Safeguard;

use super::Scope;

/// A notice of ours, as far as the rules ask about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The labels of its portions, in order.
    pub portions: Vec<Label>,
    /// Those of them that say something about someone who is, or may be, under 18.
    pub minors: BTreeSet<PortionIndex>,
    /// States that persons in it are protected from.
    pub protected_from: BTreeSet<State>,
}

impl Owned {
    /// The join of the labels of these portions.
    ///
    /// # Errors
    /// [`NotReleased`] where one does not exist, or none is chosen.
    pub fn label_of(&self, portions: &BTreeSet<PortionIndex>) -> Result<Label, NotReleased> {
        let count = self.portions.len();
        let mut labels = Vec::with_capacity(portions.len());
        for index in portions {
            let label = self.portions.get(index.get());
            labels.push(label.ok_or(NotReleased::NoSuchPortion { index: *index, count })?);
        }
        Label::join(labels).ok_or(NotReleased::NoPortion)
    }
}

/// Why content of ours is not released. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotReleased {
    /// No portion was chosen.
    #[error("choose portions of the notice: --portions 0,1")]
    NoPortion,
    /// Nobody was named.
    #[error("name whom it is for: --to AGENCY")]
    Nobody,
    /// A portion that does not exist.
    #[error("there is no portion {index}: the notice has {count}, counted from 0")]
    NoSuchPortion {
        /// Which.
        index: PortionIndex,
        /// How many there are.
        count: usize,
    },
    /// About a minor.
    #[error("portion {portion} is about someone who is, or may be, under 18: nobody is given leave to pass that on ({basis})", basis = Safeguard::Minors.basis())]
    Minor {
        /// Which.
        portion: PortionIndex,
    },
    /// To a State that persons are protected from.
    #[error("persons in this notice are protected from {state}: {what} ({basis})", basis = Safeguard::NonRefoulement.basis())]
    Protected {
        /// Which.
        state: State,
        /// What follows.
        what: String,
    },
    /// More than was asked.
    #[error("{0} was not asked for; a decision can grant less than the request, never more")]
    NotAsked(String),
    /// A label that protects less than the one asked for.
    #[error("{given} protects it less than {asked}; grant that label or one that protects more")]
    LabelTooLow {
        /// The label given.
        given: Box<Label>,
        /// The least that may be.
        asked: Box<Label>,
    },
    /// A recipient is not cleared for what it is to receive.
    #[error(
        "{agency} may not access {label}: {denial}; narrow the recipients or release it under another label"
    )]
    NotCleared {
        /// Who.
        agency: AgencyId,
        /// What.
        label: Box<Label>,
        /// Which rule says so.
        denial: Box<Denial>,
    },
    /// A recipient is not in the directory.
    #[error("{0} is not in the directory, or is suspended; take it off")]
    NotListed(AgencyId),
    /// A decision that would have run out before it is made.
    #[error(
        "--valid-until {until} has passed (this node's clock: {now}); write a later time, or leave it out"
    )]
    Ended {
        /// Until when.
        until: Timestamp,
        /// Now.
        now: Timestamp,
    },
}

/// Whether the originator may send these portions of its own notice to `to` under `label`.
///
/// # Errors
/// [`NotReleased`].
pub fn may_release(
    owned: &Owned,
    portions: &BTreeSet<PortionIndex>,
    to: &BTreeSet<AgencyId>,
    label: &Label,
    directory: &Directory,
) -> Result<(), NotReleased> {
    if to.is_empty() {
        return Err(NotReleased::Nobody);
    }
    owned.label_of(portions)?;
    protects(owned, to, label)?;
    to.iter().try_for_each(|agency| is_cleared(agency, label, directory))
}

/// A State left out for the protection of persons is not told by any way, and nobody who is told may pass it on.
fn protects(owned: &Owned, to: &BTreeSet<AgencyId>, label: &Label) -> Result<(), NotReleased> {
    for state in &owned.protected_from {
        let protected = |what: String| Err(NotReleased::Protected { state: *state, what });
        if let Some(agency) = to.iter().find(|agency| agency.state() == *state) {
            return protected(format!("{agency} may not learn of it; take it off"));
        }
        if label.releasable_to.contains(&Affiliation::from(*state)) {
            return protected(format!("{label} would release it there; take {state} off REL TO"));
        }
        if !label.handling.contains(&Handling::NoOnwardSharing) {
            return protected(format!("nobody may pass it on; add H2 to {label}"));
        }
    }
    Ok(())
}

fn is_cleared(agency: &AgencyId, label: &Label, directory: &Directory) -> Result<(), NotReleased> {
    let listed = directory.agency(agency).filter(|entry| entry.status.is_active());
    let entry = listed.ok_or_else(|| NotReleased::NotListed(agency.clone()))?;
    may_access(&entry.clearance, label).map_err(|denial| NotReleased::NotCleared {
        agency: agency.clone(),
        label: Box::new(label.clone()),
        denial: Box::new(denial),
    })
}

/// Whether the originator may give `requester` the leave `given`, having been asked for `asked`.
///
/// # Errors
/// [`NotReleased`].
pub fn may_grant(
    owned: &Owned,
    requester: &AgencyId,
    (asked, given): (&Scope, &Scope),
    valid_until: Option<Timestamp>,
    directory: &Directory,
    now: Timestamp,
) -> Result<(), NotReleased> {
    if let Some(until) = valid_until.filter(|until| *until <= now) {
        return Err(NotReleased::Ended { until, now });
    }
    let source = owned.label_of(&given.portions)?;
    if given.action != asked.action {
        return Err(NotReleased::NotAsked(given.action.to_string()));
    }
    if let Some(portion) = given.portions.difference(&asked.portions).next() {
        return Err(NotReleased::NotAsked(format!("portion {portion}")));
    }
    let others = match asked.to.is_empty() {
        true => given.to.iter().find(|agency| agency.state() != requester.state()),
        false if given.to.is_empty() => return Err(NotReleased::Nobody),
        false => given.to.difference(&asked.to).next(),
    };
    if let Some(other) = others {
        return Err(NotReleased::NotAsked(other.to_string()));
    }
    let least = asked.label.as_ref().unwrap_or(&source);
    if let Some(label) = given.label.as_ref().filter(|label| !label.dominates(least)) {
        return Err(NotReleased::LabelTooLow {
            given: Box::new(label.clone()),
            asked: Box::new(least.clone()),
        });
    }
    if let Some(portion) = given.portions.intersection(&owned.minors).next() {
        return Err(NotReleased::Minor { portion: *portion });
    }
    let label = given.label.as_ref().unwrap_or(&source);
    protects(owned, &given.to, label)?;
    is_cleared(requester, &source, directory)?;
    given.to.iter().try_for_each(|agency| is_cleared(agency, label, directory))
}
