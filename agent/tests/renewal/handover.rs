//! The connection is exchanged for one with the new certificate, under load.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use valise_agent::node::LinkState;

use crate::case::{Case, FRANCE, KENYA, LONG, der, or, until, waning};
use crate::fixture::{content, notice_json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g04_g05_renewal_under_load_loses_no_notice_shows_none_twice_and_is_never_unconnected() {
    let mut case = Case::of_life(waning()).await;
    let (stop, down) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));

    // Somebody watches the connection all the time.
    let watch = {
        let (desk, stop, down) = (case.node.desk().clone(), Arc::clone(&stop), Arc::clone(&down));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                if matches!(desk.link(), LinkState::Down { .. }) {
                    down.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    };
    // France sends, one after the other, as fast as the node takes them.
    let sending = {
        let (client, stop) = (case.client(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut sent = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let json = notice_json(KENYA).to_string();
                sent.push(client.send(json.into()).await.unwrap().notice_id);
            }
            sent
        })
    };
    // Kenya writes to France before, during and after.
    let mut written = BTreeSet::new();
    let mut write = |case: &Case| {
        for _ in 0..10 {
            let notice = case.office.exchange.envelope(KENYA, &[FRANCE], &content(), |_| {});
            written.insert(notice.header().notice_id);
            case.broker.put(FRANCE, notice.header().precedence, notice.encode());
        }
    };
    write(&case);
    let request = case.spooled(1).await;
    write(&case);
    let leaf = case.grant(&request);
    write(&case);
    case.sessions(2).await;
    write(&case);
    let old_one_is_gone = async || {
        let open = case.broker.held.lock().unwrap().open;
        or(open == 1, open, open)
    };
    until("the end of the old connection", old_one_is_gone).await;
    write(&case);
    stop.store(true, Ordering::Relaxed);
    let sent = sending.await.unwrap();
    watch.await.unwrap();

    assert!(sent.len() > 20, "only {} notices were sent: that is no load", sent.len());
    let all_accepted = async || {
        let held = case.broker.held.lock().unwrap();
        let missing = sent.iter().filter(|id| !held.accepted.contains_key(id)).count();
        or(missing == 0, missing, missing)
    };
    until("the acceptance of everything that was sent", all_accepted).await;
    let empty = async || {
        let (left, outbox) = (case.broker.unacknowledged(FRANCE), case.node.desk().outbox_len());
        or(left == 0 && outbox == 0, (left, outbox), (left, outbox))
    };
    until("the acknowledgement of everything that was delivered", empty).await;
    let shown: Vec<_> =
        case.client().inbox(1000).await.unwrap().iter().map(|entry| entry.notice_id).collect();
    assert_eq!(shown.len(), written.len(), "lost, or shown twice");
    assert_eq!(shown.into_iter().collect::<BTreeSet<_>>(), written);
    assert_eq!(down.load(Ordering::Relaxed), 0, "the operator was told that there is no connection");
    assert_eq!(case.broker.held.lock().unwrap().sessions, 2, "more connections than one exchange needs");
    assert_eq!(der(&case.file("tls.crt")), leaf);
    assert!(!case.broker.held.lock().unwrap().first_certificate, "the old certificate is still shown");
    case.node.stop().await;
}

#[tokio::test]
async fn g04_a_node_that_is_killed_right_after_it_took_a_certificate_starts_with_it() {
    let mut case = Case::of_life(waning()).await;
    let request = case.spooled(1).await;
    let leaf = case.grant(&request);
    let installed = async || {
        let held = der(&case.file("tls.crt"));
        or(held == leaf, (), ())
    };
    until("the new certificate", installed).await;
    case.node.kill().await;
    let node = case.office.start(FRANCE, Some(&case.broker)).await;
    assert!(node.connected(LONG).await, "not connected: {:?}", node.desk().link());
    node.stop().await;
}
