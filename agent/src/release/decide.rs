//! The originator decides about a request.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, json};
use utoipa::ToSchema;
use valise_proto::envelope::NoticeKind;
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::label::Label;
use valise_proto::notice::Decision;

use super::ReleaseError;
use super::origin::places;
use super::request::{Written, asked_scope, part_of, request_in};
use super::rules::{self, Scope};
use super::source::{Source, indexes};
use crate::compose::Addressed;
use crate::node::office::Office;

/// What an officer decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Decide {
    /// Whether leave is given.
    pub grant: bool,
    /// Fewer portions than were asked for.
    #[serde(default)]
    pub portions: Vec<usize>,
    /// Fewer agencies than were asked for.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub to: Vec<AgencyId>,
    /// A banner that protects it more than the one asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Until when leave is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub valid_until: Option<Timestamp>,
    /// What the requester is told besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Who decides, while the node has no officers' accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub officer: Option<String>,
    /// Why, for the access journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Decide {
    /// The RELEASE_DECISION, addressed to the requester. Nothing is stored or sent.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn compose(
        &self,
        office: &Office,
        request: &NoticeId,
        now: Timestamp,
    ) -> Result<Addressed, ReleaseError> {
        let store = office.store();
        let received = store.received(request)?.ok_or(ReleaseError::Unknown(*request))?.record;
        let (kind, requester) = (received.kind, received.originator);
        let not_a_request = || ReleaseError::NotARequest { id: *request, kind };
        let asked = part_of(office, request, request_in)?.ok_or_else(not_a_request)?;
        let envelope = store.envelope(request)?.ok_or(ReleaseError::Unknown(*request))?;
        let about = envelope.header().in_reply_to.ok_or_else(not_a_request)?;
        if let Some(decision) = decided(office, request)? {
            return Err(ReleaseError::Decided { request: *request, decision });
        }
        let source = Source::sent(office, &about)?;
        let record = store.sent_record(&about)?.ok_or(ReleaseError::Unknown(about))?;
        if !record.recipients.contains(&requester) {
            return Err(ReleaseError::NotARecipient { requester, id: about });
        }
        let asked = asked_scope(&asked);
        let given = self.given(&asked, office)?;
        let owned = source.owned();
        if self.grant {
            let directory = office.directory();
            rules::may_grant(&owned, &requester, (&asked, &given), self.valid_until, &directory, now)?;
        }
        let mut part = Map::new();
        let decision = if self.grant { Decision::Granted } else { Decision::Refused };
        let mut put = |name: &str, value: serde_json::Value| drop(part.insert(name.to_owned(), value));
        put("type", json!("release_decision"));
        put("decision", json!(decision.to_string()));
        put("action", json!(given.action.to_string()));
        put("about", json!({ "notice_id": about, "header_digest": record.header_digest }));
        put("portions", json!(places(&given.portions)));
        put("to", json!(given.to));
        if let Some(label) = &given.label {
            put("under", json!(label.to_string()));
        }
        if let Some(until) = self.valid_until.filter(|_| self.grant) {
            put("valid_until", json!(until));
        }
        if let Some(text) = &self.text {
            put("text", json!(text));
        }
        let written = Written {
            kind: NoticeKind::ReleaseDecision,
            precedence: received.precedence,
            label: owned.label_of(&given.portions)?,
            to: &requester,
            in_reply_to: request,
            respond_by: None,
            part,
        };
        written.addressed(office, now)
    }

    /// What is decided about: what was asked for, as far as it is not narrowed.
    fn given(&self, asked: &Scope, office: &Office) -> Result<Scope, ReleaseError> {
        let mut given = asked.clone();
        if !self.portions.is_empty() {
            given.portions = indexes(&self.portions)?;
        }
        if !self.to.is_empty() {
            given.to = self.to.iter().cloned().collect::<BTreeSet<_>>();
        }
        if let Some(banner) = &self.label {
            given.label = Some(Label::parse_banner(office.directory().content().policy.clone(), banner)?);
        }
        Ok(given)
    }
}

/// The decision that was sent from here about a request, where there is one.
pub(crate) fn decided(office: &Office, request: &NoticeId) -> Result<Option<NoticeId>, ReleaseError> {
    let store = office.store();
    for record in store.sent_records(usize::MAX)? {
        if record.kind != NoticeKind::ReleaseDecision {
            continue;
        }
        let envelope = store.envelope(&record.notice_id)?;
        if envelope.is_some_and(|envelope| envelope.header().in_reply_to == Some(*request)) {
            return Ok(Some(record.notice_id));
        }
    }
    Ok(None)
}
