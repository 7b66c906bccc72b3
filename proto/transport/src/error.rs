//! Why a peer's certificate is not accepted, and why a peer did not accept ours.
//!
//! The two ends tell each other by TLS alerts, which say little. So that an operator at either end reads the cause, what
//! this end found becomes the alert made for it (RFC 8446 section 6.2), and an alert that comes in becomes a sentence.
//! Nothing rests on an alert: whoever refuses has ended the connection.

use std::fmt;
use std::time::Duration;

use thiserror::Error;
use valise_proto::id::{SpiffeId, Timestamp, TrustDomain};

use crate::connection::printable;
use crate::verify::Usage;

/// Why a peer's certificate (or our own) is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// None was presented.
    #[error("no certificate was presented")]
    NoCertificate,
    /// Not a certificate that can be read.
    #[error("the certificate cannot be read: {0}")]
    Malformed(String),
    /// Chains to none of our roots.
    #[error(
        "the certificate was issued by an authority this node does not trust; compare the trust anchors on both sides"
    )]
    UnknownAuthority,
    /// Past its time.
    #[error("the certificate expired at {not_after} (this node's clock: {now}); renew it, or set the clock")]
    Expired {
        /// Its end.
        not_after: Timestamp,
        /// The clock it was compared with.
        now: Timestamp,
    },
    /// Before its time.
    #[error("the certificate counts only from {not_before} (this node's clock: {now}); set the clock")]
    NotYetValid {
        /// Its beginning.
        not_before: Timestamp,
        /// The clock it was compared with.
        now: Timestamp,
    },
    /// On a revocation list.
    #[error("the certificate, or the one that issued it, has been revoked")]
    Revoked,
    /// The list that would tell is stale.
    #[error(
        "the revocation list of {issuer} of {this_update} ran out at {next_update}{} (this node's clock: {now}); publish a new one: valise-ca publish", beyond(.grace)
    )]
    RevocationListExpired {
        /// Whose list it is.
        issuer: String,
        /// When it was issued.
        this_update: Timestamp,
        /// When it ran out.
        next_update: Timestamp,
        /// How long it was gone by beyond that.
        grace: Duration,
        /// The clock it was compared with.
        now: Timestamp,
    },
    /// The list that would tell is from the future.
    #[error(
        "the revocation list of {issuer} is dated {this_update}, after this node's clock ({now}); set the clock"
    )]
    RevocationListNotYetValid {
        /// Whose list it is.
        issuer: String,
        /// When it says it was issued.
        this_update: Timestamp,
        /// The clock it was compared with.
        now: Timestamp,
    },
    /// No list covers the issuer.
    #[error("no revocation list covers the certificate's issuer; publish one: valise-ca publish")]
    RevocationUnknown,
    /// Not issued for this side of a connection.
    #[error("the certificate was not issued for {0}")]
    WrongUsage(Usage),
    /// Of another exchange.
    #[error("the certificate is of trust domain {got}; this node belongs to {expected}")]
    WrongTrustDomain {
        /// This node's.
        expected: TrustDomain,
        /// The certificate's.
        got: TrustDomain,
    },
    /// An agency where a broker is expected, the reverse, or another broker.
    #[error("the certificate is of {got}; {expected} is expected here")]
    WrongRole {
        /// Who is expected.
        expected: String,
        /// Who it is.
        got: SpiffeId,
    },
    /// A key or a signature that is not Ed25519.
    #[error("the certificate chain uses another algorithm than Ed25519; issue it anew with valise-ca")]
    WrongAlgorithm,
    /// Not an X.509-SVID.
    #[error("the certificate is not an X.509-SVID: {0}")]
    NotSpiffe(String),
    /// Anything else webpki found.
    #[error("the certificate chain is not valid: {0}")]
    Invalid(String),
}

fn beyond(grace: &Duration) -> String {
    match grace.as_secs() / 60 {
        0 => String::new(),
        minutes => format!(", and the grace of {minutes} minutes is over too"),
    }
}

impl CertificateError {
    /// What rustls makes the alert of. What only this node can mend is told the peer as "cannot be judged".
    pub(crate) fn to_rustls(&self) -> rustls::CertificateError {
        use rustls::CertificateError as Tls;
        match self {
            Self::Revoked => Tls::Revoked,
            Self::Expired { .. } => Tls::Expired,
            Self::NotYetValid { .. } => Tls::NotValidYet,
            Self::UnknownAuthority => Tls::UnknownIssuer,
            Self::Malformed(_) => Tls::BadEncoding,
            Self::WrongUsage(_) => Tls::InvalidPurpose,
            Self::WrongTrustDomain { .. } | Self::WrongRole { .. } => Tls::ApplicationVerificationFailure,
            Self::NoCertificate
            | Self::RevocationListExpired { .. }
            | Self::RevocationListNotYetValid { .. }
            | Self::RevocationUnknown
            | Self::WrongAlgorithm
            | Self::NotSpiffe(_)
            | Self::Invalid(_) => Tls::Other(rustls::OtherError(std::sync::Arc::new(self.clone()))),
        }
    }
}

/// Why the peer's TLS or QUIC refused us, as far as it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Our certificate is revoked (alert 44).
    Revoked,
    /// By the peer's clock our certificate has run out, or does not count yet (alert 45).
    Expired,
    /// The peer does not trust the authority that issued our certificate (alert 48).
    UnknownAuthority,
    /// The peer cannot judge our certificate: its own lists, or something unusual in the certificate (alert 46).
    NotJudged,
    /// Our certificate is for another place (alerts 42, 43, 49).
    WrongPlace,
    /// It speaks another protocol (alert 120).
    Protocol,
    /// Anything else, in the words of the peer's QUIC.
    Other(String),
}

impl Rejection {
    /// Of a connection that the peer's QUIC closed with `code` (RFC 9001 section 4.8: 0x100 and a TLS alert).
    pub(crate) fn of(code: u64, told: &str) -> Self {
        match code.checked_sub(0x100) {
            Some(44) => Self::Revoked,
            Some(45) => Self::Expired,
            Some(48) => Self::UnknownAuthority,
            Some(46) => Self::NotJudged,
            Some(42 | 43 | 49) => Self::WrongPlace,
            Some(120) => Self::Protocol,
            Some(_) | None => Self::Other(printable(told)),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Revoked => {
                "this node's certificate is revoked; ask the authority why, and for what to do"
            }
            Self::Expired => {
                "by its clock this node's certificate has expired or does not count yet; renew it, or compare the clocks"
            }
            Self::UnknownAuthority => {
                "it does not trust the authority that issued this node's certificate; compare the fingerprints of trust.pem at both ends"
            }
            Self::NotJudged => {
                "it cannot judge this node's certificate; its log says why (a revocation list that ran out, most often)"
            }
            Self::WrongPlace => "this node's certificate is not made for this side of a connection to it",
            Self::Protocol => "it does not speak valise/1; use versions of agent and broker that go together",
            Self::Other(told) => told,
        })
    }
}

/// Why trust anchors or revocation lists cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AnchorsError {
    /// No root.
    #[error("there is no trust anchor: install the authority's trust.pem")]
    None,
    /// A root that cannot be read.
    #[error("trust anchor {index} cannot be read: {problem}")]
    Anchor {
        /// Which, from 0.
        index: usize,
        /// What is wrong.
        problem: String,
    },
    /// A revocation list that cannot be read.
    #[error("revocation list {index} cannot be read: {problem}")]
    Crl {
        /// Which, from 0.
        index: usize,
        /// What is wrong.
        problem: String,
    },
    /// A revocation list that the authority did not sign.
    #[error(
        "the revocation list of {issuer} is signed neither by a root nor by an issuing CA that the directory's delegation names; take what the authority published, all of one publication"
    )]
    Signature {
        /// Whose list it claims to be.
        issuer: String,
    },
    /// Two lists by one key.
    #[error(
        "the revocation lists of {one} and of {other} are signed with one key, so one of the two names is not its own; take what the authority published, all of one publication"
    )]
    SecondList {
        /// Whose list one claims to be.
        one: String,
        /// Whose the other.
        other: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_alert_of_a_certificate_has_a_sentence_of_its_own() {
        let told = |alert: u64| Rejection::of(0x100 + alert, "in QUIC's words").to_string();
        for (alert, words) in [
            (44, "is revoked"),
            (45, "has expired"),
            (48, "does not trust"),
            (46, "cannot judge"),
            (42, "not made for"),
            (43, "not made for"),
            (49, "not made for"),
            (120, "valise/1"),
        ] {
            assert!(told(alert).contains(words), "alert {alert}: {}", told(alert));
        }
        assert_eq!(told(80), "in QUIC's words");
        assert_eq!(Rejection::of(44, "no\u{1b} alert").to_string(), "no alert");
    }

    #[test]
    fn g12_a_grace_that_is_over_is_named() {
        let error = |minutes: u64| CertificateError::RevocationListExpired {
            issuer: "CN=Issuing".to_owned(),
            this_update: Timestamp::from_millis(0),
            next_update: Timestamp::from_millis(1000),
            grace: Duration::from_secs(60 * minutes),
            now: Timestamp::from_millis(9_000_000),
        };
        assert!(error(90).to_string().contains("and the grace of 90 minutes is over too"));
        assert!(!error(0).to_string().contains("grace"));
    }
}
