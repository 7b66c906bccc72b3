//! The broker's disk: batches are written, then confirmed; a crash loses what was not confirmed, wholly or in part.
//!
//! What a batch does to the state is written here a second time, as simply as it can be said; the broker's own store is
//! held to it by [`crate::twin`], batch by batch. A crash keeps some of the unconfirmed batches, in order, and nothing of
//! those after.

use std::collections::BTreeMap;

use bytes::Bytes;
use valise_broker::store::{
    Acceptance, Due, DueKey, Inbox, InboxContent, InboxItem, KeptNotice, Operation, Outcome,
    REMEMBER_AFTER_EXPIRY, Store, StoreError,
};
use valise_proto::envelope::Precedence;
use valise_proto::id::{AgencyId, Digest, NoticeId, Timestamp};
use valise_proto::wire::session::Cursor;

use crate::dice::Dice;
use crate::plan::Mutation;

/// What is kept of a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) header_digest: Digest,
    pub(crate) cursor: Cursor,
    pub(crate) precedence: Precedence,
    expires_at: Timestamp,
    originator: AgencyId,
    receipt: Bytes,
    pub(crate) undelivered: Vec<AgencyId>,
    recipients: Vec<AgencyId>,
}

/// An item of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Notice(NoticeId),
    Receipt(Bytes),
}

/// What the batches applied so far come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) notices: BTreeMap<NoticeId, Kept>,
    pub(crate) bodies: BTreeMap<Cursor, Bytes>,
    pub(crate) queues: BTreeMap<(AgencyId, Precedence), BTreeMap<Cursor, Item>>,
    calendar: BTreeMap<DueKey, Vec<NoticeId>>,
    last_cursor: u64,
    pub(crate) log_len: usize,
    keep_bodies: bool,
}

impl State {
    fn apply_all(&mut self, batch: &[Operation]) -> Vec<Outcome> {
        let mut reminders = BTreeMap::new();
        let outcomes = batch.iter().map(|operation| self.apply(operation, &mut reminders)).collect();
        for (second, notices) in reminders {
            if let Some(first) = notices.first().copied() {
                self.calendar.insert(DueKey { second, first }, notices);
            }
        }
        outcomes
    }

    fn apply(&mut self, operation: &Operation, reminders: &mut BTreeMap<u64, Vec<NoticeId>>) -> Outcome {
        match operation {
            Operation::Accept(acceptance) => self.accept(acceptance, reminders),
            Operation::Acknowledge { agency, precedence, cursors } => {
                for cursor in cursors {
                    self.acknowledge(agency, *precedence, *cursor);
                }
                Outcome::Done
            }
            Operation::Expire { notice_id, receipts, .. } => {
                self.expire(*notice_id, receipts);
                Outcome::Done
            }
            Operation::Review { due, at } => {
                for id in self.calendar.remove(due).unwrap_or_default() {
                    self.review(id, *at, reminders);
                }
                Outcome::Done
            }
        }
    }

    fn accept(&mut self, acceptance: &Acceptance, reminders: &mut BTreeMap<u64, Vec<NoticeId>>) -> Outcome {
        if let Some(known) = self.notices.get(&acceptance.notice_id) {
            let same = known.header_digest == acceptance.header_digest;
            return if same {
                Outcome::Duplicate { receipt: known.receipt.clone() }
            } else {
                Outcome::Conflict
            };
        }
        if let Some(refused) = self.follow_up(acceptance) {
            return refused;
        }
        let cursor = self.next_cursor();
        self.bodies.insert(cursor, acceptance.envelope.clone());
        for recipient in &acceptance.recipients {
            let queue = self.queues.entry((recipient.clone(), acceptance.precedence)).or_default();
            queue.insert(cursor, Item::Notice(acceptance.notice_id));
        }
        let kept = Kept {
            header_digest: acceptance.header_digest,
            cursor,
            precedence: acceptance.precedence,
            expires_at: acceptance.expires_at,
            originator: acceptance.originator.clone(),
            receipt: acceptance.receipt.clone(),
            undelivered: acceptance.recipients.clone(),
            recipients: acceptance.recipients.clone(),
        };
        self.notices.insert(acceptance.notice_id, kept);
        remind(reminders, acceptance.expires_at, acceptance.notice_id);
        self.log_len += 1;
        Outcome::Accepted
    }

    /// As the real store: refused where it is of another's notice or leaves somebody out; a withdrawal drops the copies
    /// that wait.
    fn follow_up(&mut self, acceptance: &Acceptance) -> Option<Outcome> {
        let follow_up = acceptance.follows.as_ref()?;
        let kept = self.notices.get_mut(&follow_up.notice_id)?;
        if kept.originator != acceptance.originator {
            return Some(Outcome::OfAnother);
        }
        let told = |agency: &&AgencyId| {
            acceptance.recipients.contains(*agency) || follow_up.excused.contains(*agency)
        };
        let missing: Vec<AgencyId> = kept.recipients.iter().filter(|agency| !told(agency)).cloned().collect();
        if !missing.is_empty() {
            return Some(Outcome::Incomplete { missing });
        }
        if follow_up.withdraws {
            for recipient in std::mem::take(&mut kept.undelivered) {
                if let Some(queue) = self.queues.get_mut(&(recipient, kept.precedence)) {
                    queue.remove(&kept.cursor);
                }
            }
            if !self.keep_bodies {
                self.bodies.remove(&kept.cursor);
            }
        }
        None
    }

    fn acknowledge(&mut self, agency: &AgencyId, precedence: Precedence, cursor: Cursor) {
        let queue = self.queues.get_mut(&(agency.clone(), precedence));
        let Some(Item::Notice(id)) = queue.and_then(|queue| queue.remove(&cursor)) else { return };
        if let Some(kept) = self.notices.get_mut(&id) {
            kept.undelivered.retain(|recipient| recipient != agency);
            if kept.undelivered.is_empty() && !self.keep_bodies {
                self.bodies.remove(&kept.cursor);
            }
        }
    }

    fn expire(&mut self, id: NoticeId, receipts: &[(AgencyId, Bytes)]) {
        let Some(kept) = self.notices.get_mut(&id).filter(|kept| !kept.undelivered.is_empty()) else {
            return;
        };
        let late = std::mem::take(&mut kept.undelivered);
        let (cursor, precedence, originator) = (kept.cursor, kept.precedence, kept.originator.clone());
        for recipient in &late {
            if let Some(queue) = self.queues.get_mut(&(recipient.clone(), precedence)) {
                queue.remove(&cursor);
            }
        }
        self.bodies.remove(&cursor);
        for (_, receipt) in receipts.iter().filter(|(recipient, _)| late.contains(recipient)) {
            let cursor = self.next_cursor();
            let queue = self.queues.entry((originator.clone(), Precedence::Routine)).or_default();
            queue.insert(cursor, Item::Receipt(receipt.clone()));
            self.log_len += 1;
        }
    }

    fn review(&mut self, id: NoticeId, at: Timestamp, reminders: &mut BTreeMap<u64, Vec<NoticeId>>) {
        let Some(kept) = self.notices.get(&id) else { return };
        let forget_at = kept.expires_at.plus(REMEMBER_AFTER_EXPIRY);
        if !kept.undelivered.is_empty() {
            remind(reminders, kept.expires_at, id);
        } else if at < forget_at {
            remind(reminders, forget_at, id);
        } else {
            self.notices.remove(&id);
        }
    }

    fn next_cursor(&mut self) -> Cursor {
        self.last_cursor += 1;
        Cursor::new(self.last_cursor)
    }
}

fn remind(reminders: &mut BTreeMap<u64, Vec<NoticeId>>, at: Timestamp, id: NoticeId) {
    reminders.entry(DueKey::second_of(at)).or_default().push(id);
}

/// What is wrong with a disk at present.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ailment {
    /// No space is left.
    pub(crate) full: bool,
    /// Operations that fail, of a thousand.
    pub(crate) errors: u64,
}

/// The broker's disk.
#[derive(Debug)]
pub(crate) struct Disk {
    dice: Dice,
    /// With everything written.
    pub(crate) visible: State,
    /// With everything confirmed.
    pub(crate) durable: State,
    unsynced: Vec<Vec<Operation>>,
    pub(crate) ailment: Ailment,
    mutation: Option<Mutation>,
    /// Crashes that lost something.
    pub(crate) lossy_crashes: usize,
}

impl Disk {
    pub(crate) fn new(dice: Dice, errors: u64, mutation: Option<Mutation>) -> Self {
        let state = State { keep_bodies: mutation == Some(Mutation::KeepBodies), ..State::default() };
        let (visible, ailment) = (state.clone(), Ailment { full: false, errors });
        Self { dice, visible, durable: state, unsynced: Vec::new(), ailment, mutation, lossy_crashes: 0 }
    }

    /// The process and the power are gone. Of what was not confirmed, the disk holds the beginning. Says which batches
    /// it kept.
    pub(crate) fn crash(&mut self) -> Vec<Vec<Operation>> {
        let unsynced = std::mem::take(&mut self.unsynced);
        let kept = self.dice.count(0, unsynced.len());
        self.lossy_crashes += usize::from(kept < unsynced.len());
        let mut survived: Vec<_> = unsynced.iter().take(kept).cloned().collect();
        if self.mutation == Some(Mutation::TornBatch) {
            survived.extend(unsynced.get(kept).map(|batch| torn(batch)));
        }
        for batch in &survived {
            self.durable.apply_all(batch);
        }
        self.visible = self.durable.clone();
        if self.mutation == Some(Mutation::ForgetAccepted) {
            self.visible.notices.retain(|_, kept| !kept.undelivered.is_empty());
            self.durable = self.visible.clone();
        }
        survived
    }

    /// As `Reader::inbox`: nothing is read that is not confirmed.
    pub(crate) fn inbox(
        &self,
        agency: &AgencyId,
        precedence: Precedence,
        after: Cursor,
        count: usize,
    ) -> Inbox {
        let mut inbox = Inbox::default();
        let queue = self.visible.queues.get(&(agency.clone(), precedence));
        let beyond = Cursor::new(after.number().saturating_add(1));
        for (cursor, item) in queue.into_iter().flat_map(|queue| queue.range(beyond..)) {
            if cursor.number() > self.durable.last_cursor {
                break;
            }
            if inbox.items.len() >= count {
                inbox.more = true;
                break;
            }
            let content = match item {
                Item::Receipt(receipt) => InboxContent::Receipt(receipt.clone()),
                Item::Notice(id) => match self.visible.bodies.get(cursor) {
                    Some(body) => InboxContent::Envelope(body.clone()),
                    None => InboxContent::Unreadable(id.to_string()),
                },
            };
            inbox.items.push(InboxItem { cursor: *cursor, content });
        }
        inbox
    }

    /// As `Reader::notice`.
    pub(crate) fn notice(&self, id: &NoticeId) -> Option<KeptNotice> {
        let kept = self.visible.notices.get(id)?;
        let notice = KeptNotice {
            originator: kept.originator.clone(),
            header_digest: kept.header_digest,
            receipt: kept.receipt.clone(),
            undelivered: kept.undelivered.clone(),
        };
        (kept.cursor.number() <= self.durable.last_cursor).then_some(notice)
    }

    /// As `Reader::due`.
    pub(crate) fn due(&self, now: Timestamp, count: usize) -> Vec<Due> {
        let come =
            self.visible.calendar.iter().take(count).take_while(|(key, _)| key.second <= now.seconds());
        let look = |id: &NoticeId| {
            self.notice(id).filter(|kept| !kept.undelivered.is_empty()).map(|kept| (*id, kept))
        };
        come.map(|(key, ids)| Due { key: *key, expired: ids.iter().filter_map(look).collect() }).collect()
    }
}

/// The first half of each operation of a batch: what a store that is not atomic would leave.
fn torn(batch: &[Operation]) -> Vec<Operation> {
    let half = |operation: &Operation| match operation {
        Operation::Accept(acceptance) => {
            let mut acceptance = acceptance.clone();
            acceptance.recipients.truncate(acceptance.recipients.len() / 2);
            Operation::Accept(acceptance)
        }
        Operation::Acknowledge { .. } | Operation::Expire { .. } | Operation::Review { .. } => {
            operation.clone()
        }
    };
    batch.iter().map(half).collect()
}

impl Store for Disk {
    fn apply(&mut self, batch: &[Operation]) -> Result<Vec<Outcome>, StoreError> {
        if self.ailment.full {
            return Err(StoreError::Failed("no space is left".to_owned()));
        }
        if self.dice.chance(self.ailment.errors) {
            return Err(StoreError::Failed("an error of input or output".to_owned()));
        }
        self.unsynced.push(batch.to_vec());
        Ok(self.visible.apply_all(batch))
    }

    fn make_durable(&mut self) -> Result<(), StoreError> {
        if self.dice.chance(self.ailment.errors) {
            return Err(StoreError::Failed("the disk did not confirm a write".to_owned()));
        }
        for batch in std::mem::take(&mut self.unsynced) {
            self.durable.apply_all(&batch);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use valise_broker::store::Quota;

    use super::*;

    fn accept(number: u64) -> Operation {
        let id = NoticeId::new(Timestamp::from_millis(number), [0; 10]);
        Operation::Accept(Acceptance {
            notice_id: id,
            header_digest: Digest::new([1; 32]),
            originator: "fra/ncb".parse().unwrap(),
            recipients: vec!["ken/ncb".parse().unwrap(), "bra/ncb".parse().unwrap()],
            precedence: Precedence::Flash,
            accepted_at: Timestamp::from_millis(1),
            expires_at: Timestamp::from_millis(5_000),
            envelope: Bytes::from_static(b"body"),
            receipt: Bytes::from_static(b"receipt"),
            follows: None,
            is_receipt: false,
            quota: Quota::UNLIMITED,
        })
    }

    #[test]
    fn a_crash_loses_only_what_was_not_confirmed() {
        for seed in 0..40 {
            let mut disk = Disk::new(Dice::new(seed), 0, None);
            disk.apply(&[accept(1)]).unwrap();
            disk.make_durable().unwrap();
            disk.apply(&[accept(2)]).unwrap();
            disk.apply(&[accept(3)]).unwrap();
            let survived = disk.crash().len();
            assert_eq!(disk.visible.notices.len(), 1 + survived);
            assert_eq!(disk.visible.bodies.len(), 1 + survived);
        }
    }

    #[test]
    fn what_is_not_confirmed_is_not_read() {
        let mut disk = Disk::new(Dice::new(1), 0, None);
        let reader = "ken/ncb".parse().unwrap();
        disk.apply(&[accept(1)]).unwrap();
        assert!(disk.inbox(&reader, Precedence::Flash, Cursor::default(), 9).items.is_empty());
        disk.make_durable().unwrap();
        assert_eq!(disk.inbox(&reader, Precedence::Flash, Cursor::default(), 9).items.len(), 1);
    }
}
