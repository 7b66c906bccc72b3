//! One connection to a broker, from dialling to its end.

mod error;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use valise_proto::envelope::Precedence;
use valise_proto::freshness::Urgency;
use valise_proto::id::{AgencyId, BrokerName, NoticeId, Timestamp};
use valise_proto::refusal::Refusal;
use valise_proto::wire::limits::{Limits, PUBLICATION_BYTES_MAX};
use valise_proto::wire::session::{
    Answer, Cursor, Hello, Publication, Query, SessionFrame, StreamOpen, VERSION, Welcome,
};
use valise_transport::{Client, Connection, FrameReceiver, ReceiveError, SendError};

use super::engine::Input;
use super::office::Office;
use super::publication;
use super::streams;
use crate::core::SessionId;

pub(super) use error::LinkError;

/// How long a broker has to answer `Hello` or a query.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How often a broker's certificate is verified again while it is connected.
const RECHECK_EVERY: Duration = Duration::from_secs(15);
/// A broker that takes less than this takes hardly a header with its key wraps.
const ENVELOPE_BYTES_MIN: usize = 4 * 1024;
/// Originators kept apart in [`Call::asked_in_vain`].
const ASKED_MAX: usize = 64;
/// Priority of the session stream; those of notices follow their precedence from 0.
const SESSION_PRIORITY: i32 = 8;

/// A broker's endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which broker.
    pub broker: BrokerName,
    /// `host:port`.
    pub endpoint: String,
}

/// How things stand with the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// There is none.
    Down {
        /// Why.
        reason: String,
        /// What the broker said when it last ended a session because the authority has taken this agency out, or its
        /// certificate.
        exclusion: Option<Exclusion>,
    },
    /// There is one.
    Up {
        /// With whom.
        target: Target,
        /// Since when.
        since: Timestamp,
    },
}

/// That the authority has suspended or revoked this agency, or revoked its certificate, as a broker told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion {
    /// What the broker said.
    pub refusal: Refusal,
    /// When it first said so.
    pub told_at: Timestamp,
}

impl LinkState {
    /// The state once a connection has ended, or could not be made. Silence does not undo an exclusion; a connection
    /// does.
    pub(super) fn after(&self, reason: String, exclusion: Option<Refusal>, now: Timestamp) -> Self {
        let held = match self {
            Self::Down { exclusion, .. } => exclusion.clone(),
            Self::Up { .. } => None,
        };
        let told = exclusion.map(|refusal| {
            let same = held.as_ref().filter(|held| held.refusal.code == refusal.code);
            Exclusion { told_at: same.map_or(now, |held| held.told_at), refusal }
        });
        Self::Down { reason, exclusion: told.or(held) }
    }
}

/// Makes connections, one at a time, each to the next endpoint.
#[derive(Debug)]
pub(super) struct Dialler {
    office: Arc<Office>,
    inputs: mpsc::Sender<Input>,
    offline: bool,
    /// Endpoints tried in turn.
    dialled: u64,
    /// Calls made.
    calls: u64,
}

impl Dialler {
    pub(super) fn new(office: Arc<Office>, inputs: mpsc::Sender<Input>, offline: bool) -> Self {
        Self { office, inputs, offline, dialled: 0, calls: 0 }
    }

    /// Starts a call to the next endpoint, or to `same`. [`Input::Down`] follows in any case, after [`Input::Up`] if it
    /// succeeds.
    pub(super) fn dial(&mut self, same: Option<Target>, tasks: &TaskTracker, cancel: &CancellationToken) {
        let target = match same {
            Some(target) => Ok(target),
            None => self.next_target(),
        };
        self.calls = self.calls.wrapping_add(1);
        let call = Call {
            office: Arc::clone(&self.office),
            inputs: self.inputs.clone(),
            session: SessionId(self.calls),
            end: cancel.child_token(),
            why: Arc::default(),
            asked: Arc::default(),
        };
        tasks.spawn(async move {
            let end = call.end.clone();
            let (reason, exclusion) = tokio::select! {
                () = end.cancelled() => match call.why.get() {
                    Some(why) => (format!("ended by this node: {why}"), None),
                    None => ("ended by this node".to_owned(), None),
                },
                error = call.make(target) => (error.to_string(), error.exclusion()),
            };
            // The engine may be gone, and then nobody needs to know.
            let _ = call.inputs.send(Input::Down { session: call.session, reason, exclusion }).await;
        });
    }

    fn next_target(&mut self) -> Result<Target, LinkError> {
        if self.offline {
            return Err(LinkError::Offline);
        }
        let targets = self.targets();
        let turn = self.dialled.checked_rem(u64::try_from(targets.len()).unwrap_or(u64::MAX));
        self.dialled = self.dialled.wrapping_add(1);
        let turn = turn.and_then(|turn| usize::try_from(turn).ok());
        turn.and_then(|turn| targets.into_iter().nth(turn)).ok_or(LinkError::NoBroker)
    }

    fn targets(&self) -> Vec<Target> {
        let given = &self.office.config().brokers;
        let all_of = |broker: &BrokerName, endpoints: &[String]| {
            let target = |endpoint: &String| Target { broker: broker.clone(), endpoint: endpoint.clone() };
            endpoints.iter().map(target).collect::<Vec<_>>()
        };
        if given.is_empty() {
            let directory = self.office.directory();
            let brokers = directory.content().brokers.values();
            return brokers.flat_map(|broker| all_of(&broker.name, &broker.endpoints)).collect();
        }
        given.iter().flat_map(|(broker, endpoints)| all_of(broker, endpoints)).collect()
    }
}

/// The engine's end of a connection.
#[derive(Debug)]
pub(super) struct LinkHandle {
    session: SessionId,
    connection: Connection,
    end: CancellationToken,
    why: Arc<OnceLock<&'static str>>,
    lanes: Vec<(Precedence, Lane)>,
}

/// The streams of one precedence.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) submit: mpsc::UnboundedSender<NoticeId>,
    pub(super) acknowledge: mpsc::UnboundedSender<Vec<Cursor>>,
}

impl LinkHandle {
    pub(super) fn session(&self) -> SessionId {
        self.session
    }

    fn lane(&self, precedence: Precedence) -> Option<&Lane> {
        self.lanes.iter().find(|(of, _)| *of == precedence).map(|(_, lane)| lane)
    }

    pub(super) fn submit(&self, precedence: Precedence, notice_id: NoticeId) {
        if let Some(lane) = self.lane(precedence) {
            // The stream may have ended; then the core is told and submits again.
            let _ = lane.submit.send(notice_id);
        }
    }

    pub(super) fn acknowledge(&self, precedence: Precedence, cursors: Vec<Cursor>) {
        if let Some(lane) = self.lane(precedence) {
            // The stream may have ended; then the broker delivers again, and the core knows what it has.
            let _ = lane.acknowledge.send(cursors);
        }
    }

    /// Ends the connection with a reason that the peer is told.
    pub(super) fn close_now(&self, reason: &'static str) {
        // The first reason is the one that counts.
        let _ = self.why.set(reason);
        self.connection.close(1, reason);
        self.end.cancel();
    }

    /// Ends the connection in order, because another has taken its place.
    pub(super) fn retire(&self) {
        const TAKEN: &str = "another connection has taken its place";
        // The first reason is the one that counts.
        let _ = self.why.set(TAKEN);
        self.connection.close(0, TAKEN);
        self.end.cancel();
    }

    /// Ends the connection in order.
    pub(super) async fn close(self, code: u32, text: &str) {
        self.connection.close(code, text);
        self.end.cancel();
        // Returns at once: the close was ours.
        let _ = self.connection.closed().await;
    }
}

/// One call.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) office: Arc<Office>,
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) session: SessionId,
    end: CancellationToken,
    /// Why the engine ended it, if it did.
    why: Arc<OnceLock<&'static str>>,
    /// When a newer directory was last asked for because of what these agencies sent, and there was none.
    asked: Arc<Mutex<HashMap<AgencyId, Instant>>>,
}

impl Call {
    /// Whether a newer directory was asked for in vain within `lately` because of what `originator` sent, or of what more
    /// agencies sent than can be kept apart.
    pub(super) fn asked_in_vain(&self, originator: &AgencyId, lately: Duration) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|_, at| at.elapsed() < lately);
        asked.contains_key(originator) || asked.len() >= ASKED_MAX
    }

    pub(super) fn note_asked_in_vain(&self, originator: AgencyId) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(originator, Instant::now());
    }

    /// Makes the connection and keeps it until it ends; returns why it did.
    async fn make(&self, target: Result<Target, LinkError>) -> LinkError {
        match self.try_make(target).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn try_make(
        &self,
        target: Result<Target, LinkError>,
    ) -> Result<std::convert::Infallible, LinkError> {
        let target = target?;
        let client = Client::new(self.office.transport());
        let connection = client.connect(&target.endpoint, Some(&target.broker)).await?;
        let ended = self.hold(&connection, target).await;
        let only_closed = matches!(
            ended,
            Err(LinkError::Send(SendError::Closed) | LinkError::Receive(ReceiveError::Closed))
        );
        // A stream says no more than that the connection is gone; the connection says why, if it is.
        tokio::select! {
            biased;
            reason = connection.closed(), if only_closed => Err(reason.into()),
            () = std::future::ready(()) => ended,
        }
    }

    /// Begins a session, and holds it until something ends it.
    async fn hold(
        &self,
        connection: &Connection,
        target: Target,
    ) -> Result<std::convert::Infallible, LinkError> {
        let (mut sender, mut receiver) = connection.open(PUBLICATION_BYTES_MAX, SESSION_PRIORITY).await?;
        let hello = Hello {
            versions: vec![VERSION],
            software: concat!("valise-agent/", env!("CARGO_PKG_VERSION")).to_owned(),
            directory_version: self.office.directory().version(),
        };
        sender.send(StreamOpen::Session(hello).encode()).await?;
        let welcome = welcome(&mut receiver).await?;
        check_limits(&welcome.limits)?;
        self.office.replace_limits(welcome.limits.clone());
        self.office.note_broker_time(welcome.broker_time);
        if self.needs_publication(&welcome) {
            self.fetch_publication(connection).await?;
        }
        self.office.check_fresh(&self.office.directory(), self.office.now())?;

        let mut streams = JoinSet::new();
        let lanes = streams::open_all(self, connection, &welcome.limits, &mut streams).await?;
        let (session, end, why) = (self.session, self.end.clone(), Arc::clone(&self.why));
        let link = LinkHandle { session, connection: connection.clone(), end, why, lanes };
        let up = Input::Up { link, target, in_flight_max: welcome.limits.in_flight_max };
        self.tell(up).await?;
        tokio::select! {
            reason = connection.closed() => Err(reason.into()),
            error = self.follow_session(connection, &mut receiver) => Err(error),
            error = self.keep_checked(connection) => Err(error),
            never = self.keep_renewed(connection) => match never {},
            ended = streams.join_next() => Err(match ended {
                Some(Ok(Err(error))) => error,
                Some(Ok(Ok(()))) | Some(Err(_)) | None => LinkError::Ended("a stream ended"),
            }),
        }
    }

    /// Tells the engine.
    pub(super) async fn tell(&self, input: Input) -> Result<(), LinkError> {
        self.inputs.send(input).await.map_err(|_| LinkError::Ended("the node is stopping"))
    }

    fn needs_publication(&self, welcome: &Welcome) -> bool {
        let (directory, now) = (self.office.directory(), self.office.now());
        let revocations_age = self
            .office
            .transport()
            .anchors()
            .revocations()
            .iter()
            .any(|list| now.since(list.this_update) > list.next_update.since(list.this_update) / 2);
        welcome.directory_version > directory.version()
            || directory.check_fresh(now).is_err()
            || directory.urgency(now) > Urgency::Fresh
            || revocations_age
    }

    /// Asks the broker for the directory and revocation lists in force, and takes them.
    pub(super) async fn fetch_publication(&self, connection: &Connection) -> Result<(), LinkError> {
        match ask(connection, Query::Publication).await? {
            Answer::Publication(publication) => self.take(connection, publication).await,
            Answer::Refusal(refusal) => Err(LinkError::Goodbye(refusal)),
            Answer::NoticeStatus(_) | Answer::Spooled(_) | Answer::Certificate(_) => {
                Err(LinkError::Protocol("it answered another question"))
            }
        }
    }

    async fn take(&self, connection: &Connection, publication: Publication) -> Result<(), LinkError> {
        let (office, connection) = (Arc::clone(&self.office), connection.clone());
        let taken =
            tokio::task::spawn_blocking(move || publication::take(&office, &connection, &publication));
        let taken = taken.await.map_err(|_| LinkError::Ended("the node is stopping"))?;
        Ok(taken?)
    }

    /// Follows what the broker says on the session stream; a publication that is refused is no reason to part.
    async fn follow_session(&self, connection: &Connection, receiver: &mut FrameReceiver) -> LinkError {
        loop {
            let frame = match receiver.next().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return LinkError::Ended("the broker ended the session"),
                Err(error) => return error.into(),
            };
            match SessionFrame::decode(frame) {
                Ok(SessionFrame::Publication(publication)) => {
                    if let Err(error) = self.take(connection, publication).await {
                        tracing::warn!(%error, "a publication was not taken into force");
                    }
                }
                Ok(SessionFrame::Goodbye(None)) => return LinkError::Shutdown,
                Ok(SessionFrame::Goodbye(Some(refusal))) => return LinkError::Goodbye(refusal),
                Ok(SessionFrame::Welcome(_)) => return LinkError::Protocol("a second welcome"),
                Err(error) => return error.into(),
            }
            if let Err(error) = check_again(connection) {
                return error;
            }
        }
    }

    /// Looks whether the broker's certificate still counts: whenever something newer is in force, however it came here,
    /// and every few seconds, for certificates and lists run out by themselves.
    async fn keep_checked(&self, connection: &Connection) -> LinkError {
        let mut stirred = self.office.stirred();
        loop {
            stirred.borrow_and_update();
            if let Err(error) = check_again(connection) {
                return error;
            }
            tokio::select! {
                changed = stirred.changed() => if changed.is_err() {
                    return LinkError::Ended("the node is stopping");
                },
                () = tokio::time::sleep(RECHECK_EVERY) => {}
            }
        }
    }
}

fn check_again(connection: &Connection) -> Result<(), LinkError> {
    connection.recheck().map_err(|error| {
        tracing::warn!(%error, "the broker's certificate no longer counts");
        LinkError::Ended("the broker's certificate no longer counts")
    })
}

/// Asks the broker one question.
pub(super) async fn ask(connection: &Connection, query: Query) -> Result<Answer, LinkError> {
    let (mut sender, mut receiver) = connection.open(PUBLICATION_BYTES_MAX, SESSION_PRIORITY).await?;
    sender.send(StreamOpen::Query(query).encode()).await?;
    sender.finish();
    Ok(Answer::decode(next(&mut receiver).await?)?)
}

async fn next(receiver: &mut FrameReceiver) -> Result<bytes::Bytes, LinkError> {
    let frame = tokio::time::timeout(ANSWER_MAX, receiver.next()).await.map_err(|_| LinkError::Silent)??;
    frame.ok_or(LinkError::Ended("the broker ended the stream"))
}

/// Limits that let nothing through would hold everything back without a word.
fn check_limits(limits: &Limits) -> Result<(), LinkError> {
    let usable = limits.envelope_bytes_max >= ENVELOPE_BYTES_MIN
        && limits.in_flight_max > 0
        && limits.unacknowledged_max > 0;
    if usable { Ok(()) } else { Err(LinkError::Protocol("its limits let nothing through")) }
}

async fn welcome(receiver: &mut FrameReceiver) -> Result<Welcome, LinkError> {
    match SessionFrame::decode(next(receiver).await?)? {
        SessionFrame::Welcome(welcome) if welcome.version == VERSION => Ok(welcome),
        SessionFrame::Welcome(welcome) => Err(LinkError::Version { got: welcome.version }),
        SessionFrame::Goodbye(Some(refusal)) => Err(LinkError::Goodbye(refusal)),
        SessionFrame::Goodbye(None) => Err(LinkError::Shutdown),
        SessionFrame::Publication(_) => Err(LinkError::Protocol("a publication before the welcome")),
    }
}
