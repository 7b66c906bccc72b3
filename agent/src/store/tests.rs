use std::sync::Arc;

use valise_proto::label::Classification;
use valise_proto::receipt::ReceiptKind;
use zeroize::Zeroizing;

use super::*;
use crate::clock::randomness;
use crate::core::{Change, Draft, OutboxSeq, Outcome, Outgoing, Received};
use crate::fixture::{Exchange, agency};

struct Case {
    temp: tempfile::TempDir,
    key: StoreKey,
    exchange: Exchange,
}

impl Case {
    fn new() -> Self {
        let exchange =
            Exchange::new(&[("fra/ncb", Classification::Secret), ("ken/ncb", Classification::Secret)]);
        Self { temp: tempfile::tempdir().unwrap(), key: StoreKey::generate(&mut randomness()), exchange }
    }

    fn open(&self) -> Result<Store, StoreError> {
        Store::open(&self.temp.path().join("store"), self.key.clone())
    }

    fn queue(&self, seq: u64, parts: &[u8]) -> (Change, Outgoing) {
        let envelope = self.exchange.envelope("fra/ncb", &["ken/ncb"], parts, |draft| {
            draft.respond_by = Some(draft.expires_at);
        });
        let draft = Draft(Zeroizing::new(b"{\"name\":\"Invented Person\"}".to_vec()));
        let outgoing = Outgoing::new(envelope, Some(draft));
        (Change::Queue { seq: OutboxSeq(seq), outgoing: Box::new(outgoing.clone()) }, outgoing)
    }

    fn received(&self) -> Received {
        let directory = Arc::new(self.exchange.directory());
        let envelope = self.exchange.envelope("ken/ncb", &["fra/ncb"], b"words", |_| {});
        let receipt = self.exchange.receipt(ReceiptKind::Delivered, "fra/ncb", &envelope);
        let envelope = envelope.verify_delivered(&directory, &agency("fra/ncb")).unwrap();
        Received { envelope, directory, at: self.exchange.start, receipt }
    }
}

#[test]
fn g04_what_was_applied_is_there_after_reopening() {
    let case = Case::new();
    let store = case.open().unwrap();
    // Three chunks and a bit, so that the seams are exercised.
    let (change, outgoing) = case.queue(4, &[7; 20_000]);
    let received = case.received();
    let seen = received.seen();
    store.apply([&change, &Change::Receive(Box::new(received.clone()))]).unwrap();
    drop(store);

    let store = case.open().unwrap();
    let header = outgoing.envelope.header();
    let memory = store.memory().unwrap();
    assert_eq!(memory.outbox, [outgoing.queued(OutboxSeq(4))]);
    assert_eq!(memory.seen, [seen]);
    assert_eq!(memory.deadlines, [outgoing.deadline().unwrap()]);
    assert_eq!(store.outgoing_bytes(&header.notice_id).unwrap().unwrap(), outgoing.encoded);
    let draft = store.draft(&header.notice_id).unwrap().unwrap();
    assert_eq!(draft.as_slice(), b"{\"name\":\"Invented Person\"}");
    let sent = store.sent(&header.notice_id).unwrap().unwrap();
    assert_eq!(sent.record.recipients, [agency("ken/ncb")]);
    assert!(store.has_seen(&seen).unwrap());
    let inbox = store.inbox(10).unwrap();
    assert_eq!(inbox[0].record.originator, agency("ken/ncb"));
    let envelope = store.envelope(&seen.notice_id).unwrap().unwrap();
    assert_eq!(envelope.header_digest(), seen.header_digest);
    assert_eq!(&store.directory(1).unwrap().unwrap(), received.directory.encoded());
    assert_eq!(store.receipts(&seen.notice_id).unwrap(), [received.receipt]);
}

#[test]
fn the_authors_words_are_nowhere_on_disk() {
    let case = Case::new();
    let store = case.open().unwrap();
    let (change, _) = case.queue(0, b"x");
    store.apply([&change]).unwrap();
    drop(store);
    let mut folders = vec![case.temp.path().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            assert!(
                !bytes.windows(8).any(|window| window == b"Invented"),
                "{} holds content",
                path.display()
            );
        }
    }
    assert!(files >= 2, "the store's files were not found");
}

#[test]
fn a_second_store_on_the_same_folder_is_refused() {
    let case = Case::new();
    let first = case.open().unwrap();
    let error = case.open().unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
    drop(first);
    case.open().unwrap();
}

#[test]
fn g12_a_store_of_a_newer_format_is_refused() {
    let case = Case::new();
    let store = case.open().unwrap();
    store.db.insert(keys::FORMAT, &2_u32.to_be_bytes()).unwrap();
    store.make_durable().unwrap();
    drop(store);
    assert!(matches!(case.open(), Err(StoreError::Newer { got: 2, .. })));
}

#[test]
fn an_accepted_notice_leaves_the_outbox_and_keeps_its_receipt() {
    let case = Case::new();
    let store = case.open().unwrap();
    let (change, outgoing) = case.queue(0, b"x");
    store.apply([&change]).unwrap();
    let envelope = &outgoing.envelope;
    let signed = case.exchange.answer(envelope, None);
    let digests = (envelope.header_digest(), envelope.header_digest());
    let id = envelope.header().notice_id;
    let directory = case.exchange.directory();
    let answer = crate::core::BrokerAnswer::new(
        signed.signed().clone(),
        &case.exchange.broker(),
        id,
        digests,
        &directory,
    );
    let outcome = Box::new(Outcome::Answered(Box::new(answer.unwrap())));
    store.apply([&Change::Unqueue { queued: outgoing.queued(OutboxSeq(0)), outcome }]).unwrap();
    assert!(store.memory().unwrap().outbox.is_empty());
    assert_eq!(store.sent(&id).unwrap().unwrap().receipts, [signed]);
    assert!(store.outgoing_bytes(&id).unwrap().is_some(), "the signed envelope is evidence and stays");
}

#[test]
fn a_draft_does_not_decrypt_under_another_key() {
    let case = Case::new();
    let store = case.open().unwrap();
    let (change, outgoing) = case.queue(0, b"x");
    store.apply([&change]).unwrap();
    drop(store);
    let other = StoreKey::generate(&mut randomness());
    let store = Store::open(&case.temp.path().join("store"), other).unwrap();
    let id = outgoing.envelope.header().notice_id;
    assert!(matches!(store.draft(&id), Err(StoreError::Decrypt(_))));
}
