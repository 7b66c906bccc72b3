//! What a notice as a whole tells those who follow it: what it takes out of force, when somebody arrives, and whether it
//! is about a minor.

use super::Notice;
use super::followup::NoticeRef;
use super::local_time::LocalTime;
use super::mistake::Rule;
use super::movement::{Movement, MovementEvent, MovementStatus};
use super::part::{Content, Part};
use super::safeguards;
use super::text::List;
use crate::id::Timestamp;

impl Notice {
    /// The same CORRECTION or WITHDRAWAL, naming the notices that it takes out of force, newest first. The author leaves
    /// them out: only the agency's records know them.
    ///
    /// # Errors
    /// [`Rule`] where there are none or too many, one twice, or this is a notice of another kind.
    pub fn with_replaces(mut self, replaces: Vec<NoticeRef>) -> Result<Self, Rule> {
        if replaces.is_empty() {
            return Err(Rule::new("a notice that takes others out of force names at least one"));
        }
        let named = List::new(replaces)?;
        for part in &mut self.parts {
            match &mut part.content {
                Content::Correction(correction) => {
                    correction.replaces = named;
                    return Ok(self);
                }
                Content::Withdrawal(withdrawal) => {
                    withdrawal.replaces = named;
                    return Ok(self);
                }
                Content::Movement(_)
                | Content::Person(_)
                | Content::Custody(_)
                | Content::Grounds(_)
                | Content::Remark(_)
                | Content::Biometric(_)
                | Content::Response(_)
                | Content::ReleaseRequest(_)
                | Content::ReleaseDecision(_)
                | Content::Receipt(_) => {}
            }
        }
        Err(Rule::new("only a CORRECTION or WITHDRAWAL takes notices out of force"))
    }

    /// The notices that it takes out of force, newest first; none but of a CORRECTION or WITHDRAWAL.
    #[must_use]
    pub fn replaces(&self) -> &[NoticeRef] {
        replaces(&self.parts)
    }

    /// When somebody arrives: the earliest arrival that is planned or under way, as far as one is known.
    #[must_use]
    pub fn arrival(&self) -> Option<Timestamp> {
        arrival(&self.parts)
    }

    /// Whether it is about someone who is, or may be, under 18 at the movement, or at `otherwise` where there is none.
    #[must_use]
    pub fn has_minor(&self, otherwise: Timestamp) -> bool {
        has_minor(&self.parts, otherwise)
    }
}

/// The notices that parts take out of force, newest first.
#[must_use]
pub fn replaces(parts: &[Part]) -> &[NoticeRef] {
    parts.iter().find_map(replaced_by).unwrap_or_default()
}

fn replaced_by(part: &Part) -> Option<&[NoticeRef]> {
    match &part.content {
        Content::Correction(correction) => Some(&*correction.replaces),
        Content::Withdrawal(withdrawal) => Some(&*withdrawal.replaces),
        Content::Movement(_)
        | Content::Person(_)
        | Content::Custody(_)
        | Content::Grounds(_)
        | Content::Remark(_)
        | Content::Biometric(_)
        | Content::Response(_)
        | Content::ReleaseRequest(_)
        | Content::ReleaseDecision(_)
        | Content::Receipt(_) => None,
    }
}

/// The earliest arrival, planned or under way, of the movements among these parts, as far as one is known.
#[must_use]
pub fn arrival<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Option<Timestamp> {
    let movements = parts.into_iter().filter_map(|part| part.content.as_movement());
    movements.filter_map(arrives).min()
}

/// The last leg says when a journey ends. Without legs only an ARRIVAL does: the moment of another movement is that of
/// its beginning.
fn arrives(movement: &Movement) -> Option<Timestamp> {
    match movement.status {
        MovementStatus::Planned | MovementStatus::UnderWay => {}
        MovementStatus::Completed | MovementStatus::Attempted | MovementStatus::Cancelled => return None,
    }
    let by_leg = movement.legs.last().and_then(|leg| leg.arrives).map(|time| time.at());
    let by_event = match movement.event {
        MovementEvent::Arrival => Some(movement.event_time.at()),
        MovementEvent::Travel | MovementEvent::Deportation => None,
    };
    by_leg.or(by_event)
}

/// Whether these parts, of however many portions of one notice, are about someone who is, or may be, under 18: at the
/// earliest movement among them or at `otherwise`, whichever is earlier, since a reader may not have been given the
/// movement. `otherwise` is when the notice was made.
#[must_use]
pub fn has_minor<'a>(parts: impl IntoIterator<Item = &'a Part>, otherwise: Timestamp) -> bool {
    let parts: Vec<&Part> = parts.into_iter().collect();
    let movements = parts.iter().filter_map(|part| part.content.as_movement());
    let earliest = movements.map(|movement| movement.event_time).min_by_key(LocalTime::at);
    let at = earliest.filter(|event| event.at() <= otherwise).unwrap_or_else(|| LocalTime::utc(otherwise));
    let mut persons = parts.iter().filter_map(|part| part.content.as_person());
    persons.any(|person| safeguards::is_minor(person, &at))
}
