//! The file of a backup.
//!
//! A line with the format, then blocks. A block is the length of its content (32 bits, big-endian), the content, and
//! SHA-256 of the digest before it and the content; the first digest is that of the line. An empty block ends the file.
//! So a file that was cut short, or in which a byte changed or blocks were exchanged, is told from a whole one before
//! anything of the spoilt block is used.
//!
//! A content is records: a byte for the kind, then key and value, each behind its length (32 bits). Records are put into
//! effect in order.

use std::io::{self, Read, Write};

use bytes::{Buf, BufMut};
use thiserror::Error;
use valise_proto::crypto::sha256;
use valise_proto::id::Digest;

/// The format written and known here.
const FORMAT: &str = "1";
const TITLE: &str = "valise-broker backup ";
/// Longest first line.
const LINE_BYTES_MAX: usize = 64;
/// A block is written once it is so long.
const BLOCK_BYTES: usize = 256 * 1024;
/// Longest block: one more record, which may be a published file.
pub(super) const BLOCK_BYTES_MAX: usize = 16 * 1024 * 1024;

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const FILE: u8 = 3;

/// A backup cannot be read.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// Reading failed.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it is no backup of a broker (valise-broker backup writes one)")]
    Unknown,
    /// A newer program wrote it.
    #[error("it has format {got}; this program knows format {FORMAT}: use the newer valise-broker")]
    Format {
        /// Its format.
        got: String,
    },
    /// It was cut short.
    #[error("it ends before its end: it was not written whole; use another backup")]
    Short,
    /// It was changed.
    #[error("block {number} was changed after it was written; use another backup")]
    Damaged {
        /// Which, from 0.
        number: u64,
    },
}

/// A record of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A key of the store and its value; the later of two counts.
    Put(Vec<u8>, Vec<u8>),
    /// A key that is not there after all.
    Remove(Vec<u8>),
    /// A file beside the store.
    File(String, Vec<u8>),
}

impl Record {
    fn encode(&self, out: &mut Vec<u8>) {
        let (kind, key, value): (u8, &[u8], &[u8]) = match self {
            Self::Put(key, value) => (PUT, key, value),
            Self::Remove(key) => (REMOVE, key, &[]),
            Self::File(name, bytes) => (FILE, name.as_bytes(), bytes),
        };
        out.put_u8(kind);
        for field in [key, value] {
            // Blocks have at most 16 MiB, and the store holds nothing longer.
            out.put_u32(u32::try_from(field.len()).unwrap_or(u32::MAX));
            out.put_slice(field);
        }
    }

    fn decode(content: &mut &[u8]) -> Option<Self> {
        let kind = content.try_get_u8().ok()?;
        let key = field(content)?;
        let value = field(content)?;
        match kind {
            PUT => Some(Self::Put(key, value)),
            REMOVE => Some(Self::Remove(key)),
            FILE => Some(Self::File(String::from_utf8(key).ok()?, value)),
            _ => None,
        }
    }
}

fn field(content: &mut &[u8]) -> Option<Vec<u8>> {
    let len = usize::try_from(content.try_get_u32().ok()?).ok()?;
    let (taken, rest) = content.split_at_checked(len)?;
    *content = rest;
    Some(taken.to_vec())
}

/// Writes a backup.
pub(super) struct Writer<W> {
    out: W,
    digest: Digest,
    block: Vec<u8>,
    /// Bytes written.
    pub(super) bytes: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(mut out: W) -> io::Result<Self> {
        let line = format!("{TITLE}{FORMAT}\n");
        out.write_all(line.as_bytes())?;
        let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
        Ok(Self { out, digest: sha256(&[line.as_bytes()]), block: Vec::new(), bytes })
    }

    pub(super) fn write(&mut self, record: &Record) -> io::Result<()> {
        record.encode(&mut self.block);
        if self.block.len() >= BLOCK_BYTES { self.end_block() } else { Ok(()) }
    }

    /// Ends the file. Without this it is no backup.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        self.end_block()?;
        self.out.flush()?;
        Ok(self.bytes)
    }

    fn end_block(&mut self) -> io::Result<()> {
        let content = std::mem::take(&mut self.block);
        let too_long = |_| io::Error::new(io::ErrorKind::FileTooLarge, "a record is too long");
        let len = u32::try_from(content.len()).map_err(too_long)?;
        self.digest = sha256(&[self.digest.as_bytes(), &content]);
        self.out.write_all(&len.to_be_bytes())?;
        self.out.write_all(&content)?;
        self.out.write_all(self.digest.as_bytes())?;
        let written = 4_usize.saturating_add(content.len()).saturating_add(Digest::LEN);
        self.bytes = self.bytes.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        Ok(())
    }
}

/// Reads a backup, and checks it as it goes.
pub(super) struct Reader<R> {
    from: R,
    digest: Digest,
    number: u64,
    ended: bool,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(mut from: R) -> Result<Self, ArchiveError> {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') && line.len() < LINE_BYTES_MAX {
            let mut byte = [0];
            from.read_exact(&mut byte).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => ArchiveError::Unknown,
                _ => error.into(),
            })?;
            line.extend(byte);
        }
        let text = std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix('\n'));
        match text.and_then(|line| line.strip_prefix(TITLE)) {
            Some(FORMAT) => {}
            Some(got) if !got.is_empty() && got.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err(ArchiveError::Format { got: got.to_owned() });
            }
            Some(_) | None => return Err(ArchiveError::Unknown),
        }
        Ok(Self { from, digest: sha256(&[&line]), number: 0, ended: false })
    }

    /// The records of the next block; `None` once the end was reached, whole.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Record>>, ArchiveError> {
        if self.ended {
            return Ok(None);
        }
        let damaged = ArchiveError::Damaged { number: self.number };
        let mut len = [0; 4];
        self.read(&mut len)?;
        let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
        if len > BLOCK_BYTES_MAX {
            return Err(damaged);
        }
        let (mut content, mut digest) = (vec![0; len], [0; Digest::LEN]);
        self.read(&mut content)?;
        self.read(&mut digest)?;
        self.digest = sha256(&[self.digest.as_bytes(), &content]);
        if self.digest != Digest::new(digest) {
            return Err(damaged);
        }
        self.number += 1;
        if content.is_empty() {
            self.ended = true;
            return Ok(None);
        }
        let (mut rest, mut records) = (content.as_slice(), Vec::new());
        while !rest.is_empty() {
            let Some(record) = Record::decode(&mut rest) else { return Err(damaged) };
            records.push(record);
        }
        Ok(Some(records))
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(), ArchiveError> {
        self.from.read_exact(into).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ArchiveError::Short,
            _ => error.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        vec![
            Record::Put(vec![1], vec![7; BLOCK_BYTES]),
            Record::Put(vec![2], Vec::new()),
            Record::Remove(vec![1]),
            Record::File("directory.valise".to_owned(), vec![3; 10]),
        ]
    }

    fn written() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes).unwrap();
        for record in records() {
            writer.write(&record).unwrap();
        }
        let len = writer.finish().unwrap();
        assert_eq!(len, bytes.len() as u64);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Record>, ArchiveError> {
        let mut reader = Reader::new(bytes)?;
        let mut all = Vec::new();
        while let Some(records) = reader.next()? {
            all.extend(records);
        }
        Ok(all)
    }

    #[test]
    fn a_backup_is_read_as_it_was_written() {
        assert_eq!(read(&written()).unwrap(), records());
    }

    #[test]
    fn g12_a_backup_that_was_cut_short_or_changed_anywhere_is_refused() {
        let whole = written();
        for len in (0..300).chain(whole.len() - 300..whole.len()) {
            let error = read(&whole[..len]).unwrap_err();
            assert!(matches!(error, ArchiveError::Short | ArchiveError::Unknown), "{len}: {error}");
        }
        for at in (0..300).chain(whole.len() - 300..whole.len()) {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            assert!(read(&changed).is_err(), "byte {at} may be changed");
        }
    }

    #[test]
    fn g12_a_backup_of_a_newer_format_is_refused_by_name() {
        let newer = b"valise-broker backup 2\nwhatever follows";
        assert!(matches!(read(newer), Err(ArchiveError::Format { got }) if got == "2"));
    }
}
