//! A broker that cannot be trusted: it alters, mixes up, repeats and makes up what it delivers, publishes and answers.
//!
//! Claimed: whatever it does, nobody is shown a notice that its originator did not write, nothing that is not the
//! authority's comes into force, no answer counts that is not about what was submitted; and what is true is shown
//! afterwards, once.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests stop at the first surprise"
)]

#[allow(dead_code)]
mod exchange;
#[path = "../src/fixture.rs"]
mod fixture;

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use exchange::{BROKER_SERIAL, Broker, Lie, Office};
use fixture::{Exchange, agency, content, notice_json, rng};
use valise_agent::api::client::LocalClient;
use valise_agent::api::types::NodeStatus;
use valise_agent::compose::content::receipt_part;
use valise_agent::node::NodeHandle;
use valise_proto::crypto::{SealingKey, SigningKey};
use valise_proto::directory::AgencyStatus;
use valise_proto::envelope::{Envelope, HeaderDraft, NoticeKind, Precedence};
use valise_proto::id::{NoticeId, Timestamp};
use valise_proto::label::Classification;
use valise_proto::receipt::ReceiptKind;
use valise_proto::wire::session::{Publication, SessionFrame};

const PRIORITY: Precedence = Precedence::Priority;
const LONG: Duration = Duration::from_secs(6);

/// France's node, connected to a broker that does what a test tells it; Kenya and Türkiye write.
struct Case {
    office: Office,
    broker: Broker,
    node: NodeHandle,
}

/// Looks until it is so, and returns what was seen.
async fn until<T, E: Debug>(what: &str, mut look: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = tokio::time::Instant::now() + LONG;
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(last) if tokio::time::Instant::now() >= deadline => {
                panic!("{what} did not happen in time; last seen: {last:?}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

fn or<T>(so: bool, yes: T, no: T) -> Result<T, T> {
    if so { Ok(yes) } else { Err(no) }
}

impl Case {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(prepare: impl FnOnce(&mut Exchange)) -> Self {
        let secret = Classification::Secret;
        let mut office =
            Office::with_writers(&[("ken/ncb", secret), ("tur/border", secret)], &[("fra/ncb", secret)]);
        prepare(&mut office.exchange);
        let broker = Broker::start(&office.exchange);
        let node = office.start("fra/ncb", Some(&broker)).await;
        assert!(node.connected(LONG).await, "not connected: {:?}", node.desk().link());
        Self { office, broker, node }
    }

    /// A notice that Kenya wrote to France.
    fn notice(&self) -> Envelope {
        self.notice_shaped(|_| {})
    }

    fn notice_shaped(&self, shape: impl FnOnce(&mut HeaderDraft)) -> Envelope {
        self.office.exchange.envelope("ken/ncb", &["fra/ncb"], &content(), shape)
    }

    fn deliver(&self, envelope: impl Into<Bytes>) {
        self.broker.put("fra/ncb", PRIORITY, envelope);
    }

    fn client(&self) -> LocalClient {
        LocalClient::new(&self.office.config("fra/ncb", None))
    }

    async fn status(&self) -> NodeStatus {
        self.client().status().await.unwrap()
    }

    async fn shown(&self) -> Vec<NoticeId> {
        self.client().inbox(1000).await.unwrap().into_iter().map(|entry| entry.notice_id).collect()
    }

    /// Waits until everything that was delivered has been acknowledged.
    async fn all_acknowledged(&self) {
        let left = async || {
            let left = self.broker.unacknowledged("fra/ncb");
            if left == 0 { Ok(()) } else { Err((left, self.node.desk().link())) }
        };
        until("the acknowledgement of every delivery", left).await;
    }

    /// Checks that what was delivered was set aside for `reason`, so often, and that nobody is shown any of it.
    async fn is_set_aside(&self, times: usize, reason: &str) {
        self.all_acknowledged().await;
        let aside = self.status().await.set_aside;
        assert_eq!(aside.len(), times, "{aside:?}");
        assert!(
            aside.iter().all(|one| one.reason.contains(reason)),
            "`{reason}` is not the reason: {aside:?}"
        );
        assert_eq!(self.shown().await, [], "something is shown that should not be");
    }

    /// Delivers the true notice and checks that it alone is shown, once, and that its originator is told.
    async fn then_the_true_one_is_shown(self, notice: &Envelope) {
        let id = notice.header().notice_id;
        self.deliver(notice.encode());
        assert!(self.node.has_received(&id, LONG).await.unwrap(), "{:?}", self.status().await);
        self.all_acknowledged().await;
        assert_eq!(self.shown().await, [id]);
        let opened = self.client().read(&id, "Officer A. Example").await.unwrap();
        assert_eq!(opened.opened.len(), 1, "it cannot be read");
        self.node.stop().await;
    }

    /// Waits until the node has begun so many sessions, the first included, and is connected.
    async fn sessions(&self, count: usize) {
        let begun = async || {
            let begun = self.broker.held.lock().unwrap().sessions;
            or(begun >= count, begun, begun)
        };
        until("another session", begun).await;
        assert!(self.node.connected(LONG).await, "not connected: {:?}", self.node.desk().link());
    }

    /// Says something on the session stream, and waits until the node has dealt with it: it ends the session at the
    /// goodbye that follows, and comes back.
    async fn say_and_part(&self, publication: Publication) {
        let before = self.broker.held.lock().unwrap().sessions;
        self.broker.say(SessionFrame::Publication(publication));
        self.broker.say(SessionFrame::Goodbye(None));
        self.sessions(before + 1).await;
    }

    fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.office.data("fra/ncb").join(name)).unwrap()
    }
}

/// The encoded envelope with one byte of `part` altered, `offset` from the part's end.
fn altered(envelope: &Envelope, part: &[u8], offset: usize) -> Bytes {
    let mut bytes = envelope.encode().to_vec();
    let at = bytes.windows(part.len()).position(|window| window == part).unwrap() + part.len() - 1 - offset;
    bytes[at] ^= 1;
    bytes.into()
}

/// The encoded envelope with `part` replaced by another of the same length.
fn exchanged(envelope: &Envelope, part: &[u8], other: &[u8]) -> Bytes {
    assert_eq!(part.len(), other.len());
    let mut bytes = envelope.encode().to_vec();
    let at = bytes.windows(part.len()).position(|window| window == part).unwrap();
    bytes[at..at + part.len()].copy_from_slice(other);
    bytes.into()
}

#[tokio::test]
async fn g01_no_byte_of_a_header_can_be_altered() {
    let case = Case::start().await;
    let notice = case.notice();
    for offset in 0..notice.header_bytes().len() {
        case.deliver(altered(&notice, notice.header_bytes(), offset));
    }
    case.all_acknowledged().await;
    assert_eq!(case.shown().await, [], "an altered header is shown");
    assert!(!case.status().await.set_aside.is_empty());
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g01_an_altered_signature() {
    let case = Case::start().await;
    let notice = case.notice();
    case.deliver(altered(&notice, &notice.signature().value, 0));
    case.deliver(altered(&notice, &notice.signature().value, 63));
    case.is_set_aside(2, "does not verify under key").await;
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g01_an_altered_ciphertext() {
    let case = Case::start().await;
    let notice = case.notice();
    case.deliver(altered(&notice, &notice.portions()[0].ciphertext, 0));
    case.is_set_aside(1, "is not the one the header commits to").await;
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g01_an_altered_key_wrap() {
    let case = Case::start().await;
    let notice = case.notice();
    case.deliver(altered(&notice, &notice.wraps()[0].ciphertext, 0));
    case.deliver(altered(&notice, &notice.wraps()[0].encapsulated, 0));
    case.is_set_aside(2, "does not open").await;
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g01_key_wraps_swapped_between_two_notices() {
    let case = Case::start().await;
    let (one, other) = (case.notice(), case.notice());
    let wrap = |envelope: &Envelope| {
        let wrap = &envelope.wraps()[0];
        (wrap.encapsulated.clone(), wrap.ciphertext.clone())
    };
    let (of_one, of_other) = (wrap(&one), wrap(&other));
    let swap = |envelope: &Envelope, from: &(Bytes, Bytes), to: &(Bytes, Bytes)| {
        let half = exchanged(envelope, &from.0, &to.0);
        let half = Envelope::decode(half, &valise_proto::wire::limits::Limits::DEFAULT).unwrap();
        exchanged(&half, &from.1, &to.1)
    };
    case.deliver(swap(&one, &of_one, &of_other));
    case.deliver(swap(&other, &of_other, &of_one));
    case.is_set_aside(2, "does not open").await;
    case.deliver(one.encode());
    assert!(case.node.has_received(&one.header().notice_id, LONG).await.unwrap());
    case.deliver(other.encode());
    assert!(case.node.has_received(&other.header().notice_id, LONG).await.unwrap());
    case.node.stop().await;
}

#[tokio::test]
async fn g01_a_key_wrap_that_was_dropped() {
    let case = Case::start().await;
    let notice = case.notice();
    let bare = notice.for_recipient(&agency("tur/border"), &notice.header().permitted(&clearance(&case)));
    assert!(bare.wraps().is_empty());
    case.deliver(bare.encode());
    case.is_set_aside(1, "exactly one key wrap").await;
    case.then_the_true_one_is_shown(&notice).await;
}

fn clearance(case: &Case) -> valise_proto::label::Clearance {
    case.office.exchange.content.agencies[&agency("fra/ncb")].clearance.clone()
}

#[tokio::test]
async fn g01_a_notice_to_somebody_else() {
    let case = Case::start().await;
    case.deliver(case.office.exchange.envelope("ken/ncb", &["tur/border"], &content(), |_| {}).encode());
    case.is_set_aside(1, "fra/ncb is not among the recipients").await;
    let notice = case.notice();
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g01_a_notice_sealed_to_a_key_that_is_not_ours() {
    let mut case = Case::start().await;
    let notice = case.notice();
    let listed = case.office.exchange.content.agencies.get_mut(&agency("fra/ncb")).unwrap();
    let ours =
        std::mem::replace(&mut listed.sealing_keys[0].key, SealingKey::generate(&mut rng()).public().clone());
    case.deliver(case.notice().encode());
    let listed = case.office.exchange.content.agencies.get_mut(&agency("fra/ncb")).unwrap();
    listed.sealing_keys[0].key = ours;
    case.is_set_aside(1, "does not open").await;
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g01_a_notice_signed_with_a_key_that_the_directory_does_not_list() {
    let mut case = Case::start().await;
    let notice = case.notice();
    case.office.exchange.members.get_mut(&agency("ken/ncb")).unwrap().signing =
        SigningKey::generate(&mut rng());
    case.deliver(case.notice_shaped(|draft| draft.notice_id = notice.header().notice_id).encode());
    case.is_set_aside(1, "lists no signing key").await;
    assert_eq!(case.status().await.outbox, 0, "whoever merely claims to be the originator is answered");
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g01_a_notice_in_kenyas_name_signed_with_another_agencys_key() {
    let mut case = Case::start().await;
    let notice = case.notice();
    let turkeys = case.office.exchange.members[&agency("tur/border")].signing.clone();
    case.office.exchange.members.get_mut(&agency("ken/ncb")).unwrap().signing = turkeys;
    case.deliver(case.notice_shaped(|draft| draft.notice_id = notice.header().notice_id).encode());
    case.is_set_aside(1, "lists no signing key").await;
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g01_a_notice_created_before_its_key_counted() {
    let case = Case::start().await;
    let early = Timestamp::from_millis(case.office.exchange.start.millis() - 60_000);
    case.deliver(case.notice_shaped(|draft| draft.created_at = early).encode());
    case.is_set_aside(1, "lists no signing key").await;
    let notice = case.notice();
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g05_a_notice_delivered_again_and_again_is_shown_once() {
    let case = Case::start().await;
    let notice = case.notice();
    for _ in 0..5 {
        case.deliver(notice.encode());
        case.broker.put("fra/ncb", Precedence::Flash, notice.encode());
    }
    case.all_acknowledged().await;
    assert_eq!(case.status().await.set_aside, []);
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g05_a_notice_replayed_after_a_restart_is_shown_once() {
    let mut case = Case::start().await;
    let notice = case.notice();
    case.deliver(notice.encode());
    assert!(case.node.has_received(&notice.header().notice_id, LONG).await.unwrap());
    case.all_acknowledged().await;
    case.node.kill().await;
    case.node = case.office.start("fra/ncb", Some(&case.broker)).await;
    case.deliver(notice.encode());
    case.all_acknowledged().await;
    assert_eq!(case.status().await.set_aside, []);
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g05_another_notice_under_an_id_that_was_shown() {
    let case = Case::start().await;
    let notice = case.notice();
    case.deliver(notice.encode());
    assert!(case.node.has_received(&notice.header().notice_id, LONG).await.unwrap());
    case.deliver(case.notice_shaped(|draft| draft.notice_id = notice.header().notice_id).encode());
    case.all_acknowledged().await;
    let aside = case.status().await.set_aside;
    assert!(
        aside.len() == 1 && aside[0].reason.contains("another envelope was taken in before"),
        "{aside:?}"
    );
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g05_a_notice_that_expired_long_ago() {
    let case = Case::with(|exchange| {
        // A key old enough to have signed it.
        let listed = exchange.content.agencies.get_mut(&agency("ken/ncb")).unwrap();
        listed.signing_keys[0].not_before = Timestamp::from_millis(0);
        exchange.content.version += 1;
    })
    .await;
    let days_ago =
        |days: u64| Timestamp::from_millis(case.office.exchange.start.millis() - days * 86_400_000);
    let old = case.notice_shaped(|draft| {
        (draft.created_at, draft.expires_at) = (days_ago(10), days_ago(2));
    });
    case.deliver(old.encode());
    case.is_set_aside(1, "was delivered after that").await;
    let notice = case.notice();
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g12_bytes_that_are_no_envelope_are_set_aside() {
    let case = Case::start().await;
    let notice = case.notice();
    // Nothing, and a whole envelope with something more in its header than this version knows.
    case.deliver(Bytes::new());
    let header = [&notice.header_bytes()[..], b"\xa2\x06\x01x"].concat();
    let signing = &case.office.exchange.members[&agency("ken/ncb")].signing;
    case.deliver(signed_anew(&notice, &header, signing));
    case.is_set_aside(2, "a delivery cannot be read").await;
    case.then_the_true_one_is_shown(&notice).await;
}

/// The envelope with another header, signed as if it were in order.
fn signed_anew(envelope: &Envelope, header: &[u8], key: &SigningKey) -> Bytes {
    let signature = key.sign(valise_proto::crypto::context::HEADER, header);
    let whole = exchanged(envelope, &envelope.signature().value, &signature.value);
    // Field 1 of an envelope is its header; what follows stays.
    let rest =
        whole.windows(envelope.header_bytes().len()).position(|window| window == envelope.header_bytes());
    let rest = &whole[rest.unwrap() + envelope.header_bytes().len()..];
    [&exchange::field(1, header)[..], rest].concat().into()
}

#[tokio::test]
async fn g12_a_frame_that_is_no_delivery_ends_the_connection() {
    let case = Case::start().await;
    let notice = case.notice();
    // A length that leads beyond the end: not even the cursor can be read.
    case.deliver(b"\x0a\x7f".as_slice());
    case.sessions(2).await;
    assert_eq!(case.broker.held.lock().unwrap().acknowledged.len(), 0);
    assert_eq!(case.shown().await, []);
    case.broker.withdraw_everything();
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g06_a_brokers_receipt_that_nobody_is_waiting_for() {
    let case = Case::start().await;
    let about = case.notice();
    case.broker.put_receipt("fra/ncb", PRIORITY, case.office.exchange.answer(&about, None).encode());
    case.is_set_aside(1, "about something not on record here").await;
    case.then_the_true_one_is_shown(&about).await;
}

/// What became of a notice that France's node sent to Kenya, when the broker's first answer was this lie.
async fn a_lie_does_not_count(lie: Lie) {
    let case = Case::start().await;
    case.broker.held.lock().unwrap().lies.push(lie);
    let sent = case.client().send(notice_json("ken/ncb").to_string().into()).await.unwrap().notice_id;
    case.sessions(2).await;
    // The connection ended; the notice was kept, and submitted again.
    let accepted = async || {
        let status = case.client().notice_status(&sent).await.unwrap();
        or(status.state == "ACCEPTED", status.state.clone(), status.state)
    };
    until("the acceptance", accepted).await;
    assert_eq!(case.broker.held.lock().unwrap().accepted[&sent], 2, "it was not submitted again");
    let receipts = case.client().notice(&sent).await.unwrap().receipts;
    let broker = case.office.exchange.broker().to_string();
    assert_eq!(receipts.len(), 1, "{receipts:?}");
    assert_eq!((receipts[0].kind.as_str(), &receipts[0].issuer), ("ACCEPTED", &broker));
    case.node.stop().await;
}

#[tokio::test]
async fn g06_an_answer_about_another_notice() {
    a_lie_does_not_count(|mut receipt, key| {
        receipt.notice_id = Some(NoticeId::new(receipt.at, [7; 10]));
        receipt.sign(key)
    })
    .await;
}

#[tokio::test]
async fn g06_an_answer_about_another_header() {
    a_lie_does_not_count(|mut receipt, key| {
        receipt.header_digest = valise_proto::crypto::sha256(&[b"another"]);
        receipt.sign(key)
    })
    .await;
}

#[tokio::test]
async fn g06_an_answer_signed_with_another_key() {
    a_lie_does_not_count(|receipt, _| receipt.sign(&SigningKey::generate(&mut rng()))).await;
}

#[tokio::test]
async fn g06_an_answer_in_another_brokers_name() {
    a_lie_does_not_count(|mut receipt, key| {
        receipt.issuer = "spiffe://exchange.example/broker/b2".parse().unwrap();
        receipt.sign(key)
    })
    .await;
}

#[tokio::test]
async fn g06_an_answer_of_a_kind_that_is_no_answer() {
    a_lie_does_not_count(|mut receipt, key| {
        (receipt.kind, receipt.recipient) = (ReceiptKind::Expired, Some(agency("ken/ncb")));
        receipt.sign(key)
    })
    .await;
}

#[tokio::test]
async fn g06_a_receipt_of_an_agency_that_was_not_asked() {
    let case = Case::start().await;
    let sent = case.client().send(notice_json("ken/ncb").to_string().into()).await.unwrap().notice_id;
    let digest = case.client().notice(&sent).await.unwrap().header_digest;
    let receipt = |issuer: &str| {
        let mut receipt =
            case.office.exchange.receipt(ReceiptKind::Read, issuer, &case.notice()).receipt().clone();
        (receipt.notice_id, receipt.header_digest) = (Some(sent), digest);
        receipt.sign(&case.office.exchange.members[&agency(issuer)].signing)
    };
    let carry = |from: &str, issuer: &str| {
        let part = receipt_part(&receipt(issuer));
        let as_receipt = |draft: &mut HeaderDraft| draft.kind = NoticeKind::Receipt;
        case.office.exchange.envelope(from, &["fra/ncb"], &part, as_receipt).encode()
    };
    // One of its own, and one of Kenya's that it got hold of.
    case.deliver(carry("tur/border", "tur/border"));
    case.deliver(carry("tur/border", "ken/ncb"));
    case.is_set_aside(2, "who was not asked").await;
    let kinds = |status: valise_agent::api::types::NoticeStatus| -> Vec<String> {
        status.recipients[0].steps.iter().map(|step| step.kind.clone()).collect()
    };
    assert_eq!(kinds(case.client().notice_status(&sent).await.unwrap()), Vec::<String>::new());
    case.deliver(carry("ken/ncb", "ken/ncb"));
    case.all_acknowledged().await;
    assert_eq!(kinds(case.client().notice_status(&sent).await.unwrap()), ["READ"]);
    case.node.stop().await;
}

/// A publication with this directory and no revocation lists.
fn directory_of(exchange: &Exchange) -> Publication {
    Publication { directory: exchange.directory().encoded().clone(), crls: Vec::new() }
}

/// Offers what `forge` makes of a directory of version 2, which the node holds, and checks that this stays in force.
async fn directory_is_refused(forge: impl FnOnce(&mut Exchange)) {
    let mut case = Case::with(|exchange| exchange.content.version = 2).await;
    let held = case.office.exchange.directory();
    let until_held = async || {
        let version = case.status().await.directory.version;
        or(version == 2, version, version)
    };
    until("directory version 2", until_held).await;
    let (content, key) = (case.office.exchange.content.clone(), case.office.exchange.directory_key.clone());
    forge(&mut case.office.exchange);
    let forged = directory_of(&case.office.exchange);
    assert_ne!(forged.directory, held.encoded());
    (case.office.exchange.content, case.office.exchange.directory_key) = (content, key);
    case.say_and_part(forged).await;
    assert_eq!(case.file("directory.valise"), held.encoded()[..], "something else is in force");
    assert_eq!(case.node.desk().office().directory().encoded(), held.encoded());
    // What the authority signs is taken all the same.
    case.office.exchange.content.version = 3;
    case.say_and_part(directory_of(&case.office.exchange)).await;
    assert_eq!(case.status().await.directory.version, 3);
    let notice = case.notice();
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g12_an_older_directory() {
    directory_is_refused(|exchange| exchange.content.version = 1).await;
}

#[tokio::test]
async fn g12_a_forked_directory() {
    let forked = |exchange: &mut Exchange| {
        exchange.content.agencies.get_mut(&agency("ken/ncb")).unwrap().status = AgencyStatus::Suspended;
    };
    directory_is_refused(forked).await;
}

#[tokio::test]
async fn g12_a_directory_that_the_broker_signed_itself() {
    let own = |exchange: &mut Exchange| {
        exchange.content.version = 9;
        exchange.directory_key = exchange.broker_key.clone();
    };
    directory_is_refused(own).await;
}

#[tokio::test]
async fn g12_a_directory_that_has_expired() {
    let expired = |exchange: &mut Exchange| {
        exchange.content.version = 9;
        exchange.content.issued_at = Timestamp::from_millis(1);
        exchange.content.expires_at = Timestamp::from_millis(2);
    };
    directory_is_refused(expired).await;
}

#[tokio::test]
async fn g12_a_broker_that_has_only_a_directory_of_its_own_gets_no_connection() {
    let mut case = Case::start().await;
    let held = case.office.exchange.directory();
    case.office.exchange.content.version = 9;
    let own = case.office.exchange.content.sign(&SigningKey::generate(&mut rng())).unwrap();
    case.broker.publish(own);
    case.broker.say(SessionFrame::Goodbye(None));
    let refused = async || {
        let reason = case.status().await.connection.reason.unwrap_or_default();
        or(reason.contains("not among the trusted directory keys"), reason.clone(), reason)
    };
    until("the refusal", refused).await;
    assert_eq!(case.file("directory.valise"), held.encoded()[..]);
    case.broker.publish(case.office.exchange.directory());
    let notice = case.notice();
    case.then_the_true_one_is_shown(&notice).await;
}

fn lists(crls: Vec<Bytes>) -> Publication {
    Publication { directory: Bytes::new(), crls }
}

/// Offers these revocation lists and checks that those held stay in force.
async fn lists_are_refused(offer: impl FnOnce(&Exchange) -> Vec<Bytes>) {
    let case = Case::with(|_| {}).await;
    let held = case.file("crls.pem");
    case.say_and_part(lists(offer(&case.office.exchange))).await;
    assert_eq!(case.file("crls.pem"), held, "other lists are in force");
    // What the authority signs is taken all the same, and goes on counting.
    case.say_and_part(lists(vec![case.office.exchange.crl_of(2, &[])])).await;
    assert_ne!(case.file("crls.pem"), held, "the authority's own list is refused");
    let notice = case.notice();
    case.then_the_true_one_is_shown(&notice).await;
}

#[tokio::test]
async fn g12_a_revocation_list_of_the_brokers_own_making() {
    lists_are_refused(|_| vec![Exchange::new(&[]).crl_of(9, &[])]).await;
}

#[tokio::test]
async fn g12_a_revocation_list_of_the_brokers_own_making_that_revokes_it() {
    lists_are_refused(|_| vec![Exchange::new(&[]).crl_of(9, &[BROKER_SERIAL])]).await;
}

#[tokio::test]
async fn g12_an_older_revocation_list() {
    lists_are_refused(|exchange| vec![exchange.crl_of(0, &[])]).await;
}

#[tokio::test]
async fn g12_bytes_that_are_no_revocation_list() {
    lists_are_refused(|exchange| vec![exchange.crl(), Bytes::from_static(b"not a list")]).await;
}

#[tokio::test]
async fn g12_a_broker_that_the_authority_revoked_loses_the_connection_and_gets_no_other() {
    let case = Case::start().await;
    let revoking = vec![case.office.exchange.crl_of(2, &[BROKER_SERIAL])];
    case.broker.say(SessionFrame::Publication(lists(revoking)));
    let refused = async || {
        let connection = case.status().await.connection;
        let reason = connection.reason.unwrap_or_default();
        or(reason.contains("revoked"), reason.clone(), reason)
    };
    until("the refusal of the broker's certificate", refused).await;
    assert_eq!(case.broker.held.lock().unwrap().sessions, 1);
    case.node.stop().await;
}
