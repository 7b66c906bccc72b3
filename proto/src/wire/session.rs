//! The frames of the streams between agent and broker (PROTOCOL.md, "Streams").

use bytes::Bytes;

use super::convert::{precedence_from_pb, precedence_to_pb, required, time_from_pb};
use super::limits::{ACK_CURSORS_MAX, Limits};
use super::scan::{self, Bound};
use super::{Signed, WireError, check_count, decode, envelope, pb, query};
use crate::envelope::{Envelope, Precedence};
use crate::id::Timestamp;
use crate::receipt::SignedReceipt;
use crate::refusal::{Refusal, RefusalCode};

pub use super::query::{Answer, NoticeStatus, Query};

/// The wire version this code speaks.
pub const VERSION: u32 = 1;
/// Longest software name in a `Hello`, in bytes.
const SOFTWARE_BYTES_MAX: usize = 64;
/// Most wire versions in a `Hello`.
const VERSIONS_MAX: usize = 16;
/// Most CRLs in a publication.
const CRLS_MAX: usize = 16;

/// The first frame on a stream: what the stream is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamOpen {
    /// The session stream, first of a connection.
    Session(Hello),
    /// A stream of envelopes of one precedence towards the broker.
    Submit(Precedence),
    /// A stream of deliveries of one precedence from the broker.
    Receive {
        /// The precedence.
        precedence: Precedence,
        /// Most deliveries the agent wants unacknowledged.
        window: u32,
    },
    /// One question.
    Query(Query),
}

/// What an agent says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The wire versions it speaks.
    pub versions: Vec<u32>,
    /// Its software and version, for the operator.
    pub software: String,
    /// The directory version it holds; 0 for none.
    pub directory_version: u64,
}

impl StreamOpen {
    /// The frame.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        use pb::stream_open::Kind;
        let kind = match self {
            Self::Session(hello) => Kind::Hello(pb::Hello {
                versions: hello.versions.clone(),
                software: hello.software.clone(),
                directory_version: hello.directory_version,
            }),
            Self::Submit(precedence) => {
                Kind::Submit(pb::Submit { precedence: precedence_to_pb(*precedence) })
            }
            Self::Receive { precedence, window } => {
                Kind::Receive(pb::Receive { precedence: precedence_to_pb(*precedence), window: *window })
            }
            Self::Query(query) => Kind::Query(pb::Query { kind: Some(query::to_pb(query)) }),
        };
        super::encode(&pb::StreamOpen { kind: Some(kind) })
    }

    /// Reads the frame.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(frame: Bytes) -> Result<Self, WireError> {
        use pb::stream_open::Kind;
        let message: pb::StreamOpen = decode("stream opening", frame)?;
        Ok(match required("stream opening", message.kind)? {
            Kind::Hello(hello) => {
                check_count("hello.software", hello.software.len(), SOFTWARE_BYTES_MAX)?;
                check_count("hello.versions", hello.versions.len(), VERSIONS_MAX)?;
                Self::Session(Hello {
                    versions: hello.versions,
                    software: hello.software,
                    directory_version: hello.directory_version,
                })
            }
            Kind::Submit(submit) => Self::Submit(precedence_from_pb(submit.precedence)?),
            Kind::Receive(receive) => {
                Self::Receive { precedence: precedence_from_pb(receive.precedence)?, window: receive.window }
            }
            Kind::Query(query) => Self::Query(query::from_pb(required("query", query.kind)?)?),
        })
    }
}

/// What the broker says on the session stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionFrame {
    /// First, once.
    Welcome(Welcome),
    /// A newer directory or CRLs.
    Publication(Publication),
    /// Last: why the session ends. `None` for a shutdown in order.
    Goodbye(Option<Refusal>),
}

/// The broker's answer to `Hello`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The wire version chosen.
    pub version: u32,
    /// The broker's clock.
    pub broker_time: Timestamp,
    /// The directory in force at the broker.
    pub directory_version: u64,
    /// The sizes the broker takes: envelope bytes, recipients, portions, unacknowledged deliveries, submissions in flight.
    pub limits: Limits,
}

/// The signed directory and the CRLs, as the authority published them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    /// An encoded signed directory.
    pub directory: Bytes,
    /// X.509 CRLs, DER.
    pub crls: Vec<Bytes>,
}

impl SessionFrame {
    /// The frame.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        use pb::session_frame::Kind;
        let kind = match self {
            Self::Welcome(welcome) => Kind::Welcome(pb::Welcome {
                version: welcome.version,
                broker_time_ms: welcome.broker_time.millis(),
                directory_version: welcome.directory_version,
                limits: Some(limits_to_pb(&welcome.limits)),
            }),
            Self::Publication(publication) => Kind::Publication(publication_to_pb(publication)),
            Self::Goodbye(reason) => Kind::Goodbye(pb::Goodbye {
                code: reason.as_ref().map_or(0, |reason| reason.code.number()),
                detail: reason.as_ref().map(|reason| reason.detail.clone()).unwrap_or_default(),
            }),
        };
        super::encode(&pb::SessionFrame { kind: Some(kind) })
    }

    /// Reads the frame.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(frame: Bytes) -> Result<Self, WireError> {
        use pb::session_frame::Kind;
        const PUBLICATION: u32 = 2;
        check_publication(&frame, PUBLICATION)?;
        let message: pb::SessionFrame = decode("session frame", frame)?;
        Ok(match required("session frame", message.kind)? {
            Kind::Welcome(welcome) => Self::Welcome(Welcome {
                version: welcome.version,
                broker_time: time_from_pb("welcome.broker_time_ms", welcome.broker_time_ms)?,
                directory_version: welcome.directory_version,
                limits: limits_from_pb(&required("welcome.limits", welcome.limits)?),
            }),
            Kind::Publication(publication) => Self::Publication(publication_from_pb(publication)),
            Kind::Goodbye(goodbye) => Self::Goodbye(goodbye_from_pb(goodbye)),
        })
    }
}

/// A code this version does not know still ends the session, so it is kept as far as it can be.
fn goodbye_from_pb(goodbye: pb::Goodbye) -> Option<Refusal> {
    if goodbye.code == 0 {
        return None;
    }
    let code = RefusalCode::from_number(goodbye.code).unwrap_or(RefusalCode::Malformed);
    Some(Refusal::new(code, goodbye.detail))
}

fn limits_to_pb(limits: &Limits) -> pb::Limits {
    let small = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    pb::Limits {
        envelope_bytes: u64::try_from(limits.envelope_bytes_max).unwrap_or(u64::MAX),
        recipients: small(limits.recipients_max),
        portions: small(limits.portions_max),
        unacknowledged: small(limits.unacknowledged_max),
        in_flight: small(limits.in_flight_max),
    }
}

/// A broker may lower the protocol's limits, not raise them.
fn limits_from_pb(message: &pb::Limits) -> Limits {
    let up_to = |value: u64, max: usize| usize::try_from(value).unwrap_or(max).min(max);
    let default = Limits::DEFAULT;
    Limits {
        envelope_bytes_max: up_to(message.envelope_bytes, default.envelope_bytes_max),
        recipients_max: up_to(message.recipients.into(), default.recipients_max),
        portions_max: up_to(message.portions.into(), default.portions_max),
        unacknowledged_max: up_to(message.unacknowledged.into(), default.unacknowledged_max),
        in_flight_max: up_to(message.in_flight.into(), default.in_flight_max),
        ..default
    }
}

pub(super) fn publication_to_pb(publication: &Publication) -> pb::Publication {
    pb::Publication { directory: publication.directory.clone(), crls: publication.crls.clone() }
}

/// Counts the CRLs of the publication in field `tag` before memory is taken for them.
pub(super) fn check_publication(frame: &[u8], tag: u32) -> Result<(), WireError> {
    let crls = [Bound { tag: 2, field: "publication.crls", max: CRLS_MAX }];
    scan::check_lone(frame, Bound { tag, field: "publication", max: 1 }, &crls)
}

pub(super) fn publication_from_pb(message: pb::Publication) -> Publication {
    Publication { directory: message.directory, crls: message.crls }
}

/// The broker's answer to one submitted envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Which envelope on this stream, counted from 0.
    pub ordinal: u64,
    /// An ACCEPTED or REFUSED receipt.
    pub receipt: Signed,
}

impl Submitted {
    /// The frame.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        super::encode(&pb::Submitted { ordinal: self.ordinal, receipt: Some(self.receipt.to_pb()) })
    }

    /// Reads the frame.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(frame: Bytes) -> Result<Self, WireError> {
        let message: pb::Submitted = decode("submitted", frame)?;
        let receipt = Signed::from_pb(required("submitted.receipt", message.receipt)?)?;
        Ok(Self { ordinal: message.ordinal, receipt })
    }
}

/// The place of an item in a broker's inboxes. Cursors rise; they mean nothing to another broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(u64);

impl Cursor {
    /// A cursor of this number.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Something from an inbox.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// To be acknowledged by.
    pub cursor: Cursor,
    /// What it is.
    pub item: Item,
}

/// What an inbox holds.
#[derive(Clone, Debug)]
pub enum Item {
    /// A notice, with the portions the recipient may access.
    Envelope(Box<Envelope>),
    /// A broker's receipt for the originator: EXPIRED.
    Receipt(Box<SignedReceipt>),
}

impl Delivery {
    /// The frame.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        use pb::delivery::Item as PbItem;
        let item = match &self.item {
            Item::Envelope(envelope) => PbItem::Envelope(envelope::to_pb(&envelope.to_pieces())),
            Item::Receipt(receipt) => PbItem::Receipt(receipt.signed().to_pb()),
        };
        super::encode(&pb::Delivery { cursor: self.cursor.number(), item: Some(item) })
    }

    /// Reads the frame. Signatures are not checked here.
    ///
    /// # Errors
    /// [`UnreadableDelivery`], which keeps the cursor where it could be read, so that the item can be set aside.
    pub fn decode(frame: Bytes) -> Result<Self, UnreadableDelivery> {
        use pb::delivery::Item as PbItem;
        const CURSOR: u32 = 1;
        const ENVELOPE: u32 = 2;
        let limits = &Limits::DEFAULT;
        let cursor = Cursor::new(scan::number(&frame, CURSOR));
        let unreadable = |error| UnreadableDelivery { cursor: Some(cursor), error };
        let one = Bound { tag: ENVELOPE, field: "delivery.envelope", max: 1 };
        scan::check_lone(&frame, one, &envelope::lists(limits)).map_err(unreadable)?;
        let message: pb::Delivery =
            decode("delivery", frame).map_err(|error| UnreadableDelivery { cursor: None, error })?;
        let item = match required("delivery.item", message.item).map_err(unreadable)? {
            PbItem::Envelope(envelope) => {
                let pieces = envelope::from_pb(envelope).map_err(unreadable)?;
                Item::Envelope(Box::new(Envelope::from_pieces(pieces, limits).map_err(unreadable)?))
            }
            PbItem::Receipt(receipt) => {
                let signed = Signed::from_pb(receipt).map_err(unreadable)?;
                Item::Receipt(Box::new(SignedReceipt::from_signed(signed).map_err(unreadable)?))
            }
        };
        Ok(Self { cursor, item })
    }
}

/// A delivery that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a delivery cannot be read: {error}")]
pub struct UnreadableDelivery {
    /// Its cursor, where that much could be read.
    pub cursor: Option<Cursor>,
    /// Why.
    pub error: WireError,
}

/// Deliveries the agent holds on stable storage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// Which; at most [`ACK_CURSORS_MAX`].
    pub cursors: Vec<Cursor>,
}

impl Ack {
    /// The frame.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        super::encode(&pb::Ack { cursors: self.cursors.iter().map(|cursor| cursor.number()).collect() })
    }

    /// Reads the frame.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(frame: Bytes) -> Result<Self, WireError> {
        let message: pb::Ack = decode("ack", frame)?;
        check_count("ack.cursors", message.cursors.len(), ACK_CURSORS_MAX)?;
        Ok(Self { cursors: message.cursors.into_iter().map(Cursor::new).collect() })
    }
}
