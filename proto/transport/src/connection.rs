//! One connection with a peer whose certificate was verified.

use std::net::SocketAddr;

use quinn::ConnectionError;
use rustls::pki_types::CertificateDer;
use thiserror::Error;
use valise_proto::id::SpiffeId;

use crate::endpoint::{Transport, wall_clock};
use crate::frames::{FrameReceiver, FrameSender};
use crate::verify::{CertificateError, Usage};

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CloseReason {
    /// This end closed it.
    #[error("closed by this node")]
    Local,
    /// The peer closed it, with a code and a sentence.
    #[error("closed by the peer with code {code}: {text}")]
    Peer {
        /// The peer's code; 0 for an end in order.
        code: u64,
        /// The peer's sentence.
        text: String,
    },
    /// The peer's TLS or QUIC refused us: its certificate check, the protocol, or a broken rule.
    #[error("refused by the peer: {0}")]
    Refused(String),
    /// Nothing was heard for too long.
    #[error("nothing was heard from the peer for too long")]
    Idle,
    /// The peer restarted and knows nothing of the connection.
    #[error("the peer has lost the connection; it may have restarted")]
    Reset,
    /// Anything else.
    #[error("{0}")]
    Lost(String),
}

impl From<ConnectionError> for CloseReason {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::LocallyClosed => Self::Local,
            ConnectionError::ApplicationClosed(close) => Self::Peer {
                code: close.error_code.into_inner(),
                text: String::from_utf8_lossy(&close.reason).into_owned(),
            },
            ConnectionError::ConnectionClosed(close) => Self::Refused(close.to_string()),
            ConnectionError::TimedOut => Self::Idle,
            ConnectionError::Reset => Self::Reset,
            ConnectionError::VersionMismatch
            | ConnectionError::TransportError(_)
            | ConnectionError::CidsExhausted => Self::Lost(error.to_string()),
        }
    }
}

/// A connection. Clones are handles to the same one; it ends when the last is dropped.
#[derive(Clone)]
pub struct Connection {
    inner: quinn::Connection,
    peer: SpiffeId,
    chain: std::sync::Arc<[CertificateDer<'static>]>,
    usage: Usage,
    transport: Transport,
}

impl Connection {
    /// Takes a connection whose handshake is complete. `usage` is the side the peer is on.
    pub(crate) fn new(inner: quinn::Connection, usage: Usage, transport: Transport) -> Result<Self, CertificateError> {
        let chain = inner.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
        let chain = chain.ok_or(CertificateError::NoCertificate)?;
        let leaf = chain.first().ok_or(CertificateError::NoCertificate)?;
        let peer = crate::verify::identity_of(leaf)?;
        Ok(Self { inner, peer, chain: (*chain).into(), usage, transport })
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &SpiffeId {
        &self.peer
    }

    /// Where the peer is at present; it may move.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        self.inner.remote_address()
    }

    /// Opens a stream; frames from the peer may have at most `cap` bytes. Waits while the peer allows no more streams.
    ///
    /// # Errors
    /// [`CloseReason`].
    pub async fn open(&self, cap: usize, priority: i32) -> Result<(FrameSender, FrameReceiver), CloseReason> {
        let (send, receive) = self.inner.open_bi().await?;
        let sender = FrameSender::new(send);
        sender.set_priority(priority);
        Ok((sender, FrameReceiver::new(receive, cap)))
    }

    /// The next stream the peer opens; frames may have at most `cap` bytes.
    ///
    /// # Errors
    /// [`CloseReason`].
    pub async fn accept(&self, cap: usize) -> Result<(FrameSender, FrameReceiver), CloseReason> {
        let (send, receive) = self.inner.accept_bi().await?;
        Ok((FrameSender::new(send), FrameReceiver::new(receive, cap)))
    }

    /// Ends the connection; the peer is told `code` and `text`.
    pub fn close(&self, code: u32, text: &str) {
        self.inner.close(code.into(), text.as_bytes());
    }

    /// Waits for the end.
    pub async fn closed(&self) -> CloseReason {
        self.inner.closed().await.into()
    }

    /// Verifies the peer's certificate again, by the anchors and revocation lists in force now.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn recheck(&self) -> Result<(), CertificateError> {
        self.transport.anchors().verify(&self.chain, self.usage, wall_clock()).map(|_| ())
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({} at {})", self.peer, self.remote_addr())
    }
}
