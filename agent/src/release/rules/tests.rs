//! Random notices, wishes and grants against the rules said a second time, plainly.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use valise_proto::label::{Affiliation, Classification};

use valise_proto::notice::ReleaseAction as Action;

use super::*;
use crate::fixture::{Exchange, agency, policy};

const ME: &str = "ken/ncb";
const AGENCIES: [&str; 4] = ["ken/border", "ken/army", "deu/ncb", "tun/ncb"];
fn start() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

fn index(place: usize) -> PortionIndex {
    PortionIndex::new(place).unwrap()
}

fn label(banner: &str) -> Label {
    Label::parse_banner(policy(), banner).unwrap()
}

fn id(number: u8) -> NoticeId {
    NoticeId::new(start(), [number; 10])
}

fn labels() -> impl Strategy<Value = Label> {
    let class =
        select(&[Classification::Unclassified, Classification::Restricted, Classification::Secret][..]);
    let handling = subsequence(&["ORCON", "H1", "H2"][..], 0..=2);
    let to = subsequence(&["DEU", "KEN", "TUN"][..], 0..=3);
    (class, any::<bool>(), to, handling).prop_map(|(class, compartment, to, handling)| {
        let mut label = Label::plain(policy(), class);
        label.compartments.extend(compartment.then(|| "ALPHA".parse().unwrap()));
        label.releasable_to.extend(to.iter().map(|name| name.parse::<Affiliation>().unwrap()));
        label.handling.extend(handling.iter().map(|word| word.parse::<Handling>().unwrap()));
        label
    })
}

fn portions(least: usize) -> impl Strategy<Value = BTreeSet<PortionIndex>> {
    subsequence(&[0_usize, 1, 2][..], least..=3).prop_map(|places| places.into_iter().map(index).collect())
}

fn agencies(least: usize) -> impl Strategy<Value = BTreeSet<AgencyId>> {
    subsequence(&AGENCIES[..], least..=3).prop_map(|names| names.into_iter().map(agency).collect())
}

fn held() -> impl Strategy<Value = Held> {
    (prop::collection::vec(labels(), 3), prop::option::weighted(0.2, 0_usize..3)).prop_map(
        |(labels, minor)| Held {
            notice_id: id(1),
            originator: agency("fra/ncb"),
            portions: labels.into_iter().enumerate().map(|(place, label)| (index(place), label)).collect(),
            minors: minor.into_iter().map(index).collect(),
        },
    )
}

fn scope() -> impl Strategy<Value = Scope> {
    let action = select(&[Action::Downgrade, Action::Share][..]);
    (action, portions(1), agencies(0), prop::option::of(labels()))
        .prop_map(|(action, portions, to, label)| Scope { action, portions, to, label })
}

fn grants() -> impl Strategy<Value = Vec<Grant>> {
    let until = prop::option::of(select(&[-1_i64, 0, 1][..]));
    let grant = (scope(), until).prop_map(|(scope, until)| {
        let at = |offset: i64| Timestamp::from_millis(start().millis().checked_add_signed(offset).unwrap());
        Grant { decision: id(9), scope, valid_until: until.map(at) }
    });
    prop::collection::vec(grant, 0..3)
}

fn wishes() -> impl Strategy<Value = Onward> {
    (portions(1), agencies(1), labels()).prop_map(|(portions, to, label)| Onward { portions, to, label })
}

/// Whether everybody who may see content under `label` might see it under `other`, instructions apart.
fn shown_to_no_more(label: &Label, other: &Label) -> bool {
    let wide = |label: &Label, name: &str| {
        label.releasable_to.is_empty() || label.releasable_to.contains(&name.parse::<Affiliation>().unwrap())
    };
    label.classification >= other.classification
        && other.compartments.iter().all(|name| label.compartments.contains(name))
        && ["DEU", "KEN", "TUN", "USA"].iter().all(|name| !wide(label, name) || wide(other, name))
}

fn keeps_instructions(label: &Label, other: &Label) -> bool {
    other.handling.iter().all(|handling| label.handling.contains(handling))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn g03_nothing_marked_leaves_a_holder_without_one_unexpired_leave_that_covers_all_of_it(
        held in held(), wish in wishes(), grants in grants()
    ) {
        let me = agency(ME);
        let Ok(leave) = may_forward(&held, &me, &wish, &grants, start()) else { return Ok(()) };
        let chosen: Vec<_> = wish.portions.iter().map(|index| &held.portions[index]).collect();
        prop_assert!(wish.portions.is_disjoint(&held.minors), "content about a minor was let go");
        let marked = chosen.iter().any(|label| {
            label.handling.iter().any(|handling| ["ORCON", "H2"].contains(&handling.to_string().as_str()))
        });
        let abroad = wish.to.iter().any(|to| !to.as_str().starts_with("ken/"));
        let same = chosen.iter().all(|source| {
            shown_to_no_more(&wish.label, source) && keeps_instructions(&wish.label, source)
        });
        match leave {
            Leave::Domestic => {
                prop_assert!(!marked, "marked content was let go without leave");
                prop_assert!(!abroad, "content was let go abroad without leave");
                prop_assert!(same, "content was let go under a lower label without leave");
            }
            Leave::Granted(_) => {
                let one_covers = grants.iter().any(|grant| {
                    let scope = &grant.scope;
                    let named = match scope.to.is_empty() {
                        true => !abroad,
                        false => wish.to.iter().all(|to| scope.to.contains(to)),
                    };
                    let labelled = scope.label.as_ref().map_or(same, |least| {
                        shown_to_no_more(&wish.label, least) && keeps_instructions(&wish.label, least)
                    });
                    let lowered = scope.action == Action::Downgrade || chosen.iter().all(|source| {
                        keeps_instructions(&wish.label, source)
                            && wish.label.classification >= source.classification
                    });
                    let lasting = grant.valid_until.is_none_or(|until| start() < until);
                    let portions = wish.portions.iter().all(|index| scope.portions.contains(index));
                    named && labelled && lowered && lasting && portions
                });
                prop_assert!(one_covers, "content was let go under leave that does not cover it");
            }
        }
    }

    #[test]
    fn what_needs_no_leave_is_never_refused(held in held(), wish in wishes()) {
        let domestic = wish.to.iter().all(|to| to.as_str().starts_with("ken/"));
        let chosen: Vec<_> = wish.portions.iter().map(|index| &held.portions[index]).collect();
        let unmarked = chosen.iter().all(|label| !label.handling.iter().any(binds_holders));
        let same = chosen.iter().all(|source| {
            shown_to_no_more(&wish.label, source) && keeps_instructions(&wish.label, source)
        });
        if domestic && unmarked && same && wish.portions.is_disjoint(&held.minors) {
            prop_assert_eq!(may_forward(&held, &agency(ME), &wish, &[], start()), Ok(Leave::Domestic));
        }
    }

    #[test]
    fn what_was_granted_as_asked_covers_what_was_asked(held in held(), asked in scope()) {
        let given = Grant { decision: id(9), scope: asked.clone(), valid_until: None };
        let label = match (&asked.label, asked.action) {
            (Some(label), Action::Downgrade) => label.clone(),
            (Some(_), Action::Share) | (None, _) => {
                Label::join(asked.portions.iter().map(|index| &held.portions[index])).unwrap()
            }
        };
        let to = if asked.to.is_empty() { BTreeSet::from([agency("ken/border")]) } else { asked.to.clone() };
        let wish = Onward { portions: asked.portions.clone(), to, label };
        let covered = asked.action == Action::Downgrade || asked.label.is_none();
        if covered && asked.portions.is_disjoint(&held.minors) {
            prop_assert!(may_forward(&held, &agency(ME), &wish, &[given], start()).is_ok());
        }
    }
}

/// A notice of fra/ncb with one portion for each banner.
fn of(banners: &[&str]) -> Held {
    let portions = banners.iter().enumerate().map(|(place, banner)| (index(place), label(banner)));
    Held {
        notice_id: id(1),
        originator: agency("fra/ncb"),
        portions: portions.collect(),
        minors: BTreeSet::new(),
    }
}

fn wish(places: &[usize], to: &[&str], banner: &str) -> Onward {
    Onward {
        portions: places.iter().map(|place| index(*place)).collect(),
        to: to.iter().map(|name| agency(name)).collect(),
        label: label(banner),
    }
}

#[test]
fn a_refusal_names_every_reason_the_paragraph_and_the_command_that_asks() {
    let held = of(&["RESTRICTED", "SECRET//ORCON"]);
    let wish = wish(&[0, 1], &["deu/ncb"], "SECRET");
    let error = may_forward(&held, &agency(ME), &wish, &[], start()).unwrap_err().to_string();
    for words in [
        "portion 1 is marked ORCON",
        "deu/ncb is an agency of another State",
        "SECRET protects it less than SECRET//ORCON",
        "S/RES/2396, paragraph 8",
        "ask fra/ncb: valise-agent release request",
        "--portions 0,1 --to deu/ncb",
        "no answer is no",
    ] {
        assert!(error.contains(words), "`{words}` is missing: {error}");
    }
}

#[test]
fn leave_that_does_not_cover_the_wish_says_what_it_lacks() {
    let held = of(&["SECRET//ORCON", "SECRET//ORCON"]);
    let scope = Scope {
        action: Action::Share,
        portions: BTreeSet::from([index(0)]),
        to: BTreeSet::from([agency("deu/ncb")]),
        label: None,
    };
    let grant = |scope: &Scope, valid_until| Grant { decision: id(9), scope: scope.clone(), valid_until };
    let refused = |wish: &Onward, grant: Grant| -> Vec<Shortfall> {
        match may_forward(&held, &agency(ME), wish, &[grant], start()) {
            Err(NotOnward::NoLeave { shortfalls, .. }) => {
                shortfalls.into_iter().map(|(_, why)| why).collect()
            }
            other => panic!("{other:?}"),
        }
    };
    let fits = wish(&[0], &["deu/ncb"], "SECRET//ORCON");
    let at = |millis| Some(Timestamp::from_millis(start().millis() + millis));
    assert_eq!(
        may_forward(&held, &agency(ME), &fits, &[grant(&scope, at(1))], start()),
        Ok(Leave::Granted(id(9)))
    );
    assert_eq!(refused(&fits, grant(&scope, at(0))), [Shortfall::Ended(start())]);
    let more = wish(&[0, 1], &["deu/ncb"], "SECRET//ORCON");
    assert_eq!(refused(&more, grant(&scope, None)), [Shortfall::Portion(index(1))]);
    let other = wish(&[0], &["deu/ncb", "tun/ncb"], "SECRET//ORCON");
    assert_eq!(refused(&other, grant(&scope, None)), [Shortfall::Recipient(agency("tun/ncb"))]);
    let lower = wish(&[0], &["deu/ncb"], "RESTRICTED//ORCON");
    assert_eq!(refused(&lower, grant(&scope, None)), [Shortfall::Label(label("SECRET//ORCON"))]);
    let lowering = Scope { label: Some(label("RESTRICTED")), ..scope };
    assert_eq!(
        refused(&wish(&[0], &["deu/ncb"], "RESTRICTED"), grant(&lowering, None)),
        [Shortfall::Label(label("SECRET//ORCON"))],
        "leave to share lowered a label"
    );
}

#[test]
fn content_about_a_minor_goes_no_further_whoever_allows_it() {
    let held = Held { minors: BTreeSet::from([index(0)]), ..of(&["RESTRICTED//H2"]) };
    let scope = Scope {
        action: Action::Share,
        portions: BTreeSet::from([index(0)]),
        to: BTreeSet::from([agency("deu/ncb")]),
        label: None,
    };
    let grant = Grant { decision: id(9), scope, valid_until: None };
    for to in ["deu/ncb", "ken/border"] {
        let refused = may_forward(
            &held,
            &agency(ME),
            &wish(&[0], &[to], "RESTRICTED//H2"),
            std::slice::from_ref(&grant),
            start(),
        );
        let error = refused.unwrap_err();
        assert!(matches!(error, NotOnward::Minor { .. }), "{error}");
        assert!(error.to_string().contains("paragraphs 30 and 31"), "{error}");
    }
}

fn exchange() -> Exchange {
    let secret = Classification::Secret;
    let mut exchange = Exchange::new(&[
        ("fra/ncb", secret),
        (ME, secret),
        ("ken/border", Classification::Restricted),
        ("deu/ncb", secret),
        ("tun/ncb", secret),
    ]);
    exchange.content.agencies.get_mut(&agency("ken/border")).unwrap().contact_point = false;
    exchange
}

fn owned() -> Owned {
    Owned {
        portions: ["RESTRICTED//H2", "SECRET//H2/ORCON", "CONFIDENTIAL//H2"].map(label).to_vec(),
        minors: BTreeSet::from([index(2)]),
        protected_from: BTreeSet::from(["TUN".parse().unwrap()]),
    }
}

fn asked(to: &[&str], banner: Option<&str>) -> Scope {
    Scope {
        action: Action::Downgrade,
        portions: BTreeSet::from([index(0), index(1), index(2)]),
        to: to.iter().map(|name| agency(name)).collect(),
        label: banner.map(label),
    }
}

#[test]
fn a_decision_grants_no_more_than_was_asked_and_nothing_that_protects_nobody() {
    let directory = exchange().directory();
    let decide = |asked: &Scope, given: &Scope, until: Option<Timestamp>| {
        may_grant(&owned(), &agency(ME), (asked, given), until, &directory, start())
    };
    let request = asked(&["deu/ncb", "tun/ncb"], Some("CONFIDENTIAL//H2"));
    let fits = Scope {
        portions: BTreeSet::from([index(0), index(1)]),
        to: BTreeSet::from([agency("deu/ncb")]),
        ..request.clone()
    };
    assert_eq!(decide(&request, &fits, None), Ok(()));
    let over = |shape: &dyn Fn(&mut Scope)| {
        let mut given = fits.clone();
        shape(&mut given);
        decide(&request, &given, None).unwrap_err()
    };
    let narrow = Scope { portions: BTreeSet::from([index(0)]), ..fits.clone() };
    assert!(matches!(decide(&narrow, &fits, None), Err(NotReleased::NotAsked(what)) if what == "portion 1"));
    assert!(matches!(over(&|given| given.action = Action::Share), NotReleased::NotAsked(_)));
    assert!(matches!(over(&|given| given.to = BTreeSet::new()), NotReleased::Nobody));
    assert!(matches!(
        over(&|given| assert!(given.to.insert(agency("ken/border")))),
        NotReleased::NotAsked(_)
    ));
    assert!(matches!(
        over(&|given| given.label = Some(label("RESTRICTED//H2"))),
        NotReleased::LabelTooLow { .. }
    ));
    assert!(matches!(over(&|given| assert!(given.portions.insert(index(2)))), NotReleased::Minor { .. }));
    assert!(matches!(
        over(&|given| assert!(given.portions.insert(index(7)))),
        NotReleased::NoSuchPortion { .. }
    ));
    assert!(matches!(decide(&request, &fits, Some(start())), Err(NotReleased::Ended { .. })));
    let told = over(&|given| given.to = BTreeSet::from([agency("tun/ncb")])).to_string();
    assert!(told.contains("protected from TUN") && told.contains("paragraph 4"), "{told}");
}

#[test]
fn nobody_is_told_by_a_release_from_whom_persons_are_protected() {
    let directory = exchange().directory();
    let release = |to: &str, banner: &str| {
        let portions = BTreeSet::from([index(0)]);
        may_release(&owned(), &portions, &BTreeSet::from([agency(to)]), &label(banner), &directory)
    };
    assert_eq!(release("deu/ncb", "UNCLASSIFIED//H2"), Ok(()));
    assert!(matches!(release("tun/ncb", "UNCLASSIFIED//H2"), Err(NotReleased::Protected { .. })));
    assert!(matches!(release("deu/ncb", "UNCLASSIFIED"), Err(NotReleased::Protected { .. })));
    assert!(matches!(
        release("deu/ncb", "UNCLASSIFIED//REL TO DEU, TUN//H2"),
        Err(NotReleased::Protected { .. })
    ));
    assert!(matches!(release("ken/border", "SECRET//H2"), Err(NotReleased::NotCleared { .. })));
    assert!(matches!(release("usa/ncb", "UNCLASSIFIED//H2"), Err(NotReleased::NotListed(_))));
}
