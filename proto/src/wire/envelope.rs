//! Envelopes on the wire.

use std::collections::BTreeSet;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::convert::{
    kind_from_pb, kind_to_pb, label_from_pb, label_to_pb, notice_id_from_pb, notice_id_to_pb, parse,
    precedence_from_pb, precedence_to_pb, required, time_from_pb,
};
use super::limits::Limits;
use super::scan::{self, Bound};
use super::{WireError, check_count, decode_body, decode_strict, pb, signature_from_pb, signature_to_pb};
use crate::crypto::Signature;
use crate::envelope::{Header, KeyWrap, PortionHeader, PortionIndex, SealedPortion};
use crate::id::{Derivation, Digest, KeyId, NoticeId, Timestamp};
use crate::label::Label;

/// The pieces of an envelope, as they travel.
pub(crate) struct Pieces {
    pub(crate) header: Bytes,
    pub(crate) signature: Signature,
    pub(crate) portions: Vec<SealedPortion>,
    pub(crate) wraps: Vec<KeyWrap>,
}

pub(crate) fn encode(pieces: &Pieces) -> Bytes {
    super::encode(&to_pb(pieces))
}

pub(super) fn to_pb(pieces: &Pieces) -> pb::Envelope {
    let portion = |portion: &SealedPortion| pb::SealedPortion {
        index: portion.index.number(),
        ciphertext: portion.ciphertext.clone(),
    };
    let wrap = |wrap: &KeyWrap| pb::KeyWrap {
        recipient: wrap.recipient.to_string(),
        sealing_key_id: Bytes::copy_from_slice(wrap.sealing_key_id.as_bytes()),
        encapsulated: wrap.encapsulated.clone(),
        ciphertext: wrap.ciphertext.clone(),
    };
    pb::Envelope {
        header: pieces.header.clone(),
        signature: Some(signature_to_pb(&pieces.signature)),
        portions: pieces.portions.iter().map(portion).collect(),
        wraps: pieces.wraps.iter().map(wrap).collect(),
    }
}

/// Reads the pieces. Ciphertexts share memory with `bytes`: nothing large is copied.
pub(crate) fn decode(bytes: Bytes, limits: &Limits) -> Result<Pieces, WireError> {
    check_count("envelope", bytes.len(), limits.envelope_bytes_max)?;
    scan::check(&bytes, &lists(limits))?;
    from_pb(decode_strict("envelope", bytes)?)
}

/// Portions and wraps, which are counted before memory is taken for them.
pub(super) fn lists(limits: &Limits) -> [Bound; 2] {
    [
        Bound { tag: 3, field: "envelope.portions", max: limits.portions_max },
        Bound { tag: 4, field: "envelope.wraps", max: limits.recipients_max },
    ]
}

/// Its [`lists`] must have been counted.
pub(super) fn from_pb(message: pb::Envelope) -> Result<Pieces, WireError> {
    Ok(Pieces {
        header: message.header,
        signature: signature_from_pb(message.signature)?,
        portions: message.portions.into_iter().map(portion_from_pb).collect::<Result<_, _>>()?,
        wraps: message.wraps.into_iter().map(wrap_from_pb).collect::<Result<_, _>>()?,
    })
}

fn portion_from_pb(message: pb::SealedPortion) -> Result<SealedPortion, WireError> {
    Ok(SealedPortion { index: index("portion.index", message.index)?, ciphertext: message.ciphertext })
}

fn wrap_from_pb(message: pb::KeyWrap) -> Result<KeyWrap, WireError> {
    Ok(KeyWrap {
        recipient: parse("wrap.recipient", &message.recipient)?,
        sealing_key_id: KeyId::from_bytes(&message.sealing_key_id)
            .map_err(|error| WireError::field("wrap.sealing_key_id", error))?,
        encapsulated: message.encapsulated,
        ciphertext: message.ciphertext,
    })
}

pub(super) fn index(field: &'static str, number: u32) -> Result<PortionIndex, WireError> {
    let index = usize::try_from(number).ok().and_then(PortionIndex::new);
    index.ok_or_else(|| WireError::field(field, format!("{number} is beyond every limit")))
}

pub(crate) fn encode_header(header: &Header) -> Bytes {
    let portion = |portion: &PortionHeader| pb::PortionHeader {
        label: Some(label_to_pb(&portion.label)),
        ciphertext_len: portion.ciphertext_len,
        ciphertext_sha256: Bytes::copy_from_slice(portion.ciphertext_sha256.as_bytes()),
        commitment: Bytes::copy_from_slice(portion.commitment.as_bytes()),
    };
    super::encode(&pb::Header {
        version: 1,
        notice_id: notice_id_to_pb(Some(&header.notice_id)),
        kind: kind_to_pb(header.kind),
        originator: header.originator.to_string(),
        precedence: precedence_to_pb(header.precedence),
        created_at_ms: header.created_at.millis(),
        expires_at_ms: header.expires_at.millis(),
        respond_by_ms: header.respond_by.map_or(0, Timestamp::millis),
        directory_version: header.directory_version,
        recipients: header.recipients.iter().map(ToString::to_string).collect(),
        label: Some(label_to_pb(&header.label)),
        portions: header.portions.iter().map(portion).collect(),
        in_reply_to: notice_id_to_pb(header.in_reply_to.as_ref()),
        supersedes: notice_id_to_pb(header.supersedes.as_ref()),
        withdraws: notice_id_to_pb(header.withdraws.as_ref()),
        derived_from: header
            .derived_from
            .map(|handle| Bytes::copy_from_slice(handle.as_bytes()))
            .unwrap_or_default(),
    })
}

/// Reads a header and checks everything that needs no directory and no clock.
pub(crate) fn decode_header(bytes: Bytes, limits: &Limits) -> Result<Header, WireError> {
    let bounds = [
        Bound { tag: 10, field: "header.recipients", max: limits.recipients_max },
        Bound { tag: 12, field: "header.portions", max: limits.portions_max },
    ];
    let message: pb::Header = decode_body("header", bytes, &bounds)?;
    let header = Header {
        notice_id: required("header.notice_id", optional_id("header.notice_id", &message.notice_id)?)?,
        kind: kind_from_pb(message.kind)?,
        originator: parse("header.originator", &message.originator)?,
        precedence: precedence_from_pb(message.precedence)?,
        created_at: time_from_pb("header.created_at_ms", message.created_at_ms)?,
        expires_at: time_from_pb("header.expires_at_ms", message.expires_at_ms)?,
        respond_by: (message.respond_by_ms > 0)
            .then(|| time_from_pb("header.respond_by_ms", message.respond_by_ms))
            .transpose()?,
        directory_version: message.directory_version,
        recipients: message
            .recipients
            .iter()
            .map(|recipient| parse("header.recipients", recipient))
            .collect::<Result<_, _>>()?,
        label: label_from_pb("header.label", message.label)?,
        portions: message.portions.into_iter().map(portion_header_from_pb).collect::<Result<_, _>>()?,
        in_reply_to: optional_id("header.in_reply_to", &message.in_reply_to)?,
        supersedes: optional_id("header.supersedes", &message.supersedes)?,
        withdraws: optional_id("header.withdraws", &message.withdraws)?,
        derived_from: derivation_from_pb(&message.derived_from)?,
    };
    check_header(&header)?;
    Ok(header)
}

fn optional_id(field: &'static str, bytes: &[u8]) -> Result<Option<NoticeId>, WireError> {
    notice_id_from_pb(field, bytes)
}

fn derivation_from_pb(bytes: &[u8]) -> Result<Option<Derivation>, WireError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let handle = Derivation::from_bytes(bytes);
    handle.map(Some).map_err(|error| WireError::field("header.derived_from", error))
}

fn portion_header_from_pb(message: pb::PortionHeader) -> Result<PortionHeader, WireError> {
    let digest =
        |field, bytes: &Bytes| Digest::from_bytes(bytes).map_err(|error| WireError::field(field, error));
    Ok(PortionHeader {
        label: label_from_pb("header.portions.label", message.label)?,
        ciphertext_len: message.ciphertext_len,
        ciphertext_sha256: digest("header.portions.ciphertext_sha256", &message.ciphertext_sha256)?,
        commitment: digest("header.portions.commitment", &message.commitment)?,
    })
}

/// What both the sealer and every reader of a header hold it to.
pub(crate) fn check_header(header: &Header) -> Result<(), WireError> {
    if header.portions.is_empty() {
        return Err(WireError::field("header.portions", "a notice has at least one portion"));
    }
    if header.recipients.is_empty() {
        return Err(WireError::field("header.recipients", "a notice has at least one recipient"));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = header.recipients.iter().find(|recipient| !seen.insert(*recipient)) {
        return Err(WireError::field("header.recipients", format!("{twice} stands there twice")));
    }
    if seen.contains(&header.originator) {
        return Err(WireError::field(
            "header.recipients",
            "the originator is not a recipient of its own notice",
        ));
    }
    if header.expires_at <= header.created_at {
        return Err(WireError::field("header.expires_at_ms", "must be after created_at_ms"));
    }
    let whole = Label::join(header.portions.iter().map(|portion| &portion.label));
    if whole.as_ref() != Some(&header.label) {
        return Err(WireError::field(
            "header.label",
            "is not the join of the portions' labels under one policy",
        ));
    }
    Ok(())
}

/// A portion's key; wiped when dropped.
pub(crate) type PortionKey = Zeroizing<[u8; 32]>;

/// Bytes of one entry in the plaintext of a key wrap: the portion's index and its key.
const PORTION_KEY_ENTRY_LEN: usize = 1 + 32;

/// The plaintext of a key wrap. It is not protobuf, so that every buffer a key passes through can be wiped.
pub(crate) fn encode_portion_keys(keys: &[(PortionIndex, &PortionKey)]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(keys.len() * PORTION_KEY_ENTRY_LEN));
    for (index, key) in keys {
        out.push(index.byte());
        out.extend_from_slice(key.as_ref());
    }
    out
}

pub(crate) fn decode_portion_keys(
    plaintext: &[u8],
    limits: &Limits,
) -> Result<Vec<(PortionIndex, PortionKey)>, WireError> {
    check_count("wrap.keys", plaintext.len(), limits.portions_max * PORTION_KEY_ENTRY_LEN)?;
    let (entries, rest) = plaintext.as_chunks::<PORTION_KEY_ENTRY_LEN>();
    if !rest.is_empty() {
        return Err(WireError::field("wrap.keys", "not a whole number of entries"));
    }
    let read = |entry: &[u8; PORTION_KEY_ENTRY_LEN]| {
        let [index, key @ ..] = entry;
        (PortionIndex::from_byte(*index), Zeroizing::new(*key))
    };
    Ok(entries.iter().map(read).collect())
}
