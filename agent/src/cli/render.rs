//! What people read: plain tables.

mod content;
mod preview;
pub(super) mod standing;

use std::fmt::Write;

use serde::Serialize;

pub(super) use self::preview::preview;
use super::{Ended, Outcome};
use crate::api::client::ClientError;
use crate::api::events::EventFacts;
use crate::api::types::{
    Direction, DirectoryView, InboxPage, NodeStatus, NoticeFacts, NoticeStatus, OpenedNotice, OutOfForce,
    PortionFacts, PortionState, Queued, ReceiptFacts, RestsOnFacts, TrackFacts,
};
use crate::compose::Mistake;

/// One line of an event.
pub(super) fn event(event: &EventFacts) -> String {
    let EventFacts { id, at, event, notice_id, receipt_kind, detail } = event;
    let about = notice_id.map(|id| id.to_string()).unwrap_or_default();
    let line = format!(
        "{at}  {event:<16}{about:<36}  {}",
        detail.as_deref().or(receipt_kind.as_deref()).unwrap_or_default()
    );
    format!("{}  [{id}]\n", printable(line.trim_end()))
}

pub(super) fn json(value: &impl Serialize) -> Outcome {
    say!("{}", serde_json::to_string_pretty(value).map_err(Ended::from)?)
}

/// Rows of cells, each column as wide as its widest cell, two spaces apart.
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(ToOwned::to_owned).to_vec()] }
    }

    fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let wide = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(wide).collect();
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

    fn line(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{name:<14}{}", printable(&value.to_string()));
        self
    }

    fn maybe(&mut self, name: &str, value: Option<impl std::fmt::Display>) -> &mut Self {
        if let Some(value) = value {
            self.line(name, value);
        }
        self
    }

    /// Lines that end themselves, if there are any.
    fn text_of(&mut self, lines: Self) -> &mut Self {
        self.0.push_str(&lines.0);
        self
    }

    /// Lines that are printable already.
    fn text(&mut self, text: impl std::fmt::Display) -> &mut Self {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{text}");
        self
    }
}

/// What others wrote, so that it can neither command the terminal nor look like something else: control characters and
/// those that turn the direction of writing are shown by their numbers.
pub(super) fn printable(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    let shown = |c: char| match c.is_control() || turns(c) {
        true => c.escape_unicode().to_string(),
        false => c.to_string(),
    };
    text.chars().map(shown).collect()
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

pub(super) fn joined(values: &[impl ToString]) -> String {
    let words: Vec<_> = values.iter().map(ToString::to_string).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

pub(super) fn client_error(error: &ClientError) -> String {
    match error {
        ClientError::Refused(facts) if !facts.mistakes.is_empty() => {
            format!("{}:\n{}", facts.message, mistakes(&facts.mistakes))
        }
        ClientError::Refused(_) | ClientError::NotRunning { .. } | ClientError::Answer(_) => {
            error.to_string()
        }
    }
}

fn mistakes(mistakes: &[Mistake]) -> String {
    let lines: Vec<_> = mistakes.iter().map(|mistake| format!("  {mistake}")).collect();
    lines.join("\n")
}

pub(super) fn queued(queued: &Queued) -> String {
    let mut facts = Facts::new();
    facts
        .line("Notice", queued.notice_id)
        .line("Label", &queued.label)
        .line("Precedence", queued.precedence)
        .line("Recipients", joined(&queued.recipients))
        .line("Expires", queued.expires_at)
        .maybe("Respond by", queued.respond_by);
    let said = match queued.pending_until {
        None => "Signed, sealed and queued; it is on stable storage.".to_owned(),
        Some(until) => format!(
            "NOT SENT: a second officer has to approve it by {until}: valise-agent pending approve {}",
            queued.notice_id
        ),
    };
    facts.text(&said).text_of(preview::not_told(&queued.not_told));
    facts.0
}

pub(super) fn inbox(page: &InboxPage) -> String {
    let next = page.next.map_or_else(String::new, |id| format!("There may be more: --before {id}\n"));
    if page.notices.is_empty() && page.next.is_none() {
        return "There is none.\n".to_owned();
    }
    let mut table =
        Table::new(["NOTICE", "RECEIVED", "FROM", "KIND", "PRECEDENCE", "LABEL", "READ BY", "OUT OF FORCE"]);
    for entry in &page.notices {
        table.row(vec![
            entry.notice_id.to_string(),
            entry.received_at.to_string(),
            entry.originator.to_string(),
            entry.kind.to_string(),
            entry.precedence.to_string(),
            entry.label.clone(),
            or_dash(entry.read.as_ref().map(|read| &read.officer)),
            ended(entry.out_of_force.as_ref()),
        ]);
    }
    format!("{table}{next}")
}

pub(super) fn notice(notice: &NoticeFacts) -> String {
    let mut facts = Facts::new();
    facts
        .line("Notice", notice.notice_id)
        .text_of(out_of_force(notice.out_of_force.as_ref()))
        .line("Kind", notice.kind)
        .line("Label", &notice.label)
        .line("From", &notice.originator)
        .line("To", joined(&notice.recipients))
        .line("Precedence", notice.precedence)
        .line("Created", notice.created_at)
        .line("Expires", notice.expires_at)
        .maybe("Respond by", notice.respond_by)
        .maybe("In reply to", notice.in_reply_to)
        .maybe("Supersedes", notice.supersedes)
        .maybe("Withdraws", notice.withdraws)
        .line("Header digest", notice.header_digest)
        .maybe("Read by", notice.read.as_ref().map(|read| format!("{} at {}", read.officer, read.at)))
        .text("");
    let mut table = Table::new(["PORTION", "LABEL", "BYTES", "HELD"]);
    for portion in &notice.portions {
        table.row(vec![
            portion.index.to_string(),
            portion.label.clone(),
            portion.bytes.to_string(),
            held(portion),
        ]);
    }
    facts.text(table);
    if !notice.receipts.is_empty() {
        facts.text(receipts(&notice.receipts));
    }
    facts.0
}

fn held(portion: &PortionFacts) -> String {
    match portion.state {
        PortionState::Held => "yes".to_owned(),
        PortionState::Purged => {
            let (at, cause) = (or_dash(portion.purged_at), or_dash(portion.purge_cause.as_ref()));
            format!("purged at {at} ({cause})")
        }
        PortionState::Withheld => "withheld".to_owned(),
    }
}

/// How a list marks what counts no more; nothing where it counts.
fn ended(ended: Option<&OutOfForce>) -> String {
    let Some(OutOfForce { cause, by, .. }) = ended else { return String::new() };
    format!("{cause}{}", by.map(|by| format!(" by {by}")).unwrap_or_default())
}

/// That a notice counts no more, as the first that is said of it.
fn out_of_force(out_of_force: Option<&OutOfForce>) -> Facts {
    let mut facts = Facts::new();
    facts.maybe("OUT OF FORCE", out_of_force.map(|this| format!("{} at {}", ended(Some(this)), this.at)));
    facts
}

fn receipts(receipts: &[ReceiptFacts]) -> Table {
    let mut table = Table::new(["RECEIPT", "AT", "BY", "PORTIONS", "OFFICER", "REASON"]);
    for receipt in receipts {
        let about = receipt.recipient.as_ref().map(|agency| format!("for {agency}"));
        table.row(vec![
            receipt.kind.clone(),
            receipt.at.to_string(),
            receipt.issuer.clone(),
            joined(&receipt.portions),
            or_dash(receipt.officer.as_ref()),
            or_dash(receipt.reason.clone().or(about)),
        ]);
    }
    table
}

pub(super) fn opened(opened: &OpenedNotice) -> String {
    let mut facts = Facts::new();
    facts.text(notice(&opened.notice));
    for portion in &opened.opened {
        facts.text(format!("Portion {}: {}", portion.index, portion.label));
        facts.text(content::lines(&portion.content));
    }
    if let Some(changes) = &opened.changes {
        facts.text("What is other than in what it corrects:");
        facts.text(content::changes(changes));
    }
    for portion in opened.notice.portions.iter().filter(|portion| !portion.held) {
        facts.text(format!("Portion {} was withheld from you: {}", portion.index, portion.label));
    }
    facts.0
}

pub(super) fn node_status(status: &NodeStatus) -> String {
    let mut facts = Facts::new();
    let connection = &status.connection;
    let connected = match (&connection.broker, &connection.endpoint, &connection.since) {
        (Some(broker), Some(endpoint), Some(since)) => format!("{broker} at {endpoint} since {since}"),
        _ => format!("none: {}", or_dash(connection.reason.as_ref())),
    };
    facts
        .line("Agency", format!("{} of {}", status.agency, status.trust_domain))
        .line("Connection", connected)
        .text_of(standing::excluded(status))
        .line(
            "Directory",
            format!("version {}, valid until {}", status.directory.version, status.directory.expires_at),
        )
        .maybe("", status.directory.stale.as_ref().map(|why| format!("NOT IN FORCE: {why}")))
        .maybe("", status.directory.refused.as_ref().map(|no| format!("refused at {}: {}", no.at, no.reason)))
        .text_of(standing::of_node(status))
        .line("Outbox", format!("{} not yet accepted", status.outbox))
        .line(
            "Officers",
            if status.accounts {
                "have accounts"
            } else {
                "NO ACCOUNTS: whoever can open the socket may do everything"
            },
        );
    if !status.sent.is_empty() {
        let mut table =
            Table::new(["SENT", "CREATED", "KIND", "PRECEDENCE", "LABEL", "STATE", "OUT OF FORCE"]);
        for sent in &status.sent {
            table.row(vec![
                sent.notice_id.to_string(),
                sent.created_at.to_string(),
                sent.kind.to_string(),
                sent.precedence.to_string(),
                sent.label.clone(),
                sent.state.clone(),
                ended(sent.out_of_force.as_ref()),
            ]);
        }
        facts.text("").text(table);
        facts.text_of(rest(status.sent.len(), status.totals.sent, "notices sent from here", STATUS_LIMIT));
    }
    late(&mut facts, status);
    for aside in &status.set_aside {
        facts.text(format!("Set aside at {}: {}", aside.at, aside.reason));
    }
    facts.text_of(rest(status.set_aside.len(), status.totals.set_aside, "things set aside", STATUS_LIMIT));
    facts.0
}

/// Most entries that a list in the status may have.
const LISTED_MAX: usize = 1000;
/// How all of a list in the status are listed.
const STATUS_LIMIT: &str = "valise-agent status --limit ";

/// That a list is not all there is, and how to see the rest. A command that ends in a space takes the number.
fn rest(shown: usize, total: usize, what: &str, command: &str) -> Facts {
    let mut facts = Facts::new();
    if total > shown {
        let count = if command.ends_with(' ') { total.min(LISTED_MAX).to_string() } else { String::new() };
        facts.text(format!("{shown} of {total} {what}; all: {command}{count}"));
    }
    facts
}

/// Who is late, either way.
fn late(facts: &mut Facts, status: &NodeStatus) {
    for late in &status.late {
        let by = or_dash(late.respond_by.as_ref());
        facts.text(match late.direction {
            Direction::Sent => {
                format!(
                    "Late with answers to {}, asked for until {by}: {}",
                    late.notice_id,
                    joined(&late.owing)
                )
            }
            Direction::Received => {
                format!("An answer to {} was asked for until {by}: valise-agent respond", late.notice_id)
            }
        });
    }
    let listed = |direction| status.late.iter().filter(|late| late.direction == direction).count();
    let (sent, received) = (listed(Direction::Sent), listed(Direction::Received));
    let totals = status.totals;
    facts
        .text_of(rest(sent, totals.late_sent, "late with answers to notices sent from here", STATUS_LIMIT))
        .text_of(rest(
            received,
            totals.late_received,
            "received notices whose answer is late",
            "valise-agent inbox --late",
        ));
}

pub(super) fn notice_status(status: &NoticeStatus) -> String {
    let mut facts = Facts::new();
    let since = status.at.map(|at| format!(" at {at}")).unwrap_or_default();
    facts
        .line("Notice", status.notice_id)
        .text_of(out_of_force(status.out_of_force.as_ref()))
        .line("State", format!("{}{since}", status.state));
    facts.maybe("Reason", status.reason.as_ref());
    let over = if status.deadline_passed { " (over)" } else { "" };
    facts.maybe("Respond by", status.respond_by.map(|at| format!("{at}{over}"))).text("");
    let mut table = Table::new(["RECIPIENT", "STATE", "AT", "PORTIONS", "OFFICER", "REASON"]);
    for recipient in &status.recipients {
        if recipient.steps.is_empty() {
            table.row(vec![recipient.agency.to_string(), recipient.state.clone()]);
        }
        for (turn, step) in recipient.steps.iter().enumerate() {
            let name = if turn == 0 { recipient.agency.to_string() } else { String::new() };
            let (officer, reason) = (or_dash(step.officer.as_ref()), or_dash(step.reason.as_ref()));
            let portions = joined(&step.portions);
            table.row(vec![name, step.kind.clone(), step.at.to_string(), portions, officer, reason]);
        }
    }
    facts.text(table);
    facts.0
}

pub(super) fn track(track: &TrackFacts) -> String {
    let mut facts = Facts::new();
    let outstanding = track.outstanding.iter().map(|one| format!("{}: {}", one.agency, one.reason));
    for one in outstanding {
        facts.line("Outstanding", one);
    }
    let answered = track.status.recipients.iter().filter(|one| one.answered).map(|one| &one.agency);
    let answered: Vec<_> = answered.collect();
    facts.maybe("Answered", (!answered.is_empty()).then(|| joined(&answered)));
    facts.maybe("Late", (!track.late.is_empty()).then(|| joined(&track.late)));
    facts.text_of(preview::not_told(&track.not_told));
    if let Some(RestsOnFacts { source, originator, ended_by, ended_with }) = &track.rests_on {
        let ended = format!("{source} of {originator}, which is out of force by the {ended_with} {ended_by}");
        facts.line("RESTS ON", ended);
    }
    format!("{}{}", notice_status(&track.status), facts.0)
}

pub(super) fn directory(view: &DirectoryView) -> String {
    let mut facts = Facts::new();
    facts.line("Exchange", format!("{} (policy {})", view.trust_domain, view.policy)).line(
        "Version",
        format!("{}, issued {}, valid until {}", view.version, view.issued_at, view.expires_at),
    );
    for broker in &view.brokers {
        facts.line("Broker", format!("{} at {}", broker.name, joined(&broker.endpoints)));
    }
    let mut table = Table::new(["AGENCY", "NAME", "FUNCTIONS", "STATUS", "CONTACT POINT", "CLEARANCE"]);
    for agency in &view.agencies {
        table.row(vec![
            agency.id.to_string(),
            agency.name.clone(),
            joined(&agency.functions),
            agency.status.clone(),
            if agency.contact_point { "yes" } else { "no" }.to_owned(),
            agency.clearance.clone(),
        ]);
    }
    facts.text("").text(table);
    facts.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_which_portions_each_recipient_says_it_opened() {
        let status = serde_json::json!({
            "notice_id": "0190b6f0-0000-7000-8000-000000000000", "state": "ACCEPTED", "at": null, "reason": null,
            "respond_by": null, "deadline_passed": false,
            "recipients": [{
                "agency": "ken/ncb", "state": "DELIVERED", "portions": [0, 2], "answered": false,
                "steps": [{
                    "kind": "DELIVERED", "issuer": "spiffe://exchange.example/agency/ken/ncb", "recipient": null,
                    "at": "2026-03-01T12:00:00Z", "officer": null, "reason": null, "portions": [0, 2],
                }],
            }],
        });
        let status: NoticeStatus = serde_json::from_value(status).unwrap();
        let told = notice_status(&status);
        let line = told.lines().find(|line| line.starts_with("ken/ncb")).unwrap();
        assert!(told.contains("PORTIONS") && line.contains("  0, 2  "), "{told}");
        let told = receipts(&status.recipients[0].steps).to_string();
        assert!(told.contains("PORTIONS") && told.contains("  0, 2  "), "{told}");
    }
}
