//! Receipts: signed statements about an envelope, refusals included (G6).

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::crypto::{SigningKey, context};
use crate::directory::{AgencyStatus, Directory};
use crate::envelope::PortionIndex;
use crate::id::{AgencyId, Digest, NoticeId, Role, SpiffeId, Timestamp};
use crate::refusal::Refusal;
use crate::wire::{self, Signed, WireError};

/// Longest officer name in a receipt, in bytes.
pub const OFFICER_BYTES_MAX: usize = 128;

/// What a receipt states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReceiptKind {
    /// By the broker: the envelope is on stable storage.
    Accepted,
    /// By the broker: the envelope was not taken.
    Refused,
    /// By a recipient: opened and stored.
    Delivered,
    /// By a recipient: shown to an officer.
    Read,
    /// By a recipient: acted upon.
    Actioned,
    /// By a recipient: could not be verified or opened.
    Rejected,
    /// By a recipient: deleted.
    Purged,
    /// By the broker: deleted before the recipient named acknowledged it.
    Expired,
}

impl ReceiptKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Accepted,
        Self::Refused,
        Self::Delivered,
        Self::Read,
        Self::Actioned,
        Self::Rejected,
        Self::Purged,
        Self::Expired,
    ];

    /// The word people see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "ACCEPTED",
            Self::Refused => "REFUSED",
            Self::Delivered => "DELIVERED",
            Self::Read => "READ",
            Self::Actioned => "ACTIONED",
            Self::Rejected => "REJECTED",
            Self::Purged => "PURGED",
            Self::Expired => "EXPIRED",
        }
    }

    /// Whether brokers issue it; recipients issue the others.
    #[must_use]
    pub fn is_of_a_broker(self) -> bool {
        match self {
            Self::Accepted | Self::Refused | Self::Expired => true,
            Self::Delivered | Self::Read | Self::Actioned | Self::Rejected | Self::Purged => false,
        }
    }

    /// Whether the statement is about portions, which it then names.
    #[must_use]
    pub fn states_portions(self) -> bool {
        match self {
            Self::Delivered | Self::Read | Self::Actioned | Self::Purged => true,
            Self::Accepted | Self::Refused | Self::Rejected | Self::Expired => false,
        }
    }
}

/// Why a recipient deleted what it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PurgeCause {
    /// The notice was withdrawn.
    Withdrawn,
    /// A correction took its place.
    Corrected,
    /// Its `review_by` has passed.
    Review,
    /// An officer decided it.
    Officer,
}

impl PurgeCause {
    /// Every cause.
    pub const ALL: [Self; 4] = [Self::Withdrawn, Self::Corrected, Self::Review, Self::Officer];

    /// The word people see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Withdrawn => "WITHDRAWN",
            Self::Corrected => "CORRECTED",
            Self::Review => "REVIEW",
            Self::Officer => "OFFICER",
        }
    }
}

impl std::fmt::Display for PurgeCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Display for ReceiptKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A statement about an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What is stated.
    pub kind: ReceiptKind,
    /// About which notice; `None` only where a refused header could not be read.
    pub notice_id: Option<NoticeId>,
    /// SHA-256 of the header, or of the whole frame where there is no header.
    pub header_digest: Digest,
    /// Who states it.
    pub issuer: SpiffeId,
    /// EXPIRED: the agency that did not acknowledge it.
    pub recipient: Option<AgencyId>,
    /// When, by the issuer's clock.
    pub at: Timestamp,
    /// READ and ACTIONED: which officer. REJECTED and PURGED: the officer who decided it, where one did.
    pub officer: Option<String>,
    /// REFUSED and REJECTED: why.
    pub refusal: Option<Refusal>,
    /// DELIVERED and READ: the portions that were opened, and shown; never none, lest a recipient sign for what it could
    /// not open. ACTIONED: those that were acted upon. PURGED: those that were held; none where none was. Rising.
    pub portions: Vec<PortionIndex>,
    /// PURGED: why. In it, and in no other.
    pub cause: Option<PurgeCause>,
}

impl Receipt {
    /// Signs the statement.
    #[must_use]
    pub fn sign(self, key: &SigningKey) -> SignedReceipt {
        let signed = Signed::sign(context::RECEIPT, wire::receipt::encode(&self), key);
        SignedReceipt { receipt: self, signed }
    }
}

/// Why a receipt does not count.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReceiptError {
    /// Not a receipt.
    #[error("not a receipt: {0}")]
    Malformed(#[from] WireError),
    /// Issued by someone who may not issue it.
    #[error("a receipt of kind {kind} cannot be issued by {issuer}")]
    Issuer {
        /// What is stated.
        kind: ReceiptKind,
        /// Who stated it.
        issuer: SpiffeId,
    },
    /// The directory lists no such key for the issuer at that time.
    #[error("the directory lists no key {key} for {issuer} at {at}")]
    UnknownKey {
        /// Who stated it.
        issuer: SpiffeId,
        /// The key named by the signature.
        key: crate::id::KeyId,
        /// When it was stated.
        at: Timestamp,
    },
    /// Stated when the issuer's word no longer counted.
    #[error("{issuer} is {status} since {since}; what it states at {at} does not count")]
    Ended {
        /// Who stated it.
        issuer: SpiffeId,
        /// SUSPENDED or REVOKED.
        status: AgencyStatus,
        /// Since when.
        since: Timestamp,
        /// When it was stated.
        at: Timestamp,
    },
    /// The signature does not verify.
    #[error("the receipt's signature does not verify")]
    BadSignature,
}

/// A statement and its issuer's signature over exactly these bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedReceipt {
    receipt: Receipt,
    signed: Signed,
}

impl SignedReceipt {
    /// Reads an encoded `Signed` receipt. The signature is checked by [`SignedReceipt::verify`].
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        Self::from_signed(Signed::decode(bytes)?)
    }

    /// Reads the body of a `Signed`.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn from_signed(signed: Signed) -> Result<Self, WireError> {
        let receipt = wire::receipt::decode(signed.body.clone())?;
        Ok(Self { receipt, signed })
    }

    /// The encoded `Signed`.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.signed.encode()
    }

    /// The statement.
    #[must_use]
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// The bytes and the signature.
    #[must_use]
    pub fn signed(&self) -> &Signed {
        &self.signed
    }

    /// Checks that the issuer may state this and signed it with a key the directory lists for that time.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn verify(&self, directory: &Directory) -> Result<(), ReceiptError> {
        let Receipt { kind, issuer, at, .. } = &self.receipt;
        let unknown = || ReceiptError::UnknownKey {
            issuer: issuer.clone(),
            key: self.signed.signature.key_id,
            at: *at,
        };
        if issuer.trust_domain != directory.content().trust_domain
            || kind.is_of_a_broker() != matches!(issuer.role, Role::Broker(_))
        {
            return Err(ReceiptError::Issuer { kind: *kind, issuer: issuer.clone() });
        }
        let key_id = self.signed.signature.key_id;
        let key = match &issuer.role {
            Role::Agency(agency) => {
                let entry = directory.agency(agency).ok_or_else(unknown)?;
                if let Some(since) = entry.status.ended_at().filter(|since| at >= since) {
                    let (issuer, status) = (issuer.clone(), entry.status);
                    return Err(ReceiptError::Ended { issuer, status, since, at: *at });
                }
                entry.signing_key_at(key_id, *at)
            }
            Role::Broker(broker) => directory.broker(broker).and_then(|entry| {
                entry.receipt_keys.iter().find(|key| key.key_id == key_id && key.is_valid_at(*at))
            }),
        };
        let key = key.ok_or_else(unknown)?;
        self.signed.verify(context::RECEIPT, &key.key).map_err(|_| ReceiptError::BadSignature)
    }
}
