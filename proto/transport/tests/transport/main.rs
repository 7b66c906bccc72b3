//! Agencies and brokers over real sockets, and peers that cheat.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests stop at the first surprise, as tests do"
)]

mod certificates;
mod connections;
mod flood;
mod freshness;
mod handshake;
mod key_exchange;
mod pki;
mod raw;
mod rejections;
mod streams;

use std::future::Future;
use std::time::Duration;

use valise_transport::{Client, Connection, Options, Server, Transport};

use pki::{Authority, Leaf};

/// Long enough for a busy machine; a test that waits this long fails.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest frame in these tests, in bytes.
const CAP: usize = 64 * 1024;

/// Waits for something that must happen soon.
async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, happens).await.unwrap_or_else(|_| panic!("it took too long: {what}"))
}

/// A broker `b1` that listens, and its transport.
fn listen(authority: &Authority, options: Options) -> (Server, Transport, String) {
    let transport = authority.transport(&Leaf::broker("b1"), options);
    let server = Server::bind(&transport, "127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = server.local_addr().unwrap().to_string();
    (server, transport, endpoint)
}

/// The agency `fra/ncb`.
fn agency(authority: &Authority) -> Client {
    Client::new(&authority.transport(&Leaf::agency("fra/ncb"), Options::default()))
}

/// Both ends of a new connection.
async fn meet(client: &Client, server: &mut Server, endpoint: &str) -> (Connection, Connection) {
    let (ours, theirs) =
        soon("a connection", async { tokio::join!(client.connect(endpoint, None), server.accept()) }).await;
    (ours.unwrap(), theirs.unwrap())
}

/// A frame goes there and back.
async fn echo(ours: &Connection, theirs: &Connection) {
    let there = async {
        let (mut sender, mut receiver) = ours.open(CAP, 0).await.unwrap();
        sender.send("bonjour"[..].into()).await.unwrap();
        sender.finish();
        assert_eq!(receiver.next().await.unwrap().unwrap(), "bonjour");
        assert_eq!(receiver.next().await, Ok(None));
    };
    let back = async {
        let (mut sender, mut receiver) = theirs.accept(CAP).await.unwrap();
        while let Some(frame) = receiver.next().await.unwrap() {
            sender.send(frame).await.unwrap();
        }
        sender.finish_and_wait().await;
    };
    soon("an echo", async { tokio::join!(there, back) }).await;
}
