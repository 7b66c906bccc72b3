//! Movements: that what is told of one holds together, and that no State it touches is forgotten.

use std::time::Duration;

use super::{Check, opens_matter};
use crate::envelope::NoticeKind;
use crate::notice::custody::Custody;
use crate::notice::local_time::LocalTime;
use crate::notice::movement::{Leg, Movement, MovementEvent, MovementStatus};
use crate::notice::part::{Content, PartType};
use crate::notice::safeguards::Safeguard;

/// How far the clocks of a node and of the place of an event may differ before a moment counts as one to come.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(60 * 60);

impl Check<'_> {
    /// One movement is what the notice is about; others tell of earlier or later ones.
    pub(super) fn movements(&mut self, kind: NoticeKind) {
        let Some(event) = opens_matter(kind) else { return };
        let mut found = Vec::new();
        for (index, slot) in self.written.parts.0.iter().enumerate() {
            let movement = slot.content.as_ref().and_then(Content::as_movement);
            if let Some(movement) = movement.filter(|movement| movement.event == event) {
                found.push((index, movement.source.is_some(), movement.destination.is_some()));
            }
        }
        if found.is_empty() && !self.has_unread(PartType::Movement) {
            self.note("parts", "", &format!("a {kind} has a movement part with the event {event}; add one"));
        }
        for (index, has_source, has_destination) in found {
            let (needs_source, needs_destination) = match event {
                MovementEvent::Travel => (true, false),
                MovementEvent::Arrival => (false, true),
                MovementEvent::Deportation => (true, true),
            };
            for (name, missing) in [
                ("source", needs_source && !has_source),
                ("destination", needs_destination && !has_destination),
            ] {
                if missing {
                    let rule = format!("missing: a {kind} names it, since it is to be told");
                    self.refuse(Safeguard::NobodyForgotten, &format!("parts[{index}].{name}"), "", &rule);
                }
            }
        }
    }

    /// What a movement says of itself.
    pub(super) fn journey(&mut self, index: usize, movement: &Movement) {
        match movement.status {
            MovementStatus::Completed | MovementStatus::Attempted => {
                self.has_been(&format!("parts[{index}].event_time"), Some(&movement.event_time));
            }
            MovementStatus::Planned | MovementStatus::UnderWay | MovementStatus::Cancelled => {}
        }
        let mut last: Option<LocalTime> = None;
        for (at, leg) in movement.legs.iter().enumerate() {
            let path = format!("parts[{index}].legs[{at}]");
            self.route(&path, index, leg, movement);
            for (field, moment) in [("departs", leg.departs), ("arrives", leg.arrives)] {
                let Some(moment) = moment else { continue };
                if let Some(last) = last.filter(|last| moment.at() < last.at()) {
                    let rule = format!(
                        "it is earlier than the moment before it on the journey, {last}; put the times or the order \
                         of the legs right"
                    );
                    self.note(&format!("{path}.{field}"), moment, &rule);
                } else {
                    last = Some(moment);
                }
            }
        }
    }

    /// A leg touches no State that the movement does not name.
    fn route(&mut self, path: &str, index: usize, leg: &Leg, movement: &Movement) {
        if leg.from == leg.to {
            self.note(&format!("{path}.to"), &leg.to, "the leg ends where it begins; put one of them right");
        }
        let named = || {
            let ends = movement.source.iter().chain(&movement.destination);
            ends.chain(movement.transit.iter()).map(|country| country.state())
        };
        for (field, place) in [("from", &leg.from), ("to", &leg.to)] {
            let Some(state) = place.state().filter(|state| named().all(|known| known != *state)) else {
                continue;
            };
            let rule = format!(
                "this place lies in {state}, which the movement does not name, so it would not be told: add it to \
                 parts[{index}].transit, or put the place right"
            );
            self.refuse(Safeguard::NobodyForgotten, &format!("{path}.{field}"), place, &rule);
        }
    }

    /// The moments of custody.
    pub(super) fn custody(&mut self, index: usize, custody: &Custody) {
        self.has_been(&format!("parts[{index}].since"), custody.since.as_ref());
        for (at, access) in custody.consular_access.iter().enumerate() {
            self.has_been(&format!("parts[{index}].consular_access[{at}].at"), access.at.as_ref());
        }
    }

    /// What is told as past has been, by this node's clock.
    pub(super) fn has_been(&mut self, path: &str, moment: Option<&LocalTime>) {
        let latest = self.now.plus(CLOCKS_DIFFER_MAX);
        if let Some(moment) = moment.filter(|moment| moment.at() > latest) {
            let rule = format!(
                "it is told as past and lies ahead (this node's clock: {}); put the moment or the status right",
                self.now
            );
            self.note(path, moment, &rule);
        }
    }
}
