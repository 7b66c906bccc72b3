//! Why a connection to a broker ended or was not made, and what of that is the authority's word on this agency.

use thiserror::Error;
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::WireError;
use valise_proto::wire::session::VERSION;
use valise_transport::{CloseReason, ConnectError, ReceiveError, Rejection, SendError};

use super::ANSWER_MAX;
use crate::folder::FileError;
use crate::node::office::Stale;
use crate::node::publication::PublicationError;
use crate::renewal::RenewError;

/// Why a connection ended or was not made.
#[derive(Debug, Error)]
pub(in crate::node) enum LinkError {
    #[error(
        "the directory lists no broker; give one in agent.toml under [brokers], or have the authority publish again"
    )]
    NoBroker,
    #[error("this node was told to stay offline")]
    Offline,
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Closed(#[from] CloseReason),
    #[error("the broker did not answer within {} seconds", ANSWER_MAX.as_secs())]
    Silent,
    #[error(
        "the broker speaks wire version {got}; this node speaks {VERSION}: bring the older of the two up to date"
    )]
    Version { got: u32 },
    #[error("the broker ended the session: {0}")]
    Goodbye(Refusal),
    #[error("the broker shuts down")]
    Shutdown,
    #[error("the broker broke the protocol: {0}")]
    Protocol(&'static str),
    #[error("the broker broke the protocol: {0}")]
    Wire(#[from] WireError),
    #[error("{0}")]
    Send(#[from] SendError),
    #[error("{0}")]
    Receive(#[from] ReceiveError),
    #[error("{0}")]
    Directory(#[from] Stale),
    #[error("{0}")]
    File(#[from] FileError),
    #[error("{0}")]
    Renewal(#[from] RenewError),
    #[error("{0}")]
    Publication(#[from] PublicationError),
    #[error("{0}")]
    Examination(#[from] crate::incoming::NotExamined),
    #[error("{0}")]
    Store(#[from] crate::store::StoreError),
    #[error("{0}")]
    Ended(&'static str),
}

impl LinkError {
    /// What the broker said, where it ended the session because the authority has taken this agency out. The session's
    /// goodbye may be lost where the connection's is not, and where our certificate is revoked there is only TLS's own
    /// word for it. What comes before the handshake is done may be anybody's word, and is none of that.
    pub(super) fn exclusion(&self) -> Option<Refusal> {
        let said = match self {
            Self::Goodbye(refusal) => refusal.clone(),
            Self::Closed(CloseReason::Refused(Rejection::Revoked)) => {
                Refusal::new(RefusalCode::Revoked, Rejection::Revoked)
            }
            Self::Closed(CloseReason::Peer { code, text }) => {
                let code = u32::try_from(*code).ok().and_then(RefusalCode::from_number)?;
                Refusal::new(code, text)
            }
            Self::NoBroker
            | Self::Offline
            | Self::Connect(_)
            | Self::Closed(_)
            | Self::Silent
            | Self::Version { .. }
            | Self::Shutdown
            | Self::Protocol(_)
            | Self::Wire(_)
            | Self::Send(_)
            | Self::Receive(_)
            | Self::Directory(_)
            | Self::File(_)
            | Self::Renewal(_)
            | Self::Publication(_)
            | Self::Examination(_)
            | Self::Store(_)
            | Self::Ended(_) => return None,
        };
        matches!(said.code, RefusalCode::Suspended | RefusalCode::Revoked).then_some(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g12_only_a_broker_that_was_authenticated_tells_of_an_exclusion() {
        let reason = || CloseReason::Refused(Rejection::Revoked);
        let before = ConnectError::Handshake { endpoint: "broker:7401".to_owned(), reason: reason() };
        assert_eq!(LinkError::from(before).exclusion(), None, "anybody can send that");
        let after = LinkError::Closed(reason()).exclusion().map(|refusal| refusal.code);
        assert_eq!(after, Some(RefusalCode::Revoked));
    }
}
