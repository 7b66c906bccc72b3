//! What every part of a node acts with: who it is, its keys, its store, and the directory in force.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use thiserror::Error;
use valise_proto::directory::{Directory, DirectoryError};
use valise_proto::enrolment::Trust;
use valise_proto::envelope::{
    Envelope, Header, HeaderDraft, NoticeKind, PlainPortion, PortionIndex, SealError, SealFor, seal,
};
use valise_proto::id::{AgencyId, SpiffeId, Timestamp};
use valise_proto::label::{Classification, Label};
use valise_proto::receipt::{Receipt, ReceiptKind, SignedReceipt};
use valise_proto::refusal::Refusal;
use valise_proto::wire::limits::Limits;

use crate::clock::{Clock, new_notice_id, randomness};
use crate::compose::content;
use crate::config::Config;
use crate::core::Outgoing;
use crate::store::Store;
use crate::vault::Vault;

/// How long a receipt may wait at the broker for its reader.
const RECEIPT_LIFETIME: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 60 * 60);

/// Why a receipt cannot be sent.
#[derive(Debug, Error)]
pub enum ReplyError {
    /// Its reader has no usable sealing key.
    #[error("the directory lists no sealing key for {0} at this time")]
    NoKey(AgencyId),
    /// It cannot be sealed.
    #[error("{0}")]
    Seal(#[from] SealError),
    /// The directory is not to be acted upon.
    #[error("{0}")]
    Directory(#[from] DirectoryError),
}

/// What this agency states about an envelope that was delivered to it.
#[derive(Clone, Debug)]
pub enum Statement {
    /// These portions, at least one, were opened and are on stable storage.
    Delivered {
        /// Which, in rising order.
        portions: Vec<PortionIndex>,
    },
    /// These portions, at least one, were shown to an officer.
    Read {
        /// To whom.
        officer: String,
        /// Which, in rising order.
        portions: Vec<PortionIndex>,
    },
    /// It is not shown to anybody.
    Rejected(Refusal),
}

/// What every part of a node acts with.
#[derive(Debug)]
pub struct Office {
    config: Config,
    agency: AgencyId,
    vault: Vault,
    trust: Trust,
    store: Store,
    clock: Clock,
    directory: RwLock<Arc<Directory>>,
    /// Those that the last broker told.
    limits: RwLock<Limits>,
    /// Held while a publication is judged and taken: several tasks may bring one.
    publishing: Mutex<()>,
}

impl Office {
    pub(super) fn new(
        config: Config,
        clock: Clock,
        vault: Vault,
        store: Store,
        (agency, trust, directory): (AgencyId, Trust, Directory),
    ) -> Self {
        let directory = RwLock::new(Arc::new(directory));
        let (limits, publishing) = (RwLock::new(Limits::DEFAULT), Mutex::new(()));
        Self { config, agency, vault, trust, store, clock, directory, limits, publishing }
    }

    /// How it runs.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Who it is.
    #[must_use]
    pub fn agency(&self) -> &AgencyId {
        &self.agency
    }

    /// Its private keys.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Whom it trusts.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// What it holds.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The directory in force. Its freshness is for the user to check.
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn replace_directory(&self, directory: Directory) {
        *self.directory.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(directory);
    }

    /// The limits of the broker that this node was last connected to; those of the protocol before that.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn replace_limits(&self, limits: Limits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    pub(super) fn publishing(&self) -> MutexGuard<'_, ()> {
        self.publishing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its identity.
    #[must_use]
    pub fn identity(&self) -> SpiffeId {
        SpiffeId::agency(self.trust.trust_domain.clone(), self.agency.clone())
    }

    /// Signs a receipt about an envelope that was delivered here.
    #[must_use]
    pub fn receipt(&self, statement: Statement, about: &Envelope, now: Timestamp) -> SignedReceipt {
        let (kind, officer, refusal, portions) = match statement {
            Statement::Delivered { portions } => (ReceiptKind::Delivered, None, None, portions),
            Statement::Read { officer, portions } => (ReceiptKind::Read, Some(officer), None, portions),
            Statement::Rejected(refusal) => (ReceiptKind::Rejected, None, Some(refusal), Vec::new()),
        };
        let receipt = Receipt {
            kind,
            notice_id: Some(about.header().notice_id),
            header_digest: about.header_digest(),
            issuer: self.identity(),
            recipient: None,
            at: now,
            officer,
            refusal,
            portions,
        };
        receipt.sign(self.vault.signing_key())
    }

    /// Seals a receipt to the originator of the notice it is about, with that notice's precedence.
    ///
    /// # Errors
    /// [`ReplyError`].
    pub fn receipt_envelope(
        &self,
        about: &Header,
        receipt: &SignedReceipt,
        directory: &Directory,
        now: Timestamp,
    ) -> Result<Outgoing, ReplyError> {
        directory.check_fresh(now)?;
        let reader = &about.originator;
        let key = directory.agency(reader).and_then(|entry| entry.sealing_key_at(now));
        let key = key.ok_or_else(|| ReplyError::NoKey(reader.clone()))?;
        let draft = HeaderDraft {
            notice_id: new_notice_id(now),
            kind: NoticeKind::Receipt,
            originator: self.agency.clone(),
            precedence: about.precedence,
            created_at: now,
            expires_at: now.plus(RECEIPT_LIFETIME),
            respond_by: None,
            directory_version: directory.version(),
            in_reply_to: Some(about.notice_id),
            supersedes: None,
            withdraws: None,
            derived_from: None,
        };
        let label = Label::plain(directory.content().policy.clone(), Classification::Unclassified);
        let portion = PlainPortion { label, parts: content::receipt_part(receipt) };
        let portions = PortionIndex::new(0).into_iter().collect();
        let recipient = SealFor { agency: reader.clone(), key: key.key.clone(), portions };
        let sealed = seal(draft, &[portion], &[recipient], &mut randomness())?;
        Ok(Outgoing::new(sealed.sign(self.vault.signing_key()), None))
    }
}
