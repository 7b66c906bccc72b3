//! Notices, their corrections and their withdrawals in whatever order, however often, with readings and kills between.

use std::collections::BTreeMap;

use valise_agent::store::Store;
use valise_proto::envelope::{Envelope, NoticeKind};
use valise_proto::id::NoticeId;
use valise_proto::notice::{Notice, NoticeRef};
use valise_proto::receipt::ReceiptKind;
use zeroize::Zeroizing;

use crate::case::{Case, LONG};
use crate::fixture::{notice_json, now, policy};

/// What becomes of a notice in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It stands.
    Kept,
    /// Its correction stands.
    Corrected,
    /// It is withdrawn.
    Withdrawn,
    /// It is corrected, and the correction withdrawn.
    CorrectedAndWithdrawn,
    /// Another agency withdraws it, which changes nothing.
    WithdrawnByAnother,
}

const FATES: [Fate; 5] =
    [Fate::Kept, Fate::Corrected, Fate::Withdrawn, Fate::CorrectedAndWithdrawn, Fate::WithdrawnByAnother];
/// Notices of each fate.
const OF_EACH: usize = 5;

/// A notice, and what followed it.
struct Chain {
    fate: Fate,
    /// In the order in which they were written.
    written: Vec<Envelope>,
}

impl Chain {
    fn new(case: &Case, fate: Fate) -> Self {
        let first = case.notice();
        let mut chain = Self { fate, written: vec![first] };
        match fate {
            Fate::Kept => {}
            Fate::Corrected => chain.follow(case, "ken/ncb", NoticeKind::Correction),
            Fate::Withdrawn => chain.follow(case, "ken/ncb", NoticeKind::Withdrawal),
            Fate::CorrectedAndWithdrawn => {
                chain.follow(case, "ken/ncb", NoticeKind::Correction);
                chain.follow(case, "ken/ncb", NoticeKind::Withdrawal);
            }
            Fate::WithdrawnByAnother => chain.follow(case, "tur/border", NoticeKind::Withdrawal),
        }
        chain
    }

    /// What takes all that was written out of force, by whoever says so.
    fn follow(&mut self, case: &Case, by: &str, kind: NoticeKind) {
        let reference = |envelope: &Envelope| NoticeRef {
            notice_id: envelope.header().notice_id,
            header_digest: envelope.header_digest(),
        };
        let replaces: Vec<_> = self.written.iter().rev().map(reference).collect();
        let newest = replaces[0].notice_id;
        let parts = follow_up(kind, newest, replaces);
        let envelope = case.office.exchange.envelope(by, &["fra/ncb"], &parts, |draft| {
            draft.kind = kind;
            match kind {
                NoticeKind::Correction => draft.supersedes = Some(newest),
                _ => draft.withdraws = Some(newest),
            }
        });
        self.written.push(envelope);
    }

    /// Whether what was written at this place stands in the end. Of what another agency wrote nothing is said: it is set
    /// aside where it is known that it is about Kenya's notice, and about nothing otherwise.
    fn stands(&self, place: usize) -> Option<bool> {
        match self.fate {
            Fate::Kept => Some(true),
            Fate::Corrected | Fate::Withdrawn | Fate::CorrectedAndWithdrawn => {
                Some(place + 1 == self.written.len())
            }
            Fate::WithdrawnByAnother => (place == 0).then_some(true),
        }
    }
}

/// The parts of a correction or withdrawal, as its author's agent writes them.
fn follow_up(kind: NoticeKind, of: NoticeId, replaces: Vec<NoticeRef>) -> Zeroizing<Vec<u8>> {
    let mut json = notice_json("fra/ncb");
    let fields = json.as_object_mut().unwrap();
    fields.insert("kind".to_owned(), kind.as_str().into());
    let (link, part) = match kind {
        NoticeKind::Correction => {
            ("supersedes", serde_json::json!({ "type": "correction", "reason": "A spelling." }))
        }
        _ => ("withdraws", serde_json::json!({ "type": "withdrawal", "reason": "Another person." })),
    };
    fields.insert(link.to_owned(), of.to_string().into());
    let parts = fields["parts"].as_array_mut().unwrap();
    if kind == NoticeKind::Withdrawal {
        parts.clear();
    }
    parts.push(part);
    if kind == NoticeKind::Withdrawal {
        ["legal_basis", "purpose", "review_by"].iter().for_each(|name| drop(fields.remove(*name)));
    }
    let notice = Notice::from_json(json.to_string().as_bytes(), &policy(), now()).unwrap();
    let portions = notice.with_replaces(replaces).unwrap().portions();
    assert_eq!(portions.len(), 1);
    portions[0].encode()
}

/// A small generator, so that a seed that failed can be run again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }

    fn shuffled<T>(&mut self, mut items: Vec<T>) -> Vec<T> {
        for place in (1..items.len()).rev() {
            items.swap(place, self.below(place + 1));
        }
        items
    }
}

/// What is held of a notice here.
fn held(store: &Store, id: &NoticeId) -> usize {
    store.received(id).unwrap().map_or(0, |_| store.envelope(id).unwrap().unwrap().portions().len())
}

async fn in_some_order(seed: u64) {
    let mut dice = Dice(seed);
    let mut case = Case::start().await;
    let chains: Vec<_> = (0..OF_EACH).flat_map(|_| FATES).map(|fate| Chain::new(&case, fate)).collect();
    let all: Vec<_> = chains.iter().flat_map(|chain| &chain.written).collect();
    // Everything once, and some of it again.
    let again: Vec<_> = (0..all.len() / 2).map(|_| all[dice.below(all.len())]).collect();
    let order = dice.shuffled([all.clone(), again].concat());
    let kills: Vec<_> = (0..3).map(|_| dice.below(order.len())).collect();
    for (place, envelope) in order.iter().enumerate() {
        case.deliver(envelope.encode());
        if dice.below(4) == 0 {
            // Whether it is there yet or stands any more is no matter here.
            let _ = case
                .client()
                .read(&all[dice.below(all.len())].header().notice_id, "Officer A. Example")
                .await;
        }
        if kills.contains(&place) {
            let Case { office, broker, node } = case;
            node.kill().await;
            let node = office.start("fra/ncb", Some(&broker)).await;
            assert!(node.connected(LONG).await, "not connected after a kill");
            case = Case { office, broker, node };
        }
    }
    case.all_acknowledged().await;
    let mut count = BTreeMap::<bool, usize>::new();
    for chain in &chains {
        for (place, envelope) in chain.written.iter().enumerate() {
            let (id, originator) = (envelope.header().notice_id, &envelope.header().originator);
            let why = format!("seed {seed}: {:?}, place {place}", chain.fate);
            let read = case.client().read(&id, "Officer A. Example").await;
            let Some(stands) = chain.stands(place) else { continue };
            assert_eq!(read.is_ok(), stands, "{why}: {:?}", read.err());
            *count.entry(stands).or_default() += 1;
            let store = case.node.desk().office().store();
            let purged = store.purged(&id, originator).unwrap();
            let proofs = store.receipts(&id).unwrap();
            let proved = proofs.iter().any(|one| one.receipt().kind == ReceiptKind::Purged);
            if stands {
                assert!(purged.is_none() && held(store, &id) > 0, "{why}: it was purged");
                // Of what it was told to withdraw and did not hold then, it stated that it held nothing.
                let deleted =
                    proofs.iter().map(|one| one.receipt()).filter(|one| one.kind == ReceiptKind::Purged);
                assert!(
                    deleted.into_iter().all(|one| one.portions.is_empty()),
                    "{why}: it says it was purged"
                );
            } else {
                assert!(store.differences(&id).unwrap().is_none(), "{why}: what it changed is still held");
                assert_eq!(
                    (purged.is_some(), proved, held(store, &id)),
                    (true, true, 0),
                    "{why}: it was not purged"
                );
            }
        }
    }
    assert!(count.values().all(|count| *count >= OF_EACH), "{count:?}");
    case.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g11_in_whatever_order_they_come_what_was_withdrawn_is_purged_with_proof_and_what_stands_is_kept() {
    for seed in [1, 22, 333, 4_444] {
        in_some_order(seed).await;
    }
}
