//! A whole exchange: an authority, a broker, agencies, and what stands between them.

mod agency;
mod authority;
mod binaries;
mod broker;
mod error;
mod process;
mod room;
mod spec;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use valise_agent::config::Config;
use valise_agent::enrol;
use valise_agent::folder::Folder;
use valise_certs::authority::DIRECTORY_FILE;
use valise_certs::{Authority, Profile, RevocationReason, Validity};
use valise_proto::directory::Directory;
use valise_proto::id::{AgencyId, NoticeId, Role, Timestamp};
use valise_proto::label::Classification;

use self::agency::Member;
use self::authority::Office;
use self::spec::Mode;
use crate::DEADLINE;
use crate::relay::Relay;

pub use agency::{Agency, is_unknown};
pub use binaries::{BINARIES_ENV, binary};
pub use broker::BrokerControl;
pub use error::NetworkError;
pub use process::Ran;
pub use room::{Room, SmallDisk};
pub use spec::AgencySpec;

/// The trust domain of every network.
pub const TRUST_DOMAIN: &str = "exchange.example";
/// The policy of its labels.
pub const POLICY: &str = "EXCHANGE-EXAMPLE";
/// The name of its broker.
pub const BROKER: &str = "b1";

/// A notice that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    id: NoticeId,
    recipients: Vec<AgencyId>,
}

impl Sent {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> NoticeId {
        self.id
    }

    /// Who receives it.
    #[must_use]
    pub fn recipients(&self) -> &[AgencyId] {
        &self.recipients
    }
}

impl From<&Sent> for NoticeId {
    fn from(sent: &Sent) -> Self {
        sent.id
    }
}

/// Says what a network is to be made of.
#[derive(Clone, Debug, Default)]
pub struct NetworkBuilder {
    agencies: Vec<AgencySpec>,
    agencies_as: Mode,
    broker_as: Mode,
    broker_config: String,
    agency_config: String,
    patience: Option<Duration>,
    seed: u64,
    leaf: Option<Duration>,
}

impl NetworkBuilder {
    /// Adds an agency: an id, or an [`AgencySpec`].
    #[must_use]
    pub fn agency(mut self, agency: impl Into<AgencySpec>) -> Self {
        self.agencies.push(agency.into());
        self
    }

    /// Runs the broker as a process of its own.
    #[must_use]
    pub fn broker_as_process(mut self) -> Self {
        self.broker_as = Mode::Process;
        self
    }

    /// Runs every agency as a process of its own.
    #[must_use]
    pub fn agencies_as_processes(mut self) -> Self {
        self.agencies_as = Mode::Process;
        self
    }

    /// Adds lines to the broker's configuration, such as `[limits]` and what follows it.
    #[must_use]
    pub fn broker_config(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.broker_config);
        self
    }

    /// Adds lines to the configuration of every agency.
    #[must_use]
    pub fn agency_config(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.agency_config);
        self
    }

    /// How long every `expect_…` waits once the network runs, in place of [`DEADLINE`]: for tests of what must not
    /// happen.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Seeds the faults of the relays; the same seed loses the same datagrams.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How long the agencies' first certificates count from now on, in place of the usual 90 days: little, for tests of
    /// their renewal. As they begin 5 minutes early, one that counts for less than 2.5 more minutes is due at once.
    #[must_use]
    pub fn first_certificates_for(mut self, lifetime: Duration) -> Self {
        self.leaf = Some(lifetime);
        self
    }

    /// Makes the authority, enrols and starts everyone, and waits until the running agencies are connected.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn start(self) -> Result<Network, NetworkError> {
        let temp =
            tempfile::Builder::new().prefix("valise-").tempdir().map_err(NetworkError::io("a new folder"))?;
        let broker_folder = temp.path().join("broker");
        let patience = self.patience.unwrap_or(DEADLINE);
        let office = Office::found(temp.path(), &broker_folder)?;
        let usual = Validity::default();
        office.with(|authority| {
            authority.set_validity(Validity { leaf: self.leaf.unwrap_or(usual.leaf), ..usual });
        })?;
        let mut members = BTreeMap::new();
        let mut states = BTreeSet::new();
        let relay_target = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
        for (spec, number) in self.agencies.iter().zip(0_u64..) {
            let id: AgencyId = spec.id.parse().map_err(NetworkError::value)?;
            let first = states.insert(id.state());
            let folder = Folder::new(temp.path().join(spec.id.replace('/', "-")));
            enrol_agency(&office, &folder, &id, &spec.profile(first)?)?;
            let relay =
                Relay::start(relay_target, self.seed ^ number).await.map_err(NetworkError::io("a relay"))?;
            // What is said for all comes first: keys of an agency's own may begin a table.
            let lines = format!("{}\n{}", self.agency_config, spec.config);
            let config = configure(&folder, &relay, &lines)?;
            let (mode, node) = (self.agencies_as, tokio::sync::Mutex::default());
            let spec_too = spec.clone();
            let (room, clock_ahead) = (Mutex::default(), Arc::default());
            let member =
                Member { id, spec: spec_too, config, relay, mode, room, clock_ahead, patience, node };
            members.insert(spec.id.clone(), Arc::new(member));
        }
        office.with(|authority| authority.set_validity(usual))?;
        let broker = BrokerControl {
            folder: broker_folder,
            mode: self.broker_as,
            extra: self.broker_config,
            patience,
            room: Mutex::default(),
            node: tokio::sync::Mutex::default(),
            relays: Mutex::new(members.values().map(Arc::downgrade).collect()),
        };
        let network = Network { office, broker, members, temp };
        network.publish_files()?;
        network.broker.start().await?;
        for spec in self.agencies.iter().filter(|spec| spec.running) {
            network.agency(&spec.id).start().await?;
        }
        for spec in self.agencies.iter().filter(|spec| spec.running) {
            network.agency(&spec.id).expect_link(true, DEADLINE).await?;
        }
        Ok(network)
    }
}

/// A running exchange. When it is dropped its folder is removed and its processes are killed; agencies that
/// run inside this process end too, but its broker goes on, without its folder, until the runtime ends. So end a test with
/// [`Network::stop`].
#[derive(Debug)]
pub struct Network {
    office: Office,
    broker: BrokerControl,
    members: BTreeMap<String, Arc<Member>>,
    temp: TempDir,
}

impl Network {
    /// Begins to describe a network.
    #[must_use]
    pub fn builder() -> NetworkBuilder {
        NetworkBuilder::default()
    }

    /// One of its agencies.
    #[must_use]
    pub fn agency<'n>(&'n self, id: &'n str) -> Agency<'n> {
        Agency { name: id, member: self.members.get(id).map(AsRef::as_ref) }
    }

    /// Its broker.
    #[must_use]
    pub fn broker(&self) -> &BrokerControl {
        &self.broker
    }

    /// The folder that holds everything.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.temp.path()
    }

    /// Changes what an agency may see, publishes, and waits until the broker goes by it. Returns the directory's version,
    /// as the calls below do.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn clear(&self, agency: &str, class: Classification) -> Result<u64, NetworkError> {
        let member = self.member(agency)?;
        let grant = member.spec.grant(class)?;
        self.administer(|authority| authority.set_clearance(&member.id, grant, now())).await
    }

    /// Suspends an agency, publishes, and waits until the broker goes by it.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn suspend(&self, agency: &str) -> Result<u64, NetworkError> {
        let member = self.member(agency)?;
        self.administer(|authority| authority.suspend(&member.id, now())).await
    }

    /// Ends a suspension, publishes, and waits until the broker goes by it.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn reinstate(&self, agency: &str) -> Result<u64, NetworkError> {
        let member = self.member(agency)?;
        self.administer(|authority| authority.reinstate(&member.id, now())).await
    }

    /// Revokes an agency's certificate, publishes, and waits until the broker goes by it.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn revoke(&self, agency: &str) -> Result<u64, NetworkError> {
        let role = Role::Agency(self.member(agency)?.id.clone());
        self.administer(|authority| authority.revoke(&role, RevocationReason::KeyCompromise, now())).await
    }

    /// Publishes, and waits until the broker goes by it.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn publish(&self) -> Result<u64, NetworkError> {
        let version = self.publish_files()?;
        self.broker.reload(version).await?;
        Ok(version)
    }

    /// The authority itself, for what has no call here. What it decides counts from the next [`Network::publish`].
    ///
    /// # Errors
    /// [`NetworkError::Authority`] with what `act` says.
    pub fn with_authority<T, E: std::fmt::Display>(
        &self,
        act: impl FnOnce(&mut Authority) -> Result<T, E>,
    ) -> Result<T, NetworkError> {
        self.office.with(act)?.map_err(NetworkError::authority)
    }

    /// Runs `valise-ca` on the authority's folder, as an administrator does; folder and passphrase are given.
    ///
    /// # Errors
    /// [`NetworkError`] where it cannot be run; how it ended is for the caller to look at.
    pub async fn ca(&self, arguments: &[&str]) -> Result<Ran, NetworkError> {
        self.office.run(arguments).await
    }

    /// Carries the renewal requests that the broker keeps to the authority, which grants what is in order and publishes,
    /// and waits until the broker goes by it. Returns what `valise-ca renew` says.
    ///
    /// # Errors
    /// [`NetworkError`], also where a request was refused.
    pub async fn carry_renewals(&self) -> Result<serde_json::Value, NetworkError> {
        let text = |path: &Path| path.display().to_string();
        let carried = tempfile::Builder::new().prefix("carried-").tempdir_in(self.temp.path());
        let carried = carried.map_err(NetworkError::io(self.temp.path()))?;
        let spool = text(&carried.path().join("spool"));
        self.broker.run(&["spool", "export", "--out", &spool, "--json"]).await?.json()?;
        let out = text(&self.broker.publication());
        let told = self.ca(&["renew", "--spool", &spool, "--out", &out, "--json"]).await?.json()?;
        self.broker.reload(self.directory()?.version()).await?;
        Ok(told)
    }

    /// A second authority, from a copy of the first one's folder as it is now: a backup that somebody restored. What
    /// either signs from now on contradicts the other.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn fork_authority(&self) -> Result<Authority, NetworkError> {
        self.office.fork()
    }

    /// The directory that was published last.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn directory(&self) -> Result<Directory, NetworkError> {
        let path = self.broker.publication().join(DIRECTORY_FILE);
        let bytes = std::fs::read(&path).map_err(NetworkError::io(&path))?;
        Directory::verify(bytes.into(), &self.office.with(|authority| authority.trust())?)
            .map_err(NetworkError::authority)
    }

    /// Lets the authority change something, then publishes. Returns the directory's version.
    async fn administer<E: std::fmt::Display>(
        &self,
        change: impl FnOnce(&mut Authority) -> Result<(), E>,
    ) -> Result<u64, NetworkError> {
        self.with_authority(change)?;
        self.publish().await
    }

    fn member(&self, agency: &str) -> Result<&Member, NetworkError> {
        let member = self.members.get(agency).map(AsRef::as_ref);
        member.ok_or_else(|| NetworkError::NoSuchAgency(agency.to_owned()))
    }

    fn publish_files(&self) -> Result<u64, NetworkError> {
        let published = |authority: &mut Authority| authority.publish(&self.broker.publication(), now());
        Ok(self.with_authority(published)?.version)
    }

    /// Stops everyone in order.
    pub async fn stop(&self) {
        for member in self.members.values() {
            if let Err(error) = member.stop().await {
                tracing::warn!(agency = %member.id, %error, "an agency did not stop in order");
            }
        }
        if let Err(error) = self.broker.stop().await {
            tracing::warn!(%error, "the broker did not stop in order");
        }
    }
}

/// What otherwise passes by hand: request, bundle, and both fingerprints compared.
fn enrol_agency(
    office: &Office,
    folder: &Folder,
    id: &AgencyId,
    profile: &Profile,
) -> Result<(), NetworkError> {
    let trust_domain = TRUST_DOMAIN.parse().map_err(NetworkError::value)?;
    let request = enrol::init(folder, trust_domain, id.clone(), now())?;
    let bundle = office.with(|authority| authority.enrol(&request, profile, now()))?;
    let bundle = bundle.map_err(NetworkError::authority)?;
    enrol::join(folder, &bundle, now())?;
    Ok(())
}

/// Writes the node's configuration, by which it reaches the broker through its relay.
fn configure(folder: &Folder, relay: &Relay, lines: &str) -> Result<Config, NetworkError> {
    let path = folder.config();
    let text = format!("{lines}\n[brokers]\n{BROKER} = [\"{}\"]\n", relay.local_addr());
    std::fs::write(&path, text).map_err(NetworkError::io(&path))?;
    Config::of_folder(folder.clone()).map_err(NetworkError::value)
}

/// Every file in and below `folder`.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>, NetworkError> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(NetworkError::io(&folder))? {
            let path = entry.map_err(NetworkError::io(&folder))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn now() -> Timestamp {
    valise_agent::clock::Clock::system().now()
}
