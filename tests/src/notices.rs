//! Notices for tests, as an author would write them. All persons are invented.

use serde_json::{Value, json};

/// The notices of `deploy/examples`, by name.
const EXAMPLES: [(&str, &str); 10] = [
    ("arrival", include_str!("../../deploy/examples/arrival.json")),
    ("attempted-transit", include_str!("../../deploy/examples/attempted-transit.json")),
    ("correction", include_str!("../../deploy/examples/correction.json")),
    ("deportation", include_str!("../../deploy/examples/deportation.json")),
    ("family", include_str!("../../deploy/examples/family.json")),
    ("four-citizenships", include_str!("../../deploy/examples/four-citizenships.json")),
    ("response", include_str!("../../deploy/examples/response.json")),
    ("stateless", include_str!("../../deploy/examples/stateless.json")),
    ("travel", include_str!("../../deploy/examples/travel.json")),
    ("withdrawal", include_str!("../../deploy/examples/withdrawal.json")),
];

/// One of the notices of `deploy/examples` by the name of its file without `.json`; null for another name.
#[must_use]
pub fn example(name: &str) -> Value {
    let text = EXAMPLES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// A deportation from one State to another (alpha-3 codes), under way, of a person without known citizenship.
#[must_use]
pub fn deportation(source: &str, destination: &str) -> NoticeBuilder {
    NoticeBuilder {
        kind: "DEPORTATION",
        precedence: "PRIORITY".to_owned(),
        label: "RESTRICTED".to_owned(),
        source: source.to_owned(),
        destination: destination.to_owned(),
        transit: Vec::new(),
        citizenships: vec!["XXX".to_owned()],
        movement_label: None,
        person_label: None,
        recipients: Vec::new(),
        omissions: Vec::new(),
        remarks: Vec::new(),
        interpol: false,
    }
}

/// A notice under construction; `into()` gives the JSON.
#[derive(Clone, Debug)]
pub struct NoticeBuilder {
    kind: &'static str,
    precedence: String,
    label: String,
    source: String,
    destination: String,
    transit: Vec<String>,
    citizenships: Vec<String>,
    movement_label: Option<String>,
    person_label: Option<String>,
    recipients: Vec<String>,
    omissions: Vec<Value>,
    remarks: Vec<String>,
    interpol: bool,
}

impl NoticeBuilder {
    /// The person is a citizen of `state`; call it again for a second citizenship.
    #[must_use]
    pub fn of(mut self, state: &str) -> Self {
        self.citizenships.retain(|known| known != "XXX");
        self.citizenships.push(state.to_owned());
        self
    }

    /// The route passes through `state`.
    #[must_use]
    pub fn through(mut self, state: &str) -> Self {
        self.transit.push(state.to_owned());
        self
    }

    /// `FLASH`, `IMMEDIATE`, `PRIORITY` or `ROUTINE`.
    #[must_use]
    pub fn precedence(mut self, precedence: &str) -> Self {
        precedence.clone_into(&mut self.precedence);
        self
    }

    /// The banner of every part that has none of its own.
    #[must_use]
    pub fn label(mut self, banner: &str) -> Self {
        banner.clone_into(&mut self.label);
        self
    }

    /// The banner of the movement.
    #[must_use]
    pub fn movement_label(mut self, banner: &str) -> Self {
        self.movement_label = Some(banner.to_owned());
        self
    }

    /// The banner of the person.
    #[must_use]
    pub fn person_label(mut self, banner: &str) -> Self {
        self.person_label = Some(banner.to_owned());
        self
    }

    /// Adds a recipient that paragraph 3 does not name.
    #[must_use]
    pub fn recipient(mut self, agency: &str) -> Self {
        self.recipients.push(agency.to_owned());
        self
    }

    /// Leaves a State out that paragraph 3 names, for want of a contact point.
    #[must_use]
    pub fn omitting(mut self, state: &str) -> Self {
        self.omissions
            .push(json!({ "state": state, "reason": "NO_CONTACT_POINT", "text": "told by other means" }));
        self
    }

    /// Adds a remark.
    #[must_use]
    pub fn remark(mut self, text: &str) -> Self {
        self.remarks.push(text.to_owned());
        self
    }

    /// Adds remarks of `kib` KiB in all; beyond about 900 the notice is larger than a broker takes.
    #[must_use]
    pub fn bulky(mut self, kib: usize) -> Self {
        // A remark has at most 4 KiB.
        let text = "x".repeat(1024);
        self.remarks.extend((0..kib).step_by(4).map(|from| text.repeat((kib - from).min(4))));
        self
    }

    /// Shares it with INTERPOL.
    #[must_use]
    pub fn with_interpol(mut self) -> Self {
        self.interpol = true;
        self
    }
}

impl From<NoticeBuilder> for Value {
    fn from(notice: NoticeBuilder) -> Self {
        let mut movement = json!({
            "type": "movement", "event": notice.kind, "status": "UNDER_WAY", "event_time": "2026-03-01T12:00:00+03:00",
            "source": notice.source, "destination": notice.destination, "transit": notice.transit,
        });
        let mut person = json!({
            "type": "person", "id": "p1", "role": "SUBJECT", "birth_date": "1988-04-12", "citizenships": notice.citizenships,
            "names": [{ "kind": "PRIMARY", "surname": "EXAMPLE-SPECIMEN", "given_names": "Nobody" }],
        });
        set(&mut movement, "label", notice.movement_label);
        set(&mut person, "label", notice.person_label);
        let mut parts = vec![movement, person];
        parts.extend(notice.remarks.into_iter().map(|text| json!({ "type": "remark", "text": text })));
        json!({
            "kind": notice.kind, "precedence": notice.precedence, "label": notice.label,
            "legal_basis": "Invented Act, section 1", "purpose": "to test", "review_by": "2035-01-01T00:00:00Z",
            "share_with_interpol": notice.interpol, "recipients": notice.recipients, "omissions": notice.omissions,
            "parts": parts,
        })
    }
}

fn set(part: &mut Value, key: &str, value: Option<String>) {
    if let (Some(object), Some(value)) = (part.as_object_mut(), value) {
        object.insert(key.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_there_and_no_other() {
        for (name, _) in EXAMPLES {
            assert!(example(name)["parts"].is_array(), "{name} is not a notice");
        }
        assert!(example("holiday").is_null());
    }

    #[test]
    fn what_is_asked_for_stands_in_the_notice() {
        let notice: Value = deportation("KEN", "FRA").of("FRA").through("TUR").person_label("SECRET").into();
        assert_eq!(notice["parts"][0]["transit"], json!(["TUR"]));
        assert_eq!(notice["parts"][1]["citizenships"], json!(["FRA"]));
        assert_eq!(notice["parts"][1]["label"], "SECRET");
        assert!(notice["parts"][0].get("label").is_none());
    }

    #[test]
    fn a_bulky_notice_has_the_size_asked_for_in_remarks_that_are_allowed() {
        let notice: Value = deportation("KEN", "FRA").bulky(10).into();
        let remarks = notice["parts"].as_array().unwrap().iter().filter_map(|part| part["text"].as_str());
        assert_eq!(remarks.map(str::len).collect::<Vec<_>>(), [4096, 4096, 2048]);
    }
}
