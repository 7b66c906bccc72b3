//! The task that owns the core.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use valise_proto::directory::Directory;
use valise_proto::envelope::{Envelope, Precedence};
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::receipt::SignedReceipt;
use valise_proto::refusal::Refusal;
use valise_proto::wire::limits::Limits;
use valise_proto::wire::session::{Cursor, Delivery, Hello, Publication, SessionFrame};
use valise_transport::Connection;

use super::{Shared, now, recheck, sweep};
use crate::core::{Core, Effect, Loaded, LoadedItem, Policy, SessionId, StreamId};
use crate::store::{Inbox, InboxContent, Operation, StoreError, Submission};

/// Most bytes of envelopes read from an inbox at a time.
const LOAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest that an agency is given to hear that it is suspended or revoked, whatever `goodbye_seconds` says: with the time
/// in which a publication is noticed it makes less than ten seconds.
const BARRED_MAX: Duration = Duration::from_secs(5);
/// How long a peer that has been told everything is given to close the connection itself.
const PEER_CLOSES_MAX: Duration = Duration::from_millis(200);

/// What happens to the core.
pub(super) enum Input {
    /// A connection was accepted.
    Connected { session: SessionId, agency: AgencyId, handle: SessionHandle },
    /// The first frame of its session stream.
    Hello { session: SessionId, hello: Hello },
    /// Whether the session was welcomed.
    Welcomed { session: SessionId, answer: oneshot::Sender<bool> },
    /// A receive stream was opened.
    Receive {
        session: SessionId,
        stream: StreamId,
        precedence: Precedence,
        window: u32,
        deliveries: mpsc::Sender<Vec<Delivery>>,
    },
    /// An inbox was read.
    Loaded { stream: StreamId, items: Vec<Loaded>, more: bool },
    /// Deliveries were written.
    Written { stream: StreamId },
    /// Deliveries were acknowledged.
    Acknowledged { stream: StreamId, cursors: Vec<Cursor> },
    /// A receive stream ended.
    StreamClosed { stream: StreamId },
    /// A connection ended.
    Disconnected { session: SessionId },
    /// A peer broke the rules.
    Violation { session: SessionId, reason: Refusal },
    /// The authority published; `done` is told when decisions are made by it.
    Published { directory: Arc<Directory>, publication: Publication, done: oneshot::Sender<()> },
    /// How many sessions there are, and of how many agencies.
    Sessions { answer: oneshot::Sender<(usize, usize)> },
    /// The end.
    Shutdown,
}

/// How a session's tasks are reached.
pub(super) struct SessionHandle {
    pub(super) connection: Connection,
    pub(super) frames: mpsc::UnboundedSender<SessionFrame>,
    /// Cancelled when nothing more is to be read from its streams.
    pub(super) ending: CancellationToken,
    /// Its streams' tasks.
    pub(super) tasks: TaskTracker,
}

pub(super) struct Driver {
    core: Core,
    shared: Arc<Shared>,
    sessions: HashMap<SessionId, SessionHandle>,
    streams: HashMap<StreamId, (SessionId, mpsc::Sender<Vec<Delivery>>)>,
    sweeping: Arc<AtomicBool>,
}

impl Driver {
    pub(super) fn new(core: Core, shared: Arc<Shared>) -> Self {
        Self {
            core,
            shared,
            sessions: HashMap::new(),
            streams: HashMap::new(),
            sweeping: Arc::new(AtomicBool::new(false)),
        }
    }

    pub(super) async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut queued: mpsc::UnboundedReceiver<Vec<(AgencyId, Precedence)>>,
    ) {
        loop {
            while let Some(effect) = self.core.next_effect() {
                self.carry_out(effect);
            }
            // At most an interval, also where the clock was set back since.
            let due_in =
                self.core.poll_timeout().since(now()).min(self.shared.config.limits.core.sweep_interval);
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(Input::Shutdown) | None => break,
                    Some(input) => self.handle(input, now()),
                },
                Some(inboxes) = queued.recv() => self.core.handle_queued(&inboxes, now()),
                () = tokio::time::sleep(due_in) => {
                    self.core.handle_timeout(now());
                    self.recheck_peers();
                }
            }
        }
        self.core.handle_shutdown();
        while let Some(effect) = self.core.next_effect() {
            self.carry_out(effect);
        }
    }

    fn handle(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::Connected { session, agency, handle } => {
                self.sessions.insert(session, handle);
                self.core.handle_connected(session, agency, now);
            }
            Input::Hello { session, hello } => self.core.handle_hello(session, &hello, now),
            Input::Welcomed { session, answer } => {
                // Whoever asked may have gone away.
                let _ = answer.send(self.core.is_welcomed(session));
            }
            Input::Receive { session, stream, precedence, window, deliveries } => {
                self.streams.insert(stream, (session, deliveries));
                self.core.handle_receive(session, stream, precedence, window, now);
            }
            Input::Loaded { stream, items, more } => self.core.handle_loaded(stream, items, more, now),
            Input::Written { stream } => self.core.handle_written(stream, now),
            Input::Acknowledged { stream, cursors } => self.core.handle_ack(stream, cursors, now),
            Input::StreamClosed { stream } => {
                self.streams.remove(&stream);
                self.core.handle_stream_closed(stream);
            }
            Input::Disconnected { session } => {
                self.sessions.remove(&session);
                self.core.handle_disconnected(session);
            }
            Input::Violation { session, reason } => self.core.handle_violation(session, reason),
            Input::Published { directory, publication, done } => {
                self.publish(directory, publication, now);
                // Whoever asked may have gone away.
                let _ = done.send(());
            }
            Input::Sessions { answer } => {
                // Whoever asked may have gone away.
                let _ = answer.send((self.core.sessions_len(), self.agencies()));
            }
            Input::Shutdown => {}
        }
    }

    /// How many agencies have a connection.
    fn agencies(&self) -> usize {
        let peers = self.sessions.values().filter_map(|handle| handle.connection.peer().as_agency());
        peers.collect::<HashSet<_>>().len()
    }

    fn publish(&mut self, directory: Arc<Directory>, publication: Publication, now: Timestamp) {
        self.core.handle_publication(directory, publication, now);
        let policy = Arc::new(Policy::clone(self.core.policy()));
        *self.shared.policy.write().unwrap_or_else(std::sync::PoisonError::into_inner) = policy;
        self.recheck_peers();
    }

    /// A certificate that has expired or been revoked since the handshake ends its connection. Chains are verified on
    /// another thread.
    fn recheck_peers(&self) {
        let peers: Vec<(SessionId, Connection)> =
            self.sessions.iter().map(|(session, handle)| (*session, handle.connection.clone())).collect();
        recheck::recheck_all(&self.shared, peers);
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Send { session, frame } => {
                if let Some(handle) = self.sessions.get(&session) {
                    // The session's task is gone only when the connection is.
                    let _ = handle.frames.send(*frame);
                }
            }
            Effect::Close { session, reason } => self.close(session, reason),
            Effect::CloseStream { stream } => {
                // The stream's task ends when this, its only sender, is dropped.
                self.streams.remove(&stream);
            }
            Effect::Load { stream, agency, precedence, after, count } => {
                let shared = Arc::clone(&self.shared);
                self.shared.tasks.spawn(load(shared, stream, (agency, precedence), after, count));
            }
            Effect::Deliver { stream, deliveries } => {
                if let Some((_, sender)) = self.streams.get(&stream) {
                    // The core gives one batch at a time and the channel holds one, so it is full never and closed only
                    // when the stream is.
                    let _ = sender.try_send(deliveries);
                }
            }
            Effect::Acknowledge { agency, precedence, cursors } => {
                let (shared, items) = (Arc::clone(&self.shared), cursors.len());
                let operations = vec![Operation::Acknowledge { agency, precedence, cursors }];
                let reply = Box::new(move |result: Result<_, StoreError>| match result {
                    Ok(_) => shared.watch.counts.note_delivered(items),
                    Err(error) => {
                        tracing::warn!(%error, "acknowledgements were not recorded; the items will be delivered again");
                    }
                });
                let committer = self.shared.committer.clone();
                self.shared
                    .tasks
                    .spawn(async move { committer.submit(Submission { operations, reply }).await });
            }
            Effect::Sweep { now } => {
                if !self.sweeping.swap(true, Ordering::AcqRel) {
                    let (shared, sweeping) = (Arc::clone(&self.shared), Arc::clone(&self.sweeping));
                    self.shared.tasks.spawn(async move {
                        sweep::sweep(&shared, now).await;
                        sweeping.store(false, Ordering::Release);
                    });
                }
            }
        }
    }

    /// Nothing more is read from the session's streams; what was taken is still answered, what is being written is
    /// still written, then the peer hears the reason and the connection ends.
    fn close(&mut self, session: SessionId, reason: Option<Refusal>) {
        let Some(SessionHandle { connection, frames, ending, tasks }) = self.sessions.remove(&session) else {
            return;
        };
        if let Some(reason) = &reason {
            self.shared.watch.counts.note_parted(reason.code);
        }
        match &reason {
            Some(reason) => tracing::info!(peer = %connection.peer(), %reason, "session ended by the broker"),
            None => tracing::debug!(peer = %connection.peer(), "session ended in order"),
        }
        let code = reason.as_ref().map_or(0, |reason| reason.code.number());
        let text =
            reason.as_ref().map_or_else(|| "the broker is shutting down".to_owned(), ToString::to_string);
        ending.cancel();
        self.streams.retain(|_, (owner, _)| *owner != session);
        let is_barred = reason.as_ref().is_some_and(recheck::is_barred);
        // The session's task is gone only when the connection is.
        let _ = frames.send(SessionFrame::Goodbye(reason));
        tasks.close();
        let goodbye_max = self.shared.config.limits.goodbye_timeout;
        let goodbye_max = if is_barred { goodbye_max.min(BARRED_MAX) } else { goodbye_max };
        self.shared.sessions.spawn(async move {
            let told = async {
                tasks.wait().await;
                tokio::time::timeout(PEER_CLOSES_MAX, connection.closed()).await.is_ok()
            };
            tokio::select! {
                // Whether it was heard or not, this is the end.
                _ = tokio::time::timeout(goodbye_max, told) => {}
                _ = connection.closed() => {}
            }
            connection.close(code, &text);
        });
    }
}

async fn load(
    shared: Arc<Shared>,
    stream: StreamId,
    inbox: (AgencyId, Precedence),
    after: Cursor,
    count: usize,
) {
    let reader = shared.reader.clone();
    let share = shared.shares.of(&inbox.0);
    // What is read is in memory until it is written; an agency that opens streams again and again gets no more for it.
    let Ok(_place) = share.loads.acquire().await else { return };
    let read = move || {
        let (agency, precedence) = inbox;
        let Inbox { items, more } = reader.inbox(&agency, precedence, after, count, LOAD_BYTES_MAX)?;
        let loaded: Vec<Loaded> = items.into_iter().map(|item| parse(item.cursor, item.content)).collect();
        Ok::<_, StoreError>((loaded, more))
    };
    let read = tokio::task::spawn_blocking(read).await;
    match read.unwrap_or_else(|error| Err(StoreError::Failed(error.to_string()))) {
        Ok((items, more)) => {
            // The driver is gone only when the broker is stopping.
            let _ = shared.inputs.send(Input::Loaded { stream, items, more }).await;
        }
        Err(error) => {
            tracing::error!(%error, "an inbox cannot be read");
            shared.committer.fail(error);
        }
    }
}

fn parse(cursor: Cursor, content: InboxContent) -> Loaded {
    let unreadable = |problem: &dyn std::fmt::Display| {
        tracing::error!(%cursor, %problem, "a queued item cannot be read; it is left where it is");
        LoadedItem::Unreadable
    };
    let item = match content {
        InboxContent::Envelope(bytes) => match Envelope::decode(bytes, &Limits::DEFAULT) {
            Ok(envelope) => LoadedItem::Envelope(Box::new(envelope)),
            Err(error) => unreadable(&error),
        },
        InboxContent::Receipt(bytes) => match SignedReceipt::decode(bytes) {
            Ok(receipt) => LoadedItem::Receipt(Box::new(receipt)),
            Err(error) => unreadable(&error),
        },
        InboxContent::Unreadable(key) => unreadable(&key),
    };
    Loaded { cursor, item }
}
