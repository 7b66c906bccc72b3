//! Keys that an agency brings, with an enrolment or a renewal.
//!
//! Claimed: a key stands for one member and one purpose, and one that was given up never comes back. It holds because
//! every key ever listed is on record, as a member's or as retired, and each that is brought is looked up there.

use thiserror::Error;
use valise_proto::crypto::{SealingPublicKey, VerifyingKey};
use valise_proto::id::KeyId;

use crate::member;
use crate::state::{AgencyRecord, KeyHolder, State};

/// Why keys are not taken. Nothing was changed.
#[derive(Debug, Error)]
pub enum BroughtError {
    /// Another member has this key, or it has it for something else.
    #[error(
        "the request's {what} key {key} belongs to {holder} already; every agency makes its own keys with `valise-agent init`"
    )]
    InUse {
        /// Which of the request's keys.
        what: &'static str,
        /// Its name.
        key: KeyId,
        /// Who has it.
        holder: String,
    },
    /// A key of former times.
    #[error(
        "the request's {what} key {key} was revoked or given up before; a new enrolment needs new keys (`valise-agent init` in a new folder), a renewal keys that are in force or new"
    )]
    Retired {
        /// Which of the request's keys.
        what: &'static str,
        /// Its name.
        key: KeyId,
    },
    /// One key for two purposes.
    #[error(
        "the request uses one key for TLS and for signing; have the agency make its keys with `valise-agent init`"
    )]
    OneKeyTwice,
}

/// The three keys that come with a request.
pub(super) struct Brought {
    tls: KeyId,
    signing: KeyId,
    sealing: KeyId,
}

impl Brought {
    pub(super) fn new(tls: &VerifyingKey, signing: &VerifyingKey, sealing: &SealingPublicKey) -> Self {
        Self { tls: tls.key_id(), signing: signing.key_id(), sealing: sealing.key_id() }
    }

    /// Refuses keys that somebody has or had already. An agency that is enrolled, `own`, may go on with those of now.
    pub(super) fn check(&self, state: &State, own: Option<&AgencyRecord>) -> Result<(), BroughtError> {
        let keys = [
            ("TLS", self.tls, own.map(|record| record.tls_key.0.key_id())),
            ("signing", self.signing, own.map(|record| record.signing_key.key.0.key_id())),
            ("sealing", self.sealing, own.map(|record| record.sealing_key.key.0.key_id())),
        ];
        for (what, key, of_now) in keys {
            match state.key_holder(key) {
                None => {}
                Some(KeyHolder::Retired) => return Err(BroughtError::Retired { what, key }),
                Some(KeyHolder::Member(_)) if of_now == Some(key) => {}
                Some(KeyHolder::Member(holder)) => {
                    return Err(BroughtError::InUse { what, key, holder: member::name(&holder) });
                }
            }
        }
        if self.tls == self.signing { Err(BroughtError::OneKeyTwice) } else { Ok(()) }
    }
}
