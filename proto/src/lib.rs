//! Everything both ends of an exchange must agree on, and nothing else.
//!
//! This crate is pure: no async runtime, no sockets, no files, no clock, and no randomness that was not handed in.
//! Bytes become values here, once; past this crate the types say what was checked.

pub mod crypto;
pub mod delegation;
pub mod directory;
pub mod enrolment;
pub mod envelope;
pub mod freshness;
pub mod id;
pub mod label;
pub mod log;
pub mod notice;
pub mod receipt;
pub mod refusal;
pub mod renewal;
pub mod wire;
