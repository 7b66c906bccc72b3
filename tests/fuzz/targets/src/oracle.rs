//! What the functions judge by, none of it the code they judge.

use std::fmt::{Debug, Display};

/// Memory that reading may take whatever the length: the fields of structures, and lists up to their bounds.
const BASE_BYTES_MAX: u64 = 512 * 1024;
/// Memory that reading may take for each byte read.
const BYTES_PER_BYTE_MAX: u64 = 64;

/// The same for each byte of a configuration, which comes from the machine's own operator: the TOML library keeps every
/// mistake with the line it is in.
const BYTES_PER_SETTING_BYTE_MAX: u64 = 512;

/// Reads `len` bytes by `read`, and fails where that takes more memory at a time than the length allows (G10).
pub(crate) fn bounded<T>(len: usize, read: impl FnOnce() -> T) -> T {
    bounded_by(BYTES_PER_BYTE_MAX, len, read)
}

/// The same for a configuration.
pub(crate) fn bounded_setting<T>(len: usize, read: impl FnOnce() -> T) -> T {
    bounded_by(BYTES_PER_SETTING_BYTE_MAX, len, read)
}

fn bounded_by<T>(bytes_per_byte_max: u64, len: usize, read: impl FnOnce() -> T) -> T {
    let mut value = None;
    let taken = allocation_counter::measure(|| value = Some(read()));
    let allowed = BASE_BYTES_MAX + bytes_per_byte_max * u64::try_from(len).unwrap();
    assert!(
        taken.bytes_max <= allowed,
        "reading {len} bytes took {} bytes; at most {allowed}",
        taken.bytes_max
    );
    value.unwrap()
}

/// A refusal says something, on paper and to a developer, and does not repeat what it refuses at length.
pub(crate) fn refused(error: &(impl Display + Debug)) -> bool {
    /// Longest sentence: a rule, and excerpts of what is wrong.
    const SENTENCE_BYTES_MAX: usize = 4 * 1024;
    let sentence = error.to_string();
    assert!(!sentence.trim().is_empty(), "a refusal without a word: {error:?}");
    assert!(sentence.len() <= SENTENCE_BYTES_MAX, "a refusal of {} bytes: {sentence}", sentence.len());
    false
}

/// Fields of a protobuf message: key and value of each.
pub(crate) type Fields = Vec<(u64, Vec<u8>)>;

/// The fields of a protobuf message, each as it is encoded, in an order of their own: two messages hold the same if
/// these are the same, whatever the order they came in. `None` where the bytes are no such message.
pub(crate) fn fields(mut rest: &[u8]) -> Option<Fields> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let value = match key & 7 {
            0 => varint(&mut rest)?.to_be_bytes().to_vec(),
            1 => take(&mut rest, 8)?.to_vec(),
            2 => {
                let len = usize::try_from(varint(&mut rest)?).ok()?;
                take(&mut rest, len)?.to_vec()
            }
            5 => take(&mut rest, 4)?.to_vec(),
            _ => return None,
        };
        found.push((key, value));
    }
    found.sort();
    Some(found)
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A length-delimited field.
pub(crate) fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut len = value.len();
    while len >= 0x80 {
        out.push(u8::try_from(len & 0x7f).unwrap() | 0x80);
        len >>= 7;
    }
    out.push(u8::try_from(len).unwrap());
    out.extend_from_slice(value);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_hold_the_same_in_another_order_are_the_same() {
        let (a, b) = (field(1, b"a"), field(2, &[7; 300]));
        assert_eq!(fields(&[a.clone(), b.clone()].concat()), fields(&[b.clone(), a.clone()].concat()));
        assert_ne!(fields(&[a.clone(), b.clone()].concat()), fields(&a));
        assert_eq!(fields(&b[..b.len() - 1]), None);
        assert_eq!(fields(&[0x08, 0x96, 0x01]), Some(vec![(8, 150_u64.to_be_bytes().to_vec())]));
    }

    #[test]
    #[should_panic(expected = "took")]
    fn g10_memory_out_of_proportion_is_noticed() {
        bounded(10, || vec![0_u8; 1024 * 1024]);
    }
}
