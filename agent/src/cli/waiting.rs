//! What is said where what `--wait` waits for has not come when its time is over.

use super::{EXIT_NOT_YET, Ended, render};
use crate::api::types::{NoticeStatus, Queued, RecipientStatus, Until};

/// What is waited for, and for how many seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) until: Until,
    pub(super) seconds: u64,
}

impl Waiting {
    /// Says on standard error what is still to come, if anything is, and ends the command with a code of its own.
    pub(super) fn check(self, status: &NoticeStatus) -> Result<(), Ended> {
        self.sentence(status).map_or(Ok(()), |sentence| Err(not_yet(&sentence)))
    }

    fn sentence(self, status: &NoticeStatus) -> Option<String> {
        let Self { until, seconds } = self;
        let open = status.awaited(until)?;
        let id = status.notice_id;
        let so_far = if status.state == "QUEUED" {
            "no broker has taken it yet; it stays queued and goes out by itself".to_owned()
        } else {
            let (come, all) = (of_whom(status, until), status.recipients.len());
            let names = if come.is_empty() { String::new() } else { format!(" ({})", render::joined(&come)) };
            let open: Vec<_> = open.iter().map(|one| format!("{} ({})", one.agency, one.state)).collect();
            format!("{} of {all} so far{names}; still to come: {}", come.len(), render::joined(&open))
        };
        let whole = match until {
            Until::Accepted => "accepted by a broker",
            Until::Delivered => "delivered to every recipient",
            Until::Answered => "answered by every recipient",
            Until::Purged => "purged by every recipient",
        };
        Some(format!(
            "notice {id} was not {whole} within {seconds} seconds: {so_far}. To wait on: {}",
            go_on(&id.to_string(), until)
        ))
    }
}

/// The recipients of which it has come.
fn of_whom(status: &NoticeStatus, until: Until) -> Vec<String> {
    let come = status.recipients.iter().filter(|one: &&RecipientStatus| until.has_come(one));
    come.map(|one| one.agency.to_string()).collect()
}

/// How to wait on for the same.
pub(super) fn go_on(id: &str, until: Until) -> String {
    format!("valise-agent track {id} --wait {}", until.as_str())
}

/// What was waited for has not come.
pub(super) fn not_yet(sentence: &str) -> Ended {
    eprintln!("valise-agent: {sentence}");
    Ended::Told(EXIT_NOT_YET)
}

/// A draft that waits for a second officer was not sent, and nothing of it can come.
pub(super) fn check_sent(queued: &Queued, until: Until) -> Result<(), Ended> {
    let Some(by) = queued.pending_until else { return Ok(()) };
    Err(not_yet(&format!(
        "nothing was sent, and there is nothing to wait for, before a second officer has approved it, by {by} at the latest. To wait then: {}",
        go_on(&queued.notice_id.to_string(), until)
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(state: &str, recipients: &[(&str, &str, bool)]) -> NoticeStatus {
        let recipient = |(agency, state, answered): &(&str, &str, bool)| json!({ "agency": agency, "state": state, "answered": answered, "steps": [] });
        let recipients: Vec<_> = recipients.iter().map(recipient).collect();
        serde_json::from_value(json!({
            "notice_id": "0190b6f0-0000-7000-8000-000000000000", "state": state, "at": null, "reason": null,
            "respond_by": null, "deadline_passed": false, "recipients": recipients,
        }))
        .unwrap()
    }

    fn said(until: Until, status: &NoticeStatus) -> Option<String> {
        Waiting { until, seconds: 30 }.sentence(status)
    }

    #[test]
    fn who_waited_in_vain_is_told_for_what_what_has_come_and_how_to_go_on() {
        let some = status("ACCEPTED", &[("deu/bka", "PENDING", false), ("fra/ncb", "READ", true)]);
        let id = "0190b6f0-0000-7000-8000-000000000000";
        assert_eq!(
            said(Until::Answered, &some).unwrap(),
            format!(
                "notice {id} was not answered by every recipient within 30 seconds: 1 of 2 so far (fra/ncb); still to come: deu/bka (PENDING). To wait on: valise-agent track {id} --wait answered"
            )
        );
        let none = said(Until::Purged, &some).unwrap();
        assert!(none.contains("0 of 2 so far; still to come: deu/bka (PENDING), fra/ncb (READ)"), "{none}");
        let queued = said(Until::Delivered, &status("QUEUED", &[("deu/bka", "PENDING", false)])).unwrap();
        assert!(queued.contains("no broker has taken it yet; it stays queued"), "{queued}");
    }

    #[test]
    fn of_what_waits_for_a_second_officer_nothing_is_waited_for() {
        let queued = |pending_until: Option<&str>| -> Queued {
            serde_json::from_value(json!({
                "notice_id": "0190b6f0-0000-7000-8000-000000000000", "recipients": ["fra/ncb"], "label": "SECRET",
                "precedence": "FLASH", "expires_at": "2026-03-01T12:00:00Z", "respond_by": null,
                "pending_until": pending_until,
            }))
            .unwrap()
        };
        let waits = check_sent(&queued(Some("2026-03-01T12:00:00Z")), Until::Delivered);
        assert!(matches!(waits, Err(Ended::Told(EXIT_NOT_YET))), "{waits:?}");
        assert!(check_sent(&queued(None), Until::Delivered).is_ok());
    }

    #[test]
    fn nothing_is_said_where_it_has_come_or_never_will() {
        let all = status("ACCEPTED", &[("fra/ncb", "DELIVERED", true)]);
        assert_eq!(said(Until::Delivered, &all), None);
        assert_eq!(said(Until::Answered, &all), None);
        assert_eq!(said(Until::Accepted, &status("ACCEPTED", &[("fra/ncb", "PENDING", false)])), None);
        assert_eq!(said(Until::Purged, &status("REFUSED", &[("fra/ncb", "PENDING", false)])), None);
    }
}
