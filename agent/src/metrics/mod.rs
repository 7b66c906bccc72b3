//! Numbers for whoever watches a node, and whether it does its work: `/metrics`, `/healthz`, `/readyz` on loopback.
//!
//! Claimed: what is told here names no person, no notice, no officer and no correspondent. It holds because labels are
//! refusal codes, precedences and kinds of document, and no other number has a text; because the reasons for not being
//! ready ([`crate::node::watch`]) are those of the connection, which no content reaches, and of documents; and because the
//! address is a loopback one ([`crate::config`]).

mod counts;
mod page;

pub(crate) use counts::{Counted, Counts};
pub(crate) use page::{Snapshot, render};
