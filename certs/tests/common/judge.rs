//! What a node makes of a chain: webpki, as the transport uses it.

use bytes::Bytes;
use rustls_pki_types::{CertificateDer, UnixTime};
use valise_certs::Publication;
use valise_proto::id::Timestamp;

/// Judges a chain (leaf first) as a node does: revocation of the whole chain, unknown or stale lists refused.
pub fn verify(
    publication: &Publication,
    chain: &[Bytes],
    usage: webpki::KeyUsage,
    at: Timestamp,
) -> Result<(), webpki::Error> {
    let ders: Vec<CertificateDer<'_>> = chain.iter().map(|der| CertificateDer::from(der.as_ref())).collect();
    let root = CertificateDer::from(publication.trust.anchors[0].as_ref());
    let anchors = [webpki::anchor_from_trusted_cert(&root).unwrap()];
    let read = |der: &Bytes| webpki::OwnedCertRevocationList::from_der(der).unwrap().into();
    let lists: Vec<webpki::CertRevocationList<'_>> = publication.crls.iter().map(read).collect();
    let lists: Vec<_> = lists.iter().collect();
    let revocation = webpki::RevocationOptionsBuilder::new(&lists)
        .unwrap()
        .with_depth(webpki::RevocationCheckDepth::Chain)
        .with_status_policy(webpki::UnknownStatusPolicy::Deny)
        .with_expiration_policy(webpki::ExpirationPolicy::Enforce)
        .build();
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_millis(at.millis()));
    let leaf = webpki::EndEntityCert::try_from(&ders[0])?;
    let algorithms = [webpki::aws_lc_rs::ED25519];
    leaf.verify_for_usage(&algorithms, &anchors, &ders[1..], time, usage, Some(revocation), None).map(|_| ())
}

/// An agency connecting.
pub fn client() -> webpki::KeyUsage {
    webpki::KeyUsage::client_auth()
}

/// A broker listening.
pub fn server() -> webpki::KeyUsage {
    webpki::KeyUsage::server_auth()
}

/// The certificates of a PEM file, as they come.
pub fn chain_of(text: &str) -> Vec<Bytes> {
    pem::parse_many(text).unwrap().into_iter().map(|found| Bytes::from(found.into_contents())).collect()
}
