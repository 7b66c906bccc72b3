//! The node's configuration: typed values, defaults as constants, and every mistake told at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;
use valise_proto::envelope::Precedence;
use valise_proto::id::BrokerName;
use valise_proto::label::Classification;

use crate::folder::{self, FileError, Folder};

/// Longest configuration file, in bytes.
pub const CONFIG_BYTES_MAX: usize = 256 * 1024;
/// Default of `log`.
pub const LOG_DEFAULT: &str = "info";
/// Default of `lifetime_days`.
pub const LIFETIME_DAYS_DEFAULT: u64 = 30;
/// Most days a notice may wait at a broker (design: limits).
pub const LIFETIME_DAYS_MAX: u64 = 366;
/// Default of `freshness_grace_minutes`.
pub const FRESHNESS_GRACE_MINUTES_DEFAULT: u64 = 0;
/// Upper bound of `freshness_grace_minutes`: a week.
pub const FRESHNESS_GRACE_MINUTES_MAX: u64 = 7 * 24 * 60;
/// Default of `sealing_key_grace_days`.
pub const SEALING_KEY_GRACE_DAYS_DEFAULT: u64 = 60;
/// Upper bound of `sealing_key_grace_days`: no notice waits longer at a broker than [`LIFETIME_DAYS_MAX`].
pub const SEALING_KEY_GRACE_DAYS_MAX: u64 = 2 * LIFETIME_DAYS_MAX;
/// Default of `pending_days`.
pub const PENDING_DAYS_DEFAULT: u64 = 7;
/// Upper bound of `pending_days`.
pub const PENDING_DAYS_MAX: u64 = 90;
/// Upper bound of each of `respond_within_hours`: no notice waits longer at a broker.
pub const RESPOND_WITHIN_HOURS_MAX: u64 = 24 * LIFETIME_DAYS_MAX;
/// Default of `outbox_max`.
pub const OUTBOX_DEFAULT: usize = 100_000;
/// Upper bound of `outbox_max`.
pub const OUTBOX_MAX: usize = 10_000_000;
/// Longest path of a Unix socket on Linux (`sun_path`, without its terminator).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{0}")]
    File(#[from] FileError),
    /// Mistakes in it, all of them.
    #[error("{}: {} to mend:\n  {}", path.display(), count(.mistakes.len()), .mistakes.join("\n  "))]
    Mistakes {
        /// The file.
        path: PathBuf,
        /// One sentence each.
        mistakes: Vec<String>,
    },
}

fn count(mistakes: usize) -> String {
    if mistakes == 1 { "1 mistake".to_owned() } else { format!("{mistakes} mistakes") }
}

/// How a node runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its data folder.
    pub folder: Folder,
    /// The local API's socket.
    pub socket: PathBuf,
    /// Which log lines are written, in the syntax of tracing's `EnvFilter`.
    pub log: String,
    /// Endpoints to use in place of the directory's, by broker.
    pub brokers: BTreeMap<BrokerName, Vec<String>>,
    /// How long a notice may wait at the broker, unless its author says otherwise.
    pub lifetime: Duration,
    /// Most notices that may wait to be submitted.
    pub outbox_max: usize,
    /// How long a directory or revocation list is gone by beyond its end.
    pub freshness_grace: Duration,
    /// How long a former sealing key is kept once the authority no longer lists it.
    pub sealing_key_grace: Duration,
    /// Where metrics and health are served, if they are: a loopback address.
    pub metrics_listen: Option<SocketAddr>,
    /// Where the local API is served over TCP as well; a loopback address.
    pub api_listen: Option<SocketAddr>,
    /// The lowest classification at which a second officer has to approve what is sent.
    pub four_eyes_label: Option<Classification>,
    /// How long a draft waits for a second officer.
    pub pending_wait: Duration,
    /// How soon an answer is asked for, by precedence, unless the author says otherwise.
    pub respond_within: BTreeMap<Precedence, Duration>,
}

/// What a file may say. Unknown keys are mistakes.
#[derive(Debug, Default, Deserialize)]
struct File {
    data: Option<toml::Value>,
    socket: Option<toml::Value>,
    log: Option<toml::Value>,
    brokers: Option<toml::Value>,
    lifetime_days: Option<toml::Value>,
    outbox_max: Option<toml::Value>,
    freshness_grace_minutes: Option<toml::Value>,
    sealing_key_grace_days: Option<toml::Value>,
    metrics_listen: Option<toml::Value>,
    api: Option<toml::Value>,
    four_eyes_label: Option<toml::Value>,
    pending_days: Option<toml::Value>,
    respond_within_hours: Option<toml::Value>,
    #[serde(flatten)]
    unknown: BTreeMap<String, toml::Value>,
}

impl Config {
    /// The defaults for the data folder at `path`.
    #[must_use]
    pub fn for_folder(folder: Folder) -> Self {
        Self {
            socket: folder.socket(),
            folder,
            log: LOG_DEFAULT.to_owned(),
            brokers: BTreeMap::new(),
            lifetime: days(LIFETIME_DAYS_DEFAULT),
            outbox_max: OUTBOX_DEFAULT,
            freshness_grace: minutes(FRESHNESS_GRACE_MINUTES_DEFAULT),
            sealing_key_grace: days(SEALING_KEY_GRACE_DAYS_DEFAULT),
            metrics_listen: None,
            api_listen: None,
            four_eyes_label: None,
            pending_wait: days(PENDING_DAYS_DEFAULT),
            respond_within: Precedence::ALL.map(|one| (one, one.respond_within())).into(),
        }
    }

    /// What is in order and may still surprise.
    #[must_use]
    pub fn advice(&self) -> Vec<String> {
        let mut advice = Vec::new();
        if self.sealing_key_grace < days(LIFETIME_DAYS_MAX) {
            advice.push(format!(
                "sealing_key_grace_days is {}: a notice may wait at a broker for up to {LIFETIME_DAYS_MAX} days, and one that was sealed to a former key and is fetched after its destruction cannot be opened",
                self.sealing_key_grace.as_secs() / DAY_SECONDS
            ));
        }
        if !self.freshness_grace.is_zero() {
            advice.push(format!(
                "freshness_grace_minutes is {}: for so long this node goes by a directory or revocation list that has run out, and may not know of a suspension or revocation",
                self.freshness_grace.as_secs() / 60
            ));
        }
        advice
    }

    /// The configuration of a data folder: its `agent.toml` where there is one, otherwise the defaults.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn of_folder(folder: Folder) -> Result<Self, ConfigError> {
        let path = folder.config();
        if path.exists() { Self::read(&path, Some(folder)) } else { Ok(Self::for_folder(folder)) }
    }

    /// Reads a configuration file. `folder`, from the command line, goes before the file's `data`.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path, folder: Option<Folder>) -> Result<Self, ConfigError> {
        let text = folder::read_text(path, CONFIG_BYTES_MAX)?;
        Self::parse(&text, path, folder)
            .map_err(|mistakes| ConfigError::Mistakes { path: path.to_owned(), mistakes })
    }

    /// Reads the text of a configuration file at `path`; `folder` as in [`Config::read`].
    ///
    /// # Errors
    /// Every mistake, one sentence each; never an empty list.
    pub fn parse(text: &str, path: &Path, folder: Option<Folder>) -> Result<Self, Vec<String>> {
        let file: File = toml::from_str(text).map_err(|error| vec![error.to_string().trim().to_owned()])?;
        let mut mistakes = Vec::new();
        for key in file.unknown.keys() {
            mistakes.push(format!(
                "`{key}` is not a setting: use data, socket, log, brokers, lifetime_days, outbox_max, freshness_grace_minutes, sealing_key_grace_days, metrics_listen, api, four_eyes_label, pending_days or respond_within_hours"
            ));
        }
        let relative_to = path.parent().unwrap_or(Path::new("."));
        let data = file.data.and_then(|value| text_of("data", &value, &mut mistakes));
        let folder = folder.or_else(|| data.map(|data| Folder::new(relative_to.join(data))));
        if folder.is_none() && mistakes.is_empty() {
            mistakes.push("`data` is missing: name the node's data folder, or give --data".to_owned());
        }
        let folder = folder.unwrap_or_else(|| Folder::new(relative_to));
        let mut config = Self::for_folder(folder);
        if let Some(socket) = file.socket.and_then(|value| text_of("socket", &value, &mut mistakes)) {
            config.socket = config.folder.path().join(socket);
        }
        check_socket(&config.socket, &mut mistakes);
        if let Some(log) = file.log.and_then(|value| text_of("log", &value, &mut mistakes)) {
            match tracing_subscriber::EnvFilter::from_str(&log) {
                Ok(_) => config.log = log,
                Err(error) => mistakes.push(format!(
                    "`log`: `{log}` is not a filter such as info or valise_agent=debug: {error}"
                )),
            }
        }
        if let Some(brokers) = file.brokers {
            config.brokers = read_brokers(brokers, &mut mistakes);
        }
        if let Some(value) = file.lifetime_days {
            let range = (1, LIFETIME_DAYS_MAX);
            config.lifetime =
                number("lifetime_days", &value, range, &mut mistakes).map_or(config.lifetime, days);
        }
        if let Some(value) = file.outbox_max {
            let range = (1, u64::try_from(OUTBOX_MAX).unwrap_or(u64::MAX));
            let found = number("outbox_max", &value, range, &mut mistakes);
            config.outbox_max = found.and_then(|n| usize::try_from(n).ok()).unwrap_or(config.outbox_max);
        }
        if let Some(value) = file.freshness_grace_minutes {
            let found =
                number("freshness_grace_minutes", &value, (0, FRESHNESS_GRACE_MINUTES_MAX), &mut mistakes);
            config.freshness_grace = found.map_or(config.freshness_grace, minutes);
        }
        if let Some(value) = file.sealing_key_grace_days {
            let found =
                number("sealing_key_grace_days", &value, (0, SEALING_KEY_GRACE_DAYS_MAX), &mut mistakes);
            config.sealing_key_grace = found.map_or(config.sealing_key_grace, days);
        }
        if let Some(value) = file.respond_within_hours {
            config.read_respond_within(&value, &mut mistakes);
        }
        if let Some(text) =
            file.metrics_listen.and_then(|value| text_of("metrics_listen", &value, &mut mistakes))
        {
            config.metrics_listen = read_metrics(&text, &mut mistakes);
        }
        config.read_officers((file.api, file.four_eyes_label, file.pending_days), &mut mistakes);
        if mistakes.is_empty() { Ok(config) } else { Err(mistakes) }
    }

    /// How soon answers are asked for; a precedence that is not named keeps its default.
    fn read_respond_within(&mut self, value: &toml::Value, mistakes: &mut Vec<String>) {
        let Some(table) = value.as_table() else {
            mistakes.push(
                "`respond_within_hours` must be a table: [respond_within_hours] then FLASH = 8".to_owned(),
            );
            return;
        };
        for (name, hours) in table {
            let key = format!("respond_within_hours.{name}");
            match name.parse::<Precedence>() {
                Ok(precedence) => {
                    if let Some(hours) = number(&key, hours, (1, RESPOND_WITHIN_HOURS_MAX), mistakes) {
                        self.respond_within.insert(precedence, minutes(hours.saturating_mul(60)));
                    }
                }
                Err(error) => mistakes.push(format!("`{key}`: {error}")),
            }
        }
    }

    /// What concerns officers: TCP, and what needs two of them.
    fn read_officers(
        &mut self,
        (api, label, wait): (Option<toml::Value>, Option<toml::Value>, Option<toml::Value>),
        mistakes: &mut Vec<String>,
    ) {
        if let Some(api) = api {
            self.api_listen = read_api(&api, mistakes);
        }
        if let Some(text) = label.and_then(|value| text_of("four_eyes_label", &value, mistakes)) {
            match text.parse() {
                Ok(label) => self.four_eyes_label = Some(label),
                Err(error) => mistakes.push(format!("`four_eyes_label`: {error}")),
            }
        }
        if let Some(value) = wait {
            let found = number("pending_days", &value, (1, PENDING_DAYS_MAX), mistakes);
            self.pending_wait = found.map_or(self.pending_wait, days);
        }
    }
}

const DAY_SECONDS: u64 = 24 * 60 * 60;

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes.saturating_mul(60))
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days.saturating_mul(DAY_SECONDS))
}

fn check_socket(socket: &Path, mistakes: &mut Vec<String>) {
    let len = socket.as_os_str().len();
    if len > SOCKET_PATH_BYTES_MAX {
        mistakes.push(format!(
            "`socket`: {} has {len} bytes; a Unix socket's path has at most {SOCKET_PATH_BYTES_MAX}: set a shorter one",
            socket.display()
        ));
    }
}

fn text_of(key: &str, value: &toml::Value, mistakes: &mut Vec<String>) -> Option<String> {
    let text = value.as_str().filter(|text| !text.is_empty()).map(ToOwned::to_owned);
    if text.is_none() {
        mistakes.push(format!("`{key}`: {value} is not a text; write {key} = \"…\""));
    }
    text
}

fn number(key: &str, value: &toml::Value, (min, max): (u64, u64), mistakes: &mut Vec<String>) -> Option<u64> {
    let found = value.as_integer().and_then(|n| u64::try_from(n).ok()).filter(|n| (min..=max).contains(n));
    if found.is_none() {
        mistakes.push(format!("`{key}`: {value} is not a whole number from {min} to {max}"));
    }
    found
}

fn read_api(value: &toml::Value, mistakes: &mut Vec<String>) -> Option<SocketAddr> {
    let listen = value.as_table().filter(|table| table.len() == 1).and_then(|table| table.get("listen"));
    let address = listen.and_then(toml::Value::as_str).and_then(|text| text.parse::<SocketAddr>().ok());
    // Tokens would cross the network in the clear: from elsewhere, a tunnel that ends here.
    let good = address.filter(|address| address.ip().is_loopback());
    if good.is_none() {
        mistakes.push(format!(
            "`api`: {value} is not a loopback address and port: write [api] then listen = \"127.0.0.1:7300\""
        ));
    }
    good
}

fn read_metrics(text: &str, mistakes: &mut Vec<String>) -> Option<SocketAddr> {
    // Nothing here asks who is asking.
    let good = text.parse().ok().filter(|address: &SocketAddr| address.ip().is_loopback());
    if good.is_none() {
        mistakes.push(format!(
            "`metrics_listen`: `{text}` is not a loopback address and port, such as 127.0.0.1:9465: metrics are given to whoever asks, unencrypted, so only to programs on this machine; bring them elsewhere through a tunnel"
        ));
    }
    good
}

fn read_brokers(value: toml::Value, mistakes: &mut Vec<String>) -> BTreeMap<BrokerName, Vec<String>> {
    let toml::Value::Table(table) = value else {
        mistakes.push("`brokers` must be a table: [brokers] then NAME = [\"host:port\"]".to_owned());
        return BTreeMap::new();
    };
    let mut brokers = BTreeMap::new();
    for (name, endpoints) in table {
        let good: Option<Vec<String>> = endpoints.as_array().into_iter().flatten().map(endpoint).collect();
        match (name.parse::<BrokerName>(), good) {
            (Ok(name), Some(endpoints)) if !endpoints.is_empty() => {
                brokers.insert(name, endpoints);
            }
            (Err(error), _) => mistakes.push(format!("`brokers`: {error}")),
            (Ok(_), _) => {
                mistakes.push(format!(
                    "`brokers.{name}`: {endpoints} is not a list of host:port, such as [\"broker.example:4433\"]"
                ));
            }
        }
    }
    brokers
}

fn endpoint(value: &toml::Value) -> Option<String> {
    let text = value.as_str()?;
    let (host, port) = text.rsplit_once(':')?;
    let good = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0);
    good.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, Vec<String>> {
        Config::parse(text, Path::new("/etc/valise/agent.toml"), None)
    }

    #[test]
    fn all_mistakes_come_at_once() {
        let text = "data = 3\nsocket = \"\"\nlog = \"a=b=c\"\nlifetime_days = 400\noutbox_max = 0\nrespond_within_hours = { SOON = 1, FLASH = 0 }\nfreshness_grace_minutes = -1\nsealing_key_grace_days = 1000\ncolour = 1\n[brokers]\nB1 = [\"x\"]\nb2 = [\"host\"]\n";
        let mistakes = parse(text).unwrap_err();
        for key in [
            "colour",
            "data",
            "socket",
            "log",
            "lifetime_days",
            "outbox_max",
            "SOON",
            "respond_within_hours.FLASH",
            "freshness_grace_minutes",
            "sealing_key_grace_days",
            "B1",
            "brokers.b2",
        ] {
            assert!(
                mistakes.iter().any(|sentence| sentence.contains(key)),
                "{key} is not told: {mistakes:?}"
            );
        }
    }

    #[test]
    fn the_example_configuration_is_in_order_and_what_it_calls_defaults_are_the_defaults() {
        let example = include_str!("../../deploy/config/agent.toml");
        let config = parse(example).unwrap();
        assert_eq!(config, Config::for_folder(Folder::new("/var/lib/valise-agent")));
        let is_setting = |line: &&str| line.contains(" = ") || line.starts_with('[');
        let uncommented = |line: &'static str| line.strip_prefix("# ").filter(is_setting).unwrap_or(line);
        let spelled_out: Vec<_> = example.lines().map(uncommented).collect();
        let mut spelled_out = parse(&spelled_out.join("\n")).unwrap();
        assert_eq!(std::mem::take(&mut spelled_out.brokers).len(), 1);
        // What is off by default has no default.
        assert!(spelled_out.metrics_listen.take().is_some());
        assert!(spelled_out.api_listen.take().is_some() && spelled_out.four_eyes_label.take().is_some());
        assert_eq!(spelled_out, config);
    }

    #[test]
    fn an_empty_file_needs_the_data_folder_only() {
        assert!(parse("").unwrap_err()[0].contains("--data"));
        let config = parse("data = \"node\"").unwrap();
        assert_eq!(config, Config::for_folder(Folder::new("/etc/valise/node")));
    }

    #[test]
    fn g10_metrics_are_served_on_loopback_or_not_at_all() {
        assert_eq!(parse("data='/d'").unwrap().metrics_listen, None);
        for bad in ["0.0.0.0:9465", "[::]:9465", "192.0.2.1:9465", "127.0.0.1", "localhost:9465"] {
            let mistakes = parse(&format!("data='/d'\nmetrics_listen='{bad}'\n")).unwrap_err();
            assert!(
                mistakes[0].contains("loopback") && mistakes[0].contains("tunnel"),
                "{bad}: {mistakes:?}"
            );
        }
        let config = parse("data='/d'\nmetrics_listen='[::1]:9465'\n").unwrap();
        assert_eq!(config.metrics_listen, Some("[::1]:9465".parse().unwrap()));
    }

    #[test]
    fn the_api_listens_on_loopback_only() {
        for bad in ["0.0.0.0:7300", "10.0.0.1:7300", "127.0.0.1", "localhost:7300", "[::]:7300"] {
            let mistakes = parse(&format!("data='/d'\n[api]\nlisten='{bad}'\n")).unwrap_err();
            assert!(mistakes[0].contains("loopback"), "{bad}: {mistakes:?}");
        }
        let text = "data='/d'\nfour_eyes_label='SECRET'\npending_days=3\n[api]\nlisten='[::1]:7300'\n";
        let config = parse(text).unwrap();
        assert_eq!(config.api_listen, Some("[::1]:7300".parse().unwrap()));
        assert_eq!(config.four_eyes_label, Some(Classification::Secret));
        assert_eq!(config.pending_wait, days(3));
        let mistakes = parse("data='/d'\nfour_eyes_label='HUSH'\npending_days=0\n").unwrap_err();
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    }

    #[test]
    fn every_setting_is_read() {
        let config = parse("data='/d'\nsocket='s'\nlog='debug'\nlifetime_days=2\noutbox_max=9\nfreshness_grace_minutes=3\nsealing_key_grace_days=4\n[brokers]\nb1=['h:1','[::1]:2']\n[respond_within_hours]\nFLASH=2\n").unwrap();
        assert_eq!(config.socket, Path::new("/d/s"));
        assert_eq!(config.lifetime, Duration::from_secs(172_800));
        assert_eq!(config.outbox_max, 9);
        assert_eq!(config.freshness_grace, Duration::from_secs(180));
        assert_eq!(config.sealing_key_grace, Duration::from_secs(345_600));
        let hours = |precedence| config.respond_within[&precedence].as_secs() / 3600;
        assert_eq!([Precedence::Flash, Precedence::Routine].map(hours), [2, 168]);
        assert_eq!(config.brokers.values().next().unwrap(), &["h:1", "[::1]:2"]);
    }
}
