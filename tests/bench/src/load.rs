//! The load process: seals envelopes beforehand, then submits them on one pipelined stream, as an agency would.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use rand_core::{Rng, UnwrapErr};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};
use valise_agent::clock::{Clock, new_notice_id};
use valise_agent::enrol::Membership;
use valise_agent::folder::Folder;
use valise_agent::vault::Vault;
use valise_proto::crypto::SealingPublicKey;
use valise_proto::envelope::{
    Envelope, HeaderDraft, NoticeKind, PlainPortion, PortionIndex, Precedence, SealFor, seal,
};
use valise_proto::id::AgencyId;
use valise_proto::label::{Classification, Label};
use valise_proto::receipt::{ReceiptKind, SignedReceipt};
use valise_proto::wire::limits::{PUBLICATION_BYTES_MAX, SUBMITTED_BYTES_MAX};
use valise_proto::wire::session::{Hello, SessionFrame, StreamOpen, Submitted, VERSION};
use valise_transport::{Anchors, Client, Connection, FrameReceiver, FrameSender, Transport};
use zeroize::Zeroizing;

use crate::cpu;

/// Most envelopes handed to the transport at once.
const SEND_AT_ONCE: usize = 32;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Data folder of the agency that submits
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Where the broker listens
    #[arg(long)]
    pub(crate) endpoint: String,
    /// The broker's process
    #[arg(long)]
    pub(crate) broker_pid: u32,
    /// Who receives
    #[arg(long)]
    pub(crate) recipient: AgencyId,
    /// Notices to submit and measure
    #[arg(long)]
    pub(crate) count: usize,
    /// Notices to submit before measuring
    #[arg(long)]
    pub(crate) warm_up: usize,
    /// Bytes of each notice's one portion
    #[arg(long)]
    pub(crate) body_bytes: usize,
    /// Submissions without an answer at any time
    #[arg(long)]
    pub(crate) outstanding: usize,
}

/// What the load process found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) accepted: usize,
    pub(crate) header_bytes: usize,
    pub(crate) envelope_bytes: usize,
    pub(crate) wall_us: u64,
    pub(crate) load_cpu_us: u64,
    pub(crate) broker_cpu_us: u64,
    /// Microseconds from sending to the answer, sorted.
    pub(crate) latencies_us: Vec<u64>,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let folder = Folder::new(&options.data);
    let vault = Vault::open(&folder)?;
    let membership = Membership::open(&folder, &vault)?;
    let total = options.warm_up + options.count;
    let envelopes = seal_all(options, &vault, &membership, total)?;
    let first = envelopes.first().context("nothing to submit")?;
    let (header_bytes, envelope_bytes) = (first.header_bytes().len(), first.encode().len());
    let frames: Vec<Bytes> = envelopes.iter().map(Envelope::encode).collect();
    drop(envelopes);

    let Membership { trust, credentials, crls, .. } = membership;
    let anchors = Anchors::new(trust.trust_domain, &trust.anchors, &crls)?;
    let transport = Transport::new(credentials, anchors, valise_transport::Options::default());
    let connection = Client::new(&transport).connect(&options.endpoint, None).await?;
    let _session = greet(&connection).await?;
    let mut found = submit(&connection, frames, options).await?;
    found.latencies_us.sort_unstable();
    let found = Found { header_bytes, envelope_bytes, ..found };
    println!("{}", serde_json::to_string(&found)?);
    connection.close(0, "done");
    Ok(())
}

fn seal_all(
    options: &Options,
    vault: &Vault,
    membership: &Membership,
    count: usize,
) -> anyhow::Result<Vec<Envelope>> {
    let now = Clock::system().now();
    let directory = &membership.directory;
    let entry = directory.agency(&options.recipient).context("the recipient is not in the directory")?;
    let key: SealingPublicKey =
        entry.sealing_key_at(now).context("the recipient has no sealing key")?.key.clone();
    let label = Label::plain(directory.content().policy.clone(), Classification::Restricted);
    let one = |_| {
        let mut rng = UnwrapErr(getrandom::SysRng);
        let mut parts = Zeroizing::new(vec![0; options.body_bytes]);
        rng.fill_bytes(&mut parts);
        let draft = HeaderDraft {
            notice_id: new_notice_id(now),
            kind: NoticeKind::Travel,
            originator: membership.agency.clone(),
            precedence: Precedence::Routine,
            created_at: now,
            expires_at: now.plus(Duration::from_secs(24 * 60 * 60)),
            respond_by: None,
            directory_version: directory.version(),
            in_reply_to: None,
            supersedes: None,
            withdraws: None,
            derived_from: None,
        };
        let portion = PlainPortion { label: label.clone(), parts };
        let portions = PortionIndex::new(0).into_iter().collect();
        let recipient = SealFor { agency: options.recipient.clone(), key: key.clone(), portions };
        Ok(seal(draft, &[portion], &[recipient], &mut rng)?.sign(vault.signing_key()))
    };
    (0..count).into_par_iter().map(one).collect()
}

async fn greet(connection: &Connection) -> anyhow::Result<(FrameSender, FrameReceiver)> {
    let (mut sender, mut receiver) = connection.open(PUBLICATION_BYTES_MAX, 8).await?;
    let software = concat!("valise-bench/", env!("CARGO_PKG_VERSION")).to_owned();
    let hello = Hello { versions: vec![VERSION], software, directory_version: 0 };
    sender.send(StreamOpen::Session(hello).encode()).await?;
    let frame = receiver.next().await?.context("the broker ended the session")?;
    match SessionFrame::decode(frame)? {
        SessionFrame::Welcome(_) => Ok((sender, receiver)),
        SessionFrame::Publication(_) | SessionFrame::Goodbye(_) => bail!("the broker did not say welcome"),
    }
}

struct Moment {
    at: Instant,
    load: Duration,
    broker: Duration,
}

impl Moment {
    fn now(options: &Options) -> anyhow::Result<Self> {
        Ok(Self {
            at: Instant::now(),
            load: cpu::time_of(std::process::id())?,
            broker: cpu::time_of(options.broker_pid)?,
        })
    }
}

async fn submit(connection: &Connection, frames: Vec<Bytes>, options: &Options) -> anyhow::Result<Found> {
    let (mut sender, receiver) = connection.open(SUBMITTED_BYTES_MAX, 0).await?;
    sender.send(StreamOpen::Submit(Precedence::Routine).encode()).await?;
    let room = Arc::new(Semaphore::new(options.outstanding));
    let (times, sent_at) = mpsc::unbounded_channel();
    let total = frames.len();
    let sending = send_all(sender, frames, Arc::clone(&room), times);
    let taking = take_answers(receiver, sent_at, room, total, options);
    let (sent, found) = tokio::try_join!(sending, taking)?;
    drop(sent);
    Ok(found)
}

async fn send_all(
    mut sender: FrameSender,
    frames: Vec<Bytes>,
    room: Arc<Semaphore>,
    times: mpsc::UnboundedSender<Instant>,
) -> anyhow::Result<FrameSender> {
    let mut frames = frames.into_iter().peekable();
    while frames.peek().is_some() {
        room.acquire().await?.forget();
        let mut batch: Vec<Bytes> = frames.next().into_iter().collect();
        while batch.len() < SEND_AT_ONCE && frames.peek().is_some() {
            let Ok(permit) = room.try_acquire() else { break };
            permit.forget();
            batch.extend(frames.next());
        }
        let now = Instant::now();
        for _ in &batch {
            times.send(now).map_err(|_| anyhow!("answers are no longer taken"))?;
        }
        sender.send_all(batch).await?;
    }
    Ok(sender)
}

async fn take_answers(
    mut receiver: FrameReceiver,
    mut sent_at: mpsc::UnboundedReceiver<Instant>,
    room: Arc<Semaphore>,
    total: usize,
    options: &Options,
) -> anyhow::Result<Found> {
    let mut sent: Vec<Instant> = Vec::with_capacity(total);
    let mut latencies_us = Vec::with_capacity(options.count);
    let mut begin = if options.warm_up == 0 { Some(Moment::now(options)?) } else { None };
    for answered in 1..=total {
        let frame = receiver.next().await?.context("the broker ended the stream")?;
        let Submitted { ordinal, receipt } = Submitted::decode(frame)?;
        room.add_permits(1);
        let receipt = SignedReceipt::from_signed(receipt)?;
        if receipt.receipt().kind != ReceiptKind::Accepted {
            let why = receipt.receipt().refusal.as_ref().map(ToString::to_string);
            bail!("the broker refused: {}", why.unwrap_or_default());
        }
        let ordinal = usize::try_from(ordinal)?;
        while sent.len() <= ordinal {
            sent.push(sent_at.recv().await.context("an answer to nothing")?);
        }
        if begin.is_some()
            && let Some(at) = sent.get(ordinal)
        {
            latencies_us.push(micros(at.elapsed()));
        }
        if answered == options.warm_up {
            begin = Some(Moment::now(options)?);
        }
    }
    let (begin, end) = (begin.context("nothing was measured")?, Moment::now(options)?);
    Ok(Found {
        accepted: options.count,
        header_bytes: 0,
        envelope_bytes: 0,
        wall_us: micros(end.at - begin.at),
        load_cpu_us: micros(end.load.saturating_sub(begin.load)),
        broker_cpu_us: micros(end.broker.saturating_sub(begin.broker)),
        latencies_us,
    })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
