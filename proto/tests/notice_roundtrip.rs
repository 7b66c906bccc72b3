//! Whatever an author may write comes back the same from JSON and from the wire.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};
use valise_proto::id::{Digest, Timestamp};
use valise_proto::label::{Classification, Label, PolicyId};
use valise_proto::notice::{Notice, NoticeRef, Portion};

const EXAMPLE: &[u8] = include_bytes!("../../deploy/examples/deportation.json");

fn now() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

fn policy() -> PolicyId {
    "exchange.example".parse().unwrap()
}

/// An object of those fields that are there.
fn object(fields: Vec<(&str, Option<Value>)>) -> Value {
    let there = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(there.collect::<Map<_, _>>())
}

fn line() -> impl Strategy<Value = Value> {
    "[A-Za-z0-9éعÅ'][A-Za-z0-9 éعÅ'.-]{0,12}[A-Za-z0-9é]".prop_map(Value::from)
}

fn code(codes: &'static [&'static str]) -> impl Strategy<Value = Value> {
    select(codes).prop_map(Value::from)
}

fn some_of(codes: &'static [&'static str], least: usize) -> impl Strategy<Value = Value> {
    subsequence(codes, least..=codes.len()).prop_map(Value::from)
}

/// A time as it is written again: with milliseconds that do not end in 0.
fn moment() -> impl Strategy<Value = Value> {
    let fields = (2000..2026_u16, 1..=12_u8, 1..=28_u8, 0..24_u8, 0..100_u16, -11..=13_i8);
    fields.prop_map(|(year, month, day, hour, hundredths, offset)| {
        let sign = if offset < 0 { '-' } else { '+' };
        let zone = match offset.unsigned_abs() {
            0 => "Z".to_owned(),
            hours => format!("{sign}{hours:02}:00"),
        };
        format!("{year}-{month:02}-{day:02}T{hour:02}:30:00.{hundredths:02}1{zone}").into()
    })
}

fn country() -> impl Strategy<Value = Value> {
    code(&["KEN", "FRA", "TUR", "TUN", "DEU"])
}

fn label() -> impl Strategy<Value = Value> {
    code(&[
        "RESTRICTED",
        "CONFIDENTIAL",
        "CONFIDENTIAL//H2",
        "SECRET//REL TO FRA, KEN//ORCON",
        "TOP SECRET//ALPHA",
    ])
}

fn leg() -> impl Strategy<Value = Value> {
    // Places that name no State, since the movement's are drawn on their own.
    let (from, to) = (code(&["NBO", "XZ2AB"]), code(&["CDG", "IST"]));
    let mode = code(&["AIR", "SEA", "LAND", "RAIL"]);
    let fields = (mode, option::of(line()), option::of(line()), from, to, option::of(moment()));
    fields.prop_map(|(mode, carrier, number, from, to, departs)| {
        object(vec![
            ("mode", Some(mode)),
            ("carrier", carrier),
            ("number", number),
            ("from", Some(from)),
            ("to", Some(to)),
            ("departs", departs),
        ])
    })
}

fn movement() -> impl Strategy<Value = Value> {
    let status = code(&["PLANNED", "UNDER_WAY", "COMPLETED", "ATTEMPTED", "CANCELLED"]);
    let states = (country(), option::of(country()), some_of(&["TUR", "EGY", "GRC"], 0));
    let fields =
        (status, moment(), states, option::of(leg()), option::of(line()), option::of(line()), label());
    fields.prop_map(|(status, time, (source, destination, transit), leg, escort, order, label)| {
        object(vec![
            ("type", Some("movement".into())),
            ("event", Some("TRAVEL".into())),
            ("status", Some(status)),
            ("event_time", Some(time)),
            ("source", Some(source)),
            ("destination", destination),
            ("transit", Some(transit)),
            ("legs", leg.map(|leg| json!([leg]))),
            ("escort", escort),
            ("deportation_order", order),
            ("label", Some(label)),
        ])
    })
}

fn document() -> impl Strategy<Value = Value> {
    // The specimen of ICAO Doc 9303-4.
    let mrz = json!([
        "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<",
        "L898902C36UTO7408122F1204159ZE184226B<<<<<10"
    ]);
    let kind = code(&["PASSPORT", "VISA", "EMERGENCY_TRAVEL_DOCUMENT", "OTHER"]);
    let flags = some_of(&["LOST", "STOLEN", "FORGED"], 0);
    let fields = (kind, code(&["FRA", "UNO", "XPO"]), any::<bool>(), any::<bool>(), flags);
    fields.prop_map(move |(kind, issuer, with_mrz, with_expiry, flags)| {
        object(vec![
            ("kind", Some(kind)),
            ("number", Some("L898902C3".into())),
            ("issuer", Some(issuer)),
            ("expiry", with_expiry.then(|| "2012-04-15".into())),
            ("mrz", with_mrz.then(|| mrz.clone())),
            ("flags", (flags != json!([])).then_some(flags)),
        ])
    })
}

fn person() -> impl Strategy<Value = Value> {
    let name = (
        code(&["PRIMARY", "ALIAS", "ORIGINAL_SCRIPT"]),
        line(),
        option::of(line()),
        option::of(Just("Arab")),
    );
    let name = name.prop_map(|(kind, surname, given, script)| {
        let script = script.map(Value::from);
        object(vec![
            ("kind", Some(kind)),
            ("surname", Some(surname)),
            ("given_names", given),
            ("script", script),
        ])
    });
    let born = code(&["1970", "1970-04", "1970-04-XX", "197X", "1970~", "1960/1970?", "../1975"]);
    let born_in = option::of((country(), option::of(line())));
    let citizenships = some_of(&["FRA", "TUN", "KEN", "GBN", "XXB", "XXX"], 1);
    let sex = option::of((code(&["M", "F", "X", "U"]), option::of(line())));
    let lives = option::of((country(), option::of(line())));
    let fields = (name, born, born_in, citizenships, sex, lives, option::of(document()), label());
    fields.prop_map(|(name, born, born_in, citizenships, sex, lives, document, label)| {
        object(vec![
            ("type", Some("person".into())),
            ("id", Some("p1".into())),
            ("role", Some("SUBJECT".into())),
            ("names", Some(json!([name]))),
            ("birth_date", Some(born)),
            ("birth_place", born_in.map(|(state, at)| object(vec![("state", Some(state)), ("place", at)]))),
            ("sex", sex.map(|(code, source)| object(vec![("code", Some(code)), ("source", source)]))),
            ("citizenships", Some(citizenships)),
            ("residence", lives.map(|(state, at)| object(vec![("state", Some(state)), ("address", at)]))),
            ("documents", document.map(|document| json!([document]))),
            ("label", Some(label)),
        ])
    })
}

fn custody() -> impl Strategy<Value = Value> {
    let status = code(&["CAPTURED", "DETAINED", "RELEASED", "TRANSFERRED"]);
    let step =
        (country(), code(&["OFFERED", "REQUESTED", "GRANTED", "REFUSED", "PENDING"]), option::of(moment()));
    let fields = (status, option::of(moment()), option::of(line()), option::of(line()), step, label());
    fields.prop_map(|(status, since, authority, place, (state, step, at), label)| {
        let access = object(vec![("state", Some(state)), ("step", Some(step)), ("at", at)]);
        object(vec![
            ("type", Some("custody".into())),
            ("about", Some("p1".into())),
            ("status", Some(status)),
            ("since", since),
            ("authority", authority),
            ("place", place),
            ("consular_access", Some(json!([access]))),
            ("label", Some(label)),
        ])
    })
}

fn grounds() -> impl Strategy<Value = Value> {
    let basis = some_of(&["CONVICTION", "LISTING", "INTELLIGENCE", "BIOMETRIC_MATCH"], 1);
    let gradings = (code(&["A", "B", "C", "X"]), 1..=4_u8);
    let fields = (code(&["FACT", "ASSESSMENT"]), line(), basis, option::of(line()), gradings, label());
    fields.prop_map(|(nature, statement, basis, offence, (source, information), label)| {
        // What cannot be borne out is no fact.
        let information = if nature == "FACT" { information.min(3) } else { information };
        object(vec![
            ("type", Some("grounds".into())),
            ("about", Some("p1".into())),
            ("nature", Some(nature)),
            ("statement", Some(statement)),
            ("basis", Some(basis)),
            ("offence", offence),
            ("list_references", Some(json!(["QDi.000"]))),
            ("source_grading", Some(source)),
            ("information_grading", Some(information.into())),
            ("label", Some(label)),
        ])
    })
}

fn biometric() -> impl Strategy<Value = Value> {
    let kind = code(&["FACE", "FINGERPRINTS", "PALM", "IRIS", "DNA", "VOICE"]);
    let fields = (kind, option::of(moment()), 1..u64::MAX, "[0-9a-f]{64}", label());
    fields.prop_map(|(kind, captured_at, size, sha256, label)| {
        object(vec![
            ("type", Some("biometric".into())),
            ("about", Some("p1".into())),
            ("kind", Some(kind)),
            ("format", Some("image/jpeg".into())),
            ("captured_at", captured_at),
            ("sha256", Some(sha256.into())),
            ("size", Some(size.into())),
            ("label", Some(label)),
        ])
    })
}

fn remark() -> impl Strategy<Value = Value> {
    (option::of(Just("p1")), line(), label()).prop_map(|(about, text, label)| {
        object(vec![
            ("type", Some("remark".into())),
            ("about", about.map(Value::from)),
            ("text", Some(text)),
            ("label", Some(label)),
        ])
    })
}

fn notice() -> impl Strategy<Value = Value> {
    let more = vec(prop_oneof![custody(), grounds(), biometric(), remark()], 0..6);
    let times = (option::of(Just("2026-05-01T00:00:00Z")), option::of(Just("2026-06-01T00:00:00.25Z")));
    let domestic = option::of(some_of(&["BORDER", "CUSTOMS", "JUDICIAL"], 1));
    let fields = (movement(), person(), more, times, (any::<bool>(), domestic), line());
    fields.prop_map(|(movement, person, more, (respond_by, expires_at), (interpol, domestic), purpose)| {
        let parts: Vec<_> = [movement, person].into_iter().chain(more).collect();
        object(vec![
            ("kind", Some("TRAVEL".into())),
            ("precedence", Some("FLASH".into())),
            ("legal_basis", Some("Invented Act".into())),
            ("purpose", Some(purpose)),
            ("review_by", Some("2030-01-01T00:00:00Z".into())),
            ("respond_by", respond_by.map(Value::from)),
            ("expires_at", expires_at.map(Value::from)),
            ("share_with_interpol", interpol.then_some(true.into())),
            ("recipients", Some(json!(["deu/bka"]))),
            ("domestic", domestic),
            ("disclosures", Some(json!([{ "state": "TUN", "text": "Words." }]))),
            ("omissions", Some(json!([{ "state": "FRA", "reason": "OTHER", "text": "Words." }]))),
            ("parts", Some(no_less_protected(parts))),
        ])
    })
}

/// What is said of the person is no less protected than the person.
fn no_less_protected(mut parts: Vec<Value>) -> Value {
    let read = |label: &Value| Label::parse_banner(policy(), label.as_str().unwrap()).unwrap();
    let person = parts.iter().find(|part| part["id"] == "p1").map(|person| read(&person["label"]));
    for part in parts.iter_mut().filter(|part| part["about"] == "p1") {
        let joined = Label::join(person.iter().chain([&read(&part["label"])])).unwrap();
        part["label"] = joined.to_string().into();
    }
    json!(parts)
}

/// An empty list says no more than a field that is not there.
fn without_empty_lists(mut json: Value) -> Value {
    for part in json["parts"].as_array_mut().into_iter().flatten() {
        part.as_object_mut().unwrap().retain(|_, value| *value != json!([]));
    }
    json
}

fn read(json: &Value) -> Notice {
    Notice::from_json(json.to_string().as_bytes(), &policy(), now())
        .unwrap_or_else(|mistakes| panic!("{mistakes:#?} in {json:#}"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn what_the_author_wrote_is_what_the_notice_shows(json in notice()) {
        let notice = read(&json);
        prop_assert_eq!(notice.to_json(), without_empty_lists(json));
        prop_assert_eq!(read(&notice.to_json()), notice);
    }

    #[test]
    fn what_was_sealed_is_what_is_opened(json in notice()) {
        let notice = read(&json);
        let portions = notice.portions();
        for portion in &portions {
            let opened = Portion::decode(portion.label().clone(), &portion.encode());
            prop_assert_eq!(opened.as_ref(), Ok(portion));
            prop_assert_eq!(portion.terms(), notice.terms());
            prop_assert!(portion.parts().iter().all(|part| part.label == *portion.label()));
        }
        let parts: usize = portions.iter().map(|portion| portion.parts().len()).sum();
        prop_assert_eq!(parts, notice.parts().len());
        prop_assert!(portions.is_sorted_by_key(|portion| portion.label().classification));
    }

    #[test]
    fn no_bytes_make_a_reader_stop(bytes in vec(any::<u8>(), 0..256), cut in 0..400_usize) {
        let label = Label::plain(policy(), Classification::Secret);
        let _ = Portion::decode(label.clone(), &bytes);
        let whole = Notice::from_json(EXAMPLE, &policy(), now()).unwrap().portions()[1].encode();
        let _ = Portion::decode(label, whole.get(..cut).unwrap_or(&whole));
        let _ = Notice::from_json(&bytes, &policy(), now());
        let _ = Notice::from_json(EXAMPLE.get(..cut).unwrap_or(EXAMPLE), &policy(), now());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn releases_and_answers_come_back_the_same(
        portions in proptest::collection::btree_set(0_u8..32, 1..32),
        to in subsequence(&["fra/ncb", "tur/border", "ken/immigration", "xpo/general-secretariat"][..], 1..=4),
        about in subsequence(&["p1", "p2", "m1", "g12"][..], 0..=4),
        outcome in select(&["MATCH", "NO_MATCH", "NEED_MORE", "WILL_ACT"][..]),
        under in option::of(select(&["RESTRICTED", "SECRET//REL TO FRA, KEN//ORCON"][..])),
        granted in any::<bool>(),
        until in option::of(1_772_400_000_000_u64..1_900_000_000_000),
        text in "[a-z]{1,40}",
    ) {
        let until = until.filter(|_| granted).map(|millis| Timestamp::from_millis(millis).to_string());
        let portions: Vec<u8> = portions.into_iter().collect();
        let reference = json!({ "notice_id": "01890000-0000-7000-8000-000000000000", "header_digest": "07".repeat(32) });
        let mut answer = json!({ "type": "response", "label": "RESTRICTED", "outcome": outcome, "text": text });
        if !about.is_empty() {
            answer["about"] = json!(about);
        }
        let mut request = json!({ "type": "release_request", "label": "RESTRICTED", "action": "SHARE", "portions": portions,
            "to": to, "justification": text });
        let mut decision = json!({ "type": "release_decision", "label": "SECRET", "action": "SHARE", "about": reference,
            "decision": if granted { "GRANTED" } else { "REFUSED" }, "portions": portions, "to": to, "text": text });
        for part in [&mut request, &mut decision] {
            if let Some(under) = under {
                part["under"] = under.into();
            }
        }
        if let Some(until) = until {
            decision["valid_until"] = until.into();
        }
        for (kind, part) in [("RESPONSE", answer), ("RELEASE_REQUEST", request), ("RELEASE_DECISION", decision)] {
            let json = json!({ "kind": kind, "precedence": "ROUTINE",
                "in_reply_to": "01890000-0000-7000-8000-000000000000", "parts": [part] });
            let notice = read(&json);
            prop_assert_eq!(notice.to_json(), json);
            let portion = &notice.portions()[0];
            let opened = Portion::decode(portion.label().clone(), &portion.encode());
            prop_assert_eq!(opened.as_ref(), Ok(portion));
        }
    }
}

#[test]
fn follow_ups_come_back_the_same() {
    for (kind, link, part) in [
        (
            "RESPONSE",
            "in_reply_to",
            json!({ "type": "response", "id": "r1", "label": "RESTRICTED", "outcome": "WILL_ACT", "text": "Noted." }),
        ),
        ("CORRECTION", "supersedes", json!({ "type": "correction", "label": "SECRET", "reason": "A date." })),
        (
            "WITHDRAWAL",
            "withdraws",
            json!({ "type": "withdrawal", "label": "SECRET", "reason": "A mistake." }),
        ),
    ] {
        let json = json!({ "kind": kind, "precedence": "ROUTINE", "recipients": ["fra/ncb"],
            link: "01890000-0000-7000-8000-000000000000", "parts": [part] });
        let mut notice = read(&json);
        assert_eq!(notice.to_json(), json);
        if kind != "RESPONSE" {
            let unnamed = notice.portions();
            let refused = Portion::decode(unnamed[0].label().clone(), &unnamed[0].encode()).unwrap_err();
            assert!(refused.to_string().contains("replaces: missing"), "{refused}");
            let replaced = NoticeRef {
                notice_id: "01890000-0000-7000-8000-000000000000".parse().unwrap(),
                header_digest: Digest::new([7; 32]),
            };
            notice = notice.with_replaces(vec![replaced.clone()]).unwrap();
            assert_eq!(notice.replaces(), [replaced]);
        }
        let portions = notice.portions();
        assert_eq!(
            Portion::decode(portions[0].label().clone(), &portions[0].encode()).as_ref(),
            Ok(&portions[0])
        );
    }
}
