//! Brokers whose limits are lower than the protocol's.

use valise_agent::api::client::{ClientError, LocalClient, Wait};

use crate::case::{Case, LONG, until};
use crate::fixture::notice_json;

/// A notice whose envelope has more than 12 KiB.
fn large() -> bytes::Bytes {
    let mut notice = notice_json("ken/ncb");
    let parts = notice["parts"].as_array_mut().unwrap();
    parts.extend((0..3).map(|_| serde_json::json!({ "type": "remark", "text": "x".repeat(4096) })));
    notice.to_string().into()
}

#[tokio::test]
async fn g08_an_envelope_above_the_brokers_limit_is_refused_here_and_holds_nothing_up() {
    let mut case = Case::start().await;
    case.node.stop().await;
    case.node = case.office.start("fra/ncb", None).await;
    let client = LocalClient::new(&case.office.config("fra/ncb", None));
    let too_large = client.send(large()).await.unwrap().notice_id;
    let other = client.send(notice_json("ken/ncb").to_string().into()).await.unwrap().notice_id;
    case.node.stop().await;
    case.broker.held.lock().unwrap().limits.envelope_bytes_max = 8 * 1024;
    let before = case.broker.held.lock().unwrap().sessions;
    case.node = case.office.start("fra/ncb", Some(&case.broker)).await;
    let seconds = LONG.as_secs();
    let refused = client.notice_status_after(&too_large, Wait::Accepted, seconds).await.unwrap();
    assert_eq!(refused.state, "REFUSED", "{refused:?}");
    let reason = refused.reason.unwrap();
    assert!(reason.starts_with("TOO_LARGE: ") && reason.contains("at most 8192"), "{reason}");
    let accepted = client.notice_status_after(&other, Wait::Accepted, seconds).await.unwrap();
    assert_eq!(accepted.state, "ACCEPTED");
    let held = || case.broker.held.lock().unwrap();
    assert!(!held().accepted.contains_key(&too_large), "it was submitted");
    assert_eq!(held().sessions, before + 1, "the connection was lost over it");
    // The next one is told before it is queued.
    let told = client.send(large()).await.unwrap_err();
    assert!(matches!(&told, ClientError::Refused(facts) if facts.code == "TOO_LARGE"), "{told}");
    case.node.stop().await;
}

#[tokio::test]
async fn g08_a_broker_whose_limits_let_nothing_through_is_left() {
    let case = Case::start().await;
    case.broker.held.lock().unwrap().limits.in_flight_max = 0;
    case.broker.say(valise_proto::wire::session::SessionFrame::Goodbye(None));
    let told = async || {
        let reason = case.status().await.connection.reason.unwrap_or_default();
        crate::case::or(reason.contains("let nothing through"), reason.clone(), reason)
    };
    until("the refusal of its limits", told).await;
    case.node.stop().await;
}
