//! How many connections there are, and how they end.

use std::time::Duration;

use valise_transport::{CloseReason, ConnectError, HandshakeError, Options, Server};

use crate::pki::{Authority, Leaf};
use crate::{agency, listen, meet, raw, soon};

#[tokio::test]
async fn g10_connections_above_the_limit_are_refused_until_one_ends() {
    let authority = Authority::new();
    let (mut server, _, endpoint) = listen(&authority, Options { connections_max: 2, ..Options::default() });
    let client = agency(&authority);
    let first = meet(&client, &mut server, &endpoint).await;
    let _second = meet(&client, &mut server, &endpoint).await;
    let error = soon("a refusal", client.connect(&endpoint, None)).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Handshake { reason: CloseReason::Refused(_), .. }),
        "a third connection was not refused: {error:?}"
    );
    first.0.close(0, "done");
    drop(first);
    // The broker forgets the first a moment after it has ended.
    soon("room for another", async { while client.connect(&endpoint, None).await.is_err() {} }).await;
}

#[tokio::test]
async fn g10_a_handshake_that_is_not_finished_ends_by_its_timeout() {
    let authority = Authority::new();
    let options = Options { handshake_timeout: Duration::from_millis(200), ..Options::default() };
    let (server, _, _) = listen(&authority, options);
    let mut refusals = server.refusals();
    // The first packet of a client that then falls silent.
    let sink = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let client = raw::client(raw::client_tls(None, &[valise_transport::ALPN]));
    let _connecting = client.connect(sink.local_addr().unwrap(), raw::NAME).unwrap();
    let mut packet = [0; 2048];
    let length = soon("the first packet", sink.recv(&mut packet)).await.unwrap();
    sink.send_to(&packet[..length], server.local_addr().unwrap()).await.unwrap();
    let refused = soon("the timeout", refusals.next()).await.unwrap();
    assert_eq!(refused.error, HandshakeError::TimedOut);
    assert_eq!(refused.remote, sink.local_addr().unwrap());
}

#[tokio::test]
async fn an_endpoint_nobody_listens_on_is_told_in_time() {
    let authority = Authority::new();
    let options = Options { handshake_timeout: Duration::from_millis(200), ..Options::default() };
    let client = valise_transport::Client::new(&authority.transport(&Leaf::agency("fra/ncb"), options));
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let endpoint = silent.local_addr().unwrap().to_string();
    let error = soon("the timeout", client.connect(&endpoint, None)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Handshake { reason: CloseReason::Idle, .. }), "{error:?}");
    let error = soon("the resolver", client.connect("no port", None)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Resolve { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_closed_tells_its_peers_and_one_that_is_dropped_frees_its_port() {
    let authority = Authority::new();
    let (mut server, transport, endpoint) = listen(&authority, Options::default());
    let client = agency(&authority);
    let (ours, theirs) = meet(&client, &mut server, &endpoint).await;
    soon("the close", server.close(3, "the broker is shutting down")).await;
    let reason = soon("the end", ours.closed()).await;
    assert_eq!(reason, CloseReason::Peer { code: 3, text: "the broker is shutting down".to_owned() });

    // A connection that is still held keeps the socket, though it has ended.
    drop(theirs);
    let addr = endpoint.parse().unwrap();
    let again = soon("the port after a close", bind_again(&transport, addr)).await;
    drop(again);
    soon("the port after a drop", bind_again(&transport, addr)).await;
}

async fn bind_again(transport: &valise_transport::Transport, addr: std::net::SocketAddr) -> Server {
    loop {
        match Server::bind(transport, addr) {
            Ok(server) => return server,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn a_port_that_is_in_use_is_told() {
    let authority = Authority::new();
    let (server, transport, _) = listen(&authority, Options::default());
    let addr = server.local_addr().unwrap();
    let error = Server::bind(&transport, addr).unwrap_err();
    assert!(
        matches!(&error, valise_transport::TransportError::Bind { addr: told, source }
            if *told == addr && source.kind() == std::io::ErrorKind::AddrInUse),
        "{error:?}"
    );
}

/// What a peer says when it closes ends up in logs.
#[tokio::test]
async fn the_last_words_of_a_peer_are_stripped_of_what_steers_a_terminal() {
    let authority = Authority::new();
    let (mut server, _, endpoint) = listen(&authority, Options::default());
    let (ours, theirs) = meet(&agency(&authority), &mut server, &endpoint).await;
    theirs.close(1, "bye\n2026-01-01T00:00:00Z ERROR forged\u{1b}[2J");
    let reason = soon("the end", ours.closed()).await;
    assert_eq!(
        reason,
        CloseReason::Peer { code: 1, text: "bye2026-01-01T00:00:00Z ERROR forged[2J".to_owned() }
    );
}

/// Without it an agency would learn of a broker's `kill -9` only by silence, after the idle timeout.
#[tokio::test]
async fn g08_a_peer_of_a_server_that_was_killed_learns_of_it_from_its_successor_at_once() {
    let authority = Authority::new();
    let transport = authority.transport(&Leaf::broker("b1"), Options::default());
    let relay = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let front = relay.local_addr().unwrap();
    let bind = || Server::bind(&transport, "127.0.0.1:0".parse().unwrap()).unwrap();
    let (mut first, second) = (bind(), bind());
    let (first_addr, second_addr) = (first.local_addr().unwrap(), second.local_addr().unwrap());
    let (switch, mut target) = tokio::sync::watch::channel(first_addr);
    tokio::spawn(async move {
        // What comes from either server goes to the client, whose address is learnt from its first packet.
        let (mut buffer, mut client) = ([0; 2048], None);
        loop {
            let (length, from) = relay.recv_from(&mut buffer).await.unwrap();
            let to = *target.borrow_and_update();
            if from == first_addr || from == second_addr {
                // The dead say nothing.
                if from == to
                    && let Some(client) = client
                {
                    relay.send_to(&buffer[..length], client).await.unwrap();
                }
            } else {
                client = Some(from);
                relay.send_to(&buffer[..length], to).await.unwrap();
            }
        }
    });
    let (connection, _kept) = meet(&agency(&authority), &mut first, &front.to_string()).await;
    switch.send(second_addr).unwrap();
    let (mut sender, _receiver) = connection.open(1024, 0).await.unwrap();
    sender.send(bytes::Bytes::from_static(&[7; 64])).await.unwrap();
    let reason = tokio::time::timeout(Duration::from_secs(5), connection.closed()).await;
    assert_eq!(reason.expect("the connection is still thought to be alive"), CloseReason::Reset);
    drop((first, second));
}
