//! Suspended or revoked: what the operator is told, and what becomes of what others sign.

use std::time::Duration;

use valise_proto::directory::AgencyStatus;
use valise_proto::envelope::Envelope;
use valise_proto::id::Timestamp;
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::session::SessionFrame;

use crate::case::{Case, FRANCE, KENYA, LONG, or, until, young};
use crate::fixture::{DAY, agency, ago, content};

async fn is_told(code: RefusalCode, status: fn(Timestamp) -> AgencyStatus, advice: &str) {
    let mut case = Case::of_life(young()).await;
    let since = ago(DAY);
    let entry = case.office.exchange.content.agencies.get_mut(&agency(FRANCE)).unwrap();
    (entry.status, entry.contact_point) = (status(since), false);
    case.office.exchange.content.version += 1;
    case.publish(Vec::new());
    let newer = async || {
        let version = case.status().await.directory.version;
        or(version == 2, version, version)
    };
    until("the directory that says so", newer).await;
    case.broker.say(SessionFrame::Goodbye(Some(Refusal::new(code, "since yesterday; ask the authority"))));
    let told = async || {
        let excluded = case.status().await.excluded;
        or(excluded.as_ref().is_some_and(|facts| facts.told_at.is_some()), excluded.clone(), excluded)
    };
    let facts = until("the exclusion", told).await.unwrap();
    assert_eq!((facts.code.as_str(), facts.since), (code.as_str(), Some(since)));
    assert!(facts.reason.contains("since yesterday") && facts.advice.contains(advice), "{facts:?}");
    // No storm: an ordinary loss is followed by a call within the second.
    let again = tokio::time::timeout(Duration::from_secs(3), case.sessions(2)).await;
    assert!(again.is_err(), "it calls again at once");
    assert!(case.client().send(crate::fixture::notice_json(KENYA).to_string().into()).await.is_err());
    case.node.stop().await;
}

#[tokio::test]
async fn g12_a_suspended_agency_is_told_why_since_when_and_what_to_do_and_does_not_storm_the_broker() {
    is_told(RefusalCode::Suspended, |since| AgencyStatus::Suspended { since }, "reinstates").await;
}

#[tokio::test]
async fn g12_a_revoked_agency_is_told_why_since_when_and_what_to_do_and_does_not_storm_the_broker() {
    is_told(RefusalCode::Revoked, |since| AgencyStatus::Revoked { since }, "ask the authority").await;
}

fn made_at(case: &Case, created_at: Timestamp) -> Envelope {
    case.office.exchange.envelope(KENYA, &[FRANCE], &content(), |draft| draft.created_at = created_at)
}

/// Kenya's word ceases to count at a time in the past, which is published only now.
async fn word_ceases(status: fn(Timestamp) -> AgencyStatus) {
    let mut case = Case::of_life(young()).await;
    let entry = case.office.exchange.content.agencies.get_mut(&agency(KENYA)).unwrap();
    entry.signing_keys[0].not_before = ago(10 * DAY);
    case.office.exchange.content.version += 1;
    case.publish(Vec::new());
    let (before, since, after) = (ago(2 * DAY), ago(DAY), ago(DAY / 2));
    let (kept_before, kept_after) = (made_at(&case, before), made_at(&case, after));
    for envelope in [&kept_before, &kept_after] {
        case.broker.put(FRANCE, envelope.header().precedence, envelope.encode());
        assert!(case.node.has_received(&envelope.header().notice_id, LONG).await.unwrap());
    }
    let entry = case.office.exchange.content.agencies.get_mut(&agency(KENYA)).unwrap();
    (entry.status, entry.contact_point) = (status(since), false);
    case.office.exchange.content.version += 1;
    case.publish(Vec::new());
    let newest = case.office.exchange.content.version;
    let in_force = async || {
        let version = case.status().await.directory.version;
        or(version == newest, version, version)
    };
    until("the directory that says so", in_force).await;

    // Received before it was published: what was made before still shows, what was made after does not.
    let client = case.client();
    client.read(&kept_before.header().notice_id, "Officer A. Example").await.unwrap();
    let refused = client.read(&kept_after.header().notice_id, "Officer A. Example").await.err().unwrap();
    let told = refused.to_string();
    assert!(told.contains(&format!("since {since}")) && told.contains(KENYA), "{told}");
    // Received after it was published: the same.
    let (late_before, late_after) = (made_at(&case, before), made_at(&case, after));
    for envelope in [&late_before, &late_after] {
        case.broker.put(FRANCE, envelope.header().precedence, envelope.encode());
    }
    assert!(case.node.has_received(&late_before.header().notice_id, LONG).await.unwrap());
    client.read(&late_before.header().notice_id, "Officer A. Example").await.unwrap();
    let aside = async || {
        let aside = case.status().await.set_aside;
        or(!aside.is_empty(), aside.clone(), aside)
    };
    let aside = until("the setting aside", aside).await;
    assert_eq!(aside.len(), 1);
    assert!(aside[0].reason.contains(&late_after.header().notice_id.to_string()), "{aside:?}");
    assert!(aside[0].reason.contains(&since.to_string()), "{aside:?}");
    case.node.stop().await;
}

#[tokio::test]
async fn g01_what_a_suspended_agency_signed_from_then_on_is_refused_and_what_it_signed_before_still_shows() {
    word_ceases(|since| AgencyStatus::Suspended { since }).await;
}

#[tokio::test]
async fn g01_what_a_revoked_agency_signed_from_then_on_is_refused_and_what_it_signed_before_still_shows() {
    word_ceases(|since| AgencyStatus::Revoked { since }).await;
}
