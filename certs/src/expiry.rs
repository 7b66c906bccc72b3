//! What runs out, and the command that mends it.
//!
//! Claimed: of everything the exchange would miss if it ran out unnoticed, the authority tells in time. It holds
//! because the list is made from what is on record, not from what nodes report: the certificates in force, the keys in
//! the directory, the authority's own certificates and its last publication. What was revoked, or replaced by
//! something newer, is left out: nobody waits for it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use valise_proto::id::{AgencyId, BrokerName, Timestamp};

use crate::register::{Register, RegisterError};
use crate::state::{AgencyRecord, BrokerRecord, Serial, State};
use crate::x509::{SignError, read_certificate};

/// A kind of thing that runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Perishable {
    /// What an agency connects with.
    AgencyCertificate,
    /// What an agency signs with.
    SigningKey,
    /// What others seal to.
    SealingKey,
    /// What a broker listens with.
    BrokerCertificate,
    /// What a broker signs receipts with.
    ReceiptKey,
    /// What the authority issues with.
    IssuingCertificate,
    /// The root's list of issuing authorities that were revoked.
    RootList,
    /// What every node trusts.
    RootCertificate,
    /// The directory last published.
    Directory,
    /// The revocation lists last published.
    RevocationLists,
}

impl fmt::Display for Perishable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AgencyCertificate | Self::BrokerCertificate => "certificate",
            Self::SigningKey => "signing key",
            Self::SealingKey => "sealing key",
            Self::ReceiptKey => "receipt key",
            Self::IssuingCertificate => "issuing certificate",
            Self::RootList => "root's revocation list",
            Self::RootCertificate => "root certificate",
            Self::Directory => "directory",
            Self::RevocationLists => "revocation lists",
        })
    }
}

/// Something that runs out, or has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expiring {
    /// What.
    pub kind: Perishable,
    /// Whose: a member's name, or the exchange's.
    pub of: String,
    /// Which: a serial, the name of a key, a number.
    pub name: String,
    /// The last moment at which it counts.
    pub not_after: Timestamp,
    /// Whether that is over.
    pub expired: bool,
    /// What to do.
    pub mend: String,
}

impl Register {
    /// What runs out within a time from `now`, or has, the soonest first.
    ///
    /// # Errors
    /// [`RegisterError::Certificate`]; among others, where the clock is before the authority was founded.
    pub fn expiring(&self, within: Duration, now: Timestamp) -> Result<Vec<Expiring>, RegisterError> {
        let state = self.state();
        if now < state.founded_at {
            return Err(SignError::ClockBehind { not_before: state.founded_at, now }.into());
        }
        let mut found = Found { until: now.plus(within), now, items: Vec::new() };
        found.authority(state)?;
        found.published(state);
        for (name, record) in state.brokers.iter().filter(|(_, record)| record.standing.is_member()) {
            found.broker(name, record, state);
        }
        for (id, record) in state.agencies.iter().filter(|(_, record)| record.standing.is_member()) {
            found.agency(id, record, state);
        }
        found.items.sort_by_key(|item| item.not_after);
        Ok(found.items)
    }
}

struct Found {
    until: Timestamp,
    now: Timestamp,
    items: Vec<Expiring>,
}

impl Found {
    fn note(
        &mut self,
        kind: Perishable,
        (of, name): (impl fmt::Display, impl fmt::Display),
        not_after: Timestamp,
        mend: impl FnOnce() -> String,
    ) {
        if not_after <= self.until {
            let (of, name) = (of.to_string(), name.to_string());
            let expired = not_after <= self.now;
            self.items.push(Expiring { kind, of, name, not_after, expired, mend: mend() });
        }
    }

    fn authority(&mut self, state: &State) -> Result<(), SignError> {
        let domain = &state.trust_domain;
        let end = |der: &[u8]| {
            read_certificate(Bytes::copy_from_slice(der)).map(|certificate| certificate.period.not_after)
        };
        let issuing = end(&state.issuing_certificate.0)?;
        let generation = state.root_delegation().map(|signed| signed.delegation().generation);
        let name = format!("generation {}", generation.unwrap_or_default());
        self.note(Perishable::IssuingCertificate, (domain, name), issuing, || {
            "valise-ca issuing renew --root-dir DIR".to_owned()
        });
        let list = &state.root_list;
        self.note(
            Perishable::RootList,
            (domain, format!("number {}", list.number)),
            list.next_update,
            || "valise-ca issuing crl --root-dir DIR, then valise-ca publish --out DIR".to_owned(),
        );
        let root = end(&state.root_certificate.0)?;
        self.note(Perishable::RootCertificate, (domain, state.root_key.0.key_id()), root, || {
            "found a new authority in good time (valise-ca init), and bring its trust.pem to every node"
                .to_owned()
        });
        Ok(())
    }

    fn published(&mut self, state: &State) {
        let Some(published) = &state.published else { return };
        let mend = || "valise-ca publish --out DIR".to_owned();
        let domain = &state.trust_domain;
        let directory = format!("version {}", published.version);
        self.note(Perishable::Directory, (domain, directory), published.directory_not_after, mend);
        let lists = format!("number {}", published.crl_number);
        self.note(Perishable::RevocationLists, (domain, lists), published.crls_not_after, mend);
    }

    fn broker(&mut self, name: &BrokerName, record: &BrokerRecord, state: &State) {
        let mend = || {
            let endpoints: Vec<_> = record.endpoints.iter().map(|at| format!(" --endpoint {at}")).collect();
            format!("valise-ca broker issue {name}{} --out DIR", endpoints.concat())
        };
        if let Some(not_after) = in_force(state, record.serial) {
            self.note(Perishable::BrokerCertificate, (name, record.serial), not_after, mend);
        }
        // Those before it count for receipts of their time only.
        if let Some(key) = record.receipt_keys.last() {
            self.note(Perishable::ReceiptKey, (name, key.key.0.key_id()), key.not_after, mend);
        }
    }

    fn agency(&mut self, id: &AgencyId, record: &AgencyRecord, state: &State) {
        let mend = || {
            format!(
                "its agent asks for renewal itself; if it does not: valise-ca bundle {id} --out BUNDLE.pem"
            )
        };
        if let Some(not_after) = in_force(state, record.serial) {
            self.note(Perishable::AgencyCertificate, (id, record.serial), not_after, mend);
        }
        let (signing, sealing) = (&record.signing_key, &record.sealing_key);
        self.note(Perishable::SigningKey, (id, signing.key.0.key_id()), signing.not_after, mend);
        self.note(Perishable::SealingKey, (id, sealing.key.0.key_id()), sealing.not_after, mend);
    }
}

/// Until when a certificate counts that is not revoked.
fn in_force(state: &State, serial: Serial) -> Option<Timestamp> {
    let record = state.certificates.get(&serial)?;
    record.revoked.is_none().then_some(record.not_after)
}
