//! The limits both ends keep to (design: "default limits"). A broker may lower them; it tells them in `Welcome`.

use std::time::Duration;

/// Limits of one exchange. Every one is checked before memory is taken or work is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Encoded envelope, in bytes.
    pub envelope_bytes_max: usize,
    /// Recipients of one envelope.
    pub recipients_max: usize,
    /// Portions of one envelope.
    pub portions_max: usize,
    /// Deliveries on one receive stream that are not acknowledged.
    pub unacknowledged_max: usize,
    /// Submissions on one submit stream that are not answered.
    pub in_flight_max: usize,
    /// How far ahead of the broker's clock `created_at` may be.
    pub clock_ahead_max: Duration,
    /// From `created_at` to `expires_at`.
    pub lifetime_max: Duration,
}

impl Limits {
    /// The defaults of the protocol, which are also its upper bounds for sizes.
    pub const DEFAULT: Self = Self {
        envelope_bytes_max: 1024 * 1024,
        recipients_max: 64,
        portions_max: 32,
        unacknowledged_max: 1024,
        in_flight_max: 1024,
        clock_ahead_max: Duration::from_secs(5 * 60),
        lifetime_max: Duration::from_secs(366 * 24 * 60 * 60),
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Longest first frame of a stream, in bytes.
pub const STREAM_OPEN_BYTES_MAX: usize = 4 * 1024;
/// Longest frame of a session or query stream from the broker, in bytes.
pub const PUBLICATION_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Room for a delivery's cursor and framing around an envelope, in bytes.
pub const DELIVERY_OVERHEAD_BYTES: usize = 64;
/// Longest `Ack` frame, in bytes: 1,024 cursors of ten bytes and the tag.
pub const ACK_BYTES_MAX: usize = 16 * 1024;
/// Longest `Submitted` frame, in bytes.
pub const SUBMITTED_BYTES_MAX: usize = 4 * 1024;
/// Most acknowledgements in one frame.
pub const ACK_CURSORS_MAX: usize = 1024;
/// Encoded directory, in bytes.
pub const DIRECTORY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Encoded signed delegation, in bytes: room for every name a ceiling may hold.
pub const DELEGATION_BYTES_MAX: usize = 16 * 1024;
/// Parts in one notice.
pub const PARTS_MAX: usize = 256;
