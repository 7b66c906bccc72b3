//! Handshakes that succeed, and protocols that do not match.

use valise_transport::{CertificateError, CloseReason, ConnectError, HandshakeError, Options};

use crate::pki::{Authority, Leaf};
use crate::{agency, echo, listen, meet, raw, soon};

/// TLS alert `no_application_protocol` (RFC 7301 section 3.2).
const NO_APPLICATION_PROTOCOL: u8 = 120;
/// TLS alert `certificate_required` (RFC 8446 section 6.2).
const CERTIFICATE_REQUIRED: u8 = 116;

/// The alert with which a server ended a handshake of a bare client.
async fn alert(connecting: quinn::Connecting) -> quinn::TransportErrorCode {
    let ended = soon("the refusal", async {
        match connecting.await {
            Ok(connection) => connection.closed().await,
            Err(error) => error,
        }
    })
    .await;
    match ended {
        quinn::ConnectionError::ConnectionClosed(close) => close.error_code,
        other => panic!("not refused by the server but: {other:?}"),
    }
}

#[tokio::test]
async fn g01_both_ends_know_who_the_other_is_and_frames_go_both_ways() {
    let authority = Authority::new();
    let (mut server, _, endpoint) = listen(&authority, Options::default());
    let (ours, theirs) = meet(&agency(&authority), &mut server, &endpoint).await;
    assert_eq!(ours.peer().to_string(), "spiffe://exchange.example/broker/b1");
    assert_eq!(theirs.peer().to_string(), "spiffe://exchange.example/agency/fra/ncb");
    echo(&ours, &theirs).await;
    assert_eq!(ours.recheck(), Ok(()));
    assert_eq!(theirs.recheck(), Ok(()));
    theirs.close(9, "good night");
    let reason = soon("the end", ours.closed()).await;
    assert_eq!(reason, CloseReason::Peer { code: 9, text: "good night".to_owned() });
}

#[tokio::test]
async fn g01_the_broker_that_was_asked_for_is_accepted_and_no_other() {
    let authority = Authority::new();
    let (_server, _, endpoint) = listen(&authority, Options::default());
    let client = agency(&authority);
    soon("the broker asked for", client.connect(&endpoint, Some(&"b1".parse().unwrap()))).await.unwrap();
    let error = soon("a refusal", client.connect(&endpoint, Some(&"b2".parse().unwrap()))).await.unwrap_err();
    let ConnectError::Certificate { source: CertificateError::WrongRole { expected, got }, .. } = error
    else {
        panic!("another broker than the one asked for was not told apart: {error:?}");
    };
    assert_eq!(expected, "spiffe://exchange.example/broker/b2");
    assert_eq!(got.to_string(), "spiffe://exchange.example/broker/b1");
}

#[tokio::test]
async fn g12_a_client_without_a_certificate_is_refused() {
    let authority = Authority::new();
    let (server, _, _) = listen(&authority, Options::default());
    let mut refusals = server.refusals();
    let client = raw::client(raw::client_tls(None, &[valise_transport::ALPN]));
    let connecting = client.connect(server.local_addr().unwrap(), raw::NAME).unwrap();
    assert_eq!(alert(connecting).await, quinn::TransportErrorCode::crypto(CERTIFICATE_REQUIRED));
    let refused = soon("the refusal", refusals.next()).await.unwrap();
    assert_eq!(refused.error, HandshakeError::Certificate(CertificateError::NoCertificate));
    assert_eq!(refused.remote.port(), client.local_addr().unwrap().port());
}

#[tokio::test]
async fn g12_a_client_of_another_protocol_or_of_none_is_refused() {
    let authority = Authority::new();
    let (server, _, _) = listen(&authority, Options::default());
    let issued = authority.issue(&Leaf::agency("fra/ncb"));
    let offers: [&[&[u8]]; 3] = [&[b"valise/2"], &[b"h3", b"valise/11"], &[]];
    for offer in offers {
        let mut refusals = server.refusals();
        let client = raw::client(raw::client_tls(Some(&issued), offer));
        let connecting = client.connect(server.local_addr().unwrap(), raw::NAME).unwrap();
        assert_eq!(alert(connecting).await, quinn::TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL));
        let refused = soon("the refusal", refusals.next()).await.unwrap();
        assert_eq!(refused.error, HandshakeError::WrongProtocol, "offered {offer:?}");
    }
}

#[tokio::test]
async fn g12_a_broker_of_another_protocol_is_refused() {
    let authority = Authority::new();
    let (_server, addr) = raw::server(&authority.issue(&Leaf::broker("b1")), b"h3");
    let error = soon("a refusal", agency(&authority).connect(&addr.to_string(), None)).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Handshake { reason: CloseReason::Refused(_), .. }),
        "a broker that speaks h3 was not refused: {error:?}"
    );
}

/// A peer that was refused since must not come back by way of an earlier connection, nor send before it is verified.
#[tokio::test]
async fn g01_no_connection_builds_on_an_earlier_one() {
    let authority = Authority::new();
    let (mut server, _, _) = listen(&authority, Options::default());
    let issued = authority.issue(&Leaf::agency("fra/ncb"));
    let mut tls = raw::client_tls(Some(&issued), &[valise_transport::ALPN]);
    tls.enable_early_data = true;
    let client = raw::client(tls);
    let connect = || client.connect(server.local_addr().unwrap(), raw::NAME).unwrap();
    let first = soon("a connection", connect()).await.unwrap();
    let addr = server.local_addr().unwrap();
    let theirs = soon("the broker's end", server.accept()).await.unwrap();
    // A frame there and back: a ticket, were there one, would have come before it.
    let (mut send, mut receive) = first.open_bi().await.unwrap();
    send.write_all(&[0, 0, 0, 1, 7]).await.unwrap();
    let (mut sender, mut receiver) = soon("the stream", theirs.accept(16)).await.unwrap();
    sender.send(receiver.next().await.unwrap().unwrap()).await.unwrap();
    receive.read_exact(&mut [0; 5]).await.unwrap();
    let second = client.connect(addr, raw::NAME).unwrap();
    assert!(second.into_0rtt().is_err(), "the broker handed out a ticket that allows 0-RTT");
}
