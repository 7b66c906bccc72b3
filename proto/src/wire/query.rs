//! Questions of an agency and the broker's answers (PROTOCOL.md, "Query").

use bytes::Bytes;

use super::convert::required;
use super::limits::Limits;
use super::receipt::{refusal_from_pb, refusal_to_pb};
use super::scan::{self, Bound};
use super::session::{Publication, check_publication, publication_from_pb, publication_to_pb};
use super::{Signed, WireError, check_count, decode, pb};
use crate::id::{AgencyId, Digest, NoticeId};
use crate::receipt::SignedReceipt;
use crate::refusal::Refusal;

/// Most certificates in one chain.
const CHAIN_MAX: usize = 16;

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// The directory and CRLs in force.
    Publication,
    /// What the broker knows of an envelope; for its originator only.
    NoticeStatus(NoticeId),
    /// To keep an encoded [`SignedRenewalRequest`](crate::renewal::SignedRenewalRequest) for the authority.
    Renewal(Bytes),
    /// The newest certificate that was published for the agency that asks.
    Certificate,
}

/// The broker's answer to a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The directory and CRLs in force.
    Publication(Publication),
    /// What it knows of an envelope.
    NoticeStatus(Box<NoticeStatus>),
    /// The question was refused.
    Refusal(Refusal),
    /// The renewal request of this digest is on stable storage.
    Spooled(Digest),
    /// The newest certificate, DER, leaf first, without the root; empty where none was published.
    Certificate(Vec<Bytes>),
}

/// What a broker knows of an envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoticeStatus {
    /// Its ACCEPTED receipt; `None` where the broker does not know the notice, or no longer.
    pub accepted: Option<SignedReceipt>,
    /// Recipients whose inbox still holds it.
    pub undelivered: Vec<AgencyId>,
}

impl Answer {
    /// The frame.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        use pb::answer::Kind;
        let kind = match self {
            Self::Publication(publication) => Kind::Publication(publication_to_pb(publication)),
            Self::NoticeStatus(status) => Kind::NoticeStatus(pb::NoticeStatus {
                accepted: status.accepted.as_ref().map(|receipt| receipt.signed().to_pb()),
                undelivered: status.undelivered.iter().map(ToString::to_string).collect(),
            }),
            Self::Refusal(refusal) => Kind::Refusal(refusal_to_pb(refusal)),
            Self::Spooled(digest) => {
                Kind::Spooled(pb::Spooled { request_digest: Bytes::copy_from_slice(digest.as_bytes()) })
            }
            Self::Certificate(chain) => Kind::Certificate(pb::Certificate { chain: chain.clone() }),
        };
        super::encode(&pb::Answer { kind: Some(kind) })
    }

    /// Reads the frame.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(frame: Bytes) -> Result<Self, WireError> {
        use pb::answer::Kind;
        const PUBLICATION: u32 = 1;
        const CERTIFICATE: u32 = 5;
        check_publication(&frame, PUBLICATION)?;
        let chain = [Bound { tag: 1, field: "certificate.chain", max: CHAIN_MAX }];
        scan::check_lone(&frame, Bound { tag: CERTIFICATE, field: "certificate", max: 1 }, &chain)?;
        let message: pb::Answer = decode("answer", frame)?;
        Ok(match required("answer", message.kind)? {
            Kind::Publication(publication) => Self::Publication(publication_from_pb(publication)),
            Kind::NoticeStatus(status) => Self::NoticeStatus(Box::new(status_from_pb(status)?)),
            Kind::Refusal(refusal) => Self::Refusal(refusal_from_pb(refusal)?),
            Kind::Spooled(spooled) => {
                let digest = Digest::from_bytes(&spooled.request_digest);
                Self::Spooled(digest.map_err(|error| WireError::field("spooled.request_digest", error))?)
            }
            Kind::Certificate(certificate) => Self::Certificate(certificate.chain),
        })
    }
}

fn status_from_pb(status: pb::NoticeStatus) -> Result<NoticeStatus, WireError> {
    check_count("notice_status.undelivered", status.undelivered.len(), Limits::DEFAULT.recipients_max)?;
    let read = |signed: pb::Signed| SignedReceipt::from_signed(Signed::from_pb(signed)?);
    let agency = |name: &String| super::convert::parse("notice_status.undelivered", name);
    Ok(NoticeStatus {
        accepted: status.accepted.map(read).transpose()?,
        undelivered: status.undelivered.iter().map(agency).collect::<Result<_, _>>()?,
    })
}

pub(super) fn to_pb(query: &Query) -> pb::query::Kind {
    match query {
        Query::Publication => pb::query::Kind::Publication(pb::PublicationQuery {}),
        Query::NoticeStatus(id) => pb::query::Kind::NoticeStatus(pb::NoticeStatusQuery {
            notice_id: Bytes::copy_from_slice(id.as_bytes()),
        }),
        Query::Renewal(request) => pb::query::Kind::Renewal(pb::RenewalQuery { request: request.clone() }),
        Query::Certificate => pb::query::Kind::Certificate(pb::CertificateQuery {}),
    }
}

pub(super) fn from_pb(kind: pb::query::Kind) -> Result<Query, WireError> {
    Ok(match kind {
        pb::query::Kind::Publication(pb::PublicationQuery {}) => Query::Publication,
        pb::query::Kind::NoticeStatus(query) => {
            let id = NoticeId::from_bytes(&query.notice_id);
            Query::NoticeStatus(id.map_err(|error| WireError::field("query.notice_id", error))?)
        }
        pb::query::Kind::Renewal(query) => Query::Renewal(query.request),
        pb::query::Kind::Certificate(pb::CertificateQuery {}) => Query::Certificate,
    })
}
