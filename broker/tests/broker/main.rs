//! A broker in this process, and agencies that speak the wire to it, frame by frame.

#![allow(missing_docs, unreachable_pub)]
// The lints' leave for tests does not reach what tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod barred;
mod care;
mod command;
mod exchange;
#[path = "../../src/fixture.rs"]
mod fixture;
mod freshness;
mod issuers;
mod limits;
mod office;
mod publication;
mod refusals;
mod renewal;
mod restart;
mod sessions;
mod stranger;
mod watch;
