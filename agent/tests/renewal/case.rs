//! France's node, whose certificate is to be renewed, and the broker it is connected to; Kenya writes.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use valise_agent::api::client::LocalClient;
use valise_agent::api::types::NodeStatus;
use valise_agent::config::Config;
use valise_agent::node::{Node, NodeHandle, NodeOptions};
use valise_proto::id::{NoticeId, Timestamp};
use valise_proto::label::Classification;
use valise_proto::renewal::SignedRenewalRequest;
use valise_proto::wire::session::{Publication, SessionFrame};

use crate::exchange::{Broker, Office};
use crate::fixture::{DAY, Exchange, ago, content, now};

pub const FRANCE: &str = "fra/ncb";
pub const KENYA: &str = "ken/ncb";
pub const LONG: Duration = Duration::from_secs(20);

/// A life of which two thirds are over.
pub fn waning() -> (Timestamp, Timestamp) {
    (ago(70 * DAY), now().plus(20 * DAY))
}

/// A life that has just begun.
pub fn young() -> (Timestamp, Timestamp) {
    (ago(DAY), now().plus(80 * DAY))
}

pub struct Case {
    pub office: Office,
    pub broker: Broker,
    pub node: NodeHandle,
}

/// Looks until it is so, and returns what was seen.
pub async fn until<T, E: Debug>(what: &str, mut look: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = tokio::time::Instant::now() + LONG;
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(last) if tokio::time::Instant::now() >= deadline => {
                panic!("{what} did not happen in time; last seen: {last:?}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

pub fn or<T>(so: bool, yes: T, no: T) -> Result<T, T> {
    if so { Ok(yes) } else { Err(no) }
}

impl Case {
    /// With certificates of this life.
    pub async fn of_life(life: (Timestamp, Timestamp)) -> Self {
        Self::with(life, |_| {}).await
    }

    pub async fn with(life: (Timestamp, Timestamp), prepare: impl FnOnce(&mut Config)) -> Self {
        let office = office_of(life);
        let broker = Broker::start(&office.exchange);
        let mut config = office.config(FRANCE, Some(&broker));
        prepare(&mut config);
        let node = Node::start(config, NodeOptions::default()).await.unwrap();
        assert!(node.connected(LONG).await, "not connected: {:?}", node.desk().link());
        Self { office, broker, node }
    }

    pub fn client(&self) -> LocalClient {
        LocalClient::new(&self.office.config(FRANCE, None))
    }

    pub async fn status(&self) -> NodeStatus {
        self.client().status().await.unwrap()
    }

    pub fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.office.data(FRANCE).join(name)).unwrap()
    }

    /// Waits until the broker has been handed so many requests, and returns the last.
    pub async fn spooled(&self, count: usize) -> SignedRenewalRequest {
        let handed = async || {
            let held = self.broker.held.lock().unwrap();
            held.spooled.get(count - 1).cloned().ok_or(held.spooled.len())
        };
        until("the renewal request", handed).await
    }

    /// Publishes the exchange's directory, and this certificate for France.
    pub fn publish(&self, chain: Vec<Bytes>) {
        self.broker.held.lock().unwrap().chain = chain;
        let directory = self.office.exchange.directory();
        self.broker.publish(directory.clone());
        let publication = Publication { directory: directory.encoded().clone(), crls: Vec::new() };
        self.broker.say(SessionFrame::Publication(publication));
    }

    /// Grants a request and publishes that.
    pub fn grant(&mut self, request: &SignedRenewalRequest) -> Bytes {
        let leaf = self.office.exchange.grant(request.request());
        self.publish(vec![leaf.clone()]);
        leaf
    }

    /// A notice of Kenya's arrives and is shown.
    pub async fn receives(&self) -> NoticeId {
        let notice = self.office.exchange.envelope(KENYA, &[FRANCE], &content(), |_| {});
        let id = notice.header().notice_id;
        self.broker.put(FRANCE, notice.header().precedence, notice.encode());
        assert!(self.node.has_received(&id, LONG).await.unwrap(), "{:?}", self.status().await);
        let opened = self.client().read(&id, "Officer A. Example").await.unwrap();
        assert_eq!(opened.opened.len(), 1, "it cannot be read");
        id
    }

    /// Waits until so many sessions were begun, the first included.
    pub async fn sessions(&self, count: usize) {
        let begun = async || {
            let begun = self.broker.held.lock().unwrap().sessions;
            or(begun >= count, begun, begun)
        };
        until("another session", begun).await;
    }
}

pub fn office_of(life: (Timestamp, Timestamp)) -> Office {
    let secret = Classification::Secret;
    let mut exchange = Exchange::new(&[(KENYA, secret)]);
    exchange.life = Some(life);
    Office::of(exchange, &[(FRANCE, secret)])
}

/// The certificate in a PEM file.
pub fn der(pem: &[u8]) -> Bytes {
    pem::parse(pem).unwrap().into_contents().into()
}
