//! The table of who can read what, and why not.

use super::{Facts, Table, mistakes, out_of_force, printable};
use crate::compose::preview::{Preview, PreviewNotTold};

pub(in crate::cli) fn preview(preview: &Preview) -> String {
    let mut facts = Facts::new();
    let respond_by = preview.respond_by.map_or_else(
        || "no answer is asked for".to_owned(),
        |time| format!("{} ({})", time.at, time.because.as_str()),
    );
    facts
        .text_of(out_of_force(preview.out_of_force.as_ref()))
        .line("Kind", &preview.kind)
        .line("Precedence", &preview.precedence)
        .line("Label", &preview.label)
        .line("Respond by", respond_by)
        .text("");
    for portion in &preview.portions {
        facts.text(format!("Portion {}: {} ({})", portion.index, portion.label, portion.holds));
    }
    facts.text("").text(table(preview));
    for recipient in &preview.recipients {
        for access in &recipient.access {
            if let Some(denial) = &access.denial {
                facts.text(format!("{} cannot read portion {}: {denial}", recipient.agency, access.portion));
            }
        }
    }
    facts.text_of(not_told(&preview.not_told)).text_of(kept(preview)).text("").text(&preview.warning);
    if !preview.mistakes.is_empty() {
        facts.text("").text("It cannot be sent as it is:").text(mistakes(&preview.mistakes));
    }
    facts.0
}

fn table(preview: &Preview) -> Table {
    let mut table = Table { rows: Vec::new() };
    let mut head = vec!["RECIPIENT".to_owned()];
    head.extend(preview.portions.iter().map(|portion| format!("{}: {}", portion.index, portion.label)));
    head.push("BECAUSE".to_owned());
    table.row(head);
    for recipient in &preview.recipients {
        let mut cells = vec![recipient.agency.to_string()];
        for portion in &preview.portions {
            let access = recipient.access.iter().find(|access| access.portion == portion.index);
            cells.push(access.map_or("-", |access| if access.allowed { "yes" } else { "no" }).to_owned());
        }
        let basis = recipient.rests_on.as_ref().map(|basis| format!(" ({basis})")).unwrap_or_default();
        cells.push(format!("{}{basis}", recipient.reasons.join("; ")));
        table.row(cells);
    }
    table
}

/// Who should be told and cannot be, a line each.
pub(super) fn not_told(list: &[PreviewNotTold]) -> Facts {
    let mut facts = Facts::new();
    for one in list {
        let reasons = one.reasons.join("; ");
        let basis = one.rests_on.as_ref().map(|basis| format!(", {basis}")).unwrap_or_default();
        let outstanding = if one.outstanding { "; it is outstanding" } else { "" };
        facts.line("Not told", format!("{} ({reasons}{basis}){outstanding}", one.rule));
    }
    facts
}

/// What is kept in the author's records alone.
fn kept(preview: &Preview) -> Facts {
    let mut facts = Facts::new();
    if !preview.omissions.is_empty() {
        facts.text("").text("Left out (kept in your records, never sent):");
        for omission in &preview.omissions {
            let named_by = omission.named_by.join("; ");
            let reason = printable(&omission.reason);
            facts.text(format!("  {} ({named_by}): {reason} ({})", omission.state, omission.rests_on));
        }
    }
    if !preview.disclosures.is_empty() {
        facts
            .text("")
            .text("Told though persons are refugees from there (kept in your records, never sent):");
        for disclosure in &preview.disclosures {
            let reason = printable(&disclosure.reason);
            facts.text(format!("  {}: {reason} ({})", disclosure.state, disclosure.rests_on));
        }
    }
    facts
}
