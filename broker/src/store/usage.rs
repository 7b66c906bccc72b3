//! What agencies occupy of the store, and what they may.
//!
//! Claimed, against an agency that sends what nobody fetches (G10): it fills neither the disk nor anybody's inbox. It
//! holds because the quota is looked at in the batch that would exceed it, where nothing can come between. The numbers
//! are not kept on disk: they follow from the records of notices and the keys of queues, which are counted once when a
//! store is opened, without reading a body, so they cannot come to differ from what is there.

use std::collections::BTreeMap;

use valise_proto::envelope::Precedence;
use valise_proto::id::AgencyId;

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
    /// Notices in the queues of one recipient. The broker's own receipts there do not count: nobody else is to be refused
    /// because an agency let its notices expire.
    pub inbox_items_max: u64,
}

impl Quota {
    /// None.
    pub const UNLIMITED: Self =
        Self { stored_notices_max: u64::MAX, stored_bytes_max: u64::MAX, inbox_items_max: u64::MAX };

    /// What is left of it to a notice of this precedence: the last tenth is for what is urgent.
    #[must_use]
    pub fn of(self, precedence: Precedence) -> Self {
        let less = |max: u64| max - max / URGENT_SHARE;
        match precedence {
            Precedence::Immediate | Precedence::Flash => self,
            Precedence::Routine | Precedence::Priority => Self {
                stored_notices_max: less(self.stored_notices_max),
                stored_bytes_max: less(self.stored_bytes_max),
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
    /// `inbox_items_max`, of this recipient.
    Inbox(AgencyId),
}

/// What one agency occupies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Occupied {
    notices: i64,
    bytes: i64,
    items: i64,
}

impl Occupied {
    fn add(&mut self, other: Self) {
        self.notices = self.notices.saturating_add(other.notices);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.items = self.items.saturating_add(other.items);
    }
}

/// What all agencies occupy, or by how much that changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage(BTreeMap<AgencyId, Occupied>);

impl Usage {
    /// A notice is kept for its recipients.
    pub(super) fn keep(&mut self, notice: &NoticeRecord) {
        self.change(&notice.originator, Occupied { notices: 1, bytes: bytes_of(notice.chunks), items: 0 });
    }

    /// Its body is deleted.
    pub(super) fn release(&mut self, notice: &NoticeRecord) {
        self.change(&notice.originator, Occupied { notices: -1, bytes: -bytes_of(notice.chunks), items: 0 });
    }

    /// A notice enters a queue of `recipient`.
    pub(super) fn queue(&mut self, recipient: &AgencyId) {
        self.change(recipient, Occupied { items: 1, ..Occupied::default() });
    }

    /// A notice leaves a queue of `recipient`.
    pub(super) fn unqueue(&mut self, recipient: &AgencyId) {
        self.change(recipient, Occupied { items: -1, ..Occupied::default() });
    }

    /// What a batch changed has come about.
    pub(super) fn add(&mut self, changed: Self) {
        for (agency, by) in changed.0 {
            self.change(&agency, by);
        }
    }

    fn change(&mut self, agency: &AgencyId, by: Occupied) {
        let occupied = self.0.entry(agency.clone()).or_default();
        occupied.add(by);
        if *occupied == Occupied::default() {
            self.0.remove(agency);
        }
    }

    fn of(&self, agency: &AgencyId) -> Occupied {
        self.0.get(agency).copied().unwrap_or_default()
    }

    /// Whether a notice of `len` bytes would exceed `quota`; `pending` is what the batch has changed so far.
    pub(super) fn check(
        &self,
        pending: &Self,
        (originator, recipients): (&AgencyId, &[AgencyId]),
        len: usize,
        quota: &Quota,
    ) -> Option<Exceeded> {
        let sum = |agency: &AgencyId| {
            let mut sum = self.of(agency);
            sum.add(pending.of(agency));
            sum
        };
        let beyond = |now: i64, more: i64, max: u64| {
            u64::try_from(now.saturating_add(more)).is_ok_and(|then| then > max)
        };
        let own = sum(originator);
        let chunks = u16::try_from(len.div_ceil(CHUNK_BYTES_MAX)).unwrap_or(u16::MAX);
        if beyond(own.notices, 1, quota.stored_notices_max) {
            return Some(Exceeded::Notices);
        }
        if beyond(own.bytes, bytes_of(chunks), quota.stored_bytes_max) {
            return Some(Exceeded::Bytes);
        }
        let full = recipients.iter().find(|recipient| beyond(sum(recipient).items, 1, quota.inbox_items_max));
        full.cloned().map(Exceeded::Inbox)
    }
}

fn bytes_of(chunks: u16) -> i64 {
    i64::from(chunks).saturating_mul(i64::try_from(CHUNK_BYTES_MAX).unwrap_or(i64::MAX))
}
