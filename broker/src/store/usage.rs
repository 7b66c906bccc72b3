//! What agencies occupy of the store, and what they may.
//!
//! Claimed, against an agency that sends what nobody fetches, or fetches nothing of what is sent to it (G10): it fills
//! neither the disk nor anybody's inbox, and uses up what nobody else may have waiting. It holds because the quota is
//! looked at in the batch that would exceed it, where nothing can come between; because what waits between two agencies
//! is bounded by itself; and because receipts, which an agency owes for whatever it is sent, do not count as its own
//! notices. The numbers are not kept on disk: they follow from the records of notices and the queues, which are counted
//! once when a store is opened, without reading a body, so they cannot come to differ from what is there.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use valise_proto::envelope::Precedence;
use valise_proto::id::AgencyId;

use super::Acceptance;
use super::keys::CHUNK_BYTES_MAX;
use super::record::NoticeRecord;

/// The part that is kept for IMMEDIATE and FLASH: one of so many.
const URGENT_SHARE: u64 = 10;

/// What an acceptance may not exceed. It travels with the acceptance, so that what a batch does follows from the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Notices of one originator that somebody has yet to acknowledge.
    pub stored_notices_max: u64,
    /// Bytes of them, in chunks of 5 KiB.
    pub stored_bytes_max: u64,
    /// Ids of one originator that are remembered, until a day after they expire.
    pub remembered_max: u64,
    /// Notices and receipts of one agency in the queues of one other.
    pub correspondent_items_max: u64,
    /// Notices and receipts in the queues of one recipient. The broker's own receipts there are counted apart, by the same
    /// number: who has as many waiting submits nothing, and is sent things all the same, for nobody else is to be
    /// refused because an agency let its notices expire.
    pub inbox_items_max: u64,
}

impl Quota {
    /// None.
    pub const UNLIMITED: Self = Self {
        stored_notices_max: u64::MAX,
        stored_bytes_max: u64::MAX,
        remembered_max: u64::MAX,
        correspondent_items_max: u64::MAX,
        inbox_items_max: u64::MAX,
    };

    /// What is left of it to a notice of this precedence: the last tenth is for what is urgent.
    #[must_use]
    pub fn of(self, precedence: Precedence) -> Self {
        let less = |max: u64| max - max / URGENT_SHARE;
        match precedence {
            Precedence::Immediate | Precedence::Flash => self,
            Precedence::Routine | Precedence::Priority => Self {
                stored_notices_max: less(self.stored_notices_max),
                stored_bytes_max: less(self.stored_bytes_max),
                remembered_max: less(self.remembered_max),
                correspondent_items_max: less(self.correspondent_items_max),
                inbox_items_max: less(self.inbox_items_max),
            },
        }
    }
}

/// Which part of a [`Quota`] is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// `stored_notices_max`.
    Notices,
    /// `stored_bytes_max`.
    Bytes,
    /// `remembered_max`.
    Remembered,
    /// `correspondent_items_max`, with this recipient.
    Correspondent(AgencyId),
    /// `inbox_items_max`, of this recipient.
    Inbox(AgencyId),
    /// `inbox_items_max`, of the broker's receipts to the originator itself.
    Expired,
}

/// What one agency occupies, or by how much that changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Occupied {
    notices: i64,
    bytes: i64,
    remembered: i64,
    items: i64,
    expired: i64,
}

impl Occupied {
    fn add(&mut self, other: Self) {
        self.notices = self.notices.saturating_add(other.notices);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.remembered = self.remembered.saturating_add(other.remembered);
        self.items = self.items.saturating_add(other.items);
        self.expired = self.expired.saturating_add(other.expired);
    }
}

/// What all agencies occupy, or by how much that changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    agencies: BTreeMap<AgencyId, Occupied>,
    /// Items of the first in the queues of the second.
    correspondents: BTreeMap<(AgencyId, AgencyId), i64>,
}

impl Usage {
    /// A notice is kept for its recipients.
    pub(super) fn keep(&mut self, notice: &NoticeRecord) {
        self.change_kept(notice, 1);
    }

    /// Its body is deleted.
    pub(super) fn release(&mut self, notice: &NoticeRecord) {
        self.change_kept(notice, -1);
    }

    fn change_kept(&mut self, notice: &NoticeRecord, by: i64) {
        if !notice.is_receipt {
            let bytes = bytes_of(notice.chunks).saturating_mul(by);
            self.change(&notice.originator, Occupied { notices: by, bytes, ..Occupied::default() });
        }
    }

    /// An id is remembered.
    pub(super) fn remember(&mut self, originator: &AgencyId) {
        self.change(originator, Occupied { remembered: 1, ..Occupied::default() });
    }

    /// An id is forgotten.
    pub(super) fn forget(&mut self, originator: &AgencyId) {
        self.change(originator, Occupied { remembered: -1, ..Occupied::default() });
    }

    /// A notice enters a queue of `recipient`.
    pub(super) fn queue(&mut self, originator: &AgencyId, recipient: &AgencyId) {
        self.change_queued(originator, recipient, 1);
    }

    /// A notice leaves a queue of `recipient`.
    pub(super) fn unqueue(&mut self, originator: &AgencyId, recipient: &AgencyId) {
        self.change_queued(originator, recipient, -1);
    }

    fn change_queued(&mut self, originator: &AgencyId, recipient: &AgencyId, by: i64) {
        self.change(recipient, Occupied { items: by, ..Occupied::default() });
        self.change_between((originator.clone(), recipient.clone()), by);
    }

    /// A receipt of the broker enters a queue of `originator`.
    pub(super) fn queue_receipt(&mut self, originator: &AgencyId) {
        self.change(originator, Occupied { expired: 1, ..Occupied::default() });
    }

    /// A receipt of the broker leaves a queue of `originator`.
    pub(super) fn unqueue_receipt(&mut self, originator: &AgencyId) {
        self.change(originator, Occupied { expired: -1, ..Occupied::default() });
    }

    /// What a batch changed has come about.
    pub(super) fn add(&mut self, changed: Self) {
        for (agency, by) in changed.agencies {
            self.change(&agency, by);
        }
        for (pair, by) in changed.correspondents {
            self.change_between(pair, by);
        }
    }

    fn change(&mut self, agency: &AgencyId, by: Occupied) {
        let occupied = self.agencies.entry(agency.clone()).or_default();
        occupied.add(by);
        if *occupied == Occupied::default() {
            self.agencies.remove(agency);
        }
    }

    fn change_between(&mut self, pair: (AgencyId, AgencyId), by: i64) {
        match self.correspondents.entry(pair) {
            Entry::Vacant(place) => {
                place.insert(by);
            }
            Entry::Occupied(mut place) => {
                let items = place.get().saturating_add(by);
                if items == 0 {
                    place.remove();
                } else {
                    place.insert(items);
                }
            }
        }
    }

    fn of(&self, agency: &AgencyId) -> Occupied {
        self.agencies.get(agency).copied().unwrap_or_default()
    }

    fn between(&self, pair: &(AgencyId, AgencyId)) -> i64 {
        self.correspondents.get(pair).copied().unwrap_or_default()
    }

    /// Whether an acceptance would exceed its quota; `pending` is what the batch has changed so far.
    pub(super) fn check(&self, pending: &Self, acceptance: &Acceptance) -> Option<Exceeded> {
        let Acceptance { originator, recipients, quota, .. } = acceptance;
        let sum = |agency: &AgencyId| {
            let mut sum = self.of(agency);
            sum.add(pending.of(agency));
            sum
        };
        let own = sum(originator);
        if own.expired > 0 && beyond(own.expired, 0, quota.inbox_items_max.saturating_sub(1)) {
            return Some(Exceeded::Expired);
        }
        if beyond(own.remembered, 1, quota.remembered_max) {
            return Some(Exceeded::Remembered);
        }
        if !acceptance.is_receipt {
            if beyond(own.notices, 1, quota.stored_notices_max) {
                return Some(Exceeded::Notices);
            }
            let chunks = acceptance.envelope.len().div_ceil(CHUNK_BYTES_MAX);
            if beyond(own.bytes, bytes_of(u16::try_from(chunks).unwrap_or(u16::MAX)), quota.stored_bytes_max)
            {
                return Some(Exceeded::Bytes);
            }
        }
        recipients.iter().find_map(|recipient| {
            let pair = (originator.clone(), recipient.clone());
            let between = self.between(&pair).saturating_add(pending.between(&pair));
            if beyond(between, 1, quota.correspondent_items_max) {
                return Some(Exceeded::Correspondent(pair.1));
            }
            beyond(sum(recipient).items, 1, quota.inbox_items_max).then_some(Exceeded::Inbox(pair.1))
        })
    }
}

/// Whether `more` beside what there is `now` would be more than `max`.
fn beyond(now: i64, more: i64, max: u64) -> bool {
    u64::try_from(now.saturating_add(more)).is_ok_and(|then| then > max)
}

fn bytes_of(chunks: u16) -> i64 {
    i64::from(chunks).saturating_mul(i64::try_from(CHUNK_BYTES_MAX).unwrap_or(i64::MAX))
}
