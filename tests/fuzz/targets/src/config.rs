//! Configuration files of broker and agent.

use std::path::Path;

use valise_agent::config::{LIFETIME_DAYS_MAX, OUTBOX_MAX, PENDING_DAYS_MAX};
use valise_agent::folder::Folder;
use valise_broker::config::FRESHNESS_GRACE_MINUTES_MAX;
use valise_proto::wire::limits::Limits;

use crate::exchange::DAY;
use crate::oracle::bounded_setting;

/// The folder in which files stand.
const FOLDER: &str = "/etc/valise";

/// A broker's configuration.
///
/// What is accepted is within the protocol's limits, and means the same however it is written.
pub fn broker_config(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let read = |text: &str| valise_broker::config::Config::parse(text, Path::new(FOLDER));
    let config = match bounded_setting(text.len(), || read(text)) {
        Ok(config) => config,
        Err(mistakes) => return told(&mistakes),
    };
    let (wire, most) = (&config.limits.wire, Limits::DEFAULT);
    assert!((4096..=most.envelope_bytes_max).contains(&wire.envelope_bytes_max));
    assert!((1..=most.recipients_max).contains(&wire.recipients_max));
    assert!((1..=most.portions_max).contains(&wire.portions_max));
    assert!((1..=most.unacknowledged_max).contains(&wire.unacknowledged_max));
    assert!((1..=most.in_flight_max).contains(&wire.in_flight_max));
    assert!(wire.clock_ahead_max <= most.clock_ahead_max && wire.lifetime_max <= most.lifetime_max);
    assert!((1..=64).contains(&config.limits.core.connections_per_agency_max));
    assert!((1..=100_000).contains(&config.limits.connections_max));
    assert!(config.limits.intake_bytes_max >= wire.envelope_bytes_max, "no envelope could be taken");
    assert!(config.freshness_grace <= DAY * u32::try_from(FRESHNESS_GRACE_MINUTES_MAX / 60 / 24).unwrap());
    assert!(!config.reload_interval.is_zero() && !config.limits.handshake_timeout.is_zero());
    assert!(config.status_socket.as_os_str().len() <= 107, "a socket that cannot be bound");
    assert_eq!(read(&in_other_words(text)).as_ref(), Ok(&config), "it depends on how it is written");
    true
}

/// An agent's configuration, without a folder given on the command line.
///
/// What is accepted is within its bounds, serves the local API on loopback only, and means the same however it is
/// written.
pub fn agent_config(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let path = Path::new(FOLDER).join("agent.toml");
    let parse = |text: &str, folder| valise_agent::config::Config::parse(text, &path, folder);
    let config = match bounded_setting(text.len(), || parse(text, None)) {
        Ok(config) => config,
        Err(mistakes) => return told(&mistakes),
    };
    assert!(config.api_listen.is_none_or(|listen| listen.ip().is_loopback()), "an API that others reach");
    assert!(config.lifetime >= DAY && config.lifetime <= DAY * u32::try_from(LIFETIME_DAYS_MAX).unwrap());
    assert!(
        config.pending_wait >= DAY && config.pending_wait <= DAY * u32::try_from(PENDING_DAYS_MAX).unwrap()
    );
    assert!((1..=OUTBOX_MAX).contains(&config.outbox_max));
    assert!(config.socket.as_os_str().len() <= 107, "a socket that cannot be bound");
    assert!(config.brokers.values().all(|endpoints| !endpoints.is_empty()), "a broker that is nowhere");
    assert!(config.advice().iter().all(|advice| !advice.is_empty()));
    assert_eq!(parse(&in_other_words(text), None).as_ref(), Ok(&config), "it depends on how it is written");
    // The folder of the command line goes before the file's.
    let elsewhere = Folder::new("/elsewhere");
    if let Ok(moved) = parse(text, Some(elsewhere.clone())) {
        assert_eq!(moved.folder, elsewhere);
    }
    true
}

/// The same settings as the TOML library writes them: in another order and another notation.
fn in_other_words(text: &str) -> String {
    toml::to_string(&toml::from_str::<toml::Table>(text).unwrap()).unwrap()
}

fn told(mistakes: &[String]) -> bool {
    assert!(!mistakes.is_empty(), "refused without a mistake");
    for mistake in mistakes {
        assert!(!mistake.trim().is_empty(), "a mistake without a word");
    }
    false
}
