//! The broker's logic without I/O: sessions, admission, inboxes, delivery, expiry.
//!
//! Inputs go in through `handle_*`, each with the time it happened; [`Core::next_effect`] says what to do about it.
//! The shell carries the effects out and reports back. Nothing here reads a clock, a socket or a file, so the
//! simulator can run it.

mod admission;
mod delivery;
mod rate;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use admission::{About, FollowUp, Policy};
use delivery::ReceiveStream;
pub use rate::{Accounts, Rate, Rates, Verdict};
use valise_proto::directory::Directory;
use valise_proto::envelope::{Envelope, Precedence};
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::receipt::SignedReceipt;
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::session::{Cursor, Delivery, Hello, Publication, SessionFrame, VERSION, Welcome};

/// One connection of an agency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// One receive stream of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Limits that are the broker's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreLimits {
    /// Connections one agency may have at a time.
    pub connections_per_agency_max: usize,
    /// Items read from an inbox at a time.
    pub load_items_max: usize,
    /// How often expired notices are looked for.
    pub sweep_interval: Duration,
}

impl Default for CoreLimits {
    fn default() -> Self {
        Self { connections_per_agency_max: 4, load_items_max: 64, sweep_interval: Duration::from_secs(10) }
    }
}

/// What the shell is to do.
#[derive(Debug)]
pub enum Effect {
    /// Send a frame on a session stream.
    Send {
        /// Where.
        session: SessionId,
        /// What.
        frame: Box<SessionFrame>,
    },
    /// Say goodbye and close a connection.
    Close {
        /// Which.
        session: SessionId,
        /// Why; `None` for a shutdown in order.
        reason: Option<Refusal>,
    },
    /// End a receive stream: another one took its place, or its peer broke the rules.
    CloseStream {
        /// Which.
        stream: StreamId,
    },
    /// Read an inbox and report with [`Core::handle_loaded`].
    Load {
        /// For which stream.
        stream: StreamId,
        /// Whose inbox.
        agency: AgencyId,
        /// Which precedence.
        precedence: Precedence,
        /// Items after this one.
        after: Cursor,
        /// At most so many.
        count: usize,
    },
    /// Write deliveries to a receive stream and report with [`Core::handle_written`].
    Deliver {
        /// Where.
        stream: StreamId,
        /// What, in this order.
        deliveries: Vec<Delivery>,
    },
    /// Remove acknowledged items from an inbox.
    Acknowledge {
        /// Whose inbox.
        agency: AgencyId,
        /// Which precedence.
        precedence: Precedence,
        /// Which items.
        cursors: Vec<Cursor>,
    },
    /// Delete what has expired by now, leaving EXPIRED receipts.
    Sweep {
        /// Now.
        now: Timestamp,
    },
}

/// Something read from an inbox.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its place.
    pub cursor: Cursor,
    /// What it is.
    pub item: LoadedItem,
}

/// What an inbox holds.
#[derive(Clone, Debug)]
pub enum LoadedItem {
    /// A notice as it was accepted, whole.
    Envelope(Box<Envelope>),
    /// An EXPIRED receipt for this agency.
    Receipt(Box<SignedReceipt>),
    /// A record that cannot be read; it is left where it is.
    Unreadable,
}

#[derive(Debug)]
struct Session {
    agency: AgencyId,
    welcomed: bool,
}

/// The state machine.
#[derive(Debug)]
pub struct Core {
    policy: Policy,
    publication: Publication,
    limits: CoreLimits,
    sessions: BTreeMap<SessionId, Session>,
    streams: BTreeMap<StreamId, ReceiveStream>,
    /// The stream that serves each inbox: at most one.
    serving: BTreeMap<(AgencyId, Precedence), StreamId>,
    effects: VecDeque<Effect>,
    next_sweep: Timestamp,
}

impl Core {
    /// A core that acts on `policy` and hands `publication` to its agents.
    #[must_use]
    pub fn new(policy: Policy, publication: Publication, limits: CoreLimits, now: Timestamp) -> Self {
        Self {
            policy,
            publication,
            limits,
            sessions: BTreeMap::new(),
            streams: BTreeMap::new(),
            serving: BTreeMap::new(),
            effects: VecDeque::new(),
            next_sweep: now,
        }
    }

    /// The next thing to do; `None` when all is done.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Core::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Timestamp {
        self.next_sweep
    }

    /// Looks for what has expired. Not by a clock under which the directory does not count: one that jumped ahead would
    /// delete every notice that waits (G12). One that was set back must not put the next look off by as much.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let next = now.plus(self.limits.sweep_interval);
        if now < self.next_sweep && self.next_sweep <= next {
            return;
        }
        self.next_sweep = next;
        if self.policy.check_directory(now).is_ok() {
            self.effects.push_back(Effect::Sweep { now });
        }
    }

    /// What decisions are made by at present.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Connections at present.
    #[must_use]
    pub fn sessions_len(&self) -> usize {
        self.sessions.len()
    }

    /// An agency connected; its certificate has been verified.
    pub fn handle_connected(&mut self, session: SessionId, agency: AgencyId, now: Timestamp) {
        let others = self.sessions.values().filter(|other| other.agency == agency).count();
        let allowed = self.policy.check_directory(now).and_then(|()| self.policy.takes_part(&agency));
        self.sessions.insert(session, Session { agency, welcomed: false });
        if let Err(reason) = allowed {
            self.close(session, Some(reason));
        } else if others >= self.limits.connections_per_agency_max {
            let detail = format!(
                "an agency may have {} connections at a time",
                self.limits.connections_per_agency_max
            );
            let reason = Refusal::new(RefusalCode::Quota, detail).retry_after(Duration::from_secs(30));
            self.close(session, Some(reason));
        }
    }

    /// The first frame of the session stream came.
    pub fn handle_hello(&mut self, session: SessionId, hello: &Hello, now: Timestamp) {
        let Some(known) = self.sessions.get_mut(&session) else { return };
        if known.welcomed {
            return self.close(
                session,
                Some(Refusal::new(RefusalCode::Malformed, "a connection has one session stream")),
            );
        }
        if !hello.versions.contains(&VERSION) {
            let detail =
                format!("this broker speaks wire version {VERSION}; the agent speaks {:?}", hello.versions);
            return self.close(session, Some(Refusal::new(RefusalCode::UnsupportedVersion, detail)));
        }
        known.welcomed = true;
        let welcome = Welcome {
            version: VERSION,
            broker_time: now,
            directory_version: self.policy.directory.version(),
            limits: self.policy.limits.clone(),
        };
        self.send(session, SessionFrame::Welcome(welcome));
        // Always, not only when the agent's directory is older: revocation lists change without it.
        self.send(session, SessionFrame::Publication(self.publication.clone()));
    }

    /// Whether a session has been welcomed; other streams are not served before.
    #[must_use]
    pub fn is_welcomed(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|session| session.welcomed)
    }

    /// A connection ended, whoever ended it.
    pub fn handle_disconnected(&mut self, session: SessionId) {
        self.sessions.remove(&session);
        let ended: Vec<StreamId> =
            self.streams.iter().filter(|(_, stream)| stream.session == session).map(|(id, _)| *id).collect();
        for stream in ended {
            self.forget_stream(stream);
        }
    }

    /// The authority published: decisions are made by `directory` from now on. The caller has checked that it may
    /// replace the one in force.
    pub fn handle_publication(
        &mut self,
        directory: Arc<Directory>,
        publication: Publication,
        now: Timestamp,
    ) {
        self.policy.directory = directory;
        self.publication = publication;
        let sessions: Vec<(SessionId, AgencyId)> =
            self.sessions.iter().map(|(id, session)| (*id, session.agency.clone())).collect();
        for (session, agency) in sessions {
            if let Err(reason) = self.policy.takes_part(&agency) {
                self.close(session, Some(reason));
            } else if self.is_welcomed(session) {
                self.send(session, SessionFrame::Publication(self.publication.clone()));
            }
        }
        self.reconsider_withheld(now);
    }

    /// Ends every session in order.
    pub fn handle_shutdown(&mut self) {
        let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.close(session, None);
        }
    }

    /// Ends one session, for a reason the shell found.
    pub fn handle_violation(&mut self, session: SessionId, reason: Refusal) {
        if self.sessions.contains_key(&session) {
            self.close(session, Some(reason));
        }
    }

    fn close(&mut self, session: SessionId, reason: Option<Refusal>) {
        self.effects.push_back(Effect::Close { session, reason });
        self.handle_disconnected(session);
    }

    fn send(&mut self, session: SessionId, frame: SessionFrame) {
        self.effects.push_back(Effect::Send { session, frame: Box::new(frame) });
    }
}
