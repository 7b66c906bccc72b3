//! One task per connection: the session stream first, then whichever streams the agency opens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};
use valise_proto::id::AgencyId;
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::WireError;
use valise_proto::wire::limits::STREAM_OPEN_BYTES_MAX;
use valise_proto::wire::session::{Answer, NoticeStatus, Publication, Query, SessionFrame, StreamOpen};
use valise_transport::{Connection, FrameReceiver, FrameSender, ReceiveError, Server};

use super::driver::Input;
use super::{Shared, intake, outgoing};
use crate::core::{SessionId, StreamId};

/// Numbers for sessions and streams; they mean nothing outside this process.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

fn next_number() -> u64 {
    NEXT_NUMBER.fetch_add(1, Ordering::Relaxed)
}

pub(super) async fn accept_all(mut server: Server, shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => break,
            connection = server.accept() => match connection {
                Some(connection) => {
                    shared.tasks.spawn(serve(connection, Arc::clone(&shared)));
                }
                None => break,
            },
        }
    }
    server.close(0, "the broker is shutting down").await;
}

async fn serve(connection: Connection, shared: Arc<Shared>) {
    // The transport accepts agencies only.
    let Some(agency) = connection.peer().as_agency().cloned() else { return };
    let session = SessionId(next_number());
    let (frames, frames_receiver) = mpsc::unbounded_channel();
    let connected = Input::Connected { session, connection: connection.clone(), agency: agency.clone(), frames };
    if shared.inputs.send(connected).await.is_err() {
        return;
    }
    tracing::debug!(%agency, remote = %connection.remote_addr(), "connected");
    let client = Arc::new(Peer { session, agency, connection, shared });
    let ended = Arc::clone(&client);
    tokio::select! {
        () = client.run(frames_receiver) => {}
        reason = ended.connection.closed() => {
            tracing::debug!(agency = %ended.agency, %reason, "disconnected");
        }
    }
    // The driver is gone only when the broker is stopping.
    let _ = ended.shared.inputs.send(Input::Disconnected { session }).await;
}

/// One agency's connection.
pub(super) struct Peer {
    pub(super) session: SessionId,
    pub(super) agency: AgencyId,
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
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
            ReceiveError::Frame(error) => Self::Violation(Refusal::new(RefusalCode::Malformed, error)),
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
    async fn run(self: Arc<Self>, frames: mpsc::UnboundedReceiver<SessionFrame>) {
        let greeted = tokio::time::timeout(self.shared.config.limits.handshake_timeout, self.greet()).await;
        let streams = match greeted {
            Ok(Ok(streams)) => streams,
            Ok(Err(fault)) => return self.end(fault).await,
            Err(_) => {
                let late = Refusal::new(RefusalCode::Malformed, "no Hello came in time on the first stream");
                return self.end(Fault::Violation(late)).await;
            }
        };
        self.shared.tasks.spawn(Arc::clone(&self).serve_session(streams, frames));
        while let Ok((sender, receiver)) = self.connection.accept(STREAM_OPEN_BYTES_MAX).await {
            let peer = Arc::clone(&self);
            self.shared.tasks.spawn(async move {
                if let Err(fault) = peer.serve_stream(sender, receiver).await {
                    peer.end(fault).await;
                }
            });
        }
    }

    async fn greet(&self) -> Result<(FrameSender, FrameReceiver), Fault> {
        let (sender, mut receiver) = self.connection.accept(STREAM_OPEN_BYTES_MAX).await.map_err(|_| Fault::Gone)?;
        let first = receiver.next().await?.ok_or(Fault::Gone)?;
        let StreamOpen::Session(hello) = StreamOpen::decode(first)? else {
            let detail = "the first stream of a connection must begin with Hello";
            return Err(Fault::Violation(Refusal::new(RefusalCode::Malformed, detail)));
        };
        self.tell(Input::Hello { session: self.session, hello }).await;
        Ok((sender, receiver))
    }

    /// Writes what the core has to say; the agency says nothing more on this stream.
    async fn serve_session(
        self: Arc<Self>,
        (mut sender, mut receiver): (FrameSender, FrameReceiver),
        mut frames: mpsc::UnboundedReceiver<SessionFrame>,
    ) {
        loop {
            tokio::select! {
                frame = frames.recv() => {
                    let Some(frame) = frame else { break };
                    let last = matches!(frame, SessionFrame::Goodbye(_));
                    if sender.send(frame.encode()).await.is_err() || last {
                        break;
                    }
                }
                frame = receiver.next() => {
                    if let Ok(Some(_)) = frame {
                        let detail = "an agent sends nothing after Hello on the session stream";
                        self.end(Fault::Violation(Refusal::new(RefusalCode::Malformed, detail))).await;
                    }
                    break;
                }
            }
        }
        sender.finish_and_wait().await;
    }

    async fn serve_stream(self: &Arc<Self>, sender: FrameSender, mut receiver: FrameReceiver) -> Result<(), Fault> {
        let Some(first) = receiver.next().await? else { return Ok(()) };
        let open = StreamOpen::decode(first)?;
        if !self.is_welcomed().await {
            let detail = "streams are served after Welcome only";
            return Err(Fault::Violation(Refusal::new(RefusalCode::Malformed, detail)));
        }
        match open {
            StreamOpen::Session(_) => {
                let detail = "a connection has one session stream";
                Err(Fault::Violation(Refusal::new(RefusalCode::Malformed, detail)))
            }
            StreamOpen::Submit(precedence) => intake::serve(Arc::clone(self), precedence, sender, receiver).await,
            StreamOpen::Receive { precedence, window } => {
                let stream = StreamId(next_number());
                outgoing::serve(self, stream, (precedence, window), sender, receiver).await
            }
            StreamOpen::Query(query) => self.answer(query, sender).await,
        }
    }

    async fn is_welcomed(&self) -> bool {
        let (answer, welcomed) = oneshot::channel();
        self.tell(Input::Welcomed { session: self.session, answer }).await;
        welcomed.await.unwrap_or(false)
    }

    async fn answer(&self, query: Query, mut sender: FrameSender) -> Result<(), Fault> {
        let answer = match query {
            Query::Publication => Answer::Publication(self.publication()),
            Query::NoticeStatus(id) => self.notice_status(id),
        };
        sender.send(answer.encode()).await?;
        sender.finish_and_wait().await;
        Ok(())
    }

    fn publication(&self) -> Publication {
        let directory = self.shared.policy().directory.encoded().clone();
        let crls = self.shared.crls.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        Publication { directory, crls }
    }

    /// Only the originator is told; to others the notice is as unknown as one that never was.
    fn notice_status(&self, id: valise_proto::id::NoticeId) -> Answer {
        match self.shared.reader.notice(&id) {
            Ok(Some(notice)) if notice.originator == self.agency => {
                let accepted = valise_proto::receipt::SignedReceipt::decode(notice.receipt).ok();
                Answer::NoticeStatus(Box::new(NoticeStatus { accepted, undelivered: notice.undelivered }))
            }
            Ok(_) => Answer::NoticeStatus(Box::default()),
            Err(error) => {
                tracing::error!(%error, "a notice cannot be looked up");
                Answer::Refusal(Refusal::new(RefusalCode::StoreUnavailable, "the broker's store cannot be read"))
            }
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
