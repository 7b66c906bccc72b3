//! The keys of the one key space, so that one sled batch holds a whole change.
//!
//! | prefix | key | value |
//! |---|---|---|
//! | `b` | cursor, chunk number | a chunk of an envelope |
//! | `l` | index of the first | up to [`LOG_ENTRIES_MAX`] log entries, one after the other |
//! | `m` | name | format, counters |
//! | `n` | notice id | [`super::record::NoticeRecord`] |
//! | `q` | agency, precedence, cursor | [`super::record::QueueRecord`] |
//! | `x` | time in whole seconds, notice id | further ids: what is to be looked at then, that notice first |
//! | `z` | a key of the above | the value that could not be read, set apart when it was met or by `valise-broker verify-store --quarantine` |
//!
//! Numbers are big-endian, so that the order of keys is the order of numbers.

use valise_proto::envelope::Precedence;
use valise_proto::id::{AgencyId, NoticeId};
use valise_proto::log::ENTRY_LEN;
use valise_proto::wire::session::Cursor;

use super::DueKey;

/// Longest chunk of an envelope. A leaf page of sled holds up to 17 items before it splits, and a page above a quarter
/// of a segment (128 KiB) goes to a file of its own that sled does not sync; 17 chunks and their keys stay far below.
pub(super) const CHUNK_BYTES_MAX: usize = 5 * 1024;

/// Log entries in one value: a batch costs one write for many, and a page stays as small as with chunks.
pub(super) const LOG_ENTRIES_MAX: u64 = 64;
/// Bytes of a full value of the log.
pub(super) const LOG_VALUE_BYTES_MAX: usize = 64 * ENTRY_LEN;

/// Notices of one due entry.
pub(super) const DUE_NOTICES_MAX: usize = 256;

pub(super) const BODY: u8 = b'b';
pub(super) const LOG_PREFIX: u8 = b'l';
pub(super) const META: u8 = b'm';
pub(super) const NOTICE: u8 = b'n';
pub(super) const QUEUE: u8 = b'q';
pub(super) const DUE_PREFIX: u8 = b'x';
pub(super) const QUARANTINE: u8 = b'z';
pub(super) const LOG: &[u8] = b"l";
pub(super) const FORMAT: &[u8] = b"mformat";
pub(super) const COUNTERS: &[u8] = b"mcounters";
pub(super) const QUEUES: &[u8] = b"q";
pub(super) const DUE: &[u8] = b"x";

pub(super) fn body(cursor: Cursor) -> Vec<u8> {
    key(b'b', &[&cursor.number().to_be_bytes()])
}

pub(super) fn chunk(cursor: Cursor, number: u16) -> Vec<u8> {
    key(b'b', &[&cursor.number().to_be_bytes(), &number.to_be_bytes()])
}

pub(super) fn log(index: u64) -> Vec<u8> {
    key(b'l', &[&index.to_be_bytes()])
}

pub(super) fn notice(id: &NoticeId) -> Vec<u8> {
    key(b'n', &[id.as_bytes()])
}

pub(super) fn queue(agency: &AgencyId, precedence: Precedence) -> Vec<u8> {
    // The zero byte ends the agency: no id contains one, and no id is the beginning of another then.
    key(b'q', &[agency.as_str().as_bytes(), &[0, rank(precedence)]])
}

pub(super) fn item(agency: &AgencyId, precedence: Precedence, cursor: Cursor) -> Vec<u8> {
    key(b'q', &[agency.as_str().as_bytes(), &[0, rank(precedence)], &cursor.number().to_be_bytes()])
}

pub(super) fn due(due: DueKey) -> Vec<u8> {
    key(b'x', &[&due.second.to_be_bytes(), due.first.as_bytes()])
}

/// Where what cannot be read is set apart.
pub(super) fn quarantined(of: &[u8]) -> Vec<u8> {
    key(QUARANTINE, &[of])
}

/// The cursor at the end of an item's key.
pub(super) fn cursor_of(key: &[u8]) -> Option<Cursor> {
    key.last_chunk::<8>().map(|bytes| Cursor::new(u64::from_be_bytes(*bytes)))
}

/// The agency and precedence of an item's key.
pub(super) fn queue_of(key: &[u8]) -> Option<(AgencyId, Precedence)> {
    let rest = key.strip_prefix(QUEUES)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let agency = std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()?;
    let rank_byte = rest.get(end + 1)?;
    let precedence = Precedence::ALL.into_iter().find(|precedence| rank(*precedence) == *rank_byte)?;
    Some((agency, precedence))
}

/// The time and first notice of a due key.
pub(super) fn due_of(key: &[u8]) -> Option<DueKey> {
    let (second, first) = key.strip_prefix(DUE)?.split_first_chunk::<8>()?;
    Some(DueKey { second: u64::from_be_bytes(*second), first: NoticeId::from_bytes(first).ok()? })
}

/// The notices of a due entry: the one of the key, then those of the value.
pub(super) fn due_notices(due: DueKey, value: &[u8]) -> Option<Vec<NoticeId>> {
    let (ids, rest) = value.as_chunks::<16>();
    let further = ids.iter().map(|id| NoticeId::from_bytes(id).ok());
    let all = std::iter::once(Some(due.first)).chain(further).collect::<Option<_>>();
    all.filter(|_| rest.is_empty())
}

fn rank(precedence: Precedence) -> u8 {
    match precedence {
        Precedence::Routine => 1,
        Precedence::Priority => 2,
        Precedence::Immediate => 3,
        Precedence::Flash => 4,
    }
}

fn key(prefix: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    out.push(prefix);
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}
