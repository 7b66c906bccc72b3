//! Who receives a notice, and which portions each recipient may access.

use std::sync::Arc;

use valise_proto::directory::{AgencyEntry, Directory};
use valise_proto::envelope::{NoticeKind, PlainPortion, PortionIndex};
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::label::{Denial, may_access};
use zeroize::Zeroizing;

use super::content::{Content, Mistake};
use super::deadline::{Basis, RespondBy};
use super::derived::Derived;
use super::followup::Chain;
use super::{ComposeError, Draft};
use crate::config::Config;
use crate::node::office::Office;
use crate::node::showing;

/// One recipient and the decision about each portion.
#[derive(Clone, Debug)]
pub struct Addressee {
    /// Who.
    pub agency: AgencyId,
    /// Why it is addressed.
    pub reasons: Vec<String>,
    /// Portions it may access, in order.
    pub permitted: Vec<PortionIndex>,
    /// Portions it may not access, and which rule says so.
    pub denied: Vec<(PortionIndex, Denial)>,
}

/// A notice whose recipients and their access are settled by the directory held here.
pub struct Addressed {
    pub(super) content: Content,
    pub(super) json: Zeroizing<Vec<u8>>,
    pub(super) portions: Vec<PlainPortion>,
    pub(super) addressees: Vec<Addressee>,
    pub(super) directory: Arc<Directory>,
    /// Where it is made from another notice.
    pub(super) derived: Option<Derived>,
}

/// Agencies, each with why it is addressed.
type Named = Vec<(AgencyId, Vec<String>)>;

pub(super) fn address(draft: Draft, office: &Office, now: Timestamp) -> Result<Addressed, ComposeError> {
    let Draft { content, json } = draft;
    let (content, previous) = match content.kind() {
        NoticeKind::Correction | NoticeKind::Withdrawal => followed(content, office)?,
        NoticeKind::Response => answering(content, office)?,
        NoticeKind::Travel
        | NoticeKind::Arrival
        | NoticeKind::Deportation
        | NoticeKind::Receipt
        | NoticeKind::ReleaseRequest
        | NoticeKind::ReleaseDecision => (content, Vec::new()),
    };
    addressed(Draft { content, json }, office, now, |content, directory| {
        content.addressees(office.agency(), directory, &previous)
    })
}

/// What a correction or withdrawal takes out of force is filled in; it goes to everybody who was sent any of it.
fn followed(content: Content, office: &Office) -> Result<(Content, Vec<AgencyId>), ComposeError> {
    let Some(newest) = content.supersedes().or(content.withdraws()) else { return Ok((content, Vec::new())) };
    let Chain { replaces, holders } = Chain::of(office.store(), &newest)?;
    let content = content.with_replaces(replaces);
    let content = content.map_err(|mistake| ComposeError::Mistakes(vec![mistake]))?;
    Ok((content, holders.into_iter().collect()))
}

/// An answer is to a notice that was received here and counts, no less protected than what it is about, and for the
/// originator of that notice alone.
fn answering(content: Content, office: &Office) -> Result<(Content, Vec<AgencyId>), ComposeError> {
    let Some(answered) = content.in_reply_to() else { return Ok((content, Vec::new())) };
    let (verified, opened) = showing::open(office, &answered)?;
    let originator = verified.header().originator.clone();
    let mut mistakes = content.check_answer(&opened);
    for (index, agency) in content.recipients().iter().enumerate().filter(|(_, it)| **it != originator) {
        let rule = format!(
            "an answer goes to the originator of what it answers, {originator}, alone; leave this out"
        );
        mistakes.push(Mistake::new(&format!("recipients[{index}]"), agency, &rule));
    }
    if mistakes.is_empty() { Ok((content, vec![originator])) } else { Err(ComposeError::Mistakes(mistakes)) }
}

/// Settles the access of whoever `who` says is addressed.
pub(super) fn addressed(
    draft: Draft,
    office: &Office,
    now: Timestamp,
    who: impl FnOnce(&Content, &Directory) -> Result<Named, Vec<Mistake>>,
) -> Result<Addressed, ComposeError> {
    let directory = office.directory();
    office.check_fresh(&directory, now)?;
    let Draft { content, json } = draft;
    let portions = content.portions();
    check_origination(office.agency(), &directory, &content, &portions)?;
    let addressed = who(&content, &directory).map_err(ComposeError::Mistakes)?;
    let decide = |(agency, reasons): (AgencyId, Vec<String>)| {
        let (permitted, denied) = match directory.agency(&agency) {
            Some(entry) => decide(entry, &portions),
            None => (Vec::new(), Vec::new()),
        };
        Addressee { agency, reasons, permitted, denied }
    };
    let addressees = addressed.into_iter().map(decide).collect();
    Ok(Addressed { content, json, portions, addressees, directory, derived: None })
}

fn check_origination(
    me: &AgencyId,
    directory: &Directory,
    content: &Content,
    portions: &[PlainPortion],
) -> Result<(), ComposeError> {
    let entry = directory.agency(me).filter(|entry| entry.status.is_active());
    let entry = entry.ok_or_else(|| ComposeError::NotListed(me.clone()))?;
    let origination = &entry.origination;
    if !origination.kinds.contains(&content.kind()) {
        let allowed = list(origination.kinds.iter());
        return Err(ComposeError::Kind { agency: me.clone(), kind: content.kind(), allowed });
    }
    for portion in portions {
        let classification = portion.label.classification;
        if !origination.classifications.contains(&classification) {
            let allowed = list(origination.classifications.iter());
            return Err(ComposeError::Classification { agency: me.clone(), classification, allowed });
        }
    }
    Ok(())
}

fn list(values: impl Iterator<Item = impl ToString>) -> String {
    let words: Vec<_> = values.map(|value| value.to_string()).collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

/// The first of the three access decisions (G3).
fn decide(
    entry: &AgencyEntry,
    portions: &[PlainPortion],
) -> (Vec<PortionIndex>, Vec<(PortionIndex, Denial)>) {
    let (mut permitted, mut denied) = (Vec::new(), Vec::new());
    for (index, portion) in portions.iter().enumerate() {
        // More portions than an index can count are refused when they are sealed.
        let Some(index) = PortionIndex::new(index) else { break };
        match may_access(&entry.clearance, &portion.label) {
            Ok(()) => permitted.push(index),
            Err(denial) => denied.push((index, denial)),
        }
    }
    (permitted, denied)
}

impl Addressed {
    /// Who receives it.
    #[must_use]
    pub fn addressees(&self) -> &[Addressee] {
        &self.addressees
    }

    /// When the broker deletes it: nobody is to keep it beyond its `review_by`, so neither is the broker.
    #[must_use]
    pub fn expires_at(&self, config: &Config, now: Timestamp) -> Timestamp {
        let derived = self.derived.as_ref().map(|derived| derived.expires_at);
        let wanted = derived.or(self.content.expires_at()).unwrap_or_else(|| now.plus(config.lifetime));
        self.content.review_by().map_or(wanted, |review_by| wanted.min(review_by))
    }

    /// Until when an answer is asked for, and what says so.
    #[must_use]
    pub fn respond_by(&self, config: &Config, now: Timestamp) -> Option<RespondBy> {
        self.basis(config, now).respond_by(now)
    }

    fn basis<'a>(&self, config: &'a Config, now: Timestamp) -> Basis<'a> {
        Basis {
            kind: self.content.kind(),
            precedence: self.content.precedence(),
            written: self.content.respond_by(),
            arrival: self.content.arrival(),
            expires_at: self.expires_at(config, now),
            within: &config.respond_within,
        }
    }

    /// Why it cannot be sealed: recipients that are unknown, suspended, without a key, or cleared for nothing; an answer
    /// that is asked for too late.
    #[must_use]
    pub fn mistakes(&self, config: &Config, now: Timestamp) -> Vec<Mistake> {
        let mut mistakes: Vec<_> =
            self.addressees.iter().filter_map(|addressee| self.mistake_of(addressee, now)).collect();
        mistakes.extend(self.basis(config, now).mistake(now));
        if self.addressees.is_empty() {
            mistakes.push(Mistake::new(
                "recipients",
                "",
                "nobody would receive this notice: name a recipient",
            ));
        }
        mistakes
    }

    fn mistake_of(&self, addressee: &Addressee, now: Timestamp) -> Option<Mistake> {
        let Addressee { agency, permitted, denied, .. } = addressee;
        let mistake = |rule: String| Some(Mistake::new("recipients", agency, &rule));
        let Some(entry) = self.directory.agency(agency) else {
            return mistake(format!(
                "{agency} is not in the directory (version {})",
                self.directory.version()
            ));
        };
        if !entry.status.is_active() {
            let status = entry.status;
            return mistake(format!(
                "{agency} is {status}: leave it out, with an omission if paragraph 3 names its State"
            ));
        }
        if entry.sealing_key_at(now).is_none() {
            return mistake(format!(
                "the directory lists no sealing key for {agency} at {now}: ask the authority"
            ));
        }
        if permitted.is_empty() {
            let denials: Vec<_> =
                denied.iter().map(|(index, denial)| format!("portion {index}: {denial}")).collect();
            let rule = format!(
                "{agency} may access no portion ({}); lower a label or leave it out",
                denials.join("; ")
            );
            return mistake(rule);
        }
        None
    }
}
