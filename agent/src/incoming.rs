//! What a delivery is: verified, opened, decoded, or set aside with the reason.
//!
//! Claimed: a notice is shown only if its originator's signature verified under the directory (G1); whoever merely
//! claims to be its originator gets no answer; DELIVERED names the portions that were opened, so that nobody signs for
//! what was withheld on the way; and a delivery that cannot be used is kept for investigation and
//! acknowledged, so that it does not come back for ever. A receipt is never answered with a receipt.

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use valise_proto::directory::Directory;
use valise_proto::envelope::{Envelope, Header, NoticeKind, OpenedPortion, VerifiedEnvelope};
use valise_proto::id::{NoticeId, Timestamp};
use valise_proto::notice::{NoticeRef, REVIEW_MAX};
use valise_proto::receipt::{PurgeCause, ReceiptKind, SignedReceipt};
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::session::Item;
use zeroize::Zeroizing;

use crate::compose::content::{self, Decoded};
use crate::core::{Arrival, CountedReceipt, Draft, Outgoing, Purge, Reason, Received, Seen, SetAside};
use crate::node::office::{Office, Stale, Statement};
use crate::node::showing::{self, NotShown};
use crate::store::{Kept, StoreError};

/// What an examination led to.
#[derive(Debug)]
pub enum Verdict {
    /// For the core.
    Arrival(Arrival),
    /// The directory held here does not verify it, and a newer one may: the one that it was sealed by, or delivered by.
    NeedsNewerDirectory,
}

/// Why a delivery was not examined. It is not acknowledged.
#[derive(Debug, Error)]
pub enum NotExamined {
    /// The directory held here is not to be acted upon.
    #[error("{0}")]
    Directory(#[from] Stale),
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Examines what a broker delivered. `last_try` says that no newer directory is to be had, or was not a moment ago.
///
/// # Errors
/// [`NotExamined`].
pub fn examine(office: &Office, item: Item, last_try: bool) -> Result<Verdict, NotExamined> {
    let now = office.now();
    let directory = office.directory();
    office.check_fresh(&directory, now)?;
    match item {
        Item::Receipt(receipt) => expiry(office, *receipt, &directory, now).map(Verdict::Arrival),
        Item::Envelope(envelope) => {
            if let Some(known) = known(office, &envelope, now)? {
                return Ok(Verdict::Arrival(known));
            }
            let examination = Examination { office, directory, now };
            examination.envelope(*envelope, last_try)
        }
    }
}

/// What is known already, or comes under the id of something that is kept: nothing kept is ever overwritten.
fn known(office: &Office, envelope: &Envelope, now: Timestamp) -> Result<Option<Arrival>, NotExamined> {
    let seen = Seen::of(envelope);
    if office.store().has_seen(&seen)? {
        return Ok(Some(Arrival::Again(seen)));
    }
    let reason = match office.store().kept(&seen.notice_id)? {
        None if is_out_of_force(office, envelope)? => return Ok(Some(Arrival::Again(seen))),
        None => return Ok(None),
        Some(Kept::Received(digest)) if digest == seen.header_digest => {
            return Ok(Some(Arrival::Again(seen)));
        }
        Some(Kept::Received(_)) => {
            format!("another envelope was taken in before under notice id {}", seen.notice_id)
        }
        Some(Kept::Sent) => format!("notice id {} is that of an envelope of our own", seen.notice_id),
    };
    Ok(Some(unreadable(envelope.encode(), reason, now)))
}

/// A copy of what was corrected or withdrawn before it came is not kept, and nobody is shown it: that it is not held here
/// was stated when the notice arrived that took it out of force.
fn is_out_of_force(office: &Office, envelope: &Envelope) -> Result<bool, NotExamined> {
    let header = envelope.header();
    Ok(office.store().purged(&header.notice_id, &header.originator)?.is_some())
}

/// What cannot even be read is kept as it came.
#[must_use]
pub fn unreadable(bytes: Bytes, reason: impl std::fmt::Display, now: Timestamp) -> Arrival {
    let aside = SetAside { seen: None, bytes, at: now, reason: Reason::new(reason), receipt: None };
    Arrival::SetAside { aside: Box::new(aside), reply: None }
}

fn expiry(
    office: &Office,
    receipt: SignedReceipt,
    directory: &Directory,
    now: Timestamp,
) -> Result<Arrival, NotExamined> {
    let bytes = receipt.encode();
    let notice_id = receipt.receipt().notice_id;
    let sent = notice_id.map(|id| office.store().sent_facts(&id)).transpose()?.flatten();
    let Some(sent) = sent else {
        // Our own receipts expire too; nobody waits for an account of that.
        let reason = "an EXPIRED receipt about something not on record here";
        return Ok(unreadable(bytes, reason, now));
    };
    Ok(match CountedReceipt::of_expiry(receipt, &sent, directory) {
        Ok(counted) => Arrival::Expiry(Box::new(counted)),
        Err(error) => unreadable(bytes, format!("a broker's receipt that does not count: {error}"), now),
    })
}

/// Whether what is refused by one directory may be in order by the next. A broker decides by the newest, which may be on its
/// way here while it delivers: whoever was reinstated a moment ago is still suspended by the one held here.
#[must_use]
pub fn may_pass_by_a_newer_directory(code: RefusalCode) -> bool {
    match code {
        RefusalCode::UnknownAgency
        | RefusalCode::Suspended
        | RefusalCode::Revoked
        | RefusalCode::KeyNotActive
        | RefusalCode::NotClearedToOriginate
        | RefusalCode::RecipientNotCleared
        | RefusalCode::DirectoryStale => true,
        RefusalCode::Malformed
        | RefusalCode::UnsupportedVersion
        | RefusalCode::NotOriginator
        | RefusalCode::BadSignature
        | RefusalCode::LabelPolicy
        | RefusalCode::Expired
        | RefusalCode::ClockSkew
        | RefusalCode::IdConflict
        | RefusalCode::TooLarge
        | RefusalCode::Quota
        | RefusalCode::StoreUnavailable
        | RefusalCode::Declined
        | RefusalCode::IncompleteRecipients
        | RefusalCode::Superseded
        | RefusalCode::Unknown(_) => false,
    }
}

/// What is taken out of force, each with the envelope that carries the PURGED receipt.
type Purges = Vec<(Purge, Option<Box<Outgoing>>)>;

struct Examination<'a> {
    office: &'a Office,
    directory: Arc<Directory>,
    now: Timestamp,
}

impl Examination<'_> {
    fn envelope(&self, envelope: Envelope, last_try: bool) -> Result<Verdict, NotExamined> {
        let newer = envelope.header().directory_version > self.directory.version();
        let kept = envelope.clone();
        let verified = match envelope.verify_delivered(&self.directory, self.office.agency()) {
            Ok(verified) => verified,
            // Its author says by which directory it was sealed, and may say what it likes.
            Err(refusal) if !last_try && (newer || may_pass_by_a_newer_directory(refusal.code)) => {
                return Ok(Verdict::NeedsNewerDirectory);
            }
            Err(refusal) => return Ok(Verdict::Arrival(self.not_verified(&kept, refusal))),
        };
        let opened = verified.open(self.office.agency(), self.office.vault().sealing_keys());
        let opened = match opened {
            // Ciphertexts and keys may be withheld, by our clearance or by whoever carries them; but never all of them.
            Ok(opened) if opened.is_empty() => {
                return Ok(Verdict::Arrival(self.not_opened(&kept, "no portion came with its key")));
            }
            Ok(opened) => opened,
            Err(error) => return Ok(Verdict::Arrival(self.not_opened(&kept, error))),
        };
        let arrival = match verified.header().kind {
            NoticeKind::Receipt => self.receipt(&verified, &opened)?,
            NoticeKind::Travel
            | NoticeKind::Arrival
            | NoticeKind::Deportation
            | NoticeKind::Response
            | NoticeKind::Correction
            | NoticeKind::Withdrawal
            | NoticeKind::ReleaseRequest
            | NoticeKind::ReleaseDecision => self.notice(verified, &opened)?,
        };
        Ok(Verdict::Arrival(arrival))
    }

    /// The header's signature is checked before anything that can be `MALFORMED`, so only then is the originator known.
    /// What is wrong may still be the broker's doing; the id is not taken as seen, lest that shut out the true one.
    fn not_verified(&self, envelope: &Envelope, refusal: Refusal) -> Arrival {
        let reason = format!("notice {} is not verified: {refusal}", envelope.header().notice_id);
        let originator_known = refusal.code == RefusalCode::Malformed;
        let answered = originator_known && envelope.header().kind != NoticeKind::Receipt;
        self.set_aside(envelope, None, reason, answered.then_some(refusal))
    }

    /// Key wraps are not covered by the originator's signature, nor is it what is left out, so here too the id is not
    /// taken as seen.
    fn not_opened(&self, envelope: &Envelope, error: impl std::fmt::Display) -> Arrival {
        let reason = format!("notice {} does not open: {error}", envelope.header().notice_id);
        let answered = envelope.header().kind != NoticeKind::Receipt;
        let refusal = answered.then(|| Refusal::new(RefusalCode::Malformed, error));
        self.set_aside(envelope, None, reason, refusal)
    }

    fn notice(&self, verified: VerifiedEnvelope, opened: &[OpenedPortion]) -> Result<Arrival, NotExamined> {
        let envelope = verified.envelope();
        let content = match Decoded::of(opened) {
            Ok(content) => content,
            Err(error) => {
                let reason = format!("notice {} cannot be read: {error}", envelope.header().notice_id);
                let refusal = Refusal::new(RefusalCode::Malformed, "a portion's content cannot be read");
                return Ok(self.set_aside(envelope, Some(Seen::of(envelope)), reason, Some(refusal)));
            }
        };
        let refused = |refusal: Refusal| {
            let reason = format!("notice {} is not acted upon: {refusal}", envelope.header().notice_id);
            Ok(self.set_aside(envelope, Some(Seen::of(envelope)), reason, Some(refusal)))
        };
        let review_by = content.review_by();
        if let Some(refusal) = unkeepable(envelope.header(), review_by) {
            return refused(refusal);
        }
        if let Some(refusal) = self.unasked(envelope)? {
            return refused(refusal);
        }
        let purges = match self.purges(envelope, &content)? {
            Ok(purges) => purges,
            Err(refusal) => return refused(refusal),
        };
        let portions = opened.iter().map(|portion| portion.index).collect();
        let receipt = self.office.receipt(Statement::Delivered { portions }, envelope, self.now);
        let reply = self.reply(envelope, &receipt);
        let (directory, at) = (self.directory.clone(), self.now);
        let differences = self.differences(envelope, &content)?.map(Draft);
        let received =
            Box::new(Received { envelope: verified, directory, at, receipt, review_by, differences });
        Ok(Arrival::Notice { received, reply, purges })
    }

    /// Why an answer or a decision is not taken: whoever was not sent what it is about has nothing to answer or decide.
    /// About what was not sent from here nothing can be said.
    fn unasked(&self, envelope: &Envelope) -> Result<Option<Refusal>, StoreError> {
        let header = envelope.header();
        let about = match header.kind {
            NoticeKind::Response | NoticeKind::ReleaseDecision => header.in_reply_to,
            NoticeKind::Travel
            | NoticeKind::Arrival
            | NoticeKind::Deportation
            | NoticeKind::Correction
            | NoticeKind::Withdrawal
            | NoticeKind::Receipt
            | NoticeKind::ReleaseRequest => None,
        };
        let sent = about.map(|about| self.office.store().sent_record(&about)).transpose()?.flatten();
        let stranger = sent.filter(|sent| !sent.recipients.contains(&header.originator));
        Ok(stranger.map(|sent| {
            let why =
                format!("{} was not sent notice {}, which it is about", header.originator, sent.notice_id);
            Refusal::new(RefusalCode::NotOriginator, why)
        }))
    }

    /// What a CORRECTION changes of the newest notice of its chain that is held here, told by the new values alone: the
    /// old ones are deleted. Nothing where none is held, or what is held does not open.
    fn differences(
        &self,
        envelope: &Envelope,
        content: &Decoded,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        if envelope.header().supersedes.is_none() {
            return Ok(None);
        }
        let of_the_same = |id: &NoticeId| -> Result<bool, StoreError> {
            let held = self.office.store().received(id)?;
            Ok(held.is_some_and(|held| held.record.originator == envelope.header().originator))
        };
        for replaced in content.replaced() {
            if !of_the_same(&replaced.notice_id)? {
                continue;
            }
            match showing::open_to_keep(self.office, &replaced.notice_id) {
                Ok((_, old)) => return Ok(Decoded::of(&old).ok().and_then(|old| content.differences(&old))),
                Err(NotShown::Store(error)) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// What a CORRECTION or WITHDRAWAL takes out of force here, each with the PURGED receipt on its way; nothing of other
    /// kinds. What is not held, because it is still on its way or never came, is stated as well.
    fn purges(&self, envelope: &Envelope, content: &Decoded) -> Result<Result<Purges, Refusal>, StoreError> {
        let header = envelope.header();
        let (named, cause) = match (header.supersedes, header.withdraws) {
            (Some(named), _) => (named, PurgeCause::Corrected),
            (None, Some(named)) => (named, PurgeCause::Withdrawn),
            (None, None) => return Ok(Ok(Vec::new())),
        };
        let malformed = |why: &str| Ok(Err(Refusal::new(RefusalCode::Malformed, why)));
        let replaced = content.replaced();
        if replaced.first().map(|newest| newest.notice_id) != Some(named) {
            return malformed("what it takes out of force is not what its header names");
        }
        let mut purges = Vec::new();
        for about in replaced {
            match self.purge(envelope, about, cause)? {
                Ok(None) => {}
                Ok(Some(purge)) => {
                    let reply = self.reply(envelope, &purge.receipt);
                    purges.push((purge, reply));
                }
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        Ok(Ok(purges))
    }

    /// `None` where it was purged before.
    fn purge(
        &self,
        by: &Envelope,
        about: &NoticeRef,
        cause: PurgeCause,
    ) -> Result<Result<Option<Purge>, Refusal>, StoreError> {
        let originator = &by.header().originator;
        let id = about.notice_id;
        let store = self.office.store();
        // Of what was deleted at its time the proof may have been lost on its way, so it is stated again.
        if store.purged(&id, originator)?.is_some_and(|purged| purged.cause != PurgeCause::Review) {
            return Ok(Ok(None));
        }
        let held = store.received(&id)?;
        if held.as_ref().is_some_and(|held| held.record.originator != *originator) {
            let why = format!("notice {id} is of another agency, which alone may correct or withdraw it");
            return Ok(Err(Refusal::new(RefusalCode::NotOriginator, why)));
        }
        if held.as_ref().is_some_and(|held| held.record.header_digest != about.header_digest) {
            let why = format!("it names another header of notice {id} than the one that came");
            return Ok(Err(Refusal::new(RefusalCode::Malformed, why)));
        }
        let kept = if held.is_some() { store.envelope(&id)? } else { None };
        let portions = kept.iter().flat_map(Envelope::portions).map(|portion| portion.index).collect();
        let statement = Statement::Purged { cause, portions };
        let receipt = self.office.receipt_about(statement, about, self.now);
        let (originator, at, by) = (originator.clone(), self.now, Some(by.header().notice_id));
        Ok(Ok(Some(Purge { notice_id: id, originator, at, cause, by, receipt })))
    }

    fn receipt(&self, verified: &VerifiedEnvelope, opened: &[OpenedPortion]) -> Result<Arrival, NotExamined> {
        let envelope = verified.envelope();
        let carrier = Seen::of(envelope);
        let refused = |reason: String| self.set_aside(envelope, Some(carrier), reason, None);
        let receipt = match content::receipt(opened) {
            Ok(receipt) => receipt,
            Err(error) => return Ok(refused(format!("a RECEIPT cannot be read: {error}"))),
        };
        let notice_id = receipt.receipt().notice_id;
        let sent = notice_id.map(|id| self.office.store().sent_facts(&id)).transpose()?.flatten();
        let Some(sent) = sent else {
            return Ok(refused("a receipt about a notice that was not sent from here".to_owned()));
        };
        let originator = &verified.header().originator;
        if receipt.receipt().kind == ReceiptKind::Purged && !sent.recipients.contains(originator) {
            // A correction goes to whom it newly concerns too; that those hold nothing of what was corrected is no news.
            return Ok(Arrival::Again(carrier));
        }
        Ok(match CountedReceipt::of_recipient(receipt, originator, &sent, &self.directory) {
            Ok(receipt) => Arrival::Receipt { carrier, receipt: Box::new(receipt) },
            Err(error) => refused(format!("a receipt from {originator} does not count: {error}")),
        })
    }

    fn set_aside(
        &self,
        envelope: &Envelope,
        seen: Option<Seen>,
        reason: String,
        refusal: Option<Refusal>,
    ) -> Arrival {
        let rejected = |why| self.office.receipt(Statement::Rejected(why), envelope, self.now);
        let receipt = refusal.map(rejected);
        let reply = receipt.as_ref().and_then(|receipt| self.reply(envelope, receipt));
        let (bytes, at, reason) = (envelope.encode(), self.now, Reason::new(reason));
        let aside = SetAside { seen, bytes, at, reason, receipt };
        Arrival::SetAside { aside: Box::new(aside), reply }
    }

    fn reply(&self, about: &Envelope, receipt: &SignedReceipt) -> Option<Box<Outgoing>> {
        self.office.reply(about.header(), receipt, &self.directory, self.now)
    }
}

/// Why what is said of persons may not be kept as its originator wants: for no stated time, for longer than anything is,
/// or for so short that nobody could read it. DELIVERED must not be had for what is deleted before it is seen.
fn unkeepable(header: &Header, review_by: Option<Timestamp>) -> Option<Refusal> {
    if !header.kind.tells_of_persons() {
        return None;
    }
    let latest = header.created_at.plus(REVIEW_MAX);
    let why = match review_by {
        None => "it says nothing of how long it may be kept".to_owned(),
        Some(at) if at < header.expires_at => {
            format!("review_by, {at}, is before expires_at, {}", header.expires_at)
        }
        Some(at) if at > latest => format!("review_by, {at}, is after {latest}, the latest that is allowed"),
        Some(_) => return None,
    };
    Some(Refusal::new(RefusalCode::Malformed, why))
}
