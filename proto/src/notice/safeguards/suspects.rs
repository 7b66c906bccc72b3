//! What is held against persons: only against a SUBJECT, with evidence, and as what it is.

use super::Safeguard;
use crate::notice::grounds::{Grounds, GroundsBasis, GroundsNature, InformationGrading};
use crate::notice::part::{Content, LocalId};
use crate::notice::person::PersonRole;
use crate::notice::validate::Check;

pub(super) fn check(check: &mut Check<'_>) {
    let written = check.written;
    for (index, slot) in written.parts.0.iter().enumerate() {
        match &slot.content {
            Some(Content::Grounds(grounds)) => {
                let rule = "only a SUBJECT has grounds against them; leave this part out";
                about_a_subject(check, index, &grounds.about, Safeguard::FamilyIsNotSuspect, rule);
                statement(check, index, grounds);
            }
            Some(Content::Biometric(biometric)) => {
                let rule = "biometric data serve to identify a SUBJECT and nobody else; leave this part out";
                about_a_subject(check, index, &biometric.about, Safeguard::Biometrics, rule);
            }
            Some(
                Content::Movement(_)
                | Content::Person(_)
                | Content::Custody(_)
                | Content::Remark(_)
                | Content::Response(_)
                | Content::Correction(_)
                | Content::Withdrawal(_)
                | Content::ReleaseRequest(_)
                | Content::ReleaseDecision(_)
                | Content::Receipt(_),
            )
            | None => {}
        }
    }
}

fn about_a_subject(check: &mut Check<'_>, index: usize, about: &LocalId, of: Safeguard, rule: &str) {
    let role = check.persons().find(|(_, id, _)| *id == Some(about)).map(|(_, _, person)| person.role);
    if let Some(role) = role.filter(|role| *role != PersonRole::Subject) {
        check.refuse(of, &format!("parts[{index}].about"), about, &format!("this person is {role}: {rule}"));
    }
}

/// A listing is named, and what cannot be borne out is not stated as fact.
fn statement(check: &mut Check<'_>, index: usize, grounds: &Grounds) {
    let path = |field: &str| format!("parts[{index}].{field}");
    if grounds.basis.contains(&GroundsBasis::Listing) && grounds.list_references.is_empty() {
        let rule = "missing: the basis LISTING names the entry, such as QDi.000";
        check.refuse(Safeguard::FactAndAssessment, &path("list_references"), "", rule);
    }
    if grounds.nature == GroundsNature::Fact
        && grounds.information_grading == InformationGrading::Uncorroborated
    {
        let rule =
            "information graded 4 cannot be borne out, so it is no statement of fact: write ASSESSMENT";
        check.refuse(Safeguard::FactAndAssessment, &path("nature"), grounds.nature, rule);
    }
}
