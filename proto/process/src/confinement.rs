//! Landlock: a process says which files and ports it needs, and the kernel refuses it every other from then on.
//!
//! Claimed: after [`Confinement::enforce`] on the main thread, before any other is started, the process starts no program,
//! opens no file outside the folders it named and a few of the system's that name resolution needs, listens on no other
//! TCP port, and signals nobody. It holds because threads inherit it and nothing takes it back. Not claimed: UDP, which
//! Landlock does not know; and kernels before 6.7 know less, or nothing (`man 7 landlock`).

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use thiserror::Error;

/// The newest rights that are asked for; a kernel that knows fewer enforces those.
const RIGHTS: ABI = ABI::V6;
/// What the C library reads to resolve names and to find out about the machine. Folders, for their files are replaced.
const SYSTEM_FOLDERS: [&str; 10] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/proc/self",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
];
/// What may be written to besides.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/urandom", "/dev/random"];
/// Names are asked for over TCP where the answer is long.
const DNS_PORT: u16 = 53;

/// What a process needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    listen: Vec<u16>,
}

/// How far the kernel went along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confined {
    /// All of it holds.
    Fully,
    /// This kernel knows a part of it.
    Partly,
    /// This kernel knows nothing of it, or has it turned off.
    NotAtAll,
}

/// The process is not confined.
#[derive(Debug, Error)]
pub enum NotConfined {
    /// Something that it needs is not there, so that nothing can be allowed.
    #[error("{} is not there", .0.display())]
    Missing(PathBuf),
    /// The kernel.
    #[error("{0}")]
    Refused(#[from] RulesetError),
}

impl Confinement {
    /// A process that needs nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// It reads what is in this folder.
    #[must_use]
    pub fn reading(mut self, folder: impl Into<PathBuf>) -> Self {
        self.read.push(folder.into());
        self
    }

    /// It reads and writes what is in this folder.
    #[must_use]
    pub fn writing(mut self, folder: impl Into<PathBuf>) -> Self {
        self.write.push(folder.into());
        self
    }

    /// It reads the file at this path, which may be replaced: so the folder that it lies in.
    #[must_use]
    pub fn reading_file(self, file: &Path) -> Self {
        let folder = folder_of(file);
        self.reading(folder)
    }

    /// It makes a file or socket at this path.
    #[must_use]
    pub fn making_file(self, file: &Path) -> Self {
        let folder = folder_of(file);
        self.writing(folder)
    }

    /// It listens on this TCP port; 0 stands for any free one.
    #[must_use]
    pub fn listening(mut self, port: u16) -> Self {
        self.listen.push(port);
        self
    }

    /// Has the kernel refuse everything else, to this thread and to those that it starts.
    ///
    /// # Errors
    /// [`NotConfined`]; then nothing is refused that was allowed before.
    pub fn enforce(&self) -> Result<Confined, NotConfined> {
        let reads = AccessFs::ReadFile | AccessFs::ReadDir;
        let writes = AccessFs::from_all(RIGHTS) & !BitFlags::from(AccessFs::Execute);
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(RIGHTS))?
            .handle_access(AccessNet::from_all(RIGHTS))?
            .scope(Scope::from_all(RIGHTS))?
            .create()?;
        for folder in &self.read {
            rules = beneath(rules, folder, reads)?;
        }
        for folder in &self.write {
            rules = beneath(rules, folder, writes)?;
        }
        for folder in SYSTEM_FOLDERS.map(Path::new).into_iter().filter(|folder| folder.exists()) {
            rules = beneath(rules, folder, reads)?;
        }
        for device in DEVICES.map(Path::new).into_iter().filter(|device| device.exists()) {
            rules = beneath(rules, device, AccessFs::ReadFile | AccessFs::WriteFile)?;
        }
        for port in &self.listen {
            rules = rules.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
        }
        rules = rules.add_rule(NetPort::new(DNS_PORT, AccessNet::ConnectTcp))?;
        Ok(match rules.restrict_self()?.ruleset {
            RulesetStatus::FullyEnforced => Confined::Fully,
            RulesetStatus::PartiallyEnforced => Confined::Partly,
            RulesetStatus::NotEnforced => Confined::NotAtAll,
        })
    }
}

impl std::fmt::Display for Confined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fully => "the kernel refuses this process every file and port that it does not need",
            Self::Partly => "this kernel knows a part of Landlock: it refuses this process some of what it does not need",
            Self::NotAtAll => "this kernel does not know Landlock, or has it turned off: the process can open what its user can",
        })
    }
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

fn beneath(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, NotConfined> {
    let opened = PathFd::new(path).map_err(|_| NotConfined::Missing(path.to_owned()))?;
    Ok(rules.add_rule(PathBeneath::new(opened, access))?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::net::TcpListener;
    use std::process::Command;

    use super::*;

    /// Runs on a thread of its own, for what is given up does not come back.
    fn confined(confinement: Confinement, then: impl FnOnce() + Send + 'static) {
        let thread = std::thread::spawn(move || match confinement.enforce().unwrap() {
            Confined::Fully => then(),
            other => eprintln!("not shown here: {other}"),
        });
        thread.join().unwrap();
    }

    #[test]
    fn g02_a_confined_process_opens_what_it_named_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let [data, published, other] = ["data", "published", "other"].map(|name| temp.path().join(name));
        for folder in [&data, &published, &other] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("file"), "content").unwrap();
        }
        let confinement = Confinement::new().writing(&data).reading_file(&published.join("file"));
        confined(confinement, move || {
            let refused = |result: std::io::Result<()>| result.unwrap_err().kind();
            fs::write(data.join("new"), "more").unwrap();
            fs::rename(data.join("new"), data.join("newer")).unwrap();
            assert_eq!(fs::read(published.join("file")).unwrap(), b"content");
            let denied = ErrorKind::PermissionDenied;
            assert_eq!(refused(fs::write(published.join("file"), "changed")), denied);
            assert_eq!(refused(fs::read(other.join("file")).map(drop)), denied);
            assert_eq!(refused(fs::remove_file(other.join("file"))), denied);
            assert_eq!(
                refused(Command::new("/bin/true").status().map(drop)),
                denied,
                "a program was started"
            );
            fs::read("/etc/hosts").unwrap();
        });
    }

    #[test]
    fn g02_a_confined_process_listens_where_it_said_and_nowhere_else() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let other = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert_ne!(taken, other);
        confined(Confinement::new().listening(taken), move || {
            TcpListener::bind(("127.0.0.1", taken)).unwrap();
            let refused = TcpListener::bind(("127.0.0.1", other)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        });
    }

    #[test]
    fn what_is_not_there_is_named_and_nothing_is_given_up() {
        let missing = Path::new("/no/such/folder");
        let error = Confinement::new().reading(missing).enforce().unwrap_err();
        assert!(matches!(error, NotConfined::Missing(path) if path == missing));
        fs::read_dir("/").unwrap();
    }
}
