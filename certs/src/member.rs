//! Members by the names people type: `fra/ncb` is an agency, `b1` a broker.

use valise_proto::id::{IdError, Role, SpiffeId, TrustDomain};

/// Reads a member's name: an agency's has a slash, a broker's has none.
///
/// # Errors
/// [`IdError`].
pub fn parse(text: &str) -> Result<Role, IdError> {
    if text.contains('/') { text.parse().map(Role::Agency) } else { text.parse().map(Role::Broker) }
}

/// The name that [`parse`] reads.
#[must_use]
pub fn name(member: &Role) -> String {
    match member {
        Role::Agency(agency) => agency.to_string(),
        Role::Broker(broker) => broker.to_string(),
    }
}

/// What a member's certificate says it is.
#[must_use]
pub fn identity(domain: &TrustDomain, member: &Role) -> SpiffeId {
    SpiffeId { trust_domain: domain.clone(), role: member.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_parses_back_from_its_name() {
        for text in ["fra/ncb", "xpo/general-secretariat", "b1"] {
            assert_eq!(name(&parse(text).unwrap()), text);
        }
        assert!(parse("zzz/ncb").unwrap_err().to_string().contains("is not a State"));
        assert!(parse("B1").is_err());
    }
}
