//! What must be true, whatever happens: a small model of the exchange that knows what was really written by whom, and
//! is told of everything that is said or stored.
//!
//! It shares no decision with the product: who may see what is decided here a second time, from X.501's three rules.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use valise_agent::core::{Alarm, Outcome};
use valise_proto::directory::{AgencyEntry, Directory};
use valise_proto::envelope::{Envelope, Header, NoticeKind, OpenedPortion, PlainPortion, VerifiedEnvelope};
use valise_proto::id::{AgencyId, Digest, NoticeId, Timestamp};
use valise_proto::label::{Clearance, Label};
use valise_proto::receipt::{ReceiptKind, SignedReceipt};
use valise_proto::wire::limits::Limits;

use crate::dice::Dice;
use crate::exchange::{agency_id, agency_index};
use crate::{Summary, Violation};

/// How an envelope left its outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Accepted,
    Refused,
    Lapsed,
}

/// What is true of one envelope.
#[derive(Debug)]
pub(crate) struct Truth {
    author: usize,
    pub(crate) header: Header,
    plain: Vec<Vec<u8>>,
    /// It is on its author's stable storage.
    pub(crate) queued: bool,
    pub(crate) left: Option<Left>,
    /// The ACCEPTED receipt that the broker has given.
    pub(crate) receipt: Option<Bytes>,
    /// The broker's clock has passed its expiry, and the broker has acted on it.
    pub(crate) expired: bool,
    pub(crate) handed: BTreeMap<usize, BTreeSet<usize>>,
    shown: BTreeMap<usize, usize>,
    delivered_told: BTreeSet<usize>,
    deadline_passed: bool,
}

/// The model.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) truths: BTreeMap<Digest, Truth>,
    /// Agencies that hold an envelope on stable storage, shown or not.
    pub(crate) held: BTreeSet<(usize, Digest)>,
    /// Agencies that have set aside something under an id.
    pub(crate) aside: BTreeSet<(usize, NoticeId)>,
    pub(crate) accepted: BTreeMap<NoticeId, Digest>,
    /// The furthest that the broker's clock ever was.
    pub(crate) broker_clock: Option<Timestamp>,
    pub(crate) summary: Summary,
}

/// X.501: a member of the classes held, every compartment held, released to at least one affiliation.
pub(crate) fn permits(clearance: &Clearance, label: &Label) -> bool {
    clearance.policy == label.policy
        && clearance.class_list.iter().any(|class| *class == label.classification)
        && label.compartments.iter().all(|needed| clearance.compartments.contains(needed))
        && (label.releasable_to.is_empty()
            || clearance.affiliations.iter().any(|held| label.releasable_to.contains(held)))
}

pub(crate) fn takes_part<'d>(directory: &'d Directory, agency: &AgencyId) -> Option<&'d AgencyEntry> {
    directory.content().agencies.get(agency).filter(|entry| entry.status.ended_at().is_none())
}

impl Model {
    /// Somebody wrote, sealed and signed an envelope, whatever name it bears.
    pub(crate) fn composed(&mut self, author: usize, envelope: &Envelope, plain: &[PlainPortion]) {
        let truth = Truth {
            author,
            header: envelope.header().clone(),
            plain: plain.iter().map(|portion| portion.parts.to_vec()).collect(),
            queued: false,
            left: None,
            receipt: None,
            expired: false,
            handed: BTreeMap::new(),
            shown: BTreeMap::new(),
            delivered_told: BTreeSet::new(),
            deadline_passed: false,
        };
        self.truths.insert(envelope.header_digest(), truth);
        self.summary.composed += 1;
    }

    /// The id of something that others wrote before, and the agency did not: a node draws its own ids anew.
    pub(crate) fn some_id_of_others(&self, agency: usize, dice: &mut Dice) -> Option<NoticeId> {
        let (own, others): (Vec<_>, Vec<_>) = self.truths.values().partition(|truth| truth.author == agency);
        let own: BTreeSet<NoticeId> = own.into_iter().map(|truth| truth.header.notice_id).collect();
        let ids = others.into_iter().map(|truth| truth.header.notice_id);
        let ids: Vec<NoticeId> = ids.filter(|id| !own.contains(id)).collect();
        dice.pick(&ids).copied()
    }

    pub(crate) fn truth(&mut self, digest: Digest) -> Result<&mut Truth, Violation> {
        let unknown = || Violation::new("G1", "an envelope that nobody wrote is treated as one");
        self.truths.get_mut(&digest).ok_or_else(unknown)
    }

    /// An envelope joined the outbox on stable storage.
    pub(crate) fn queued(&mut self, agency: usize, digest: Digest) -> Result<(), Violation> {
        let truth = self.truth(digest)?;
        let once = !std::mem::replace(&mut truth.queued, true);
        Violation::unless(once && truth.author == agency, "G5", || {
            format!("{} was queued twice", truth.header.notice_id)
        })
    }

    /// An officer was told that a notice is safe.
    pub(crate) fn promised(&self, agency: usize, notice_id: NoticeId) -> Result<(), Violation> {
        let mut own = self.truths.values().filter(|truth| truth.author == agency);
        let safe = own.any(|truth| truth.header.notice_id == notice_id && truth.queued);
        Violation::unless(safe, "G4", || format!("{notice_id} was promised and is not on stable storage"))
    }

    /// An envelope left its outbox.
    pub(crate) fn left_outbox(
        &mut self,
        agency: usize,
        digest: Option<Digest>,
        outcome: &Outcome,
    ) -> Result<(), Violation> {
        let digest =
            digest.ok_or_else(|| Violation::new("G4", "an envelope left the outbox that was not in it"))?;
        let truth = self.truth(digest)?;
        let left = match outcome {
            Outcome::Answered(answer) if answer.refusal().is_none() => Left::Accepted,
            Outcome::Answered(_) | Outcome::Unsendable { .. } => Left::Refused,
            Outcome::Lapsed(at) => {
                let in_time = *at > truth.header.expires_at;
                Violation::unless(in_time, "G4", || {
                    format!("agency {agency} gave up {} at {at}, before it expired", truth.header.notice_id)
                })?;
                Left::Lapsed
            }
        };
        let said = left != Left::Accepted || truth.receipt.is_some();
        truth.left = Some(left);
        Violation::unless(said, "G4", || format!("{} was taken for accepted", truth.header.notice_id))
    }

    /// An agency opened an envelope that it holds for verified.
    pub(crate) fn opened(
        &mut self,
        agency: usize,
        verified: &VerifiedEnvelope,
        opened: &[OpenedPortion],
    ) -> Result<(), Violation> {
        let header = verified.header();
        let id = header.notice_id;
        let truth = self.truth(verified.envelope().header_digest())?;
        Violation::unless(agency_id(truth.author)? == header.originator, "G1", || {
            format!("{id} counts as written by {}, who did not write it", header.originator)
        })?;
        for portion in opened {
            let index = portion.index.get();
            let same = truth.plain.get(index).is_some_and(|plain| plain == portion.parts());
            Violation::unless(same, "G1", || format!("portion {index} of {id} is not what was written"))?;
            let handed = truth.handed.get(&agency).is_some_and(|handed| handed.contains(&index));
            Violation::unless(handed, "G3", || format!("portion {index} of {id} was never handed out"))?;
        }
        Ok(())
    }

    /// An agency has a notice on stable storage, for an officer to see.
    pub(crate) fn shown(
        &mut self,
        agency: usize,
        verified: &VerifiedEnvelope,
        directory: &Directory,
    ) -> Result<(), Violation> {
        let header = verified.header();
        let id = header.notice_id;
        let entry = directory.content().agencies.get(&header.originator);
        let out =
            entry.is_none_or(|entry| entry.status.ended_at().is_some_and(|end| end <= header.created_at));
        Violation::unless(!out, "G1", || {
            format!("{id} is shown, of an agency that was out when it was made")
        })?;
        let digest = verified.envelope().header_digest();
        let truth = self.truth(digest)?;
        let times = truth.shown.entry(agency).or_default();
        *times += 1;
        let once = *times == 1;
        self.held.insert((agency, digest));
        self.summary.shown += 1;
        Violation::unless(once, "G5", || format!("agency {agency} was shown {id} twice"))
    }

    /// An agency has something on stable storage that nobody is shown.
    pub(crate) fn set_aside(&mut self, agency: usize, bytes: &Bytes) {
        self.summary.set_aside += 1;
        if let Ok(envelope) = Envelope::decode(bytes.clone(), &Limits::DEFAULT) {
            self.aside.insert((agency, envelope.header().notice_id));
        }
        // A receipt that came too late is set aside without the envelope that carried it.
        let carries = |truth: &&Truth| {
            truth.header.kind == NoticeKind::Receipt
                && truth.plain.first().is_some_and(|plain| plain == bytes)
        };
        let carrier = self.truths.values().find(carries).map(|truth| truth.header.notice_id);
        self.aside.extend(carrier.map(|id| (agency, id)));
    }

    /// An agency has an envelope on stable storage that was not for officers.
    pub(crate) fn remembered(&mut self, agency: usize, digest: Digest) {
        self.held.insert((agency, digest));
    }

    /// A receipt about a notice of an agency's own counts.
    pub(crate) fn receipt_recorded(
        &mut self,
        agency: usize,
        receipt: &SignedReceipt,
    ) -> Result<(), Violation> {
        let said = receipt.receipt();
        let truth = self.truth(said.header_digest)?;
        let id = truth.header.notice_id;
        Violation::unless(truth.author == agency, "G6", || format!("a receipt of {id} came to a stranger"))?;
        if let (ReceiptKind::Delivered | ReceiptKind::Read, Some(issuer)) =
            (said.kind, said.issuer.as_agency())
        {
            let index = agency_index(issuer)?;
            let true_receipt = truth.shown.contains_key(&index);
            truth.delivered_told.insert(index);
            return Violation::unless(true_receipt, "G6", || {
                format!("{issuer} signed for {id} without having it")
            });
        }
        if said.kind == ReceiptKind::Expired {
            let true_receipt = truth.expired;
            return Violation::unless(true_receipt, "G6", || format!("{id} was called expired and is not"));
        }
        Ok(())
    }

    /// The time for answers to a notice is over, and its originator is told.
    pub(crate) fn deadline_passed(&mut self, agency: usize, alarm: &Alarm) -> Result<(), Violation> {
        let of_it = |truth: &&mut Truth| {
            truth.author == agency
                && truth.header.notice_id == alarm.notice_id
                && truth.header.respond_by == Some(alarm.respond_by)
        };
        let truth = self.truths.values_mut().find(of_it);
        let once = truth.is_some_and(|truth| !std::mem::replace(&mut truth.deadline_passed, true));
        Violation::unless(once, "G8", || format!("the deadline of {} was told twice", alarm.notice_id))
    }

    /// A bound holds (G10).
    pub(crate) fn check_bound(&self, what: &str, count: usize, max: usize) -> Result<(), Violation> {
        Violation::unless(count <= max, "G10", || format!("{count} {what}, where {max} are allowed"))
    }

    /// What has not come to an end that should have, once everything works: the first of it.
    pub(crate) fn unsettled(&self, directory: &Directory) -> Option<String> {
        self.truths.iter().find_map(|(digest, truth)| {
            let id = truth.header.notice_id;
            if truth.queued && truth.left.is_none() {
                let out =
                    agency_id(truth.author).is_ok_and(|author| takes_part(directory, &author).is_none());
                return (!out).then(|| format!("{id} is still in the outbox of {}", truth.author));
            }
            if truth.receipt.is_none() || truth.expired {
                return None;
            }
            let waits = |recipient: &&AgencyId| {
                let held = agency_index(recipient).is_ok_and(|index| {
                    self.held.contains(&(index, *digest)) || self.aside.contains(&(index, id))
                });
                let reads = takes_part(directory, recipient).is_some_and(|entry| {
                    truth.header.portions.iter().any(|portion| permits(&entry.clearance, &portion.label))
                });
                !held && reads
            };
            let late = truth.header.recipients.iter().find(waits)?;
            Some(format!("{id} was accepted and does not reach {late}"))
        })
    }

    /// Whether a notice is shown to an agency.
    pub(crate) fn is_shown(&self, digest: Digest, agency: usize) -> bool {
        self.truths.get(&digest).is_some_and(|truth| truth.shown.contains_key(&agency))
    }

    /// A deadline that an originator's clock has passed by a while, and of which nobody was told.
    pub(crate) fn missed_deadline(&self, agency: usize, now: Timestamp) -> Option<NoticeId> {
        let late = |truth: &&Truth| {
            let over = truth.header.respond_by.is_some_and(|by| now.since(by).as_secs() > 30);
            truth.author == agency && truth.queued && over && !truth.deadline_passed
        };
        self.truths.values().find(late).map(|truth| truth.header.notice_id)
    }
}
