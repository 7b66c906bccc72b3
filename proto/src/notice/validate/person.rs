//! Persons, and whether their documents agree with what is written of them.

use super::Check;
use crate::notice::document::{Document, DocumentFlag, DocumentKind};
use crate::notice::person::{NameKind, Person, PersonRole};
use crate::notice::place::{Citizenship, NoState};
use crate::notice::safeguards::Safeguard;

impl Check<'_> {
    /// What a person part says of itself.
    pub(super) fn person(&mut self, index: usize, person: &Person) {
        let path = |field: &str| format!("parts[{index}].{field}");
        if person.role == PersonRole::Subject && person.names.is_empty() {
            self.note(&path("names"), "", "missing: a SUBJECT has at least one name");
        }
        if person.names.iter().filter(|name| name.kind == NameKind::Primary).count() > 1 {
            self.note(&path("names"), "", "two names are PRIMARY; make one an ALIAS");
        }
        for (at, name) in person.names.iter().enumerate() {
            if name.surname.is_none() && name.given_names.is_none() {
                self.note(&path(&format!("names[{at}]")), "", "write surname, given_names or both");
            }
        }
        self.citizenships(index, person);
        for (at, document) in person.documents.iter().enumerate() {
            self.document(&path(&format!("documents[{at}]")), document);
            self.holder(index, at, person, document);
        }
    }

    /// Every citizenship of a SUBJECT is addressed, and nobody is stateless who has one.
    fn citizenships(&mut self, index: usize, person: &Person) {
        if person.role == PersonRole::Subject && person.citizenships.is_empty() {
            let rule = "missing: every citizenship of a SUBJECT is addressed; write XXX where none is known";
            self.refuse(Safeguard::Citizenships, &format!("parts[{index}].citizenships"), "", rule);
        }
        let stateless = Citizenship::None(NoState::Stateless);
        let at = person.citizenships.iter().position(|citizenship| *citizenship == stateless);
        let other = person.citizenships.iter().find_map(|citizenship| citizenship.state());
        if let (Some(at), Some(other)) = (at, other) {
            let rule =
                format!("a stateless person has no citizenship, and here {other} is one; take one off");
            let path = format!("parts[{index}].citizenships[{at}]");
            self.refuse(Safeguard::Citizenships, &path, stateless, &rule);
        }
    }

    /// A document that is not forged says the same in its machine-readable zone as in print.
    fn document(&mut self, path: &str, document: &Document) {
        let Some(mrz) = &document.mrz else { return };
        if document.flags.contains(&DocumentFlag::Forged) {
            return;
        }
        if !document.number_agrees() {
            let rule = "it is not the number in the document's MRZ; compare both with the document";
            self.note(&format!("{path}.number"), document.number.as_str(), rule);
        }
        if let Some(issuer) = mrz.issuing_state().filter(|issuer| *issuer != document.issuer) {
            let rule = format!("the document's MRZ says {issuer}; compare both with the document");
            self.note(&format!("{path}.issuer"), document.issuer, &rule);
        }
        if let Some(expiry) = document.expiry.filter(|expiry| !mrz.expires_on(*expiry)) {
            let rule = "it is not the date of expiry in the document's MRZ; compare both with the document";
            self.note(&format!("{path}.expiry"), expiry, rule);
        }
    }

    /// The nationality in the passport or identity card of a SUBJECT is among the citizenships, so that its State is
    /// not forgotten; unless the document may be another's.
    fn holder(&mut self, index: usize, at: usize, person: &Person, document: &Document) {
        let own = match document.kind {
            DocumentKind::Passport | DocumentKind::OfficialPassport | DocumentKind::IdentityCard => {
                person.role == PersonRole::Subject && document.flags.is_empty()
            }
            DocumentKind::Visa
            | DocumentKind::ResidencePermit
            | DocumentKind::RefugeeTravelDocument
            | DocumentKind::EmergencyTravelDocument
            | DocumentKind::LaissezPasser
            | DocumentKind::SeafarerDocument
            | DocumentKind::Other => false,
        };
        let nationality = document.mrz.as_ref().filter(|_| own).and_then(|mrz| mrz.nationality());
        let Some(state) = nationality.and_then(Citizenship::state) else { return };
        if person.citizenships.iter().all(|citizenship| citizenship.state() != Some(state)) {
            let rule = format!(
                "the MRZ of documents[{at}] gives the nationality {state}: add it, or flag the document LOST, STOLEN \
                 or FORGED if it is not this person's"
            );
            self.refuse(Safeguard::Citizenships, &format!("parts[{index}].citizenships"), "", &rule);
        }
    }
}
