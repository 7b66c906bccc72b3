//! Releases that wait for a second officer.
//!
//! Claimed: what is lowered was asked for by one officer and approved by another; approving it twice sends it once. It
//! holds because an order is taken off the store, which tells one taker alone that it was there, before the notice that
//! was made by it is handed to the outbox. Where the node dies between the two, nothing was sent and the order is gone.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use valise_proto::id::{NoticeId, Timestamp};

use super::ReleaseError;
use super::downgrade::Downgrade;
use crate::clock::new_notice_id;
use crate::compose::{Addressed, Signed};
use crate::node::office::Office;

/// How long an order waits.
pub const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A release that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The notice it is of.
    pub source: NoticeId,
    /// What is to be made of it.
    pub downgrade: Downgrade,
    /// Who asked.
    pub officer: String,
    /// When.
    pub at: Timestamp,
}

impl Order {
    /// Keeps an order, having found that it could be carried out now.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn place(self, office: &Office, now: Timestamp) -> Result<NoticeId, ReleaseError> {
        let addressed = self.compose(office, std::slice::from_ref(&self.officer), now)?;
        drop(addressed.seal(office, now)?);
        let id = new_notice_id(now);
        let json = serde_json::to_vec(&self).map_err(|error| ReleaseError::Record(error.to_string()))?;
        office.store().keep_order(&id, &json)?;
        Ok(id)
    }

    fn compose(
        &self,
        office: &Office,
        officers: &[String],
        now: Timestamp,
    ) -> Result<Addressed, ReleaseError> {
        self.downgrade.compose(office, &self.source, officers, now)
    }
}

fn read(json: &[u8]) -> Result<Order, ReleaseError> {
    serde_json::from_slice(json).map_err(|error| ReleaseError::Record(error.to_string()))
}

/// The orders that wait, oldest first. Those that waited too long are taken off.
///
/// # Errors
/// [`ReleaseError`].
pub fn waiting(office: &Office, now: Timestamp) -> Result<Vec<(NoticeId, Order)>, ReleaseError> {
    let mut waiting = Vec::new();
    for (id, json) in office.store().orders()? {
        let order = read(&json)?;
        if order.at.plus(WAIT_MAX) < now {
            office.store().take_order(&id)?;
        } else {
            waiting.push((id, order));
        }
    }
    Ok(waiting)
}

/// An order that a second officer found right, with the notice that carries it out; it is off the store.
pub struct Approved {
    /// The order, to be put back where the outbox does not take the notice.
    pub order: Order,
    /// The notice.
    pub signed: Signed,
}

/// Approves an order: it is judged anew by the rules, the directory and the clock of now.
///
/// # Errors
/// [`ReleaseError`]; the order waits on.
pub fn approve(
    office: &Office,
    id: &NoticeId,
    officer: &str,
    now: Timestamp,
) -> Result<Approved, ReleaseError> {
    let json = office.store().order(id)?.ok_or(ReleaseError::NoOrder(*id))?;
    let order = read(&json)?;
    if order.at.plus(WAIT_MAX) < now {
        office.store().take_order(id)?;
        return Err(ReleaseError::OrderLapsed { id: *id, since: order.at });
    }
    if order.officer == officer {
        return Err(ReleaseError::SameOfficer(officer.to_owned()));
    }
    let officers = [order.officer.clone(), officer.to_owned()];
    let signed = order.compose(office, &officers, now)?.seal(office, now)?.sign(office)?;
    if office.store().take_order(id)? {
        Ok(Approved { order, signed })
    } else {
        Err(ReleaseError::NoOrder(*id))
    }
}

/// Puts an order back whose notice the outbox did not take.
///
/// # Errors
/// [`ReleaseError`].
pub fn put_back(office: &Office, id: &NoticeId, order: &Order) -> Result<(), ReleaseError> {
    let json = serde_json::to_vec(order).map_err(|error| ReleaseError::Record(error.to_string()))?;
    Ok(office.store().keep_order(id, &json)?)
}

/// Takes an order off unapproved, and tells what it was.
///
/// # Errors
/// [`ReleaseError::NoOrder`] where there is none.
pub fn refuse(office: &Office, id: &NoticeId) -> Result<Order, ReleaseError> {
    let json = office.store().order(id)?.ok_or(ReleaseError::NoOrder(*id))?;
    let order = read(&json)?;
    if office.store().take_order(id)? { Ok(order) } else { Err(ReleaseError::NoOrder(*id)) }
}
