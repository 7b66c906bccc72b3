//! From the author's JSON to a signed envelope, each step a type: [`Draft`] → [`Addressed`] → [`Sealed`] → [`Signed`].
//!
//! Claimed: a portion's key is wrapped only for recipients whose clearance permits that portion (G3, the first of the
//! three decisions), and a notice leaves only if every recipient is on the directory, active and able to read some
//! of it; who cannot be told though it should be is on record. It holds because [`Addressed`] is where the decision is made and the only thing that can be sealed.

mod addressing;
pub mod content;
pub mod deadline;
pub(crate) mod derived;
pub mod followup;
pub mod preview;

use std::sync::Arc;

use thiserror::Error;
use valise_proto::directory::Directory;
use valise_proto::envelope::{Envelope, HeaderDraft, NoticeKind, SealError, SealFor, seal};
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::label::Classification;
use zeroize::Zeroizing;

pub use addressing::{Addressed, Addressee, NotTold};
pub use content::Mistake;

use crate::clock::{new_notice_id, randomness};
use crate::core::{Draft as DraftBytes, Outgoing};
use crate::node::office::{Office, Stale};
use crate::node::showing::NotShown;
use preview::Preview;

/// Why a notice was not composed. Nothing was stored or sent.
#[derive(Debug, Error)]
pub enum ComposeError {
    /// What the author wrote, and who it is for: all mistakes at once.
    #[error("{}", sentence(.0))]
    Mistakes(Vec<Mistake>),
    /// The directory is not to be acted upon.
    #[error(
        "{0}; start the node with a connection to a broker, or carry the authority's newest publication here and run `valise-agent install DIR`"
    )]
    Directory(#[from] Stale),
    /// This agency is not on the directory.
    #[error("{0} is not in the directory, or is suspended: it cannot send; ask the authority")]
    NotListed(AgencyId),
    /// This agency may not send this kind of notice.
    #[error("{agency} may not originate {kind} notices by the directory; it may originate: {allowed}")]
    Kind {
        /// This agency.
        agency: AgencyId,
        /// The kind.
        kind: NoticeKind,
        /// What it may originate.
        allowed: String,
    },
    /// This agency may not originate a portion's classification.
    #[error(
        "{agency} may not originate {classification} portions by the directory; it may originate: {allowed}"
    )]
    Classification {
        /// This agency.
        agency: AgencyId,
        /// The classification.
        classification: Classification,
        /// What it may originate.
        allowed: String,
    },
    /// What it corrects or withdraws.
    #[error("{0}")]
    NotFollowed(#[from] followup::NotFollowed),
    /// What it answers.
    #[error("{0}")]
    NotAnswered(#[from] NotShown),
    /// It cannot be sealed.
    #[error("the notice cannot be sealed: {0}")]
    Seal(#[from] SealError),
    /// The table that is kept with it.
    #[error("the table of who can read what cannot be kept with the notice: {0}")]
    Table(String),
    /// It is too large.
    #[error(
        "the envelope would be {len} bytes; at most {max} are carried: divide the notice and send the parts"
    )]
    TooLarge {
        /// Its length.
        len: usize,
        /// The limit of the broker that this node was last connected to.
        max: usize,
    },
}

fn sentence(mistakes: &[Mistake]) -> String {
    let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    format!("the notice cannot be sent as it is: {}", lines.join("; "))
}

/// What the author wrote, found to be a notice.
pub struct Draft {
    content: content::Content,
    json: Zeroizing<Vec<u8>>,
}

impl Draft {
    /// Reads the author's JSON, whose labels are of the policy of the exchange.
    ///
    /// # Errors
    /// [`ComposeError::Mistakes`], all of them.
    pub fn read(json: Zeroizing<Vec<u8>>, office: &Office, now: Timestamp) -> Result<Self, ComposeError> {
        let directory = office.directory();
        let content =
            content::read(&json, &directory.content().policy, now).map_err(ComposeError::Mistakes)?;
        Ok(Self { content, json })
    }

    /// Works out who receives it and which portions each of them may access.
    ///
    /// # Errors
    /// [`ComposeError`].
    pub fn address(self, office: &Office, now: Timestamp) -> Result<Addressed, ComposeError> {
        addressing::address(self, office, now)
    }
}

/// A notice whose portions are sealed, each recipient having keys to what it may access and no more.
pub struct Sealed {
    sealed: valise_proto::envelope::Sealed,
    json: Zeroizing<Vec<u8>>,
    origin: Option<DraftBytes>,
    review_by: Option<Timestamp>,
    table: Preview,
}

impl Addressed {
    /// Seals the portions.
    ///
    /// # Errors
    /// [`ComposeError`]: also where a recipient may access no portion, which preview shows without failing.
    pub fn seal(self, office: &Office, now: Timestamp) -> Result<Sealed, ComposeError> {
        self.seal_as(new_notice_id(now), office, now)
    }

    /// The same under an id that was fixed before.
    ///
    /// # Errors
    /// [`ComposeError`].
    pub fn seal_as(
        self,
        notice_id: NoticeId,
        office: &Office,
        now: Timestamp,
    ) -> Result<Sealed, ComposeError> {
        let mistakes = self.mistakes(office.config(), now);
        if !mistakes.is_empty() {
            return Err(ComposeError::Mistakes(mistakes));
        }
        let directory: &Arc<Directory> = &self.directory;
        let config = office.config();
        let table = Preview::of(&self, config, now);
        let draft = HeaderDraft {
            notice_id,
            kind: self.content.kind(),
            originator: office.agency().clone(),
            precedence: self.content.precedence(),
            created_at: now,
            expires_at: self.expires_at(config, now),
            respond_by: self.respond_by(config, now).map(|time| time.at),
            directory_version: directory.version(),
            in_reply_to: self.content.in_reply_to(),
            supersedes: self.content.supersedes(),
            withdraws: self.content.withdraws(),
            derived_from: self.derived.as_ref().map(|derived| derived.handle),
        };
        let recipient = |addressee: &Addressee| {
            let key = directory.agency(&addressee.agency)?.sealing_key_at(now)?;
            let portions = addressee.permitted.clone();
            Some(SealFor { agency: addressee.agency.clone(), key: key.key.clone(), portions })
        };
        // `mistakes` has named every recipient without a key.
        let recipients: Vec<_> = self.addressees.iter().filter_map(recipient).collect();
        let sealed = seal(draft, &self.portions, &recipients, &mut randomness())?;
        let (review_by, origin) = (self.content.review_by(), self.derived.map(|derived| derived.origin));
        Ok(Sealed { sealed, json: self.json, origin, review_by, table })
    }
}

impl Sealed {
    /// Signs the header.
    ///
    /// # Errors
    /// [`ComposeError::TooLarge`].
    pub fn sign(self, office: &Office) -> Result<Signed, ComposeError> {
        let max = office.limits().envelope_bytes_max;
        let envelope = self.sealed.sign(office.vault().signing_key());
        let table =
            serde_json::to_vec(&self.table).map_err(|error| ComposeError::Table(error.to_string()))?;
        let outgoing = Outgoing::new(envelope, Some(DraftBytes(self.json)))
            .with_origin(self.origin)
            .with_review_by(self.review_by)
            .with_table(DraftBytes(Zeroizing::new(table)));
        let len = outgoing.encoded.len();
        if len > max { Err(ComposeError::TooLarge { len, max }) } else { Ok(Signed(outgoing, self.table)) }
    }
}

/// A signed envelope, ready for the outbox, and the table of who can read what.
pub struct Signed(Outgoing, Preview);

impl Signed {
    /// The envelope.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.0.envelope
    }

    /// Who can read what of it, who is not told, and why.
    #[must_use]
    pub fn table(&self) -> &Preview {
        &self.1
    }

    /// For the outbox.
    #[must_use]
    pub fn into_outgoing(self) -> Outgoing {
        self.0
    }
}
