//! How near its end each thing is that this node goes by: the directory, the root's delegation in it, the revocation
//! lists, its own certificate.

use std::path::PathBuf;
use std::time::Duration;

use valise_proto::freshness::Urgency;
use valise_proto::id::Timestamp;

use super::office::Office;
use crate::renewal;

/// One document that runs out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// What it is, with its number.
    pub name: String,
    /// Where it lies.
    pub file: PathBuf,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it runs out.
    pub expires_at: Timestamp,
    /// Until when this node goes by it.
    pub counts_until: Timestamp,
    /// How near the end is.
    pub urgency: Urgency,
    /// The clock it was compared with.
    pub now: Timestamp,
    /// What mends it.
    pub advice: &'static str,
}

const PUBLISH: &str = "have the authority publish (valise-ca publish); without a connection, carry the files here: valise-agent install DIR";
const RENEW: &str = "have the authority renew it; without a connection, carry the request: valise-agent renew --out FILE, then valise-agent install DIR";

const DELEGATE: &str = "have the authority renew its issuing certificate with the root (valise-ca issuing renew) and publish; without a connection, carry the files here: valise-agent install DIR";

impl Freshness {
    pub(super) fn new(
        name: &str,
        file: PathBuf,
        (issued_at, expires_at): (Timestamp, Timestamp),
        counts_until: Timestamp,
        now: Timestamp,
    ) -> Self {
        let urgency = Urgency::of(issued_at, expires_at, now);
        let name = name.to_owned();
        Self { name, file, issued_at, expires_at, counts_until, urgency, now, advice: PUBLISH }
    }

    /// Whether there is anything to warn of.
    #[must_use]
    pub fn is_near(&self) -> bool {
        self.urgency > Urgency::Fresh
    }

    /// A sentence for the log.
    #[must_use]
    pub fn warning(&self) -> String {
        let Self { name, file, issued_at, expires_at, counts_until, urgency, now, advice } = self;
        let until = if counts_until == expires_at {
            String::new()
        } else {
            format!("; with its grace it counts until {counts_until}")
        };
        let file = file.display();
        format!(
            "{name}: {urgency} ({file}; issued {issued_at}, runs out {expires_at}{until}; this node's clock: {now}): {advice}"
        )
    }
}

/// Everything that runs out.
#[must_use]
pub fn of(office: &Office, now: Timestamp) -> Vec<Freshness> {
    let folder = &office.config().folder;
    let directory = office.directory();
    let times = (directory.content().issued_at, directory.content().expires_at);
    let name = format!("directory version {}", directory.version());
    let mut found = vec![Freshness::new(&name, folder.directory(), times, directory.counts_until(), now)];
    let grace = office.config().freshness_grace;
    let delegation = directory.delegation();
    let name = format!("delegation of generation {}", delegation.generation);
    let times = (delegation.not_before, delegation.not_after);
    let mut delegated = Freshness::new(&name, folder.directory(), times, times.1.plus(grace), now);
    delegated.advice = DELEGATE;
    // Half of the years that it counts for is nothing to warn of: its last tenth is.
    let life = times.1.since(times.0);
    if delegated.urgency == Urgency::HalfOver && now < times.0.plus(life / 10 * 9) {
        delegated.urgency = Urgency::Fresh;
    }
    found.push(delegated);
    for list in office.transport().anchors().revocations() {
        let name = format!("revocation list {} of {}", decimal(&list.number), list.issuer);
        let times = (list.this_update, list.next_update);
        found.push(Freshness::new(&name, folder.crls(), times, list.next_update.plus(grace), now));
    }
    let credentials = office.credentials();
    let times = (credentials.not_before(), credentials.not_after());
    let mut certificate =
        Freshness::new("this node's certificate", folder.certificates(), times, times.1, now);
    certificate.advice = RENEW;
    // It is renewed by itself from two thirds on; half of its time is nothing to warn of.
    let renewing = renewal::due_at(&credentials).plus(Duration::from_secs(1));
    if certificate.urgency == Urgency::HalfOver && now < renewing {
        certificate.urgency = Urgency::Fresh;
    }
    found.push(certificate);
    found
}

/// A CRL number as people write it; one of more than 128 bits in hexadecimal.
fn decimal(number: &[u8]) -> String {
    let small = number.iter().try_fold(0_u128, |sum, byte| {
        sum.checked_mul(256).and_then(|sum| sum.checked_add(u128::from(*byte)))
    });
    small.map_or_else(
        || number.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}")),
        |number| number.to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_revocation_lists_are_told_in_decimal() {
        assert_eq!(decimal(&[1, 0]), "256");
        assert_eq!(decimal(&[]), "0");
        assert!(decimal(&[9; 20]).starts_with("0x0909"));
    }
}
