//! The broker: stores and forwards envelopes it cannot read, by access classification.
//!
//! [`core`] decides and does no I/O; [`store`] keeps; [`server`] is the shell that joins them to the network.

pub mod core;
pub mod store;
