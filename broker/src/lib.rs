//! The broker: stores and forwards envelopes it cannot read, by access classification.
//!
//! [`core`] decides and does no I/O; [`store`] keeps; [`server`] is the shell that joins them to the network.
//! [`care`] backs up, restores and examines; [`cli`] is the
//! `valise-broker` command.

pub mod care;
pub mod cli;
pub mod config;
pub mod core;
#[cfg(test)]
mod fixture;
mod folder;
pub mod server;
pub mod store;
