//! What a broker and the command lines say to input that is wrong, and that nothing has changed afterwards.
//!
//! Here it is said to real processes. The same is looked at more closely where it is decided: connections without a
//! certificate in order, another protocol and the wrong role in `proto/transport/tests/transport/{handshake,certificates}.rs`
//! and `broker/tests/broker/sessions.rs`; envelopes in `broker/tests/broker/refusals.rs`; published files in
//! `broker/tests/broker/publication.rs`; the authority's tool in `certs/tests/cli.rs`; notices in `proto/tests`.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use bytes::Bytes;
use valise_proto::envelope::{Envelope, Precedence};
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::label::Classification;
use valise_proto::receipt::{Receipt, ReceiptKind};
use valise_proto::refusal::RefusalCode;
use valise_proto::wire::limits::Limits;
use valise_proto::wire::session::SessionFrame;
use valise_tests::network::binary;
use valise_tests::raw::{Impostor, RawError, RawNotice, RawSession};
use valise_tests::{AgencySpec, Network, notices};

type Outcome = Result<(), Box<dyn Error>>;

const MINUTE: Duration = Duration::from_secs(60);

/// An exchange whose broker is a process, and Kenya's keys in hands without scruples.
struct Case {
    net: Network,
    kenya: Impostor,
    france: AgencyId,
}

impl Case {
    async fn start() -> Result<Self, Box<dyn Error>> {
        let net = Network::builder()
            .agency(AgencySpec::new("ken/ncb").not_running())
            .agency("fra/ncb")
            .agency(AgencySpec::new("tur/border").cleared_to(Classification::Restricted).not_running())
            .broker_as_process()
            .start()
            .await?;
        // Whoever joined last holds the newest directory.
        let newest = Impostor::of(&net.agency("tur/border").folder()?)?.directory().clone();
        let mut kenya = Impostor::of(&net.agency("ken/ncb").folder()?)?;
        kenya.set_directory(newest);
        let france = net.agency("fra/ncb").id()?.clone();
        Ok(Self { net, kenya, france })
    }

    fn notice(&self) -> Result<RawNotice, RawError> {
        self.kenya.notice_of(&[&self.france], notices::deportation("KEN", "FRA").of("FRA"))
    }

    async fn session(&self) -> Result<RawSession, Box<dyn Error>> {
        let broker = self.net.broker().listen_addr().await.ok_or("the broker does not listen")?;
        Ok(self.kenya.connect(broker).await?)
    }

    async fn submit(&self, frame: Bytes) -> Result<Receipt, Box<dyn Error>> {
        Ok(self.session().await?.submit(Precedence::Priority).await?.ask(frame).await?)
    }

    /// What the broker holds: its log, its queues.
    async fn held(&self) -> Result<(u64, usize), Box<dyn Error>> {
        let status = self.net.broker().status().await?;
        Ok((status.log_entries, status.queues.iter().map(|queue| queue.items).sum()))
    }

    /// Submits what is refused with this code and a sentence that holds `says`; afterwards the broker holds what it held.
    async fn refused(&self, frame: Bytes, code: RefusalCode, says: &str) -> Outcome {
        let before = self.held().await?;
        let receipt = self.submit(frame).await?;
        let refusal =
            receipt.refusal.ok_or_else(|| format!("{code} was expected; it was {:?}", receipt.kind))?;
        assert_eq!(refusal.code, code, "{refusal}");
        assert!(refusal.detail.contains(says), "`{says}` is not said: {refusal}");
        assert_eq!(self.held().await?, before, "a refusal ({code}) changed what the broker holds");
        Ok(())
    }

    fn sealed(&self, shape: impl FnOnce(&mut RawNotice)) -> Result<Envelope, RawError> {
        let mut notice = self.notice()?;
        shape(&mut notice);
        self.kenya.seal(notice)
    }

    /// The same broker takes a notice that is in order, and its recipient shows it: it was strict, not broken.
    async fn then_a_good_one_goes_through(self) -> Outcome {
        let good = self.sealed(|_| {})?;
        let receipt = self.submit(good.encode()).await?;
        assert_eq!(receipt.kind, ReceiptKind::Accepted, "{receipt:?}");
        self.net.agency("fra/ncb").expect_notice(good.header().notice_id).await?;
        assert_eq!(self.net.agency("fra/ncb").inbox().await?.len(), 1, "something that was refused is shown");
        self.net.stop().await;
        Ok(())
    }
}

fn plus(time: Timestamp, duration: Duration) -> Timestamp {
    time.plus(duration)
}

#[tokio::test(flavor = "multi_thread")]
async fn envelopes_that_are_not_in_order_are_refused_and_change_nothing() -> Outcome {
    let case = Case::start().await?;
    // Bytes that are no envelope, and an envelope cut short.
    case.refused(Bytes::from_static(b"not an envelope"), RefusalCode::Malformed, "envelope").await?;
    let whole = case.sealed(|_| {})?.encode();
    case.refused(whole.slice(..whole.len() / 2), RefusalCode::Malformed, "").await?;
    // In another agency's name.
    let border = case.net.agency("tur/border").id()?.clone();
    let stolen = case.sealed(|notice| notice.draft.originator = border)?;
    case.refused(stolen.encode(), RefusalCode::NotOriginator, "the connection is of ken/ncb").await?;
    // With one bit of its signature turned.
    let sealed = case.sealed(|_| {})?;
    let mut broken = sealed.encode().to_vec();
    let signature = &sealed.signature().value[..];
    let at = broken.windows(signature.len()).position(|window| window == signature).ok_or("no signature")?;
    broken[at] ^= 1;
    case.refused(broken.into(), RefusalCode::BadSignature, "does not verify").await?;
    // From before the directory listed its key.
    let early = case.sealed(|notice| {
        notice.draft.created_at = Timestamp::from_millis(notice.draft.created_at.millis() - 86_400_000);
    })?;
    case.refused(early.encode(), RefusalCode::KeyNotActive, "ken/ncb").await?;
    // From the future, and from the past.
    let ahead = case.sealed(|notice| notice.draft.created_at = plus(notice.draft.created_at, MINUTE * 10))?;
    case.refused(ahead.encode(), RefusalCode::ClockSkew, "set the clock").await?;
    let over = case
        .sealed(|notice| notice.draft.expires_at = plus(notice.draft.created_at, Duration::from_millis(1)))?;
    case.refused(over.encode(), RefusalCode::Expired, "has passed").await?;
    // Under another policy.
    let foreign = case.kenya.seal_under(case.notice()?, &"ELSEWHERE".parse()?)?;
    case.refused(foreign.encode(), RefusalCode::LabelPolicy, "ELSEWHERE").await?;
    // On the stream of another precedence.
    let hasty = case.sealed(|notice| notice.draft.precedence = Precedence::Flash)?;
    case.refused(hasty.encode(), RefusalCode::Malformed, "the stream carries PRIORITY").await?;
    case.then_a_good_one_goes_through().await
}

#[tokio::test(flavor = "multi_thread")]
async fn recipients_that_may_not_have_it_are_told_by_name_and_nobody_gets_anything() -> Outcome {
    let case = Case::start().await?;
    let border = case.net.agency("tur/border").id()?.clone();
    // Cleared for RESTRICTED only.
    let mut secret = case.kenya.notice(&[&case.france, &border], "SECRET", b"");
    secret.portions =
        case.notice()?.portions.into_iter().map(|(_, content)| ("SECRET".to_owned(), content)).collect();
    let secret = case.kenya.seal(secret)?;
    case.refused(secret.encode(), RefusalCode::RecipientNotCleared, "tur/border is cleared for no portion")
        .await?;
    // Not listed by this exchange's directory; another exchange's lists it.
    let other = Network::builder().agency(AgencySpec::new("deu/ncb").not_running()).start().await?;
    let germany = Impostor::of(&other.agency("deu/ncb").folder()?)?;
    let mut astray = Impostor::of(&case.net.agency("ken/ncb").folder()?)?;
    astray.set_directory(germany.directory().clone());
    let unknown = astray.seal(astray.notice(&[germany.agency()], "RESTRICTED", b""))?;
    case.refused(
        unknown.encode(),
        RefusalCode::UnknownAgency,
        "the recipient deu/ncb is not in the directory",
    )
    .await?;
    // Of that exchange nobody gets a connection here, and says so himself: the broker is not his.
    let broker = case.net.broker().listen_addr().await.ok_or("the broker does not listen")?;
    let refused = germany.connect(broker).await.err().ok_or("an agency of another exchange was let in")?;
    assert!(refused.to_string().contains("does not trust"), "{refused}");
    other.stop().await;
    // Suspended.
    case.net.suspend("tur/border").await?;
    let open = case.kenya.seal(case.kenya.notice(&[&border], "RESTRICTED", b""))?;
    case.refused(open.encode(), RefusalCode::Suspended, "tur/border").await?;
    case.then_a_good_one_goes_through().await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_notice_under_an_id_that_was_accepted_is_refused() -> Outcome {
    let case = Case::start().await?;
    let notice = case.notice()?;
    let first = case.submit(case.kenya.seal(notice.clone())?.encode()).await?;
    assert_eq!(first.kind, ReceiptKind::Accepted, "{first:?}");
    let id = first.notice_id.ok_or("an ACCEPTED receipt without the notice's id")?;
    case.net.agency("fra/ncb").expect_notice(id).await?;
    // The notice itself and its recipient's receipt; from then on nobody sends anything.
    let settled = async || match case.held().await {
        Ok((2, 0..=1)) => Ok(()),
        Ok(held) => Err(format!("{held:?}")),
        Err(error) => Err(error.to_string()),
    };
    valise_tests::wait::until("the recipient's receipt", valise_tests::DEADLINE, settled).await?;
    // Whether it is read afresh or after a restart.
    let other = case.kenya.seal(notice)?;
    let refusal = case.submit(other.encode()).await?.refusal.ok_or("it was accepted")?;
    assert_eq!(refusal.code, RefusalCode::IdConflict, "{refusal}");
    case.net.broker().kill_and_restart().await?;
    let refusal = case.submit(other.encode()).await?.refusal.ok_or("it was accepted after a restart")?;
    assert_eq!(refusal.code, RefusalCode::IdConflict, "{refusal}");
    assert_eq!(case.held().await?.0, 2, "a refused notice stands in the log");
    assert_eq!(case.net.agency("fra/ncb").inbox().await?.len(), 1);
    case.net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_too_long_or_no_frames_are_answered_before_any_memory_is_taken() -> Outcome {
    let case = Case::start().await?;
    // One byte more than an envelope may have: the connection ends, and says why.
    let before = case.held().await?;
    let mut session = case.session().await?;
    let mut stream = session.submit(Precedence::Priority).await?;
    stream.send(Bytes::from(vec![0; Limits::DEFAULT.envelope_bytes_max + 1])).await?;
    let refusal = loop {
        match session.next().await? {
            SessionFrame::Goodbye(refusal) => break refusal.ok_or("a goodbye without a reason")?,
            SessionFrame::Publication(_) | SessionFrame::Welcome(_) => {}
        }
    };
    assert_eq!(refusal.code, RefusalCode::TooLarge, "{refusal}");
    assert!(refusal.detail.contains("at most"), "{refusal}");
    assert_eq!(case.held().await?, before);
    // A wire version that this broker does not speak.
    let broker = case.net.broker().listen_addr().await.ok_or("the broker does not listen")?;
    let mut session = RawSession::open(case.kenya.dial(broker).await?).await?;
    session.hello(&[2396]).await?;
    let SessionFrame::Goodbye(Some(refusal)) = session.next().await? else {
        return Err("a version that nobody speaks was welcomed".into());
    };
    assert_eq!(refusal.code, RefusalCode::UnsupportedVersion);
    assert!(refusal.detail.contains("2396"), "{refusal}");
    // Something that is no Hello.
    let mut session = RawSession::open(case.kenya.dial(broker).await?).await?;
    session.say(Bytes::from_static(b"\xff\xff\xff")).await?;
    let said = session.next().await;
    assert!(
        !matches!(said, Ok(SessionFrame::Welcome(_) | SessionFrame::Publication(_))),
        "three bytes of nonsense were welcomed"
    );
    case.then_a_good_one_goes_through().await
}

/// Every file below `folder` with its content; sockets left out.
fn snapshot(folder: &Path) -> std::io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(snapshot(&path)?);
        } else if path.is_file() {
            files.insert(path.clone(), std::fs::read(path)?);
        }
    }
    Ok(files)
}

/// Runs a command that has to end by itself, and checks how: the exit code, and words that standard error must hold.
async fn fails(program: &Path, arguments: &[&str], code: i32, says: &[&str]) -> Outcome {
    let mut command = tokio::process::Command::new(program);
    command
        .args(arguments)
        .env_remove("VALISE_BROKER_CONFIG")
        .env_remove("VALISE_AGENT_DATA")
        .kill_on_drop(true);
    let Output { status, stderr, .. } =
        tokio::time::timeout(valise_tests::DEADLINE, command.output()).await??;
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(stderr.matches("os error").count() <= 1, "a reason is told twice: {stderr}");
    assert_eq!(status.code(), Some(code), "{arguments:?}: {stderr}");
    for words in says {
        assert!(stderr.contains(words), "`{words}` is not said by {arguments:?}: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    Ok(())
}

fn text(path: &Path) -> Result<&str, Box<dyn Error>> {
    path.to_str().ok_or_else(|| "a path that is not UTF-8".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_cannot_start_says_why_and_leaves_every_file_as_it_was() -> Outcome {
    let net = Network::builder()
        .agency(AgencySpec::new("fra/ncb").not_running())
        .broker_as_process()
        .start()
        .await?;
    let broker = binary("valise-broker")?;
    let config = net.broker().config_path();
    let folder = config.parent().ok_or("the configuration lies in no folder")?.to_owned();
    // A second one on the same data folder, while the first goes on.
    let second = ["run", "--config", text(&config)?];
    fails(&broker, &second, 1, &["in use by another broker"]).await?;
    assert_eq!(net.broker().status().await?.log_entries, 0, "the first broker does not answer any more");
    net.broker().stop().await?;

    let held = snapshot(&folder)?;
    let good = std::fs::read_to_string(&config)?;
    let changed = folder.join("changed.toml");
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "the configuration holds no {from}");
        std::fs::write(&changed, good.replace(from, to))
    };
    let run = ["run", "--config", text(&changed)?];
    // No configuration, one that is no TOML, one with mistakes.
    fails(&broker, &run, 1, &["changed.toml", "No such file"]).await?;
    std::fs::write(&changed, "listen = [")?;
    fails(&broker, &run, 2, &["changed.toml"]).await?;
    with("listen = ", "colour = 3\nlisten = \"nowhere\" #")?;
    fails(&broker, &run, 2, &["colour", "listen"]).await?;
    // A data folder that is a file.
    with("data = \"data\"", "data = \"broker.log\"")?;
    fails(&broker, &run, 1, &["broker.log"]).await?;
    // An agency's certificate and key in place of a broker's.
    let agency = net.agency("fra/ncb").folder()?;
    with(
        "certificates = \"keys/tls.crt\"",
        &format!("certificates = \"{}\"", text(&agency.certificates())?),
    )?;
    fails(&broker, &run, 1, &["tls"]).await?;
    std::fs::remove_file(&changed)?;
    assert_eq!(without_log(snapshot(&folder)?), without_log(held), "a failed start changed a file");

    // A store that is no store: said, and not a byte of it touched.
    let store = folder.join("data");
    for (path, _) in snapshot(&store)? {
        std::fs::write(path, [0x55; 4096])?;
    }
    let damaged = snapshot(&store)?;
    fails(&broker, &second, 1, &[text(&store)?]).await?;
    assert_eq!(snapshot(&store)?, damaged, "a store that cannot be read was written to");
    net.stop().await;
    Ok(())
}

/// The log is where a failed start says why.
fn without_log(mut files: BTreeMap<PathBuf, Vec<u8>>) -> BTreeMap<PathBuf, Vec<u8>> {
    files.retain(|path, _| path.extension().is_none_or(|extension| extension != "log"));
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_cannot_start_says_why_and_leaves_every_file_as_it_was() -> Outcome {
    let net = Network::builder().agency("fra/ncb").agencies_as_processes().start().await?;
    let agent = binary("valise-agent")?;
    let data = net.agency("fra/ncb").folder()?;
    let run = ["run", "--data", text(data.path())?];
    // A second one on the same data folder, while the first goes on.
    fails(&agent, &run, 1, &["in use by another valise-agent"]).await?;
    net.agency("fra/ncb").expect_connected().await?;
    // Input with mistakes: all of them at once, and nothing is queued.
    let notice = data.path().join("notice.json");
    std::fs::write(&notice, r#"{"kind": "DEPORTATION", "precedence": "SOON", "colour": "red"}"#)?;
    let send = ["send", text(&notice)?, "--data", text(data.path())?];
    fails(&agent, &send, 2, &["precedence", "SOON", "colour"]).await?;
    std::fs::write(&notice, "{")?;
    fails(&agent, &send, 2, &["line 1"]).await?;
    std::fs::remove_file(&notice)?;
    fails(&agent, &send, 2, &["notice.json", "No such file"]).await?;
    assert_eq!(net.agency("fra/ncb").client()?.status().await?.outbox, 0);
    net.agency("fra/ncb").stop().await?;
    // Nobody there: another exit code.
    fails(&agent, &["status", "--data", text(data.path())?], 3, &["valise-agent run"]).await?;

    let held = snapshot(data.path())?;
    // A configuration with mistakes.
    let good = std::fs::read(data.config())?;
    std::fs::write(data.config(), "colour = 1\n[brokers]\nb1 = [\"nowhere\"]\n")?;
    fails(&agent, &run, 2, &["colour", "nowhere"]).await?;
    std::fs::write(data.config(), good)?;
    // A data folder that is not there, or not a folder.
    let nowhere = data.path().with_extension("nowhere");
    fails(&agent, &["run", "--data", text(&nowhere)?], 1, &["valise-agent init"]).await?;
    assert!(!nowhere.exists(), "a start made a data folder");
    fails(&agent, &["run", "--data", text(&data.config())?], 1, &["agent.toml"]).await?;
    // A key that others may read.
    let key = snapshot(&data.keys())?.into_keys().next().ok_or("no keys")?;
    set_mode(&key, 0o644)?;
    fails(&agent, &run, 1, &["chmod 600", text(&key)?]).await?;
    set_mode(&key, 0o600)?;
    assert_eq!(snapshot(data.path())?, held, "a failed start changed a file");

    // A store that is no store.
    for (path, _) in snapshot(&data.store())? {
        std::fs::write(path, [0x55; 4096])?;
    }
    let damaged = snapshot(&data.store())?;
    fails(&agent, &run, 1, &[text(&data.store())?]).await?;
    assert_eq!(snapshot(&data.store())?, damaged, "a store that cannot be read was written to");
    net.stop().await;
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}
