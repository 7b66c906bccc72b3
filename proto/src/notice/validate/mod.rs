//! The rules about a notice as a whole. They work on what could be read, so that one wrong value hides no other
//! mistake; where a rule needs what could not be read, it says nothing. `journey` has the rules about movements and
//! moments, `person` those about persons and their documents, `followups` those about what follows a notice up.

mod followups;
mod journey;
mod person;

use std::collections::BTreeSet;

use crate::envelope::NoticeKind;
use crate::id::Timestamp;
use crate::label::Label;
use crate::notice::mistake::Mistake;
use crate::notice::movement::MovementEvent;
use crate::notice::part::{Content, LocalId, PartType};
use crate::notice::person::{Person, PersonRole};
use crate::notice::safeguards::{self, Safeguard};
use crate::notice::written::{Given, OmissionReason, Written};
use crate::wire::limits::Limits;

/// What the rules look at, and where they note mistakes.
pub(in crate::notice) struct Check<'a> {
    pub(in crate::notice) written: &'a Written,
    pub(in crate::notice) now: Timestamp,
    pub(in crate::notice) mistakes: &'a mut Vec<Mistake>,
}

/// Checks every rule.
pub(in crate::notice) fn check(written: &Written, now: Timestamp, mistakes: &mut Vec<Mistake>) {
    let mut check = Check { written, now, mistakes };
    check.times();
    check.references();
    check.labels();
    check.omissions();
    if let Some(kind) = written.kind.0 {
        check.links(kind);
        check.terms(kind);
        check.parts_of(kind);
        check.movements(kind);
    }
    for (index, slot) in written.parts.0.iter().enumerate() {
        let Some(content) = &slot.content else { continue };
        match content {
            Content::Movement(movement) => check.journey(index, movement),
            Content::Person(person) => check.person(index, person),
            Content::Custody(custody) => check.custody(index, custody),
            Content::Biometric(biometric) => {
                check.has_been(&format!("parts[{index}].captured_at"), biometric.captured_at.as_ref());
            }
            Content::Response(_)
            | Content::Correction(_)
            | Content::Withdrawal(_)
            | Content::ReleaseRequest(_)
            | Content::ReleaseDecision(_) => check.follow_up(index, content),
            Content::Grounds(_) | Content::Remark(_) | Content::Receipt(_) => {}
        }
    }
    safeguards::check(&mut check);
}

/// Whether a notice of this kind opens a matter, so that paragraph 3 says who is to be told.
pub(in crate::notice) fn opens_matter(kind: NoticeKind) -> Option<MovementEvent> {
    match kind {
        NoticeKind::Travel => Some(MovementEvent::Travel),
        NoticeKind::Arrival => Some(MovementEvent::Arrival),
        NoticeKind::Deportation => Some(MovementEvent::Deportation),
        NoticeKind::Response
        | NoticeKind::Correction
        | NoticeKind::Withdrawal
        | NoticeKind::Receipt
        | NoticeKind::ReleaseRequest
        | NoticeKind::ReleaseDecision => None,
    }
}

/// Whether paragraph 3 says who is to be told: of notices that open a matter, and of what takes their place.
pub(in crate::notice) fn is_addressed_by_paragraph_3(kind: NoticeKind) -> bool {
    opens_matter(kind).is_some() || kind == NoticeKind::Correction
}

/// Why authors cannot write notices of this kind.
fn not_written(kind: NoticeKind) -> Option<&'static str> {
    match kind {
        NoticeKind::Travel
        | NoticeKind::Arrival
        | NoticeKind::Deportation
        | NoticeKind::Response
        | NoticeKind::Correction
        | NoticeKind::Withdrawal
        | NoticeKind::ReleaseRequest
        | NoticeKind::ReleaseDecision => None,
        NoticeKind::Receipt => Some("receipts are issued and signed by nodes; they are not written by hand"),
    }
}

impl Check<'_> {
    pub(in crate::notice) fn note(&mut self, path: &str, value: impl ToString, rule: &str) {
        self.mistakes.push(Mistake::new(path, value, rule));
    }

    /// Notes what falls short of a safeguard.
    pub(in crate::notice) fn refuse(&mut self, of: Safeguard, path: &str, value: impl ToString, rule: &str) {
        self.mistakes.push(Mistake::against(of, path, value, rule));
    }

    /// The parts that could be read as persons, with their places and ids.
    pub(in crate::notice) fn persons(&self) -> impl Iterator<Item = (usize, Option<&LocalId>, &Person)> {
        self.written.parts.0.iter().enumerate().filter_map(|(index, slot)| {
            let person = slot.content.as_ref().and_then(Content::as_person)?;
            Some((index, slot.id(), person))
        })
    }

    fn count(&self, part_type: PartType) -> usize {
        self.written.parts.0.iter().filter(|slot| slot.part_type == Some(part_type)).count()
    }

    fn times(&mut self) {
        let Written { review_by, respond_by, expires_at, .. } = self.written;
        let named = [("review_by", review_by), ("respond_by", respond_by), ("expires_at", expires_at)];
        for (name, time) in named {
            if let Some(time) = time.value().filter(|time| **time <= self.now) {
                self.note(
                    name,
                    time,
                    &format!("it has passed (this node's clock: {}); write a later time", self.now),
                );
            }
        }
        let latest = self.now.plus(Limits::DEFAULT.lifetime_max);
        if let Some(time) = expires_at.value().filter(|time| **time > latest) {
            self.note(
                "expires_at",
                time,
                &format!("brokers keep a notice for at most 366 days: until {latest}"),
            );
        }
        if let (Some(expires_at), Some(review_by)) = (expires_at.value(), review_by.value())
            && expires_at > review_by
        {
            let rule = format!(
                "it is after review_by, {review_by}, beyond which nobody keeps it; write an earlier time"
            );
            self.note("expires_at", expires_at, &rule);
        }
        if let (Some(respond_by), Some(expires_at)) = (respond_by.value(), expires_at.value())
            && respond_by > expires_at
        {
            self.note(
                "respond_by",
                respond_by,
                &format!("it is after expires_at, {expires_at}; write an earlier time"),
            );
        }
    }

    fn links(&mut self, kind: NoticeKind) {
        if let Some(rule) = not_written(kind) {
            self.note("kind", kind, rule);
            return;
        }
        let Written { in_reply_to, supersedes, withdraws, .. } = self.written;
        let replies = [NoticeKind::Response, NoticeKind::ReleaseRequest, NoticeKind::ReleaseDecision];
        for (name, link, of) in [
            ("in_reply_to", in_reply_to, &replies[..]),
            ("supersedes", supersedes, &[NoticeKind::Correction]),
            ("withdraws", withdraws, &[NoticeKind::Withdrawal]),
        ] {
            if of.contains(&kind) && link.is_absent() {
                self.note(name, "", &format!("missing: a {kind} needs the id of the notice it follows up"));
            }
            if let Some(id) = link.value().filter(|_| !of.contains(&kind)) {
                let of: Vec<_> = of.iter().map(ToString::to_string).collect();
                let of = of.join(" or ");
                self.note(name, id, &format!("only a {of} has it, and this is a {kind}; leave it out"));
            }
        }
    }

    /// Whoever is told about a person is told on what basis, what for, and until when.
    fn terms(&mut self, kind: NoticeKind) {
        let Written { legal_basis, purpose, review_by, .. } = self.written;
        let needed = opens_matter(kind).is_some() || self.count(PartType::Person) > 0;
        let absent = [legal_basis.is_absent(), purpose.is_absent()];
        if !needed && review_by.is_absent() && absent.iter().all(|absent| *absent) {
            return;
        }
        let rule = if needed {
            format!("missing: a {kind} about persons has a legal_basis and a purpose")
        } else {
            "missing: legal_basis and purpose are given together, and with review_by, or not at all"
                .to_owned()
        };
        for (name, absent) in ["legal_basis", "purpose"].into_iter().zip(absent) {
            if absent {
                self.refuse(Safeguard::LawfulPurpose, name, "", &rule);
            }
        }
    }

    /// Which parts a notice of this kind has.
    fn parts_of(&mut self, kind: NoticeKind) {
        self.own_part(kind);
        let subject = self.persons().any(|(_, _, person)| person.role == PersonRole::Subject);
        if opens_matter(kind).is_some() && !subject && !self.has_unread(PartType::Person) {
            self.note(
                "parts",
                "",
                &format!("a {kind} is about someone: add a person part with the role SUBJECT"),
            );
        }
    }

    /// Whether a part could not be read that may have been of this type.
    fn has_unread(&self, part_type: PartType) -> bool {
        self.has_unknown_part() || self.written.parts.0.iter().any(|slot| slot.is_unread(part_type))
    }

    /// Whether a part's type could not be read, or the parts themselves.
    fn has_unknown_part(&self) -> bool {
        self.written.parts.0.is_empty() || self.written.parts.0.iter().any(|slot| slot.part_type.is_none())
    }

    fn references(&mut self) {
        let slots = &self.written.parts.0;
        let mut ids = BTreeSet::new();
        let mut unreadable = self.has_unknown_part();
        for (index, slot) in slots.iter().enumerate() {
            let path = format!("parts[{index}].id");
            match &slot.id {
                Some(Some(id)) if !ids.insert(id) => {
                    self.mistakes.push(Mistake::new(
                        &path,
                        id,
                        "another part has this id; give each its own",
                    ));
                }
                Some(Some(_)) => {}
                Some(None) if slot.part_type == Some(PartType::Person) => {
                    unreadable = true;
                    self.mistakes.push(Mistake::new(&path, "", "missing: a person has an id, such as p1"));
                }
                Some(None) => {}
                None => unreadable = true,
            }
        }
        for (index, slot) in slots.iter().enumerate() {
            let Some(content) = &slot.content else { continue };
            let Some(about) = content.about().filter(|_| !unreadable) else { continue };
            let target = slots.iter().find(|slot| slot.id() == Some(about));
            let rule = match (target.map(|slot| slot.part_type), content.part_type()) {
                (None, _) => "no part has this id",
                (Some(Some(PartType::Person)), _) | (Some(_), PartType::Remark) => continue,
                (Some(_), _) => "this part is not a person",
            };
            self.mistakes.push(Mistake::new(&format!("parts[{index}].about"), about, rule));
        }
    }

    fn labels(&mut self) {
        let default = self.written.label.value();
        let mut distinct: BTreeSet<&Label> = BTreeSet::new();
        for (index, slot) in self.written.parts.0.iter().enumerate() {
            match &slot.label {
                Some(Some(label)) => {
                    distinct.insert(label);
                }
                Some(None) if self.written.label.is_absent() => {
                    let rule = "missing: give the part a label, or the notice one that its parts take";
                    self.mistakes.push(Mistake::new(&format!("parts[{index}].label"), "", rule));
                }
                Some(None) => distinct.extend(default),
                None => {}
            }
        }
        let max = Limits::DEFAULT.portions_max;
        if distinct.len() > max {
            let rule = format!(
                "{} different labels make as many portions; a notice has at most {max}",
                distinct.len()
            );
            self.note("parts", "", &rule);
        }
    }

    fn omissions(&mut self) {
        let Given(Some(omissions)) = &self.written.omissions else { return };
        for (index, omission) in omissions.iter().enumerate() {
            if omission.reason == OmissionReason::Other && omission.text.is_none() {
                let rule = "missing: the reason OTHER is given in words";
                self.note(&format!("omissions[{index}].text"), "", rule);
            }
            if omissions.iter().take(index).any(|earlier| earlier.state == omission.state) {
                let rule = "this State is left out twice; keep one omission";
                self.note(&format!("omissions[{index}].state"), omission.state, rule);
            }
        }
    }
}

#[cfg(test)]
mod tests;
