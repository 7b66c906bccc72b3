//! Numbers for whoever watches a broker, and whether it does its work: `/metrics`, `/healthz`, `/readyz`.
//!
//! Claimed: what is told here names no person, no notice and no file, and costs a notice no more than atomic additions.
//! It holds because [`Counts`] are all that a notice's path touches; because everything else is looked up when somebody
//! asks, and the store at most so often ([`crate::server`]); because labels are refusal codes, precedences and agencies of
//! the directory, at most [`AGENCIES_MAX`] of them; and because the address is a loopback one ([`crate::config`]).

mod counts;
mod histogram;
mod http;
mod page;

pub(crate) use counts::Counts;
pub(crate) use histogram::{Histogram, Observed};
pub(crate) use http::{Answer, Asked, serve};
pub(crate) use page::{Queued, Snapshot, render};

/// Most agencies with numbers of their own; those of all others are told together.
pub(crate) const AGENCIES_MAX: usize = 256;
