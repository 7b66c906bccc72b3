//! One task per receive stream: deliveries out, acknowledgements in.

use std::pin::pin;

use tokio::sync::mpsc;
use valise_proto::envelope::Precedence;
use valise_proto::wire::limits::ACK_BYTES_MAX;
use valise_proto::wire::session::{Ack, Delivery};
use valise_transport::{FrameReceiver, FrameSender};

use super::driver::Input;
use super::session::{Fault, Peer};
use crate::core::StreamId;

/// What a stream is reset with whose place another has taken.
const REPLACED: u32 = 0;

pub(super) async fn serve(
    peer: &Peer,
    stream: StreamId,
    (precedence, window): (Precedence, u32),
    mut sender: FrameSender,
    mut receiver: FrameReceiver,
) -> Result<(), Fault> {
    sender.set_priority(priority(precedence));
    receiver.set_cap(ACK_BYTES_MAX);
    // The core gives one batch at a time.
    let (deliveries, mut to_write) = mpsc::channel(1);
    peer.tell(Input::Receive { session: peer.session, stream, precedence, window, deliveries }).await;
    let ended = tokio::select! {
        ended = write_all(peer, stream, &mut sender, &mut to_write) => ended,
        ended = read_acknowledgements(peer, stream, &mut receiver) => ended,
    };
    peer.tell(Input::StreamClosed { stream }).await;
    if ended.is_ok() {
        peer.after_goodbye().await;
        sender.finish_and_wait().await;
    }
    ended
}

async fn write_all(
    peer: &Peer,
    stream: StreamId,
    sender: &mut FrameSender,
    to_write: &mut mpsc::Receiver<Vec<Delivery>>,
) -> Result<(), Fault> {
    while let Some(deliveries) = to_write.recv().await {
        let replaced = {
            let mut writing = pin!(sender.send_all(deliveries.iter().map(Delivery::encode)));
            // The core gives nothing more while this is being written, so the stream has come to its end: with the session,
            // and then what is being written still is, or because another has taken its place.
            let written = tokio::select! {
                written = &mut writing => Some(written),
                _ = to_write.recv() => None,
            };
            match written {
                Some(written) => written.map(|()| false)?,
                None if peer.ending.is_cancelled() => return Ok(writing.await?),
                None => true,
            }
        };
        if replaced {
            // Whoever opens streams over and over and reads none is kept no bytes for them (G10).
            sender.abandon(REPLACED);
            return Err(Fault::Gone);
        }
        peer.tell(Input::Written { stream }).await;
    }
    Ok(())
}

async fn read_acknowledgements(
    peer: &Peer,
    stream: StreamId,
    receiver: &mut FrameReceiver,
) -> Result<(), Fault> {
    while let Some(frame) = receiver.next().await? {
        let Ack { cursors } = Ack::decode(frame)?;
        // The core is everybody's: it hears of no more than there is to say.
        if cursors.is_empty() {
            continue;
        }
        peer.tell(Input::Acknowledged { stream, cursors }).await;
    }
    Ok(())
}

/// QUIC sends streams of a higher priority first, so FLASH is never behind ROUTINE (G8).
pub(super) fn priority(precedence: Precedence) -> i32 {
    match precedence {
        Precedence::Routine => 0,
        Precedence::Priority => 1,
        Precedence::Immediate => 2,
        Precedence::Flash => 3,
    }
}
