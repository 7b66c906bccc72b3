//! France's node, which has received a notice, and its officers.

use std::time::Duration;

use bytes::Bytes;
use valise_agent::api::client::{ClientError, LocalClient};
use valise_agent::api::officers::{NewOfficer, NewToken};
use valise_agent::api::types::ErrorFacts;
use valise_agent::config::Config;
use valise_agent::journal::{Deed, Query, Written};
use valise_agent::node::{Node, NodeHandle, NodeOptions};
use valise_agent::officers::Role;
use valise_proto::id::NoticeId;
use valise_proto::label::Classification;

use crate::exchange::{Broker, Office};
use crate::fixture::{content, notice_json};

const LONG: Duration = Duration::from_secs(20);
pub const PASSWORD: &str = "correct horse battery";

pub struct Case {
    pub office: Office,
    pub broker: Broker,
    pub node: NodeHandle,
    pub received: NoticeId,
    shape: Box<dyn Fn(&mut Config)>,
}

async fn start(office: &Office, broker: &Broker, shape: &dyn Fn(&mut Config)) -> NodeHandle {
    let mut config = office.config("fra/ncb", Some(broker));
    shape(&mut config);
    Node::start(config, NodeOptions::default()).await.unwrap()
}

impl Case {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(shape: impl Fn(&mut Config) + 'static) -> Self {
        let secret = Classification::Secret;
        let office = Office::with_writers(&[("ken/ncb", secret)], &[("fra/ncb", secret)]);
        let broker = Broker::start(&office.exchange);
        let node = start(&office, &broker, &shape).await;
        assert!(node.connected(LONG).await, "not connected: {:?}", node.desk().link());
        let envelope = office.exchange.envelope("ken/ncb", &["fra/ncb"], &content(), |_| {});
        broker.put("fra/ncb", envelope.header().precedence, envelope.encode());
        let received = envelope.header().notice_id;
        assert!(node.has_received(&received, LONG).await.unwrap());
        Self { office, broker, node, received, shape: Box::new(shape) }
    }

    pub async fn restarted(self) -> Self {
        let Self { office, broker, node, received, shape } = self;
        node.kill().await;
        let node = start(&office, &broker, &shape).await;
        Self { office, broker, node, received, shape }
    }

    /// Nobody in particular, on the socket.
    pub fn socket(&self) -> LocalClient {
        LocalClient::new(&self.office.config("fra/ncb", None))
    }

    /// An officer with a new account, and a token.
    pub async fn officer(&self, name: &str, roles: &[Role]) -> LocalClient {
        let token = self.token(name, roles).await;
        self.socket().with_token(&token)
    }

    /// The token of an officer with a new account.
    pub async fn token(&self, name: &str, roles: &[Role]) -> String {
        let officer =
            NewOfficer { name: name.to_owned(), roles: roles.to_vec(), password: PASSWORD.to_owned() };
        self.socket().add_officer(&officer).await.unwrap();
        let token = NewToken { name: name.to_owned(), label: "desk".to_owned(), days: 1 };
        self.socket().issue_token(&token).await.unwrap().token
    }

    pub fn draft(&self) -> Bytes {
        notice_json("ken/ncb").to_string().into()
    }

    pub fn entries(&self, deed: Deed) -> Vec<Written> {
        let query = Query { deed: Some(deed), ..Query::default() };
        self.node.desk().office().store().journal(&query, 1000).unwrap()
    }
}

pub fn refused<T>(answer: Result<T, ClientError>) -> ErrorFacts {
    match answer {
        Err(ClientError::Refused(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was answered"),
    }
}
