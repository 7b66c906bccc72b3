//! What people read: plain tables.

use std::fmt::{Display, Write};

use serde::Serialize;

use super::{Ended, Outcome};
use crate::register::{AgencyView, AuthorityView, BrokerView, CertificateView, KeyView, MemberView};
use crate::state::Standing;

pub(super) fn json(value: &impl Serialize) -> Outcome {
    say!("{}", serde_json::to_string_pretty(value).map_err(Ended::from)?)?;
    Ok(())
}

/// Rows of cells, each column as wide as its widest cell, two spaces apart.
pub(super) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(ToOwned::to_owned)] }
    }

    pub(super) fn push(&mut self, row: [String; N]) {
        self.rows.push(row);
    }
}

impl<const N: usize> Display for Table<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// Lines of "name  value".
struct Facts(String);

impl Facts {
    fn new() -> Self {
        Self(String::new())
    }

    fn line(&mut self, name: &str, value: impl Display) -> &mut Self {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{name:<20}{value}");
        self
    }
}

pub(super) fn authority(view: &AuthorityView) -> String {
    let mut facts = Facts::new();
    facts
        .line("trust domain", &view.trust_domain)
        .line("policy", &view.policy)
        .line("founded", view.founded_at)
        .line("root until", view.root_not_after)
        .line("issuing until", view.issuing_not_after)
        .line("directory key", view.directory_key)
        .line("directory version", view.directory_version)
        .line("trust fingerprint", &view.trust_fingerprint);
    facts.0
}

pub(super) fn members(views: &[MemberView]) -> String {
    if views.is_empty() {
        return "Nobody is enrolled yet.\n".to_owned();
    }
    let mut table =
        Table::new(["MEMBER", "STATUS", "CLEARANCE / ENDPOINTS", "CONTACT POINT", "CERTIFICATE UNTIL"]);
    for view in views {
        table.rows.push(match view {
            MemberView::Broker(broker) => [
                format!("broker {}", broker.name),
                broker.standing.to_string(),
                broker.endpoints.join(", "),
                String::new(),
                until(&broker.certificates),
            ],
            MemberView::Agency(agency) => [
                agency.id.to_string(),
                agency.standing.to_string(),
                listed(&agency.clearance),
                if agency.contact_point { agency.id.state().to_string() } else { String::new() },
                until(&agency.certificates),
            ],
        });
    }
    table.to_string()
}

fn until(certificates: &[CertificateView]) -> String {
    certificates.first().map_or_else(String::new, |newest| newest.not_after.to_string())
}

pub(super) fn member(view: &MemberView) -> String {
    match view {
        MemberView::Agency(view) => agency(view),
        MemberView::Broker(view) => broker(view),
    }
}

fn agency(view: &AgencyView) -> String {
    let mut facts = Facts::new();
    facts.line("agency", &view.id).line("name", &view.display_name).line("identity", &view.identity);
    standing(&mut facts, view.standing);
    facts
        .line("functions", listed(&view.functions))
        .line("clearance", listed(&view.clearance))
        .line("compartments", listed(&view.compartments))
        .line("affiliations", listed(&view.affiliations))
        .line("may originate", listed(&view.originate_kinds))
        .line("  classified", listed(&view.originate_classifications))
        .line("contact point", if view.contact_point { "yes" } else { "no" })
        .line("enrolled", view.enrolled_at)
        .line("request", &view.request_fingerprint);
    keys(&mut facts, &view.keys);
    certificates(&mut facts, &view.certificates);
    facts.0
}

fn broker(view: &BrokerView) -> String {
    let mut facts = Facts::new();
    facts.line("broker", &view.name).line("identity", &view.identity);
    standing(&mut facts, view.standing);
    facts.line("endpoints", listed(&view.endpoints)).line("issued", view.issued_at);
    keys(&mut facts, &view.keys);
    certificates(&mut facts, &view.certificates);
    facts.0
}

fn standing(facts: &mut Facts, standing: Standing) {
    match standing {
        Standing::Active => {
            facts.line("status", standing);
        }
        Standing::Suspended { since } => {
            facts.line("status", format_args!("{standing} since {since}"));
        }
        Standing::Revoked { at, since, reason } => {
            facts
                .line("status", format_args!("{standing} at {at} ({reason})"))
                .line("  not believed", format_args!("from {since} on"));
        }
    }
}

fn keys(facts: &mut Facts, views: &[KeyView]) {
    for view in views {
        facts.line(&view.for_use.to_string(), view.key_id);
        facts.line("", format_args!("{} to {}", view.not_before, view.not_after));
    }
}

fn certificates(facts: &mut Facts, views: &[CertificateView]) {
    for view in views {
        let why = view.revocation_reason.map_or_else(String::new, |reason| format!(" ({reason})"));
        let revoked = view.revoked_at.map_or_else(String::new, |at| format!(", revoked at {at}{why}"));
        facts.line("certificate", view.serial);
        facts.line("", format_args!("{} to {}{revoked}", view.not_before, view.not_after));
    }
}

pub(super) fn listed<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}
