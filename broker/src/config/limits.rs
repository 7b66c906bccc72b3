//! The table `[limits]`: every bound of the broker, with its unit, default and range.

use std::time::Duration;

use valise_proto::wire::limits::Limits as WireLimits;

use super::Table;
use crate::core::{CoreLimits, Rate, Rates};
use crate::store::Quota;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const GIB: usize = 1024 * MIB;
const DAY_SECONDS: u64 = 24 * 60 * 60;
const DAY_SECONDS_U32: u32 = 24 * 60 * 60;
/// Smallest `envelope_bytes_max`: below it hardly a header and its key wraps fit.
const ENVELOPE_BYTES_MIN: usize = 4 * KIB;
/// Default of `intake_bytes_max`.
const INTAKE_BYTES_DEFAULT: usize = 256 * MIB;
/// Largest `intake_bytes_max`.
const INTAKE_BYTES_MAX: usize = 16 * GIB;
/// Default of `intake_bytes_per_agency_max`.
const INTAKE_BYTES_PER_AGENCY_DEFAULT: usize = 32 * MIB;
/// Default of `work_per_agency_max`.
const WORK_PER_AGENCY_DEFAULT: usize = 128;
/// Smallest `work_per_agency_max`: as many envelopes as are verified as one piece of work.
pub(crate) const WORK_PER_AGENCY_MIN: usize = 16;
/// Defaults of what may wait to be fetched.
const QUOTA_DEFAULT: Quota = Quota {
    stored_notices_max: 100_000,
    stored_bytes_max: 4 * 1024 * 1024 * 1024,
    remembered_max: 10_000_000,
    correspondent_items_max: 20_000,
    inbox_items_max: 1_000_000,
};
/// Largest `stored_notices_per_agency_max`.
const NOTICES_MAX: u64 = 100_000_000;
/// Largest `remembered_ids_per_agency_max`.
const REMEMBERED_MAX: u64 = 10_000_000_000;
/// Largest `stored_bytes_per_agency_max`.
const STORED_BYTES_MAX: u64 = 1024 * 1024 * 1024 * 1024 * 1024;
/// How many agencies it takes at least to fill one agency's inbox.
const INBOX_SHARES_MIN: u64 = 4;
/// Default of `disk_reserve_bytes`.
const DISK_RESERVE_BYTES_DEFAULT: u64 = 512 * 1024 * 1024;
/// Largest `disk_reserve_bytes`.
const DISK_RESERVE_BYTES_MAX: u64 = 1024 * 1024 * 1024 * 1024 * 1024;
/// Smallest `submit_bytes_burst`, in largest envelopes: three quarters of it must hold one, also where it is ROUTINE.
const BURST_ENVELOPES_MIN: usize = 2;

/// Limits and times; each has a bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What agents are told: at most the protocol's.
    pub wire: WireLimits,
    /// The core's own.
    pub core: CoreLimits,
    /// What one agency may submit in a second.
    pub rates: Rates,
    /// What may wait to be fetched.
    pub quota: Quota,
    /// Envelopes of one agency between the network and the disk.
    pub work_per_agency_max: usize,
    /// Bytes of them.
    pub intake_bytes_per_agency_max: usize,
    /// Bytes of envelopes between the socket and the disk, of all agencies together.
    pub intake_bytes_max: usize,
    /// Room on the disk below which nothing more is taken; 0 for none.
    pub disk_reserve_bytes: u64,
    /// Connections of all agencies together.
    pub connections_max: usize,
    /// Handshakes under way, of everyone together.
    pub handshakes_max: usize,
    /// Handshakes under way from one address.
    pub handshakes_per_address_max: usize,
    /// From the first packet to the end of the TLS handshake, and from there to `Hello`.
    pub handshake_timeout: Duration,
    /// From the first byte of a frame to its last.
    pub frame_timeout: Duration,
    /// Silence after which a connection is given up.
    pub idle_timeout: Duration,
    /// How long a session is given to end once it has been told to.
    pub goodbye_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wire: WireLimits::DEFAULT,
            core: CoreLimits::default(),
            rates: Rates::default(),
            quota: QUOTA_DEFAULT,
            work_per_agency_max: WORK_PER_AGENCY_DEFAULT,
            intake_bytes_per_agency_max: INTAKE_BYTES_PER_AGENCY_DEFAULT,
            intake_bytes_max: INTAKE_BYTES_DEFAULT,
            disk_reserve_bytes: DISK_RESERVE_BYTES_DEFAULT,
            connections_max: 1024,
            handshakes_max: 256,
            handshakes_per_address_max: 64,
            handshake_timeout: Duration::from_secs(5),
            frame_timeout: Duration::from_secs(120),
            idle_timeout: Duration::from_secs(30),
            goodbye_timeout: Duration::from_secs(2),
        }
    }
}

/// Takes the table out of `values`; mistakes are added to the others.
pub(super) fn take(values: &mut toml::Table, mistakes: &mut Vec<String>) -> Limits {
    let table = match values.remove("limits") {
        None => toml::Table::new(),
        Some(toml::Value::Table(table)) => table,
        Some(other) => {
            mistakes
                .push(format!("`limits`: {other} is not a table; write [limits] and the limits below it"));
            toml::Table::new()
        }
    };
    let mut table = Table::new("limits.", table, mistakes);
    let default = Limits::default();
    let wire = take_wire(&mut table);
    // At least one envelope, or none could be taken.
    let envelope = wire.envelope_bytes_max;
    let per_agency = default.core.connections_per_agency_max;
    let core = CoreLimits {
        connections_per_agency_max: table.number("connections_per_agency_max", per_agency, (1, 64)),
        load_items_max: default.core.load_items_max,
        sweep_interval: table.seconds("sweep_seconds", default.core.sweep_interval.as_secs(), (1, 3600)),
    };
    let rates = take_rates(&mut table, envelope);
    let quota = take_quota(&mut table, envelope);
    let disk_reserve_bytes =
        table.number_u64("disk_reserve_bytes", default.disk_reserve_bytes, (0, DISK_RESERVE_BYTES_MAX));
    let mut number = |key, default, range| table.number(key, default, range);
    let limits = Limits {
        wire,
        core,
        rates,
        quota,
        work_per_agency_max: number(
            "work_per_agency_max",
            default.work_per_agency_max,
            (WORK_PER_AGENCY_MIN, 65_536),
        ),
        intake_bytes_per_agency_max: number(
            "intake_bytes_per_agency_max",
            default.intake_bytes_per_agency_max,
            (envelope, INTAKE_BYTES_MAX),
        ),
        intake_bytes_max: number("intake_bytes_max", default.intake_bytes_max, (envelope, INTAKE_BYTES_MAX)),
        disk_reserve_bytes,
        connections_max: number("connections_max", default.connections_max, (1, 100_000)),
        handshakes_max: number("handshakes_max", default.handshakes_max, (1, 10_000)),
        handshakes_per_address_max: number(
            "handshakes_per_address_max",
            default.handshakes_per_address_max,
            (1, 10_000),
        ),
        handshake_timeout: table.seconds("handshake_seconds", default.handshake_timeout.as_secs(), (1, 60)),
        frame_timeout: table.seconds("frame_seconds", default.frame_timeout.as_secs(), (1, 600)),
        idle_timeout: table.seconds("idle_seconds", default.idle_timeout.as_secs(), (3, 600)),
        goodbye_timeout: table.seconds("goodbye_seconds", default.goodbye_timeout.as_secs(), (1, 60)),
    };
    table.finish();
    limits
}

fn take_wire(table: &mut Table<'_>) -> WireLimits {
    let protocol = WireLimits::DEFAULT;
    let clock_ahead = protocol.clock_ahead_max.as_secs();
    let days_max = protocol.lifetime_max.as_secs() / DAY_SECONDS;
    let mut up_to = |key, min, max| table.number(key, max, (min, max));
    WireLimits {
        envelope_bytes_max: up_to("envelope_bytes_max", ENVELOPE_BYTES_MIN, protocol.envelope_bytes_max),
        recipients_max: up_to("recipients_max", 1, protocol.recipients_max),
        portions_max: up_to("portions_max", 1, protocol.portions_max),
        unacknowledged_max: up_to("unacknowledged_max", 1, protocol.unacknowledged_max),
        in_flight_max: up_to("in_flight_max", 1, protocol.in_flight_max),
        clock_ahead_max: table.seconds("clock_ahead_seconds_max", clock_ahead, (0, clock_ahead)),
        lifetime_max: table.seconds("lifetime_days_max", days_max, (1, days_max)) * DAY_SECONDS_U32,
    }
}

fn take_quota(table: &mut Table<'_>, envelope_bytes_max: usize) -> Quota {
    let envelope = u64::try_from(envelope_bytes_max).unwrap_or(u64::MAX);
    let Quota {
        stored_notices_max,
        stored_bytes_max,
        remembered_max,
        correspondent_items_max,
        inbox_items_max,
    } = QUOTA_DEFAULT;
    let notices = table.number_u64("stored_notices_per_agency_max", stored_notices_max, (10, NOTICES_MAX));
    // Two of the largest, also where they are ROUTINE.
    let bytes_min = envelope.saturating_mul(4);
    let bytes =
        table.number_u64("stored_bytes_per_agency_max", stored_bytes_max, (bytes_min, STORED_BYTES_MAX));
    // So that one agency alone does not fill another's inbox.
    let items_min = notices.saturating_mul(INBOX_SHARES_MIN);
    let items = inbox_items_max.max(items_min);
    let items = table.number_u64("inbox_items_max", items, (items_min, NOTICES_MAX * INBOX_SHARES_MIN));
    let between = correspondent_items_max.min(notices);
    Quota {
        stored_notices_max: notices,
        stored_bytes_max: bytes,
        // What waits is remembered too.
        remembered_max: table.number_u64(
            "remembered_ids_per_agency_max",
            remembered_max.max(notices),
            (notices, REMEMBERED_MAX),
        ),
        correspondent_items_max: table.number_u64("correspondent_items_max", between, (10, notices)),
        inbox_items_max: items,
    }
}

fn take_rates(table: &mut Table<'_>, envelope_bytes_max: usize) -> Rates {
    let Rates { envelopes, bytes, streams } = Rates::default();
    let envelope = u64::try_from(envelope_bytes_max).unwrap_or(u64::MAX);
    let burst_min = envelope.saturating_mul(u64::try_from(BURST_ENVELOPES_MIN).unwrap_or(u64::MAX));
    let gib = u64::try_from(GIB).unwrap_or(u64::MAX);
    let mut number = |key, default, range| table.number_u64(key, default, range);
    Rates {
        envelopes: Rate {
            per_second: number("envelopes_per_second", envelopes.per_second, (1, 1_000_000)),
            burst: number("envelopes_burst", envelopes.burst, (1, 10_000_000)),
        },
        bytes: Rate {
            per_second: number("submit_bytes_per_second", bytes.per_second, (1024, 16 * gib)),
            burst: number("submit_bytes_burst", bytes.burst, (burst_min, 64 * gib)),
        },
        streams: Rate {
            per_second: number("streams_per_second", streams.per_second, (1, 10_000)),
            // A session, and a stream to submit and one to receive for each precedence.
            burst: number("streams_burst", streams.burst, (9, 100_000)),
        },
    }
}
