//! What officers do with a received notice, and what its originator is told of it.
//!
//! Claimed: each officer's doing is on record, with its receipt, before anybody is shown or told anything (G9); and the
//! originator is told of each once (G5), however often it is repeated, also while it is still being written.

use std::collections::BTreeMap;

use valise_proto::crypto::sha256;
use valise_proto::id::{Digest, NoticeId, Timestamp};
use valise_proto::receipt::SignedReceipt;

use super::effect::Outgoing;
use super::{Afterwards, Change, Core, Effect, Event, Ticket};

/// What an officer does with a received notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Was shown it.
    Read,
    /// Acted upon it.
    Actioned,
    /// Found that it cannot be used here.
    Declined,
}

/// What an officer did with a received notice.
#[derive(Clone, Debug)]
pub struct OfficerStep {
    /// Which notice.
    pub notice_id: NoticeId,
    /// What.
    pub step: Step,
    /// Who.
    pub officer: String,
    /// When.
    pub at: Timestamp,
    /// The READ, ACTIONED or REJECTED receipt.
    pub receipt: SignedReceipt,
    /// The envelope that carries it.
    pub reply: Option<Box<Outgoing>>,
}

/// Which notice, what, and who.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepKey {
    /// Which notice.
    pub notice_id: NoticeId,
    /// What.
    pub step: Step,
    /// SHA-256 of the officer's name.
    pub officer: Digest,
}

impl StepKey {
    /// That of this officer.
    #[must_use]
    pub fn new(notice_id: NoticeId, step: Step, officer: &str) -> Self {
        Self { notice_id, step, officer: sha256(&[officer.as_bytes()]) }
    }
}

impl OfficerStep {
    /// What tells it from others.
    #[must_use]
    pub fn key(&self) -> StepKey {
        StepKey::new(self.notice_id, self.step, &self.officer)
    }
}

/// Those that are being written.
pub(super) type Underway = BTreeMap<StepKey, Ticket>;

impl Core {
    /// An officer is about to be shown a notice, or states something of it. `already` says that the store holds the same
    /// of this officer: only the first is recorded and told to the originator. `also` comes about in any case, before
    /// [`Event::Step`] follows.
    pub fn handle_step(&mut self, mut step: OfficerStep, mut also: Vec<Change>, already: bool) {
        let key = step.key();
        let event = Event::Step(key);
        // A first one under way is made durable before what is handed over after it.
        if !also.is_empty() && (already || self.steps.contains_key(&key)) {
            self.persist(also, Afterwards { events: vec![event], ..Afterwards::default() });
            return;
        }
        if let Some(ticket) = self.steps.get(&key) {
            if let Some(then) = self.tickets.get_mut(ticket) {
                then.events.push(event);
            }
            return;
        }
        if already {
            self.effects.push_back(Effect::Notify(event));
            return;
        }
        let mut then = Afterwards { events: vec![event], step: Some(key), ..Afterwards::default() };
        let reply = step.reply.take();
        also.push(Change::Step(Box::new(step)));
        also.extend(reply.map(|reply| self.queue(reply, &mut then)));
        let ticket = self.persist(also, then);
        self.steps.insert(key, ticket);
    }
}
