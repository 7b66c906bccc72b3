//! What a node does by itself, connected or not: it exchanges keys, keeps its renewal request up to date, and warns of
//! what runs out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use valise_proto::freshness::Urgency;

use super::freshness::{self, Freshness};
use super::installing;
use super::office::Office;

/// How often it looks, unless something stirs it.
const EVERY: Duration = Duration::from_secs(30);

pub(super) async fn run(office: Arc<Office>, cancel: CancellationToken) {
    let mut stirred = office.stirred();
    let mut warned = Warned::default();
    loop {
        stirred.borrow_and_update();
        let working = Arc::clone(&office);
        let done = tokio::task::spawn_blocking(move || {
            if let Err(error) = installing::keep_up(&working) {
                tracing::warn!(%error, "keys or the renewal request could not be kept up");
            }
            for warning in warned.news(&freshness::of(&working, working.now())) {
                tracing::warn!("{warning}");
            }
            warned
        });
        match done.await {
            Ok(kept) => warned = kept,
            Err(_) => return,
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = stirred.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// What was warned of already: each step of each document is told once.
#[derive(Debug, Default)]
struct Warned(BTreeMap<String, Urgency>);

impl Warned {
    fn news(&mut self, documents: &[Freshness]) -> Vec<String> {
        let mut news = Vec::new();
        for document in documents {
            let before = self.0.get(&document.name).copied().unwrap_or(Urgency::Fresh);
            if document.urgency > before {
                news.push(document.warning());
            }
        }
        self.0 = documents.iter().map(|document| (document.name.clone(), document.urgency)).collect();
        news
    }
}

#[cfg(test)]
mod tests {
    use valise_proto::id::Timestamp;

    use super::*;

    #[test]
    fn g12_each_step_towards_the_end_is_told_once_and_a_new_document_starts_afresh() {
        let hour = |hour: u64| Timestamp::from_millis(hour * 3_600_000);
        let at = |name: &str, now: u64| {
            Freshness::new(name, "/f".into(), (hour(0), hour(100)), hour(100), hour(now))
        };
        let mut warned = Warned::default();
        let mut told = |name: &str, now: u64| warned.news(&[at(name, now)]).len();
        let steps = [(10, 0), (50, 1), (51, 0), (77, 1), (78, 0), (99, 1), (99, 0), (101, 1), (200, 0)];
        for (now, times) in steps {
            assert_eq!(told("directory version 1", now), times, "after {now} hours");
        }
        assert_eq!(told("directory version 2", 50), 1);
    }
}
