//! Certificates and revocation lists (RFC 5280, SPIFFE X509-SVID).
//!
//! Claimed: whatever a request asks for, a certificate made here says exactly one thing about its holder, the identity
//! the authority decided on, and grants one usage. It holds because nothing of a request but its public key goes into
//! a certificate; all else is written below.

use std::time::Duration;

use bytes::Bytes;
use rand_core::Rng;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, PublicKeyData, RevokedCertParams,
    SanType, SerialNumber, SignatureAlgorithm,
};
use thiserror::Error;
use time::OffsetDateTime;
use valise_proto::crypto::VerifyingKey;
use valise_proto::id::{Role, SpiffeId, Timestamp, TrustDomain};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::keys::CaKey;
use crate::randomness;
use crate::state::{RevocationReason, Serial};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the root counts: 20 years.
pub const ROOT_LIFETIME: Duration = Duration::from_secs(7305 * DAY.as_secs());
/// How long the issuing certificate counts: 5 years.
pub const ISSUING_LIFETIME: Duration = Duration::from_secs(1826 * DAY.as_secs());
/// How long a leaf counts unless told otherwise: 90 days.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(90 * DAY.as_secs());
/// How far before the authority's clock a certificate begins: its reader's clock may be behind by so much.
pub const BACKDATING: Duration = Duration::from_secs(5 * 60);
/// Longest X.520 organisation name (RFC 5280 appendix A, `ub-organization-name`).
const ORGANISATION_CHARS_MAX: usize = 64;

/// Why nothing was signed. Nothing was changed.
#[derive(Debug, Error)]
pub enum SignError {
    /// The clock is before the authority was founded.
    #[error(
        "this machine's clock says {now}, which is before the authority was founded ({not_before}); set the clock"
    )]
    ClockBehind {
        /// When the issuer's certificate begins.
        not_before: Timestamp,
        /// The clock.
        now: Timestamp,
    },
    /// The issuing certificate has run out.
    #[error(
        "the authority's issuing certificate expired at {not_after} (this machine's clock: {now}); set the clock, or make a new one with the root: valise-ca issuing renew --root-dir DIR"
    )]
    IssuerExpired {
        /// When it ran out.
        not_after: Timestamp,
        /// The clock.
        now: Timestamp,
    },
    /// The root's list has run out.
    #[error(
        "the root's revocation list ran out at {next_update} (this machine's clock: {now}), so no node would accept anything; renew it with the root: valise-ca issuing crl --root-dir DIR"
    )]
    RootListOver {
        /// When.
        next_update: Timestamp,
        /// The clock.
        now: Timestamp,
    },
    /// A time that certificates cannot express.
    #[error("{0} cannot be written into a certificate; set the clock")]
    Time(Timestamp),
    /// The certificate or list could not be encoded or signed.
    #[error("the certificate or revocation list could not be made: {0}")]
    Encoding(#[from] rcgen::Error),
    /// One of the authority's own certificates.
    #[error(
        "the authority's own certificate cannot be used: {0}; restore root.crt and issuing.crt from a backup"
    )]
    Issuer(String),
}

/// When a certificate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// First moment.
    pub not_before: Timestamp,
    /// Last moment.
    pub not_after: Timestamp,
}

impl Period {
    /// From a little before `now` for `lifetime`, within `issuer` where there is one. Whole seconds, as X.509 has them.
    fn new(now: Timestamp, lifetime: Duration, issuer: Option<Self>) -> Self {
        let backdated = seconds(Timestamp::from_millis(now.millis().saturating_sub(millis(BACKDATING))));
        let end = seconds(now.plus(lifetime));
        issuer.map_or(Self { not_before: backdated, not_after: end }, |issuer| Self {
            not_before: backdated.max(issuer.not_before),
            not_after: end.min(issuer.not_after),
        })
    }

    /// Whether two thirds of it are over at `now`: time to renew.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        let whole = self.not_after.since(self.not_before);
        now.since(self.not_before) >= whole.saturating_mul(2) / 3
    }
}

fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.seconds().saturating_mul(1000))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A certificate and when it counts.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) der: Bytes,
    pub(crate) period: Period,
}

/// One of the authority's certificates with its private key.
pub(crate) struct Ca {
    pub(crate) certificate: Certificate,
    issuer: Issuer<'static, CaKey>,
}

impl Ca {
    /// A root: self-signed, with one level of authorities below it.
    pub(crate) fn new_root(domain: &TrustDomain, key: CaKey, now: Timestamp) -> Result<Self, SignError> {
        let period = Period::new(now, ROOT_LIFETIME, None);
        let params = ca_params(domain, "Valise Root CA", 1, period)?;
        let der = Bytes::copy_from_slice(params.self_signed(&key)?.der());
        Ok(Self { certificate: Certificate { der, period }, issuer: Issuer::new(params, key) })
    }

    /// An issuing authority below this one, which certifies nodes only. No two of one root bear the same name: nodes
    /// tell by it which revocation list is whose.
    pub(crate) fn new_issuing(
        &self,
        domain: &TrustDomain,
        name: &str,
        serial: Serial,
        key: CaKey,
        now: Timestamp,
    ) -> Result<Self, SignError> {
        self.check_clock(now)?;
        let period = Period::new(now, ISSUING_LIFETIME, Some(self.certificate.period));
        let mut params = ca_params(domain, name, 0, period)?;
        params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
        params.use_authority_key_identifier_extension = true;
        let der = Bytes::copy_from_slice(params.signed_by(&key, &self.issuer)?.der());
        Ok(Self { certificate: Certificate { der, period }, issuer: Issuer::new(params, key) })
    }

    /// The authority of a certificate file, whose key must be `key`.
    pub(crate) fn open(der: Bytes, key: CaKey) -> Result<Self, SignError> {
        let certificate = read_certificate(der)?;
        let (_, parsed) = X509Certificate::from_der(&certificate.der)
            .map_err(|error| SignError::Issuer(error.to_string()))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.verifying_key().as_bytes() {
            return Err(SignError::Issuer(
                "it belongs to another key than the one in this folder".to_owned(),
            ));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate.der.to_vec().into(), key)?;
        Ok(Self { certificate, issuer })
    }

    /// The key that it signs with.
    pub(crate) fn verifying_key(&self) -> VerifyingKey {
        self.issuer.key().verifying_key()
    }

    /// Whether this authority may sign at `now`.
    pub(crate) fn check_clock(&self, now: Timestamp) -> Result<(), SignError> {
        let Period { not_before, not_after } = self.certificate.period;
        if now < not_before {
            return Err(SignError::ClockBehind { not_before, now });
        }
        if now >= not_after {
            return Err(SignError::IssuerExpired { not_after, now });
        }
        Ok(())
    }

    /// The certificate of a node: agencies connect, brokers listen.
    pub(crate) fn leaf(
        &self,
        identity: &SpiffeId,
        key: &VerifyingKey,
        serial: Serial,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Certificate, SignError> {
        self.check_clock(now)?;
        let period = Period::new(now, lifetime, Some(self.certificate.period));
        let (name, usage) = match &identity.role {
            Role::Agency(agency) => (agency.to_string(), ExtendedKeyUsagePurpose::ClientAuth),
            Role::Broker(broker) => (broker.to_string(), ExtendedKeyUsagePurpose::ServerAuth),
        };
        let mut params = params(&identity.trust_domain, &name, period)?;
        params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
        params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let der = Bytes::copy_from_slice(params.signed_by(&Ed25519Key(key), &self.issuer)?.der());
        Ok(Certificate { der, period })
    }

    /// A revocation list of what this authority issued.
    pub(crate) fn crl(
        &self,
        number: u64,
        revoked: &[RevokedSerial],
        period: Period,
    ) -> Result<Bytes, SignError> {
        let entry = |revoked: &RevokedSerial| {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(revoked.serial.as_bytes()),
                revocation_time: date_time(revoked.at)?,
                reason_code: Some(reason_code(revoked.reason)),
                invalidity_date: (revoked.since < revoked.at)
                    .then(|| date_time(revoked.since))
                    .transpose()?,
            })
        };
        let params = CertificateRevocationListParams {
            this_update: date_time(period.not_before)?,
            next_update: date_time(period.not_after)?,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect::<Result<_, SignError>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(Bytes::copy_from_slice(params.signed_by(&self.issuer)?.der()))
    }
}

/// One entry of a revocation list.
#[derive(Clone, Debug)]
pub(crate) struct RevokedSerial {
    pub(crate) serial: Serial,
    pub(crate) at: Timestamp,
    /// From when on its key may have been in other hands: the invalidity date (RFC 5280 section 5.3.2).
    pub(crate) since: Timestamp,
    pub(crate) reason: RevocationReason,
}

fn reason_code(reason: RevocationReason) -> rcgen::RevocationReason {
    match reason {
        RevocationReason::Unspecified => rcgen::RevocationReason::Unspecified,
        RevocationReason::KeyCompromise => rcgen::RevocationReason::KeyCompromise,
        RevocationReason::Superseded => rcgen::RevocationReason::Superseded,
        RevocationReason::CessationOfOperation => rcgen::RevocationReason::CessationOfOperation,
        RevocationReason::PrivilegeWithdrawn => rcgen::RevocationReason::PrivilegeWithdrawn,
    }
}

fn params(domain: &TrustDomain, name: &str, period: Period) -> Result<CertificateParams, SignError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let organisation: String = domain.as_str().chars().take(ORGANISATION_CHARS_MAX).collect();
    params.distinguished_name.push(DnType::OrganizationName, organisation);
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time(period.not_before)?;
    params.not_after = date_time(period.not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(Serial::draw().as_bytes()));
    Ok(params)
}

fn ca_params(
    domain: &TrustDomain,
    name: &str,
    path_len: u8,
    period: Period,
) -> Result<CertificateParams, SignError> {
    let mut params = params(domain, name, period)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_len));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// Reads one of the authority's certificates.
pub(crate) fn read_certificate(der: Bytes) -> Result<Certificate, SignError> {
    let bad = |problem: String| SignError::Issuer(problem);
    let (rest, parsed) = X509Certificate::from_der(&der).map_err(|error| bad(error.to_string()))?;
    if !rest.is_empty() {
        return Err(bad("bytes follow it".to_owned()));
    }
    let at = |seconds: i64| {
        Timestamp::from_millis(u64::try_from(seconds).unwrap_or_default().saturating_mul(1000))
    };
    let validity = parsed.validity();
    let period = Period {
        not_before: at(validity.not_before.timestamp()),
        not_after: at(validity.not_after.timestamp()),
    };
    Ok(Certificate { der, period })
}

fn date_time(at: Timestamp) -> Result<OffsetDateTime, SignError> {
    let seconds = i64::try_from(at.seconds()).map_err(|_| SignError::Time(at))?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| SignError::Time(at))
}

/// rcgen's view of a node's public key.
struct Ed25519Key<'a>(&'a VerifyingKey);

impl PublicKeyData for Ed25519Key<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl Serial {
    /// 128 random bits, the first byte not zero: positive, and of one length in every encoding (RFC 5280 section
    /// 4.1.2.2 allows 20 bytes).
    pub(crate) fn draw() -> Self {
        let mut bytes = [0; Self::LEN];
        while bytes.first() == Some(&0) {
            randomness().fill_bytes(&mut bytes);
        }
        Self::new(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_period_begins_five_minutes_early_and_never_outlives_its_issuer() {
        let now = at("2026-03-01T12:00:00.75Z");
        let alone = Period::new(now, 10 * DAY, None);
        assert_eq!(alone.not_before, at("2026-03-01T11:55:00Z"));
        assert_eq!(alone.not_after, at("2026-03-11T12:00:00Z"));
        let issuer = Period { not_before: at("2026-03-01T11:58:00Z"), not_after: at("2026-03-02T00:00:00Z") };
        assert_eq!(Period::new(now, 10 * DAY, Some(issuer)), issuer);
    }

    #[test]
    fn renewal_is_due_from_two_thirds_on() {
        let period = Period { not_before: at("2026-01-01T00:00:00Z"), not_after: at("2026-04-01T00:00:00Z") };
        assert!(!period.is_due(at("2026-03-01T23:59:59Z")));
        assert!(period.is_due(at("2026-03-02T00:00:00Z")));
    }

    #[test]
    fn a_serial_is_positive_whatever_is_drawn() {
        for _ in 0..1000 {
            assert_ne!(Serial::draw().as_bytes()[0], 0);
        }
    }
}
