//! Revocation lists by themselves: what they say, which of them count, and who signed them.
//!
//! webpki checks the signature of a list when it uses it, which is only for chains of that list's issuer. A list that
//! nobody's chain needs is therefore kept unchecked, and one that somebody slipped in, with a number higher than the
//! issuer's own will have for long, would keep out every list to come. [`Anchors::check_lists`] closes that.
//!
//! [`Anchors::check_lists`]: crate::Anchors::check_lists

use std::cmp::Ordering;
use std::time::Duration;

use rustls::pki_types::TrustAnchor;
use valise_proto::crypto::{VerifyingKey, sha256};
use valise_proto::freshness::Urgency;
use valise_proto::id::{Digest, Timestamp};
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::prelude::FromDer;

use crate::error::CertificateError;

/// What comes before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410 section 4).
const ED25519_SPKI_PREFIX: [u8; 10] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What a revocation list says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Who issued it (RFC 4514 name).
    pub issuer: String,
    /// Its CRL number, big-endian (RFC 5280 section 5.2.3).
    pub number: Vec<u8>,
    /// When it was issued.
    pub this_update: Timestamp,
    /// When it runs out.
    pub next_update: Timestamp,
    /// SHA-256 of the whole list: under one number there is one list only.
    pub digest: Digest,
}

impl Revocation {
    /// How near its end is, without regard to any grace.
    #[must_use]
    pub fn urgency(&self, now: Timestamp) -> Urgency {
        Urgency::of(self.this_update, self.next_update, now)
    }

    /// Once it has run out, and `grace` is over too, the error that says so.
    pub(crate) fn run_out(&self, grace: Duration, now: Timestamp) -> Option<CertificateError> {
        let Self { issuer, this_update, next_update, .. } = self;
        (now > next_update.plus(grace)).then(|| CertificateError::RevocationListExpired {
            issuer: issuer.clone(),
            this_update: *this_update,
            next_update: *next_update,
            grace,
            now,
        })
    }
}

/// A list, as webpki uses it and as it came.
pub(crate) struct List {
    pub(crate) usable: CertRevocationList<'static>,
    pub(crate) says: Revocation,
    encoded: Vec<u8>,
}

impl List {
    pub(crate) fn read(der: &[u8]) -> Result<Self, String> {
        let (_, crl) = x509_parser::revocation_list::CertificateRevocationList::from_der(der)
            .map_err(|error| error.to_string())?;
        let next_update = crl.next_update().ok_or("it has no nextUpdate")?;
        let says = Revocation {
            issuer: crl.issuer().to_string(),
            number: crl.crl_number().map(|number| number.to_bytes_be()).unwrap_or_default(),
            this_update: from_seconds(crl.last_update().timestamp()),
            next_update: from_seconds(next_update.timestamp()),
            digest: sha256(&[der]),
        };
        let usable = OwnedCertRevocationList::from_der(der).map_err(|error| error.to_string())?;
        Ok(Self { usable: usable.into(), says, encoded: der.to_vec() })
    }

    /// Whether one of these Ed25519 keys signed it.
    pub(crate) fn is_signed_by<'k>(&self, mut keys: impl Iterator<Item = &'k [u8]>) -> bool {
        let parsed = x509_parser::revocation_list::CertificateRevocationList::from_der(&self.encoded);
        let Ok((_, crl)) = parsed else { return false };
        let (body, signature) = (crl.tbs_cert_list.as_ref(), crl.signature_value.data.as_ref());
        keys.any(|key| webpki::aws_lc_rs::ED25519.verify_signature(key, body, signature).is_ok())
    }
}

/// The key of a root, if it is an Ed25519 key.
pub(crate) fn key_of<'a>(root: &'a TrustAnchor<'_>) -> Option<&'a [u8]> {
    root.subject_public_key_info.as_ref().strip_prefix(&ED25519_SPKI_PREFIX)
}

pub(crate) fn bytes_of(key: &VerifyingKey) -> &[u8] {
    key.as_bytes()
}

/// Ordered by issuer, one list each.
pub(crate) fn newest_of_each_issuer(mut lists: Vec<List>) -> Vec<List> {
    lists.sort_by(|a, b| a.says.issuer.cmp(&b.says.issuer).then_with(|| compare_age(&b.says, &a.says)));
    lists.dedup_by(|older, newest| older.says.issuer == newest.says.issuer);
    lists
}

/// By CRL number, which rises with every list of an issuer, then by date for those that carry none.
fn compare_age(a: &Revocation, b: &Revocation) -> Ordering {
    let significant =
        |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>();
    let (left, right) = (significant(&a.number), significant(&b.number));
    let by_number = left.len().cmp(&right.len()).then_with(|| left.cmp(&right));
    by_number.then_with(|| a.this_update.cmp(&b.this_update))
}

/// Seconds since 1970; a time before it is as good as 1970.
pub(crate) fn from_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(seconds).unwrap_or_default().saturating_mul(1000))
}
