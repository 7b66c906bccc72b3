//! One task per submit stream: envelopes in, receipts out.
//!
//! Frames that are there together are taken together: one chunk is verified, decided about and signed for on one of the
//! worker threads, then goes to the committer as one submission. Chunks overtake each other, so one agency's stream
//! keeps every core busy. A frame's place in `in_flight` and its bytes are given back when its answer was written.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use valise_proto::crypto::sha256;
use valise_proto::envelope::{Envelope, Precedence, VerifiedEnvelope};
use valise_proto::id::{AgencyId, Digest, NoticeId, Timestamp};
use valise_proto::receipt::{ReceiptKind, SignedReceipt};
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::Signed;
use valise_proto::wire::session::Submitted;
use valise_transport::{FrameReceiver, FrameSender};

use super::outgoing::priority;
use super::session::{Fault, Peer};
use super::{Shared, now};
use crate::core::Policy;
use crate::store::{Acceptance, Operation, Outcome, StoreError, Submission};

/// Most frames verified as one piece of work: enough to make its hand-over cheap, few enough to share among cores.
const CHUNK_FRAMES_MAX: usize = 16;
/// Most answers written at once.
const ANSWERS_MAX: usize = 256;

/// A chunk of frames as they came.
struct Chunk {
    first_ordinal: u64,
    frames: Vec<Bytes>,
    hold: Hold,
}

/// What a chunk occupies until its answers are written.
struct Hold {
    _in_flight: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// Answers of one chunk, and what they give back when written.
struct Answers {
    frames: Vec<Bytes>,
    _hold: Option<Arc<Hold>>,
}

pub(super) async fn serve(
    peer: Arc<Peer>,
    precedence: Precedence,
    mut sender: FrameSender,
    mut receiver: FrameReceiver,
) -> Result<(), Fault> {
    let limits = &peer.shared.config.limits.wire;
    sender.set_priority(priority(precedence));
    receiver.set_cap(limits.envelope_bytes_max);
    let in_flight = Arc::new(Semaphore::new(limits.in_flight_max));
    let (answers, mut to_write) = mpsc::unbounded_channel();
    let reading = read_all(&peer, precedence, &mut receiver, &in_flight, answers);
    let writing = write_all(&mut sender, &mut to_write);
    // Reading ends first, with the agency's last frame; writing ends when the last answer is out.
    let (read, written) = tokio::join!(reading, writing);
    sender.finish_and_wait().await;
    read.and(written)
}

async fn read_all(
    peer: &Arc<Peer>,
    precedence: Precedence,
    receiver: &mut FrameReceiver,
    in_flight: &Arc<Semaphore>,
    answers: mpsc::UnboundedSender<Answers>,
) -> Result<(), Fault> {
    let mut first_ordinal = 0;
    while let Some(first) = receiver.next().await? {
        let mut frames = vec![first];
        while frames.len() < CHUNK_FRAMES_MAX {
            let Some(next) = receiver.try_next()? else { break };
            frames.push(next);
        }
        let count = u32::try_from(frames.len()).unwrap_or(u32::MAX);
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        // While either is exhausted nothing more is read, and QUIC's flow control holds the agency back.
        let room = async {
            let in_flight = Arc::clone(in_flight).acquire_many_owned(count).await?;
            let bytes = Arc::clone(&peer.shared.intake_kib).acquire_many_owned(kib).await?;
            Ok::<_, tokio::sync::AcquireError>(Hold { _in_flight: in_flight, _bytes: bytes })
        };
        let Ok(hold) = room.await else { return Ok(()) };
        let chunk = Chunk { first_ordinal, frames, hold };
        first_ordinal += u64::from(count);
        peer.shared.tasks.spawn(take(Arc::clone(peer), precedence, chunk, answers.clone()));
    }
    Ok(())
}

async fn write_all(sender: &mut FrameSender, to_write: &mut mpsc::UnboundedReceiver<Answers>) -> Result<(), Fault> {
    let mut batch = Vec::new();
    while to_write.recv_many(&mut batch, ANSWERS_MAX).await > 0 {
        sender.send_all(batch.iter_mut().flat_map(|answers| std::mem::take(&mut answers.frames))).await?;
        batch.clear();
    }
    Ok(())
}

/// Everything that happens to one chunk.
async fn take(peer: Arc<Peer>, precedence: Precedence, chunk: Chunk, answers: mpsc::UnboundedSender<Answers>) {
    let Chunk { first_ordinal, frames, hold } = chunk;
    let hold = Arc::new(hold);
    let (done, judged) = oneshot::channel();
    let judge = Arc::clone(&peer);
    peer.shared.workers.spawn(move || {
        let policy = judge.shared.policy();
        let judged = frames
            .into_iter()
            .zip(first_ordinal..)
            .map(|(frame, ordinal)| (ordinal, judge_one(&judge, &policy, precedence, frame, now())))
            .collect::<Vec<_>>();
        // Whoever waits is gone only when the broker is stopping.
        let _ = done.send(judged);
    });
    let Ok(judged) = judged.await else { return };
    let mut refused = Vec::new();
    let mut accepted = Vec::new();
    let mut operations = Vec::new();
    for (ordinal, verdict) in judged {
        match verdict {
            Ok((acceptance, receipt)) => {
                accepted.push(Pending::new(ordinal, &acceptance, receipt));
                operations.push(Operation::Accept(acceptance));
            }
            Err(receipt) => refused.push(answer(ordinal, receipt.signed().clone())),
        }
    }
    if !refused.is_empty() {
        // The writer is gone only when the stream is.
        let _ = answers.send(Answers { frames: refused, _hold: Some(Arc::clone(&hold)) });
    }
    if operations.is_empty() {
        return;
    }
    let shared = Arc::clone(&peer.shared);
    let reply = Box::new(move |result: Result<Vec<Outcome>, StoreError>| {
        settle(&shared, accepted, result, &answers, hold);
    });
    peer.shared.committer.submit(Submission { operations, reply }).await;
}

/// Verification, decision and receipt: the work of a notice, on a worker thread.
fn judge_one(
    peer: &Peer,
    policy: &Policy,
    precedence: Precedence,
    frame: Bytes,
    at: Timestamp,
) -> Result<(Acceptance, SignedReceipt), SignedReceipt> {
    let shared = &peer.shared;
    match policy.admit(&peer.agency, precedence, frame.clone(), at) {
        Ok(verified) => {
            let receipt = shared.sign_acceptance(verified.envelope());
            Ok((acceptance(&verified, frame, &receipt, at), receipt))
        }
        Err((envelope, refusal)) => {
            tracing::info!(peer = %peer.agency, %refusal, "envelope refused");
            let about = envelope.as_deref().map_or_else(
                || (None, sha256(&[&frame])),
                |envelope: &Envelope| (Some(envelope.header().notice_id), envelope.header_digest()),
            );
            Err(shared.sign(ReceiptKind::Refused, about, None, Some(refusal)))
        }
    }
}

fn acceptance(verified: &VerifiedEnvelope, frame: Bytes, receipt: &SignedReceipt, at: Timestamp) -> Acceptance {
    let header = verified.header();
    Acceptance {
        notice_id: header.notice_id,
        header_digest: verified.envelope().header_digest(),
        originator: header.originator.clone(),
        recipients: header.recipients.clone(),
        precedence: header.precedence,
        accepted_at: at,
        expires_at: header.expires_at,
        envelope: frame,
        receipt: receipt.encode(),
    }
}

/// What is needed to answer once the commit is known.
struct Pending {
    ordinal: u64,
    about: (Option<NoticeId>, Digest),
    recipients: Vec<AgencyId>,
    precedence: Precedence,
    receipt: SignedReceipt,
}

impl Pending {
    fn new(ordinal: u64, acceptance: &Acceptance, receipt: SignedReceipt) -> Self {
        Self {
            ordinal,
            about: (Some(acceptance.notice_id), acceptance.header_digest),
            recipients: acceptance.recipients.clone(),
            precedence: acceptance.precedence,
            receipt,
        }
    }
}

/// On the committer's thread, after the commit: releases the receipts and wakes the inboxes.
fn settle(
    shared: &Shared,
    pending: Vec<Pending>,
    result: Result<Vec<Outcome>, StoreError>,
    answers: &mpsc::UnboundedSender<Answers>,
    hold: Arc<Hold>,
) {
    let mut queued: Vec<(AgencyId, Precedence)> = Vec::new();
    let mut frames = Vec::with_capacity(pending.len());
    match result {
        Ok(outcomes) => {
            for (pending, outcome) in pending.into_iter().zip(outcomes) {
                let ordinal = pending.ordinal;
                let receipt = conclude(shared, pending, outcome, &mut queued);
                frames.push(answer(ordinal, receipt));
            }
        }
        Err(_) => {
            // The committer has logged why; the agency is told no more than it needs.
            for pending in pending {
                let detail = "the broker cannot store anything at present; keep the notice and try again";
                let retry = std::time::Duration::from_secs(5);
                let refusal = Refusal::new(RefusalCode::StoreUnavailable, detail).retry_after(retry);
                let receipt = shared.sign(ReceiptKind::Refused, pending.about, None, Some(refusal));
                frames.push(answer(pending.ordinal, receipt.signed().clone()));
            }
        }
    }
    // The writer is gone only when the stream is; the agency will submit again and be told the same.
    let _ = answers.send(Answers { frames, _hold: Some(hold) });
    // The driver is gone only when the broker is stopping.
    let _ = shared.queued.send(queued);
}

fn conclude(
    shared: &Shared,
    pending: Pending,
    outcome: Outcome,
    queued: &mut Vec<(AgencyId, Precedence)>,
) -> Signed {
    match outcome {
        Outcome::Accepted | Outcome::Done => {
            for recipient in pending.recipients {
                let inbox = (recipient, pending.precedence);
                if !queued.contains(&inbox) {
                    queued.push(inbox);
                }
            }
            pending.receipt.signed().clone()
        }
        Outcome::Duplicate { receipt } => match SignedReceipt::decode(receipt) {
            Ok(first) => first.signed().clone(),
            Err(error) => {
                tracing::error!(%error, "a stored receipt cannot be read");
                pending.receipt.signed().clone()
            }
        },
        Outcome::Conflict => {
            let detail = "another envelope was accepted under this notice id; send under a new id";
            let refusal = Refusal::new(RefusalCode::IdConflict, detail);
            shared.sign(ReceiptKind::Refused, pending.about, None, Some(refusal)).signed().clone()
        }
    }
}

fn answer(ordinal: u64, receipt: Signed) -> Bytes {
    Submitted { ordinal, receipt }.encode()
}
