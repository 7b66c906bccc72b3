//! Downgrading and release (S/RES/2396, paragraph 8): what the originator lowers and lets out itself, what a holder asks
//! for, and what a holder passes on.
//!
//! Claimed: an agent passes on content of another agency only as [`rules`] allow; no answer is no. What a person types
//! anew into a notice, no rule can know.

pub mod rules;
