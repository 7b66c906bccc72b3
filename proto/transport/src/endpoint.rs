//! What every connection is made from, and the side that connects.
//!
//! Claimed, against anyone between the two ends or at the other: a connection is TLS 1.3 with `valise/1` agreed and
//! both certificates verified, by what was in force when its handshake began or newer; it reuses nothing of an earlier
//! one (no 0-RTT, no tickets), so a revoked peer cannot resume and nothing can be replayed. It holds because every
//! handshake is configured afresh by the one `server_tls` or `client_tls`, which take nothing from outside but
//! credentials and anchors, and because [`TransportConfig`] bounds what a peer may send before it is read.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{IdleTimeout, TransportConfig, VarInt};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use thiserror::Error;
use valise_proto::id::{BrokerName, SpiffeId, Timestamp};

use crate::connection::{CloseReason, Connection};
use crate::credentials::{Credentials, RestartKeys};
use crate::error::CertificateError;
use crate::options::Options;
use crate::verifier::Verifier;
use crate::verify::{Anchors, Usage};

/// The name in the TLS SNI extension. Brokers are known by their SPIFFE ID, so it is the same for all.
const SERVER_NAME: &str = "broker.valise.invalid";
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// Bytes kept for one connection attempt, and for all, before it is taken up or refused.
const INCOMING_BYTES_MAX: u64 = 64 * 1024;
const INCOMING_BYTES_TOTAL_MAX: u64 = 16 * 1024 * 1024;

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

    pub(crate) fn restart_keys(&self) -> RestartKeys {
        self.read(|state| state.credentials.restart.clone())
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        // Nothing panics while it holds the lock, so a poisoned one holds a whole state all the same.
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// One copy of the key for as long as the credentials are in force: handshakes share it.
    fn resolver(&self) -> Arc<SingleCertAndKey> {
        self.read(|state| Arc::new(SingleCertAndKey::from(Arc::clone(&state.credentials.certified))))
    }

    fn server_tls(&self, verifier: Arc<Verifier>) -> Result<rustls::ServerConfig, TransportError> {
        let unusable = |error: rustls::Error| TransportError::Credentials(error.to_string());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(self.resolver());
        tls.alpn_protocols = vec![crate::ALPN.to_vec()];
        // No 0-RTT and no resumption: every connection proves both identities anew.
        tls.max_early_data_size = 0;
        tls.send_tls13_tickets = 0;
        tls.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(tls)
    }

    /// For one handshake, or for as many as need no reason of a refusal.
    pub(crate) fn server_config(
        &self,
        verifier: Arc<Verifier>,
    ) -> Result<quinn::ServerConfig, TransportError> {
        let tls = self.server_tls(verifier)?;
        let crypto =
            QuicServerConfig::try_from(tls).map_err(|e| TransportError::Credentials(e.to_string()))?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(self.quic_config());
        config.max_incoming(self.options.handshakes_max.max(1));
        config.incoming_buffer_size(INCOMING_BYTES_MAX);
        config.incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX);
        Ok(config)
    }

    fn client_tls(&self, verifier: Arc<Verifier>) -> Result<rustls::ClientConfig, TransportError> {
        let unusable = |error: rustls::Error| TransportError::Credentials(error.to_string());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(self.resolver());
        tls.alpn_protocols = vec![crate::ALPN.to_vec()];
        tls.resumption = rustls::client::Resumption::disabled();
        tls.enable_early_data = false;
        Ok(tls)
    }

    fn client_config(&self, verifier: Arc<Verifier>) -> Result<quinn::ClientConfig, TransportError> {
        let tls = self.client_tls(verifier)?;
        let crypto =
            QuicClientConfig::try_from(tls).map_err(|e| TransportError::Credentials(e.to_string()))?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(self.quic_config());
        Ok(config)
    }

    fn quic_config(&self) -> Arc<TransportConfig> {
        let Options {
            idle_timeout,
            keep_alive,
            streams_max,
            stream_window_bytes,
            connection_window_bytes,
            ..
        } = *self.options;
        let mut config = TransportConfig::default();
        // To QUIC, 0 would mean without end.
        let idle_millis = u32::try_from(idle_timeout.as_millis()).unwrap_or(u32::MAX).max(1);
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

    /// Connects to `endpoint` (`host:port`), trying its addresses one after the other, at most eight; where `broker` is
    /// given, only to that one. The handshake timeout counts for the name and for each address.
    ///
    /// In TLS 1.3 the connecting side is done first: a broker that refuses this node's certificate says so only after
    /// this has returned, by ending the connection with [`CloseReason::Refused`].
    ///
    /// # Errors
    /// [`ConnectError`] of the last address tried.
    pub async fn connect(
        &self,
        endpoint: &str,
        broker: Option<&BrokerName>,
    ) -> Result<Connection, ConnectError> {
        let unresolved = |problem: String| ConnectError::Resolve { endpoint: endpoint.to_owned(), problem };
        let looked_up =
            tokio::time::timeout(self.transport.options.handshake_timeout, tokio::net::lookup_host(endpoint));
        let addrs =
            looked_up.await.map_err(|_| unresolved("the resolver did not answer in time".to_owned()))?;
        let addrs = addrs.map_err(|error| unresolved(error.to_string()))?;
        let mut last = unresolved("it has no address".to_owned());
        for addr in addrs.take(ADDRESSES_MAX) {
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
        let anchors = self.transport.anchors();
        let verifier = Arc::new(Verifier::new(Arc::clone(&anchors), expected));
        let config = self.transport.client_config(Arc::clone(&verifier))?;
        let local: IpAddr =
            if addr.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
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
            .and_then(|connection| connection.unless_refused_since(&anchors))
            .map_err(|source| ConnectError::Certificate { endpoint: endpoint.to_owned(), source })
    }
}
