//! Banners, joins, and the access decision.

use proptest::collection::btree_set;
use proptest::prelude::*;

use super::*;

fn policy() -> PolicyId {
    "exchange.example".parse().unwrap()
}

fn banner(text: &str) -> Label {
    Label::parse_banner(policy(), text).unwrap()
}

fn cleared(class_list: &[Classification], compartments: &[&str], affiliations: &[&str]) -> Clearance {
    Clearance {
        policy: policy(),
        class_list: class_list.iter().copied().collect(),
        compartments: compartments.iter().map(|name| name.parse().unwrap()).collect(),
        affiliations: affiliations.iter().map(|name| name.parse().unwrap()).collect(),
    }
}

#[test]
fn g10_a_banner_has_a_length_that_every_record_has_room_for() {
    let instruction = |n: usize| format!("H3({n:03}{})", "a".repeat(HANDLING_TEXT_BYTES_MAX - 3));
    let many = |count| (0..count).map(instruction).collect::<Vec<_>>().join("/");
    assert!(Label::parse_banner(policy(), &format!("SECRET//{}", many(15))).is_ok());
    let refused = Label::parse_banner(policy(), &format!("SECRET//{}", many(16)));
    assert!(matches!(refused, Err(LabelError::TooLong { .. })), "{refused:?}");
    // Each is short enough; together they are not.
    let parts: Vec<_> = (0..16).map(|n| banner(&format!("SECRET//{}", instruction(n)))).collect();
    let whole = Label::join(&parts).unwrap();
    assert!(matches!(whole.check_sizes(), Err(LabelError::TooLong { .. })));
}

#[test]
fn no_banner_can_be_made_to_look_like_another_one() {
    for turning in ["\u{202E}", "\u{2066}", "\u{200F}", "\u{7}"] {
        assert!(Label::parse_banner(policy(), &format!("SECRET//H3(a{turning}b)")).is_err());
    }
}

#[test]
fn banners_print_as_they_were_written() {
    for text in [
        "UNMARKED",
        "RESTRICTED",
        "TOP SECRET//ALPHA/BRAVO",
        "SECRET//REL TO FRA, KEN//ORCON",
        "CONFIDENTIAL//ALPHA//REL TO XPO//ORCON/FOR OFFICIAL USE ONLY/H1/H2/H3(ask the duty officer)",
    ] {
        assert_eq!(banner(text).to_string(), text);
    }
}

#[test]
fn banners_that_could_be_misread_are_refused() {
    for text in [
        "",
        "secret",
        "SECRET//",
        "SECRET//ORCON//REL TO FRA",
        "SECRET//ORCON//ALPHA",
        "SECRET//REL TO FRA//REL TO KEN",
        "SECRET//REL TO ",
        "SECRET//REL TO FRA,KEN",
        "SECRET//ORCON/ALPHA",
        "SECRET//H3()",
        "SECRET//H3(a/b)",
        "SECRET//SECRET",
    ] {
        assert!(Label::parse_banner(policy(), text).is_err(), "`{text}` was taken for a banner");
    }
}

#[test]
fn releasability_in_another_form_is_refused_with_the_right_one() {
    for text in [
        "REL FRA",
        "SECRET//REL FRA",
        "SECRET//REL TO FRA,KEN",
        "SECRET//REL TO FRA/KEN",
        "SECRET//rel to FRA",
    ] {
        let said = Label::parse_banner(policy(), text).unwrap_err();
        assert!(matches!(said, LabelError::Releasability(_)), "{text}: {said}");
        assert!(said.to_string().ends_with("as in SECRET//REL TO FRA, KEN"), "{said}");
    }
    // What begins in the same way and is a compartment stays one.
    assert_eq!(banner("SECRET//RELAY").compartments.len(), 1);
}

#[test]
fn g03_a_class_list_is_a_set_not_a_rank() {
    let gap = cleared(&[Classification::Unclassified, Classification::Secret], &[], &[]);
    assert_eq!(may_access(&gap, &banner("SECRET")), Ok(()));
    assert!(matches!(may_access(&gap, &banner("RESTRICTED")), Err(Denial::Classification { .. })));
}

#[test]
fn g03_each_rule_denies_by_name() {
    let kenya = cleared(&Classification::ALL, &["ALPHA"], &["KEN"]);
    assert_eq!(may_access(&kenya, &banner("SECRET//ALPHA//REL TO FRA, KEN")), Ok(()));
    assert!(matches!(may_access(&kenya, &banner("SECRET//ALPHA/BRAVO")), Err(Denial::Compartments { .. })));
    assert!(matches!(may_access(&kenya, &banner("SECRET//REL TO FRA")), Err(Denial::Releasability { .. })));
    let other = Label::plain("other.example".parse().unwrap(), Classification::Unmarked);
    assert!(matches!(may_access(&kenya, &other), Err(Denial::Policy { .. })));
}

#[test]
fn g03_a_whole_releasable_to_nobody_stays_so() {
    let whole = Label::join([&banner("SECRET//REL TO FRA"), &banner("SECRET//REL TO KEN")]).unwrap();
    let everyone = cleared(&Classification::ALL, &[], &["FRA", "KEN"]);
    assert!(may_access(&everyone, &whole).is_err());
    assert_eq!(banner(&whole.to_string()), whole);
    assert!(NOBODY.parse::<Affiliation>().is_err(), "a clearance could hold the name of nobody");
    let wider = Label::join([&whole, &banner("SECRET//REL TO FRA")]).unwrap();
    assert!(may_access(&everyone, &wider).is_err());
}

fn any_label() -> impl Strategy<Value = Label> {
    let names = |all: &'static [&'static str]| btree_set(prop::sample::select(all), 0..3);
    (
        0..6_usize,
        names(&["ALPHA", "BRAVO", "C1"]),
        names(&["FRA", "KEN", "XPO", "NATO"]),
        names(&["ORCON", "H1", "H3(x y)"]),
    )
        .prop_map(|(class, compartments, releasable, handling)| Label {
            policy: policy(),
            classification: Classification::ALL[class],
            compartments: compartments.into_iter().map(|name| name.parse().unwrap()).collect(),
            releasable_to: releasable.into_iter().map(|name| name.parse().unwrap()).collect(),
            handling: handling.into_iter().map(|name| name.parse().unwrap()).collect(),
        })
}

proptest! {
    #[test]
    fn any_label_parses_back_from_its_banner(label in any_label()) {
        prop_assert_eq!(banner(&label.to_string()), label);
    }

    #[test]
    fn g03_whoever_may_see_the_whole_may_see_each_part(a in any_label(), b in any_label(), class in 0..6_usize) {
        let clearance = cleared(&[Classification::ALL[class]], &["ALPHA", "BRAVO"], &["FRA", "XPO"]);
        let whole = Label::join([&a, &b]).unwrap();
        let classes = whole.classification.and_below();
        let clearance = Clearance { class_list: classes, ..clearance };
        if may_access(&clearance, &whole).is_ok() {
            prop_assert!(may_access(&clearance, &a).is_ok() && may_access(&clearance, &b).is_ok());
        }
    }

    #[test]
    fn a_join_does_not_depend_on_order(a in any_label(), b in any_label()) {
        prop_assert_eq!(Label::join([&a, &b]), Label::join([&b, &a]));
    }

    #[test]
    fn no_text_makes_the_banner_parser_stop(text in "\\PC{0,80}") {
        let _ = Label::parse_banner(policy(), &text);
    }
}
