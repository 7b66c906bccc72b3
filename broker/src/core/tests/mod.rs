//! Stories of the core, with inboxes in memory.

mod admission;
mod delivery;
mod rate;
mod sessions;

use std::collections::BTreeMap;
use std::sync::Arc;

use valise_proto::envelope::{Envelope, Precedence};
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::label::Classification;
use valise_proto::refusal::RefusalCode;
use valise_proto::wire::limits::Limits;
use valise_proto::wire::session::{Cursor, Delivery, Hello, Item, Publication, SessionFrame, VERSION};

use super::{Core, CoreLimits, Effect, Loaded, LoadedItem, Policy, SessionId, StreamId};
use crate::fixture::{Exchange, agency};

const PRIORITY: Precedence = Precedence::Priority;

fn three() -> Exchange {
    Exchange::new(&[
        ("ken/ncb", Classification::Secret),
        ("fra/ncb", Classification::Secret),
        ("tur/border", Classification::Restricted),
    ])
}

/// A core whose effects are carried out on inboxes in memory.
struct Desk {
    exchange: Exchange,
    core: Core,
    now: Timestamp,
    inboxes: BTreeMap<(AgencyId, Precedence), BTreeMap<Cursor, LoadedItem>>,
    next: u64,
    /// What each session was sent.
    frames: BTreeMap<SessionId, Vec<SessionFrame>>,
    /// What was delivered on each stream.
    delivered: BTreeMap<StreamId, Vec<Delivery>>,
    /// Which sessions were closed, and why.
    closed: BTreeMap<SessionId, Option<RefusalCode>>,
    closed_streams: Vec<StreamId>,
    sweeps: Vec<Timestamp>,
    /// Loads and deliveries that are held back, for stories about what happens meanwhile.
    held: Option<Vec<Effect>>,
}

impl Desk {
    fn new(exchange: Exchange) -> Self {
        Self::with(exchange, CoreLimits::default())
    }

    fn with(exchange: Exchange, limits: CoreLimits) -> Self {
        let policy = Policy { directory: Arc::new(exchange.directory()), limits: Limits::DEFAULT };
        let now = exchange.start;
        Self {
            core: Core::new(policy, publication(&exchange), limits, now),
            exchange,
            now,
            inboxes: BTreeMap::new(),
            next: 1,
            frames: BTreeMap::new(),
            delivered: BTreeMap::new(),
            closed: BTreeMap::new(),
            closed_streams: Vec::new(),
            sweeps: Vec::new(),
            held: None,
        }
    }

    /// Connects and greets.
    fn connect(&mut self, name: &str) -> SessionId {
        let session = self.dial(name);
        self.core.handle_hello(session, &hello(vec![VERSION]), self.now);
        self.run();
        session
    }

    fn dial(&mut self, name: &str) -> SessionId {
        let session = SessionId(self.number());
        self.core.handle_connected(session, agency(name), self.now);
        self.run();
        session
    }

    fn receive(&mut self, session: SessionId, window: u32) -> StreamId {
        let stream = StreamId(self.number());
        self.core.handle_receive(session, stream, PRIORITY, window, self.now);
        self.run();
        stream
    }

    fn ack(&mut self, stream: StreamId, cursors: &[Cursor]) {
        self.core.handle_ack(stream, cursors.to_vec(), self.now);
        self.run();
    }

    /// Admits an envelope, puts it into its recipients' inboxes as a commit does, and says so.
    fn accept(&mut self, envelope: &Envelope) -> Cursor {
        let header = envelope.header();
        let admitted =
            self.core.policy().admit(&header.originator, header.precedence, envelope.encode(), self.now);
        admitted.unwrap_or_else(|(_, refusal)| panic!("{refusal}"));
        let cursor = Cursor::new(self.number());
        let mut queued = Vec::new();
        for recipient in &header.recipients {
            let item = LoadedItem::Envelope(Box::new(envelope.clone()));
            self.inboxes.entry((recipient.clone(), header.precedence)).or_default().insert(cursor, item);
            queued.push((recipient.clone(), header.precedence));
        }
        self.core.handle_queued(&queued, self.now);
        self.run();
        cursor
    }

    /// Puts a notice of `ken/ncb` into the inbox of `fra/ncb` and does not say so yet.
    fn accept_unannounced(&mut self) -> Cursor {
        let envelope = self.exchange.envelope("ken/ncb", &["fra/ncb"]);
        let cursor = Cursor::new(self.number());
        let inbox = self.inboxes.entry((agency("fra/ncb"), PRIORITY)).or_default();
        inbox.insert(cursor, LoadedItem::Envelope(Box::new(envelope)));
        cursor
    }

    /// Publishes the exchange's directory as it is now.
    fn publish(&mut self) {
        let directory = Arc::new(self.exchange.directory());
        self.core.handle_publication(directory, publication(&self.exchange), self.now);
        self.run();
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Carries out what the core wants until it wants nothing more.
    fn run(&mut self) {
        while let Some(effect) = self.core.next_effect() {
            let slow = matches!(effect, Effect::Load { .. } | Effect::Deliver { .. });
            match &mut self.held {
                Some(held) if slow => held.push(effect),
                Some(_) | None => self.carry_out(effect),
            }
        }
    }

    /// Carries out what was held back, and holds nothing back any more.
    fn release(&mut self) {
        for effect in self.held.take().unwrap_or_default() {
            self.carry_out(effect);
        }
        self.run();
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Send { session, frame } => self.frames.entry(session).or_default().push(*frame),
            Effect::Close { session, reason } => {
                self.closed.insert(session, reason.map(|reason| reason.code));
            }
            Effect::CloseStream { stream } => self.closed_streams.push(stream),
            Effect::Load { stream, agency, precedence, after, count } => {
                let inbox = self.inboxes.get(&(agency, precedence)).into_iter().flatten();
                let rest: Vec<_> = inbox.filter(|(cursor, _)| **cursor > after).collect();
                let more = rest.len() > count;
                let loaded =
                    |(cursor, item): (&Cursor, &LoadedItem)| Loaded { cursor: *cursor, item: item.clone() };
                let items = rest.into_iter().take(count).map(loaded).collect();
                self.core.handle_loaded(stream, items, more, self.now);
            }
            Effect::Deliver { stream, deliveries } => {
                self.delivered.entry(stream).or_default().extend(deliveries);
                self.core.handle_written(stream, self.now);
            }
            Effect::Acknowledge { agency, precedence, cursors } => {
                let inbox = self.inboxes.entry((agency, precedence)).or_default();
                inbox.retain(|cursor, _| !cursors.contains(cursor));
            }
            Effect::Sweep { now } => self.sweeps.push(now),
        }
    }

    fn cursors(&self, stream: StreamId) -> Vec<Cursor> {
        self.delivered.get(&stream).into_iter().flatten().map(|delivery| delivery.cursor).collect()
    }

    /// The numbers of the portions of the one envelope that was delivered on a stream.
    fn portions(&self, stream: StreamId) -> Vec<usize> {
        match self.delivered[&stream].as_slice() {
            [Delivery { item: Item::Envelope(envelope), .. }] => {
                envelope.portions().iter().map(|portion| portion.index.get()).collect()
            }
            other => panic!("not one envelope but {other:?}"),
        }
    }

    fn depth(&self, name: &str) -> usize {
        self.inboxes.iter().filter(|((of, _), _)| *of == agency(name)).map(|(_, items)| items.len()).sum()
    }
}

fn publication(exchange: &Exchange) -> Publication {
    Publication { directory: exchange.directory().encoded().clone(), crls: Vec::new() }
}

fn hello(versions: Vec<u32>) -> Hello {
    Hello { versions, software: "test".to_owned(), directory_version: 0 }
}
