//! What of a notice concerns a minor, so that nobody passes it on.

use std::collections::BTreeSet;

use super::minors;
use crate::id::Timestamp;
use crate::notice::local_time::LocalTime;
use crate::notice::part::{Content, Part};
use crate::notice::portion::Portion;

/// The places, among `portions` of one notice written at `written_at`, of those that say something about someone who
/// is, or may be, under 18: the person itself, what is about it, and what is about that in turn. Ages count at the
/// earliest movement told of, so that who was a minor on any of them stays protected.
#[must_use]
pub fn about_minors(portions: &[&Portion], written_at: Timestamp) -> BTreeSet<usize> {
    let parts: Vec<(usize, &Part)> = portions
        .iter()
        .enumerate()
        .flat_map(|(place, portion)| portion.parts().iter().map(move |part| (place, part)))
        .collect();
    let movements = parts.iter().filter_map(|(_, part)| part.content.as_movement());
    let earliest = movements.map(|movement| movement.event_time).min_by_key(LocalTime::at);
    let at = earliest.unwrap_or_else(|| LocalTime::utc(written_at));
    let is_minor = |part: &Part| part.content.as_person().is_some_and(|person| minors::is_minor(person, &at));
    let mut concerned: Vec<&(usize, &Part)> = parts.iter().filter(|(_, part)| is_minor(part)).collect();
    loop {
        let ids: BTreeSet<_> = concerned.iter().filter_map(|(_, part)| part.id.as_ref()).collect();
        let is_about = |part: &Part| Content::about(&part.content).is_some_and(|about| ids.contains(about));
        let known = |part: &Part| concerned.iter().any(|(_, other)| std::ptr::eq(*other, part));
        let more: Vec<_> = parts.iter().filter(|(_, part)| is_about(part) && !known(part)).collect();
        if more.is_empty() {
            return concerned.into_iter().map(|(place, _)| *place).collect();
        }
        concerned.extend(more);
    }
}
