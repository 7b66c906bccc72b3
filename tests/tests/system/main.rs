//! Whole networks: an authority, a broker and agencies' nodes, much of it as processes of their own, and what they keep of
//! the promises under faults, hostile peers and mistakes. `cargo test -p valise-tests --test system g04_` runs what is about
//! one promise, `--test system lifecycle::` one file.
//!
//! One binary, so that some tests wait while others work. What measures times or fills a disk has binaries of its own, which
//! run alone: `g08_timely.rs`, `g10_bounded.rs`, `full_disk.rs`.

mod bad_input;
mod examples;
mod faults_on_the_way;
mod g01_authentic;
mod g02_quiet;
mod g02_sealed;
mod g03_classified;
mod g04_drain;
mod g04_durable;
mod g04_renewal;
mod g05_once;
mod g09_accountable;
mod g10_watched;
mod g12_fail_closed;
mod hostile_broker;
mod least_privilege;
mod lifecycle;
mod local_api;
mod networks;
mod old_folder;
mod preview;
mod renewal;
mod revocation;
