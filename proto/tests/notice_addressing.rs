//! Whoever paragraph 3 names is told, or left out on record: for any notice and any directory.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod exchange;

use std::collections::{BTreeMap, BTreeSet};

use exchange::{listing, now, policy};
use proptest::prelude::*;
use proptest::sample::subsequence;
use serde_json::{Value, json};
use valise_proto::id::AgencyId;
use valise_proto::notice::{Notice, Reason};

const STATES: [&str; 8] = ["KEN", "FRA", "TUR", "TUN", "DEU", "GBR", "EGY", "GRC"];

/// Some of the States, each once.
fn states(least: usize, most: usize) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(&STATES[..], least..=most)
}

/// The citizenships of a person: of States, or a code of ICAO that names none or another.
fn citizenships() -> impl Strategy<Value = Vec<&'static str>> {
    let special = prop::option::of(prop::sample::select(&["XXX", "GBN", "UNK"][..]));
    (states(0, 4), special).prop_map(|(mut states, special)| {
        states.extend(special);
        if states.is_empty() { vec!["XXA"] } else { states }
    })
}

#[derive(Clone, Debug)]
struct Matter {
    movements: Vec<(&'static str, &'static str, Vec<&'static str>)>,
    subjects: Vec<Vec<&'static str>>,
    companions: Vec<Vec<&'static str>>,
    contact_points: Vec<&'static str>,
    omitted: Vec<&'static str>,
    own: &'static str,
    interpol: bool,
}

fn matter() -> impl Strategy<Value = Matter> {
    let one = || prop::sample::select(&STATES[..]);
    let movement = (one(), one(), states(0, 3));
    (
        prop::collection::vec(movement, 1..3),
        prop::collection::vec(citizenships(), 1..4),
        prop::collection::vec(citizenships(), 0..3),
        states(0, 8),
        states(0, 8),
        one(),
        any::<bool>(),
    )
        .prop_map(|(movements, subjects, companions, contact_points, omitted, own, interpol)| Matter {
            movements,
            subjects,
            companions,
            contact_points,
            omitted,
            own,
            interpol,
        })
}

impl Matter {
    /// The States that paragraph 3 names, worked out from what was generated and not by the code under test.
    fn named(&self) -> BTreeSet<&'static str> {
        let route = self
            .movements
            .iter()
            .flat_map(|(from, to, through)| [*from, *to].into_iter().chain(through.iter().copied()));
        let citizenships = self.subjects.iter().flatten().filter_map(|code| match *code {
            "XXX" | "XXA" | "UNK" => None,
            "GBN" => Some("GBR"),
            state => Some(state),
        });
        route.chain(citizenships).filter(|state| *state != self.own).collect()
    }

    fn json(&self, omitted: &BTreeSet<&str>) -> Value {
        let movements = self.movements.iter().map(|(from, to, through)| {
            json!({ "type": "movement", "event": "DEPORTATION", "status": "COMPLETED", "source": from, "destination": to,
                "transit": through, "event_time": "2026-02-01T12:00:00+03:00" })
        });
        let person = |id: String, role: &str, citizenships: &[&str]| {
            json!({ "type": "person", "id": id, "role": role, "birth_date": "1980", "citizenships": citizenships,
                "names": [{ "kind": "PRIMARY", "surname": "EXAMPLE-SPECIMEN" }] })
        };
        let subjects = self.subjects.iter().enumerate();
        let subjects = subjects.map(|(at, states)| person(format!("s{at}"), "SUBJECT", states));
        let companions = self.companions.iter().enumerate();
        let companions =
            companions.map(|(at, states)| person(format!("c{at}"), "ACCOMPANYING_ADULT", states));
        let reasons = ["NON_REFOULEMENT", "ONGOING_INVESTIGATION", "OTHER"];
        let omissions = omitted.iter().zip(reasons.iter().cycle());
        let omissions =
            omissions.map(|(state, reason)| json!({ "state": state, "reason": reason, "text": "Invented." }));
        json!({
            "kind": "DEPORTATION", "precedence": "ROUTINE", "label": "RESTRICTED//H2", "legal_basis": "Invented Act",
            "purpose": "to test", "share_with_interpol": self.interpol,
            "omissions": omissions.collect::<Vec<_>>(),
            "parts": movements.chain(subjects).chain(companions).collect::<Vec<_>>(),
        })
    }

    fn read(&self, omitted: &BTreeSet<&str>) -> Notice {
        let json = self.json(omitted);
        Notice::from_json(json.to_string().as_bytes(), &policy(), now())
            .unwrap_or_else(|mistakes| panic!("{mistakes:#?} in {json:#}"))
    }

    fn sender(&self) -> AgencyId {
        format!("{}/sender", self.own.to_lowercase()).parse().unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn g09_recipients_and_omissions_are_together_the_states_that_paragraph_3_names(matter in matter()) {
        let named = matter.named();
        let omitted: BTreeSet<_> = matter.omitted.iter().copied().filter(|state| named.contains(state)).collect();
        let own = matter.sender();
        let points = matter.contact_points.iter().filter(|state| **state != matter.own);
        let mut agencies: Vec<AgencyId> =
            points.map(|state| format!("{}/point", state.to_lowercase()).parse().unwrap()).collect();
        agencies.extend([own.clone(), "xpo/general-secretariat".parse().unwrap()]);
        let notice = matter.read(&omitted);
        let missing: BTreeSet<_> = named
            .iter()
            .filter(|state| !omitted.contains(*state) && !matter.contact_points.contains(*state))
            .collect();
        match notice.addressees(&own, &listing(&agencies)) {
            Ok(addressees) => {
                prop_assert!(missing.is_empty(), "{missing:?} are forgotten");
                let by_paragraph_3 = |reasons: &[Reason]| reasons.iter().any(Reason::is_of_paragraph_3);
                let told: BTreeSet<_> = addressees
                    .iter()
                    .filter(|addressee| by_paragraph_3(&addressee.reasons))
                    .map(|addressee| addressee.agency.state().to_string())
                    .collect();
                let left_out: BTreeSet<_> = notice
                    .left_out(own.state())
                    .iter()
                    .filter(|left| by_paragraph_3(&left.reasons))
                    .map(|left| left.omission.state.to_string())
                    .collect();
                prop_assert!(told.is_disjoint(&left_out), "{told:?} are told, {left_out:?} left out");
                let together: BTreeSet<_> = told.union(&left_out).map(String::as_str).collect();
                prop_assert_eq!(together, named);
                for addressee in &addressees {
                    let state = addressee.agency.state().to_string();
                    prop_assert!(!omitted.contains(state.as_str()), "{} learns of it", addressee.agency);
                    prop_assert!(!addressee.reasons.is_empty());
                }
                let interpol = addressees.iter().any(|to| to.reasons.contains(&Reason::Interpol));
                prop_assert_eq!(interpol, matter.interpol);
            }
            Err(mistakes) => {
                let rules: BTreeMap<_, _> = missing.iter().map(|state| (**state, format!("names {state} ("))).collect();
                prop_assert_eq!(mistakes.len(), missing.len(), "{:#?}", mistakes);
                for (state, words) in rules {
                    let told = mistakes.iter().any(|m| m.path == "omissions" && m.rule.contains(&words));
                    prop_assert!(told, "{} is missing and not reported: {:#?}", state, mistakes);
                }
            }
        }
    }

    #[test]
    fn g09_a_correction_goes_to_paragraph_3_and_to_everybody_who_had_the_notice(matter in matter(), before in states(0, 8)) {
        let named = matter.named();
        let own = matter.sender();
        // What protects from a State that has the notice is refused, by a test of its own.
        let omitted: BTreeSet<_> = matter
            .omitted
            .iter()
            .copied()
            .filter(|state| named.contains(state) && !before.contains(state))
            .collect();
        let points = STATES.iter().filter(|state| **state != matter.own);
        let mut agencies: Vec<AgencyId> =
            points.map(|state| format!("{}/point", state.to_lowercase()).parse().unwrap()).collect();
        agencies.extend([own.clone(), "xpo/general-secretariat".parse().unwrap()]);
        let previous: BTreeSet<AgencyId> =
            before.iter().map(|state| format!("{}/before", state.to_lowercase()).parse().unwrap()).collect();
        let mut json = matter.json(&omitted);
        json["kind"] = "CORRECTION".into();
        json["supersedes"] = "01890000-0000-7000-8000-000000000000".into();
        json["parts"].as_array_mut().unwrap().push(json!({ "type": "correction", "reason": "Invented." }));
        let notice = Notice::from_json(json.to_string().as_bytes(), &policy(), now()).unwrap();
        let listed = listing(&agencies);
        let known: Vec<AgencyId> = previous.iter().cloned().collect();
        let addressees = notice.addressees_after(&own, &listed, &known).unwrap();
        let told = |why: fn(&Reason) -> bool| -> BTreeSet<AgencyId> {
            let told = addressees.iter().filter(|to| to.reasons.iter().any(why));
            told.map(|to| to.agency.clone()).collect()
        };
        let had = told(|reason| *reason == Reason::Previous);
        prop_assert_eq!(&had, &previous);
        let by_paragraph_3: BTreeSet<String> =
            told(Reason::is_of_paragraph_3).iter().map(|agency| agency.state().to_string()).collect();
        let left_out: BTreeSet<String> =
            notice.left_out(own.state()).iter().map(|left| left.omission.state.to_string()).collect();
        let together: BTreeSet<&str> = by_paragraph_3.union(&left_out).map(String::as_str).collect();
        prop_assert_eq!(together, named);
        prop_assert!(addressees.iter().all(|to| !to.reasons.is_empty()));
        let others = told(|reason| !reason.is_of_paragraph_3() && *reason != Reason::Previous && *reason != Reason::Interpol);
        prop_assert!(others.is_empty(), "{:?} are told for no reason", others);
    }

    #[test]
    fn every_reason_is_true(matter in matter()) {
        let named = matter.named();
        let notice = matter.read(&named);
        let own = matter.sender();
        for left in notice.left_out(own.state()) {
            let state = left.omission.state.to_string();
            let is = |reason: &Reason| match reason {
                Reason::Source => matter.movements.iter().any(|(from, _, _)| *from == state),
                Reason::Destination => matter.movements.iter().any(|(_, to, _)| *to == state),
                Reason::Transit => matter.movements.iter().any(|(_, _, through)| through.contains(&state.as_str())),
                Reason::Citizenship(id) => {
                    let at: usize = id.to_string().trim_start_matches('s').parse().unwrap();
                    let of = |code: &&str| *code == state || (*code == "GBN" && state == "GBR");
                    matter.subjects[at].iter().any(of)
                }
                Reason::Interpol
                | Reason::Domestic(_)
                | Reason::Named
                | Reason::Previous
                | Reason::Originator
                | Reason::Requester => false,
            };
            for reason in &left.reasons {
                prop_assert!(is(reason), "{} is left out as {}", state, reason);
            }
        }
    }
}
