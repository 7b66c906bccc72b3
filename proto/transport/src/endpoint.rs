//! Servers and clients.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{IdleTimeout, TransportConfig, VarInt};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc};
use valise_proto::id::{BrokerName, SpiffeId, Timestamp};

use crate::connection::{CloseReason, Connection};
use crate::credentials::Credentials;
use crate::options::Options;
use crate::verify::{Anchors, CertificateError, Usage, Verifier};

/// The name in the TLS SNI extension. Brokers are known by their SPIFFE ID, so it is the same for all.
const SERVER_NAME: &str = "broker.valise.invalid";
/// Connections that completed their handshake and wait to be accepted.
const ACCEPT_QUEUE_LEN: usize = 64;

/// Why an endpoint cannot be used.
#[derive(Debug, Error)]
pub enum TransportError {
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}; is another process using the port?")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// rustls does not take the credentials.
    #[error("the credentials cannot be used: {0}")]
    Credentials(String),
}

/// Why a broker could not be reached. Trying again, or elsewhere, may help.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("`{endpoint}` cannot be resolved: {problem}")]
    Resolve {
        /// What was asked for.
        endpoint: String,
        /// Why.
        problem: String,
    },
    /// No socket.
    #[error("no UDP socket: {0}")]
    Socket(#[from] io::Error),
    /// Our credentials cannot be used.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The broker's certificate is not accepted.
    #[error("the broker at `{endpoint}` is not accepted: {source}")]
    Certificate {
        /// What was asked for.
        endpoint: String,
        /// Why.
        source: CertificateError,
    },
    /// The handshake did not succeed.
    #[error("no connection to `{endpoint}`: {reason}")]
    Handshake {
        /// What was asked for.
        endpoint: String,
        /// Why.
        reason: CloseReason,
    },
}

#[derive(Debug)]
struct State {
    credentials: Credentials,
    anchors: Arc<Anchors>,
}

/// Who this node is and whom it believes, shared by its servers, clients and connections; both can be swapped while
/// running. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Transport {
    state: Arc<RwLock<State>>,
    options: Arc<Options>,
}

impl Transport {
    /// A transport with these credentials, anchors and options.
    #[must_use]
    pub fn new(credentials: Credentials, anchors: Anchors, options: Options) -> Self {
        let state = State { credentials, anchors: Arc::new(anchors) };
        Self { state: Arc::new(RwLock::new(state)), options: Arc::new(options) }
    }

    /// Takes new credentials for the handshakes that follow. Connections go on.
    pub fn swap_credentials(&self, credentials: Credentials) {
        self.write(|state| state.credentials = credentials);
    }

    /// Takes new anchors for the handshakes that follow and for [`Connection::recheck`]. Connections go on.
    pub fn swap_anchors(&self, anchors: Anchors) {
        self.write(|state| state.anchors = Arc::new(anchors));
    }

    /// The anchors in force.
    #[must_use]
    pub fn anchors(&self) -> Arc<Anchors> {
        self.read(|state| Arc::clone(&state.anchors))
    }

    /// Who this node is.
    #[must_use]
    pub fn identity(&self) -> SpiffeId {
        self.read(|state| state.credentials.identity().clone())
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        // Nothing panics while it holds the lock, so a poisoned one holds a whole state all the same.
        look(&self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    fn server_tls(&self) -> Result<rustls::ServerConfig, TransportError> {
        let (chain, key, anchors) = self.parts();
        let unusable = |error: rustls::Error| TransportError::Credentials(error.to_string());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_client_cert_verifier(Arc::new(Verifier::new(anchors, None)))
            .with_single_cert(chain, key)
            .map_err(unusable)?;
        tls.alpn_protocols = vec![crate::ALPN.to_vec()];
        // No 0-RTT and no resumption: every connection proves both identities anew.
        tls.max_early_data_size = 0;
        tls.send_tls13_tickets = 0;
        tls.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(tls)
    }

    fn server_config(&self) -> Result<quinn::ServerConfig, TransportError> {
        let tls = self.server_tls()?;
        let crypto = QuicServerConfig::try_from(tls).map_err(|e| TransportError::Credentials(e.to_string()))?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(self.quic_config());
        config.max_incoming(self.options.handshakes_max);
        config.incoming_buffer_size(64 * 1024);
        config.incoming_buffer_size_total(16 * 1024 * 1024);
        Ok(config)
    }

    fn client_tls(&self, verifier: Arc<Verifier>) -> Result<rustls::ClientConfig, TransportError> {
        let (chain, key, _) = self.parts();
        let unusable = |error: rustls::Error| TransportError::Credentials(error.to_string());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(chain, key)
            .map_err(unusable)?;
        tls.alpn_protocols = vec![crate::ALPN.to_vec()];
        tls.resumption = rustls::client::Resumption::disabled();
        tls.enable_early_data = false;
        Ok(tls)
    }

    fn client_config(&self, verifier: Arc<Verifier>) -> Result<quinn::ClientConfig, TransportError> {
        let tls = self.client_tls(verifier)?;
        let crypto = QuicClientConfig::try_from(tls).map_err(|e| TransportError::Credentials(e.to_string()))?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(self.quic_config());
        Ok(config)
    }

    fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, Arc<Anchors>) {
        self.read(|state| {
            (state.credentials.chain.clone(), state.credentials.key.clone_key(), Arc::clone(&state.anchors))
        })
    }

    fn quic_config(&self) -> Arc<TransportConfig> {
        let Options { idle_timeout, keep_alive, streams_max, stream_window_bytes, connection_window_bytes, .. } =
            *self.options;
        let mut config = TransportConfig::default();
        let idle_millis = u32::try_from(idle_timeout.as_millis()).unwrap_or(u32::MAX);
        config
            .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle_millis))))
            .keep_alive_interval(Some(keep_alive))
            .max_concurrent_bidi_streams(streams_max.into())
            .max_concurrent_uni_streams(0_u8.into())
            .datagram_receive_buffer_size(None)
            .stream_receive_window(stream_window_bytes.into())
            .receive_window(connection_window_bytes.into())
            .send_window(connection_window_bytes.into());
        Arc::new(config)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The clock certificates are judged by.
pub(crate) fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Accepts connections from agencies.
#[derive(Debug)]
pub struct Server {
    endpoint: quinn::Endpoint,
    accepted: mpsc::Receiver<Connection>,
}

impl Server {
    /// Listens on `addr`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`TransportError`].
    pub fn bind(transport: &Transport, addr: SocketAddr) -> Result<Self, TransportError> {
        let config = transport.server_config()?;
        let endpoint =
            quinn::Endpoint::server(config, addr).map_err(|source| TransportError::Bind { addr, source })?;
        let (sender, accepted) = mpsc::channel(ACCEPT_QUEUE_LEN);
        tokio::spawn(accept_all(endpoint.clone(), transport.clone(), sender));
        Ok(Self { endpoint, accepted })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// The next connection whose handshake succeeded; `None` after [`Server::close`].
    pub async fn accept(&mut self) -> Option<Connection> {
        self.accepted.recv().await
    }

    /// Ends every connection with `code` and `text` and stops listening. Waits until the peers have been told.
    pub async fn close(self, code: u32, text: &str) {
        self.endpoint.close(code.into(), text.as_bytes());
        self.endpoint.wait_idle().await;
    }
}

async fn accept_all(endpoint: quinn::Endpoint, transport: Transport, accepted: mpsc::Sender<Connection>) {
    let handshakes_max = transport.options.handshakes_max.max(1);
    let handshakes = Arc::new(Semaphore::new(handshakes_max));
    while let Some(incoming) = endpoint.accept().await {
        if endpoint.open_connections() > transport.options.connections_max {
            tracing::warn!(remote = %incoming.remote_address(), "connection refused: too many are open");
            incoming.refuse();
            continue;
        }
        // Under load a peer must show that it receives at the address it claims before any state is kept for it.
        if handshakes.available_permits() < handshakes_max.div_ceil(2) && incoming.may_retry() {
            // `may_retry` was asked, so this cannot fail.
            let _ = incoming.retry();
            continue;
        }
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let (transport, accepted) = (transport.clone(), accepted.clone());
        tokio::spawn(async move {
            let remote = incoming.remote_address();
            match handshake(incoming, &transport).await {
                Ok(connection) => {
                    drop(permit);
                    // The receiver is gone only when the server is closing.
                    let _ = accepted.send(connection).await;
                }
                Err(problem) => tracing::info!(%remote, %problem, "handshake failed"),
            }
        });
    }
}

async fn handshake(incoming: quinn::Incoming, transport: &Transport) -> Result<Connection, String> {
    let config = transport.server_config().map_err(|error| error.to_string())?;
    let connecting = incoming.accept_with(Arc::new(config)).map_err(|error| error.to_string())?;
    let connection = tokio::time::timeout(transport.options.handshake_timeout, connecting)
        .await
        .map_err(|_| "it took too long".to_owned())?
        .map_err(|error| error.to_string())?;
    Connection::new(connection, Usage::Client, transport.clone()).map_err(|error| error.to_string())
}

/// Connects to brokers.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
}

impl Client {
    /// A client with the credentials, anchors and options of `transport`.
    #[must_use]
    pub fn new(transport: &Transport) -> Self {
        Self { transport: transport.clone() }
    }

    /// Connects to `endpoint` (`host:port`), trying each of its addresses; where `broker` is given, only to that one.
    ///
    /// # Errors
    /// [`ConnectError`] of the last address tried.
    pub async fn connect(&self, endpoint: &str, broker: Option<&BrokerName>) -> Result<Connection, ConnectError> {
        let unresolved = |problem: String| ConnectError::Resolve { endpoint: endpoint.to_owned(), problem };
        let addrs = tokio::net::lookup_host(endpoint).await.map_err(|error| unresolved(error.to_string()))?;
        let mut last = unresolved("it has no address".to_owned());
        for addr in addrs {
            match self.connect_to(endpoint, addr, broker).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(
        &self,
        endpoint: &str,
        addr: SocketAddr,
        broker: Option<&BrokerName>,
    ) -> Result<Connection, ConnectError> {
        let trust_domain = self.transport.identity().trust_domain;
        let expected = broker.map(|broker| SpiffeId::broker(trust_domain, broker.clone()));
        let verifier = Arc::new(Verifier::new(self.transport.anchors(), expected));
        let config = self.transport.client_config(Arc::clone(&verifier))?;
        let local: IpAddr = if addr.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = quinn::Endpoint::client(SocketAddr::new(local, 0))?;
        let failed = |reason: CloseReason| match verifier.take_refused() {
            Some(source) => ConnectError::Certificate { endpoint: endpoint.to_owned(), source },
            None => ConnectError::Handshake { endpoint: endpoint.to_owned(), reason },
        };
        let connecting = socket
            .connect_with(config, addr, SERVER_NAME)
            .map_err(|error| failed(CloseReason::Lost(error.to_string())))?;
        let connection = tokio::time::timeout(self.transport.options.handshake_timeout, connecting)
            .await
            .map_err(|_| failed(CloseReason::Idle))?
            .map_err(|error| failed(error.into()))?;
        Connection::new(connection, Usage::Server, self.transport.clone())
            .map_err(|source| ConnectError::Certificate { endpoint: endpoint.to_owned(), source })
    }
}
