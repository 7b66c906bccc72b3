//! A broker's status for people.

use std::fmt::Write as _;
use std::time::Duration;

use crate::server::Status;

pub(super) fn render(status: &Status) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "  {name:<12} {value}");
    };
    line("identity", status.identity.to_string());
    line("version", status.version.clone());
    line("listen", status.listen.to_string());
    if let Some(metrics) = status.metrics_listen {
        line("metrics", format!("http://{metrics}/metrics"));
    }
    line("up", duration(Duration::from_secs(status.uptime_seconds)));
    line("certificate", format!("until {}", status.certificate_expires_at));
    let directory = &status.directory;
    line(
        "directory",
        format!(
            "version {}, {} agencies, until {}",
            directory.version, directory.agencies, directory.expires_at
        ),
    );
    for list in &status.revocation_lists {
        line(
            "revocations",
            format!("of {}, number {}, until {}", list.issuer, list.number, list.next_update),
        );
    }
    line("clock", status.clock.to_string());
    for thing in status.freshness.iter().filter(|thing| !thing.is_fresh()) {
        line(&thing.urgency, thing.to_string());
    }
    for problem in &status.refused {
        line("REFUSED", problem.clone());
    }
    line("sessions", status.sessions.to_string());
    let spool = &status.spool;
    let since = spool.oldest.map(|oldest| format!(", the oldest since {oldest}")).unwrap_or_default();
    line("renewals", format!("{} waiting to be carried to the authority{since}", spool.waiting));
    line("log", format!("{} entries", status.log_entries));
    let commits = &status.commits;
    line(
        "commits",
        format!("{} groups, {} operations, {} syncs", commits.groups, commits.operations, commits.syncs),
    );
    if status.queues.is_empty() {
        line("queues", "all empty".to_owned());
    }
    for queue in &status.queues {
        line("queue", format!("{} {}: {}", queue.agency, queue.precedence, queue.items));
    }
    if let Some(failure) = &status.failure {
        line("FAILED", failure.clone());
    }
    out
}

fn duration(up: Duration) -> String {
    let minutes = up.as_secs() / 60;
    let (days, hours, minutes) = (minutes / (24 * 60), minutes / 60 % 24, minutes % 60);
    format!("{days} d {hours} h {minutes} min")
}
