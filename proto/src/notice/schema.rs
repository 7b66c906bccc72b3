//! The JSON Schema of a notice, for editors and for systems that compose notices.

use serde_json::{Value, json};

use super::json::Json;
use super::written::Written;

/// The JSON Schema (draft 2020-12) of what [`super::Notice::from_json`] reads. It follows from the same definitions
/// as the reader. Rules about the notice as a whole are beyond it.
#[must_use]
pub fn schema() -> Value {
    let mut schema = Written::schema();
    if let Some(object) = schema.as_object_mut() {
        object.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        object.insert("title".to_owned(), json!("Valise notice"));
    }
    schema
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::fixture::{DEPORTATION, mistakes};
    use super::*;

    const EXAMPLES: [&str; 10] = [
        DEPORTATION,
        include_str!("../../../deploy/examples/travel.json"),
        include_str!("../../../deploy/examples/arrival.json"),
        include_str!("../../../deploy/examples/family.json"),
        include_str!("../../../deploy/examples/four-citizenships.json"),
        include_str!("../../../deploy/examples/attempted-transit.json"),
        include_str!("../../../deploy/examples/stateless.json"),
        include_str!("../../../deploy/examples/response.json"),
        include_str!("../../../deploy/examples/correction.json"),
        include_str!("../../../deploy/examples/withdrawal.json"),
    ];

    /// As much of JSON Schema as the schema uses.
    fn fits(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        if let Some(variants) = schema.get("oneOf").and_then(Value::as_array) {
            let results: Vec<_> = variants.iter().map(|variant| fits(variant, value, at)).collect();
            let fitting = results.iter().filter(|result| result.is_ok()).count();
            return if fitting == 1 {
                Ok(())
            } else {
                Err(format!("{at}: {fitting} variants fit: {results:?}"))
            };
        }
        if let Some(expected) = schema.get("const") {
            return if expected == value { Ok(()) } else { Err(format!("{at}: {value} is not {expected}")) };
        }
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
            return if allowed.contains(value) {
                Ok(())
            } else {
                Err(format!("{at}: {value} is not in the enum"))
            };
        }
        match (schema["type"].as_str().unwrap(), value) {
            ("object", Value::Object(object)) => {
                let missing =
                    schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                if let Some(name) = missing.into_iter().find(|name| !object.contains_key(*name)) {
                    return Err(format!("{at}: {name} is missing"));
                }
                for (name, value) in object {
                    let property =
                        schema["properties"].get(name).ok_or(format!("{at}: no property {name}"))?;
                    fits(property, value, &format!("{at}.{name}"))?;
                }
                Ok(())
            }
            ("array", Value::Array(items)) => {
                let bound = |name: &str| usize::try_from(schema[name].as_u64().unwrap()).unwrap();
                if items.len() < bound("minItems") || items.len() > bound("maxItems") {
                    return Err(format!("{at}: {} items", items.len()));
                }
                items.iter().try_for_each(|item| fits(&schema["items"], item, at))
            }
            ("string", Value::String(_)) | ("boolean", Value::Bool(_)) | ("integer", Value::Number(_)) => {
                Ok(())
            }
            (expected, value) => Err(format!("{at}: {value} is not {expected}")),
        }
    }

    #[test]
    fn the_examples_fit_the_schema() {
        for example in EXAMPLES {
            fits(&schema(), &serde_json::from_str(example).unwrap(), "notice").unwrap();
        }
    }

    #[test]
    fn what_the_reader_refuses_as_unknown_or_of_another_type_does_not_fit() {
        let changes: [fn(&mut Value); 5] = [
            |json| json["urgent"] = true.into(),
            |json| json["parts"][0]["event"] = "FLIGHT".into(),
            |json| json["parts"][3]["information_grading"] = "1".into(),
            |json| json["parts"][1]["names"] = json!({}),
            |json| json["parts"][1].as_object_mut().unwrap().remove("role").map_or((), |_| ()),
        ];
        for change in changes {
            let mut json = serde_json::from_str(DEPORTATION).unwrap();
            change(&mut json);
            assert!(fits(&schema(), &json, "notice").is_err(), "it fits: {json:#}");
            assert!(!mistakes(change).is_empty());
        }
    }

    #[test]
    fn what_the_schema_requires_the_reader_misses() {
        let schema = schema();
        for name in schema["required"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            let mistakes = mistakes(|json| {
                json.as_object_mut().unwrap().remove(name);
            });
            assert!(
                mistakes.iter().any(|mistake| mistake.starts_with(&format!("{name}: missing"))),
                "{mistakes:#?}"
            );
        }
        let variants = schema["properties"]["parts"]["items"]["oneOf"].as_array().unwrap();
        let types: BTreeSet<_> =
            variants.iter().map(|v| v["properties"]["type"]["const"].as_str().unwrap()).collect();
        assert_eq!(types.len(), 11, "every part but a receipt can be written");
        for variant in variants {
            let type_name = &variant["properties"]["type"]["const"];
            for name in variant["required"].as_array().unwrap().iter().filter(|name| *name != "type") {
                let path = format!("parts[6].{}: missing", name.as_str().unwrap());
                let mistakes = mistakes(|json| {
                    json["parts"].as_array_mut().unwrap().push(json!({ "type": type_name }));
                });
                assert!(
                    mistakes.iter().any(|mistake| mistake.starts_with(&path)),
                    "{path} is not among {mistakes:#?}"
                );
            }
        }
    }

    #[test]
    fn every_property_says_what_it_is_for() {
        fn check(schema: &Value, at: &str) {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let about = property["description"].as_str().unwrap_or_default();
                assert!(!about.is_empty(), "{at}.{name} has no description");
                check(property, &format!("{at}.{name}"));
                check(&property["items"], &format!("{at}.{name}[]"));
            }
            for variant in schema["oneOf"].as_array().into_iter().flatten() {
                check(variant, at);
            }
        }
        check(&schema(), "notice");
    }
}
