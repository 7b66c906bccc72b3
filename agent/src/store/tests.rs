use std::sync::Arc;

use valise_proto::label::{Classification, Label};
use valise_proto::receipt::ReceiptKind;
use valise_proto::refusal::{Refusal, RefusalCode};
use zeroize::Zeroizing;

use super::*;
use crate::clock::randomness;
use crate::core::{
    Change, Draft, OfficerStep, OutboxSeq, Outcome, Outgoing, Reason, Received, SetAside, Step,
};
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
        // sled lets go of its file a moment after its last handle is dropped.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        loop {
            match Store::open(&self.temp.path().join("store"), self.key.clone()) {
                Err(StoreError::Engine(error))
                    if error.to_string().contains("acquire lock") && std::time::Instant::now() < deadline =>
                {
                    std::thread::yield_now();
                }
                opened => return opened,
            }
        }
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
        Received { envelope, directory, at: self.exchange.start, receipt, review_by: None, differences: None }
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
    assert_eq!(memory.alarms, [outgoing.alarm().unwrap()]);
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
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = fs::read(&path).unwrap();
            assert!(
                !bytes.windows(8).any(|window| window == b"Invented"),
                "{} holds content",
                path.display()
            );
        }
    }
    assert!(files >= 2, "the store's files were not found");
}

/// A banner of nearly 2 KiB that JSON makes twice as long.
fn longest_label() -> Label {
    let instructions: Vec<_> =
        ('a'..='o').map(|letter| format!("H3({letter}{})", "\"".repeat(127))).collect();
    let banner = format!("UNCLASSIFIED//{}", instructions.join("/"));
    assert!(banner.len() > 2000);
    Label::parse_banner(crate::fixture::policy(), &banner).unwrap()
}

/// An exchange of 65 agencies with the longest names, and those names.
fn exchange_of_many() -> (Exchange, Vec<String>) {
    let names: Vec<_> = (10..75).map(|n| format!("fra/a{}{n}", "-".repeat(29))).collect();
    let agencies: Vec<_> = names.iter().map(|name| (name.as_str(), Classification::Secret)).collect();
    let mut exchange = Exchange::new(&agencies);
    exchange.content.agencies.values_mut().for_each(|entry| entry.contact_point = false);
    (exchange, names)
}

#[test]
fn g10_the_largest_records_that_can_be_are_kept_and_read() {
    let (exchange, names) = exchange_of_many();
    let case = Case { exchange, ..Case::new() };
    let (me, others) = names.split_first().unwrap();
    let others: Vec<_> = others.iter().map(String::as_str).collect();
    let longest = |from: &str, to: &[&str]| {
        case.exchange.envelope_in_portions(from, to, &[(longest_label(), b"x")], |draft| {
            draft.respond_by = Some(draft.expires_at);
        })
    };
    let sent: Vec<_> = (0..2).map(|_| Outgoing::new(longest(me, &others), None)).collect();
    let directory = Arc::new(case.exchange.directory());
    let envelope = longest(others[0], &[me]).verify_delivered(&directory, &agency(me)).unwrap();
    let (at, notice_id) = (case.exchange.start, envelope.header().notice_id);
    let receipt = case.exchange.receipt(ReceiptKind::Delivered, me, envelope.envelope());
    let received =
        Received { envelope, directory, at, receipt: receipt.clone(), review_by: None, differences: None };
    let refusal = Refusal::new(RefusalCode::Malformed, "\"".repeat(1000));
    let aside = |n: usize| SetAside {
        seen: Some(received.seen()),
        bytes: vec![u8::try_from(n).unwrap(); 1024 * 1024].into(),
        at,
        reason: Reason::new("\u{1}".repeat(4000)),
        receipt: Some(case.exchange.receipt(ReceiptKind::Rejected, me, received.envelope.envelope())),
    };
    let unsent = Outcome::Unsendable { at, refusal };
    let officer = "\u{1}".repeat(128);
    let read = OfficerStep { notice_id, step: Step::Read, officer, at, receipt, reply: None };
    let read = Change::Step(Box::new(read));
    let queued = sent.iter().zip(0..);
    let mut changes: Vec<_> = queued
        .map(|(outgoing, seq)| Change::Queue { seq: OutboxSeq(seq), outgoing: Box::new(outgoing.clone()) })
        .collect();
    changes.push(Change::Receive(Box::new(received.clone())));
    changes.extend([read, Change::SetAside(Box::new(aside(0))), Change::SetAside(Box::new(aside(1)))]);
    changes.push(Change::Unqueue { queued: sent[0].queued(OutboxSeq(0)), outcome: Box::new(unsent) });
    let store = case.open().unwrap();
    store.apply(&changes).unwrap();
    drop(store);

    let store = case.open().unwrap();
    let key = keys::of_notice(keys::SENT, &sent[0].envelope.header().notice_id);
    assert!(store.db.contains_key(keys::of_piece(&key, 1)).unwrap(), "no record needed a second piece");
    let records = store.sent_records(10).unwrap();
    assert_eq!(records.len(), 2, "a piece was taken for a record, or a record was lost");
    assert!(records.iter().all(|record| record.recipients.len() == 64));
    assert_eq!(store.sent_records(1).unwrap().len(), 1);
    let whole = store.sent(&sent[0].envelope.header().notice_id).unwrap().unwrap();
    assert_eq!(whole.record.label, longest_label().to_string());
    assert!(whole.unsent.unwrap().reason.starts_with("MALFORMED: \"\""));
    let inbox = store.inbox(10).unwrap();
    assert_eq!((inbox.len(), &inbox[0].record.label), (1, &longest_label().to_string()));
    assert_eq!(inbox[0].read.as_ref().unwrap().officer.len(), 128);
    let asides = store.asides(10).unwrap();
    assert_eq!(asides.iter().map(|aside| aside.reason.len()).collect::<Vec<_>>(), [512, 512]);
}

#[test]
fn a_reason_is_cut_between_characters() {
    let reason = Reason::new("\u{e9}".repeat(400));
    assert_eq!(reason.as_str().len(), 512);
    assert_eq!(Reason::new(format!("x{}", "\u{e9}".repeat(400))).as_str().len(), 511);
    assert_eq!(Reason::new("short").to_string(), "short");
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
    store.db.insert(keys::FORMAT, &3_u32.to_be_bytes()).unwrap();
    store.make_durable().unwrap();
    drop(store);
    assert!(matches!(case.open(), Err(StoreError::Newer { got: 3, .. })));
}

#[test]
fn an_accepted_notice_leaves_the_outbox_and_keeps_its_receipt() {
    let case = Case::new();
    let store = case.open().unwrap();
    let (change, outgoing) = case.queue(0, b"x");
    store.apply([&change]).unwrap();
    let envelope = &outgoing.envelope;
    let signed = case.exchange.answer(envelope, None);
    let submission = crate::core::Submission::of(envelope, &envelope.encode());
    let id = envelope.header().notice_id;
    let directory = case.exchange.directory();
    let answer = crate::core::BrokerAnswer::new(
        signed.signed().clone(),
        &case.exchange.broker(),
        &submission,
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

#[test]
fn g04_a_snapshot_that_was_only_begun_keeps_nothing_from_being_opened() {
    let case = Case::new();
    let store = case.open().unwrap();
    let (change, outgoing) = case.queue(0, b"x");
    store.apply([&change]).unwrap();
    drop(store);
    // What a full disk leaves behind.
    let begun = case.temp.path().join("store/sled/snap.FFFFFFFFFFFFFFFF.generating");
    fs::write(&begun, b"").unwrap();
    let store = case.open().unwrap();
    let id = outgoing.envelope.header().notice_id;
    assert!(!begun.exists() && store.outgoing_bytes(&id).unwrap().is_some());
}
