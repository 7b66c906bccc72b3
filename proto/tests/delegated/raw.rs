//! Protobuf by hand, for messages that no honest encoder writes.

/// The value of a field: only these two are in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Varint(u64),
    Bytes(Vec<u8>),
}

/// The fields of a message in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message(pub Vec<(u64, Value)>);

impl Message {
    pub fn read(mut bytes: &[u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = take_varint(&mut bytes);
            let value = match key & 7 {
                0 => Value::Varint(take_varint(&mut bytes)),
                2 => {
                    let len = usize::try_from(take_varint(&mut bytes)).unwrap();
                    let (value, rest) = bytes.split_at(len);
                    bytes = rest;
                    Value::Bytes(value.to_vec())
                }
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, value));
        }
        Self(fields)
    }

    pub fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (tag, value) in &self.0 {
            match value {
                Value::Varint(number) => {
                    put_varint(&mut bytes, tag << 3);
                    put_varint(&mut bytes, *number);
                }
                Value::Bytes(inner) => {
                    put_varint(&mut bytes, tag << 3 | 2);
                    put_varint(&mut bytes, u64::try_from(inner.len()).unwrap());
                    bytes.extend_from_slice(inner);
                }
            }
        }
        bytes
    }

    /// The first occurrence of a field, which must be there.
    pub fn field(&mut self, tag: u64) -> &mut Value {
        let found = self.0.iter_mut().find(|(at, _)| *at == tag);
        &mut found.unwrap_or_else(|| panic!("no field {tag}")).1
    }

    pub fn bytes(&mut self, tag: u64) -> &mut Vec<u8> {
        match self.field(tag) {
            Value::Bytes(bytes) => bytes,
            Value::Varint(_) => panic!("field {tag} is a number"),
        }
    }

    pub fn remove(&mut self, tag: u64) {
        self.0.retain(|(at, _)| *at != tag);
    }

    pub fn push(&mut self, tag: u64, value: Value) {
        self.0.push((tag, value));
    }
}

/// Changes the message at the end of a path of submessages, each the first of its field.
pub fn edit(bytes: &[u8], path: &[u64], change: &dyn Fn(&mut Message)) -> Vec<u8> {
    let mut message = Message::read(bytes);
    match path {
        [] => change(&mut message),
        [tag, rest @ ..] => {
            let inner = message.bytes(*tag);
            *inner = edit(inner, rest, change);
        }
    }
    message.write()
}

fn take_varint(bytes: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return number;
        }
        shift += 7;
    }
}

fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
}

#[test]
fn what_is_read_by_hand_is_written_the_same() {
    let bytes = b"\x08\x96\x01\x12\x02ab\x12\x00\x98\x06\x01";
    assert_eq!(Message::read(bytes).write(), bytes);
    let edited = edit(b"\x12\x02\x08\x01", &[2], &|message| message.push(3, Value::Varint(300)));
    assert_eq!(edited, b"\x12\x05\x08\x01\x18\xac\x02");
}
