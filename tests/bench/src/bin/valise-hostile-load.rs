//! `valise-hostile-load`: what a hostile agency costs the honest ones beside it, on this machine.
//!
//! A broker process, three agencies that speak the wire themselves, everything on loopback. Turkey sends France notices all
//! the time, and each is timed from its submission to its delivery; first while it is quiet, then while Kenya submits ten
//! times what it may over as many connections and streams as it is given, half of which it never reads from. It ends by
//! itself, with exit code 1 where the honest agencies waited too long, lost a notice, or the broker grew too large.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Parser;
use tokio::sync::watch;
use tokio::task::JoinSet;
use valise_proto::envelope::Precedence;
use valise_proto::id::AgencyId;
use valise_proto::receipt::ReceiptKind;
use valise_proto::refusal::RefusalCode;
use valise_proto::wire::session::Item;
use valise_tests::raw::{Impostor, RawReceive, RawSession, RawSubmit};
use valise_tests::{AgencySpec, Network};

/// What Kenya may submit in a second.
const QUOTA: usize = 100;
/// Connections of Kenya, and submit streams of each.
const CONNECTIONS: usize = 4;
const STREAMS: usize = 8;
/// Envelopes of Kenya, submitted again and again.
const HOSTILE_ENVELOPES: usize = 2_000;
/// How often Kenya submits.
const TICK: Duration = Duration::from_millis(50);
/// How often Turkey does.
const HONEST_EVERY: Duration = Duration::from_millis(50);
/// The longest that an honest notice may take before it counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(20);
/// How long it is quiet before, in parts of the time under load: one of so many.
const QUIET_SHARE: u32 = 3;

/// Measures what a hostile agency costs the honest ones beside it
#[derive(Debug, Parser)]
#[command(name = "valise-hostile-load", version)]
struct Options {
    /// How long under load, in minutes; before that it is quiet for a third as long
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=120))]
    minutes: u32,
    /// How many times its quota the hostile agency submits
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    times: u32,
    /// Most MiB the broker may have in memory
    #[arg(long, default_value_t = 512)]
    mib_max: u64,
    /// Most that the 99th percentile under load may be, in times of the quiet one
    #[arg(long, default_value_t = 3.0)]
    ratio_max: f64,
}

/// What happened to the honest notices of one phase.
#[derive(Default)]
struct Honest {
    latencies: Vec<Duration>,
    lost: usize,
}

/// What the hostile agency was answered.
#[derive(Default)]
struct Hostile {
    submitted: usize,
    accepted: usize,
    quota: usize,
    others: usize,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(&options))
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let network = Network::builder()
        .agency(AgencySpec::new("ken/ncb").not_running())
        .agency(AgencySpec::new("uga/ncb").not_running())
        .agency(AgencySpec::new("fra/ncb").not_running())
        .agency(AgencySpec::new("tur/ncb").not_running())
        .broker_as_process()
        .broker_config(&format!(
            "log = \"error\"\n[limits]\nenvelopes_per_second = {QUOTA}\nenvelopes_burst = {QUOTA}\n"
        ))
        .start()
        .await?;
    let broker = network.broker().listen_addr().await.context("the broker does not listen")?;
    let pid = network.broker().process_id().await.context("the broker is no process")?;
    let newest = Impostor::of(&network.agency("tur/ncb").folder()?)?.directory().clone();
    let agency = |name: &str| -> anyhow::Result<Impostor> {
        let mut agency = Impostor::of(&network.agency(name).folder()?)?;
        agency.set_directory(newest.clone());
        Ok(agency)
    };
    let (kenya, turkey, france) = (agency("ken/ncb")?, agency("tur/ncb")?, agency("fra/ncb")?);
    let uganda = network.agency("uga/ncb").id()?.clone();
    let mut pair = Pair::connect(&turkey, &france, broker).await?;
    let load_for = Duration::from_secs(60) * options.minutes;
    let quiet_for = load_for / QUIET_SHARE;
    eprintln!("quiet for {} s", quiet_for.as_secs());
    let quiet = pair.talk(quiet_for).await?;
    eprintln!("under load for {} s", load_for.as_secs());
    let flood = Flood::start(&kenya, &uganda, broker, options.times).await?;
    let looking = tokio::spawn(largest(pid, load_for));
    let loaded = pair.talk(load_for).await?;
    let hostile = flood.end().await;
    let resident = looking.await??;
    network.stop().await;
    judge(options, quiet, loaded, &hostile, resident)
}

fn judge(
    options: &Options,
    quiet: Honest,
    loaded: Honest,
    hostile: &Hostile,
    resident: u64,
) -> anyhow::Result<()> {
    let lost = quiet.lost + loaded.lost;
    let [calm, busy] = [Percentiles::of(quiet.latencies)?, Percentiles::of(loaded.latencies)?];
    let ratio = busy.p99.as_secs_f64() / calm.p99.as_secs_f64();
    let mib = resident / (1024 * 1024);
    println!("honest, quiet:      {calm}");
    println!("honest, under load: {busy}");
    println!("ratio of the 99th percentiles: {ratio:.2} (at most {:.2})", options.ratio_max);
    println!("lost: {lost}");
    println!(
        "hostile: {} submitted; of the answers it read {} ACCEPTED, {} QUOTA, {} others",
        hostile.submitted, hostile.accepted, hostile.quota, hostile.others
    );
    println!("broker: {mib} MiB resident at most (at most {})", options.mib_max);
    let mut faults = Vec::new();
    if ratio > options.ratio_max {
        faults.push("the honest agencies waited too long");
    }
    if lost > 0 {
        faults.push("notices were lost");
    }
    if mib > options.mib_max {
        faults.push("the broker took too much memory");
    }
    if hostile.quota == 0 {
        faults.push("the hostile agency was never over its quota, so nothing was measured");
    }
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("; ")) }
}

struct Percentiles {
    count: usize,
    p50: Duration,
    p99: Duration,
}

impl Percentiles {
    fn of(mut latencies: Vec<Duration>) -> anyhow::Result<Self> {
        latencies.sort_unstable();
        let count = latencies.len();
        let at =
            |percent: usize| latencies.get((count * percent / 100).min(count.saturating_sub(1))).copied();
        let (p50, p99) = at(50).zip(at(99)).context("no notice was delivered")?;
        Ok(Self { count, p50, p99 })
    }
}

impl std::fmt::Display for Percentiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { count, p50, p99 } = self;
        let [p50, p99] = [p50, p99].map(|time| time.as_secs_f64() * 1000.0);
        write!(f, "{count} notices, p50 {p50:.2} ms, p99 {p99:.2} ms")
    }
}

/// Two honest agencies.
struct Pair<'a> {
    turkey: &'a Impostor,
    france: AgencyId,
    submit: RawSubmit,
    receive: RawReceive,
    _sessions: [RawSession; 2],
}

impl<'a> Pair<'a> {
    async fn connect(turkey: &'a Impostor, france: &Impostor, broker: SocketAddr) -> anyhow::Result<Self> {
        let (sending, receiving) = (turkey.connect(broker).await?, france.connect(broker).await?);
        let submit = sending.submit(Precedence::Priority).await?;
        let receive = receiving.receive(Precedence::Priority, 64).await?;
        let france = france.agency().clone();
        Ok(Self { turkey, france, submit, receive, _sessions: [sending, receiving] })
    }

    /// One notice after the other, for so long.
    async fn talk(&mut self, how_long: Duration) -> anyhow::Result<Honest> {
        let mut honest = Honest::default();
        let end = Instant::now() + how_long;
        let mut every = tokio::time::interval(HONEST_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while Instant::now() < end {
            every.tick().await;
            let notice = self.turkey.notice(&[&self.france], "UNCLASSIFIED", &[7; 1024]);
            let frame = self.turkey.seal(notice)?.encode();
            match tokio::time::timeout(LOST_AFTER, self.send(frame)).await {
                Ok(taken) => honest.latencies.push(taken?),
                Err(_) => honest.lost += 1,
            }
        }
        Ok(honest)
    }

    async fn send(&mut self, frame: Bytes) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let receipt = self.submit.ask(frame).await?;
        if receipt.kind != ReceiptKind::Accepted {
            bail!("an honest notice was refused: {:?}", receipt.refusal);
        }
        loop {
            let delivery = self.receive.delivery().await?;
            let took = begun.elapsed();
            self.receive.acknowledge(vec![delivery.cursor]).await?;
            // One that was given up before may come first.
            if let Item::Envelope(envelope) = delivery.item
                && Some(envelope.header().notice_id) == receipt.notice_id
            {
                return Ok(took);
            }
        }
    }
}

/// The hostile agency at work.
struct Flood {
    streams: JoinSet<Hostile>,
    /// Dropped when it is to end.
    end: watch::Sender<()>,
    _sessions: Vec<RawSession>,
}

impl Flood {
    async fn start(
        kenya: &Impostor,
        uganda: &AgencyId,
        broker: SocketAddr,
        times: u32,
    ) -> anyhow::Result<Self> {
        let sealed = |_| {
            let mut notice = kenya.notice(&[uganda], "UNCLASSIFIED", &[7; 1024]);
            notice.draft.precedence = Precedence::Routine;
            Ok(kenya.seal(notice)?.encode())
        };
        let frames: Vec<Bytes> = (0..HOSTILE_ENVELOPES).map(sealed).collect::<anyhow::Result<_>>()?;
        let (end, ending) = watch::channel(());
        let (mut streams, mut sessions) = (JoinSet::new(), Vec::new());
        let in_a_second = QUOTA * usize::try_from(times)?;
        let ticks = usize::try_from(Duration::from_secs(1).as_millis() / TICK.as_millis())?;
        let each = in_a_second.div_ceil(ticks * CONNECTIONS * STREAMS);
        for _ in 0..CONNECTIONS {
            let session = kenya.connect(broker).await?;
            for number in 0..STREAMS {
                let stream = session.submit(Precedence::Routine).await?;
                let frames = frames.clone();
                let mut ending = ending.clone();
                streams.spawn(async move {
                    let mut hostile = Hostile::default();
                    tokio::select! {
                        _ = ending.changed() => {}
                        () = flood(stream, frames, each, number % 2 == 0, &mut hostile) => {}
                    }
                    hostile
                });
            }
            sessions.push(session);
        }
        Ok(Self { streams, end, _sessions: sessions })
    }

    async fn end(self) -> Hostile {
        let Self { mut streams, end, _sessions } = self;
        drop(end);
        let mut all = Hostile::default();
        while let Some(ended) = streams.join_next().await {
            let Ok(Hostile { submitted, accepted, quota, others }) = ended else { continue };
            all.submitted += submitted;
            all.accepted += accepted;
            all.quota += quota;
            all.others += others;
        }
        all
    }
}

/// One stream: so many in each tick, as far as the broker lets them in.
async fn flood(mut stream: RawSubmit, frames: Vec<Bytes>, each: usize, reads: bool, hostile: &mut Hostile) {
    let mut every = tokio::time::interval(TICK);
    let mut frames = frames.iter().cycle();
    loop {
        every.tick().await;
        for frame in frames.by_ref().take(each) {
            if stream.send(frame.clone()).await.is_err() {
                return;
            }
            hostile.submitted += 1;
        }
        if !reads {
            continue;
        }
        while let Ok(answer) = tokio::time::timeout(Duration::from_millis(1), stream.answer()).await {
            let Ok((_, receipt)) = answer else { return };
            match receipt.receipt().refusal.as_ref().map(|refusal| refusal.code) {
                None => hostile.accepted += 1,
                Some(RefusalCode::Quota) => hostile.quota += 1,
                Some(_) => hostile.others += 1,
            }
        }
    }
}

/// The most that a process has in memory while it is looked at, in bytes.
async fn largest(pid: u32, how_long: Duration) -> anyhow::Result<u64> {
    let end = Instant::now() + how_long;
    let mut most = 0;
    while Instant::now() < end {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        most = most.max(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Ok(most)
}
