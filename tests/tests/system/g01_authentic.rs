//! G1: nothing counts but what its originator signed, with a key that the directory lists for it at that time.
//!
//! Against a real broker stands an impostor: it holds an agency's real keys and keeps no rule. Every refusal is proved
//! by a receipt, leaves nothing behind, and does not stand in the way of the honest notice that follows.

#![allow(clippy::expect_used, reason = "tests stop at the first surprise")]

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use rand_core::UnwrapErr;
use valise_agent::clock::Clock;
use valise_agent::enrol;
use valise_agent::folder::Folder;
use valise_certs::{Profile, RevocationReason};
use valise_proto::crypto::{SigningKey, context};
use valise_proto::directory::Directory;
use valise_proto::envelope::{Envelope, Precedence};
use valise_proto::id::{NoticeId, Role};
use valise_proto::label::Classification;
use valise_proto::receipt::{ReceiptError, ReceiptKind, SignedReceipt};
use valise_proto::refusal::RefusalCode;
use valise_tests::network::TRUST_DOMAIN;
use valise_tests::raw::{Impostor, RawError, RawSession, signed_anew};
use valise_tests::wait::until;
use valise_tests::{AgencySpec, DEADLINE, Network, notices};
use valise_transport::CloseReason;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// How soon a member that was taken out loses its connection after the authority's files have changed.
const OUT_WITHIN: Duration = Duration::from_secs(10);

/// `ken/ncb` and `tur/border`, whose keys are in other hands, and `fra/ncb`, which is to be deceived.
async fn exchange() -> Outcome<Network> {
    let net = Network::builder()
        .agency(AgencySpec::new("ken/ncb").not_running())
        .agency(AgencySpec::new("tur/border").not_running())
        .agency("fra/ncb");
    Ok(net.start().await?)
}

fn impostor(net: &Network, agency: &str) -> Outcome<Impostor> {
    let mut impostor = Impostor::of(&net.agency(agency).folder()?)?;
    impostor.set_directory(net.directory()?);
    Ok(impostor)
}

/// A notice to `fra/ncb` in order, such as its officers would be shown.
fn in_order(sender: &Impostor, net: &Network) -> Outcome<Envelope> {
    let notice = notices::deportation("KEN", "FRA").of("FRA");
    Ok(sender.seal(sender.notice_of(&[net.agency("fra/ncb").id()?], notice)?)?)
}

async fn connect(net: &Network, peer: &Impostor) -> Outcome<RawSession> {
    Ok(peer.connect(net.broker().listen_addr().await.expect("the broker listens")).await?)
}

/// The notices in the inbox of `fra/ncb`, and how many deliveries it set aside.
async fn at_the_recipient(net: &Network) -> Outcome<(Vec<NoticeId>, usize)> {
    let fra = net.agency("fra/ncb");
    let set_aside = fra.client()?.status().await?.set_aside.len();
    Ok((fra.inbox().await?.iter().map(|entry| entry.notice_id).collect(), set_aside))
}

/// The broker refuses `frame` from `peer` for this reason, proves it, and keeps nothing of it.
async fn is_refused(
    net: &Network,
    peer: &Impostor,
    (what, frame): (&str, Bytes),
    code: RefusalCode,
    reason: &str,
) -> Outcome {
    let (log, before) = (net.broker().status().await?.log_entries, at_the_recipient(net).await?);
    let mut stream = connect(net, peer).await?.submit(Precedence::Priority).await?;
    stream.send(frame).await?;
    let (_, receipt) = stream.answer().await?;
    let refusal = receipt.receipt().refusal.clone();
    let refusal = refusal.ok_or_else(|| format!("{what} was taken: {receipt:?}"))?;
    assert_eq!(refusal.code, code, "{what}: {refusal}");
    assert!(refusal.detail.contains(reason), "{what}: `{reason}` is not told: {refusal}");
    proves(&receipt, &net.directory()?);
    assert_eq!(net.broker().status().await?.log_entries, log, "{what} stands in the log");

    // Deliveries keep their order: had anything come of the forgery, it would have come before this.
    let honest = goes_through(net, peer, in_order(peer, net)?).await?;
    let (mut inbox, set_aside) = at_the_recipient(net).await?;
    inbox.retain(|id| *id != honest);
    assert_eq!((inbox, set_aside), before, "something came of {what} at its recipient");
    Ok(())
}

/// A refusal convinces whoever holds the directory, and rests on the broker's listed key alone.
fn proves(receipt: &SignedReceipt, directory: &Directory) {
    assert_eq!(receipt.receipt().kind, ReceiptKind::Refused);
    receipt.verify(directory).expect("the refusal does not verify under the broker's listed key");
    let stranger = SigningKey::generate(&mut UnwrapErr(getrandom::SysRng));
    let mut content = directory.content().clone();
    for key in content.brokers.values_mut().flat_map(|broker| &mut broker.receipt_keys) {
        (key.key_id, key.key) = (stranger.key_id(), stranger.verifying_key());
    }
    let other = content.sign(&stranger).expect("a directory of somebody else");
    let under_another = receipt.verify(&other);
    assert!(matches!(under_another, Err(ReceiptError::UnknownKey { .. })), "{under_another:?}");
    assert!(receipt.signed().verify(context::RECEIPT, &stranger.verifying_key()).is_err());
    let mut altered = receipt.signed().clone();
    altered.body = flipped(&altered.body, receipt.receipt().header_digest.as_bytes());
    let altered = SignedReceipt::from_signed(altered).expect("a receipt about something else");
    assert_eq!(altered.verify(directory), Err(ReceiptError::BadSignature));
}

/// The broker accepts `envelope` from `peer`, and `fra/ncb` shows it.
async fn goes_through(net: &Network, peer: &Impostor, envelope: Envelope) -> Outcome<NoticeId> {
    let log = net.broker().status().await?.log_entries;
    let mut stream = connect(net, peer).await?.submit(Precedence::Priority).await?;
    let receipt = stream.ask(envelope.encode()).await?;
    assert_eq!(receipt.kind, ReceiptKind::Accepted, "an honest notice was refused: {receipt:?}");
    let (fra, id) = (net.agency("fra/ncb"), envelope.header().notice_id);
    assert_eq!(fra.expect_notice(id).await?.originator, *peer.agency());
    assert_eq!(fra.read(id, "Officer A. Example").await?.opened.len(), 1);
    // The notice, and the receipts DELIVERED and READ about it.
    until("three more entries of the log", DEADLINE, async || match net.broker().status().await {
        Ok(status) if status.log_entries == log + 3 => Ok(()),
        Ok(status) => Err(format!("{} after {log}", status.log_entries)),
        Err(error) => Err(error.to_string()),
    })
    .await?;
    Ok(id)
}

/// The bytes with the last bit of `part` turned.
fn flipped(bytes: &[u8], part: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    let at = bytes.windows(part.len()).position(|window| window == part).expect("the part is in the bytes");
    if let Some(last) = bytes.get_mut(at + part.len() - 1) {
        *last ^= 1;
    }
    bytes.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn g01_what_its_originator_did_not_sign_is_refused_and_leaves_nothing_behind() -> Outcome {
    let net = exchange().await?;
    let (ken, tur) = (impostor(&net, "ken/ncb")?, impostor(&net, "tur/border")?);
    let stranger = SigningKey::generate(&mut UnwrapErr(getrandom::SysRng));
    let envelope = in_order(&ken, &net)?;
    let signed_with = |key: &SigningKey| signed_anew(&envelope, envelope.header_bytes(), key);
    let no_key = "lists no signing key";
    let forgeries = [
        ("a stranger's signature", signed_with(&stranger), RefusalCode::KeyNotActive, no_key),
        (
            "another agency's signature",
            signed_with(tur.vault().signing_key()),
            RefusalCode::KeyNotActive,
            no_key,
        ),
        (
            "a broken signature",
            flipped(&envelope.encode(), &envelope.signature().value),
            RefusalCode::BadSignature,
            "does not verify",
        ),
        (
            "a header altered after it was signed",
            flipped(&envelope.encode(), envelope.header().notice_id.as_bytes()),
            RefusalCode::BadSignature,
            "does not verify",
        ),
    ];
    for (what, frame, code, reason) in forgeries {
        is_refused(&net, &ken, (what, frame), code, reason).await?;
    }
    assert_eq!(signed_with(ken.vault().signing_key()), envelope.encode(), "the forgeries differ in more");
    // The true one, whose id the forgeries bore, is still new.
    goes_through(&net, &ken, envelope).await?;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g01_nobody_submits_in_anothers_name() -> Outcome {
    let net = exchange().await?;
    let (ken, tur) = (impostor(&net, "ken/ncb")?, impostor(&net, "tur/border")?);
    let genuine = in_order(&ken, &net)?;
    let own_words = signed_anew(&genuine, genuine.header_bytes(), tur.vault().signing_key());
    let reason = "the connection is of tur/border";
    for (what, frame) in [("a notice that was overheard", genuine.encode()), ("its own words", own_words)] {
        is_refused(&net, &tur, (what, frame), RefusalCode::NotOriginator, reason).await?;
    }
    goes_through(&net, &ken, genuine).await?;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g01_a_key_counts_from_the_directory_that_lists_it_to_the_one_that_no_longer_does() -> Outcome {
    let net = exchange().await?;
    let old = impostor(&net, "ken/ncb")?;
    // ken/ncb makes new keys and is enrolled with them; nothing is published yet.
    let (folder, now) = (Folder::new(net.folder().join("ken-ncb-anew")), Clock::system().now());
    let request = enrol::init(&folder, TRUST_DOMAIN.parse()?, old.agency().clone(), now)?;
    let mut profile = Profile::up_to(Classification::Secret);
    profile.contact_point = true;
    let bundle = net.with_authority(|authority| {
        authority.revoke(&Role::Agency(old.agency().clone()), RevocationReason::Superseded, now)?;
        Ok::<_, Box<dyn Error>>(authority.enrol(&request, &profile, now)?)
    })?;
    enrol::join(&folder, &bundle, now)?;
    let mut new = Impostor::of(&folder)?;
    let no_key = "lists no signing key";

    let envelope = in_order(&old, &net)?;
    let frame = signed_anew(&envelope, envelope.header_bytes(), new.vault().signing_key());
    is_refused(&net, &old, ("a key not yet listed", frame), RefusalCode::KeyNotActive, no_key).await?;

    let version = net.publish().await?;
    net.agency("fra/ncb").expect_directory(version).await?;
    new.set_directory(net.directory()?);
    let envelope = in_order(&new, &net)?;
    let frame = signed_anew(&envelope, envelope.header_bytes(), old.vault().signing_key());
    is_refused(&net, &new, ("a key no longer listed", frame), RefusalCode::KeyNotActive, no_key).await?;
    net.stop().await;
    Ok(())
}

/// Why a new connection of `peer` comes to nothing.
async fn turned_away(net: &Network, peer: &Impostor) -> Outcome<CloseReason> {
    let broker = net.broker().listen_addr().await.expect("the broker listens");
    let connection = match peer.dial(broker).await {
        Ok(connection) => connection,
        Err(RawError::Closed(reason)) => return Ok(reason),
        Err(error) => return Err(error.into()),
    };
    Ok(tokio::time::timeout(OUT_WITHIN, connection.closed()).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn g01_a_suspended_agency_is_not_heard_until_it_is_reinstated() -> Outcome {
    let net = exchange().await?;
    let ken = impostor(&net, "ken/ncb")?;
    goes_through(&net, &ken, in_order(&ken, &net)?).await?;
    let (log, before) = (net.broker().status().await?.log_entries, at_the_recipient(&net).await?);
    let mut session = connect(&net, &ken).await?;
    let mut stream = session.submit(Precedence::Priority).await?;

    net.suspend("ken/ncb").await?;
    let reason = session.goodbye().await?.expect("it is told why");
    assert_eq!(reason.code, RefusalCode::Suspended);
    assert!(reason.detail.contains("ken/ncb is suspended since"), "{reason}");
    // On the connection it still has it gets no answer, or the same one.
    let attempt = async {
        stream.send(in_order(&ken, &net).expect("a notice").encode()).await?;
        stream.answer().await
    };
    if let Ok((_, receipt)) = attempt.await {
        assert_eq!(receipt.receipt().refusal.as_ref().map(|refusal| refusal.code), Some(reason.code));
    }
    for _ in 0..2 {
        let CloseReason::Peer { code, text } = turned_away(&net, &ken).await? else {
            panic!("a suspended agency was not told")
        };
        assert_eq!(code, u64::from(RefusalCode::Suspended.number()), "{text}");
        assert!(text.contains("suspended"), "{text}");
    }
    assert_eq!(net.broker().status().await?.log_entries, log, "something of a suspended agency was taken");
    assert_eq!(at_the_recipient(&net).await?, before);

    net.reinstate("ken/ncb").await?;
    goes_through(&net, &ken, in_order(&ken, &net)?).await?;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g01_a_revoked_agency_is_out_within_ten_seconds_and_stays_out() -> Outcome {
    let net = exchange().await?;
    let (ken, tur) = (impostor(&net, "ken/ncb")?, impostor(&net, "tur/border")?);
    goes_through(&net, &ken, in_order(&ken, &net)?).await?;
    let (log, before) = (net.broker().status().await?.log_entries, at_the_recipient(&net).await?);
    let mut session = connect(&net, &ken).await?;
    // Nobody tells the broker: the files change, as they do where they are copied by hand.
    net.with_authority(|authority| {
        let (role, now) = (Role::Agency(ken.agency().clone()), Clock::system().now());
        authority.revoke(&role, RevocationReason::KeyCompromise, now)?;
        authority.publish(&net.broker().publication(), now)?;
        Ok::<_, Box<dyn Error>>(())
    })?;
    let reason = tokio::time::timeout(OUT_WITHIN, session.goodbye()).await??.expect("it is told why");
    // The revocation list and the directory say it, whichever is read first.
    let codes = [RefusalCode::KeyNotActive, RefusalCode::Revoked];
    assert!(codes.contains(&reason.code), "{reason}");
    let end = tokio::time::timeout(OUT_WITHIN, session.connection().closed()).await?;
    let told = matches!(&end, CloseReason::Peer { code, .. } if *code == u64::from(reason.code.number()));
    assert!(told, "the connection ended with {end:?}, the session with {reason}");

    let version = net.directory()?.version();
    net.broker().reload(version).await?;
    for _ in 0..2 {
        let end = turned_away(&net, &ken).await?;
        assert!(matches!(end, CloseReason::Refused(_)), "a revoked certificate was not refused: {end:?}");
    }
    assert_eq!(net.broker().status().await?.log_entries, log, "something of a revoked agency was taken");
    assert_eq!(at_the_recipient(&net).await?, before);
    goes_through(&net, &tur, in_order(&tur, &net)?).await?;
    net.stop().await;
    Ok(())
}
