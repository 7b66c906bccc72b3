//! Delivery: which items of an inbox go out on a receive stream, and when.
//!
//! A stream is idle, waiting for the store, or waiting for its bytes to be written; one batch of items is in memory
//! per stream at any time (G10). An item leaves the inbox only by an acknowledgement from the stream it went out on,
//! so a crash or a lost connection costs nothing but a redelivery (G4, G5).

use std::collections::BTreeSet;

use valise_proto::envelope::Precedence;
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::session::{Cursor, Delivery, Item};

use super::{Core, Effect, Loaded, LoadedItem, SessionId, StreamId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Loading,
    Writing,
}

#[derive(Debug)]
pub(super) struct ReceiveStream {
    pub(super) session: SessionId,
    agency: AgencyId,
    precedence: Precedence,
    window: usize,
    phase: Phase,
    /// The last item read from the inbox.
    after: Cursor,
    /// Whether the inbox may hold more than was read.
    more: bool,
    /// Delivered and not acknowledged.
    outstanding: BTreeSet<Cursor>,
    /// Whether items were passed over that a newer directory may permit.
    withheld: bool,
    /// Whether to read from the beginning again when the load under way is done.
    restart: bool,
}

impl ReceiveStream {
    fn begin_again(&mut self) {
        self.after = Cursor::default();
        self.more = true;
    }
}

impl Core {
    /// An agency opened a receive stream. It takes the place of an older one for the same inbox.
    pub fn handle_receive(
        &mut self,
        session: SessionId,
        stream: StreamId,
        precedence: Precedence,
        window: u32,
        now: Timestamp,
    ) {
        let Some(known) = self.sessions.get(&session) else { return };
        let agency = known.agency.clone();
        if let Some(older) = self.serving.insert((agency.clone(), precedence), stream) {
            self.streams.remove(&older);
            self.effects.push_back(Effect::CloseStream { stream: older });
        }
        let window =
            usize::try_from(window).unwrap_or(usize::MAX).clamp(1, self.policy.limits.unacknowledged_max);
        let state = ReceiveStream {
            session,
            agency,
            precedence,
            window,
            phase: Phase::Idle,
            after: Cursor::default(),
            more: true,
            outstanding: BTreeSet::new(),
            withheld: false,
            restart: false,
        };
        self.streams.insert(stream, state);
        self.load_if_possible(stream, now);
    }

    /// A receive stream ended.
    pub fn handle_stream_closed(&mut self, stream: StreamId) {
        self.forget_stream(stream);
    }

    /// Items were committed to inboxes.
    pub fn handle_queued(&mut self, queued: &[(AgencyId, Precedence)], now: Timestamp) {
        for inbox in queued {
            if let Some(stream) = self.serving.get(inbox).copied() {
                if let Some(state) = self.streams.get_mut(&stream) {
                    state.more = true;
                }
                self.load_if_possible(stream, now);
            }
        }
    }

    /// The store answered an [`Effect::Load`]: decides, item by item, what goes out. `more` says whether the inbox goes
    /// on after these items.
    pub fn handle_loaded(&mut self, stream: StreamId, items: Vec<Loaded>, more: bool, now: Timestamp) {
        let Some(state) = self.streams.get_mut(&stream) else { return };
        // What was queued in the meantime has set `more` since the load began.
        state.more |= more;
        let mut deliveries = Vec::with_capacity(items.len());
        for Loaded { cursor, item } in items {
            state.after = state.after.max(cursor);
            if state.outstanding.contains(&cursor) {
                continue;
            }
            let item = match item {
                LoadedItem::Envelope(envelope) => {
                    let permitted = self.policy.deliverable(&state.agency, envelope.header(), now);
                    if permitted.is_empty() {
                        state.withheld = true;
                        continue;
                    }
                    Item::Envelope(Box::new(envelope.for_recipient(&state.agency, &permitted)))
                }
                LoadedItem::Receipt(receipt) => Item::Receipt(receipt),
                LoadedItem::Unreadable => continue,
            };
            state.outstanding.insert(cursor);
            deliveries.push(Delivery { cursor, item });
        }
        if std::mem::take(&mut state.restart) {
            state.begin_again();
        }
        if deliveries.is_empty() {
            state.phase = Phase::Idle;
            self.load_if_possible(stream, now);
        } else {
            state.phase = Phase::Writing;
            self.effects.push_back(Effect::Deliver { stream, deliveries });
        }
    }

    /// The deliveries of an [`Effect::Deliver`] were written to the stream.
    pub fn handle_written(&mut self, stream: StreamId, now: Timestamp) {
        if let Some(state) = self.streams.get_mut(&stream) {
            state.phase = Phase::Idle;
            self.load_if_possible(stream, now);
        }
    }

    /// The agency holds these items on stable storage.
    pub fn handle_ack(&mut self, stream: StreamId, cursors: Vec<Cursor>, now: Timestamp) {
        let Some(state) = self.streams.get_mut(&stream) else { return };
        if let Some(unknown) = cursors.iter().find(|cursor| !state.outstanding.contains(cursor)) {
            let detail = format!("item {unknown} was acknowledged but not delivered on this stream");
            let session = state.session;
            return self.close(session, Some(Refusal::new(RefusalCode::Malformed, detail)));
        }
        for cursor in &cursors {
            state.outstanding.remove(cursor);
        }
        if !cursors.is_empty() {
            let (agency, precedence) = (state.agency.clone(), state.precedence);
            self.effects.push_back(Effect::Acknowledge { agency, precedence, cursors });
        }
        self.load_if_possible(stream, now);
    }

    pub(super) fn forget_stream(&mut self, stream: StreamId) {
        if let Some(state) = self.streams.remove(&stream) {
            let inbox = (state.agency, state.precedence);
            if self.serving.get(&inbox) == Some(&stream) {
                self.serving.remove(&inbox);
            }
        }
    }

    /// After a new directory: what was passed over may be permitted now. Reading starts again from the oldest item;
    /// those outstanding are not sent twice.
    pub(super) fn reconsider_withheld(&mut self, now: Timestamp) {
        let streams: Vec<StreamId> = self.streams.keys().copied().collect();
        for stream in streams {
            if let Some(state) = self.streams.get_mut(&stream)
                && state.withheld
            {
                state.withheld = false;
                state.restart = state.phase == Phase::Loading;
                state.begin_again();
            }
            self.load_if_possible(stream, now);
        }
    }

    fn load_if_possible(&mut self, stream: StreamId, now: Timestamp) {
        // Nothing goes out by a directory that has expired; a new one comes through here again.
        if self.policy.check_directory(now).is_err() {
            return;
        }
        let Some(state) = self.streams.get_mut(&stream) else { return };
        let room = state.window.saturating_sub(state.outstanding.len());
        if state.phase != Phase::Idle || !state.more || room == 0 {
            return;
        }
        state.phase = Phase::Loading;
        state.more = false;
        self.effects.push_back(Effect::Load {
            stream,
            agency: state.agency.clone(),
            precedence: state.precedence,
            after: state.after,
            count: room.min(self.limits.load_items_max),
        });
    }
}
