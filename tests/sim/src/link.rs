//! An agency's connection in the simulated world, from dialling to its end, as `valise_agent::node` holds it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use valise_agent::core::{BrokerAnswer, Ending, Place, SessionId, Submission};
use valise_proto::directory::Directory;
use valise_proto::envelope::{Envelope, Precedence};
use valise_proto::id::NoticeId;
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::limits::{ACK_CURSORS_MAX, Limits};
use valise_proto::wire::session::{
    Ack, Answer, Cursor, Delivery, Hello, Publication, Query, SessionFrame, StreamOpen, Submitted, VERSION,
    Welcome,
};

use crate::Violation;
use crate::agent::Agent;
use crate::desk::{Verdict, unreadable};
use crate::exchange::{broker_identity, broker_name};
use crate::network::{ConnId, Frame, Lane, Side};
use crate::schedule::AgentEvent;
use crate::stage::Stage;

/// How long a broker has to answer `Hello` or a query.
const ANSWER_MS: u64 = 10_000;

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) conn: ConnId,
    /// What is awaited before the streams are opened.
    state: State,
    limits: Limits,
    unanswered: BTreeMap<(Precedence, u64), Submission>,
    submitted: BTreeMap<Precedence, u64>,
    lanes: BTreeMap<Precedence, ReceiveLane>,
    questions: BTreeMap<u64, Option<Precedence>>,
    next_question: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Dialling,
    Greeting,
    /// A question was asked before the streams are opened.
    Asking,
    Open,
}

/// Deliveries of one stream, which are examined one after the other.
#[derive(Debug, Default)]
struct ReceiveLane {
    waiting: VecDeque<Bytes>,
    busy: bool,
    /// A newer directory was asked for.
    asked: bool,
}

impl Link {
    pub(crate) fn new(conn: ConnId) -> Self {
        Self {
            conn,
            state: State::Dialling,
            limits: Limits::DEFAULT,
            unanswered: BTreeMap::new(),
            submitted: BTreeMap::new(),
            lanes: BTreeMap::new(),
            questions: BTreeMap::new(),
            next_question: 0,
        }
    }
}

/// Why a connection is ended by the node.
type Parting = Option<Ending>;

impl Agent {
    fn link(&mut self, session: SessionId) -> Option<&mut Link> {
        self.process.as_mut()?.links.get_mut(&session)
    }

    fn say(&self, conn: ConnId, lane: Lane, bytes: Bytes, stage: &mut Stage) {
        stage.net.send(conn, Side::Agent, lane, Frame::Data(bytes), &mut stage.schedule);
    }

    /// The broker took the call.
    pub(crate) fn connected(&mut self, conn: ConnId, stage: &mut Stage) -> Result<(), Violation> {
        let Some(session) = self.session_of(conn) else {
            stage.net.close(conn, Side::Agent, false, &mut stage.schedule);
            return Ok(());
        };
        let version = self.process.as_ref().map_or(0, |process| process.directory.version());
        let hello =
            Hello { versions: vec![VERSION], software: "valise-sim".to_owned(), directory_version: version };
        self.say(conn, Lane::Session, StreamOpen::Session(hello).encode(), stage);
        if let Some(link) = self.link(session) {
            link.state = State::Greeting;
            link.questions.insert(0, None);
            link.next_question = 1;
        }
        self.later(stage, ANSWER_MS, AgentEvent::Silent { session, question: 0 });
        self.run(stage)
    }

    /// The connection is gone, or was never made.
    pub(crate) fn disconnected(&mut self, conn: ConnId, stage: &mut Stage) -> Result<(), Violation> {
        if let Some(session) = self.session_of(conn) {
            self.end_link(session, Ending::Passing, stage)?;
        }
        self.run(stage)
    }

    /// A question was not answered in time.
    pub(crate) fn silent(
        &mut self,
        session: SessionId,
        question: u64,
        stage: &mut Stage,
    ) -> Result<(), Violation> {
        let Some(link) = self.link(session) else { return Ok(()) };
        match link.questions.remove(&question) {
            None => Ok(()),
            Some(None) => self.end_link(session, Ending::Passing, stage),
            Some(Some(precedence)) => {
                self.later(stage, 0, AgentEvent::Examine { session, precedence });
                Ok(())
            }
        }
    }

    /// Frames came.
    pub(crate) fn heard(
        &mut self,
        conn: ConnId,
        lane: Lane,
        frames: Vec<Frame>,
        stage: &mut Stage,
    ) -> Result<(), Violation> {
        let Some(session) = self.session_of(conn) else { return Ok(()) };
        for frame in frames {
            let parting = match (frame, lane) {
                (Frame::Data(bytes), Lane::Session) => self.session_frame(session, bytes, stage)?,
                (Frame::Data(bytes), Lane::Submit(precedence)) => {
                    self.answered(session, precedence, bytes, stage)?
                }
                (Frame::Data(bytes), Lane::Receive(precedence)) => {
                    self.delivered(session, precedence, bytes, stage);
                    None
                }
                (Frame::Data(bytes), Lane::Query(question)) => self.told(session, question, bytes, stage)?,
                // A stream that ends is the end of the connection.
                (Frame::End, _) => Some(Ending::Passing),
            };
            if let Some(ending) = parting {
                self.end_link(session, ending, stage)?;
                break;
            }
        }
        self.run(stage)
    }

    fn session_frame(
        &mut self,
        session: SessionId,
        bytes: Bytes,
        stage: &mut Stage,
    ) -> Result<Parting, Violation> {
        match SessionFrame::decode(bytes).map_err(Violation::surprise)? {
            SessionFrame::Welcome(welcome) => self.welcomed(session, welcome, stage),
            SessionFrame::Publication(publication) => {
                self.take(&publication, stage);
                Ok(None)
            }
            SessionFrame::Goodbye(reason) => Ok(Some(ending(reason.as_ref()))),
        }
    }

    fn welcomed(
        &mut self,
        session: SessionId,
        welcome: Welcome,
        stage: &mut Stage,
    ) -> Result<Parting, Violation> {
        let now = self.now(stage);
        let directory = self.directory();
        let Some(link) = self.link(session) else { return Ok(None) };
        if link.state != State::Greeting {
            return Err(Violation::new("G12", "a broker welcomed an agency twice"));
        }
        link.questions.remove(&0);
        link.limits = welcome.limits;
        link.state = State::Asking;
        let stale = directory.as_ref().is_none_or(|directory| directory.check_fresh(now).is_err());
        let newer = directory.is_none_or(|directory| welcome.directory_version > directory.version());
        if stale || newer {
            self.ask(session, None, stage);
            return Ok(None);
        }
        self.open(session, stage)
    }

    /// Whether it has a connection over which notices go, and acts by the newest directory.
    pub(crate) fn is_settled(&self, stage: &Stage) -> bool {
        let newest = stage.authority.published.version();
        let open = |link: &Link| link.state == State::Open && stage.net.is_open(link.conn);
        self.process
            .as_ref()
            .is_some_and(|process| process.directory.version() == newest && process.links.values().any(open))
    }

    fn directory(&self) -> Option<Arc<Directory>> {
        self.process.as_ref().map(|process| Arc::clone(&process.directory))
    }

    /// Asks for the directory in force; before the streams are open, or for a delivery that needs it.
    pub(crate) fn ask(&mut self, session: SessionId, lane: Option<Precedence>, stage: &mut Stage) {
        let Some(link) = self.link(session) else { return };
        let (conn, question) = (link.conn, link.next_question);
        link.next_question += 1;
        link.questions.insert(question, lane);
        self.say(conn, Lane::Query(question), StreamOpen::Query(Query::Publication).encode(), stage);
        self.later(stage, ANSWER_MS, AgentEvent::Silent { session, question });
    }

    fn told(
        &mut self,
        session: SessionId,
        question: u64,
        bytes: Bytes,
        stage: &mut Stage,
    ) -> Result<Parting, Violation> {
        let Some(asked) = self.link(session).and_then(|link| link.questions.remove(&question)) else {
            return Ok(None);
        };
        match Answer::decode(bytes).map_err(Violation::surprise)? {
            Answer::Publication(publication) => self.take(&publication, stage),
            Answer::NoticeStatus(_) | Answer::Refusal(_) | Answer::Spooled(_) | Answer::Certificate(_) => {
                return Ok(Some(Ending::Passing));
            }
        }
        match asked {
            None => self.open(session, stage),
            Some(precedence) => {
                self.later(stage, 0, AgentEvent::Examine { session, precedence });
                Ok(None)
            }
        }
    }

    /// Takes a newer directory into force: signatures and versions decide, whoever brings it.
    fn take(&mut self, publication: &Publication, stage: &mut Stage) {
        let now = self.now(stage);
        let Some(process) = &mut self.process else { return };
        if process.directory.encoded() == &publication.directory {
            return;
        }
        let Ok(directory) = Directory::verify(publication.directory.clone(), &stage.authority.trust) else {
            return;
        };
        if directory.check_may_replace(&process.directory).is_ok() && directory.check_fresh(now).is_ok() {
            let directory = Arc::new(directory);
            self.disk.directory = Arc::clone(&directory);
            process.directory = directory;
        }
    }

    fn open(&mut self, session: SessionId, stage: &mut Stage) -> Result<Parting, Violation> {
        let now = self.now(stage);
        if self.directory().is_none_or(|directory| directory.check_fresh(now).is_err()) {
            return Ok(Some(Ending::Passing));
        }
        let Some(link) = self.link(session) else { return Ok(None) };
        link.state = State::Open;
        let (conn, in_flight_max) = (link.conn, link.limits.in_flight_max);
        let window = u32::try_from(link.limits.unacknowledged_max).unwrap_or(u32::MAX);
        for precedence in Precedence::ALL.into_iter().rev() {
            self.say(conn, Lane::Submit(precedence), StreamOpen::Submit(precedence).encode(), stage);
            let receive = StreamOpen::Receive { precedence, window };
            self.say(conn, Lane::Receive(precedence), receive.encode(), stage);
        }
        let broker = broker_name()?;
        if let Some(process) = &mut self.process {
            process.core.handle_directory(process.directory.content().expires_at);
            process.core.handle_timeout(now);
            process.core.handle_connected(session, &broker, in_flight_max, now);
        }
        stage.note(|| format!("{}: connected by {conn:?}", self.id));
        Ok(None)
    }

    pub(crate) fn submit(
        &mut self,
        session: SessionId,
        precedence: Precedence,
        notice_id: NoticeId,
        stage: &mut Stage,
    ) -> Result<(), Violation> {
        let bytes = self.disk.outgoing(&notice_id).cloned();
        let Some(link) = self.link(session) else { return Ok(()) };
        let bytes = bytes.ok_or_else(|| {
            Violation::new("G4", format!("{notice_id} was submitted and is not on stable storage"))
        })?;
        let envelope = Envelope::decode(bytes.clone(), &Limits::DEFAULT).map_err(Violation::surprise)?;
        let submission = Submission::of(&envelope, &bytes);
        let ordinal = link.submitted.entry(precedence).or_default();
        link.unanswered.insert((precedence, *ordinal), submission);
        *ordinal += 1;
        let in_flight = link.unanswered.keys().filter(|(of, _)| *of == precedence).count();
        let (conn, in_flight_max) = (link.conn, link.limits.in_flight_max);
        stage.model.check_bound("unanswered submissions", in_flight, in_flight_max)?;
        self.say(conn, Lane::Submit(precedence), bytes, stage);
        Ok(())
    }

    fn answered(
        &mut self,
        session: SessionId,
        precedence: Precedence,
        bytes: Bytes,
        stage: &mut Stage,
    ) -> Result<Parting, Violation> {
        let now = self.now(stage);
        let Submitted { ordinal, receipt } = Submitted::decode(bytes).map_err(Violation::surprise)?;
        let Some(process) = &mut self.process else { return Ok(None) };
        let Some(link) = process.links.get_mut(&session) else { return Ok(None) };
        let Some(submission) = link.unanswered.remove(&(precedence, ordinal)) else {
            return Err(Violation::new("G5", "the broker answered what was not submitted"));
        };
        let notice_id = submission.notice_id();
        match BrokerAnswer::new(receipt, &broker_identity()?, &submission, &process.directory) {
            Ok(answer) => process.core.handle_answer(session, notice_id, answer, now),
            Err(_) => process.core.handle_misbehaviour(session, "an answer that does not count"),
        }
        Ok(None)
    }

    fn delivered(&mut self, session: SessionId, precedence: Precedence, bytes: Bytes, stage: &mut Stage) {
        let Some(link) = self.link(session) else { return };
        let lane = link.lanes.entry(precedence).or_default();
        lane.waiting.push_back(bytes);
        if !std::mem::replace(&mut lane.busy, true) {
            let wait = self.dice.between(1, 5);
            self.later(stage, wait, AgentEvent::Examine { session, precedence });
        }
    }

    /// The next delivery of a stream is examined.
    pub(crate) fn examine_next(
        &mut self,
        session: SessionId,
        precedence: Precedence,
        stage: &mut Stage,
    ) -> Result<(), Violation> {
        let now = self.now(stage);
        let Some(lane) = self.link(session).and_then(|link| link.lanes.get_mut(&precedence)) else {
            return Ok(());
        };
        let Some(frame) = lane.waiting.front().cloned() else {
            lane.busy = false;
            return Ok(());
        };
        let last_try = std::mem::take(&mut lane.asked);
        let (cursor, verdict) = match Delivery::decode(frame.clone()) {
            Ok(Delivery { cursor, item }) => (cursor, self.examine(item, last_try, stage)?),
            Err(error) => {
                let cursor =
                    error.cursor.ok_or_else(|| Violation::surprise("a delivery without a cursor"))?;
                (cursor, Verdict::Arrival(Box::new(unreadable(frame, &error.to_string(), now))))
            }
        };
        let Some(lane) = self.link(session).and_then(|link| link.lanes.get_mut(&precedence)) else {
            return Ok(());
        };
        match verdict {
            Verdict::NotExamined => self.end_link(session, Ending::Passing, stage),
            Verdict::NeedsNewerDirectory => {
                lane.asked = true;
                self.ask(session, Some(precedence), stage);
                Ok(())
            }
            Verdict::Arrival(arrival) => {
                lane.waiting.pop_front();
                let place = Place { session, precedence, cursor };
                let wait = self.dice.between(0, 4);
                self.later(stage, wait, AgentEvent::Arrive { place, arrival });
                self.later(stage, wait + 1, AgentEvent::Examine { session, precedence });
                Ok(())
            }
        }
    }

    pub(crate) fn acknowledge(
        &mut self,
        session: SessionId,
        precedence: Precedence,
        cursors: &[Cursor],
        stage: &mut Stage,
    ) {
        let Some(conn) = self.link(session).map(|link| link.conn) else { return };
        for chunk in cursors.chunks(ACK_CURSORS_MAX) {
            let ack = Ack { cursors: chunk.to_vec() }.encode();
            self.say(conn, Lane::Receive(precedence), ack, stage);
        }
    }
}

/// Whoever the authority has taken out asks again less often.
fn ending(reason: Option<&Refusal>) -> Ending {
    match reason.map(|refusal| refusal.code) {
        Some(RefusalCode::Suspended | RefusalCode::Revoked) => Ending::Excluded,
        Some(_) | None => Ending::Passing,
    }
}
