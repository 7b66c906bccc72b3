//! Downgrading and release (S/RES/2396, paragraph 8): what the originator lowers and lets out itself, and what a holder
//! passes on.
//!
//! Claimed: an agent passes on content of another agency only as [`rules`] allow, and lowers content of its own only when
//! two officers agreed; no answer is no. It holds because a notice made from another is made here alone ([`source`],
//! `derive`, then the same steps as any notice), and each way in asks the rules first. What a person types anew into a
//! notice, no rule can know.

pub mod decide;
mod derive;
pub mod downgrade;
pub mod forward;
pub mod orders;
mod origin;
pub mod request;
pub mod requests;
pub mod rules;
mod source;
pub mod standing;

use thiserror::Error;
use valise_proto::envelope::{Header, NoticeKind};
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::label::LabelError;

pub use origin::{Action, Origin, derived_from};

use crate::compose::ComposeError;
use crate::node::office::Office;
use crate::node::showing::NotShown;
use crate::store::StoreError;
use rules::{NotOnward, NotReleased};

/// Why nothing was released. Nothing was changed.
#[derive(Debug, Error)]
pub enum ReleaseError {
    /// A holder may not pass it on.
    #[error("{0}")]
    NotOnward(Box<NotOnward>),
    /// The originator may not release it.
    #[error("{0}")]
    NotReleased(#[from] NotReleased),
    /// The notice made from it does not follow the rules.
    #[error("{0}")]
    Compose(#[from] ComposeError),
    /// The notice it is to be made from cannot be shown.
    #[error("{0}")]
    NotShown(#[from] NotShown),
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// No such notice.
    #[error(
        "there is no notice {0} here; `valise-agent inbox` and `valise-agent status` list those there are"
    )]
    Unknown(NoticeId),
    /// Somebody else's.
    #[error(
        "notice {id} is {originator}'s, and only its originator can lower it; to pass it on: valise-agent forward {id}"
    )]
    NotOurs {
        /// Which.
        id: NoticeId,
        /// Whose.
        originator: AgencyId,
    },
    /// Our own.
    #[error(
        "notice {0} was sent from here: make a further notice of it with `valise-agent downgrade {0}`, or send a new one"
    )]
    Ours(NoticeId),
    /// Not content about a movement.
    #[error("notice {id} is a {kind}; only a TRAVEL, ARRIVAL, DEPORTATION or CORRECTION can be passed on")]
    Kind {
        /// Which.
        id: NoticeId,
        /// What it is.
        kind: NoticeKind,
    },
    /// What would be made cannot be one of the kinds that open a matter.
    #[error("--kind {0}: a notice made from another is a TRAVEL, ARRIVAL or DEPORTATION")]
    MadeKind(NoticeKind),
    /// Its content is no longer kept here.
    #[error("the content of notice {0} is no longer kept here; nothing can be made of it")]
    Purged(NoticeId),
    /// It is out of force.
    #[error("notice {id} is out of force by the {kind} {by}: nothing is made of it{}", instead(*.kind, .by))]
    Ended {
        /// Which.
        id: NoticeId,
        /// By which notice.
        by: NoticeId,
        /// CORRECTION or WITHDRAWAL.
        kind: NoticeKind,
    },
    /// It was to be deleted by now.
    #[error(
        "notice {id} was to be reviewed by {review_by}, which has passed: its content is not passed on any more"
    )]
    ReviewPassed {
        /// Which.
        id: NoticeId,
        /// By when.
        review_by: Timestamp,
    },
    /// A banner that cannot be read.
    #[error("label: {0}")]
    Label(#[from] LabelError),
    /// An instruction to drop that is not there.
    #[error("drop_handling: `{0}` is not among the instructions of the portions chosen")]
    NotThere(String),
    /// What is kept of a release cannot be read.
    #[error("what is kept of a release cannot be read: {0}; was it written by a newer valise-agent?")]
    Record(String),
    /// Not a request for release.
    #[error("notice {id} is a {kind}; `valise-agent release requests` lists those that ask for leave")]
    NotARequest {
        /// Which.
        id: NoticeId,
        /// What it is.
        kind: NoticeKind,
    },
    /// A request that was decided.
    #[error(
        "request {request} was decided with {decision}; to take that back: valise-agent withdraw {decision} --reason TEXT"
    )]
    Decided {
        /// Which.
        request: NoticeId,
        /// The decision.
        decision: NoticeId,
    },
    /// A request of somebody who did not get the notice.
    #[error("{requester} was not sent notice {id}, so no leave about it is given")]
    NotARecipient {
        /// Who asks.
        requester: AgencyId,
        /// About what.
        id: NoticeId,
    },
    /// Something that is not to be written by hand.
    #[error("{0}")]
    ByHand(&'static str),
    /// No such order.
    #[error("no release {0} waits here; `valise-agent release list` shows those that do")]
    NoOrder(NoticeId),
    /// Too many wait.
    #[error("{max} releases wait for a second officer, which is all that is kept: valise-agent release list", max = crate::pending::PENDING_MAX)]
    TooMany,
    /// It waited too long.
    #[error("release {id} waited for a second officer since {since}, which is too long: ask for it again")]
    OrderLapsed {
        /// Which.
        id: NoticeId,
        /// Since when.
        since: Timestamp,
    },
    /// One officer alone.
    #[error(
        "{0} asked for this release, and a second officer has to approve it (S/RES/2396, paragraph 8, is carried out by two)"
    )]
    SameOfficer(String),
}

fn instead(kind: NoticeKind, by: &NoticeId) -> String {
    if kind == NoticeKind::Correction { format!("; name {by} instead") } else { String::new() }
}

impl From<NotOnward> for ReleaseError {
    fn from(error: NotOnward) -> Self {
        Self::NotOnward(Box::new(error))
    }
}

/// Checks a notice that an author wrote: leave is asked for and given by commands of their own, which judge it and take
/// the officers it needs; and what was made from another notice is made anew, not corrected, since a correction goes to
/// whom paragraph 3 names.
///
/// # Errors
/// [`ReleaseError::ByHand`].
pub fn check_by_hand(office: &Office, header: &Header) -> Result<(), ReleaseError> {
    match header.kind {
        NoticeKind::ReleaseRequest => {
            return Err(ReleaseError::ByHand(
                "a RELEASE_REQUEST is not written by hand: valise-agent release request ID --portions … --justification TEXT",
            ));
        }
        NoticeKind::ReleaseDecision => {
            return Err(ReleaseError::ByHand(
                "a RELEASE_DECISION is not written by hand: valise-agent release grant REQUEST, or release deny REQUEST",
            ));
        }
        NoticeKind::Travel
        | NoticeKind::Arrival
        | NoticeKind::Deportation
        | NoticeKind::Response
        | NoticeKind::Correction
        | NoticeKind::Withdrawal
        | NoticeKind::Receipt => {}
    }
    match header.supersedes {
        Some(corrected) if Origin::of(office, &corrected)?.is_some() => Err(ReleaseError::ByHand(
            "the notice was made from another one, and a correction would go to whom paragraph 3 names: withdraw it, and \
             make it anew from the newest notice",
        )),
        Some(_) | None => Ok(()),
    }
}
