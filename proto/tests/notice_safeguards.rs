//! The safeguards as seen from outside: whatever is written, what becomes a notice falls short of none of them. The
//! checks here are made from the notice's own parts and share nothing with those that they hold.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod exchange;

use std::cell::Cell;
use std::time::Duration;

use exchange::{now, policy};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use valise_proto::label::Handling;
use valise_proto::notice::{
    Content, GroundsNature, InformationGrading, LocalTime, MovementStatus, Notice, Part, Person, PersonRole,
    Safeguard,
};

const PAGE: &str = include_str!("../../PROTOCOL.md");

fn word(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    select(words)
}

fn label() -> impl Strategy<Value = &'static str> {
    // H2 more often than not, or hardly a notice with a minor would be made.
    word(&["RESTRICTED//H2", "RESTRICTED//H2", "SECRET//REL TO FRA, TUN//H2", "SECRET//H2", "RESTRICTED"])
}

fn person(id: &'static str) -> impl Strategy<Value = Value> {
    let role = word(&["SUBJECT", "SUBJECT", "ACCOMPANYING_ADULT", "CHILD", "POSSIBLE_VICTIM"]);
    let born = prop::option::of(word(&[
        "1980",
        "1980~",
        "2008-03-01",
        "2008-03-02",
        "2007/2009",
        "2015",
        "../2000",
    ]));
    (role, born, any::<bool>(), label()).prop_map(move |(role, born, justified, label)| {
        let mut person = json!({ "type": "person", "id": id, "role": role, "citizenships": ["XXX"], "label": label,
            "names": [{ "kind": "PRIMARY", "surname": "EXAMPLE-SPECIMEN" }] });
        if let Some(born) = born {
            person["birth_date"] = born.into();
        }
        if justified && role == "SUBJECT" {
            person["minor_subject"] = "Invented.".into();
        }
        person
    })
}

fn grounds() -> impl Strategy<Value = Value> {
    let fields = (word(&["p1", "p1", "p2"]), word(&["FACT", "ASSESSMENT"]), 1..=4_u8, label());
    fields.prop_map(|(about, nature, grading, label)| {
        json!({ "type": "grounds", "about": about, "nature": nature, "statement": "Invented.", "basis": ["WITNESS"],
            "source_grading": "B", "information_grading": grading, "label": label })
    })
}

fn biometric() -> impl Strategy<Value = Value> {
    (word(&["p1", "p2"]), label()).prop_map(|(about, label)| {
        json!({ "type": "biometric", "about": about, "kind": "FACE", "format": "image/jpeg", "size": 1,
            "sha256": "00".repeat(32), "label": label })
    })
}

fn remark() -> impl Strategy<Value = Value> {
    (word(&["p1", "p2", "m1"]), label()).prop_map(
        |(about, label)| json!({ "type": "remark", "about": about, "text": "Invented.", "label": label }),
    )
}

fn written() -> impl Strategy<Value = Value> {
    let more = prop::collection::vec(prop_oneof![grounds(), biometric(), remark()], 0..3);
    let status = word(&["PLANNED", "UNDER_WAY", "COMPLETED"]);
    let review_by =
        prop::option::of(word(&["2026-12-01T00:00:00Z", "2030-01-01T00:00:00Z", "2050-01-01T00:00:00Z"]));
    let omission =
        prop::option::of((word(&["FRA", "TUR"]), word(&["NON_REFOULEMENT", "ONGOING_INVESTIGATION"])));
    let recipient = prop::option::of(word(&["fra/border", "deu/bka"]));
    let fields = ((status, label()), person("p1"), person("p2"), more, (review_by, omission, recipient));
    fields.prop_map(|((status, label), first, second, more, (review_by, omission, recipient))| {
        let movement = json!({ "type": "movement", "id": "m1", "event": "DEPORTATION", "status": status, "source": "KEN",
            "destination": "FRA", "transit": ["TUR"], "event_time": "2026-03-01T00:00:00+03:00", "label": label });
        let parts: Vec<_> = [movement, first, second].into_iter().chain(more).collect();
        let mut notice = json!({ "kind": "DEPORTATION", "precedence": "ROUTINE", "parts": parts,
            "legal_basis": "Invented Act", "purpose": "to test" });
        if let Some(review_by) = review_by {
            notice["review_by"] = review_by.into();
        }
        if let Some((state, reason)) = omission {
            notice["omissions"] = json!([{ "state": state, "reason": reason }]);
        }
        if let Some(recipient) = recipient {
            notice["recipients"] = json!([recipient]);
        }
        notice
    })
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 60 * 60)
}

fn may_be_minor(person: &Person) -> bool {
    let event: LocalTime = "2026-03-01T00:00:00+03:00".parse().unwrap();
    let by_date = person.birth_date.as_ref().is_none_or(|born| born.possibly_under_18_at(&event));
    match person.role {
        PersonRole::Child => true,
        PersonRole::Subject | PersonRole::PossibleVictim => by_date,
        PersonRole::AccompanyingAdult => false,
    }
}

fn keeps_h2(part: &Part) -> bool {
    part.label.handling.contains(&Handling::NoOnwardSharing)
}

/// The first safeguard that the notice falls short of.
fn shortcoming(notice: &Notice) -> Option<Safeguard> {
    let parts = notice.parts();
    let find = |part: &Part| {
        parts.iter().find(|other| other.id.is_some() && other.id.as_ref() == part.content.about())
    };
    let role =
        |part: &Part| find(part).and_then(|person| person.content.as_person()).map(|person| person.role);
    let review_by = notice.terms()?.review_by;
    for part in parts {
        match &part.content {
            Content::Grounds(grounds) => {
                if role(part) != Some(PersonRole::Subject) {
                    return Some(Safeguard::FamilyIsNotSuspect);
                }
                let rumour = grounds.information_grading == InformationGrading::Uncorroborated;
                if grounds.nature == GroundsNature::Fact && rumour {
                    return Some(Safeguard::FactAndAssessment);
                }
            }
            Content::Biometric(_) if role(part) != Some(PersonRole::Subject) => {
                return Some(Safeguard::Biometrics);
            }
            Content::Remark(_) => {
                let quoted = &find(part)?.label;
                let below = part.label.classification < quoted.classification
                    || !part.label.handling.is_superset(&quoted.handling)
                    || (!quoted.releasable_to.is_empty() && part.label.releasable_to != quoted.releasable_to);
                if below {
                    return Some(Safeguard::NoSilentDowngrade);
                }
            }
            Content::Person(person) if may_be_minor(person) => {
                let about = parts.iter().filter(|other| part.id.as_ref() == other.content.about());
                let unjustified = person.role == PersonRole::Subject && person.minor_subject.is_none();
                let shared = !keeps_h2(part) || about.into_iter().any(|part| !keeps_h2(part));
                if unjustified || shared || review_by > now().plus(days(366)) {
                    return Some(Safeguard::Minors);
                }
            }
            _ => {}
        }
    }
    if review_by > now().plus(days(3653)) {
        return Some(Safeguard::LawfulPurpose);
    }
    for omission in notice.omissions().iter().filter(|omission| omission.reason.is_protective()) {
        let state = omission.state.state();
        let there = parts.iter().filter_map(|part| part.content.as_movement()).any(|movement| {
            movement.status != MovementStatus::Completed
                && (movement.destination == Some(omission.state)
                    || movement.transit.contains(&omission.state))
        });
        let told = notice.recipients().iter().any(|agency| agency.state() == state);
        let released = parts.iter().any(|part| part.label.releasable_to.contains(&state.into()));
        if there || told || released || !parts.iter().all(keeps_h2) {
            return Some(Safeguard::NonRefoulement);
        }
    }
    None
}

#[test]
fn what_becomes_a_notice_falls_short_of_no_safeguard() {
    let (made, refused) = (Cell::new(0_u32), Cell::new(0_u32));
    let mut runner =
        TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1024) });
    let outcome = runner.run(&written(), |json| {
        match Notice::from_json(json.to_string().as_bytes(), &policy(), now()) {
            Ok(notice) => {
                made.set(made.get() + 1);
                prop_assert_eq!(shortcoming(&notice), None);
            }
            Err(mistakes) => {
                refused.set(refused.get() + 1);
                for mistake in mistakes {
                    let cited = mistake
                        .safeguard
                        .is_none_or(|of| mistake.rule.ends_with(&format!("({})", of.basis())));
                    prop_assert!(
                        cited && !mistake.path.is_empty() && !mistake.rule.is_empty(),
                        "{}",
                        mistake
                    );
                }
            }
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    // Both must have been seen, or the test would hold nothing.
    assert!(made.get() > 20 && refused.get() > 20, "{} made, {} refused", made.get(), refused.get());
}

#[test]
fn the_page_lists_every_safeguard_with_what_it_rests_on() {
    for safeguard in Safeguard::ALL {
        let row = PAGE.lines().find(|line| line.starts_with(&format!("| {safeguard} | ")));
        let row = row.unwrap_or_else(|| panic!("PROTOCOL.md lacks {safeguard}"));
        let shown = row.split(" | ").nth(1).unwrap();
        let basis = safeguard.basis().trim_start_matches("S/RES/2396, ").replace(" and ", ", ");
        assert_eq!(shown.replace(" and ", ", "), basis, "{safeguard}");
    }
}
