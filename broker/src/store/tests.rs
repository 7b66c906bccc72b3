//! What operations do to the store, and what a crash or a fault leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use valise_proto::crypto::sha256;
use valise_proto::envelope::Precedence;
use valise_proto::id::{AgencyId, NoticeId, Timestamp};
use valise_proto::log::EntryKind;
use valise_proto::wire::session::Cursor;

use super::*;

const PRIORITY: Precedence = Precedence::Priority;
const ALL: usize = usize::MAX;

fn agency(name: &str) -> AgencyId {
    name.parse().unwrap()
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn id(number: u8) -> NoticeId {
    NoticeId::new(at(1_000), [number; 10])
}

/// An envelope of `ken/ncb`; `version` tells two of the same id apart.
fn acceptance(number: u8, to: &[&str], version: u8) -> Acceptance {
    // Of up to five chunks.
    let len = 1 + usize::from(number % 5) * 5_000;
    Acceptance {
        notice_id: id(number),
        header_digest: sha256(&[&[number, version]]),
        originator: agency("ken/ncb"),
        recipients: to.iter().map(|name| agency(name)).collect(),
        precedence: PRIORITY,
        accepted_at: at(2_000),
        expires_at: at(10_000 + u64::from(number)),
        envelope: vec![number; len].into(),
        receipt: Bytes::copy_from_slice(&[b'r', number, version]),
        follows: None,
        is_receipt: false,
        quota: Quota::UNLIMITED,
    }
}

fn accept(number: u8, to: &[&str]) -> Operation {
    Operation::Accept(acceptance(number, to, 0))
}

fn acknowledge(name: &str, cursor: Cursor) -> Operation {
    Operation::Acknowledge { agency: agency(name), precedence: PRIORITY, cursors: vec![cursor] }
}

fn expire(number: u8, late: &[&str]) -> Operation {
    let receipt = |name: &&str| (agency(name), Bytes::from(format!("expired {number} for {name}")));
    Operation::Expire { notice_id: id(number), at: at(20_000), receipts: late.iter().map(receipt).collect() }
}

fn open(folder: &Path) -> (SledStore, Reader) {
    let store = SledStore::open(folder).unwrap();
    let reader = store.reader();
    (store, reader)
}

/// Applies one batch and makes it durable.
fn commit(store: &mut SledStore, batch: &[Operation]) -> Vec<Outcome> {
    let outcomes = store.apply(batch).unwrap();
    store.make_durable().unwrap();
    outcomes
}

fn inbox_of(reader: &Reader, name: &str, precedence: Precedence) -> Vec<InboxItem> {
    reader.inbox(&agency(name), precedence, Cursor::default(), ALL, ALL).unwrap().items
}

fn inbox(reader: &Reader, name: &str) -> Vec<InboxItem> {
    inbox_of(reader, name, PRIORITY)
}

fn cursors(items: &[InboxItem]) -> Vec<Cursor> {
    items.iter().map(|item| item.cursor).collect()
}

/// How many chunks of envelopes there are.
fn chunks(reader: &Reader) -> usize {
    reader.dump().iter().filter(|(key, _)| key[0] == b'b').count()
}

#[test]
fn an_acceptance_stands_in_every_inbox_whole_and_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, reader) = open(folder.path());
    let outcomes = commit(&mut store, &[accept(3, &["fra/ncb", "tur/border"]), accept(4, &["fra/ncb"])]);
    assert_eq!(outcomes, [Outcome::Accepted, Outcome::Accepted]);
    let (first, second) = (acceptance(3, &[], 0), acceptance(4, &[], 0));
    let france: Vec<_> = inbox(&reader, "fra/ncb").into_iter().map(|item| item.content).collect();
    assert_eq!(
        france,
        [InboxContent::Envelope(first.envelope.clone()), InboxContent::Envelope(second.envelope)]
    );
    assert_eq!(cursors(&inbox(&reader, "tur/border")), cursors(&inbox(&reader, "fra/ncb"))[..1]);
    assert_eq!(inbox_of(&reader, "fra/ncb", Precedence::Flash), [], "it stands in one queue only");
    let kept = reader.notice(&id(3)).unwrap().unwrap();
    assert_eq!((kept.receipt, kept.undelivered.len()), (first.receipt.clone(), 2));
    assert_eq!(reader.log_len().unwrap(), 2);
    let entry = reader.log_entry(0).unwrap().unwrap();
    assert_eq!((entry.kind, entry.at), (EntryKind::Accepted, first.accepted_at));
    assert_eq!((entry.header_digest, entry.receipt_digest), (first.header_digest, sha256(&[&first.receipt])));
    assert_eq!(reader.log_entry(2).unwrap(), None);
}

#[test]
fn g05_the_same_again_gives_the_first_receipt_and_another_under_the_same_id_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, reader) = open(folder.path());
    let first = acceptance(1, &["fra/ncb"], 0);
    let again = Acceptance { receipt: Bytes::from_static(b"another receipt"), ..first.clone() };
    let other = acceptance(1, &["tur/border"], 1);
    let three = [first.clone(), again, other].map(Operation::Accept);
    let expected = [Outcome::Accepted, Outcome::Duplicate { receipt: first.receipt }, Outcome::Conflict];
    assert_eq!(commit(&mut store, &three), expected, "in one batch");
    let before = reader.dump();
    assert_eq!(commit(&mut store, &three[1..]), expected[1..], "in a later batch");
    assert_eq!(reader.dump(), before, "a duplicate or a conflict changed something");
    assert_eq!(inbox(&reader, "tur/border"), []);
}

#[test]
fn g11_the_last_acknowledgement_deletes_the_body_and_the_id_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, reader) = open(folder.path());
    commit(&mut store, &[accept(4, &["fra/ncb", "tur/border"])]);
    let cursor = inbox(&reader, "fra/ncb")[0].cursor;
    commit(&mut store, &[acknowledge("fra/ncb", cursor), acknowledge("fra/ncb", Cursor::new(99))]);
    assert_eq!(inbox(&reader, "fra/ncb"), []);
    assert_eq!(chunks(&reader), 4, "the body went while somebody waits for it");
    assert_eq!(reader.notice(&id(4)).unwrap().unwrap().undelivered, [agency("tur/border")]);
    commit(&mut store, &[acknowledge("tur/border", cursor)]);
    assert_eq!(chunks(&reader), 0, "the body is still there");
    assert_eq!(reader.depths().unwrap(), []);
    let again = commit(&mut store, &[accept(4, &["fra/ncb", "tur/border"])]);
    assert_eq!(again, [Outcome::Duplicate { receipt: acceptance(4, &[], 0).receipt }]);
}

#[test]
fn g11_expiry_deletes_the_body_and_tells_the_originator_who_did_not_fetch_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, reader) = open(folder.path());
    commit(&mut store, &[accept(4, &["fra/ncb", "tur/border"])]);
    let cursor = inbox(&reader, "fra/ncb")[0].cursor;
    // Turkey acknowledges after the receipts were made for both.
    commit(&mut store, &[acknowledge("tur/border", cursor), expire(4, &["fra/ncb", "tur/border"])]);
    assert_eq!((inbox(&reader, "fra/ncb"), chunks(&reader)), (Vec::new(), 0));
    let told: Vec<_> =
        inbox_of(&reader, "ken/ncb", Precedence::Routine).into_iter().map(|item| item.content).collect();
    assert_eq!(told, [InboxContent::Receipt(Bytes::from_static(b"expired 4 for fra/ncb"))]);
    let entry = reader.log_entry(1).unwrap().unwrap();
    assert_eq!((entry.kind, entry.at), (EntryKind::Expired, at(20_000)));
    let before = reader.dump();
    commit(&mut store, &[expire(4, &["fra/ncb"]), expire(9, &["fra/ncb"])]);
    assert_eq!(reader.dump(), before, "an expiry that has nothing to do changed something");
}

#[test]
fn what_is_due_comes_in_order_of_time_and_is_forgotten_a_day_later() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, reader) = open(folder.path());
    let mut late = acceptance(3, &["fra/ncb"], 0);
    late.expires_at = at(12_000);
    commit(&mut store, &[accept(2, &["fra/ncb"]), accept(1, &["fra/ncb"]), Operation::Accept(late)]);
    let due = |now, count| reader.due(now, count).unwrap();
    let expired = |now| {
        let ids = |due: Due| due.expired.into_iter().map(|(id, _)| id);
        due(now, ALL).into_iter().flat_map(ids).collect::<Vec<_>>()
    };
    let review = |due: &[Due], now| {
        due.iter().map(|due| Operation::Review { due: due.key, at: now }).collect::<Vec<_>>()
    };
    // Times are kept in seconds, rounded up.
    assert_eq!(due(at(10_999), ALL), []);
    assert_eq!((expired(at(11_000)), expired(at(12_000))), (vec![id(2), id(1)], vec![id(2), id(1), id(3)]));
    assert_eq!(due(at(12_000), 1).len(), 1);
    // One of the two is settled in time; what is reviewed all the same comes back.
    let entries = due(at(11_000), ALL);
    let settled = [vec![expire(1, &["fra/ncb"])], review(&entries, at(11_000))].concat();
    commit(&mut store, &settled);
    assert!(reader.notice(&id(2)).unwrap().is_some(), "forgotten while somebody waits for it");
    assert_eq!(expired(at(11_000)), [id(2)]);
    let later = at(11_000).plus(REMEMBER_AFTER_EXPIRY);
    commit(&mut store, &review(&due(at(later.millis() - 1), ALL), at(later.millis() - 1)));
    assert!(reader.notice(&id(1)).unwrap().is_some(), "forgotten before its time");
    commit(&mut store, &review(&due(later, ALL), later));
    assert_eq!(reader.notice(&id(1)).unwrap(), None);
    assert_eq!(expired(later), [id(2), id(3)]);
}

#[test]
fn g10_an_inbox_is_read_within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, reader) = open(folder.path());
    // Bodies of 5,001 bytes each; and a neighbour whose name begins the same.
    let batch: Vec<_> = [1, 6, 11].iter().map(|number| accept(*number, &["fra/ncb"])).collect();
    commit(&mut store, &batch);
    commit(&mut store, &[accept(16, &["fra/ncb2"])]);
    let all = cursors(&inbox(&reader, "fra/ncb"));
    assert_eq!(all.len(), 3);
    let read = |after, count, bytes_max| {
        let Inbox { items, more } =
            reader.inbox(&agency("fra/ncb"), PRIORITY, after, count, bytes_max).unwrap();
        (cursors(&items), more)
    };
    assert_eq!(read(Cursor::default(), 2, ALL), (all[..2].to_vec(), true));
    assert_eq!(read(Cursor::default(), 3, ALL), (all.clone(), false));
    assert_eq!(read(all[0], ALL, ALL), (all[1..].to_vec(), false));
    assert_eq!(read(Cursor::default(), ALL, 5_002), (all[..2].to_vec(), true), "cut short by its bytes");
    assert_eq!(read(Cursor::default(), ALL, 1), (all[..1].to_vec(), true), "at least one");
    assert_eq!(read(Cursor::new(u64::MAX), ALL, ALL), (Vec::new(), false));
}

#[test]
fn g04_nothing_is_read_before_it_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, reader) = open(folder.path());
    commit(&mut store, &[accept(1, &["fra/ncb"])]);
    store.apply(&[accept(2, &["fra/ncb"])]).unwrap();
    assert_eq!(inbox(&reader, "fra/ncb").len(), 1, "delivered before the disk has it");
    assert_eq!(reader.notice(&id(2)).unwrap(), None, "its receipt could be shown before the disk has it");
    store.make_durable().unwrap();
    assert_eq!(inbox(&reader, "fra/ncb").len(), 2);
    assert!(reader.notice(&id(2)).unwrap().is_some());
}

#[test]
fn g12_half_a_body_is_never_handed_on() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, reader) = open(folder.path());
    commit(&mut store, &[accept(4, &["fra/ncb"]), accept(9, &["fra/ncb"])]);
    let [first, second] = cursors(&inbox(&reader, "fra/ncb"))[..] else { panic!("not two items") };
    reader.dangerous_write(&keys::chunk(first, 3), None);
    reader.dangerous_write(&keys::item(&agency("fra/ncb"), PRIORITY, second), Some(b"what is this"));
    let contents: Vec<_> = inbox(&reader, "fra/ncb").into_iter().map(|item| item.content).collect();
    assert!(
        matches!(contents.as_slice(), [InboxContent::Unreadable(_), InboxContent::Unreadable(_)]),
        "{contents:?}"
    );
    assert_eq!(reader.depths().unwrap()[0].items, 2, "what cannot be read is left where it is");
}

#[test]
fn g05_reading_while_the_last_acknowledgement_comes_gives_a_whole_body_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, reader) = open(folder.path());
    let numbers: Vec<u8> = (0..200).collect();
    let batch: Vec<_> = numbers.iter().map(|number| accept(*number, &["fra/ncb"])).collect();
    commit(&mut store, &batch);
    let waiting = cursors(&inbox(&reader, "fra/ncb"));
    let acknowledging = std::thread::spawn(move || {
        for cursor in waiting {
            store.apply(&[acknowledge("fra/ncb", cursor)]).unwrap();
        }
        store
    });
    loop {
        let items = inbox(&reader, "fra/ncb");
        for item in &items {
            let InboxContent::Envelope(body) = &item.content else { panic!("logged as a fault: {item:?}") };
            assert_eq!(*body, acceptance(body[0], &[], 0).envelope);
        }
        if items.is_empty() {
            break;
        }
    }
    acknowledging.join().unwrap();
}

#[test]
fn what_was_kept_is_there_after_a_restart_and_numbers_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, reader) = open(folder.path());
    commit(&mut store, &[accept(1, &["fra/ncb"]), accept(2, &["fra/ncb"])]);
    let before = (reader.dump(), inbox(&reader, "fra/ncb"));
    drop((store, reader));
    let (mut store, reader) = open(folder.path());
    assert_eq!((reader.dump(), inbox(&reader, "fra/ncb")), before);
    commit(&mut store, &[accept(3, &["fra/ncb"])]);
    let after = cursors(&inbox(&reader, "fra/ncb"));
    assert!(after.is_sorted() && after.len() == 3, "{after:?}");
}

#[test]
fn a_folder_in_use_is_refused_until_its_last_reader_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (store, reader) = open(folder.path());
    let refused = |what: &str| match SledStore::open(folder.path()) {
        Err(StoreError::InUse { path }) => assert_eq!(Path::new(&path), folder.path()),
        other => panic!("{what}: {other:?}"),
    };
    refused("while it is open");
    drop(store);
    refused("while it is read");
    drop(reader);
    SledStore::open(folder.path()).unwrap();
}

#[test]
fn g12_a_folder_of_a_newer_version_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (store, reader) = open(folder.path());
    reader.dangerous_write(keys::FORMAT, Some(&4_u32.to_be_bytes()));
    drop((store, reader));
    let error = SledStore::open(folder.path()).unwrap_err();
    assert!(matches!(&error, StoreError::Format { got, known: 3, .. } if got == "4"), "{error}");
    let again = SledStore::open(folder.path()).unwrap_err().to_string();
    assert!(again.contains("format 4"), "{again}");
}

#[test]
fn g04_g05_a_folder_of_the_former_version_is_taken_over_whole() {
    for former in [1_u32, 2] {
        take_over_from(former);
    }
}

fn take_over_from(former: u32) {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, reader) = open(folder.path());
    commit(&mut store, &[accept(3, &["fra/ncb", "tur/border"]), accept(4, &["fra/ncb"])]);
    let first = cursors(&inbox(&reader, "tur/border"))[0];
    commit(&mut store, &[acknowledge("tur/border", first)]);
    // Format 1 forgot who had a notice; neither marked receipts, of which there are none here.
    let record = reader.dump().into_iter().find(|(key, _)| *key == keys::notice(&id(3))).unwrap().1;
    let mut record = record::NoticeRecord::decode(&record).unwrap();
    assert_eq!(std::mem::take(&mut record.settled), [agency("tur/border")]);
    if former == 1 {
        reader.dangerous_write(&keys::notice(&id(3)), Some(&record.encode()));
    }
    reader.dangerous_write(keys::FORMAT, Some(&former.to_be_bytes()));
    drop((store, reader));
    drop(open(folder.path()));
    let (mut store, reader) = open(folder.path());
    assert_eq!(inbox(&reader, "fra/ncb").len(), 2);
    assert_eq!((inbox(&reader, "tur/border"), reader.log_len().unwrap()), (vec![], 2));
    let again = Acceptance {
        receipt: Bytes::from_static(b"another"),
        ..acceptance(3, &["fra/ncb", "tur/border"], 0)
    };
    let receipt = acceptance(3, &[], 0).receipt;
    assert_eq!(commit(&mut store, &[Operation::Accept(again)]), [Outcome::Duplicate { receipt }]);
    let format = reader.dump().into_iter().find(|(key, _)| key == keys::FORMAT).unwrap();
    assert_eq!(format.1, 3_u32.to_be_bytes());
}

/// A withdrawal, or a correction, of notice `of`, to these agencies.
fn follow_up(number: u8, of: u8, to: &[&str], withdraws: bool, excused: &[&str]) -> Operation {
    let excused = excused.iter().map(|name| agency(name)).collect();
    let follows = Some(Box::new(FollowUp { notice_id: id(of), withdraws, excused }));
    Operation::Accept(Acceptance { follows, ..acceptance(number, to, 0) })
}

#[test]
fn g11_a_withdrawal_drops_the_copies_that_wait_and_a_correction_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, reader) = open(folder.path());
    let all = ["fra/ncb", "tur/border"];
    commit(&mut store, &[accept(4, &all), accept(3, &all)]);
    let cursor = inbox(&reader, "fra/ncb")[0].cursor;
    commit(&mut store, &[acknowledge("fra/ncb", cursor)]);
    let corrected = follow_up(5, 4, &all, false, &[]);
    assert_eq!(commit(&mut store, &[corrected]), [Outcome::Accepted]);
    assert_eq!(inbox(&reader, "tur/border").len(), 3, "a correction took a copy away");
    let withdrawn = follow_up(6, 4, &all, true, &[]);
    assert_eq!(commit(&mut store, &[withdrawn]), [Outcome::Accepted]);
    let left = |name: &str| inbox(&reader, name).into_iter().map(|item| item.cursor).collect::<Vec<_>>();
    assert!(!left("tur/border").contains(&cursor), "the withdrawn copy still waits");
    assert_eq!((left("fra/ncb").len(), left("tur/border").len()), (3, 3));
    assert_eq!(reader.notice(&id(4)).unwrap().unwrap().undelivered, []);
    assert!(
        !reader.dump().iter().any(|(key, _)| key.starts_with(&keys::body(cursor))),
        "its body is still there"
    );
    // A delivery that was under way is acknowledged late.
    commit(&mut store, &[acknowledge("tur/border", cursor)]);
    assert_eq!(left("tur/border").len(), 3);
}

#[test]
fn g01_a_follow_up_is_the_originators_and_goes_to_everyone_who_was_sent_the_notice() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, reader) = open(folder.path());
    let all = ["fra/ncb", "tur/border"];
    commit(&mut store, &[accept(4, &all)]);
    let cursor = inbox(&reader, "fra/ncb")[0].cursor;
    commit(&mut store, &[acknowledge("fra/ncb", cursor)]);
    let before = reader.dump();
    for withdraws in [true, false] {
        let Operation::Accept(mut others) = follow_up(7, 4, &all, withdraws, &[]) else { unreachable!() };
        others.originator = agency("fra/ncb");
        assert_eq!(commit(&mut store, &[Operation::Accept(others)]), [Outcome::OfAnother]);
        let some = follow_up(7, 4, &["tur/border"], withdraws, &[]);
        let missing = vec![agency("fra/ncb")];
        assert_eq!(
            commit(&mut store, &[some]),
            [Outcome::Incomplete { missing }],
            "who has it already is left out"
        );
    }
    assert_eq!(reader.dump(), before, "a refusal changed something");
    let excused = follow_up(7, 4, &["tur/border"], true, &["fra/ncb"]);
    let unknown = follow_up(8, 200, &["tur/border"], true, &[]);
    assert_eq!(commit(&mut store, &[excused, unknown]), [Outcome::Accepted, Outcome::Accepted]);
}

#[test]
fn g12_a_folder_whose_counters_cannot_be_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (store, reader) = open(folder.path());
    reader.dangerous_write(keys::COUNTERS, Some(b"short"));
    drop((store, reader));
    assert!(matches!(SledStore::open(folder.path()), Err(StoreError::Corrupt { .. })));
}

#[test]
fn a_path_that_is_no_folder_is_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data");
    std::fs::write(&file, b"").unwrap();
    let error = SledStore::open(&file).unwrap_err();
    assert!(matches!(&error, StoreError::Open { path, .. } if Path::new(path) == file), "{error}");
}

const AGENCIES: [&str; 3] = ["fra/ncb", "tur/border", "xpo/general-secretariat"];

/// Operations on few notices and agencies, so that they meet.
fn any_operation() -> impl Strategy<Value = Operation> {
    let to = || prop::sample::subsequence(AGENCIES.to_vec(), 1..=3);
    prop_oneof![
        4 => (0..6_u8, to(), 0..2_u8).prop_map(|(number, to, version)| Operation::Accept(acceptance(number, &to, version))),
        4 => (0..3_usize, 1..12_u64).prop_map(|(name, cursor)| acknowledge(AGENCIES[name], Cursor::new(cursor))),
        1 => (0..6_u8).prop_map(|number| expire(number, &AGENCIES)),
        1 => (0..6_u8, 9_u64..13, prop::bool::ANY).prop_map(|(number, second, late)| review(number, second, late)),
    ]
}

/// The review of an entry that may be there, at a time at which ids may be forgotten.
fn review(number: u8, second: u64, late: bool) -> Operation {
    let now = at(second * 1000);
    let due = DueKey { second, first: id(number) };
    Operation::Review { due, at: if late { now.plus(REMEMBER_AFTER_EXPIRY) } else { now } }
}

/// The store as it should be, in a few lines.
#[derive(Default)]
struct Model {
    last_cursor: u64,
    log_len: u64,
    /// By notice: its acceptance, its cursor, and who has not acknowledged it.
    notices: BTreeMap<NoticeId, (Acceptance, u64, BTreeSet<AgencyId>)>,
    receipts: usize,
    /// What is to be looked at, by the entry's name.
    calendar: BTreeMap<DueKey, Vec<NoticeId>>,
    /// What this batch adds to it, by second.
    pending: BTreeMap<u64, Vec<NoticeId>>,
}

impl Model {
    fn remind(&mut self, at: Timestamp, id: NoticeId) {
        self.pending.entry(DueKey::second_of(at)).or_default().push(id);
    }

    /// Entries are made for a batch as a whole.
    fn end_batch(&mut self) {
        for (second, notices) in std::mem::take(&mut self.pending) {
            self.calendar.insert(DueKey { second, first: notices[0] }, notices);
        }
    }

    fn review(&mut self, due: DueKey, at: Timestamp) {
        for id in self.calendar.remove(&due).into_iter().flatten() {
            let Some((new, _, waiting)) = self.notices.get(&id) else { continue };
            let forget_at = new.expires_at.plus(REMEMBER_AFTER_EXPIRY);
            if !waiting.is_empty() {
                self.remind(new.expires_at, id);
            } else if at < forget_at {
                self.remind(forget_at, id);
            } else {
                self.notices.remove(&id);
            }
        }
    }

    fn apply(&mut self, operation: &Operation) -> Outcome {
        match operation {
            Operation::Accept(new) => match self.notices.get(&new.notice_id) {
                Some((known, ..)) if known.header_digest == new.header_digest => {
                    return Outcome::Duplicate { receipt: known.receipt.clone() };
                }
                Some(_) => return Outcome::Conflict,
                None => {
                    self.last_cursor += 1;
                    self.log_len += 1;
                    let kept = (new.clone(), self.last_cursor, new.recipients.iter().cloned().collect());
                    self.notices.insert(new.notice_id, kept);
                    self.remind(new.expires_at, new.notice_id);
                    return Outcome::Accepted;
                }
            },
            Operation::Acknowledge { agency, cursors, .. } => {
                for (_, cursor, waiting) in self.notices.values_mut() {
                    if cursors.contains(&Cursor::new(*cursor)) {
                        waiting.remove(agency);
                    }
                }
            }
            Operation::Expire { notice_id, .. } => {
                if let Some((_, _, waiting)) = self.notices.get_mut(notice_id) {
                    let late = u64::try_from(std::mem::take(waiting).len()).unwrap();
                    self.last_cursor += late;
                    self.log_len += late;
                    self.receipts += usize::try_from(late).unwrap();
                }
            }
            Operation::Review { due, at } => self.review(*due, *at),
        }
        Outcome::Done
    }

    fn inbox(&self, agency: &AgencyId) -> BTreeMap<Cursor, InboxContent> {
        let waiting = self.notices.values().filter(|(_, _, waiting)| waiting.contains(agency));
        waiting
            .map(|(new, cursor, _)| (Cursor::new(*cursor), InboxContent::Envelope(new.envelope.clone())))
            .collect()
    }
}

fn check(reader: &Reader, model: &Model) -> Result<(), TestCaseError> {
    for name in AGENCIES {
        let found = inbox(reader, name).into_iter().map(|item| (item.cursor, item.content)).collect();
        prop_assert_eq!(model.inbox(&agency(name)), found, "{}", name);
    }
    prop_assert_eq!(reader.log_len().unwrap(), model.log_len);
    prop_assert_eq!(inbox_of(reader, "ken/ncb", Precedence::Routine).len(), model.receipts);
    for number in 0..6 {
        let expected = model.notices.get(&id(number)).map(|(new, _, _)| new.receipt.clone());
        prop_assert_eq!(reader.notice(&id(number)).unwrap().map(|kept| kept.receipt), expected);
    }
    let bodies = model.notices.values().filter(|(_, _, waiting)| !waiting.is_empty());
    let expected: usize = bodies.map(|(new, ..)| new.envelope.len().div_ceil(keys::CHUNK_BYTES_MAX)).sum();
    prop_assert_eq!(chunks(reader), expected, "bodies are kept while somebody waits for them, and no longer");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does_whenever_it_is_reopened(
        batches in prop::collection::vec((prop::collection::vec(any_operation(), 1..5), prop::bool::weighted(0.2)), 1..12),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, mut reader) = open(folder.path());
        let mut model = Model::default();
        for (batch, reopen) in batches {
            let expected: Vec<_> = batch.iter().map(|operation| model.apply(operation)).collect();
            model.end_batch();
            prop_assert_eq!(commit(&mut store, &batch), expected);
            if reopen {
                drop((store, reader));
                (store, reader) = open(folder.path());
            }
            check(&reader, &model)?;
        }
    }

    #[test]
    fn the_same_batches_leave_the_same_bytes_whenever_the_store_is_reopened(
        batches in prop::collection::vec(prop::collection::vec(any_operation(), 1..6), 1..6),
    ) {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [mut steady, mut restless] = folders.each_ref().map(|folder| open(folder.path()));
        for batch in &batches {
            prop_assert_eq!(commit(&mut steady.0, batch), commit(&mut restless.0, batch));
            drop(restless);
            restless = open(folders[1].path());
        }
        prop_assert_eq!(steady.1.dump(), restless.1.dump());
    }
}
