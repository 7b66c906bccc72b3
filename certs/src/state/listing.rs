//! What a directory says of the members on record.
//!
//! Claimed: whatever an agency signed while it counted can be verified for as long as it may be under way. It holds
//! because a revoked agency, and a signing key of former times, stay listed with the moment of their end until the
//! longest lifetime of a notice after it is over. A revoked agency never stands in the way of one that takes part: it
//! is listed only where there is room, as no contact point, and with no more than the ceiling of now allows.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use valise_proto::crypto::{SealingPublicKey, VerifyingKey};
use valise_proto::delegation::{DelegationError, SignedDelegation};
use valise_proto::directory::{
    AGENCIES_MAX, AgencyEntry, AgencyStatus, BrokerEntry, DirectoryContent, DirectoryError, KEYS_MAX,
};
use valise_proto::id::{AgencyId, BrokerName, Timestamp};
use valise_proto::label::{Affiliation, AtMost, Ceiling, Classification};
use valise_proto::wire::limits::Limits;

use super::{AgencyRecord, BrokerRecord, KeyRecord, Standing, State};

/// How long what has ended stays listed: the longest lifetime of a notice.
pub(crate) const FORMER_LISTED: Duration = Limits::DEFAULT.lifetime_max;

impl State {
    /// What a directory of this state says.
    pub(crate) fn directory(
        &self,
        issued_at: Timestamp,
        expires_at: Timestamp,
    ) -> Result<DirectoryContent, DirectoryError> {
        let delegation = self.root_delegation()?;
        let members = self.agencies.iter().filter(|(_, record)| record.standing.is_member());
        let mut agencies: BTreeMap<_, _> =
            members.map(|(id, record)| (id.clone(), self.agency_entry(id, record, issued_at))).collect();
        let room = AGENCIES_MAX.saturating_sub(agencies.len());
        let former = self.revoked_agencies(issued_at);
        let ceiling = &delegation.delegation().ceiling;
        let listed = former.into_iter().filter_map(|(id, record)| {
            Some((id.clone(), lowered(self.agency_entry(id, record, issued_at), ceiling)?))
        });
        agencies.extend(listed.take(room));
        let brokers = self.brokers.iter().filter_map(|(name, record)| broker_entry(name, record));
        Ok(DirectoryContent {
            trust_domain: self.trust_domain.clone(),
            policy: self.policy.clone(),
            version: self.directory_version,
            issued_at,
            expires_at,
            agencies,
            brokers: brokers.map(|entry| (entry.name.clone(), entry)).collect(),
            delegation,
        })
    }

    /// By whose leave the authority acts, and within which ceiling.
    pub(crate) fn root_delegation(&self) -> Result<SignedDelegation, DelegationError> {
        Ok(SignedDelegation::decode(self.delegation.0.clone().into())?)
    }

    /// Revoked agencies of which something may still be under way, the last revoked first.
    fn revoked_agencies(&self, now: Timestamp) -> Vec<(&AgencyId, &AgencyRecord)> {
        let mut listed: Vec<(Timestamp, &AgencyId, &AgencyRecord)> = Vec::new();
        for (id, record) in &self.agencies {
            match record.standing {
                Standing::Revoked { at, .. } if at.plus(FORMER_LISTED) >= now => {
                    listed.push((at, id, record));
                }
                Standing::Active | Standing::Suspended { .. } | Standing::Revoked { .. } => {}
            }
        }
        listed.sort_by_key(|(at, ..)| Reverse(*at));
        listed.into_iter().map(|(_, id, record)| (id, record)).collect()
    }

    /// What a directory of `now` says of an agency.
    pub(crate) fn agency_entry(&self, id: &AgencyId, record: &AgencyRecord, now: Timestamp) -> AgencyEntry {
        let status = match record.standing {
            Standing::Active => AgencyStatus::Active,
            Standing::Suspended { since } => AgencyStatus::Suspended { since },
            Standing::Revoked { since, .. } => AgencyStatus::Revoked { since },
        };
        let profile = &record.profile;
        let former = record.former_signing_keys.iter().filter(|key| is_verified_with(key, now));
        let signing = std::iter::once(&record.signing_key).chain(former);
        let former = record.former_sealing_keys.iter().filter(|key| is_sealed_to(key, now));
        let sealing = std::iter::once(&record.sealing_key).chain(former);
        AgencyEntry {
            id: id.clone(),
            display_name: profile.display_name.clone().unwrap_or_else(|| id.to_string()),
            functions: profile.functions.clone(),
            clearance: profile.clearance.to_clearance(id.state(), &self.policy),
            origination: profile.origination(),
            contact_point: profile.contact_point && record.standing.is_member(),
            signing_keys: signing.map(|key| key.to_entry(VerifyingKey::key_id)).take(KEYS_MAX).collect(),
            sealing_keys: sealing.map(|key| key.to_entry(SealingPublicKey::key_id)).take(KEYS_MAX).collect(),
            status,
        }
    }
}

/// Whether something under way may be signed with a key of former times.
pub(crate) fn is_verified_with(former: &KeyRecord<VerifyingKey>, now: Timestamp) -> bool {
    former.not_after.plus(FORMER_LISTED) >= now
}

/// Whether a key of former times may still be sealed to.
pub(crate) fn is_sealed_to(former: &KeyRecord<SealingPublicKey>, now: Timestamp) -> bool {
    former.not_after >= now
}

/// A revoked agency's entry with no more than the ceiling allows; none where it allows nothing of its State.
fn lowered(mut entry: AgencyEntry, ceiling: &Ceiling) -> Option<AgencyEntry> {
    fn keep<T: Ord>(allowed: &AtMost<T>, name: &T) -> bool {
        match allowed {
            AtMost::Any => true,
            AtMost::Only(names) => names.contains(name),
        }
    }
    let state = entry.id.state();
    // Without it an entry is not consistent.
    let readable = ceiling.classifications.contains(&Classification::Unclassified);
    if !keep(&ceiling.states, &state) || !readable {
        return None;
    }
    let own = Affiliation::from(state);
    entry.clearance.class_list.retain(|class| ceiling.classifications.contains(class));
    entry.origination.classifications.retain(|class| ceiling.classifications.contains(class));
    entry.clearance.compartments.retain(|name| keep(&ceiling.compartments, name));
    entry.clearance.affiliations.retain(|name| *name == own || keep(&ceiling.affiliations, name));
    Some(entry)
}

fn broker_entry(name: &BrokerName, record: &BrokerRecord) -> Option<BrokerEntry> {
    if !record.standing.is_member() {
        return None;
    }
    // The newest keys: receipts signed with older ones are past any deadline.
    let surplus = record.receipt_keys.len().saturating_sub(KEYS_MAX);
    Some(BrokerEntry {
        name: name.clone(),
        endpoints: record.endpoints.clone(),
        receipt_keys: record
            .receipt_keys
            .iter()
            .skip(surplus)
            .map(|key| key.to_entry(VerifyingKey::key_id))
            .collect(),
    })
}
