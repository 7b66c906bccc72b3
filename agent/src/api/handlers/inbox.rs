//! The list of what was received, and searching it.
//!
//! Claimed: a search tells which notices hold the words and nothing else of them, and the words are in no address, log
//! or error. One search opens at most [`OPENED_MAX`] notices, and says where to go on.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use valise_proto::id::Timestamp;
use zeroize::Zeroizing;

use super::{Answer, Asked, LIST_DEFAULT, LIST_MAX, apart, body_of, open};
use crate::api::caller::Caller;
use crate::api::error::ApiError;
use crate::api::types::{ErrorBody, InboxFilter, InboxPage, SearchRequest};
use crate::api::views;
use crate::compose::content;
use crate::journal::{Deed, Entry};
use crate::node::Desk;
use crate::node::office::Office;
use crate::node::showing;
use crate::officers::Role;
use crate::release::standing::out_of_force;
use crate::store::{Inbox, Look};

/// Most notices that one search opens.
const OPENED_MAX: usize = 500;
/// Longest text that is searched for, in bytes.
const TEXT_BYTES_MAX: usize = 256;
/// Shortest, in characters: less is found everywhere.
const TEXT_CHARS_MIN: usize = 2;

/// The paths of this matter.
pub(in crate::api) fn routes() -> OpenApiRouter<Desk> {
    OpenApiRouter::new().routes(routes!(inbox)).routes(routes!(search))
}

/// Received notices, newest first.
#[utoipa::path(get, path = "/v1/inbox", tag = "notices", params(InboxFilter),
    responses((status = 200, body = InboxPage), (status = "default", body = ErrorBody)))]
pub(in crate::api) async fn inbox(
    State(desk): State<Desk>,
    caller: Caller,
    Asked(filter): Asked<InboxFilter>,
) -> Answer<InboxPage> {
    caller.must(Role::Reader)?;
    let page = apart(&desk, move |office| listed(office, &filter, |_| Some(true))).await?;
    Ok(Json(page))
}

/// Received notices whose content holds every one of the words, whether in capitals or not. What they say besides is
/// not told.
#[utoipa::path(post, path = "/v1/search", tag = "notices", request_body = SearchRequest,
    responses((status = 200, body = InboxPage), (status = "default", body = ErrorBody)))]
pub(in crate::api) async fn search(
    State(desk): State<Desk>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Answer<InboxPage> {
    caller.must(Role::Reader)?;
    let SearchRequest { text, filter, reason, officer } =
        serde_json::from_slice(&body_of(body)?).map_err(ApiError::bad_request)?;
    let text = Zeroizing::new(text);
    let words = words_of(&text)?;
    let officer = match officer {
        Some(officer) => caller.acting_as(Some(&officer))?,
        None => caller.officer.clone(),
    };
    let reason = caller.reason(reason.as_deref())?;
    let entry = Entry::new(desk.office().now(), &officer, Deed::Search).because(reason.as_deref());
    desk.journal(entry.saying(text.as_str())).await?;
    let page = apart(&desk, move |office| {
        let mut opened = 0;
        let mut page = listed(office, &filter, |inbox| {
            if opened >= OPENED_MAX {
                return None;
            }
            opened += 1;
            Some(holds(office, inbox, &words))
        })?;
        page.searched = Some(opened);
        Ok(page)
    });
    Ok(Json(page.await?))
}

fn words_of(text: &str) -> Result<Vec<Zeroizing<String>>, ApiError> {
    let words: Vec<_> = text.split_whitespace().map(|word| Zeroizing::new(word.to_lowercase())).collect();
    let long_enough = words.iter().map(|word| word.chars().count()).max() >= Some(TEXT_CHARS_MIN);
    if !long_enough || text.len() > TEXT_BYTES_MAX {
        let message = format!(
            "text: {} bytes are given; search for words of {TEXT_CHARS_MIN} or more characters, {TEXT_BYTES_MAX} bytes at most",
            text.len()
        );
        return Err(ApiError::bad_request(message));
    }
    Ok(words)
}

/// Whether what opens of a notice holds all the words. What nobody would be shown is not searched either.
fn holds(office: &Office, inbox: &Inbox, words: &[Zeroizing<String>]) -> bool {
    let Ok((_, portions)) = showing::open(office, &inbox.record.notice_id) else { return false };
    let mut text = Zeroizing::new(String::new());
    for portion in &portions {
        if let Ok(content) = content::decode(portion) {
            gather(&content, &mut text);
        }
    }
    words.iter().all(|word| text.contains(word.as_str()))
}

fn gather(value: &Value, text: &mut Zeroizing<String>) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => put(&number.to_string(), text),
        Value::String(said) => put(said, text),
        Value::Array(values) => values.iter().for_each(|value| gather(value, text)),
        Value::Object(fields) => fields.values().for_each(|value| gather(value, text)),
    }
}

fn put(said: &str, text: &mut Zeroizing<String>) {
    text.push_str(&said.to_lowercase());
    text.push('\n');
}

/// What the filter lets through and `look` wants; `look` says nothing where it has had enough.
fn listed(
    office: &Office,
    filter: &InboxFilter,
    mut look: impl FnMut(&Inbox) -> Option<bool>,
) -> Result<InboxPage, ApiError> {
    check(filter, office.now())?;
    let limit = filter.limit.unwrap_or(LIST_DEFAULT);
    let page = office.store().inbox_page(filter.before.as_ref(), limit, |inbox| {
        if !wanted(filter, &inbox) || !is_open_as_asked(office, filter, &inbox)? {
            return Ok::<_, ApiError>(Look::Passed);
        }
        Ok(match look(&inbox) {
            Some(true) => {
                let record = &inbox.record;
                let ended = out_of_force(office, &record.notice_id, &record.originator)?;
                Look::Found(views::inbox_entry(&inbox, ended))
            }
            Some(false) => Look::Passed,
            None => Look::Enough,
        })
    })?;
    Ok(InboxPage { notices: page.found, next: page.next, searched: None })
}

fn check(filter: &InboxFilter, now: Timestamp) -> Result<(), ApiError> {
    if filter.limit.is_some_and(|limit| limit == 0 || limit > LIST_MAX) {
        return Err(ApiError::bad_request(format_args!("limit: ask for 1 to {LIST_MAX} notices")));
    }
    match (filter.since, filter.until) {
        (Some(since), _) if since > now => Err(ApiError::bad_request(format_args!(
            "since: {since} is still to come; it is {now} here: give a time that is past"
        ))),
        (Some(since), Some(until)) if since >= until => Err(ApiError::bad_request(format_args!(
            "until: {until} is not after since, {since}: nothing can lie between"
        ))),
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

/// What can be said of a notice by its record alone.
fn wanted(filter: &InboxFilter, inbox: &Inbox) -> bool {
    let record = &inbox.record;
    let classification = record.label.split("//").next().unwrap_or_default();
    filter.kind.is_none_or(|kind| kind == record.kind)
        && filter.originator.as_ref().is_none_or(|originator| *originator == record.originator)
        && filter.precedence.is_none_or(|precedence| precedence == record.precedence)
        && filter.classification.is_none_or(|wanted| wanted.to_string() == classification)
        && filter.unread.is_none_or(|unread| unread == inbox.read.is_none())
        && filter.since.is_none_or(|since| record.received_at >= since)
        && filter.until.is_none_or(|until| record.received_at < until)
}

/// Whether it still asks, or no longer, for the reading or the answer that is filtered by.
fn is_open_as_asked(office: &Office, filter: &InboxFilter, inbox: &Inbox) -> Result<bool, ApiError> {
    let (store, record) = (office.store(), &inbox.record);
    if filter.unread == Some(true) && !open::asks_to_be_read(office, record)? {
        return Ok(false);
    }
    match filter.unanswered {
        Some(true) if !open::asks_for_an_answer(office, record)? => return Ok(false),
        Some(false) if store.answered(&record.notice_id)?.is_empty() => return Ok(false),
        Some(true | false) | None => {}
    }
    let Some(wanted) = filter.late else { return Ok(true) };
    let over = record.respond_by.is_some_and(|respond_by| respond_by < office.now());
    Ok(wanted == (over && open::asks_for_an_answer(office, record)?))
}
