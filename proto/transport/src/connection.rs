//! One connection with a peer whose certificate was verified.
//!
//! Claimed: [`Connection::peer`] is who the verified certificate names; there is no way to make a connection without
//! one. What the peer says when it closes is text from outside: it is shortened and stripped before anyone prints it.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::ConnectionError;
use rustls::pki_types::CertificateDer;
use thiserror::Error;
use valise_proto::id::SpiffeId;
use valise_proto::refusal::RefusalCode;

use crate::endpoint::{Transport, wall_clock};
use crate::error::{CertificateError, Rejection};
use crate::frames::{FrameReceiver, FrameSender};
use crate::verify::{Anchors, Usage, parse};

/// Most characters kept of a sentence that the peer sent.
const PEER_TEXT_CHARS_MAX: usize = 256;

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
        /// The peer's sentence: at most 256 characters, none that steers a terminal.
        text: String,
    },
    /// The peer's TLS or QUIC refused us: its certificate check, the protocol, or a broken rule.
    #[error("refused by the peer: {0}")]
    Refused(Rejection),
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
                text: printable(&String::from_utf8_lossy(&close.reason)),
            },
            ConnectionError::ConnectionClosed(close) => {
                Self::Refused(Rejection::of(close.error_code.into(), &close.to_string()))
            }
            ConnectionError::TimedOut => Self::Idle,
            ConnectionError::Reset => Self::Reset,
            ConnectionError::VersionMismatch
            | ConnectionError::TransportError(_)
            | ConnectionError::CidsExhausted => Self::Lost(error.to_string()),
        }
    }
}

/// What a person may be shown of a text from outside: no line breaks, escapes or reversed writing.
pub(crate) fn printable(text: &str) -> String {
    let steers = |c: &char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().filter(|c| !steers(c)).take(PEER_TEXT_CHARS_MAX).collect()
}

/// A connection. Clones are handles to the same one; it ends when the last is dropped.
#[derive(Clone)]
pub struct Connection {
    inner: quinn::Connection,
    peer: SpiffeId,
    chain: Arc<[CertificateDer<'static>]>,
    usage: Usage,
    transport: Transport,
}

impl Connection {
    /// Takes a connection whose handshake is complete. `usage` is the side the peer is on.
    pub(crate) fn new(
        inner: quinn::Connection,
        usage: Usage,
        transport: Transport,
    ) -> Result<Self, CertificateError> {
        let chain =
            inner.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
        let chain = chain.ok_or(CertificateError::NoCertificate)?;
        let leaf = chain.first().ok_or(CertificateError::NoCertificate)?;
        let peer = parse(leaf)?.identity()?;
        Ok(Self { inner, peer, chain: (*chain).into(), usage, transport })
    }

    /// Anchors may have been swapped during the handshake that `used` these; a peer they refuse does not slip through.
    pub(crate) fn unless_refused_since(self, used: &Arc<Anchors>) -> Result<Self, CertificateError> {
        let now = self.transport.anchors();
        if Arc::ptr_eq(used, &now) {
            return Ok(self);
        }
        match self.check_under(&now) {
            Ok(()) => Ok(self),
            Err(error) => {
                self.close(RefusalCode::KeyNotActive.number(), &error.to_string());
                Err(error)
            }
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &SpiffeId {
        &self.peer
    }

    /// The peer's certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        self.chain.first().map(|leaf| leaf.as_ref()).unwrap_or_default()
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
        Ok((sender, self.receiver(receive, cap)))
    }

    /// The next stream the peer opens; frames may have at most `cap` bytes.
    ///
    /// # Errors
    /// [`CloseReason`].
    pub async fn accept(&self, cap: usize) -> Result<(FrameSender, FrameReceiver), CloseReason> {
        let (send, receive) = self.inner.accept_bi().await?;
        Ok((FrameSender::new(send), self.receiver(receive, cap)))
    }

    fn receiver(&self, stream: quinn::RecvStream, cap: usize) -> FrameReceiver {
        FrameReceiver::new(stream, cap, self.transport.options().frame_timeout)
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
        self.check_under(&self.transport.anchors())
    }

    /// Verifies the peer's certificate by other anchors and revocation lists, which stay out of force: to try them.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn check_under(&self, anchors: &Anchors) -> Result<(), CertificateError> {
        anchors.verify(&self.chain, self.usage, wall_clock()).map(|_| ())
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({} at {})", self.peer, self.remote_addr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_says_cannot_steer_a_terminal_or_forge_a_line_of_the_log() {
        assert_eq!(printable("bye\n2026-01-01 ERROR\u{1b}[2J\u{202e}x"), "bye2026-01-01 ERROR[2Jx");
        assert_eq!(printable(&"x".repeat(1000)).len(), PEER_TEXT_CHARS_MAX);
    }
}
