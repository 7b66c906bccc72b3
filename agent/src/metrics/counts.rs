//! What a node counts as it happens.

use std::sync::atomic::{AtomicU64, Ordering};

use valise_proto::refusal::RefusalCode;

/// Counters since the start. Each is one atomic number: counting waits for nobody and takes no memory.
#[derive(Debug)]
pub(crate) struct Counts {
    accepted: AtomicU64,
    lapsed: AtomicU64,
    received: AtomicU64,
    set_aside: AtomicU64,
    purged: AtomicU64,
    unanswered: AtomicU64,
    connected: AtomicU64,
    /// One for each refusal code of this version, and one for all others.
    refusals: [AtomicU64; RefusalCode::ALL.len() + 1],
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            accepted: AtomicU64::new(0),
            lapsed: AtomicU64::new(0),
            received: AtomicU64::new(0),
            set_aside: AtomicU64::new(0),
            purged: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            connected: AtomicU64::new(0),
            refusals: [const { AtomicU64::new(0) }; RefusalCode::ALL.len() + 1],
        }
    }
}

impl Counts {
    /// The broker took a notice or receipt of ours.
    pub(crate) fn note_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// A notice of ours expired before a broker took it.
    pub(crate) fn note_lapsed(&self) {
        self.lapsed.fetch_add(1, Ordering::Relaxed);
    }

    /// A notice arrived and can be read.
    pub(crate) fn note_received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    /// A delivery was set aside.
    pub(crate) fn note_set_aside(&self) {
        self.set_aside.fetch_add(1, Ordering::Relaxed);
    }

    /// What was held of a notice was deleted, because it was corrected or withdrawn.
    pub(crate) fn note_purged(&self) {
        self.purged.fetch_add(1, Ordering::Relaxed);
    }

    /// The time for answers to a notice of ours is over, and somebody did not answer.
    pub(crate) fn note_unanswered(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection is up.
    pub(crate) fn note_connected(&self) {
        self.connected.fetch_add(1, Ordering::Relaxed);
    }

    /// The broker refused something of ours, for good or for now.
    pub(crate) fn note_refused(&self, code: RefusalCode) {
        let known = RefusalCode::ALL.iter().position(|known| *known == code);
        // There is one counter more than codes.
        if let Some(count) = self.refusals.get(known.unwrap_or(RefusalCode::ALL.len())) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How things stand.
    pub(crate) fn counted(&self) -> Counted {
        let at = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let names =
            RefusalCode::ALL.iter().map(|code| code.as_str()).chain([RefusalCode::Unknown(0).as_str()]);
        Counted {
            accepted: at(&self.accepted),
            lapsed: at(&self.lapsed),
            received: at(&self.received),
            set_aside: at(&self.set_aside),
            purged: at(&self.purged),
            unanswered: at(&self.unanswered),
            connected: at(&self.connected),
            refusals: names.zip(self.refusals.iter().map(at)).collect(),
        }
    }
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) accepted: u64,
    pub(crate) lapsed: u64,
    pub(crate) received: u64,
    pub(crate) set_aside: u64,
    pub(crate) purged: u64,
    pub(crate) unanswered: u64,
    pub(crate) connected: u64,
    pub(crate) refusals: Vec<(&'static str, u64)>,
}
