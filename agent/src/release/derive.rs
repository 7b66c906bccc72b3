//! The content of a notice that is made from portions of another.
//!
//! Claimed: what is made tells nothing of what it was made from beyond the content chosen: parts have new ids, counted
//! anew; all stand under the one new label; terms end no later. It is read again by the same rules as any author's
//! notice, so every safeguard holds of it by itself. Texts are taken over as they are: what an officer wrote into them
//! about other portions, the officer who chooses them has to see.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use valise_proto::envelope::{NoticeKind, Precedence};
use valise_proto::id::AgencyId;
use valise_proto::label::Label;
use valise_proto::notice::{Omission, Part, PartType, Portion};
use zeroize::Zeroizing;

/// What a notice is made from, and as what.
pub(super) struct Derive<'a> {
    pub(super) kind: NoticeKind,
    pub(super) precedence: Precedence,
    pub(super) to: Vec<AgencyId>,
    pub(super) label: &'a Label,
    /// The portions chosen, in order.
    pub(super) portions: Vec<&'a Portion>,
    /// Those of the source that protect persons: they bind what is made from it too.
    pub(super) omissions: Vec<&'a Omission>,
    /// Whose content it is, where it is another's.
    pub(super) attribution: Option<String>,
}

impl Derive<'_> {
    /// The author's JSON of it.
    pub(super) fn json(&self) -> Zeroizing<Vec<u8>> {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
        put("kind", json!(self.kind));
        put("precedence", json!(self.precedence));
        put("label", json!(self.label.to_string()));
        put("recipients", json!(self.to));
        if let Some(terms) = self.portions.iter().find_map(|portion| portion.terms()) {
            put("legal_basis", json!(terms.legal_basis.as_str()));
            put("purpose", json!(terms.purpose.as_str()));
            put("review_by", json!(terms.review_by));
        }
        if !self.omissions.is_empty() {
            put("omissions", self.omissions.iter().map(|omission| omission_json(omission)).collect());
        }
        put("parts", Value::Array(self.parts()));
        let text = Value::Object(object).to_string();
        Zeroizing::new(text.into_bytes())
    }

    fn parts(&self) -> Vec<Value> {
        let parts = self.portions.iter().flat_map(|portion| portion.parts());
        // Why a correction was made belongs to the correction.
        let parts = parts.filter(|part| part.content.part_type() != PartType::Correction);
        let mut parts: Vec<Value> = parts.map(Part::to_json).collect();
        renumber(&mut parts);
        for part in parts.iter_mut().filter_map(Value::as_object_mut) {
            // The notice's one label takes its place.
            part.remove("label");
        }
        parts.extend(self.attribution.as_ref().map(|text| json!({ "type": "remark", "text": text })));
        parts
    }
}

fn omission_json(omission: &Omission) -> Value {
    let mut object = Map::new();
    object.insert("state".to_owned(), json!(omission.state.to_string()));
    object.insert("reason".to_owned(), json!(omission.reason.to_string()));
    if let Some(text) = &omission.text {
        object.insert("text".to_owned(), json!(text.as_str()));
    }
    Value::Object(object)
}

/// Counts the parts' ids anew: how they were counted tells how many there were.
fn renumber(parts: &mut [Value]) {
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for part in parts.iter() {
        if let Some(id) = part.get("id").and_then(Value::as_str) {
            let next = format!("p{}", ids.len().saturating_add(1));
            ids.entry(id.to_owned()).or_insert(next);
        }
    }
    for part in parts.iter_mut().filter_map(Value::as_object_mut) {
        for field in ["id", "about"] {
            let new = part.get(field).and_then(Value::as_str).and_then(|old| ids.get(old));
            if let Some(new) = new {
                part.insert(field.to_owned(), json!(new));
            }
        }
    }
}

/// The words by which a holder says whose content it passes on. The notice's id is not among them: to those who did not
/// get it, it would tell when it was made.
pub(super) fn attribution(originator: &AgencyId, holder: &AgencyId, source: &Label) -> String {
    format!(
        "This is content of {originator}, who marked it {source}. {holder} passes it on as it stood; questions about \
         it, and requests to pass it on further, go through {holder}."
    )
}
