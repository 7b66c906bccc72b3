//! What agencies occupy of the store, and what they may.
//!
//! Claimed, against an agency that sends what nobody fetches, or fetches nothing of what is sent to it (G10): it fills
//! neither the disk nor anybody's inbox, and uses up what nobody else may have waiting. It holds because the quota is
//! looked at in the batch that would exceed it, where nothing can come between; because what waits between two agencies
//! is bounded by itself; and because receipts, which an agency owes for whatever it is sent, are counted by who is to
//! read them alone, so that nobody makes another owe so many that it can send no notice. The numbers are not kept on
//! disk: they follow from the records of notices and the queues, which are counted once when a store is opened, without
//! reading a body, so they cannot come to differ from what is there.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use valise_proto::envelope::Precedence;
use valise_proto::id::AgencyId;

use super::Acceptance;
use super::keys::CHUNK_BYTES_MAX;
use super::record::NoticeRecord;

/// The part that is kept for IMMEDIATE and FLASH: one of so many.
const URGENT_SHARE: u64 = 10;
/// How many times as many ids of receipts of one agency are remembered as of its notices: each notice may ask for several.
const RECEIPTS_TIMES: u64 = 4;
/// How many times as much may wait where a follow-up is owed.
const OWED_TIMES: u64 = 2;

/// What an acceptance may not exceed. It travels with the acceptance, so that what a batch does follows from the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Notices of one originator that somebody has yet to acknowledge.
    pub stored_notices_max: u64,
    /// Bytes of them, in chunks of 5 KiB.
    pub stored_bytes_max: u64,
    /// Ids of notices of one originator that are remembered, until a day after they expire; as many of its receipts to one
    /// other, and four times as many of them in all.
    pub remembered_max: u64,
    /// Notices of one agency in the queues of one other; and as many receipts.
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
    receipts_remembered: i64,
    items: i64,
    expired: i64,
}

impl Occupied {
    fn add(&mut self, other: Self) {
        self.notices = self.notices.saturating_add(other.notices);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.remembered = self.remembered.saturating_add(other.remembered);
        self.receipts_remembered = self.receipts_remembered.saturating_add(other.receipts_remembered);
        self.items = self.items.saturating_add(other.items);
        self.expired = self.expired.saturating_add(other.expired);
    }
}

/// What all agencies occupy, or by how much that changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    agencies: BTreeMap<AgencyId, Occupied>,
    /// What is between the first, who sends, and the second.
    correspondents: BTreeMap<(AgencyId, AgencyId), Between>,
}

/// What one agency occupies with one other, or by how much that changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Between {
    /// Notices in the queues of the other.
    notices: i64,
    /// Receipts there.
    receipts: i64,
    /// Ids of receipts that are remembered.
    remembered: i64,
}

impl Between {
    fn add(&mut self, other: Self) {
        self.notices = self.notices.saturating_add(other.notices);
        self.receipts = self.receipts.saturating_add(other.receipts);
        self.remembered = self.remembered.saturating_add(other.remembered);
    }
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
    pub(super) fn remember(&mut self, notice: &NoticeRecord) {
        self.change_remembered(notice, 1);
    }

    /// An id is forgotten.
    pub(super) fn forget(&mut self, notice: &NoticeRecord) {
        self.change_remembered(notice, -1);
    }

    fn change_remembered(&mut self, notice: &NoticeRecord, by: i64) {
        if !notice.is_receipt {
            return self.change(&notice.originator, Occupied { remembered: by, ..Occupied::default() });
        }
        self.change(&notice.originator, Occupied { receipts_remembered: by, ..Occupied::default() });
        // A receipt has one reader.
        if let Some(reader) = notice.undelivered.iter().chain(&notice.settled).min() {
            let pair = (notice.originator.clone(), reader.clone());
            self.change_between(pair, Between { remembered: by, ..Between::default() });
        }
    }

    /// A notice enters the queue of one of its recipients.
    pub(super) fn queue(&mut self, notice: &NoticeRecord, recipient: &AgencyId) {
        self.change_queued(notice, recipient, 1);
    }

    /// A notice leaves the queue of one of its recipients.
    pub(super) fn unqueue(&mut self, notice: &NoticeRecord, recipient: &AgencyId) {
        self.change_queued(notice, recipient, -1);
    }

    fn change_queued(&mut self, notice: &NoticeRecord, recipient: &AgencyId, by: i64) {
        self.change(recipient, Occupied { items: by, ..Occupied::default() });
        let between = if notice.is_receipt {
            Between { receipts: by, ..Between::default() }
        } else {
            Between { notices: by, ..Between::default() }
        };
        self.change_between((notice.originator.clone(), recipient.clone()), between);
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

    fn change_between(&mut self, pair: (AgencyId, AgencyId), by: Between) {
        match self.correspondents.entry(pair) {
            Entry::Vacant(place) => {
                place.insert(by);
            }
            Entry::Occupied(mut place) => {
                place.get_mut().add(by);
                if *place.get() == Between::default() {
                    place.remove();
                }
            }
        }
    }

    fn of(&self, agency: &AgencyId) -> Occupied {
        self.agencies.get(agency).copied().unwrap_or_default()
    }

    fn between(&self, pair: &(AgencyId, AgencyId)) -> Between {
        self.correspondents.get(pair).copied().unwrap_or_default()
    }

    /// Whether an acceptance would exceed its quota. `pending` is what the batch has changed so far, `freed` what this
    /// acceptance itself takes out by withdrawing it: what does not grow by it exceeds nothing. For a follow-up that is
    /// `owed` to those who were sent what it is about queues are twice as long, so that it is not kept from some of them
    /// because another does not fetch.
    pub(super) fn check(
        &self,
        pending: &Self,
        freed: &Self,
        acceptance: &Acceptance,
        owed: bool,
    ) -> Option<Exceeded> {
        let Acceptance { originator, recipients, quota, is_receipt, .. } = acceptance;
        let sum = |agency: &AgencyId| {
            let mut sum = self.of(agency);
            sum.add(pending.of(agency));
            sum
        };
        let (own, out) = (sum(originator), freed.of(originator));
        if own.expired > 0 && u64::try_from(own.expired).is_ok_and(|waiting| waiting >= quota.inbox_items_max)
        {
            return Some(Exceeded::Expired);
        }
        let remembered_max = quota.remembered_max;
        if *is_receipt {
            if grows_beyond(own.receipts_remembered, 1, remembered_max.saturating_mul(RECEIPTS_TIMES)) {
                return Some(Exceeded::Remembered);
            }
        } else {
            if grows_beyond(own.remembered, 1, remembered_max) {
                return Some(Exceeded::Remembered);
            }
            if grows_beyond(own.notices, 1 + out.notices, quota.stored_notices_max) {
                return Some(Exceeded::Notices);
            }
            let chunks = u16::try_from(acceptance.envelope.len().div_ceil(CHUNK_BYTES_MAX));
            let bytes = bytes_of(chunks.unwrap_or(u16::MAX)).saturating_add(out.bytes);
            if grows_beyond(own.bytes, bytes, quota.stored_bytes_max) {
                return Some(Exceeded::Bytes);
            }
        }
        let times = if owed { OWED_TIMES } else { 1 };
        let between_max = quota.correspondent_items_max.saturating_mul(times);
        let inbox_max = quota.inbox_items_max.saturating_mul(times);
        recipients.iter().find_map(|recipient| {
            let pair = (originator.clone(), recipient.clone());
            let (mut between, out) = (self.between(&pair), freed.between(&pair));
            between.add(pending.between(&pair));
            if *is_receipt && grows_beyond(between.remembered, 1, remembered_max) {
                return Some(Exceeded::Remembered);
            }
            let full = if *is_receipt {
                grows_beyond(between.receipts, 1, between_max)
            } else {
                grows_beyond(between.notices, 1 + out.notices, between_max)
            };
            if full {
                return Some(Exceeded::Correspondent(pair.1));
            }
            let items = 1 + freed.of(recipient).items;
            grows_beyond(sum(recipient).items, items, inbox_max).then_some(Exceeded::Inbox(pair.1))
        })
    }
}

/// Whether `now` grows by `more`, and to more than `max`.
fn grows_beyond(now: i64, more: i64, max: u64) -> bool {
    more > 0 && u64::try_from(now.saturating_add(more)).is_ok_and(|then| then > max)
}

fn bytes_of(chunks: u16) -> i64 {
    i64::from(chunks).saturating_mul(i64::try_from(CHUNK_BYTES_MAX).unwrap_or(i64::MAX))
}
