//! The values of the key space: hand-made, fixed layouts, read strictly.

use bytes::{Buf, BufMut, Bytes};
use valise_proto::envelope::Precedence;
use valise_proto::id::{AgencyId, Digest, NoticeId, Timestamp};
use valise_proto::wire::session::Cursor;

/// What is kept of a notice beside its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoticeRecord {
    pub(super) header_digest: Digest,
    pub(super) cursor: Cursor,
    /// How many chunks the body has.
    pub(super) chunks: u16,
    pub(super) precedence: Precedence,
    pub(super) expires_at: Timestamp,
    pub(super) originator: AgencyId,
    /// Whether it is a receipt that its originator owed. Formats 1 and 2 did not say so.
    pub(super) is_receipt: bool,
    pub(super) receipt: Bytes,
    pub(super) undelivered: Vec<AgencyId>,
    /// Recipients that do not wait for it any more. Format 1 did not keep them.
    pub(super) settled: Vec<AgencyId>,
}

/// Stands before the id of a recipient that is settled; no id begins with it.
const SETTLED: u8 = b'-';
/// Stands in the place of a recipient where the notice is a receipt.
const RECEIPT: u8 = b'+';

impl NoticeRecord {
    /// `agency` waits for the notice no more; returns whether it did.
    pub(super) fn settle(&mut self, agency: &AgencyId) -> bool {
        let place = self.undelivered.iter().position(|waiting| waiting == agency);
        if let Some(place) = place {
            self.settled.push(self.undelivered.remove(place));
        }
        place.is_some()
    }

    /// Nobody waits for the notice any more; returns who did.
    pub(super) fn settle_all(&mut self) -> Vec<AgencyId> {
        let waiting = std::mem::take(&mut self.undelivered);
        self.settled.extend(waiting.iter().cloned());
        waiting
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.receipt.len());
        out.put_slice(self.header_digest.as_bytes());
        out.put_u64(self.cursor.number());
        out.put_u16(self.chunks);
        out.put_u8(precedence_byte(self.precedence));
        out.put_u64(self.expires_at.millis());
        put(&mut out, self.originator.as_str().as_bytes());
        put(&mut out, &self.receipt);
        if self.is_receipt {
            put(&mut out, &[RECEIPT]);
        }
        for agency in &self.undelivered {
            put(&mut out, agency.as_str().as_bytes());
        }
        for agency in &self.settled {
            put(&mut out, &[&[SETTLED], agency.as_str().as_bytes()].concat());
        }
        out
    }

    pub(super) fn decode(mut value: &[u8]) -> Option<Self> {
        let header_digest = Digest::from_bytes(take(&mut value, Digest::LEN)?).ok()?;
        let cursor = Cursor::new(value.try_get_u64().ok()?);
        let chunks = value.try_get_u16().ok()?;
        let byte = value.try_get_u8().ok()?;
        let precedence = Precedence::ALL.into_iter().find(|one| precedence_byte(*one) == byte)?;
        let expires_at = Timestamp::from_millis(value.try_get_u64().ok()?);
        let originator = agency(&mut value)?;
        let receipt = Bytes::copy_from_slice(field(&mut value)?);
        let (mut undelivered, mut settled, mut is_receipt) = (Vec::new(), Vec::new(), false);
        while !value.is_empty() {
            match field(&mut value)? {
                [RECEIPT] => is_receipt = true,
                [SETTLED, name @ ..] => settled.push(agency_id(name)?),
                name => undelivered.push(agency_id(name)?),
            }
        }
        Some(Self {
            header_digest,
            cursor,
            chunks,
            precedence,
            expires_at,
            originator,
            is_receipt,
            receipt,
            undelivered,
            settled,
        })
    }
}

/// What stands in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum QueueRecord {
    /// The envelope kept under the item's cursor.
    Notice(NoticeId),
    /// An encoded signed receipt.
    Receipt(Bytes),
}

impl QueueRecord {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Notice(id) => [&[1], id.as_bytes().as_slice()].concat(),
            Self::Receipt(receipt) => [&[2], receipt.as_ref()].concat(),
        }
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        match value.split_first()? {
            (1, id) => NoticeId::from_bytes(id).ok().map(Self::Notice),
            (2, receipt) => Some(Self::Receipt(Bytes::copy_from_slice(receipt))),
            _ => None,
        }
    }
}

/// The counters that the next change goes on from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) last_cursor: u64,
    pub(super) log_len: u64,
}

impl Counters {
    pub(super) fn encode(self) -> Vec<u8> {
        [self.last_cursor.to_be_bytes(), self.log_len.to_be_bytes()].concat()
    }

    pub(super) fn decode(mut value: &[u8]) -> Option<Self> {
        let counters = Self { last_cursor: value.try_get_u64().ok()?, log_len: value.try_get_u64().ok()? };
        value.is_empty().then_some(counters)
    }
}

fn precedence_byte(precedence: Precedence) -> u8 {
    match precedence {
        Precedence::Routine => 1,
        Precedence::Priority => 2,
        Precedence::Immediate => 3,
        Precedence::Flash => 4,
    }
}

/// Writes a field behind its length; receipts and ids are far below 64 KiB.
fn put(out: &mut Vec<u8>, field: &[u8]) {
    out.put_u16(u16::try_from(field.len()).unwrap_or(u16::MAX));
    out.put_slice(field);
}

fn field<'a>(value: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::from(value.try_get_u16().ok()?);
    take(value, len)
}

fn take<'a>(value: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = value.split_at_checked(len)?;
    *value = rest;
    Some(taken)
}

fn agency(value: &mut &[u8]) -> Option<AgencyId> {
    agency_id(field(value)?)
}

fn agency_id(name: &[u8]) -> Option<AgencyId> {
    std::str::from_utf8(name).ok()?.parse().ok()
}
