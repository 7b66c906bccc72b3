//! The OpenAPI document of the local API, made from the code that serves it.
//!
//! Claimed: every path that is served is in the document, and the other way round. It holds because there is one list
//! of routes, from which both the router and the document are made ([`super::routes`]).

use axum::Json;
use serde_json::{Value, json};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Onlooker;
use super::types::ErrorBody;
use crate::compose::content;
use crate::node::Desk;

/// What the document says beside the paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Valise agent, local API",
        description = "What an agency's own software asks its node: composing, sending, reading and answering notices. \
                       Every error is an object with the field `error`: a word for programs (`code`), a sentence for people \
                       (`message`), and what is wrong with the input (`mistakes`), each with path, value and rule."
    ),
    components(schemas(ErrorBody))
)]
struct Head;

/// The paths of this matter.
pub(super) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(openapi))
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "node", responses((status = 200, body = Object), (status = "default", body = ErrorBody)))]
async fn openapi(_onlooker: Onlooker) -> Json<Value> {
    Json(document())
}

/// The document, OpenAPI 3.1.
#[must_use]
pub fn document() -> Value {
    let mut api = Head::openapi();
    api.merge(super::routes().into_openapi());
    // What is said of a notice is what reads one.
    let mut document = serde_json::to_value(&api).unwrap_or_default();
    let mut notice = content::schema();
    if let Some(notice) = notice.as_object_mut() {
        notice.remove("$schema");
    }
    if let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
        schemas.insert("Notice".to_owned(), notice);
    }
    if let Some(components) = document.pointer_mut("/components").and_then(Value::as_object_mut) {
        components.insert(
            "securitySchemes".to_owned(),
            json!({
                "token": { "type": "http", "scheme": "bearer", "description": "An officer's token: valise-agent officer token." },
                "password": { "type": "http", "scheme": "basic", "description": "An officer's name and password." },
            }),
        );
    }
    if let Some(document) = document.as_object_mut() {
        // On the Unix socket neither is asked for while no officer has an account.
        document.insert("security".to_owned(), json!([{}, { "token": [] }, { "password": [] }]));
    }
    document
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn refs<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(to)) = fields.get("$ref") {
                    found.insert(to);
                }
                fields.values().for_each(|value| refs(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| refs(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn whatever_the_document_refers_to_is_in_it() {
        let document = document();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "not OpenAPI 3.1");
        let mut found = BTreeSet::new();
        refs(&document, &mut found);
        assert!(found.contains("#/components/schemas/Notice"), "nothing takes a notice: {found:?}");
        for to in found {
            let place = to.strip_prefix('#').unwrap_or_else(|| panic!("{to} leads out of the document"));
            assert!(document.pointer(place).is_some(), "{to} leads nowhere");
        }
        assert_eq!(
            document.pointer("/components/schemas/Notice/properties/kind/type"),
            Some(&json!("string"))
        );
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_tells_what_it_does_and_how_it_fails() {
        let document = document();
        let mut names = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            assert!(path.starts_with("/v1/"), "{path}");
            for (method, operation) in methods.as_object().unwrap() {
                let name = operation["operationId"].as_str().unwrap();
                assert!(names.insert(name), "two operations are named {name}");
                assert!(operation["summary"].is_string(), "{method} {path} does not say what it does");
                let answers = operation["responses"].as_object().unwrap();
                assert!(answers.contains_key("default"), "{method} {path} does not say how it fails");
                let told = operation["parameters"]
                    .as_array()
                    .map_or(0, |list| list.iter().filter(|parameter| parameter["in"] == "path").count());
                assert_eq!(told, path.matches('{').count(), "{method} {path} names other parameters");
            }
        }
    }
}
