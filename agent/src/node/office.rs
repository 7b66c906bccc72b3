//! What every part of a node acts with: who it is, its keys, its store, and the directory in force.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use valise_proto::directory::{Directory, DirectoryError};
use valise_proto::enrolment::Trust;
use valise_proto::envelope::{
    Envelope, Header, HeaderDraft, NoticeKind, PlainPortion, PortionIndex, SealError, SealFor, seal,
};
use valise_proto::id::{AgencyId, SpiffeId, Timestamp};
use valise_proto::label::{Classification, Label};
use valise_proto::notice::NoticeRef;
use valise_proto::receipt::{PurgeCause, Receipt, ReceiptKind, SignedReceipt};
use valise_proto::refusal::Refusal;
use valise_proto::wire::limits::Limits;
use valise_transport::{Credentials, Transport};

use crate::clock::{Clock, new_notice_id, randomness};
use crate::compose::content;
use crate::config::Config;
use crate::core::Outgoing;
use crate::enrol::Membership;
use crate::officers::guard::Guard;
use crate::renewal::Holder;
use crate::store::Store;
use crate::vault::Vault;

/// How long a receipt may wait at the broker for its reader.
const RECEIPT_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

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
    Directory(#[from] Stale),
}

/// The directory that this node holds is not to be acted upon.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{file}: {source}{}", and_skew(.skew.as_ref()), file = .file.display())]
pub struct Stale {
    /// Where it lies.
    pub file: PathBuf,
    /// Why.
    pub source: DirectoryError,
    /// How this node's clock was found to differ from a broker's.
    pub skew: Option<Skew>,
}

fn and_skew(skew: Option<&Skew>) -> String {
    skew.map_or_else(
        || "; no broker's clock is known to compare it with".to_owned(),
        |skew| format!("; {skew}"),
    )
}

/// This node's clock and a broker's, in the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    /// This node's.
    pub ours: Timestamp,
    /// The broker's.
    pub brokers: Timestamp,
}

impl Skew {
    /// By how much they differ.
    #[must_use]
    pub fn amount(&self) -> Duration {
        self.ours.since(self.brokers).max(self.brokers.since(self.ours))
    }

    /// Whether this node's clock was ahead by more than clocks may differ.
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        self.ours.since(self.brokers) > SKEW_WARNED
    }

    /// How far this node's clock is ahead, in milliseconds; negative where it is behind.
    #[must_use]
    pub fn ahead_millis(&self) -> i64 {
        let millis = i64::try_from(self.amount().as_millis()).unwrap_or(i64::MAX);
        if self.ours < self.brokers { millis.saturating_neg() } else { millis }
    }
}

impl std::fmt::Display for Skew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let way = if self.ours < self.brokers { "behind" } else { "ahead of" };
        let seconds = self.amount().as_secs();
        write!(f, "this node's clock was {seconds} s {way} the broker's when they last met, at {}", self.ours)
    }
}

/// Clocks that differ by more are worth a warning: the broker refuses what is created later than that ahead.
const SKEW_WARNED: Duration = Limits::DEFAULT.clock_ahead_max;

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
    /// These portions, at least one, were acted upon.
    Actioned {
        /// By whom.
        officer: String,
        /// Which, in rising order.
        portions: Vec<PortionIndex>,
    },
    /// It cannot be used here.
    Declined {
        /// By whose decision.
        officer: String,
        /// Why.
        refusal: Refusal,
    },
    /// It is not shown to anybody.
    Rejected(Refusal),
    /// What was held of it is deleted.
    Purged {
        /// Why.
        cause: PurgeCause,
        /// Which portions were held, in rising order; none where none came.
        portions: Vec<PortionIndex>,
    },
}

/// What came of the last thing of its kind that was offered and not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotTaken {
    /// When it was offered.
    pub at: Timestamp,
    /// Why it was not taken.
    pub reason: String,
}

/// What every part of a node acts with.
#[derive(Debug)]
pub struct Office {
    config: Config,
    agency: AgencyId,
    trust: Trust,
    store: Store,
    clock: Clock,
    transport: Transport,
    guard: Guard,
    vault: RwLock<Arc<Vault>>,
    credentials: RwLock<Credentials>,
    directory: RwLock<Arc<Directory>>,
    /// Those that the last broker told.
    limits: RwLock<Limits>,
    skew: RwLock<Option<Skew>>,
    /// Of a publication.
    publication_refused: RwLock<Option<NotTaken>>,
    /// Of a certificate.
    certificate_refused: RwLock<Option<NotTaken>>,
    /// Held while what is in force is judged and exchanged: several tasks may bring something newer.
    publishing: Mutex<()>,
    /// Counts whatever makes it worth a look whether something is to be renewed.
    stirred: watch::Sender<u64>,
    gone: CancellationToken,
    /// The last field, so that it is dropped when the store and the keys are gone.
    _last: DropGuard,
}

fn read<T: Clone>(lock: &RwLock<T>) -> T {
    // Nothing panics while it holds the lock, so a poisoned one holds a whole value all the same.
    lock.read().unwrap_or_else(PoisonError::into_inner).clone()
}

fn write<T>(lock: &RwLock<T>, value: T) {
    *lock.write().unwrap_or_else(PoisonError::into_inner) = value;
}

impl Office {
    pub(super) fn new(
        config: Config,
        clock: Clock,
        (vault, store, guard): (Vault, Store, Guard),
        membership: Membership,
        transport: Transport,
    ) -> Self {
        let Membership { agency, trust, directory, credentials, .. } = membership;
        let directory = directory.with_grace(config.freshness_grace);
        let gone = CancellationToken::new();
        Self {
            _last: gone.clone().drop_guard(),
            gone,
            agency,
            trust,
            store,
            guard,
            clock,
            transport,
            vault: RwLock::new(Arc::new(vault)),
            credentials: RwLock::new(credentials),
            directory: RwLock::new(Arc::new(directory)),
            limits: RwLock::new(Limits::DEFAULT),
            skew: RwLock::default(),
            publication_refused: RwLock::default(),
            certificate_refused: RwLock::default(),
            publishing: Mutex::new(()),
            stirred: watch::channel(0).0,
            config,
        }
    }

    /// Is cancelled once all of it is gone, the store's lock included.
    pub(super) fn gone(&self) -> CancellationToken {
        self.gone.clone()
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

    /// Its private keys, as they are now.
    #[must_use]
    pub fn vault(&self) -> Arc<Vault> {
        read(&self.vault)
    }

    pub(super) fn replace_vault(&self, vault: Vault) {
        write(&self.vault, Arc::new(vault));
    }

    /// Its certificate, as it is now.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        read(&self.credentials)
    }

    /// Connections that are made from now on show this certificate.
    pub(super) fn replace_credentials(&self, credentials: Credentials) {
        self.transport.swap_credentials(credentials.clone());
        write(&self.credentials, credentials);
    }

    /// What its connections are made from.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Looks at what a renewal is asked for with.
    pub(super) fn as_holder<T>(&self, look: impl FnOnce(&Holder<'_>) -> T) -> T {
        let (vault, credentials) = (self.vault(), self.credentials());
        let (folder, agency, trust_domain) = (&self.config.folder, &self.agency, &self.trust.trust_domain);
        look(&Holder { folder, vault: &vault, agency, trust_domain, credentials: &credentials })
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

    /// The officers' accounts, and what guards them.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The directory in force. Its freshness is for the user to check.
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        read(&self.directory)
    }

    pub(super) fn replace_directory(&self, directory: Directory) {
        write(&self.directory, Arc::new(directory.with_grace(self.config.freshness_grace)));
    }

    /// Checks that `directory`, the one in force, may be acted upon at `now`.
    ///
    /// # Errors
    /// [`Stale`], which names the file, its times, the clocks, and what mends it.
    pub fn check_fresh(&self, directory: &Directory, now: Timestamp) -> Result<(), Stale> {
        let fresh = directory.check_fresh(now);
        let file = || self.config.folder.directory();
        fresh.map_err(|source| Stale { file: file(), source, skew: self.skew() })
    }

    /// The limits of the broker that this node was last connected to; those of the protocol before that.
    #[must_use]
    pub fn limits(&self) -> Limits {
        read(&self.limits)
    }

    pub(super) fn replace_limits(&self, limits: Limits) {
        write(&self.limits, limits);
    }

    /// How this node's clock differed from a broker's when they last met.
    #[must_use]
    pub fn skew(&self) -> Option<Skew> {
        read(&self.skew)
    }

    pub(super) fn note_broker_time(&self, brokers: Timestamp) {
        let skew = Skew { ours: self.now(), brokers };
        if skew.amount() > SKEW_WARNED {
            tracing::warn!(ours = %skew.ours, brokers = %skew.brokers, "the clocks differ; set this machine's clock");
        }
        write(&self.skew, Some(skew));
    }

    /// Why the last publication was not taken, if it was not.
    #[must_use]
    pub fn publication_refused(&self) -> Option<NotTaken> {
        read(&self.publication_refused)
    }

    pub(super) fn note_publication(&self, refused: Option<String>) {
        let at = self.now();
        write(&self.publication_refused, refused.map(|reason| NotTaken { at, reason }));
    }

    /// Why the last certificate that was offered was not taken, if it was not.
    #[must_use]
    pub fn certificate_refused(&self) -> Option<NotTaken> {
        read(&self.certificate_refused)
    }

    pub(super) fn note_certificate(&self, refused: Option<String>) {
        let at = self.now();
        write(&self.certificate_refused, refused.map(|reason| NotTaken { at, reason }));
    }

    pub(super) fn publishing(&self) -> MutexGuard<'_, ()> {
        self.publishing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something changed that makes it worth a look whether something is to be renewed.
    pub(super) fn stir(&self) {
        self.stirred.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Changes whenever a look is worth while.
    pub(super) fn stirred(&self) -> watch::Receiver<u64> {
        self.stirred.subscribe()
    }

    /// Its identity.
    #[must_use]
    pub fn identity(&self) -> SpiffeId {
        SpiffeId::agency(self.trust.trust_domain.clone(), self.agency.clone())
    }

    /// Signs a receipt about an envelope that was delivered here.
    #[must_use]
    pub fn receipt(&self, statement: Statement, about: &Envelope, now: Timestamp) -> SignedReceipt {
        let about = NoticeRef { notice_id: about.header().notice_id, header_digest: about.header_digest() };
        self.receipt_about(statement, &about, now)
    }

    /// The same about a notice that need not be held here.
    #[must_use]
    pub fn receipt_about(&self, statement: Statement, about: &NoticeRef, now: Timestamp) -> SignedReceipt {
        let mut cause = None;
        let (kind, officer, refusal, portions) = match statement {
            Statement::Delivered { portions } => (ReceiptKind::Delivered, None, None, portions),
            Statement::Read { officer, portions } => (ReceiptKind::Read, Some(officer), None, portions),
            Statement::Actioned { officer, portions } => {
                (ReceiptKind::Actioned, Some(officer), None, portions)
            }
            Statement::Declined { officer, refusal } => {
                (ReceiptKind::Rejected, Some(officer), Some(refusal), Vec::new())
            }
            Statement::Rejected(refusal) => (ReceiptKind::Rejected, None, Some(refusal), Vec::new()),
            Statement::Purged { cause: why, portions } => {
                cause = Some(why);
                (ReceiptKind::Purged, None, None, portions)
            }
        };
        let receipt = Receipt {
            kind,
            notice_id: Some(about.notice_id),
            header_digest: about.header_digest,
            issuer: self.identity(),
            recipient: None,
            at: now,
            officer,
            refusal,
            portions,
            cause,
        };
        receipt.sign(self.vault().signing_key())
    }

    /// The envelope that carries a receipt back. One that cannot be sent (its reader left the exchange, say) is kept here
    /// all the same.
    #[must_use]
    pub fn reply(
        &self,
        about: &Header,
        receipt: &SignedReceipt,
        directory: &Directory,
        now: Timestamp,
    ) -> Option<Box<Outgoing>> {
        match self.receipt_envelope(about, receipt, directory, now) {
            Ok(outgoing) => Some(Box::new(outgoing)),
            Err(error) => {
                tracing::warn!(notice = %about.notice_id, %error, "a receipt cannot be sent");
                None
            }
        }
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
        self.check_fresh(directory, now)?;
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
        Ok(Outgoing::new(sealed.sign(self.vault().signing_key()), None))
    }
}
