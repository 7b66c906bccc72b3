//! The network: connections between agencies and the broker, each of several streams.
//!
//! A stream gives its frames reliably and in order for as long as its connection lives, as QUIC does; below that,
//! packets are lost, doubled, late and out of order, and a lost packet of one stream holds up no other. A direction
//! can be cut by itself; a connection over which nothing is heard any more ends, at each side when that side notices.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use valise_proto::envelope::Precedence;

use crate::dice::Dice;
use crate::schedule::{Event, Schedule};

/// After this long without a word a side gives the connection up.
const IDLE_MS: u64 = 30_000;
/// How long a call waits for its answer.
const HANDSHAKE_MS: u64 = 5_000;

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnId(pub(crate) u64);

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Agent,
    Broker,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Agent => Self::Broker,
            Self::Broker => Self::Agent,
        }
    }
}

/// A stream of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    Session,
    Submit(Precedence),
    Receive(Precedence),
    Query(u64),
}

/// What goes over a stream.
#[derive(Clone, Debug)]
pub(crate) enum Frame {
    Data(Bytes),
    /// The stream ends.
    End,
}

/// What happens in the network.
#[derive(Clone, Debug)]
pub(crate) enum NetEvent {
    /// A call reaches the broker.
    Called(ConnId),
    /// Its answer reaches the agent.
    Answered(ConnId),
    /// A call was in vain.
    InVain(ConnId),
    /// A packet arrives, or would.
    Packet { to: Side, place: Place, frame: Frame },
    /// A packet that was lost is sent again.
    Again { to: Side, place: Place, frame: Frame, tries: u32 },
    /// A side hears that the other has ended the connection.
    Ended { conn: ConnId, side: Side },
    /// A side looks whether it has heard nothing for too long.
    Idle { conn: ConnId, side: Side },
}

/// A packet's place in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) conn: ConnId,
    pub(crate) lane: Lane,
    seq: u64,
}

/// What a side hears.
#[derive(Debug)]
pub(crate) enum Heard {
    Called { conn: ConnId, agent: usize },
    Connected { conn: ConnId },
    InVain { conn: ConnId },
    Frames { conn: ConnId, side: Side, lane: Lane, frames: Vec<Frame> },
    Ended { conn: ConnId, side: Side },
}

#[derive(Debug, Default)]
struct End {
    open: bool,
    sent: BTreeMap<Lane, u64>,
    taken: BTreeMap<Lane, u64>,
    early: BTreeMap<(Lane, u64), Frame>,
}

#[derive(Debug)]
struct Conn {
    agent: usize,
    ends: BTreeMap<Side, End>,
}

/// The network.
#[derive(Debug)]
pub(crate) struct Network {
    dice: Dice,
    conns: BTreeMap<ConnId, Conn>,
    next: u64,
    /// Since when a direction is cut: towards this side of this agency's connections.
    cuts: BTreeMap<(usize, Side), u64>,
    /// Streams whose packets come no sooner than this.
    stalls: BTreeMap<(ConnId, Side, Lane), u64>,
    /// Packets lost, and doubled, of a thousand.
    pub(crate) loss: u64,
    /// Whether the precedences of a connection share a lane, as they never must.
    pub(crate) one_lane: bool,
}

impl Network {
    pub(crate) fn new(dice: Dice, loss: u64) -> Self {
        let (conns, cuts, stalls) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { dice, conns, next: 0, cuts, stalls, loss, one_lane: false }
    }

    /// Calls the broker.
    pub(crate) fn dial(&mut self, agent: usize, schedule: &mut Schedule) -> ConnId {
        let conn = ConnId(self.next);
        self.next += 1;
        let ends = BTreeMap::from([(Side::Agent, End::default()), (Side::Broker, End::default())]);
        self.conns.insert(conn, Conn { agent, ends });
        let reaches = !self.is_cut(agent, Side::Broker) && !self.is_cut(agent, Side::Agent);
        if reaches {
            schedule.after(self.latency(), Event::Net(NetEvent::Called(conn)));
        }
        schedule.after(HANDSHAKE_MS, Event::Net(NetEvent::InVain(conn)));
        conn
    }

    /// The broker takes a call.
    pub(crate) fn answer(&mut self, conn: ConnId, schedule: &mut Schedule) {
        self.set_open(conn, Side::Broker, true);
        schedule.after(self.latency(), Event::Net(NetEvent::Answered(conn)));
    }

    /// Sends a frame; if the connection is gone, nothing happens.
    pub(crate) fn send(
        &mut self,
        conn: ConnId,
        from: Side,
        lane: Lane,
        frame: Frame,
        schedule: &mut Schedule,
    ) {
        let Some(end) = self.end(conn, from).filter(|end| end.open) else { return };
        let seq = end.sent.entry(lane).or_default();
        let place = Place { conn, lane, seq: *seq };
        *seq += 1;
        self.transmit(from.other(), place, frame, 0, schedule);
    }

    fn transmit(&mut self, to: Side, place: Place, frame: Frame, tries: u32, schedule: &mut Schedule) {
        let Some(agent) = self.conns.get(&place.conn).map(|conn| conn.agent) else { return };
        if self.is_cut(agent, to) || self.dice.chance(self.loss) {
            let wait = 200_u64.saturating_mul(1 << tries.min(5)).min(5_000);
            let tries = tries.saturating_add(1);
            schedule.after(wait, Event::Net(NetEvent::Again { to, place, frame, tries }));
            return;
        }
        let stalled = self.stalls.get(&(place.conn, to, self.shared(place.lane)));
        let held = stalled.map_or(0, |until| until.saturating_sub(schedule.now()));
        if self.dice.chance(self.loss / 2) {
            let doubled = NetEvent::Packet { to, place, frame: frame.clone() };
            schedule.after(held + 2 * self.latency(), Event::Net(doubled));
        }
        schedule.after(held + self.latency(), Event::Net(NetEvent::Packet { to, place, frame }));
    }

    /// A side ends the connection; the other hears of it, unless that direction is cut or `silently`.
    pub(crate) fn close(&mut self, conn: ConnId, side: Side, silently: bool, schedule: &mut Schedule) {
        let Some(agent) = self.conns.get(&conn).map(|conn| conn.agent) else { return };
        self.set_open(conn, side, false);
        let other = side.other();
        if silently || self.is_cut(agent, other) {
            schedule.after(IDLE_MS, Event::Net(NetEvent::Ended { conn, side: other }));
        } else {
            schedule.after(self.latency(), Event::Net(NetEvent::Ended { conn, side: other }));
        }
    }

    /// Something happens.
    pub(crate) fn handle(&mut self, event: NetEvent, schedule: &mut Schedule) -> Option<Heard> {
        match event {
            NetEvent::Called(conn) => {
                let agent = self.conns.get(&conn)?.agent;
                Some(Heard::Called { conn, agent })
            }
            NetEvent::Answered(conn) => {
                let agent = self.conns.get(&conn)?.agent;
                let waits = self.end(conn, Side::Broker).is_some_and(|end| end.open);
                if !waits || self.is_cut(agent, Side::Agent) {
                    return None;
                }
                self.set_open(conn, Side::Agent, true);
                Some(Heard::Connected { conn })
            }
            NetEvent::InVain(conn) => {
                let untouched = |end: &End| !end.open && end.sent.is_empty();
                self.end(conn, Side::Agent).is_some_and(|end| untouched(end)).then(|| {
                    schedule.after(IDLE_MS, Event::Net(NetEvent::Ended { conn, side: Side::Broker }));
                    Heard::InVain { conn }
                })
            }
            NetEvent::Packet { to, place, frame } => self.arrive(to, place, frame),
            NetEvent::Again { to, place, frame, tries } => {
                let alive = self.end(place.conn, to.other()).is_some_and(|end| end.open);
                if alive {
                    self.transmit(to, place, frame, tries, schedule);
                }
                None
            }
            NetEvent::Ended { conn, side } => {
                let end = self.end(conn, side).filter(|end| end.open)?;
                end.open = false;
                Some(Heard::Ended { conn, side })
            }
            NetEvent::Idle { conn, side } => {
                let agent = self.conns.get(&conn)?.agent;
                let since = *self.cuts.get(&(agent, side))?;
                self.end(conn, side).filter(|end| end.open)?;
                if schedule.now().saturating_sub(since) < IDLE_MS {
                    return None;
                }
                self.close(conn, side, false, schedule);
                Some(Heard::Ended { conn, side })
            }
        }
    }

    fn arrive(&mut self, to: Side, place: Place, frame: Frame) -> Option<Heard> {
        let Place { conn, lane, seq } = place;
        let end = self.end(conn, to).filter(|end| end.open)?;
        let taken = end.taken.entry(lane).or_default();
        // One that came before, for packets are doubled.
        if seq < *taken {
            return None;
        }
        end.early.insert((lane, seq), frame);
        let mut frames = Vec::new();
        while let Some(frame) = end.early.remove(&(lane, *taken)) {
            *taken += 1;
            frames.push(frame);
        }
        (!frames.is_empty()).then_some(Heard::Frames { conn, side: to, lane, frames })
    }

    /// Cuts the direction towards one side of an agency's connections.
    pub(crate) fn cut(&mut self, agent: usize, towards: Side, schedule: &mut Schedule) {
        self.cuts.insert((agent, towards), schedule.now());
        for conn in self.of(agent) {
            schedule.after(IDLE_MS, Event::Net(NetEvent::Idle { conn, side: towards }));
        }
    }

    /// Nothing is lost, cut or held up any more; what is on its way comes when it comes.
    pub(crate) fn calm(&mut self) {
        self.loss = 0;
        self.cuts.clear();
        self.stalls.clear();
    }

    /// Both directions of an agency's connections are as they should be.
    pub(crate) fn mend(&mut self, agent: usize) {
        self.cuts.remove(&(agent, Side::Agent));
        self.cuts.remove(&(agent, Side::Broker));
    }

    /// Holds up what goes towards `to` on a lane of an agency's connections, for so long.
    pub(crate) fn stall(&mut self, agent: usize, to: Side, lane: Lane, wait: u64, schedule: &Schedule) {
        let lane = self.shared(lane);
        for conn in self.of(agent) {
            self.stalls.insert((conn, to, lane), schedule.now() + wait);
        }
    }

    /// Ends a connection at both sides, each of which notices when it does.
    pub(crate) fn sever(&mut self, agent: usize, schedule: &mut Schedule) {
        for conn in self.of(agent) {
            for side in [Side::Agent, Side::Broker] {
                schedule.after(self.dice.between(0, 3_000), Event::Net(NetEvent::Ended { conn, side }));
            }
        }
    }

    /// The connections of an agency that are open at either side.
    fn of(&self, agent: usize) -> Vec<ConnId> {
        let open = |conn: &Conn| conn.agent == agent && conn.ends.values().any(|end| end.open);
        self.conns.iter().filter(|(_, conn)| open(conn)).map(|(id, _)| *id).collect()
    }

    /// The open connections that end at this side.
    pub(crate) fn open_at(&self, side: Side) -> BTreeSet<ConnId> {
        let open = |conn: &Conn| conn.ends.get(&side).is_some_and(|end| end.open);
        self.conns.iter().filter(|(_, conn)| open(conn)).map(|(id, _)| *id).collect()
    }

    /// Whether a connection is open at both ends.
    pub(crate) fn is_open(&self, conn: ConnId) -> bool {
        self.conns.get(&conn).is_some_and(|conn| conn.ends.values().all(|end| end.open))
    }

    fn set_open(&mut self, conn: ConnId, side: Side, open: bool) {
        if let Some(end) = self.end(conn, side) {
            end.open = open;
        }
    }

    fn end(&mut self, conn: ConnId, side: Side) -> Option<&mut End> {
        self.conns.get_mut(&conn)?.ends.get_mut(&side)
    }

    fn is_cut(&self, agent: usize, towards: Side) -> bool {
        self.cuts.contains_key(&(agent, towards))
    }

    fn latency(&mut self) -> u64 {
        if self.dice.chance(30) { self.dice.between(100, 900) } else { self.dice.between(1, 40) }
    }

    fn shared(&self, lane: Lane) -> Lane {
        match lane {
            Lane::Submit(_) if self.one_lane => Lane::Submit(Precedence::Routine),
            Lane::Receive(_) if self.one_lane => Lane::Receive(Precedence::Routine),
            Lane::Submit(_) | Lane::Receive(_) | Lane::Session | Lane::Query(_) => lane,
        }
    }
}
