//! The streams of one connection: for each precedence one that submits and one that receives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use valise_proto::envelope::{Envelope, Precedence};
use valise_proto::id::{AgencyId, NoticeId, SpiffeId};
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::limits::{ACK_CURSORS_MAX, DELIVERY_OVERHEAD_BYTES, Limits, SUBMITTED_BYTES_MAX};
use valise_proto::wire::session::{Ack, Cursor, Delivery, Item, StreamOpen, Submitted};
use valise_transport::{Connection, FrameReceiver, FrameSender};

use super::engine::Input;
use super::link::{Call, Lane, LinkError};
use crate::core::{Arrival, BrokerAnswer, Place, Submission};
use crate::incoming::{self, NotExamined, Verdict};

/// How long after a directory was asked for in vain none is asked for again because of what the same agency sent: of one that
/// was taken out thousands of notices may come.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// Most envelopes handed to the transport at once.
const SUBMIT_AT_ONCE: usize = 32;

type Streams = JoinSet<Result<(), LinkError>>;

/// Opens the streams of every precedence, the highest first.
pub(super) async fn open_all(
    call: &Call,
    connection: &Connection,
    limits: &Limits,
    streams: &mut Streams,
) -> Result<Vec<(Precedence, Lane)>, LinkError> {
    let mut lanes = Vec::new();
    for precedence in Precedence::ALL.into_iter().rev() {
        let (submit, to_submit) = mpsc::unbounded_channel();
        let (acknowledge, to_acknowledge) = mpsc::unbounded_channel();
        let envelope_bytes_max = limits.envelope_bytes_max;
        open_submit(call, connection, (precedence, envelope_bytes_max), to_submit, streams).await?;
        open_receive(call, connection, (precedence, limits), to_acknowledge, streams).await?;
        lanes.push((precedence, Lane { submit, acknowledge }));
    }
    Ok(lanes)
}

fn priority(precedence: Precedence) -> i32 {
    match precedence {
        Precedence::Routine => 0,
        Precedence::Priority => 1,
        Precedence::Immediate => 2,
        Precedence::Flash => 3,
    }
}

/// What was submitted and not answered, by its number on the stream.
type Unanswered = Arc<Mutex<HashMap<u64, Submission>>>;

async fn open_submit(
    call: &Call,
    connection: &Connection,
    (precedence, envelope_bytes_max): (Precedence, usize),
    to_submit: mpsc::UnboundedReceiver<NoticeId>,
    streams: &mut Streams,
) -> Result<(), LinkError> {
    let (mut sender, receiver) = connection.open(SUBMITTED_BYTES_MAX, priority(precedence)).await?;
    sender.send(StreamOpen::Submit(precedence).encode()).await?;
    let unanswered = Unanswered::default();
    let unanswered_too = Arc::clone(&unanswered);
    streams.spawn(submit(call.clone(), sender, to_submit, unanswered_too, envelope_bytes_max));
    streams.spawn(take_answers(call.clone(), connection.peer().clone(), receiver, unanswered));
    Ok(())
}

async fn submit(
    call: Call,
    mut sender: FrameSender,
    mut to_submit: mpsc::UnboundedReceiver<NoticeId>,
    unanswered: Unanswered,
    envelope_bytes_max: usize,
) -> Result<(), LinkError> {
    let mut ordinal = 0_u64;
    let mut notices = Vec::new();
    while to_submit.recv_many(&mut notices, SUBMIT_AT_ONCE).await > 0 {
        let mut frames = Vec::with_capacity(notices.len());
        for notice_id in notices.drain(..) {
            let bytes = call.office.store().outgoing_bytes(&notice_id)?;
            let bytes = bytes.ok_or(LinkError::Ended("an envelope of the outbox is not in the store"))?;
            if bytes.len() > envelope_bytes_max {
                let (session, refusal) = (call.session, too_large(bytes.len(), envelope_bytes_max));
                call.tell(Input::Unsendable { session, notice_id, refusal }).await?;
                continue;
            }
            let submission = Submission::of(&Envelope::decode(bytes.clone(), &Limits::DEFAULT)?, &bytes);
            unanswered.lock().unwrap_or_else(PoisonError::into_inner).insert(ordinal, submission);
            ordinal = ordinal.saturating_add(1);
            frames.push(bytes);
        }
        sender.send_all(frames).await?;
    }
    Ok(())
}

/// A broker ends the connection at an envelope above its limit, so this node answers in its place.
fn too_large(len: usize, max: usize) -> Refusal {
    let detail = format!(
        "not submitted: the envelope has {len} bytes and the broker takes at most {max}; divide the notice and send the parts"
    );
    Refusal::new(RefusalCode::TooLarge, detail)
}

async fn take_answers(
    call: Call,
    broker: SpiffeId,
    mut receiver: FrameReceiver,
    unanswered: Unanswered,
) -> Result<(), LinkError> {
    while let Some(frame) = receiver.next().await? {
        let Submitted { ordinal, receipt } = Submitted::decode(frame)?;
        let submission = unanswered.lock().unwrap_or_else(PoisonError::into_inner).remove(&ordinal);
        let submission = submission.ok_or(LinkError::Protocol("it answered what was not submitted"))?;
        let notice_id = submission.notice_id();
        let directory = call.office.directory();
        let input = match BrokerAnswer::new(receipt, &broker, &submission, &directory) {
            Ok(answer) => Input::Answered { session: call.session, notice_id, answer: Box::new(answer) },
            Err(error) => {
                tracing::warn!(notice = %notice_id, %error, "the broker's answer does not count");
                Input::Misbehaved { session: call.session, reason: "an answer that does not count" }
            }
        };
        call.tell(input).await?;
    }
    Ok(())
}

async fn open_receive(
    call: &Call,
    connection: &Connection,
    (precedence, limits): (Precedence, &Limits),
    to_acknowledge: mpsc::UnboundedReceiver<Vec<Cursor>>,
    streams: &mut Streams,
) -> Result<(), LinkError> {
    let cap = Limits::DEFAULT.envelope_bytes_max.saturating_add(DELIVERY_OVERHEAD_BYTES);
    let (mut sender, receiver) = connection.open(cap, priority(precedence)).await?;
    let window = u32::try_from(limits.unacknowledged_max).unwrap_or(u32::MAX);
    sender.send(StreamOpen::Receive { precedence, window }.encode()).await?;
    streams.spawn(acknowledge(sender, to_acknowledge));
    let lane = ReceiveLane { call: call.clone(), connection: connection.clone(), precedence };
    streams.spawn(lane.run(receiver));
    Ok(())
}

async fn acknowledge(
    mut sender: FrameSender,
    mut to_acknowledge: mpsc::UnboundedReceiver<Vec<Cursor>>,
) -> Result<(), LinkError> {
    while let Some(cursors) = to_acknowledge.recv().await {
        let frames = cursors.chunks(ACK_CURSORS_MAX).map(|chunk| Ack { cursors: chunk.to_vec() }.encode());
        sender.send_all(frames.collect::<Vec<_>>()).await?;
    }
    Ok(())
}

struct ReceiveLane {
    call: Call,
    connection: Connection,
    precedence: Precedence,
}

impl ReceiveLane {
    async fn run(self, mut receiver: FrameReceiver) -> Result<(), LinkError> {
        while let Some(frame) = receiver.next().await? {
            let (cursor, arrival) = match Delivery::decode(frame.clone()) {
                Ok(Delivery { cursor, item }) => (cursor, self.examine(item).await?),
                Err(error) => {
                    let cursor = error.cursor.ok_or(LinkError::Protocol("a delivery that cannot be read"))?;
                    (cursor, incoming::unreadable(frame, error.to_string(), self.call.office.now()))
                }
            };
            let place = Place { session: self.call.session, precedence: self.precedence, cursor };
            let input = Input::Arrived { place, arrival: Box::new(arrival) };
            self.call.tell(input).await?;
        }
        Ok(())
    }

    async fn examine(&self, item: Item) -> Result<Arrival, LinkError> {
        let originator = match &item {
            Item::Envelope(envelope) => Some(envelope.header().originator.clone()),
            Item::Receipt(_) => None,
        };
        let asked_in_vain = |of: &AgencyId| self.call.asked_in_vain(of, ASK_EVERY);
        let last_try = originator.as_ref().is_some_and(asked_in_vain);
        if let Verdict::Arrival(arrival) = self.try_examine(item.clone(), last_try).await? {
            return Ok(arrival);
        }
        let held = self.call.office.directory().version();
        if let Err(error) = self.call.fetch_publication(&self.connection).await {
            tracing::warn!(%error, "no newer directory is to be had");
        }
        if let Some(originator) = originator.filter(|_| self.call.office.directory().version() == held) {
            self.call.note_asked_in_vain(originator);
        }
        match self.try_examine(item, true).await? {
            Verdict::Arrival(arrival) => Ok(arrival),
            Verdict::NeedsNewerDirectory => Err(LinkError::Ended("a delivery needs a newer directory")),
        }
    }

    /// Verifying and opening take about a millisecond of CPU, which is not for the tasks that do I/O.
    async fn try_examine(&self, item: Item, last_try: bool) -> Result<Verdict, LinkError> {
        let office = Arc::clone(&self.call.office);
        let examined: Result<Verdict, NotExamined> =
            tokio::task::spawn_blocking(move || incoming::examine(&office, item, last_try))
                .await
                .map_err(|_| LinkError::Ended("the node is stopping"))?;
        Ok(examined?)
    }
}
