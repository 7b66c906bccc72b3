//! What a correction changes, told by the new values alone.
//!
//! Claimed: no value of the old content is in a difference, so that what was wrong can be shown as changed and is erased
//! all the same. It holds because values are taken from the new side only: of what is gone the path is told.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::json::Record;
use super::part::{Content, Part};
use super::portion::Portion;

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Change {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
    /// It is another.
    Changed,
}

/// One thing that is other than before. `Debug` does not show the value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Where, by the id of the part: `parts[p1].birth_date`. A part without an id is told by its type: `parts[remark]`.
    pub path: String,
    /// What became of it.
    pub change: Change,
    /// What stands there now; nothing where it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

impl fmt::Debug for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.change, self.path)
    }
}

/// What is other in `new` than in `old`: the terms, then the parts in the order of `new`, then those that are gone. Parts
/// with an id are compared by it, field by field; others are the same only where they are equal. The part that says why
/// a notice is corrected is passed over.
#[must_use]
pub fn difference(old: &[Portion], new: &[Portion]) -> Vec<Difference> {
    let mut found = Found(Vec::new());
    found.fields("", &terms(old), &terms(new));
    let (mut gone, here) = (parts(old), parts(new));
    for part in here {
        let same = |other: &&Part| if part.id.is_some() { other.id == part.id } else { *other == part };
        match gone.iter().position(same) {
            Some(index) => found.part(gone.remove(index), part),
            None => found.note(path(part), Change::Added, Some(part.to_json())),
        }
    }
    gone.into_iter().for_each(|part| found.note(path(part), Change::Removed, None));
    found.0
}

fn terms(portions: &[Portion]) -> Map<String, Value> {
    let mut fields = Map::new();
    if let Some(terms) = portions.iter().find_map(Portion::terms) {
        terms.write_fields(&mut fields);
    }
    fields
}

/// The parts, but for the one that says why.
fn parts(portions: &[Portion]) -> Vec<&Part> {
    let parts = portions.iter().flat_map(Portion::parts);
    parts.filter(|part| !matches!(part.content, Content::Correction(_))).collect()
}

fn path(part: &Part) -> String {
    match &part.id {
        Some(id) => format!("parts[{id}]"),
        None => format!("parts[{}]", part.content.part_type()),
    }
}

/// The differences as they are found.
struct Found(Vec<Difference>);

impl Found {
    fn note(&mut self, path: String, change: Change, value: Option<Value>) {
        self.0.push(Difference { path, change, value });
    }

    fn part(&mut self, old: &Part, new: &Part) {
        // Of another type nothing can be compared.
        if old.content.part_type() != new.content.part_type() {
            self.note(path(new), Change::Changed, Some(new.to_json()));
        } else if old != new {
            self.value(&path(new), &old.to_json(), &new.to_json());
        }
    }

    fn fields(&mut self, at: &str, old: &Map<String, Value>, new: &Map<String, Value>) {
        let within = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
        for (name, value) in new {
            match old.get(name) {
                Some(before) => self.value(&within(name), before, value),
                None => self.note(within(name), Change::Added, Some(value.clone())),
            }
        }
        for name in old.keys().filter(|name| !new.contains_key(*name)) {
            self.note(within(name), Change::Removed, None);
        }
    }

    fn value(&mut self, at: &str, old: &Value, new: &Value) {
        match (old, new) {
            _ if old == new => {}
            (Value::Object(old), Value::Object(new)) => self.fields(at, old, new),
            // Lists of another length are told whole: which entry went cannot be told from which changed.
            (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
                for (index, (old, new)) in old.iter().zip(new).enumerate() {
                    self.value(&format!("{at}[{index}]"), old, new);
                }
            }
            _ => self.note(at.to_owned(), Change::Changed, Some(new.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::notice::fixture::notice;

    fn between(old: fn(&mut Value), new: fn(&mut Value)) -> Vec<Difference> {
        difference(&notice(old).portions(), &notice(new).portions())
    }

    fn plain(found: &[Difference]) -> Vec<(&str, Change, Option<&Value>)> {
        found.iter().map(|one| (one.path.as_str(), one.change, one.value.as_ref())).collect()
    }

    fn original(_: &mut Value) {}

    #[test]
    fn nothing_is_other_in_what_is_the_same() {
        assert_eq!(between(original, original), []);
    }

    #[test]
    fn fields_are_told_by_the_id_of_their_part() {
        let found = between(original, |json| {
            json["parts"][1]["sex"]["code"] = "F".into();
            json["parts"][1]["names"][0]["surname"] = "EXAMPLE-OTHER".into();
            json["parts"][1].as_object_mut().unwrap().remove("birth_place");
            json["parts"][1]["residence"]["address"] = "1 Invented Street".into();
            json["purpose"] = "Another invented purpose".into();
        });
        let expected = [
            ("purpose", Change::Changed, Some(json!("Another invented purpose"))),
            ("parts[p1].names[0].surname", Change::Changed, Some(json!("EXAMPLE-OTHER"))),
            ("parts[p1].sex.code", Change::Changed, Some(json!("F"))),
            ("parts[p1].residence.address", Change::Added, Some(json!("1 Invented Street"))),
            ("parts[p1].birth_place", Change::Removed, None),
        ];
        let mut got = plain(&found);
        let mut expected: Vec<_> =
            expected.iter().map(|(path, change, value)| (*path, *change, value.as_ref())).collect();
        got.sort_by_key(|one| one.0);
        expected.sort_by_key(|one| one.0);
        assert_eq!(got, expected);
    }

    #[test]
    fn parts_are_added_and_removed_and_those_without_an_id_are_matched_by_equality() {
        let remark = |json: &mut Value| {
            let part =
                json!({ "type": "remark", "id": "r9", "label": "RESTRICTED", "text": "Invented addition." });
            json["parts"].as_array_mut().unwrap().push(part);
        };
        let found = between(original, remark);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].path.as_str(), found[0].change), ("parts[r9]", Change::Added));
        assert_eq!(found[0].value.as_ref().unwrap()["text"], "Invented addition.");
        let back = between(remark, original);
        assert_eq!(plain(&back), [("parts[r9]", Change::Removed, None)]);
        let other =
            between(original, |json| json["parts"][3]["statement"] = "Another invented statement.".into());
        let kinds: Vec<_> = other.iter().map(|one| (one.path.as_str(), one.change)).collect();
        assert_eq!(kinds, [("parts[grounds]", Change::Added), ("parts[grounds]", Change::Removed)]);
        let turned = between(original, |json| json["parts"].as_array_mut().unwrap().reverse());
        assert_eq!(turned, [], "the order of parts says nothing");
    }

    #[test]
    fn what_was_wrong_is_never_in_a_difference() {
        fn wrong(json: &mut Value) {
            json["purpose"] = "WRONG purpose".into();
            json["parts"][0]["escort"] = "WRONG escort".into();
            json["parts"][1]["names"] = json!([{ "kind": "PRIMARY", "surname": "WRONG" }]);
            json["parts"][1]["residence"] = json!({ "state": "DEU", "address": "WRONG address" });
            json["parts"][3]["statement"] = "WRONG statement".into();
            json["parts"][3]["id"] = "g1".into();
            json["parts"][4]["statement"] = "WRONG assessment".into();
            let part = json!({ "type": "remark", "label": "RESTRICTED", "text": "WRONG remark" });
            json["parts"].as_array_mut().unwrap().push(part);
        }
        let found = between(wrong, original);
        assert!(found.len() > 6, "{found:?}");
        let shown = serde_json::to_string(&found).unwrap();
        assert!(!shown.contains("WRONG"), "{shown}");
        assert!(!format!("{:?}", between(original, wrong)).contains("WRONG"), "Debug shows content");
        assert_eq!(serde_json::from_str::<Vec<Difference>>(&shown).unwrap(), found);
    }
}
