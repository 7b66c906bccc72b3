//! The wire: frames, limits and the conversions between domain types and protobuf.
//!
//! The generated types are private to this module. Everything else in the project sees domain types only.
//!
//! Signed bodies are read strictly: what was decoded, encoded again, must be the very bytes that came. A field this
//! version does not know, or an encoding that is not the one there is, is refused (G12). Whoever adds a field raises the
//! version, which is looked at before anything else.

mod convert;
pub(crate) mod delegation;
pub(crate) mod directory;
pub(crate) mod enrolment;
pub(crate) mod envelope;
pub mod frame;
pub mod limits;
pub(crate) mod notice;
mod query;
pub(crate) mod receipt;
pub(crate) mod renewal;
mod scan;
pub mod session;

use bytes::Bytes;
use prost::Message;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::crypto::{BadSignature, Signature, SigningKey, VerifyingKey};
use crate::id::KeyId;

/// The generated messages.
#[allow(
    clippy::all,
    missing_docs,
    unreachable_pub,
    clippy::wildcard_enum_match_arm,
    clippy::indexing_slicing
)]
mod pb {
    include!(concat!(env!("OUT_DIR"), "/valise.v1.rs"));
}

/// Why bytes are not the message they should be. The writer's fault; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// Not protobuf, or a field of the wrong type.
    #[error("{what} cannot be decoded: {problem}")]
    Protobuf {
        /// The message.
        what: &'static str,
        /// What the decoder says.
        problem: String,
    },
    /// A field that is missing or whose value is not allowed.
    #[error("{field}: {problem}")]
    Field {
        /// The field, as the .proto files name it.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A version this code does not speak.
    #[error("{what} is of version {got}; this node speaks version {expected}")]
    Version {
        /// The message.
        what: &'static str,
        /// The version spoken here.
        expected: u32,
        /// The version that came.
        got: u32,
    },
    /// Fields this version does not know, or another encoding than the canonical one.
    #[error(
        "{what} holds something that version 1 does not know, or is not in its canonical encoding; a newer peer must raise the version"
    )]
    Unknown {
        /// The message.
        what: &'static str,
    },
    /// More or longer than allowed.
    #[error("{field}: {got} is more than the {max} allowed")]
    TooMany {
        /// The field.
        field: &'static str,
        /// What came.
        got: usize,
        /// What is allowed.
        max: usize,
    },
}

impl WireError {
    /// A field whose value is not allowed.
    pub(crate) fn field(field: &'static str, problem: impl std::fmt::Display) -> Self {
        Self::Field { field, problem: problem.to_string() }
    }
}

/// The field of a signed body that holds its version.
const VERSION_TAG: u32 = 1;

/// Decodes a signed body: first its version, then how much it holds, then whether it is all known here and canonical.
fn decode_body<M: Message + Default>(
    what: &'static str,
    bytes: Bytes,
    bounds: &[scan::Bound],
) -> Result<M, WireError> {
    check_body_version(what, &bytes)?;
    scan::check(&bytes, bounds)?;
    let message = decode::<M>(what, bytes.clone())?;
    let canonical = Zeroizing::new(message.encode_to_vec());
    if canonical.as_slice() == bytes { Ok(message) } else { Err(WireError::Unknown { what }) }
}

/// Checks the version of a signed body, before anything else of it is looked at.
fn check_body_version(what: &'static str, bytes: &[u8]) -> Result<(), WireError> {
    check_version(what, u32::try_from(scan::number(bytes, VERSION_TAG)).unwrap_or(u32::MAX))
}

/// Decodes a message that must hold nothing this version does not know. It has no list of numbers, which could be
/// encoded longer or shorter, so its length tells.
fn decode_strict<M: Message + Default>(what: &'static str, bytes: Bytes) -> Result<M, WireError> {
    let len = bytes.len();
    let message = decode::<M>(what, bytes)?;
    if message.encoded_len() == len { Ok(message) } else { Err(WireError::Unknown { what }) }
}

/// Decodes a message whose unknown fields do not matter.
fn decode<M: Message + Default>(what: &'static str, bytes: Bytes) -> Result<M, WireError> {
    M::decode(bytes).map_err(|error| WireError::Protobuf { what, problem: error.to_string() })
}

fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn check_version(what: &'static str, got: u32) -> Result<(), WireError> {
    const EXPECTED: u32 = 1;
    if got == EXPECTED { Ok(()) } else { Err(WireError::Version { what, expected: EXPECTED, got }) }
}

pub(crate) fn check_count(field: &'static str, got: usize, max: usize) -> Result<(), WireError> {
    if got > max { Err(WireError::TooMany { field, got, max }) } else { Ok(()) }
}

/// A body and the signature over it. The body is kept as it came: it is never re-encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The exact bytes that were signed.
    pub body: Bytes,
    /// The signature over them.
    pub signature: Signature,
}

impl Signed {
    /// Signs `body` as a payload of `payload_type` (see [`crate::crypto::context`]).
    #[must_use]
    pub fn sign(payload_type: &str, body: Bytes, key: &SigningKey) -> Self {
        let signature = key.sign(payload_type, &body);
        Self { body, signature }
    }

    /// Checks the signature under `key`.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify(&self, payload_type: &str, key: &VerifyingKey) -> Result<(), BadSignature> {
        key.verify(payload_type, &self.body, &self.signature)
    }

    /// The protobuf message `Signed`.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(&self.to_pb())
    }

    /// Reads the protobuf message `Signed`. The signature is not checked here.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        Self::from_pb(decode_strict("Signed", bytes)?)
    }

    fn to_pb(&self) -> pb::Signed {
        pb::Signed { body: self.body.clone(), signature: Some(signature_to_pb(&self.signature)) }
    }

    fn from_pb(message: pb::Signed) -> Result<Self, WireError> {
        Ok(Self { body: message.body, signature: signature_from_pb(message.signature)? })
    }
}

fn signature_to_pb(signature: &Signature) -> pb::Signature {
    pb::Signature {
        key_id: Bytes::copy_from_slice(signature.key_id.as_bytes()),
        value: Bytes::copy_from_slice(&signature.value),
    }
}

fn signature_from_pb(message: Option<pb::Signature>) -> Result<Signature, WireError> {
    let message = message.ok_or_else(|| WireError::field("signature", "missing"))?;
    let key_id = KeyId::from_bytes(&message.key_id).map_err(|e| WireError::field("signature.key_id", e))?;
    let value = message.value.as_ref().try_into();
    let value =
        value.map_err(|_| WireError::field("signature.value", "an Ed25519 signature has 64 bytes"))?;
    Ok(Signature { key_id, value })
}

/// # Errors
/// [`WireError::TooMany`] for an encoded directory above the limit.
pub(crate) fn check_directory_len(len: usize) -> Result<(), WireError> {
    check_count("directory", len, limits::DIRECTORY_BYTES_MAX)
}
