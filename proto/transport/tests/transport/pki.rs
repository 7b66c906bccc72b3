//! An authority made by hand as the real one is: a root, an issuing CA below it, leaves, and a revocation list by each.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use valise_proto::crypto::VerifyingKey;
use valise_proto::id::{Timestamp, TrustDomain};
use valise_transport::{Anchors, Credentials, Options, Transport};

/// The exchange all tests play in.
pub(crate) fn domain() -> TrustDomain {
    "exchange.example".parse().unwrap()
}

/// The machine's time, by which handshakes judge.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

pub(crate) struct Authority {
    root: Arc<CertifiedIssuer<'static, KeyPair>>,
    issuing: CertifiedIssuer<'static, KeyPair>,
}

/// Serial of the issuing CA's own certificate.
const ISSUING_SERIAL: u64 = 7;

/// A leaf to be issued: an agency's or a broker's in order, until it is changed.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) names: Vec<SanType>,
    pub(crate) usages: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) serial: u64,
    /// First and last year.
    pub(crate) years: (i32, i32),
    pub(crate) algorithm: &'static SignatureAlgorithm,
}

impl Leaf {
    pub(crate) fn agency(name: &str) -> Self {
        Self::of(&format!("spiffe://exchange.example/agency/{name}"), ExtendedKeyUsagePurpose::ClientAuth)
    }

    pub(crate) fn broker(name: &str) -> Self {
        Self::of(&format!("spiffe://exchange.example/broker/{name}"), ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub(crate) fn of(uri: &str, usage: ExtendedKeyUsagePurpose) -> Self {
        Self {
            names: vec![uri_name(uri)],
            usages: vec![usage],
            serial: 100,
            years: (2020, 2090),
            algorithm: &rcgen::PKCS_ED25519,
        }
    }

    pub(crate) fn serial(mut self, serial: u64) -> Self {
        self.serial = serial;
        self
    }
}

pub(crate) fn uri_name(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

/// A chain (leaf first, without the root) and the leaf's key.
pub(crate) struct Issued {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: KeyPair,
}

impl Issued {
    pub(crate) fn chain_pem(&self) -> String {
        let armoured = self.chain.iter().map(|der| pem::encode(&pem::Pem::new("CERTIFICATE", der.to_vec())));
        armoured.collect()
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials::from_pem(self.chain_pem().as_bytes(), self.key.serialize_pem().as_bytes()).unwrap()
    }
}

/// A revocation list to be made.
#[derive(Clone)]
pub(crate) struct List {
    pub(crate) number: u64,
    /// The years of thisUpdate and nextUpdate.
    pub(crate) years: (i32, i32),
    pub(crate) revoked: Vec<u64>,
}

impl List {
    pub(crate) fn fresh() -> Self {
        Self { number: 1, years: (2020, 2090), revoked: Vec::new() }
    }

    pub(crate) fn revoking(serial: u64) -> Self {
        Self { revoked: vec![serial], ..Self::fresh() }
    }

    pub(crate) fn revoking_the_issuing_authority() -> Self {
        Self::revoking(ISSUING_SERIAL)
    }

    fn sign(&self, by: &CertifiedIssuer<'static, KeyPair>) -> Vec<u8> {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(self.years.0, 1, 1),
            next_update: date_time_ymd(self.years.1, 1, 1),
            crl_number: SerialNumber::from(self.number),
            issuing_distribution_point: None,
            revoked_certs: self.revoked.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(by).unwrap().der().to_vec()
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::with_issuing_key(&rcgen::PKCS_ED25519)
    }

    /// Every authority bears the same names; only the keys tell them apart.
    pub(crate) fn with_issuing_key(algorithm: &'static SignatureAlgorithm) -> Self {
        let root_key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let root = CertifiedIssuer::self_signed(authority("Exchange Root", 1), root_key).unwrap();
        let key = KeyPair::generate_for(algorithm).unwrap();
        let issuing =
            CertifiedIssuer::signed_by(authority("Exchange Issuing", ISSUING_SERIAL), key, &root).unwrap();
        Self { root: Arc::new(root), issuing }
    }

    /// The same root with the issuing CA that follows this one, under a name of its own.
    pub(crate) fn successor(&self) -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let params = authority("Exchange Issuing 2", ISSUING_SERIAL + 1);
        let issuing = CertifiedIssuer::signed_by(params, key, self.root.as_ref()).unwrap();
        Self { root: Arc::clone(&self.root), issuing }
    }

    pub(crate) fn issue(&self, leaf: &Leaf) -> Issued {
        let mut params = CertificateParams::default();
        params.subject_alt_names.clone_from(&leaf.names);
        params.extended_key_usages.clone_from(&leaf.usages);
        params.serial_number = Some(SerialNumber::from(leaf.serial));
        params.not_before = date_time_ymd(leaf.years.0, 1, 1);
        params.not_after = date_time_ymd(leaf.years.1, 1, 1);
        let key = KeyPair::generate_for(leaf.algorithm).unwrap();
        let certificate = params.signed_by(&key, &self.issuing).unwrap();
        Issued { chain: vec![certificate.der().clone(), self.issuing.der().clone()], key }
    }

    pub(crate) fn root_list(&self, list: &List) -> Vec<u8> {
        list.sign(&self.root)
    }

    pub(crate) fn issuing_list(&self, list: &List) -> Vec<u8> {
        list.sign(&self.issuing)
    }

    /// A list by the issuing CA's key under another name.
    pub(crate) fn list_as(&self, name: &str, list: &List) -> Vec<u8> {
        let key = KeyPair::from_pem(&self.issuing.key().serialize_pem()).unwrap();
        let other = CertifiedIssuer::self_signed(authority(name, ISSUING_SERIAL), key).unwrap();
        list.sign(&other)
    }

    /// One fresh list by each CA; the issuing CA's is this one.
    pub(crate) fn lists(&self, issuing: &List) -> Vec<Vec<u8>> {
        vec![self.root_list(&List::fresh()), self.issuing_list(issuing)]
    }

    pub(crate) fn anchors_with(&self, lists: &[Vec<u8>]) -> Anchors {
        Anchors::new(domain(), &[self.root.der().to_vec()], lists).unwrap()
    }

    pub(crate) fn anchors(&self) -> Anchors {
        self.anchors_with(&self.lists(&List::fresh()))
    }

    pub(crate) fn transport(&self, leaf: &Leaf, options: Options) -> Transport {
        Transport::new(self.issue(leaf).credentials(), self.anchors(), options)
    }
}

fn authority(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(SerialNumber::from(serial));
    params
}

/// The key of its issuing CA.
pub(crate) fn key_of(authority: &Authority) -> VerifyingKey {
    VerifyingKey::from_bytes(authority.issuing.key().public_key_raw()).unwrap()
}
