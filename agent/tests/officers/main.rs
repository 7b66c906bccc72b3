//! Officers at a node: who is let in, who may do what, and what of it is in the access journal.

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

mod accounts;
mod case;
mod example;
mod four_eyes;
mod tcp;
