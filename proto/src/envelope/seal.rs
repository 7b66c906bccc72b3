//! Sealing and signing: the originator's side.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

use super::{
    Envelope, Header, KeyWrap, NoticeKind, PortionHeader, PortionIndex, Precedence, SealedPortion,
    commitment, portion_aad, wrap_aad,
};
use crate::crypto::{KeyError, SealingPublicKey, Signature, SigningKey, TAG_LEN, context, sha256};
use crate::id::{AgencyId, Derivation, NoticeId, Timestamp};
use crate::label::{Label, LabelError};
use crate::wire::envelope::{PortionKey, check_header, encode_header, encode_portion_keys};
use crate::wire::limits::Limits;
use crate::wire::{WireError, check_count};

/// Bytes of the random salt before a portion's parts.
pub(super) const SALT_LEN: usize = 32;

/// Why a notice cannot be sealed. Nothing was sent or stored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SealError {
    /// The header would not be accepted by any reader.
    #[error("{0}")]
    Header(#[from] WireError),
    /// The portions' labels cannot be joined.
    #[error("the portions' labels are of different policies, or there are no portions")]
    Labels,
    /// The join of the labels is too large, though each of them is not.
    #[error("the overall label is too large: {0}")]
    Label(#[from] LabelError),
    /// A recipient is to receive a portion that does not exist.
    #[error("{recipient} is to receive portion {index}, which does not exist")]
    NoSuchPortion {
        /// The recipient.
        recipient: AgencyId,
        /// The portion asked for.
        index: PortionIndex,
    },
    /// A recipient is to receive nothing.
    #[error("{0} is to receive no portion; leave it out of the recipients or lower a label")]
    NothingFor(AgencyId),
    /// A recipient's sealing key cannot be used.
    #[error("the sealing key of {recipient} cannot be used: {source}")]
    Key {
        /// The recipient.
        recipient: AgencyId,
        /// Why.
        source: KeyError,
    },
    /// The cipher refused (a length beyond AES-GCM's bound).
    #[error("portion {0} is too long to seal")]
    Cipher(PortionIndex),
}

/// What the originator decides about the header; the rest follows from the portions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderDraft {
    /// The notice.
    pub notice_id: NoticeId,
    /// What it is for.
    pub kind: NoticeKind,
    /// Who writes it.
    pub originator: AgencyId,
    /// How fast it is to travel.
    pub precedence: Precedence,
    /// Now.
    pub created_at: Timestamp,
    /// When the broker is to delete it.
    pub expires_at: Timestamp,
    /// Until when an answer is asked for.
    pub respond_by: Option<Timestamp>,
    /// The directory the recipients' keys come from.
    pub directory_version: u64,
    /// The notice this answers.
    pub in_reply_to: Option<NoticeId>,
    /// The notice this takes the place of.
    pub supersedes: Option<NoticeId>,
    /// The notice this takes back.
    pub withdraws: Option<NoticeId>,
    /// The notice this was downgraded from.
    pub derived_from: Option<Derivation>,
}

/// Parts that share one label, encoded.
pub struct PlainPortion {
    /// Their label.
    pub label: Label,
    /// The encoded parts (see [`crate::notice::Portion`]).
    pub parts: Zeroizing<Vec<u8>>,
}

/// One recipient, and which portions it is to be able to open.
pub struct SealFor {
    /// The recipient.
    pub agency: AgencyId,
    /// The sealing key the directory lists for it.
    pub key: SealingPublicKey,
    /// The portions it may access. The caller has made the access decision.
    pub portions: Vec<PortionIndex>,
}

/// A sealed notice whose header has not been signed.
pub struct Sealed {
    header: Header,
    header_bytes: Bytes,
    portions: Vec<SealedPortion>,
    wraps: Vec<KeyWrap>,
}

/// Seals `portions` under fresh keys and wraps, for each recipient, the keys of exactly the portions listed for it.
///
/// # Errors
/// [`SealError`].
pub fn seal(
    draft: HeaderDraft,
    portions: &[PlainPortion],
    recipients: &[SealFor],
    rng: &mut impl CryptoRng,
) -> Result<Sealed, SealError> {
    check_count("header.portions", portions.len(), Limits::DEFAULT.portions_max)?;
    check_count("header.recipients", recipients.len(), Limits::DEFAULT.recipients_max)?;
    let mut keys: Vec<PortionKey> = Vec::with_capacity(portions.len());
    let mut sealed = Vec::with_capacity(portions.len());
    let mut headers = Vec::with_capacity(portions.len());
    for (index, portion) in portions.iter().enumerate() {
        let index = PortionIndex::new(index).ok_or(SealError::Labels)?;
        let (key, one, header) = seal_portion(&draft.notice_id, index, portion, rng)?;
        keys.push(key);
        sealed.push(one);
        headers.push(header);
    }
    let header = complete(draft, headers, recipients)?;
    let header_bytes = encode_header(&header);
    let digest = sha256(&[&header_bytes]);
    let mut wraps = Vec::with_capacity(recipients.len());
    for recipient in recipients {
        let aad = wrap_aad(&digest, &recipient.agency, &recipient.key.key_id());
        wraps.push(wrap(recipient, &keys, &aad, rng)?);
    }
    Ok(Sealed { header, header_bytes, portions: sealed, wraps })
}

impl Sealed {
    /// The header to be signed.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Signs the header.
    #[must_use]
    pub fn sign(self, key: &SigningKey) -> Envelope {
        let signature = key.sign(context::HEADER, &self.header_bytes);
        self.with_signature(signature)
    }

    fn with_signature(self, signature: Signature) -> Envelope {
        Envelope {
            header_digest: sha256(&[&self.header_bytes]),
            header: self.header,
            header_bytes: self.header_bytes,
            signature,
            portions: self.portions,
            wraps: self.wraps,
        }
    }
}

fn complete(
    draft: HeaderDraft,
    portions: Vec<PortionHeader>,
    recipients: &[SealFor],
) -> Result<Header, SealError> {
    let label = Label::join(portions.iter().map(|portion| &portion.label)).ok_or(SealError::Labels)?;
    label.check_sizes()?;
    let header = Header {
        notice_id: draft.notice_id,
        kind: draft.kind,
        originator: draft.originator,
        precedence: draft.precedence,
        created_at: draft.created_at,
        expires_at: draft.expires_at,
        respond_by: draft.respond_by,
        directory_version: draft.directory_version,
        recipients: recipients.iter().map(|recipient| recipient.agency.clone()).collect(),
        label,
        portions,
        in_reply_to: draft.in_reply_to,
        supersedes: draft.supersedes,
        withdraws: draft.withdraws,
        derived_from: draft.derived_from,
    };
    check_header(&header)?;
    Ok(header)
}

fn seal_portion(
    notice_id: &NoticeId,
    index: PortionIndex,
    portion: &PlainPortion,
    rng: &mut impl CryptoRng,
) -> Result<(PortionKey, SealedPortion, PortionHeader), SealError> {
    let mut key = PortionKey::default();
    rng.fill_bytes(key.as_mut());
    let mut salt = [0; SALT_LEN];
    rng.fill_bytes(&mut salt);
    let mut plaintext = Zeroizing::new(Vec::with_capacity(SALT_LEN + portion.parts.len() + TAG_LEN));
    plaintext.extend_from_slice(&salt);
    plaintext.extend_from_slice(&portion.parts);
    let commitment = commitment(&plaintext);

    let refused = |_| SealError::Cipher(index);
    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).map_err(refused)?);
    // The nonce is zero because the key is drawn for this portion and used once.
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let aad = Aad::from(portion_aad(notice_id, index));
    let tag = cipher.seal_in_place_separate_tag(nonce, aad, &mut plaintext).map_err(refused)?;
    plaintext.extend_from_slice(tag.as_ref());
    let ciphertext = Bytes::from(std::mem::take(&mut *plaintext));

    let header = PortionHeader {
        label: portion.label.clone(),
        ciphertext_len: u64::try_from(ciphertext.len()).unwrap_or(u64::MAX),
        ciphertext_sha256: sha256(&[&ciphertext]),
        commitment,
    };
    Ok((key, SealedPortion { index, ciphertext }, header))
}

fn wrap(
    recipient: &SealFor,
    keys: &[PortionKey],
    aad: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<KeyWrap, SealError> {
    if recipient.portions.is_empty() {
        return Err(SealError::NothingFor(recipient.agency.clone()));
    }
    let mut entries = Vec::with_capacity(recipient.portions.len());
    for index in &recipient.portions {
        let missing = || SealError::NoSuchPortion { recipient: recipient.agency.clone(), index: *index };
        entries.push((*index, keys.get(index.get()).ok_or_else(missing)?));
    }
    let plaintext = encode_portion_keys(&entries);
    let sealed = recipient
        .key
        .seal(context::WRAP, aad, &plaintext, rng)
        .map_err(|source| SealError::Key { recipient: recipient.agency.clone(), source })?;
    Ok(KeyWrap {
        recipient: recipient.agency.clone(),
        sealing_key_id: recipient.key.key_id(),
        encapsulated: sealed.encapsulated.into(),
        ciphertext: sealed.ciphertext.into(),
    })
}
