//! France's node and the broker it is connected to.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use valise_agent::api::client::LocalClient;
use valise_agent::api::types::NodeStatus;
use valise_agent::node::NodeHandle;
use valise_proto::envelope::{Envelope, HeaderDraft, NoticeKind, Precedence};
use valise_proto::id::NoticeId;
use valise_proto::label::Classification;
use valise_proto::notice::{Notice, NoticeRef};
use valise_proto::wire::session::{Publication, SessionFrame};

use crate::exchange::{Broker, Office};
use crate::fixture::{Exchange, content, notice_json, now, policy};

pub const PRIORITY: Precedence = Precedence::Priority;
pub const LONG: Duration = Duration::from_secs(20);

/// France's node, connected to a broker that does what a test tells it; Kenya and Türkiye write.
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
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(prepare: impl FnOnce(&mut Exchange)) -> Self {
        let secret = Classification::Secret;
        let mut office =
            Office::with_writers(&[("ken/ncb", secret), ("tur/border", secret)], &[("fra/ncb", secret)]);
        prepare(&mut office.exchange);
        let broker = Broker::start(&office.exchange);
        let node = office.start("fra/ncb", Some(&broker)).await;
        assert!(node.connected(LONG).await, "not connected: {:?}", node.desk().link());
        Self { office, broker, node }
    }

    /// A notice that Kenya wrote to France.
    pub fn notice(&self) -> Envelope {
        self.notice_shaped(|_| {})
    }

    pub fn notice_shaped(&self, shape: impl FnOnce(&mut HeaderDraft)) -> Envelope {
        self.office.exchange.envelope("ken/ncb", &["fra/ncb"], &content(), shape)
    }

    /// Kenya's withdrawal of such a notice.
    pub fn withdrawal_of(&self, notice: &Envelope) -> Envelope {
        let part = json!({ "type": "withdrawal", "reason": "Another person of the same name." });
        let what = json!({ "kind": "WITHDRAWAL", "withdraws": notice.header().notice_id, "parts": [part] });
        self.follow_up(notice, what, |draft| {
            (draft.kind, draft.withdraws) = (NoticeKind::Withdrawal, Some(notice.header().notice_id));
        })
    }

    /// Kenya's correction of such a notice.
    pub fn correction_of(&self, notice: &Envelope) -> Envelope {
        let mut what = notice_json("fra/ncb");
        (what["kind"], what["supersedes"]) = (json!("CORRECTION"), json!(notice.header().notice_id));
        let part = json!({ "type": "correction", "reason": "The date of birth.", "label": "UNCLASSIFIED" });
        what["parts"].as_array_mut().unwrap().push(part);
        self.follow_up(notice, what, |draft| {
            (draft.kind, draft.supersedes) = (NoticeKind::Correction, Some(notice.header().notice_id));
        })
    }

    fn follow_up(&self, about: &Envelope, mut what: Value, shape: impl FnOnce(&mut HeaderDraft)) -> Envelope {
        (what["precedence"], what["label"]) = (json!("PRIORITY"), json!("UNCLASSIFIED"));
        let read = Notice::from_json(what.to_string().as_bytes(), &policy(), now()).unwrap();
        let replaced =
            NoticeRef { notice_id: about.header().notice_id, header_digest: about.header_digest() };
        let portions = read.with_replaces(vec![replaced]).unwrap().portions();
        assert_eq!(portions.len(), 1);
        self.office.exchange.envelope("ken/ncb", &["fra/ncb"], &portions[0].encode(), shape)
    }

    /// Delivers it and waits until it is in the inbox.
    pub async fn receive(&self, envelope: &Envelope) -> NoticeId {
        self.deliver(envelope.encode());
        let id = envelope.header().notice_id;
        assert!(self.node.has_received(&id, LONG).await.unwrap(), "{:?}", self.status().await.set_aside);
        id
    }

    pub fn deliver(&self, envelope: impl Into<Bytes>) {
        self.broker.put("fra/ncb", PRIORITY, envelope);
    }

    pub fn client(&self) -> LocalClient {
        LocalClient::new(&self.office.config("fra/ncb", None))
    }

    pub async fn status(&self) -> NodeStatus {
        self.client().status().await.unwrap()
    }

    pub async fn shown(&self) -> Vec<NoticeId> {
        self.client().inbox(1000).await.unwrap().into_iter().map(|entry| entry.notice_id).collect()
    }

    /// Waits until everything that was delivered has been acknowledged.
    pub async fn all_acknowledged(&self) {
        let left = async || {
            let left = self.broker.unacknowledged("fra/ncb");
            if left == 0 { Ok(()) } else { Err((left, self.node.desk().link())) }
        };
        until("the acknowledgement of every delivery", left).await;
    }

    /// Checks that what was delivered was set aside for `reason`, so often, and that nobody is shown any of it.
    pub async fn is_set_aside(&self, times: usize, reason: &str) {
        self.all_acknowledged().await;
        let aside = self.status().await.set_aside;
        assert_eq!(aside.len(), times, "{aside:?}");
        assert!(
            aside.iter().all(|one| one.reason.contains(reason)),
            "`{reason}` is not the reason: {aside:?}"
        );
        assert_eq!(self.shown().await, [], "something is shown that should not be");
    }

    /// Delivers the true notice and checks that it alone is shown, once, and that its originator is told.
    pub async fn then_the_true_one_is_shown(self, notice: &Envelope) {
        let id = notice.header().notice_id;
        self.deliver(notice.encode());
        assert!(self.node.has_received(&id, LONG).await.unwrap(), "{:?}", self.status().await);
        self.all_acknowledged().await;
        assert_eq!(self.shown().await, [id]);
        let opened = self.client().read(&id, "Officer A. Example").await.unwrap();
        assert_eq!(opened.opened.len(), 1, "it cannot be read");
        self.node.stop().await;
    }

    /// Waits until the node has begun so many sessions, the first included, and is connected.
    pub async fn sessions(&self, count: usize) {
        let begun = async || {
            let begun = self.broker.held.lock().unwrap().sessions;
            or(begun >= count, begun, begun)
        };
        until("another session", begun).await;
        assert!(self.node.connected(LONG).await, "not connected: {:?}", self.node.desk().link());
    }

    /// Says something on the session stream, and waits until the node has dealt with it: it ends the session at the
    /// goodbye that follows, and comes back.
    pub async fn say_and_part(&self, publication: Publication) {
        let before = self.broker.held.lock().unwrap().sessions;
        self.broker.say(SessionFrame::Publication(publication));
        self.broker.say(SessionFrame::Goodbye(None));
        self.sessions(before + 1).await;
    }

    pub fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.office.data("fra/ncb").join(name)).unwrap()
    }
}
