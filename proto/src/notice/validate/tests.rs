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
    let missing = "has a legal_basis and a purpose";
    expect(without, &[("legal_basis", missing), ("purpose", missing)]);
    let response = follow_up(
        "RESPONSE",
        "in_reply_to",
        json!({ "type": "response", "outcome": "WILL_ACT", "text": "Noted." }),
    );
    expect(|json| *json = response.clone(), &[]);
    let half = |json: &mut Value| {
        *json = response.clone();
        json["purpose"] = "To answer".into();
    };
    expect(half, &[("legal_basis", "given together, and with review_by, or not at all")]);
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
            ("expires_at", "after review_by"),
            ("respond_by", "after expires_at"),
        ],
    );
}

#[test]
fn a_follow_up_names_what_it_follows_and_nothing_else_does() {
    for (kind, link, part) in [
        ("RESPONSE", "in_reply_to", json!({ "type": "response", "outcome": "WILL_ACT", "text": "Noted." })),
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
fn receipts_are_not_written_by_hand() {
    let kind = |kind: &'static str| move |json: &mut Value| json["kind"] = kind.into();
    expect(kind("RECEIPT"), &[("kind", "signed by nodes")]);
}

#[test]
fn a_follow_up_has_one_part_that_says_what_it_is() {
    let twice = |json: &mut Value| {
        *json = follow_up("WITHDRAWAL", "withdraws", json!({ "type": "withdrawal", "reason": "Invented." }));
        let parts = json["parts"].as_array_mut().unwrap();
        parts.push(json!({ "type": "withdrawal", "reason": "Another." }));
        parts.push(json!({ "type": "remark", "text": "It may have remarks." }));
        parts.push(json!({ "type": "movement", "event": "TRAVEL", "status": "PLANNED", "source": "KEN",
            "event_time": "2026-04-01T00:00:00Z" }));
    };
    expect(
        twice,
        &[
            ("parts[1].type", "a WITHDRAWAL has one withdrawal part"),
            ("parts[3].type", "one withdrawal part and remarks"),
        ],
    );
}

#[test]
fn what_a_follow_up_says_is_whole() {
    let response = |part: Value| move |json: &mut Value| *json = follow_up("RESPONSE", "in_reply_to", part);
    let unsaid = json!({ "type": "response", "outcome": "NEED_MORE" });
    expect(response(unsaid), &[("parts[0].text", "says in words what is needed")]);
    let filled_in = |json: &mut Value| {
        let replaced =
            json!({ "notice_id": "01890000-0000-7000-8000-000000000000", "header_digest": "07".repeat(32) });
        let part = json!({ "type": "withdrawal", "reason": "Invented.", "replaces": [replaced] });
        *json = follow_up("WITHDRAWAL", "withdraws", part);
    };
    expect(filled_in, &[("parts[0].replaces", "leave it out")]);
}

#[test]
fn leave_is_asked_and_given_for_something_certain() {
    let release = |kind: &'static str, fields: Value| {
        move |json: &mut Value| {
            let about = json!({ "notice_id": "01890000-0000-7000-8000-000000000000", "header_digest": "07".repeat(32) });
            let mut part = match kind {
                "RELEASE_REQUEST" => json!({ "type": "release_request", "justification": "Invented." }),
                _ => json!({ "type": "release_decision", "about": about }),
            };
            part.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            *json = follow_up(kind, "in_reply_to", part);
        }
    };
    let asks = |fields| release("RELEASE_REQUEST", fields);
    let decides = |fields| release("RELEASE_DECISION", fields);
    expect(asks(json!({ "action": "SHARE", "portions": [0], "to": ["fra/border"] })), &[]);
    expect(asks(json!({ "action": "DOWNGRADE", "portions": [0, 31], "under": "RESTRICTED" })), &[]);
    expect(asks(json!({ "action": "SHARE", "portions": [0] })), &[("parts[0].to", "names the agencies")]);
    expect(asks(json!({ "action": "DOWNGRADE", "portions": [0] })), &[("parts[0].under", "the lower label")]);
    expect(
        asks(json!({ "action": "SHARE", "portions": [], "to": ["fra/border"] })),
        &[("parts[0].portions", "0 entries")],
    );
    expect(
        asks(json!({ "action": "SHARE", "portions": [32], "to": ["fra/border"] })),
        &[("parts[0].portions[0]", "number of a portion")],
    );
    let granted = json!({ "decision": "GRANTED", "action": "SHARE", "portions": [0], "to": ["fra/border"],
        "valid_until": "2026-04-01T00:00:00Z" });
    expect(decides(granted.clone()), &[]);
    let mut past = granted.clone();
    past["valid_until"] = "2026-02-01T00:00:00Z".into();
    expect(decides(past), &[("parts[0].valid_until", "it has passed")]);
    let mut refused = granted;
    refused["decision"] = "REFUSED".into();
    expect(decides(refused), &[("parts[0].valid_until", "leave it out")]);
    expect(decides(json!({ "decision": "REFUSED", "action": "DOWNGRADE", "portions": [0] })), &[]);
}

#[test]
fn g10_a_remark_of_ten_megabytes_is_refused_whole() {
    let text = "x".repeat(10 * 1024 * 1024);
    let mistakes = mistakes(|json| json["parts"][5]["text"] = text.into());
    assert!(mistakes.len() == 1 && mistakes[0].contains("a notice has at most 1048576"), "{mistakes:?}");
    expect(
        |json| json["parts"][5]["text"] = "x".repeat(4097).into(),
        &[("parts[5].text", "it has 4097 bytes")],
    );
}

#[test]
fn a_notice_has_the_movement_it_is_about() {
    expect(|json| json["kind"] = "ARRIVAL".into(), &[("parts", "a movement part with the event ARRIVAL")]);
    let nowhere = |json: &mut Value| {
        let movement = json["parts"][0].as_object_mut().unwrap();
        movement.remove("source");
        movement.remove("destination");
    };
    let untold = "would not be told";
    expect(
        nowhere,
        &[
            ("parts[0].source", "missing"),
            ("parts[0].destination", "missing"),
            ("parts[0].legs[0].from", untold),
            ("parts[0].legs[1].to", untold),
        ],
    );
}

#[test]
fn a_journey_holds_together() {
    let backwards = |json: &mut Value| json["parts"][0]["legs"][1]["arrives"] = "2026-03-01T00:00:00Z".into();
    expect(backwards, &[("parts[0].legs[1].arrives", "earlier than the moment before it")]);
    let swapped = |json: &mut Value| json["parts"][0]["legs"].as_array_mut().unwrap().swap(0, 1);
    let earlier = "put the times or the order of the legs right";
    expect(swapped, &[("parts[0].legs[1].departs", earlier), ("parts[0].legs[1].arrives", earlier)]);
    let nowhere = |json: &mut Value| json["parts"][0]["legs"][0]["to"] = "KENBO".into();
    expect(nowhere, &[("parts[0].legs[0].to", "ends where it begins")]);
    // IATA codes name no State, and the high seas belong to none.
    expect(|json| json["parts"][0]["legs"][0]["from"] = "NBO".into(), &[]);
    expect(|json| json["parts"][0]["legs"][0]["from"] = "XZ2AB".into(), &[]);
}

#[test]
fn no_state_that_a_leg_touches_is_forgotten() {
    let unnamed = |json: &mut Value| json["parts"][0]["transit"] = json!([]);
    let add =
        "lies in TUR, which the movement does not name, so it would not be told: add it to parts[0].transit";
    expect(unnamed, &[("parts[0].legs[0].to", add), ("parts[0].legs[1].from", add)]);
}

#[test]
fn what_is_told_as_past_has_been() {
    for status in ["COMPLETED", "ATTEMPTED"] {
        let ahead = |json: &mut Value| json["parts"][0]["status"] = status.into();
        expect(ahead, &[("parts[0].event_time", "it is told as past and lies ahead")]);
    }
    let held = |json: &mut Value| {
        json["parts"][2]["since"] = "2026-04-01T00:00:00Z".into();
        json["parts"][2]["consular_access"][0]["at"] = "2026-04-01T00:00:00Z".into();
    };
    expect(held, &[("parts[2].since", "lies ahead"), ("parts[2].consular_access[0].at", "lies ahead")]);
    // Half an hour is within what clocks differ.
    expect(|json| json["parts"][2]["since"] = "2026-03-01T00:30:00Z".into(), &[]);
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
    expect(
        unnamed,
        &[
            ("parts[1].names", "at least one name"),
            ("parts[1].citizenships", "write XXX"),
            ("parts[1].citizenships", "gives the nationality FRA"),
        ],
    );
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
        json["omissions"] = json!([{ "state": "TUN", "reason": "OTHER" }, { "state": "TUN", "reason": "ONGOING_INVESTIGATION" }]);
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
fn a_document_says_the_same_in_print_as_in_its_zone_unless_it_is_forged() {
    let differs = |json: &mut Value| {
        json["parts"][1]["documents"][0]["issuer"] = "TUN".into();
        json["parts"][1]["documents"][0]["expiry"] = "2031-09-29".into();
    };
    expect(
        differs,
        &[("parts[1].documents[0].issuer", "says FRA"), ("parts[1].documents[0].expiry", "date of expiry")],
    );
    let forged = |json: &mut Value| {
        differs(json);
        json["parts"][1]["documents"][0]["flags"] = json!(["FORGED"]);
    };
    expect(forged, &[]);
}

#[test]
fn the_nationality_in_a_passport_is_not_forgotten() {
    let forgotten = |json: &mut Value| json["parts"][1]["citizenships"] = json!(["TUN"]);
    expect(forgotten, &[("parts[1].citizenships", "the MRZ of documents[0] gives the nationality FRA")]);
    let stolen = |json: &mut Value| {
        forgotten(json);
        json["parts"][1]["documents"][0]["flags"] = json!(["STOLEN"]);
    };
    expect(stolen, &[]);
    let permit = |json: &mut Value| {
        forgotten(json);
        json["parts"][1]["documents"][0]["kind"] = "RESIDENCE_PERMIT".into();
    };
    expect(permit, &[]);
}

#[test]
fn nobody_is_stateless_and_a_citizen() {
    let both = |json: &mut Value| json["parts"][1]["citizenships"] = json!(["FRA", "XXA", "TUN"]);
    expect(
        both,
        &[("parts[1].citizenships[1]", "a stateless person has no citizenship, and here FRA is one")],
    );
}

#[test]
fn a_remark_of_ten_megabytes_is_refused_before_it_is_read() {
    let remark = |len: usize| move |json: &mut Value| json["parts"][5]["text"] = "x".repeat(len).into();
    expect(remark(200_000), &[("parts[5].text", "it has 200000 bytes; write text of 1 to 4096 bytes")]);
    expect(remark(10 * 1024 * 1024), &[("notice", "a notice has at most 1048576")]);
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
