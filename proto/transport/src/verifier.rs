//! [`Anchors`] as rustls asks them.
//!
//! Claimed, against a peer that runs its own TLS: no handshake succeeds without a certificate that [`Anchors::verify`]
//! accepts for the peer's side, and a signature over this very handshake by that certificate's key. It holds because
//! one [`Verifier`] stands on both sides, it asks for a certificate from both, it takes no signature but Ed25519 of
//! TLS 1.3, and it keeps nothing from one handshake to the next.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use valise_proto::id::SpiffeId;

use crate::error::CertificateError;
use crate::verify::{Anchors, SIGNATURES, Usage, timestamp};

/// rustls' view of [`Anchors`].
#[derive(Debug)]
pub(crate) struct Verifier {
    anchors: Arc<Anchors>,
    /// Only this peer, when connecting.
    expected: Option<SpiffeId>,
    /// Why the last certificate was not accepted: rustls passes it on as text only.
    refused: Mutex<Option<CertificateError>>,
}

impl Verifier {
    pub(crate) fn new(anchors: Arc<Anchors>, expected: Option<SpiffeId>) -> Self {
        Self { anchors, expected, refused: Mutex::new(None) }
    }

    pub(crate) fn take_refused(&self) -> Option<CertificateError> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: Usage,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let chain: Vec<CertificateDer<'_>> = std::iter::once(leaf).chain(intermediates).cloned().collect();
        let result =
            self.anchors.verify(&chain, usage, timestamp(now)).and_then(|identity| match &self.expected {
                Some(expected) if *expected != identity => {
                    Err(CertificateError::WrongRole { expected: expected.to_string(), got: identity })
                }
                Some(_) | None => Ok(()),
            });
        result.map_err(|error| {
            let refusal = error.to_rustls();
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            rustls::Error::InvalidCertificate(refusal)
        })
    }
}

/// TLS 1.2 is not offered, so its signatures never come.
fn no_tls12() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, Usage::Server, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &SIGNATURES)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SIGNATURES.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, Usage::Client, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &SIGNATURES)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SIGNATURES.supported_schemes()
    }
}
