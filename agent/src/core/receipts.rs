//! Which receipts count.
//!
//! Claimed: a receipt is recorded about a notice of ours only if its issuer signed it, was asked (a recipient of that
//! very envelope) or is the broker that was asked, and it speaks of the header that was signed here. There is no
//! other way to make one of these types.

use thiserror::Error;
use valise_proto::crypto::sha256;
use valise_proto::directory::Directory;
use valise_proto::envelope::Envelope;
use valise_proto::id::{AgencyId, Digest, NoticeId, SpiffeId, Timestamp};
use valise_proto::receipt::{ReceiptError, ReceiptKind, SignedReceipt};
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::Signed;
use valise_proto::wire::limits::Limits;

/// What was sent, as far as receipts about it are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentFacts {
    /// Which notice.
    pub notice_id: NoticeId,
    /// The digest of its header.
    pub header_digest: Digest,
    /// Who receives it.
    pub recipients: Vec<AgencyId>,
    /// Until when its broker keeps it.
    pub expires_at: Timestamp,
    /// The broker that accepted it, once one has.
    pub accepted_by: Option<SpiffeId>,
}

/// Why a receipt does not count. Nothing was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotCounted {
    /// Its signature, its issuer or its form.
    #[error("{0}")]
    Receipt(#[from] ReceiptError),
    /// About another envelope than the one sent here.
    #[error("the receipt is about another envelope than the one sent from here")]
    OtherEnvelope,
    /// Not of a kind that belongs here.
    #[error("a receipt of kind {0} does not belong here")]
    Kind(ReceiptKind),
    /// Issued by someone who was not asked.
    #[error("the receipt is issued by {0}, who was not asked")]
    Stranger(SpiffeId),
    /// EXPIRED before it could expire.
    #[error("it says at {at} that the notice has expired, which it does at {expires_at}")]
    Early {
        /// When it was stated.
        at: Timestamp,
        /// When the notice expires.
        expires_at: Timestamp,
    },
    /// ACCEPTED at a time at which no broker could accept it.
    #[error(
        "it says that the notice was accepted at {at}; it was written at {created_at} and counts until {expires_at}"
    )]
    Untimely {
        /// When it was stated.
        at: Timestamp,
        /// When the notice was written.
        created_at: Timestamp,
        /// When it expires.
        expires_at: Timestamp,
    },
    /// REFUSED or REJECTED without a reason.
    #[error("the refusal gives no reason")]
    NoReason,
}

/// A receipt about a notice of ours that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedReceipt(SignedReceipt);

impl CountedReceipt {
    /// A recipient's receipt, carried by a RECEIPT envelope of `carried_by`.
    ///
    /// # Errors
    /// [`NotCounted`].
    pub fn of_recipient(
        signed: SignedReceipt,
        carried_by: &AgencyId,
        sent: &SentFacts,
        directory: &Directory,
    ) -> Result<Self, NotCounted> {
        signed.verify(directory)?;
        let receipt = signed.receipt();
        let stranger = || NotCounted::Stranger(receipt.issuer.clone());
        let issuer = receipt.issuer.as_agency().ok_or_else(stranger)?;
        if issuer != carried_by || !sent.recipients.contains(issuer) {
            return Err(stranger());
        }
        check_subject(&signed, sent)?;
        Ok(Self(signed))
    }

    /// The EXPIRED receipt of the broker that accepted the notice: only that one holds it, and not before its time.
    ///
    /// # Errors
    /// [`NotCounted`].
    pub fn of_expiry(
        signed: SignedReceipt,
        sent: &SentFacts,
        directory: &Directory,
    ) -> Result<Self, NotCounted> {
        signed.verify(directory)?;
        let receipt = signed.receipt();
        if receipt.kind != ReceiptKind::Expired {
            return Err(NotCounted::Kind(receipt.kind));
        }
        if !receipt.recipient.as_ref().is_some_and(|recipient| sent.recipients.contains(recipient)) {
            return Err(NotCounted::OtherEnvelope);
        }
        if sent.accepted_by.as_ref() != Some(&receipt.issuer) {
            return Err(NotCounted::Stranger(receipt.issuer.clone()));
        }
        if receipt.at < sent.expires_at {
            return Err(NotCounted::Early { at: receipt.at, expires_at: sent.expires_at });
        }
        check_subject(&signed, sent)?;
        Ok(Self(signed))
    }

    /// The receipt.
    #[must_use]
    pub fn signed(&self) -> &SignedReceipt {
        &self.0
    }
}

fn check_subject(signed: &SignedReceipt, sent: &SentFacts) -> Result<(), NotCounted> {
    let receipt = signed.receipt();
    if receipt.notice_id == Some(sent.notice_id) && receipt.header_digest == sent.header_digest {
        Ok(())
    } else {
        Err(NotCounted::OtherEnvelope)
    }
}

/// An envelope that was submitted, as far as its broker's answer is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    notice_id: NoticeId,
    header_digest: Digest,
    frame_digest: Digest,
    created_at: Timestamp,
    expires_at: Timestamp,
}

impl Submission {
    /// That of `envelope`, which was encoded as `frame`.
    #[must_use]
    pub fn of(envelope: &Envelope, frame: &[u8]) -> Self {
        let header = envelope.header();
        Self {
            notice_id: header.notice_id,
            header_digest: envelope.header_digest(),
            frame_digest: sha256(&[frame]),
            created_at: header.created_at,
            expires_at: header.expires_at,
        }
    }

    /// Which notice.
    #[must_use]
    pub fn notice_id(&self) -> NoticeId {
        self.notice_id
    }

    /// A broker takes nothing that was written more than five minutes ahead of its clock, nor anything that has expired
    /// (PROTOCOL.md, section 8). So an acceptance dated otherwise was dated back, or ahead.
    fn check_time(&self, at: Timestamp) -> Result<(), NotCounted> {
        let Self { created_at, expires_at, .. } = *self;
        let clocks_differ = Limits::DEFAULT.clock_ahead_max;
        if at.plus(clocks_differ) < created_at || at > expires_at.plus(clocks_differ) {
            return Err(NotCounted::Untimely { at, created_at, expires_at });
        }
        Ok(())
    }
}

/// A broker's verified answer to a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAnswer {
    receipt: SignedReceipt,
    refusal: Option<Refusal>,
}

impl BrokerAnswer {
    /// Checks that `broker` signed this answer, that it is about the envelope that was submitted (by its header, or, where
    /// the broker could not read one, by the digest of the whole frame), and that an acceptance bears a possible time.
    ///
    /// # Errors
    /// [`NotCounted`].
    pub fn new(
        signed: Signed,
        broker: &SpiffeId,
        submission: &Submission,
        directory: &Directory,
    ) -> Result<Self, NotCounted> {
        let signed = SignedReceipt::from_signed(signed).map_err(ReceiptError::Malformed)?;
        signed.verify(directory)?;
        let receipt = signed.receipt();
        if receipt.issuer != *broker {
            return Err(NotCounted::Stranger(receipt.issuer.clone()));
        }
        let about_header = receipt.notice_id == Some(submission.notice_id)
            && receipt.header_digest == submission.header_digest;
        let about_frame = receipt.notice_id.is_none() && receipt.header_digest == submission.frame_digest;
        let refusal = match receipt.kind {
            ReceiptKind::Accepted if about_header => {
                submission.check_time(receipt.at)?;
                None
            }
            ReceiptKind::Refused if about_header || about_frame => {
                Some(receipt.refusal.clone().ok_or(NotCounted::NoReason)?)
            }
            ReceiptKind::Accepted | ReceiptKind::Refused => return Err(NotCounted::OtherEnvelope),
            ReceiptKind::Delivered
            | ReceiptKind::Read
            | ReceiptKind::Actioned
            | ReceiptKind::Rejected
            | ReceiptKind::Purged
            | ReceiptKind::Expired => return Err(NotCounted::Kind(receipt.kind)),
        };
        Ok(Self { receipt: signed, refusal })
    }

    /// The signed receipt.
    #[must_use]
    pub fn receipt(&self) -> &SignedReceipt {
        &self.receipt
    }

    /// Why the broker did not take the envelope; `None` where it did.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// A refusal that passes by itself, so that the same bytes are submitted again.
    #[must_use]
    pub fn passing_refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref().filter(|refusal| passes(refusal))
    }
}

fn passes(refusal: &Refusal) -> bool {
    match refusal.code {
        RefusalCode::Quota | RefusalCode::StoreUnavailable | RefusalCode::DirectoryStale => true,
        RefusalCode::Malformed
        | RefusalCode::UnsupportedVersion
        | RefusalCode::NotOriginator
        | RefusalCode::UnknownAgency
        | RefusalCode::Suspended
        | RefusalCode::Revoked
        | RefusalCode::BadSignature
        | RefusalCode::KeyNotActive
        | RefusalCode::LabelPolicy
        | RefusalCode::NotClearedToOriginate
        | RefusalCode::RecipientNotCleared
        | RefusalCode::IdConflict
        | RefusalCode::Expired
        | RefusalCode::ClockSkew
        | RefusalCode::TooLarge
        | RefusalCode::Declined
        | RefusalCode::IncompleteRecipients
        | RefusalCode::Superseded => refusal.retry_after.is_some(),
        RefusalCode::Unknown(_) => false,
    }
}
