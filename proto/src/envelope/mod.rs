//! The envelope: a signed header, sealed portions, and their keys wrapped for each recipient.
//!
//! Claimed, against the broker and everyone on the way: nobody without a recipient's sealing key reads a portion
//! (G2), nobody without the originator's signing key makes or alters an envelope (G1), and a recipient that is given
//! a part of the portions still verifies the whole. It holds because the signature is over the header's bytes as
//! they travel; the header commits to every ciphertext and, by a salted commitment, to every plaintext; each wrap is
//! bound to this header, this recipient and this key; and each portion has a key of its own, used once.
//!
//! The steps are types: [`seal`] gives a [`Sealed`], [`Sealed::sign`] an [`Envelope`], and only
//! [`Envelope::verify_submitted`] or [`Envelope::verify_delivered`] a [`VerifiedEnvelope`].

mod header;
mod kind;
mod open;
mod seal;
mod verify;

use bytes::Bytes;

pub use header::{Header, PortionHeader, PortionIndex};
pub use kind::{NoticeKind, Precedence, UnknownWord};
pub use open::{OpenError, OpenedPortion, verify_disclosure};
pub use seal::{HeaderDraft, PlainPortion, SealError, SealFor, Sealed, seal};
pub use verify::VerifiedEnvelope;

use crate::crypto::{Signature, context, pae, sha256};
use crate::id::{AgencyId, Digest, KeyId, NoticeId};
use crate::wire::envelope::Pieces;
use crate::wire::limits::Limits;
use crate::wire::{self, WireError};

/// One portion's ciphertext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedPortion {
    /// Its place in the header.
    pub index: PortionIndex,
    /// AES-256-GCM of `salt || parts`, tag last.
    pub ciphertext: Bytes,
}

/// The keys of the portions that one recipient may access, wrapped to its sealing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyWrap {
    /// For whom.
    pub recipient: AgencyId,
    /// To which of its keys.
    pub sealing_key_id: KeyId,
    /// HPKE `enc`.
    pub encapsulated: Bytes,
    /// HPKE ciphertext.
    pub ciphertext: Bytes,
}

/// An envelope whose header could be read and whose sizes are within limits. Its signature has not been checked.
#[derive(Clone, Debug)]
pub struct Envelope {
    header: Header,
    header_bytes: Bytes,
    header_digest: Digest,
    signature: Signature,
    portions: Vec<SealedPortion>,
    wraps: Vec<KeyWrap>,
}

impl Envelope {
    /// Reads an encoded envelope. Ciphertexts share memory with `bytes`.
    ///
    /// # Errors
    /// [`WireError`], naming the field, what came and what is allowed.
    pub fn decode(bytes: Bytes, limits: &Limits) -> Result<Self, WireError> {
        Self::from_pieces(wire::envelope::decode(bytes, limits)?, limits)
    }

    pub(crate) fn from_pieces(pieces: Pieces, limits: &Limits) -> Result<Self, WireError> {
        let Pieces { header: header_bytes, signature, portions, wraps } = pieces;
        let header = wire::envelope::decode_header(header_bytes.clone(), limits)?;
        let header_digest = sha256(&[&header_bytes]);
        Ok(Self { header, header_bytes, header_digest, signature, portions, wraps })
    }

    /// The encoded envelope.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        wire::envelope::encode(&self.to_pieces())
    }

    pub(crate) fn to_pieces(&self) -> Pieces {
        Pieces {
            header: self.header_bytes.clone(),
            signature: self.signature,
            portions: self.portions.clone(),
            wraps: self.wraps.clone(),
        }
    }

    /// The header, as read.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The header's bytes, as signed.
    #[must_use]
    pub fn header_bytes(&self) -> &Bytes {
        &self.header_bytes
    }

    /// SHA-256 of the header's bytes.
    #[must_use]
    pub fn header_digest(&self) -> Digest {
        self.header_digest
    }

    /// The originator's signature over the header's bytes.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The ciphertexts that are here.
    #[must_use]
    pub fn portions(&self) -> &[SealedPortion] {
        &self.portions
    }

    /// The key wraps that are here.
    #[must_use]
    pub fn wraps(&self) -> &[KeyWrap] {
        &self.wraps
    }

    /// The header and signature alone, which is what is left as evidence when the content is purged.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self { portions: Vec::new(), wraps: Vec::new(), ..self.clone() }
    }

    /// What is handed on to `recipient`: the header and signature as they are, of the portions those `permitted`, of
    /// the wraps the recipient's own.
    #[must_use]
    pub fn for_recipient(&self, recipient: &AgencyId, permitted: &[PortionIndex]) -> Self {
        let portions =
            self.portions.iter().filter(|portion| permitted.contains(&portion.index)).cloned().collect();
        let wraps = self.wraps.iter().filter(|wrap| wrap.recipient == *recipient).cloned().collect();
        Self { portions, wraps, ..self.clone() }
    }
}

/// Associated data of a sealed portion: it opens in this notice, at this place, only.
fn portion_aad(notice_id: &NoticeId, index: PortionIndex) -> Vec<u8> {
    let mut place = notice_id.as_bytes().to_vec();
    place.extend_from_slice(&index.number().to_be_bytes());
    pae(context::PORTION, &place)
}

/// Associated data of a key wrap: it opens under this header, for this recipient and key, only.
fn wrap_aad(header_digest: &Digest, recipient: &AgencyId, sealing_key_id: &KeyId) -> Vec<u8> {
    [header_digest.as_bytes().as_slice(), recipient.as_str().as_bytes(), sealing_key_id.as_bytes()].concat()
}

/// What the header commits to for one portion's plaintext (`salt || parts`).
fn commitment(plaintext: &[u8]) -> Digest {
    sha256(&[context::COMMITMENT.as_bytes(), plaintext])
}
