//! The content of a portion as lines for people: every field by its name, what belongs together indented together.

use std::fmt::Write;

use serde_json::Value;

use super::printable;

/// Columns that a level is indented by.
const INDENT: usize = 2;
/// Columns of a field's name.
const NAME: usize = 20;

/// The lines of a portion's content, as the local API gives it.
pub(super) fn lines(content: &Value) -> String {
    let mut out = String::new();
    put(&mut out, INDENT, content);
    out
}

/// The lines of what a correction changed, as the local API gives it.
pub(super) fn changes(changes: &[Value]) -> String {
    let mut out = String::new();
    for change in changes {
        let word = |name: &str| change.get(name).and_then(Value::as_str).unwrap_or_default().to_lowercase();
        let path = change.get("path").and_then(Value::as_str).unwrap_or_default();
        line(&mut out, INDENT, path, &word("change"));
        if let Some(value) = change.get("value") {
            put(&mut out, 2 * INDENT, value);
        }
    }
    out
}

fn put(out: &mut String, indent: usize, value: &Value) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| field(out, indent, name, value)),
        Value::Array(items) => items.iter().for_each(|item| put(out, indent, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            line(out, indent, "", &scalar(value));
        }
    }
}

fn field(out: &mut String, indent: usize, name: &str, value: &Value) {
    let words = name.replace('_', " ");
    match value {
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            let items: Vec<_> = items.iter().map(scalar).collect();
            line(out, indent, &words, &items.join(", "));
        }
        Value::Array(items) => {
            for item in items {
                let (title, rest) = titled(&words, item);
                line(out, indent, &title, "");
                put(out, indent + INDENT, &rest);
            }
        }
        Value::Object(_) => {
            line(out, indent, &words, "");
            put(out, indent + INDENT, value);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            line(out, indent, &words, &scalar(value));
        }
    }
}

/// A part goes by its type, which then need not be said again; whatever else stands in a list, by the list's name.
fn titled(list: &str, item: &Value) -> (String, Value) {
    let mut rest = item.clone();
    let kind = match &mut rest {
        Value::Object(fields) if list == "parts" => fields.shift_remove("type"),
        Value::Object(_)
        | Value::Array(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_) => None,
    };
    (kind.map_or_else(|| list.to_owned(), |kind| scalar(&kind).to_uppercase()), rest)
}

fn line(out: &mut String, indent: usize, name: &str, value: &str) {
    // A name that is longer than its column still stands apart from its value.
    let gap = if name.chars().count() < NAME { "" } else { " " };
    let text = format!("{:indent$}{name:<NAME$}{gap}{value}", "");
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}", text.trim_end());
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Null => "-".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_portion_reads_as_named_lines() {
        let content = json!({
            "purpose": "An example",
            "parts": [{
                "type": "movement",
                "id": "m1",
                "transit": ["TUR", "GRC"],
                "legs": [{ "mode": "AIR", "number": "XX 001" }],
            }],
        });
        let expected = [
            "  purpose             An example",
            "  MOVEMENT",
            "    id                  m1",
            "    transit             TUR, GRC",
            "    legs",
            "      mode                AIR",
            "      number              XX 001",
        ];
        assert_eq!(lines(&content).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_a_sender_wrote_cannot_command_the_terminal() {
        let content = json!({ "text": "a\u{1b}[2Jb\nc\u{9b}d\u{202e}e" });
        assert_eq!(
            lines(&content),
            format!("  {:<NAME$}{}\n", "text", "a\\u{1b}[2Jb\\u{a}c\\u{9b}d\\u{202e}e")
        );
    }
}
