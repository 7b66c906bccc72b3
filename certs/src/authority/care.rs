//! What is done with the authority's folder as a whole: another passphrase, and going on from a backup.

use thiserror::Error;
use valise_proto::id::Timestamp;

use super::Authority;
use crate::backup::{AHEAD, Backup};
use crate::files::SECRET_FILE;
use crate::folder::FolderError;
use crate::journal::{Action, Deed};
use crate::keys::{self, KeysError};
use crate::passphrase::Passphrase;
use crate::state::StateError;

/// Why the passphrase is what it was.
#[derive(Debug, Error)]
pub enum PassphraseChangeError {
    /// It would not change.
    #[error("the new passphrase is the old one; nothing was changed")]
    Same,
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The old one, or a key file.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The folder could not be written.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Authority {
    /// Encrypts all key files under a new passphrase: all of them, or none. The keys stay the same.
    ///
    /// # Errors
    /// [`PassphraseChangeError`].
    pub fn change_passphrase(
        &mut self,
        old: &Passphrase,
        new: &Passphrase,
        now: Timestamp,
    ) -> Result<(), PassphraseChangeError> {
        if old == new {
            return Err(PassphraseChangeError::Same);
        }
        let mut files = Vec::new();
        for path in self.folder.key_files()? {
            let text = keys::encrypt_anew(&path, old, new)?;
            files.push((path, text));
        }
        let deed = Deed::new(Action::ChangePassphrase, &self.state.trust_domain, now);
        let others = files.iter().map(|(path, text)| (path.as_path(), text.as_bytes(), SECRET_FILE));
        Ok(self.commit_with(self.state.clone(), &deed, others)?)
    }

    /// Goes on under numbers that were never used, and returns those of directories and lists.
    pub(crate) fn skip_ahead(&mut self, backup: &Backup, now: Timestamp) -> Result<(u64, u64), StateError> {
        let mut next = self.state.clone();
        // The same backup restored again, later, must not give the numbers that were given after the first time.
        let ahead = |number: u64| number.saturating_add(AHEAD).max(now.seconds());
        next.directory_version = ahead(next.directory_version);
        next.crl_number = ahead(next.crl_number);
        let given = next.root_floor.max(next.root_list.number).max(self.delegation.delegation().generation);
        next.root_floor = ahead(given);
        let numbers = (next.directory_version, next.crl_number);
        let deed = Deed::new(Action::Restore, &next.trust_domain, now)
            .with("backup_made_at", backup.header().made_at)
            .with("backup_sha256", backup.digest())
            .with("directory_version", numbers.0)
            .with("crl_number", numbers.1);
        self.commit(next, &deed)?;
        Ok(numbers)
    }
}
