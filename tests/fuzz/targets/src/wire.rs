//! Frames, and the messages of the streams in them.

use bytes::Bytes;
use valise_proto::wire::WireError;
use valise_proto::wire::frame::{FrameDecoder, FrameError, PREFIX_LEN, prefix};
use valise_proto::wire::limits::{ACK_CURSORS_MAX, Limits};
use valise_proto::wire::session::{
    Ack, Answer, Delivery, Item, Query, SessionFrame, StreamOpen, Submitted, UnreadableDelivery,
};

use crate::envelopes::check_limits;
use crate::oracle::{bounded, refused};

/// Most frames a target pushes; beyond, nothing new happens.
const PIECES_MAX: usize = 4096;

/// A stream cut in pieces: byte 0 is the cap, byte 1 the length of the pieces, the rest is the stream.
///
/// However a stream is cut, the same frames come out and the same error ends it; each is within the cap, and written
/// one after the other they are the stream again.
pub fn frames(bytes: &[u8]) -> bool {
    let [cap, step, stream @ ..] = bytes else { return false };
    let (cap, step) = (usize::from(*cap), usize::from(*step).max(1).max(stream.len() / PIECES_MAX));
    let (whole, end) = bounded(stream.len(), || decode(stream, stream.len().max(1), cap));
    let (pieces, end_of_pieces) = bounded(stream.len(), || decode(stream, step, cap));
    assert_eq!((&whole, &end), (&pieces, &end_of_pieces), "the frames depend on how the stream was cut");
    let mut written = Vec::new();
    for frame in &whole {
        assert!(frame.len() <= cap, "a frame of {} bytes above the cap of {cap}", frame.len());
        written.extend_from_slice(&prefix(frame.len()).unwrap());
        written.extend_from_slice(frame);
    }
    assert!(stream.starts_with(&written), "the frames are not what the stream holds");
    let rest = stream.get(written.len()..).unwrap();
    match end {
        Ok(()) => assert!(rest.is_empty(), "{} bytes were passed over", rest.len()),
        Err(FrameError::TooLarge { len, max }) => {
            assert!(len > max && max == cap, "{len} bytes were refused, with a cap of {cap}");
            assert!(rest.starts_with(&prefix(len).unwrap()), "another length than {len} was announced");
        }
        Err(FrameError::Truncated { missing }) => {
            let announced = rest.first_chunk().map_or(0, |prefix| u32::from_be_bytes(*prefix));
            let wanted = PREFIX_LEN + usize::try_from(announced).unwrap();
            assert_eq!(rest.len() + missing, wanted, "what is missing was counted wrongly");
        }
    }
    end.is_ok() && !whole.is_empty()
}

fn decode(stream: &[u8], step: usize, cap: usize) -> (Vec<Bytes>, Result<(), FrameError>) {
    let mut decoder = FrameDecoder::new(cap);
    let mut frames = Vec::new();
    for piece in stream.chunks(step) {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next_frame(), Err(error.clone()), "the error is not told twice");
                    return (frames, Err(error));
                }
            }
        }
    }
    let end = decoder.finish();
    (frames, end)
}

/// One message of a stream: byte 0 says which, the rest is the frame.
///
/// What is read is written and read back as the same, and keeps the limits of PROTOCOL.md, section 13.
pub fn messages(bytes: &[u8]) -> bool {
    let [which, frame @ ..] = bytes else { return false };
    let frame = Bytes::copy_from_slice(frame);
    match which % 6 {
        0 => again(frame, StreamOpen::decode, StreamOpen::encode, |open| match open {
            StreamOpen::Session(hello) => {
                assert!(hello.versions.len() <= 16 && hello.software.len() <= 64, "{hello:?}");
            }
            StreamOpen::Submit(_)
            | StreamOpen::Receive { .. }
            | StreamOpen::Query(
                Query::Publication | Query::NoticeStatus(_) | Query::Renewal(_) | Query::Certificate,
            ) => {}
        }),
        1 => again(frame, SessionFrame::decode, SessionFrame::encode, |frame| match frame {
            SessionFrame::Welcome(welcome) => within_protocol(&welcome.limits),
            SessionFrame::Publication(publication) => assert!(publication.crls.len() <= 16),
            SessionFrame::Goodbye(reason) => {
                assert!(reason.as_ref().is_none_or(|reason| reason.detail.len() <= 512));
            }
        }),
        2 => again(frame, Submitted::decode, Submitted::encode, |_| {}),
        3 => again(frame, Answer::decode, Answer::encode, |answer| match answer {
            Answer::Publication(publication) => assert!(publication.crls.len() <= 16),
            Answer::NoticeStatus(status) => assert!(status.undelivered.len() <= 64),
            Answer::Refusal(refusal) => assert!(refusal.detail.len() <= 512),
            Answer::Spooled(_) => {}
            Answer::Certificate(chain) => assert!(chain.len() <= 16),
        }),
        4 => again(frame, Ack::decode, Ack::encode, |ack| assert!(ack.cursors.len() <= ACK_CURSORS_MAX)),
        _ => delivery(frame),
    }
}

fn again<T: PartialEq + std::fmt::Debug>(
    frame: Bytes,
    read: impl Fn(Bytes) -> Result<T, WireError>,
    write: impl Fn(&T) -> Bytes,
    limits: impl FnOnce(&T),
) -> bool {
    let message = match bounded(frame.len(), || read(frame)) {
        Ok(message) => message,
        Err(error) => return refused(&error),
    };
    limits(&message);
    let back = read(write(&message));
    assert_eq!(back.as_ref(), Ok(&message), "what was read is not what was written");
    true
}

/// A broker may lower the protocol's limits, not raise them.
fn within_protocol(limits: &Limits) {
    let most = Limits::DEFAULT;
    let lowered = limits.envelope_bytes_max <= most.envelope_bytes_max
        && limits.recipients_max <= most.recipients_max
        && limits.portions_max <= most.portions_max
        && limits.unacknowledged_max <= most.unacknowledged_max
        && limits.in_flight_max <= most.in_flight_max;
    assert!(lowered, "limits above the protocol's: {limits:?}");
}

/// A delivery that cannot be read keeps its cursor wherever that could be read, so that it can be set aside.
fn delivery(frame: Bytes) -> bool {
    let delivery = match bounded(frame.len(), || Delivery::decode(frame)) {
        Ok(delivery) => delivery,
        Err(UnreadableDelivery { error, .. }) => return refused(&error),
    };
    if let Item::Envelope(envelope) = &delivery.item {
        check_limits(envelope, &Limits::DEFAULT);
    }
    let written = delivery.encode();
    let back = Delivery::decode(written.clone()).unwrap();
    assert_eq!(back.cursor, delivery.cursor, "another cursor");
    assert_eq!(back.encode(), written, "what was read is not what was written");
    true
}
