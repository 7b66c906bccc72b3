//! The agency's node: composes, signs, seals and sends; receives, verifies, opens and answers.
//!
//! [`core`] decides and never touches the world; [`store`] keeps; [`vault`] holds the private keys; [`node`] is the
//! shell that joins them to the network; [`api`] and [`cli`] are how people and systems reach it. This crate knows
//! nothing of brokers beyond the wire, and holds no key of the authority.

pub mod api;
pub mod carried;
pub mod cli;
pub mod clock;
pub mod compose;
pub mod config;
pub mod core;
pub mod enrol;
#[cfg(test)]
pub(crate) mod fixture;
pub mod folder;
pub mod incoming;
pub mod journal;
mod metrics;
pub mod node;
pub mod officers;
pub mod pending;
pub mod release;
pub mod renewal;
pub mod store;
pub mod vault;
