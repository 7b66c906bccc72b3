//! What is X.509: certificate requests, revocation lists, chains.

use std::sync::LazyLock;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use valise_proto::crypto::sha256;
use valise_proto::id::SpiffeId;
use valise_transport::Anchors;

use crate::exchange::{self, TRUST};
use crate::oracle::{bounded, refused};

/// A root from a fixed seed: a certificate, and the key that requests and lists are signed with.
static ROOT: LazyLock<CertifiedIssuer<'static, KeyPair>> = LazyLock::new(|| {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Invented root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2090, 1, 1));
    params.serial_number = Some(SerialNumber::from(1));
    CertifiedIssuer::self_signed(params, key("root")).unwrap()
});

fn key(of: &str) -> KeyPair {
    KeyPair::from_pem(&exchange::signing_key(of).to_pkcs8_pem().unwrap()).unwrap()
}

/// Who asks for a certificate.
fn identity() -> SpiffeId {
    SpiffeId::agency(TRUST.trust_domain.clone(), exchange::id("fra/ncb"))
}

/// A certificate request as it stands in an enrolment or renewal request, DER.
///
/// What is granted is for a key that signed it.
pub fn csr(der: &[u8]) -> bool {
    match bounded(der.len(), || valise_certs::request::check_csr(der, &identity())) {
        Ok(key) => {
            assert!(der.windows(32).any(|bytes| bytes == key.as_bytes()), "another key than it carries");
            let again = valise_certs::request::check_csr(der, &identity());
            assert_eq!(again, Ok(key), "the same request, and another answer");
            true
        }
        Err(error) => refused(&error),
    }
}

/// A revocation list, DER, that goes with the root's own.
///
/// Whatever it is, the root's own list is still the one of the root, unless the root signed this one too. One that is older
/// by what it says of itself counts for nothing, signed or not.
pub fn crl(der: &[u8]) -> bool {
    let root = ROOT.der().to_vec();
    let own = OWN_LIST.as_slice();
    let anchors = bounded(der.len(), || Anchors::new(TRUST.trust_domain.clone(), &[root.as_slice()], &[der]));
    let anchors = match anchors {
        Ok(anchors) => anchors,
        Err(error) => return refused(&error),
    };
    assert_eq!(anchors.revocations().len(), 1, "one list says one thing");
    for says in anchors.revocations() {
        assert!(says.number.len() <= 20, "a number of {} bytes (RFC 5280, 5.2.3)", says.number.len());
        let _ = says.urgency(exchange::now());
    }
    let signed = anchors.check_lists(&[]);
    if let Err(error) = &signed {
        refused(error);
    }
    let both = Anchors::new(TRUST.trust_domain.clone(), &[root.as_slice()], &[own, der]).unwrap();
    assert!((1..=2).contains(&both.revocations().len()), "two lists say three things");
    let counts = both.revocations().iter().any(|says| says.digest == sha256(&[der]));
    if counts && both.check_lists(&[]).is_ok() {
        assert_eq!(signed, Ok(()), "a list was taken that nobody signed");
    }
    true
}

static OWN_LIST: LazyLock<Vec<u8>> = LazyLock::new(|| list(1, &[]));

/// The root's list of this number.
pub(crate) fn list(number: u64, revoked: &[u64]) -> Vec<u8> {
    let revoked = revoked.iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2026, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 2, 1),
        next_update: date_time_ymd(2026, 4, 1),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&*ROOT).unwrap().der().to_vec()
}

/// The request of the agency that asks, and one for somebody else.
pub(crate) fn requests() -> [Vec<u8>; 2] {
    [identity().to_string(), "spiffe://exchange.example/agency/ken/ncb".to_owned()].map(|uri| {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.serialize_request(&key("fra/ncb")).unwrap().der().to_vec()
    })
}
