//! Someone who sends first packets from addresses that never answer.

use std::collections::BTreeMap;

use tokio::net::UdpSocket;
use valise_transport::{CloseReason, HandshakeError, Options};

use crate::pki::Authority;
use crate::{agency, echo, listen, meet, raw, soon};

const HANDSHAKES_MAX: usize = 8;
const FLOOD: usize = 10 * HANDSHAKES_MAX;

/// First packets of `count` clients, each of another connection, taken before they reach anyone.
async fn first_packets(count: usize) -> Vec<Vec<u8>> {
    let sink = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let client = raw::client(raw::client_tls(None, &[valise_transport::ALPN]));
    let to = sink.local_addr().unwrap();
    let mut packets = BTreeMap::new();
    let mut packet = [0; 2048];
    let mut connecting = Vec::new();
    for started in 1..=count {
        connecting.push(client.connect(to, raw::NAME).unwrap());
        // A hello is longer than a packet; the connection id, at bytes 6 to 14, tells whose this is.
        while packets.len() < started {
            let length = sink.recv(&mut packet).await.unwrap();
            packets.entry(packet[6..14].to_vec()).or_insert_with(|| packet[..length].to_vec());
        }
    }
    packets.into_values().collect()
}

/// The packet type of RFC 9000 section 17.2.5.
fn is_retry(packet: &[u8]) -> bool {
    packet[0] & 0xb0 == 0xb0
}

#[tokio::test]
async fn g10_a_flood_of_first_packets_keeps_no_honest_agency_out() {
    let authority = Authority::new();
    let options = Options { handshakes_max: HANDSHAKES_MAX, ..Options::default() };
    let (mut server, _, endpoint) = listen(&authority, options);
    let mut refusals = server.refusals();
    let packets = soon("the packets of the flood", first_packets(FLOOD)).await;
    assert_eq!(packets.len(), FLOOD);
    let flooder = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut retries = 0;
    let mut answer = [0; 2048];
    for packet in &packets {
        flooder.send_to(packet, server.local_addr().unwrap()).await.unwrap();
        tokio::task::yield_now().await;
    }
    soon("a demand to prove the address", async {
        while retries == 0 {
            let length = flooder.recv(&mut answer).await.unwrap();
            retries += usize::from(is_retry(&answer[..length]));
        }
    })
    .await;
    // The flood never answers, so its handshakes are still under way, and the honest agency is let in beside them.
    let (ours, theirs) = meet(&agency(&authority), &mut server, &endpoint).await;
    echo(&ours, &theirs).await;

    // Every handshake that was taken up and came to nothing is told before the refusals end.
    soon("the close", server.close(0, "done")).await;
    let mut held = 0;
    while let Some(refused) = soon("the end of the refusals", refusals.next()).await {
        assert!(
            matches!(refused.error, HandshakeError::TimedOut | HandshakeError::Closed(CloseReason::Local)),
            "{refused:?}"
        );
        held += 1;
    }
    assert!(
        (1..=HANDSHAKES_MAX / 2 + 1).contains(&held),
        "the flood held {held} of {HANDSHAKES_MAX} handshakes"
    );
}
