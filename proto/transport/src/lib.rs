//! Mutual TLS over QUIC between agencies and brokers.
//!
//! The only crate that names quinn and rustls. It knows identities, certificates and frames of bytes; what the bytes
//! mean is for others. Every connection it hands out has a peer whose certificate was verified.
//!
//! * [`Credentials`]: who this node is. [`Anchors`]: whom it believes. [`Transport`] holds both and swaps them while
//!   running.
//! * [`Server`] and [`Client`] make [`Connection`]s; those carry [`FrameSender`] and [`FrameReceiver`] pairs.
//! * [`Server::refusals`] tells which handshakes were refused and why, for whoever records them.
//!
//! A broker echoes the frames of an agency:
//!
//! ```no_run
//! use valise_transport::{Anchors, Client, Credentials, Options, Server, Transport};
//!
//! const FRAME_BYTES_MAX: usize = 64 * 1024;
//!
//! # async fn example(
//! #     broker_pem: (&[u8], &[u8]), agency_pem: (&[u8], &[u8]), roots: &[Vec<u8>], crls: &[Vec<u8>],
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! let domain = || "exchange.example".parse();
//! let (chain, key) = broker_pem;
//! let anchors = Anchors::new(domain()?, roots, crls)?;
//! let broker = Transport::new(Credentials::from_pem(chain, key)?, anchors, Options::default());
//! let mut server = Server::bind(&broker, "[::]:4433".parse()?)?;
//! tokio::spawn(async move {
//!     while let Some(connection) = server.accept().await {
//!         println!("{} is here", connection.peer());
//!         while let Ok((mut sender, mut receiver)) = connection.accept(FRAME_BYTES_MAX).await {
//!             while let Ok(Some(frame)) = receiver.next().await {
//!                 if sender.send(frame).await.is_err() {
//!                     break;
//!                 }
//!             }
//!         }
//!     }
//! });
//!
//! let (chain, key) = agency_pem;
//! let anchors = Anchors::new(domain()?, roots, crls)?;
//! let agency = Transport::new(Credentials::from_pem(chain, key)?, anchors, Options::default());
//! let connection = Client::new(&agency).connect("broker.example:4433", Some(&"b1".parse()?)).await?;
//! let (mut sender, mut receiver) = connection.open(FRAME_BYTES_MAX, 0).await?;
//! sender.send("hello"[..].into()).await?;
//! assert_eq!(receiver.next().await?.as_deref(), Some(&b"hello"[..]));
//!
//! // Newer revocation lists: handshakes follow them at once, open connections when they are checked again.
//! agency.swap_anchors(Anchors::new(domain()?, roots, crls)?);
//! if let Err(reason) = connection.recheck() {
//!     connection.close(7, &reason.to_string());
//! }
//! # Ok(())
//! # }
//! ```

mod connection;
mod credentials;
mod endpoint;
mod error;
mod frames;
mod lists;
mod options;
mod server;
mod verifier;
mod verify;

pub use connection::{CloseReason, Connection};
pub use credentials::{Credentials, CredentialsError};
pub use endpoint::{Client, ConnectError, Transport, TransportError};
pub use error::{AnchorsError, CertificateError, Rejection};
pub use frames::{FrameReceiver, FrameSender, ReceiveError, SendError};
pub use lists::Revocation;
pub use options::Options;
pub use server::{HandshakeError, Refusals, RefusedHandshake, Server};
pub use verify::{Anchors, Usage};

/// The application protocol of the TLS handshake (RFC 7301).
pub const ALPN: &[u8] = b"valise/1";
