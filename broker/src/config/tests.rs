//! Every setting, and every mistake.

use valise_proto::wire::limits::Limits as WireLimits;

use super::*;
use crate::core::{CoreLimits, Rate, Rates};
use crate::store::Quota;

const GOOD: &str = "listen = '[::1]:4433'\ndata = 'data'\ncertificates = 'tls.crt'\ntls_key = 'tls.key'\n\
    receipt_key = '/keys/receipt.key'\ntrust = 'trust.pem'\npublication = 'published'\n";

fn parse(text: &str) -> Result<Config, Vec<String>> {
    Config::parse(text, Path::new("/etc/valise"))
}

#[test]
fn what_is_required_is_enough_and_paths_are_relative_to_the_file() {
    let config = parse(GOOD).unwrap();
    let mut expected = Config::new(
        "[::1]:4433".parse().unwrap(),
        "/etc/valise/data",
        "/etc/valise",
        "/etc/valise/published",
    );
    expected.receipt_key = "/keys/receipt.key".into();
    assert_eq!(config, expected);
    assert_eq!(config.status_socket, Path::new("/etc/valise/data/status.sock"));
    assert_eq!(config.renewal_spool, Path::new("/etc/valise/data/spool"));
    assert_eq!(config.directory(), Path::new("/etc/valise/published/directory.valise"));
}

#[test]
fn all_mistakes_come_at_once() {
    let text = "listen = 'here'\ndata = 3\ntls_key = ''\ncolour = 1\nlog = 'a=b=c'\nlog_format = 'xml'\n\
        reload_seconds = 0\nmetrics_listen = 9464\nrenewal_spool = 1\nfreshness_grace_minutes = 10081\n[limits]\nenvelope_bytes_max = 2000000\nrecipients_max = 65\nportions_max = 0\n\
        unacknowledged_max = 1025\nin_flight_max = 'many'\nclock_ahead_seconds_max = 301\nlifetime_days_max = 367\n\
        connections_per_agency_max = 0\nconnections_max = 0\nhandshake_seconds = 61\nidle_seconds = 1\n\
        goodbye_seconds = 0\nintake_bytes_max = 1\nsweep_seconds = -1\nspeed = 9\nenvelopes_per_second = 0\n\
        envelopes_burst = 0\nsubmit_bytes_per_second = 1023\nsubmit_bytes_burst = 1\nstreams_per_second = 0\nstreams_burst = 8\n\
        work_per_agency_max = 15\nintake_bytes_per_agency_max = 1\nhandshakes_max = 0\nhandshakes_per_address_max = 0\n\
        frame_seconds = 601\ndisk_reserve_bytes = -1\n\
        stored_notices_per_agency_max = 9\nstored_bytes_per_agency_max = 1\ninbox_items_max = 1\n";
    let mistakes = parse(text).unwrap_err();
    let keys = [
        "listen",
        "data",
        "certificates",
        "tls_key",
        "receipt_key",
        "trust",
        "publication",
        "metrics_listen",
        "colour",
        "log",
        "log_format",
        "reload_seconds",
        "renewal_spool",
        "freshness_grace_minutes",
        "limits.envelope_bytes_max",
        "limits.recipients_max",
        "limits.portions_max",
        "limits.unacknowledged_max",
        "limits.in_flight_max",
        "limits.clock_ahead_seconds_max",
        "limits.lifetime_days_max",
        "limits.connections_per_agency_max",
        "limits.connections_max",
        "limits.handshake_seconds",
        "limits.idle_seconds",
        "limits.goodbye_seconds",
        "limits.intake_bytes_max",
        "limits.sweep_seconds",
        "limits.speed",
        "limits.envelopes_per_second",
        "limits.envelopes_burst",
        "limits.submit_bytes_per_second",
        "limits.submit_bytes_burst",
        "limits.streams_per_second",
        "limits.streams_burst",
        "limits.work_per_agency_max",
        "limits.intake_bytes_per_agency_max",
        "limits.handshakes_max",
        "limits.handshakes_per_address_max",
        "limits.frame_seconds",
        "limits.disk_reserve_bytes",
        "limits.stored_notices_per_agency_max",
        "limits.stored_bytes_per_agency_max",
        "limits.inbox_items_max",
    ];
    for key in keys {
        let told = mistakes.iter().filter(|sentence| sentence.starts_with(&format!("`{key}`"))).count();
        assert_eq!(told, 1, "`{key}` should be told once: {mistakes:#?}");
    }
    assert_eq!(mistakes.len(), keys.len(), "{mistakes:#?}");
}

#[test]
fn every_setting_is_read() {
    let text = format!(
        "status_socket = 's'\nlog = 'debug'\nlog_format = 'json'\nreload_seconds = 7\nrenewal_spool = 'r'\nfreshness_grace_minutes = 90\n{GOOD}[limits]\n\
         envelope_bytes_max = 8192\nrecipients_max = 2\nportions_max = 3\nunacknowledged_max = 4\nin_flight_max = 5\n\
         clock_ahead_seconds_max = 6\nlifetime_days_max = 7\nconnections_per_agency_max = 8\nconnections_max = 9\n\
         handshake_seconds = 10\nidle_seconds = 11\ngoodbye_seconds = 12\nintake_bytes_max = 8192\nsweep_seconds = 13\n\
         envelopes_per_second = 14\nenvelopes_burst = 15\nsubmit_bytes_per_second = 16000\nsubmit_bytes_burst = 17000\n\
         streams_per_second = 18\nstreams_burst = 19\nwork_per_agency_max = 20\nintake_bytes_per_agency_max = 21000\n\
         handshakes_max = 22\nhandshakes_per_address_max = 23\nframe_seconds = 24\ndisk_reserve_bytes = 25\n\
         stored_notices_per_agency_max = 26\nstored_bytes_per_agency_max = 32768\ninbox_items_max = 104\n\
         remembered_ids_per_agency_max = 27\ncorrespondent_items_max = 12\n"
    );
    let config = parse(&text).unwrap();
    let seconds = Duration::from_secs;
    assert_eq!(config.status_socket, Path::new("/etc/valise/s"));
    assert_eq!(config.renewal_spool, Path::new("/etc/valise/r"));
    assert_eq!(config.freshness_grace, seconds(90 * 60));
    assert_eq!(
        (config.log.as_str(), config.log_format, config.reload_interval),
        ("debug", LogFormat::Json, seconds(7))
    );
    let expected = Limits {
        wire: WireLimits {
            envelope_bytes_max: 8192,
            recipients_max: 2,
            portions_max: 3,
            unacknowledged_max: 4,
            in_flight_max: 5,
            clock_ahead_max: seconds(6),
            lifetime_max: seconds(7 * 24 * 60 * 60),
        },
        core: CoreLimits {
            connections_per_agency_max: 8,
            sweep_interval: seconds(13),
            ..CoreLimits::default()
        },
        rates: Rates {
            envelopes: Rate { per_second: 14, burst: 15 },
            bytes: Rate { per_second: 16_000, burst: 17_000 },
            streams: Rate { per_second: 18, burst: 19 },
        },
        work_per_agency_max: 20,
        intake_bytes_per_agency_max: 21_000,
        handshakes_max: 22,
        handshakes_per_address_max: 23,
        frame_timeout: seconds(24),
        disk_reserve_bytes: 25,
        quota: Quota {
            stored_notices_max: 26,
            stored_bytes_max: 32_768,
            remembered_max: 27,
            correspondent_items_max: 12,
            inbox_items_max: 104,
        },
        connections_max: 9,
        handshake_timeout: seconds(10),
        idle_timeout: seconds(11),
        goodbye_timeout: seconds(12),
        intake_bytes_max: 8192,
    };
    assert_eq!(config.limits, expected);
}

#[test]
fn room_for_less_than_one_envelope_is_a_mistake() {
    let mistakes = parse(&format!("{GOOD}[limits]\nintake_bytes_max = 1000000\n")).unwrap_err();
    assert!(mistakes[0].contains("1048576"), "{mistakes:?}");
    assert!(
        parse(&format!("{GOOD}[limits]\nenvelope_bytes_max = 500000\nintake_bytes_max = 1000000\n")).is_ok()
    );
}

#[test]
fn g10_metrics_are_served_on_loopback_or_not_at_all() {
    assert_eq!(parse(GOOD).unwrap().metrics_listen, None);
    for bad in ["0.0.0.0:9464", "[::]:9464", "192.0.2.1:9464", "127.0.0.1", "localhost:9464"] {
        let mistakes = parse(&format!("metrics_listen = '{bad}'\n{GOOD}")).unwrap_err();
        assert!(mistakes[0].contains("loopback") && mistakes[0].contains("tunnel"), "{bad}: {mistakes:?}");
    }
    for good in ["127.0.0.1:9464", "[::1]:0"] {
        let config = parse(&format!("metrics_listen = '{good}'\n{GOOD}")).unwrap();
        assert_eq!(config.metrics_listen, Some(good.parse().unwrap()));
    }
}

#[test]
fn a_socket_path_that_no_kernel_takes_is_a_mistake() {
    let mistakes = parse(&format!("status_socket = '/{}'\n{GOOD}", "s".repeat(107))).unwrap_err();
    assert!(mistakes[0].contains("status_socket") && mistakes[0].contains("107"), "{mistakes:?}");
}

#[test]
fn text_that_is_not_toml_is_told_with_its_place() {
    assert!(parse("listen = ").unwrap_err()[0].contains("line 1"));
}

#[test]
fn the_example_configuration_is_in_order_and_what_it_calls_defaults_are_the_defaults() {
    let example = include_str!("../../../deploy/config/broker.toml");
    let config = parse(example).unwrap();
    let uncommented =
        |line: &'static str| line.strip_prefix("# ").filter(|line| line.contains(" = ")).unwrap_or(line);
    let spelled_out: Vec<_> = example.lines().map(uncommented).collect();
    let mut spelled_out = parse(&spelled_out.join("\n")).unwrap();
    // What is off by default has no default.
    assert!(spelled_out.metrics_listen.take().is_some());
    assert_eq!(spelled_out, config);
    assert_eq!(config.limits, Limits::default());
}
