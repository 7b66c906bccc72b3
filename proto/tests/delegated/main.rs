//! What the root lets an authority do, what the authority lets agencies do, and what an agency may ask of it: held
//! against a root that is not trusted, an authority that is not honest, and whoever alters bytes on the way.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, unreachable_pub)]

mod bundles;
mod ceilings;
mod delegations;
mod directories;
mod exchange;
mod lists;
mod mutations;
mod queries;
mod raw;
mod renewals;
mod statuses;
mod strictness;
mod times;
