//! Each safeguard, fallen short of.

use serde_json::{Value, json};

use super::Safeguard;
use crate::notice::Notice;
use crate::notice::fixture::{DEPORTATION, directory, mistakes, notice, now, policy};

fn minor(json: &mut Value) {
    json["parts"][1]["birth_date"] = "2008-03-02".into();
}

/// Adds H2 to the labels of these parts.
fn not_onward(json: &mut Value, parts: &[usize]) {
    for index in parts {
        let label = json["parts"][index]["label"].as_str().unwrap_or("RESTRICTED").to_owned();
        json["parts"][index]["label"] = format!("{label}//H2").into();
    }
}

/// What a minor's notice must have: justification, H2 on every part about the minor, review within a year.
fn guarded(json: &mut Value) {
    minor(json);
    json["parts"][1]["minor_subject"] = "Ordered by the invented Youth Court, case 1.".into();
    json["review_by"] = "2027-03-01T00:00:00Z".into();
    not_onward(json, &[1, 2, 3, 4]);
}

fn companion(json: &mut Value, person: Value) {
    let mut part = json!({ "type": "person", "id": "p2", "label": "CONFIDENTIAL//H2" });
    part.as_object_mut().unwrap().extend(person.as_object().unwrap().clone());
    json["parts"].as_array_mut().unwrap().push(part);
}

/// The safeguards that the changed example falls short of, each with its path.
fn short_of(change: impl FnOnce(&mut Value)) -> Vec<(String, Safeguard)> {
    let mut json: Value = serde_json::from_str(DEPORTATION).unwrap();
    change(&mut json);
    let mistakes = Notice::from_json(json.to_string().as_bytes(), &policy(), now()).unwrap_err();
    let named = |mistake: &crate::notice::Mistake| Some((mistake.path.clone(), mistake.safeguard?));
    mistakes.iter().map(|mistake| named(mistake).unwrap_or_else(|| panic!("{mistake}"))).collect()
}

/// What the changed example, sent by `ken/ncb`, falls short of once the own State is known.
fn short_of_when_addressed(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let directory = directory(&["tun/ncb", "deu/bka"]);
    let addressed = notice(change).addressees(&"ken/ncb".parse().unwrap(), &directory);
    addressed.err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn a_minor_is_subject_only_with_a_justification_a_short_review_and_no_onward_sharing() {
    let mistakes = mistakes(minor);
    let starts = [
        "parts[1].birth_date: `2008-03-02`: by this birth date",
        "parts[1].label: `CONFIDENTIAL`: content about someone who is, or may be, under 18 is not shared onward: write CONFIDENTIAL//H2",
        "parts[2].label: `CONFIDENTIAL`",
        "parts[3].label: `SECRET//REL TO FRA, KEN`",
        "parts[4].label: `SECRET//REL TO FRA, KEN`",
        "review_by: `2035-06-01T00:00:00Z`: content about someone who is, or may be, under 18 is reviewed within 366 days: write 2027-03-02T00:00:00Z",
    ];
    assert_eq!(mistakes.len(), starts.len(), "{mistakes:#?}");
    for (mistake, start) in mistakes.iter().zip(starts) {
        assert!(mistake.starts_with(start), "{mistake}");
        assert!(mistake.contains("(S/RES/2396, paragraphs 30 and 31; "), "{mistake}");
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
    assert!(
        unknown.iter().any(|mistake| mistake.starts_with("parts[1].birth_date: missing")),
        "{unknown:#?}"
    );
    assert!(mistakes(|json| json["parts"][1]["birth_date"] = "200X".into()).len() > 1);
    assert!(mistakes(|json| json["parts"][1]["birth_date"] = "../2000".into()).is_empty());
}

#[test]
fn the_justification_is_for_minors_alone() {
    let adult = mistakes(|json| json["parts"][1]["minor_subject"] = "Not needed.".into());
    assert!(adult.len() == 1 && adult[0].starts_with("parts[1].minor_subject"), "{adult:#?}");
}

#[test]
fn children_and_possible_victims_are_not_shared_onward_and_are_reviewed_within_a_year() {
    for person in [
        json!({ "role": "CHILD" }),
        json!({ "role": "CHILD", "birth_date": "2019~" }),
        json!({ "role": "POSSIBLE_VICTIM" }),
        json!({ "role": "POSSIBLE_VICTIM", "birth_date": "200X" }),
    ] {
        let shared = short_of(|json| {
            companion(json, person.clone());
            json["parts"][6]["label"] = "CONFIDENTIAL".into();
        });
        let expected = ["parts[6].label", "review_by"].map(|path| (path.to_owned(), Safeguard::Minors));
        assert_eq!(shared, expected, "{person}");
        let kept = notice(|json| {
            companion(json, person.clone());
            json.as_object_mut().unwrap().remove("review_by");
        });
        assert_eq!(kept.terms().unwrap().review_by, "2027-03-02T00:00:00Z".parse().unwrap());
    }
    for person in
        [json!({ "role": "ACCOMPANYING_ADULT" }), json!({ "role": "POSSIBLE_VICTIM", "birth_date": "1990" })]
    {
        notice(|json| {
            companion(json, person);
            json["parts"][6]["label"] = "CONFIDENTIAL".into();
        });
    }
}

#[test]
fn a_role_fits_the_age() {
    for (role, born, instead) in
        [("CHILD", "1990", "ACCOMPANYING_ADULT"), ("ACCOMPANYING_ADULT", "2019~", "CHILD")]
    {
        let mistakes = mistakes(|json| {
            companion(json, json!({ "role": role, "birth_date": born }));
            json.as_object_mut().unwrap().remove("review_by");
        });
        assert!(mistakes.len() == 1 && mistakes[0].starts_with("parts[6].role"), "{mistakes:#?}");
        assert!(mistakes[0].contains(&format!("write {instead}")), "{mistakes:#?}");
    }
    // Around 18 the author knows better.
    notice(|json| companion(json, json!({ "role": "ACCOMPANYING_ADULT", "birth_date": "2008" })));
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
fn content_is_reviewed_within_ten_years_and_by_default_within_three() {
    let endless = |json: &mut Value| json["review_by"] = "9999-01-01T00:00:00Z".into();
    assert_eq!(short_of(endless), [("review_by".to_owned(), Safeguard::LawfulPurpose)]);
    let default = notice(|json| {
        json.as_object_mut().unwrap().remove("review_by");
    });
    assert_eq!(default.terms().unwrap().review_by, "2029-02-28T00:00:00Z".parse().unwrap());
    assert_eq!(default.to_json()["review_by"], "2029-02-28T00:00:00Z");
}

#[test]
fn legal_basis_and_purpose_are_stated() {
    let without = short_of(|json| {
        json.as_object_mut().unwrap().remove("legal_basis");
        json.as_object_mut().unwrap().remove("purpose");
    });
    assert_eq!(without, ["legal_basis", "purpose"].map(|path| (path.to_owned(), Safeguard::LawfulPurpose)));
}

#[test]
fn only_a_subject_has_grounds() {
    for role in ["ACCOMPANYING_ADULT", "CHILD", "POSSIBLE_VICTIM"] {
        let mistakes = mistakes(|json| {
            companion(json, json!({ "role": role }));
            json["parts"][3]["about"] = "p2".into();
            json["parts"][3]["label"] = "SECRET//REL TO FRA, KEN//H2".into();
            json.as_object_mut().unwrap().remove("review_by");
        });
        assert!(mistakes.len() == 1 && mistakes[0].starts_with("parts[3].about: `p2`"), "{mistakes:#?}");
        assert!(mistakes[0].contains(role), "{mistakes:#?}");
        assert!(mistakes[0].ends_with("(S/RES/2396, paragraphs 4 and 29)"), "{mistakes:#?}");
    }
}

#[test]
fn biometric_data_are_of_a_subject_alone() {
    let biometric = |json: &mut Value, about: &str| {
        let part = json!({ "type": "biometric", "about": about, "kind": "FACE", "format": "image/jpeg", "size": 1,
            "sha256": "00".repeat(32), "label": "CONFIDENTIAL//H2" });
        json["parts"].as_array_mut().unwrap().push(part);
    };
    notice(|json| biometric(json, "p1"));
    let companions = short_of(|json| {
        companion(json, json!({ "role": "ACCOMPANYING_ADULT" }));
        biometric(json, "p2");
    });
    assert_eq!(companions, [("parts[7].about".to_owned(), Safeguard::Biometrics)]);
}

#[test]
fn a_listing_is_named() {
    let listed = mistakes(|json| json["parts"][3]["basis"] = json!(["LISTING"]));
    assert!(listed.len() == 1 && listed[0].starts_with("parts[3].list_references"), "{listed:#?}");
}

#[test]
fn what_cannot_be_borne_out_is_no_fact() {
    let rumour = short_of(|json| json["parts"][3]["information_grading"] = 4.into());
    assert_eq!(rumour, [("parts[3].nature".to_owned(), Safeguard::FactAndAssessment)]);
    notice(|json| {
        json["parts"][3]["information_grading"] = 4.into();
        json["parts"][3]["nature"] = "ASSESSMENT".into();
    });
}

#[test]
fn what_is_said_of_a_part_is_not_less_protected_than_the_part() {
    let remark = |label: &'static str| {
        move |json: &mut Value| {
            json["parts"][5]["about"] = "p1".into();
            for index in 1..5 {
                json["parts"][index]["label"] = "SECRET//ALPHA//REL TO FRA, KEN//ORCON".into();
            }
            json["parts"][5]["label"] = label.into();
        }
    };
    notice(remark("SECRET//ALPHA//REL TO FRA, KEN//ORCON"));
    notice(remark("TOP SECRET//ALPHA/BETA//REL TO FRA//ORCON/H2"));
    for lower in [
        "CONFIDENTIAL//ALPHA//REL TO FRA, KEN//ORCON",
        "SECRET//REL TO FRA, KEN//ORCON",
        "SECRET//ALPHA//ORCON",
        "SECRET//ALPHA//REL TO FRA, KEN, TUR//ORCON",
        "SECRET//ALPHA//REL TO FRA, KEN",
    ] {
        let found = short_of(remark(lower));
        assert_eq!(found, [("parts[5].label".to_owned(), Safeguard::NoSilentDowngrade)], "{lower}");
        let shown = mistakes(remark(lower));
        assert!(shown[0].contains("write SECRET//ALPHA//REL TO FRA, KEN//ORCON"), "{shown:#?}");
    }
    // Custody and grounds are about the person too.
    let person_alone = short_of(|json| json["parts"][1]["label"] = "TOP SECRET".into());
    let low = ["parts[2].label", "parts[3].label", "parts[4].label"];
    assert_eq!(person_alone, low.map(|path| (path.to_owned(), Safeguard::NoSilentDowngrade)));
}

#[test]
fn a_state_that_persons_are_protected_from_is_not_told_by_another_way() {
    for (reason, refused) in
        [("NON_REFOULEMENT", true), ("PROTECTION_CLAIM", true), ("NO_CONTACT_POINT", false)]
    {
        let mistakes = mistakes(|json| {
            json["omissions"][0]["reason"] = reason.into();
            json["recipients"] = json!(["fra/ncb", "tun/border"]);
            not_onward(json, &[0, 1, 2, 3, 4, 5]);
        });
        assert_eq!(
            mistakes.iter().any(|m| m.starts_with("recipients[1]: `tun/border`")),
            refused,
            "{mistakes:#?}"
        );
    }
}

#[test]
fn content_kept_from_a_state_for_protection_is_not_passed_on_to_it() {
    let found = mistakes(|json| json["omissions"][0]["reason"] = "NON_REFOULEMENT".into());
    let paths = ["label", "parts[1].label", "parts[2].label", "parts[3].label", "parts[4].label"];
    assert_eq!(found.len(), paths.len(), "{found:#?}");
    for (found, path) in found.iter().zip(paths) {
        assert!(found.starts_with(&format!("{path}: ")) && found.contains("protected from TUN"), "{found}");
        assert!(found.contains("article 33"), "{found}");
    }
}

#[test]
fn no_label_releases_content_to_a_state_that_persons_are_protected_from() {
    let released = short_of(|json| {
        json["omissions"][0]["reason"] = "HUMAN_RIGHTS".into();
        json["parts"][3]["label"] = "SECRET//REL TO FRA, TUN".into();
        not_onward(json, &[0, 1, 2, 3, 4, 5]);
    });
    assert_eq!(released, [("parts[3].label".to_owned(), Safeguard::NonRefoulement)]);
}

#[test]
fn nobody_is_deported_to_a_state_that_they_are_protected_from() {
    let protected = |state: &'static str, status: &'static str| {
        move |json: &mut Value| {
            json["omissions"] = json!([{ "state": state, "reason": "NON_REFOULEMENT" }]);
            json["parts"][0]["status"] = status.into();
            json["parts"][0]["event_time"] = "2026-02-28T00:00:00Z".into();
            json["parts"][3]["label"] = "SECRET".into();
            json["parts"][4]["label"] = "SECRET".into();
            not_onward(json, &[0, 1, 2, 3, 4, 5]);
        }
    };
    for status in ["PLANNED", "UNDER_WAY"] {
        let there = |field: &str| vec![(format!("parts[0].{field}"), Safeguard::NonRefoulement)];
        assert_eq!(short_of(protected("FRA", status)), there("destination"));
        assert_eq!(short_of(protected("TUR", status)), there("transit[0]"));
    }
    for status in ["COMPLETED", "ATTEMPTED", "CANCELLED"] {
        notice(protected("FRA", status));
    }
}

#[test]
fn a_refugees_state_is_told_only_after_someone_decided_it() {
    let refugee = |extra: Value| {
        move |json: &mut Value| {
            json["parts"][1]["citizenships"] = json!(["TUN", "XXB"]);
            json["parts"][1]["documents"] = json!([]);
            json["omissions"] = json!([]);
            json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        }
    };
    let unaware = short_of_when_addressed(refugee(json!({})));
    assert!(unaware.len() == 1 && unaware[0].starts_with("parts[1].citizenships[0]: `TUN`"), "{unaware:#?}");
    assert!(unaware[0].contains(r#"{"state": "TUN", "reason": "NON_REFOULEMENT"}"#), "{unaware:#?}");
    let said = json!({ "disclosures": [{ "state": "TUN", "text": "The invented tribunal found no risk." }] });
    assert_eq!(short_of_when_addressed(refugee(said)), [] as [&str; 0]);
    let omitted = json!({ "omissions": [{ "state": "TUN", "reason": "PROTECTION_CLAIM" }] });
    let omitted = |json: &mut Value| {
        refugee(omitted)(json);
        not_onward(json, &[0, 1, 2, 3, 4, 5]);
    };
    assert_eq!(short_of_when_addressed(omitted), [] as [&str; 0]);
    let by_document = short_of_when_addressed(|json| {
        json["omissions"] = json!([]);
        json["parts"][1]["documents"] =
            json!([{ "kind": "REFUGEE_TRAVEL_DOCUMENT", "number": "X1", "issuer": "DEU" }]);
    });
    assert_eq!(by_document.len(), 2, "{by_document:#?}");
    let needless = short_of_when_addressed(|json| {
        json["omissions"] = json!([]);
        json["disclosures"] = json!([{ "state": "DEU", "text": "Not needed." }]);
    });
    assert!(needless.len() == 1 && needless[0].starts_with("disclosures[0].state"), "{needless:#?}");
}

#[test]
fn whoever_is_held_has_consular_access_on_record() {
    let silent = |status: &'static str| {
        move |json: &mut Value| {
            json["omissions"] = json!([]);
            json["parts"][2]["status"] = status.into();
            json["parts"][2]["consular_access"] = json!([{ "state": "FRA", "step": "PENDING" }]);
        }
    };
    for status in ["CAPTURED", "DETAINED"] {
        let found = short_of_when_addressed(silent(status));
        assert!(found.len() == 1 && found[0].starts_with("parts[2].consular_access: missing"), "{found:#?}");
        assert!(found[0].contains("TUN") && found[0].ends_with("(S/RES/2396, paragraph 6)"), "{found:#?}");
    }
    assert_eq!(short_of_when_addressed(silent("RELEASED")), [] as [&str; 0]);
    let protected = short_of_when_addressed(|json| {
        silent("DETAINED")(json);
        json["omissions"] = json!([{ "state": "TUN", "reason": "NON_REFOULEMENT" }]);
        not_onward(json, &[0, 1, 2, 3, 4, 5]);
    });
    assert_eq!(protected, [] as [&str; 0]);
}

#[test]
fn there_are_no_fields_by_which_persons_are_profiled() {
    for field in ["religion", "ethnicity", "race", "tribe", "Religion", "political_opinion"] {
        let found = mistakes(|json| json["parts"][1][field] = "something".into());
        assert!(found.len() == 1 && found[0].starts_with(&format!("parts[1].{field}: ")), "{found:#?}");
        assert!(found[0].ends_with("(S/RES/2396, paragraph 4)"), "{found:#?}");
        assert!(!found[0].contains("something"), "what is not to be recorded is repeated: {found:#?}");
        assert!(!crate::notice::schema().to_string().contains(&format!("\"{field}\":")));
    }
}
