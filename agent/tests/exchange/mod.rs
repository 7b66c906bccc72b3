//! A broker of a few lines, so that nodes can be tested over real connections without the real one. It accepts what
//! verifies, delivers what is permitted, and forgets everything when it is dropped. It can be told to do wrong: to
//! deliver any bytes ([`Broker::put`]), to say anything ([`Broker::say`]), to lie in its answers ([`Held::lies`]).

#![allow(
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "shared by several tests; tests stop at the first surprise"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{broadcast, watch};
use valise_agent::config::Config;
use valise_agent::folder::Folder;
use valise_agent::node::{Node, NodeHandle, NodeOptions};
use valise_agent::vault::Vault;
use valise_agent::{clock, enrol};
use valise_proto::crypto::SigningKey;
use valise_proto::directory::Directory;
use valise_proto::envelope::{Envelope, Precedence};
use valise_proto::id::{AgencyId, NoticeId, SpiffeId};
use valise_proto::label::Classification;
use valise_proto::receipt::{Receipt, ReceiptKind, SignedReceipt};
use valise_proto::refusal::Refusal;
use valise_proto::renewal::SignedRenewalRequest;
use valise_proto::wire::limits::{Limits, STREAM_OPEN_BYTES_MAX};
use valise_proto::wire::session::{
    Ack, Answer, Publication, Query, SessionFrame, StreamOpen, Submitted, VERSION, Welcome,
};
use valise_transport::{
    Anchors, CertificateError, Connection, Credentials, FrameReceiver, FrameSender, Options, Server,
    Transport,
};

use crate::fixture::{AGENCY_SERIAL, Exchange, now};

/// Serial number of the broker's certificate.
pub const BROKER_SERIAL: u64 = 77;

/// A false answer, made of the true one and the broker's key.
pub type Lie = fn(Receipt, &SigningKey) -> SignedReceipt;

/// What the broker holds and what it is told to do wrong.
#[derive(Default)]
pub struct Held {
    /// How often each notice was accepted.
    pub accepted: BTreeMap<NoticeId, usize>,
    /// What stands where a delivery's item belongs, tag included.
    inbox: BTreeMap<AgencyId, BTreeMap<u64, (Precedence, Bytes)>>,
    next: u64,
    pub acknowledged: BTreeSet<u64>,
    /// Refuse so many submissions with this first.
    pub refuse: Vec<Refusal>,
    /// Deliver every notice so often.
    pub copies: usize,
    /// Answer so many submissions with these first, the last one first.
    pub lies: Vec<Lie>,
    /// Sessions that were begun.
    pub sessions: usize,
    /// How often the publication was asked for.
    pub publications: usize,
    /// Connections that are open.
    pub open: usize,
    /// Whether the connection made last showed the certificate that was issued first.
    pub first_certificate: bool,
    /// What the next welcome says.
    pub limits: Limits,
    /// Renewal requests, as often as they came.
    pub spooled: Vec<SignedRenewalRequest>,
    /// Refuse renewal requests with this.
    pub refuse_renewals: Option<Refusal>,
    /// The certificate that is served to whoever asks.
    pub chain: Vec<Bytes>,
}

#[derive(Clone)]
pub struct Broker {
    pub held: Arc<Mutex<Held>>,
    changed: watch::Sender<u64>,
    said: broadcast::Sender<SessionFrame>,
    directory: Arc<Mutex<Directory>>,
    crls: Vec<Bytes>,
    /// By these the agencies' first certificates are revoked: so the broker tells them from later ones.
    first_revoked: Arc<Anchors>,
    key: SigningKey,
    identity: SpiffeId,
    pub addr: SocketAddr,
}

impl Broker {
    /// Listens at a port of its own.
    pub fn start(exchange: &Exchange) -> Self {
        let credentials = broker_credentials(exchange);
        let trust = exchange.trust();
        let crls = vec![exchange.crl()];
        let anchors =
            |crls: &[Bytes]| Anchors::new(trust.trust_domain.clone(), &trust.anchors, crls).unwrap();
        let first_revoked = Arc::new(anchors(&[exchange.crl_of(1, &[AGENCY_SERIAL])]));
        let anchors = anchors(&crls);
        let transport = Transport::new(credentials, anchors, Options::default());
        let mut server = Server::bind(&transport, "127.0.0.1:0".parse().unwrap()).unwrap();
        let broker = Self {
            held: Arc::new(Mutex::new(Held { copies: 1, ..Held::default() })),
            changed: watch::channel(0).0,
            said: broadcast::channel(16).0,
            directory: Arc::new(Mutex::new(exchange.directory())),
            crls,
            first_revoked,
            key: exchange.broker_key.clone(),
            identity: exchange.broker(),
            addr: server.local_addr().unwrap(),
        };
        let serving = broker.clone();
        tokio::spawn(async move {
            while let Some(connection) = server.accept().await {
                tokio::spawn(serving.clone().serve(connection));
            }
        });
        broker
    }

    /// Serves another directory from now on.
    pub fn publish(&self, directory: Directory) {
        *self.directory.lock().unwrap() = directory;
    }

    /// Says this on every session stream that is open.
    pub fn say(&self, frame: SessionFrame) {
        self.said.send(frame).unwrap();
    }

    /// Delivers these bytes to an agency as if they were an envelope.
    pub fn put(&self, to: &str, precedence: Precedence, envelope: impl Into<Bytes>) {
        self.queue(&to.parse().unwrap(), precedence, field(ENVELOPE_FIELD, &envelope.into()));
    }

    /// Delivers these bytes to an agency as if they were a broker's receipt.
    pub fn put_receipt(&self, to: &str, precedence: Precedence, receipt: impl Into<Bytes>) {
        self.queue(&to.parse().unwrap(), precedence, field(RECEIPT_FIELD, &receipt.into()));
    }

    fn queue(&self, to: &AgencyId, precedence: Precedence, item: Bytes) {
        let mut held = self.held.lock().unwrap();
        let cursor = held.next;
        held.next += 1;
        held.inbox.entry(to.clone()).or_default().insert(cursor, (precedence, item));
        drop(held);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Empties the inboxes.
    pub fn withdraw_everything(&self) {
        self.held.lock().unwrap().inbox.clear();
    }

    async fn serve(self, connection: Connection) {
        let peer = connection.peer().as_agency().unwrap().clone();
        self.held.lock().unwrap().open += 1;
        let revoked = connection.check_under(&self.first_revoked);
        self.held.lock().unwrap().first_certificate = revoked == Err(CertificateError::Revoked);
        while let Ok((sender, mut receiver)) = connection.accept(STREAM_OPEN_BYTES_MAX).await {
            let (broker, peer) = (self.clone(), peer.clone());
            tokio::spawn(async move {
                let Ok(Some(frame)) = receiver.next().await else { return };
                receiver.set_cap(Limits::DEFAULT.envelope_bytes_max);
                match StreamOpen::decode(frame).unwrap() {
                    StreamOpen::Session(_) => broker.session(sender, receiver).await,
                    StreamOpen::Submit(_) => broker.submit(sender, receiver).await,
                    StreamOpen::Receive { precedence, .. } => {
                        broker.deliver(peer, precedence, sender, receiver).await;
                    }
                    StreamOpen::Query(query) => broker.answer(query, sender).await,
                }
            });
        }
        self.held.lock().unwrap().open -= 1;
    }

    fn publication(&self) -> Publication {
        Publication { directory: self.directory.lock().unwrap().encoded().clone(), crls: self.crls.clone() }
    }

    async fn session(&self, mut sender: FrameSender, mut receiver: FrameReceiver) {
        let mut said = self.said.subscribe();
        let welcome = Welcome {
            version: VERSION,
            broker_time: now(),
            directory_version: self.directory.lock().unwrap().version(),
            limits: self.held.lock().unwrap().limits.clone(),
        };
        sender.send(SessionFrame::Welcome(welcome).encode()).await.unwrap();
        self.held.lock().unwrap().sessions += 1;
        loop {
            tokio::select! {
                frame = said.recv() => {
                    let Ok(frame) = frame else { return };
                    if sender.send(frame.encode()).await.is_err() { return }
                }
                heard = receiver.next() => if !matches!(heard, Ok(Some(_))) { return },
            }
        }
    }

    async fn answer(&self, query: Query, mut sender: FrameSender) {
        let answer = match query {
            Query::Publication => {
                self.held.lock().unwrap().publications += 1;
                Answer::Publication(self.publication())
            }
            Query::NoticeStatus(_) => panic!("no node asks this"),
            Query::Renewal(bytes) => {
                let request = SignedRenewalRequest::decode(bytes).unwrap();
                let mut held = self.held.lock().unwrap();
                held.spooled.push(request.clone());
                match held.refuse_renewals.clone() {
                    Some(refusal) => Answer::Refusal(refusal),
                    None => Answer::Spooled(request.digest()),
                }
            }
            Query::Certificate => Answer::Certificate(self.held.lock().unwrap().chain.clone()),
        };
        sender.send(answer.encode()).await.unwrap();
        sender.finish_and_wait().await;
    }

    async fn submit(&self, mut sender: FrameSender, mut receiver: FrameReceiver) {
        let mut ordinal = 0;
        while let Ok(Some(frame)) = receiver.next().await {
            let receipt = self.take(Envelope::decode(frame, &Limits::DEFAULT).unwrap());
            let lie = self.held.lock().unwrap().lies.pop();
            let receipt =
                lie.map_or_else(|| receipt.clone().sign(&self.key), |lie| lie(receipt.clone(), &self.key));
            let submitted = Submitted { ordinal, receipt: receipt.signed().clone() };
            ordinal += 1;
            if sender.send(submitted.encode()).await.is_err() {
                return;
            }
        }
    }

    fn take(&self, envelope: Envelope) -> Receipt {
        let directory = self.directory.lock().unwrap().clone();
        let header = envelope.header().clone();
        let digest = envelope.header_digest();
        let mut held = self.held.lock().unwrap();
        let refusal =
            held.refuse.pop().or_else(|| envelope.clone().verify_submitted(&directory, now()).err());
        if refusal.is_none() {
            let times = held.accepted.entry(header.notice_id).or_default();
            *times += 1;
            if *times == 1 {
                for recipient in &header.recipients {
                    let permitted = header.permitted(&directory.agency(recipient).unwrap().clearance);
                    for _ in 0..held.copies {
                        let cursor = held.next;
                        held.next += 1;
                        let delivered = envelope.for_recipient(recipient, &permitted).encode();
                        let item = (header.precedence, field(ENVELOPE_FIELD, &delivered));
                        held.inbox.entry(recipient.clone()).or_default().insert(cursor, item);
                    }
                }
            }
        }
        drop(held);
        self.changed.send_modify(|count| *count += 1);
        Receipt {
            kind: if refusal.is_some() { ReceiptKind::Refused } else { ReceiptKind::Accepted },
            notice_id: Some(header.notice_id),
            header_digest: digest,
            issuer: self.identity.clone(),
            recipient: None,
            at: now(),
            officer: None,
            refusal,
            portions: Vec::new(),
            cause: None,
        }
    }

    async fn deliver(
        &self,
        agency: AgencyId,
        precedence: Precedence,
        mut sender: FrameSender,
        mut receiver: FrameReceiver,
    ) {
        let (mut changed, mut after) = (self.changed.subscribe(), None);
        loop {
            changed.mark_unchanged();
            for (cursor, item) in self.waiting(&agency, precedence, after) {
                after = Some(cursor);
                if sender.send(delivery(cursor, &item)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                _ = changed.changed() => {}
                frame = receiver.next() => {
                    let Ok(Some(frame)) = frame else { return };
                    self.acknowledge(&agency, &Ack::decode(frame).unwrap());
                }
            }
        }
    }

    fn waiting(&self, agency: &AgencyId, precedence: Precedence, after: Option<u64>) -> Vec<(u64, Bytes)> {
        let held = self.held.lock().unwrap();
        let inbox = held.inbox.get(agency).into_iter().flatten();
        let wanted =
            inbox.filter(|(cursor, (of, _))| *of == precedence && after.is_none_or(|after| **cursor > after));
        wanted.map(|(cursor, (_, item))| (*cursor, item.clone())).collect()
    }

    fn acknowledge(&self, agency: &AgencyId, ack: &Ack) {
        let mut held = self.held.lock().unwrap();
        for cursor in &ack.cursors {
            held.inbox.entry(agency.clone()).or_default().remove(&cursor.number());
            held.acknowledged.insert(cursor.number());
        }
        drop(held);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Items that an agency has not acknowledged.
    pub fn unacknowledged(&self, agency: &str) -> usize {
        self.held.lock().unwrap().inbox.get(&agency.parse().unwrap()).map_or(0, BTreeMap::len)
    }
}

/// Field numbers of a `Delivery` (PROTOCOL.md, "Streams"): written by hand here, so that anything can stand in them.
const CURSOR_FIELD: u8 = 1;
const ENVELOPE_FIELD: u8 = 2;
const RECEIPT_FIELD: u8 = 3;

fn delivery(cursor: u64, item: &Bytes) -> Bytes {
    let mut frame = Vec::with_capacity(item.len() + 11);
    if cursor > 0 {
        frame.push(CURSOR_FIELD << 3);
        varint(cursor, &mut frame);
    }
    frame.extend_from_slice(item);
    frame.into()
}

/// A length-delimited protobuf field.
pub fn field(number: u8, bytes: &[u8]) -> Bytes {
    let mut out = vec![number << 3 | 2];
    varint(u64::try_from(bytes.len()).unwrap(), &mut out);
    out.extend_from_slice(bytes);
    out.into()
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap());
}

fn broker_credentials(exchange: &Exchange) -> Credentials {
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI(exchange.broker().to_string().try_into().unwrap())];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    params.serial_number = Some(rcgen::SerialNumber::from(BROKER_SERIAL));
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let leaf = params.signed_by(&key, &exchange.authority).unwrap();
    Credentials::from_pem(leaf.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
}

/// Agencies with data folders of their own, which have joined an exchange.
pub struct Office {
    pub exchange: Exchange,
    temp: tempfile::TempDir,
}

impl Office {
    pub fn new(agencies: &[(&str, Classification)]) -> Self {
        Self::with_writers(&[], agencies)
    }

    /// The same with agencies that have no node: what they would write, the exchange's keys write.
    pub fn with_writers(writers: &[(&str, Classification)], agencies: &[(&str, Classification)]) -> Self {
        Self::of(Exchange::new(writers), agencies)
    }

    /// Agencies with data folders of their own, which have joined this exchange.
    pub fn of(exchange: Exchange, agencies: &[(&str, Classification)]) -> Self {
        let mut office = Self { exchange, temp: tempfile::tempdir().unwrap() };
        let domain = office.exchange.content.trust_domain.clone();
        let requests: Vec<_> = agencies
            .iter()
            .map(|(name, class)| {
                let folder = Folder::new(office.data(name));
                let request = enrol::init(&folder, domain.clone(), name.parse().unwrap(), now()).unwrap();
                office.exchange.enrol(&request, *class);
                (folder, request)
            })
            .collect();
        for (folder, request) in requests {
            enrol::join(&folder, &office.exchange.bundle(&request), clock::Clock::system().now()).unwrap();
        }
        office
    }

    pub fn data(&self, agency: &str) -> PathBuf {
        self.temp.path().join(agency.replace('/', "-"))
    }

    pub fn config(&self, agency: &str, broker: Option<&Broker>) -> Config {
        let mut config = Config::for_folder(Folder::new(self.data(agency)));
        if let Some(broker) = broker {
            config.brokers = BTreeMap::from([("b1".parse().unwrap(), vec![broker.addr.to_string()])]);
        }
        config
    }

    pub fn vault(&self, agency: &str) -> Vault {
        Vault::open(&Folder::new(self.data(agency))).unwrap()
    }

    pub async fn start(&self, agency: &str, broker: Option<&Broker>) -> NodeHandle {
        let options = NodeOptions { offline: broker.is_none(), ..NodeOptions::default() };
        Node::start(self.config(agency, broker), options).await.unwrap()
    }

    pub fn path(&self) -> &Path {
        self.temp.path()
    }
}
