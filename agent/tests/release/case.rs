//! Kenya's police, France's police and border guard, and Germany's police, each with a node.

use std::fmt::Debug;
use std::time::Duration;

use serde_json::{Value, json};
use valise_agent::api::client::{ClientError, LocalClient};
use valise_agent::api::release::Released;
use valise_agent::api::types::{ErrorFacts, Queued};
use valise_agent::node::NodeHandle;
use valise_agent::release::downgrade::Downgrade;
use valise_agent::release::forward::Forward;
use valise_proto::envelope::Envelope;
use valise_proto::id::NoticeId;
use valise_proto::label::Classification;

use crate::exchange::{Broker, Office};
use crate::fixture::agency;

pub const LONG: Duration = Duration::from_secs(20);
pub const KENYA: &str = "ken/ncb";
pub const FRANCE: &str = "fra/ncb";
pub const BORDER: &str = "fra/border";
pub const GERMANY: &str = "deu/ncb";

pub struct Case {
    pub office: Office,
    _broker: Broker,
    nodes: Vec<NodeHandle>,
}

impl Case {
    pub async fn start() -> Self {
        let (secret, restricted) = (Classification::Secret, Classification::Restricted);
        let agencies = [(KENYA, secret), (FRANCE, secret), (BORDER, restricted), (GERMANY, secret)];
        let office = Office::new(&agencies);
        let broker = Broker::start(&office.exchange);
        let mut nodes = Vec::new();
        for (name, _) in agencies {
            let node = office.start(name, Some(&broker)).await;
            assert!(node.connected(LONG).await, "{name} is not connected: {:?}", node.desk().link());
            nodes.push(node);
        }
        Self { office, _broker: broker, nodes }
    }

    pub fn node(&self, name: &str) -> &NodeHandle {
        self.nodes.iter().find(|node| *node.agency() == agency(name)).unwrap()
    }

    pub fn client(&self, name: &str) -> LocalClient {
        LocalClient::new(&self.office.config(name, None))
    }

    /// Sends from Kenya to France, and waits until it is there.
    pub async fn sent(&self, notice: &Value) -> NoticeId {
        let queued = self.client(KENYA).send(notice.to_string().into()).await.unwrap();
        self.arrives(FRANCE, &queued.notice_id).await;
        queued.notice_id
    }

    pub async fn arrives(&self, name: &str, id: &NoticeId) {
        assert!(self.node(name).has_received(id, LONG).await.unwrap(), "{id} did not reach {name}");
    }

    /// What an agency is shown of a notice.
    pub async fn shown(&self, name: &str, id: &NoticeId) -> Vec<Value> {
        let opened = self.client(name).read(id, "Reader").await.unwrap();
        opened.opened.into_iter().map(|portion| portion.content).collect()
    }

    /// A notice of an agency's, as it left.
    pub fn envelope(&self, name: &str, id: &NoticeId) -> Envelope {
        self.node(name).desk().office().store().envelope(id).unwrap().unwrap()
    }

    pub async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}

pub fn refused<T: Debug>(answer: Result<T, ClientError>) -> ErrorFacts {
    match answer {
        Err(ClientError::Refused(facts)) => facts,
        other => panic!("it was not refused: {other:?}"),
    }
}

/// A deportation from Kenya to France: the movement and the person under `first`, the grounds under `second`. The
/// person is invented.
pub fn notice(first: &str, second: &str) -> Value {
    json!({
        "kind": "DEPORTATION", "precedence": "PRIORITY", "label": first,
        "legal_basis": "Invented Act, section 1", "purpose": "to test", "review_by": "2035-01-01T00:00:00Z",
        "parts": [
            { "type": "movement", "id": "m7", "event": "DEPORTATION", "status": "UNDER_WAY",
              "event_time": "2026-03-01T12:00:00+03:00", "source": "KEN", "destination": "FRA" },
            { "type": "person", "id": "p3", "role": "SUBJECT", "birth_date": "1988-04-12", "citizenships": ["XXX"],
              "names": [{ "kind": "PRIMARY", "surname": "EXAMPLE-SPECIMEN", "given_names": "Nobody" }] },
            { "type": "grounds", "label": second, "about": "p3", "nature": "FACT",
              "statement": "Invented grounds", "basis": ["WARRANT"], "source_grading": "A", "information_grading": 1 },
        ],
    })
}

pub fn forward(to: &[&str], portions: &[usize], label: Option<&str>) -> Forward {
    Forward {
        portions: portions.to_vec(),
        to: to.iter().map(|name| agency(name)).collect(),
        label: label.map(ToOwned::to_owned),
        precedence: None,
        officer: Some("Forwarder".to_owned()),
        reason: None,
    }
}

pub fn downgrade(to: &[&str], portions: &[usize], label: &str) -> Downgrade {
    Downgrade {
        portions: portions.to_vec(),
        label: label.to_owned(),
        drop_handling: Vec::new(),
        to: to.iter().map(|name| agency(name)).collect(),
        kind: None,
        precedence: None,
        officer: Some("Drafter".to_owned()),
        reason: Some("for the gates".to_owned()),
    }
}

pub fn queued(released: Released) -> Queued {
    match released {
        Released::Queued(queued) => queued,
        Released::Waiting(waiting) => panic!("it waits for a second officer: {waiting:?}"),
    }
}
