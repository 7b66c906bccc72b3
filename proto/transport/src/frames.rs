//! Frames on a QUIC stream.
//!
//! Claimed, against a peer that sends what it likes: a stream costs this node at most twice the bytes that really came,
//! and those are never more than the stream's cap and one read. It holds because a length above the cap is
//! refused on its four bytes, because the decoder, which takes memory for a whole frame when asked for one that is
//! under way, is asked only once the frame is here, and because nothing is read from QUIC while a frame waits to be
//! taken; so what is unread is bounded by QUIC's windows. What was begun is not waited for without end: a reader gives a
//! frame a fixed time from its first byte, and again from each further 16 KiB of it. The end of a stream inside a frame is
//! an error, however often one asks, and never passes for the end of the stream.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;
use tokio::time::Instant;
use valise_proto::wire::frame::{FrameDecoder, FrameError, prefix};

/// Bodies up to this many bytes are copied next to their prefix; larger ones are handed on as they are.
const COALESCE_BYTES_MAX: usize = 1024;
/// Most chunks taken from the stream at a time; each is at most a packet.
const CHUNKS_MAX: usize = 64;
/// How much of a frame that was begun has to come within the frame timeout, where its end does not.
const PROGRESS_BYTES: usize = 16 * 1024;

/// A frame could not be sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// The peer does not want more of this stream.
    #[error("the peer stopped the stream with code {0}")]
    Stopped(u64),
    /// The connection is gone.
    #[error("the connection is closed")]
    Closed,
    /// The frame does not fit the prefix.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl From<quinn::WriteError> for SendError {
    fn from(error: quinn::WriteError) -> Self {
        match error {
            quinn::WriteError::Stopped(code) => Self::Stopped(code.into_inner()),
            quinn::WriteError::ConnectionLost(_)
            | quinn::WriteError::ClosedStream
            | quinn::WriteError::ZeroRttRejected => Self::Closed,
        }
    }
}

/// A frame could not be received.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReceiveError {
    /// The bytes are not frames, or a frame is too large.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame was begun, and neither ended in time nor came nearer to its end by what is asked of the slowest line.
    #[error("a frame was begun, and in {} s neither its end nor 16 KiB more of it came", .0.as_secs())]
    Slow(Duration),
    /// The peer gave the stream up.
    #[error("the peer reset the stream with code {0}")]
    Reset(u64),
    /// The connection is gone.
    #[error("the connection is closed")]
    Closed,
}

/// The sending half of a framed stream.
#[derive(Debug)]
pub struct FrameSender {
    stream: quinn::SendStream,
}

impl FrameSender {
    pub(crate) fn new(stream: quinn::SendStream) -> Self {
        Self { stream }
    }

    /// Sends one frame; `body` is without the prefix. Waits while the peer's window is full. Not safe to cancel: part
    /// of the frame may have gone, and nothing can follow it.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(&mut self, body: Bytes) -> Result<(), SendError> {
        self.send_all([body]).await
    }

    /// Sends several frames in as few writes as possible. Not safe to cancel, as [`FrameSender::send`].
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send_all(&mut self, bodies: impl IntoIterator<Item = Bytes>) -> Result<(), SendError> {
        let mut chunks = Vec::new();
        let mut small = BytesMut::new();
        for body in bodies {
            small.put_slice(&prefix(body.len())?);
            if body.len() <= COALESCE_BYTES_MAX {
                small.put_slice(&body);
            } else {
                chunks.push(small.split().freeze());
                chunks.push(body);
            }
        }
        if !small.is_empty() {
            chunks.push(small.freeze());
        }
        Ok(self.stream.write_all_chunks(&mut chunks).await?)
    }

    /// Sends bytes as they are, which need not be frames: for tests of what the other end makes of that.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn dangerous_send_unframed(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Streams of a higher priority are sent first.
    pub fn set_priority(&self, priority: i32) {
        // It fails only on a stream that is closed, which the next send will tell.
        let _ = self.stream.set_priority(priority);
    }

    /// Says that nothing more will come.
    pub fn finish(&mut self) {
        // It fails only on a stream that is closed already.
        let _ = self.stream.finish();
    }

    /// Gives the stream up: what was not sent yet is forgotten, and the peer is told with `code`.
    pub fn abandon(&mut self, code: u32) {
        // It fails only on a stream that is closed already.
        let _ = self.stream.reset(code.into());
    }

    /// Says that nothing more will come and waits until the peer has everything, or has stopped the stream.
    pub async fn finish_and_wait(mut self) {
        self.finish();
        let _ = self.stream.stopped().await;
    }
}

/// The receiving half of a framed stream.
#[derive(Debug)]
pub struct FrameReceiver {
    stream: quinn::RecvStream,
    decoder: FrameDecoder,
    frame_timeout: Duration,
    ended: bool,
}

impl FrameReceiver {
    pub(crate) fn new(stream: quinn::RecvStream, cap: usize, frame_timeout: Duration) -> Self {
        Self { stream, decoder: FrameDecoder::new(cap), frame_timeout, ended: false }
    }

    /// Changes the cap, in bytes, for the frames that follow.
    pub fn set_cap(&mut self, cap: usize) {
        self.decoder.set_cap(cap);
    }

    /// The next frame, without its prefix; `None` when the peer has finished the stream. Safe to cancel.
    ///
    /// # Errors
    /// [`ReceiveError`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReceiveError> {
        // Only the time spent here counts: a peer is not late where this node did not read.
        let mut late_at: Option<(Instant, usize)> = None;
        loop {
            if let Some(frame) = self.try_next()? {
                return Ok(Some(frame));
            }
            if self.ended {
                self.decoder.finish()?;
                return Ok(None);
            }
            let buffered = self.decoder.buffered();
            let moved = late_at.is_none_or(|(_, before)| buffered >= before.saturating_add(PROGRESS_BYTES));
            if moved && buffered > 0 {
                late_at = Some((Instant::now() + self.frame_timeout, buffered));
            }
            let frame_timeout = self.frame_timeout;
            let read = self.read();
            match late_at {
                None => read.await?,
                Some((late_at, _)) => {
                    let read = tokio::time::timeout_at(late_at, read).await;
                    read.map_err(|_| ReceiveError::Slow(frame_timeout))??;
                }
            }
        }
    }

    /// Hands what is here to the decoder, waiting where nothing is. Safe to cancel.
    async fn read(&mut self) -> Result<(), ReceiveError> {
        // A chunk is what one packet brought; all that are here are taken at once.
        let mut chunks: [Bytes; CHUNKS_MAX] = std::array::from_fn(|_| Bytes::new());
        match self.stream.read_chunks(&mut chunks).await {
            Ok(Some(count)) => chunks.iter().take(count).for_each(|chunk| self.decoder.push(chunk)),
            Ok(None) => self.ended = true,
            Err(quinn::ReadError::Reset(code)) => return Err(ReceiveError::Reset(code.into_inner())),
            Err(
                quinn::ReadError::ConnectionLost(_)
                | quinn::ReadError::ClosedStream
                | quinn::ReadError::IllegalOrderedRead
                | quinn::ReadError::ZeroRttRejected,
            ) => return Err(ReceiveError::Closed),
        }
        Ok(())
    }

    /// A frame that is here already, without waiting.
    ///
    /// # Errors
    /// [`ReceiveError::Frame`].
    pub fn try_next(&mut self) -> Result<Option<Bytes>, ReceiveError> {
        Ok(self.decoder.next_frame()?)
    }

    /// Tells the peer that no more of this stream is wanted.
    pub fn stop(&mut self, code: u32) {
        // It fails only on a stream that is closed already.
        let _ = self.stream.stop(code.into());
    }
}
