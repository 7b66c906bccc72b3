//! What the authority demands of a certificate request (PKCS#10, RFC 2986).
//!
//! Claimed: whoever made the request holds the private half of its key, the key is an Ed25519 key that is not weak, and
//! the request names the identity asked for and nobody else. Whatever else it asks for is not looked at, because only
//! its key goes into the certificate.

use rcgen::CertificateSigningRequestParams;
use thiserror::Error;
use valise_proto::crypto::{KeyError, VerifyingKey};
use valise_proto::id::SpiffeId;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

/// Why a certificate request is not granted. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CsrError {
    /// Not a request.
    #[error("the certificate request cannot be read: {0}; have the agency make its enrolment request again")]
    Malformed(String),
    /// Not an Ed25519 key.
    #[error(
        "the certificate request is for {0} key; this exchange takes Ed25519 keys only: have the agency make its keys with `valise-agent init`"
    )]
    KeyType(String),
    /// The request's own signature does not verify.
    #[error(
        "the certificate request is not signed with the key it carries: it was altered, or its maker does not hold the key"
    )]
    Signature,
    /// A key that cannot be used.
    #[error("the certificate request's key cannot be used: {0}")]
    Key(#[from] KeyError),
    /// Not exactly the one identity.
    #[error("the certificate request names {got}; it must name {expected} and nothing else")]
    Identity {
        /// The identity asked for.
        expected: SpiffeId,
        /// What it names.
        got: String,
    },
}

/// Checks a DER request and returns the key it is for.
///
/// # Errors
/// [`CsrError`].
pub fn check_csr(der: &[u8], expected: &SpiffeId) -> Result<VerifyingKey, CsrError> {
    let malformed = |problem: String| CsrError::Malformed(problem);
    let (rest, csr) =
        X509CertificationRequest::from_der(der).map_err(|error| malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(malformed(format!("{} bytes follow it", rest.len())));
    }
    let subject_key = &csr.certification_request_info.subject_pki;
    let algorithm = subject_key.algorithm.algorithm.to_id_string();
    if algorithm != "1.3.101.112" {
        return Err(CsrError::KeyType(name_of(&algorithm)));
    }
    // This verifies the signature as well.
    CertificateSigningRequestParams::from_der(&der.to_vec().into()).map_err(|error| match error {
        rcgen::Error::InvalidCertificationRequestSignature => CsrError::Signature,
        // rcgen's own enum is marked non-exhaustive, so a last arm is needed.
        other => malformed(other.to_string()),
    })?;
    let key = VerifyingKey::from_bytes(subject_key.subject_public_key.data.as_ref())?;
    check_names(&csr, expected)?;
    Ok(key)
}

fn check_names(csr: &X509CertificationRequest<'_>, expected: &SpiffeId) -> Result<(), CsrError> {
    let mut names = Vec::new();
    for extension in csr.requested_extensions().into_iter().flatten() {
        if let ParsedExtension::SubjectAlternativeName(alternative) = extension {
            names.extend(alternative.general_names.iter().cloned());
        }
    }
    match names.as_slice() {
        [GeneralName::URI(uri)] if *uri == expected.to_string() => Ok(()),
        _ => Err(CsrError::Identity { expected: expected.clone(), got: described(&names) }),
    }
}

fn described(names: &[GeneralName<'_>]) -> String {
    const SHOWN_MAX: usize = 200;
    let all: Vec<String> = names.iter().map(ToString::to_string).collect();
    if all.is_empty() { "nobody".to_owned() } else { all.join(", ").chars().take(SHOWN_MAX).collect() }
}

/// The usual key types by name, others by number.
fn name_of(algorithm: &str) -> String {
    match algorithm {
        "1.2.840.113549.1.1.1" => "an RSA".to_owned(),
        "1.2.840.10045.2.1" => "an elliptic-curve (ECDSA)".to_owned(),
        "1.3.101.113" => "an Ed448".to_owned(),
        other => format!("a `{other}`"),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType, SignatureAlgorithm};

    use super::*;

    fn identity() -> SpiffeId {
        "spiffe://exchange.example/agency/fra/ncb".parse().unwrap()
    }

    fn csr(algorithm: &'static SignatureAlgorithm, names: &[SanType]) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        params.serialize_request(&key).unwrap().der().to_vec()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn ours() -> SanType {
        uri("spiffe://exchange.example/agency/fra/ncb")
    }

    #[test]
    fn a_request_for_the_right_identity_gives_its_key() {
        let der = csr(&rcgen::PKCS_ED25519, &[ours()]);
        check_csr(&der, &identity()).unwrap();
    }

    #[test]
    fn keys_that_are_not_ed25519_are_named() {
        for (algorithm, name) in [(&rcgen::PKCS_ECDSA_P256_SHA256, "ECDSA"), (&rcgen::PKCS_RSA_SHA256, "RSA")]
        {
            let error = check_csr(&csr(algorithm, &[ours()]), &identity()).unwrap_err();
            assert!(matches!(error, CsrError::KeyType(_)) && error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn a_request_that_names_anyone_else_is_refused() {
        let dns = SanType::DnsName("node.example".try_into().unwrap());
        for names in [
            vec![],
            vec![uri("spiffe://exchange.example/agency/ken/ncb")],
            vec![uri("spiffe://other.example/agency/fra/ncb")],
            vec![uri("spiffe://exchange.example/broker/b1")],
            vec![ours(), uri("spiffe://exchange.example/agency/ken/ncb")],
            vec![ours(), ours()],
            vec![ours(), dns.clone()],
            vec![dns],
        ] {
            let error = check_csr(&csr(&rcgen::PKCS_ED25519, &names), &identity()).unwrap_err();
            assert!(matches!(error, CsrError::Identity { .. }), "{names:?}: {error}");
        }
    }

    #[test]
    fn an_altered_request_is_refused() {
        let der = csr(&rcgen::PKCS_ED25519, &[ours()]);
        let mut forged = der.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(check_csr(&forged, &identity()), Err(CsrError::Signature));
        let mut longer = der.clone();
        longer.push(0);
        assert!(matches!(check_csr(&longer, &identity()), Err(CsrError::Malformed(_))));
        assert!(matches!(check_csr(&der[..der.len() - 1], &identity()), Err(CsrError::Malformed(_))));
    }
}
