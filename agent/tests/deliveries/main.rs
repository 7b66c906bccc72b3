//! A broker that cannot be trusted: it alters, mixes up, repeats and makes up what it delivers, publishes and answers.
//!
//! Claimed: whatever it does, nobody is shown a notice that its originator did not write, nothing that is not the
//! authority's comes into force, no answer counts that is not about what was submitted; and what is true is shown
//! afterwards, once.

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

mod answers;
mod case;
mod commands;
mod following;
mod limits;
mod listing;
mod notices;
mod orders;
mod out_of_force;
mod outstanding;
mod publications;
