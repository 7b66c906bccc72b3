//! Making changes durable, as many at a time as are waiting.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::engine::Input;
use super::office::Office;
use crate::core::{Change, Ticket};

/// Most tickets in one commit.
const TICKETS_MAX: usize = 512;
/// Bytes after which a commit takes no further ticket: a batch is held in memory until it is written.
const CHANGES_MAX: usize = 2048;

type Work = (Ticket, Vec<Change>);

/// Where the engine hands its changes. The engine never waits for it: what is under way is bounded by the window of
/// deliveries, the submissions in flight and the callers of the local API.
#[derive(Debug)]
pub(super) struct Committer(Sender<Work>);

impl Committer {
    /// Starts the thread that writes. It ends when the engine drops the committer.
    pub(super) fn start(office: Arc<Office>, inputs: mpsc::Sender<Input>, tasks: &TaskTracker) -> Self {
        let (sender, receiver) = channel();
        tasks.spawn_blocking(move || write(&office, &receiver, &inputs));
        Self(sender)
    }

    /// Hands over a change.
    pub(super) fn commit(&self, ticket: Ticket, changes: Vec<Change>) {
        // The thread ends early only after a failure, which the engine is told of.
        let _ = self.0.send((ticket, changes));
    }
}

fn write(office: &Office, receiver: &Receiver<Work>, inputs: &mpsc::Sender<Input>) {
    while let Ok(first) = receiver.recv() {
        let work = gather(first, receiver);
        let applied = office.store().apply(work.iter().flat_map(|(_, changes)| changes));
        let input = match applied {
            Ok(()) => Input::Persisted(work.iter().map(|(ticket, _)| *ticket).collect()),
            Err(error) => Input::StoreFailed(error.to_string()),
        };
        let failed = matches!(input, Input::StoreFailed(_));
        if inputs.blocking_send(input).is_err() || failed {
            return;
        }
    }
}

fn gather(first: Work, receiver: &Receiver<Work>) -> Vec<Work> {
    let mut changes = first.1.len();
    let mut work = vec![first];
    while work.len() < TICKETS_MAX && changes < CHANGES_MAX {
        let Ok(next) = receiver.try_recv() else { break };
        changes = changes.saturating_add(next.1.len());
        work.push(next);
    }
    work
}
