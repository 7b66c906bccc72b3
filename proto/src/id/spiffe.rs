//! Identities in certificates (SPIFFE ID, SPIFFE X509-SVID section 2).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{AgencyId, BrokerName, IdError, TrustDomain, excerpt, string_serde};

/// What a certificate says its holder is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// An agency node.
    Agency(AgencyId),
    /// A broker.
    Broker(BrokerName),
}

/// The identity in the URI SAN of an X.509-SVID: `spiffe://<trust-domain>/agency/fra/ncb` or `…/broker/<name>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    /// The exchange the holder belongs to.
    pub trust_domain: TrustDomain,
    /// Who the holder is in it.
    pub role: Role,
}

impl SpiffeId {
    /// The identity of an agency.
    #[must_use]
    pub fn agency(trust_domain: TrustDomain, agency: AgencyId) -> Self {
        Self { trust_domain, role: Role::Agency(agency) }
    }

    /// The identity of a broker.
    #[must_use]
    pub fn broker(trust_domain: TrustDomain, broker: BrokerName) -> Self {
        Self { trust_domain, role: Role::Broker(broker) }
    }

    /// The agency, if this is one.
    #[must_use]
    pub fn as_agency(&self) -> Option<&AgencyId> {
        match &self.role {
            Role::Agency(agency) => Some(agency),
            Role::Broker(_) => None,
        }
    }

    /// The broker, if this is one.
    #[must_use]
    pub fn as_broker(&self) -> Option<&BrokerName> {
        match &self.role {
            Role::Agency(_) => None,
            Role::Broker(broker) => Some(broker),
        }
    }
}

impl FromStr for SpiffeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let bad = || IdError::Spiffe(excerpt(text));
        let rest = text.strip_prefix("spiffe://").ok_or_else(bad)?;
        let (domain, path) = rest.split_once('/').ok_or_else(bad)?;
        let (kind, name) = path.split_once('/').ok_or_else(bad)?;
        let role = match kind {
            "agency" => Role::Agency(name.parse().map_err(|_| bad())?),
            "broker" => Role::Broker(name.parse().map_err(|_| bad())?),
            _ => return Err(bad()),
        };
        Ok(Self { trust_domain: domain.parse()?, role })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.role {
            Role::Agency(agency) => write!(f, "spiffe://{}/agency/{agency}", self.trust_domain),
            Role::Broker(broker) => write!(f, "spiffe://{}/broker/{broker}", self.trust_domain),
        }
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

string_serde!(SpiffeId);
