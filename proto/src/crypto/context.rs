//! DSSE payload types and other context strings, each used for one thing only.

/// Signature over an envelope's header.
pub const HEADER: &str = "application/vnd.valise.header.v1+protobuf";
/// Signature over a receipt.
pub const RECEIPT: &str = "application/vnd.valise.receipt.v1+protobuf";
/// Signature over a directory.
pub const DIRECTORY: &str = "application/vnd.valise.directory.v1+protobuf";
/// Signature over a delegation.
pub const DELEGATION: &str = "application/vnd.valise.delegation.v1+protobuf";
/// Signature over an enrolment request.
pub const ENROLMENT_REQUEST: &str = "application/vnd.valise.enrolment-request.v1+protobuf";
/// Signature over an enrolment bundle.
pub const ENROLMENT_BUNDLE: &str = "application/vnd.valise.enrolment-bundle.v1+protobuf";
/// Signature over a renewal request under the agency's signing key of now.
pub const RENEWAL_REQUEST: &str = "application/vnd.valise.renewal-request.v1+protobuf";
/// Signature over a renewal request under the signing key it brings.
pub const RENEWAL_POSSESSION: &str = "application/vnd.valise.renewal-possession.v1+protobuf";
/// Signature over what an authority's folder keeps.
pub const AUTHORITY_STATE: &str = "application/vnd.valise.authority-state.v1+json";
/// Signature over what a root's folder keeps.
pub const ROOT_STATE: &str = "application/vnd.valise.root-state.v1+json";
/// Prefix of the digest of one entry of an authority's journal.
pub const JOURNAL: &str = "valise/v1/journal";
/// Prefix of the digest over a backup of an authority.
pub const BACKUP: &str = "valise/v1/authority-backup";
/// Associated data of a sealed portion.
pub const PORTION: &str = "valise/v1/portion";
/// Prefix of a portion's commitment.
pub const COMMITMENT: &str = "valise/v1/commitment";
/// HPKE `info` of a key wrap.
pub const WRAP: &str = "valise/v1/wrap";
/// HPKE `info` of an enrolment challenge.
pub const CHALLENGE: &str = "valise/v1/enrolment-challenge";
/// Prefix of the digest from which a broker's QUIC stateless reset key follows.
pub const STATELESS_RESET: &str = "valise/v1/stateless-reset";
/// Prefix of the digest that names a signing key.
pub const SIGNING_KEY_ID: &str = "valise/v1/key-id/ed25519";
/// Prefix of the digest that names a sealing key.
pub const SEALING_KEY_ID: &str = "valise/v1/key-id/x-wing";
