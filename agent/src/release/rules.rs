//! Who may pass on what: pure, so that every case can be tried.
//!
//! Claimed: content marked ORCON or H2, content that would go to another State, and content under a lower label leave a
//! holder only under a decision of the originator that covers portions, recipients and label and has not run out; what
//! concerns a minor leaves a holder not at all (S/RES/2396, paragraphs 8 and 30). No answer is no. It holds because
//! [`may_forward`] lets go only what needs no leave or what one [`Grant`] covers as a whole: grants are never added up.

mod ours;

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;
use valise_proto::envelope::PortionIndex;
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::label::{Handling, Label};
use valise_proto::notice::{ReleaseAction, Safeguard};

pub use ours::{NotReleased, Owned, may_grant, may_release};

/// A notice of another agency, as far as the rules ask about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub notice_id: NoticeId,
    /// Whose it is.
    pub originator: AgencyId,
    /// The portions that open here, with their labels.
    pub portions: BTreeMap<PortionIndex, Label>,
    /// Those of them that say something about someone who is, or may be, under 18.
    pub minors: BTreeSet<PortionIndex>,
}

/// What a holder wants to pass on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Onward {
    /// Which portions.
    pub portions: BTreeSet<PortionIndex>,
    /// To whom.
    pub to: BTreeSet<AgencyId>,
    /// Under which label.
    pub label: Label,
}

/// What leave is asked or given for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// To share, or to lower the label.
    pub action: ReleaseAction,
    /// Which portions of the notice.
    pub portions: BTreeSet<PortionIndex>,
    /// To whom; nobody named means agencies of the holder's own State.
    pub to: BTreeSet<AgencyId>,
    /// The lowest label; without one that of the portions.
    pub label: Option<Label>,
}

/// An originator's leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The decision that gives it.
    pub decision: NoticeId,
    /// What for.
    pub scope: Scope,
    /// Until when; for ever where it does not say.
    pub valid_until: Option<Timestamp>,
}

/// On what somebody may pass something on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It stays within the own State, under no lower label, and nothing forbids that (paragraph 7).
    Domestic,
    /// The originator's decision.
    Granted(NoticeId),
}

/// Why the originator has to be asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Needs {
    /// Marked ORCON or H2.
    #[error("portion {portion} is marked {handling}")]
    Marked {
        /// Which.
        portion: PortionIndex,
        /// As what.
        handling: Handling,
    },
    /// To another State.
    #[error("{0} is an agency of another State")]
    Abroad(AgencyId),
    /// Under a label that protects it less.
    #[error("{label} protects it less than {source_label}, under which it came")]
    Lowered {
        /// The label wanted.
        label: Label,
        /// That of the portions.
        source_label: Label,
    },
}

/// What a decision does not cover.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Shortfall {
    /// It has run out.
    #[error("it ended at {0}")]
    Ended(Timestamp),
    /// It is about other portions.
    #[error("it is not for portion {0}")]
    Portion(PortionIndex),
    /// It is for others.
    #[error("it is not for {0}")]
    Recipient(AgencyId),
    /// It asks for a label that protects more.
    #[error("it asks for {0} or a label that protects more")]
    Label(Label),
}

/// Why a holder may not pass something on. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotOnward {
    /// No portion, or nobody to send it to.
    #[error("{0}")]
    Empty(&'static str),
    /// A portion that does not open here.
    #[error(
        "portion {0} of the notice cannot be opened here; `valise-agent show` lists the portions that are held"
    )]
    NotHeld(PortionIndex),
    /// About a minor.
    #[error("portion {portion} is about someone who is, or may be, under 18: nobody passes that on ({basis})", basis = Safeguard::Minors.basis())]
    Minor {
        /// Which.
        portion: PortionIndex,
    },
    /// Labels of different policies.
    #[error("the labels are of different policies, so they cannot be compared")]
    Policy,
    /// Its originator has not given leave.
    #[error("{} ({basis}); {}{}", reasons(.needs), ask(.held, .wish), and_shortfalls(.shortfalls), basis = Safeguard::NoSilentDowngrade.basis())]
    NoLeave {
        /// Why leave is needed.
        needs: Vec<Needs>,
        /// Decisions there are, each with what it does not cover.
        shortfalls: Vec<(NoticeId, Shortfall)>,
        /// Of which notice.
        held: Box<Held>,
        /// What was wanted.
        wish: Box<Onward>,
    },
}

fn reasons(needs: &[Needs]) -> String {
    let reasons: Vec<_> = needs.iter().map(ToString::to_string).collect();
    format!("only its originator can let this go further: {}", reasons.join("; "))
}

fn list(values: impl IntoIterator<Item = impl ToString>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(",")
}

fn ask(held: &Held, wish: &Onward) -> String {
    format!(
        "ask {}: valise-agent release request {} --portions {} --to {} --label \"{}\" --justification TEXT (no answer \
         is no)",
        held.originator,
        held.notice_id,
        list(&wish.portions),
        list(&wish.to),
        wish.label
    )
}

fn and_shortfalls(shortfalls: &[(NoticeId, Shortfall)]) -> String {
    let one = |(decision, shortfall): &(NoticeId, Shortfall)| {
        format!("; the leave given with {decision} does not cover this: {shortfall}")
    };
    shortfalls.iter().map(one).collect()
}

/// Whether a holder of agency `me` may pass this on, and by what leave.
///
/// # Errors
/// [`NotOnward`].
pub fn may_forward(
    held: &Held,
    me: &AgencyId,
    wish: &Onward,
    grants: &[Grant],
    now: Timestamp,
) -> Result<Leave, NotOnward> {
    if wish.to.is_empty() {
        return Err(NotOnward::Empty("name whom it is for: --to AGENCY"));
    }
    let mut labels = Vec::with_capacity(wish.portions.len());
    for index in &wish.portions {
        labels.push(held.portions.get(index).ok_or(NotOnward::NotHeld(*index))?);
    }
    if let Some(portion) = wish.portions.intersection(&held.minors).next() {
        return Err(NotOnward::Minor { portion: *portion });
    }
    let Some(first) = labels.first() else {
        return Err(NotOnward::Empty("choose portions of it: --portions 0,1"));
    };
    if wish.label.policy != first.policy {
        return Err(NotOnward::Policy);
    }
    let source = Label::join(labels).ok_or(NotOnward::Policy)?;
    let needs = needs(held, me, wish, &source);
    if needs.is_empty() {
        return Ok(Leave::Domestic);
    }
    let mut shortfalls = Vec::new();
    for grant in grants {
        match covers(grant, me, wish, &source, now) {
            Ok(()) => return Ok(Leave::Granted(grant.decision)),
            Err(shortfall) => shortfalls.push((grant.decision, shortfall)),
        }
    }
    let (held, wish) = (Box::new(held.clone()), Box::new(wish.clone()));
    Err(NotOnward::NoLeave { needs, shortfalls, held, wish })
}

/// What of the wish only the originator can allow.
fn needs(held: &Held, me: &AgencyId, wish: &Onward, source: &Label) -> Vec<Needs> {
    let mut needs = Vec::new();
    for (portion, label) in held.portions.iter().filter(|(index, _)| wish.portions.contains(index)) {
        let marked = label.handling.iter().filter(|handling| binds_holders(handling));
        needs.extend(marked.map(|handling| Needs::Marked { portion: *portion, handling: handling.clone() }));
    }
    let abroad = wish.to.iter().filter(|agency| agency.state() != me.state());
    needs.extend(abroad.cloned().map(Needs::Abroad));
    if !wish.label.dominates(source) {
        needs.push(Needs::Lowered { label: wish.label.clone(), source_label: source.clone() });
    }
    needs
}

/// Whether an instruction forbids a holder to pass content on without the originator's leave.
#[must_use]
pub fn binds_holders(handling: &Handling) -> bool {
    match handling {
        Handling::OriginatorControlled | Handling::NoOnwardSharing => true,
        Handling::OfficialUseOnly | Handling::NoProceedings | Handling::Text(_) => false,
    }
}

fn covers(
    grant: &Grant,
    me: &AgencyId,
    wish: &Onward,
    source: &Label,
    now: Timestamp,
) -> Result<(), Shortfall> {
    let Grant { scope, valid_until, .. } = grant;
    if let Some(until) = valid_until.filter(|until| *until <= now) {
        return Err(Shortfall::Ended(until));
    }
    if let Some(portion) = wish.portions.difference(&scope.portions).next() {
        return Err(Shortfall::Portion(*portion));
    }
    let named = |agency: &&AgencyId| match scope.to.is_empty() {
        true => agency.state() == me.state(),
        false => scope.to.contains(*agency),
    };
    if let Some(other) = wish.to.iter().find(|agency| !named(agency)) {
        return Err(Shortfall::Recipient(other.clone()));
    }
    let floor = scope.label.as_ref().unwrap_or(source);
    if !wish.label.dominates(floor) {
        return Err(Shortfall::Label(floor.clone()));
    }
    // Leave to share widens the circle; it lowers nothing else.
    let shared = match scope.action {
        ReleaseAction::Share => to_everybody(&wish.label).dominates(&to_everybody(source)),
        ReleaseAction::Downgrade => true,
    };
    if shared { Ok(()) } else { Err(Shortfall::Label(source.clone())) }
}

fn to_everybody(label: &Label) -> Label {
    Label { releasable_to: BTreeSet::new(), ..label.clone() }
}

#[cfg(test)]
mod tests;
