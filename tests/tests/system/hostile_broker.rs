//! A broker in hostile hands: what it cannot achieve whatever it does, and what the agencies notice of it.
//!
//! It holds the certificate and the keys of the network's own broker. What it cannot be kept from, withholding, leaves a
//! trace at both ends: an ACCEPTED receipt without a DELIVERED one, and portions that nobody signed for.

#![allow(clippy::expect_used, reason = "tests stop at the first surprise")]

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use rand_core::UnwrapErr;
use serde_json::Value;
use valise_agent::api::types::NoticeStatus;
use valise_agent::clock::Clock;
use valise_proto::crypto::{SealingKey, SigningKey};
use valise_proto::directory::Directory;
use valise_proto::envelope::{Envelope, NoticeKind, PortionIndex, Precedence};
use valise_proto::id::{AgencyId, NoticeId};
use valise_proto::label::Classification;
use valise_proto::receipt::{Receipt, ReceiptKind, SignedReceipt};
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::session::Publication;
use valise_tests::hostile::{HostileBroker, exchanged, flipped};
use valise_tests::network::Sent;
use valise_tests::wait::until;
use valise_tests::{AgencySpec, DEADLINE, Network, notices};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const PRIORITY: Precedence = Precedence::Priority;

/// A broker in hostile hands between agencies whose names are of one length, so that one can be written over another.
async fn exchange() -> Outcome<(Network, HostileBroker)> {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").agency("tur/ncb").start().await?;
    let broker = HostileBroker::take_over(&net).await?;
    Ok((net, broker))
}

fn to_france() -> notices::NoticeBuilder {
    notices::deportation("KEN", "FRA").of("FRA")
}

fn is_receipt(envelope: &Envelope) -> bool {
    envelope.header().kind == NoticeKind::Receipt
}

/// Kenya sends, and the broker says that it has accepted.
async fn accepted(net: &Network, notice: impl Into<Value>) -> Outcome<Sent> {
    let sent = net.agency("ken/ncb").send(notice).await?;
    net.agency("ken/ncb").expect_accepted(&sent).await?;
    Ok(sent)
}

/// Waits until an agency has acknowledged everything it was handed.
async fn acknowledged(net: &Network, broker: &HostileBroker, agency: &str) -> Outcome {
    let id = net.agency(agency).id()?;
    let left = async || match broker.unacknowledged(id) {
        0 => Ok(()),
        left => Err(left),
    };
    Ok(until(&format!("the acknowledgement of everything by {agency}"), DEADLINE, left).await?)
}

async fn shown(net: &Network, agency: &str) -> Outcome<Vec<NoticeId>> {
    Ok(net.agency(agency).inbox().await?.iter().map(|entry| entry.notice_id).collect())
}

/// Why an agency set aside what it was handed.
async fn set_aside(net: &Network, agency: &str) -> Outcome<Vec<String>> {
    let status = net.agency(agency).client()?.status().await?;
    Ok(status.set_aside.into_iter().map(|aside| aside.reason).collect())
}

#[track_caller]
fn told(reasons: &[String], parts: &[&str]) {
    for part in parts {
        assert!(reasons.iter().any(|reason| reason.contains(part)), "`{part}` is not told: {reasons:#?}");
    }
}

/// The kinds of receipt that Kenya holds of its first recipient.
fn kinds(status: &NoticeStatus) -> Vec<&str> {
    let steps = status.recipients.first().map(|one| one.steps.as_slice()).unwrap_or_default();
    steps.iter().map(|step| step.kind.as_str()).collect()
}

/// Everything a broker can alter in what it hands France, each alone.
fn alterations(honest: &Bytes, envelope: &Envelope) -> Vec<Bytes> {
    let (portion, wrap) = (envelope.portions().first(), envelope.wraps().first());
    let (portion, wrap) = (portion.expect("a portion"), wrap.expect("a key wrap"));
    let altered = [
        flipped(honest, envelope.header().notice_id.as_bytes()),
        flipped(honest, b"RESTRICTED"),
        exchanged(honest, b"ken/ncb", b"tur/ncb"),
        flipped(honest, &envelope.signature().value),
        flipped(honest, &portion.ciphertext),
        flipped(honest, &wrap.encapsulated),
        flipped(honest, &wrap.ciphertext),
    ];
    altered.into_iter().map(|frame| frame.expect("what is to be altered is there")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn g01_what_a_broker_alters_is_set_aside_and_the_true_notice_is_shown_all_the_same() -> Outcome {
    let (net, broker) = exchange().await?;
    let directory = broker.directory().clone();
    broker.hand_over(move |envelope, recipient| {
        let honest = HostileBroker::honest(&directory, envelope, recipient);
        let mut handed = if is_receipt(envelope) { Vec::new() } else { alterations(&honest, envelope) };
        handed.push(honest);
        handed
    });
    let sent = accepted(&net, to_france()).await?;
    net.agency("fra/ncb").expect_notice(&sent).await?;
    acknowledged(&net, &broker, "fra/ncb").await?;
    assert_eq!(shown(&net, "fra/ncb").await?, [sent.id()]);
    let reasons = set_aside(&net, "fra/ncb").await?;
    assert_eq!(reasons.len(), 7, "{reasons:#?}");
    told(&reasons, &["does not verify under key", "is not the one the header commits to", "does not open"]);
    // The originator learns that something was wrong with what its recipient got, and that the notice arrived.
    net.agency("ken/ncb").expect_receipt(&sent, "fra/ncb", "REJECTED").await?;
    net.agency("ken/ncb").expect_receipt(&sent, "fra/ncb", "DELIVERED").await?;
    assert_eq!(net.agency("fra/ncb").read(&sent, "Officer A. Example").await?.opened.len(), 1);
    broker.stop().await;
    net.stop().await;
    Ok(())
}

/// The frame with the wrap it holds made out to `to` in the place of `from`: name and key.
fn made_out_to(frame: &Bytes, directory: &Directory, from: &AgencyId, to: &AgencyId) -> Bytes {
    let key = |agency: &AgencyId| {
        let listed = directory.agency(agency).expect("the agency is listed").sealing_keys.first();
        *listed.expect("a sealing key").key_id.as_bytes()
    };
    let named = exchanged(frame, from.as_str().as_bytes(), to.as_str().as_bytes()).expect("a name");
    exchanged(&named, &key(from), &key(to)).expect("a key id")
}

#[tokio::test(flavor = "multi_thread")]
async fn g01_g03_neither_anothers_notice_nor_anothers_key_wrap_opens_for_a_recipient() -> Outcome {
    let (net, broker) = exchange().await?;
    let (fra, tur) = (net.agency("fra/ncb").id()?.clone(), net.agency("tur/ncb").id()?.clone());
    let (directory, other) = (broker.directory().clone(), tur.clone());
    broker.hand_over(move |envelope, recipient| {
        let honest = HostileBroker::honest(&directory, envelope, recipient);
        if is_receipt(envelope) || *recipient == other {
            return vec![honest];
        }
        // France gets the copy of Türkiye first, as it is and made out to France.
        let turkeys = HostileBroker::honest(&directory, envelope, &other);
        let disguised = made_out_to(&turkeys, &directory, &other, recipient);
        vec![turkeys, disguised, honest]
    });
    let both = accepted(&net, to_france().through("TUR")).await?;
    net.agency("fra/ncb").expect_notice(&both).await?;
    net.agency("tur/ncb").expect_notice(&both).await?;
    // What concerns Türkiye alone is handed to France as well, as it is and made out to France.
    let turkeys = accepted(&net, notices::deportation("KEN", "TUR").of("TUR")).await?;
    let taken = broker.taken(turkeys.id());
    let copy = HostileBroker::honest(broker.directory(), taken.first().expect("it was submitted"), &tur);
    broker.put(&fra, PRIORITY, &copy);
    broker.put(&fra, PRIORITY, &made_out_to(&copy, broker.directory(), &tur, &fra));
    acknowledged(&net, &broker, "fra/ncb").await?;

    assert_eq!(shown(&net, "fra/ncb").await?, [both.id()]);
    let reasons = set_aside(&net, "fra/ncb").await?;
    assert_eq!(reasons.len(), 4, "{reasons:#?}");
    told(
        &reasons,
        &[
            "exactly one key wrap, for fra/ncb",
            "the key wrap does not open",
            "fra/ncb is not among the recipients",
        ],
    );
    net.agency("tur/ncb").expect_notice(&turkeys).await?;
    broker.stop().await;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g03_a_broker_that_hands_over_everything_opens_nothing_to_who_is_not_cleared() -> Outcome {
    let net = Network::builder()
        .agency("ken/ncb")
        .agency(AgencySpec::new("fra/ncb").cleared_to(Classification::Restricted))
        .start()
        .await?;
    let broker = HostileBroker::take_over(&net).await?;
    broker.hand_over(|envelope, recipient| {
        let every: Vec<PortionIndex> = envelope.portions().iter().map(|portion| portion.index).collect();
        vec![envelope.for_recipient(recipient, &every).encode()]
    });
    let sent = accepted(&net, to_france().person_label("SECRET")).await?;
    let facts = net.agency("fra/ncb").expect_notice(&sent).await?;
    assert!(facts.portions.iter().all(|portion| portion.held), "not everything was handed over: {facts:?}");
    let opened = net.agency("fra/ncb").read(&sent, "Officer A. Example").await?.opened;
    let labels: Vec<_> = opened.iter().map(|portion| portion.label.as_str()).collect();
    assert_eq!(labels, ["RESTRICTED"]);
    // Nor does France sign for more than it could open.
    net.agency("ken/ncb").expect_receipt(&sent, "fra/ncb", "READ").await?;
    let status = net.agency("ken/ncb").status_of(&sent).await?;
    let restricted: Vec<_> = opened.iter().map(|portion| portion.index).collect();
    assert_eq!(status.recipients.first().map(|one| &one.portions), Some(&restricted));
    broker.stop().await;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g05_what_a_broker_repeats_reorders_and_replays_is_shown_once() -> Outcome {
    let (net, broker) = exchange().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let directory = broker.directory().clone();
    broker.hand_over(move |envelope, recipient| {
        // Receipts come twice, notices later.
        let copies = if is_receipt(envelope) { 2 } else { 0 };
        vec![HostileBroker::honest(&directory, envelope, recipient); copies]
    });
    let mut copies = Vec::new();
    let mut sent = BTreeSet::new();
    for _ in 0..3 {
        let id = accepted(&net, to_france()).await?.id();
        let taken = broker.taken(id);
        let envelope = taken.first().expect("it was submitted");
        copies.push(HostileBroker::honest(broker.directory(), envelope, fra.id()?));
        sent.insert(id);
    }
    let hand_over_again = || -> Outcome {
        // The newest first, each twice in a row and once as FLASH, which overtakes.
        for copy in copies.iter().rev() {
            broker.put(fra.id()?, PRIORITY, copy);
            broker.put(fra.id()?, PRIORITY, copy);
            broker.put(fra.id()?, Precedence::Flash, copy);
        }
        Ok(())
    };
    hand_over_again()?;
    for id in &sent {
        fra.expect_notice(*id).await?;
    }
    acknowledged(&net, &broker, "fra/ncb").await?;
    fra.kill().await?;
    fra.start().await?;
    hand_over_again()?;
    acknowledged(&net, &broker, "fra/ncb").await?;
    let inbox = shown(&net, "fra/ncb").await?;
    assert_eq!((inbox.len(), inbox.into_iter().collect::<BTreeSet<_>>()), (3, sent.clone()));
    assert_eq!(
        set_aside(&net, "fra/ncb").await?,
        Vec::<String>::new(),
        "a repetition is nothing to look into"
    );
    for id in sent {
        ken.expect_receipt(id, "fra/ncb", "DELIVERED").await?;
        acknowledged(&net, &broker, "ken/ncb").await?;
        assert_eq!(kinds(&ken.status_of(id).await?), ["DELIVERED"], "a receipt counted twice");
    }
    broker.stop().await;
    net.stop().await;
    Ok(())
}

/// A false answer: what it is, and how it is made of the true one and the broker's key.
type Lie = (&'static str, fn(Receipt, &SigningKey) -> SignedReceipt);

/// An hour: more than any two honest clocks differ.
const HOUR: Duration = Duration::from_secs(60 * 60);

const LIES: [Lie; 5] = [
    ("signed with a key of its own", |receipt, _| {
        receipt.sign(&SigningKey::generate(&mut UnwrapErr(getrandom::SysRng)))
    }),
    ("about another header", |mut receipt, key| {
        receipt.header_digest = valise_proto::crypto::sha256(&[b"another"]);
        receipt.sign(key)
    }),
    ("in the recipient's place", |mut receipt, key| {
        receipt.kind = ReceiptKind::Delivered;
        receipt.portions = PortionIndex::new(0).into_iter().collect();
        receipt.sign(key)
    }),
    ("dated before the notice was written", |mut receipt, key| {
        receipt.at = valise_proto::id::Timestamp::from_millis(receipt.at.millis() - millis(HOUR));
        receipt.sign(key)
    }),
    ("dated after the notice has expired", |mut receipt, key| {
        receipt.at = receipt.at.plus(9000 * HOUR);
        receipt.sign(key)
    }),
];

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[tokio::test(flavor = "multi_thread")]
async fn g06_no_false_answer_of_a_broker_counts_and_the_notice_is_submitted_again() -> Outcome {
    let (net, broker) = exchange().await?;
    for (what, lie) in LIES {
        let mut told = false;
        broker.answer_with(move |receipt, key| {
            let first = !std::mem::replace(&mut told, true);
            Some(if first { lie(receipt, key) } else { receipt.sign(key) })
        });
        let sent = accepted(&net, to_france()).await.map_err(|error| format!("after {what}: {error}"))?;
        assert!(broker.taken(sent.id()).len() > 1, "an answer {what} was believed");
        let receipts = net.agency("ken/ncb").client()?.notice(&sent.id()).await?.receipts;
        let of_broker: Vec<_> = receipts.iter().filter(|one| one.issuer.contains("/broker/")).collect();
        assert_eq!(of_broker.len(), 1, "{what}: {of_broker:?}");
    }
    broker.stop().await;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g06_what_a_broker_says_in_its_own_name_about_a_notice_it_took_does_not_count_for_a_recipient()
-> Outcome {
    let (net, broker) = exchange().await?;
    let ken = net.agency("ken/ncb");
    broker.hand_over(|_, _| Vec::new());
    let sent = accepted(&net, to_france()).await?;
    let taken = broker.taken(sent.id());
    let envelope = taken.first().expect("it was submitted");
    let say = |kind, about: &Envelope| -> Outcome {
        let mut receipt = broker.receipt(kind, about);
        if kind == ReceiptKind::Expired {
            receipt.recipient = Some(net.agency("fra/ncb").id()?.clone());
        } else {
            receipt.portions = PortionIndex::new(0).into_iter().collect();
        }
        broker.put_receipt(ken.id()?, PRIORITY, &receipt.sign(broker.receipt_key()).encode());
        Ok(())
    };
    say(ReceiptKind::Read, envelope)?;
    say(ReceiptKind::Expired, envelope)?;
    acknowledged(&net, &broker, "ken/ncb").await?;
    let reasons = set_aside(&net, "ken/ncb").await?;
    assert_eq!(reasons.len(), 2, "{reasons:#?}");
    told(
        &reasons,
        &["cannot be issued by spiffe://exchange.example/broker/b1", "has expired, which it does at"],
    );
    let status = ken.status_of(&sent).await?;
    assert_eq!((status.state.as_str(), kinds(&status)), ("ACCEPTED", Vec::new()));
    broker.stop().await;
    net.stop().await;
    Ok(())
}

/// The receipts that an agency holds about a notice, as a third party would be given them.
async fn receipts(net: &Network, agency: &str, id: NoticeId) -> Outcome<Vec<SignedReceipt>> {
    let held = net.agency(agency).with_node(async |node| node.desk().office().store().receipts(&id)).await?;
    Ok(held?)
}

#[tokio::test(flavor = "multi_thread")]
async fn g06_g08_a_broker_that_accepts_and_withholds_is_convicted_by_its_own_receipt() -> Outcome {
    let (net, broker) = exchange().await?;
    let ken = net.agency("ken/ncb");
    broker.hand_over(|_, _| Vec::new());
    let mut notice: Value = to_france().into();
    let respond_by = Clock::system().now().plus(Duration::from_secs(2));
    notice["respond_by"] = respond_by.to_string().into();
    let sent = accepted(&net, notice).await?;
    until("the end of the time for answers", DEADLINE, async || match ken.status_of(&sent).await {
        Ok(status) if status.deadline_passed => Ok(()),
        Ok(status) => Err(format!("{status:?}")),
        Err(error) => Err(error.to_string()),
    })
    .await?;
    // Nobody signed for it, and whoever holds the directory can tell who had it last.
    assert_eq!(kinds(&ken.status_of(&sent).await?), Vec::<&str>::new());
    let held = receipts(&net, "ken/ncb", sent.id()).await?;
    let [of_broker] = held.as_slice() else { return Err(format!("{held:?}").into()) };
    of_broker.verify(&net.directory()?)?;
    assert_eq!(of_broker.receipt().kind, ReceiptKind::Accepted);

    // A false refusal is in its own hand too, beside an envelope that anybody can verify.
    broker.answer_with(|mut receipt, key| {
        receipt.kind = ReceiptKind::Refused;
        receipt.refusal = Some(Refusal::new(RefusalCode::BadSignature, "the signature does not verify"));
        Some(receipt.sign(key))
    });
    let refused = ken.send(to_france()).await?;
    until("the refusal", DEADLINE, async || match ken.status_of(&refused).await {
        Ok(status) if status.state == "REFUSED" => Ok(()),
        Ok(status) => Err(status.state),
        Err(error) => Err(error.to_string()),
    })
    .await?;
    let held = receipts(&net, "ken/ncb", refused.id()).await?;
    let [of_broker] = held.as_slice() else { return Err(format!("{held:?}").into()) };
    of_broker.verify(&net.directory()?)?;
    let envelope = ken.with_node(async |node| node.desk().office().store().outgoing_bytes(&refused.id()));
    let envelope = envelope.await??.expect("what was refused is kept");
    let envelope = Envelope::decode(envelope, &valise_proto::wire::limits::Limits::DEFAULT)?;
    assert_eq!(of_broker.receipt().header_digest, envelope.header_digest());
    envelope.verify_submitted(&net.directory()?, Clock::system().now())?;
    broker.stop().await;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g06_a_portion_or_a_receipt_that_a_broker_withholds_is_missed_at_both_ends() -> Outcome {
    let (net, broker) = exchange().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    // France may access both portions; the broker keeps the first and every receipt.
    broker.hand_over(|envelope, recipient| {
        let second: Vec<PortionIndex> = PortionIndex::new(1).into_iter().collect();
        let kept = is_receipt(envelope);
        if kept { Vec::new() } else { vec![envelope.for_recipient(recipient, &second).encode()] }
    });
    let sent = accepted(&net, to_france().person_label("SECRET")).await?;
    let facts = fra.expect_notice(&sent).await?;
    let held: Vec<_> = facts.portions.iter().map(|portion| portion.held).collect();
    assert_eq!(held, [false, true], "what is missing is not told");
    let about_it = async || {
        let stated = receipts(&net, "fra/ncb", sent.id()).await.map_err(|error| error.to_string())?;
        stated.into_iter().next().ok_or_else(|| "no receipt".to_owned())
    };
    let stated = until("the receipt in France's own records", DEADLINE, about_it).await?;
    assert_eq!(stated.receipt().portions, PortionIndex::new(1).into_iter().collect::<Vec<_>>());
    // Kenya is without a receipt, which it can see; France's own says what it was handed, and when.
    assert_eq!(kinds(&ken.status_of(&sent).await?), Vec::<&str>::new());
    // An honest broker carries what France says from now on, and Kenya sees which portion nobody signed for.
    broker.hand_over_honestly();
    fra.read(&sent, "Officer A. Example").await?;
    ken.expect_receipt(&sent, "fra/ncb", "READ").await?;
    let status = ken.status_of(&sent).await?;
    assert_eq!(status.recipients.first().map(|one| one.portions.as_slice()), Some(&[1][..]));
    broker.stop().await;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g02_g12_a_directory_of_the_brokers_making_or_an_old_one_is_refused() -> Outcome {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").agency("tur/ncb").start().await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    let old = net.directory()?;
    let version = net.suspend("tur/ncb").await?;
    ken.expect_directory(version).await?;
    let broker = HostileBroker::take_over(&net).await?;
    let serve = async |directory: &Directory| -> Outcome<String> {
        let publication = Publication { directory: directory.encoded().clone(), crls: Vec::new() };
        broker.publish(publication);
        let refused = until("the refusal of the directory", DEADLINE, async || {
            let status = ken.client().map_err(|error| error.to_string())?.status().await;
            let refused = status.map_err(|error| error.to_string())?.directory.refused;
            refused.map(|refused| refused.reason).ok_or_else(|| "nothing was refused".to_owned())
        });
        Ok(refused.await?)
    };
    let until_connected = async || -> Outcome { Ok(ken.expect_connected().await?) };
    until_connected().await?;

    // An old one, in which a suspended agency is in good standing.
    let refused = serve(&old).await?;
    assert!(refused.contains("older"), "{refused}");
    let suspended = ken.send(notices::deportation("KEN", "TUR").of("TUR")).await;
    assert!(format!("{suspended:?}").contains("suspended"), "{suspended:?}");

    // One of its own, in which it can open what is sealed to France.
    let own = SealingKey::generate(&mut UnwrapErr(getrandom::SysRng));
    let mut content = old.content().clone();
    content.version = version + 1;
    let france = content.agencies.get_mut(fra.id()?).expect("France is listed");
    let key = france.sealing_keys.first_mut().expect("a sealing key");
    (key.key_id, key.key) = (own.public().key_id(), own.public().clone());
    let forged = content.sign(broker.receipt_key())?;
    until_connected().await?;
    let refused = serve(&forged).await?;
    assert!(refused.contains("refused"), "{refused}");
    assert_eq!(ken.client()?.status().await?.directory.version, version);

    let sent = accepted(&net, to_france()).await?;
    fra.expect_notice(&sent).await?;
    let taken = broker.taken(sent.id());
    let envelope = taken.first().expect("it was submitted");
    let handed =
        envelope.for_recipient(fra.id()?, &envelope.header().permitted(&content_clearance(&net, fra.id()?)?));
    let verified = handed.verify_delivered(&net.directory()?, fra.id()?)?;
    let opened = verified.open(fra.id()?, std::slice::from_ref(&own));
    assert!(opened.is_err(), "the broker opened a notice");
    broker.stop().await;
    net.stop().await;
    Ok(())
}

fn content_clearance(net: &Network, agency: &AgencyId) -> Outcome<valise_proto::label::Clearance> {
    Ok(net.directory()?.agency(agency).expect("it is listed").clearance.clone())
}
