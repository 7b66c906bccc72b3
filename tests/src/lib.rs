//! Whole exchanges in a few lines, for people who test their own integration against Valise, and for Valise's own tests.
//!
//! A [`Network`] is an authority, a broker and agencies, each real: real keys and certificates from the authority's own
//! code, real QUIC over loopback, real stores in a folder that is removed at the end. Nodes run inside the test's process;
//! on request they run as processes, so that they can be killed as a power cut would kill them. Between each agency and
//! the broker stands a [`relay`], which can lose, delay, duplicate or cut off datagrams.
//!
//! ```no_run
//! use valise_tests::{Network, notices};
//!
//! # async fn story() -> Result<(), valise_tests::NetworkError> {
//! let net = Network::builder().agency("fra/ncb").agency("ken/ncb").start().await?;
//! let sent = net.agency("ken/ncb").send(notices::deportation("KEN", "FRA").of("FRA")).await?;
//! net.broker().kill_and_restart().await?;
//! net.agency("fra/ncb").expect_notice(&sent).await?;
//! net.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! A [`hostile`] broker can take the place of the network's own, with its keys, and do wrong; a [`raw`] client is an
//! agency without scruples.
//!
//! Every `expect_…` waits for its condition until [`DEADLINE`] and then fails with a sentence that says what it saw last.

pub mod hostile;
pub mod network;
pub mod notices;
pub mod raw;
pub mod relay;
mod scrape;
pub mod wait;

pub use network::{Agency, AgencySpec, BrokerControl, Network, NetworkBuilder, NetworkError};
pub use scrape::Scrape;
pub use wait::NotInTime;

/// How long an expectation waits: far longer than anything takes on an idle machine, so that only a fault runs into it.
pub const DEADLINE: std::time::Duration = std::time::Duration::from_secs(30);
