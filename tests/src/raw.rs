//! A client without scruples: it holds an agency's real keys and certificate and says on the wire whatever it is told.
//!
//! The agency's own node would never send what these calls can send. They are for tests of what a broker refuses.

use std::time::Duration;

use bytes::Bytes;
use rand_core::UnwrapErr;
use thiserror::Error;
use valise_agent::clock::{Clock, new_notice_id};
use valise_agent::enrol::Membership;
use valise_agent::folder::Folder;
use valise_agent::vault::Vault;
use valise_proto::crypto::{Signature, SigningKey, context};
use valise_proto::directory::Directory;
use valise_proto::envelope::{
    Envelope, HeaderDraft, NoticeKind, PlainPortion, PortionIndex, Precedence, SealError, SealFor, seal,
};
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::label::{Label, LabelError};
use valise_proto::notice::Notice;
use valise_proto::receipt::{Receipt, SignedReceipt};
use valise_proto::refusal::Refusal;
use valise_proto::wire::limits::{
    DELIVERY_OVERHEAD_BYTES, Limits, PUBLICATION_BYTES_MAX, SUBMITTED_BYTES_MAX,
};
use valise_proto::wire::session::{
    Ack, Cursor, Delivery, Hello, SessionFrame, StreamOpen, Submitted, UnreadableDelivery, VERSION,
};
use valise_transport::{
    Anchors, Client, CloseReason, ConnectError, Connection, FrameReceiver, FrameSender, Options,
    ReceiveError, SendError, Transport,
};
use zeroize::Zeroizing;

/// How long a raw client waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a client that nobody answers is given to send its first packet.
const FIRST_PACKET_MAX: Duration = Duration::from_millis(20);

/// Why a raw client got no further.
#[derive(Debug, Error)]
pub enum RawError {
    /// Its keys or membership cannot be used.
    #[error("{0}")]
    Membership(String),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection ended.
    #[error("the connection ended: {0}")]
    Closed(#[from] CloseReason),
    /// A frame could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// A frame could not be received.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// The broker ended a stream.
    #[error("the broker ended the stream")]
    Ended,
    /// The broker said nothing.
    #[error("the broker said nothing for {} s", PATIENCE.as_secs())]
    Silent,
    /// The broker said something that cannot be read.
    #[error("{0}")]
    Wire(#[from] valise_proto::wire::WireError),
    /// A delivery that cannot be read.
    #[error(transparent)]
    Delivery(#[from] UnreadableDelivery),
    /// It cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Not a notice.
    #[error("not a notice: {0}")]
    Content(String),
    /// Not a banner.
    #[error(transparent)]
    Label(#[from] LabelError),
}

/// An agency's keys and certificate, in hands that may do anything with them.
pub struct Impostor {
    vault: Vault,
    membership: Membership,
}

/// A notice to be sealed, with or without regard to the rules.
#[derive(Clone, Debug)]
pub struct RawNotice {
    /// The header's draft; whoever likes changes it.
    pub draft: HeaderDraft,
    /// Banner and content of each portion.
    pub portions: Vec<(String, Vec<u8>)>,
    /// Recipients, and for which portions each gets the key.
    pub recipients: Vec<(AgencyId, Vec<usize>)>,
}

impl Impostor {
    /// Takes what lies in an agency's data folder.
    ///
    /// # Errors
    /// [`RawError::Membership`].
    pub fn of(folder: &Folder) -> Result<Self, RawError> {
        let vault = Vault::open(folder).map_err(|error| RawError::Membership(error.to_string()))?;
        let membership =
            Membership::open(folder, &vault).map_err(|error| RawError::Membership(error.to_string()))?;
        Ok(Self { vault, membership })
    }

    /// Whose they are.
    #[must_use]
    pub fn agency(&self) -> &AgencyId {
        &self.membership.agency
    }

    /// Its private keys.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The directory it holds.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.membership.directory
    }

    /// Acts by another directory.
    pub fn set_directory(&mut self, directory: Directory) {
        self.membership.directory = directory;
    }

    /// A notice of this agency with one portion, that every recipient gets the key to.
    #[must_use]
    pub fn notice(&self, recipients: &[&AgencyId], banner: &str, content: &[u8]) -> RawNotice {
        let now = now();
        RawNotice {
            draft: HeaderDraft {
                notice_id: new_notice_id(now),
                kind: NoticeKind::Travel,
                originator: self.membership.agency.clone(),
                precedence: Precedence::Priority,
                created_at: now,
                expires_at: now.plus(Duration::from_secs(60 * 60)),
                respond_by: None,
                directory_version: self.directory().version(),
                in_reply_to: None,
                supersedes: None,
                withdraws: None,
                derived_from: None,
            },
            portions: vec![(banner.to_owned(), content.to_vec())],
            recipients: recipients.iter().map(|agency| ((*agency).clone(), vec![0])).collect(),
        }
    }

    /// The same with real content, such as its recipients' agents would show: portions of `notice`, which every recipient
    /// gets all the keys to.
    ///
    /// # Errors
    /// [`RawError::Content`].
    pub fn notice_of(
        &self,
        recipients: &[&AgencyId],
        notice: impl Into<serde_json::Value>,
    ) -> Result<RawNotice, RawError> {
        let json = notice.into().to_string();
        let read = Notice::from_json(json.as_bytes(), &self.directory().content().policy, now());
        let notice = read.map_err(|mistakes| RawError::Content(format!("{mistakes:?}")))?;
        let portions: Vec<(String, Vec<u8>)> = notice
            .portions()
            .iter()
            .map(|portion| (portion.label().to_string(), portion.encode().to_vec()))
            .collect();
        let mut raw = self.notice(recipients, "UNCLASSIFIED", b"");
        let all: Vec<usize> = (0..portions.len()).collect();
        raw.recipients.iter_mut().for_each(|(_, indexes)| indexes.clone_from(&all));
        raw.draft.kind = notice.kind();
        raw.portions = portions;
        Ok(raw)
    }

    /// Seals and signs a notice as it is, asking nobody whether that is allowed.
    ///
    /// # Errors
    /// [`RawError::Seal`] where no reader would take it for an envelope at all.
    pub fn seal(&self, notice: RawNotice) -> Result<Envelope, RawError> {
        self.seal_under(notice, &self.directory().content().policy.clone())
    }

    /// The same, with labels of another policy.
    ///
    /// # Errors
    /// [`RawError::Seal`].
    pub fn seal_under(
        &self,
        notice: RawNotice,
        policy: &valise_proto::label::PolicyId,
    ) -> Result<Envelope, RawError> {
        let RawNotice { draft, portions, recipients } = notice;
        let plain = |(banner, content): (String, Vec<u8>)| {
            Ok(PlainPortion {
                label: Label::parse_banner(policy.clone(), &banner)?,
                parts: Zeroizing::new(content),
            })
        };
        let portions: Vec<PlainPortion> =
            portions.into_iter().map(plain).collect::<Result<_, LabelError>>()?;
        let sealed_for = |(agency, indexes): (AgencyId, Vec<usize>)| {
            let unknown = || RawError::Membership(format!("{agency} has no sealing key in the directory"));
            let key = self.directory().agency(&agency).and_then(|entry| entry.sealing_key_at(now()));
            let key = key.ok_or_else(unknown)?.key.clone();
            Ok(SealFor { agency, key, portions: indexes.into_iter().filter_map(PortionIndex::new).collect() })
        };
        let recipients: Vec<SealFor> =
            recipients.into_iter().map(sealed_for).collect::<Result<_, RawError>>()?;
        let sealed = seal(draft, &portions, &recipients, &mut UnwrapErr(getrandom::SysRng))?;
        Ok(sealed.sign(self.vault.signing_key()))
    }

    /// Connects to `endpoint` with its certificate.
    ///
    /// # Errors
    /// [`RawError`].
    pub async fn dial(&self, endpoint: std::net::SocketAddr) -> Result<Connection, RawError> {
        Ok(self.client(Options::default())?.connect(&endpoint.to_string(), None).await?)
    }

    /// First packets of `count` connections, each of another, which never reached anyone: whoever sends them on is
    /// nobody, and never answers.
    ///
    /// # Errors
    /// [`RawError`].
    pub async fn first_packets(&self, count: usize) -> Result<Vec<Vec<u8>>, RawError> {
        let failed = |error: std::io::Error| RawError::Membership(error.to_string());
        let sink = tokio::net::UdpSocket::bind("127.0.0.1:0").await.map_err(failed)?;
        let endpoint = sink.local_addr().map_err(failed)?.to_string();
        let client = self.client(Options { handshake_timeout: FIRST_PACKET_MAX, ..Options::default() })?;
        let mut packets = std::collections::BTreeMap::new();
        let mut packet = [0; 2048];
        while packets.len() < count {
            // It fails: nobody answers.
            let _ = client.connect(&endpoint, None).await;
            while let Ok(len) = sink.try_recv(&mut packet) {
                // The destination's connection id (RFC 9000 section 17.2) tells whose this is; a hello takes two packets.
                let (Some(id), Some(whole)) = (packet.get(6..14), packet.get(..len)) else { continue };
                packets.entry(id.to_vec()).or_insert_with(|| whole.to_vec());
            }
        }
        Ok(packets.into_values().take(count).collect())
    }

    fn client(&self, options: Options) -> Result<Client, RawError> {
        let Membership { trust, credentials, crls, .. } = &self.membership;
        let anchors = Anchors::new(trust.trust_domain.clone(), &trust.anchors, crls);
        let anchors = anchors.map_err(|error| RawError::Membership(error.to_string()))?;
        Ok(Client::new(&Transport::new(credentials.clone(), anchors, options)))
    }

    /// Connects and is welcomed.
    ///
    /// # Errors
    /// [`RawError`].
    pub async fn connect(&self, endpoint: std::net::SocketAddr) -> Result<RawSession, RawError> {
        let connection = self.dial(endpoint).await?;
        let mut session = RawSession::open(connection).await?;
        session.hello(&[VERSION]).await?;
        match session.next().await? {
            SessionFrame::Welcome(_) => Ok(session),
            SessionFrame::Publication(_) | SessionFrame::Goodbye(_) => Err(RawError::Ended),
        }
    }
}

/// A connection with its session stream.
pub struct RawSession {
    connection: Connection,
    sender: FrameSender,
    receiver: FrameReceiver,
}

impl RawSession {
    /// Opens the session stream and says nothing on it.
    ///
    /// # Errors
    /// [`RawError::Closed`].
    pub async fn open(connection: Connection) -> Result<Self, RawError> {
        let (sender, receiver) = connection.open(PUBLICATION_BYTES_MAX, 8).await?;
        Ok(Self { connection, sender, receiver })
    }

    /// Says `Hello` with these wire versions.
    ///
    /// # Errors
    /// [`RawError::Send`].
    pub async fn hello(&mut self, versions: &[u32]) -> Result<(), RawError> {
        let hello = Hello { versions: versions.to_vec(), software: "raw".to_owned(), directory_version: 0 };
        self.say(StreamOpen::Session(hello).encode()).await
    }

    /// Says anything on the session stream.
    ///
    /// # Errors
    /// [`RawError::Send`].
    pub async fn say(&mut self, frame: Bytes) -> Result<(), RawError> {
        Ok(self.sender.send(frame).await?)
    }

    /// The broker's next word on the session stream.
    ///
    /// # Errors
    /// [`RawError`].
    pub async fn next(&mut self) -> Result<SessionFrame, RawError> {
        Ok(SessionFrame::decode(frame_of(&mut self.receiver).await?)?)
    }

    /// Waits for the broker's goodbye, whatever it publishes before; `None` where it gives no reason.
    ///
    /// # Errors
    /// [`RawError`].
    pub async fn goodbye(&mut self) -> Result<Option<Refusal>, RawError> {
        loop {
            match self.next().await? {
                SessionFrame::Goodbye(reason) => return Ok(reason),
                SessionFrame::Welcome(_) | SessionFrame::Publication(_) => {}
            }
        }
    }

    /// The connection.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Opens a submit stream.
    ///
    /// # Errors
    /// [`RawError`].
    pub async fn submit(&self, precedence: Precedence) -> Result<RawSubmit, RawError> {
        let (mut sender, receiver) = self.connection.open(SUBMITTED_BYTES_MAX, 0).await?;
        sender.send(StreamOpen::Submit(precedence).encode()).await?;
        Ok(RawSubmit { sender, receiver })
    }

    /// Opens a receive stream.
    ///
    /// # Errors
    /// [`RawError`].
    pub async fn receive(&self, precedence: Precedence, window: u32) -> Result<RawReceive, RawError> {
        let cap = Limits::DEFAULT.envelope_bytes_max + DELIVERY_OVERHEAD_BYTES;
        let (mut sender, receiver) = self.connection.open(cap, 0).await?;
        sender.send(StreamOpen::Receive { precedence, window }.encode()).await?;
        Ok(RawReceive { sender, receiver })
    }
}

/// A submit stream.
pub struct RawSubmit {
    sender: FrameSender,
    receiver: FrameReceiver,
}

impl RawSubmit {
    /// Sends a frame, envelope or not, without waiting for the answer.
    ///
    /// # Errors
    /// [`RawError::Send`].
    pub async fn send(&mut self, frame: Bytes) -> Result<(), RawError> {
        Ok(self.sender.send(frame).await?)
    }

    /// Sends bytes as they are, whole frames or not.
    ///
    /// # Errors
    /// [`RawError::Send`].
    pub async fn send_unframed(&mut self, bytes: &[u8]) -> Result<(), RawError> {
        Ok(self.sender.dangerous_send_unframed(bytes).await?)
    }

    /// The next answer.
    ///
    /// # Errors
    /// [`RawError`].
    pub async fn answer(&mut self) -> Result<(u64, SignedReceipt), RawError> {
        let Submitted { ordinal, receipt } = Submitted::decode(frame_of(&mut self.receiver).await?)?;
        Ok((ordinal, SignedReceipt::from_signed(receipt)?))
    }

    /// Sends a frame and waits for the answer.
    ///
    /// # Errors
    /// [`RawError`].
    pub async fn ask(&mut self, frame: Bytes) -> Result<Receipt, RawError> {
        self.send(frame).await?;
        Ok(self.answer().await?.1.receipt().clone())
    }
}

/// A receive stream.
pub struct RawReceive {
    sender: FrameSender,
    receiver: FrameReceiver,
}

impl RawReceive {
    /// The next delivery.
    ///
    /// # Errors
    /// [`RawError`].
    pub async fn delivery(&mut self) -> Result<Delivery, RawError> {
        Ok(Delivery::decode(frame_of(&mut self.receiver).await?)?)
    }

    /// Acknowledges.
    ///
    /// # Errors
    /// [`RawError::Send`].
    pub async fn acknowledge(&mut self, cursors: Vec<Cursor>) -> Result<(), RawError> {
        Ok(self.sender.send(Ack { cursors }.encode()).await?)
    }
}

/// The frame of `envelope` with another header in the place of its own, or with the same, signed with `key`: for headers
/// that our own code cannot write, and for keys that are not the originator's.
#[must_use]
pub fn signed_anew(envelope: &Envelope, header: &[u8], key: &SigningKey) -> Bytes {
    let frame = |header: &[u8], signature: &Signature| {
        let signature = [field(1, signature.key_id.as_bytes()), field(2, &signature.value)].concat();
        [field(1, header), field(2, &signature)].concat()
    };
    let encoded = envelope.encode();
    // Header and signature come first; portions and wraps stay as they are.
    let replaced = frame(envelope.header_bytes(), envelope.signature()).len();
    let rest = encoded.get(replaced..).unwrap_or_default();
    [frame(header, &key.sign(context::HEADER, header)).as_slice(), rest].concat().into()
}

/// A protobuf field that holds bytes; its number is below 16.
#[must_use]
pub fn field(number: u8, value: &[u8]) -> Bytes {
    let mut out = vec![number << 3 | 2];
    varint(u64::try_from(value.len()).unwrap_or(u64::MAX), &mut out);
    out.extend_from_slice(value);
    out.into()
}

/// A protobuf field that holds a number; its own is below 16.
#[must_use]
pub fn number_field(number: u8, value: u64) -> Bytes {
    let mut out = vec![number << 3];
    varint(value, &mut out);
    out.into()
}

fn varint(mut left: u64, out: &mut Vec<u8>) {
    while left > 127 {
        out.push(left.to_le_bytes()[0] | 128);
        left >>= 7;
    }
    out.push(left.to_le_bytes()[0]);
}

async fn frame_of(receiver: &mut FrameReceiver) -> Result<Bytes, RawError> {
    let frame = tokio::time::timeout(PATIENCE, receiver.next()).await.map_err(|_| RawError::Silent)?;
    frame?.ok_or(RawError::Ended)
}

fn now() -> Timestamp {
    Clock::system().now()
}
