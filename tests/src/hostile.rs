//! A broker in hostile hands: it has the certificate and the keys of the network's own broker, and does with envelopes,
//! receipts and directories whatever it is told.
//!
//! It takes the place of the honest broker; the agencies do not know. It accepts everything it is sent and hands each
//! recipient what an honest broker would, until a test says otherwise:
//!
//! ```no_run
//! use valise_tests::hostile::HostileBroker;
//! use valise_tests::{Network, notices};
//!
//! # async fn story() -> Result<(), Box<dyn std::error::Error>> {
//! let net = Network::builder().agency("fra/ncb").agency("ken/ncb").start().await?;
//! let broker = HostileBroker::take_over(&net).await?;
//! // It hands over nothing at all.
//! broker.hand_over(|_, _| Vec::new());
//! let sent = net.agency("ken/ncb").send(notices::deportation("KEN", "FRA").of("FRA")).await?;
//! net.agency("ken/ncb").expect_accepted(&sent).await?;
//! assert!(net.agency("fra/ncb").inbox().await?.is_empty());
//! broker.stop().await;
//! net.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! What it cannot do is what no broker can: sign for an agency or for the authority, and open what is sealed to others.
//! Frames are written by hand here, so that anything can stand in them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{broadcast, oneshot, watch};
use valise_agent::clock::Clock;
use valise_broker::config::Config;
use valise_broker::server::{self, NodeFiles};
use valise_proto::crypto::SigningKey;
use valise_proto::directory::Directory;
use valise_proto::envelope::{Envelope, Precedence};
use valise_proto::id::{AgencyId, NoticeId, SpiffeId};
use valise_proto::receipt::{Receipt, ReceiptKind, SignedReceipt};
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::limits::{Limits, STREAM_OPEN_BYTES_MAX};
use valise_proto::wire::session::{
    Ack, Answer, Cursor, Publication, Query, SessionFrame, StreamOpen, Submitted, VERSION, Welcome,
};
use valise_transport::{Anchors, Connection, FrameReceiver, FrameSender, Options, Server, Transport};

use crate::network::{Network, NetworkError};
use crate::raw::{field, number_field};

/// Words for the agencies' sessions that may wait to be said.
const SAID_MAX: usize = 16;
/// Field numbers of a `Delivery` (PROTOCOL.md, "Streams").
const CURSOR_FIELD: u8 = 1;
const ENVELOPE_FIELD: u8 = 2;
const RECEIPT_FIELD: u8 = 3;

/// What becomes of an envelope on its way to one recipient: the encoded envelopes that it is handed instead, in order.
type HandOver = Box<dyn Fn(&Envelope, &AgencyId) -> Vec<Bytes> + Send>;
/// What is answered in the place of the true receipt, made of it and of the broker's key; `None` for silence.
type AnswerWith = Box<dyn FnMut(Receipt, &SigningKey) -> Option<SignedReceipt> + Send>;

/// What it holds, and what it was told to do.
struct Held {
    /// What it says the authority published.
    publication: Publication,
    /// Everything that was submitted, in order, as often as it came.
    taken: Vec<Envelope>,
    queues: BTreeMap<AgencyId, BTreeMap<u64, (Precedence, Bytes)>>,
    next_cursor: u64,
    sessions: usize,
    hand_over: HandOver,
    answer_with: AnswerWith,
}

/// The hostile broker. It ends when it is stopped, or when the last clone is dropped and every agency has gone.
#[derive(Clone)]
pub struct HostileBroker {
    files: Arc<NodeFiles>,
    identity: SpiffeId,
    held: Arc<Mutex<Held>>,
    changed: watch::Sender<u64>,
    said: broadcast::Sender<SessionFrame>,
    stop: Arc<Mutex<Option<oneshot::Sender<()>>>>,
    stopped: watch::Receiver<bool>,
}

impl std::fmt::Debug for HostileBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostileBroker({})", self.identity)
    }
}

impl HostileBroker {
    /// Stops the network's broker and takes its place, with its certificate, keys and files; every agency is led here.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn take_over(net: &Network) -> Result<Self, NetworkError> {
        let failed = NetworkError::start("the hostile broker");
        net.broker().stop().await?;
        let config = Config::read(&net.broker().config_path()).map_err(|error| failed(error.to_string()))?;
        let files = server::check(&config).map_err(|error| failed(error.to_string()))?;
        let trust = &files.trust;
        let anchors = Anchors::new(trust.trust_domain.clone(), &trust.anchors, &files.crls);
        let anchors = anchors.map_err(|error| failed(error.to_string()))?;
        let transport = Transport::new(files.credentials.clone(), anchors, Options::default());
        let server = Server::bind(&transport, (Ipv4Addr::LOCALHOST, 0).into());
        let server = server.map_err(|error| failed(error.to_string()))?;
        let addr = server.local_addr().map_err(|error| failed(error.to_string()))?;
        let held = Held {
            publication: files.publication(),
            taken: Vec::new(),
            queues: BTreeMap::new(),
            next_cursor: 1,
            sessions: 0,
            hand_over: Box::new(|_, _| Vec::new()),
            answer_with: Box::new(|receipt, key| Some(receipt.sign(key))),
        };
        let (stop, told) = oneshot::channel();
        let (ended, stopped) = watch::channel(false);
        let broker = Self {
            identity: files.credentials.identity().clone(),
            files: Arc::new(files),
            held: Arc::new(Mutex::new(held)),
            changed: watch::Sender::new(0),
            said: broadcast::Sender::new(SAID_MAX),
            stop: Arc::new(Mutex::new(Some(stop))),
            stopped,
        };
        broker.hand_over_honestly();
        tokio::spawn(broker.clone().listen(server, told, ended));
        net.broker().point_relays(addr);
        Ok(broker)
    }

    async fn listen(self, mut server: Server, mut told: oneshot::Receiver<()>, ended: watch::Sender<bool>) {
        loop {
            tokio::select! {
                _ = &mut told => break,
                connection = server.accept() => match connection {
                    Some(connection) => { tokio::spawn(self.clone().serve(connection)); }
                    None => break,
                },
            }
        }
        server.close(0, "stopped").await;
        // It fails where nobody waits for it.
        let _ = ended.send(true);
    }

    /// Ends, and frees the place for an honest broker: [`crate::BrokerControl::start`].
    pub async fn stop(self) {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It fails where it has ended already.
        let _ = stop.map(|stop| stop.send(()));
        let mut stopped = self.stopped.clone();
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }

    /// What it signs its receipts with.
    #[must_use]
    pub fn receipt_key(&self) -> &SigningKey {
        &self.files.receipt_key
    }

    /// The directory it was left.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.files.directory
    }

    /// What an honest broker hands `recipient` of an envelope: what its clearance permits, and its own key wrap.
    #[must_use]
    pub fn honest(directory: &Directory, envelope: &Envelope, recipient: &AgencyId) -> Bytes {
        let entry = directory.agency(recipient);
        let permitted = entry.map(|entry| envelope.header().permitted(&entry.clearance)).unwrap_or_default();
        envelope.for_recipient(recipient, &permitted).encode()
    }

    /// Hands over from now on what an honest broker would.
    pub fn hand_over_honestly(&self) {
        let directory = self.files.directory.clone();
        self.hand_over(move |envelope, recipient| vec![Self::honest(&directory, envelope, recipient)]);
    }

    /// Says what each recipient is handed of what is submitted from now on: any bytes in the place of an envelope, as
    /// many as there are. RECEIPTs are envelopes too.
    pub fn hand_over(&self, scheme: impl Fn(&Envelope, &AgencyId) -> Vec<Bytes> + Send + 'static) {
        self.held().hand_over = Box::new(scheme);
    }

    /// Says what is answered to what is submitted from now on, in the place of the true receipt; `None` for silence.
    pub fn answer_with(
        &self,
        lie: impl FnMut(Receipt, &SigningKey) -> Option<SignedReceipt> + Send + 'static,
    ) {
        self.held().answer_with = Box::new(lie);
    }

    /// Puts bytes into an agency's queue as if they were an envelope, now.
    pub fn put(&self, to: &AgencyId, precedence: Precedence, envelope: &[u8]) {
        self.queue(&mut self.held(), to, precedence, field(ENVELOPE_FIELD, envelope));
        self.changed.send_modify(|count| *count += 1);
    }

    /// Puts bytes into an agency's queue as if they were a broker's receipt, now.
    pub fn put_receipt(&self, to: &AgencyId, precedence: Precedence, receipt: &[u8]) {
        self.queue(&mut self.held(), to, precedence, field(RECEIPT_FIELD, receipt));
        self.changed.send_modify(|count| *count += 1);
    }

    /// Serves this as what the authority published, and pushes it to everyone who is connected.
    pub fn publish(&self, publication: Publication) {
        self.held().publication = publication.clone();
        // It fails where nobody is connected.
        let _ = self.said.send(SessionFrame::Publication(publication));
    }

    /// Sends everyone away; they come back.
    pub fn part(&self) {
        let _ = self.said.send(SessionFrame::Goodbye(None));
    }

    /// The envelopes that were submitted under an id, as often as they came.
    #[must_use]
    pub fn taken(&self, id: NoticeId) -> Vec<Envelope> {
        let held = self.held();
        held.taken.iter().filter(|envelope| envelope.header().notice_id == id).cloned().collect()
    }

    /// Items that an agency has not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self, agency: &AgencyId) -> usize {
        self.held().queues.get(agency).map_or(0, BTreeMap::len)
    }

    /// Sessions that were begun.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.held().sessions
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // A scheme of a test may panic; what is held is whole all the same.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self, held: &mut Held, to: &AgencyId, precedence: Precedence, item: Bytes) {
        let cursor = held.next_cursor;
        held.next_cursor += 1;
        held.queues.entry(to.clone()).or_default().insert(cursor, (precedence, item));
    }

    async fn serve(self, connection: Connection) {
        let Some(peer) = connection.peer().as_agency().cloned() else { return };
        while let Ok((sender, mut receiver)) = connection.accept(STREAM_OPEN_BYTES_MAX).await {
            let (broker, peer) = (self.clone(), peer.clone());
            tokio::spawn(async move {
                // Whoever gives up a stream ends what serves it; there is nobody to tell.
                let frame = receiver.next().await.ok()??;
                receiver.set_cap(Limits::DEFAULT.envelope_bytes_max);
                match StreamOpen::decode(frame) {
                    Ok(StreamOpen::Session(_)) => broker.session(sender, receiver).await,
                    Ok(StreamOpen::Submit(_)) => broker.submit(sender, receiver).await,
                    Ok(StreamOpen::Receive { precedence, .. }) => {
                        broker.deliver(&peer, precedence, sender, receiver).await
                    }
                    Ok(StreamOpen::Query(query)) => broker.answer(query, sender).await,
                    Err(_) => None,
                }
            });
        }
    }

    async fn session(&self, mut sender: FrameSender, mut receiver: FrameReceiver) -> Option<()> {
        let mut said = self.said.subscribe();
        let welcome = Welcome {
            version: VERSION,
            broker_time: Clock::system().now(),
            directory_version: self.files.directory.version(),
            limits: Limits::DEFAULT,
        };
        sender.send(SessionFrame::Welcome(welcome).encode()).await.ok()?;
        self.held().sessions += 1;
        loop {
            tokio::select! {
                frame = said.recv() => sender.send(frame.ok()?.encode()).await.ok()?,
                heard = receiver.next() => { heard.ok()??; }
            }
        }
    }

    async fn answer(&self, query: Query, mut sender: FrameSender) -> Option<()> {
        let answer = match query {
            Query::Publication => Answer::Publication(self.held().publication.clone()),
            Query::NoticeStatus(_) => Answer::NoticeStatus(Box::default()),
            Query::Renewal(_) => Answer::Refusal(Refusal::new(RefusalCode::Quota, "not now")),
            Query::Certificate => Answer::Certificate(Vec::new()),
        };
        sender.send(answer.encode()).await.ok()?;
        sender.finish_and_wait().await;
        Some(())
    }

    async fn submit(&self, mut sender: FrameSender, mut receiver: FrameReceiver) -> Option<()> {
        for ordinal in 0.. {
            let frame = receiver.next().await.ok()??;
            let envelope = Envelope::decode(frame, &Limits::DEFAULT).ok()?;
            if let Some(receipt) = self.take(&envelope) {
                let submitted = Submitted { ordinal, receipt: receipt.signed().clone() };
                sender.send(submitted.encode()).await.ok()?;
            }
        }
        None
    }

    /// Takes an envelope, queues what becomes of it the first time it comes, and gives the answer.
    fn take(&self, envelope: &Envelope) -> Option<SignedReceipt> {
        let header = envelope.header();
        let mut held = self.held();
        let first = !held.taken.iter().any(|taken| taken.header_digest() == envelope.header_digest());
        held.taken.push(envelope.clone());
        if first {
            for recipient in &header.recipients {
                for item in (held.hand_over)(envelope, recipient) {
                    self.queue(&mut held, recipient, header.precedence, field(ENVELOPE_FIELD, &item));
                }
            }
        }
        let receipt = self.receipt(ReceiptKind::Accepted, envelope);
        let answer = (held.answer_with)(receipt, self.receipt_key());
        drop(held);
        self.changed.send_modify(|count| *count += 1);
        answer
    }

    /// A true statement of this broker about an envelope, to be signed or altered.
    #[must_use]
    pub fn receipt(&self, kind: ReceiptKind, envelope: &Envelope) -> Receipt {
        Receipt {
            kind,
            notice_id: Some(envelope.header().notice_id),
            header_digest: envelope.header_digest(),
            issuer: self.identity.clone(),
            recipient: None,
            at: Clock::system().now(),
            officer: None,
            refusal: None,
            portions: Vec::new(),
            cause: None,
        }
    }

    async fn deliver(
        &self,
        agency: &AgencyId,
        precedence: Precedence,
        mut sender: FrameSender,
        mut receiver: FrameReceiver,
    ) -> Option<()> {
        let (mut changed, mut after) = (self.changed.subscribe(), 0);
        loop {
            changed.mark_unchanged();
            for (cursor, item) in self.waiting(agency, precedence, after) {
                after = cursor;
                let delivery = [number_field(CURSOR_FIELD, cursor), item].concat();
                sender.send(delivery.into()).await.ok()?;
            }
            tokio::select! {
                changed = changed.changed() => changed.ok()?,
                frame = receiver.next() => {
                    let acknowledged: BTreeSet<u64> =
                        Ack::decode(frame.ok()??).ok()?.cursors.into_iter().map(Cursor::number).collect();
                    let mut held = self.held();
                    held.queues.entry(agency.clone()).or_default().retain(|cursor, _| !acknowledged.contains(cursor));
                }
            }
        }
    }

    fn waiting(&self, agency: &AgencyId, precedence: Precedence, after: u64) -> Vec<(u64, Bytes)> {
        let held = self.held();
        let queue = held.queues.get(agency).into_iter().flatten();
        let wanted = queue.filter(|(cursor, (of, _))| *of == precedence && **cursor > after);
        wanted.map(|(cursor, (_, item))| (*cursor, item.clone())).collect()
    }
}

/// The frame with the last bit of `part`, where it stands last, turned. `None` where it does not contain it.
#[must_use]
pub fn flipped(frame: &[u8], part: &[u8]) -> Option<Bytes> {
    let mut other = part.to_vec();
    *other.last_mut()? ^= 1;
    exchanged(frame, part, &other)
}

/// The frame with `other`, of the same length, in the place of `part` where that stands last. `None` where it does not
/// contain it, or where the lengths differ.
#[must_use]
pub fn exchanged(frame: &[u8], part: &[u8], other: &[u8]) -> Option<Bytes> {
    let at = frame.windows(part.len().max(1)).rposition(|window| window == part)?;
    let mut frame = frame.to_vec();
    let place = frame.get_mut(at..at + part.len()).filter(|place| place.len() == other.len())?;
    place.copy_from_slice(other);
    Some(frame.into())
}
