//! What is entered into the access journal about deeds that several handlers share.

use valise_proto::envelope::{Header, NoticeKind};
use valise_proto::id::Timestamp;

use super::caller::Caller;
use crate::compose::preview::PreviewOmission;
use crate::core::Change;
use crate::journal::{Deed, Entry};

/// That a notice was sent, and for each State that was left out, why.
pub(in crate::api) fn of_sending(
    caller: &Caller,
    at: Timestamp,
    header: &Header,
    omissions: &[PreviewOmission],
) -> Vec<Change> {
    let id = header.notice_id;
    let sent = Entry::new(at, &caller.officer, deed(header.kind)).about(id).saying(format_args!(
        "{} {}, {} recipients",
        header.kind,
        header.label,
        header.recipients.len()
    ));
    let omitted = |omission: &PreviewOmission| {
        let entry = Entry::new(at, &caller.officer, Deed::Omission).about(id);
        entry.because(Some(&omission.reason)).saying(&omission.state)
    };
    let entries = std::iter::once(sent).chain(omissions.iter().map(omitted));
    entries.map(|entry| Change::Journal(Box::new(entry))).collect()
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
