//! The authority of a network: the library inside this process, or the command line as an administrator types it.

use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tokio::process::Command;
use valise_certs::{Authority, Founding, Passphrase};
use valise_proto::id::BrokerName;

use super::binaries::binary;
use super::process::{self, Ran};
use super::{BROKER, NetworkError, POLICY, TRUST_DOMAIN, files_below, now};

/// The passphrase of the authority, which lives as long as the test.
const PASSPHRASE: &str = "correct horse battery staple";

/// The authority's folder. One process at a time may have it open: this one, until a command is run.
#[derive(Debug)]
pub(super) struct Office {
    dir: PathBuf,
    open: Mutex<Option<Authority>>,
}

impl Office {
    /// Founds the authority below `folder` and issues the broker's keys and certificate into `broker`.
    pub(super) fn found(folder: &Path, broker: &Path) -> Result<Self, NetworkError> {
        let founding = Founding::new(
            TRUST_DOMAIN.parse().map_err(NetworkError::value)?,
            POLICY.parse().map_err(NetworkError::value)?,
        );
        let dir = folder.join("ca");
        let authority = Authority::init(&dir, &founding, &passphrase()?, now());
        let mut authority = authority.map_err(NetworkError::authority)?;
        let name: BrokerName = BROKER.parse().map_err(NetworkError::value)?;
        // Agencies are told of their relay instead.
        let endpoints = vec!["127.0.0.1:4433".to_owned()];
        let kit = authority.issue_broker(&name, endpoints, now()).map_err(NetworkError::authority)?;
        kit.write(&broker.join("keys")).map_err(NetworkError::authority)?;
        Ok(Self { dir, open: Mutex::new(Some(authority)) })
    }

    /// Lets the library act, opening the folder where a command has been run on it.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Authority) -> T) -> Result<T, NetworkError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut authority = match open.take() {
            Some(authority) => authority,
            None => Authority::open(&self.dir, &passphrase()?).map_err(NetworkError::authority)?,
        };
        let acted = act(&mut authority);
        *open = Some(authority);
        Ok(acted)
    }

    /// Runs `valise-ca` on the folder, with its passphrase.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<Ran, NetworkError> {
        let mut command = Command::new(binary("valise-ca")?);
        let passphrase = self.passphrase_file()?;
        // The folder is the command's alone.
        drop(self.open.lock().unwrap_or_else(PoisonError::into_inner).take());
        command.arg("--dir").arg(&self.dir).arg("--passphrase-file").arg(&passphrase).args(arguments);
        process::run(command).await
    }

    fn passphrase_file(&self) -> Result<PathBuf, NetworkError> {
        let path = self.dir.with_file_name("passphrase");
        let mut options = std::fs::File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&path).map_err(NetworkError::io(&path))?;
        std::io::Write::write_all(&mut &file, PASSPHRASE.as_bytes()).map_err(NetworkError::io(&path))?;
        Ok(path)
    }

    /// A second authority, from a copy of the folder as it is now.
    pub(super) fn fork(&self) -> Result<Authority, NetworkError> {
        let copy = self.dir.with_file_name("ca-fork");
        // Nothing is being written meanwhile.
        let _quiet = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for file in files_below(&self.dir)? {
            let to = copy.join(file.strip_prefix(&self.dir).map_err(NetworkError::value)?);
            let folder = to.parent().unwrap_or(&copy);
            let mut private = std::fs::DirBuilder::new();
            private.recursive(true).mode(0o700).create(folder).map_err(NetworkError::io(folder))?;
            std::fs::copy(&file, &to).map_err(NetworkError::io(&to))?;
        }
        Authority::open(&copy, &passphrase()?).map_err(NetworkError::authority)
    }
}

fn passphrase() -> Result<Passphrase, NetworkError> {
    Passphrase::new(PASSPHRASE).map_err(NetworkError::authority)
}
