//! A notice that is made from portions of another, here or received.
//!
//! Paragraph 3 was asked when the first notice was sent; whom a further one is for, an officer says. Everything else is
//! as for any notice: the content is read by the same rules, and the same access decision is made about each portion.

use valise_proto::directory::Directory;
use valise_proto::id::{AgencyId, Derivation, Timestamp};
use zeroize::Zeroizing;

use super::addressing::{Addressed, addressed};
use super::content::{self, Named, Need};
use super::{ComposeError, Draft};
use crate::core::Draft as Secret;
use crate::node::office::Office;

/// Why an agency is addressed.
const NAMED: &str = "named by the officer who releases it";

/// What a notice made from another has besides its content.
pub(crate) struct Derived {
    /// The handle in its header, which means something in this node's store alone.
    pub handle: Derivation,
    /// When the broker deletes it.
    pub expires_at: Timestamp,
    /// What is kept here of where it comes from.
    pub origin: Secret,
}

impl Draft {
    /// Reads what was made from a notice of `written_at`: what was right to write then is right to pass on.
    pub(crate) fn derived(
        json: Zeroizing<Vec<u8>>,
        directory: &Directory,
        written_at: Timestamp,
    ) -> Result<Self, ComposeError> {
        let policy = &directory.content().policy;
        let content = content::read(&json, policy, written_at).map_err(ComposeError::Mistakes)?;
        Ok(Self { content, json })
    }

    /// Addresses it to those it names, and nobody else.
    pub(crate) fn address_as_named(
        self,
        derived: Derived,
        office: &Office,
        now: Timestamp,
    ) -> Result<Addressed, ComposeError> {
        let named = |to: &AgencyId| Named {
            agency: to.clone(),
            reasons: vec![NAMED.to_owned()],
            need: Need::Named,
            rests_on: None,
        };
        let to = self.content.recipients().iter().map(named).collect();
        let mut addressed = addressed(self, office, now, |_, _| Ok(to))?;
        addressed.derived = Some(derived);
        Ok(addressed)
    }
}
