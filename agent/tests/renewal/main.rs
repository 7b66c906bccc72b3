//! Renewal and rotation over real connections: what the node asks for, what it takes, and what it goes on doing
//! meanwhile.

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

mod by_hand;
mod case;
mod certificates;
mod freshness;
mod handover;
mod rotation;
mod standing;
