//! Handshakes under way, by the address they come from. Of an IPv6 address its first 64 bits count: the rest is its host's
//! to choose (RFC 4291 section 2.5.4).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The first 64 bits.
const NETWORK_MASK: u128 = !0 << 64;
/// `64:ff9b::/96`, the first 96 bits of IPv4 addresses that were translated.
const TRANSLATED: u128 = 0x0064_ff9b_0000_0000_0000_0000;

/// Counts handshakes by address. An entry is there only while a handshake is, so there are never more entries than
/// handshakes.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    max: usize,
    under_way: Arc<Mutex<BTreeMap<IpAddr, Count>>>,
}

#[derive(Debug, Default)]
struct Count {
    /// Of which it is known that they come from there.
    shown: usize,
    /// Of which anyone may have written the address.
    claimed: usize,
}

impl Sources {
    pub(super) fn new(max: usize) -> Self {
        Self { max: max.max(1), under_way: Arc::default() }
    }

    /// Whether so many are under way that the next has to show where it comes from.
    pub(super) fn is_busy(&self, from: IpAddr) -> bool {
        let from = network(from);
        self.with(|counts| {
            counts
                .get(&from)
                .is_some_and(|count| count.shown.saturating_add(count.claimed) >= self.max.div_ceil(2))
        })
    }

    /// Counts one until its place is dropped; `None` where the address has its share. Those that only claim to come from
    /// there take nothing from those that do.
    pub(super) fn enter(&self, from: IpAddr, shown: bool) -> Option<Place> {
        let from = network(from);
        let entered = self.with(|counts| {
            let count = counts.entry(from).or_default();
            let number = if shown { &mut count.shown } else { &mut count.claimed };
            let fits = *number < self.max;
            *number = number.saturating_add(usize::from(fits));
            fits
        });
        entered.then(|| Place { sources: self.clone(), from, shown })
    }

    fn leave(&self, from: IpAddr, shown: bool) {
        self.with(|counts| {
            let Some(count) = counts.get_mut(&from) else { return };
            let number = if shown { &mut count.shown } else { &mut count.claimed };
            *number = number.saturating_sub(1);
            if count.shown == 0 && count.claimed == 0 {
                counts.remove(&from);
            }
        });
    }

    fn with<T>(&self, look: impl FnOnce(&mut BTreeMap<IpAddr, Count>) -> T) -> T {
        // Nothing panics while it holds the lock.
        look(&mut self.under_way.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is counted as one address.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(address) => address.into(),
        // Behind a translator the last 32 bits are the IPv4 address (RFC 6052 section 2.1).
        IpAddr::V6(address) if address.to_bits() >> 32 == TRANSLATED => {
            let [.., a, b, c, d] = address.octets();
            Ipv4Addr::new(a, b, c, d).into()
        }
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK_MASK).into(),
    }
}

/// A handshake that is under way.
#[derive(Debug)]
pub(super) struct Place {
    sources: Sources,
    from: IpAddr,
    shown: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sources.leave(self.from, self.shown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g10_an_address_gets_its_share_and_whoever_only_claims_it_takes_nothing_from_it() {
        let sources = Sources::new(4);
        let [here, there]: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        let claimed: Vec<_> = (0..4).map(|_| sources.enter(here, false).unwrap()).collect();
        assert!(sources.enter(here, false).is_none() && sources.is_busy(here));
        let shown: Vec<_> = (0..4).map(|_| sources.enter(here, true).unwrap()).collect();
        assert!(sources.enter(here, true).is_none(), "a fifth from one address");
        assert!(sources.enter(there, true).is_some() && !sources.is_busy(there));
        drop((claimed, shown));
        assert!(sources.with(|counts| counts.is_empty()), "who is gone is still counted");
        assert!(!sources.is_busy(here) && sources.enter(here, true).is_some());
    }

    #[test]
    fn g10_the_addresses_of_one_ipv6_network_have_one_share() {
        let sources = Sources::new(2);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = sources.enter(address("2001:db8:0:1::1"), true).unwrap();
        let _second = sources.enter(address("2001:db8:0:1:ffff::2"), true).unwrap();
        assert!(sources.enter(address("2001:db8:0:1::3"), true).is_none(), "a third from one network");
        let _other = sources.enter(address("2001:db8:0:2::1"), true).unwrap();
        drop(first);
        assert!(sources.enter(address("2001:db8:0:1::4"), true).is_some());
        // An IPv4 address is the same however it is written.
        let _mapped = sources.enter(address("::ffff:192.0.2.1"), true).unwrap();
        let _plain = sources.enter(address("192.0.2.1"), true).unwrap();
        assert!(sources.enter(address("64:ff9b::192.0.2.1"), true).is_none());
        assert!(sources.enter(address("192.0.2.2"), true).is_some());
    }
}
