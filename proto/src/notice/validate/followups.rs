//! The rules about follow-ups: one part that says what it is, and what that part must say.

use super::Check;
use crate::envelope::NoticeKind;
use crate::notice::followup::{
    Decision, NoticeRef, ReleaseAction, ReleaseDecision, ReleaseRequest, Response, ResponseOutcome,
};
use crate::notice::part::{Content, PartType};

/// The part that makes a notice of its kind.
const OWN: [(PartType, NoticeKind); 5] = [
    (PartType::Response, NoticeKind::Response),
    (PartType::Correction, NoticeKind::Correction),
    (PartType::Withdrawal, NoticeKind::Withdrawal),
    (PartType::ReleaseRequest, NoticeKind::ReleaseRequest),
    (PartType::ReleaseDecision, NoticeKind::ReleaseDecision),
];

/// Whether a notice of this kind says nothing but what its own part and remarks say.
fn says_nothing_else(kind: NoticeKind) -> bool {
    match kind {
        NoticeKind::Withdrawal | NoticeKind::ReleaseRequest | NoticeKind::ReleaseDecision => true,
        NoticeKind::Travel
        | NoticeKind::Arrival
        | NoticeKind::Deportation
        | NoticeKind::Response
        | NoticeKind::Correction
        | NoticeKind::Receipt => false,
    }
}

impl Check<'_> {
    /// Exactly one part of its kind in a follow-up, and none in any other notice.
    pub(super) fn own_part(&mut self, kind: NoticeKind) {
        for (part_type, of) in OWN {
            if kind == of && self.count(part_type) == 0 && !self.has_unknown_part() {
                self.note("parts", "", &format!("a {kind} has a {part_type} part; add one"));
            }
            let here = self.written.parts.0.iter().enumerate();
            let here = here.filter(|(_, slot)| slot.part_type == Some(part_type));
            for (count, (index, _)) in here.enumerate() {
                let path = format!("parts[{index}].type");
                if kind != of {
                    self.note(&path, part_type, &format!("only a {of} has such a part"));
                } else if count > 0 {
                    let rule = format!("a {kind} has one {part_type} part; leave this one out");
                    self.note(&path, part_type, &rule);
                }
            }
        }
        let Some((own, _)) = OWN.into_iter().find(|(_, of)| *of == kind && says_nothing_else(kind)) else {
            return;
        };
        for (index, slot) in self.written.parts.0.iter().enumerate() {
            let Some(part_type) = slot.part_type else { continue };
            // Parts of other follow-ups were noted above.
            let noted = OWN.iter().any(|(other, _)| *other == part_type);
            if !noted && part_type != PartType::Remark {
                let rule = format!("a {kind} has one {own} part and remarks; leave this part out");
                self.note(&format!("parts[{index}].type"), part_type, &rule);
            }
        }
    }

    /// What the parts of follow-ups must say.
    pub(super) fn follow_up(&mut self, index: usize, content: &Content) {
        match content {
            Content::Response(response) => self.response(index, response),
            Content::Correction(correction) => self.replaces(index, &correction.replaces),
            Content::Withdrawal(withdrawal) => self.replaces(index, &withdrawal.replaces),
            Content::ReleaseRequest(request) => self.release_request(index, request),
            Content::ReleaseDecision(decision) => self.release_decision(index, decision),
            Content::Movement(_)
            | Content::Person(_)
            | Content::Custody(_)
            | Content::Grounds(_)
            | Content::Remark(_)
            | Content::Biometric(_)
            | Content::Receipt(_) => {}
        }
    }

    fn response(&mut self, index: usize, response: &Response) {
        let Response { outcome, text, .. } = response;
        if *outcome == ResponseOutcome::NeedMore && text.is_none() {
            let rule = "missing: NEED_MORE says in words what is needed";
            self.note(&format!("parts[{index}].text"), "", rule);
        }
    }

    /// Only the records of the agent know the whole chain and its digests.
    fn replaces(&mut self, index: usize, replaces: &[NoticeRef]) {
        if let Some(newest) = replaces.first() {
            let rule = "the agent fills this in from its own records; leave it out";
            self.note(&format!("parts[{index}].replaces"), newest.notice_id, rule);
        }
    }

    fn release_request(&mut self, index: usize, request: &ReleaseRequest) {
        let ReleaseRequest { action, to, under, .. } = request;
        self.scope(index, *action, to.is_empty(), under.is_none());
    }

    fn release_decision(&mut self, index: usize, decision: &ReleaseDecision) {
        let ReleaseDecision { decision, action, to, under, valid_until, .. } = decision;
        let path = format!("parts[{index}].valid_until");
        match (decision, valid_until) {
            (Decision::Granted, Some(until)) if *until <= self.now => {
                let rule = format!("it has passed (this node's clock: {}); write a later time", self.now);
                self.note(&path, until, &rule);
            }
            (Decision::Refused, Some(until)) => {
                self.note(&path, until, "what is refused is refused without an end; leave it out");
            }
            (Decision::Granted, Some(_)) | (Decision::Granted | Decision::Refused, None) => {}
        }
        if *decision == Decision::Granted {
            self.scope(index, *action, to.is_empty(), under.is_none());
        }
    }

    /// Leave is never asked or given for something open-ended.
    fn scope(&mut self, index: usize, action: ReleaseAction, to_nobody: bool, unlabelled: bool) {
        match action {
            ReleaseAction::Downgrade if unlabelled => {
                let rule = "missing: a DOWNGRADE names the lower label, such as RESTRICTED";
                self.note(&format!("parts[{index}].under"), "", rule);
            }
            ReleaseAction::Share if to_nobody => {
                let rule = "missing: a SHARE names the agencies it is for, such as [\"fra/border\"]";
                self.note(&format!("parts[{index}].to"), "", rule);
            }
            ReleaseAction::Downgrade | ReleaseAction::Share => {}
        }
    }
}
