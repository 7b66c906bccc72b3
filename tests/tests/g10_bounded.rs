//! G10: what an agency that is enrolled and hostile, and whoever only reaches the port, cannot achieve against a broker
//! that is a process of its own. Beside them honest agencies send each other notices, which arrive.
//!
//! Each limit alone is tested where it is decided: `broker/tests/broker/limits.rs`, `broker/src/core/tests/rate.rs`,
//! `broker/src/store/quota_tests.rs`, `proto/transport/tests`.

use std::error::Error;
use std::net::SocketAddr;

use bytes::Bytes;
use tokio::task::JoinSet;
use valise_proto::envelope::{Envelope, Precedence};
use valise_proto::receipt::ReceiptKind;
use valise_proto::refusal::RefusalCode;
use valise_proto::wire::session::{Cursor, VERSION};
use valise_tests::raw::{Impostor, RawSession};
use valise_tests::{AgencySpec, Network, notices};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const MIB: u64 = 1024 * 1024;
/// Connections that an agency may have.
const CONNECTIONS: usize = 4;
/// Frames that one stream of a flood sends at most.
const FLOOD_FRAMES: usize = 20_000;

/// An exchange whose broker is a process; Kenya's keys are in hands without scruples.
struct Case {
    net: Network,
    kenya: Impostor,
    broker: SocketAddr,
}

impl Case {
    async fn start(limits: &str) -> Outcome<Self> {
        let net = Network::builder()
            .agency(AgencySpec::new("ken/ncb").not_running())
            .agency(AgencySpec::new("fra/ncb").config("outbox_max = 8\n"))
            .agency("tur/border")
            .broker_as_process()
            .broker_config(&format!("log = \"warn\"\n[limits]\n{limits}"))
            .start()
            .await?;
        let newest = Impostor::of(&net.agency("tur/border").folder()?)?.directory().clone();
        let mut kenya = Impostor::of(&net.agency("ken/ncb").folder()?)?;
        kenya.set_directory(newest);
        let broker = net.broker().listen_addr().await.ok_or("the broker does not listen")?;
        Ok(Self { net, kenya, broker })
    }

    async fn session(&self) -> Outcome<RawSession> {
        Ok(self.kenya.connect(self.broker).await?)
    }

    /// An envelope to France that is in order.
    fn envelope(&self) -> Outcome<Bytes> {
        Ok(self.sealed()?.encode())
    }

    fn sealed(&self) -> Outcome<Envelope> {
        let france = self.net.agency("fra/ncb").id()?;
        let notice = notices::deportation("KEN", "FRA").of("FRA");
        Ok(self.kenya.seal(self.kenya.notice_of(&[france], notice)?)?)
    }

    /// Turkey tells France `count` things, one after the other.
    async fn honest_agencies_talk(&self, count: usize) -> Outcome {
        let (turkey, france) = (self.net.agency("tur/border"), self.net.agency("fra/ncb"));
        for _ in 0..count {
            let sent = turkey.send(notices::deportation("TUR", "FRA").of("FRA")).await?;
            france.expect_notice(&sent).await?;
        }
        Ok(())
    }

    /// What the broker has in memory, in bytes.
    async fn resident(&self) -> Outcome<u64> {
        let pid = self.net.broker().process_id().await.ok_or("the broker is gone")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g10_a_flood_of_submissions_holds_nobody_else_up_and_takes_no_memory() -> Outcome {
    let case = Case::start("envelopes_per_second = 50\nenvelopes_burst = 100\n").await?;
    case.honest_agencies_talk(2).await?;
    let before = case.resident().await?;
    let (good, garbage) = (case.envelope()?, Bytes::from(vec![7; 20_000]));
    let mut flood = JoinSet::new();
    let mut sessions = Vec::new();
    for _ in 0..CONNECTIONS {
        let session = case.session().await?;
        for _ in 0..15 {
            // Its answers are never read.
            let mut stream = session.submit(Precedence::Priority).await?;
            let (good, garbage) = (good.clone(), garbage.clone());
            flood.spawn(async move {
                for _ in 0..FLOOD_FRAMES {
                    if stream.send(good.clone()).await.is_err() || stream.send(garbage.clone()).await.is_err()
                    {
                        return;
                    }
                }
            });
        }
        sessions.push(session);
    }
    let mut fifth = RawSession::open(case.kenya.dial(case.broker).await?).await?;
    fifth.hello(&[VERSION]).await?;
    let refusal = fifth.goodbye().await?.ok_or("no reason")?;
    assert_eq!(refusal.code, RefusalCode::Quota, "{refusal}");
    case.honest_agencies_talk(20).await?;
    let grown = case.resident().await?.saturating_sub(before);
    assert!(grown < 256 * MIB, "the broker has grown by {} MiB", grown / MIB);
    // What it submitted again and again was taken once.
    let shown = case.net.agency("fra/ncb").inbox().await?.len();
    assert_eq!(shown, 23, "France was shown something else than 22 notices of Turkey and one of Kenya");
    flood.abort_all();
    case.net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g10_streams_that_are_never_read_and_half_frames_hold_nobody_up_and_take_no_memory() -> Outcome {
    let case = Case::start("frame_seconds = 2\n").await?;
    let france = case.net.agency("fra/ncb");
    for _ in 0..20 {
        let bulky = notices::deportation("FRA", "KEN").of("KEN").bulky(200);
        france.expect_accepted(&france.send(bulky).await?).await?;
    }
    let before = case.resident().await?;
    let half = Bytes::from([&u32::try_from(MIB)?.to_be_bytes(), vec![0; 700_000].as_slice()].concat());
    let mut stalled = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let session = case.session().await?;
        let mut unread = Vec::new();
        for precedence in Precedence::ALL {
            unread.push(session.receive(precedence, 1024).await?);
        }
        for _ in 0..40 {
            let mut stream = session.submit(Precedence::Flash).await?;
            let half = half.clone();
            stalled.spawn(async move {
                // Whether it comes through or the connection ends first, nothing more is said.
                let _ = stream.send_unframed(&half).await;
                std::future::pending::<()>().await;
            });
        }
        stalled.spawn(async move {
            let _open = unread;
            session.connection().closed().await;
        });
    }
    case.honest_agencies_talk(10).await?;
    let grown = case.resident().await?.saturating_sub(before);
    assert!(grown < 320 * MIB, "the broker has grown by {} MiB", grown / MIB);
    // The half frames end every one of these connections, so that Kenya may connect again.
    valise_tests::wait::until("the end of the stalled connections", valise_tests::DEADLINE, async || {
        let mut session = RawSession::open(case.kenya.dial(case.broker).await?).await?;
        session.hello(&[VERSION]).await?;
        session.next().await
    })
    .await?;
    stalled.abort_all();
    case.net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g10_replays_huge_lengths_and_false_acknowledgements_achieve_nothing() -> Outcome {
    let case = Case::start("").await?;
    let envelope = case.envelope()?;
    let session = case.session().await?;
    let mut stream = session.submit(Precedence::Priority).await?;
    let first = stream.ask(envelope.clone()).await?;
    assert_eq!(first.kind, ReceiptKind::Accepted);
    for _ in 0..100 {
        assert_eq!(stream.ask(envelope.clone()).await?, first, "another answer to the same envelope");
    }
    // A length that nobody will send.
    stream.send_unframed(&u32::MAX.to_be_bytes()).await?;
    let mut session = session;
    let refusal = session.goodbye().await?.ok_or("no reason")?;
    assert_eq!(refusal.code, RefusalCode::TooLarge, "{refusal}");
    // What it was never given, for its own inbox and with it for nobody else's.
    let mut session = case.session().await?;
    let mut inbox = session.receive(Precedence::Priority, 16).await?;
    inbox.acknowledge((1..100).map(Cursor::new).collect()).await?;
    let refusal = session.goodbye().await?.ok_or("no reason")?;
    assert_eq!(refusal.code, RefusalCode::Malformed, "{refusal}");
    let notice_id = first.notice_id.ok_or("a receipt without a notice")?;
    case.net.agency("fra/ncb").expect_notice(notice_id).await?;
    case.honest_agencies_talk(2).await?;
    assert_eq!(case.net.agency("fra/ncb").inbox().await?.len(), 3);
    case.net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g10_a_flood_of_first_packets_from_nobody_takes_no_memory_and_keeps_nobody_out() -> Outcome {
    const PACKETS: usize = 400;
    const ROUNDS: usize = 25;
    let case = Case::start("handshakes_max = 64\nhandshakes_per_address_max = 32\n").await?;
    let packets = case.kenya.first_packets(PACKETS).await?;
    let before = case.resident().await?;
    let target = case.broker;
    let flood = tokio::spawn(async move {
        for _ in 0..ROUNDS {
            let from = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
            for packet in &packets {
                from.send_to(packet, target).await?;
            }
            tokio::task::yield_now().await;
        }
        Ok::<_, std::io::Error>(())
    });
    // An agency that is connected goes on, and one that connects is let in: from the address that the flood comes from.
    case.honest_agencies_talk(3).await?;
    let session = case.session().await?;
    let answer = session.submit(Precedence::Priority).await?.ask(case.envelope()?).await?;
    assert_eq!(answer.kind, ReceiptKind::Accepted);
    flood.await??;
    case.honest_agencies_talk(3).await?;
    let grown = case.resident().await?.saturating_sub(before);
    assert!(grown < 64 * MIB, "the broker has grown by {} MiB", grown / MIB);
    case.net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g10_what_an_agency_may_have_waiting_is_bounded_across_restarts() -> Outcome {
    let case = Case::start("stored_notices_per_agency_max = 20\ninbox_items_max = 80\n").await?;
    let mut stream = case.session().await?.submit(Precedence::Routine).await?;
    let turkey = case.net.agency("tur/border");
    turkey.stop().await?;
    let mut taken = 0;
    let refusal = loop {
        assert!(taken <= 20, "more than the quota was taken");
        let mut notice = case.kenya.notice(&[turkey.id()?], "UNCLASSIFIED", b"x");
        notice.draft.precedence = Precedence::Routine;
        let answer = stream.ask(case.kenya.seal(notice)?.encode()).await?;
        match answer.refusal {
            None => taken += 1,
            Some(refusal) => break refusal,
        }
    };
    assert_eq!((taken, refusal.code), (18, RefusalCode::Quota), "{refusal}");
    assert!(refusal.retry_after.is_some(), "no time after which to try again");
    case.net.broker().kill_and_restart().await?;
    let broker = case.net.broker().listen_addr().await.ok_or("the broker does not listen")?;
    let session = case.kenya.connect(broker).await?;
    let answer = session.submit(Precedence::Priority).await?.ask(case.envelope()?).await?;
    let refusal = answer.refusal.ok_or("the quota was forgotten by a restart")?;
    assert_eq!(refusal.code, RefusalCode::Quota);
    case.net.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn g10_an_agency_that_fetches_no_receipt_keeps_nobody_from_sending() -> Outcome {
    const NOTICES: usize = 30;
    let case = Case::start(
        "stored_notices_per_agency_max = 10\ncorrespondent_items_max = 10\ninbox_items_max = 80\n",
    )
    .await?;
    let france = case.net.agency("fra/ncb");
    let mut stream = case.session().await?.submit(Precedence::Priority).await?;
    // France owes Kenya a receipt for each, and Kenya opens no stream to receive them.
    for number in 0..NOTICES {
        let envelope = case.sealed()?;
        let answer = stream.ask(envelope.encode()).await?;
        assert_eq!(answer.kind, ReceiptKind::Accepted, "notice {number}: {:?}", answer.refusal);
        france.expect_notice(envelope.header().notice_id).await?;
    }
    case.honest_agencies_talk(2).await?;
    let turkey = case.net.agency("tur/border");
    for _ in 0..12 {
        let sent = france.send(notices::deportation("FRA", "TUR").of("TUR")).await?;
        turkey.expect_notice(&sent).await?;
    }
    case.net.stop().await;
    Ok(())
}
