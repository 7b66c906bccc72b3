//! New keys, with overlap.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use valise_agent::api::client::LocalClient;
use valise_agent::api::types::{KeyFacts, RotateRequest};
use valise_agent::clock::Clock;
use valise_agent::node::office::Office;
use valise_agent::node::{Node, NodeOptions, handwork};
use valise_proto::envelope::Envelope;
use valise_proto::id::{KeyId, NoticeId, Timestamp};

use crate::case::{Case, FRANCE, KENYA, LONG, office_of, or, until, young};
use crate::fixture::{DAY, agency, ago, content, notice_json, now};

fn key<'a>(keys: &'a [KeyFacts], kind: &str, state: &str) -> Option<&'a KeyFacts> {
    keys.iter().find(|key| key.kind == kind && key.state == state)
}

fn ids(keys: &[KeyFacts], state: &str) -> Vec<String> {
    keys.iter().filter(|key| key.state == state).map(|key| key.key_id.clone()).collect()
}

impl Case {
    async fn keys(&self) -> Vec<KeyFacts> {
        self.client().keys().await.unwrap()
    }

    /// Waits until no key is to follow any more.
    async fn rotated(&self) -> Vec<KeyFacts> {
        let done = async || {
            let keys = self.keys().await;
            or(keys.iter().all(|key| key.state != "NEXT"), keys.clone(), keys)
        };
        until("the use of the new keys", done).await
    }

    /// Sends a notice and returns the signing key of its envelope.
    async fn signing_key_of_what_is_sent(&self) -> KeyId {
        let sent = self.client().send(notice_json(KENYA).to_string().into()).await.unwrap().notice_id;
        let accepted = async || or(self.broker.held.lock().unwrap().accepted.contains_key(&sent), (), ());
        until("the acceptance", accepted).await;
        let envelope = self.node.desk().office().store().envelope(&sent).unwrap().unwrap();
        let entry = &self.office.exchange.content.agencies[&agency(FRANCE)];
        let signed = entry.signing_keys.iter().find(|key| signed_with(&envelope, key.key_id));
        signed.unwrap().key_id
    }

    /// A notice that Kenya sealed to this key of France.
    fn sealed_to(&self, key_id: KeyId) -> Envelope {
        self.office.exchange.envelope_to_key(KENYA, FRANCE, key_id, &content())
    }
}

fn signed_with(envelope: &Envelope, key_id: KeyId) -> bool {
    envelope.signature().key_id == key_id
}

const ALL: RotateRequest = RotateRequest { tls: true, signing: true, sealing: true };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g01_g04_all_keys_are_exchanged_with_overlap_and_what_is_on_its_way_still_opens() {
    let mut case = Case::of_life(young()).await;
    let before = case.keys().await;
    assert_eq!(before.len(), 3);
    assert!(before.iter().all(|key| key.state == "CURRENT" && key.listed), "{before:?}");
    let old_sealing: KeyId = key(&before, "SEALING", "CURRENT").unwrap().key_id.parse().unwrap();
    let old_signing: KeyId = key(&before, "SIGNING", "CURRENT").unwrap().key_id.parse().unwrap();
    let in_flight = case.sealed_to(old_sealing);

    let asked = case.client().rotate(ALL).await.unwrap();
    let waiting = case.keys().await;
    assert_eq!(ids(&waiting, "NEXT").len(), 3, "{waiting:?}");
    assert_eq!(case.signing_key_of_what_is_sent().await, old_signing, "a key that nobody knows signed");
    // Asked again: the same keys, the same request.
    assert_eq!(case.client().rotate(ALL).await.unwrap().pem, asked.pem);

    let request = case.spooled(1).await;
    assert_eq!(request.to_pem(), asked.pem);
    case.grant(&request);
    let after = case.rotated().await;
    assert_eq!(
        ids(&after, "CURRENT").iter().collect::<std::collections::BTreeSet<_>>(),
        ids(&waiting, "NEXT").iter().collect(),
        "other keys than those that were asked for are in use"
    );
    assert_eq!(key(&after, "SEALING", "FORMER").unwrap().key_id, old_sealing.to_string());
    case.sessions(2).await;
    assert_eq!(case.signing_key_of_what_is_sent().await, request.request().signing_key.key_id());

    // Sealed before the rotation, delivered after it; and one sealed to the new key.
    let new_sealing = request.request().sealing_key.key_id();
    for envelope in [in_flight, case.sealed_to(new_sealing)] {
        case.opens(&envelope).await;
    }
    case.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_comes_before_the_certificate_answers_the_request_and_no_second_one_is_made() {
    let mut case = Case::of_life(young()).await;
    let asked = case.client().rotate(ALL).await.unwrap();
    let request = case.spooled(1).await;
    let leaf = case.office.exchange.grant(request.request());
    case.publish(Vec::new());
    let signs = async || {
        let keys = case.keys().await;
        let key_id = request.request().signing_key.key_id().to_string();
        or(ids(&keys, "CURRENT").contains(&key_id), Vec::new(), keys)
    };
    until("the use of the new signing key", signs).await;
    assert_eq!(case.client().renew().await.unwrap().pem, asked.pem, "what was granted is asked for again");
    case.office.exchange.content.version += 1;
    case.publish(vec![leaf]);
    case.rotated().await;
    // The same request may be handed over again on another connection; another one may not.
    let handed: Vec<_> = case.broker.held.lock().unwrap().spooled.iter().map(|one| one.digest()).collect();
    assert!(handed.iter().all(|digest| *digest == request.digest()), "a second request was made");
    case.node.stop().await;
}

impl Case {
    async fn opens(&self, envelope: &Envelope) -> NoticeId {
        let id = envelope.header().notice_id;
        self.broker.put(FRANCE, envelope.header().precedence, envelope.encode());
        assert!(self.node.has_received(&id, LONG).await.unwrap(), "{:?}", self.status().await.set_aside);
        assert_eq!(self.client().read(&id, "Officer A. Example").await.unwrap().opened.len(), 1);
        id
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g02_a_former_sealing_key_is_destroyed_after_its_grace_and_what_it_opened_stays_readable() {
    let mut case = Case::with(young(), |config| config.sealing_key_grace = Duration::ZERO).await;
    let old: KeyId = key(&case.keys().await, "SEALING", "CURRENT").unwrap().key_id.parse().unwrap();
    let received = case.opens(&case.sealed_to(old)).await;
    case.client().rotate(RotateRequest { sealing: true, ..RotateRequest::default() }).await.unwrap();
    let request = case.spooled(1).await;
    case.grant(&request);
    let keys = case.rotated().await;
    let former = key(&keys, "SEALING", "FORMER").unwrap();
    assert_eq!((former.listed, former.destroyed_at), (true, None), "it is listed, so it stays");
    let late = case.sealed_to(old);

    // It leaves the list.
    let entry = case.office.exchange.content.agencies.get_mut(&agency(FRANCE)).unwrap();
    entry.sealing_keys.retain(|key| key.key_id != old);
    case.office.exchange.content.version += 1;
    let chain = case.broker.held.lock().unwrap().chain.clone();
    case.publish(chain);
    let destroyed = async || {
        let keys = case.keys().await;
        or(key(&keys, "SEALING", "FORMER").is_none(), Vec::new(), keys)
    };
    until("the destruction", destroyed).await;
    assert_eq!(std::fs::read_dir(case.office.data(FRANCE).join("keys/former")).unwrap().count(), 0);
    // What arrived before stays readable; what comes now does not open, and says which key it needs.
    assert_eq!(case.client().read(&received, "Officer B. Example").await.unwrap().opened.len(), 1);
    case.broker.put(FRANCE, late.header().precedence, late.encode());
    let aside = async || {
        let aside = case.status().await.set_aside;
        or(aside.iter().any(|one| one.reason.contains(&old.to_string())), Vec::new(), aside)
    };
    until("the setting aside", aside).await;
    case.node.stop().await;
    // And after a restart.
    let node = case.office.start(FRANCE, Some(&case.broker)).await;
    let client = LocalClient::new(&case.office.config(FRANCE, None));
    assert_eq!(client.read(&received, "Officer B. Example").await.unwrap().opened.len(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g06_what_was_signed_with_a_former_key_still_verifies_for_the_time_it_was_made() {
    let mut case = Case::of_life(young()).await;
    let sent = case.client().send(notice_json(KENYA).to_string().into()).await.unwrap().notice_id;
    let envelope = case.node.desk().office().store().envelope(&sent).unwrap().unwrap();
    case.client().rotate(RotateRequest { signing: true, ..RotateRequest::default() }).await.unwrap();
    let request = case.spooled(1).await;
    // The authority lists the former key until now.
    let entry = case.office.exchange.content.agencies.get_mut(&agency(FRANCE)).unwrap();
    entry.signing_keys[0].not_after = now();
    case.grant(&request);
    case.rotated().await;
    let directory = case.node.desk().office().directory();
    let kenya = agency(KENYA);
    let mut for_kenya = envelope.header().permitted(&directory.agency(&kenya).unwrap().clearance);
    for_kenya.sort();
    let delivered = envelope.for_recipient(&kenya, &for_kenya);
    delivered.clone().verify_delivered(&directory, &kenya).unwrap();
    // What is made with it from then on does not.
    let entry = directory.agency(&agency(FRANCE)).unwrap();
    let former = envelope.signature().key_id;
    assert!(entry.signing_key_at(former, envelope.header().created_at).is_some());
    assert!(entry.signing_key_at(former, now().plus(DAY)).is_none());
    case.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g01_by_a_clock_that_was_set_back_no_key_is_exchanged_until_it_is_right_again() {
    let mut office = office_of(young());
    let resting = Office::at_rest(office.config(FRANCE, None), Clock::default()).unwrap();
    let request = handwork::rotate(&resting, ALL.which()).unwrap();
    drop(resting);
    office.exchange.grant(request.request().request());
    let data = office.data(FRANCE);
    std::fs::write(data.join("directory.valise"), office.exchange.directory().encoded()).unwrap();
    let time = Arc::new(AtomicU64::new(ago(10 * DAY).millis()));
    let clock = {
        let time = Arc::clone(&time);
        Clock::new(move || Timestamp::from_millis(time.load(Ordering::Relaxed)))
    };
    let options = NodeOptions { clock, offline: true, ..NodeOptions::default() };
    let node = Node::start(office.config(FRANCE, None), options).await.unwrap();
    let client = LocalClient::new(&office.config(FRANCE, None));
    // A request from ahead of the clock is made anew, after keys would have been exchanged.
    let first = request.request().to_pem();
    let looked = async || {
        let kept = std::fs::read_to_string(data.join("renewal-request.pem")).unwrap();
        or(kept != first, (), ())
    };
    until("the first look", looked).await;
    let keys = client.keys().await.unwrap();
    assert_eq!((ids(&keys, "NEXT").len(), ids(&keys, "FORMER").len()), (3, 0), "{keys:?}");
    time.store(now().millis(), Ordering::Relaxed);
    client.renew().await.unwrap();
    let adopted = async || {
        let keys = client.keys().await.unwrap();
        or(ids(&keys, "NEXT").len() == 1, keys.clone(), keys)
    };
    let keys = until("the exchange", adopted).await;
    assert!(key(&keys, "SEALING", "FORMER").unwrap().since.unwrap() > ago(DAY), "{keys:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g04_an_exchange_of_keys_that_failed_halfway_is_finished_once_it_can_be() {
    let mut case = Case::of_life(young()).await;
    case.client().rotate(ALL).await.unwrap();
    let request = case.spooled(1).await;
    // Something is in the way of the sealing key, after the signing key was exchanged.
    let obstacle = case.office.data(FRANCE).join("keys/sealing.key.destroyed");
    std::fs::create_dir(&obstacle).unwrap();
    case.grant(&request);
    let signing = request.request().signing_key.key_id().to_string();
    let halfway = async || {
        let keys = case.keys().await;
        or(key(&keys, "SIGNING", "CURRENT").unwrap().key_id == signing, keys.clone(), keys)
    };
    let keys = until("the first half", halfway).await;
    assert!(key(&keys, "SEALING", "NEXT").is_some(), "{keys:?}");
    std::fs::remove_dir(&obstacle).unwrap();
    case.client().renew().await.unwrap();
    case.rotated().await;
    case.receives().await;
    case.node.stop().await;
}
