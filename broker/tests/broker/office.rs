//! A broker in this process and agencies that speak the wire to it, frame by frame.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use valise_broker::config::Config;
use valise_broker::server::{Broker, QueueDepth, StartError, Status};
use valise_broker::store::StoreError;
use valise_proto::crypto::{VerifyingKey, sha256};
use valise_proto::envelope::{Envelope, Precedence};
use valise_proto::id::AgencyId;
use valise_proto::label::Classification;
use valise_proto::receipt::{ReceiptKind, SignedReceipt};
use valise_proto::refusal::RefusalCode;
use valise_proto::wire::limits::{
    DELIVERY_OVERHEAD_BYTES, Limits, PUBLICATION_BYTES_MAX, SUBMITTED_BYTES_MAX,
};
use valise_proto::wire::session::{
    Ack, Answer, Cursor, Delivery, Hello, Item, Publication, Query, SessionFrame, StreamOpen, Submitted,
    VERSION, Welcome,
};
use valise_transport::{
    Anchors, Client, CloseReason, ConnectError, Connection, Credentials, FrameReceiver, FrameSender, Options,
    Transport,
};

use crate::fixture::{Exchange, Issued, agency};

/// Longest wait for anything.
pub const LONG: Duration = Duration::from_secs(20);

/// Serial number of the broker's certificate; agencies have 101 and up.
pub const BROKER_SERIAL: u64 = 100;

/// Waits for something that must come.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// An exchange with its files in a temporary folder.
pub struct Office {
    pub exchange: Exchange,
    pub config: Config,
    temp: tempfile::TempDir,
    certificates: BTreeMap<AgencyId, Issued>,
}

impl Office {
    pub fn new(agencies: &[(&str, Classification)]) -> Self {
        let exchange = Exchange::new(agencies);
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        let mut config =
            Config::new("127.0.0.1:0".parse().unwrap(), at("data"), at("identity"), at("published"));
        config.reload_interval = Duration::from_millis(20);
        std::fs::create_dir_all(at("identity")).unwrap();
        std::fs::create_dir_all(at("published")).unwrap();
        let identities = agencies.iter().map(|(name, _)| exchange.identity(name));
        let certificates = identities
            .zip(BROKER_SERIAL + 1..)
            .map(|(identity, serial)| {
                (identity.as_agency().unwrap().clone(), exchange.issue(&identity, serial))
            })
            .collect();
        let office = Self { config, temp, certificates, exchange };
        office.write(&office.config.trust, office.exchange.trust().to_pem().as_bytes());
        office.certify(&office.exchange.issue(&office.exchange.broker(), BROKER_SERIAL));
        let key = office.exchange.receipt_key.to_pkcs8_pem().unwrap();
        office.write_secret(&office.config.receipt_key, key.as_bytes());
        office.publish();
        office.publish_crl(1, &[]);
        office
    }

    /// Three agencies, cleared for SECRET, SECRET and RESTRICTED.
    pub fn of_three() -> Self {
        Self::new(&[
            ("ken/ncb", Classification::Secret),
            ("fra/ncb", Classification::Secret),
            ("tur/border", Classification::Restricted),
        ])
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// The configuration as a file.
    pub fn config_file(&self) -> PathBuf {
        let Config { listen, data, certificates, tls_key, receipt_key, trust, publication, .. } =
            &self.config;
        let text = format!(
            "listen = '{listen}'\ndata = {data:?}\ncertificates = {certificates:?}\ntls_key = {tls_key:?}\n\
             receipt_key = {receipt_key:?}\ntrust = {trust:?}\npublication = {publication:?}\n"
        );
        let path = self.path("broker.toml");
        self.write(&path, text.as_bytes());
        path
    }

    /// Puts a file in place as the authority's tool does: whole.
    pub fn write(&self, path: &Path, bytes: &[u8]) {
        let new = path.with_extension("new");
        std::fs::write(&new, bytes).unwrap();
        std::fs::rename(&new, path).unwrap();
    }

    pub fn write_secret(&self, path: &Path, bytes: &[u8]) {
        use std::os::unix::fs::PermissionsExt;
        self.write(path, bytes);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Installs a certificate for the broker.
    pub fn certify(&self, issued: &Issued) {
        self.write(&self.config.certificates, issued.chain.as_bytes());
        self.write_secret(&self.config.tls_key, issued.key.as_bytes());
    }

    /// Publishes the directory as it is now.
    pub fn publish(&self) {
        self.write(&self.config.directory(), self.exchange.directory().encoded());
    }

    /// Has the root name these issuing authorities as those that sign revocation lists too, and publishes.
    pub fn name_issuers(&mut self, issuers: &[&rcgen::CertifiedIssuer<'static, rcgen::KeyPair>]) {
        let key = |issuer: &&rcgen::CertifiedIssuer<'static, rcgen::KeyPair>| {
            VerifyingKey::from_bytes(issuer.key().public_key_raw()).unwrap()
        };
        let mut delegation = self.exchange.content.delegation.delegation().clone();
        delegation.former_issuing_keys = issuers.iter().map(key).collect();
        self.exchange.content.delegation = delegation.sign(&self.exchange.root_key);
        self.publish();
    }

    pub fn publish_crl(&self, number: u64, revoked: &[u64]) {
        self.publish_crl_der(&self.exchange.crl(number, revoked));
    }

    pub fn publish_crl_der(&self, crl: &Bytes) {
        self.publish_crls(std::slice::from_ref(crl));
    }

    pub fn publish_crls(&self, crls: &[Bytes]) {
        let blocks: Vec<_> = crls.iter().map(|crl| pem::Pem::new("X509 CRL", crl.to_vec())).collect();
        self.write(&self.config.crls(), pem::encode_many(&blocks).as_bytes());
    }

    /// Starts it. A store that was just closed is held by its threads for a moment more.
    pub async fn start(&self) -> Broker {
        let started = async {
            loop {
                match Broker::start(self.config.clone()).await {
                    Err(StartError::Store(StoreError::InUse { .. })) => tokio::task::yield_now().await,
                    started => return started.unwrap(),
                }
            }
        };
        soon("the start of the broker", started).await
    }

    /// Connects with this certificate and says nothing yet.
    pub async fn dial_as(&self, broker: &Broker, certificate: &Issued) -> Result<Connection, ConnectError> {
        let trust = self.exchange.trust();
        let crls = vec![self.exchange.crl(1, &[])];
        let anchors = Anchors::new(trust.trust_domain, &trust.anchors, &crls).unwrap();
        let credentials =
            Credentials::from_pem(certificate.chain.as_bytes(), certificate.key.as_bytes()).unwrap();
        let client = Client::new(&Transport::new(credentials, anchors, Options::default()));
        let endpoint = broker.local_addr().to_string();
        soon("a connection", client.connect(&endpoint, Some(&"b1".parse().unwrap()))).await
    }

    /// Connects as an agency and says nothing yet.
    pub async fn dial(&self, broker: &Broker, name: &str) -> Connection {
        self.dial_as(broker, &self.certificates[&agency(name)]).await.unwrap()
    }

    /// Connects as an agency and greets.
    pub async fn connect(&self, broker: &Broker, name: &str) -> Agency {
        Agency::greet(self.dial(broker, name).await).await
    }

    /// A signed receipt's statement, after checking that everybody would accept it.
    pub fn check(&self, receipt: &SignedReceipt) -> Result<(), RefusalCode> {
        receipt.verify(&self.exchange.directory()).expect("the receipt verifies");
        let receipt = receipt.receipt();
        assert_eq!(receipt.issuer, self.exchange.broker());
        match (&receipt.kind, &receipt.refusal) {
            (ReceiptKind::Accepted, None) => Ok(()),
            (ReceiptKind::Refused, Some(refusal)) => {
                assert!(refusal.detail.len() > 10, "no sentence: {refusal}");
                Err(refusal.code)
            }
            (kind, refusal) => panic!("a receipt of kind {kind} with refusal {refusal:?}"),
        }
    }
}

pub fn hello(versions: Vec<u32>) -> StreamOpen {
    StreamOpen::Session(Hello { versions, software: "test".to_owned(), directory_version: 0 })
}

/// An agency's connection, after the welcome.
pub struct Agency {
    pub connection: Connection,
    pub welcome: Welcome,
    session: (FrameSender, FrameReceiver),
}

impl Agency {
    pub async fn greet(connection: Connection) -> Self {
        let mut session = open(&connection, &hello(vec![VERSION])).await;
        let first = soon("the welcome", session.1.next()).await.unwrap().expect("a welcome");
        let SessionFrame::Welcome(welcome) = SessionFrame::decode(first).unwrap() else {
            panic!("no welcome")
        };
        session.1.set_cap(PUBLICATION_BYTES_MAX);
        let mut agency = Self { connection, welcome, session };
        agency.publication().await;
        agency
    }

    pub async fn session_frame(&mut self) -> SessionFrame {
        let frame = soon("a session frame", self.session.1.next()).await.unwrap().expect("a session frame");
        SessionFrame::decode(frame).unwrap()
    }

    /// Says that nothing more will come on the session stream.
    pub fn finish_session(&mut self) {
        self.session.0.finish();
    }

    pub async fn publication(&mut self) -> Publication {
        match self.session_frame().await {
            SessionFrame::Publication(publication) => publication,
            other => panic!("no publication but {other:?}"),
        }
    }

    /// The code of the goodbye; `None` for an end in order.
    pub async fn goodbye(&mut self) -> Option<RefusalCode> {
        loop {
            match self.session_frame().await {
                SessionFrame::Goodbye(reason) => return reason.map(|reason| reason.code),
                SessionFrame::Publication(_) => {}
                SessionFrame::Welcome(_) => panic!("a second welcome"),
            }
        }
    }

    pub async fn submit(&self, precedence: Precedence) -> SubmitStream {
        let (sender, mut receiver) = open(&self.connection, &StreamOpen::Submit(precedence)).await;
        receiver.set_cap(SUBMITTED_BYTES_MAX);
        SubmitStream { sender, receiver, sent: 0 }
    }

    /// Submits one envelope on a stream of its own precedence.
    pub async fn send(&self, envelope: &Envelope) -> SignedReceipt {
        self.submit(envelope.header().precedence).await.ask(envelope.encode()).await
    }

    pub async fn receive(&self, precedence: Precedence, window: u32) -> ReceiveStream {
        let (sender, mut receiver) =
            open(&self.connection, &StreamOpen::Receive { precedence, window }).await;
        receiver.set_cap(Limits::DEFAULT.envelope_bytes_max + DELIVERY_OVERHEAD_BYTES);
        ReceiveStream { sender, receiver }
    }

    pub async fn query(&self, query: Query) -> Answer {
        let (_sender, mut receiver) = open(&self.connection, &StreamOpen::Query(query)).await;
        receiver.set_cap(PUBLICATION_BYTES_MAX);
        Answer::decode(soon("an answer", receiver.next()).await.unwrap().unwrap()).unwrap()
    }

    pub async fn closed(&self) -> CloseReason {
        soon("the connection's end", self.connection.closed()).await
    }
}

/// The refusal by which the broker closed a connection.
pub fn code_of(reason: &CloseReason) -> Option<RefusalCode> {
    let CloseReason::Peer { code, text } = reason else { panic!("not closed by the broker: {reason}") };
    assert!(!text.is_empty(), "closed without a sentence");
    RefusalCode::from_number(u32::try_from(*code).unwrap())
}

pub async fn open(connection: &Connection, first: &StreamOpen) -> (FrameSender, FrameReceiver) {
    let (mut sender, receiver) = soon("a stream", connection.open(PUBLICATION_BYTES_MAX, 0)).await.unwrap();
    sender.send(first.encode()).await.unwrap();
    (sender, receiver)
}

pub struct SubmitStream {
    pub sender: FrameSender,
    pub receiver: FrameReceiver,
    sent: u64,
}

impl SubmitStream {
    pub async fn send(&mut self, frame: Bytes) -> u64 {
        self.sender.send(frame).await.unwrap();
        self.sent += 1;
        self.sent - 1
    }

    pub async fn answer(&mut self) -> (u64, SignedReceipt) {
        let frame = soon("an answer", self.receiver.next()).await.unwrap().expect("an answer");
        let Submitted { ordinal, receipt } = Submitted::decode(frame).unwrap();
        (ordinal, SignedReceipt::from_signed(receipt).unwrap())
    }

    pub async fn ask(&mut self, frame: Bytes) -> SignedReceipt {
        let about = sha256(&[&frame]);
        let header =
            Envelope::decode(frame.clone(), &Limits::DEFAULT).ok().map(|envelope| envelope.header_digest());
        let ordinal = self.send(frame).await;
        let (answered, receipt) = self.answer().await;
        assert_eq!(answered, ordinal);
        assert_eq!(
            receipt.receipt().header_digest,
            header.unwrap_or(about),
            "the receipt is about something else"
        );
        receipt
    }
}

pub struct ReceiveStream {
    pub sender: FrameSender,
    pub receiver: FrameReceiver,
}

impl ReceiveStream {
    pub async fn next(&mut self) -> Delivery {
        let frame = soon("a delivery", self.receiver.next()).await.unwrap().expect("a delivery");
        Delivery::decode(frame).unwrap()
    }

    /// The next delivery, which must be an envelope.
    pub async fn envelope(&mut self) -> (Cursor, Envelope) {
        match self.next().await {
            Delivery { cursor, item: Item::Envelope(envelope) } => (cursor, *envelope),
            Delivery { item: Item::Receipt(receipt), .. } => panic!("a receipt came: {receipt:?}"),
        }
    }

    pub async fn ack(&mut self, cursor: Cursor) {
        self.sender.send(Ack { cursors: vec![cursor] }.encode()).await.unwrap();
    }
}

/// How many items stand in the inboxes of an agency.
pub fn depth(status: &Status, name: &str) -> usize {
    let of_agency = |queue: &&QueueDepth| queue.agency == agency(name);
    status.queues.iter().filter(of_agency).map(|queue| queue.items).sum()
}

/// Waits until the broker's status is as wanted.
pub async fn until(broker: &Broker, what: &str, met: impl Fn(&Status) -> bool) -> Status {
    soon(what, async {
        loop {
            let status = broker.status().await.unwrap();
            if met(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}
