//! What a follow-up says: the answer, the reason of a correction or withdrawal, and asking and giving leave to pass on.

use super::json::{codes, record};
use super::part::LocalId;
use super::text::{List, Prose};
use crate::envelope::PortionIndex;
use crate::id::{AgencyId, Digest, NoticeId, Timestamp};
use crate::label::Label;
use crate::wire::limits::Limits;

/// Most notices that one correction or withdrawal takes out of force.
pub const REPLACES_MAX: usize = 32;
/// Most portions, and most agencies, that a release names.
const PORTIONS_MAX: usize = Limits::DEFAULT.portions_max;
const AGENCIES_MAX: usize = Limits::DEFAULT.recipients_max;

codes! {
    /// What came of a notice at a recipient.
    pub enum ResponseOutcome {
        /// The person is known there, or was met.
        Match = "MATCH",
        /// The person is not known there, and was not met.
        NoMatch = "NO_MATCH",
        /// More has to be known before it can be answered; the text says what.
        NeedMore = "NEED_MORE",
        /// The recipient will act on it.
        WillAct = "WILL_ACT",
    }
}

record! {
    /// What a RESPONSE answers.
    pub struct Response {
        /// The answer in one word.
        outcome: ResponseOutcome,
        /// The parts it is about, by their ids in the notice that is answered; without any it is about the whole.
        about: List<LocalId, 0, 32>,
        /// The answer in words; NEED_MORE says what is needed.
        text: Option<Prose<8192>>,
    }
}

record! {
    /// A notice that was sent before, by its id and the SHA-256 of its header.
    pub struct NoticeRef {
        /// Its id.
        notice_id: NoticeId,
        /// SHA-256 of its header.
        header_digest: Digest,
    }
}

record! {
    /// Why a CORRECTION takes the place of an earlier notice. Its other parts are the content as it should be.
    pub struct Correction {
        /// What was wrong.
        reason: Prose<2048>,
        /// The notices that are taken out of force, newest first. The author leaves it out; the agent fills it in.
        replaces: List<NoticeRef, 0, REPLACES_MAX>,
    }
}

record! {
    /// Why an earlier notice is taken back.
    pub struct Withdrawal {
        /// The reason.
        reason: Prose<2048>,
        /// The notices that are taken out of force, newest first. The author leaves it out; the agent fills it in.
        replaces: List<NoticeRef, 0, REPLACES_MAX>,
    }
}

codes! {
    /// What leave is for (S/RES/2396, paragraph 8).
    pub enum ReleaseAction {
        /// To make a notice of it under a lower label.
        Downgrade = "DOWNGRADE",
        /// To share it with others.
        Share = "SHARE",
    }
}

codes! {
    /// What the originator decides.
    pub enum Decision {
        /// Leave is given.
        Granted = "GRANTED",
        /// Leave is not given.
        Refused = "REFUSED",
    }
}

record! {
    /// What a RELEASE_REQUEST asks of the originator of the notice that it replies to.
    pub struct ReleaseRequest {
        /// To share it, or to lower its label.
        action: ReleaseAction,
        /// Which portions of the notice: their places in its header, from 0.
        portions: List<PortionIndex, 1, PORTIONS_MAX>,
        /// To whom it is to go. SHARE names at least one.
        to: List<AgencyId, 0, AGENCIES_MAX>,
        /// Under which label; DOWNGRADE needs one.
        under: Option<Label>,
        /// Why it is needed.
        justification: Prose<2048>,
    }
}

record! {
    /// What a RELEASE_DECISION answers to the request that it replies to. It covers what it names and nothing else.
    pub struct ReleaseDecision {
        /// Whether leave is given.
        decision: Decision,
        /// What for.
        action: ReleaseAction,
        /// The notice that may, or may not, be passed on.
        about: NoticeRef,
        /// Which portions of it.
        portions: List<PortionIndex, 1, PORTIONS_MAX>,
        /// To whom.
        to: List<AgencyId, 0, AGENCIES_MAX>,
        /// Under which label, and no lower one.
        under: Option<Label>,
        /// Until when leave is given; without it, until it is withdrawn.
        valid_until: Option<Timestamp>,
        /// What the originator adds in words.
        text: Option<Prose<2048>>,
    }
}
