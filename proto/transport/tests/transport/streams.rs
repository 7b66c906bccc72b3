//! Frames on streams: limits, ends, and which stream goes first.

use std::sync::{Arc, Mutex};

use valise_proto::wire::frame::{FrameError, prefix};
use valise_transport::{Connection, FrameReceiver, FrameSender, Options, ReceiveError, SendError, Server};

use crate::pki::{Authority, Leaf};
use crate::{CAP, agency, listen, meet, raw, soon};

/// A bare agency, so that any bytes can be sent, and the broker's end of its connection.
async fn bare(
    authority: &Authority,
    server: &mut Server,
) -> (quinn::Endpoint, quinn::Connection, Connection) {
    let issued = authority.issue(&Leaf::agency("fra/ncb"));
    let client = raw::client(raw::client_tls(Some(&issued), &[valise_transport::ALPN]));
    let connecting = client.connect(server.local_addr().unwrap(), raw::NAME).unwrap();
    let (connection, theirs) =
        soon("a connection", async { tokio::join!(connecting, server.accept()) }).await;
    (client, connection.unwrap(), theirs.unwrap())
}

/// The broker's end of a new stream on which the agency wrote `bytes`.
async fn stream_with(
    connection: &quinn::Connection,
    theirs: &Connection,
    bytes: &[u8],
) -> (quinn::SendStream, FrameSender, FrameReceiver) {
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    let (sender, receiver) = soon("the stream", theirs.accept(CAP)).await.unwrap();
    (send, sender, receiver)
}

#[tokio::test]
async fn g10_a_frame_above_the_cap_is_refused_on_its_first_four_bytes() {
    let authority = Authority::new();
    let (mut server, _, _) = listen(&authority, Options::default());
    let (_client, connection, theirs) = bare(&authority, &mut server).await;
    for len in [CAP + 1, 0xffff_ffff] {
        // Nothing follows the announcement, so it is refused before any of the body is there.
        let (_send, _, mut receiver) = stream_with(&connection, &theirs, &prefix(len).unwrap()).await;
        let too_large = Err(ReceiveError::Frame(FrameError::TooLarge { len, max: CAP }));
        assert_eq!(soon("the refusal", receiver.next()).await, too_large);
        assert_eq!(soon("the same refusal", receiver.next()).await, too_large);
    }
}

#[tokio::test]
async fn g10_the_cap_can_change_between_frames() {
    let authority = Authority::new();
    let (mut server, _, endpoint) = listen(&authority, Options::default());
    let (ours, theirs) = meet(&agency(&authority), &mut server, &endpoint).await;
    let (mut sender, _receiver) = ours.open(CAP, 0).await.unwrap();
    sender.send(vec![1; 100].into()).await.unwrap();
    sender.send(vec![2; 5000].into()).await.unwrap();
    let (_sender, mut receiver) = soon("the stream", theirs.accept(100)).await.unwrap();
    assert_eq!(soon("the first frame", receiver.next()).await.unwrap().unwrap().len(), 100);
    let refused = soon("a refusal", receiver.next()).await;
    assert_eq!(refused, Err(ReceiveError::Frame(FrameError::TooLarge { len: 5000, max: 100 })));
    receiver.set_cap(5000);
    assert_eq!(soon("the second frame", receiver.next()).await.unwrap().unwrap().len(), 5000);
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_frame_is_truncated_however_often_one_asks() {
    let authority = Authority::new();
    let (mut server, _, _) = listen(&authority, Options::default());
    let (_client, connection, theirs) = bare(&authority, &mut server).await;
    for (bytes, missing) in
        [(&[0, 0, 0, 8, 1, 2, 3][..], 5), (&[0, 0, 0, 2, 1], 1), (&[0, 0], 2), (&[0, 0, 0, 3], 3)]
    {
        let (mut send, _, mut receiver) = stream_with(&connection, &theirs, bytes).await;
        send.finish().unwrap();
        let truncated = Err(ReceiveError::Frame(FrameError::Truncated { missing }));
        assert_eq!(soon("the end", receiver.next()).await, truncated, "{bytes:?}");
        assert_eq!(
            soon("the end again", receiver.next()).await,
            truncated,
            "{bytes:?} passed for a whole stream"
        );
    }
}

#[tokio::test]
async fn frames_arrive_whole_however_they_are_cut_and_empty_ones_count() {
    let authority = Authority::new();
    let (mut server, _, _) = listen(&authority, Options::default());
    let (_client, connection, theirs) = bare(&authority, &mut server).await;
    let bodies = [vec![], vec![7], vec![8; 3000], vec![], vec![9; CAP]];
    let stream: Vec<u8> =
        bodies.iter().flat_map(|body| prefix(body.len()).unwrap().into_iter().chain(body.clone())).collect();
    let (mut send, _, mut receiver) = stream_with(&connection, &theirs, &stream[..1]).await;
    let writing = tokio::spawn(async move {
        for piece in stream[1..].chunks(997) {
            send.write_all(piece).await.unwrap();
        }
        send.finish().unwrap();
    });
    for body in &bodies {
        let frame = soon("a frame", receiver.next()).await.unwrap().unwrap();
        assert!(frame == body[..], "a frame of {} bytes came as {} others", body.len(), frame.len());
    }
    assert_eq!(soon("the end", receiver.next()).await, Ok(None));
    assert_eq!(receiver.next().await, Ok(None));
    writing.await.unwrap();
}

#[tokio::test]
async fn a_stream_that_either_side_gives_up_is_told_to_the_other() {
    let authority = Authority::new();
    let (mut server, _, _) = listen(&authority, Options::default());
    let (_client, connection, theirs) = bare(&authority, &mut server).await;
    let (mut send, _, mut receiver) = stream_with(&connection, &theirs, &[0, 0, 0, 9]).await;
    send.reset(5_u8.into()).unwrap();
    assert_eq!(soon("the reset", receiver.next()).await, Err(ReceiveError::Reset(5)));

    let (_client, connection, theirs) = bare(&authority, &mut server).await;
    let (_send, mut receive) = connection.open_bi().await.unwrap();
    receive.stop(6_u8.into()).unwrap();
    let (mut sender, mut receiver) = soon("the stream", theirs.accept(CAP)).await.unwrap();
    let stopped = async {
        loop {
            if let Err(error) = sender.send(vec![0; 1000].into()).await {
                return error;
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(soon("the stop", stopped).await, SendError::Stopped(6));

    connection.close(0_u8.into(), b"");
    assert_eq!(soon("the end", receiver.next()).await, Err(ReceiveError::Closed));
}

#[tokio::test]
async fn g10_a_peer_may_have_so_many_streams_open_and_no_more() {
    let authority = Authority::new();
    let (mut server, _, _) = listen(&authority, Options { streams_max: 2, ..Options::default() });
    let (_client, connection, theirs) = bare(&authority, &mut server).await;
    let (mut first, sender, mut receiver) = stream_with(&connection, &theirs, &[0, 0, 0, 0]).await;
    let _second = stream_with(&connection, &theirs, &[0, 0, 0, 0]).await;
    let mut third = Box::pin(connection.open_bi());
    assert!(is_pending(&mut third).await, "a third stream was opened");
    assert!(is_pending(&mut Box::pin(connection.open_uni())).await, "a one-way stream was opened");
    first.finish().unwrap();
    assert_eq!(soon("the frame", receiver.next()).await.unwrap().unwrap(), "");
    assert_eq!(soon("the end", receiver.next()).await, Ok(None));
    drop((sender, receiver));
    soon("a third stream once the first has ended", third).await.unwrap();
}

/// True if it is not ready when asked.
async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
    })
    .await
}

const FRAME: usize = 16 * 1024;
const FRAMES: usize = 32;

/// Sends as many frames at this priority as make half a mebibyte. It does not wait: it all fits this end's window.
async fn queue(connection: &Connection, priority: i32, mark: u8) -> FrameSender {
    let (mut sender, _receiver) = connection.open(CAP, priority).await.unwrap();
    sender.send_all((0..FRAMES).map(|_| vec![mark; FRAME].into())).await.unwrap();
    sender.finish();
    sender
}

/// The marks of all frames of two streams in the order of their arrival.
async fn arrivals(theirs: &Connection) -> Vec<u8> {
    let marks = Arc::new(Mutex::new(Vec::new()));
    let mut readers = Vec::new();
    for _ in 0..2 {
        let (_sender, mut receiver) = theirs.accept(CAP).await.unwrap();
        let marks = Arc::clone(&marks);
        readers.push(tokio::spawn(async move {
            while let Some(frame) = receiver.next().await.unwrap() {
                marks.lock().unwrap().push(frame[0]);
            }
        }));
    }
    for reader in readers {
        reader.await.unwrap();
    }
    let marks = marks.lock().unwrap();
    marks.clone()
}

const ROUTINE: u8 = b'R';
const FLASH: u8 = b'F';

/// On one thread nothing is sent until both are queued, so that order of arrival is order of sending.
#[tokio::test]
async fn g08_a_flash_stream_overtakes_a_routine_stream_queued_before_it() {
    let authority = Authority::new();
    let (mut server, _, endpoint) = listen(&authority, Options::default());
    let (ours, theirs) = meet(&agency(&authority), &mut server, &endpoint).await;
    let _routine = queue(&ours, 0, ROUTINE).await;
    let _flash = queue(&ours, 3, FLASH).await;
    let order = soon("all frames", arrivals(&theirs)).await;
    assert_eq!(order.len(), 2 * FRAMES);
    let last_flash = order.iter().rposition(|mark| *mark == FLASH).unwrap();
    let overtaken = order[..last_flash].iter().filter(|mark| **mark == ROUTINE).count();
    // Without priorities half of them would come before the last of FLASH, or all.
    assert!(overtaken <= 2, "{overtaken} of {FRAMES} ROUTINE frames came before the last of FLASH");
}

/// The windows leave room for the other precedences beside one that nobody reads.
#[tokio::test]
async fn g08_a_flash_frame_gets_past_routine_streams_that_nobody_reads() {
    let authority = Authority::new();
    let options =
        Options { stream_window_bytes: 64 * 1024, connection_window_bytes: 256 * 1024, ..Options::default() };
    let (mut server, _, endpoint) = listen(&authority, options.clone());
    let client = valise_transport::Client::new(&authority.transport(&Leaf::agency("fra/ncb"), options));
    let (ours, theirs) = meet(&client, &mut server, &endpoint).await;
    let mut stuck = Vec::new();
    for priority in 0..3 {
        let (mut sender, receiver) = ours.open(CAP, priority).await.unwrap();
        let mut sending = Box::pin(async move {
            sender.send(vec![ROUTINE; 1024 * 1024].into()).await.unwrap();
        });
        assert!(is_pending(&mut sending).await, "a mebibyte fitted a window of 64 KiB");
        let unread = soon("the stream", theirs.accept(CAP)).await.unwrap();
        stuck.push((tokio::spawn(sending), receiver, unread));
    }
    let (mut sender, _receiver) = ours.open(CAP, 3).await.unwrap();
    soon("the FLASH frame to be queued", sender.send(vec![FLASH; 32 * 1024].into())).await.unwrap();
    let (_sender, mut flash) = soon("the FLASH stream", theirs.accept(CAP)).await.unwrap();
    assert_eq!(soon("the FLASH frame", flash.next()).await.unwrap().unwrap().len(), 32 * 1024);
    assert!(stuck.iter().all(|(sending, ..)| !sending.is_finished()), "a ROUTINE stream was not stuck");
}
