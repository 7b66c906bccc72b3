//! Frames: a big-endian `u32` length and that many bytes.
//!
//! The decoder is pure and incremental. A length above the cap is refused as soon as the four bytes are there,
//! before any memory is taken for the body.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// Bytes of the length prefix.
pub const PREFIX_LEN: usize = 4;

/// Why a stream of bytes is not a sequence of frames. The peer's fault; the stream cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The length prefix is above what this stream takes.
    #[error("a frame of {len} bytes was announced; this stream takes at most {max}")]
    TooLarge {
        /// Bytes announced.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended {missing} bytes before the end of a frame")]
    Truncated {
        /// Bytes still missing; at least 1.
        missing: usize,
    },
}

/// Splits a stream of bytes into frames.
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: BytesMut,
    cap: usize,
}

impl FrameDecoder {
    /// A decoder for frames of at most `cap` bytes, prefix not counted.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        Self { buffer: BytesMut::new(), cap }
    }

    /// Changes the cap for the frames that follow.
    pub fn set_cap(&mut self, cap: usize) {
        self.cap = cap;
    }

    /// Takes bytes as they came.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole frame, without its prefix; `None` until more bytes are pushed.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`]; the decoder stays where it is and says so again.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(len) = self.announced()? else { return Ok(None) };
        // Nothing is reserved for a body that was only announced: memory is taken as bytes arrive.
        if self.buffer.len() < PREFIX_LEN + len {
            return Ok(None);
        }
        self.buffer.advance(PREFIX_LEN);
        Ok(Some(self.buffer.split_to(len).freeze()))
    }

    /// Bytes that were pushed and are not yet part of a frame that was taken out.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// To be called when the stream has ended.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] where it ended inside a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let wanted = self.announced()?.map_or(PREFIX_LEN, |len| PREFIX_LEN + len);
        Err(FrameError::Truncated { missing: wanted.saturating_sub(self.buffer.len()).max(1) })
    }

    fn announced(&self) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX_LEN>() else { return Ok(None) };
        let len = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if len > self.cap { Err(FrameError::TooLarge { len, max: self.cap }) } else { Ok(Some(len)) }
    }
}

/// The prefix of a frame of `len` bytes.
///
/// # Errors
/// [`FrameError::TooLarge`] for a length that four bytes cannot hold.
pub fn prefix(len: usize) -> Result<[u8; PREFIX_LEN], FrameError> {
    let max = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
    u32::try_from(len).map(u32::to_be_bytes).map_err(|_| FrameError::TooLarge { len, max })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn g10_a_huge_length_is_refused_before_memory_is_taken() {
        let mut decoder = FrameDecoder::new(1024);
        decoder.push(&u32::MAX.to_be_bytes());
        let max = 1024;
        assert_eq!(decoder.next_frame(), Err(FrameError::TooLarge { len: 0xFFFF_FFFF, max }));
        assert!(decoder.buffer.capacity() < 4096, "the decoder took memory for a refused frame");
    }

    #[test]
    fn an_end_inside_a_frame_is_told() {
        let mut decoder = FrameDecoder::new(16);
        decoder.push(&[0, 0, 0, 5, 1, 2]);
        assert_eq!(decoder.next_frame(), Ok(None));
        assert_eq!(decoder.finish(), Err(FrameError::Truncated { missing: 3 }));
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_bytes_are_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            step in 1..17_usize,
        ) {
            let mut stream = Vec::new();
            for body in &bodies {
                stream.extend_from_slice(&prefix(body.len()).unwrap());
                stream.extend_from_slice(body);
            }
            let mut decoder = FrameDecoder::new(64);
            let mut got = Vec::new();
            for chunk in stream.chunks(step) {
                decoder.push(chunk);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    got.push(frame.to_vec());
                }
            }
            prop_assert_eq!(got, bodies);
            prop_assert_eq!(decoder.finish(), Ok(()));
        }

        #[test]
        fn no_bytes_make_the_decoder_stop(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut decoder = FrameDecoder::new(32);
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next_frame() {}
            let _ = decoder.finish();
        }
    }
}
