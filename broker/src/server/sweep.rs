//! The sweep: what has expired is deleted, and its originator told.

use std::sync::Arc;

use tokio::sync::oneshot;
use valise_proto::envelope::Precedence;
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::receipt::ReceiptKind;

use super::Shared;
use crate::store::{Due, Operation, StoreError, Submission};

/// Most notices looked at in one step.
const SWEEP_COUNT: usize = 256;

/// Settles everything that is due at `now`.
pub(super) async fn sweep(shared: &Arc<Shared>, now: Timestamp) {
    loop {
        match step(shared, now).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::error!(%error, "expired notices were not deleted");
                return shared.committer.fail(error);
            }
        }
    }
}

/// Settles some of it and says whether more may be due.
async fn step(shared: &Arc<Shared>, now: Timestamp) -> Result<bool, StoreError> {
    let reading = Arc::clone(shared);
    // Receipts are signed here too: a notice may have many recipients.
    let settled = tokio::task::spawn_blocking(move || {
        let due = reading.reader.due(now, SWEEP_COUNT)?;
        let mut told = Vec::new();
        let operations: Vec<_> = due.into_iter().map(|due| settle(&reading, due, now, &mut told)).collect();
        Ok((operations, told))
    });
    let (operations, told) =
        settled.await.unwrap_or_else(|error| Err(StoreError::Failed(error.to_string())))?;
    if operations.is_empty() {
        return Ok(false);
    }
    let more = operations.len() == SWEEP_COUNT;
    let (done, result) = oneshot::channel();
    let reply = Box::new(move |result: Result<Vec<_>, StoreError>| {
        // The sweep waits for it, unless the broker is stopping.
        let _ = done.send(result.map(|_| ()));
    });
    shared.committer.submit(Submission { operations, reply }).await;
    // A failure is reported by the committer itself.
    if !matches!(result.await, Ok(Ok(()))) {
        return Ok(false);
    }
    // The driver is gone only when the broker is stopping.
    let _ = shared.queued.send(told);
    Ok(more)
}

fn settle(shared: &Shared, due: Due, at: Timestamp, told: &mut Vec<(AgencyId, Precedence)>) -> Operation {
    match due {
        Due::Forgotten { notice_id } => Operation::Forget { notice_id },
        Due::Expired { notice_id, notice } => {
            let about = (Some(notice_id), notice.header_digest);
            let expired = |agency: AgencyId| {
                let receipt = shared.sign(ReceiptKind::Expired, about, Some(agency.clone()), None).encode();
                (agency, receipt)
            };
            let receipts = notice.undelivered.into_iter().map(expired).collect();
            told.push((notice.originator, Precedence::Routine));
            Operation::Expire { notice_id, at, receipts }
        }
    }
}
