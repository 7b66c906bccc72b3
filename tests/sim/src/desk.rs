//! What an agency does with notices in the simulated world: it composes, examines and reads them with the real
//! cryptography, as `valise_agent::compose` and `valise_agent::incoming` do.

use std::sync::Arc;

use bytes::Bytes;
use valise_agent::core::{
    Arrival, CountedReceipt, OfficerStep, Outgoing, Reason, Received, Seen, SetAside, Step,
};
use valise_agent::incoming::may_pass_by_a_newer_directory;
use valise_proto::crypto::SigningKey;
use valise_proto::directory::Directory;
use valise_proto::envelope::{
    Envelope, HeaderDraft, NoticeKind, OpenedPortion, PlainPortion, PortionIndex, SealFor, VerifiedEnvelope,
    seal,
};
use valise_proto::id::{NoticeId, Timestamp};
use valise_proto::label::{Classification, Label};
use valise_proto::receipt::{Receipt, ReceiptKind, SignedReceipt};
use valise_proto::refusal::{Refusal, RefusalCode};
use valise_proto::wire::session::Item;
use zeroize::Zeroizing;

use crate::Violation;
use crate::agent::Agent;
use crate::exchange::{agency_identity, keyring, policy};
use crate::stage::Stage;

/// How long a receipt may wait at the broker.
const RECEIPT_LIFETIME: std::time::Duration = std::time::Duration::from_secs(3_600);

/// What an examination led to.
pub(crate) enum Verdict {
    Arrival(Box<Arrival>),
    NeedsNewerDirectory,
    /// The directory held is not to be acted upon.
    NotExamined,
}

/// What cannot be used is kept as it came.
pub(crate) fn unreadable(bytes: Bytes, reason: &str, now: Timestamp) -> Arrival {
    let aside = SetAside { seen: None, bytes, at: now, reason: Reason::new(reason), receipt: None };
    Arrival::SetAside { aside: Box::new(aside), reply: None }
}

impl Agent {
    /// The newest of its keys that the directory lists.
    pub(crate) fn signing_key(
        &self,
        directory: &Directory,
        now: Timestamp,
    ) -> Result<&'static SigningKey, Violation> {
        let keys = &keyring(self.index)?.signing;
        let counts = |key: &&SigningKey| {
            let entry = directory.agency(&self.id);
            let listed =
                entry.and_then(|entry| entry.signing_keys.iter().find(|one| one.key_id == key.key_id()));
            listed.is_some_and(|listed| listed.is_valid_at(now))
        };
        let first = keys.first().ok_or_else(|| Violation::surprise("an empty keyring"))?;
        Ok(keys.iter().rev().find(counts).unwrap_or(first))
    }

    /// Examines what a broker delivered. `last_try` says that no newer directory is to be had.
    pub(crate) fn examine(
        &mut self,
        item: Item,
        last_try: bool,
        stage: &mut Stage,
    ) -> Result<Verdict, Violation> {
        let now = self.now(stage);
        let Some(directory) = self.process.as_ref().map(|process| Arc::clone(&process.directory)) else {
            return Ok(Verdict::NotExamined);
        };
        if directory.check_fresh(now).is_err() {
            return Ok(Verdict::NotExamined);
        }
        let arrival = match item {
            Item::Receipt(receipt) => self.expiry(*receipt, &directory, now),
            Item::Envelope(envelope) => match self.known(&envelope, now) {
                Some(known) => known,
                None => return self.examine_envelope(*envelope, &directory, last_try, stage),
            },
        };
        Ok(Verdict::Arrival(Box::new(arrival)))
    }

    fn known(&self, envelope: &Envelope, now: Timestamp) -> Option<Arrival> {
        let seen = Seen::of(envelope);
        if self.disk.has_seen(&seen) || self.disk.received_digest(&seen.notice_id) == Some(seen.header_digest)
        {
            return Some(Arrival::Again(seen));
        }
        if self.disk.received_digest(&seen.notice_id).is_some() {
            return Some(unreadable(envelope.encode(), "another envelope was taken in under this id", now));
        }
        let own = self.disk.sent.contains_key(&seen.notice_id);
        own.then(|| unreadable(envelope.encode(), "the id is that of an envelope of our own", now))
    }

    fn expiry(&self, receipt: SignedReceipt, directory: &Directory, now: Timestamp) -> Arrival {
        let bytes = receipt.encode();
        let sent = receipt.receipt().notice_id.and_then(|id| self.disk.sent.get(&id));
        let Some(sent) = sent else { return unreadable(bytes, "EXPIRED about something not on record", now) };
        match CountedReceipt::of_expiry(receipt, sent, directory) {
            Ok(counted) => Arrival::Expiry(Box::new(counted)),
            Err(error) => unreadable(bytes, &error.to_string(), now),
        }
    }

    fn examine_envelope(
        &mut self,
        envelope: Envelope,
        directory: &Arc<Directory>,
        last_try: bool,
        stage: &mut Stage,
    ) -> Result<Verdict, Violation> {
        let now = self.now(stage);
        let newer = envelope.header().directory_version > directory.version();
        let kept = envelope.clone();
        let verified = match stage.verify(envelope, directory, &self.id) {
            Ok(verified) => verified,
            Err(refusal) if !last_try && (newer || may_pass_by_a_newer_directory(refusal.code)) => {
                return Ok(Verdict::NeedsNewerDirectory);
            }
            Err(refusal) => {
                let known = refusal.code == RefusalCode::Malformed;
                let told = (known && kept.header().kind != NoticeKind::Receipt).then(|| refusal.clone());
                return self.set_aside(&kept, None, &refusal.to_string(), told, directory, stage);
            }
        };
        let opened = match verified.open(&self.id, &keyring(self.index)?.sealing) {
            Ok(opened) if !opened.is_empty() => opened,
            Ok(_) | Err(_) => {
                let told = Refusal::new(RefusalCode::Malformed, "it does not open");
                let told = (kept.header().kind != NoticeKind::Receipt).then_some(told);
                return self.set_aside(&kept, None, "it does not open", told, directory, stage);
            }
        };
        stage.model.opened(self.index, &verified, &opened)?;
        if verified.header().kind == NoticeKind::Receipt {
            return self.receipt(&verified, &opened, directory, stage);
        }
        let portions = opened.iter().map(|portion| portion.index).collect();
        let receipt = self.state(ReceiptKind::Delivered, &kept, portions, None, directory, now)?;
        let reply = self.reply(&kept, &receipt, directory, stage)?;
        let directory = Arc::clone(directory);
        let received = Box::new(Received {
            envelope: verified,
            directory,
            at: now,
            receipt,
            review_by: None,
            differences: None,
        });
        Ok(Verdict::Arrival(Box::new(Arrival::Notice { received, reply, purges: Vec::new() })))
    }

    fn receipt(
        &mut self,
        verified: &VerifiedEnvelope,
        opened: &[OpenedPortion],
        directory: &Arc<Directory>,
        stage: &mut Stage,
    ) -> Result<Verdict, Violation> {
        let envelope = verified.envelope();
        let carrier = Seen::of(envelope);
        let parts = opened.first().map(|portion| Bytes::copy_from_slice(portion.parts())).unwrap_or_default();
        let receipt = SignedReceipt::decode(parts).map_err(Violation::surprise)?;
        let sent = receipt.receipt().notice_id.and_then(|id| self.disk.sent.get(&id));
        let Some(sent) = sent else {
            let reason = "a receipt about a notice that was not sent from here";
            return self.set_aside(envelope, Some(carrier), reason, None, directory, stage);
        };
        let originator = &verified.header().originator;
        match CountedReceipt::of_recipient(receipt, originator, sent, directory) {
            Ok(receipt) => {
                Ok(Verdict::Arrival(Box::new(Arrival::Receipt { carrier, receipt: Box::new(receipt) })))
            }
            Err(error) => self.set_aside(envelope, Some(carrier), &error.to_string(), None, directory, stage),
        }
    }

    fn set_aside(
        &mut self,
        envelope: &Envelope,
        seen: Option<Seen>,
        reason: &str,
        refusal: Option<Refusal>,
        directory: &Arc<Directory>,
        stage: &mut Stage,
    ) -> Result<Verdict, Violation> {
        let now = self.now(stage);
        let state =
            |refusal| self.state(ReceiptKind::Rejected, envelope, Vec::new(), Some(refusal), directory, now);
        let receipt = refusal.map(state).transpose()?;
        let reply = match &receipt {
            Some(receipt) => self.reply(envelope, receipt, directory, stage)?,
            None => None,
        };
        let (bytes, reason) = (envelope.encode(), Reason::new(reason));
        let aside = Box::new(SetAside { seen, bytes, at: now, reason, receipt });
        Ok(Verdict::Arrival(Box::new(Arrival::SetAside { aside, reply })))
    }

    fn state(
        &self,
        kind: ReceiptKind,
        about: &Envelope,
        portions: Vec<PortionIndex>,
        refusal: Option<Refusal>,
        directory: &Directory,
        now: Timestamp,
    ) -> Result<SignedReceipt, Violation> {
        let officer = (kind == ReceiptKind::Read).then(|| "A. Officer".to_owned());
        let receipt = Receipt {
            kind,
            notice_id: Some(about.header().notice_id),
            header_digest: about.header_digest(),
            issuer: agency_identity(&self.id)?,
            recipient: None,
            at: now,
            officer,
            refusal,
            portions,
            cause: None,
        };
        Ok(receipt.sign(self.signing_key(directory, now)?))
    }

    /// The envelope that carries a receipt to the originator of what it is about; none where that one has no key.
    fn reply(
        &mut self,
        about: &Envelope,
        receipt: &SignedReceipt,
        directory: &Arc<Directory>,
        stage: &mut Stage,
    ) -> Result<Option<Box<Outgoing>>, Violation> {
        let now = self.now(stage);
        let reader = &about.header().originator;
        let key = directory.agency(reader).and_then(|entry| entry.sealing_key_at(now));
        let Some(key) = key.filter(|_| *reader != self.id) else { return Ok(None) };
        let draft = HeaderDraft {
            kind: NoticeKind::Receipt,
            precedence: about.header().precedence,
            expires_at: now.plus(RECEIPT_LIFETIME),
            in_reply_to: Some(about.header().notice_id),
            ..self.draft(now, directory.version())
        };
        let label = Label::plain(policy()?, Classification::Unclassified);
        let parts = Zeroizing::new(receipt.encode().to_vec());
        let portions = PortionIndex::new(0).into_iter().collect();
        let recipient = SealFor { agency: reader.clone(), key: key.key.clone(), portions };
        let plain = [PlainPortion { label, parts }];
        let sealed = seal(draft, &plain, &[recipient], &mut self.dice).map_err(Violation::surprise)?;
        let envelope = sealed.sign(self.signing_key(directory, now)?);
        stage.model.composed(self.index, &envelope, &plain);
        Ok(Some(Box::new(Outgoing::new(envelope, None))))
    }

    /// A header of ours before it says anything.
    pub(crate) fn draft(&mut self, now: Timestamp, directory_version: u64) -> HeaderDraft {
        let mut random = [0; 10];
        rand_core::Rng::fill_bytes(&mut self.dice, &mut random);
        HeaderDraft {
            notice_id: NoticeId::new(now, random),
            kind: NoticeKind::Deportation,
            originator: self.id.clone(),
            precedence: valise_proto::envelope::Precedence::Routine,
            created_at: now,
            expires_at: now,
            respond_by: None,
            directory_version,
            in_reply_to: None,
            supersedes: None,
            withdraws: None,
            derived_from: None,
        }
    }

    /// An officer opens a notice.
    pub(crate) fn read(&mut self, notice_id: NoticeId, stage: &mut Stage) -> Result<(), Violation> {
        let now = self.now(stage);
        let Some(directory) = self.process.as_ref().map(|process| Arc::clone(&process.directory)) else {
            return Ok(());
        };
        let Some(envelope) = self.disk.received.get(&notice_id).map(|verified| verified.envelope().clone())
        else {
            return Ok(());
        };
        self.unread.remove(&notice_id);
        let portions: Vec<_> = envelope.portions().iter().map(|portion| portion.index).collect();
        let receipt = self.state(ReceiptKind::Read, &envelope, portions, None, &directory, now)?;
        let reply = self.reply(&envelope, &receipt, &directory, stage)?;
        let already = self.disk.is_read(&notice_id);
        let officer = "A. Officer".to_owned();
        if let Some(process) = &mut self.process {
            let step = OfficerStep { notice_id, step: Step::Read, officer, at: now, receipt, reply };
            process.core.handle_step(step, Vec::new(), already);
        }
        self.run(stage)
    }
}
