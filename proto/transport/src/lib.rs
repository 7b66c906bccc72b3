//! Mutual TLS over QUIC between agencies and brokers.
//!
//! The only crate that names quinn and rustls. It knows identities, certificates and frames of bytes; what the bytes
//! mean is for others. Every connection it hands out has a peer whose certificate was verified.
//!
//! * [`Credentials`]: who this node is. [`Anchors`]: whom it believes. [`Transport`] holds both and swaps them while
//!   running.
//! * [`Server`] and [`Client`] make [`Connection`]s; those carry [`FrameSender`] and [`FrameReceiver`] pairs.

mod connection;
mod credentials;
mod endpoint;
mod frames;
mod options;
mod verify;

pub use connection::{CloseReason, Connection};
pub use credentials::{Credentials, CredentialsError};
pub use endpoint::{Client, ConnectError, Server, Transport, TransportError};
pub use frames::{FrameReceiver, FrameSender, ReceiveError, SendError};
pub use options::Options;
pub use verify::{Anchors, AnchorsError, CertificateError, Revocation, Usage};

/// The application protocol of the TLS handshake (RFC 7301).
pub const ALPN: &[u8] = b"valise/1";
