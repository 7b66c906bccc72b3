//! Who receives a notice, and which portions each recipient may access.
//!
//! Claimed: nobody who cannot be told keeps others from being told that a notice is out of force, and nobody is left out
//! in silence. Who holds what a notice takes out of force, and agencies of the own State, are listed as not told with the
//! rule that says so; whoever else cannot be told is a mistake, and nothing is sent.

use std::sync::Arc;

use valise_proto::directory::{AgencyEntry, AgencyStatus, Directory};
use valise_proto::envelope::{NoticeKind, PlainPortion, PortionIndex};
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::label::{Denial, may_access};
use zeroize::Zeroizing;

use super::content::{Content, Mistake, Named, Need, Safeguard};
use super::deadline::{Basis, RespondBy};
use super::derived::Derived;
use super::followup::{Chain, FOLLOW_UP_LABEL};
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
    /// The paragraph by which it is told, where there is one.
    pub rests_on: Option<&'static str>,
    need: Need,
}

/// Somebody who should be told and cannot be. Everybody else is told all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotTold {
    /// Who.
    pub agency: AgencyId,
    /// Why it should be told.
    pub reasons: Vec<String>,
    /// Whether it holds what the notice takes out of force, so that it is outstanding; otherwise it is an agency of the
    /// own State.
    pub holds: bool,
    /// The rule by which it is not.
    pub rule: String,
    /// The paragraph by which it should be, where there is one.
    pub rests_on: Option<&'static str>,
}

/// A notice whose recipients and their access are settled by the directory held here.
pub struct Addressed {
    pub(super) content: Content,
    pub(super) json: Zeroizing<Vec<u8>>,
    pub(super) portions: Vec<PlainPortion>,
    pub(super) addressees: Vec<Addressee>,
    pub(super) not_told: Vec<NotTold>,
    pub(super) directory: Arc<Directory>,
    /// The own agency.
    pub(super) me: AgencyId,
    /// Where it takes others out of force: the last moment at which a broker may still hand out a copy of one.
    pub(super) outlives: Option<Timestamp>,
    /// Where it is made from another notice.
    pub(super) derived: Option<Derived>,
}

/// What an earlier notice says about who is told, and for how long.
#[derive(Default)]
struct Before {
    holders: Vec<AgencyId>,
    expires_at: Option<Timestamp>,
}

pub(super) fn address(draft: Draft, office: &Office, now: Timestamp) -> Result<Addressed, ComposeError> {
    let Draft { content, json } = draft;
    let (content, before) = match content.kind() {
        NoticeKind::Correction | NoticeKind::Withdrawal => followed(content, office)?,
        NoticeKind::Response => answering(content, office)?,
        NoticeKind::Travel
        | NoticeKind::Arrival
        | NoticeKind::Deportation
        | NoticeKind::Receipt
        | NoticeKind::ReleaseRequest
        | NoticeKind::ReleaseDecision => (content, Before::default()),
    };
    let Before { holders, expires_at } = before;
    let addressed = addressed(Draft { content, json }, office, now, |content, directory| {
        content.addressees(office.agency(), directory, &holders)
    })?;
    // Nothing is carried longer than that, whatever the clock said before.
    let latest = now.plus(office.limits().lifetime_max);
    Ok(Addressed { outlives: expires_at.map(|at| at.min(latest)), ..addressed })
}

/// What a correction or withdrawal takes out of force is filled in; it goes to everybody who was sent any of it.
fn followed(content: Content, office: &Office) -> Result<(Content, Before), ComposeError> {
    let Some(newest) = content.supersedes().or(content.withdraws()) else {
        return Ok((content, Before::default()));
    };
    let Chain { replaces, holders, expires_at } = Chain::of(office.store(), &newest)?;
    let content = content.with_replaces(replaces);
    let content = content.map_err(|mistake| ComposeError::Mistakes(vec![mistake]))?;
    Ok((content, Before { holders: holders.into_iter().collect(), expires_at }))
}

/// An answer is to a notice that was received here and counts, no less protected than what it is about, and for the
/// originator of that notice alone.
fn answering(content: Content, office: &Office) -> Result<(Content, Before), ComposeError> {
    let Some(answered) = content.in_reply_to() else { return Ok((content, Before::default())) };
    let (verified, opened) = showing::open(office, &answered)?;
    let originator = verified.header().originator.clone();
    let mut mistakes = content.check_answer(&opened);
    for (index, agency) in content.recipients().iter().enumerate().filter(|(_, it)| **it != originator) {
        let rule = format!(
            "an answer goes to the originator of what it answers, {originator}, alone; leave this out"
        );
        mistakes.push(Mistake::new(&format!("recipients[{index}]"), agency, &rule));
    }
    let before = Before { holders: vec![originator], expires_at: None };
    if mistakes.is_empty() { Ok((content, before)) } else { Err(ComposeError::Mistakes(mistakes)) }
}

/// Settles the access of whoever `who` says is addressed.
pub(super) fn addressed(
    draft: Draft,
    office: &Office,
    now: Timestamp,
    who: impl FnOnce(&Content, &Directory) -> Result<Vec<Named>, Vec<Mistake>>,
) -> Result<Addressed, ComposeError> {
    let directory = office.directory();
    office.check_fresh(&directory, now)?;
    let Draft { content, json } = draft;
    let portions = content.portions();
    check_origination(office.agency(), &directory, &content, &portions)?;
    let named = who(&content, &directory).map_err(ComposeError::Mistakes)?;
    let (mut addressees, mut not_told) = (Vec::new(), Vec::new());
    for Named { agency, reasons, need, rests_on } in named {
        let (permitted, denied) = match directory.agency(&agency) {
            Some(entry) => decide(entry, &portions),
            None => (Vec::new(), Vec::new()),
        };
        let addressee = Addressee { agency, reasons, permitted, denied, need, rests_on };
        match addressee.unreached(&directory, now).filter(|_| need.may_fail()) {
            Some(why) => not_told.push(addressee.not_told(&why)),
            None => addressees.push(addressee),
        }
    }
    let (me, outlives, derived) = (office.agency().clone(), None, None);
    Ok(Addressed { content, json, portions, addressees, not_told, directory, me, outlives, derived })
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

/// Why an agency cannot be sent a notice.
enum Unreached {
    NotListed { version: u64 },
    Inactive(AgencyStatus),
    NoKey { at: Timestamp },
    NoPortion { denials: String },
}

impl std::fmt::Display for Unreached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotListed { version } => write!(f, "is not in the directory (version {version})"),
            Self::Inactive(status) => write!(f, "is {status}"),
            Self::NoKey { at } => write!(f, "has no sealing key in the directory at {at}"),
            Self::NoPortion { denials } => write!(f, "may access no portion ({denials})"),
        }
    }
}

impl Unreached {
    /// What the author can do.
    fn mend(&self) -> &'static str {
        match self {
            Self::NotListed { .. } => "take it off, or ask the authority",
            Self::Inactive(_) => "leave it out",
            Self::NoKey { .. } => "ask the authority, or leave it out",
            Self::NoPortion { .. } => "lower a label or leave it out",
        }
    }
}

impl Addressee {
    fn unreached(&self, directory: &Directory, now: Timestamp) -> Option<Unreached> {
        let Some(entry) = directory.agency(&self.agency) else {
            return Some(Unreached::NotListed { version: directory.version() });
        };
        if !entry.status.is_active() {
            return Some(Unreached::Inactive(entry.status));
        }
        if entry.sealing_key_at(now).is_none() {
            return Some(Unreached::NoKey { at: now });
        }
        let denial = |(index, denial): &(PortionIndex, Denial)| format!("portion {index}: {denial}");
        let denials = || self.denied.iter().map(denial).collect::<Vec<_>>().join("; ");
        self.permitted.is_empty().then(|| Unreached::NoPortion { denials: denials() })
    }

    fn not_told(self, why: &Unreached) -> NotTold {
        let Self { agency, reasons, need, rests_on, .. } = self;
        let rule = format!("{agency} {why}");
        NotTold { agency, reasons, holds: need == Need::Holder, rule, rests_on }
    }

    fn mistake(&self, why: &Unreached) -> Mistake {
        let Self { agency, need, .. } = self;
        let (mend, state) = (why.mend(), agency.state());
        match need {
            Need::Paragraph3 => {
                let rule = format!(
                    "{agency} {why}; {mend}: where it cannot be told, add the omission {{\"state\": \"{state}\", \
                     \"reason\": …}} with the true reason"
                );
                Mistake::against(Safeguard::NobodyForgotten, "recipients", agency, &rule)
            }
            Need::Named | Need::Holder | Need::Domestic => {
                Mistake::new("recipients", agency, &format!("{agency} {why}; {mend}"))
            }
        }
    }
}

impl Addressed {
    /// Who receives it.
    #[must_use]
    pub fn addressees(&self) -> &[Addressee] {
        &self.addressees
    }

    /// Who should and does not.
    #[must_use]
    pub fn not_told(&self) -> &[NotTold] {
        &self.not_told
    }

    /// When the broker deletes it: nobody is to keep it beyond its `review_by`, so neither is the broker. What takes
    /// others out of force stays for as long as a copy of one of them may wait.
    #[must_use]
    pub fn expires_at(&self, config: &Config, now: Timestamp) -> Timestamp {
        let derived = self.derived.as_ref().map(|derived| derived.expires_at);
        let wanted = derived.or(self.content.expires_at()).unwrap_or_else(|| now.plus(config.lifetime));
        let wanted = self.outlives.map_or(wanted, |outlives| wanted.max(outlives));
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

    /// Why it cannot be sealed: recipients that are unknown, suspended, without a key, or cleared for nothing, nobody
    /// who is left; an answer that is asked for too late; a follow-up of which somebody could not read what it takes out
    /// of force, or which a copy of that would outlive.
    #[must_use]
    pub fn mistakes(&self, config: &Config, now: Timestamp) -> Vec<Mistake> {
        let of = |addressee: &Addressee| Some(addressee.mistake(&addressee.unreached(&self.directory, now)?));
        let mut mistakes: Vec<_> = self.addressees.iter().filter_map(of).collect();
        mistakes.extend(self.basis(config, now).mistake(now));
        if self.addressees.is_empty() {
            let rules: Vec<_> = self.not_told.iter().map(|one| one.rule.as_str()).collect();
            let rule = match rules.is_empty() {
                true => "nobody would receive this notice: name a recipient".to_owned(),
                false => format!("nobody is left who would receive this notice: {}", rules.join("; ")),
            };
            mistakes.push(Mistake::new("recipients", "", &rule));
        }
        mistakes.extend(self.unread_follow_up());
        mistakes.extend(self.outlived());
        mistakes
    }

    /// A correction that is kept less long than a copy of what it corrects may wait would let that copy be shown.
    fn outlived(&self) -> Option<Mistake> {
        let (outlives, review_by) = (self.outlives?, self.content.review_by()?);
        let rule = format!(
            "a copy of what this corrects may wait at a broker until {outlives}: write that or later, or withdraw that \
             notice and send a new one"
        );
        (review_by < outlives).then(|| Mistake::new("review_by", review_by, &rule))
    }

    /// Whoever is sent a correction or withdrawal has to be able to open the part that says what it takes out of force:
    /// without it a recipient rejects the notice and keeps what it holds.
    fn unread_follow_up(&self) -> Option<Mistake> {
        let (part, portion) = self.content.takes_out_of_force()?;
        let closed = |addressee: &Addressee| {
            let denied = addressee.denied.iter().find(|(index, _)| index.get() == portion);
            let (_, denial) = denied.filter(|_| !addressee.permitted.is_empty())?;
            Some(format!("{} ({denial})", addressee.agency))
        };
        let closed: Vec<_> = self.addressees.iter().filter_map(closed).collect();
        let label = self.portions.get(portion).filter(|_| !closed.is_empty())?.label.to_string();
        let rule = format!(
            "this part says what is taken out of force, and {} could not open it, would reject the notice and keep \
             what it holds: write {FOLLOW_UP_LABEL}, which everybody may open",
            closed.join(", ")
        );
        Some(Mistake::new(&format!("parts[{part}].label"), label, &rule))
    }
}
