//! The safeguards that the notice model enforces (design, section 7).
//!
//! Claimed, of every notice that is made here: nobody but a SUBJECT has grounds or biometric data in it; content about
//! a person who is, or may be, under 18 is not shared onward (H2) and is reviewed within a year, and such a person is
//! SUBJECT only with a justification; a State that persons are protected from is not told by way of a recipient the
//! author names or by a recipient's passing it on, and nobody is deported there; no statement stands as fact that
//! cannot be borne out; what is said of a part is not less protected than the part; legal basis, purpose and an end are
//! stated. It holds because a `Notice` cannot be made otherwise. Where an age cannot be told, the person counts as a
//! minor. What needs the originator's own State (consular access, refugees) is checked with the addressing.
//!
//! Each refusal names its [`Safeguard`] and what that rests on.

mod basis;
mod minors;
mod onward;
mod protection;
mod suspects;

pub use basis::Safeguard;
pub(super) use minors::is_minor;
pub use onward::about_minors;
pub(super) use protection::{consular_access, refugees};

use std::time::Duration;

use super::local_time::LocalTime;
use super::movement::MovementEvent;
use super::part::{Content, PartType, Slot};
use super::validate::{Check, opens_matter};
use super::written::Written;
use crate::id::Timestamp;
use crate::label::{Handling, Label};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long content about a minor is kept at most before it is reviewed.
pub const MINOR_REVIEW_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// How long any content is kept at most before it is reviewed: ten years.
pub const REVIEW_MAX: Duration = Duration::from_secs(3653 * 24 * 60 * 60);
/// When other content is reviewed, unless the author says otherwise: after three years.
pub const REVIEW_DEFAULT: Duration = Duration::from_secs(3 * 365 * 24 * 60 * 60);

/// Checks the safeguards.
pub(super) fn check(check: &mut Check<'_>) {
    let at = event_time(check.written, check.now);
    if let Some(at) = &at {
        minors::check(check, at);
    }
    reviewed_in_time(check);
    suspects::check(check);
    quotations(check);
    protection::check(check);
}

/// When content is reviewed unless the author says otherwise: rounded down to a day, so that it tells nothing of the
/// hour of writing.
pub(super) fn review_by_default(written: &Written, now: Timestamp) -> Timestamp {
    let minor = event_time(written, now).is_some_and(|at| minors::any(written, &at));
    let after = if minor { MINOR_REVIEW_MAX } else { REVIEW_DEFAULT };
    let millis = now.plus(after).millis();
    let day = u64::try_from(DAY.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_millis(millis - millis % day)
}

/// When the age of persons counts: at the movement the notice is about (the earliest, where there are several), or
/// now where there is none. `None` where a movement could not be read, so that nobody's age is judged by guess.
fn event_time(written: &Written, now: Timestamp) -> Option<LocalTime> {
    let event: Option<MovementEvent> = written.kind.0.and_then(opens_matter);
    let mut earliest: Option<LocalTime> = None;
    for slot in &written.parts.0 {
        if slot.is_unread(PartType::Movement) {
            return None;
        }
        let movement = slot.content.as_ref().and_then(Content::as_movement);
        let Some(movement) = movement.filter(|movement| event.is_none_or(|event| movement.event == event))
        else {
            continue;
        };
        let time = movement.event_time;
        earliest = Some(earliest.filter(|earlier| earlier.at() <= time.at()).unwrap_or(time));
    }
    Some(earliest.unwrap_or_else(|| LocalTime::utc(now)))
}

/// No content is kept without end.
fn reviewed_in_time(check: &mut Check<'_>) {
    let latest = check.now.plus(REVIEW_MAX);
    if let Some(time) = check.written.review_by.value().filter(|time| **time > latest) {
        let rule = format!("content is reviewed within ten years: write {latest} or earlier");
        check.refuse(Safeguard::LawfulPurpose, "review_by", time, &rule);
    }
}

/// What is said of a part may repeat it, so nobody may read it who may not read the part. A remark, which is free text,
/// is held to the instructions to its readers too; what else is about a person has instructions of its own.
fn quotations(check: &mut Check<'_>) {
    let written = check.written;
    for (index, slot) in written.parts.0.iter().enumerate() {
        let Some(about) = slot.content.as_ref().and_then(Content::about) else { continue };
        let target = written.parts.0.iter().find(|slot| slot.id() == Some(about));
        let quoted = target.and_then(|target| label_of(written, target));
        let (Some(label), Some(quoted)) = (label_of(written, slot), quoted) else { continue };
        let mut held_to = quoted.clone();
        if slot.part_type != Some(PartType::Remark) {
            held_to.handling.clear();
        }
        let Some(joined) = Label::join([label, &held_to]).filter(|joined| joined != label) else { continue };
        let rule = format!("it is about a part labelled {quoted}, which it may repeat: write {joined}");
        check.refuse(Safeguard::NoSilentDowngrade, &format!("parts[{index}].label"), label, &rule);
    }
}

/// The label of a part, its own or the default one; `None` where neither could be read.
fn label_of<'a>(written: &'a Written, slot: &'a Slot) -> Option<&'a Label> {
    slot.label.as_ref()?.as_ref().or(written.label.value())
}

/// The label with onward sharing forbidden; `None` where it forbids it as it is.
fn not_onward(label: &Label) -> Option<Label> {
    let mut mended = label.clone();
    mended.handling.insert(Handling::NoOnwardSharing).then_some(mended)
}

#[cfg(test)]
mod tests;
