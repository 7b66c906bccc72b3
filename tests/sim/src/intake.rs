//! The broker's intake in the simulated world: judging what is submitted, group commit, and the sweep, as
//! `valise_broker::server` does it.

use std::collections::VecDeque;

use bytes::Bytes;
use valise_broker::core::About;
use valise_broker::store::{Acceptance, Operation, Outcome, Quota, Store};
use valise_proto::crypto::sha256;
use valise_proto::envelope::{Precedence, VerifiedEnvelope};
use valise_proto::id::{AgencyId, Digest, NoticeId, Timestamp};
use valise_proto::receipt::{Receipt, ReceiptKind, SignedReceipt};
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::Signed;
use valise_proto::wire::session::Submitted;

use crate::Violation;
use crate::broker::Broker;
use crate::exchange::broker_identity;
use crate::network::{ConnId, Frame, Lane, Side};
use crate::plan::Mutation;
use crate::schedule::{BrokerEvent, Event};
use crate::stage::Stage;

/// Most operations in one group.
const GROUP_OPERATIONS_MAX: usize = 16;
/// Entries of the calendar looked at in one step.
const SWEEP_COUNT: usize = 4;
/// How long the operator takes to start a broker whose store failed.
const RESTART_MS: u64 = 4_000;

type Inboxes = Vec<(AgencyId, Precedence)>;

/// What the committer has before it.
#[derive(Debug, Default)]
pub(crate) struct Committing {
    waiting: VecDeque<Submission>,
    writing: Option<Vec<(Submission, Vec<Outcome>)>>,
}

#[derive(Debug)]
struct Submission {
    operations: Vec<Operation>,
    then: Then,
}

/// What follows once it is durable.
#[derive(Debug)]
enum Then {
    Nothing,
    Answer(Box<Pending>),
    Swept { told: Inboxes, at: Timestamp, more: bool },
}

#[derive(Debug)]
struct Pending {
    conn: ConnId,
    ordinal: u64,
    about: (Option<NoticeId>, Digest),
    recipients: Vec<AgencyId>,
    precedence: Precedence,
    receipt: SignedReceipt,
}

impl Broker {
    fn sign(
        &self,
        kind: ReceiptKind,
        (notice_id, header_digest): (Option<NoticeId>, Digest),
        recipient: Option<AgencyId>,
        refusal: Option<Refusal>,
        stage: &Stage,
    ) -> Result<SignedReceipt, Violation> {
        let (issuer, at) = (broker_identity()?, self.now(stage));
        let receipt = Receipt {
            kind,
            notice_id,
            header_digest,
            issuer,
            recipient,
            at,
            officer: None,
            refusal,
            portions: Vec::new(),
            cause: None,
        };
        Ok(receipt.sign(&stage.authority.receipt_key))
    }

    /// Verification, decision and receipt, on a worker thread.
    pub(crate) fn judge(
        &mut self,
        conn: ConnId,
        precedence: Precedence,
        ordinal: u64,
        frame: Bytes,
        stage: &mut Stage,
    ) -> Result<(), Violation> {
        let now = self.now(stage);
        let agency = self.caller(conn)?;
        let Some(process) = &self.process else { return Ok(()) };
        match process.admission.admit(&agency, precedence, frame.clone(), now) {
            Ok(verified) => {
                stage.model.admitted(&agency, verified.header(), self.directory(), now)?;
                let about = (Some(verified.header().notice_id), verified.envelope().header_digest());
                let receipt = self.sign(ReceiptKind::Accepted, about, None, None, stage)?;
                let acceptance = acceptance(&verified, frame, &receipt);
                let recipients = acceptance.recipients.clone();
                let pending = Pending { conn, ordinal, about, recipients, precedence, receipt };
                let operations = vec![Operation::Accept(acceptance)];
                self.submit(Submission { operations, then: Then::Answer(Box::new(pending)) });
                Ok(())
            }
            Err((about, refusal)) => {
                stage.note(|| format!("broker refuses {about:?}: {refusal}"));
                let first = about.and_then(|about| self.accepted_before(&agency, about, &refusal));
                let receipt = match first {
                    Some(first) => first,
                    None => {
                        let about = about.map_or_else(
                            || (None, sha256(&[&frame])),
                            |About { notice_id, header_digest }| (Some(notice_id), header_digest),
                        );
                        self.sign(ReceiptKind::Refused, about, None, Some(refusal), stage)?
                    }
                };
                self.answer(conn, precedence, ordinal, &receipt, stage)
            }
        }
    }

    fn accepted_before(&self, agency: &AgencyId, about: About, refusal: &Refusal) -> Option<SignedReceipt> {
        let passes = match refusal.code {
            RefusalCode::UnknownAgency
            | RefusalCode::Suspended
            | RefusalCode::Revoked
            | RefusalCode::KeyNotActive
            | RefusalCode::LabelPolicy
            | RefusalCode::NotClearedToOriginate
            | RefusalCode::RecipientNotCleared
            | RefusalCode::Expired
            | RefusalCode::ClockSkew
            | RefusalCode::TooLarge
            | RefusalCode::DirectoryStale => true,
            RefusalCode::Malformed
            | RefusalCode::UnsupportedVersion
            | RefusalCode::NotOriginator
            | RefusalCode::BadSignature
            | RefusalCode::IdConflict
            | RefusalCode::Declined
            | RefusalCode::IncompleteRecipients
            | RefusalCode::Superseded
            | RefusalCode::Quota
            | RefusalCode::Unknown(_)
            | RefusalCode::StoreUnavailable => false,
        };
        let kept = self.disk.notice(&about.notice_id).filter(|_| passes)?;
        let same = kept.originator == *agency && kept.header_digest == about.header_digest;
        same.then(|| SignedReceipt::decode(kept.receipt).ok()).flatten()
    }

    fn answer(
        &mut self,
        conn: ConnId,
        precedence: Precedence,
        ordinal: u64,
        receipt: &SignedReceipt,
        stage: &mut Stage,
    ) -> Result<(), Violation> {
        let now = self.now(stage);
        stage.model.answered(receipt, &self.disk, now)?;
        let signed: Signed = receipt.signed().clone();
        let frame = Frame::Data(Submitted { ordinal, receipt: signed }.encode());
        stage.net.send(conn, Side::Broker, Lane::Submit(precedence), frame, &mut stage.schedule);
        Ok(())
    }

    fn submit(&mut self, submission: Submission) {
        if let Some(process) = &mut self.process {
            process.committing.waiting.push_back(submission);
        }
    }

    /// Submits what nobody waits for.
    pub(crate) fn submit_quietly(&mut self, operations: Vec<Operation>) {
        self.submit(Submission { operations, then: Then::Nothing });
    }

    /// The committer takes the next group, unless it waits for the disk.
    pub(crate) fn begin_commit(&mut self, stage: &mut Stage) -> Result<(), Violation> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let Committing { waiting, writing } = &mut process.committing;
        if writing.is_some() || waiting.is_empty() {
            return Ok(());
        }
        let mut group = Vec::new();
        let mut operations: Vec<Operation> = Vec::new();
        while operations.len() < GROUP_OPERATIONS_MAX {
            let Some(next) = waiting.pop_front() else { break };
            operations.extend(next.operations.iter().cloned());
            group.push(next);
        }
        let Ok(mut outcomes) = self.disk.apply(&operations) else { return self.fail(group, stage) };
        if let Some(twin) = &mut self.twin {
            twin.apply(&operations, &outcomes)?;
        }
        let of_each = group.into_iter().map(|submission| {
            let rest = outcomes.split_off(submission.operations.len().min(outcomes.len()));
            (submission, std::mem::replace(&mut outcomes, rest))
        });
        let mut group: Vec<_> = of_each.collect();
        let must_last = operations.iter().any(|operation| match operation {
            Operation::Accept(_) | Operation::Expire { .. } => true,
            Operation::Acknowledge { .. } | Operation::Review { .. } => false,
        });
        if stage.mutation == Some(Mutation::AcknowledgeBeforeSync) {
            for (submission, outcomes) in std::mem::take(&mut group) {
                self.settle(submission.then, outcomes, stage)?;
            }
        }
        if let Some(process) = &mut self.process {
            process.committing.writing = Some(group);
        }
        let wait = if must_last { stage.dice.between(1, stage.plan.sync_ms_max) } else { 0 };
        // Where nothing must last, the disk is not waited for; the next event releases what there is.
        self.later(stage, wait, BrokerEvent::Synced);
        Ok(())
    }

    /// The disk has confirmed a group, or would have.
    pub(crate) fn synced(&mut self, stage: &mut Stage) -> Result<(), Violation> {
        let writing = self.process.as_mut().and_then(|process| process.committing.writing.take());
        let Some(group) = writing else { return Ok(()) };
        let must_last = group
            .iter()
            .flat_map(|(submission, _)| &submission.operations)
            .any(|operation| matches!(operation, Operation::Accept(_) | Operation::Expire { .. }));
        let settled_already = stage.mutation == Some(Mutation::AcknowledgeBeforeSync);
        if must_last || settled_already {
            if self.disk.make_durable().is_err() {
                return self.fail(group.into_iter().map(|(submission, _)| submission).collect(), stage);
            }
            if let Some(twin) = &mut self.twin {
                twin.make_durable()?;
            }
        }
        for (submission, outcomes) in group {
            self.settle(submission.then, outcomes, stage)?;
        }
        stage.model.audit_broker(&self.disk)
    }

    /// The store failed: everything is refused, and the process ends.
    fn fail(&mut self, group: Vec<Submission>, stage: &mut Stage) -> Result<(), Violation> {
        stage.note(|| "the broker's store fails".to_owned());
        for submission in group {
            if let Then::Answer(pending) = submission.then {
                let refusal = Refusal::new(RefusalCode::StoreUnavailable, "the broker cannot store anything")
                    .retry_after(std::time::Duration::from_secs(5));
                let receipt = self.sign(ReceiptKind::Refused, pending.about, None, Some(refusal), stage)?;
                self.answer(pending.conn, pending.precedence, pending.ordinal, &receipt, stage)?;
            }
        }
        self.crash(stage)?;
        stage.schedule.after(RESTART_MS, Event::BrokerStarts);
        Ok(())
    }

    fn settle(&mut self, then: Then, outcomes: Vec<Outcome>, stage: &mut Stage) -> Result<(), Violation> {
        match then {
            Then::Nothing => Ok(()),
            Then::Answer(pending) => self.conclude(*pending, outcomes.into_iter().next(), stage),
            Then::Swept { told, at, more } => {
                self.later(stage, 0, BrokerEvent::Queued(told));
                if more {
                    self.later(stage, 1, BrokerEvent::Sweep(at));
                } else {
                    self.end_sweep();
                }
                Ok(())
            }
        }
    }

    fn conclude(
        &mut self,
        pending: Pending,
        outcome: Option<Outcome>,
        stage: &mut Stage,
    ) -> Result<(), Violation> {
        let Pending { conn, ordinal, about, recipients, precedence, receipt } = pending;
        let receipt = match outcome {
            Some(Outcome::Accepted) => {
                let inboxes = recipients.into_iter().map(|recipient| (recipient, precedence)).collect();
                let wait = stage.dice.between(0, 2);
                self.later(stage, wait, BrokerEvent::Queued(inboxes));
                receipt
            }
            Some(Outcome::Duplicate { receipt }) => {
                SignedReceipt::decode(receipt).map_err(Violation::surprise)?
            }
            Some(Outcome::Conflict) => {
                let refusal = Refusal::new(RefusalCode::IdConflict, "another envelope has this id");
                self.sign(ReceiptKind::Refused, about, None, Some(refusal), stage)?
            }
            Some(Outcome::OfAnother | Outcome::Incomplete { .. } | Outcome::OverQuota(_) | Outcome::Done)
            | None => {
                return Err(Violation::surprise("no outcome of an acceptance"));
            }
        };
        self.answer(conn, precedence, ordinal, &receipt, stage)
    }

    fn end_sweep(&mut self) {
        if let Some(process) = &mut self.process {
            process.sweeping = false;
        }
    }

    /// One step of the sweep.
    pub(crate) fn sweep(&mut self, at: Timestamp, stage: &mut Stage) -> Result<(), Violation> {
        stage.model.tell_broker_clock(at);
        let due = self.disk.due(at, SWEEP_COUNT);
        if let Some(twin) = &self.twin {
            twin.compare_due(at, SWEEP_COUNT, &due)?;
        }
        let more = due.len() == SWEEP_COUNT;
        let (mut operations, mut told) = (Vec::new(), Vec::new());
        for due in due {
            for (notice_id, notice) in due.expired {
                let mut receipts = Vec::new();
                for agency in notice.undelivered {
                    let about = (Some(notice_id), notice.header_digest);
                    let receipt =
                        self.sign(ReceiptKind::Expired, about, Some(agency.clone()), None, stage)?;
                    receipts.push((agency, receipt.encode()));
                }
                stage.model.expired(notice.header_digest, at)?;
                told.push((notice.originator, Precedence::Routine));
                operations.push(Operation::Expire { notice_id, at, receipts });
            }
            operations.push(Operation::Review { due: due.key, at });
        }
        if operations.is_empty() {
            self.end_sweep();
            return Ok(());
        }
        self.submit(Submission { operations, then: Then::Swept { told, at, more } });
        Ok(())
    }
}

fn acceptance(verified: &VerifiedEnvelope, frame: Bytes, receipt: &SignedReceipt) -> Acceptance {
    let header = verified.header();
    Acceptance {
        notice_id: header.notice_id,
        header_digest: verified.envelope().header_digest(),
        originator: header.originator.clone(),
        recipients: header.recipients.clone(),
        precedence: header.precedence,
        accepted_at: receipt.receipt().at,
        expires_at: header.expires_at,
        envelope: frame,
        receipt: receipt.encode(),
        follows: None,
        is_receipt: false,
        quota: Quota::UNLIMITED,
    }
}
