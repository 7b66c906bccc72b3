//! The outbox: envelopes that no broker has accepted yet.
//!
//! An entry is ready, in flight on the present connection, or waiting out a refusal that passes by itself. A lost
//! connection makes what was in flight ready again: the same bytes are submitted again, which is harmless (G5).
//!
//! Claimed, against a broker that would hold a notice back: it can do so neither by asking for a long wait, which is
//! cut and binds towards no other broker, nor by silence, which [`Outbox::overdue_at`] brings to light.
//!
//! Claimed, against an agency that has this node write receipts without end: they keep no notice of ours back. It holds
//! because receipts and notices of one precedence take turns, and because receipts take none of the places that notices
//! have (`outbox_max`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use valise_proto::envelope::{NoticeKind, Precedence};
use valise_proto::id::{NoticeId, Timestamp};

use super::Core;
use super::effect::{OutboxSeq, Queued};

/// Longest wait after a refusal that passes by itself, whatever the broker asks for.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(15 * 60);
/// The same for IMMEDIATE and FLASH.
const URGENT_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long the submission that has waited longest in its lane may go without an answer.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Entry {
    queued: Queued,
    refusals: u32,
    /// Until when it waits, while it does.
    until: Option<Timestamp>,
    /// Its turn among all submissions, while it is in flight.
    turn: Option<u64>,
}

#[derive(Debug, Default)]
struct Lane {
    notices: BTreeSet<OutboxSeq>,
    receipts: BTreeSet<OutboxSeq>,
    /// Whose turn it is.
    receipt_next: bool,
    /// By their turns, so that the first is the one that has waited longest.
    in_flight: BTreeMap<u64, OutboxSeq>,
    /// Those in flight on a connection whose place another has taken.
    leaving: BTreeMap<u64, OutboxSeq>,
    /// Since when that one has been the first. Others are answered in between; a large envelope before it on a slow
    /// line is no silence.
    first_since: Option<Timestamp>,
}

impl Lane {
    fn ready(&mut self, queued: &Queued) {
        if queued.kind == NoticeKind::Receipt {
            self.receipts.insert(queued.seq);
        } else {
            self.notices.insert(queued.seq);
        }
    }

    fn next_ready(&mut self) -> Option<OutboxSeq> {
        let (first, second) = if self.receipt_next {
            (&mut self.receipts, &mut self.notices)
        } else {
            (&mut self.notices, &mut self.receipts)
        };
        let next = first.pop_first().or_else(|| second.pop_first());
        self.receipt_next = !self.receipt_next;
        next
    }

    fn take_off(&mut self, turn: u64, seq: OutboxSeq, now: Timestamp) {
        if self.in_flight.is_empty() {
            self.first_since = Some(now);
        }
        self.in_flight.insert(turn, seq);
    }

    fn land(&mut self, turn: u64, now: Timestamp) {
        let first = self.in_flight.first_key_value().is_some_and(|(first, _)| *first == turn);
        self.in_flight.remove(&turn);
        self.leaving.remove(&turn);
        if first {
            self.first_since = Some(now);
        }
    }
}

/// How many envelopes wait, by precedence.
pub type Depths = [(Precedence, usize); Precedence::ALL.len()];

impl Core {
    /// How many of the envelopes that wait to be accepted are notices, which `outbox_max` bounds. The others are receipts.
    #[must_use]
    pub fn outbox_notices(&self) -> usize {
        self.outbox.notices()
    }

    /// How many envelopes wait to be accepted, by precedence.
    #[must_use]
    pub fn outbox_by_precedence(&self) -> Depths {
        let entries = &self.outbox.entries;
        Precedence::ALL.map(|precedence| {
            (precedence, entries.values().filter(|entry| entry.queued.precedence == precedence).count())
        })
    }
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    entries: BTreeMap<OutboxSeq, Entry>,
    by_notice: HashMap<NoticeId, OutboxSeq>,
    lanes: BTreeMap<Precedence, Lane>,
    waiting: BTreeSet<(Timestamp, OutboxSeq)>,
    expiries: BTreeSet<(Timestamp, OutboxSeq)>,
    receipts: usize,
    next_turn: u64,
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many of them are notices, not receipts.
    pub(super) fn notices(&self) -> usize {
        self.entries.len().saturating_sub(self.receipts)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.lanes.values().map(|lane| lane.in_flight.len().saturating_add(lane.leaving.len())).sum()
    }

    /// Whether this notice waits to be accepted.
    pub(super) fn holds(&self, notice_id: &NoticeId) -> bool {
        self.by_notice.contains_key(notice_id)
    }

    /// How many are in flight on a connection whose place another has taken.
    pub(super) fn leaving(&self) -> usize {
        self.lanes.values().map(|lane| lane.leaving.len()).sum()
    }

    /// Adds an envelope that is on stable storage.
    pub(super) fn insert(&mut self, queued: Queued) {
        let seq = queued.seq;
        self.by_notice.insert(queued.notice_id, seq);
        self.expiries.insert((queued.expires_at, seq));
        self.lanes.entry(queued.precedence).or_default().ready(&queued);
        self.receipts = self.receipts.saturating_add(usize::from(queued.kind == NoticeKind::Receipt));
        self.entries.insert(seq, Entry { queued, refusals: 0, until: None, turn: None });
    }

    /// Takes the next envelope to submit, the highest precedence first, as long as its lane has room.
    pub(super) fn next_to_submit(
        &mut self,
        in_flight_max: usize,
        now: Timestamp,
    ) -> Option<(Precedence, NoticeId)> {
        for (precedence, lane) in self.lanes.iter_mut().rev() {
            if lane.in_flight.len() >= in_flight_max {
                continue;
            }
            if let Some(seq) = lane.next_ready() {
                let entry = self.entries.get_mut(&seq)?;
                entry.turn = Some(self.next_turn);
                lane.take_off(self.next_turn, seq, now);
                self.next_turn = self.next_turn.saturating_add(1);
                return Some((*precedence, entry.queued.notice_id));
            }
        }
        None
    }

    /// The entry of a notice that is in flight.
    pub(super) fn in_flight_of(&self, notice_id: &NoticeId) -> Option<&Queued> {
        let entry = self.entries.get(self.by_notice.get(notice_id)?)?;
        entry.turn.is_some().then_some(&entry.queued)
    }

    /// Removes an entry altogether.
    pub(super) fn remove(&mut self, seq: OutboxSeq, now: Timestamp) -> Option<Queued> {
        let entry = self.entries.remove(&seq)?;
        self.by_notice.remove(&entry.queued.notice_id);
        self.receipts = self.receipts.saturating_sub(usize::from(entry.queued.kind == NoticeKind::Receipt));
        self.expiries.remove(&(entry.queued.expires_at, seq));
        if let Some(until) = entry.until {
            self.waiting.remove(&(until, seq));
        }
        if let Some(lane) = self.lanes.get_mut(&entry.queued.precedence) {
            lane.notices.remove(&seq);
            lane.receipts.remove(&seq);
            if let Some(turn) = entry.turn {
                lane.land(turn, now);
            }
        }
        Some(entry.queued)
    }

    /// Counts a refusal that passes by itself; `None` where the entry is gone.
    pub(super) fn count_refusal(&mut self, seq: OutboxSeq) -> Option<u32> {
        let entry = self.entries.get_mut(&seq)?;
        entry.refusals = entry.refusals.saturating_add(1);
        Some(entry.refusals)
    }

    /// Puts an entry that was in flight aside for `wait`, at most [`WAIT_MAX`], and [`URGENT_WAIT_MAX`] where it is urgent.
    pub(super) fn wait(&mut self, seq: OutboxSeq, wait: Duration, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&seq) else { return };
        if let Some(lane) = self.lanes.get_mut(&entry.queued.precedence) {
            if let Some(turn) = entry.turn.take() {
                lane.land(turn, now);
            }
            let max = match entry.queued.precedence {
                Precedence::Flash | Precedence::Immediate => URGENT_WAIT_MAX,
                Precedence::Priority | Precedence::Routine => WAIT_MAX,
            };
            let until = now.plus(wait.min(max));
            entry.until = Some(until);
            self.waiting.insert((until, seq));
        }
    }

    /// Another connection takes the place of the present one, which still owes the answers to what is in flight.
    pub(super) fn hand_over(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.leaving.append(&mut lane.in_flight);
        }
    }

    /// The connection is gone: nothing is in flight on it any more.
    pub(super) fn reset_in_flight(&mut self) {
        self.make_ready_again(|lane| &mut lane.in_flight);
    }

    /// The same for the connection whose place another has taken.
    pub(super) fn reset_leaving(&mut self) {
        self.make_ready_again(|lane| &mut lane.leaving);
    }

    fn make_ready_again(&mut self, which: impl Fn(&mut Lane) -> &mut BTreeMap<u64, OutboxSeq>) {
        for lane in self.lanes.values_mut() {
            for seq in std::mem::take(which(lane)).into_values() {
                if let Some(entry) = self.entries.get_mut(&seq) {
                    entry.turn = None;
                    lane.ready(&entry.queued);
                }
            }
        }
    }

    /// Makes ready what has waited long enough, and what would wait longer than anything may: then the clock was set
    /// back.
    pub(super) fn wake(&mut self, now: Timestamp) {
        let due = |(until, _): &(Timestamp, OutboxSeq)| *until <= now || *until > now.plus(WAIT_MAX);
        while let Some(waiting) = self.waiting.first().copied().filter(due) {
            self.waiting.remove(&waiting);
            self.make_ready(waiting.1);
        }
        while let Some(waiting) = self.waiting.last().copied().filter(due) {
            self.waiting.remove(&waiting);
            self.make_ready(waiting.1);
        }
    }

    /// Makes everything ready: what one broker asked for does not bind towards another.
    pub(super) fn wake_all(&mut self) {
        for (_, seq) in std::mem::take(&mut self.waiting) {
            self.make_ready(seq);
        }
    }

    fn make_ready(&mut self, seq: OutboxSeq) {
        if let Some(entry) = self.entries.get_mut(&seq) {
            entry.until = None;
            self.lanes.entry(entry.queued.precedence).or_default().ready(&entry.queued);
        }
    }

    /// An entry that has expired and is not in flight. What is in flight is for the broker to answer.
    pub(super) fn next_expired(&self, now: Timestamp) -> Option<Queued> {
        let expired = self.expiries.iter().take_while(|(expires_at, _)| *expires_at < now);
        let mut entries = expired.filter_map(|(_, seq)| self.entries.get(seq));
        entries.find(|entry| entry.turn.is_none()).map(|entry| entry.queued.clone())
    }

    /// When the next entry that is not in flight expires: one millisecond after `expires_at`, the last moment at which
    /// it may be submitted.
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        let resting = |seq: &OutboxSeq| self.entries.get(seq).is_some_and(|entry| entry.turn.is_none());
        let (expires_at, _) = self.expiries.iter().find(|(_, seq)| resting(seq))?;
        Some(expires_at.plus(Duration::from_millis(1)))
    }

    /// When the next entry has waited long enough.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.waiting.first().map(|(until, _)| *until)
    }

    /// When a submission will have gone without an answer for too long.
    pub(super) fn overdue_at(&self) -> Option<Timestamp> {
        let busy = self.lanes.values().filter(|lane| !lane.in_flight.is_empty());
        busy.filter_map(|lane| lane.first_since).min().map(|since| since.plus(ANSWER_MAX))
    }

    /// Whether a submission has gone without an answer for too long. If so, the count begins anew, as it does where the
    /// clock was set back.
    pub(super) fn is_overdue(&mut self, now: Timestamp) -> bool {
        let overdue = self.overdue_at().is_some_and(|at| at <= now);
        for lane in self.lanes.values_mut() {
            lane.first_since = lane.first_since.map(|since| if overdue { now } else { since.min(now) });
        }
        overdue
    }
}
