//! Releases that wait for a second officer.
//!
//! Claimed: what is lowered, and leave that is given, was asked for by one officer and approved by another; approving it
//! twice sends it once, also where the node dies between. It holds as for drafts that wait ([`crate::pending`]): nothing
//! is sealed before, the id under which it is sent is fixed from the beginning, and the batch that queues it takes the
//! order off.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use valise_proto::id::{NoticeId, Timestamp};

use super::ReleaseError;
use super::decide::Decide;
use super::downgrade::Downgrade;
use super::forward::Forward;
use crate::clock::new_notice_id;
use crate::compose::preview::Preview;
use crate::compose::{Addressed, Signed};
use crate::node::office::Office;
use crate::pending::{PENDING_MAX, is_same_officer};

/// What two officers do together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A notice of ours is made anew under another label.
    Downgrade(Downgrade),
    /// Leave is given to a holder.
    Decision(Decide),
    /// A notice of another agency, highly marked, is passed on.
    Forward(Forward),
}

/// A release that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The notice, or the request, it is about.
    pub source: NoticeId,
    /// What is to be done.
    pub what: What,
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
    pub fn place(&self, office: &Office, now: Timestamp) -> Result<NoticeId, ReleaseError> {
        let addressed = self.compose(office, std::slice::from_ref(&self.officer), now)?;
        drop(addressed.seal(office, now)?);
        for (id, json) in office.store().orders()? {
            if read(&json)?.at.plus(office.config().pending_wait) < now {
                office.store().take_order(&id)?;
            }
        }
        if office.store().orders()?.len() >= PENDING_MAX {
            return Err(ReleaseError::TooMany);
        }
        let id = new_notice_id(now);
        let json = serde_json::to_vec(self).map_err(|error| ReleaseError::Record(error.to_string()))?;
        office.store().keep_order(&id, &json)?;
        Ok(id)
    }

    fn compose(
        &self,
        office: &Office,
        officers: &[String],
        now: Timestamp,
    ) -> Result<Addressed, ReleaseError> {
        match &self.what {
            What::Downgrade(downgrade) => downgrade.compose(office, &self.source, officers, now),
            What::Decision(decide) => decide.compose(office, &self.source, now),
            What::Forward(forward) => forward.compose(office, &self.source, officers, now),
        }
    }
}

fn read(json: &[u8]) -> Result<Order, ReleaseError> {
    serde_json::from_slice(json).map_err(|error| ReleaseError::Record(error.to_string()))
}

/// The orders that wait, oldest first.
///
/// # Errors
/// [`ReleaseError`].
pub fn waiting(office: &Office, now: Timestamp) -> Result<Vec<(NoticeId, Order)>, ReleaseError> {
    let mut waiting = Vec::new();
    for (id, json) in office.store().orders()? {
        let order = read(&json)?;
        // What lapsed is taken off when the next one is placed.
        if order.at.plus(office.config().pending_wait) >= now {
            waiting.push((id, order));
        }
    }
    Ok(waiting)
}

/// The notice that carries an order out, once a second officer approves it: judged anew by the rules, the directory and
/// the clock of now, under the id that the order has. The batch that queues it takes the order off.
///
/// # Errors
/// [`ReleaseError`]; the order waits on.
pub fn approve(
    office: &Office,
    id: &NoticeId,
    officer: &str,
    now: Timestamp,
) -> Result<(Order, Signed), ReleaseError> {
    let order = get(office, id, now)?;
    if is_same_officer(officer, &order.officer) {
        return Err(ReleaseError::SameOfficer(order.officer));
    }
    let officers = [order.officer.clone(), officer.to_owned()];
    let signed = order.compose(office, &officers, now)?.seal_as(*id, office, now)?.sign(office)?;
    Ok((order, signed))
}

/// Who would be able to read what if an order were approved now.
///
/// # Errors
/// [`ReleaseError`].
pub fn table(office: &Office, id: &NoticeId, now: Timestamp) -> Result<Preview, ReleaseError> {
    let order = get(office, id, now)?;
    let addressed = order.compose(office, std::slice::from_ref(&order.officer), now)?;
    Ok(Preview::of(&addressed, office.config(), now))
}

/// An order that waits.
///
/// # Errors
/// [`ReleaseError::NoOrder`] where there is none.
pub fn get(office: &Office, id: &NoticeId, now: Timestamp) -> Result<Order, ReleaseError> {
    let json = office.store().order(id)?.ok_or(ReleaseError::NoOrder(*id))?;
    let order = read(&json)?;
    if order.at.plus(office.config().pending_wait) < now {
        return Err(ReleaseError::OrderLapsed { id: *id, since: order.at });
    }
    Ok(order)
}
