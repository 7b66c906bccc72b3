//! Nobody is granted more than the root lets the authority grant.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use valise_proto::directory::{AgencyEntry, AgencyStatus, DirectoryContent, DirectoryError};
use valise_proto::id::State;
use valise_proto::label::{
    AboveCeiling, Affiliation, AtMost, Ceiling, Classification, Clearance, Compartment,
};

use crate::exchange::{agency, content, directory_key, dishonest, id, start, verify};

/// What is above the ceiling of a directory that an honest authority could not have signed.
fn above(change: impl Fn(&mut DirectoryContent) + Copy) -> AboveCeiling {
    let mut honest = content();
    change(&mut honest);
    let refused = honest.sign(&directory_key()).unwrap_err();
    let error = verify(&dishonest(change)).unwrap_err();
    assert_eq!(error, refused, "the authority's tool and the nodes judge alike");
    match error {
        DirectoryError::AboveCeiling { version: 7, above, .. } => above,
        other => panic!("{other}"),
    }
}

fn france(content: &mut DirectoryContent) -> &mut AgencyEntry {
    content.agencies.get_mut(&id("fra/ncb")).unwrap()
}

#[test]
fn g03_what_is_within_the_ceiling_counts_even_if_its_author_is_not_honest() {
    assert_eq!(verify(&dishonest(|_| {})).unwrap().content(), &content());
}

#[test]
fn g03_no_agency_of_another_state() {
    let error = above(|content| {
        content.agencies.insert(id("tur/border"), agency("tur/border"));
    });
    assert!(matches!(error, AboveCeiling::State { got, .. } if got == "TUR".parse().unwrap()), "{error}");
}

#[test]
fn g03_no_clearance_above_the_ceiling() {
    let error = above(|content| {
        france(content).clearance.class_list.insert(Classification::Secret);
    });
    assert!(matches!(error, AboveCeiling::Classification { got: Classification::Secret, .. }), "{error}");
}

#[test]
fn g03_nothing_originated_above_the_ceiling() {
    let error = above(|content| {
        france(content).origination.classifications.insert(Classification::TopSecret);
    });
    assert!(matches!(error, AboveCeiling::Classification { got: Classification::TopSecret, .. }), "{error}");
}

#[test]
fn g03_no_compartment_and_no_affiliation_beside_those_of_the_ceiling() {
    let error = above(|content| {
        france(content).clearance.compartments.insert("BRAVO".parse().unwrap());
    });
    assert!(matches!(error, AboveCeiling::Compartment { .. }), "{error}");
    let error = above(|content| {
        france(content).clearance.affiliations.insert("NATO".parse().unwrap());
    });
    assert!(matches!(error, AboveCeiling::Affiliation { .. }), "{error}");
    // Kenya's is within the ceiling's States, but it is not France's own.
    let error = above(|content| {
        france(content).clearance.affiliations.insert("KEN".parse().unwrap());
    });
    assert!(matches!(error, AboveCeiling::Affiliation { .. }), "{error}");
}

#[test]
fn g03_an_agency_that_takes_no_part_is_held_to_the_ceiling_too() {
    for status in [AgencyStatus::Suspended { since: start() }, AgencyStatus::Revoked { since: start() }] {
        let error = above(|content| {
            let entry = france(content);
            (entry.status, entry.contact_point) = (status, false);
            entry.clearance.class_list.insert(Classification::Secret);
        });
        assert!(matches!(error, AboveCeiling::Classification { .. }), "{status}: {error}");
    }
}

#[test]
fn g03_the_error_names_the_agency_the_version_and_what_may_be_granted() {
    let error = verify(&dishonest(|content| {
        france(content).clearance.class_list.insert(Classification::Secret);
    }));
    let error = error.unwrap_err().to_string();
    for told in ["version 7", "fra/ncb", "SECRET is above", "CONFIDENTIAL"] {
        assert!(error.contains(told), "`{told}` is missing: {error}");
    }
}

const STATES: [&str; 3] = ["FRA", "KEN", "XPO"];
const COMPARTMENTS: [&str; 3] = ["ALPHA", "BRAVO", "GAMMA"];
const AFFILIATIONS: [&str; 4] = ["EUE", "FRA", "KEN", "NATO"];

fn some<T: Ord + std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>(
    names: &'static [&'static str],
) -> impl Strategy<Value = BTreeSet<T>> {
    subsequence(names, 0..=names.len())
        .prop_map(|names| names.into_iter().map(|name| name.parse().unwrap()).collect())
}

fn at_most<T: Ord + Clone + std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>(
    names: &'static [&'static str],
) -> impl Strategy<Value = AtMost<T>> {
    prop_oneof![1 => Just(AtMost::Any), 3 => some(names).prop_map(AtMost::Only)]
}

fn classes() -> impl Strategy<Value = BTreeSet<Classification>> {
    subsequence(&Classification::ALL[..], 0..=6).prop_map(|classes| classes.into_iter().collect())
}

fn any_ceiling() -> impl Strategy<Value = Ceiling> {
    (at_most(&STATES), classes(), at_most(&COMPARTMENTS), at_most(&AFFILIATIONS)).prop_map(
        |(states, classifications, compartments, affiliations)| Ceiling {
            states,
            classifications,
            compartments,
            affiliations,
        },
    )
}

fn any_grant() -> impl Strategy<Value = (State, Clearance, BTreeSet<Classification>)> {
    let state = select(&STATES[..]).prop_map(|state| state.parse().unwrap());
    (state, classes(), some(&COMPARTMENTS), some(&AFFILIATIONS), classes()).prop_map(
        |(state, class_list, compartments, affiliations, originates)| {
            let policy = "exchange.example".parse().unwrap();
            (state, Clearance { policy, class_list, compartments, affiliations }, originates)
        },
    )
}

fn allows<T: Ord>(at_most: &AtMost<T>, name: &T) -> bool {
    match at_most {
        AtMost::Any => true,
        AtMost::Only(names) => names.contains(name),
    }
}

proptest! {
    #[test]
    fn g03_a_grant_is_within_the_ceiling_if_and_only_if_each_part_of_it_is(
        ceiling in any_ceiling(), (state, clearance, originates) in any_grant(),
    ) {
        let own = Affiliation::from(state);
        let within = allows(&ceiling.states, &state)
            && clearance.class_list.is_subset(&ceiling.classifications)
            && originates.is_subset(&ceiling.classifications)
            && clearance.compartments.iter().all(|name: &Compartment| allows(&ceiling.compartments, name))
            && clearance.affiliations.iter().all(|name| *name == own || allows(&ceiling.affiliations, name));
        let checked = ceiling.check(state, &clearance, &originates);
        prop_assert_eq!(checked.is_ok(), within, "{:?}", checked);
    }

    #[test]
    fn g03_what_a_lower_ceiling_allows_the_higher_one_does(
        lower in any_ceiling(), higher in any_ceiling(), (state, clearance, originates) in any_grant(),
    ) {
        let allowed = lower.check(state, &clearance, &originates).is_ok();
        if lower.is_within(&higher) && allowed {
            prop_assert_eq!(higher.check(state, &clearance, &originates), Ok(()));
        }
        prop_assert!(lower.is_within(&lower) && lower.is_within(&Ceiling::unlimited()));
        prop_assert_eq!(Ceiling::unlimited().check(state, &clearance, &originates), Ok(()));
    }

    #[test]
    fn a_ceiling_comes_back_the_same_from_the_wire_and_from_json(ceiling in any_ceiling()) {
        use valise_proto::delegation::{Delegation, SignedDelegation};
        let made = Delegation { ceiling: ceiling.clone(), ..crate::exchange::delegation() };
        let made = made.sign(&crate::exchange::root());
        prop_assert_eq!(SignedDelegation::decode(made.encode()).unwrap(), made);
        let json = serde_json::to_string(&ceiling).unwrap();
        prop_assert_eq!(serde_json::from_str::<Ceiling>(&json).unwrap(), ceiling);
    }
}
