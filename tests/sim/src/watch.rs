//! What must be true of the broker: of what it admits, answers, hands out and keeps.

use std::collections::{BTreeMap, BTreeSet};

use valise_broker::store::REMEMBER_AFTER_EXPIRY;
use valise_proto::directory::Directory;
use valise_proto::envelope::{Envelope, Header, NoticeKind, Precedence};
use valise_proto::id::{AgencyId, Digest, Timestamp};
use valise_proto::label::Classification;
use valise_proto::receipt::{ReceiptKind, SignedReceipt};
use valise_proto::wire::session::Cursor;

use crate::Violation;
use crate::disk::{Disk, Item};
use crate::exchange::agency_index;
use crate::model::{Model, permits, takes_part};

impl Model {
    /// The broker admits an envelope: the decision at submission (G3), made again here.
    pub(crate) fn admitted(
        &mut self,
        peer: &AgencyId,
        header: &Header,
        directory: &Directory,
        now: Timestamp,
    ) -> Result<(), Violation> {
        self.tell_broker_clock(now);
        let id = header.notice_id;
        let broken = |what: &str| Err(Violation::new("G3", format!("{id} was admitted: {what}")));
        let Some(originator) = takes_part(directory, peer).filter(|_| header.originator == *peer) else {
            return broken("its originator does not take part, or is somebody else");
        };
        let is_receipt = header.kind == NoticeKind::Receipt;
        if !is_receipt && !originator.origination.kinds.contains(&header.kind) {
            return broken("its originator may not originate its kind");
        }
        let may_originate = |class: &Classification| {
            (is_receipt && *class <= Classification::Unclassified)
                || originator.origination.classifications.contains(class)
        };
        if !header.portions.iter().all(|portion| may_originate(&portion.label.classification)) {
            return broken("its originator may not originate its classification");
        }
        for recipient in &header.recipients {
            let reads = takes_part(directory, recipient).is_some_and(|entry| {
                header.portions.iter().any(|portion| permits(&entry.clearance, &portion.label))
            });
            if !reads {
                return broken("a recipient may see none of it");
            }
        }
        Ok(())
    }

    /// The broker answers a submission.
    pub(crate) fn answered(
        &mut self,
        receipt: &SignedReceipt,
        disk: &Disk,
        now: Timestamp,
    ) -> Result<(), Violation> {
        self.tell_broker_clock(now);
        let said = receipt.receipt();
        let (ReceiptKind::Accepted, Some(id)) = (said.kind, said.notice_id) else {
            self.summary.refused += 1;
            return Ok(());
        };
        let digest = said.header_digest;
        let kept = disk.durable.notices.get(&id).is_some_and(|kept| kept.header_digest == digest);
        Violation::unless(kept, "G4", || format!("{id} was answered ACCEPTED and is not on stable storage"))?;
        let clock = self.broker_clock;
        let encoded = receipt.encode();
        let truth = self.truth(digest)?;
        let forgotten = clock >= Some(truth.header.expires_at.plus(REMEMBER_AFTER_EXPIRY));
        let same = truth.receipt.as_ref().is_none_or(|first| *first == encoded);
        Violation::unless(same || forgotten, "G5", || format!("{id} was given another ACCEPTED receipt"))?;
        let new = truth.receipt.replace(encoded).is_none();
        self.summary.accepted += usize::from(new);
        let first = *self.accepted.entry(id).or_insert(digest);
        let other_forgotten = self
            .truths
            .get(&first)
            .is_some_and(|truth| clock >= Some(truth.header.expires_at.plus(REMEMBER_AFTER_EXPIRY)));
        Violation::unless(first == digest || other_forgotten, "G5", || {
            format!("two envelopes were accepted under {id}")
        })
    }

    /// The broker hands an envelope to an agency: the decision at delivery (G3), made again here.
    pub(crate) fn handed_out(
        &mut self,
        agency: &AgencyId,
        envelope: &Envelope,
        directory: &Directory,
        now: Timestamp,
    ) -> Result<(), Violation> {
        let (index, header) = (agency_index(agency)?, envelope.header());
        let id = header.notice_id;
        let broken = |what: String| Err(Violation::new("G3", format!("{id} was handed to {agency}: {what}")));
        let Some(entry) = takes_part(directory, agency).filter(|_| header.recipients.contains(agency)) else {
            return broken("who is no recipient that takes part".to_owned());
        };
        if header.expires_at <= now {
            return Err(Violation::new("G11", format!("{id} was handed out after it expired")));
        }
        if envelope.portions().is_empty() || envelope.wraps().iter().any(|wrap| wrap.recipient != *agency) {
            return broken("with nothing for it, or with another's key".to_owned());
        }
        let mut handed = BTreeSet::new();
        for portion in envelope.portions() {
            let label = header.portions.get(portion.index.get()).map(|portion| &portion.label);
            match label {
                Some(label) if permits(&entry.clearance, label) => {
                    handed.insert(portion.index.get());
                }
                Some(_) | None => return broken(format!("portion {} is not for it", portion.index)),
            }
        }
        let truth = self.truth(envelope.header_digest())?;
        truth.handed.entry(index).or_default().extend(handed);
        self.summary.handed_out += 1;
        Ok(())
    }

    /// The broker deletes what was not fetched in time.
    pub(crate) fn expired(&mut self, digest: Digest, at: Timestamp) -> Result<(), Violation> {
        self.tell_broker_clock(at);
        let truth = self.truth(digest)?;
        truth.expired = true;
        let (id, expires_at) = (truth.header.notice_id, truth.header.expires_at);
        self.summary.expired += 1;
        Violation::unless(at >= expires_at, "G4", || format!("{id} expired at {at}, before its time"))
    }

    /// The broker hears an acknowledgement: what it is about must be on the recipient's stable storage.
    pub(crate) fn acknowledged(
        &self,
        agency: &AgencyId,
        precedence: Precedence,
        cursor: Cursor,
        disk: &Disk,
    ) -> Result<(), Violation> {
        let queue = disk.visible.queues.get(&(agency.clone(), precedence));
        let Some(Item::Notice(id)) = queue.and_then(|queue| queue.get(&cursor)) else { return Ok(()) };
        let Some(kept) = disk.visible.notices.get(id) else { return Ok(()) };
        let index = agency_index(agency)?;
        let safe = self.held.contains(&(index, kept.header_digest)) || self.aside.contains(&(index, *id));
        Violation::unless(safe, "G4", || {
            format!("{agency} acknowledged {id} and does not have it on stable storage")
        })
    }

    /// Looks through the broker's disk: nothing accepted is missing (G4), nothing done with is kept (G11).
    pub(crate) fn audit_broker(&self, disk: &Disk) -> Result<(), Violation> {
        for (digest, truth) in
            self.truths.iter().filter(|(_, truth)| truth.receipt.is_some() && !truth.expired)
        {
            let Header { notice_id, precedence, recipients, .. } = &truth.header;
            for recipient in recipients {
                let index = agency_index(recipient)?;
                if self.held.contains(&(index, *digest)) || self.aside.contains(&(index, *notice_id)) {
                    continue;
                }
                let kept = disk.durable.notices.get(notice_id).filter(|kept| {
                    let queue = disk.durable.queues.get(&(recipient.clone(), *precedence));
                    kept.header_digest == *digest
                        && kept.undelivered.contains(recipient)
                        && disk.durable.bodies.contains_key(&kept.cursor)
                        && queue.is_some_and(|queue| queue.contains_key(&kept.cursor))
                });
                Violation::unless(kept.is_some(), "G4", || {
                    format!("{notice_id} was accepted and is lost to {recipient}, who has not had it")
                })?;
            }
        }
        let wanted: BTreeSet<Cursor> = disk
            .visible
            .notices
            .values()
            .filter(|kept| !kept.undelivered.is_empty())
            .map(|kept| kept.cursor)
            .collect();
        let kept: BTreeSet<Cursor> = disk.visible.bodies.keys().copied().collect();
        Violation::unless(kept == wanted, "G11", || {
            format!("the broker keeps {} ciphertexts, of which {} are waited for", kept.len(), wanted.len())
        })
    }

    /// The broker's sessions are those of its connections, no agency has too many, and none that is out has any.
    pub(crate) fn check_sessions<'a>(
        &self,
        agencies: impl Iterator<Item = &'a AgencyId>,
        (known, each_max): (usize, usize),
        directory: &Directory,
    ) -> Result<(), Violation> {
        let mut counts: BTreeMap<&AgencyId, usize> = BTreeMap::new();
        for agency in agencies {
            *counts.entry(agency).or_default() += 1;
        }
        let out = counts.keys().find(|agency| takes_part(directory, agency).is_none());
        Violation::unless(out.is_none(), "G3", || format!("{out:?} is out and still has a session"))?;
        let total: usize = counts.values().sum();
        self.check_bound("sessions of one agency", counts.values().copied().max().unwrap_or(0), each_max)?;
        Violation::unless(known == total, "G10", || format!("the core knows {known} sessions of {total}"))
    }

    /// The broker acts at this time by its clock. A day after a notice expired it may forget its id.
    pub(crate) fn tell_broker_clock(&mut self, now: Timestamp) {
        self.broker_clock = self.broker_clock.max(Some(now));
    }
}
