//! Nodes over real connections, with a broker of a few lines.

#[allow(dead_code)]
mod exchange;
#[path = "../src/fixture.rs"]
mod fixture;

use std::time::Duration;

use exchange::{Broker, Office};
use valise_agent::node::{Node, NodeOptions, StartError};
use valise_agent::store::StoreError;
use valise_proto::label::Classification;

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_node_connects_and_stops_in_order() {
    let office = Office::new(&[("fra/ncb", Classification::Secret)]);
    let broker = Broker::start(&office.exchange);
    let node = office.start("fra/ncb", Some(&broker)).await;
    assert!(node.connected(LONG).await, "not connected: {:?}", node.desk().link());
    assert!(office.data("fra/ncb").join("agent.sock").exists());
    node.stop().await;
    assert!(!office.data("fra/ncb").join("agent.sock").exists(), "the socket stayed behind");
    office.start("fra/ncb", Some(&broker)).await.kill().await;
}

#[tokio::test]
async fn a_second_daemon_on_the_same_folder_is_refused() {
    let office = Office::new(&[("fra/ncb", Classification::Secret)]);
    let first = office.start("fra/ncb", None).await;
    let second = Node::start(office.config("fra/ncb", None), NodeOptions::default()).await;
    assert!(matches!(second, Err(StartError::Store(StoreError::InUse(_)))), "{second:?}");
    assert!(office.data("fra/ncb").join("agent.sock").exists(), "the first node's socket was removed");
    first.kill().await;
    office.start("fra/ncb", None).await.stop().await;
}
