//! Who is told by the example, and what is wrong with its addressing once it is changed.

use super::*;
use crate::notice::fixture::{directory, notice};

fn told(notice: &Notice, directory: &Directory) -> Vec<(String, Vec<String>)> {
    let addressees = notice.addressees(&"ken/ncb".parse().unwrap(), directory).unwrap();
    let plain = |to: Addressee| (to.agency.to_string(), to.reasons.iter().map(ToString::to_string).collect());
    addressees.into_iter().map(plain).collect()
}

fn mistakes(notice: &Notice, directory: &Directory) -> Vec<String> {
    let mistakes = notice.addressees(&"ken/ncb".parse().unwrap(), directory).unwrap_err();
    mistakes.iter().map(ToString::to_string).collect()
}

#[test]
fn every_state_of_paragraph_3_is_told_once_with_every_reason() {
    let told = told(&notice(|_| {}), &directory(&[]));
    let reasons = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let expected = [
        ("fra/ncb".to_owned(), reasons(&["destination of the movement", "citizenship of p1"])),
        ("tur/border".to_owned(), reasons(&["transit of the movement"])),
        ("xpo/general-secretariat".to_owned(), reasons(&["shared with INTERPOL"])),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_state_without_a_contact_point_is_a_mistake_that_shows_the_omission() {
    let notice = notice(|json| json["omissions"] = serde_json::json!([]));
    let mistakes = mistakes(&notice, &directory(&[]));
    assert_eq!(mistakes.len(), 1);
    for words in ["names TUN (citizenship of p1)", r#"{"state": "TUN", "reason": "NO_CONTACT_POINT"}"#] {
        assert!(mistakes[0].contains(words), "{}", mistakes[0]);
    }
}

#[test]
fn an_omission_must_be_needed_and_true() {
    let directory = directory(&["tun/ncb"]);
    let claimed = mistakes(&notice(|_| {}), &directory);
    assert!(claimed[0].starts_with("omissions[0].reason") && claimed[0].contains("tun/ncb"), "{claimed:?}");
    let needless = notice(|json| {
        json["omissions"] = serde_json::json!([
            { "state": "DEU", "reason": "ONGOING_INVESTIGATION" }, { "state": "KEN", "reason": "OTHER", "text": "x" }
        ]);
    });
    let needless = mistakes(&needless, &directory);
    assert!(needless[0].contains("nothing in the notice names it"), "{needless:?}");
    assert!(needless[1].contains("own State"), "{needless:?}");
}

#[test]
fn a_state_left_out_for_non_refoulement_is_nowhere_among_the_recipients() {
    let directory = directory(&["tun/ncb"]);
    let left_out = notice(|json| {
        json["omissions"][0]["reason"] = "NON_REFOULEMENT".into();
        json["label"] = "RESTRICTED//H2".into();
        for index in [1, 2, 3, 4] {
            let label = json["parts"][index]["label"].as_str().unwrap().to_owned();
            json["parts"][index]["label"] = format!("{label}//H2").into();
        }
    });
    let own = "KEN".parse().unwrap();
    let shown: Vec<_> = left_out.left_out(own).into_iter().map(|left| left.reasons).collect();
    assert_eq!(shown, [[Reason::Citizenship("p1".parse().unwrap())]]);
    assert!(told(&left_out, &directory).iter().all(|(agency, _)| !agency.starts_with("tun/")));
}

#[test]
fn a_suspended_contact_point_cannot_be_told() {
    let mut content = directory(&[]).content().clone();
    content.agencies.get_mut(&"tur/border".parse().unwrap()).unwrap().status =
        AgencyStatus::Suspended { since: content.issued_at };
    let mistakes = mistakes(&notice(|_| {}), &crate::notice::fixture::sign(&content));
    assert!(mistakes[0].contains("tur/border, is suspended"), "{mistakes:?}");
}

#[test]
fn the_author_may_add_recipients_but_not_itself() {
    let added = notice(|json| json["recipients"] = serde_json::json!(["ken/immigration", "fra/ncb"]));
    let told = told(&added, &directory(&[]));
    let fra = told.iter().find(|(agency, _)| agency == "fra/ncb").unwrap();
    assert_eq!(fra.1.len(), 3);
    assert!(told.iter().any(|(agency, _)| agency == "ken/immigration"));
    let oneself = notice(|json| json["recipients"] = serde_json::json!(["ken/ncb"]));
    assert!(mistakes(&oneself, &directory(&[]))[0].starts_with("recipients[0]: `ken/ncb`"));
}

#[test]
fn domestic_agencies_are_told_by_their_function() {
    let by = |functions: serde_json::Value| notice(move |json| json["domestic"] = functions);
    let told = told(&by(serde_json::json!(["LAW_ENFORCEMENT"])), &directory(&[]));
    let own: Vec<_> = told.iter().filter(|(agency, _)| agency.starts_with("ken/")).collect();
    let expected = ("ken/immigration".to_owned(), vec!["domestic agency for LAW_ENFORCEMENT".to_owned()]);
    assert_eq!(own, [&expected], "the agency that sends is told of its own notice");
    let nobody = mistakes(&by(serde_json::json!(["CUSTOMS"])), &directory(&[]));
    assert!(
        nobody.len() == 1 && nobody[0].starts_with("domestic[0]: `CUSTOMS`: no other active agency"),
        "{nobody:?}"
    );
}

#[test]
fn only_a_subject_has_its_citizenships_told() {
    let family = notice(|json| {
        let child = serde_json::json!({ "type": "person", "id": "p2", "role": "CHILD", "citizenships": ["DEU"],
                "label": "CONFIDENTIAL//H2" });
        json["parts"].as_array_mut().unwrap().push(child);
        json.as_object_mut().unwrap().remove("review_by");
    });
    assert_eq!(told(&family, &directory(&[])).len(), 3);
}

#[test]
fn the_other_examples_are_notices_too() {
    for (json, agencies) in [
        (
            include_str!("../../../../deploy/examples/travel.json"),
            &["tur/border", "xpo/general-secretariat"][..],
        ),
        (include_str!("../../../../deploy/examples/arrival.json"), &["fra/ncb"]),
    ] {
        let policy = crate::notice::fixture::policy();
        let now = crate::notice::fixture::now();
        let notice = Notice::from_json(json.as_bytes(), &policy, now).unwrap();
        let told = told(&notice, &directory(&[]));
        assert_eq!(told.iter().map(|(agency, _)| agency.as_str()).collect::<Vec<_>>(), agencies);
    }
}

#[test]
fn a_withdrawal_goes_to_whom_the_author_names() {
    let withdrawal = notice(|json| {
        *json = serde_json::json!({ "kind": "WITHDRAWAL", "precedence": "FLASH", "label": "RESTRICTED",
                "withdraws": "01890000-0000-7000-8000-000000000000", "recipients": ["fra/ncb"],
                "parts": [{ "type": "withdrawal", "reason": "Another person of the same name." }] });
    });
    assert_eq!(
        told(&withdrawal, &directory(&[])),
        [("fra/ncb".to_owned(), vec!["named by the author".to_owned()])]
    );
}

fn withdrawal() -> Notice {
    notice(|json| {
        *json = serde_json::json!({ "kind": "WITHDRAWAL", "precedence": "FLASH", "label": "RESTRICTED",
            "withdraws": "01890000-0000-7000-8000-000000000000",
            "parts": [{ "type": "withdrawal", "reason": "Another person of the same name." }] });
    })
}

#[test]
fn a_follow_up_goes_to_whom_it_follows_and_to_nobody_where_nobody_is_known() {
    let previous = ["fra/ncb", "ken/ncb", "tur/border"].map(|name| name.parse().unwrap());
    let own = "ken/ncb".parse().unwrap();
    let told = withdrawal().addressees_after(&own, &directory(&[]), &previous).unwrap();
    let told: Vec<_> = told.iter().map(|to| (to.agency.as_str(), to.reasons.clone())).collect();
    assert_eq!(told, [("fra/ncb", vec![Reason::Previous]), ("tur/border", vec![Reason::Previous])]);
    let nobody = mistakes(&withdrawal(), &directory(&[]));
    assert!(
        nobody.len() == 1 && nobody[0].starts_with("recipients: paragraph 3 addresses nobody"),
        "{nobody:?}"
    );
}

#[test]
fn a_state_that_has_the_notice_is_protected_from_by_a_withdrawal_alone() {
    let correction = notice(|json| {
        json["kind"] = "CORRECTION".into();
        json["supersedes"] = "01890000-0000-7000-8000-000000000000".into();
        json["omissions"][0]["reason"] = "NON_REFOULEMENT".into();
        json["label"] = "RESTRICTED//H2".into();
        for index in [1, 2, 3, 4] {
            let label = json["parts"][index]["label"].as_str().unwrap().to_owned();
            json["parts"][index]["label"] = format!("{label}//H2").into();
        }
        let reason = serde_json::json!({ "type": "correction", "reason": "A wrong date." });
        json["parts"].as_array_mut().unwrap().push(reason);
    });
    let (own, listed) = ("ken/ncb".parse().unwrap(), directory(&["tun/ncb"]));
    let others = ["fra/ncb", "gbr/ncb"].map(|name| name.parse().unwrap());
    let told = correction.addressees_after(&own, &listed, &others).unwrap();
    let of = |name: &str| told.iter().find(|to| to.agency.as_str() == name).unwrap().reasons.len();
    assert_eq!((of("fra/ncb"), of("gbr/ncb")), (3, 1), "{told:?}");
    let mistakes = correction.addressees_after(&own, &listed, &["tun/ncb".parse().unwrap()]).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(mistakes[0].path == "omissions[0].state" && mistakes[0].rule.contains("withdraw that notice"));
}
