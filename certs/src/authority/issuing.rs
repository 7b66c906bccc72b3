//! The issuing authority and its root: lists of both.

use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use valise_proto::id::Timestamp;

use super::Authority;
use crate::journal::{Action, Deed};
use crate::root::{Root, RootError, RootPlace};
use crate::state::{State, StateError};
use crate::x509::{Period, SignError};

/// Why nothing was done with the root. The authority is as it was; a number the root has noted is not used again.
#[derive(Debug, Error)]
pub enum IssuingError {
    /// The root.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The state could not be kept.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Authority {
    /// Signs a new revocation list of the root, which counts for `lifetime`. Gives when it runs out.
    ///
    /// # Errors
    /// [`IssuingError`].
    pub fn renew_root_list(
        &mut self,
        place: &RootPlace,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Timestamp, IssuingError> {
        let mut root = Root::open(place, &self.state.root_key.0)?;
        let list = root.list(lifetime, now)?;
        let deed = Deed::new(Action::RootList, &self.state.trust_domain, now)
            .with("number", list.number)
            .with("next_update", list.next_update);
        let next_update = list.next_update;
        self.commit(State { root_list: list, ..self.state.clone() }, &deed)?;
        Ok(next_update)
    }

    /// The lists that every node must hold: the root's, then the issuing authority's of `period`.
    pub(super) fn lists(&self, next: &State, period: Period) -> Result<Vec<Bytes>, SignError> {
        let now: Timestamp = period.not_before;
        let root = Bytes::copy_from_slice(&next.root_list.der.0);
        Ok(vec![root, self.issuing.crl(next.crl_number, &next.revoked(now), period)?])
    }
}
