//! One task per connection: the session stream first, then whichever streams the agency opens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use valise_proto::id::{AgencyId, NoticeId};
use valise_proto::receipt::SignedReceipt;
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::WireError;
use valise_proto::wire::frame::FrameError;
use valise_proto::wire::limits::STREAM_OPEN_BYTES_MAX;
use valise_proto::wire::session::{
    Answer, Hello, NoticeStatus, Publication, Query, SessionFrame, StreamOpen,
};
use valise_transport::{CloseReason, Connection, FrameReceiver, FrameSender, ReceiveError, Server};

use super::driver::{Input, SessionHandle};
use super::recheck;
use super::{Shared, intake, now, outgoing};
use crate::core::{SessionId, StreamId};

/// How long the peers are given to hear that the broker has closed their connections.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// How long the other streams of a session stay open for the peer to hear the goodbye first.
const GOODBYE_HEARD_MAX: Duration = Duration::from_millis(500);

/// Submit streams of a connection that are read at a time: two for each precedence, for one that ends while another begins.
const SUBMIT_STREAMS_MAX: usize = 8;

/// Numbers for sessions and streams; they mean nothing outside this process.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

fn next_number() -> u64 {
    NEXT_NUMBER.fetch_add(1, Ordering::Relaxed)
}

pub(super) async fn accept_all(mut server: Server, shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.draining.cancelled() => break,
            () = shared.stop.cancelled() => break,
            connection = server.accept() => match connection {
                Some(connection) => {
                    shared.sessions.spawn(serve(connection, Arc::clone(&shared)));
                }
                None => break,
            },
        }
    }
    // The sessions come to their end first; whatever is left then is closed here.
    shared.stop.cancelled().await;
    if tokio::time::timeout(CLOSE_MAX, server.close(0, "the broker is shutting down")).await.is_err() {
        tracing::debug!("a peer did not hear that its connection was closed");
    }
}

async fn serve(connection: Connection, shared: Arc<Shared>) {
    // The transport accepts agencies only.
    let Some(agency) = connection.peer().as_agency().cloned() else { return };
    // A connection costs what a stream does, before anything else is done for it. One that waited would hold a place that
    // others need.
    let wait = shared.shares.stream(&agency);
    if !wait.is_zero() {
        let refusal =
            Refusal::new(RefusalCode::Quota, "an agency may connect no more often than it may open streams");
        return connection.close(refusal.code.number(), &refusal.to_string());
    }
    let session = SessionId(next_number());
    let (frames, frames_receiver) = mpsc::unbounded_channel();
    let (ending, tasks) = (CancellationToken::new(), TaskTracker::new());
    let handle = SessionHandle {
        connection: connection.clone(),
        frames,
        ending: ending.clone(),
        tasks: tasks.clone(),
    };
    if shared.inputs.send(Input::Connected { session, agency: agency.clone(), handle }).await.is_err() {
        return;
    }
    tracing::debug!(%agency, remote = %connection.remote_addr(), "connected");
    // What came into force between the handshake and the line above was checked on the connections of before.
    recheck::recheck_all(&shared, vec![(session, connection.clone())]);
    let parted = CancellationToken::new();
    let submitting = Semaphore::new(SUBMIT_STREAMS_MAX);
    let peer = Arc::new(Peer { session, agency, connection, shared, ending, parted, tasks, submitting });
    let reason = tokio::select! {
        () = peer.run(frames_receiver) => peer.connection.closed().await,
        reason = peer.connection.closed() => reason,
    };
    tracing::debug!(agency = %peer.agency, %reason, "disconnected");
    peer.tell(Input::Disconnected { session }).await;
    peer.tasks.close();
    peer.tasks.wait().await;
}

/// One agency's connection.
pub(super) struct Peer {
    pub(super) session: SessionId,
    pub(super) agency: AgencyId,
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
    /// Cancelled when nothing more is to be read from its streams.
    pub(super) ending: CancellationToken,
    /// Cancelled when the peer has the goodbye, or cannot be given it.
    parted: CancellationToken,
    /// The tasks of its streams, and what they started.
    pub(super) tasks: TaskTracker,
    /// Its submit streams: each may hold half an envelope for a while.
    submitting: Semaphore,
}

/// Why a stream ends that should not.
pub(super) enum Fault {
    /// The stream or the connection is gone; nothing to say.
    Gone,
    /// The peer broke the rules.
    Violation(Refusal),
}

impl From<ReceiveError> for Fault {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Frame(error @ FrameError::TooLarge { .. }) => {
                Self::Violation(Refusal::new(RefusalCode::TooLarge, error))
            }
            ReceiveError::Frame(error @ FrameError::Truncated { .. }) => {
                Self::Violation(Refusal::new(RefusalCode::Malformed, error))
            }
            error @ ReceiveError::Slow(_) => Self::Violation(Refusal::new(RefusalCode::Malformed, error)),
            ReceiveError::Reset(_) | ReceiveError::Closed => Self::Gone,
        }
    }
}

impl From<WireError> for Fault {
    fn from(error: WireError) -> Self {
        Self::Violation(Refusal::new(RefusalCode::Malformed, error))
    }
}

impl From<valise_transport::SendError> for Fault {
    fn from(_: valise_transport::SendError) -> Self {
        Self::Gone
    }
}

impl Peer {
    /// Serves the connection until it ends or is about to.
    async fn run(self: &Arc<Self>, frames: mpsc::UnboundedReceiver<SessionFrame>) {
        let greeted = tokio::time::timeout(self.shared.config.limits.handshake_timeout, self.greet()).await;
        let (hello, streams) = match greeted {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(fault)) => return self.end(fault).await,
            Err(_) => return self.end(violation("no Hello came in time on the first stream")).await,
        };
        // Before the core hears of it, so that its answer finds somebody to write it.
        self.tasks.spawn(Arc::clone(self).serve_session(streams, frames));
        self.tell(Input::Hello { session: self.session, hello }).await;
        loop {
            let opened = tokio::select! {
                () = self.ending.cancelled() => return,
                opened = self.next_stream() => opened,
            };
            let Ok((sender, receiver)) = opened else { return };
            let peer = Arc::clone(self);
            self.tasks.spawn(async move {
                if let Err(fault) = peer.serve_stream(sender, receiver).await {
                    peer.end(fault).await;
                }
            });
        }
    }

    /// The next stream, no sooner than its agency may open another.
    async fn next_stream(&self) -> Result<(FrameSender, FrameReceiver), CloseReason> {
        let opened = self.connection.accept(STREAM_OPEN_BYTES_MAX).await?;
        loop {
            let wait = self.shared.shares.stream(&self.agency);
            if wait.is_zero() {
                return Ok(opened);
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn greet(&self) -> Result<(Hello, (FrameSender, FrameReceiver)), Fault> {
        let no_hello = || violation("the first stream of a connection must begin with Hello");
        let (sender, mut receiver) =
            self.connection.accept(STREAM_OPEN_BYTES_MAX).await.map_err(|_| Fault::Gone)?;
        let first = receiver.next().await?.ok_or_else(no_hello)?;
        let StreamOpen::Session(hello) = StreamOpen::decode(first)? else { return Err(no_hello()) };
        Ok((hello, (sender, receiver)))
    }

    /// Writes what the core has to say. The agency says nothing more on this stream; it may finish its side.
    async fn serve_session(
        self: Arc<Self>,
        (mut sender, mut receiver): (FrameSender, FrameReceiver),
        mut frames: mpsc::UnboundedReceiver<SessionFrame>,
    ) {
        let mut listening = true;
        loop {
            tokio::select! {
                frame = frames.recv() => {
                    let Some(frame) = frame else { break };
                    let last = matches!(frame, SessionFrame::Goodbye(_));
                    if sender.send(frame.encode()).await.is_err() || last {
                        break;
                    }
                }
                frame = receiver.next(), if listening => {
                    listening = false;
                    match frame {
                        Ok(None) | Err(ReceiveError::Closed) => {}
                        Ok(Some(_)) | Err(ReceiveError::Frame(_) | ReceiveError::Slow(_) | ReceiveError::Reset(_)) => {
                            self.end(violation("an agent sends nothing after Hello on the session stream")).await;
                        }
                    }
                }
            }
        }
        sender.finish_and_wait().await;
        self.parted.cancel();
    }

    /// Waits, where the session is ending, until the peer has been told why: whoever saw its other streams end first would
    /// take it for a fault.
    pub(super) async fn after_goodbye(&self) {
        if self.ending.is_cancelled() {
            // Heard or not, the stream ends now.
            let _ = tokio::time::timeout(GOODBYE_HEARD_MAX, self.parted.cancelled()).await;
        }
    }

    async fn serve_stream(
        self: &Arc<Self>,
        sender: FrameSender,
        mut receiver: FrameReceiver,
    ) -> Result<(), Fault> {
        let first = tokio::select! {
            () = self.ending.cancelled() => return Ok(()),
            first = receiver.next() => first?,
        };
        let Some(first) = first else { return Ok(()) };
        let open = StreamOpen::decode(first)?;
        if !self.is_welcomed().await {
            return Err(violation("streams are served after Welcome only"));
        }
        match open {
            StreamOpen::Session(_) => Err(violation("a connection has one session stream")),
            StreamOpen::Submit(precedence) => {
                // Those beyond wait, and nothing is read from them.
                let Some(_place) = self.place(&self.submitting).await else { return Ok(()) };
                intake::serve(Arc::clone(self), precedence, sender, receiver).await
            }
            StreamOpen::Receive { precedence, window } => {
                let stream = StreamId(next_number());
                outgoing::serve(self, stream, (precedence, window), sender, receiver).await
            }
            StreamOpen::Query(query) => self.answer(query, sender).await,
        }
    }

    /// Waits for a place, as long as the session does not end.
    async fn place<'p>(&self, places: &'p Semaphore) -> Option<SemaphorePermit<'p>> {
        tokio::select! {
            () = self.ending.cancelled() => None,
            place = places.acquire() => place.ok(),
        }
    }

    async fn is_welcomed(&self) -> bool {
        let (answer, welcomed) = oneshot::channel();
        self.tell(Input::Welcomed { session: self.session, answer }).await;
        welcomed.await.unwrap_or(false)
    }

    async fn answer(&self, query: Query, mut sender: FrameSender) -> Result<(), Fault> {
        let share = self.shared.shares.of(&self.agency);
        // Until the answer is read: it may be large.
        let Some(_place) = self.place(&share.queries).await else { return Ok(()) };
        let answer = match query {
            Query::Publication => Answer::Publication(self.publication()),
            Query::NoticeStatus(id) => self.notice_status(id).await,
            Query::Renewal(request) => self.renewal(request).await,
            Query::Certificate => {
                Answer::Certificate(self.shared.in_force().certificates.chain(&self.agency, now()))
            }
        };
        sender.send(answer.encode()).await?;
        sender.finish_and_wait().await;
        Ok(())
    }

    fn publication(&self) -> Publication {
        let directory = self.shared.policy().directory.encoded().clone();
        Publication { directory, crls: self.shared.in_force().crls.clone() }
    }

    async fn renewal(&self, request: Bytes) -> Answer {
        let (shared, agency) = (Arc::clone(&self.shared), self.agency.clone());
        let keep = move || shared.spool.keep(&agency, request, &shared.policy(), now());
        match tokio::task::spawn_blocking(keep).await {
            Ok(Ok(digest)) => Answer::Spooled(digest),
            Ok(Err(refusal)) => {
                tracing::info!(peer = %self.agency, %refusal, "renewal request refused");
                Answer::Refusal(refusal)
            }
            Err(error) => unavailable(&error),
        }
    }

    /// Only the originator is told; to others the notice is as unknown as one that never was.
    async fn notice_status(&self, id: NoticeId) -> Answer {
        let reader = self.shared.reader.clone();
        match tokio::task::spawn_blocking(move || reader.notice(&id)).await {
            Ok(Ok(Some(notice))) if notice.originator == self.agency => {
                let accepted = SignedReceipt::decode(notice.receipt).ok();
                Answer::NoticeStatus(Box::new(NoticeStatus { accepted, undelivered: notice.undelivered }))
            }
            Ok(Ok(_)) => Answer::NoticeStatus(Box::default()),
            Ok(Err(error)) => unavailable(&error),
            Err(error) => unavailable(&error),
        }
    }

    /// Tells the core. The driver is gone only when the broker is stopping, and then nobody minds.
    pub(super) async fn tell(&self, input: Input) {
        let _ = self.shared.inputs.send(input).await;
    }

    pub(super) async fn end(&self, fault: Fault) {
        if let Fault::Violation(reason) = fault {
            self.tell(Input::Violation { session: self.session, reason }).await;
        }
    }
}

fn violation(detail: &str) -> Fault {
    Fault::Violation(Refusal::new(RefusalCode::Malformed, detail))
}

fn unavailable(error: &dyn std::fmt::Display) -> Answer {
    tracing::error!(%error, "a question cannot be answered");
    Answer::Refusal(Refusal::new(RefusalCode::StoreUnavailable, "the broker's store cannot be read"))
}
