//! Whether those who are connected still may be: a certificate that expired or was revoked since the handshake ends its
//! connection, and the agency is told exactly why.

use valise_proto::refusal::{Refusal, RefusalCode};
use valise_transport::{CertificateError, Connection};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Shared;
use super::driver::Input;
use crate::core::SessionId;

/// Verifies the peer's certificate again, by what is in force now. Takes a millisecond of CPU.
///
/// # Errors
/// The [`Refusal`] to part with.
pub(super) fn recheck(connection: &Connection) -> Result<(), Refusal> {
    connection.recheck().map_err(|error| refusal(connection.certificate(), &error))
}

/// Verifies these peers again, on a thread of its own, and parts with those that do not count any more.
pub(super) fn recheck_all(shared: &Shared, peers: Vec<(SessionId, Connection)>) {
    let inputs = shared.inputs.clone();
    shared.tasks.spawn_blocking(move || {
        for (session, connection) in peers {
            if let Err(reason) = recheck(&connection) {
                // The driver is gone only when the broker is stopping.
                let _ = inputs.blocking_send(Input::Violation { session, reason });
            }
        }
    });
}

fn refusal(certificate: &[u8], error: &CertificateError) -> Refusal {
    let of = || format!("certificate {} of this connection", serial(certificate));
    match error {
        // The broker's own lists: no fault of the peer, and nothing it can mend.
        CertificateError::RevocationListExpired { .. }
        | CertificateError::RevocationListNotYetValid { .. }
        | CertificateError::RevocationUnknown => Refusal::new(
            RefusalCode::DirectoryStale,
            format!("this broker cannot tell whether certificates are revoked: {error}"),
        ),
        CertificateError::Revoked => Refusal::new(
            RefusalCode::KeyNotActive,
            format!("{} was revoked, or the authority that issued it: ask the authority for another", of()),
        ),
        CertificateError::NoCertificate
        | CertificateError::Malformed(_)
        | CertificateError::UnknownAuthority
        | CertificateError::Expired { .. }
        | CertificateError::NotYetValid { .. }
        | CertificateError::WrongUsage(_)
        | CertificateError::WrongTrustDomain { .. }
        | CertificateError::WrongRole { .. }
        | CertificateError::WrongAlgorithm
        | CertificateError::NotSpiffe(_)
        | CertificateError::Invalid(_) => {
            Refusal::new(RefusalCode::KeyNotActive, format!("{} is not accepted any more: {error}", of()))
        }
    }
}

/// The serial number as the authority's tool shows it: hexadecimal.
fn serial(certificate: &[u8]) -> String {
    let parsed = X509Certificate::from_der(certificate).ok();
    let bytes = parsed.map(|(_, certificate)| certificate.raw_serial().to_vec()).unwrap_or_default();
    // DER puts a zero before a number whose first bit is set.
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.iter().skip(zeros).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a peer with which this broker parts for this reason is done with at once: it has lost the right to the
/// connection itself, rather than broken a rule of it.
pub(super) fn is_barred(reason: &Refusal) -> bool {
    matches!(
        reason.code,
        RefusalCode::Suspended
            | RefusalCode::Revoked
            | RefusalCode::UnknownAgency
            | RefusalCode::KeyNotActive
    )
}
