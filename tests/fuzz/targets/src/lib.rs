//! What every parser that meets bytes from outside is held to: one pure function for each.
//!
//! A function takes any bytes, reads them as a node would, and says whether they were accepted. It fails where a claim
//! does not hold: what is accepted is written and read back as the same, keeps every limit, and took memory in
//! proportion to its length; what is refused is refused with a sentence. libFuzzer calls the functions with bytes it makes up
//! (`tests/fuzz/fuzz_targets`), and `cargo test` with those that are kept (`tests/fuzz/corpus`, `tests/fuzz/regressions`).
//!
//! Signatures would keep a fuzzer out of everything behind them. So where a body has to be signed, the function signs
//! whatever it is given with the keys of an exchange made up for it ([`exchange`]).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a claim that does not hold stops the function: that is how fuzzers and tests are told"
)]

mod authority;
mod certificates;
mod config;
mod content;
mod envelopes;
pub mod exchange;
mod oracle;
pub mod seeds;
mod wire;
mod words;

pub use authority::{
    delegation, directory, enrolment_bundle, enrolment_request, receipt, renewal_request, trust,
};
pub use certificates::{crl, csr};
pub use config::{agent_config, broker_config};
pub use content::{notice_json, parts};
pub use envelopes::{envelope, header};
pub use wire::{frames, messages};
pub use words::{banner, dates, mrz};

/// One parser and what it is held to.
pub struct Target {
    /// Its name: of the function, of the fuzz target, and of the folder with what is kept for it.
    pub name: &'static str,
    /// The function. It says whether the bytes were accepted.
    pub check: fn(&[u8]) -> bool,
}

/// Every target.
pub const TARGETS: [Target; 20] = [
    Target { name: "agent_config", check: agent_config },
    Target { name: "banner", check: banner },
    Target { name: "broker_config", check: broker_config },
    Target { name: "crl", check: crl },
    Target { name: "csr", check: csr },
    Target { name: "dates", check: dates },
    Target { name: "delegation", check: delegation },
    Target { name: "directory", check: directory },
    Target { name: "enrolment_bundle", check: enrolment_bundle },
    Target { name: "enrolment_request", check: enrolment_request },
    Target { name: "envelope", check: envelope },
    Target { name: "frames", check: frames },
    Target { name: "header", check: header },
    Target { name: "messages", check: messages },
    Target { name: "mrz", check: mrz },
    Target { name: "notice_json", check: notice_json },
    Target { name: "parts", check: parts },
    Target { name: "receipt", check: receipt },
    Target { name: "renewal_request", check: renewal_request },
    Target { name: "trust", check: trust },
];
