//! The requests for leave that came or went, and what became of them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use valise_proto::envelope::NoticeKind;
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::notice::{Decision, Notice};

use super::ReleaseError;
use super::decide::decided;
use super::request::{decisions, part_of, request_in};
use crate::node::office::Office;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Standing {
    /// It is not decided.
    Waiting,
    /// Leave was given.
    Granted,
    /// Leave was not given.
    Refused,
    /// The time for an answer is over, and no answer is no.
    Unanswered,
    /// Leave was given and has run out.
    Ended,
}

impl Standing {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::Granted => "GRANTED",
            Self::Refused => "REFUSED",
            Self::Unanswered => "UNANSWERED",
            Self::Ended => "ENDED",
        }
    }
}

/// A request for leave to pass something on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestFacts {
    /// The request.
    #[schema(value_type = String)]
    pub id: NoticeId,
    /// Whether it was sent from here.
    pub ours: bool,
    /// Whom it went to, or who asks.
    #[schema(value_type = String)]
    pub with: AgencyId,
    /// The notice it is about.
    #[schema(value_type = Option<String>)]
    pub about: Option<NoticeId>,
    /// Until when an answer is asked for.
    #[schema(value_type = Option<String>)]
    pub respond_by: Option<Timestamp>,
    /// What became of it.
    pub standing: Standing,
    /// The decision.
    #[schema(value_type = Option<String>)]
    pub decision: Option<NoticeId>,
    /// Until when leave was given.
    #[schema(value_type = Option<String>)]
    pub valid_until: Option<Timestamp>,
    /// What a request that came asks for, in one line; it is content.
    pub asks: Option<String>,
}

/// The requests that came and went, newest first, at most `count_max` of each.
///
/// # Errors
/// [`ReleaseError`].
pub fn list(office: &Office, count_max: usize, now: Timestamp) -> Result<Vec<RequestFacts>, ReleaseError> {
    let mut found = received(office, count_max, now)?;
    found.extend(sent(office, count_max, now)?);
    found.sort_by_key(|facts| std::cmp::Reverse(*facts.id.as_bytes()));
    Ok(found)
}

fn received(office: &Office, count_max: usize, now: Timestamp) -> Result<Vec<RequestFacts>, ReleaseError> {
    let store = office.store();
    let mut found = Vec::new();
    for received in store.inbox(usize::MAX)? {
        let record = received.record;
        if record.kind != NoticeKind::ReleaseRequest || found.len() >= count_max {
            continue;
        }
        let id = record.notice_id;
        let about = store.envelope(&id)?.and_then(|envelope| envelope.header().in_reply_to);
        let decision = decided(office, &id)?;
        let said = decision.map(|decision| ours(office, &decision)).transpose()?.flatten();
        let asks = match part_of(office, &id, request_in) {
            Ok(Some(request)) => Some(asks(&request)),
            Ok(None) | Err(ReleaseError::NotShown(_)) => None,
            Err(error) => return Err(error),
        };
        let (standing, valid_until) = standing(said, record.respond_by, now);
        let (with, respond_by) = (record.originator, record.respond_by);
        found.push(RequestFacts {
            id,
            ours: false,
            with,
            about,
            respond_by,
            standing,
            decision,
            valid_until,
            asks,
        });
    }
    Ok(found)
}

fn asks(request: &valise_proto::notice::ReleaseRequest) -> String {
    let places: Vec<_> = request.portions.iter().map(ToString::to_string).collect();
    let to: Vec<_> = request.to.iter().map(ToString::to_string).collect();
    let label = request.under.as_ref().map(|label| format!(" as {label}")).unwrap_or_default();
    let to = if to.is_empty() { String::new() } else { format!(" to {}", to.join(", ")) };
    format!(
        "{} portions {}{label}{to}: {}",
        request.action,
        places.join(", "),
        request.justification.as_str()
    )
}

/// What a decision of ours says.
fn ours(office: &Office, decision: &NoticeId) -> Result<Option<(Decision, Option<Timestamp>)>, ReleaseError> {
    let store = office.store();
    let (Some(draft), Some(record)) = (store.draft(decision)?, store.sent_record(decision)?) else {
        return Ok(None);
    };
    let directory = office.directory();
    let Ok(notice) = Notice::from_json(&draft, &directory.content().policy, record.created_at) else {
        return Ok(None);
    };
    let said = notice.parts().iter().find_map(|part| super::request::decision_in(&part.content));
    Ok(said.map(|said| (said.decision, said.valid_until)))
}

fn sent(office: &Office, count_max: usize, now: Timestamp) -> Result<Vec<RequestFacts>, ReleaseError> {
    let store = office.store();
    let mut found = Vec::new();
    for record in store.sent_records(usize::MAX)? {
        if record.kind != NoticeKind::ReleaseRequest || found.len() >= count_max {
            continue;
        }
        let (id, respond_by) = (record.notice_id, record.respond_by);
        let about = store.envelope(&id)?.and_then(|envelope| envelope.header().in_reply_to);
        let Some(with) = record.recipients.into_iter().next() else { continue };
        let decisions = decisions(office, &with, &BTreeSet::from([id]))?;
        let last = decisions.last();
        let said = last.map(|(_, _, decision)| (decision.decision, decision.valid_until));
        let decision = last.map(|(decision, _, _)| *decision);
        let (standing, valid_until) = standing(said, respond_by, now);
        found.push(RequestFacts {
            id,
            ours: true,
            with,
            about,
            respond_by,
            standing,
            decision,
            valid_until,
            asks: None,
        });
    }
    Ok(found)
}

fn standing(
    said: Option<(Decision, Option<Timestamp>)>,
    respond_by: Option<Timestamp>,
    now: Timestamp,
) -> (Standing, Option<Timestamp>) {
    match said {
        Some((Decision::Refused, _)) => (Standing::Refused, None),
        Some((Decision::Granted, until)) if until.is_some_and(|until| until <= now) => {
            (Standing::Ended, until)
        }
        Some((Decision::Granted, until)) => (Standing::Granted, until),
        None if respond_by.is_some_and(|by| by < now) => (Standing::Unanswered, None),
        None => (Standing::Waiting, None),
    }
}
