//! Limits and times of the transport.

use std::time::Duration;

/// Limits and times; each has a bound so that a peer cannot make this node take memory without end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// From the first packet to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a frame to its last, or to 16 KiB more of it, while a reader waits for it.
    pub frame_timeout: Duration,
    /// Silence after which a connection is given up; at least a millisecond.
    pub idle_timeout: Duration,
    /// How often an otherwise silent connection is kept alive.
    pub keep_alive: Duration,
    /// Streams a peer may have open at a time.
    pub streams_max: u32,
    /// Connections a server has open at a time.
    pub connections_max: usize,
    /// Handshakes a server has under way at a time, at least 1; above half of them, peers must first prove their
    /// address.
    pub handshakes_max: usize,
    /// Handshakes from one address that a server has under way at a time, at least 1; above half of them likewise.
    pub handshakes_per_address_max: usize,
    /// Bytes a peer may send on one stream before they are read.
    pub stream_window_bytes: u32,
    /// Bytes a peer may send on one connection before they are read; also the most this node sends unacknowledged.
    /// Keep it at four stream windows or more: then three streams that nobody reads leave room for a fourth, which
    /// may be FLASH's.
    pub connection_window_bytes: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            frame_timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(10),
            streams_max: 64,
            connections_max: 1024,
            handshakes_max: 256,
            handshakes_per_address_max: 64,
            stream_window_bytes: 4 * 1024 * 1024,
            connection_window_bytes: 16 * 1024 * 1024,
        }
    }
}
