//! The broker's configuration: typed values, defaults as constants, and every mistake told at once.

mod limits;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

pub use limits::Limits;

use crate::folder;

/// Longest configuration file, in bytes.
pub const CONFIG_BYTES_MAX: usize = 256 * 1024;
/// Default of `log`.
pub const LOG_DEFAULT: &str = "info";
/// Default of `reload_seconds`.
pub const RELOAD_SECONDS_DEFAULT: u64 = 2;
/// Largest `freshness_grace_minutes`: a week.
pub const FRESHNESS_GRACE_MINUTES_MAX: u64 = 7 * 24 * 60;
/// Name of the status socket in the data folder, unless `status_socket` names another.
pub const STATUS_SOCKET_NAME: &str = "status.sock";
/// Name of the certificate chain that [`Config::new`] looks for.
pub const CERTIFICATES_NAME: &str = "tls.crt";
/// Name of the TLS key that [`Config::new`] looks for.
pub const TLS_KEY_NAME: &str = "tls.key";
/// Name of the receipt key that [`Config::new`] looks for.
pub const RECEIPT_KEY_NAME: &str = "receipt.key";
/// Name of the roots of trust that [`Config::new`] looks for.
pub const TRUST_NAME: &str = "trust.pem";
/// Name of the directory in the publication folder.
pub const DIRECTORY_NAME: &str = "directory.valise";
/// Name of the revocation lists in the publication folder.
pub const CRLS_NAME: &str = "crls.pem";
/// Name of the certificates in the publication folder.
pub const PUBLISHED_CERTIFICATES_NAME: &str = "certificates.pem";
/// Name of the spool of renewal requests in the data folder, unless `renewal_spool` names another.
pub const SPOOL_NAME: &str = "spool";
/// Longest path of a Unix socket on Linux (`sun_path`, without its terminator), in bytes.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: cannot read this file: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
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

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The word in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a broker runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Its data folder; made where there is none.
    pub data: PathBuf,
    /// The Unix socket of `valise-broker status`.
    pub status_socket: PathBuf,
    /// Its certificate chain, PEM, leaf first.
    pub certificates: PathBuf,
    /// The leaf's private key, PKCS#8 PEM.
    pub tls_key: PathBuf,
    /// The Ed25519 key its receipts are signed with, PKCS#8 PEM.
    pub receipt_key: PathBuf,
    /// The authority's roots of trust.
    pub trust: PathBuf,
    /// The folder the authority publishes to: [`DIRECTORY_NAME`], [`CRLS_NAME`] and [`PUBLISHED_CERTIFICATES_NAME`].
    pub publication: PathBuf,
    /// The folder in which renewal requests wait to be carried to the authority; made where there is none.
    pub renewal_spool: PathBuf,
    /// Where metrics and health are served, if they are: a loopback address.
    pub metrics_listen: Option<SocketAddr>,
    /// How much longer than they say a directory and revocation lists are gone by.
    pub freshness_grace: Duration,
    /// Which log lines are written, in the syntax of tracing's `EnvFilter`.
    pub log: String,
    /// How they are written.
    pub log_format: LogFormat,
    /// How often certificates and publication are looked at for changes.
    pub reload_interval: Duration,
    /// Limits and times.
    pub limits: Limits,
}

impl Config {
    /// The defaults for a broker that listens on `listen`, keeps its data in `data`, finds its certificate, keys and
    /// roots of trust under their usual names in `identity`, and what the authority published in `publication`.
    pub fn new(
        listen: SocketAddr,
        data: impl Into<PathBuf>,
        identity: impl AsRef<Path>,
        publication: impl Into<PathBuf>,
    ) -> Self {
        let (data, identity) = (data.into(), identity.as_ref());
        Self {
            listen,
            status_socket: data.join(STATUS_SOCKET_NAME),
            renewal_spool: data.join(SPOOL_NAME),
            metrics_listen: None,
            freshness_grace: Duration::ZERO,
            data,
            certificates: identity.join(CERTIFICATES_NAME),
            tls_key: identity.join(TLS_KEY_NAME),
            receipt_key: identity.join(RECEIPT_KEY_NAME),
            trust: identity.join(TRUST_NAME),
            publication: publication.into(),
            log: LOG_DEFAULT.to_owned(),
            log_format: LogFormat::default(),
            reload_interval: Duration::from_secs(RELOAD_SECONDS_DEFAULT),
            limits: Limits::default(),
        }
    }

    /// Reads a configuration file. Relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = folder::read_text(path, CONFIG_BYTES_MAX);
        let text = text.map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        Self::parse(&text, path.parent().unwrap_or(Path::new("")))
            .map_err(|mistakes| ConfigError::Mistakes { path: path.to_owned(), mistakes })
    }

    /// The published directory.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.publication.join(DIRECTORY_NAME)
    }

    /// The published revocation lists.
    #[must_use]
    pub fn crls(&self) -> PathBuf {
        self.publication.join(CRLS_NAME)
    }

    /// The published certificates.
    #[must_use]
    pub fn published_certificates(&self) -> PathBuf {
        self.publication.join(PUBLISHED_CERTIFICATES_NAME)
    }

    /// Limits and times of the transport.
    #[must_use]
    pub fn transport_options(&self) -> valise_transport::Options {
        valise_transport::Options {
            handshake_timeout: self.limits.handshake_timeout,
            idle_timeout: self.limits.idle_timeout,
            keep_alive: self.limits.idle_timeout / 3,
            connections_max: self.limits.connections_max,
            handshakes_max: self.limits.handshakes_max,
            handshakes_per_address_max: self.limits.handshakes_per_address_max,
            frame_timeout: self.limits.frame_timeout,
            ..valise_transport::Options::default()
        }
    }

    /// Reads the text of a configuration file in `folder`, to which relative paths in it are relative.
    ///
    /// # Errors
    /// Every mistake, one sentence each; never an empty list.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Vec<String>> {
        let mut values = toml::from_str(text).map_err(|error: toml::de::Error| vec![error.to_string()])?;
        let mut mistakes = Vec::new();
        let limits = limits::take(&mut values, &mut mistakes);
        let mut table = Table::new("", values, &mut mistakes);
        let listen = table.required("listen", "\"[::]:4433\"").and_then(|text| table.listen(&text));
        let mut path = |key, example| table.required(key, example).map(|text| folder.join(text));
        let data = path("data", "\"data\"");
        let certificates = path("certificates", "\"tls.crt\"");
        let tls_key = path("tls_key", "\"tls.key\"");
        let receipt_key = path("receipt_key", "\"receipt.key\"");
        let trust = path("trust", "\"trust.pem\"");
        let publication = path("publication", "\"publication\"");
        let status_socket = table.text("status_socket").map(|text| folder.join(text));
        let status_socket = status_socket.or_else(|| data.as_ref().map(|data| data.join(STATUS_SOCKET_NAME)));
        table.check_socket(status_socket.as_deref());
        let renewal_spool = table.text("renewal_spool").map(|text| folder.join(text));
        let renewal_spool = renewal_spool.or_else(|| data.as_ref().map(|data| data.join(SPOOL_NAME)));
        let metrics_listen = table.metrics_listen();
        let freshness_grace =
            table.seconds("freshness_grace_minutes", 0, (0, FRESHNESS_GRACE_MINUTES_MAX)) * 60;
        let log = table.log();
        let log_format = table.log_format();
        let reload_interval = table.seconds("reload_seconds", RELOAD_SECONDS_DEFAULT, (1, 3600));
        table.finish();
        // `None` stands for a mistake that was told.
        let config = (|| {
            Some(Self {
                listen: listen?,
                data: data?,
                status_socket: status_socket?,
                certificates: certificates?,
                tls_key: tls_key?,
                receipt_key: receipt_key?,
                trust: trust?,
                publication: publication?,
                renewal_spool: renewal_spool?,
                metrics_listen,
                freshness_grace,
                log,
                log_format,
                reload_interval,
                limits,
            })
        })();
        config.filter(|_| mistakes.is_empty()).ok_or(mistakes)
    }
}

/// A table of the file: each setting is taken out of it, and what is left over is a mistake.
struct Table<'m> {
    /// What stands before its keys in messages.
    prefix: &'static str,
    values: toml::Table,
    known: Vec<&'static str>,
    mistakes: &'m mut Vec<String>,
}

impl<'m> Table<'m> {
    fn new(prefix: &'static str, values: toml::Table, mistakes: &'m mut Vec<String>) -> Self {
        Self { prefix, values, known: Vec::new(), mistakes }
    }

    fn take(&mut self, key: &'static str) -> Option<toml::Value> {
        self.known.push(key);
        self.values.remove(key)
    }

    fn mistake(&mut self, key: &str, problem: impl fmt::Display) {
        self.mistakes.push(format!("`{}{key}`: {problem}", self.prefix));
    }

    fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.take(key)?;
        let text = value.as_str().filter(|text| !text.is_empty()).map(ToOwned::to_owned);
        if text.is_none() {
            self.mistake(key, format!("{value} is not a text; write {key} = \"…\""));
        }
        text
    }

    fn required(&mut self, key: &'static str, example: &str) -> Option<String> {
        if !self.values.contains_key(key) {
            self.mistake(key, format!("is missing; write for example {key} = {example}"));
        }
        self.text(key)
    }

    fn listen(&mut self, text: &str) -> Option<SocketAddr> {
        let addr = text.parse().ok();
        if addr.is_none() {
            self.mistake(
                "listen",
                format!("`{text}` is not an address and a port, such as [::]:4433 or 192.0.2.1:4433"),
            );
        }
        addr
    }

    fn metrics_listen(&mut self) -> Option<SocketAddr> {
        let text = self.text("metrics_listen")?;
        // Who corresponds with whom, and how much, is nobody else's business, and nothing here asks who is asking.
        let addr = text.parse().ok().filter(|addr: &SocketAddr| addr.ip().is_loopback());
        if addr.is_none() {
            self.mistake(
                "metrics_listen",
                format!(
                    "`{text}` is not a loopback address and port, such as 127.0.0.1:9464: metrics are given to \
                     whoever asks, unencrypted, so only to programs on this machine; bring them elsewhere through a tunnel"
                ),
            );
        }
        addr
    }

    fn check_socket(&mut self, socket: Option<&Path>) {
        let len = socket.map_or(0, |socket| socket.as_os_str().len());
        if len > SOCKET_PATH_BYTES_MAX {
            let problem = format!(
                "its path has {len} bytes; a Unix socket's may have {SOCKET_PATH_BYTES_MAX}: set a shorter one"
            );
            self.mistake("status_socket", problem);
        }
    }

    fn log(&mut self) -> String {
        let Some(log) = self.text("log") else { return LOG_DEFAULT.to_owned() };
        if let Err(error) = tracing_subscriber::EnvFilter::from_str(&log) {
            self.mistake(
                "log",
                format!("`{log}` is not a filter such as info or valise_broker=debug: {error}"),
            );
        }
        log
    }

    fn log_format(&mut self) -> LogFormat {
        let Some(word) = self.text("log_format") else { return LogFormat::default() };
        let found = [LogFormat::Text, LogFormat::Json].into_iter().find(|format| format.as_str() == word);
        found.unwrap_or_else(|| {
            self.mistake("log_format", format!("`{word}` is neither text nor json"));
            LogFormat::default()
        })
    }

    fn number(&mut self, key: &'static str, default: usize, (min, max): (usize, usize)) -> usize {
        let wide = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        let number = self.number_u64(key, wide(default), (wide(min), wide(max)));
        usize::try_from(number).unwrap_or(usize::MAX)
    }

    fn number_u64(&mut self, key: &'static str, default: u64, (min, max): (u64, u64)) -> u64 {
        let Some(value) = self.take(key) else { return default };
        let found = value.as_integer().and_then(|number| u64::try_from(number).ok());
        found.filter(|number| (min..=max).contains(number)).unwrap_or_else(|| {
            self.mistake(key, format!("{value} is not a whole number from {min} to {max}"));
            default
        })
    }

    fn seconds(&mut self, key: &'static str, default: u64, range: (u64, u64)) -> Duration {
        Duration::from_secs(self.number_u64(key, default, range))
    }

    fn finish(self) {
        let Self { prefix, values, known, mistakes } = self;
        for key in values.keys() {
            mistakes.push(format!("`{prefix}{key}` is not a setting: use {}", known.join(", ")));
        }
    }
}

#[cfg(test)]
mod tests;
