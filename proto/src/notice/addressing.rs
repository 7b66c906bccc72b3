//! Who is to be told (S/RES/2396, paragraph 3): computed from the content, not typed.
//!
//! Source, destination and transit States of the movements and every citizenship of every SUBJECT, each by its
//! contact point in the directory; INTERPOL where the notice is shared with it; and whom the author adds. The own
//! State is left out, and so are the States of the omissions. A State that could not be told and is not left out is a
//! mistake: nobody is forgotten silently. Within the own State the agencies of the functions that the author names are
//! told (paragraph 7).
//!
//! Claimed: where there is no mistake, the States told for a reason of paragraph 3 and the States left out are
//! together exactly those that paragraph 3 names, and none is both. A test of random notices and directories holds it.

use std::collections::BTreeMap;
use std::fmt;

use super::Notice;
use super::mistake::Mistake;
use super::part::{Content, LocalId};
use super::person::PersonRole;
use super::safeguards::{self, Safeguard};
use super::validate::is_addressed_by_paragraph_3;
use super::written::{Omission, OmissionReason};
use crate::directory::{AgencyStatus, Directory, Function};
use crate::envelope::NoticeKind;
use crate::id::{AgencyId, State};

/// INTERPOL's code in ICAO Doc 9303-3, by which its contact point is found.
const INTERPOL: &str = "XPO";
/// Why agencies of the own State are told.
const DOMESTIC_BASIS: &str = "S/RES/2396, paragraph 7";

/// Why an agency is addressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A movement begins in its State.
    Source,
    /// A movement ends in its State.
    Destination,
    /// A movement passes through its State.
    Transit,
    /// A SUBJECT is a citizen of its State.
    Citizenship(LocalId),
    /// The notice is shared with INTERPOL.
    Interpol,
    /// It is an agency of the own State with this function, which the author names.
    Domestic(Function),
    /// The author names it.
    Named,
    /// It got a notice that this one takes out of force.
    Previous,
    /// It wrote the notice that this one answers.
    Originator,
    /// It asked for the decision.
    Requester,
}

impl Reason {
    /// Whether it is one by which paragraph 3 names a State.
    #[must_use]
    pub fn is_of_paragraph_3(&self) -> bool {
        match self {
            Self::Source | Self::Destination | Self::Transit | Self::Citizenship(_) => true,
            Self::Interpol
            | Self::Domestic(_)
            | Self::Named
            | Self::Previous
            | Self::Originator
            | Self::Requester => false,
        }
    }

    /// What it rests on, where that is a paragraph.
    #[must_use]
    pub fn basis(&self) -> Option<&'static str> {
        match self {
            Self::Source | Self::Destination | Self::Transit | Self::Citizenship(_) => {
                Some(Safeguard::NobodyForgotten.basis())
            }
            Self::Domestic(_) => Some(DOMESTIC_BASIS),
            Self::Interpol | Self::Named | Self::Previous | Self::Originator | Self::Requester => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("source of the movement"),
            Self::Destination => f.write_str("destination of the movement"),
            Self::Transit => f.write_str("transit of the movement"),
            Self::Citizenship(person) => write!(f, "citizenship of {person}"),
            Self::Interpol => f.write_str("shared with INTERPOL"),
            Self::Domestic(function) => write!(f, "domestic agency for {function}"),
            Self::Named => f.write_str("named by the author"),
            Self::Previous => f.write_str("got the notice that is corrected or withdrawn"),
            Self::Originator => f.write_str("originator of the notice that is answered"),
            Self::Requester => f.write_str("asked for the decision"),
        }
    }
}

/// An agency that is to be told, and every reason why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressee {
    /// Who.
    pub agency: AgencyId,
    /// Why; at least one.
    pub reasons: Vec<Reason>,
}

/// A State that is left out, and why paragraph 3 names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut<'a> {
    /// The omission.
    pub omission: &'a Omission,
    /// Why the State would have been told; at least one reason.
    pub reasons: Vec<Reason>,
}

impl Notice {
    /// The States that are left out, each with why paragraph 3 names it, seen from an agency of State `own`. An
    /// omission that nothing makes necessary, which [`Notice::addressees`] refuses, is not among them.
    #[must_use]
    pub fn left_out(&self, own: State) -> Vec<LeftOut<'_>> {
        let mut named = self.paragraph_3(own);
        let of = |omission| Some(LeftOut { omission, reasons: named.remove(&omission.state.state())? });
        self.omissions.iter().filter_map(of).collect()
    }

    /// Who is to be told, in the order of their ids, seen from agency `own` by `directory`. Whether the agencies the
    /// author names are in the directory is not decided here.
    ///
    /// # Errors
    /// Every [`Mistake`]: States without a contact point and without an omission, omissions and disclosures of States
    /// that nobody would have told, functions that no domestic agency has, and what the safeguards refuse once the
    /// own State is known: nationals held without a word on consular access, and a refugee's State told unawares; and a
    /// follow-up that nobody would receive.
    pub fn addressees(&self, own: &AgencyId, directory: &Directory) -> Result<Vec<Addressee>, Vec<Mistake>> {
        self.addressees_after(own, directory, &[])
    }

    /// As [`Notice::addressees`], of a follow-up, which goes to the `previous` agencies too: of a CORRECTION or
    /// WITHDRAWAL whoever was sent a notice that it takes out of force, of a RESPONSE or RELEASE_REQUEST the originator
    /// of the notice it is about, of a RELEASE_DECISION who asked for it. Whether they still take part is not decided
    /// here: nobody is dropped silently.
    ///
    /// # Errors
    /// Every [`Mistake`]; besides those of [`Notice::addressees`] an omission that protects from a State that has the
    /// notice already.
    pub fn addressees_after<'a>(
        &'a self,
        own: &AgencyId,
        directory: &'a Directory,
        previous: &'a [AgencyId],
    ) -> Result<Vec<Addressee>, Vec<Mistake>> {
        let named_states = self.paragraph_3(own.state());
        let mut book =
            AddressBook { notice: self, directory, agencies: BTreeMap::new(), mistakes: Vec::new() };
        for (state, reasons) in &named_states {
            book.address_state(*state, reasons);
        }
        book.check_omissions(own.state(), &named_states);
        book.check_disclosures(&named_states);
        book.mistakes.extend(safeguards::consular_access(self, own.state()));
        if is_addressed_by_paragraph_3(self.kind) {
            book.mistakes.extend(safeguards::refugees(self, own.state()));
        }
        if self.share_with_interpol {
            book.address_interpol(own);
        }
        book.address_domestic(own);
        for (index, agency) in self.recipients.iter().enumerate() {
            if agency == own {
                let rule = "this is the agency that sends; it is no recipient of its own notice";
                book.note(&format!("recipients[{index}]"), agency, rule);
            }
            book.add(agency, Reason::Named);
        }
        if let Some(reason) = follows_by(self.kind) {
            previous
                .iter()
                .filter(|agency| *agency != own)
                .for_each(|agency| book.add(agency, reason.clone()));
            book.check_told_before(previous);
        }
        book.check_somebody();
        if !book.mistakes.is_empty() {
            return Err(book.mistakes);
        }
        let addressee =
            |(agency, reasons): (&AgencyId, Vec<Reason>)| Addressee { agency: agency.clone(), reasons };
        Ok(book.agencies.into_iter().map(addressee).collect())
    }

    /// The States that paragraph 3 names, but for the own one, each with why.
    fn paragraph_3(&self, own: State) -> BTreeMap<State, Vec<Reason>> {
        let mut states: BTreeMap<State, Vec<Reason>> = BTreeMap::new();
        if !is_addressed_by_paragraph_3(self.kind) {
            return states;
        }
        let mut add = |state: State, reason: Reason| {
            if state != own {
                let reasons = states.entry(state).or_default();
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
        };
        for part in &self.parts {
            match (&part.content, &part.id) {
                (Content::Movement(movement), _) => {
                    movement.source.into_iter().for_each(|country| add(country.state(), Reason::Source));
                    movement
                        .destination
                        .into_iter()
                        .for_each(|country| add(country.state(), Reason::Destination));
                    movement.transit.iter().for_each(|country| add(country.state(), Reason::Transit));
                }
                (Content::Person(person), Some(id)) if person.role == PersonRole::Subject => {
                    let states = person.citizenships.iter().filter_map(|citizenship| citizenship.state());
                    states.for_each(|state| add(state, Reason::Citizenship(id.clone())));
                }
                (
                    Content::Person(_)
                    | Content::Custody(_)
                    | Content::Grounds(_)
                    | Content::Remark(_)
                    | Content::Biometric(_)
                    | Content::Response(_)
                    | Content::Correction(_)
                    | Content::Withdrawal(_)
                    | Content::ReleaseRequest(_)
                    | Content::ReleaseDecision(_)
                    | Content::Receipt(_),
                    _,
                ) => {}
            }
        }
        states
    }
}

/// Why those whom a notice of this kind follows are told.
fn follows_by(kind: NoticeKind) -> Option<Reason> {
    match kind {
        NoticeKind::Correction | NoticeKind::Withdrawal => Some(Reason::Previous),
        NoticeKind::Response | NoticeKind::ReleaseRequest => Some(Reason::Originator),
        NoticeKind::ReleaseDecision => Some(Reason::Requester),
        NoticeKind::Travel | NoticeKind::Arrival | NoticeKind::Deportation | NoticeKind::Receipt => None,
    }
}

/// The agencies to be told, as they are found.
struct AddressBook<'a> {
    notice: &'a Notice,
    directory: &'a Directory,
    agencies: BTreeMap<&'a AgencyId, Vec<Reason>>,
    mistakes: Vec<Mistake>,
}

impl<'a> AddressBook<'a> {
    fn note(&mut self, path: &str, value: impl ToString, rule: &str) {
        self.mistakes.push(Mistake::new(path, value, rule));
    }

    fn add(&mut self, agency: &'a AgencyId, reason: Reason) {
        self.agencies.entry(agency).or_default().push(reason);
    }

    /// The contact point, if it takes part at present; otherwise why there is none.
    fn contact_point(&self, state: State) -> Result<&'a AgencyId, String> {
        let directory = self.directory;
        let version = directory.version();
        let agency = directory.contact_point(state);
        let agency = agency.ok_or_else(|| {
            format!("no agency of {state} is a contact point in directory version {version}")
        })?;
        match directory.agency(agency).map(|entry| entry.status) {
            Some(AgencyStatus::Active) => Ok(agency),
            Some(AgencyStatus::Suspended { .. } | AgencyStatus::Revoked { .. }) | None => Err(format!(
                "the contact point of {state}, {agency}, is suspended in directory version {version}"
            )),
        }
    }

    fn address_state(&mut self, state: State, reasons: &[Reason]) {
        if self.notice.omissions.iter().any(|omission| omission.state.state() == state) {
            return;
        }
        match self.contact_point(state) {
            Ok(agency) => reasons.iter().for_each(|reason| self.add(agency, reason.clone())),
            Err(why) => {
                let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
                let rule = format!(
                    "paragraph 3 names {state} ({}), but {why}; to leave it out, add \
                     {{\"state\": \"{state}\", \"reason\": \"{}\"}}",
                    reasons.join("; "),
                    OmissionReason::NoContactPoint,
                );
                self.mistakes.push(Mistake::against(Safeguard::NobodyForgotten, "omissions", "", &rule));
            }
        }
    }

    fn check_omissions(&mut self, own: State, named: &BTreeMap<State, Vec<Reason>>) {
        let notice = self.notice;
        for (index, omission) in notice.omissions.iter().enumerate() {
            let state = omission.state.state();
            if !named.contains_key(&state) {
                let why = if state == own {
                    "it is this agency's own State"
                } else {
                    "nothing in the notice names it"
                };
                let rule = format!("paragraph 3 does not address {state}: {why}; take the omission off");
                self.note(&format!("omissions[{index}].state"), state, &rule);
            } else if omission.reason == OmissionReason::NoContactPoint
                && let Ok(agency) = self.contact_point(state)
            {
                let rule = format!(
                    "{agency} is the contact point of {state}; take the omission off, or give its true reason"
                );
                self.note(&format!("omissions[{index}].reason"), omission.reason, &rule);
            }
        }
    }

    fn check_disclosures(&mut self, named: &BTreeMap<State, Vec<Reason>>) {
        let notice = self.notice;
        for (index, disclosure) in notice.disclosures.iter().enumerate() {
            let state = disclosure.state.state();
            let left_out = notice.omissions.iter().any(|omission| omission.state.state() == state);
            let path = format!("disclosures[{index}].state");
            if left_out {
                self.note(&path, state, "this State is left out too; keep the omission or the disclosure");
            } else if !named.contains_key(&state) {
                let rule = format!("paragraph 3 does not address {state}; take the disclosure off");
                self.note(&path, state, &rule);
            }
        }
    }

    /// A State that persons turn out to be protected from is not told more; what it has is taken back.
    fn check_told_before(&mut self, previous: &[AgencyId]) {
        for (index, omission) in self.notice.omissions.iter().enumerate() {
            let told = previous.iter().find(|agency| agency.state() == omission.state.state());
            let Some(agency) = told.filter(|_| omission.reason.is_protective()) else { continue };
            let rule = format!(
                "{agency} has the notice that is corrected, and a correction would tell it more: withdraw that notice \
                 instead, and send a new one that leaves {} out",
                omission.state
            );
            let path = format!("omissions[{index}].state");
            self.mistakes.push(Mistake::against(Safeguard::NonRefoulement, &path, omission.state, &rule));
        }
    }

    /// Where nobody follows from the content, the author or what is followed up says who is told.
    fn check_somebody(&mut self) {
        let kind = self.notice.kind;
        if self.agencies.is_empty() && self.mistakes.is_empty() && !is_addressed_by_paragraph_3(kind) {
            let rule = format!(
                "paragraph 3 addresses nobody of a {kind}: name those who received the notice it follows, or who \
                 wrote it"
            );
            self.note("recipients", "", &rule);
        }
    }

    /// The own State's agencies of the functions named (paragraph 7), but for the one that sends.
    fn address_domestic(&mut self, own: &AgencyId) {
        let (notice, directory) = (self.notice, self.directory);
        for (index, function) in notice.domestic.iter().enumerate() {
            let entries = directory.content().agencies.values().filter(|entry| {
                entry.id.state() == own.state()
                    && entry.id != *own
                    && entry.status == AgencyStatus::Active
                    && entry.functions.contains(function)
            });
            let agencies: Vec<_> = entries.map(|entry| &entry.id).collect();
            if agencies.is_empty() {
                let version = directory.version();
                let rule = format!(
                    "no other active agency of {} has this function in directory version {version}; take it off, or \
                     ask the authority ({DOMESTIC_BASIS})",
                    own.state()
                );
                self.note(&format!("domestic[{index}]"), function, &rule);
            }
            agencies.into_iter().for_each(|agency| self.add(agency, Reason::Domestic(*function)));
        }
    }

    fn address_interpol(&mut self, own: &AgencyId) {
        let Ok(interpol) = INTERPOL.parse::<State>() else { return };
        if own.state() == interpol {
            return;
        }
        match self.contact_point(interpol) {
            Ok(agency) => self.add(agency, Reason::Interpol),
            Err(why) => {
                self.note("share_with_interpol", true, &format!("{why}; take it off, or ask the authority"));
            }
        }
    }
}

#[cfg(test)]
mod tests;
