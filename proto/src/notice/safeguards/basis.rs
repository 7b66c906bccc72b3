//! The safeguards by name, and what each rests on.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A safeguard that a notice can fall short of. S/RES/2396 is Security Council resolution 2396 (2017); the paragraphs
/// are its operative ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Safeguard {
    /// Every State that paragraph 3 names is told, or left out for a reason on record.
    NobodyForgotten,
    /// All citizenships of a SUBJECT are stated, and contradict neither each other nor the documents.
    Citizenships,
    /// Suspects are told from those who travel with them: only a SUBJECT has grounds against them.
    FamilyIsNotSuspect,
    /// Nothing by which persons could be profiled on a discriminatory ground can be written.
    NoProfiling,
    /// Fact and assessment stand apart, each with its evidence and its grading.
    FactAndAssessment,
    /// The legal basis and the purpose are stated, and content is reviewed in time.
    LawfulPurpose,
    /// The State whose national is held is given consular access, and the notice says how far that has come.
    ConsularAccess,
    /// What is said of a part is not less protected than the part: downgrading is an act of its own.
    NoSilentDowngrade,
    /// Biometric data serve to identify a SUBJECT and nobody else.
    Biometrics,
    /// Whoever is, or may be, under 18 is protected.
    Minors,
    /// Nobody is exposed to a State from which they are protected.
    NonRefoulement,
}

impl Safeguard {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::NobodyForgotten,
        Self::Citizenships,
        Self::FamilyIsNotSuspect,
        Self::NoProfiling,
        Self::FactAndAssessment,
        Self::LawfulPurpose,
        Self::ConsularAccess,
        Self::NoSilentDowngrade,
        Self::Biometrics,
        Self::Minors,
        Self::NonRefoulement,
    ];

    /// The word by which records name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NobodyForgotten => "NOBODY_FORGOTTEN",
            Self::Citizenships => "CITIZENSHIPS",
            Self::FamilyIsNotSuspect => "FAMILY_IS_NOT_SUSPECT",
            Self::NoProfiling => "NO_PROFILING",
            Self::FactAndAssessment => "FACT_AND_ASSESSMENT",
            Self::LawfulPurpose => "LAWFUL_PURPOSE",
            Self::ConsularAccess => "CONSULAR_ACCESS",
            Self::NoSilentDowngrade => "NO_SILENT_DOWNGRADE",
            Self::Biometrics => "BIOMETRICS",
            Self::Minors => "MINORS",
            Self::NonRefoulement => "NON_REFOULEMENT",
        }
    }

    /// What it rests on.
    #[must_use]
    pub fn basis(self) -> &'static str {
        match self {
            Self::NobodyForgotten => "S/RES/2396, paragraph 3",
            Self::Citizenships => "S/RES/2396, paragraphs 3 and 6",
            Self::FamilyIsNotSuspect => "S/RES/2396, paragraphs 4 and 29",
            Self::NoProfiling | Self::FactAndAssessment | Self::LawfulPurpose => "S/RES/2396, paragraph 4",
            Self::ConsularAccess => "S/RES/2396, paragraph 6",
            Self::NoSilentDowngrade => "S/RES/2396, paragraph 8",
            Self::Biometrics => "S/RES/2396, paragraph 15",
            Self::Minors => {
                "S/RES/2396, paragraphs 30 and 31; Convention on the Rights of the Child, article 3"
            }
            Self::NonRefoulement => {
                "S/RES/2396, paragraph 4; Convention relating to the Status of Refugees, article 33; Convention \
                 against Torture, article 3"
            }
        }
    }
}

impl fmt::Display for Safeguard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_safeguard_has_one_name_in_text_and_in_json() {
        for safeguard in Safeguard::ALL {
            let json = serde_json::to_value(safeguard).unwrap();
            assert_eq!(json, safeguard.to_string());
            assert_eq!(serde_json::from_value::<Safeguard>(json).unwrap(), *safeguard);
            assert!(safeguard.basis().starts_with("S/RES/2396, paragraph"), "{safeguard} cites nothing");
        }
    }
}
