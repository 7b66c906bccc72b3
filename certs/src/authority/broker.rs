//! Brokers: their keys are made here and handed to the operator with the certificate, as one kit.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use valise_proto::crypto::VerifyingKey;
use valise_proto::directory::{BROKERS_MAX, ENDPOINTS_MAX, TEXT_BYTES_MAX};
use valise_proto::id::{BrokerName, Role, SpiffeId, Timestamp};
use zeroize::Zeroizing;

use super::publish::TRUST_FILE;
use super::{Authority, certificates_pem};
use crate::files::{self, FileError, PLAIN_FILE, SECRET_FILE};
use crate::journal::{Action, Deed};
use crate::keys::{KeysError, Seed};
use crate::member;
use crate::state::{BrokerRecord, KeyRecord, Standing, StateError, Stored};
use crate::x509::SignError;

/// File name of a broker's certificate chain in its kit.
pub const CHAIN_FILE: &str = "tls.crt";
/// File name of its TLS key, PKCS#8.
pub const TLS_KEY_FILE: &str = "tls.key";
/// File name of the key it signs receipts with, PKCS#8.
pub const RECEIPT_KEY_FILE: &str = "receipt.key";

/// Why no broker was issued or changed. Nothing was changed.
#[derive(Debug, Error)]
pub enum BrokerError {
    /// Endpoints that cannot be used: all that is wrong with them.
    #[error("the endpoints cannot be used:\n  {}", .0.join("\n  "))]
    Endpoints(Vec<String>),
    /// The directory is full.
    #[error("{BROKERS_MAX} brokers are issued, which is as many as a directory holds")]
    Full,
    /// Not issued.
    #[error(
        "broker {0} is not issued, or was revoked; `valise-ca list` shows who is, `valise-ca broker issue {0}` issues it"
    )]
    Unknown(BrokerName),
    /// A key could not be made.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Nothing can be signed now.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The state could not be kept.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What a broker's operator needs: certificate chain, private keys, roots of trust. `Debug` shows the name only.
pub struct BrokerKit {
    /// The broker.
    pub identity: SpiffeId,
    /// Certificates, leaf first, without the root.
    pub chain_pem: String,
    /// The leaf's private key, PKCS#8.
    pub tls_key_pem: Zeroizing<String>,
    /// The key that receipts and refusals are signed with, PKCS#8.
    pub receipt_key_pem: Zeroizing<String>,
    /// The roots of trust.
    pub trust_pem: String,
    /// When the certificate runs out.
    pub not_after: Timestamp,
}

impl BrokerKit {
    /// Writes `tls.key` and `receipt.key` (for the owner only), `tls.crt` and `trust.pem` to the folder `dir`, in
    /// place of those of an earlier kit.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn write(&self, dir: &Path) -> Result<Vec<PathBuf>, FileError> {
        files::make_private(dir)?;
        let contents = [
            (RECEIPT_KEY_FILE, self.receipt_key_pem.as_str(), SECRET_FILE),
            (TLS_KEY_FILE, self.tls_key_pem.as_str(), SECRET_FILE),
            (CHAIN_FILE, self.chain_pem.as_str(), PLAIN_FILE),
            (TRUST_FILE, self.trust_pem.as_str(), PLAIN_FILE),
        ];
        let mut written = Vec::new();
        for (name, text, mode) in contents {
            let path = dir.join(name);
            files::replace(&path, text.as_bytes(), mode)?;
            written.push(path);
        }
        Ok(written)
    }
}

impl fmt::Debug for BrokerKit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokerKit({})", self.identity)
    }
}

impl Authority {
    /// Makes a broker's keys and certificate and lists it with these endpoints (`host:port` or `[v6]:port`).
    ///
    /// For a broker that is there already this is its renewal: the new receipt key is listed beside the old ones, so
    /// old receipts still verify, and the old certificate counts until it runs out.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn issue_broker(
        &mut self,
        name: &BrokerName,
        endpoints: Vec<String>,
        now: Timestamp,
    ) -> Result<BrokerKit, BrokerError> {
        check_endpoints(&endpoints)?;
        self.check_room(name)?;
        self.check_clock(now)?;
        let identity = member::identity(&self.state.trust_domain, &Role::Broker(name.clone()));
        let tls = Seed::generate();
        let tls_key = tls.verifying_key();
        let receipt = Seed::generate();
        let mut next = self.state.clone();
        let serial = next.fresh_serial();
        let leaf = self.issuing.leaf(&identity, &tls_key, serial, self.validity.leaf, now)?;
        next.note_certificate(serial, (&identity, &tls_key), leaf.period, now);
        let mut receipt_keys = self.receipt_keys(name);
        receipt_keys.push(KeyRecord::new(receipt.verifying_key(), now));
        let record = BrokerRecord {
            standing: Standing::Active,
            issued_at: now,
            endpoints,
            tls_key: Stored(tls_key),
            receipt_keys,
            serial,
        };
        next.brokers.insert(name.clone(), record);
        let kit = BrokerKit {
            identity,
            chain_pem: certificates_pem(&[&leaf.der, &self.issuing.certificate.der]),
            tls_key_pem: tls.to_pkcs8_pem()?,
            receipt_key_pem: receipt.to_pkcs8_pem()?,
            trust_pem: self.trust().to_pem(),
            not_after: leaf.period.not_after,
        };
        let deed = Deed::new(Action::IssueBroker, name, now).with("serial", serial);
        self.commit(next, &deed.with("not_after", kit.not_after))?;
        Ok(kit)
    }

    /// Lists a broker with other endpoints from the next publication on.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn set_endpoints(
        &mut self,
        name: &BrokerName,
        endpoints: Vec<String>,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        check_endpoints(&endpoints)?;
        let deed = Deed::new(Action::SetEndpoints, name, now).with("endpoints", endpoints.join(", "));
        let mut next = self.state.clone();
        let listed = next.brokers.get_mut(name).filter(|record| record.standing.is_member());
        listed.ok_or_else(|| BrokerError::Unknown(name.clone()))?.endpoints = endpoints;
        Ok(self.commit(next, &deed)?)
    }

    fn check_room(&self, name: &BrokerName) -> Result<(), BrokerError> {
        let listed = self.state.brokers.iter();
        let listed = listed.filter(|(other, record)| *other != name && record.standing.is_member());
        if listed.count() >= BROKERS_MAX { Err(BrokerError::Full) } else { Ok(()) }
    }

    /// Receipt keys that still count. Those of a revoked broker no longer do.
    fn receipt_keys(&self, name: &BrokerName) -> Vec<KeyRecord<VerifyingKey>> {
        let member = self.state.brokers.get(name).filter(|record| record.standing.is_member());
        member.map(|record| record.receipt_keys.clone()).unwrap_or_default()
    }
}

fn check_endpoints(endpoints: &[String]) -> Result<(), BrokerError> {
    let mut mistakes = Vec::new();
    if endpoints.is_empty() || endpoints.len() > ENDPOINTS_MAX {
        mistakes.push(format!("give 1 to {ENDPOINTS_MAX} endpoints (these are {})", endpoints.len()));
    }
    for endpoint in endpoints.iter().filter(|endpoint| !is_endpoint(endpoint)) {
        let shown: String = endpoint.chars().filter(|c| !c.is_control()).take(80).collect();
        mistakes
            .push(format!("`{shown}` is not an endpoint: write broker.example:4433 or [2001:db8::1]:4433"));
    }
    if mistakes.is_empty() { Ok(()) } else { Err(BrokerError::Endpoints(mistakes)) }
}

fn is_endpoint(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0);
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            !host.is_empty() && host.bytes().all(allowed)
        }
    };
    text.len() <= TEXT_BYTES_MAX && host && port
}
