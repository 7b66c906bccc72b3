//! What agencies may have waiting, whatever happens to it (G10).

use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use valise_proto::crypto::sha256;
use valise_proto::envelope::Precedence;
use valise_proto::id::{AgencyId, NoticeId, Timestamp};

use super::*;

const NAMES: [&str; 3] = ["ken/ncb", "fra/ncb", "tur/border"];
/// Two chunks.
const BYTES: usize = 6_000;

fn agency(name: &str) -> AgencyId {
    name.parse().unwrap()
}

fn id(number: u8) -> NoticeId {
    NoticeId::new(Timestamp::from_millis(1_000), [number; 10])
}

fn quota(stored_notices_max: u64, stored_bytes_max: u64, inbox_items_max: u64) -> Quota {
    Quota { stored_notices_max, stored_bytes_max, inbox_items_max, ..Quota::UNLIMITED }
}

fn acceptance(number: u8, from: &str, to: &[&str], quota: Quota) -> Acceptance {
    Acceptance {
        notice_id: id(number),
        header_digest: sha256(&[&[number]]),
        originator: agency(from),
        recipients: to.iter().map(|name| agency(name)).collect(),
        precedence: Precedence::Priority,
        accepted_at: Timestamp::from_millis(2_000),
        expires_at: Timestamp::from_millis(10_000),
        envelope: vec![number; BYTES].into(),
        receipt: Bytes::copy_from_slice(&[number]),
        follows: None,
        is_receipt: false,
        quota,
    }
}

fn receipt(number: u8, from: &str, to: &[&str], quota: Quota) -> Acceptance {
    Acceptance { is_receipt: true, ..acceptance(number, from, to, quota) }
}

fn apply(store: &mut SledStore, operation: Operation) -> Outcome {
    let outcome = store.apply(&[operation]).unwrap().remove(0);
    store.make_durable().unwrap();
    outcome
}

fn acknowledge(store: &mut SledStore, name: &str) {
    let inbox = store.reader().inbox(&agency(name), Precedence::Priority, Cursor::default(), 1, 1).unwrap();
    let cursors = inbox.items.iter().map(|item| item.cursor).collect();
    let precedence = Precedence::Priority;
    apply(store, Operation::Acknowledge { agency: agency(name), precedence, cursors });
}

/// Accepts notices of Kenya to these until one is not accepted; says how many were and why the last was not.
fn fill(folder: &Path, to: &[&str], quota: Quota) -> (u8, Outcome) {
    let mut store = SledStore::open(folder).unwrap();
    (0..u8::MAX)
        .map(|number| {
            (number, apply(&mut store, Operation::Accept(acceptance(number, "ken/ncb", to, quota))))
        })
        .find(|(_, outcome)| *outcome != Outcome::Accepted)
        .unwrap()
}

#[test]
fn g10_an_agency_has_no_more_waiting_than_its_quota_and_the_count_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let three = quota(3, u64::MAX, u64::MAX);
    let (count, outcome) = fill(folder.path(), &["fra/ncb"], three);
    assert_eq!((count, outcome), (3, Outcome::OverQuota(Exceeded::Notices)));
    let mut store = SledStore::open(folder.path()).unwrap();
    let before = store.reader().dump();
    let next = || acceptance(9, "ken/ncb", &["fra/ncb"], three);
    let refused = apply(&mut store, Operation::Accept(next()));
    assert_eq!(refused, Outcome::OverQuota(Exceeded::Notices), "forgotten by a restart");
    assert_eq!(store.reader().dump(), before, "a refusal changed something");
    // What is submitted again was accepted, and another agency has a quota of its own.
    let again = apply(&mut store, Operation::Accept(acceptance(0, "ken/ncb", &["fra/ncb"], three)));
    assert!(matches!(again, Outcome::Duplicate { .. }), "{again:?}");
    let other = apply(&mut store, Operation::Accept(acceptance(8, "tur/border", &["fra/ncb"], three)));
    assert_eq!(other, Outcome::Accepted);
    acknowledge(&mut store, "fra/ncb");
    assert_eq!(apply(&mut store, Operation::Accept(next())), Outcome::Accepted, "one was fetched");
}

#[test]
fn g10_bytes_that_wait_and_inboxes_have_limits_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = quota(u64::MAX, 5 * 1024 * 5, u64::MAX);
    assert_eq!(fill(folder.path(), &["fra/ncb"], bytes), (2, Outcome::OverQuota(Exceeded::Bytes)));
    let folder = tempfile::tempdir().unwrap();
    let items = quota(u64::MAX, u64::MAX, 4);
    let full = Outcome::OverQuota(Exceeded::Inbox(agency("tur/border")));
    let mut store = SledStore::open(folder.path()).unwrap();
    let first = apply(&mut store, Operation::Accept(acceptance(100, "fra/ncb", &["tur/border"], items)));
    assert_eq!(first, Outcome::Accepted);
    drop(store);
    assert_eq!(fill(folder.path(), &["fra/ncb", "tur/border"], items), (3, full));
}

#[test]
fn g10_what_is_counted_in_one_batch_is_counted_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SledStore::open(folder.path()).unwrap();
    let two = quota(2, u64::MAX, u64::MAX);
    let batch: Vec<_> =
        (0..4).map(|number| Operation::Accept(acceptance(number, "ken/ncb", &["fra/ncb"], two))).collect();
    let over = Outcome::OverQuota(Exceeded::Notices);
    assert_eq!(store.apply(&batch).unwrap(), [Outcome::Accepted, Outcome::Accepted, over.clone(), over]);
}

#[test]
fn g08_g10_the_last_tenth_is_for_what_is_urgent() {
    let all = Quota { remembered_max: 200, correspondent_items_max: 40, ..quota(100, 1000, 50) };
    assert_eq!(all.of(Precedence::Flash), all);
    let less = Quota { remembered_max: 180, correspondent_items_max: 36, ..quota(90, 900, 45) };
    assert_eq!(all.of(Precedence::Routine), less);
    assert_eq!(Quota::UNLIMITED.of(Precedence::Flash), Quota::UNLIMITED);
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let (from, to) = (0..NAMES.len(), proptest::sample::subsequence(NAMES.to_vec(), 1..=3));
    let accept = (0..40_u8, from, to, any::<bool>()).prop_map(|(number, from, to, withdraws)| {
        let mut acceptance = acceptance(number, NAMES[from], &to, Quota::UNLIMITED);
        acceptance.is_receipt = number % 4 == 1 && acceptance.recipients.len() == 1;
        let about = id(number / 2);
        let follow_up = FollowUp { notice_id: about, withdraws, excused: NAMES.map(agency).to_vec() };
        acceptance.follows = (number % 3 == 0 && about != acceptance.notice_id).then(|| Box::new(follow_up));
        Operation::Accept(acceptance)
    });
    let acknowledge = (0..NAMES.len(), 1..40_u64).prop_map(|(name, cursor)| Operation::Acknowledge {
        agency: agency(NAMES[name]),
        precedence: Precedence::Priority,
        cursors: vec![Cursor::new(cursor)],
    });
    let expire = (0..40_u8, 0..NAMES.len()).prop_map(|(number, late)| Operation::Expire {
        notice_id: id(number),
        at: Timestamp::from_millis(20_000),
        receipts: vec![(agency(NAMES[late]), Bytes::from_static(b"expired"))],
    });
    let review = (0..40_u8, any::<bool>()).prop_map(|(number, late)| Operation::Review {
        due: DueKey { second: 10, first: id(number) },
        at: Timestamp::from_millis(if late { 200_000_000 } else { 20_000 }),
    });
    prop_oneof![4 => accept, 3 => acknowledge, 1 => expire, 1 => review]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn g10_what_is_counted_is_what_is_there(
        batches in proptest::collection::vec(proptest::collection::vec(any_operation(), 1..6), 1..20),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(folder.path()).unwrap();
        for batch in batches {
            store.apply(&batch).unwrap();
            prop_assert!(store.counts_what_is_there());
        }
    }
}

#[test]
fn g10_g11_a_withdrawal_that_makes_room_is_taken_over_the_quota_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let three = quota(3, u64::MAX, u64::MAX);
    fill(folder.path(), &["fra/ncb"], three);
    let mut store = SledStore::open(folder.path()).unwrap();
    let withdrawal = |number: u8, from: &str| Acceptance {
        follows: Some(Box::new(FollowUp { notice_id: id(0), withdraws: true, excused: Vec::new() })),
        ..acceptance(number, from, &["fra/ncb"], three)
    };
    let first = apply(&mut store, Operation::Accept(withdrawal(10, "ken/ncb")));
    assert_eq!(first, Outcome::Accepted, "what makes room is kept out for want of it");
    // What it takes back is gone: a second one makes no room.
    let second = apply(&mut store, Operation::Accept(withdrawal(11, "ken/ncb")));
    assert_eq!(second, Outcome::OverQuota(Exceeded::Notices));
    assert!(store.counts_what_is_there());
}

#[test]
fn g10_an_agency_whose_notices_expired_unfetched_still_gets_what_others_send() {
    let folder = tempfile::tempdir().unwrap();
    let two = quota(u64::MAX, u64::MAX, 2);
    let mut store = SledStore::open(folder.path()).unwrap();
    for number in 0..2 {
        apply(&mut store, Operation::Accept(acceptance(number, "ken/ncb", &["fra/ncb"], two)));
        let receipts = vec![(agency("fra/ncb"), Bytes::from_static(b"expired")); 4];
        apply(
            &mut store,
            Operation::Expire { notice_id: id(number), at: Timestamp::from_millis(10_000), receipts },
        );
    }
    let taken = apply(&mut store, Operation::Accept(acceptance(9, "fra/ncb", &["ken/ncb"], two)));
    assert_eq!(taken, Outcome::Accepted, "the broker's own receipts keep others out");
    assert!(store.counts_what_is_there());
    drop(store);
    assert!(SledStore::open(folder.path()).unwrap().counts_what_is_there());
}

#[test]
fn g10_receipts_that_are_not_fetched_cost_the_agency_that_owes_them_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let few = Quota { correspondent_items_max: 5, ..quota(2, 5 * 1024 * 4, u64::MAX) };
    let mut store = SledStore::open(folder.path()).unwrap();
    // Turkey sends without end and fetches no receipt of Kenya's.
    for number in 0..5 {
        let owed = receipt(number, "ken/ncb", &["tur/border"], few);
        assert_eq!(apply(&mut store, Operation::Accept(owed)), Outcome::Accepted);
    }
    let more = apply(&mut store, Operation::Accept(receipt(5, "ken/ncb", &["tur/border"], few)));
    assert_eq!(more, Outcome::OverQuota(Exceeded::Correspondent(agency("tur/border"))));
    drop(store);
    let mut store = SledStore::open(folder.path()).unwrap();
    assert!(store.counts_what_is_there());
    for number in 6..8 {
        let own = acceptance(number, "ken/ncb", &["fra/ncb"], few);
        assert_eq!(
            apply(&mut store, Operation::Accept(own)),
            Outcome::Accepted,
            "receipts used up its quota"
        );
    }
    let third = apply(&mut store, Operation::Accept(acceptance(8, "ken/ncb", &["fra/ncb"], few)));
    assert_eq!(third, Outcome::OverQuota(Exceeded::Notices));
}

#[test]
fn g10_a_correspondent_that_never_fetches_uses_up_its_own_part_only() {
    let folder = tempfile::tempdir().unwrap();
    let three = Quota { correspondent_items_max: 3, ..quota(10, u64::MAX, u64::MAX) };
    let full = Outcome::OverQuota(Exceeded::Correspondent(agency("fra/ncb")));
    assert_eq!(fill(folder.path(), &["fra/ncb", "tur/border"], three), (3, full));
    let mut store = SledStore::open(folder.path()).unwrap();
    acknowledge(&mut store, "fra/ncb");
    let to_the_other = apply(&mut store, Operation::Accept(acceptance(20, "ken/ncb", &["fra/ncb"], three)));
    assert_eq!(to_the_other, Outcome::Accepted);
    // A third agency has a part of its own with the one that does not fetch.
    let of_a_third = apply(&mut store, Operation::Accept(acceptance(21, "fra/ncb", &["tur/border"], three)));
    assert_eq!(of_a_third, Outcome::Accepted);
    acknowledge(&mut store, "tur/border");
    let fetched = apply(&mut store, Operation::Accept(acceptance(22, "ken/ncb", &["tur/border"], three)));
    assert_eq!(fetched, Outcome::Accepted);
}

#[test]
fn g10_ids_that_are_remembered_have_a_limit_and_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let two = Quota { remembered_max: 2, ..Quota::UNLIMITED };
    let mut store = SledStore::open(folder.path()).unwrap();
    for number in 0..2 {
        assert_eq!(
            apply(&mut store, Operation::Accept(acceptance(number, "ken/ncb", &["fra/ncb"], two))),
            Outcome::Accepted
        );
        acknowledge(&mut store, "fra/ncb");
    }
    drop(store);
    let mut store = SledStore::open(folder.path()).unwrap();
    let third = || Operation::Accept(acceptance(2, "ken/ncb", &["fra/ncb"], two));
    assert_eq!(apply(&mut store, third()), Outcome::OverQuota(Exceeded::Remembered));
    // Receipts are counted by who reads them: whoever makes it owe many keeps it from sending nobody anything else.
    for number in 3..5 {
        let owed = receipt(number, "ken/ncb", &["tur/border"], two);
        assert_eq!(apply(&mut store, Operation::Accept(owed)), Outcome::Accepted);
        acknowledge(&mut store, "tur/border");
    }
    let fifth = apply(&mut store, Operation::Accept(receipt(5, "ken/ncb", &["tur/border"], two)));
    assert_eq!(fifth, Outcome::OverQuota(Exceeded::Remembered));
    let other = apply(&mut store, Operation::Accept(receipt(6, "ken/ncb", &["fra/ncb"], two)));
    assert_eq!(other, Outcome::Accepted);
    let (mut later, mut steps) = (Timestamp::from_millis(10_000), 0);
    while steps < 2 {
        let due = store.reader().due(later, 10).unwrap();
        due.iter().for_each(|due| {
            apply(&mut store, Operation::Review { due: due.key, at: later });
        });
        (later, steps) = (later.plus(REMEMBER_AFTER_EXPIRY), steps + 1);
    }
    assert!(store.counts_what_is_there());
    assert_eq!(apply(&mut store, third()), Outcome::Accepted, "nothing was forgotten");
}

#[test]
fn g10_who_leaves_the_receipts_about_what_expired_unfetched_submits_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let two = quota(u64::MAX, u64::MAX, 2);
    let mut store = SledStore::open(folder.path()).unwrap();
    for number in 0..2 {
        apply(&mut store, Operation::Accept(acceptance(number, "ken/ncb", &["fra/ncb"], two)));
        let receipts = vec![(agency("fra/ncb"), Bytes::from_static(b"expired"))];
        let at = Timestamp::from_millis(10_000);
        apply(&mut store, Operation::Expire { notice_id: id(number), at, receipts });
    }
    drop(store);
    let mut store = SledStore::open(folder.path()).unwrap();
    let next = || Operation::Accept(acceptance(5, "ken/ncb", &["fra/ncb"], two));
    assert_eq!(apply(&mut store, next()), Outcome::OverQuota(Exceeded::Expired));
    let of_another = apply(&mut store, Operation::Accept(acceptance(6, "fra/ncb", &["ken/ncb"], two)));
    assert_eq!(of_another, Outcome::Accepted, "others are refused for it");
    let inbox =
        store.reader().inbox(&agency("ken/ncb"), Precedence::Routine, Cursor::default(), 1, 1).unwrap();
    let cursors = inbox.items.iter().map(|item| item.cursor).collect();
    let acknowledged =
        Operation::Acknowledge { agency: agency("ken/ncb"), precedence: Precedence::Routine, cursors };
    apply(&mut store, acknowledged);
    assert_eq!(apply(&mut store, next()), Outcome::Accepted);
}

/// A withdrawal, by Kenya, of notice `of`.
fn withdrawal(number: u8, of: u8, to: &[&str], quota: Quota) -> Acceptance {
    let follows = FollowUp { notice_id: id(of), withdraws: true, excused: Vec::new() };
    Acceptance { follows: Some(Box::new(follows)), ..acceptance(number, "ken/ncb", to, quota) }
}

#[test]
fn g10_withdrawing_what_counts_for_nothing_makes_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let one = quota(1, u64::MAX, u64::MAX);
    let mut store = SledStore::open(folder.path()).unwrap();
    apply(&mut store, Operation::Accept(acceptance(0, "ken/ncb", &["fra/ncb"], one)));
    apply(&mut store, Operation::Accept(receipt(1, "ken/ncb", &["fra/ncb"], one)));
    let of_a_receipt = apply(&mut store, Operation::Accept(withdrawal(2, 1, &["fra/ncb"], one)));
    assert_eq!(of_a_receipt, Outcome::OverQuota(Exceeded::Notices));
    let of_the_notice = apply(&mut store, Operation::Accept(withdrawal(3, 0, &["fra/ncb"], one)));
    assert_eq!(of_the_notice, Outcome::Accepted);
    assert!(store.counts_what_is_there());
}

#[test]
fn g10_a_withdrawal_takes_no_more_than_it_frees() {
    let folder = tempfile::tempdir().unwrap();
    let tight = Quota { correspondent_items_max: 1, ..quota(u64::MAX, 5 * 1024 * 2, u64::MAX) };
    let mut store = SledStore::open(folder.path()).unwrap();
    apply(&mut store, Operation::Accept(acceptance(0, "ken/ncb", &["fra/ncb"], tight)));
    let larger = Acceptance { envelope: vec![1; 3 * BYTES].into(), ..withdrawal(1, 0, &["fra/ncb"], tight) };
    let refused = apply(&mut store, Operation::Accept(larger));
    assert_eq!(refused, Outcome::OverQuota(Exceeded::Bytes), "a small notice makes room for a large one");
    let as_large = apply(&mut store, Operation::Accept(withdrawal(2, 0, &["fra/ncb"], tight)));
    assert_eq!(as_large, Outcome::Accepted);
    // To an agency that was not sent it, it is a notice like any other.
    let more = Quota { stored_bytes_max: u64::MAX, ..tight };
    apply(&mut store, Operation::Accept(acceptance(3, "ken/ncb", &["tur/border"], more)));
    let to_another = apply(&mut store, Operation::Accept(withdrawal(4, 2, &["fra/ncb", "tur/border"], more)));
    assert_eq!(to_another, Outcome::OverQuota(Exceeded::Correspondent(agency("tur/border"))));
}

#[test]
fn g11_a_withdrawal_is_kept_from_nobody_because_one_of_those_it_is_owed_does_not_fetch() {
    let folder = tempfile::tempdir().unwrap();
    let few = Quota { correspondent_items_max: 2, ..Quota::UNLIMITED };
    let both = ["fra/ncb", "tur/border"];
    let mut store = SledStore::open(folder.path()).unwrap();
    apply(&mut store, Operation::Accept(acceptance(0, "ken/ncb", &both, few)));
    both.iter().for_each(|name| acknowledge(&mut store, name));
    // Turkey fetches nothing more.
    let last = (1..9)
        .map(|number| {
            apply(&mut store, Operation::Accept(acceptance(number, "ken/ncb", &["tur/border"], few)))
        })
        .last();
    assert_eq!(last, Some(Outcome::OverQuota(Exceeded::Correspondent(agency("tur/border")))));
    let withdrawn = apply(&mut store, Operation::Accept(withdrawal(10, 0, &both, few)));
    assert_eq!(withdrawn, Outcome::Accepted);
    assert!(store.counts_what_is_there());
    // That is no way to fill a queue: it is twice as long for what is owed, and no longer.
    let again =
        (11..20).map(|number| apply(&mut store, Operation::Accept(withdrawal(number, 0, &both, few))));
    let accepted = again.take_while(|outcome| *outcome == Outcome::Accepted).count();
    assert_eq!(accepted, 1);
}
