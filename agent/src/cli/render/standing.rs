//! How the node stands with the authority, for people.

use super::{Facts, Table, or_dash};
use crate::api::types::{InstalledFacts, KeyFacts, NodeStatus, RenewalFacts};

/// Clocks that differ by less are not worth a line.
const SKEW_TOLD_MILLIS: u64 = 2_000;

pub(super) fn excluded(status: &NodeStatus) -> Facts {
    let mut facts = Facts::new();
    if let Some(excluded) = &status.excluded {
        let since = excluded.since.map(|since| format!(" since {since}")).unwrap_or_default();
        let told = excluded.told_at.map(|at| format!(" (told at {at})")).unwrap_or_default();
        facts
            .line(&excluded.code, format!("{}{since}{told}", excluded.reason))
            .line("What to do", &excluded.advice);
    }
    facts
}

pub(super) fn of_node(status: &NodeStatus) -> Facts {
    let mut facts = Facts::new();
    let certificate = &status.certificate;
    facts
        .line(
            "Certificate",
            format!("valid until {}, renewed from {} on", certificate.not_after, certificate.renewal_due_at),
        )
        .maybe("", certificate.problem.as_ref().map(|why| format!("NOT ACCEPTED BY ANY BROKER: {why}")))
        .maybe("", certificate.refused.as_ref().map(|no| format!("refused at {}: {}", no.at, no.reason)))
        .maybe("Renewal", status.renewal.as_ref().map(renewal_line))
        .maybe("What to do", status.renewal.as_ref().and_then(|renewal| renewal.unanswered.as_ref()));
    for document in status.runs_out.iter().filter(|document| document.advice.is_some()) {
        let (name, file, urgency) = (&document.name, &document.file, &document.urgency);
        let advice = or_dash(document.advice.as_ref());
        let times = format!(
            "issued {}, runs out {}, counts until {}",
            document.issued_at, document.expires_at, document.counts_until
        );
        facts.line("Runs out", format!("{urgency}: {name} ({file}; {times}): {advice}"));
    }
    if let Some(clock) = status.clock.as_ref().filter(|c| c.ahead_millis.unsigned_abs() > SKEW_TOLD_MILLIS) {
        let way = if clock.ahead_millis < 0 { "behind" } else { "ahead of" };
        let seconds = clock.ahead_millis.unsigned_abs() / 1000;
        facts.line(
            "Clock",
            format!("{seconds} s {way} the broker's at {}; set this machine's clock", clock.ours),
        );
    }
    facts
}

fn renewal_line(renewal: &RenewalFacts) -> String {
    let RenewalFacts { fingerprint, made_at, spooled_by, spooled_at, refused, .. } = renewal;
    let where_it_is = match (spooled_by, spooled_at, refused) {
        (_, _, Some(no)) => format!("the broker refused it at {}: {}", no.at, no.reason),
        (Some(broker), Some(at), None) => format!("kept for the authority by {broker} since {at}"),
        (Some(_) | None, _, None) => "not handed to a broker yet".to_owned(),
    };
    format!("requested at {made_at} ({fingerprint}); {where_it_is}")
}

pub(in crate::cli) fn renewal(renewal: &RenewalFacts) -> String {
    let mut facts = Facts::new();
    facts
        .line("Request", &renewal.fingerprint)
        .line("Made", renewal.made_at)
        .line("Signing key", renewal.signing_key)
        .line("Sealing key", renewal.sealing_key);
    let spooled = renewal.spooled_by.as_ref().zip(renewal.spooled_at);
    facts.maybe(
        "Broker",
        spooled.map(|(broker, at)| format!("kept for the authority by {broker} since {at}")),
    );
    facts.maybe("Refused", renewal.refused.as_ref().map(|no| format!("at {}: {}", no.at, no.reason)));
    facts.0
}

pub(in crate::cli) fn installed(installed: &InstalledFacts) -> String {
    let InstalledFacts { directory, revocation_lists, certificate_not_after } = installed;
    let mut facts = Facts::new();
    facts.maybe("Directory", directory.map(|version| format!("version {version} is in force")));
    facts.maybe("Lists", revocation_lists.then_some("newer revocation lists are in force"));
    facts.maybe(
        "Certificate",
        certificate_not_after.map(|end| format!("a newer one is in use, valid until {end}")),
    );
    if facts.0.is_empty() {
        facts.text("Everything in the folder is in force already; nothing was changed.");
    }
    facts.0
}

pub(in crate::cli) fn keys(keys: &[KeyFacts]) -> String {
    let mut table =
        Table::new(["KEY", "ID", "STATE", "LISTED", "FROM", "UNTIL", "FORMER SINCE", "DESTROYED"]);
    for key in keys {
        let kept = key.state == "FORMER" && key.destroyed_at.is_none();
        let destroyed = if kept { "not while listed".to_owned() } else { or_dash(key.destroyed_at) };
        table.row(vec![
            key.kind.clone(),
            key.key_id.clone(),
            key.state.clone(),
            if key.listed { "yes" } else { "no" }.to_owned(),
            or_dash(key.not_before),
            or_dash(key.not_after),
            or_dash(key.since),
            destroyed,
        ]);
    }
    table.to_string()
}
