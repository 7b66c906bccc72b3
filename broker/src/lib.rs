//! The broker: stores and forwards envelopes it cannot read, by access classification.
//!
//! [`core`] decides and does no I/O; [`store`] keeps; [`server`] is the shell that joins them to the network.
//! [`metrics`] are the numbers for whoever watches it; [`care`] backs up, restores and examines; [`cli`] is the
//! `valise-broker` command.

// What the tests beside this crate share names the crate as they do.
#[cfg(test)]
extern crate self as valise_broker;

pub mod care;
pub mod cli;
pub mod config;
pub mod core;
#[cfg(test)]
mod fixture;
mod folder;
mod metrics;
#[cfg(test)]
#[path = "../tests/broker/office.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::panic,
    reason = "it is of the tests beside this crate"
)]
mod office;
pub mod server;
pub mod store;
