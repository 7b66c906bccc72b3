//! Agencies as they come to the authority, and a look at what they get.

#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod judge;
pub mod tool;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use getrandom::SysRng;
use rand_core::UnwrapErr;
use rcgen::{CertificateParams, KeyPair, SanType};
use valise_certs::{Authority, Founding, Passphrase};
use valise_proto::crypto::{SealingKey, SigningKey};
use valise_proto::enrolment::{EnrolmentRequest, SignedEnrolmentRequest};
use valise_proto::id::{AgencyId, Role, SpiffeId, Timestamp};
use valise_proto::renewal::{RenewalRequest, SignedRenewalRequest};

pub const PASSPHRASE: &str = "correct horse battery staple";
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

pub fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_millis(at.millis() - u64::try_from(by.as_millis()).unwrap())
}

pub fn agency(name: &str) -> AgencyId {
    name.parse().unwrap()
}

pub fn member(name: &str) -> Role {
    valise_certs::member::parse(name).unwrap()
}

pub fn passphrase() -> Passphrase {
    Passphrase::new(PASSPHRASE).unwrap()
}

pub fn founding() -> Founding {
    Founding::new("exchange.example".parse().unwrap(), "exchange.example".parse().unwrap())
}

/// An authority founded now, and the folder that holds its folder.
pub struct Founded {
    pub temp: tempfile::TempDir,
    pub dir: PathBuf,
    pub authority: Authority,
    pub now: Timestamp,
}

impl Founded {
    pub fn new() -> Self {
        Self::at(now())
    }

    pub fn at(now: Timestamp) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("ca");
        // For tests that found it years ago.
        let founding = Founding { root_list: 1826 * DAY, ..founding() };
        let authority = Authority::init(&dir, &founding, &passphrase(), now).unwrap();
        Self { temp, dir, authority, now }
    }
}

/// Every file below a folder with its bytes.
pub fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(snapshot(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// An agency's keys, as `valise-agent init` makes them.
pub struct Node {
    pub id: AgencyId,
    pub tls: KeyPair,
    pub signing: SigningKey,
    pub sealing: SealingKey,
}

impl Node {
    pub fn new(name: &str) -> Self {
        let mut rng = UnwrapErr(SysRng);
        Self {
            id: agency(name),
            tls: KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
            signing: SigningKey::generate(&mut rng),
            sealing: SealingKey::generate(&mut rng),
        }
    }

    pub fn identity(&self) -> SpiffeId {
        SpiffeId::agency("exchange.example".parse().unwrap(), self.id.clone())
    }

    pub fn csr(&self) -> Bytes {
        csr(&self.tls, &[SanType::URI(self.identity().to_string().try_into().unwrap())])
    }

    pub fn request(&self) -> SignedEnrolmentRequest {
        self.request_with(|_| {})
    }

    /// A request that `shape` made different from what `valise-agent init` would make.
    pub fn request_with(&self, shape: impl FnOnce(&mut EnrolmentRequest)) -> SignedEnrolmentRequest {
        let mut request = EnrolmentRequest {
            trust_domain: "exchange.example".parse().unwrap(),
            agency: self.id.clone(),
            csr_der: self.csr(),
            signing_key: self.signing.verifying_key(),
            sealing_key: self.sealing.public().clone(),
            created_at: now(),
        };
        shape(&mut request);
        request.sign(&self.signing)
    }
}

impl Node {
    /// A renewal request signed with the keys of now, which brings those of `next`.
    pub fn renewal(&self, next: &Self, created_at: Timestamp) -> SignedRenewalRequest {
        self.renewal_with(next, created_at, |_| {})
    }

    /// A renewal request that `shape` made different from what an agent would make.
    pub fn renewal_with(
        &self,
        next: &Self,
        created_at: Timestamp,
        shape: impl FnOnce(&mut RenewalRequest),
    ) -> SignedRenewalRequest {
        let mut request = RenewalRequest {
            trust_domain: "exchange.example".parse().unwrap(),
            agency: self.id.clone(),
            csr_der: next.csr(),
            signing_key: next.signing.verifying_key(),
            sealing_key: next.sealing.public().clone(),
            created_at,
        };
        shape(&mut request);
        request.sign(&self.signing, &next.signing)
    }
}

pub fn csr(key: &KeyPair, names: &[SanType]) -> Bytes {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names.to_vec();
    Bytes::copy_from_slice(params.serialize_request(key).unwrap().der())
}

/// Runs `valise-ca` without a terminal.
///
/// A process that another thread of the test is just starting holds, until it is another program, whatever lock this
/// one had a moment ago; so a folder must be in use for a while to be believed in use.
pub fn ca(args: &[&str]) -> Output {
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        let mut command = Command::new(env!("CARGO_BIN_EXE_valise-ca"));
        command.env_remove("VALISE_CA_DIR").args(args).stdin(Stdio::null());
        let output = command.output().unwrap();
        if Instant::now() > deadline || !text(&output.stderr).contains("is in use by another valise-ca") {
            return output;
        }
    }
}

/// Does what a folder that is in use only seemingly, as told of [`ca`], would keep from being done.
pub fn patiently<T, E: std::fmt::Display>(mut act: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        match act() {
            Err(error) if Instant::now() < deadline && error.to_string().contains("is in use by another") => {
            }
            done => return done,
        }
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn certificate_pem(der: &[u8]) -> String {
    pem::encode(&pem::Pem::new("CERTIFICATE", der))
}
