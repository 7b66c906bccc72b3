//! G12: what is unknown, stale, older or not the authority's is refused, with the reason; nothing changes; and what is in
//! order goes on.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests stop at the first surprise")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use valise_agent::api::client::ClientError;
use valise_agent::clock::Clock;
use valise_agent::enrol;
use valise_broker::server::{DirectoryStatus, RevocationStatus};
use valise_certs::authority::{CRLS_FILE, DIRECTORY_FILE};
use valise_certs::{Authority, Validity};
use valise_proto::directory::Directory;
use valise_proto::envelope::{Envelope, Precedence};
use valise_proto::id::Timestamp;
use valise_proto::label::Classification;
use valise_proto::refusal::RefusalCode;
use valise_proto::wire::session::VERSION;
use valise_tests::raw::{Impostor, RawSession, signed_anew};
use valise_tests::wait::until;
use valise_tests::{DEADLINE, Network, NetworkError, notices};
use valise_transport::CloseReason;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const MINUTE: Duration = Duration::from_secs(60);
/// How far the authority's clock is set back to publish what has run out; it was founded five minutes back.
const BACK: Duration = Duration::from_secs(4 * 60);

fn now() -> Timestamp {
    Clock::system().now()
}

fn earlier(by: Duration) -> Timestamp {
    Timestamp::from_millis(now().millis() - u64::try_from(by.as_millis()).expect("a short time"))
}

async fn exchange() -> Outcome<Network> {
    Ok(Network::builder().agency("ken/ncb").agency("fra/ncb").agency("tur/border").start().await?)
}

#[track_caller]
fn told(sentence: &str, parts: &[&str]) {
    for part in parts {
        assert!(sentence.contains(part), "`{part}` is not told: {sentence}");
    }
}

/// What must be the same after something was refused.
#[derive(Debug, PartialEq)]
struct Standing {
    directory: DirectoryStatus,
    revocation_lists: Vec<RevocationStatus>,
    log_entries: u64,
}

async fn standing(net: &Network) -> Outcome<Standing> {
    let status = net.broker().status().await?;
    let (directory, revocation_lists) = (status.directory, status.revocation_lists);
    Ok(Standing { directory, revocation_lists, log_entries: status.log_entries })
}

/// A notice in order goes from `ken/ncb` to `fra/ncb`, and its receipt comes back.
async fn goes_through(net: &Network) -> Outcome {
    let log = net.broker().status().await?.log_entries;
    let sent = net.agency("ken/ncb").send(notices::deportation("KEN", "FRA").of("FRA")).await?;
    net.agency("fra/ncb").expect_notice(&sent).await?;
    net.agency("ken/ncb").expect_receipt(&sent, "fra/ncb", "DELIVERED").await?;
    assert_eq!(net.broker().status().await?.log_entries, log + 2, "the notice and its receipt");
    Ok(())
}

/// Has the authority sign a publication as if it were some minutes ago, and puts one of its files in the place of what
/// was published.
fn publish_one(net: &Network, file: &str, validity: Validity) -> Outcome {
    let aside = net.folder().join("aside");
    net.with_authority(|authority| {
        authority.set_validity(validity);
        let published = authority.publish(&aside, earlier(BACK));
        authority.set_validity(Validity::default());
        published
    })?;
    fs::copy(aside.join(file), net.broker().publication().join(file))?;
    Ok(())
}

/// The files that can run out, for how long to make them count, and what is said once they have.
fn run_out() -> [(&'static str, Validity, &'static [&'static str]); 2] {
    let usual = Validity::default();
    [
        (DIRECTORY_FILE, Validity { directory: MINUTE, ..usual }, &["directory.valise", "expired at"]),
        (CRLS_FILE, Validity { crls: MINUTE, ..usual }, &["crls.pem", "ran out at"]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn g12_a_broker_does_not_start_by_what_has_run_out() -> Outcome {
    for as_process in [false, true] {
        let network = Network::builder().agency("ken/ncb").agency("fra/ncb");
        let network = if as_process { network.broker_as_process() } else { network };
        let net = network.start().await?;
        goes_through(&net).await?;
        let before = standing(&net).await?;
        let publication = net.broker().publication();
        for (file, validity, reason) in run_out() {
            let good = fs::read(publication.join(file))?;
            net.broker().stop().await?;
            publish_one(&net, file, validity)?;
            let refused = net.broker().start().await;
            let Err(NetworkError::Start { problem, .. }) = refused else {
                panic!("it runs by {file}, which has run out: {refused:?}")
            };
            told(&problem, reason);
            told(&problem, &["valise-ca publish"]);
            fs::write(publication.join(file), good)?;
            // What did not start can be killed all the same.
            net.broker().kill().await;
            net.broker().start().await?;
            assert_eq!(standing(&net).await?, before, "a start that was refused changed something");
        }
        goes_through(&net).await?;
        net.stop().await;
    }
    Ok(())
}

/// The broker refuses to take the files as they lie there now into force, says why, and goes on.
async fn refused_while_running(net: &Network, reason: &[&str]) -> Outcome {
    let before = standing(net).await?;
    let refused = net.broker().reload(before.directory.version).await;
    let Err(NetworkError::State(problem)) = refused else {
        return Err(format!("not refused: {reason:?}").into());
    };
    told(&problem, reason);
    assert_eq!(standing(net).await?, before, "something changed, though the broker said: {problem}");
    goes_through(net).await
}

#[tokio::test(flavor = "multi_thread")]
async fn g12_a_running_broker_keeps_to_the_newest_it_had() -> Outcome {
    let net = exchange().await?;
    let publication = net.broker().publication();
    let old = [DIRECTORY_FILE, CRLS_FILE].map(|file| fs::read(publication.join(file)));
    let [old_directory, old_crls] = old;
    let (old_directory, old_crls, first) = (old_directory?, old_crls?, net.directory()?.version());
    let newest = net.clear("tur/border", Classification::Restricted).await?;
    let good_crls = fs::read(publication.join(CRLS_FILE))?;

    fs::write(publication.join(DIRECTORY_FILE), &old_directory)?;
    let older = format!("directory version {first} is older than version {newest}");
    refused_while_running(&net, &[&older, "valise-ca publish"]).await?;
    fs::write(publication.join(CRLS_FILE), &old_crls)?;
    refused_while_running(&net, &[&older, "crls.pem", "is older than the one this broker holds"]).await?;
    fs::write(publication.join(CRLS_FILE), good_crls)?;

    for (file, validity, reason) in run_out() {
        let good = fs::read(publication.join(file))?;
        publish_one(&net, file, validity)?;
        refused_while_running(&net, reason).await?;
        fs::write(publication.join(file), good)?;
    }

    let newer = net.publish().await?;
    assert!(newer > newest);
    assert_eq!(standing(&net).await?.directory.version, newer);
    goes_through(&net).await?;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g12_a_directory_from_a_restored_backup_of_the_authority_is_refused() -> Outcome {
    let net = exchange().await?;
    let mut backup = net.fork_authority()?;
    let suspended = net.suspend("tur/border").await?;
    // The backup knows nothing of the suspension, and its next directory has the same version.
    let aside = net.folder().join("aside");
    let forked = backup.publish(&aside, now())?.version;
    assert_eq!(forked, suspended, "the two authorities do not contradict each other");
    fs::copy(aside.join(DIRECTORY_FILE), net.broker().publication().join(DIRECTORY_FILE))?;
    let fork = format!("two different directories carry version {forked}");
    refused_while_running(&net, &[&fork, "publish again with a higher version"]).await?;
    // The suspension is still in force, at the broker as at the sender.
    net.agency("tur/border").expect_disconnected().await?;
    let refused = net.agency("ken/ncb").send(notices::deportation("KEN", "TUR").of("TUR")).await;
    let Err(NetworkError::Client(ClientError::Refused(facts))) = refused else { panic!("{refused:?}") };
    told(&format!("{facts:?}"), &["tur/border, is suspended in directory version"]);
    net.publish().await?;
    goes_through(&net).await?;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g12_nothing_moves_by_a_directory_that_runs_out_until_there_is_a_newer_one() -> Outcome {
    let net = exchange().await?;
    goes_through(&net).await?;
    let (ken, fra) = (net.agency("ken/ncb"), net.agency("fra/ncb"));
    // Accepted, but not fetched before the end.
    fra.stop().await?;
    let waiting = ken.send(notices::deportation("KEN", "FRA").of("FRA")).await?;
    ken.expect_accepted(&waiting).await?;
    let short = Validity { directory: BACK + Duration::from_secs(3), ..Validity::default() };
    publish_one(&net, DIRECTORY_FILE, short)?;
    let last = net.directory()?;
    net.broker().reload(last.version()).await?;
    ken.expect_directory(last.version()).await?;
    let impostor = impostor(&net, "ken/ncb")?;
    let envelope = in_order(&impostor, &net)?;
    let session = connect(&net, &impostor).await?;
    let mut stream = session.submit(Precedence::Priority).await?;
    let before = standing(&net).await?;
    until("the end of the directory", DEADLINE, async || match last.check_fresh(now()) {
        Ok(()) => Err("it still counts"),
        Err(_) => Ok(()),
    })
    .await?;

    let ran_out = format!("directory version {} expired at", last.version());
    let refusal = stream.ask(envelope.encode()).await?.refusal.expect("it was accepted");
    assert_eq!(refusal.code, RefusalCode::DirectoryStale);
    told(&refusal.detail, &[&ran_out]);
    let CloseReason::Peer { code, text } = turned_away(&net, &impostor).await? else { panic!("not told") };
    assert_eq!(code, u64::from(RefusalCode::DirectoryStale.number()));
    told(&text, &[&ran_out]);
    let refused = ken.send(notices::deportation("KEN", "FRA").of("FRA")).await;
    let Err(NetworkError::Client(ClientError::Refused(facts))) = refused else { panic!("{refused:?}") };
    assert_eq!(facts.code, "DIRECTORY_STALE");
    told(&facts.message, &[&ran_out]);
    fra.start().await?;
    fra.expect_disconnected_because(&ran_out).await?;
    assert!(valise_tests::network::is_unknown(
        &fra.client()?.notice(&waiting.id()).await.expect_err("it came").into()
    ));
    assert_eq!(standing(&net).await?, before);

    net.publish().await?;
    fra.expect_notice(&waiting).await?;
    ken.expect_receipt(&waiting, "fra/ncb", "DELIVERED").await?;
    goes_through(&net).await?;
    net.stop().await;
    Ok(())
}

fn impostor(net: &Network, agency: &str) -> Outcome<Impostor> {
    let mut impostor = Impostor::of(&net.agency(agency).folder()?)?;
    impostor.set_directory(net.directory()?);
    Ok(impostor)
}

fn in_order(sender: &Impostor, net: &Network) -> Outcome<Envelope> {
    let notice = notices::deportation("KEN", "FRA").of("FRA");
    Ok(sender.seal(sender.notice_of(&[net.agency("fra/ncb").id()?], notice)?)?)
}

async fn connect(net: &Network, peer: &Impostor) -> Outcome<RawSession> {
    Ok(peer.connect(net.broker().listen_addr().await.expect("the broker listens")).await?)
}

async fn turned_away(net: &Network, peer: &Impostor) -> Outcome<CloseReason> {
    let connection = peer.dial(net.broker().listen_addr().await.expect("the broker listens")).await?;
    Ok(tokio::time::timeout(DEADLINE, connection.closed()).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn g12_an_agent_of_a_wire_version_nobody_knows_gets_no_session() -> Outcome {
    let net = exchange().await?;
    goes_through(&net).await?;
    let (impostor, before) = (impostor(&net, "ken/ncb")?, standing(&net).await?);
    let broker = net.broker().listen_addr().await.expect("the broker listens");
    for versions in [vec![VERSION + 1], vec![0, VERSION + 1, VERSION + 2], vec![]] {
        let mut session = RawSession::open(impostor.dial(broker).await?).await?;
        session.hello(&versions).await?;
        let reason = session.goodbye().await?.expect("it is told why");
        assert_eq!(reason.code, RefusalCode::UnsupportedVersion);
        let spoken = format!("the agent speaks {versions:?}");
        told(&reason.detail, &[&format!("this broker speaks wire version {VERSION}"), &spoken]);
    }
    // Whoever speaks another one beside ours is welcome.
    let mut session = RawSession::open(impostor.dial(broker).await?).await?;
    session.hello(&[VERSION + 1, VERSION]).await?;
    let mut stream = session.submit(Precedence::Priority).await?;
    assert_eq!(standing(&net).await?, before);
    let receipt = stream.ask(in_order(&impostor, &net)?.encode()).await?;
    assert_eq!(receipt.refusal, None);
    net.stop().await;
    Ok(())
}

/// What no version of this project writes, each signed by `key` as it stands there, and what is said to it.
fn unknown_things(
    impostor: &Impostor,
    envelope: &Envelope,
) -> Vec<(&'static str, Bytes, RefusalCode, &'static str)> {
    let header = envelope.header_bytes();
    let signed = |header: Vec<u8>| signed_anew(envelope, &header, impostor.vault().signing_key());
    // A header begins with its version (field 1), the notice id (field 2, 16 bytes) and the kind (field 3).
    let with = |at: usize, value: u8| {
        let mut header = header.to_vec();
        header[at] = value;
        header
    };
    assert_eq!((&header[..2], header[20]), (&[0x08, 1][..], 0x18), "a header is not written as it was");
    // Field 17, which is the next after those of version 1, is 5.
    let extra_field = [header, &[0x88, 0x01, 5][..]].concat();
    // The version again, in three bytes where two would do.
    let long_winded = [&[0x08, 0x81, 0x00][..], &header[2..]].concat();
    let extra_part = [&envelope.encode()[..], &[0x28, 1]].concat();
    vec![
        (
            "a version",
            signed(with(1, 2)),
            RefusalCode::UnsupportedVersion,
            "header is of version 2; this node speaks version 1",
        ),
        (
            "a field of a header",
            signed(extra_field),
            RefusalCode::Malformed,
            "header holds something that version 1 does not know",
        ),
        (
            "another way to write a header",
            signed(long_winded),
            RefusalCode::Malformed,
            "header holds something that version 1 does not know",
        ),
        ("a kind", signed(with(21, 99)), RefusalCode::Malformed, "99 is not a kind of notice"),
        (
            "a part of an envelope",
            extra_part.into(),
            RefusalCode::Malformed,
            "envelope holds something that version 1 does not know",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn g12_envelopes_with_anything_unknown_are_refused_with_the_reason() -> Outcome {
    let net = exchange().await?;
    goes_through(&net).await?;
    let (impostor, before) = (impostor(&net, "ken/ncb")?, standing(&net).await?);
    let envelope = in_order(&impostor, &net)?;
    let mut cases = unknown_things(&impostor, &envelope);
    let elsewhere = "ELSEWHERE".parse()?;
    let foreign = impostor.notice(&[net.agency("fra/ncb").id()?], "RESTRICTED", b"content");
    let foreign = impostor.seal_under(foreign, &elsewhere)?.encode();
    let reason = "the labels are of policy ELSEWHERE; this exchange uses EXCHANGE-EXAMPLE";
    cases.push(("a policy of labels", foreign, RefusalCode::LabelPolicy, reason));

    let session = connect(&net, &impostor).await?;
    let mut stream = session.submit(Precedence::Priority).await?;
    for (what, frame, code, reason) in cases {
        stream.send(frame).await?;
        let (_, receipt) = stream.answer().await?;
        let refusal = receipt.receipt().refusal.clone();
        let refusal = refusal.unwrap_or_else(|| panic!("{what} that nobody knows was accepted"));
        assert_eq!(refusal.code, code, "{what}: {refusal}");
        told(&refusal.detail, &[reason]);
        receipt.verify(&net.directory()?)?;
        assert_eq!(standing(&net).await?, before, "{what} that nobody knows changed something");
    }
    assert_eq!(stream.ask(envelope.encode()).await?.refusal, None, "the same without anything unknown");
    net.agency("fra/ncb").expect_notice(envelope.header().notice_id).await?;
    assert_eq!(net.agency("fra/ncb").inbox().await?.len(), 2);
    assert!(net.agency("fra/ncb").client()?.status().await?.set_aside.is_empty());
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g12_a_revocation_list_from_a_restored_backup_of_the_authority_is_refused() -> Outcome {
    let net = exchange().await?;
    let mut backup = net.fork_authority()?;
    let revoked = impostor(&net, "tur/border")?;
    let version = net.revoke("tur/border").await?;
    // The backup knows nothing of the revocation, and its next list has the same number.
    let aside = net.folder().join("aside");
    assert_eq!(backup.publish(&aside, now())?.version, version, "the two do not contradict each other");
    fs::copy(aside.join(CRLS_FILE), net.broker().publication().join(CRLS_FILE))?;
    refused_while_running(&net, &["crls.pem", "two different lists of", "carry the same number"]).await?;
    let end = turned_away(&net, &revoked).await?;
    assert!(matches!(end, CloseReason::Refused(_)), "a revoked certificate is believed again: {end:?}");
    net.publish().await?;
    goes_through(&net).await?;
    net.stop().await;
    Ok(())
}

/// The version of the directory in an agency's folder.
fn version_in(path: &Path, authority: &Authority) -> Outcome<u64> {
    Ok(Directory::verify(fs::read(path)?.into(), &authority.trust())?.version())
}

#[tokio::test(flavor = "multi_thread")]
async fn g12_an_agent_whose_directory_was_set_back_does_not_start_before_the_newer_one_is_back() -> Outcome {
    let net = exchange().await?;
    let ken = net.agency("ken/ncb");
    let (directory, crls) = (ken.folder()?.directory(), ken.folder()?.crls());
    let (old_directory, old_crls) = (fs::read(&directory)?, fs::read(&crls)?);
    let newest = net.suspend("tur/border").await?;
    ken.expect_directory(newest).await?;
    ken.stop().await?;
    let (newest_directory, newest_crls) = (fs::read(&directory)?, fs::read(&crls)?);
    fs::write(&directory, &old_directory)?;
    fs::write(&crls, old_crls)?;
    let refused = ken.start().await;
    let Err(NetworkError::Start { problem, .. }) = refused else { panic!("it runs by the older one") };
    told(&problem, &[&format!("this node has held version {newest}"), "valise-agent install DIR"]);
    assert_eq!(fs::read(&directory)?, old_directory);
    fs::write(&directory, newest_directory)?;
    fs::write(&crls, newest_crls)?;
    ken.start().await?;
    ken.expect_connected().await?;
    assert_eq!(ken.client()?.status().await?.directory.version, newest);
    let kept = net.with_authority(|authority| version_in(&directory, authority))?;
    assert_eq!(kept, newest, "the older one still lies in the folder");
    let refused = ken.send(notices::deportation("KEN", "TUR").of("TUR")).await;
    let Err(NetworkError::Client(ClientError::Refused(facts))) = refused else { panic!("{refused:?}") };
    told(&format!("{facts:?}"), &["tur/border, is suspended in directory version"]);
    goes_through(&net).await?;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g12_an_agent_does_not_start_by_a_directory_that_is_none_of_its_authoritys() -> Outcome {
    let (net, elsewhere) = (exchange().await?, exchange().await?);
    goes_through(&net).await?;
    let ken = net.agency("ken/ncb");
    let directory = ken.folder()?.directory();
    let good = fs::read(&directory)?;
    let foreign = elsewhere.directory()?.encoded().to_vec();
    elsewhere.stop().await;
    let mut altered = good.clone();
    *altered.last_mut().expect("a directory") ^= 1;
    let cases = [
        (good[..good.len() / 2].to_vec(), "the directory cannot be read"),
        (Vec::new(), "the directory cannot be read"),
        (altered, "the directory's signature does not verify under key"),
        (foreign, "not among the trusted root keys"),
    ];
    let before = standing(&net).await?;
    ken.stop().await?;
    for (bytes, reason) in cases {
        fs::write(&directory, &bytes)?;
        let refused = ken.start().await;
        let Err(NetworkError::Start { problem, .. }) = refused else { panic!("it runs by it: {reason}") };
        told(&problem, &[reason]);
        assert_eq!(fs::read(&directory)?, bytes, "a start that was refused changed something");
    }
    assert_eq!(standing(&net).await?, before);
    fs::write(&directory, good)?;
    ken.start().await?;
    goes_through(&net).await?;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g12_an_agent_whose_revocation_lists_ran_out_connects_only_with_a_new_bundle() -> Outcome {
    let net = exchange().await?;
    goes_through(&net).await?;
    let ken = net.agency("ken/ncb");
    ken.stop().await?;
    let before = standing(&net).await?;
    // It was away for longer than its lists count.
    let aside = net.folder().join("aside");
    net.with_authority(|authority| {
        authority.set_validity(Validity { crls: MINUTE, ..Validity::default() });
        let published = authority.publish(&aside, earlier(BACK));
        authority.set_validity(Validity::default());
        published
    })?;
    fs::copy(aside.join(CRLS_FILE), ken.folder()?.crls())?;
    ken.start().await?;
    let reason = ken.expect_disconnected_because("ran out at").await?;
    told(&reason, &["valise-ca publish"]);
    assert_eq!(standing(&net).await?, before);
    // It composes and queues, and sends none of it.
    let sent = ken.send(notices::deportation("KEN", "FRA").of("FRA")).await?;
    assert_eq!(ken.status_of(&sent).await?.state, "QUEUED");
    ken.stop().await?;
    let id = ken.id()?;
    let bundle = net.with_authority(|authority| authority.bundle(id, now()))?;
    enrol::join(&ken.folder()?, &bundle, now())?;
    net.publish().await?;
    ken.start().await?;
    ken.expect_connected().await?;
    net.agency("fra/ncb").expect_notice(&sent).await?;
    net.stop().await;
    Ok(())
}
