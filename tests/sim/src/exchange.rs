//! The authority of a simulated exchange, and the acts of its administrators. Every act makes a directory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use valise_proto::crypto::{SealingKey, SigningKey};
use valise_proto::delegation::Delegation;
use valise_proto::directory::{
    AgencyEntry, AgencyStatus, BrokerEntry, Directory, DirectoryContent, Function, KeyEntry, Origination,
};
use valise_proto::enrolment::Trust;
use valise_proto::envelope::NoticeKind;
use valise_proto::id::{AgencyId, BrokerName, SpiffeId, Timestamp, TrustDomain};
use valise_proto::label::{Affiliation, Ceiling, Classification, Clearance, Compartment, Label, PolicyId};

use crate::Violation;
use crate::dice::Dice;
use crate::plan::Plan;

/// When every simulation begins, by a true clock.
pub(crate) const START_MS: u64 = 1_790_000_000_000;
const DAY: Duration = Duration::from_secs(86_400);
const NAMES: [&str; 4] = ["fra/ncb", "ken/ncb", "tur/border", "bra/ncb"];
/// Keys that an agency may have one after the other. A directory lists at most eight.
const GENERATIONS: usize = 4;
/// How long a key that was followed by another still counts.
const OVERLAP: Duration = Duration::from_secs(45);

/// The private keys of one agency, one generation after the other.
pub(crate) struct Keyring {
    pub(crate) signing: Vec<SigningKey>,
    pub(crate) sealing: Vec<SealingKey>,
}

/// Made once for all simulations: what a key is changes nothing, and making them takes time.
pub(crate) fn keyring(agency: usize) -> Result<&'static Keyring, Violation> {
    static KEYRINGS: OnceLock<Vec<Keyring>> = OnceLock::new();
    let keyrings = KEYRINGS.get_or_init(|| {
        let mut dice = Dice::new(0x5EED);
        let ring = |_| Keyring {
            signing: (0..GENERATIONS).map(|_| SigningKey::generate(&mut dice)).collect(),
            sealing: (0..GENERATIONS).map(|_| SealingKey::generate(&mut dice)).collect(),
        };
        (0..NAMES.len()).map(ring).collect()
    });
    keyrings.get(agency).ok_or_else(|| Violation::surprise("an agency without keys"))
}

/// What the administrators do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Suspend(usize),
    Reinstate(usize),
    Revoke(usize),
    Clear(usize),
    Rotate(usize),
    Renew,
}

/// The authority.
pub(crate) struct Authority {
    directory_key: SigningKey,
    pub(crate) receipt_key: SigningKey,
    content: DirectoryContent,
    pub(crate) trust: Trust,
    lifetime: Duration,
    /// How many key rotations each agency has been through.
    pub(crate) generations: Vec<usize>,
    /// What each agency may see when nothing is taken from it.
    full: Vec<Clearance>,
    /// The newest directory.
    pub(crate) published: Arc<Directory>,
    /// Since when each agency was out, by any directory there ever was.
    pub(crate) ends: Vec<(AgencyId, Timestamp)>,
}

impl Authority {
    pub(crate) fn new(plan: &Plan, dice: &mut Dice) -> Result<Self, Violation> {
        let mut keys = Dice::new(0xA07);
        let (root, directory_key) = (SigningKey::generate(&mut keys), SigningKey::generate(&mut keys));
        let receipt_key = SigningKey::generate(&mut keys);
        let start = Timestamp::from_millis(START_MS);
        let trust = Trust {
            trust_domain: trust_domain()?,
            anchors: Vec::new(),
            root_keys: vec![root.verifying_key()],
        };
        let content = DirectoryContent {
            trust_domain: trust_domain()?,
            policy: policy()?,
            version: 1,
            issued_at: start,
            expires_at: start.plus(plan.directory_lifetime),
            agencies: BTreeMap::new(),
            brokers: BTreeMap::new(),
            delegation: delegation(&directory_key)?.sign(&root),
        };
        let broker = BrokerEntry {
            name: broker_name()?,
            endpoints: vec!["127.0.0.1:9".to_owned()],
            receipt_keys: vec![listed(receipt_key.key_id(), receipt_key.verifying_key(), early())],
        };
        let published = Arc::new(content.sign(&directory_key).map_err(Violation::surprise)?);
        let mut authority = Self {
            directory_key,
            receipt_key,
            content,
            trust,
            lifetime: plan.directory_lifetime,
            generations: vec![0; plan.agencies],
            full: Vec::new(),
            published,
            ends: Vec::new(),
        };
        authority.content.brokers.insert(broker.name.clone(), broker);
        for index in 0..plan.agencies {
            authority.enrol(index, dice)?;
        }
        authority.publish(start)?;
        Ok(authority)
    }

    fn enrol(&mut self, index: usize, dice: &mut Dice) -> Result<(), Violation> {
        let id = agency_id(index)?;
        let keys = keyring(index)?;
        let signing = keys.signing.first().map(SigningKey::verifying_key);
        let sealing = keys.sealing.first().map(|key| key.public().clone());
        let (Some(signing), Some(sealing)) = (signing, sealing) else {
            return Err(Violation::surprise("an empty keyring"));
        };
        let clearance = clearance(&id, dice)?;
        self.full.push(clearance.clone());
        let entry = AgencyEntry {
            id: id.clone(),
            display_name: id.to_string(),
            functions: BTreeSet::from([Function::LawEnforcement]),
            origination: Origination {
                kinds: NoticeKind::ALL.into_iter().collect(),
                classifications: clearance.class_list.clone(),
            },
            clearance,
            contact_point: false,
            signing_keys: vec![listed(signing.key_id(), signing, early())],
            sealing_keys: vec![listed(sealing.key_id(), sealing, early())],
            status: AgencyStatus::Active,
        };
        self.content.agencies.insert(id, entry);
        Ok(())
    }

    /// Does something and publishes the directory that follows.
    pub(crate) fn act(&mut self, act: Act, now: Timestamp, dice: &mut Dice) -> Result<(), Violation> {
        match act {
            Act::Suspend(index) => self.set_status(index, AgencyStatus::Suspended { since: now })?,
            Act::Revoke(index) => self.set_status(index, AgencyStatus::Revoked { since: now })?,
            Act::Reinstate(index) => self.set_status(index, AgencyStatus::Active)?,
            Act::Clear(index) => {
                let clearance = clearance(&agency_id(index)?, dice)?;
                self.entry(index)?.clearance = clearance;
            }
            Act::Rotate(index) => self.rotate(index, now)?,
            Act::Renew => {}
        }
        self.publish(now)
    }

    /// Everybody who was not revoked takes part again and sees what it saw at first.
    pub(crate) fn restore(&mut self, now: Timestamp) -> Result<(), Violation> {
        for (index, clearance) in self.full.clone().into_iter().enumerate() {
            self.set_status(index, AgencyStatus::Active)?;
            self.entry(index)?.clearance = clearance;
        }
        self.lifetime = 60 * DAY;
        self.publish(now)
    }

    fn set_status(&mut self, index: usize, status: AgencyStatus) -> Result<(), Violation> {
        let entry = self.entry(index)?;
        // Whoever was revoked stays so: that is for good.
        if !matches!(entry.status, AgencyStatus::Revoked { .. }) {
            entry.status = status;
            let id = entry.id.clone();
            self.ends.extend(status.ended_at().map(|end| (id, end)));
        }
        Ok(())
    }

    fn rotate(&mut self, index: usize, now: Timestamp) -> Result<(), Violation> {
        let keys = keyring(index)?;
        let generation = self.generations.get(index).copied().unwrap_or_default().saturating_add(1);
        let (Some(signing), Some(sealing)) = (keys.signing.get(generation), keys.sealing.get(generation))
        else {
            return Ok(());
        };
        let entry = self.entry(index)?;
        entry.signing_keys.iter_mut().for_each(|key| key.not_after = key.not_after.min(now.plus(OVERLAP)));
        entry.sealing_keys.iter_mut().for_each(|key| key.not_after = key.not_after.min(now.plus(OVERLAP)));
        entry.signing_keys.push(listed(signing.key_id(), signing.verifying_key(), now));
        entry.sealing_keys.push(listed(sealing.public().key_id(), sealing.public().clone(), now));
        if let Some(count) = self.generations.get_mut(index) {
            *count = generation;
        }
        Ok(())
    }

    fn publish(&mut self, now: Timestamp) -> Result<(), Violation> {
        self.content.version += 1;
        self.content.issued_at = now;
        self.content.expires_at = now.plus(self.lifetime);
        let directory = self.content.sign(&self.directory_key).map_err(Violation::surprise)?;
        self.published = Arc::new(directory);
        Ok(())
    }

    /// The same directory with every agency cleared for everything and let originate everything: what a decision that
    /// is not made comes to.
    pub(crate) fn lax(&self, directory: &Directory) -> Result<Directory, Violation> {
        let mut content = directory.content().clone();
        for entry in content.agencies.values_mut() {
            entry.clearance.class_list = Classification::ALL.into_iter().collect();
            entry.clearance.compartments = compartments()?;
            entry.clearance.affiliations = affiliations()?;
            entry.origination.classifications = Classification::ALL.into_iter().collect();
        }
        self.sign(&content)
    }

    /// A directory that nobody publishes.
    pub(crate) fn sign(&self, content: &DirectoryContent) -> Result<Directory, Violation> {
        content.sign(&self.directory_key).map_err(Violation::surprise)
    }

    fn entry(&mut self, index: usize) -> Result<&mut AgencyEntry, Violation> {
        let id = agency_id(index)?;
        self.content.agencies.get_mut(&id).ok_or_else(|| Violation::surprise("an agency not listed"))
    }

    /// Directories are read back from their bytes as a node reads them.
    pub(crate) fn read(&self, bytes: bytes::Bytes) -> Result<Directory, Violation> {
        Directory::verify(bytes, &self.trust).map_err(Violation::surprise)
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority(version {})", self.content.version)
    }
}

/// The root lets the directory key say everything.
fn delegation(directory_key: &SigningKey) -> Result<Delegation, Violation> {
    Ok(Delegation {
        trust_domain: trust_domain()?,
        generation: 1,
        directory_key: directory_key.verifying_key(),
        issuing_key: directory_key.verifying_key(),
        former_issuing_keys: Vec::new(),
        ceiling: Ceiling::unlimited(),
        not_before: early(),
        not_after: early().plus(3650 * DAY),
    })
}

/// Long before any simulation begins, so that a clock set back still finds the keys.
fn early() -> Timestamp {
    Timestamp::from_millis(START_MS - 100 * 86_400_000)
}

fn listed<K>(key_id: valise_proto::id::KeyId, key: K, not_before: Timestamp) -> KeyEntry<K> {
    KeyEntry { key_id, key, not_before, not_after: Timestamp::from_millis(START_MS).plus(365 * DAY) }
}

/// A clearance that holds classes as a set, not up to a rank.
fn clearance(id: &AgencyId, dice: &mut Dice) -> Result<Clearance, Violation> {
    let always = [Classification::Unmarked, Classification::Unclassified];
    let sometimes = [Classification::Restricted, Classification::Confidential, Classification::Secret];
    let class_list = always.into_iter().chain(sometimes.into_iter().filter(|_| dice.chance(650))).collect();
    let compartments = compartments()?.into_iter().filter(|_| dice.chance(500)).collect();
    let affiliations = BTreeSet::from([Affiliation::from(id.state())]);
    Ok(Clearance { policy: policy()?, class_list, compartments, affiliations })
}

/// A label that not everybody is cleared for.
pub(crate) fn label(dice: &mut Dice) -> Result<Label, Violation> {
    let classes = [
        Classification::Unclassified,
        Classification::Restricted,
        Classification::Secret,
        Classification::Confidential,
    ];
    let class = dice.pick(&classes).copied().unwrap_or(Classification::Unclassified);
    let mut label = Label::plain(policy()?, class);
    if dice.chance(250) {
        label.compartments = compartments()?.into_iter().filter(|_| dice.chance(600)).collect();
    }
    if dice.chance(250) {
        label.releasable_to = affiliations()?.into_iter().filter(|_| dice.chance(600)).collect();
    }
    Ok(label)
}

fn compartments() -> Result<BTreeSet<Compartment>, Violation> {
    ["ALPHA", "BRAVO"].iter().map(|name| name.parse().map_err(Violation::surprise)).collect()
}

fn affiliations() -> Result<BTreeSet<Affiliation>, Violation> {
    ["FRA", "KEN", "TUR", "BRA"].iter().map(|name| name.parse().map_err(Violation::surprise)).collect()
}

pub(crate) fn agency_id(index: usize) -> Result<AgencyId, Violation> {
    let name = NAMES.get(index).ok_or_else(|| Violation::surprise("an agency without a name"))?;
    name.parse().map_err(Violation::surprise)
}

pub(crate) fn agency_index(id: &AgencyId) -> Result<usize, Violation> {
    NAMES.iter().position(|name| *name == id.as_str()).ok_or_else(|| Violation::surprise("a strange agency"))
}

pub(crate) fn policy() -> Result<PolicyId, Violation> {
    "exchange.example".parse().map_err(Violation::surprise)
}

fn trust_domain() -> Result<TrustDomain, Violation> {
    "exchange.example".parse().map_err(Violation::surprise)
}

pub(crate) fn broker_name() -> Result<BrokerName, Violation> {
    "b1".parse().map_err(Violation::surprise)
}

pub(crate) fn broker_identity() -> Result<SpiffeId, Violation> {
    Ok(SpiffeId::broker(trust_domain()?, broker_name()?))
}

pub(crate) fn agency_identity(id: &AgencyId) -> Result<SpiffeId, Violation> {
    Ok(SpiffeId::agency(trust_domain()?, id.clone()))
}
