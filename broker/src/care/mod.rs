//! Care of the data folder: backups that are taken while the broker runs, their restoration, and a look at every record.
//!
//! A backup holds what the store holds: headers, sealed portions, receipts and the log, nothing that opens a portion.
//! It is no proof against whoever can change it: its digests tell damage, and everything in it that matters is signed.

mod archive;
mod backup;
mod restore;

pub use archive::ArchiveError;
pub use backup::{BackedUp, BackupError, backup};
pub(crate) use backup::{Control, REQUEST, SILENCE_MAX, control_path};
pub use restore::{RestoreError, Restored, restore};

pub use crate::store::{Finding, Verification};
