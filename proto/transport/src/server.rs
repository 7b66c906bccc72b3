//! The side that listens.
//!
//! Claimed, against anyone who can send packets to the port: they cannot make this node take more than
//! `handshakes_max` unfinished handshakes, `connections_max` connections and the queue between, nor keep an honest peer
//! out by sending from addresses they do not have, nor from one that they have. It holds because a handshake is taken up
//! only with a permit and ends by its timeout, because above half of the permits, or of those of one address, a peer must
//! first answer from the address it claims (a QUIC Retry, RFC 9000 section 8.1.2, which costs this node no state), because
//! one address gets no more than its share of the permits, for which only handshakes count that showed it, and because
//! connections are counted where they begin. Someone with very many real addresses can still fill the permits for as
//! long as the timeout: that is for the network in front of the broker.

mod sources;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{ConnectionError, TransportErrorCode};
use quinn_proto::HashedConnectionIdGenerator;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc};

use self::sources::{Place, Sources};

use crate::connection::{CloseReason, Connection};
use crate::credentials::RestartKeys;
use crate::endpoint::{Transport, TransportError};
use crate::error::CertificateError;
use crate::verifier::Verifier;
use crate::verify::{Anchors, Usage};

/// Connections that completed their handshake and wait to be accepted.
const ACCEPT_QUEUE_LEN: usize = 64;
/// Refused handshakes kept for a reader of [`Refusals`] that is slow.
const REFUSALS_LEN: usize = 64;
/// TLS alerts (RFC 8446 section 6.2; RFC 7301 section 3.2).
const ALERT_CERTIFICATE_REQUIRED: u8 = 116;
const ALERT_NO_APPLICATION_PROTOCOL: u8 = 120;

/// Why a server did not take a connection. The peer's fault, or the network's; nothing was kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HandshakeError {
    /// Not done in time.
    #[error("the handshake took too long")]
    TimedOut,
    /// The peer's certificate is missing or not accepted.
    #[error("the peer is not accepted: {0}")]
    Certificate(#[from] CertificateError),
    /// The peer does not speak `valise/1`.
    #[error("the peer does not offer the protocol `valise/1`")]
    WrongProtocol,
    /// This node's own credentials cannot be used.
    #[error("{0}")]
    Credentials(String),
    /// Anything else.
    #[error("{0}")]
    Closed(CloseReason),
}

/// A handshake that a server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedHandshake {
    /// Where it came from.
    pub remote: SocketAddr,
    /// Why it was refused.
    pub error: HandshakeError,
}

/// The handshakes a server refuses from now on, to be counted or recorded. A reader that is slow loses the oldest.
pub struct Refusals {
    receiver: broadcast::Receiver<RefusedHandshake>,
}

impl Refusals {
    /// The next one; `None` once the server is gone. Safe to cancel.
    pub async fn next(&mut self) -> Option<RefusedHandshake> {
        loop {
            match self.receiver.recv().await {
                Ok(refused) => return Some(refused),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refusals")
    }
}

/// Opens the port. Tokens and connection ids follow from the node's key, so peers of a server that was killed learn from
/// its successor at once that their connections are gone, rather than by silence.
fn listen(
    transport: &Transport,
    config: quinn::ServerConfig,
    addr: SocketAddr,
) -> io::Result<quinn::Endpoint> {
    let RestartKeys { reset, connection_ids } = transport.restart_keys();
    let mut endpoint = quinn::EndpointConfig::new(reset);
    endpoint.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(connection_ids)));
    let socket = std::net::UdpSocket::bind(addr)?;
    quinn::Endpoint::new(endpoint, Some(config), socket, Arc::new(quinn::TokioRuntime))
}

/// A connection and the anchors its handshake used.
type Accepted = (Connection, Arc<Anchors>);

/// Accepts connections from agencies. Listens until it is closed or dropped.
#[derive(Debug)]
pub struct Server {
    endpoint: quinn::Endpoint,
    accepted: mpsc::Receiver<Accepted>,
    refused: broadcast::Sender<RefusedHandshake>,
}

impl Server {
    /// Listens on `addr`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`TransportError`].
    pub fn bind(transport: &Transport, addr: SocketAddr) -> Result<Self, TransportError> {
        // Handshakes are configured one by one; what this one is for is Retry.
        let config = transport.server_config(Arc::new(Verifier::new(transport.anchors(), None)))?;
        let endpoint =
            listen(transport, config, addr).map_err(|source| TransportError::Bind { addr, source })?;
        let (sender, accepted) = mpsc::channel(ACCEPT_QUEUE_LEN);
        let refused = broadcast::channel(REFUSALS_LEN).0;
        let door = Door { transport: transport.clone(), accepted: sender, refused: refused.clone() };
        tokio::spawn(door.keep(endpoint.clone()));
        Ok(Self { endpoint, accepted, refused })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// The next connection whose handshake succeeded and whose peer is not refused by the anchors in force now; `None`
    /// after [`Server::close`]. Safe to cancel.
    pub async fn accept(&mut self) -> Option<Connection> {
        loop {
            let (connection, used) = self.accepted.recv().await?;
            let remote = connection.remote_addr();
            match connection.unless_refused_since(&used) {
                Ok(connection) => return Some(connection),
                Err(error) => refuse(&self.refused, remote, error.into()),
            }
        }
    }

    /// The handshakes refused from now on.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        Refusals { receiver: self.refused.subscribe() }
    }

    /// Ends every connection with `code` and `text` and stops listening. Waits until the peers have been told.
    pub async fn close(self, code: u32, text: &str) {
        self.endpoint.close(code.into(), text.as_bytes());
        self.endpoint.wait_idle().await;
    }
}

fn refuse(refused: &broadcast::Sender<RefusedHandshake>, remote: SocketAddr, error: HandshakeError) {
    tracing::info!(%remote, %error, "handshake failed");
    // It fails where nobody reads them.
    let _ = refused.send(RefusedHandshake { remote, error });
}

/// What a handshake is done with.
#[derive(Clone)]
struct Door {
    transport: Transport,
    accepted: mpsc::Sender<Accepted>,
    refused: broadcast::Sender<RefusedHandshake>,
}

impl Door {
    /// Takes up handshakes until the endpoint is closed or the server dropped.
    async fn keep(self, endpoint: quinn::Endpoint) {
        let options = self.transport.options();
        let handshakes_max = options.handshakes_max.max(1);
        let handshakes = Arc::new(Semaphore::new(handshakes_max));
        let sources = Sources::new(options.handshakes_per_address_max);
        let mut full = false;
        loop {
            let incoming = tokio::select! {
                () = self.accepted.closed() => break,
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) => incoming,
                    None => break,
                },
            };
            let was_full =
                std::mem::replace(&mut full, endpoint.open_connections() >= options.connections_max);
            if full {
                // Once, not for every packet of someone who keeps trying.
                if !was_full {
                    tracing::warn!(
                        connections_max = options.connections_max,
                        "connections are refused: too many are open"
                    );
                }
                incoming.refuse();
                continue;
            }
            let (from, shown) = (incoming.remote_address().ip(), incoming.remote_address_validated());
            // Under load a peer must show that it receives at the address it claims before any state is kept for it.
            let loaded = handshakes.available_permits() < handshakes_max.div_ceil(2) || sources.is_busy(from);
            if loaded && !shown && incoming.may_retry() {
                // `may_retry` was asked, so this cannot fail.
                let _ = incoming.retry();
                continue;
            }
            match (Arc::clone(&handshakes).try_acquire_owned(), sources.enter(from, shown)) {
                (Ok(permit), Some(place)) => self.take_up(incoming, (permit, place)),
                (Ok(_), None) | (Err(_), Some(_) | None) => incoming.refuse(),
            }
        }
    }

    /// The connection exists, and counts, when this returns; its handshake goes on elsewhere.
    fn take_up(&self, incoming: quinn::Incoming, held: (OwnedSemaphorePermit, Place)) {
        let remote = incoming.remote_address();
        let anchors = self.transport.anchors();
        let verifier = Arc::new(Verifier::new(Arc::clone(&anchors), None));
        let config = match self.transport.server_config(Arc::clone(&verifier)) {
            Ok(config) => config,
            Err(error) => {
                incoming.refuse();
                return refuse(&self.refused, remote, HandshakeError::Credentials(error.to_string()));
            }
        };
        let connecting = match incoming.accept_with(Arc::new(config)) {
            Ok(connecting) => connecting,
            Err(error) => return refuse(&self.refused, remote, handshake_error(error, &verifier)),
        };
        let door = self.clone();
        tokio::spawn(async move {
            match handshake(connecting, &door.transport, &verifier).await {
                Ok(connection) => {
                    drop(held);
                    // The receiver is gone only when the server is closing.
                    let _ = door.accepted.send((connection, anchors)).await;
                }
                Err(error) => refuse(&door.refused, remote, error),
            }
        });
    }
}

async fn handshake(
    connecting: quinn::Connecting,
    transport: &Transport,
    verifier: &Verifier,
) -> Result<Connection, HandshakeError> {
    let connection = tokio::time::timeout(transport.options().handshake_timeout, connecting)
        .await
        .map_err(|_| HandshakeError::TimedOut)?
        .map_err(|error| handshake_error(error, verifier))?;
    Ok(Connection::new(connection, Usage::Client, transport.clone())?)
}

fn handshake_error(error: ConnectionError, verifier: &Verifier) -> HandshakeError {
    if let Some(refused) = verifier.take_refused() {
        return HandshakeError::Certificate(refused);
    }
    let alert = |alert| matches!(&error, ConnectionError::TransportError(e) if e.code == TransportErrorCode::crypto(alert));
    if alert(ALERT_CERTIFICATE_REQUIRED) {
        HandshakeError::Certificate(CertificateError::NoCertificate)
    } else if alert(ALERT_NO_APPLICATION_PROTOCOL) {
        HandshakeError::WrongProtocol
    } else {
        HandshakeError::Closed(error.into())
    }
}
