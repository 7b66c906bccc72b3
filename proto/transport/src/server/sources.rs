//! Handshakes under way, by the address they come from.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

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
        self.with(|counts| {
            counts
                .get(&from)
                .is_some_and(|count| count.shown.saturating_add(count.claimed) >= self.max.div_ceil(2))
        })
    }

    /// Counts one until its place is dropped; `None` where the address has its share. Those that only claim to come from
    /// there take nothing from those that do.
    pub(super) fn enter(&self, from: IpAddr, shown: bool) -> Option<Place> {
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
}
