//! Persons who are protected from a State, and the State whose national is held.

use super::{Safeguard, not_onward};
use crate::envelope::NoticeKind;
use crate::id::State;
use crate::label::{Affiliation, Label};
use crate::notice::Notice;
use crate::notice::custody::CustodyStatus;
use crate::notice::document::DocumentKind;
use crate::notice::mistake::Mistake;
use crate::notice::movement::{Movement, MovementEvent, MovementStatus};
use crate::notice::part::{Content, Part};
use crate::notice::person::{Person, PersonRole};
use crate::notice::place::{Citizenship, NoState};
use crate::notice::validate::Check;
use crate::notice::written::{Given, Omission, Written};

pub(super) fn check(check: &mut Check<'_>) {
    let Given(Some(omissions)) = &check.written.omissions else { return };
    let protective: Vec<_> = omissions.iter().filter(|omission| omission.reason.is_protective()).collect();
    if protective.is_empty() {
        return;
    }
    told_another_way(check, &protective);
    released_to(check, &protective);
    passed_on(check, &protective);
    deported_there(check, &protective);
}

/// No agency of a State that persons are protected from is a recipient, even if the author names it.
fn told_another_way(check: &mut Check<'_>, protective: &[&Omission]) {
    let Written { recipients: Given(Some(recipients)), .. } = check.written else { return };
    for (index, agency) in recipients.iter().enumerate() {
        let of_state = protective.iter().find(|omission| omission.state.state() == agency.state());
        if let Some(omission) = of_state {
            let otherwise = match check.written.kind.0 {
                Some(NoticeKind::Correction) => {
                    " or, where it got the notice that is corrected, withdraw that one"
                }
                _ => "",
            };
            let rule = format!(
                "{} is left out for {}: none of its agencies may learn of this notice; take it off{otherwise}",
                omission.state, omission.reason
            );
            check.refuse(Safeguard::NonRefoulement, &format!("recipients[{index}]"), agency, &rule);
        }
    }
}

/// The labels of the parts that could be read, with their paths. The default label is there once.
fn labels(written: &Written) -> Vec<(String, &Label)> {
    let parts = written.parts.0.iter();
    let by_default = parts.clone().any(|slot| slot.label == Some(None));
    let default = written.label.value().filter(|_| by_default).map(|label| ("label".to_owned(), label));
    let own = parts.enumerate().filter_map(|(at, slot)| {
        let label = slot.label.as_ref()?.as_ref()?;
        Some((format!("parts[{at}].label"), label))
    });
    default.into_iter().chain(own).collect()
}

/// No label says that its part may be released to the State.
fn released_to(check: &mut Check<'_>, protective: &[&Omission]) {
    for (path, label) in labels(check.written) {
        for omission in protective {
            let state = omission.state.state();
            if !label.releasable_to.contains(&Affiliation::from(state)) {
                continue;
            }
            let rule = format!(
                "{state} is left out for {}, and this label says that the content may be released to it: take it \
                 off REL TO",
                omission.reason
            );
            check.refuse(Safeguard::NonRefoulement, &path, label, &rule);
        }
    }
}

/// Nobody who is told may pass it on, since it could reach the State that way.
fn passed_on(check: &mut Check<'_>, protective: &[&Omission]) {
    let states: Vec<_> = protective.iter().map(|omission| omission.state.to_string()).collect();
    let states = states.join(", ");
    for (path, label) in labels(check.written) {
        let Some(mended) = not_onward(label) else { continue };
        let rule =
            format!("persons are protected from {states}: nobody may share this onward; write {mended}");
        check.refuse(Safeguard::NonRefoulement, &path, label, &rule);
    }
}

/// Nobody is sent to, or through, a State that they are protected from.
fn deported_there(check: &mut Check<'_>, protective: &[&Omission]) {
    for (index, slot) in check.written.parts.0.iter().enumerate() {
        let Some(movement) = slot.content.as_ref().and_then(Content::as_movement) else { continue };
        if movement.event != MovementEvent::Deportation || !is_ahead(movement) {
            continue;
        }
        let destination = movement.destination.iter().map(|country| ("destination".to_owned(), *country));
        let transit = movement.transit.iter().enumerate();
        let transit = transit.map(|(at, country)| (format!("transit[{at}]"), *country));
        for (field, country) in destination.chain(transit) {
            let Some(omission) = protective.iter().find(|omission| omission.state == country) else {
                continue;
            };
            let rule = format!(
                "{country} is left out for {}: nobody is deported to, or through, a State that they are protected \
                 from; put the route or the omission right",
                omission.reason
            );
            check.refuse(Safeguard::NonRefoulement, &format!("parts[{index}].{field}"), country, &rule);
        }
    }
}

/// Whether the movement is yet to come or to end.
fn is_ahead(movement: &Movement) -> bool {
    match movement.status {
        MovementStatus::Planned | MovementStatus::UnderWay => true,
        MovementStatus::Completed | MovementStatus::Attempted | MovementStatus::Cancelled => false,
    }
}

/// A State of which a refugee is a citizen is told only after someone found that this puts nobody at risk: the author
/// leaves it out, or says so in a disclosure. Seen from agencies of `own`.
pub(in crate::notice) fn refugees(notice: &Notice, own: State) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (index, _, person) in persons(notice).filter(|(_, _, person)| is_refugee(person)) {
        for (at, citizenship) in person.citizenships.iter().enumerate() {
            let Some(state) = citizenship.state().filter(|state| *state != own) else { continue };
            let decided = notice.omissions.iter().any(|omission| omission.state.state() == state)
                || notice.disclosures.iter().any(|disclosure| disclosure.state.state() == state);
            if decided {
                continue;
            }
            let rule = format!(
                "this person is a refugee, and to tell {state} may put someone at risk: add the omission \
                 {{\"state\": \"{state}\", \"reason\": \"NON_REFOULEMENT\"}}, or the disclosure {{\"state\": \
                 \"{state}\", \"text\": …}} that says why it does not"
            );
            let path = format!("parts[{index}].citizenships[{at}]");
            mistakes.push(Mistake::against(Safeguard::NonRefoulement, &path, citizenship, &rule));
        }
    }
    mistakes
}

/// Refugees by their code or by the document they travel on.
fn is_refugee(person: &Person) -> bool {
    let by_code = |citizenship: &Citizenship| {
        matches!(citizenship, Citizenship::None(NoState::Refugee | NoState::OtherRefugee))
    };
    person.role == PersonRole::Subject
        && (person.citizenships.iter().any(by_code)
            || person.documents.iter().any(|document| document.kind == DocumentKind::RefugeeTravelDocument))
}

/// Of whoever is held by an agency of `own`, or by others, the States of citizenship are given consular access: the
/// notice says how far that has come. A State that the person is protected from has none to be told of.
pub(in crate::notice) fn consular_access(notice: &Notice, own: State) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (index, part) in notice.parts.iter().enumerate() {
        let Content::Custody(custody) = &part.content else { continue };
        let held = match custody.status {
            CustodyStatus::Captured | CustodyStatus::Detained => true,
            CustodyStatus::Released | CustodyStatus::Transferred => false,
        };
        let person = persons(notice).find(|(_, part, _)| part.id.as_ref() == Some(&custody.about));
        let Some((_, _, person)) = person.filter(|_| held) else { continue };
        for state in person.citizenships.iter().filter_map(|citizenship| citizenship.state()) {
            let told = custody.consular_access.iter().any(|access| access.state.state() == state);
            let left_out = notice
                .omissions
                .iter()
                .any(|omission| omission.reason.is_protective() && omission.state.state() == state);
            if state == own || told || left_out {
                continue;
            }
            let rule = format!(
                "missing: {} is held and a citizen of {state}; write how far consular access has come, such as \
                 {{\"state\": \"{state}\", \"step\": \"OFFERED\"}}, or PENDING where it is still to be offered",
                custody.about
            );
            let path = format!("parts[{index}].consular_access");
            mistakes.push(Mistake::against(Safeguard::ConsularAccess, &path, "", &rule));
        }
    }
    mistakes
}

fn persons(notice: &Notice) -> impl Iterator<Item = (usize, &Part, &Person)> {
    let parts = notice.parts.iter().enumerate();
    parts.filter_map(|(index, part)| Some((index, part, part.content.as_person()?)))
}
