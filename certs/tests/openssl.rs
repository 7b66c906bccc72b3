//! What OpenSSL makes of certificates, revocation lists and key files, and that webpki agrees with it.
//!
//! OpenSSL 3 must be on the machine: a test that was not run shows nothing, so it fails where `openssl` is missing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may stop at the first surprise

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bytes::Bytes;
use common::judge::{chain_of, client, server, verify};
use common::{Founded, Node, PASSPHRASE, certificate_pem, member, passphrase, text};
use valise_certs::authority::Renewal;
use valise_certs::{Profile, Publication, RevocationReason, RootPlace};
use valise_proto::label::Classification;

fn openssl(args: &[&str]) -> Output {
    let ran = Command::new("openssl").args(args).stdin(Stdio::null()).output();
    ran.expect("install OpenSSL 3 (the command `openssl`), which these tests ask")
}

fn shown(args: &[&str]) -> String {
    let output = openssl(args);
    assert!(output.status.success(), "openssl {args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// An authority with one agency and one broker, and their chains.
struct Exchange {
    founded: Founded,
    agency: Vec<Bytes>,
    broker: Vec<Bytes>,
}

impl Exchange {
    fn new() -> Self {
        let mut founded = Founded::new();
        let now = founded.now;
        let kit = founded.authority.issue_broker(&"b1".parse().unwrap(), vec!["127.0.0.1:4433".into()], now);
        let broker = chain_of(&kit.unwrap().chain_pem);
        let profile = Profile::up_to(Classification::Secret);
        let bundle = founded.authority.enrol(&Node::new("fra/ncb").request(), &profile, now).unwrap();
        let agency = bundle.bundle().chain.clone();
        Self { founded, agency, broker }
    }

    fn publication(&mut self) -> Publication {
        self.founded.authority.publication(self.founded.now).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.founded.temp.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `openssl verify` of a chain (leaf first) against the trust and the lists of a publication.
    fn judged(&self, publication: &Publication, chain: &[Bytes], purpose: &str) -> Output {
        let root = self.write("root.pem", &certificate_pem(&publication.trust.anchors[0]));
        let crls = self.write("crls.pem", &publication.crls_pem());
        let issuing = self.write("issuing.pem", &certificate_pem(&chain[1]));
        let leaf = self.write("leaf.pem", &certificate_pem(&chain[0]));
        openssl(&[
            "verify",
            "-x509_strict",
            "-crl_check_all",
            "-purpose",
            purpose,
            "-CAfile",
            &root,
            "-CRLfile",
            &crls,
            "-untrusted",
            &issuing,
            &leaf,
        ])
    }

    fn x509(&self, der: &[u8]) -> String {
        let file = self.write("shown.pem", &certificate_pem(der));
        shown(&["x509", "-in", &file, "-noout", "-text"])
    }
}

fn refused(output: &Output, error: &str) {
    let told = text(&output.stderr);
    assert!(!output.status.success() && told.contains(error), "expected `{error}` in: {told}");
}

#[test]
fn openssl_and_webpki_accept_a_good_chain_and_refuse_a_revoked_one() {
    let mut exchange = Exchange::new();
    let now = exchange.founded.now;
    let before = exchange.publication();
    for (chain, usage, purpose, other) in [
        (&exchange.agency, client(), "sslclient", "sslserver"),
        (&exchange.broker, server(), "sslserver", "sslclient"),
    ] {
        let verified = exchange.judged(&before, chain, purpose);
        assert!(verified.status.success(), "{purpose}: {}", text(&verified.stderr));
        assert_eq!(verify(&before, chain, usage, now), Ok(()));
        refused(&exchange.judged(&before, chain, other), "error 26 at 0 depth");
    }
    // A list of each of the two authorities is needed: with either missing, nothing is believed.
    let crls = before.crls.clone();
    for crls in [crls[..1].to_vec(), crls[1..].to_vec()] {
        let partial = Publication { crls, ..before.clone() };
        refused(&exchange.judged(&partial, &exchange.agency, "sslclient"), "error 3 at");
        let judged = verify(&partial, &exchange.agency, client(), now);
        assert_eq!(judged, Err(webpki::Error::UnknownRevocationStatus));
    }
    let authority = &mut exchange.founded.authority;
    authority.revoke(&member("fra/ncb"), RevocationReason::KeyCompromise, now).unwrap();
    let after = exchange.publication();
    refused(&exchange.judged(&after, &exchange.agency, "sslclient"), "error 23 at 0 depth");
    assert_eq!(verify(&after, &exchange.agency, client(), now), Err(webpki::Error::CertRevoked));
    let other = exchange.judged(&after, &exchange.broker, "sslserver");
    assert!(other.status.success(), "{}", text(&other.stderr));
    assert_eq!(verify(&after, &exchange.broker, server(), now), Ok(()));
}

#[test]
fn openssl_and_webpki_refuse_what_a_revoked_issuing_authority_issued() {
    let mut exchange = Exchange::new();
    let now = exchange.founded.now;
    let root = RootPlace { dir: exchange.founded.dir.join("root"), passphrase: passphrase() };
    let list = std::time::Duration::from_secs(86_400);
    let renewal = Renewal { ceiling: None, widen: false, new_directory_key: true, root_list: list };
    let authority = &mut exchange.founded.authority;
    let successor = authority.renew_issuing(&root, &passphrase(), &renewal, now).unwrap();
    let kit = authority.issue_broker(&"b2".parse().unwrap(), vec!["127.0.0.1:4434".into()], now).unwrap();
    let after = chain_of(&kit.chain_pem);
    // What the former one issued counts on ...
    let publication = exchange.publication();
    for chain in [&exchange.broker, &after] {
        let judged = exchange.judged(&publication, chain, "sslserver");
        assert!(judged.status.success(), "{}", text(&judged.stderr));
        assert_eq!(verify(&publication, chain, server(), now), Ok(()));
    }
    // ... until the root revokes it.
    let authority = &mut exchange.founded.authority;
    authority.revoke_issuing(&root, successor.former, RevocationReason::KeyCompromise, (list, now)).unwrap();
    let publication = exchange.publication();
    refused(&exchange.judged(&publication, &exchange.broker, "sslserver"), "error 23 at 1 depth");
    assert!(verify(&publication, &exchange.broker, server(), now).is_err());
    let judged = exchange.judged(&publication, &after, "sslserver");
    assert!(judged.status.success(), "{}", text(&judged.stderr));
    assert_eq!(verify(&publication, &after, server(), now), Ok(()));
}

/// The words under a heading of `openssl x509 -text`, which stand on its next line.
fn under<'a>(shown: &'a str, heading: &str) -> Vec<&'a str> {
    let mut lines = shown.lines();
    let found = lines.find(|line| line.trim().starts_with(heading));
    assert!(found.is_some(), "no `{heading}` in: {shown}");
    lines.next().unwrap().trim().split(", ").collect()
}

#[test]
fn openssl_reads_exactly_one_name_and_the_right_usages() {
    let mut exchange = Exchange::new();
    for (leaf, name, usage) in [
        (
            &exchange.agency[0],
            "URI:spiffe://exchange.example/agency/fra/ncb",
            "TLS Web Client Authentication",
        ),
        (&exchange.broker[0], "URI:spiffe://exchange.example/broker/b1", "TLS Web Server Authentication"),
    ] {
        let shown = exchange.x509(leaf);
        assert_eq!(under(&shown, "X509v3 Subject Alternative Name"), [name]);
        assert_eq!(under(&shown, "X509v3 Key Usage: critical"), ["Digital Signature"]);
        assert_eq!(under(&shown, "X509v3 Extended Key Usage"), [usage]);
        assert_eq!(under(&shown, "X509v3 Basic Constraints"), ["CA:FALSE"]);
        for line in ["URI:", "Public Key Algorithm: ED25519", "X509v3 Authority Key Identifier"] {
            assert_eq!(shown.matches(line).count(), 1, "`{line}` in: {shown}");
        }
        assert!(!shown.contains("DNS:") && !shown.contains("IP Address:"), "{shown}");
    }
    let root = exchange.publication().trust.anchors[0].clone();
    for (authority, constraints) in
        [(&root, ["CA:TRUE", "pathlen:1"]), (&exchange.agency[1], ["CA:TRUE", "pathlen:0"])]
    {
        let shown = exchange.x509(authority);
        assert_eq!(under(&shown, "X509v3 Basic Constraints: critical"), constraints);
        assert_eq!(under(&shown, "X509v3 Key Usage: critical"), ["Certificate Sign", "CRL Sign"]);
        assert!(!shown.contains("X509v3 Subject Alternative Name"), "{shown}");
    }
}

#[test]
fn openssl_reads_the_revocation_lists_with_number_reason_and_serial() {
    let mut exchange = Exchange::new();
    let now = exchange.founded.now;
    let register = exchange.founded.authority.register();
    let shown_of = serde_json::to_value(register.member(&member("fra/ncb")).unwrap()).unwrap();
    let serial = shown_of["certificates"][0]["serial"].as_str().unwrap().to_uppercase();
    let authority = &mut exchange.founded.authority;
    let since = common::earlier(now, std::time::Duration::from_secs(3600));
    authority.revoke_since(&member("fra/ncb"), RevocationReason::KeyCompromise, since, now).unwrap();
    let publication = exchange.publication();
    let issuing = exchange.write("issuing.pem", &certificate_pem(&exchange.agency[1]));
    let root = exchange.write("root.pem", &certificate_pem(&publication.trust.anchors[0]));
    let list = |der: &Bytes, signer: &str| {
        let file = exchange.write("list.pem", &pem::encode(&pem::Pem::new("X509 CRL", der.as_ref())));
        let told = openssl(&["crl", "-in", &file, "-noout", "-CAfile", signer, "-text"]);
        assert!(text(&told.stderr).contains("verify OK"), "{}", text(&told.stderr));
        text(&told.stdout)
    };
    let of_root = list(&publication.crls[0], &root);
    assert!(of_root.contains("No Revoked Certificates."), "{of_root}");
    let of_issuing = list(&publication.crls[1], &issuing);
    assert_eq!(under(&of_issuing, "X509v3 CRL Number"), [publication.crl_number.to_string()]);
    assert_eq!(under(&of_issuing, "X509v3 CRL Reason Code"), ["Key Compromise"]);
    assert_eq!(of_issuing.matches("Invalidity Date").count(), 1, "{of_issuing}");
    assert!(of_issuing.contains(&format!("Serial Number: {serial}")), "{serial} in: {of_issuing}");
    assert_eq!(of_issuing.matches("Serial Number:").count(), 1, "{of_issuing}");
}

/// In an emergency the keys are readable without this tool, and with the passphrase only.
#[test]
fn openssl_opens_the_key_files_with_the_passphrase_only() {
    let Founded { temp: _temp, dir, .. } = Founded::new();
    let file = |name: &str| Path::new(&dir).join(name).to_str().unwrap().to_owned();
    let public = |pass: &str| {
        let pass = format!("pass:{pass}");
        openssl(&["pkey", "-in", &file("issuing.key"), "-passin", &pass, "-pubout"])
    };
    let certified = shown(&["x509", "-in", &file("issuing.crt"), "-noout", "-pubkey"]);
    let opened = public(PASSPHRASE);
    assert_eq!(text(&opened.stdout), certified, "{}", text(&opened.stderr));
    assert!(!public("another passphrase").status.success());
}
