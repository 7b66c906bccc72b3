//! The authority of an exchange: issues and revokes certificates, and publishes the directory of who may do what.
//!
//! It works offline, on one folder and, rarely, a second: [`root`] is the root, which may lie in a safe, [`keys`] holds the
//! private keys, [`state`] everything that was issued and
//! decided, [`x509`] makes certificates and revocation lists, [`authority`] is what people and tests do with them,
//! [`register`] looks at a folder without its passphrase, and [`cli`] is the `valise-ca` command. Everything leaves by
//! hand, as files; this crate knows nothing of networks.

pub mod audit;
pub mod authority;
pub mod backup;
pub mod cli;
pub mod difference;
pub mod expiry;
pub mod files;
pub(crate) mod folder;
pub mod journal;
pub mod keys;
pub mod member;
pub mod passphrase;
pub mod profile;
pub mod register;
pub mod request;
pub mod root;
pub mod spool;
pub mod state;
pub(crate) mod transaction;
pub mod transcript;
pub mod x509;

pub use authority::{Authority, BrokerKit, Founding, Publication, Published, Validity};
pub use passphrase::Passphrase;
pub use profile::{Grant, Profile};
pub use register::Register;
pub use root::RootPlace;
pub use state::RevocationReason;

use getrandom::SysRng;
use rand_core::UnwrapErr;

/// The operating system's randomness. Without it no key can be made, so its failure stops the process.
pub(crate) fn randomness() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}
