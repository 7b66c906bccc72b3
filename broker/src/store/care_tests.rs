//! Copies that are taken while the store changes, and stores with spoilt records.

use std::collections::BTreeMap;
use std::path::Path;

use valise_proto::envelope::Envelope;
use valise_proto::id::{AgencyId, Digest};
use valise_proto::label::Classification;
use valise_proto::receipt::{Receipt, ReceiptKind};
use valise_proto::wire::limits::Limits;
use valise_proto::wire::session::Cursor;

use super::*;
use crate::fixture::{Exchange, agency, now};

fn exchange() -> Exchange {
    Exchange::new(&[("ken/ncb", Classification::Secret), ("fra/ncb", Classification::Secret)])
}

fn acceptance(exchange: &Exchange) -> Acceptance {
    let envelope = exchange.envelope("ken/ncb", &["fra/ncb"]);
    let header = envelope.header();
    let receipt = Receipt {
        kind: ReceiptKind::Accepted,
        notice_id: Some(header.notice_id),
        header_digest: envelope.header_digest(),
        issuer: exchange.broker(),
        recipient: None,
        at: now(),
        officer: None,
        refusal: None,
        cause: None,
        portions: Vec::new(),
    };
    Acceptance {
        notice_id: header.notice_id,
        header_digest: envelope.header_digest(),
        originator: header.originator.clone(),
        recipients: header.recipients.clone(),
        precedence: header.precedence,
        accepted_at: now(),
        expires_at: header.expires_at,
        envelope: envelope.encode(),
        receipt: receipt.sign(&exchange.receipt_key).encode(),
        follows: None,
        is_receipt: false,
        quota: Quota::UNLIMITED,
    }
}

fn commit(store: &mut SledStore, accepted: &[Acceptance]) {
    let batch: Vec<_> = accepted.iter().cloned().map(Operation::Accept).collect();
    store.apply(&batch).unwrap();
    store.make_durable().unwrap();
}

fn verify(folder: &Path, quarantine: bool) -> Verification {
    SledStore::open(folder).unwrap().verify(quarantine, &mut |_| {}).unwrap()
}

fn inbox(reader: &Reader) -> Vec<InboxItem> {
    let france: AgencyId = agency("fra/ncb");
    reader.inbox(&france, Precedence::Priority, Cursor::default(), usize::MAX, usize::MAX).unwrap().items
}

#[test]
fn g04_a_copy_taken_between_changes_is_the_store_as_it_is_at_the_end() {
    let (folder, exchange) = (tempfile::tempdir().unwrap(), exchange());
    let mut store = SledStore::open(folder.path()).unwrap();
    let reader = store.reader();
    for _ in 0..20 {
        let batch: Vec<_> = (0..10).map(|_| acceptance(&exchange)).collect();
        commit(&mut store, &batch);
    }
    let mut copied: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut put = |steps: Vec<Step>| {
        for (key, value) in steps {
            match value {
                Some(value) => copied.insert(key, value),
                None => copied.remove(&key),
            };
        }
    };
    let mut copying = reader.copy().unwrap();
    assert!(reader.copy().is_none(), "two copies at once");
    loop {
        let steps = copying.step().unwrap();
        if steps.is_empty() {
            break;
        }
        put(steps);
        // Something of the front goes, which was copied, and something comes.
        let first = inbox(&reader)[0].cursor;
        let cursors = vec![first];
        let precedence = Precedence::Priority;
        store.apply(&[Operation::Acknowledge { agency: agency("fra/ncb"), precedence, cursors }]).unwrap();
        commit(&mut store, &[acceptance(&exchange)]);
    }
    commit(&mut store, &[acceptance(&exchange)]);
    put(copying.finish().unwrap());
    assert_eq!(copied.into_iter().collect::<Vec<_>>(), reader.dump());
    assert!(reader.copy().is_some(), "a copy that ended is in the way of the next");
}

#[test]
fn g12_a_spoilt_record_is_named_and_set_apart_and_the_rest_goes_on() {
    let (folder, exchange) = (tempfile::tempdir().unwrap(), exchange());
    let accepted: Vec<_> = (0..5).map(|_| acceptance(&exchange)).collect();
    let mut store = SledStore::open(folder.path()).unwrap();
    commit(&mut store, &accepted);
    let reader = store.reader();
    let items = inbox(&reader);
    // A byte of a portion, a record of an id, and an item of an inbox.
    let chunk = keys::chunk(items[0].cursor, 0);
    let mut body = accepted[0].envelope.to_vec();
    let envelope = Envelope::decode(accepted[0].envelope.clone(), &Limits::DEFAULT).unwrap();
    let sealed = &envelope.portions()[0].ciphertext;
    let place = body.windows(sealed.len()).position(|bytes| bytes == sealed).unwrap();
    body[place] ^= 1;
    reader.dangerous_write(&chunk, Some(&body));
    reader.dangerous_write(&keys::notice(&accepted[1].notice_id), Some(b"spoilt"));
    let france = agency("fra/ncb");
    reader.dangerous_write(&keys::item(&france, Precedence::Priority, items[2].cursor), Some(b"spoilt"));
    drop((store, reader));

    let found = verify(folder.path(), false);
    assert!(!found.is_sound());
    let lost = found.findings.iter().find(|finding| finding.notice == Some(accepted[0].notice_id)).unwrap();
    assert_eq!(lost.originator, Some(agency("ken/ncb")));
    assert!(found.findings.iter().any(|finding| finding.notice == Some(accepted[1].notice_id)));
    assert!(found.findings.iter().any(|finding| finding.problem.contains("item of an inbox cannot be read")));
    assert_eq!(verify(folder.path(), false), found, "looking changed something");

    assert!(verify(folder.path(), true).quarantined >= 3);
    let (store, reader) = {
        let store = SledStore::open(folder.path()).unwrap();
        let reader = store.reader();
        (store, reader)
    };
    let whole: Vec<_> = inbox(&reader).into_iter().map(|item| item.content).collect();
    let expected = accepted[3..].iter().map(|accepted| InboxContent::Envelope(accepted.envelope.clone()));
    assert_eq!(whole, expected.collect::<Vec<_>>());
    drop((store, reader));
    let again = verify(folder.path(), false);
    let left = |finding: &Finding| finding.notice == Some(accepted[2].notice_id);
    assert!(again.findings.iter().all(left), "{:?}", again.findings);
}

#[test]
fn g07_the_root_of_the_log_is_told_and_an_entry_that_was_changed_is_found() {
    let (folder, exchange) = (tempfile::tempdir().unwrap(), exchange());
    let accepted: Vec<_> = (0..70).map(|_| acceptance(&exchange)).collect();
    let mut store = SledStore::open(folder.path()).unwrap();
    commit(&mut store, &accepted);
    let reader = store.reader();
    let leaves: Vec<Digest> =
        (0..70).map(|index| reader.log_entry(index).unwrap().unwrap().leaf_hash()).collect();
    let mut value = reader.dump().into_iter().find(|(key, _)| *key == keys::log(64)).unwrap().1;
    drop((store, reader));
    let found = verify(folder.path(), false);
    assert!(found.is_sound(), "{:?}", found.findings);
    assert_eq!(found.log_root, Some(valise_proto::log::root(&leaves)));
    value[40] ^= 1;
    let store = SledStore::open(folder.path()).unwrap();
    store.reader().dangerous_write(&keys::log(64), Some(&value));
    drop(store);
    let found = verify(folder.path(), false);
    assert_ne!(found.log_root, Some(valise_proto::log::root(&leaves)));
    assert!(found.findings.iter().any(|finding| finding.problem.contains("not in the log")));
}

#[test]
fn g12_a_record_that_spoils_while_the_broker_runs_is_set_apart_and_the_rest_goes_on() {
    let (folder, exchange) = (tempfile::tempdir().unwrap(), exchange());
    let accepted: Vec<_> = (0..4).map(|_| acceptance(&exchange)).collect();
    let mut store = SledStore::open(folder.path()).unwrap();
    commit(&mut store, &accepted);
    let reader = store.reader();
    let items = inbox(&reader);
    let france = agency("fra/ncb");
    // The record of one notice, the place of another in an inbox, and the calendar.
    let due = reader.due(accepted[0].expires_at.plus(REMEMBER_AFTER_EXPIRY), 10).unwrap();
    let spoilt = [
        keys::notice(&accepted[0].notice_id),
        keys::item(&france, Precedence::Priority, items[1].cursor),
        keys::due(due[0].key),
    ];
    spoilt.iter().for_each(|key| reader.dangerous_write(key, Some(b"spoilt")));

    let late = accepted[0].expires_at.plus(REMEMBER_AFTER_EXPIRY);
    let due = reader.due(late, 10).unwrap();
    assert!(
        !due.is_empty() && due.iter().all(|due| due.expired.is_empty()),
        "the spoilt calendar stops the sweep"
    );
    let cursors = items[1..3].iter().map(|item| item.cursor).collect();
    let acknowledged = Operation::Acknowledge { agency: france, precedence: Precedence::Priority, cursors };
    let review = Operation::Review { due: due[0].key, at: late };
    let again = Operation::Accept(accepted[0].clone());
    let outcomes = store.apply(&[acknowledged, review, again]).unwrap();
    assert_eq!(outcomes, [Outcome::Done, Outcome::Done, Outcome::Conflict], "something takes its place");
    store.make_durable().unwrap();
    let other = Operation::Accept(acceptance(&exchange));
    assert_eq!(store.apply(&[other]).unwrap(), [Outcome::Accepted], "the rest does not go on");

    let dump = reader.dump();
    for key in &spoilt {
        let apart = dump.iter().any(|(of, value)| *of == keys::quarantined(key) && value == b"spoilt");
        assert!(apart, "{key:02x?} is not set apart");
    }
    let whole = |item: &InboxItem| item.content == InboxContent::Envelope(accepted[3].envelope.clone());
    assert!(inbox(&reader).iter().any(whole), "what is sound is not delivered");
}

#[test]
fn g04_a_snapshot_that_was_only_begun_keeps_nothing_from_being_opened() {
    let (folder, exchange) = (tempfile::tempdir().unwrap(), exchange());
    let accepted = acceptance(&exchange);
    let mut store = SledStore::open(folder.path()).unwrap();
    commit(&mut store, std::slice::from_ref(&accepted));
    drop(store);
    // What a full disk leaves behind.
    let begun = folder.path().join("store/snap.FFFFFFFFFFFFFFFF.generating");
    std::fs::write(&begun, b"").unwrap();
    let store = SledStore::open(folder.path()).unwrap();
    assert!(!begun.exists() && store.reader().notice(&accepted.notice_id).unwrap().is_some());
}
