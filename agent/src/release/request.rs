//! A holder asks the originator for leave to pass something on.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use valise_proto::envelope::{NoticeKind, PortionIndex, Precedence};
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::label::Label;
use valise_proto::notice::{Content, Decision, Portion, ReleaseAction, ReleaseDecision, ReleaseRequest};
use zeroize::Zeroizing;

use super::ReleaseError;
use super::origin::places;
use super::rules::{Grant, NotOnward, Scope};
use super::source::{Source, indexes};
use super::standing::ended;
use crate::compose::{Addressed, Draft};
use crate::node::office::Office;
use crate::node::showing;

/// What an officer asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// DOWNGRADE or SHARE.
    pub action: Asked,
    /// The portions, by their places in the notice.
    pub portions: Vec<usize>,
    /// Whom it is for; a downgrade that names nobody is for agencies of the own State.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub to: Vec<AgencyId>,
    /// The banner it is to have; a downgrade needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Why it is needed. The originator reads it.
    pub justification: String,
    /// How fast it travels, and so how soon an answer is asked for; otherwise as the notice did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub precedence: Option<Precedence>,
    /// Until when an answer is asked for; otherwise as the precedence says. No answer is no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub respond_by: Option<Timestamp>,
    /// Who asks, while the node has no officers' accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub officer: Option<String>,
    /// Why, for the access journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What leave is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Asked {
    /// To make a notice of it under a lower label.
    Downgrade,
    /// To share it with others.
    Share,
}

impl From<Asked> for ReleaseAction {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::Downgrade => Self::Downgrade,
            Asked::Share => Self::Share,
        }
    }
}

impl Request {
    /// The RELEASE_REQUEST, addressed to the originator. Nothing is stored or sent.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn compose(&self, office: &Office, id: &NoticeId, now: Timestamp) -> Result<Addressed, ReleaseError> {
        let source = Source::received(office, id)?;
        let held = source.held();
        let portions = indexes(&self.portions)?;
        if let Some(index) = portions.iter().find(|index| !held.portions.contains_key(*index)) {
            return Err(NotOnward::NotHeld(*index).into());
        }
        // To ask would be in vain.
        if let Some(portion) = portions.intersection(&held.minors).next() {
            return Err(NotOnward::Minor { portion: *portion }.into());
        }
        let precedence = self.precedence.unwrap_or(source.precedence);
        let mut part = Map::new();
        part.insert("type".to_owned(), json!("release_request"));
        part.insert("action".to_owned(), json!(ReleaseAction::from(self.action).to_string()));
        part.insert("portions".to_owned(), json!(places(&portions)));
        part.insert("to".to_owned(), json!(self.to));
        part.insert("justification".to_owned(), json!(self.justification));
        if let Some(banner) = &self.label {
            let label = Label::parse_banner(office.directory().content().policy.clone(), banner)?;
            part.insert("under".to_owned(), json!(label.to_string()));
        }
        let written = Written {
            kind: NoticeKind::ReleaseRequest,
            precedence,
            // The justification may repeat what it is about.
            label: source.label_of(&portions).ok_or(NotOnward::Policy)?,
            to: &source.originator,
            in_reply_to: id,
            respond_by: Some(self.respond_by.unwrap_or_else(|| now.plus(precedence.respond_within()))),
            part,
        };
        written.addressed(office, now)
    }
}

/// A follow-up with one part and one recipient.
pub(super) struct Written<'a> {
    pub(super) kind: NoticeKind,
    pub(super) precedence: Precedence,
    pub(super) label: Label,
    pub(super) to: &'a AgencyId,
    pub(super) in_reply_to: &'a NoticeId,
    pub(super) respond_by: Option<Timestamp>,
    pub(super) part: Map<String, Value>,
}

impl Written<'_> {
    pub(super) fn addressed(self, office: &Office, now: Timestamp) -> Result<Addressed, ReleaseError> {
        let mut json = json!({
            "kind": self.kind,
            "precedence": self.precedence,
            "label": self.label.to_string(),
            "recipients": [self.to],
            "in_reply_to": self.in_reply_to,
            "parts": [self.part],
        });
        if let (Some(respond_by), Some(object)) = (self.respond_by, json.as_object_mut()) {
            object.insert("respond_by".to_owned(), json!(respond_by));
        }
        let json = Zeroizing::new(json.to_string().into_bytes());
        Ok(Draft::read(json, office, now)?.address(office, now)?)
    }
}

/// The scope that a request names.
pub(super) fn asked_scope(request: &ReleaseRequest) -> Scope {
    Scope {
        action: request.action,
        portions: request.portions.iter().copied().collect(),
        to: request.to.iter().cloned().collect(),
        label: request.under.clone(),
    }
}

/// The one part of a received follow-up of this kind, opened and verified anew.
pub(super) fn part_of<T>(
    office: &Office,
    id: &NoticeId,
    pick: impl Fn(&Content) -> Option<T>,
) -> Result<Option<T>, ReleaseError> {
    let (_, opened) = showing::open(office, id)?;
    for portion in &opened {
        let unreadable = |error: valise_proto::wire::WireError| ReleaseError::Record(error.to_string());
        let read = Portion::decode(portion.label.clone(), portion.parts()).map_err(unreadable)?;
        if let Some(found) = read.parts().iter().find_map(|part| pick(&part.content)) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The requests that were sent from here about a notice, oldest first.
pub(super) fn sent_about(office: &Office, about: &NoticeId) -> Result<Vec<NoticeId>, ReleaseError> {
    let store = office.store();
    let mut requests = Vec::new();
    for record in store.sent_records(usize::MAX)? {
        if record.kind != NoticeKind::ReleaseRequest {
            continue;
        }
        let envelope = store.envelope(&record.notice_id)?;
        if envelope.is_some_and(|envelope| envelope.header().in_reply_to == Some(*about)) {
            requests.push(record.notice_id);
        }
    }
    requests.reverse();
    Ok(requests)
}

/// The decisions of `originator` about these requests, each with its id, oldest first. One that cannot be shown any more
/// (withdrawn, purged, of an originator whose word ceased to count) gives no leave.
pub(super) fn decisions(
    office: &Office,
    originator: &AgencyId,
    requests: &BTreeSet<NoticeId>,
) -> Result<Vec<(NoticeId, NoticeId, ReleaseDecision)>, ReleaseError> {
    let store = office.store();
    let mut decisions = Vec::new();
    for received in store.inbox(usize::MAX)? {
        let record = received.record;
        if record.kind != NoticeKind::ReleaseDecision || record.originator != *originator {
            continue;
        }
        let id = record.notice_id;
        let answers = store.envelope(&id)?.and_then(|envelope| envelope.header().in_reply_to);
        let Some(request) = answers.filter(|request| requests.contains(request)) else { continue };
        if ended(office, &id, originator)?.is_some() {
            continue;
        }
        match part_of(office, &id, decision_in) {
            Ok(Some(decision)) => decisions.push((id, request, decision)),
            Ok(None) => {}
            Err(ReleaseError::NotShown(why)) => {
                tracing::warn!(decision = %id, %why, "a decision gives no leave");
            }
            Err(error) => return Err(error),
        }
    }
    decisions.reverse();
    Ok(decisions)
}

pub(super) fn decision_in(content: &Content) -> Option<ReleaseDecision> {
    if let Content::ReleaseDecision(decision) = content { Some((**decision).clone()) } else { None }
}

pub(super) fn request_in(content: &Content) -> Option<ReleaseRequest> {
    if let Content::ReleaseRequest(request) = content { Some((**request).clone()) } else { None }
}

/// The leave there is to pass a notice on.
pub(super) fn grants(office: &Office, source: &Source) -> Result<Vec<Grant>, ReleaseError> {
    let requests = sent_about(office, &source.id)?.into_iter().collect();
    let decisions = decisions(office, &source.originator, &requests)?;
    let of_it = |decision: &ReleaseDecision| {
        decision.decision == Decision::Granted
            && decision.about.notice_id == source.id
            && decision.about.header_digest == source.digest
    };
    let granted = decisions.into_iter().filter(|(_, _, decision)| of_it(decision));
    Ok(granted.map(|(id, _, decision)| grant(id, &decision)).collect())
}

fn grant(id: NoticeId, decision: &ReleaseDecision) -> Grant {
    let portions: BTreeSet<PortionIndex> = decision.portions.iter().copied().collect();
    Grant {
        decision: id,
        scope: Scope {
            action: decision.action,
            portions,
            to: decision.to.iter().cloned().collect(),
            label: decision.under.clone(),
        },
        valid_until: decision.valid_until,
    }
}
