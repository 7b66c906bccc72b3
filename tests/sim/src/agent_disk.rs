//! An agency's stable storage. A change is applied as a whole or not at all; when it was not confirmed before a crash,
//! either may be found afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use valise_agent::core::{
    Alarm, Change, Memory, OfficerStep, OutboxSeq, Outcome, Outgoing, Queued, Seen, SentFacts, Side, Stage,
    is_for_officers,
};
use valise_proto::directory::Directory;
use valise_proto::envelope::{NoticeKind, VerifiedEnvelope};
use valise_proto::id::{Digest, NoticeId};
use valise_proto::receipt::ReceiptKind;

use crate::Violation;
use crate::model::Model;

/// What an agency has on stable storage.
#[derive(Debug)]
pub(crate) struct AgentDisk {
    agency: usize,
    pub(crate) directory: Arc<Directory>,
    outbox: BTreeMap<OutboxSeq, Queued>,
    envelopes: BTreeMap<NoticeId, Bytes>,
    pub(crate) sent: BTreeMap<NoticeId, SentFacts>,
    seen: BTreeMap<NoticeId, Seen>,
    pub(crate) received: BTreeMap<NoticeId, VerifiedEnvelope>,
    read: BTreeSet<NoticeId>,
    alarms: BTreeSet<Alarm>,
}

impl AgentDisk {
    pub(crate) fn new(agency: usize, directory: Arc<Directory>) -> Self {
        Self {
            agency,
            directory,
            outbox: BTreeMap::new(),
            envelopes: BTreeMap::new(),
            sent: BTreeMap::new(),
            seen: BTreeMap::new(),
            received: BTreeMap::new(),
            read: BTreeSet::new(),
            alarms: BTreeSet::new(),
        }
    }

    /// What a node starts from.
    pub(crate) fn memory(&self) -> Memory {
        Memory {
            outbox: self.outbox.values().cloned().collect(),
            seen: self.seen.values().copied().collect(),
            alarms: self.alarms.iter().copied().collect(),
            reviews: Vec::new(),
        }
    }

    /// A node that forgets what it took in, as none may.
    pub(crate) fn forget_seen(&mut self) {
        self.seen.clear();
        self.received.clear();
    }

    pub(crate) fn outgoing(&self, notice_id: &NoticeId) -> Option<&Bytes> {
        self.envelopes.get(notice_id)
    }

    pub(crate) fn has_seen(&self, seen: &Seen) -> bool {
        self.seen.get(&seen.notice_id).is_some_and(|known| known.header_digest == seen.header_digest)
    }

    pub(crate) fn received_digest(&self, notice_id: &NoticeId) -> Option<Digest> {
        self.received.get(notice_id).map(|verified| verified.envelope().header_digest())
    }

    pub(crate) fn is_read(&self, notice_id: &NoticeId) -> bool {
        self.read.contains(notice_id)
    }

    /// Applies changes that belong together, and tells the model.
    pub(crate) fn apply(&mut self, changes: Vec<Change>, model: &mut Model) -> Result<(), Violation> {
        let agency = self.agency;
        for change in changes {
            match change {
                Change::Queue { seq, outgoing } => self.queue(seq, *outgoing, model)?,
                Change::Unqueue { queued, outcome } => self.unqueue(&queued, &outcome, model)?,
                Change::Receive(received) => {
                    model.shown(agency, &received.envelope, &received.directory)?;
                    self.alarms.extend(received.alarm());
                    let seen = received.seen();
                    self.seen.insert(seen.notice_id, seen);
                    self.received.insert(seen.notice_id, received.envelope);
                }
                Change::SetAside(aside) => {
                    model.set_aside(agency, &aside.bytes);
                    if let Some(seen) = aside.seen {
                        self.seen.insert(seen.notice_id, seen);
                    }
                }
                Change::Record(receipt) => model.receipt_recorded(agency, receipt.signed())?,
                Change::Remember(seen) => {
                    model.remembered(agency, seen.header_digest);
                    self.seen.insert(seen.notice_id, seen);
                }
                Change::Forget(forgotten) => {
                    for seen in forgotten {
                        self.seen.remove(&seen.notice_id);
                    }
                }
                Change::Step(step) => {
                    let OfficerStep { notice_id, receipt, .. } = *step;
                    let first = self.read.insert(notice_id) && receipt.receipt().kind == ReceiptKind::Read;
                    Violation::unless(first, "G5", || {
                        format!("agency {agency} recorded two first readings of {notice_id}")
                    })?;
                }
                Change::Journal(_)
                | Change::Officers(_)
                | Change::Pend(_)
                | Change::Unpend(_)
                | Change::Reviewed(_)
                | Change::Erase { .. }
                | Change::Purge(_) => {}
                Change::Rang { entry, told, next } => {
                    self.alarms.remove(&entry);
                    self.alarms.extend(next);
                    if entry.side == Side::Originator && told == Stage::Over {
                        model.deadline_passed(agency, &entry)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn queue(&mut self, seq: OutboxSeq, outgoing: Outgoing, model: &mut Model) -> Result<(), Violation> {
        let queued = outgoing.queued(seq);
        let notice_id = queued.notice_id;
        model.queued(self.agency, outgoing.envelope.header_digest())?;
        self.alarms.extend(outgoing.alarm());
        if is_for_officers(queued.kind) {
            let header = outgoing.envelope.header();
            let facts = SentFacts {
                notice_id,
                header_digest: outgoing.envelope.header_digest(),
                recipients: header.recipients.clone(),
                expires_at: header.expires_at,
                accepted_by: None,
            };
            self.sent.insert(notice_id, facts);
        }
        self.envelopes.insert(notice_id, outgoing.encoded);
        if self.outbox.insert(seq, queued).is_some() {
            return Err(Violation::new(
                "G4",
                format!("two envelopes took one place in the outbox of {}", self.agency),
            ));
        }
        Ok(())
    }

    fn unqueue(&mut self, queued: &Queued, outcome: &Outcome, model: &mut Model) -> Result<(), Violation> {
        self.outbox.remove(&queued.seq);
        let digest = self.envelopes.get(&queued.notice_id).map(digest_of).transpose()?;
        model.left_outbox(self.agency, digest, outcome)?;
        match outcome {
            Outcome::Answered(answer) if answer.refusal().is_none() => {
                if let Some(facts) = self.sent.get_mut(&queued.notice_id) {
                    facts.accepted_by = Some(answer.receipt().receipt().issuer.clone());
                }
            }
            Outcome::Answered(_) | Outcome::Lapsed(_) | Outcome::Unsendable { .. } => {}
        }
        if queued.kind == NoticeKind::Receipt {
            self.envelopes.remove(&queued.notice_id);
        }
        Ok(())
    }
}

fn digest_of(bytes: &Bytes) -> Result<Digest, Violation> {
    let limits = valise_proto::wire::limits::Limits::DEFAULT;
    let envelope = valise_proto::envelope::Envelope::decode(bytes.clone(), &limits);
    envelope.map(|envelope| envelope.header_digest()).map_err(Violation::surprise)
}
