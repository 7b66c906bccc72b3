//! What a message holds, looked at before any memory is taken for it.
//!
//! Claimed, against whoever wrote the bytes (G10): decoding takes memory in proportion to the bytes, by a small factor.
//! A repeated field makes that untrue: an empty message inside another takes two bytes there and hundreds as a
//! generated type. So the occurrences of every such field are counted first, and what is above its bound is refused.
//! Where the bytes are no protobuf the looking ends; the decoder reads no further than that either.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::WireError;

/// A repeated field, and how often it may occur in one message.
pub(super) struct Bound {
    pub(super) tag: u32,
    pub(super) field: &'static str,
    pub(super) max: usize,
}

/// The value of a field as it is encoded.
#[derive(Debug, PartialEq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Other,
}

/// The fields of a message in the order in which they are encoded.
pub(super) fn fields(mut rest: &[u8]) -> impl Iterator<Item = (u32, Value<'_>)> {
    std::iter::from_fn(move || next(&mut rest))
}

fn next<'a>(rest: &mut &'a [u8]) -> Option<(u32, Value<'a>)> {
    if rest.is_empty() {
        return None;
    }
    let (tag, wire_type) = decode_key(rest).ok()?;
    let value = match wire_type {
        WireType::Varint => Value::Varint(decode_varint(rest).ok()?),
        WireType::LengthDelimited => {
            let len = usize::try_from(decode_varint(rest).ok()?).ok()?;
            let (bytes, after) = rest.split_at_checked(len)?;
            *rest = after;
            Value::Bytes(bytes)
        }
        WireType::SixtyFourBit | WireType::ThirtyTwoBit | WireType::StartGroup | WireType::EndGroup => {
            skip_field(wire_type, tag, rest, DecodeContext::default()).ok()?;
            Value::Other
        }
    };
    Some((tag, value))
}

/// The number in field `tag`; of several the last, as a decoder takes it; 0 where there is none.
pub(super) fn number(bytes: &[u8], tag: u32) -> u64 {
    let found = fields(bytes).filter_map(|(at, value)| match value {
        Value::Varint(number) if at == tag => Some(number),
        Value::Varint(_) | Value::Bytes(_) | Value::Other => None,
    });
    found.last().unwrap_or(0)
}

/// The messages, or other bytes, in the occurrences of field `tag`.
pub(super) fn inside(bytes: &[u8], tag: u32) -> impl Iterator<Item = &[u8]> {
    fields(bytes).filter_map(move |(at, value)| match value {
        Value::Bytes(inner) if at == tag => Some(inner),
        Value::Bytes(_) | Value::Varint(_) | Value::Other => None,
    })
}

/// Checks that no field occurs more often than its bound.
pub(super) fn check(bytes: &[u8], bounds: &[Bound]) -> Result<(), WireError> {
    let mut counts = [0_usize; 8];
    debug_assert!(bounds.len() <= counts.len(), "more bounds than are counted");
    for (tag, _) in fields(bytes) {
        let bounded = bounds.iter().zip(&mut counts).find(|(bound, _)| bound.tag == tag);
        if let Some((bound, count)) = bounded {
            *count += 1;
            super::check_count(bound.field, *count, bound.max)?;
        }
    }
    Ok(())
}

/// Checks that a message in a message occurs but once, and no field in it more often than its bound. A decoder joins a
/// second one to the first, lists and all, so that each could be within the bounds and the whole not.
pub(super) fn check_lone(bytes: &[u8], lone: Bound, bounds: &[Bound]) -> Result<(), WireError> {
    let tag = lone.tag;
    check(bytes, &[lone])?;
    inside(bytes, tag).try_for_each(|inner| check(inner, bounds))
}

/// Checks that no field at all occurs more often than `max`, whatever it is.
pub(super) fn check_every(field: &'static str, bytes: &[u8], max: usize) -> Result<(), WireError> {
    // No message has as many fields; those beyond are unknown to this version, and counted as one.
    let mut counts = [0_usize; 32];
    for (tag, _) in fields(bytes) {
        let place = usize::try_from(tag).unwrap_or(usize::MAX).min(counts.len() - 1);
        if let Some(count) = counts.get_mut(place) {
            *count += 1;
            super::check_count(field, *count, max)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: [Bound; 1] = [Bound { tag: 3, field: "list", max: 2 }];

    #[test]
    fn fields_are_seen_in_order_until_the_bytes_are_no_protobuf() {
        // Field 1 = 150; field 2 = "ab"; field 5, four bytes; then a length that leads beyond the end.
        let bytes = b"\x08\x96\x01\x12\x02ab\x2d\x01\x02\x03\x04\x1a\x7f";
        let seen: Vec<_> = fields(bytes).collect();
        assert_eq!(seen, [(1, Value::Varint(150)), (2, Value::Bytes(b"ab")), (5, Value::Other)]);
        assert_eq!((number(bytes, 1), number(bytes, 2), number(b"", 1)), (150, 0, 0));
        assert_eq!(inside(bytes, 2).collect::<Vec<_>>(), [b"ab"]);
    }

    #[test]
    fn g10_occurrences_above_the_bound_are_refused_and_other_fields_are_not_counted() {
        assert_eq!(check(&[0x1a, 0].repeat(2), &LIST), Ok(()));
        assert_eq!(check(&[0x22, 0].repeat(9), &LIST), Ok(()));
        assert_eq!(
            check(&[0x1a, 0].repeat(9), &LIST),
            Err(WireError::TooMany { field: "list", got: 3, max: 2 })
        );
        let lone = || Bound { tag: 3, field: "lone", max: 1 };
        assert_eq!(check_lone(&[0x1a, 2, 0x1a, 0], lone(), &LIST), Ok(()));
        assert!(check_lone(&[0x1a, 2, 0x1a, 0, 0x1a, 0], lone(), &LIST).is_err(), "joined to the first");
        assert!(check_lone(&[0x1a, 6, 0x1a, 0, 0x1a, 0, 0x1a, 0], lone(), &LIST).is_err());
        assert!(check_every("any", &[0x22, 0].repeat(3), 2).is_err());
        assert!(check_every("any", &[0xfa, 0x7f, 0].repeat(3), 2).is_err(), "an unknown field, often");
        assert_eq!(check_every("any", &[0x22, 0, 0x1a, 0], 1), Ok(()));
    }
}
