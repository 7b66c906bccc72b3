//! Verification: what turns an envelope somebody sent into one that may be acted upon.

use super::{Envelope, Header};
use crate::crypto::{VerifyingKey, context, sha256};
use crate::directory::{AgencyEntry, AgencyStatus, Directory, KeyEntry};
use crate::id::{AgencyId, Timestamp};
use crate::refusal::{Refusal, RefusalCode};

/// An envelope whose header parsed, whose sizes are within limits, whose signature verified under a key the directory
/// lists for its originator, and whose ciphertexts are those the header commits to. There is no other way to make one.
#[derive(Clone, Debug)]
pub struct VerifiedEnvelope(Envelope);

impl VerifiedEnvelope {
    /// The envelope.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.0
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> &Header {
        self.0.header()
    }
}

impl Envelope {
    /// Verifies an envelope as its originator submits it: the signing key counts now, every portion is present, and
    /// there is exactly one wrap for each recipient, to a key the directory lists for it.
    ///
    /// # Errors
    /// A [`Refusal`] that says which rule failed.
    pub fn verify_submitted(
        self,
        directory: &Directory,
        now: Timestamp,
    ) -> Result<VerifiedEnvelope, Refusal> {
        let entry = self.check_labels_and_originator(directory)?;
        check_takes_part(entry)?;
        // The recipients will ask for a key that counted at `created_at`: what they would not take must not be accepted.
        self.signing_key(entry, self.header.created_at)?;
        self.verify_signature(entry, now)?;
        let whole = self.portions.iter().map(|portion| portion.index.get()).eq(0..self.header.portions.len());
        if !whole {
            return Err(malformed("the portions are not those of the header, each once and in order"));
        }
        self.check_ciphertexts()?;
        self.check_wraps(directory, now)?;
        Ok(VerifiedEnvelope(self))
    }

    /// Verifies an envelope as the broker delivers it to `me`: the signing key counted when the envelope was created,
    /// the portions present are those of the header at their places, and the one wrap is ours.
    ///
    /// # Errors
    /// A [`Refusal`] that says which rule failed.
    pub fn verify_delivered(self, directory: &Directory, me: &AgencyId) -> Result<VerifiedEnvelope, Refusal> {
        let entry = self.check_labels_and_originator(directory)?;
        self.verify_signature(entry, self.header.created_at)?;
        let rising = self.portions.is_sorted_by(|a, b| a.index < b.index);
        if !rising {
            return Err(malformed("the portions are not in rising order, each at most once"));
        }
        self.check_ciphertexts()?;
        if !self.header.recipients.contains(me) {
            return Err(malformed(format!("{me} is not among the recipients")));
        }
        if self.wraps.len() != 1 || self.wraps.first().is_some_and(|wrap| wrap.recipient != *me) {
            return Err(malformed(format!("there must be exactly one key wrap, for {me}")));
        }
        Ok(VerifiedEnvelope(self))
    }

    fn check_labels_and_originator<'d>(&self, directory: &'d Directory) -> Result<&'d AgencyEntry, Refusal> {
        let policy = &directory.content().policy;
        // The overall label is the join of the portions', so all carry its policy.
        if self.header.label.policy != *policy {
            let detail =
                format!("the labels are of policy {}; this exchange uses {policy}", self.header.label.policy);
            return Err(Refusal::new(RefusalCode::LabelPolicy, detail));
        }
        let originator = &self.header.originator;
        directory.agency(originator).ok_or_else(|| {
            Refusal::new(
                RefusalCode::UnknownAgency,
                format!("the originator {originator} is not in the directory"),
            )
        })
    }

    fn signing_key<'d>(
        &self,
        originator: &'d AgencyEntry,
        at: Timestamp,
    ) -> Result<&'d KeyEntry<VerifyingKey>, Refusal> {
        let key_id = self.signature.key_id;
        if let Some(key) = originator.signing_key_at(key_id, at) {
            return Ok(key);
        }
        if originator.status.ended_at().is_some_and(|end| at >= end) {
            check_takes_part(originator)?;
        }
        let detail = format!("the directory lists no signing key {key_id} for {} at {at}", originator.id);
        Err(Refusal::new(RefusalCode::KeyNotActive, detail))
    }

    fn verify_signature(&self, originator: &AgencyEntry, at: Timestamp) -> Result<(), Refusal> {
        let key = self.signing_key(originator, at)?;
        key.key.verify(context::HEADER, &self.header_bytes, &self.signature).map_err(|_| {
            let (key_id, agency) = (key.key_id, &originator.id);
            let detail = format!("the header's signature does not verify under key {key_id} of {agency}");
            Refusal::new(RefusalCode::BadSignature, detail)
        })
    }

    fn check_ciphertexts(&self) -> Result<(), Refusal> {
        for portion in &self.portions {
            let matches = self.header.portions.get(portion.index.get()).is_some_and(|promised| {
                u64::try_from(portion.ciphertext.len()) == Ok(promised.ciphertext_len)
                    && sha256(&[&portion.ciphertext]) == promised.ciphertext_sha256
            });
            if !matches {
                return Err(malformed(format!(
                    "portion {} is not the one the header commits to",
                    portion.index
                )));
            }
        }
        Ok(())
    }

    fn check_wraps(&self, directory: &Directory, now: Timestamp) -> Result<(), Refusal> {
        if !self.wraps.iter().map(|wrap| &wrap.recipient).eq(&self.header.recipients) {
            return Err(malformed("the key wraps are not one for each recipient, in the header's order"));
        }
        for wrap in &self.wraps {
            let recipient = &wrap.recipient;
            let entry = directory.agency(recipient).ok_or_else(|| {
                Refusal::new(
                    RefusalCode::UnknownAgency,
                    format!("the recipient {recipient} is not in the directory"),
                )
            })?;
            let listed = entry
                .sealing_keys
                .iter()
                .any(|key| key.key_id == wrap.sealing_key_id && key.is_valid_at(now));
            if !listed {
                let detail = format!(
                    "the directory lists no sealing key {} for {recipient} at {now}; fetch the directory and seal again",
                    wrap.sealing_key_id
                );
                return Err(Refusal::new(RefusalCode::KeyNotActive, detail));
            }
        }
        Ok(())
    }
}

fn check_takes_part(entry: &AgencyEntry) -> Result<(), Refusal> {
    match entry.status {
        AgencyStatus::Active => Ok(()),
        AgencyStatus::Suspended { since } => {
            let detail = format!("{} is suspended since {since}", entry.id);
            Err(Refusal::new(RefusalCode::Suspended, detail))
        }
        AgencyStatus::Revoked { since } => {
            let detail = format!("{} was revoked at {since}", entry.id);
            Err(Refusal::new(RefusalCode::Revoked, detail))
        }
    }
}

fn malformed(detail: impl std::fmt::Display) -> Refusal {
    Refusal::new(RefusalCode::Malformed, detail)
}
