//! Each rule, broken once.

use serde_json::{Value, json};

use crate::notice::fixture::mistakes;

/// The example, changed, has these mistakes and no others: the path and words of the rule.
fn expect(change: impl FnOnce(&mut Value), expected: &[(&str, &str)]) {
    let got = mistakes(change);
    assert_eq!(got.len(), expected.len(), "{got:#?}");
    for (got, (path, words)) in got.iter().zip(expected) {
        assert!(
            got.starts_with(&format!("{path}: ")) && got.contains(words),
            "{got}: expected {path}: …{words}"
        );
    }
}

fn follow_up(kind: &str, link: &str, part: Value) -> Value {
    json!({ "kind": kind, "precedence": "ROUTINE", "label": "RESTRICTED", "recipients": ["fra/ncb"],
        link: "01890000-0000-7000-8000-000000000000", "parts": [part] })
}

#[test]
fn the_example_has_no_mistake() {
    expect(|_| {}, &[]);
}

#[test]
fn whoever_is_told_about_a_person_is_told_the_terms() {
    let without = |json: &mut Value| {
        for name in ["legal_basis", "purpose", "review_by"] {
            json.as_object_mut().unwrap().remove(name);
        }
    };
    let missing = "has legal_basis, purpose and review_by";
    expect(
        without,
        &[("legal_basis", missing), ("purpose", missing), ("review_by", "write 2029-02-28T00:00:00Z")],
    );
    let response = follow_up("RESPONSE", "in_reply_to", json!({ "type": "response", "text": "Noted." }));
    expect(|json| *json = response.clone(), &[]);
    let half = |json: &mut Value| {
        *json = response.clone();
        json["purpose"] = "To answer".into();
    };
    let together = "given together or not at all";
    expect(half, &[("legal_basis", together), ("review_by", together)]);
}

#[test]
fn times_lie_ahead_and_within_bounds() {
    let late = |json: &mut Value| {
        json["review_by"] = "2026-02-28T00:00:00Z".into();
        json["respond_by"] = "2027-05-01T00:00:00Z".into();
        json["expires_at"] = "2027-04-01T00:00:00Z".into();
    };
    expect(
        late,
        &[
            ("review_by", "it has passed"),
            ("expires_at", "at most 366 days"),
            ("respond_by", "after expires_at"),
        ],
    );
}

#[test]
fn a_follow_up_names_what_it_follows_and_nothing_else_does() {
    for (kind, link, part) in [
        ("RESPONSE", "in_reply_to", json!({ "type": "response", "text": "Noted." })),
        ("CORRECTION", "supersedes", json!({ "type": "correction", "reason": "A wrong date." })),
        ("WITHDRAWAL", "withdraws", json!({ "type": "withdrawal", "reason": "Another person." })),
    ] {
        let notice = follow_up(kind, link, part.clone());
        expect(|json| *json = notice.clone(), &[]);
        let without = |json: &mut Value| {
            *json = notice.clone();
            json.as_object_mut().unwrap().remove(link);
        };
        expect(without, &[(link, "needs the id of the notice it follows up")]);
        let linked = |json: &mut Value| {
            json[link] = notice[link].clone();
            json["parts"].as_array_mut().unwrap().push(part);
        };
        expect(linked, &[(link, "only a "), ("parts[6].type", "has such a part")]);
        let silent = |json: &mut Value| {
            *json = notice.clone();
            json["parts"] = json!([{ "type": "remark", "text": "Nothing else." }]);
        };
        expect(silent, &[("parts", "part; add one")]);
    }
}

#[test]
fn some_kinds_are_not_written_by_hand() {
    let kind = |kind: &'static str| move |json: &mut Value| json["kind"] = kind.into();
    expect(kind("RECEIPT"), &[("kind", "signed by nodes")]);
    expect(kind("RELEASE_REQUEST"), &[("kind", "does not compose")]);
}

#[test]
fn a_response_is_for_someone() {
    let to_nobody = |json: &mut Value| {
        *json = follow_up("RESPONSE", "in_reply_to", json!({ "type": "response", "text": "Noted." }));
        json.as_object_mut().unwrap().remove("recipients");
    };
    expect(to_nobody, &[("recipients", "name those who received")]);
}

#[test]
fn a_notice_has_the_movement_it_is_about() {
    expect(|json| json["kind"] = "ARRIVAL".into(), &[("parts", "a movement part with the event ARRIVAL")]);
    let nowhere = |json: &mut Value| {
        let movement = json["parts"][0].as_object_mut().unwrap();
        movement.remove("source");
        movement.remove("destination");
    };
    expect(nowhere, &[("parts[0].source", "missing"), ("parts[0].destination", "missing")]);
    let backwards = |json: &mut Value| json["parts"][0]["legs"][1]["arrives"] = "2026-03-01T00:00:00Z".into();
    expect(backwards, &[("parts[0].legs[1].arrives", "departs later")]);
}

#[test]
fn a_matter_is_about_a_named_subject_of_known_citizenships() {
    let nobody = |json: &mut Value| json["parts"] = json!([json["parts"][0]]);
    expect(nobody, &[("parts", "the role SUBJECT")]);
    let unnamed = |json: &mut Value| {
        json["omissions"] = json!([]);
        json["parts"][1]["names"] = json!([]);
        json["parts"][1]["citizenships"] = json!([]);
    };
    expect(unnamed, &[("parts[1].names", "at least one name"), ("parts[1].citizenships", "write XXX")]);
    let twice = |json: &mut Value| {
        json["parts"][1]["names"][1] = json!({ "kind": "PRIMARY" });
    };
    expect(
        twice,
        &[("parts[1].names", "two names are PRIMARY"), ("parts[1].names[1]", "surname, given_names or both")],
    );
}

#[test]
fn references_lead_to_persons() {
    expect(|json| json["parts"][2]["about"] = "p9".into(), &[("parts[2].about", "no part has this id")]);
    expect(|json| json["parts"][2]["about"] = "m1".into(), &[("parts[2].about", "not a person")]);
    expect(
        |json| json["parts"][0]["id"] = "p1".into(),
        &[
            ("parts[1].id", "another part has this id"),
            ("parts[2].about", "not a person"),
            ("parts[3].about", "not a person"),
            ("parts[4].about", "not a person"),
            ("parts[5].about", "no part has this id"),
        ],
    );
    let unnamed = |json: &mut Value| {
        json["parts"][1].as_object_mut().unwrap().remove("id");
    };
    expect(unnamed, &[("parts[1].id", "a person has an id")]);
}

#[test]
fn every_part_has_a_label() {
    let unmarked = |json: &mut Value| {
        json.as_object_mut().unwrap().remove("label");
    };
    expect(
        unmarked,
        &[("parts[0].label", "give the part a label"), ("parts[5].label", "give the part a label")],
    );
    let many = |json: &mut Value| {
        let remark = |i| json!({ "type": "remark", "text": "Words.", "label": format!("RESTRICTED//C{i}") });
        json["parts"].as_array_mut().unwrap().extend((0..30).map(remark));
    };
    expect(many, &[("parts", "33 different labels")]);
}

#[test]
fn an_omission_gives_its_reason_once() {
    let vague = |json: &mut Value| {
        json["omissions"] =
            json!([{ "state": "TUN", "reason": "OTHER" }, { "state": "TUN", "reason": "HUMAN_RIGHTS" }]);
    };
    expect(vague, &[("omissions[0].text", "in words"), ("omissions[1].state", "left out twice")]);
}

#[test]
fn a_document_bears_the_number_of_its_zone() {
    let other = |json: &mut Value| json["parts"][1]["documents"][0]["number"] = "00XX00002".into();
    expect(other, &[("parts[1].documents[0].number", "compare both with the document")]);
    expect(|json| json["parts"][1]["documents"][0]["number"] = "00-XX 00001".into(), &[]);
}

#[test]
fn one_wrong_value_hides_no_other_mistake() {
    let broken = |json: &mut Value| {
        json["precedence"] = "SOON".into();
        json["urgent"] = true.into();
        json["parts"][0]["event_time"] = "yesterday".into();
        json["parts"][1]["birth_date"] = "12.4.1988".into();
        json["parts"][3]["about"] = "p2".into();
        json["review_by"] = "2020-01-01T00:00:00Z".into();
    };
    expect(
        broken,
        &[
            ("urgent", "no such field"),
            ("precedence", "FLASH"),
            ("parts[0].event_time", "RFC 3339"),
            ("parts[1].birth_date", "EDTF"),
            ("review_by", "it has passed"),
            ("parts[3].about", "no part has this id"),
        ],
    );
}
