//! The task that owns the core: it hands inputs in and carries effects out.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use valise_proto::envelope::NoticeKind;
use valise_proto::id::{NoticeId, Timestamp};
use valise_proto::refusal::Refusal;

use super::committer::Committer;
use super::events::{Events, Happening};
use super::link::{Dialler, LinkHandle, LinkState, Target};
use super::office::Office;
use super::watch::Watch;
use super::{Failure, alarms, reviewing};
use crate::core::{
    Alarm, Arrival, BrokerAnswer, Change, Core, Depths, Effect, Ending, Event, NotQueued, OfficerStep,
    Outgoing, Place, Review, Reviewed, SessionId, Side, Stage, StepKey, Ticket,
};
use crate::release::standing;

/// Longest sleep of the engine, so that a clock that is set does not go unnoticed.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Most inputs handled before effects are carried out.
const INPUTS_AT_ONCE: usize = 256;

/// What the engine is told.
pub(super) enum Input {
    /// A signed envelope for the outbox.
    Send { outgoing: Box<Outgoing>, also: Vec<Change>, reply: oneshot::Sender<Result<(), NotQueued>> },
    /// An officer is about to be shown a notice, or states something of it.
    Step { step: Box<OfficerStep>, also: Vec<Change>, reply: oneshot::Sender<()> },
    /// A deletion by the clock is prepared.
    Reviewed { review: Review, reviewed: Box<Reviewed> },
    /// Changes that concern no notice on its way.
    Record { changes: Vec<Change>, reply: oneshot::Sender<()> },
    /// A delivery was examined.
    Arrived { place: Place, arrival: Box<Arrival> },
    /// The broker answered a submission.
    Answered { session: SessionId, notice_id: NoticeId, answer: Box<BrokerAnswer> },
    /// An envelope was not submitted, because the broker would end the connection for it.
    Unsendable { session: SessionId, notice_id: NoticeId, refusal: Refusal },
    /// The peer broke the rules.
    Misbehaved { session: SessionId, reason: &'static str },
    /// A connection is up.
    Up { link: LinkHandle, target: Target, in_flight_max: usize },
    /// A connection ended, or could not be made.
    Down { session: SessionId, reason: String, exclusion: Option<Refusal> },
    /// Who this node is has changed: its certificate, or its standing with the authority.
    Renewed,
    /// How many envelopes wait to be accepted.
    Outbox { reply: oneshot::Sender<Depths> },
    /// Changes are on stable storage.
    Persisted(Vec<Ticket>),
    /// Changes could not be made durable.
    StoreFailed(String),
    /// Stop in order.
    Stop { reply: oneshot::Sender<()> },
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Input")
    }
}

/// What others may watch.
#[derive(Debug)]
pub(super) struct Views {
    pub(super) link: watch::Receiver<LinkState>,
    pub(super) changes: watch::Receiver<u64>,
    pub(super) outbox: watch::Receiver<usize>,
    pub(super) events: Arc<Events>,
}

pub(super) struct Engine {
    core: Core,
    office: Arc<Office>,
    dialler: Dialler,
    /// The present connection last; before it the one whose place it has taken, until that has ended.
    links: Vec<LinkHandle>,
    link_state: watch::Sender<LinkState>,
    changes: watch::Sender<u64>,
    outbox: watch::Sender<usize>,
    events: Arc<Events>,
    watch: Arc<Watch>,
    failed: watch::Sender<Option<Failure>>,
    queued: HashMap<NoticeId, oneshot::Sender<Result<(), NotQueued>>>,
    steps: HashMap<StepKey, VecDeque<oneshot::Sender<()>>>,
    /// Where what is prepared elsewhere comes back.
    inputs: mpsc::WeakSender<Input>,
    records: HashMap<u64, oneshot::Sender<()>>,
    next_record: u64,
    stopping: Option<oneshot::Sender<()>>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Engine {
    pub(super) fn new(
        core: Core,
        office: Arc<Office>,
        dialler: Dialler,
        (failed, watched): (watch::Sender<Option<Failure>>, Arc<Watch>),
        inputs: &mpsc::Sender<Input>,
        (tasks, cancel): (TaskTracker, CancellationToken),
    ) -> (Self, Views) {
        let (link_state, link) =
            watch::channel(LinkState::Down { reason: "not connected yet".to_owned(), exclusion: None });
        let (changes, changes_seen) = watch::channel(0);
        let (outbox, outbox_seen) = watch::channel(core.outbox_len());
        let events = Arc::new(Events::new(office.now()));
        let engine = Self {
            core,
            office,
            dialler,
            links: Vec::new(),
            link_state,
            changes,
            outbox,
            events: Arc::clone(&events),
            watch: watched,
            failed,
            queued: HashMap::new(),
            steps: HashMap::new(),
            inputs: inputs.downgrade(),
            records: HashMap::new(),
            next_record: 0,
            stopping: None,
            tasks,
            cancel,
        };
        (engine, Views { link, changes: changes_seen, outbox: outbox_seen, events })
    }

    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<Input>, sender: mpsc::Sender<Input>) {
        let committer = Committer::start(Arc::clone(&self.office), sender, &self.tasks);
        let cancel = self.cancel.clone();
        loop {
            let now = self.office.now();
            self.tell_time(now);
            self.carry_out(&committer);
            if self.stopping.is_some() && self.core.is_idle() {
                break;
            }
            let sleep = self.sleep(now);
            tokio::select! {
                () = cancel.cancelled() => break,
                () = tokio::time::sleep(sleep) => {}
                input = inputs.recv() => {
                    let Some(input) = input else { break };
                    if self.handle_several(input, &mut inputs).is_err() { break }
                }
            }
        }
        drop(committer);
        // The committer may be waiting to report; nobody listens any more.
        inputs.close();
        for link in std::mem::take(&mut self.links) {
            link.close(0, "the node is stopping").await;
        }
        if let Some(reply) = self.stopping.take() {
            // Whoever asked may be gone, which changes nothing.
            let _ = reply.send(());
        }
    }

    fn tell_time(&mut self, now: Timestamp) {
        self.core.handle_directory(self.office.directory().counts_until());
        self.core.handle_doubt(self.office.skew().is_some_and(|skew| skew.is_ahead()));
        self.core.handle_timeout(now);
    }

    fn sleep(&self, now: Timestamp) -> Duration {
        self.core.poll_timeout().map_or(SLEEP_MAX, |at| at.since(now)).min(SLEEP_MAX)
    }

    fn handle_several(&mut self, first: Input, inputs: &mut mpsc::Receiver<Input>) -> Result<(), Failure> {
        self.handle(first)?;
        for _ in 0..INPUTS_AT_ONCE {
            let Ok(input) = inputs.try_recv() else { break };
            self.handle(input)?;
        }
        Ok(())
    }

    fn handle(&mut self, input: Input) -> Result<(), Failure> {
        let now = self.office.now();
        match input {
            Input::Send { outgoing, also, reply } => self.send(outgoing, also, reply),
            Input::Step { step, also, reply } => self.step(*step, also, reply)?,
            Input::Reviewed { review, reviewed } => self.core.handle_reviewed(review, *reviewed),
            Input::Record { changes, reply } => self.record(changes, reply),
            Input::Arrived { place, arrival } => self.core.handle_arrival(place, *arrival, now),
            Input::Answered { session, notice_id, answer } => {
                if let Some(refusal) = answer.refusal() {
                    self.watch.counts.note_refused(refusal.code);
                }
                self.core.handle_answer(session, notice_id, *answer, now);
            }
            Input::Unsendable { session, notice_id, refusal } => {
                self.watch.counts.note_refused(refusal.code);
                self.core.handle_unsendable(session, notice_id, refusal, now);
            }
            Input::Misbehaved { session, reason } => self.core.handle_misbehaviour(session, reason),
            Input::Up { link, target, in_flight_max } => self.up(link, target, in_flight_max, now),
            Input::Down { session, reason, exclusion } => self.down(session, reason, exclusion, now),
            Input::Renewed => self.core.handle_renewed(now),
            // Whoever asked may have given up.
            Input::Outbox { reply } => drop(reply.send(self.core.outbox_by_precedence())),
            Input::Persisted(tickets) => self.core.handle_persisted(&tickets, now),
            Input::StoreFailed(reason) => return Err(self.fail(reason)),
            Input::Stop { reply } => {
                self.core.handle_stop();
                self.stopping = Some(reply);
            }
        }
        Ok(())
    }

    fn up(&mut self, link: LinkHandle, target: Target, in_flight_max: usize, now: Timestamp) {
        let session = link.session();
        let before = if self.links.is_empty() { "" } else { "; it takes the place of the one before" };
        tracing::info!(broker = %target.broker, endpoint = %target.endpoint, "connected{before}");
        self.links.push(link);
        self.watch.counts.note_connected();
        self.events.note(now, Happening::Connected { broker: target.broker.to_string() });
        let broker = target.broker.clone();
        self.link_state.send_replace(LinkState::Up { target, since: now });
        // What has expired lapses here rather than be submitted in vain: the directory may be new just now.
        self.tell_time(now);
        self.core.handle_connected(session, &broker, in_flight_max, now);
    }

    /// Only the end of the present connection, or a call that failed where there is none, makes the node unconnected.
    fn down(&mut self, session: SessionId, reason: String, exclusion: Option<Refusal>, now: Timestamp) {
        let present = self.links.last().map(LinkHandle::session);
        self.links.retain(|link| link.session() != session);
        let ending = if exclusion.is_some() { Ending::Excluded } else { Ending::Passing };
        if present.is_none_or(|present| present == session) {
            tracing::info!(%reason, "not connected");
            if matches!(*self.link_state.borrow(), LinkState::Up { .. }) {
                self.events.note(now, Happening::Disconnected { reason: reason.clone() });
            }
            self.link_state.send_modify(|state| *state = state.after(reason, exclusion, now));
        } else {
            tracing::info!(%reason, "a connection beside the present one has ended");
        }
        self.core.handle_disconnected(session, ending, now);
    }

    /// If persistence fails, stop; never guess.
    fn fail(&mut self, reason: String) -> Failure {
        tracing::error!(%reason, "the node stops: its store failed");
        let failure = Failure(reason);
        self.failed.send_replace(Some(failure.clone()));
        self.cancel.cancel();
        failure
    }

    fn record(&mut self, changes: Vec<Change>, reply: oneshot::Sender<()>) {
        let number = self.next_record;
        self.next_record = number.wrapping_add(1);
        self.records.insert(number, reply);
        self.core.handle_record(changes, number);
    }

    fn send(
        &mut self,
        outgoing: Box<Outgoing>,
        also: Vec<Change>,
        reply: oneshot::Sender<Result<(), NotQueued>>,
    ) {
        let notice_id = outgoing.envelope.header().notice_id;
        match self.core.handle_send_with(outgoing, also) {
            Ok(()) => drop(self.queued.insert(notice_id, reply)),
            // The caller may be gone, which changes nothing.
            Err(refused) => drop(reply.send(Err(refused))),
        }
    }

    fn step(
        &mut self,
        step: OfficerStep,
        also: Vec<Change>,
        reply: oneshot::Sender<()>,
    ) -> Result<(), Failure> {
        let key = step.key();
        let already = match self.office.store().has_step(&key) {
            Ok(already) => already,
            Err(error) => return Err(self.fail(error.to_string())),
        };
        self.steps.entry(key).or_default().push_back(reply);
        self.core.handle_step(step, also, already);
        Ok(())
    }

    /// Signing and sealing take a while, and many may be due in the same moment.
    fn review(&self, review: Review) {
        let (office, inputs) = (Arc::clone(&self.office), self.inputs.clone());
        self.tasks.spawn_blocking(move || {
            let input = match reviewing::review(&office, &review) {
                Ok(reviewed) => Input::Reviewed { review, reviewed: Box::new(reviewed) },
                Err(error) => Input::StoreFailed(error.to_string()),
            };
            // Where the node stops meanwhile, it is due when it starts again.
            if let Some(inputs) = inputs.upgrade() {
                let _ = inputs.blocking_send(input);
            }
        });
    }

    fn carry_out(&mut self, committer: &Committer) {
        while let Some(effect) = self.core.next_effect() {
            match effect {
                Effect::Persist { ticket, changes } => committer.commit(ticket, changes),
                Effect::Connect => {
                    // What takes the place of a connection goes to the same broker, whose inbox it is.
                    let same = match &*self.link_state.borrow() {
                        LinkState::Up { target, .. } if !self.links.is_empty() => Some(target.clone()),
                        LinkState::Up { .. } | LinkState::Down { .. } => None,
                    };
                    self.dialler.dial(same, &self.tasks, &self.cancel);
                }
                Effect::Retire { session } => {
                    if let Some(link) = self.link_of(session) {
                        link.retire();
                    }
                }
                Effect::Submit { session, precedence, notice_id } => {
                    if let Some(link) = self.link_of(session) {
                        link.submit(precedence, notice_id);
                    }
                }
                Effect::Acknowledge { session, precedence, cursors } => {
                    if let Some(link) = self.link_of(session) {
                        link.acknowledge(precedence, cursors);
                    }
                }
                Effect::Close { session, reason } => {
                    if let Some(link) = self.link_of(session) {
                        tracing::warn!(%reason, "this node ends the connection");
                        link.close_now(reason);
                    }
                }
                Effect::Review(review) => self.review(review),
                Effect::Notify(event) => self.notify(event),
            }
        }
        self.outbox
            .send_if_modified(|len| std::mem::replace(len, self.core.outbox_len()) != self.core.outbox_len());
    }

    fn link_of(&self, session: SessionId) -> Option<&LinkHandle> {
        self.links.iter().find(|link| link.session() == session)
    }

    fn notify(&mut self, event: Event) {
        // What was recorded concerns nobody but who asked for it; whom an alarm concerns is found out first.
        if !matches!(event, Event::Recorded(_) | Event::Alarm(_)) {
            self.events.note(self.office.now(), Happening::Core(event.clone()));
        }
        match event {
            Event::Queued(notice_id) => {
                if let Some(reply) = self.queued.remove(&notice_id) {
                    // The caller may be gone; the notice is on its way all the same.
                    let _ = reply.send(Ok(()));
                }
            }
            Event::Step(key) => {
                // One event for each, in their order: the second is answered when its own entry is on record.
                let waiting = self.steps.get_mut(&key);
                let reply = waiting.and_then(VecDeque::pop_front);
                if self.steps.get(&key).is_some_and(VecDeque::is_empty) {
                    self.steps.remove(&key);
                }
                if let Some(reply) = reply {
                    // The caller may be gone; what the officer did is on record all the same.
                    let _ = reply.send(());
                }
            }
            Event::Recorded(number) => {
                if let Some(reply) = self.records.remove(&number) {
                    // The caller may be gone; what was recorded stands all the same.
                    let _ = reply.send(());
                }
            }
            Event::Accepted(notice) => {
                self.watch.counts.note_accepted();
                tracing::debug!(%notice, "accepted by the broker");
            }
            Event::Refused { notice_id, kind: NoticeKind::Receipt, reason } => {
                tracing::warn!(notice = %notice_id, %reason, "a receipt was refused");
            }
            Event::Refused { notice_id, kind, reason } => {
                tracing::warn!(notice = %notice_id, %kind, %reason, "a notice was refused");
            }
            Event::Lapsed(notice) => {
                self.watch.counts.note_lapsed();
                tracing::warn!(%notice, "a notice expired before a broker could be reached");
            }
            Event::Received(notice) => {
                self.watch.counts.note_received();
                tracing::info!(%notice, "a notice arrived");
                self.tell_what_rests_on(&notice);
            }
            Event::Receipt(notice, kind) => tracing::debug!(%notice, %kind, "a receipt arrived"),
            Event::Purged { notice_id, by } => {
                self.watch.counts.note_purged();
                let by = by.map(tracing::field::display);
                tracing::info!(notice = %notice_id, by, "what was held of a notice is deleted");
            }
            Event::SetAside(reason) => {
                self.watch.counts.note_set_aside();
                tracing::warn!(%reason, "a delivery was set aside");
            }
            Event::Alarm(alarm) => self.alarm(alarm),
        }
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Whoever made a notice of one that is out of force by what arrived is told.
    fn tell_what_rests_on(&self, arrived: &NoticeId) {
        match standing::resting_on(&self.office, arrived) {
            Ok(resting) => {
                for (notice_id, ended) in resting {
                    tracing::warn!(notice = %notice_id, by = %ended.by, kind = %ended.kind,
                        "a notice of ours was made from one that is out of force: withdraw it, or make it anew");
                    let happening = Happening::RestsOnEnded { notice_id, by: ended.by };
                    self.events.note(self.office.now(), happening);
                }
            }
            Err(error) => tracing::error!(%error, "a record cannot be read"),
        }
    }

    fn alarm(&self, alarm: Alarm) {
        let owing = match alarms::owing(&self.office, alarm.side, &alarm.notice_id) {
            Ok(owing) => owing,
            Err(error) => return tracing::error!(%error, "a record cannot be read"),
        };
        if owing.is_empty() {
            return;
        }
        let Alarm { notice_id, respond_by, side, stage, .. } = alarm;
        match (side, stage) {
            (Side::Originator, Stage::Near) => {
                tracing::info!(notice = %notice_id, %respond_by, ?owing, "answers are due soon");
            }
            (Side::Originator, Stage::Over) => {
                self.watch.counts.note_unanswered();
                tracing::warn!(notice = %notice_id, %respond_by, late = ?owing, "the time for answers is over");
            }
            (Side::Recipient, Stage::Near) => {
                tracing::info!(notice = %notice_id, %respond_by, "an answer is due soon: valise-agent respond");
            }
            (Side::Recipient, Stage::Over) => {
                tracing::warn!(notice = %notice_id, %respond_by, "this agency is late with an answer: valise-agent respond");
            }
        }
        self.events.note(self.office.now(), Happening::Alarm { alarm, owing });
    }
}
