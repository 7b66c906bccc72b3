//! Virtual time, and what will happen in it. Nothing else moves the world.

use std::collections::BTreeMap;

use valise_agent::core as agent;
use valise_broker::core as broker;
use valise_proto::envelope::Precedence;
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::wire::session::Cursor;

use crate::exchange::START_MS;
use crate::network::{ConnId, NetEvent};

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Event {
    Net(NetEvent),
    /// To the broker's process of this number; an older one is gone.
    Broker(u64, BrokerEvent),
    BrokerStarts,
    /// The operator puts the newest directory into the broker's folder.
    BrokerPublishes,
    /// To an agency's process of this number.
    Agent(usize, u64, AgentEvent),
    AgentStarts(usize),
    /// An officer writes a notice.
    Compose(usize),
    /// An officer opens a notice.
    Read(usize, valise_proto::id::NoticeId),
    /// Something goes wrong, or an administrator does something.
    Trouble,
    /// A fault that lasts comes to its end.
    Mend(Mending),
    /// All faults end.
    Calm,
    /// The authority publishes in good time, whatever else happens.
    Renewal,
    /// The end of a phase is looked for.
    Look,
}

/// What comes to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mending {
    Cut(usize),
    BrokerDisk,
    AgentDisk(usize),
    Suspension(usize),
}

/// Something that happens in the broker's process.
#[derive(Debug)]
pub(crate) enum BrokerEvent {
    Wake,
    /// An envelope's turn on a worker thread.
    Judge {
        conn: ConnId,
        precedence: Precedence,
        ordinal: u64,
        frame: bytes::Bytes,
    },
    /// The disk has confirmed what was written.
    Synced,
    /// An inbox is read.
    Read {
        stream: broker::StreamId,
        agency: AgencyId,
        precedence: Precedence,
        after: Cursor,
        count: usize,
    },
    /// What was read comes to the core.
    Loaded {
        stream: broker::StreamId,
        items: Vec<broker::Loaded>,
        more: bool,
    },
    Written(broker::StreamId),
    Queued(Vec<(AgencyId, Precedence)>),
    Sweep(Timestamp),
    /// A session that was told goodbye is ended.
    Part(ConnId),
}

/// Something that happens in an agency's process.
#[derive(Debug)]
pub(crate) enum AgentEvent {
    Wake,
    /// A delivery's turn to be verified and opened.
    Examine {
        session: agent::SessionId,
        precedence: Precedence,
    },
    /// What it was found to be comes to the core.
    Arrive {
        place: agent::Place,
        arrival: Box<agent::Arrival>,
    },
    /// The disk has confirmed what was written.
    Committed,
    /// An answer of the broker is overdue.
    Silent {
        session: agent::SessionId,
        question: u64,
    },
}

/// Virtual time in milliseconds, and what is to come, in order.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    now: u64,
    next: u64,
    events: BTreeMap<(u64, u64), Event>,
}

impl Schedule {
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// The time by a clock that is off by `skew` milliseconds.
    pub(crate) fn clock(&self, skew: i64) -> Timestamp {
        Timestamp::from_millis((START_MS + self.now).saturating_add_signed(skew))
    }

    /// How long it is, by such a clock, until `at`.
    pub(crate) fn until(&self, at: Timestamp, skew: i64) -> u64 {
        at.millis().saturating_sub(self.clock(skew).millis())
    }

    pub(crate) fn after(&mut self, wait: u64, event: Event) {
        self.events.insert((self.now.saturating_add(wait), self.next), event);
        self.next += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        let ((at, _), event) = self.events.pop_first()?;
        self.now = at;
        Some(event)
    }
}
