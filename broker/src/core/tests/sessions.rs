//! Who is welcome, and what a session hears.

use std::time::Duration;

use valise_proto::directory::AgencyStatus;
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::session::{SessionFrame, VERSION};

use super::{CoreLimits, Desk, hello, publication, three};
use crate::fixture::{DAY, MINUTE, agency};

#[test]
fn a_greeting_is_answered_with_the_limits_and_the_publication() {
    let mut desk = Desk::new(three());
    let session = desk.connect("fra/ncb");
    match desk.frames[&session].as_slice() {
        [SessionFrame::Welcome(welcome), SessionFrame::Publication(published)] => {
            assert_eq!(
                (welcome.version, welcome.broker_time, welcome.directory_version),
                (VERSION, desk.now, 1)
            );
            assert_eq!(welcome.limits, desk.core.policy().limits);
            assert_eq!(*published, publication(&desk.exchange));
        }
        other => panic!("{other:?}"),
    }
    assert!(desk.core.is_welcomed(session));
}

#[test]
fn g12_an_agent_of_another_version_is_told_so() {
    let mut desk = Desk::new(three());
    let session = desk.dial("fra/ncb");
    desk.core.handle_hello(session, &hello(vec![VERSION + 1, VERSION + 2]), desk.now);
    desk.run();
    assert_eq!(desk.closed[&session], Some(RefusalCode::UnsupportedVersion));
    assert!(!desk.core.is_welcomed(session));
}

#[test]
fn an_agent_that_speaks_this_version_among_others_is_welcome() {
    let mut desk = Desk::new(three());
    let session = desk.dial("fra/ncb");
    desk.core.handle_hello(session, &hello(vec![VERSION + 1, VERSION]), desk.now);
    assert!(desk.core.is_welcomed(session));
}

#[test]
fn a_second_greeting_is_malformed() {
    let mut desk = Desk::new(three());
    let session = desk.connect("fra/ncb");
    desk.core.handle_hello(session, &hello(vec![VERSION]), desk.now);
    desk.run();
    assert_eq!(desk.closed[&session], Some(RefusalCode::Malformed));
}

#[test]
fn an_agency_that_is_not_listed_or_suspended_is_not_welcome() {
    let mut exchange = three();
    let since = exchange.start;
    exchange.change("tur/border").status = AgencyStatus::Suspended { since };
    exchange.content.agencies.remove(&agency("fra/ncb"));
    let mut desk = Desk::new(exchange);
    let (unknown, suspended) = (desk.dial("fra/ncb"), desk.dial("tur/border"));
    assert_eq!(desk.closed[&unknown], Some(RefusalCode::UnknownAgency));
    assert_eq!(desk.closed[&suspended], Some(RefusalCode::Suspended));
    assert_eq!(desk.core.sessions_len(), 0);
}

#[test]
fn g10_an_agency_has_no_more_connections_than_allowed() {
    let limits = CoreLimits { connections_per_agency_max: 2, ..CoreLimits::default() };
    let mut desk = Desk::with(three(), limits);
    let first = desk.connect("fra/ncb");
    desk.connect("fra/ncb");
    let third = desk.dial("fra/ncb");
    assert_eq!(desk.closed[&third], Some(RefusalCode::Quota));
    desk.connect("tur/border");
    assert_eq!(desk.core.sessions_len(), 3, "another agency is not held back");
    desk.core.handle_disconnected(first);
    desk.connect("fra/ncb");
    assert_eq!(desk.core.sessions_len(), 3, "a place that became free was not given");
}

#[test]
fn g03_an_agency_that_a_new_directory_suspends_loses_its_session() {
    let mut desk = Desk::new(three());
    let (france, turkey) = (desk.connect("fra/ncb"), desk.connect("tur/border"));
    desk.receive(france, 10);
    let since = desk.exchange.start;
    desk.exchange.change("fra/ncb").status = AgencyStatus::Suspended { since };
    desk.publish();
    assert_eq!(desk.closed.get(&france), Some(&Some(RefusalCode::Suspended)));
    assert_eq!(desk.closed.get(&turkey), None);
    let last = desk.frames[&turkey].last().unwrap();
    assert_eq!(*last, SessionFrame::Publication(publication(&desk.exchange)), "the others hear of it");
}

#[test]
fn a_publication_is_not_sent_before_the_welcome() {
    let mut desk = Desk::new(three());
    let session = desk.dial("fra/ncb");
    desk.exchange.change("tur/border");
    desk.publish();
    assert!(!desk.frames.contains_key(&session));
}

#[test]
fn a_shutdown_ends_every_session_in_order() {
    let mut desk = Desk::new(three());
    let sessions = [desk.connect("fra/ncb"), desk.connect("tur/border")];
    desk.core.handle_shutdown();
    desk.run();
    assert!(sessions.iter().all(|session| desk.closed[session].is_none()));
    assert_eq!(desk.core.sessions_len(), 0);
}

#[test]
fn a_violation_found_by_the_shell_ends_its_session_only_once() {
    let mut desk = Desk::new(three());
    let session = desk.connect("fra/ncb");
    desk.core.handle_violation(session, Refusal::new(RefusalCode::Malformed, "a test"));
    desk.run();
    assert_eq!(desk.closed.remove(&session), Some(Some(RefusalCode::Malformed)));
    desk.core.handle_violation(session, Refusal::new(RefusalCode::Malformed, "a test"));
    desk.run();
    assert_eq!(desk.closed.get(&session), None);
}

#[test]
fn g11_a_sweep_is_due_at_once_and_then_at_intervals() {
    let interval = Duration::from_secs(10);
    let mut desk = Desk::with(three(), CoreLimits { sweep_interval: interval, ..CoreLimits::default() });
    let start = desk.now;
    assert_eq!(desk.core.poll_timeout(), start);
    for now in [start, start.plus(interval / 2), start.plus(interval), start.plus(10 * MINUTE)] {
        desk.core.handle_timeout(now);
    }
    desk.run();
    assert_eq!(desk.sweeps, [start, start.plus(interval), start.plus(10 * MINUTE)]);
    assert_eq!(desk.core.poll_timeout(), start.plus(10 * MINUTE).plus(interval));
}

#[test]
fn g12_a_clock_that_jumps_ahead_deletes_nothing_and_one_that_is_set_back_stops_nothing() {
    let interval = Duration::from_secs(10);
    let mut desk = Desk::with(three(), CoreLimits { sweep_interval: interval, ..CoreLimits::default() });
    let start = desk.now;
    // A year ahead the directory does not count, so neither does the clock.
    let ahead = start.plus(365 * DAY);
    desk.core.handle_timeout(ahead);
    desk.run();
    assert_eq!(desk.sweeps, []);
    // Set right again: the next look is not a year away.
    desk.core.handle_timeout(start);
    desk.run();
    assert_eq!(desk.sweeps, [start]);
    assert_eq!(desk.core.poll_timeout(), start.plus(interval));
}
