//! Downgrading and passing on (S/RES/2396, paragraph 8), with nodes that exchange notices.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests stop at the first surprise"
)]

#[allow(dead_code)]
#[path = "../exchange/mod.rs"]
mod exchange;
#[path = "../../src/fixture.rs"]
mod fixture;

mod asking;
mod case;
mod downgrading;
mod forwarding;
