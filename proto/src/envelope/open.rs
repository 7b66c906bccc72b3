//! Opening: the recipient's side, and a third party's check of one disclosed portion.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use thiserror::Error;
use zeroize::Zeroizing;

use super::seal::SALT_LEN;
use super::{
    Header, KeyWrap, PortionIndex, SealedPortion, VerifiedEnvelope, commitment, portion_aad, wrap_aad,
};
use crate::crypto::{Sealed, SealingKey, TAG_LEN, context};
use crate::id::{AgencyId, KeyId};
use crate::label::Label;
use crate::wire::WireError;
use crate::wire::envelope::{PortionKey, decode_portion_keys};
use crate::wire::limits::Limits;

/// Why a verified envelope does not open. The fault is the originator's, or the keys here are not those it used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// No wrap for this agency.
    #[error("there is no key wrap for {0}")]
    NoWrap(AgencyId),
    /// The wrap is to a key that is not here.
    #[error("the keys are wrapped to sealing key {0}, which this agency does not hold")]
    NoKey(KeyId),
    /// The wrap does not open.
    #[error("the key wrap does not open: it was altered, or made for another envelope or recipient")]
    Wrap,
    /// The wrap's content cannot be read.
    #[error("the key wrap's content cannot be read: {0}")]
    Keys(WireError),
    /// A portion does not open with the key the wrap gives for it.
    #[error("portion {0} does not open with the key given for it")]
    Portion(PortionIndex),
    /// A portion's plaintext is not what the header commits to.
    #[error("portion {0} is not what the signed header commits to")]
    Commitment(PortionIndex),
}

/// A portion that was opened and found to be what the originator signed.
#[derive(Clone)]
pub struct OpenedPortion {
    /// Its place in the header.
    pub index: PortionIndex,
    /// Its label.
    pub label: Label,
    plaintext: Zeroizing<Vec<u8>>,
}

impl OpenedPortion {
    /// The encoded parts.
    #[must_use]
    pub fn parts(&self) -> &[u8] {
        self.plaintext.get(SALT_LEN..).unwrap_or_default()
    }

    /// `salt || parts`: what [`verify_disclosure`] takes, should this portion be disclosed to a third party.
    #[must_use]
    pub fn disclosure(&self) -> &[u8] {
        &self.plaintext
    }
}

impl std::fmt::Debug for OpenedPortion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpenedPortion({}, {})", self.index, self.label)
    }
}

impl VerifiedEnvelope {
    /// Opens the portions that are present and whose keys are wrapped for `me`, with whichever of `keys` the wrap names.
    /// A portion that was withheld, or whose key was, is not among the results.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, me: &AgencyId, keys: &[SealingKey]) -> Result<Vec<OpenedPortion>, OpenError> {
        let envelope = self.envelope();
        let wrap = envelope.wraps().iter().find(|wrap| wrap.recipient == *me);
        let wrap = wrap.ok_or_else(|| OpenError::NoWrap(me.clone()))?;
        let aad = wrap_aad(&envelope.header_digest(), me, &wrap.sealing_key_id);
        let portion_keys = unwrap_keys(wrap, keys, &aad)?;
        let mut opened = Vec::with_capacity(envelope.portions().len());
        for portion in envelope.portions() {
            if let Some((_, key)) = portion_keys.iter().find(|(index, _)| *index == portion.index) {
                opened.push(open_portion(self.header(), portion, key)?);
            }
        }
        Ok(opened)
    }
}

impl VerifiedEnvelope {
    /// A portion that was opened before, from its [disclosure](OpenedPortion::disclosure); `None` where that is not what
    /// the header commits to.
    #[must_use]
    pub fn reopen(&self, index: PortionIndex, disclosure: Zeroizing<Vec<u8>>) -> Option<OpenedPortion> {
        let label = self.header().portions.get(index.get())?.label.clone();
        verify_disclosure(self.header(), index, &disclosure)?;
        Some(OpenedPortion { index, label, plaintext: disclosure })
    }
}

/// Checks, with nothing but a signed header, that `disclosed` (`salt || parts`) is the content of its nth portion.
/// Returns the encoded parts; `None` where it is not.
#[must_use]
pub fn verify_disclosure<'a>(header: &Header, index: PortionIndex, disclosed: &'a [u8]) -> Option<&'a [u8]> {
    let promised = header.portions.get(index.get())?;
    if commitment(disclosed) == promised.commitment { disclosed.get(SALT_LEN..) } else { None }
}

fn unwrap_keys(
    wrap: &KeyWrap,
    keys: &[SealingKey],
    aad: &[u8],
) -> Result<Vec<(PortionIndex, PortionKey)>, OpenError> {
    let key = keys.iter().find(|key| key.public().key_id() == wrap.sealing_key_id);
    let key = key.ok_or(OpenError::NoKey(wrap.sealing_key_id))?;
    let sealed = Sealed { encapsulated: wrap.encapsulated.to_vec(), ciphertext: wrap.ciphertext.to_vec() };
    let plaintext = key.open(context::WRAP, aad, &sealed).map_err(|_| OpenError::Wrap)?;
    decode_portion_keys(&plaintext, &Limits::DEFAULT).map_err(OpenError::Keys)
}

fn open_portion(
    header: &Header,
    portion: &SealedPortion,
    key: &PortionKey,
) -> Result<OpenedPortion, OpenError> {
    let index = portion.index;
    let refused = |_| OpenError::Portion(index);
    let promised = header.portions.get(index.get()).ok_or(OpenError::Portion(index))?;
    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).map_err(refused)?);
    let aad = Aad::from(portion_aad(&header.notice_id, index));
    let mut plaintext = Zeroizing::new(portion.ciphertext.to_vec());
    cipher.open_in_place(Nonce::assume_unique_for_key([0; 12]), aad, &mut plaintext).map_err(refused)?;
    plaintext.truncate(portion.ciphertext.len().saturating_sub(TAG_LEN));
    if plaintext.len() < SALT_LEN || commitment(&plaintext) != promised.commitment {
        return Err(OpenError::Commitment(index));
    }
    Ok(OpenedPortion { index, label: promised.label.clone(), plaintext })
}
