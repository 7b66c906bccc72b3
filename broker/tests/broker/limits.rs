//! What an agency may take of a broker, and what it is told when it takes more (G10).

use std::time::Duration;

use bytes::Bytes;
use valise_broker::core::Rate;
use valise_proto::envelope::{Envelope, Precedence};
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::session::{Answer, Query};

use crate::office::{Agency, Office, SubmitStream, code_of, depth, soon, until};

const PRIORITY: Precedence = Precedence::Priority;

fn envelope(office: &Office, precedence: Precedence) -> Envelope {
    let draft = office.exchange.draft("ken/ncb");
    let draft = valise_proto::envelope::HeaderDraft { precedence, ..draft };
    office.exchange.seal(draft, &["fra/ncb"], &[valise_proto::label::Classification::Restricted])
}

async fn ask(office: &Office, stream: &mut SubmitStream, frame: Bytes) -> Result<(), Refusal> {
    let receipt = stream.ask(frame).await;
    office.check(&receipt).map_err(|_| receipt.receipt().refusal.clone().unwrap())
}

#[tokio::test]
async fn g10_an_agency_over_its_rate_is_told_when_to_try_again_and_is_taken_then() {
    let mut office = Office::of_three();
    office.config.limits.rates.envelopes = Rate { per_second: 2, burst: 8 };
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let mut stream = kenya.submit(PRIORITY).await;
    let mut taken = 0;
    let (refused, refusal) = loop {
        let frame = envelope(&office, PRIORITY).encode();
        match ask(&office, &mut stream, frame.clone()).await {
            Ok(()) => taken += 1,
            Err(refusal) => break (frame, refusal),
        }
    };
    assert!(taken >= 6, "only {taken} were taken at once");
    assert_eq!(refusal.code, RefusalCode::Quota, "{refusal}");
    let after = refusal.retry_after.expect("a time after which to try again");
    assert!(!after.is_zero() && after <= Duration::from_millis(500), "{after:?}");
    // Another connection has no more to spend, what is urgent has, and so has another agency.
    let again = office.connect(&broker, "ken/ncb").await;
    let second = ask(&office, &mut again.submit(PRIORITY).await, refused.clone()).await;
    assert!(second.is_ok() || second.is_err_and(|refusal| refusal.code == RefusalCode::Quota));
    let flash = envelope(&office, Precedence::Flash);
    assert_eq!(office.check(&kenya.send(&flash).await), Ok(()), "FLASH pays for ROUTINE");
    let france = office.connect(&broker, "fra/ncb").await;
    assert_eq!(office.check(&france.send(&office.exchange.envelope("fra/ncb", &["ken/ncb"])).await), Ok(()));
    soon("the refused one being taken", async {
        while let Err(refusal) = ask(&office, &mut stream, refused.clone()).await {
            tokio::time::sleep(refusal.retry_after.unwrap()).await;
        }
    })
    .await;
    broker.stop().await;
}

#[tokio::test]
async fn g10_an_agency_that_goes_on_over_its_rate_is_not_read_from() {
    let mut office = Office::of_three();
    office.config.limits.rates.envelopes = Rate { per_second: 20, burst: 20 };
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let mut stream = kenya.submit(PRIORITY).await;
    let begun = std::time::Instant::now();
    for _ in 0..100 {
        stream.send(Bytes::from_static(b"not an envelope")).await;
    }
    for _ in 0..100 {
        stream.answer().await;
    }
    // 15 are judged at once and 20 refused; of the others a second brings so many of each.
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1500), "100 were answered within {took:?}");
    broker.stop().await;
}

#[tokio::test]
async fn g10_below_the_reserve_of_the_disk_nothing_is_taken_and_what_waits_is_delivered() {
    let mut office = Office::of_three();
    let broker = office.start().await;
    let waiting = office.exchange.envelope("ken/ncb", &["fra/ncb"]);
    let kenya = office.connect(&broker, "ken/ncb").await;
    assert_eq!(office.check(&kenya.send(&waiting).await), Ok(()));
    broker.stop().await;
    // No disk has this much room.
    office.config.limits.disk_reserve_bytes = 1 << 60;
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let frame = envelope(&office, PRIORITY).encode();
    let refusal = ask(&office, &mut kenya.submit(PRIORITY).await, frame).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::StoreUnavailable);
    assert!(refusal.retry_after.is_some(), "no time after which to try again: {refusal}");
    let france = office.connect(&broker, "fra/ncb").await;
    let mut inbox = france.receive(PRIORITY, 16).await;
    let (cursor, delivered) = inbox.envelope().await;
    assert_eq!(delivered.encode(), waiting.encode());
    inbox.ack(cursor).await;
    until(&broker, "the acknowledgement", |status| depth(status, "fra/ncb") == 0).await;
    broker.stop().await;
}

#[tokio::test]
async fn g10_a_frame_that_comes_byte_by_byte_ends_the_connection() {
    let mut office = Office::of_three();
    office.config.limits.frame_timeout = Duration::from_millis(300);
    let broker = office.start().await;
    let mut kenya = office.connect(&broker, "ken/ncb").await;
    let mut stream = kenya.submit(PRIORITY).await;
    assert_eq!(ask(&office, &mut stream, envelope(&office, PRIORITY).encode()).await, Ok(()));
    let drip = async {
        let announced = 1000_u32.to_be_bytes();
        for byte in announced.into_iter().chain(std::iter::repeat_n(0, 1000)) {
            if stream.sender.dangerous_send_unframed(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let told = tokio::select! {
        () = drip => panic!("every byte was waited for"),
        told = kenya.goodbye() => told,
    };
    assert_eq!(told, Some(RefusalCode::Malformed));
    broker.stop().await;
}

#[tokio::test]
async fn g10_streams_that_are_opened_and_never_read_hold_nobody_else_up() {
    let mut office = Office::of_three();
    office.config.limits.rates.streams = Rate { per_second: 10, burst: 400 };
    let broker = office.start().await;
    let mut kept: Vec<(Agency, Vec<_>)> = Vec::new();
    for _ in 0..office.config.limits.core.connections_per_agency_max {
        let kenya = office.connect(&broker, "ken/ncb").await;
        let mut streams = Vec::new();
        // One below what QUIC lets it open beside its session; none of the answers is read.
        for _ in 0..60 {
            let first = valise_proto::wire::session::StreamOpen::Query(Query::Publication);
            streams.push(crate::office::open(&kenya.connection, &first).await);
        }
        kept.push((kenya, streams));
    }
    let france = office.connect(&broker, "fra/ncb").await;
    assert!(matches!(france.query(Query::Publication).await, Answer::Publication(_)));
    let notice = office.exchange.envelope("fra/ncb", &["tur/border"]);
    assert_eq!(office.check(&france.send(&notice).await), Ok(()));
    broker.stop().await;
}

fn large(office: &Office, precedence: Precedence) -> Envelope {
    let draft = office.exchange.draft("ken/ncb");
    let draft = valise_proto::envelope::HeaderDraft { precedence, ..draft };
    let label = valise_proto::label::Label::plain(
        crate::fixture::policy(),
        valise_proto::label::Classification::Restricted,
    );
    office.exchange.seal_labelled(draft, &["fra/ncb"], vec![label], &vec![7; 900_000])
}

#[tokio::test]
async fn g10_a_large_frame_on_a_slow_line_is_waited_for_while_it_comes_nearer_to_its_end() {
    let mut office = Office::of_three();
    office.config.limits.frame_timeout = Duration::from_secs(2);
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    let mut stream = kenya.submit(PRIORITY).await;
    let frame = large(&office, PRIORITY).encode();
    let prefix = u32::try_from(frame.len()).unwrap().to_be_bytes();
    stream.sender.dangerous_send_unframed(&prefix).await.unwrap();
    let begun = std::time::Instant::now();
    for piece in frame.chunks(frame.len().div_ceil(6)) {
        stream.sender.dangerous_send_unframed(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(450)).await;
    }
    assert!(begun.elapsed() > office.config.limits.frame_timeout, "the line was not slow");
    let (_, receipt) = stream.answer().await;
    assert_eq!(office.check(&receipt), Ok(()));
    broker.stop().await;
}

#[tokio::test]
async fn g10_a_receive_stream_whose_place_another_takes_holds_nothing_in_memory() {
    let office = Office::of_three();
    let broker = office.start().await;
    let kenya = office.connect(&broker, "ken/ncb").await;
    // A small one that is read, and then more than the reader's window takes, so that the broker has not written all that it
    // read from the inbox.
    assert_eq!(office.check(&kenya.send(&envelope(&office, PRIORITY)).await), Ok(()));
    for _ in 0..6 {
        assert_eq!(office.check(&kenya.send(&large(&office, PRIORITY)).await), Ok(()));
    }
    let france = office.connect(&broker, "fra/ncb").await;
    let mut first = france.receive(PRIORITY, 64).await;
    first.envelope().await;
    let mut second = france.receive(PRIORITY, 64).await;
    second.envelope().await;
    let given_up = async {
        loop {
            match first.receiver.next().await {
                Ok(Some(_)) => {}
                ended => return ended,
            }
        }
    };
    let ended = soon("the end of the first stream", given_up).await;
    assert_eq!(ended, Err(valise_transport::ReceiveError::Reset(0)), "what nobody reads is kept");
    broker.stop().await;
}

#[tokio::test]
async fn g10_connecting_over_and_over_is_paid_for_like_opening_streams() {
    let mut office = Office::of_three();
    office.config.limits.rates.streams = Rate { per_second: 4, burst: 9 };
    let broker = office.start().await;
    let mut connections = 0;
    let refused = loop {
        assert!(connections < 100, "it connects as often as it likes");
        let connection = office.dial(&broker, "ken/ncb").await;
        connections += 1;
        // Only what is refused is closed by the broker within the time that it waits for Hello.
        let closed = tokio::time::timeout(Duration::from_millis(100), connection.closed()).await;
        if let Ok(reason) = closed {
            break reason;
        }
        connection.close(0, "done");
    };
    assert_eq!(code_of(&refused), Some(RefusalCode::Quota));
    assert!(connections > 9, "refused after {connections}");
    let france = office.connect(&broker, "fra/ncb").await;
    assert_eq!(office.check(&france.send(&office.exchange.envelope("fra/ncb", &["ken/ncb"])).await), Ok(()));
    broker.stop().await;
}
