//! A look at every record of a store that no broker has open.
//!
//! Claimed: what is found sound is read by the broker without a fault, every notice that somebody still waits for is there
//! whole and as it was signed, stands in every inbox it should and is due to expire, and every ACCEPTED receipt on record
//! is in the log. It holds because each record is decoded as the broker decodes it, and each reference is followed both ways. A
//! signature is not verified: recipients do that, with the keys of the time.
//!
//! What cannot be read is set apart under a key of its own if that is asked for, so that the rest goes on.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use valise_proto::crypto::sha256;
use valise_proto::envelope::Envelope;
use valise_proto::id::{AgencyId, Digest, NoticeId, Timestamp};
use valise_proto::log::{self, ENTRY_LEN, Entry, EntryKind};
use valise_proto::receipt::SignedReceipt;
use valise_proto::wire::limits::Limits;

use super::super::keys;
use super::super::record::{NoticeRecord, QueueRecord};
use super::super::{DueKey, StoreError};
use super::{SledStore, failed, hex};

/// Most findings that are listed; the others are counted.
const FINDINGS_MAX: usize = 10_000;
/// How many records pass between two words on the progress.
const PROGRESS_EVERY: u64 = 100_000;

/// Something that is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its key, in hexadecimal.
    pub record: String,
    /// The notice it belongs to, where that is known.
    pub notice: Option<NoticeId>,
    /// Who should be told and send anew, where a notice is lost.
    pub originator: Option<AgencyId>,
    /// What is wrong.
    pub problem: String,
}

/// How a store was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Records walked.
    pub records: u64,
    /// Notices that are remembered.
    pub notices: u64,
    /// Those of them that somebody waits for.
    pub waiting: u64,
    /// Items of inboxes.
    pub queued: u64,
    /// Entries of the log.
    pub log_entries: u64,
    /// Root of the log's Merkle tree (RFC 6962); `None` where an entry cannot be read.
    pub log_root: Option<Digest>,
    /// What was set apart earlier, or now.
    pub quarantined: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// More findings than are listed.
    pub further_findings: u64,
}

impl Verification {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty() && self.further_findings == 0
    }
}

/// What was read so far, to follow references by.
#[derive(Default)]
struct Walk {
    told: Verification,
    /// The cursors of bodies that must be there, and the notices they are of.
    bodies: BTreeMap<u64, NoticeId>,
    /// Notices, with their cursor and for whom they wait.
    notices: BTreeMap<NoticeId, (u64, BTreeSet<AgencyId>)>,
    due: BTreeSet<NoticeId>,
    /// Notices that the calendar does not name, and when they expire.
    undated: Vec<(NoticeId, Timestamp)>,
    accepted: BTreeSet<Digest>,
    /// What is to be set apart.
    apart: BTreeSet<Vec<u8>>,
}

impl SledStore {
    /// Looks at every record; with `quarantine`, sets apart what cannot be read, and puts back into the calendar what it
    /// lost. `progress` is told now and then how many
    /// records were walked.
    ///
    /// # Errors
    /// [`StoreError`] where the store itself cannot be read.
    pub fn verify(
        &mut self,
        quarantine: bool,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Verification, StoreError> {
        let mut walk = Walk::default();
        // The log and the calendar first: notices are looked up in both.
        walk.log(&self.db, self.counters.log_len)?;
        walk.calendar(&self.db)?;
        for entry in self.db.scan_prefix([keys::NOTICE]) {
            let (key, value) = entry.map_err(failed)?;
            walk.count(progress);
            walk.notice(&self.db, &key, &value)?;
        }
        for entry in self.db.iter() {
            let (key, value) = entry.map_err(failed)?;
            if key.first() != Some(&keys::NOTICE) {
                walk.count(progress);
            }
            walk.other(&key, &value);
        }
        if quarantine && !(walk.apart.is_empty() && walk.undated.is_empty()) {
            let mut batch = sled::Batch::default();
            for key in &walk.apart {
                if let Some(value) = self.db.get(key).map_err(failed)? {
                    batch.remove(key.as_slice());
                    batch.insert(keys::quarantined(key), value);
                    walk.told.quarantined += 1;
                }
            }
            for (first, expires_at) in &walk.undated {
                let due = DueKey { second: DueKey::second_of(*expires_at), first: *first };
                batch.insert(keys::due(due), &[]);
            }
            self.db.apply_batch(batch).map_err(failed)?;
            super::Store::make_durable(self)?;
        }
        Ok(walk.told)
    }
}

impl Walk {
    fn count(&mut self, progress: &mut dyn FnMut(u64)) {
        self.told.records += 1;
        if self.told.records.is_multiple_of(PROGRESS_EVERY) {
            progress(self.told.records);
        }
    }

    fn find(&mut self, key: &[u8], of: Option<(NoticeId, Option<&AgencyId>)>, problem: impl Into<String>) {
        if self.told.findings.len() >= FINDINGS_MAX {
            self.told.further_findings += 1;
            return;
        }
        self.told.findings.push(Finding {
            record: hex(key),
            notice: of.map(|(id, _)| id),
            originator: of.and_then(|(_, originator)| originator.cloned()),
            problem: problem.into(),
        });
    }

    fn log(&mut self, db: &sled::Db, len: u64) -> Result<(), StoreError> {
        let (mut leaves, mut whole) = (Vec::new(), true);
        for entry in db.scan_prefix(keys::LOG) {
            let (key, value) = entry.map_err(failed)?;
            let first = u64::try_from(leaves.len()).unwrap_or(u64::MAX);
            let (entries, rest) = value.as_chunks::<ENTRY_LEN>();
            if key.as_ref() != keys::log(first) || !rest.is_empty() {
                whole = false;
                self.find(&key, None, "the log has a gap before it, or it holds no whole number of entries");
            }
            for bytes in entries {
                match Entry::decode(bytes) {
                    Some(entry) => {
                        if entry.kind == EntryKind::Accepted {
                            self.accepted.insert(entry.receipt_digest);
                        }
                    }
                    None => {
                        whole = false;
                        self.find(&key, None, "an entry of the log cannot be read");
                    }
                }
                leaves.push(log::leaf_hash(bytes));
            }
        }
        self.told.log_entries = u64::try_from(leaves.len()).unwrap_or(u64::MAX);
        if self.told.log_entries != len {
            whole = false;
            let problem = format!("the log has {} entries; {len} were written", self.told.log_entries);
            self.find(keys::COUNTERS, None, problem);
        }
        self.told.log_root = whole.then(|| log::root(&leaves));
        Ok(())
    }

    fn calendar(&mut self, db: &sled::Db) -> Result<(), StoreError> {
        for entry in db.scan_prefix(keys::DUE) {
            let (key, value) = entry.map_err(failed)?;
            match keys::due_of(&key).and_then(|due| keys::due_notices(due, &value)) {
                Some(notices) => self.due.extend(notices),
                None => {
                    self.find(&key, None, "an entry of the calendar cannot be read");
                    self.apart.insert(key.to_vec());
                }
            }
        }
        Ok(())
    }

    fn notice(&mut self, db: &sled::Db, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.told.notices += 1;
        let id = key.get(1..).and_then(|id| NoticeId::from_bytes(id).ok());
        let (Some(id), Some(record)) = (id, NoticeRecord::decode(value)) else {
            self.find(key, id.map(|id| (id, None)), "the record of a notice cannot be read");
            self.apart.insert(key.to_vec());
            return Ok(());
        };
        let of = Some((id, Some(&record.originator)));
        if !self.accepted.contains(&sha256(&[&record.receipt])) {
            self.find(key, of, "its ACCEPTED receipt is not in the log");
        }
        let receipt = SignedReceipt::decode(record.receipt.clone()).ok();
        let about = receipt.map(|signed| (signed.receipt().notice_id, signed.receipt().header_digest));
        if about != Some((Some(id), record.header_digest)) {
            self.find(key, of, "its ACCEPTED receipt cannot be read, or is about another notice");
        }
        if !self.due.contains(&id) {
            self.undated.push((id, record.expires_at));
            self.find(key, of, "the calendar does not name it, so it would never expire or be forgotten");
        }
        let waiting: BTreeSet<AgencyId> = record.undelivered.iter().cloned().collect();
        if !waiting.is_empty() {
            self.told.waiting += 1;
            self.waiting(db, key, id, &record)?;
        }
        self.notices.insert(id, (record.cursor.number(), waiting));
        Ok(())
    }

    /// A notice that somebody waits for: its body, and its place in their inboxes.
    fn waiting(
        &mut self,
        db: &sled::Db,
        key: &[u8],
        id: NoticeId,
        record: &NoticeRecord,
    ) -> Result<(), StoreError> {
        let of = Some((id, Some(&record.originator)));
        self.bodies.insert(record.cursor.number(), id);
        let items: Vec<Vec<u8>> = record
            .undelivered
            .iter()
            .map(|agency| keys::item(agency, record.precedence, record.cursor))
            .collect();
        let (mut body, mut chunks) = (BytesMut::new(), Vec::new());
        for entry in db.scan_prefix(keys::body(record.cursor)) {
            let (key, value) = entry.map_err(failed)?;
            body.extend_from_slice(&value);
            chunks.push(key.to_vec());
        }
        if let Some(problem) = problem_of_body(record, id, chunks.len(), body.freeze()) {
            self.find(
                key,
                of,
                format!("{problem}: it cannot be delivered, and its originator should send it anew"),
            );
            // Nothing is accepted under its id any more: its originator sends it anew, under another.
            self.apart.extend(chunks);
            self.apart.extend(items);
            self.apart.insert(key.to_vec());
            return Ok(());
        }
        for (item, agency) in items.iter().zip(&record.undelivered) {
            if db.get(item).map_err(failed)?.is_none() {
                self.find(
                    key,
                    of,
                    format!("it is not in the inbox of {agency}, which has not acknowledged it"),
                );
            }
        }
        Ok(())
    }

    fn other(&mut self, key: &[u8], value: &[u8]) {
        let problem = match key.first().copied() {
            Some(keys::BODY) => {
                let cursor = key.get(1..9).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
                let of_a_notice = cursor.is_some_and(|cursor| self.bodies.contains_key(&cursor));
                (!of_a_notice).then_some("part of an envelope that no notice refers to")
            }
            Some(keys::QUEUE) => {
                self.told.queued += 1;
                self.problem_of_item(key, value)
            }
            Some(keys::QUARANTINE) => {
                self.told.quarantined += 1;
                None
            }
            Some(keys::META) => {
                (key != keys::FORMAT && key != keys::COUNTERS).then_some("a record of an unknown kind")
            }
            // Walked before.
            Some(keys::NOTICE | keys::LOG_PREFIX | keys::DUE_PREFIX) => None,
            Some(_) | None => Some("a record of an unknown kind"),
        };
        if let Some(problem) = problem
            && !self.apart.contains(key)
        {
            self.find(key, None, problem);
            self.apart.insert(key.to_vec());
        }
    }

    fn problem_of_item(&self, key: &[u8], value: &[u8]) -> Option<&'static str> {
        let (Some((agency, _)), Some(cursor)) = (keys::queue_of(key), keys::cursor_of(key)) else {
            return Some("the name of an item of an inbox cannot be read");
        };
        match QueueRecord::decode(value) {
            None => Some("an item of an inbox cannot be read"),
            Some(QueueRecord::Receipt(receipt)) => {
                SignedReceipt::decode(receipt).is_err().then_some("a receipt in an inbox cannot be read")
            }
            Some(QueueRecord::Notice(id)) => {
                let stands = self
                    .notices
                    .get(&id)
                    .is_some_and(|(of, waiting)| *of == cursor.number() && waiting.contains(&agency));
                (!stands).then_some("an item of an inbox whose notice is not there, or waits for others")
            }
        }
    }
}

/// What is wrong with the body of a notice, if anything is.
fn problem_of_body(record: &NoticeRecord, id: NoticeId, chunks: usize, body: Bytes) -> Option<String> {
    if chunks != usize::from(record.chunks) {
        return Some(format!("{chunks} of the {} pieces of its envelope are there", record.chunks));
    }
    let envelope = match Envelope::decode(body, &Limits::DEFAULT) {
        Ok(envelope) => envelope,
        Err(error) => return Some(format!("its envelope cannot be read ({error})")),
    };
    let header = envelope.header();
    if envelope.header_digest() != record.header_digest || header.notice_id != id {
        return Some("the header of its envelope is not the one that was accepted".to_owned());
    }
    let as_signed = envelope.portions().iter().all(|portion| {
        let signed = header.portions.get(portion.index.get());
        signed.is_some_and(|signed| sha256(&[&portion.ciphertext]) == signed.ciphertext_sha256)
    });
    (!as_signed).then(|| "a portion of its envelope is not the one that was signed".to_owned())
}
