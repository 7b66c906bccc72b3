//! A holder that cannot be sent a withdrawal.

use serde_json::json;
use valise_agent::api::types::WithdrawRequest;
use valise_agent::journal::{Deed, Query};
use valise_proto::wire::session::Publication;

use crate::case::{Case, LONG, or, until};
use crate::fixture::agency;

#[tokio::test]
async fn g11_a_holder_without_a_sealing_key_is_outstanding_and_blocks_nobody() {
    let mut case = Case::start().await;
    let notice = json!({
        "kind": "DEPORTATION", "precedence": "PRIORITY", "label": "UNCLASSIFIED",
        "legal_basis": "Invented Act, section 1", "purpose": "to test", "review_by": "2035-01-01T00:00:00Z",
        "parts": [
            { "type": "movement", "event": "DEPORTATION", "status": "UNDER_WAY", "transit": ["TUR"],
              "event_time": "2026-03-01T12:00:00+03:00", "source": "FRA", "destination": "KEN" },
            { "type": "person", "id": "p1", "role": "SUBJECT", "birth_date": "1988-04-12", "citizenships": ["XXX"],
              "names": [{ "kind": "PRIMARY", "surname": "EXAMPLE-SPECIMEN", "given_names": "Nobody" }] },
        ],
    });
    let client = case.client();
    let sent = client.send(notice.to_string().into()).await.unwrap();
    assert_eq!(sent.recipients, [agency("ken/ncb"), agency("tur/border")]);
    let exchange = &mut case.office.exchange;
    exchange.content.version = 2;
    let turkey = exchange.content.agencies.get_mut(&agency("tur/border")).unwrap();
    turkey.sealing_keys[0].not_after = exchange.start;
    let directory = exchange.directory();
    case.broker.publish(directory.clone());
    case.say_and_part(Publication { directory: directory.encoded().clone(), crls: Vec::new() }).await;
    let version = async || {
        let version = case.status().await.directory.version;
        or(version == 2, version, version)
    };
    until("directory version 2", version).await;
    let reason = "Another person of the same name.".to_owned();
    let withdrawn = client.withdraw(&sent.notice_id, &WithdrawRequest { reason, label: None }).await.unwrap();
    assert_eq!(withdrawn.recipients, [agency("ken/ncb")], "who can be told is not told");
    let told = &withdrawn.not_told[0];
    assert!(told.outstanding && told.rule.contains("tur/border has no sealing key"), "{told:?}");
    let accepted = |store: &valise_agent::store::Store| {
        let sent = store.sent(&withdrawn.notice_id)?;
        Ok::<_, valise_agent::store::StoreError>(sent.is_some_and(|sent| !sent.receipts.is_empty()))
    };
    assert!(case.node.desk().wait_until(LONG, accepted).await.unwrap(), "no broker took the withdrawal");
    for notice in [&sent.notice_id, &withdrawn.notice_id] {
        let track = client.track(notice).await.unwrap();
        let turkey = track.outstanding.iter().find(|one| one.agency == agency("tur/border"));
        assert!(turkey.is_some_and(|one| one.reason.contains("no sealing key")), "{track:?}");
    }
    let query = Query { deed: Some(Deed::NotTold), about: Some(withdrawn.notice_id), ..Query::default() };
    let entries = case.node.desk().office().store().journal(&query, 10).unwrap();
    assert_eq!(entries.len(), 1, "it is not on record");
    assert!(entries[0].entry.detail.contains("tur/border has no sealing key"), "{}", entries[0].entry.detail);
    case.node.stop().await;
}
