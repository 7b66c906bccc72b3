//! What the nodes make of the certificates and revocation lists: webpki as they use it. `openssl.rs` asks OpenSSL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may stop at the first surprise

mod common;

use std::fs;

use bytes::Bytes;
use common::judge::{chain_of, client, verify};
use common::{DAY, Founded, Node, agency, earlier, member, mode, now};
use valise_certs::authority::{CHAIN_FILE, Publication, RECEIPT_KEY_FILE, TLS_KEY_FILE, TRUST_FILE};
use valise_certs::{Profile, RevocationReason};
use valise_proto::crypto::SigningKey;
use valise_proto::directory::AgencyStatus;
use valise_proto::label::Classification;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

#[test]
fn an_agencys_certificate_is_good_for_connecting_and_for_nothing_else() {
    let Founded { temp: _temp, mut authority, now, .. } = Founded::new();
    let bundle = authority
        .enrol(&Node::new("fra/ncb").request(), &Profile::up_to(Classification::Secret), now)
        .unwrap();
    let publication = authority.publication(now).unwrap();
    let chain = &bundle.bundle().chain;
    assert_eq!(verify(&publication, chain, client(), now), Ok(()));
    let as_server = verify(&publication, chain, webpki::KeyUsage::server_auth(), now);
    assert!(matches!(as_server, Err(webpki::Error::RequiredEkuNotFoundContext(_))), "{as_server:?}");
    // A clock four minutes behind the authority's is no reason to refuse, one that is six minutes behind is.
    let behind = |minutes: u64| earlier(now, std::time::Duration::from_secs(60 * minutes));
    assert_eq!(verify(&publication, chain, client(), behind(4)), Ok(()));
    assert!(matches!(
        verify(&publication, chain, client(), behind(6)),
        Err(webpki::Error::CertNotValidYet { .. })
    ));
}

#[test]
fn a_brokers_certificate_is_good_for_listening_and_its_kit_is_for_its_owner_only() {
    let Founded { mut authority, now, temp, .. } = Founded::new();
    let kit = authority.issue_broker(&"b1".parse().unwrap(), vec!["127.0.0.1:4433".to_owned()], now).unwrap();
    let publication = authority.publication(now).unwrap();
    let chain = chain_of(&kit.chain_pem);
    assert_eq!(verify(&publication, &chain, webpki::KeyUsage::server_auth(), now), Ok(()));
    assert!(verify(&publication, &chain, client(), now).is_err());
    let out = temp.path().join("b1");
    kit.write(&out).unwrap();
    for (name, expected) in
        [(TLS_KEY_FILE, 0o600), (RECEIPT_KEY_FILE, 0o600), (CHAIN_FILE, 0o644), (TRUST_FILE, 0o644)]
    {
        assert_eq!(mode(&out.join(name)), expected, "{name}");
    }
    let receipt_key =
        SigningKey::from_pkcs8_pem(&fs::read_to_string(out.join(RECEIPT_KEY_FILE)).unwrap()).unwrap();
    let listed = &publication.directory.broker(&"b1".parse().unwrap()).unwrap().receipt_keys;
    assert_eq!(listed.iter().map(|entry| entry.key_id).collect::<Vec<_>>(), [receipt_key.key_id()]);
    let tls_key = rcgen::KeyPair::from_pem(&fs::read_to_string(out.join(TLS_KEY_FILE)).unwrap()).unwrap();
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    assert_eq!(leaf.public_key().subject_public_key.data.as_ref(), tls_key.public_key_raw());
    assert_eq!(format!("{kit:?}"), "BrokerKit(spiffe://exchange.example/broker/b1)");
}

#[test]
fn g12_revoked_certificates_and_stale_lists_are_refused() {
    let Founded { temp: _temp, mut authority, now, .. } = Founded::new();
    let profile = Profile::up_to(Classification::Secret);
    let revoked = authority.enrol(&Node::new("fra/ncb").request(), &profile, now).unwrap();
    let other = authority.enrol(&Node::new("ken/ncb").request(), &profile, now).unwrap();
    authority.revoke(&member("fra/ncb"), RevocationReason::KeyCompromise, now).unwrap();
    let publication = authority.publication(now).unwrap();
    assert_eq!(verify(&publication, &revoked.bundle().chain, client(), now), Err(webpki::Error::CertRevoked));
    assert_eq!(verify(&publication, &other.bundle().chain, client(), now), Ok(()));
    let entry = publication.directory.agency(&agency("fra/ncb")).unwrap();
    assert_eq!(entry.status, AgencyStatus::Revoked { since: now });
    let later = now.plus(31 * DAY);
    let stale = verify(&publication, &other.bundle().chain, client(), later);
    assert!(matches!(stale, Err(webpki::Error::CrlExpired { .. })), "{stale:?}");
    // The root's list alone does not cover the leaf.
    let alone = Publication { crls: publication.crls[..1].to_vec(), ..publication };
    assert_eq!(
        verify(&alone, &other.bundle().chain, client(), now),
        Err(webpki::Error::UnknownRevocationStatus)
    );
}

#[test]
fn a_leaf_says_one_thing_about_its_holder_and_is_within_its_issuers_time() {
    // Founded almost five years ago, so that the issuing certificate ends before the leaf's 90 days are over.
    let founded = earlier(now(), 1800 * DAY);
    let Founded { temp: _temp, mut authority, .. } = Founded::at(founded);
    let (now, node) = (now(), Node::new("fra/ncb"));
    // What else a request asks for does not come true.
    let greedy = node.request_with(|request| {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = vec![rcgen::SanType::URI(node.identity().to_string().try_into().unwrap())];
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        request.csr_der = Bytes::copy_from_slice(params.serialize_request(&node.tls).unwrap().der());
    });
    let bundle = authority.enrol(&greedy, &Profile::up_to(Classification::Secret), now).unwrap();
    let chain = &bundle.bundle().chain;
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    let (_, issuing) = X509Certificate::from_der(&chain[1]).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names, [GeneralName::URI("spiffe://exchange.example/agency/fra/ncb")]);
    assert!(!leaf.is_ca());
    let shown = serde_json::to_value(authority.register().member(&member("fra/ncb")).unwrap()).unwrap();
    let on_record = shown["certificates"][0]["serial"].as_str().unwrap();
    assert_eq!(hex::encode(leaf.raw_serial()).trim_start_matches("00"), on_record);
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign());
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.client_auth && !extended.server_auth && !extended.any && extended.other.is_empty());
    assert_eq!(leaf.validity().not_after, issuing.validity().not_after);
    assert!(leaf.raw_serial().len() >= 16 && leaf.raw_serial()[0] & 0x80 == 0, "{:?}", leaf.raw_serial());
    let identifiers = |certificate: &X509Certificate<'_>| {
        let mut found = (None, None);
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => found.0 = Some(id.0.to_vec()),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    found.1 = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                _ => {}
            }
        }
        found
    };
    let (subject, issuer) = identifiers(&leaf);
    assert!(subject.is_some() && issuer.is_some() && issuer == identifiers(&issuing).0);
    assert_eq!(issuing.basic_constraints().unwrap().unwrap().value.path_len_constraint, Some(0));
    // When the issuing certificate is over, so is issuing.
    let after = now.plus(30 * DAY);
    let error = authority.publication(after).unwrap_err().to_string();
    assert!(error.contains("issuing certificate expired"), "{error}");
}

#[test]
fn g01_a_lost_key_is_revoked_with_all_its_certificates_whichever_was_named() {
    let Founded { temp: _temp, mut authority, now: start, .. } = Founded::new();
    let (node, profile) = (Node::new("fra/ncb"), Profile::up_to(Classification::Secret));
    let first = authority.enrol(&node.request(), &profile, start).unwrap().bundle().chain.clone();
    let now = start.plus(70 * DAY);
    let second = authority.bundle(&node.id, now).unwrap().bundle().chain.clone();
    assert_ne!(first[0], second[0]);
    let shown = serde_json::to_value(authority.register().member(&member("fra/ncb")).unwrap()).unwrap();
    let oldest = shown["certificates"][1]["serial"].as_str().unwrap().parse().unwrap();
    authority.revoke_certificate(oldest, RevocationReason::KeyCompromise, now, now).unwrap();
    let publication = authority.publication(now).unwrap();
    for chain in [&first, &second] {
        assert_eq!(verify(&publication, chain, client(), now), Err(webpki::Error::CertRevoked));
    }
    // Nor is another one issued for it.
    assert!(authority.bundle(&node.id, now).is_err(), "the lost key is certified again");
    assert!(authority.renew(&node.renewal(&node, now), now).is_err(), "the lost key is certified again");
}

#[test]
fn a_certificate_that_was_superseded_leaves_others_of_its_key_as_they_are() {
    let Founded { temp: _temp, mut authority, now: start, .. } = Founded::new();
    let (node, profile) = (Node::new("fra/ncb"), Profile::up_to(Classification::Secret));
    let first = authority.enrol(&node.request(), &profile, start).unwrap().bundle().chain.clone();
    let now = start.plus(70 * DAY);
    let second = authority.bundle(&node.id, now).unwrap().bundle().chain.clone();
    let shown = serde_json::to_value(authority.register().member(&member("fra/ncb")).unwrap()).unwrap();
    let oldest = shown["certificates"][1]["serial"].as_str().unwrap().parse().unwrap();
    authority.revoke_certificate(oldest, RevocationReason::Superseded, now, now).unwrap();
    let publication = authority.publication(now).unwrap();
    assert_eq!(verify(&publication, &first, client(), now), Err(webpki::Error::CertRevoked));
    assert_eq!(verify(&publication, &second, client(), now), Ok(()));
}
