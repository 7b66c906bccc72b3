//! Which envelopes were taken in (G5).
//!
//! An envelope is remembered until a day after it expires. Nothing that expired longer ago is taken in, so
//! forgetting it cannot make it new again. Another envelope may come under its id, though; so whoever examines a
//! delivery asks the store too, which keeps what was received and sent.

use std::collections::{BTreeSet, HashMap};

use valise_proto::id::{Digest, NoticeId, Timestamp};

use super::EXPIRY_GRACE;
use super::effect::{Seen, Ticket};

/// What is known of an envelope.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Familiar {
    New,
    /// Taken in; `Some` while that is not on stable storage yet.
    Same(Option<Ticket>),
    /// Another envelope was taken in under its id.
    Other,
}

#[derive(Debug)]
struct Entry {
    header_digest: Digest,
    expires_at: Timestamp,
    pending: Option<Ticket>,
}

#[derive(Debug)]
pub(super) struct SeenNotices {
    entries: HashMap<NoticeId, Entry>,
    expiries: BTreeSet<(Timestamp, NoticeId)>,
}

impl SeenNotices {
    pub(super) fn new(seen: Vec<Seen>) -> Self {
        let mut notices = Self { entries: HashMap::new(), expiries: BTreeSet::new() };
        for seen in seen {
            notices.insert(seen, None);
        }
        notices
    }

    fn insert(&mut self, seen: Seen, pending: Option<Ticket>) {
        let Seen { notice_id, header_digest, expires_at } = seen;
        self.entries.insert(notice_id, Entry { header_digest, expires_at, pending });
        self.expiries.insert((expires_at, notice_id));
    }

    pub(super) fn insert_pending(&mut self, seen: Seen, ticket: Ticket) {
        self.insert(seen, Some(ticket));
    }

    pub(super) fn settle(&mut self, notice_id: &NoticeId) {
        if let Some(entry) = self.entries.get_mut(notice_id) {
            entry.pending = None;
        }
    }

    pub(super) fn check(&self, seen: &Seen) -> Familiar {
        match self.entries.get(&seen.notice_id) {
            None => Familiar::New,
            Some(entry) if entry.header_digest == seen.header_digest => Familiar::Same(entry.pending),
            Some(_) => Familiar::Other,
        }
    }

    /// Takes out what nobody delivers any more.
    pub(super) fn forget_expired(&mut self, now: Timestamp, count_max: usize) -> Vec<Seen> {
        let mut forgotten = Vec::new();
        while let Some((expires_at, notice_id)) = self.expiries.first().copied() {
            if expires_at.plus(EXPIRY_GRACE) >= now || forgotten.len() >= count_max {
                break;
            }
            self.expiries.pop_first();
            if let Some(entry) = self.entries.remove(&notice_id) {
                let Entry { header_digest, expires_at, .. } = entry;
                forgotten.push(Seen { notice_id, header_digest, expires_at });
            }
        }
        forgotten
    }

    pub(super) fn next_time(&self) -> Option<Timestamp> {
        let (expires_at, _) = self.expiries.first()?;
        Some(expires_at.plus(EXPIRY_GRACE).plus(std::time::Duration::from_millis(1)))
    }
}
