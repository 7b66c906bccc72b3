//! The safeguards that the notice model enforces (design, section 7).
//!
//! Claimed: nobody but a SUBJECT has grounds against them; a person who is, or may be, under 18 at the event is a
//! SUBJECT only with a justification, is not shared onward (H2), and is reviewed within a year; a State that persons
//! are protected from is not told by way of a recipient the author names. It holds because a `Notice` cannot be made
//! otherwise. Where an age cannot be told, the person counts as a minor.

use std::time::Duration;

use super::grounds::GroundsBasis;
use super::local_time::LocalTime;
use super::part::{Content, LocalId, PartType};
use super::person::{Person, PersonRole};
use super::validate::{Check, opens_matter};
use super::written::Given;
use crate::id::Timestamp;
use crate::label::Handling;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long content about a minor who is SUBJECT is kept at most before it is reviewed.
pub const MINOR_REVIEW_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// When other content is reviewed, unless the author says otherwise.
const REVIEW_DEFAULT: Duration = Duration::from_secs(3 * 365 * 24 * 60 * 60);

/// Checks the safeguards.
pub(super) fn check(check: &mut Check<'_>) {
    if let Some(at) = event_time(check) {
        minors(check, &at);
    }
    grounds(check);
    protected(check);
}

fn minors(check: &mut Check<'_>, at: &LocalTime) {
    let persons: Vec<_> =
        check.persons().map(|(index, id, person)| (index, id.cloned(), person.clone())).collect();
    for (index, id, person) in &persons {
        born_before(check, *index, person, at);
        if is_minor_subject(person, at) {
            justified(check, *index, person);
            not_shared_onward(check, *index, id.as_ref());
        } else if let Some(reason) = &person.minor_subject {
            let rule = "only a SUBJECT who is, or may be, under 18 has it; leave it out";
            check.note(&format!("parts[{index}].minor_subject"), reason.as_str(), rule);
        }
    }
    if persons.iter().any(|(_, _, person)| is_minor_subject(person, at)) {
        reviewed_within_a_year(check);
    }
}

/// When the age of persons counts: at the movement the notice is about (the earliest, where there are several), or
/// now where there is none. `None` where a movement could not be read, so that nobody's age is judged by guess.
fn event_time(check: &Check<'_>) -> Option<LocalTime> {
    let event = check.written.kind.0.and_then(opens_matter);
    let mut earliest: Option<LocalTime> = None;
    for slot in &check.written.parts.0 {
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
    Some(earliest.unwrap_or_else(|| LocalTime::utc(check.now)))
}

/// A birth date that is not given at all leaves as much open as one can.
fn is_minor_subject(person: &Person, at: &LocalTime) -> bool {
    let minor = person.birth_date.as_ref().is_none_or(|born| born.possibly_under_18_at(at));
    person.role == PersonRole::Subject && minor
}

/// The latest `review_by` to write unless the matter asks for less.
pub(super) fn review_by_default(check: &Check<'_>) -> Timestamp {
    let minor = event_time(check)
        .is_some_and(|at| check.persons().any(|(_, _, person)| is_minor_subject(person, &at)));
    let after = if minor { MINOR_REVIEW_MAX } else { REVIEW_DEFAULT };
    let millis = check.now.plus(after).millis();
    let day = u64::try_from(DAY.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_millis(millis - millis % day)
}

fn born_before(check: &mut Check<'_>, index: usize, person: &Person, at: &LocalTime) {
    if let Some(born) = person.birth_date.as_ref().filter(|born| born.is_after(at)) {
        let rule = format!("it is after the event, {at}; put one of them right");
        check.note(&format!("parts[{index}].birth_date"), born, &rule);
    }
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
    check.note(&format!("parts[{index}].birth_date"), value, rule);
}

/// Every part about the minor forbids onward sharing.
fn not_shared_onward(check: &mut Check<'_>, index: usize, id: Option<&LocalId>) {
    let written = check.written;
    let default = written.label.value();
    for (at, slot) in written.parts.0.iter().enumerate() {
        let about = slot.content.as_ref().and_then(Content::about);
        let concerns = at == index || (id.is_some() && about == id);
        let label = slot.label.as_ref().and_then(|label| label.as_ref().or(default));
        let Some(label) =
            label.filter(|label| concerns && !label.handling.contains(&Handling::NoOnwardSharing))
        else {
            continue;
        };
        let mut mended = label.clone();
        mended.handling.insert(Handling::NoOnwardSharing);
        let rule = format!("content about a minor who is SUBJECT is not shared onward: write {mended}");
        check.note(&format!("parts[{at}].label"), label, &rule);
    }
}

fn reviewed_within_a_year(check: &mut Check<'_>) {
    let latest = check.now.plus(MINOR_REVIEW_MAX);
    if let Some(time) = check.written.review_by.value().filter(|time| **time > latest) {
        let default = review_by_default(check);
        let rule = format!(
            "content about a minor who is SUBJECT is reviewed within 366 days: write {default} or earlier"
        );
        check.note("review_by", time, &rule);
    }
}

/// Only a SUBJECT has grounds, and a listing is named.
fn grounds(check: &mut Check<'_>) {
    let written = check.written;
    for (index, slot) in written.parts.0.iter().enumerate() {
        let Some(grounds) = slot.content.as_ref().and_then(Content::as_grounds) else { continue };
        let role =
            check.persons().find(|(_, id, _)| *id == Some(&grounds.about)).map(|(_, _, person)| person.role);
        if let Some(role) = role.filter(|role| *role != PersonRole::Subject) {
            let rule = format!(
                "this person is {role}: only a SUBJECT has grounds against them; leave this part out"
            );
            check.note(&format!("parts[{index}].about"), &grounds.about, &rule);
        }
        if grounds.basis.contains(&GroundsBasis::Listing) && grounds.list_references.is_empty() {
            let rule = "missing: the basis LISTING names the entry, such as QDi.000";
            check.note(&format!("parts[{index}].list_references"), "", rule);
        }
    }
}

/// No agency of a State that persons are protected from is a recipient, even if the author names it.
fn protected(check: &mut Check<'_>) {
    let written = check.written;
    let (Given(Some(recipients)), Given(Some(omissions))) = (&written.recipients, &written.omissions) else {
        return;
    };
    for (index, agency) in recipients.iter().enumerate() {
        let of_state = omissions.iter().find(|omission| omission.state.state() == agency.state());
        if let Some(omission) = of_state.filter(|omission| omission.reason.is_protective()) {
            let rule = format!(
                "{} is left out for {}: none of its agencies may learn of this notice; take it off",
                omission.state, omission.reason
            );
            check.note(&format!("recipients[{index}]"), agency, &rule);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixture::{mistakes, notice};

    fn minor(json: &mut Value) {
        json["parts"][1]["birth_date"] = "2008-03-02".into();
    }

    /// What a minor's notice must have: justification, H2 on every part about the minor, review within a year.
    fn guarded(json: &mut Value) {
        minor(json);
        json["parts"][1]["minor_subject"] = "Ordered by the invented Youth Court, case 1.".into();
        json["review_by"] = "2027-03-01T00:00:00Z".into();
        for index in [1, 2, 3, 4] {
            let label = json["parts"][index]["label"].as_str().unwrap();
            json["parts"][index]["label"] = format!("{label}//H2").into();
        }
    }

    #[test]
    fn a_minor_is_subject_only_with_a_justification_a_short_review_and_no_onward_sharing() {
        let mistakes = mistakes(minor);
        let starts = [
            "parts[1].birth_date: `2008-03-02`: by this birth date",
            "parts[1].label: `CONFIDENTIAL`: content about a minor who is SUBJECT is not shared onward: write CONFIDENTIAL//H2",
            "parts[2].label: `CONFIDENTIAL`",
            "parts[3].label: `SECRET//REL TO FRA, KEN`",
            "parts[4].label: `SECRET//REL TO FRA, KEN`",
            "review_by: `2035-06-01T00:00:00Z`: content about a minor who is SUBJECT is reviewed within 366 days: write 2027-03-02T00:00:00Z",
        ];
        assert_eq!(mistakes.len(), starts.len(), "{mistakes:#?}");
        for (mistake, start) in mistakes.iter().zip(starts) {
            assert!(mistake.starts_with(start), "{mistake}");
        }
        notice(guarded);
    }

    #[test]
    fn age_counts_at_the_event_not_today() {
        // 18 on the day of the event by the clock on the spot, which is 1 March.
        assert!(mistakes(|json| json["parts"][1]["birth_date"] = "2008-03-01".into()).is_empty());
        let later = |json: &mut Value| {
            minor(json);
            json["parts"][0]["event_time"] = "2026-03-02T00:00:00+03:00".into();
        };
        assert!(mistakes(later).is_empty());
    }

    #[test]
    fn of_several_movements_the_earliest_counts() {
        let again = mistakes(|json| {
            minor(json);
            let mut later = json["parts"][0].clone();
            later["id"] = "m2".into();
            later["event_time"] = "2030-03-01T00:00:00Z".into();
            json["parts"].as_array_mut().unwrap().insert(0, later);
        });
        assert!(again.iter().any(|mistake| mistake.starts_with("parts[2].birth_date")), "{again:#?}");
    }

    #[test]
    fn no_age_is_judged_by_a_movement_that_cannot_be_read() {
        let unread = mistakes(|json| {
            minor(json);
            json["parts"][0]["event_time"] = "yesterday".into();
        });
        assert!(unread.len() == 1 && unread[0].starts_with("parts[0].event_time"), "{unread:#?}");
    }

    #[test]
    fn an_age_that_cannot_be_told_counts_as_a_minors() {
        let unknown = mistakes(|json| {
            json["parts"][1].as_object_mut().unwrap().remove("birth_date");
        });
        assert!(unknown[0].starts_with("parts[1].birth_date: missing"), "{unknown:#?}");
        assert!(mistakes(|json| json["parts"][1]["birth_date"] = "200X".into()).len() > 1);
        assert!(mistakes(|json| json["parts"][1]["birth_date"] = "../2000".into()).is_empty());
    }

    #[test]
    fn the_justification_is_for_minors_alone() {
        let adult = mistakes(|json| json["parts"][1]["minor_subject"] = "Not needed.".into());
        assert!(adult.len() == 1 && adult[0].starts_with("parts[1].minor_subject"), "{adult:#?}");
    }

    #[test]
    fn nobody_is_born_after_the_event() {
        let unborn = mistakes(|json| {
            guarded(json);
            json["parts"][1]["birth_date"] = "2026-04".into();
        });
        assert!(unborn.len() == 1 && unborn[0].contains("after the event"), "{unborn:#?}");
    }

    #[test]
    fn only_a_subject_has_grounds() {
        for role in ["ACCOMPANYING_ADULT", "CHILD", "POSSIBLE_VICTIM"] {
            let mistakes = mistakes(|json| {
                json["parts"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!({ "type": "person", "id": "p2", "role": role }));
                json["parts"][3]["about"] = "p2".into();
            });
            assert!(mistakes.len() == 1 && mistakes[0].starts_with("parts[3].about: `p2`"), "{mistakes:#?}");
            assert!(mistakes[0].contains(role), "{mistakes:#?}");
        }
    }

    #[test]
    fn a_listing_is_named() {
        let listed = mistakes(|json| json["parts"][3]["basis"] = json!(["LISTING"]));
        assert!(listed.len() == 1 && listed[0].starts_with("parts[3].list_references"), "{listed:#?}");
    }

    #[test]
    fn a_state_that_persons_are_protected_from_is_not_told_by_another_way() {
        for (reason, refused) in
            [("NON_REFOULEMENT", true), ("PROTECTION_CLAIM", true), ("NO_CONTACT_POINT", false)]
        {
            let mistakes = mistakes(|json| {
                json["omissions"][0]["reason"] = reason.into();
                json["recipients"] = json!(["fra/ncb", "tun/border"]);
            });
            assert_eq!(
                mistakes.iter().any(|m| m.starts_with("recipients[1]: `tun/border`")),
                refused,
                "{mistakes:#?}"
            );
        }
    }

    #[test]
    fn there_are_no_fields_for_religion_or_ethnicity() {
        for field in ["religion", "ethnicity", "race", "tribe"] {
            let mistakes = mistakes(|json| json["parts"][1][field] = "x".into());
            assert!(mistakes.len() == 1 && mistakes[0].contains("no such field"), "{mistakes:#?}");
            assert!(!super::super::schema().to_string().contains(&format!("\"{field}\":")));
        }
    }
}
