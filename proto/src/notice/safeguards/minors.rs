//! Whoever is, or may be, under 18 at the event.

use super::{MINOR_REVIEW_MAX, Safeguard, label_of, not_onward, review_by_default};
use crate::notice::local_time::LocalTime;
use crate::notice::part::{Content, LocalId};
use crate::notice::person::{Person, PersonRole};
use crate::notice::validate::Check;
use crate::notice::written::Written;

pub(super) fn check(check: &mut Check<'_>, at: &LocalTime) {
    let persons: Vec<_> =
        check.persons().map(|(index, id, person)| (index, id.cloned(), person.clone())).collect();
    for (index, id, person) in &persons {
        born_before(check, *index, person, at);
        role_fits_age(check, *index, person, at);
        if person.role == PersonRole::Subject && is_minor(person, at) {
            justified(check, *index, person);
        } else if let Some(reason) = &person.minor_subject {
            let rule = "only a SUBJECT who is, or may be, under 18 has it; leave it out";
            check.note(&format!("parts[{index}].minor_subject"), reason.as_str(), rule);
        }
        if is_minor(person, at) {
            not_shared_onward(check, *index, id.as_ref());
        }
    }
    if any(check.written, at) {
        reviewed_within_a_year(check);
    }
}

/// Whether the notice is about a minor, as far as it could be read.
pub(super) fn any(written: &Written, at: &LocalTime) -> bool {
    let persons = written.parts.0.iter().filter_map(|slot| slot.content.as_ref()?.as_person());
    persons.into_iter().any(|person| is_minor(person, at))
}

/// A birth date that is not given at all leaves as much open as one can; only the role of an adult says more.
pub(in crate::notice) fn is_minor(person: &Person, at: &LocalTime) -> bool {
    match person.role {
        PersonRole::Subject | PersonRole::PossibleVictim => {
            person.birth_date.as_ref().is_none_or(|born| born.possibly_under_18_at(at))
        }
        PersonRole::Child => true,
        PersonRole::AccompanyingAdult => false,
    }
}

fn born_before(check: &mut Check<'_>, index: usize, person: &Person, at: &LocalTime) {
    if let Some(born) = person.birth_date.as_ref().filter(|born| born.is_after(at)) {
        let rule = format!("it is after the event, {at}; put one of them right");
        check.note(&format!("parts[{index}].birth_date"), born, &rule);
    }
}

/// A child is not an adult who travels along, nor the other way round.
fn role_fits_age(check: &mut Check<'_>, index: usize, person: &Person, at: &LocalTime) {
    let Some(born) = person.birth_date.as_ref().filter(|born| !born.is_after(at)) else { return };
    let instead = match person.role {
        PersonRole::Child if !born.possibly_under_18_at(at) => PersonRole::AccompanyingAdult,
        PersonRole::AccompanyingAdult if born.certainly_under_18_at(at) => PersonRole::Child,
        PersonRole::Subject
        | PersonRole::PossibleVictim
        | PersonRole::Child
        | PersonRole::AccompanyingAdult => return,
    };
    let rule = format!("by the birth date {born} the person is not that at the event, {at}: write {instead}");
    check.refuse(Safeguard::Minors, &format!("parts[{index}].role"), person.role, &rule);
}

fn justified(check: &mut Check<'_>, index: usize, person: &Person) {
    if person.minor_subject.is_some() {
        return;
    }
    let (value, rule) = match &person.birth_date {
        Some(born) => (
            born.to_string(),
            "by this birth date the person is, or may be, under 18 at the event: another role may be right \
             (CHILD, POSSIBLE_VICTIM); to keep SUBJECT, justify it in minor_subject",
        ),
        None => (
            String::new(),
            "missing: without it a SUBJECT counts as possibly under 18; write what is known, such as ../2000 for \
             someone born in 2000 or earlier, or justify it in minor_subject",
        ),
    };
    check.refuse(Safeguard::Minors, &format!("parts[{index}].birth_date"), value, rule);
}

/// Every part about the minor forbids onward sharing.
fn not_shared_onward(check: &mut Check<'_>, index: usize, id: Option<&LocalId>) {
    let written = check.written;
    for (at, slot) in written.parts.0.iter().enumerate() {
        let about = slot.content.as_ref().and_then(Content::about);
        let concerns = at == index || (id.is_some() && about == id);
        let Some(label) = label_of(written, slot).filter(|_| concerns) else { continue };
        let Some(mended) = not_onward(label) else { continue };
        let rule =
            format!("content about someone who is, or may be, under 18 is not shared onward: write {mended}");
        check.refuse(Safeguard::Minors, &format!("parts[{at}].label"), label, &rule);
    }
}

fn reviewed_within_a_year(check: &mut Check<'_>) {
    let latest = check.now.plus(MINOR_REVIEW_MAX);
    if let Some(time) = check.written.review_by.value().filter(|time| **time > latest) {
        let default = review_by_default(check.written, check.now);
        let rule = format!(
            "content about someone who is, or may be, under 18 is reviewed within 366 days: write {default} or \
             earlier, or leave it out"
        );
        check.refuse(Safeguard::Minors, "review_by", time, &rule);
    }
}
