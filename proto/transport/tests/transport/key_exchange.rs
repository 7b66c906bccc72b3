//! The key exchange that was really agreed on, read off the wire.
//!
//! quinn does not tell it, so a relay between the two ends keeps what the server sends. The first packets of a QUIC
//! handshake are protected with keys that follow from the client's first connection id alone (RFC 9001 section 5.2),
//! so anyone who sees them can read the ServerHello, which names the group (RFC 8446 section 4.2.8).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::NamedGroup;
use rustls::crypto::aws_lc_rs;
use rustls::quic::{Keys, Version};
use tokio::net::UdpSocket;
use valise_transport::Options;

use crate::pki::{Authority, Leaf};
use crate::{agency, listen, meet, raw, soon};

#[tokio::test]
async fn the_negotiated_key_exchange_group_is_x25519mlkem768() {
    let authority = Authority::new();
    let (mut server, _, endpoint) = listen(&authority, Options::default());
    let relay = Relay::to(endpoint.parse().unwrap()).await;
    let (_ours, _theirs) = meet(&agency(&authority), &mut server, &relay.addr.to_string()).await;
    assert_eq!(relay.negotiated_group(), NamedGroup::X25519MLKEM768);
}

/// That the reading above can say something else.
#[tokio::test]
async fn a_client_that_offers_only_x25519_is_seen_to_get_x25519() {
    let authority = Authority::new();
    let (mut server, _, endpoint) = listen(&authority, Options::default());
    let relay = Relay::to(endpoint.parse().unwrap()).await;
    let issued = authority.issue(&Leaf::agency("fra/ncb"));
    let client = raw::client(raw::client_tls_offering_only(aws_lc_rs::kx_group::X25519, &issued));
    let connecting = client.connect(relay.addr, raw::NAME).unwrap();
    let (ours, theirs) = soon("a connection", async { tokio::join!(connecting, server.accept()) }).await;
    assert!(ours.is_ok() && theirs.is_some());
    assert_eq!(relay.negotiated_group(), NamedGroup::X25519);
}

/// Carries datagrams between one client and a server.
struct Relay {
    addr: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    first_from_client: Option<Vec<u8>>,
    from_server: Vec<Vec<u8>>,
}

impl Relay {
    async fn to(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        tokio::spawn(relay(socket, server, Arc::clone(&seen)));
        Self { addr, seen }
    }

    fn negotiated_group(&self) -> NamedGroup {
        let seen = self.seen.lock().unwrap();
        let first = seen.first_from_client.as_ref().unwrap();
        let connection_id = Reader(&first[5..]).short_bytes();
        let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap().quic_suite().unwrap();
        let keys = suite.keys(connection_id, rustls::Side::Client, Version::V1);
        let mut crypto = BTreeMap::new();
        for datagram in &seen.from_server {
            read_initial(datagram.clone(), &keys, &mut crypto);
        }
        group_of_server_hello(&assemble(&crypto))
    }
}

async fn relay(socket: UdpSocket, server: SocketAddr, seen: Arc<Mutex<Seen>>) {
    let mut client = None;
    let mut buffer = vec![0; 64 * 1024];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let datagram = &buffer[..length];
        let to = if from == server {
            seen.lock().unwrap().from_server.push(datagram.to_vec());
            client.unwrap()
        } else {
            client = Some(from);
            seen.lock().unwrap().first_from_client.get_or_insert_with(|| datagram.to_vec());
            server
        };
        socket.send_to(datagram, to).await.unwrap();
    }
}

/// Adds the CRYPTO frames of a datagram's Initial packet, if it begins with one (RFC 9000 section 17.2.2).
fn read_initial(mut datagram: Vec<u8>, keys: &Keys, crypto: &mut BTreeMap<u64, Vec<u8>>) {
    // The bit 0x40 says nothing: an end may set or clear it at will (RFC 9287).
    if datagram[0] & 0xb0 != 0x80 {
        return;
    }
    let mut reader = Reader(&datagram[5..]);
    reader.short_bytes();
    reader.short_bytes();
    let token = reader.varint();
    assert_eq!(token, 0, "a server sends no token");
    let length = reader.len();
    let number_at = datagram.len() - reader.0.len();
    datagram.truncate(number_at + length);
    let (head, tail) = datagram.split_at_mut(number_at + 4);
    let (first, rest) = head.split_first_mut().unwrap();
    keys.remote.header.decrypt_in_place(&tail[..16], first, &mut rest[number_at - 1..]).unwrap();
    let number_len = usize::from(*first & 3) + 1;
    let number =
        datagram[number_at..number_at + number_len].iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
    let (header, payload) = datagram.split_at_mut(number_at + number_len);
    let plain = keys.remote.packet.decrypt_in_place(number, header, payload).unwrap();
    read_frames(Reader(plain), crypto);
}

/// The frames that an Initial packet may hold (RFC 9000 section 12.4).
fn read_frames(mut reader: Reader<'_>, crypto: &mut BTreeMap<u64, Vec<u8>>) {
    while !reader.0.is_empty() {
        match reader.varint() {
            0x00 | 0x01 => {}
            kind @ (0x02 | 0x03) => {
                reader.varint();
                reader.varint();
                for _ in 0..reader.varint() * 2 + 1 + if kind == 0x03 { 3 } else { 0 } {
                    reader.varint();
                }
            }
            0x06 => {
                let offset = reader.varint();
                let length = reader.len();
                crypto.insert(offset, reader.bytes(length).to_vec());
            }
            other => panic!("a frame of type {other} in an Initial packet"),
        }
    }
}

/// The stream of the pieces; a repeated piece is skipped.
fn assemble(crypto: &BTreeMap<u64, Vec<u8>>) -> Vec<u8> {
    let mut stream = Vec::new();
    for (offset, piece) in crypto {
        let begin = stream.len() - usize::try_from(*offset).unwrap();
        stream.extend_from_slice(piece.get(begin..).unwrap_or_default());
    }
    stream
}

/// The group of the key share in a ServerHello (RFC 8446 section 4.1.3).
fn group_of_server_hello(stream: &[u8]) -> NamedGroup {
    const SERVER_HELLO: u64 = 2;
    const KEY_SHARE: u64 = 51;
    let mut reader = Reader(stream);
    assert_eq!(reader.number(1), SERVER_HELLO);
    let length = reader.number(3);
    assert_eq!(
        length,
        reader.0.len() as u64,
        "one ServerHello and nothing else: no second attempt was needed"
    );
    reader.bytes(2 + 32);
    reader.short_bytes();
    reader.bytes(2 + 1 + 2);
    while !reader.0.is_empty() {
        let kind = reader.number(2);
        let length = reader.number(2);
        let mut extension = Reader(reader.bytes(usize::try_from(length).unwrap()));
        if kind == KEY_SHARE {
            return NamedGroup::from(u16::try_from(extension.number(2)).unwrap());
        }
    }
    panic!("the ServerHello has no key share");
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    /// Big-endian.
    fn number(&mut self, length: usize) -> u64 {
        self.bytes(length).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Bytes behind a length of one byte.
    fn short_bytes(&mut self) -> &'a [u8] {
        let length = self.number(1);
        self.bytes(usize::try_from(length).unwrap())
    }

    /// RFC 9000 section 16.
    fn varint(&mut self) -> u64 {
        let length = 1 << (self.0[0] >> 6);
        self.number(length) & (u64::MAX >> (66 - 8 * length as u32))
    }

    fn len(&mut self) -> usize {
        usize::try_from(self.varint()).unwrap()
    }
}
