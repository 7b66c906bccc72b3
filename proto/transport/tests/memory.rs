//! Memory that announcements would take. On its own, because it looks at the whole process.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests stop at the first surprise, as tests do"
)]

#[allow(dead_code)]
#[path = "transport/pki.rs"]
mod pki;
#[allow(dead_code)]
#[path = "transport/raw.rs"]
mod raw;

use std::time::Duration;

use pki::{Authority, Leaf};
use valise_proto::wire::frame::prefix;
use valise_transport::{Options, Server};

const STREAMS: usize = 64;
const CAP: usize = 16 * 1024 * 1024;
/// Far above what 64 streams of a few bytes need, far below the gibibyte that they announce.
const GROWTH_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Writable memory of this process, touched or not.
fn data_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn g10_announced_frames_take_no_memory_until_their_bytes_come() {
    let authority = Authority::new();
    let transport = authority.transport(&Leaf::broker("b1"), Options::default());
    let mut server = Server::bind(&transport, "127.0.0.1:0".parse().unwrap()).unwrap();
    let issued = authority.issue(&Leaf::agency("fra/ncb"));
    let client = raw::client(raw::client_tls(Some(&issued), &[valise_transport::ALPN]));
    let connecting = client.connect(server.local_addr().unwrap(), raw::NAME).unwrap();
    let announced = async {
        let (connection, theirs) = tokio::join!(connecting, server.accept());
        let (connection, theirs) = (connection.unwrap(), theirs.unwrap());
        let before = data_bytes();
        let mut streams = Vec::new();
        for _ in 0..STREAMS {
            let (mut send, receive) = connection.open_bi().await.unwrap();
            // A whole frame, so that the reader is known to have read; then a large one that is only announced.
            send.write_all(&[0, 0, 0, 1, 7]).await.unwrap();
            send.write_all(&prefix(CAP).unwrap()).await.unwrap();
            send.write_all(&[0; 100]).await.unwrap();
            let (sender, mut receiver) = theirs.accept(CAP).await.unwrap();
            assert_eq!(receiver.next().await.unwrap().unwrap(), &[7][..]);
            assert_eq!(receiver.try_next(), Ok(None));
            streams.push((send, receive, sender, receiver));
        }
        let grown = data_bytes().saturating_sub(before);
        assert!(grown < GROWTH_BYTES_MAX, "{STREAMS} announcements took {grown} bytes");
    };
    tokio::time::timeout(Duration::from_secs(10), announced).await.unwrap();
}
