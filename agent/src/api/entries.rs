//! What is entered into the access journal about deeds that several handlers share.

use valise_proto::envelope::{Header, NoticeKind};
use valise_proto::id::{NoticeId, Timestamp};

use super::caller::Caller;
use crate::compose::Signed;
use crate::compose::preview::{PreviewNotTold, PreviewOmission};
use crate::core::Change;
use crate::journal::{Deed, Entry};

/// That a notice was sent, and for each State that was left out, and each agency that could not be told, why.
pub(in crate::api) fn of_sending(caller: &Caller, at: Timestamp, signed: &Signed) -> Vec<Change> {
    let (header, table) = (signed.envelope().header(), signed.table());
    let id = header.notice_id;
    let (concerns, how) = concerned(header);
    let sent = Entry::new(at, &caller.officer, deed(header.kind)).about(id).concerning(concerns);
    let sent = sent.saying(format_args!(
        "{how}{} {}, {} recipients",
        header.kind,
        header.label,
        header.recipients.len()
    ));
    let omitted = |omission: &PreviewOmission| {
        let entry = Entry::new(at, &caller.officer, Deed::Omission).about(id);
        entry
            .because(Some(&omission.reason))
            .saying(format_args!("{} ({})", omission.state, omission.rests_on))
    };
    let not_told = |one: &PreviewNotTold| {
        let entry = Entry::new(at, &caller.officer, Deed::NotTold).about(id);
        let holds = if one.outstanding { "outstanding: " } else { "" };
        let basis = one.rests_on.as_ref().map(|basis| format!(" ({basis})")).unwrap_or_default();
        entry.saying(format_args!("{holds}{}{basis}", one.rule))
    };
    let entries = std::iter::once(sent)
        .chain(table.omissions.iter().map(omitted))
        .chain(table.not_told.iter().map(not_told));
    entries.map(|entry| Change::Journal(Box::new(entry))).collect()
}

/// The notice that this one is about, and what it does to it, in words.
fn concerned(header: &Header) -> (Option<NoticeId>, String) {
    let one = |id: Option<NoticeId>, how: &str| id.map(|id| (Some(id), format!("{how} {id}: ")));
    one(header.supersedes, "takes the place of")
        .or_else(|| one(header.withdraws, "takes back"))
        .or_else(|| one(header.in_reply_to, "answers"))
        .unwrap_or_default()
}

fn deed(kind: NoticeKind) -> Deed {
    match kind {
        NoticeKind::Response => Deed::Respond,
        NoticeKind::Correction => Deed::Correct,
        NoticeKind::Withdrawal => Deed::Withdraw,
        NoticeKind::Travel
        | NoticeKind::Arrival
        | NoticeKind::Deportation
        | NoticeKind::Receipt
        | NoticeKind::ReleaseRequest
        | NoticeKind::ReleaseDecision => Deed::Send,
    }
}
