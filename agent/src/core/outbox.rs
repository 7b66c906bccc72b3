//! The outbox: envelopes that no broker has accepted yet.
//!
//! An entry is ready, in flight on the present connection, or waiting out a refusal that passes by itself. A lost
//! connection makes what was in flight ready again: the same bytes are submitted again, which is harmless (G5).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use valise_proto::envelope::Precedence;
use valise_proto::id::{NoticeId, Timestamp};

use super::effect::{OutboxSeq, Queued};

#[derive(Debug)]
struct Entry {
    queued: Queued,
    refusals: u32,
}

#[derive(Debug, Default)]
struct Lane {
    ready: BTreeSet<OutboxSeq>,
    in_flight: BTreeSet<OutboxSeq>,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    entries: BTreeMap<OutboxSeq, Entry>,
    by_notice: HashMap<NoticeId, OutboxSeq>,
    lanes: BTreeMap<Precedence, Lane>,
    waiting: BTreeSet<(Timestamp, OutboxSeq)>,
    expiries: BTreeSet<(Timestamp, OutboxSeq)>,
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.lanes.values().map(|lane| lane.in_flight.len()).sum()
    }

    /// Adds an envelope that is on stable storage.
    pub(super) fn insert(&mut self, queued: Queued) {
        let (seq, precedence) = (queued.seq, queued.precedence);
        self.by_notice.insert(queued.notice_id, seq);
        self.expiries.insert((queued.expires_at, seq));
        self.entries.insert(seq, Entry { queued, refusals: 0 });
        self.lanes.entry(precedence).or_default().ready.insert(seq);
    }

    /// Takes the next envelope to submit, the highest precedence first, as long as its lane has room.
    pub(super) fn next_to_submit(&mut self, in_flight_max: usize) -> Option<(Precedence, NoticeId)> {
        for (precedence, lane) in self.lanes.iter_mut().rev() {
            if lane.in_flight.len() >= in_flight_max {
                continue;
            }
            if let Some(seq) = lane.ready.pop_first() {
                lane.in_flight.insert(seq);
                let entry = self.entries.get(&seq)?;
                return Some((*precedence, entry.queued.notice_id));
            }
        }
        None
    }

    /// The entry of a notice that is in flight.
    pub(super) fn in_flight_of(&self, notice_id: &NoticeId) -> Option<&Queued> {
        let seq = self.by_notice.get(notice_id)?;
        let entry = self.entries.get(seq)?;
        let lane = self.lanes.get(&entry.queued.precedence)?;
        lane.in_flight.contains(seq).then_some(&entry.queued)
    }

    /// Removes an entry altogether.
    pub(super) fn remove(&mut self, seq: OutboxSeq) -> Option<Queued> {
        let entry = self.entries.remove(&seq)?;
        self.by_notice.remove(&entry.queued.notice_id);
        self.expiries.remove(&(entry.queued.expires_at, seq));
        self.waiting.retain(|(_, waiting)| *waiting != seq);
        if let Some(lane) = self.lanes.get_mut(&entry.queued.precedence) {
            lane.ready.remove(&seq);
            lane.in_flight.remove(&seq);
        }
        Some(entry.queued)
    }

    /// Counts a refusal that passes by itself; `None` where the entry is gone.
    pub(super) fn count_refusal(&mut self, seq: OutboxSeq) -> Option<u32> {
        let entry = self.entries.get_mut(&seq)?;
        entry.refusals = entry.refusals.saturating_add(1);
        Some(entry.refusals)
    }

    /// Puts an entry that was in flight aside until `until`.
    pub(super) fn wait(&mut self, seq: OutboxSeq, until: Timestamp) {
        let Some(entry) = self.entries.get(&seq) else { return };
        if let Some(lane) = self.lanes.get_mut(&entry.queued.precedence) {
            lane.in_flight.remove(&seq);
            self.waiting.insert((until, seq));
        }
    }

    /// The connection is gone: nothing is in flight any more.
    pub(super) fn reset_in_flight(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.ready.append(&mut lane.in_flight);
        }
    }

    /// Makes ready what has waited long enough.
    pub(super) fn wake(&mut self, now: Timestamp) {
        while let Some((until, seq)) = self.waiting.first().copied() {
            if until > now {
                return;
            }
            self.waiting.pop_first();
            if let Some(entry) = self.entries.get(&seq) {
                self.lanes.entry(entry.queued.precedence).or_default().ready.insert(seq);
            }
        }
    }

    /// An entry that has expired and is not in flight. What is in flight is for the broker to answer.
    pub(super) fn next_expired(&self, now: Timestamp) -> Option<Queued> {
        let expired = self.expiries.iter().take_while(|(expires_at, _)| *expires_at < now);
        let mut entries = expired.filter_map(|(_, seq)| self.entries.get(seq));
        let resting = |entry: &&Entry| {
            let lane = self.lanes.get(&entry.queued.precedence);
            !lane.is_some_and(|lane| lane.in_flight.contains(&entry.queued.seq))
        };
        entries.find(resting).map(|entry| entry.queued.clone())
    }

    /// When something here next depends on the time.
    pub(super) fn next_time(&self) -> Option<Timestamp> {
        let wake = self.waiting.first().map(|(until, _)| *until);
        // One millisecond after `expires_at`, which is the last moment at which it may be submitted.
        let in_flight = |seq: &OutboxSeq| self.lanes.values().any(|lane| lane.in_flight.contains(seq));
        let expiry = self.expiries.iter().find(|(_, seq)| !in_flight(seq));
        let expiry = expiry.map(|(at, _)| at.plus(std::time::Duration::from_millis(1)));
        wake.into_iter().chain(expiry).min()
    }
}
