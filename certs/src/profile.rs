//! What an agency is to be in the exchange: the administrator's decision, from options or a TOML file.
//!
//! ```toml
//! display_name = "National Central Bureau Paris"   # otherwise the id
//! functions = ["LAW_ENFORCEMENT"]                  # otherwise none
//! clearance = "SECRET"                             # it and all below; or exactly those of a list
//! compartments = ["ALPHA"]                         # otherwise none
//! affiliations = ["EUE"]                           # beside the agency's own State, which is always held
//! originate_kinds = ["TRAVEL", "ARRIVAL"]          # otherwise all of ORIGINATE_KINDS_DEFAULT
//! originate_classifications = ["RESTRICTED"]       # otherwise those of the clearance
//! contact_point = true                             # otherwise false
//! ```

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use valise_proto::directory::{Function, Origination, TEXT_BYTES_MAX};
use valise_proto::envelope::NoticeKind;
use valise_proto::id::State;
use valise_proto::label::{Affiliation, Classification, Clearance, Compartment, PolicyId, SET_ENTRIES_MAX};

/// Longest profile file, in bytes.
pub const PROFILE_BYTES_MAX: usize = 64 * 1024;

/// What an agency may originate unless its profile says otherwise: everything about a person, and every follow-up.
/// Asking for and granting release to others is for those whom the administrator names.
pub const ORIGINATE_KINDS_DEFAULT: [NoticeKind; 6] = [
    NoticeKind::Travel,
    NoticeKind::Arrival,
    NoticeKind::Deportation,
    NoticeKind::Response,
    NoticeKind::Correction,
    NoticeKind::Withdrawal,
];

/// What is wrong with a profile: all of it. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the profile has {}:\n  {}", count(.mistakes.len()), .mistakes.join("\n  "))]
pub struct ProfileError {
    /// One sentence each.
    pub mistakes: Vec<String>,
}

fn count(mistakes: usize) -> String {
    if mistakes == 1 { "1 mistake".to_owned() } else { format!("{mistakes} mistakes") }
}

/// What an agency may see, apart from its State's own affiliation, which follows from its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Every classification held.
    pub classes: BTreeSet<Classification>,
    /// Compartments held.
    pub compartments: BTreeSet<Compartment>,
    /// Organisations beside its own State.
    pub affiliations: BTreeSet<Affiliation>,
}

impl Grant {
    /// `class` and all below, without compartments.
    #[must_use]
    pub fn up_to(class: Classification) -> Self {
        Self { classes: class.and_below(), compartments: BTreeSet::new(), affiliations: BTreeSet::new() }
    }

    /// The clearance of an agency of `state`.
    #[must_use]
    pub fn to_clearance(&self, state: State, policy: &PolicyId) -> Clearance {
        let mut affiliations = self.affiliations.clone();
        affiliations.insert(Affiliation::from(state));
        Clearance {
            policy: policy.clone(),
            class_list: self.classes.clone(),
            compartments: self.compartments.clone(),
            affiliations,
        }
    }

    fn check(&self, mistakes: &mut Vec<String>) {
        if !self.classes.contains(&Classification::Unclassified) {
            mistakes.push(
                "`clearance`: UNCLASSIFIED must be among the classifications held: receipts are".to_owned(),
            );
        }
        // One place is the own State's.
        let sets = [
            ("compartments", self.compartments.len()),
            ("affiliations", self.affiliations.len().saturating_add(1)),
        ];
        for (key, got) in sets {
            if got > SET_ENTRIES_MAX {
                mistakes.push(format!("`{key}`: {got} are more than the {SET_ENTRIES_MAX} allowed"));
            }
        }
    }

    /// Checks what no single field can show.
    ///
    /// # Errors
    /// [`ProfileError`] with every mistake.
    pub fn validate(&self) -> Result<(), ProfileError> {
        let mut mistakes = Vec::new();
        self.check(&mut mistakes);
        if mistakes.is_empty() { Ok(()) } else { Err(ProfileError { mistakes }) }
    }
}

/// What an agency is to be in the exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name for people; without one, its id.
    pub display_name: Option<String>,
    /// What it does.
    #[serde(with = "functions")]
    pub functions: BTreeSet<Function>,
    /// What it may see.
    pub clearance: Grant,
    /// Kinds of notice it may originate.
    pub originate_kinds: BTreeSet<NoticeKind>,
    /// Classifications it may originate; without a set, those of its clearance, whatever that becomes.
    pub originate_classifications: Option<BTreeSet<Classification>>,
    /// Whether paragraph-3 notices for its State go to it.
    pub contact_point: bool,
}

impl Profile {
    /// An agency cleared for `class` and all below, with the defaults for all else.
    #[must_use]
    pub fn up_to(class: Classification) -> Self {
        Self {
            display_name: None,
            functions: BTreeSet::new(),
            clearance: Grant::up_to(class),
            originate_kinds: ORIGINATE_KINDS_DEFAULT.into_iter().collect(),
            originate_classifications: None,
            contact_point: false,
        }
    }

    /// The same as its State's contact point.
    #[must_use]
    pub fn as_contact_point(self) -> Self {
        Self { contact_point: true, ..self }
    }

    /// What it may send.
    #[must_use]
    pub fn origination(&self) -> Origination {
        Origination {
            kinds: self.originate_kinds.clone(),
            classifications: self
                .originate_classifications
                .clone()
                .unwrap_or_else(|| self.clearance.classes.clone()),
        }
    }

    /// Checks what no single field can show.
    ///
    /// # Errors
    /// [`ProfileError`] with every mistake.
    pub fn validate(&self) -> Result<(), ProfileError> {
        let mut mistakes = Vec::new();
        self.clearance.check(&mut mistakes);
        if let Some(name) = &self.display_name {
            check_name(name, &mut mistakes);
        }
        if self.originate_kinds.contains(&NoticeKind::Receipt) {
            mistakes.push("`originate_kinds`: RECEIPT is always allowed and not listed".to_owned());
        }
        for class in self.originate_classifications.iter().flatten() {
            if !self.clearance.classes.contains(class) {
                mistakes.push(format!(
                    "`originate_classifications`: {class} is not in the agency's own clearance"
                ));
            }
        }
        if mistakes.is_empty() { Ok(()) } else { Err(ProfileError { mistakes }) }
    }
}

fn check_name(name: &str, mistakes: &mut Vec<String>) {
    if name.trim().is_empty() || name.len() > TEXT_BYTES_MAX || name.chars().any(char::is_control) {
        let got = name.len();
        mistakes.push(format!(
            "`display_name`: give 1 to {TEXT_BYTES_MAX} bytes of plain text (these are {got})"
        ));
    }
}

/// A classification that means it and all below, or exactly those of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Classes {
    /// It and all below.
    UpTo(String),
    /// Exactly these.
    Exactly(Vec<String>),
}

impl Classes {
    /// `SECRET`, or `UNCLASSIFIED,SECRET`.
    #[must_use]
    pub fn from_option(text: &str) -> Self {
        match text.contains(',') {
            true => Self::Exactly(text.split(',').map(|word| word.trim().to_owned()).collect()),
            false => Self::UpTo(text.trim().to_owned()),
        }
    }
}

/// A profile as it was written down: words, not yet checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// See [`Profile::display_name`].
    pub display_name: Option<String>,
    /// See [`Profile::functions`].
    pub functions: Option<Vec<String>>,
    /// See [`Grant::classes`].
    pub clearance: Option<Classes>,
    /// See [`Grant::compartments`].
    pub compartments: Option<Vec<String>>,
    /// See [`Grant::affiliations`].
    pub affiliations: Option<Vec<String>>,
    /// See [`Profile::originate_kinds`].
    pub originate_kinds: Option<Vec<String>>,
    /// See [`Profile::originate_classifications`].
    pub originate_classifications: Option<Vec<String>>,
    /// See [`Profile::contact_point`].
    pub contact_point: Option<bool>,
    /// What was wrong already when it was read.
    pub mistakes: Vec<String>,
}

const KEYS: &str = "display_name, functions, clearance, compartments, affiliations, originate_kinds, originate_classifications, contact_point";

impl Draft {
    /// Reads a profile file's text. What is wrong with it is told by [`Draft::build`].
    #[must_use]
    pub fn from_toml(text: &str) -> Self {
        let mut draft = Self::default();
        let table: toml::Table = match toml::from_str(text) {
            Ok(table) => table,
            Err(error) => {
                draft.mistakes.push(error.to_string().trim().to_owned());
                return draft;
            }
        };
        for (key, value) in table {
            let mistakes = &mut draft.mistakes;
            match key.as_str() {
                "display_name" => draft.display_name = text_of(&key, &value, mistakes),
                "functions" => draft.functions = list_of(&key, &value, mistakes),
                "clearance" => draft.clearance = classes_of(&value, mistakes),
                "compartments" => draft.compartments = list_of(&key, &value, mistakes),
                "affiliations" => draft.affiliations = list_of(&key, &value, mistakes),
                "originate_kinds" => draft.originate_kinds = list_of(&key, &value, mistakes),
                "originate_classifications" => {
                    draft.originate_classifications = list_of(&key, &value, mistakes);
                }
                "contact_point" => match value.as_bool() {
                    Some(is) => draft.contact_point = Some(is),
                    None => mistakes.push(format!("`contact_point`: {value} is neither true nor false")),
                },
                _ => mistakes.push(format!("`{key}` is not a setting: use {KEYS}")),
            }
        }
        draft
    }

    /// This draft, with what `over` says in its place.
    #[must_use]
    pub fn overlaid(self, over: Self) -> Self {
        let mut mistakes = self.mistakes;
        mistakes.extend(over.mistakes);
        Self {
            display_name: over.display_name.or(self.display_name),
            functions: over.functions.or(self.functions),
            clearance: over.clearance.or(self.clearance),
            compartments: over.compartments.or(self.compartments),
            affiliations: over.affiliations.or(self.affiliations),
            originate_kinds: over.originate_kinds.or(self.originate_kinds),
            originate_classifications: over.originate_classifications.or(self.originate_classifications),
            contact_point: over.contact_point.or(self.contact_point),
            mistakes,
        }
    }

    /// Reads every word.
    ///
    /// # Errors
    /// [`ProfileError`] with every mistake.
    pub fn build(self) -> Result<Profile, ProfileError> {
        let mut mistakes = self.mistakes;
        let display_name = self.display_name;
        let functions = words("functions", self.functions, &mut mistakes);
        let had_classes = self.clearance.is_some();
        let classes = match self.clearance {
            None => {
                mistakes.push("`clearance` is missing: give a classification such as SECRET".to_owned());
                BTreeSet::new()
            }
            Some(Classes::UpTo(word)) => word
                .parse()
                .map(Classification::and_below)
                .map_err(|error| mistakes.push(format!("`clearance`: {error}")))
                .unwrap_or_default(),
            Some(Classes::Exactly(list)) => words("clearance", Some(list), &mut mistakes),
        };
        let kinds = self.originate_kinds.map(|list| words("originate_kinds", Some(list), &mut mistakes));
        let classifications = self
            .originate_classifications
            .map(|list| words("originate_classifications", Some(list), &mut mistakes));
        let profile = Profile {
            display_name,
            functions,
            clearance: Grant {
                classes,
                compartments: words("compartments", self.compartments, &mut mistakes),
                affiliations: words("affiliations", self.affiliations, &mut mistakes),
            },
            originate_kinds: kinds.unwrap_or_else(|| ORIGINATE_KINDS_DEFAULT.into_iter().collect()),
            originate_classifications: classifications,
            contact_point: self.contact_point.unwrap_or(false),
        };
        // What follows from a class list that could not be read would only be noise.
        if had_classes && !profile.clearance.classes.is_empty() || mistakes.is_empty() {
            mistakes.extend(profile.validate().err().into_iter().flat_map(|error| error.mistakes));
        }
        if mistakes.is_empty() { Ok(profile) } else { Err(ProfileError { mistakes }) }
    }
}

fn words<T>(key: &str, list: Option<Vec<String>>, mistakes: &mut Vec<String>) -> BTreeSet<T>
where
    T: FromStr<Err: Display> + Ord,
{
    let mut found = BTreeSet::new();
    for word in list.unwrap_or_default() {
        match word.parse() {
            Ok(value) => {
                found.insert(value);
            }
            Err(error) => mistakes.push(format!("`{key}`: {error}")),
        }
    }
    found
}

fn text_of(key: &str, value: &toml::Value, mistakes: &mut Vec<String>) -> Option<String> {
    let text = value.as_str().map(ToOwned::to_owned);
    if text.is_none() {
        mistakes.push(format!("`{key}`: {value} is not a text; write {key} = \"…\""));
    }
    text
}

fn list_of(key: &str, value: &toml::Value, mistakes: &mut Vec<String>) -> Option<Vec<String>> {
    let texts = value
        .as_array()
        .and_then(|list| list.iter().map(|item| item.as_str().map(ToOwned::to_owned)).collect());
    if texts.is_none() {
        mistakes.push(format!("`{key}`: {value} is not a list of texts; write {key} = [\"…\", \"…\"]"));
    }
    texts
}

fn classes_of(value: &toml::Value, mistakes: &mut Vec<String>) -> Option<Classes> {
    match value.as_str() {
        Some(word) => Some(Classes::UpTo(word.to_owned())),
        None => list_of("clearance", value, mistakes).map(Classes::Exactly),
    }
}

/// Functions as their words.
mod functions {
    use super::{BTreeSet, Function};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        set: &BTreeSet<Function>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(set.iter().map(|function| function.as_str()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<Function>, D::Error> {
        let words = Vec::<String>::deserialize(deserializer)?;
        words.iter().map(|word| word.parse().map_err(D::Error::custom)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_classification_means_it_and_all_below_and_a_list_means_exactly_those() {
        let up_to = Draft::from_toml("clearance = \"RESTRICTED\"").build().unwrap();
        assert_eq!(up_to, Profile::up_to(Classification::Restricted));
        let exactly = Draft::from_toml("clearance = [\"UNCLASSIFIED\", \"SECRET\"]").build().unwrap();
        let held = [Classification::Unclassified, Classification::Secret];
        assert_eq!(exactly.clearance.classes, held.into_iter().collect());
        assert_eq!(exactly.origination().classifications, held.into_iter().collect());
        assert_eq!(exactly.origination().kinds, ORIGINATE_KINDS_DEFAULT.into_iter().collect());
        assert_eq!(
            Classes::from_option("UNCLASSIFIED, TOP_SECRET"),
            Classes::Exactly(vec!["UNCLASSIFIED".to_owned(), "TOP_SECRET".to_owned()])
        );
    }

    #[test]
    fn an_agency_always_holds_its_own_states_affiliation() {
        let clearance = |state: &str| {
            let policy = "exchange.example".parse().unwrap();
            Grant::up_to(Classification::Secret).to_clearance(state.parse().unwrap(), &policy).affiliations
        };
        assert_eq!(clearance("XPO"), ["XPO".parse().unwrap()].into_iter().collect());
        assert_eq!(clearance("FRA"), ["FRA".parse().unwrap()].into_iter().collect());
    }

    #[test]
    fn all_mistakes_come_at_once() {
        let text = "display_name = 3\nfunctions = [\"POLICE\"]\nclearance = [\"SECRET\"]\ncompartments = \"A\"\naffiliations = [\"-\"]\noriginate_kinds = [\"RECEIPT\", \"GOSSIP\"]\noriginate_classifications = [\"TOP_SECRET\"]\ncontact_point = \"yes\"\ncolour = 1\n";
        let mistakes = Draft::from_toml(text).build().unwrap_err().mistakes;
        for sentence in [
            "`display_name`: 3 is not a text",
            "`functions`: `POLICE`",
            "`clearance`: UNCLASSIFIED must be",
            "`compartments`: \"A\" is not a list",
            "`affiliations`: `-`",
            "`originate_kinds`: RECEIPT is always",
            "`originate_kinds`: `GOSSIP`",
            "`originate_classifications`: TOP SECRET is not in",
            "`contact_point`: \"yes\"",
            "`colour` is not a setting",
        ] {
            assert!(
                mistakes.iter().any(|mistake| mistake.contains(sentence)),
                "`{sentence}` is not in {mistakes:#?}"
            );
        }
        assert!(Draft::default().build().unwrap_err().to_string().contains("`clearance` is missing"));
    }

    #[test]
    fn options_go_before_the_file() {
        let file = Draft::from_toml("clearance = \"SECRET\"\ncontact_point = true\nfunctions = [\"BORDER\"]");
        let options = Draft { clearance: Some(Classes::from_option("RESTRICTED")), ..Draft::default() };
        let profile = file.overlaid(options).build().unwrap();
        let expected = Profile {
            functions: [Function::Border].into_iter().collect(),
            ..Profile::up_to(Classification::Restricted).as_contact_point()
        };
        assert_eq!(profile, expected);
    }
}
