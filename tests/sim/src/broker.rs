//! The broker's shell in the simulated world: it runs the broker's real core against the simulated disk and network,
//! as `valise_broker::server` does against the real ones, one event at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use valise_broker::core::{Core, CoreLimits, Effect, Loaded, LoadedItem, Policy, SessionId, StreamId};
use valise_broker::store::{Inbox, InboxContent, Operation};
use valise_proto::directory::Directory;
use valise_proto::envelope::{Envelope, Precedence};
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::receipt::SignedReceipt;
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::limits::Limits;
use valise_proto::wire::session::{
    Ack, Answer, Cursor, Delivery, Item, Publication, Query, SessionFrame, StreamOpen,
};

use crate::Violation;
use crate::disk::Disk;
use crate::exchange::agency_id;
use crate::intake::Committing;
use crate::network::{ConnId, Frame, Lane, Side};
use crate::plan::Mutation;
use crate::schedule::{BrokerEvent, Event};
use crate::stage::Stage;
use crate::twin::Twin;

/// How long a peer that was told goodbye still has.
const PART_MS: u64 = 200;
const CORE_LIMITS: CoreLimits = CoreLimits {
    connections_per_agency_max: 4,
    load_items_max: 8,
    sweep_interval: std::time::Duration::from_secs(5),
};

/// The broker: what survives its process, and the process.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) disk: Disk,
    pub(crate) twin: Option<Twin>,
    /// By how much its clock is off, in milliseconds.
    pub(crate) skew: i64,
    /// The directory in its data folder.
    held: Arc<Directory>,
    pub(crate) process_number: u64,
    pub(crate) process: Option<Process>,
    next_stream: u64,
    callers: BTreeMap<ConnId, AgencyId>,
}

/// What a crash takes away.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) core: Core,
    /// What decisions at submission are made by.
    pub(crate) admission: Policy,
    peers: BTreeMap<ConnId, Peer>,
    streams: BTreeMap<StreamId, Stream>,
    pub(crate) committing: Committing,
    pub(crate) sweeping: bool,
    wake_at: Option<u64>,
}

#[derive(Debug)]
struct Peer {
    agency: AgencyId,
    /// Nothing more is read from its streams.
    ending: bool,
    /// Envelopes that came on each submit stream, once it was opened.
    submitted: BTreeMap<Precedence, u64>,
    receiving: BTreeMap<Precedence, StreamId>,
    greeted: bool,
}

#[derive(Debug)]
struct Stream {
    conn: ConnId,
    precedence: Precedence,
    outstanding: BTreeSet<Cursor>,
}

impl Broker {
    pub(crate) fn new(disk: Disk, twin: Option<Twin>, stage: &mut Stage) -> Self {
        Self {
            disk,
            twin,
            skew: 0,
            held: Arc::clone(&stage.authority.published),
            process_number: 0,
            process: None,
            next_stream: 0,
            callers: BTreeMap::new(),
        }
    }

    pub(crate) fn now(&self, stage: &Stage) -> Timestamp {
        stage.schedule.clock(self.skew)
    }

    pub(crate) fn later(&self, stage: &mut Stage, wait: u64, event: BrokerEvent) {
        stage.schedule.after(wait, Event::Broker(self.process_number, event));
    }

    pub(crate) fn start(&mut self, stage: &mut Stage) -> Result<(), Violation> {
        if self.process.is_some() {
            return Ok(());
        }
        let now = self.now(stage);
        let (admission, policy) = self.policies(stage)?;
        let core = Core::new(policy, self.publication(), CORE_LIMITS, now);
        self.process = Some(Process {
            core,
            admission,
            peers: BTreeMap::new(),
            streams: BTreeMap::new(),
            committing: Committing::default(),
            sweeping: false,
            wake_at: None,
        });
        stage.model.audit_broker(&self.disk)?;
        self.run(stage)
    }

    /// The power is cut.
    pub(crate) fn crash(&mut self, stage: &mut Stage) -> Result<(), Violation> {
        self.process = None;
        self.process_number += 1;
        let survived = self.disk.crash();
        if let Some(twin) = &mut self.twin {
            twin.crash(&survived, &self.disk)?;
        }
        for conn in stage.net.open_at(Side::Broker) {
            let silently = stage.dice.chance(500);
            stage.net.close(conn, Side::Broker, silently, &mut stage.schedule);
        }
        stage.model.audit_broker(&self.disk)
    }

    /// The newest directory comes into force, if it may.
    pub(crate) fn publish(&mut self, stage: &mut Stage) -> Result<(), Violation> {
        let directory = stage.authority.read(stage.authority.published.encoded().clone())?;
        if directory.check_may_replace(&self.held).is_err() || directory.check_fresh(self.now(stage)).is_err()
        {
            return Ok(());
        }
        self.held = Arc::new(directory);
        let (admission, policy) = self.policies(stage)?;
        let (publication, now) = (self.publication(), self.now(stage));
        if let Some(process) = &mut self.process {
            process.admission = admission;
            process.core.handle_publication(policy.directory, publication, now);
        }
        self.run(stage)
    }

    /// What submissions and what deliveries are decided by: the same, unless one of the decisions is to be left out.
    fn policies(&self, stage: &Stage) -> Result<(Policy, Policy), Violation> {
        let lax = || stage.authority.lax(&self.held).map(Arc::new);
        let strict = Policy { directory: Arc::clone(&self.held), limits: stage.plan.limits.clone() };
        let loose_limits = Limits { unacknowledged_max: 1024, ..stage.plan.limits.clone() };
        Ok(match stage.mutation {
            Some(Mutation::SkipSubmissionDecision) => {
                (Policy { directory: lax()?, ..strict.clone() }, strict)
            }
            Some(Mutation::SkipDeliveryDecision) => (strict.clone(), Policy { directory: lax()?, ..strict }),
            Some(Mutation::IgnoreWindow) => (strict.clone(), Policy { limits: loose_limits, ..strict }),
            Some(_) | None => (strict.clone(), strict),
        })
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.held
    }

    fn publication(&self) -> Publication {
        Publication { directory: self.held.encoded().clone(), crls: Vec::new() }
    }

    pub(crate) fn caller(&self, conn: ConnId) -> Result<AgencyId, Violation> {
        self.callers.get(&conn).cloned().ok_or_else(|| Violation::surprise("a connection of nobody"))
    }

    /// A call came; certificates are not part of the simulation.
    pub(crate) fn called(&mut self, conn: ConnId, agent: usize, stage: &mut Stage) -> Result<(), Violation> {
        let now = self.now(stage);
        let Some(process) = &mut self.process else { return Ok(()) };
        let agency = agency_id(agent)?;
        stage.net.answer(conn, &mut stage.schedule);
        self.callers.insert(conn, agency.clone());
        let peer = Peer {
            agency: agency.clone(),
            ending: false,
            submitted: BTreeMap::new(),
            receiving: BTreeMap::new(),
            greeted: false,
        };
        process.peers.insert(conn, peer);
        process.core.handle_connected(SessionId(conn.0), agency, now);
        self.run(stage)
    }

    /// A connection is gone.
    pub(crate) fn ended(&mut self, conn: ConnId, stage: &mut Stage) -> Result<(), Violation> {
        if let Some(process) = &mut self.process {
            process.peers.remove(&conn);
            process.streams.retain(|_, stream| stream.conn != conn);
            process.core.handle_disconnected(SessionId(conn.0));
        }
        self.run(stage)
    }

    /// Frames came.
    pub(crate) fn heard(
        &mut self,
        conn: ConnId,
        lane: Lane,
        frames: Vec<Frame>,
        stage: &mut Stage,
    ) -> Result<(), Violation> {
        for frame in frames {
            let Frame::Data(bytes) = frame else { continue };
            if let Err(reason) = self.frame(conn, lane, bytes, stage)?
                && let Some(process) = &mut self.process
            {
                process.core.handle_violation(SessionId(conn.0), reason);
            }
        }
        self.run(stage)
    }

    fn frame(
        &mut self,
        conn: ConnId,
        lane: Lane,
        bytes: Bytes,
        stage: &mut Stage,
    ) -> Result<Result<(), Refusal>, Violation> {
        let now = self.now(stage);
        let Some(process) = &mut self.process else { return Ok(Ok(())) };
        let Some(peer) = process.peers.get_mut(&conn).filter(|peer| !peer.ending) else { return Ok(Ok(())) };
        match lane {
            Lane::Submit(precedence) => {
                if let Some(ordinal) = peer.submitted.get_mut(&precedence) {
                    let event = BrokerEvent::Judge { conn, precedence, ordinal: *ordinal, frame: bytes };
                    *ordinal += 1;
                    let wait = stage.dice.between(0, 6);
                    self.later(stage, wait, event);
                    return Ok(Ok(()));
                }
            }
            Lane::Receive(precedence) => {
                if let Some(stream) = peer.receiving.get(&precedence).copied() {
                    return self.acknowledged(stream, bytes, stage);
                }
            }
            Lane::Session | Lane::Query(_) => {}
        }
        let open = match StreamOpen::decode(bytes) {
            Ok(open) => open,
            Err(error) => return Ok(Err(Refusal::new(RefusalCode::Malformed, error))),
        };
        match open {
            StreamOpen::Session(hello) if !peer.greeted => {
                peer.greeted = true;
                process.core.handle_hello(SessionId(conn.0), &hello, now);
                Ok(Ok(()))
            }
            open => Ok(self.open(conn, lane, open, stage)),
        }
    }

    fn open(&mut self, conn: ConnId, lane: Lane, open: StreamOpen, stage: &mut Stage) -> Result<(), Refusal> {
        let now = self.now(stage);
        let publication = self.publication();
        let refused = |detail| Err(Refusal::new(RefusalCode::Malformed, detail));
        let Some(process) = &mut self.process else { return Ok(()) };
        let Some(peer) = process.peers.get_mut(&conn) else { return Ok(()) };
        if !process.core.is_welcomed(SessionId(conn.0)) {
            return refused("streams are served after Welcome only");
        }
        match open {
            StreamOpen::Session(_) => return refused("a connection has one session stream"),
            StreamOpen::Submit(precedence) => drop(peer.submitted.insert(precedence, 0)),
            StreamOpen::Receive { precedence, window } => {
                let stream = StreamId(self.next_stream);
                self.next_stream += 1;
                peer.receiving.insert(precedence, stream);
                let state = Stream { conn, precedence, outstanding: BTreeSet::new() };
                process.streams.insert(stream, state);
                process.core.handle_receive(SessionId(conn.0), stream, precedence, window, now);
            }
            StreamOpen::Query(Query::Publication) => {
                let frame = Frame::Data(Answer::Publication(publication).encode());
                stage.net.send(conn, Side::Broker, lane, frame, &mut stage.schedule);
            }
            StreamOpen::Query(_) => return refused("nobody asks that here"),
        }
        Ok(())
    }

    fn acknowledged(
        &mut self,
        stream: StreamId,
        bytes: Bytes,
        stage: &mut Stage,
    ) -> Result<Result<(), Refusal>, Violation> {
        let now = self.now(stage);
        let Ack { cursors } = match Ack::decode(bytes) {
            Ok(ack) => ack,
            Err(error) => return Ok(Err(Refusal::new(RefusalCode::Malformed, error))),
        };
        let Some(process) = &mut self.process else { return Ok(Ok(())) };
        if let Some(state) = process.streams.get_mut(&stream) {
            let Some(peer) = process.peers.get(&state.conn) else { return Ok(Ok(())) };
            for cursor in &cursors {
                // An agency acknowledges only what it holds on stable storage (G4).
                stage.model.acknowledged(&peer.agency, state.precedence, *cursor, &self.disk)?;
                state.outstanding.remove(cursor);
            }
        }
        process.core.handle_ack(stream, cursors, now);
        Ok(Ok(()))
    }

    pub(crate) fn handle(&mut self, event: BrokerEvent, stage: &mut Stage) -> Result<(), Violation> {
        let now = self.now(stage);
        match event {
            BrokerEvent::Wake => {
                if let Some(process) = &mut self.process {
                    process.wake_at = None;
                    process.core.handle_timeout(now);
                }
            }
            BrokerEvent::Judge { conn, precedence, ordinal, frame } => {
                self.judge(conn, precedence, ordinal, frame, stage)?;
            }
            BrokerEvent::Synced => self.synced(stage)?,
            BrokerEvent::Read { stream, agency, precedence, after, count } => {
                let Inbox { items, more } = self.disk.inbox(&agency, precedence, after, count);
                if let Some(twin) = &self.twin {
                    twin.compare_inbox(
                        &agency,
                        precedence,
                        after,
                        count,
                        &Inbox { items: items.clone(), more },
                    )?;
                }
                let parsed = items.into_iter().map(|item| (item.cursor, parse(item.content)));
                let items = parsed.map(|(cursor, item)| Loaded { cursor, item }).collect();
                let wait = stage.dice.between(0, 4);
                self.later(stage, wait, BrokerEvent::Loaded { stream, items, more });
            }
            BrokerEvent::Loaded { stream, items, more } => {
                if let Some(process) = &mut self.process {
                    process.core.handle_loaded(stream, items, more, now);
                }
            }
            BrokerEvent::Written(stream) => {
                if let Some(process) = &mut self.process {
                    process.core.handle_written(stream, now);
                }
            }
            BrokerEvent::Queued(inboxes) => {
                if let Some(process) = &mut self.process {
                    process.core.handle_queued(&inboxes, now);
                }
            }
            BrokerEvent::Sweep(at) => self.sweep(at, stage)?,
            BrokerEvent::Part(conn) => {
                stage.net.close(conn, Side::Broker, false, &mut stage.schedule);
                return self.ended(conn, stage);
            }
        }
        self.run(stage)
    }

    /// Carries out what the core wants until it wants nothing more.
    pub(crate) fn run(&mut self, stage: &mut Stage) -> Result<(), Violation> {
        while let Some(effect) = self.process.as_mut().and_then(|process| process.core.next_effect()) {
            self.carry_out(effect, stage)?;
        }
        self.begin_commit(stage)?;
        let (skew, interval) = (self.skew, CORE_LIMITS.sweep_interval);
        let Some(process) = &mut self.process else { return Ok(()) };
        stage.model.check_sessions(
            process.peers.values().filter(|peer| !peer.ending).map(|peer| &peer.agency),
            (process.core.sessions_len(), CORE_LIMITS.connections_per_agency_max),
            &self.held,
        )?;
        let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        let wait = stage.schedule.until(process.core.poll_timeout(), skew).min(interval);
        let at = stage.schedule.now() + wait;
        if process.wake_at.is_none_or(|wake_at| at < wake_at) {
            process.wake_at = Some(at);
            self.later(stage, wait, BrokerEvent::Wake);
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect, stage: &mut Stage) -> Result<(), Violation> {
        match effect {
            Effect::Send { session, frame } => {
                let bytes = Frame::Data(frame.encode());
                stage.net.send(ConnId(session.0), Side::Broker, Lane::Session, bytes, &mut stage.schedule);
            }
            Effect::Close { session, reason } => {
                let conn = ConnId(session.0);
                stage.note(|| format!("broker ends {conn:?}: {reason:?}"));
                if let Some(peer) = self.process.as_mut().and_then(|process| process.peers.get_mut(&conn)) {
                    peer.ending = true;
                }
                let bytes = Frame::Data(SessionFrame::Goodbye(reason).encode());
                stage.net.send(conn, Side::Broker, Lane::Session, bytes, &mut stage.schedule);
                self.later(stage, PART_MS, BrokerEvent::Part(conn));
            }
            Effect::CloseStream { stream } => {
                if let Some(state) = self.process.as_mut().and_then(|process| process.streams.remove(&stream))
                {
                    let lane = Lane::Receive(state.precedence);
                    stage.net.send(state.conn, Side::Broker, lane, Frame::End, &mut stage.schedule);
                }
            }
            Effect::Load { stream, agency, precedence, after, count } => {
                stage.model.check_bound("items read at once", count, CORE_LIMITS.load_items_max)?;
                let wait = stage.dice.between(0, 8);
                let event = BrokerEvent::Read { stream, agency, precedence, after, count };
                self.later(stage, wait, event);
            }
            Effect::Deliver { stream, deliveries } => self.deliver(stream, deliveries, stage)?,
            Effect::Acknowledge { agency, precedence, cursors } => {
                self.submit_quietly(vec![Operation::Acknowledge { agency, precedence, cursors }]);
            }
            Effect::Sweep { now } => {
                if let Some(process) = self.process.as_mut().filter(|process| !process.sweeping) {
                    process.sweeping = true;
                    self.later(stage, 1, BrokerEvent::Sweep(now));
                }
            }
        }
        Ok(())
    }

    fn deliver(
        &mut self,
        stream: StreamId,
        deliveries: Vec<Delivery>,
        stage: &mut Stage,
    ) -> Result<(), Violation> {
        let now = self.now(stage);
        let Some(process) = &mut self.process else { return Ok(()) };
        let Some(state) = process.streams.get_mut(&stream) else { return Ok(()) };
        let Some(peer) = process.peers.get(&state.conn) else { return Ok(()) };
        let (conn, lane) = (state.conn, Lane::Receive(state.precedence));
        let mut outgoing = Vec::with_capacity(deliveries.len());
        for Delivery { cursor, item } in deliveries {
            state.outstanding.insert(cursor);
            let item = match item {
                Item::Envelope(envelope) => {
                    stage.model.handed_out(&peer.agency, &envelope, &self.held, now)?;
                    Item::Envelope(Box::new(stage.tamper(&peer.agency, *envelope)?))
                }
                Item::Receipt(receipt) => Item::Receipt(receipt),
            };
            outgoing.push(Delivery { cursor, item });
        }
        let window = stage.plan.limits.unacknowledged_max;
        stage.model.check_bound("unacknowledged deliveries", state.outstanding.len(), window)?;
        for delivery in outgoing {
            stage.net.send(conn, Side::Broker, lane, Frame::Data(delivery.encode()), &mut stage.schedule);
        }
        let wait = stage.dice.between(0, 30);
        self.later(stage, wait, BrokerEvent::Written(stream));
        Ok(())
    }
}

fn parse(content: InboxContent) -> LoadedItem {
    match content {
        InboxContent::Envelope(bytes) => match Envelope::decode(bytes, &Limits::DEFAULT) {
            Ok(envelope) => LoadedItem::Envelope(Box::new(envelope)),
            Err(_) => LoadedItem::Unreadable,
        },
        InboxContent::Receipt(bytes) => match SignedReceipt::decode(bytes) {
            Ok(receipt) => LoadedItem::Receipt(Box::new(receipt)),
            Err(_) => LoadedItem::Unreadable,
        },
        InboxContent::Unreadable(_) => LoadedItem::Unreadable,
    }
}
