//! One task per submit stream: envelopes in, receipts out.
//!
//! Frames that are there together are taken together: one chunk is verified, decided about and signed for on one of the
//! worker threads, then goes to the committer as one submission. Chunks overtake each other, so one agency's stream
//! keeps every core busy. A frame's bytes, and its place among its agency's, are given back when it was committed or
//! refused, its place in `in_flight` when its answer was written: an agency that does not read its answers holds nobody
//! back but itself. Before any work is done on a frame its agency pays for it ([`super::shares`]).
//!
//! Nothing is answered ACCEPTED but from the committer's reply, which comes after the disk (G4).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use valise_proto::crypto::sha256;
use valise_proto::envelope::{NoticeKind, Precedence, VerifiedEnvelope};
use valise_proto::id::{AgencyId, Digest, NoticeId, Timestamp};
use valise_proto::receipt::{ReceiptKind, SignedReceipt};
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::Signed;
use valise_proto::wire::session::Submitted;
use valise_transport::{FrameReceiver, FrameSender};

use super::outgoing::priority;
use super::session::{Fault, Peer};
use super::{Shared, now};
use crate::core::{About, Policy, Verdict};
use crate::store::{Acceptance, Exceeded, Operation, Outcome, Quota, StoreError, Submission};

/// Most frames verified as one piece of work: enough to make its hand-over cheap, few enough to share among cores.
const CHUNK_FRAMES_MAX: usize = 16;
/// A chunk takes no further frame once it holds this many bytes.
const CHUNK_BYTES: usize = 256 * 1024;
/// When to try again after the store could not take something.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// When to try again after too much waits to be fetched: when recipients fetch it, the broker cannot know.
const STORAGE_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Longest envelope that counts as a receipt: one chunk of the store. Whoever says that something longer is one, or sends it
/// to several, or to be kept for longer than receipts are, has it counted as a notice.
const RECEIPT_BYTES_MAX: usize = 5 * 1024;
const RECEIPT_LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Most answers written at once.
const ANSWERS_MAX: usize = 256;

/// A frame as it came, and why it is refused where its agency has nothing left to pay for it.
type Paid = (Bytes, Option<Refusal>);

/// A chunk of frames.
struct Chunk {
    first_ordinal: u64,
    frames: Vec<Paid>,
    /// When the first of them was read.
    read_at: Instant,
    room: Room,
}

/// What a chunk occupies.
struct Room {
    /// Until its answers are written.
    in_flight: OwnedSemaphorePermit,
    /// Until its frames are dropped: its agency's places, its agency's bytes, everybody's bytes.
    work: [OwnedSemaphorePermit; 3],
}

/// Answers of one chunk, and what they give back when written.
struct Answers {
    frames: Vec<Bytes>,
    _in_flight: Arc<OwnedSemaphorePermit>,
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
    let (answers, to_write) = mpsc::unbounded_channel();
    let reading = read_all(&peer, precedence, &mut receiver, &in_flight, answers);
    let writing = write_all(&mut sender, to_write);
    // Reading ends first, with the agency's last frame or the session's end; writing ends when the last answer is out.
    let (read, written) = tokio::join!(reading, writing);
    match read.and(written) {
        Ok(()) => {
            peer.after_goodbye().await;
            sender.finish_and_wait().await;
            Ok(())
        }
        // The peer broke the rules or is gone: it is not waited for.
        Err(fault) => {
            sender.finish();
            Err(fault)
        }
    }
}

async fn read_all(
    peer: &Arc<Peer>,
    precedence: Precedence,
    receiver: &mut FrameReceiver,
    in_flight: &Arc<Semaphore>,
    answers: mpsc::UnboundedSender<Answers>,
) -> Result<(), Fault> {
    let frames_max = CHUNK_FRAMES_MAX.min(peer.shared.config.limits.wire.in_flight_max);
    let mut first_ordinal = 0;
    loop {
        let next = async {
            let first = receiver.next().await?;
            let Some(first) = first else { return Ok(None) };
            let read_at = Instant::now();
            let mut bytes = first.len();
            let mut frames = vec![pay(peer, precedence, first).await];
            while frames.len() < frames_max && bytes < CHUNK_BYTES {
                let Some(next) = receiver.try_next()? else { break };
                bytes += next.len();
                frames.push(pay(peer, precedence, next).await);
            }
            let room = wait_for_room(peer, in_flight, frames.len(), bytes).await;
            Ok::<_, Fault>(room.map(|room| Chunk { first_ordinal, frames, read_at, room }))
        };
        // What was read and is dropped here was not answered; its agency submits it again.
        let chunk = tokio::select! {
            () = peer.ending.cancelled() => return Ok(()),
            // The writer has given up: nobody would hear the answers.
            () = answers.closed() => return Ok(()),
            chunk = next => chunk?,
        };
        let Some(chunk) = chunk else { return Ok(()) };
        first_ordinal += u64::try_from(chunk.frames.len()).unwrap_or(u64::MAX);
        peer.tasks.spawn(take(Arc::clone(peer), precedence, chunk, answers.clone()));
    }
}

/// Has its agency pay for a frame. Whoever has used up refusals too is not read from for a while.
async fn pay(peer: &Peer, precedence: Precedence, frame: Bytes) -> Paid {
    let Shared { shares, disk, .. } = &*peer.shared;
    loop {
        let verdict = match disk.refusal(precedence) {
            Some(refusal) => shares.refuse(&peer.agency, refusal),
            None => shares.judge(&peer.agency, precedence, frame.len()),
        };
        match verdict {
            Verdict::Take => return (frame, None),
            Verdict::Refuse(refusal) => return (frame, Some(refusal)),
            Verdict::Hold(wait) => tokio::time::sleep(wait).await,
        }
    }
}

/// Waits for room. While there is none nothing more is read, and QUIC's flow control holds the agency back.
async fn wait_for_room(peer: &Peer, in_flight: &Arc<Semaphore>, frames: usize, bytes: usize) -> Option<Room> {
    let count = u32::try_from(frames).unwrap_or(u32::MAX);
    let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
    let shares = &peer.shared.shares;
    let share = shares.of(&peer.agency);
    let permits = |of: &Arc<Semaphore>, count: u32| Arc::clone(of).acquire_many_owned(count);
    let in_flight = permits(in_flight, count).await.ok()?;
    let places = permits(&share.work, count).await.ok()?;
    // A chunk that is larger than all the room there is takes all of it.
    let own = permits(&share.kib, kib.min(share.kib_max)).await.ok()?;
    let all = permits(&shares.all_kib, kib.min(shares.all_kib_max)).await.ok()?;
    Some(Room { in_flight, work: [places, own, all] })
}

async fn write_all(
    sender: &mut FrameSender,
    mut to_write: mpsc::UnboundedReceiver<Answers>,
) -> Result<(), Fault> {
    let mut batch = Vec::new();
    while to_write.recv_many(&mut batch, ANSWERS_MAX).await > 0 {
        sender.send_all(batch.iter_mut().flat_map(|answers| std::mem::take(&mut answers.frames))).await?;
        batch.clear();
    }
    Ok(())
}

/// Everything that happens to one chunk.
async fn take(
    peer: Arc<Peer>,
    precedence: Precedence,
    chunk: Chunk,
    answers: mpsc::UnboundedSender<Answers>,
) {
    let Chunk { first_ordinal, frames, read_at, room: Room { in_flight, work } } = chunk;
    let in_flight = Arc::new(in_flight);
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
            Err(receipt) => refused.push(answer(ordinal, receipt)),
        }
    }
    if !refused.is_empty() {
        // The writer is gone only when the stream is.
        let _ = answers.send(Answers { frames: refused, _in_flight: Arc::clone(&in_flight) });
    }
    if operations.is_empty() {
        return;
    }
    let shared = Arc::clone(&peer.shared);
    // It may have filled up while these were verified.
    if let Some(refusal) = shared.disk.refusal(precedence) {
        let refused = |pending: Pending| answer(pending.ordinal, refuse(&shared, &pending, refusal.clone()));
        let frames = accepted.into_iter().map(refused).collect();
        // The writer is gone only when the stream is.
        let _ = answers.send(Answers { frames, _in_flight: in_flight });
        return;
    }
    let taken = bytes_of(&operations);
    shared.disk.note_taken(taken);
    let reply = Box::new(move |result: Result<Vec<Outcome>, StoreError>| {
        drop(work);
        shared.disk.note_written(taken);
        let answered = accepted.len();
        settle(&shared, accepted, result, &answers, in_flight);
        shared.watch.counts.note_answered(answered, read_at.elapsed());
    });
    peer.shared.committer.submit(Submission { operations, reply }).await;
}

/// What these are about to take of the disk, in their own length.
fn bytes_of(operations: &[Operation]) -> usize {
    let len = |operation: &Operation| match operation {
        Operation::Accept(acceptance) => acceptance.envelope.len(),
        Operation::Acknowledge { .. } | Operation::Expire { .. } | Operation::Review { .. } => 0,
    };
    operations.iter().map(len).sum()
}

/// Verification, decision and receipt: the work of a notice, on a worker thread.
fn judge_one(
    peer: &Peer,
    policy: &Policy,
    precedence: Precedence,
    (frame, refused): Paid,
    at: Timestamp,
) -> Result<(Acceptance, SignedReceipt), Signed> {
    let shared = &peer.shared;
    if let Some(refusal) = refused {
        let about = policy.about(frame.clone());
        return Err(refuse_one(shared, &frame, about, refusal));
    }
    match policy.admit(&peer.agency, precedence, frame.clone(), at) {
        Ok(verified) => {
            let receipt = shared.sign_acceptance(verified.envelope());
            let mut acceptance = acceptance(&verified, frame, &receipt);
            acceptance.follows = policy.follow_up(verified.header(), at).map(Box::new);
            acceptance.quota = shared.config.limits.quota.of(precedence);
            Ok((acceptance, receipt))
        }
        Err((about, refusal)) => {
            if let Some(first) = about.and_then(|about| accepted_before(peer, about, &refusal)) {
                shared.watch.counts.note_resubmitted();
                return Err(first.signed().clone());
            }
            tracing::info!(peer = %peer.agency, %refusal, "envelope refused");
            Err(refuse_one(shared, &frame, about, refusal))
        }
    }
}

fn refuse_one(shared: &Shared, frame: &Bytes, about: Option<About>, refusal: Refusal) -> Signed {
    let about = about.map_or_else(
        || (None, sha256(&[frame])),
        |About { notice_id, header_digest }| (Some(notice_id), header_digest),
    );
    shared.watch.counts.note_refused(refusal.code);
    shared.sign(ReceiptKind::Refused, about, None, Some(refusal)).signed().clone()
}

/// The receipt of an envelope that was accepted once and would not be now: time has passed, or the directory changed.
/// Its originator may not have heard the first answer, and there must not be another (G5).
fn accepted_before(peer: &Peer, about: About, refusal: &Refusal) -> Option<SignedReceipt> {
    match refusal.code {
        RefusalCode::UnknownAgency
        | RefusalCode::Suspended
        | RefusalCode::Revoked
        | RefusalCode::KeyNotActive
        | RefusalCode::LabelPolicy
        | RefusalCode::NotClearedToOriginate
        | RefusalCode::RecipientNotCleared
        | RefusalCode::Expired
        | RefusalCode::ClockSkew
        | RefusalCode::TooLarge
        | RefusalCode::DirectoryStale => {}
        RefusalCode::Malformed
        | RefusalCode::UnsupportedVersion
        | RefusalCode::NotOriginator
        | RefusalCode::BadSignature
        | RefusalCode::IdConflict
        | RefusalCode::Declined
        | RefusalCode::IncompleteRecipients
        | RefusalCode::Superseded
        | RefusalCode::Quota
        | RefusalCode::Unknown(_)
        | RefusalCode::StoreUnavailable => return None,
    }
    let kept = peer.shared.reader.notice(&about.notice_id).ok().flatten()?;
    let same = kept.originator == peer.agency && kept.header_digest == about.header_digest;
    same.then(|| SignedReceipt::decode(kept.receipt).ok()).flatten()
}

fn acceptance(verified: &VerifiedEnvelope, frame: Bytes, receipt: &SignedReceipt) -> Acceptance {
    let header = verified.header();
    let is_receipt = header.kind == NoticeKind::Receipt
        && header.recipients.len() == 1
        && frame.len() <= RECEIPT_BYTES_MAX
        && header.expires_at <= header.created_at.plus(RECEIPT_LIFETIME_MAX);
    Acceptance {
        notice_id: header.notice_id,
        header_digest: verified.envelope().header_digest(),
        originator: header.originator.clone(),
        recipients: header.recipients.clone(),
        precedence: header.precedence,
        accepted_at: receipt.receipt().at,
        expires_at: header.expires_at,
        envelope: frame,
        receipt: receipt.encode(),
        follows: None,
        is_receipt,
        quota: Quota::UNLIMITED,
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
    in_flight: Arc<OwnedSemaphorePermit>,
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
                frames.push(answer(pending.ordinal, refuse(shared, &pending, store_unavailable())));
            }
        }
    }
    // The writer is gone only when the stream is; the agency will submit again and be told the same.
    let _ = answers.send(Answers { frames, _in_flight: in_flight });
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
        Outcome::Accepted => {
            shared.watch.counts.note_accepted();
            for recipient in pending.recipients {
                let inbox = (recipient, pending.precedence);
                if !queued.contains(&inbox) {
                    queued.push(inbox);
                }
            }
            pending.receipt.signed().clone()
        }
        Outcome::Duplicate { receipt } => match SignedReceipt::decode(receipt) {
            Ok(first) => {
                shared.watch.counts.note_resubmitted();
                first.signed().clone()
            }
            Err(error) => {
                tracing::error!(%error, "a stored receipt cannot be read");
                refuse(shared, &pending, store_unavailable())
            }
        },
        Outcome::Conflict => {
            let detail = "another envelope was accepted under this notice id; send under a new id";
            refuse(shared, &pending, Refusal::new(RefusalCode::IdConflict, detail))
        }
        Outcome::OfAnother => {
            let detail = "another agency sent the notice that this corrects or withdraws; only that one may";
            refuse(shared, &pending, Refusal::new(RefusalCode::NotOriginator, detail))
        }
        Outcome::Incomplete { missing } => {
            let missing: Vec<_> = missing.iter().map(AgencyId::as_str).collect();
            let detail =
                format!("it does not go to everyone who was sent the notice: add {}", missing.join(", "));
            refuse(shared, &pending, Refusal::new(RefusalCode::IncompleteRecipients, detail))
        }
        Outcome::OverQuota(exceeded) => refuse(shared, &pending, over_quota(&exceeded)),
        Outcome::Done => {
            tracing::error!("the store gave no answer to an acceptance");
            refuse(shared, &pending, store_unavailable())
        }
    }
}

fn refuse(shared: &Shared, pending: &Pending, refusal: Refusal) -> Signed {
    shared.watch.counts.note_refused(refusal.code);
    shared.sign(ReceiptKind::Refused, pending.about, None, Some(refusal)).signed().clone()
}

fn over_quota(exceeded: &Exceeded) -> Refusal {
    let detail = match exceeded {
        Exceeded::Notices => "too many notices of this agency wait to be fetched".to_owned(),
        Exceeded::Bytes => "the notices of this agency that wait to be fetched take too much room".to_owned(),
        Exceeded::Remembered => {
            "too many ids of this agency are remembered, until a day after they expire".to_owned()
        }
        Exceeded::Correspondent(recipient) => {
            format!("too much of this agency waits to be fetched by {recipient}")
        }
        Exceeded::Inbox(recipient) => format!("too much waits to be fetched by {recipient}"),
        Exceeded::Expired => {
            "too many receipts wait to be fetched by this agency; fetch them, and submit again".to_owned()
        }
    };
    Refusal::new(RefusalCode::Quota, detail + "; a tenth is kept for IMMEDIATE and FLASH")
        .retry_after(STORAGE_RETRY_AFTER)
}

fn store_unavailable() -> Refusal {
    let detail = "the broker cannot store anything at present; keep the notice and try again";
    Refusal::new(RefusalCode::StoreUnavailable, detail).retry_after(RETRY_AFTER)
}

fn answer(ordinal: u64, receipt: Signed) -> Bytes {
    Submitted { ordinal, receipt }.encode()
}
