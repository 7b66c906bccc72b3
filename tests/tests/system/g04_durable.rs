//! G4: ACCEPTED is sent only after the envelope, its inbox entries and its log entry are on stable storage.

use std::collections::BTreeSet;
use std::error::Error;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::AsyncBufReadExt;
use valise_proto::envelope::Precedence;
use valise_proto::id::NoticeId;
use valise_proto::receipt::ReceiptKind;
use valise_tests::raw::{Impostor, RawError};
use valise_tests::wait::until;
use valise_tests::{AgencySpec, DEADLINE, Network, notices};

type Outcome = Result<(), Box<dyn Error>>;

/// How often the broker is killed.
const KILLS: u32 = 200;
/// Longest life of a broker between two kills, in milliseconds.
const LIFE_MS_MAX: u64 = 120;

/// Numbers from splitmix64, so that a run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// Submits notices as fast as answers come, until told to stop; returns those the broker said it had accepted.
async fn press(
    sender: &Impostor,
    recipient: &Impostor,
    broker: std::net::SocketAddr,
    stop: tokio_util::sync::CancellationToken,
) -> Vec<NoticeId> {
    let mut accepted = Vec::new();
    let work = async {
        let session = sender.connect(broker).await?;
        let mut stream = session.submit(Precedence::Priority).await?;
        loop {
            // A few at a time, so that kills fall into groups, between groups and between answers.
            for _ in 0..4 {
                let notice =
                    sender.notice_of(&[recipient.agency()], notices::deportation("KEN", "FRA").of("FRA"))?;
                stream.send(sender.seal(notice)?.encode()).await?;
            }
            for _ in 0..4 {
                let (_, receipt) = stream.answer().await?;
                assert_eq!(receipt.receipt().kind, ReceiptKind::Accepted, "{receipt:?}");
                accepted.extend(receipt.receipt().notice_id);
            }
        }
        #[allow(unreachable_code, reason = "the type of what never ends")]
        Ok::<(), RawError>(())
    };
    tokio::select! {
        () = stop.cancelled() => {}
        // The broker was killed in mid-sentence, which is what this is about.
        _ended = work => {}
    }
    accepted
}

#[tokio::test(flavor = "multi_thread")]
async fn g04_g05_two_hundred_kills_of_the_broker_lose_no_accepted_notice_and_show_none_twice() -> Outcome {
    let net = Network::builder()
        .agency(AgencySpec::new("ken/ncb").not_running())
        .agency("fra/ncb")
        .broker_as_process()
        .start()
        .await?;
    let recipient = Impostor::of(&net.agency("fra/ncb").folder()?)?;
    let mut sender = Impostor::of(&net.agency("ken/ncb").folder()?)?;
    sender.set_directory(recipient.directory().clone());
    let mut random = Random(0x2396_2017);
    let mut accepted = BTreeSet::new();
    for kill in 0..KILLS {
        let broker = net.broker().listen_addr().await.expect("the broker listens");
        let stop = tokio_util::sync::CancellationToken::new();
        let life = Duration::from_millis(random.below(LIFE_MS_MAX));
        let pressing = press(&sender, &recipient, broker, stop.clone());
        let killing = async {
            // The moment of the kill is the point of the test, so here a time is waited for.
            tokio::time::sleep(life).await;
            net.broker().kill().await;
            stop.cancel();
        };
        let (heard, ()) = tokio::join!(pressing, killing);
        for id in heard {
            assert!(accepted.insert(id), "notice {id} was accepted twice");
        }
        net.broker().start().await.map_err(|error| format!("after kill {}: {error}", kill + 1))?;
    }
    assert!(accepted.len() > 200, "only {} notices were accepted: there was no load", accepted.len());

    let fra = net.agency("fra/ncb");
    until("the arrival of every accepted notice", DEADLINE * 4, async || {
        let held = fra.with_node(async |node| node.desk().office().store().inbox(usize::MAX)).await;
        let held = held.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let shown: BTreeSet<NoticeId> = held.iter().map(|entry| entry.record.notice_id).collect();
        assert_eq!(held.len(), shown.len(), "a notice is shown twice");
        let missing = accepted.difference(&shown).count();
        if missing == 0 { Ok(()) } else { Err(format!("{missing} of {} are missing", accepted.len())) }
    })
    .await?;
    assert_eq!(fra.client()?.status().await?.set_aside.len(), 0, "something was delivered that is not shown");
    println!("{KILLS} kills survived; {} notices accepted, each shown once", accepted.len());
    net.stop().await;
    Ok(())
}

/// What strace saw, in order.
#[derive(Debug, PartialEq)]
enum Seen {
    /// fdatasync returned.
    Synced,
    /// A datagram of so many bytes left.
    Sent(usize),
}

/// Reads the lines of `strace -f -e trace=fdatasync,fsync,sendmsg,sendto`. A call that blocks is written in two lines;
/// a send counts where it begins, a sync where it has returned.
fn seen(line: &str) -> Option<Seen> {
    let synced = line.contains("fdatasync(") || line.contains("fdatasync resumed>");
    if synced && line.trim_end().ends_with("= 0") {
        return Some(Seen::Synced);
    }
    let sends = line.contains("sendmsg(") || line.contains("sendto(");
    let length = line.split("iov_len=").nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    sends.then_some(Seen::Sent(length))
}

#[test]
fn lines_of_strace_are_read_as_they_are_written() {
    let sent = "71 sendmsg(9, {msg_name={sa_family=AF_INET}, msg_iov=[{iov_base=\"\"..., iov_len=412}], msg_iovlen=1}, 0) = 412";
    assert_eq!(seen(sent), Some(Seen::Sent(412)));
    assert_eq!(seen("72 fdatasync(13)                      = 0"), Some(Seen::Synced));
    assert_eq!(seen("72 fdatasync(13 <unfinished ...>"), None);
    assert_eq!(seen("72 <... fdatasync resumed>)          = 0"), Some(Seen::Synced));
    assert_eq!(seen("72 fdatasync(13) = -1 EIO (Input/output error)"), None);
}

/// A datagram that carries a receipt is longer than this; acknowledgements and the like are shorter.
const RECEIPT_BYTES_MIN: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn g04_no_receipt_leaves_before_the_fdatasync_that_covers_it() -> Outcome {
    if std::process::Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        assert!(std::env::var_os("CI").is_none(), "strace is needed: install it");
        println!("strace is not installed: this test looked at nothing");
        return Ok(());
    }
    let net = Network::builder()
        .agency(AgencySpec::new("ken/ncb").not_running())
        .agency(AgencySpec::new("fra/ncb").not_running())
        .broker_as_process()
        .start()
        .await?;
    let recipient = Impostor::of(&net.agency("fra/ncb").folder()?)?;
    let mut sender = Impostor::of(&net.agency("ken/ncb").folder()?)?;
    sender.set_directory(recipient.directory().clone());
    let broker = net.broker().listen_addr().await.expect("the broker listens");
    let session = sender.connect(broker).await?;
    let mut stream = session.submit(Precedence::Priority).await?;
    let to = recipient.agency().clone();
    // The handshake and the first answer are over before anybody looks.
    stream.ask(sender.seal(sender.notice(&[&to], "RESTRICTED", b"warm-up"))?.encode()).await?;

    let pid = net.broker().process_id().await.expect("the broker is a process");
    let mut strace = tokio::process::Command::new("strace")
        .args([
            "-f",
            "-e",
            "trace=fdatasync,fsync,sendmsg,sendto,sendmmsg",
            "-e",
            "signal=none",
            "-p",
            &pid.to_string(),
        ])
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = tokio::io::BufReader::new(strace.stderr.take().expect("strace writes there")).lines();
    let attached = tokio::time::timeout(DEADLINE, lines.next_line()).await??;
    assert!(attached.as_deref().is_some_and(|line| line.contains("attached")), "strace said: {attached:?}");

    let mut checked = 0;
    for _ in 0..50 {
        let envelope = sender.seal(sender.notice(&[&to], "RESTRICTED", b"one at a time"))?;
        let receipt = stream.ask(envelope.encode()).await?;
        assert_eq!(receipt.kind, ReceiptKind::Accepted, "{receipt:?}");
        // Everything up to the datagram with this receipt has been written by strace, or is about to be.
        let deadline = Instant::now() + DEADLINE;
        let mut synced = false;
        loop {
            assert!(Instant::now() < deadline, "strace did not see the receipt leave");
            let line = tokio::time::timeout(DEADLINE, lines.next_line()).await??.expect("strace goes on");
            match seen(&line) {
                Some(Seen::Synced) => synced = true,
                Some(Seen::Sent(bytes)) if bytes >= RECEIPT_BYTES_MIN => {
                    assert!(synced, "a datagram of {bytes} bytes left before the fdatasync: {line}");
                    checked += 1;
                    break;
                }
                Some(Seen::Sent(_)) | None => {}
            }
        }
    }
    assert_eq!(checked, 50);
    strace.kill().await?;
    net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g04_an_agent_that_is_killed_right_after_it_queued_a_notice_sends_it_later() -> Outcome {
    let net = Network::builder().agency("ken/ncb").agency("fra/ncb").agencies_as_processes().start().await?;
    net.agency("ken/ncb").partition()?;
    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.push(net.agency("ken/ncb").send(notices::deportation("KEN", "FRA").of("FRA")).await?);
        net.agency("ken/ncb").kill().await?;
        net.agency("ken/ncb").start().await?;
    }
    net.agency("ken/ncb").reconnect()?;
    for notice in &sent {
        net.agency("fra/ncb").expect_notice(notice).await?;
    }
    net.stop().await;
    Ok(())
}
