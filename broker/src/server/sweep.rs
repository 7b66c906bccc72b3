//! The sweep: what has expired is deleted, and its originator told.

use std::sync::Arc;

use tokio::sync::oneshot;
use valise_proto::envelope::Precedence;
use valise_proto::id::{AgencyId, Timestamp};
use valise_proto::receipt::ReceiptKind;

use super::Shared;
use crate::store::{Due, Operation, StoreError, Submission};

/// Most entries of the calendar looked at in one step; each has up to a few hundred notices.
const SWEEP_COUNT: usize = 4;
/// A step takes no further entry once it has this many receipts to sign and write.
const SWEEP_RECEIPTS: usize = 4096;

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
        let (mut more, mut told) = (due.len() == SWEEP_COUNT, Vec::new());
        let (mut operations, mut receipts) = (Vec::new(), 0);
        for due in due {
            if receipts >= SWEEP_RECEIPTS {
                more = true;
                break;
            }
            receipts += due.expired.iter().map(|(_, notice)| notice.undelivered.len()).sum::<usize>();
            operations.extend(settle(&reading, due, now, &mut told));
        }
        Ok((operations, told, more))
    });
    let (operations, told, more) =
        settled.await.unwrap_or_else(|error| Err(StoreError::Failed(error.to_string())))?;
    if operations.is_empty() {
        return Ok(false);
    }
    let expired = operations.iter().filter(|one| matches!(one, Operation::Expire { .. })).count();
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
    shared.watch.counts.note_expired(expired);
    // The driver is gone only when the broker is stopping.
    let _ = shared.queued.send(told);
    Ok(more)
}

/// Notices that somebody did not acknowledge expire; then the entry itself is done with.
fn settle(
    shared: &Shared,
    due: Due,
    at: Timestamp,
    told: &mut Vec<(AgencyId, Precedence)>,
) -> Vec<Operation> {
    let Due { key, expired } = due;
    let mut operations = Vec::with_capacity(expired.len() + 1);
    for (notice_id, notice) in expired {
        let about = (Some(notice_id), notice.header_digest);
        let expired = |agency: AgencyId| {
            let receipt = shared.sign(ReceiptKind::Expired, about, Some(agency.clone()), None).encode();
            (agency, receipt)
        };
        let receipts = notice.undelivered.into_iter().map(expired).collect();
        told.push((notice.originator, Precedence::Routine));
        operations.push(Operation::Expire { notice_id, at, receipts });
    }
    operations.push(Operation::Review { due: key, at });
    operations
}
