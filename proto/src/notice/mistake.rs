//! What an author is told about what is wrong with a notice.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::safeguards::Safeguard;

/// Most characters of a bad value that a mistake repeats.
const EXCERPT_CHARS_MAX: usize = 64;

/// One thing wrong with what the author wrote. It is for the author's eyes only: `value` may be personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mistake {
    /// Where, as a JSON path such as `parts[1].birth_date`.
    pub path: String,
    /// The beginning of what stands there; empty where nothing does.
    pub value: String,
    /// What is allowed, and what to do. A refusal that rests on a safeguard ends with what that rests on.
    pub rule: String,
    /// The safeguard it falls short of, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safeguard: Option<Safeguard>,
}

impl Mistake {
    /// A mistake at `path`.
    #[must_use]
    pub fn new(path: &str, value: impl ToString, rule: &str) -> Self {
        Self {
            path: path.to_owned(),
            value: excerpt(&value.to_string()),
            rule: rule.to_owned(),
            safeguard: None,
        }
    }

    /// A mistake at `path` that falls short of a safeguard. The rule ends with what that rests on.
    #[must_use]
    pub fn against(safeguard: Safeguard, path: &str, value: impl ToString, rule: &str) -> Self {
        let rule = format!("{rule} ({})", safeguard.basis());
        Self { safeguard: Some(safeguard), ..Self::new(path, value, &rule) }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value.is_empty() {
            write!(f, "{}: {}", self.path, self.rule)
        } else {
            write!(f, "{}: `{}`: {}", self.path, self.value, self.rule)
        }
    }
}

/// What is allowed where a value is not. It never repeats the value, so it may go where personal data may not.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Rule(Cow<'static, str>);

impl Rule {
    /// The sentence. `text` must not hold what the author wrote.
    pub(crate) fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(text.into())
    }
}

pub(super) fn excerpt(text: &str) -> String {
    let mut out: String = text.chars().take(EXCERPT_CHARS_MAX).filter(|c| !c.is_control()).collect();
    if text.chars().nth(EXCERPT_CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_reads_as_a_sentence_and_repeats_no_more_than_an_excerpt() {
        let mistake = Mistake::new("parts[1].birth_date", "1980-13", "write a date");
        assert_eq!(mistake.to_string(), "parts[1].birth_date: `1980-13`: write a date");
        assert_eq!(Mistake::new("purpose", "", "missing").to_string(), "purpose: missing");
        let refused = Mistake::against(Safeguard::NoProfiling, "religion", "", "no such field");
        assert_eq!(refused.to_string(), "religion: no such field (S/RES/2396, paragraph 4)");
        let long = Mistake::new("purpose", "x".repeat(10_000), "too long");
        assert_eq!(long.value.chars().count(), EXCERPT_CHARS_MAX + 1);
    }
}
