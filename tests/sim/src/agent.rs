//! An agency's shell in the simulated world: it runs the agent's real core against simulated storage and network, as
//! `valise_agent::node` does against the real ones, one event at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use valise_agent::core::{
    Change, Core, Effect, Ending, Event as Told, NotQueued, Outgoing, SessionId, Ticket,
};
use valise_proto::directory::Directory;
use valise_proto::id::{AgencyId, NoticeId, Timestamp};

use crate::Violation;
use crate::agent_disk::AgentDisk;
use crate::dice::Dice;
use crate::disk::Ailment;
use crate::exchange::agency_id;
use crate::link::Link;
use crate::network::{ConnId, Side};
use crate::plan::Mutation;
use crate::schedule::{AgentEvent, Event};
use crate::stage::Stage;

/// Longest sleep, so that a clock that is set does not go unnoticed.
const SLEEP_MS: u64 = 2_000;
/// How long the operator takes to start a node that ended.
const RESTART_MS: u64 = 3_000;

/// An agency: what survives its process, and the process.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) index: usize,
    pub(crate) id: AgencyId,
    pub(crate) disk: AgentDisk,
    pub(crate) ailment: Ailment,
    /// By how much its clock is off, in milliseconds.
    pub(crate) skew: i64,
    pub(crate) dice: Dice,
    pub(crate) process_number: u64,
    pub(crate) process: Option<Process>,
    sessions: u64,
    /// Notices that officers have been told of and not opened.
    pub(crate) unread: BTreeSet<NoticeId>,
}

/// What a crash takes away.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) core: Core,
    pub(crate) directory: Arc<Directory>,
    pub(crate) links: BTreeMap<SessionId, Link>,
    waiting: VecDeque<(Ticket, Vec<Change>)>,
    writing: Option<Vec<(Ticket, Vec<Change>)>>,
    wake_at: Option<u64>,
}

impl Agent {
    pub(crate) fn new(index: usize, stage: &mut Stage) -> Result<Self, Violation> {
        let directory = Arc::clone(&stage.authority.published);
        Ok(Self {
            index,
            id: agency_id(index)?,
            disk: AgentDisk::new(index, directory),
            ailment: Ailment { full: false, errors: stage.plan.disk_errors },
            skew: 0,
            dice: stage.dice.fork(),
            process_number: 0,
            process: None,
            sessions: 0,
            unread: BTreeSet::new(),
        })
    }

    pub(crate) fn now(&self, stage: &Stage) -> Timestamp {
        stage.schedule.clock(self.skew)
    }

    pub(crate) fn later(&self, stage: &mut Stage, wait: u64, event: AgentEvent) {
        stage.schedule.after(wait, Event::Agent(self.index, self.process_number, event));
    }

    pub(crate) fn start(&mut self, stage: &mut Stage) -> Result<(), Violation> {
        if self.process.is_some() {
            return Ok(());
        }
        if stage.mutation == Some(Mutation::ForgetSeen) {
            self.disk.forget_seen();
        }
        let core = Core::new(self.disk.memory(), stage.plan.outbox_max, self.dice.number());
        self.process = Some(Process {
            core,
            directory: Arc::clone(&self.disk.directory),
            links: BTreeMap::new(),
            waiting: VecDeque::new(),
            writing: None,
            wake_at: None,
        });
        self.run(stage)
    }

    /// The process ends at once. Of what it was writing, storage holds all or nothing.
    pub(crate) fn crash(&mut self, stage: &mut Stage) -> Result<(), Violation> {
        let Some(process) = self.process.take() else { return Ok(()) };
        self.process_number += 1;
        if let Some(group) = process.writing.filter(|_| self.dice.chance(500)) {
            self.disk
                .apply(group.into_iter().flat_map(|(_, changes)| changes).collect(), &mut stage.model)?;
        }
        for link in process.links.values() {
            let silently = self.dice.chance(500);
            stage.net.close(link.conn, Side::Agent, silently, &mut stage.schedule);
        }
        Ok(())
    }

    /// A notice of ours for the outbox; a full one refuses it, and then nothing has happened.
    pub(crate) fn send(&mut self, outgoing: Outgoing, stage: &mut Stage) -> Result<(), Violation> {
        if let Some(process) = &mut self.process {
            let waiting = process.core.outbox_notices();
            match process.core.handle_send(Box::new(outgoing)) {
                Ok(()) => {
                    stage.model.check_bound("notices in an outbox", waiting + 1, stage.plan.outbox_max)?;
                }
                // The officer is told so, and writes again or not; nothing has happened.
                Err(NotQueued::Full { .. }) => stage.model.summary.not_queued += 1,
                Err(NotQueued::Stopping) => return Err(Violation::surprise("a node stops unasked")),
            }
        }
        self.run(stage)
    }

    /// Its certificate was renewed.
    pub(crate) fn renewed(&mut self, stage: &mut Stage) -> Result<(), Violation> {
        let now = self.now(stage);
        if let Some(process) = &mut self.process {
            process.core.handle_renewed(now);
        }
        self.run(stage)
    }

    pub(crate) fn handle(&mut self, event: AgentEvent, stage: &mut Stage) -> Result<(), Violation> {
        let now = self.now(stage);
        match event {
            AgentEvent::Wake => {
                if let Some(process) = &mut self.process {
                    process.wake_at = None;
                }
            }
            AgentEvent::Examine { session, precedence } => self.examine_next(session, precedence, stage)?,
            AgentEvent::Arrive { place, arrival } => {
                if let Some(process) = &mut self.process {
                    process.core.handle_arrival(place, *arrival, now);
                }
            }
            AgentEvent::Committed => return self.committed(stage),
            AgentEvent::Silent { session, question } => self.silent(session, question, stage)?,
        }
        self.run(stage)
    }

    fn committed(&mut self, stage: &mut Stage) -> Result<(), Violation> {
        let now = self.now(stage);
        let Some(process) = &mut self.process else { return Ok(()) };
        if self.ailment.full || self.dice.chance(self.ailment.errors) {
            // If persistence fails, stop; never guess.
            self.crash(stage)?;
            stage.schedule.after(RESTART_MS, Event::AgentStarts(self.index));
            return Ok(());
        }
        let group = process.writing.take().unwrap_or_default();
        let tickets: Vec<Ticket> = group.iter().map(|(ticket, _)| *ticket).collect();
        self.disk.apply(group.into_iter().flat_map(|(_, changes)| changes).collect(), &mut stage.model)?;
        if stage.mutation != Some(Mutation::AcknowledgeBeforePersist) {
            process.core.handle_persisted(&tickets, now);
        }
        self.run(stage)
    }

    /// Tells the core the time and carries out what it wants until it wants nothing more.
    pub(crate) fn run(&mut self, stage: &mut Stage) -> Result<(), Violation> {
        let now = self.now(stage);
        let Some(process) = &mut self.process else { return Ok(()) };
        process.core.handle_directory(process.directory.content().expires_at);
        process.core.handle_timeout(now);
        while let Some(effect) = self.process.as_mut().and_then(|process| process.core.next_effect()) {
            self.carry_out(effect, stage)?;
        }
        self.begin_commit(stage)?;
        let Some(process) = &mut self.process else { return Ok(()) };
        let poll = process.core.poll_timeout();
        let wait = poll.map_or(SLEEP_MS, |at| stage.schedule.until(at, self.skew)).clamp(1, SLEEP_MS);
        let at = stage.schedule.now() + wait;
        if process.wake_at.is_none_or(|wake_at| at < wake_at) {
            process.wake_at = Some(at);
            self.later(stage, wait, AgentEvent::Wake);
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect, stage: &mut Stage) -> Result<(), Violation> {
        let now = self.now(stage);
        match effect {
            Effect::Persist { ticket, changes } => {
                let Some(process) = &mut self.process else { return Ok(()) };
                process.waiting.push_back((ticket, changes));
                if stage.mutation == Some(Mutation::AcknowledgeBeforePersist) {
                    process.core.handle_persisted(&[ticket], now);
                }
            }
            Effect::Connect => {
                let session = SessionId(self.sessions);
                self.sessions += 1;
                let conn = stage.net.dial(self.index, &mut stage.schedule);
                if let Some(process) = &mut self.process {
                    process.links.insert(session, Link::new(conn));
                    stage.model.check_bound("connections of a node", process.links.len(), 2)?;
                }
            }
            Effect::Submit { session, precedence, notice_id } => {
                self.submit(session, precedence, notice_id, stage)?;
            }
            Effect::Acknowledge { session, precedence, cursors } => {
                self.acknowledge(session, precedence, &cursors, stage);
            }
            Effect::Retire { session } | Effect::Close { session, .. } => {
                self.end_link(session, Ending::Passing, stage)?;
            }
            // No notice here says until when it may be kept.
            Effect::Review(_) => {}
            Effect::Notify(told) => self.notify(told, stage)?,
        }
        Ok(())
    }

    fn begin_commit(&mut self, stage: &mut Stage) -> Result<(), Violation> {
        let Some(process) = &mut self.process else { return Ok(()) };
        if process.writing.is_none() && !process.waiting.is_empty() {
            process.writing = Some(std::mem::take(&mut process.waiting).into());
            let wait = self.dice.between(1, stage.plan.persist_ms_max);
            self.later(stage, wait, AgentEvent::Committed);
        }
        Ok(())
    }

    /// A connection ended, or could not be made.
    pub(crate) fn end_link(
        &mut self,
        session: SessionId,
        ending: Ending,
        stage: &mut Stage,
    ) -> Result<(), Violation> {
        let now = self.now(stage);
        let Some(process) = &mut self.process else { return Ok(()) };
        if let Some(link) = process.links.remove(&session) {
            stage.net.close(link.conn, Side::Agent, false, &mut stage.schedule);
            process.core.handle_disconnected(session, ending, now);
        }
        Ok(())
    }

    pub(crate) fn session_of(&self, conn: ConnId) -> Option<SessionId> {
        let links = &self.process.as_ref()?.links;
        links.iter().find(|(_, link)| link.conn == conn).map(|(session, _)| *session)
    }

    fn notify(&mut self, told: Told, stage: &mut Stage) -> Result<(), Violation> {
        stage.note(|| format!("{}: {told:?}", self.id));
        match told {
            Told::Queued(notice_id) => stage.model.promised(self.index, notice_id),
            Told::Received(notice_id) => {
                self.unread.insert(notice_id);
                let wait = self.dice.between(500, 20_000);
                stage.schedule.after(wait, Event::Read(self.index, notice_id));
                // Another officer looks at it too, perhaps while the first reading is still being written.
                if self.dice.chance(300) {
                    let wait = wait + self.dice.between(0, 3_000);
                    stage.schedule.after(wait, Event::Read(self.index, notice_id));
                }
                Ok(())
            }
            Told::Accepted(_)
            | Told::Refused { .. }
            | Told::Lapsed(_)
            | Told::Receipt(_, _)
            | Told::SetAside(_)
            | Told::Step(_)
            | Told::Recorded(_)
            | Told::Purged { .. }
            | Told::Alarm(_) => Ok(()),
        }
    }
}
