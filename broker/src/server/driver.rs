//! The task that owns the core.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use valise_proto::directory::Directory;
use valise_proto::envelope::{Envelope, Precedence};
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::receipt::{ReceiptKind, SignedReceipt};
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::limits::Limits;
use valise_proto::wire::session::{Cursor, Delivery, Hello, Publication, SessionFrame};
use valise_transport::Connection;

use super::{Shared, now};
use crate::core::{Core, Effect, Loaded, LoadedItem, Policy, SessionId, StreamId};
use crate::store::{Due, InboxContent, Operation, StoreError, Submission};

/// Most bytes of envelopes read from an inbox at a time.
const LOAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most notices looked at in one step of a sweep.
const SWEEP_COUNT: usize = 256;
/// How long a peer is given to hear a goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// What happens to the core.
pub(super) enum Input {
    /// A connection was accepted.
    Connected { session: SessionId, connection: Connection, agency: AgencyId, frames: mpsc::UnboundedSender<SessionFrame> },
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
    Loaded { stream: StreamId, asked: usize, items: Vec<Loaded> },
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
    /// The authority published.
    Published { directory: Arc<Directory>, publication: Publication },
    /// How many sessions there are.
    Sessions { answer: oneshot::Sender<usize> },
    /// The end.
    Shutdown,
}

struct SessionHandle {
    connection: Connection,
    frames: mpsc::UnboundedSender<SessionFrame>,
}

pub(super) struct Driver {
    core: Core,
    shared: Arc<Shared>,
    sessions: HashMap<SessionId, SessionHandle>,
    streams: HashMap<StreamId, mpsc::Sender<Vec<Delivery>>>,
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
            let due_in = self.core.poll_timeout().since(now());
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
            Input::Connected { session, connection, agency, frames } => {
                self.sessions.insert(session, SessionHandle { connection, frames });
                self.core.handle_connected(session, agency, now);
            }
            Input::Hello { session, hello } => self.core.handle_hello(session, &hello, now),
            Input::Welcomed { session, answer } => {
                // Whoever asked may have gone away.
                let _ = answer.send(self.core.is_welcomed(session));
            }
            Input::Receive { session, stream, precedence, window, deliveries } => {
                self.streams.insert(stream, deliveries);
                self.core.handle_receive(session, stream, precedence, window, now);
            }
            Input::Loaded { stream, asked, items } => self.core.handle_loaded(stream, asked, items, now),
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
            Input::Published { directory, publication } => self.publish(directory, publication, now),
            Input::Sessions { answer } => {
                // Whoever asked may have gone away.
                let _ = answer.send(self.core.sessions_len());
            }
            Input::Shutdown => {}
        }
    }

    fn publish(&mut self, directory: Arc<Directory>, publication: Publication, now: Timestamp) {
        self.core.handle_publication(directory, publication, now);
        let policy = Arc::new(Policy::clone(self.core.policy()));
        *self.shared.policy.write().unwrap_or_else(std::sync::PoisonError::into_inner) = policy;
        self.recheck_peers();
    }

    /// A certificate that has expired or been revoked since the handshake ends its connection.
    fn recheck_peers(&mut self) {
        let refused: Vec<(SessionId, Refusal)> = self
            .sessions
            .iter()
            .filter_map(|(session, handle)| Some((*session, handle.connection.recheck().err()?)))
            .map(|(session, error)| (session, Refusal::new(RefusalCode::KeyNotActive, error)))
            .collect();
        for (session, reason) in refused {
            self.core.handle_violation(session, reason);
        }
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
                if let Some(sender) = self.streams.get(&stream) {
                    // The core gives one batch at a time and the channel holds one, so it is full never and closed only
                    // when the stream is.
                    let _ = sender.try_send(deliveries);
                }
            }
            Effect::Acknowledge { agency, precedence, cursors } => {
                let operations = vec![Operation::Acknowledge { agency, precedence, cursors }];
                let reply = Box::new(|result: Result<_, StoreError>| {
                    if let Err(error) = result {
                        tracing::warn!(%error, "acknowledgements were not recorded; the items will be delivered again");
                    }
                });
                let committer = self.shared.committer.clone();
                self.shared.tasks.spawn(async move { committer.submit(Submission { operations, reply }).await });
            }
            Effect::Sweep { now } => {
                if !self.sweeping.swap(true, Ordering::AcqRel) {
                    let (shared, sweeping) = (Arc::clone(&self.shared), Arc::clone(&self.sweeping));
                    self.shared.tasks.spawn(async move {
                        if let Err(error) = sweep(&shared, now).await {
                            tracing::error!(%error, "expired notices were not deleted");
                        }
                        sweeping.store(false, Ordering::Release);
                    });
                }
            }
        }
    }

    fn close(&mut self, session: SessionId, reason: Option<Refusal>) {
        let Some(SessionHandle { connection, frames }) = self.sessions.remove(&session) else { return };
        match &reason {
            Some(reason) => tracing::info!(peer = %connection.peer(), %reason, "session ended by the broker"),
            None => tracing::debug!(peer = %connection.peer(), "session ended in order"),
        }
        let code = reason.as_ref().map_or(0, |reason| reason.code.number());
        let text = reason.as_ref().map_or_else(|| "the broker is shutting down".to_owned(), ToString::to_string);
        // The session's task is gone only when the connection is.
        let _ = frames.send(SessionFrame::Goodbye(reason));
        self.shared.tasks.spawn(async move {
            // Answers on their way still go out; a peer that has read the goodbye closes first.
            let _ = tokio::time::timeout(GOODBYE_TIMEOUT, connection.closed()).await;
            connection.close(code, &text);
        });
    }
}

async fn load(shared: Arc<Shared>, stream: StreamId, inbox: (AgencyId, Precedence), after: Cursor, count: usize) {
    let reader = shared.reader.clone();
    let read = move || {
        let (agency, precedence) = inbox;
        let items = reader.inbox(&agency, precedence, after, count, LOAD_BYTES_MAX)?;
        let bytes: usize = items.iter().map(|item| item.content.len()).sum();
        let cut_short = bytes >= LOAD_BYTES_MAX;
        let loaded: Vec<Loaded> = items.into_iter().map(|item| parse(item.cursor, item.content)).collect();
        Ok::<_, StoreError>((loaded, cut_short))
    };
    let (items, cut_short) = match tokio::task::spawn_blocking(read).await {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(error)) => {
            tracing::error!(%error, "an inbox cannot be read");
            (Vec::new(), false)
        }
        Err(error) => {
            tracing::error!(%error, "reading an inbox was interrupted");
            (Vec::new(), false)
        }
    };
    // A batch cut short by its bytes is not the end of the inbox: the core asks again.
    let asked = if cut_short { items.len() } else { count };
    // The driver is gone only when the broker is stopping.
    let _ = shared.inputs.send(Input::Loaded { stream, asked, items }).await;
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

async fn sweep(shared: &Arc<Shared>, now: Timestamp) -> Result<(), StoreError> {
    loop {
        let reader = shared.reader.clone();
        let due = tokio::task::spawn_blocking(move || reader.due(now, SWEEP_COUNT)).await;
        let due = due.map_err(|error| StoreError::Failed(error.to_string()))??;
        let more = due.len() == SWEEP_COUNT;
        let mut told = Vec::new();
        let operations: Vec<Operation> = due.into_iter().map(|due| settle(shared, due, now, &mut told)).collect();
        if operations.is_empty() {
            return Ok(());
        }
        let (done, result) = oneshot::channel();
        let reply = Box::new(move |result: Result<Vec<_>, StoreError>| {
            // The sweep waits for it, unless the broker is stopping.
            let _ = done.send(result.map(|_| ()));
        });
        shared.committer.submit(Submission { operations, reply }).await;
        result.await.map_err(|error| StoreError::Failed(error.to_string()))??;
        // The driver is gone only when the broker is stopping.
        let _ = shared.queued.send(told);
        if !more {
            return Ok(());
        }
    }
}

fn settle(shared: &Shared, due: Due, at: Timestamp, told: &mut Vec<(AgencyId, Precedence)>) -> Operation {
    match due {
        Due::Forgotten { notice_id } => Operation::Forget { notice_id },
        Due::Expired { notice_id, notice } => {
            let about = (Some(notice_id), notice.header_digest);
            let expired = |agency| shared.sign(ReceiptKind::Expired, about, Some(agency), None).encode();
            let receipts = notice.undelivered.into_iter().map(expired).collect();
            told.push((notice.originator, Precedence::Routine));
            Operation::Expire { notice_id, at, receipts }
        }
    }
}
