//! AMF0 (Adobe's Action Message Format 0): what commands are written in.

use bytes::{Buf, BufMut, BytesMut};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Number(f64),
    Boolean(bool),
    String(String),
    Object(Vec<(String, Self)>),
    Null,
    /// Of a kind that nobody needs here; its bytes were passed over.
    Other,
}

/// What cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a command cannot be read")]
pub(crate) struct Unreadable;

impl Value {
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A member of an object.
    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value),
            _ => None,
        }
    }
}

/// The values of a message, one after the other.
pub(crate) fn read_all(mut bytes: &[u8]) -> Result<Vec<Value>, Unreadable> {
    let mut values = Vec::new();
    while !bytes.is_empty() && values.len() < VALUES_MAX {
        values.push(read(&mut bytes, 0)?);
    }
    Ok(values)
}

fn read(bytes: &mut &[u8], depth: usize) -> Result<Value, Unreadable> {
    if depth > DEPTH_MAX {
        return Err(Unreadable);
    }
    Ok(match take::<1>(bytes)?[0] {
        0 => Value::Number(f64::from_be_bytes(take(bytes)?)),
        1 => Value::Boolean(take::<1>(bytes)?[0] != 0),
        2 => Value::String(short_text(bytes)?),
        3 => Value::Object(members(bytes, depth)?),
        8 => {
            take::<4>(bytes)?; // a count that need not be true
            Value::Object(members(bytes, depth)?)
        }
        5 => Value::Null,
        6 => Value::Other,
        7 => {
            take::<2>(bytes)?;
            Value::Other
        }
        10 => {
            let count = u32::from_be_bytes(take(bytes)?);
            for _ in 0..count {
                // Each value takes a byte at least, so that no count makes this long.
                read(bytes, depth + 1)?;
            }
            Value::Other
        }
        11 => {
            take::<10>(bytes)?;
            Value::Other
        }
        12 | 15 => {
            let len = u32::from_be_bytes(take(bytes)?);
            Value::String(text(bytes, usize::try_from(len).unwrap_or(usize::MAX))?)
        }
        _ => return Err(Unreadable),
    })
}

fn members(bytes: &mut &[u8], depth: usize) -> Result<Vec<(String, Value)>, Unreadable> {
    let mut members = Vec::new();
    loop {
        let key = short_text(bytes)?;
        if key.is_empty() && bytes.first() == Some(&OBJECT_END) {
            bytes.advance(1);
            return Ok(members);
        }
        let value = read(bytes, depth + 1)?;
        if members.len() >= VALUES_MAX {
            return Err(Unreadable);
        }
        members.push((key, value));
    }
}

fn short_text(bytes: &mut &[u8]) -> Result<String, Unreadable> {
    let len = u16::from_be_bytes(take(bytes)?);
    text(bytes, usize::from(len))
}

fn text(bytes: &mut &[u8], len: usize) -> Result<String, Unreadable> {
    let (text, rest) = bytes.split_at_checked(len).ok_or(Unreadable)?;
    *bytes = rest;
    Ok(String::from_utf8_lossy(text).into_owned())
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Unreadable> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or(Unreadable)?;
    *bytes = rest;
    Ok(*head)
}

/// Writes a value.
pub(crate) fn write(out: &mut BytesMut, value: &Value) {
    match value {
        Value::Number(number) => {
            out.put_u8(0);
            out.put_f64(*number);
        }
        Value::Boolean(yes) => {
            out.put_u8(1);
            out.put_u8(u8::from(*yes));
        }
        Value::String(text) => {
            out.put_u8(2);
            put_text(out, text);
        }
        Value::Object(members) => {
            out.put_u8(3);
            for (key, value) in members {
                put_text(out, key);
                write(out, value);
            }
            out.put_u16(0);
            out.put_u8(OBJECT_END);
        }
        Value::Null => out.put_u8(5),
        Value::Other => out.put_u8(6),
    }
}

fn put_text(out: &mut BytesMut, text: &str) {
    let mut end = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = text.get(..end).unwrap_or_default();
    out.put_u16(u16::try_from(text.len()).unwrap_or(0));
    out.put_slice(text.as_bytes());
}

const OBJECT_END: u8 = 9;
/// Objects in objects.
const DEPTH_MAX: usize = 8;
/// Values of a message, and members of an object.
const VALUES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<f64>()
                .prop_filter("NaN is not itself", |number| !number.is_nan())
                .prop_map(Value::Number),
            any::<bool>().prop_map(Value::Boolean),
            "[a-zA-Z.é]{0,20}".prop_map(Value::String),
            Just(Value::Null),
        ];
        leaf.prop_recursive(3, 20, 5, |inner| {
            proptest::collection::vec(("[a-z]{1,8}", inner), 0..5).prop_map(Value::Object)
        })
    }

    proptest! {
        #[test]
        fn values_read_back(values in proptest::collection::vec(value(), 0..6)) {
            let mut out = BytesMut::new();
            for value in &values {
                write(&mut out, value);
            }
            prop_assert_eq!(read_all(&out).unwrap(), values);
        }

        #[test]
        fn no_bytes_at_all_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(read_all(&bytes));
        }
    }

    #[test]
    fn depth_and_counts_are_bounded() {
        let deep = [3u8, 0, 1, b'a'].repeat(1000);
        assert_eq!(read_all(&deep), Err(Unreadable));
        assert_eq!(read_all(&[10, 0xff, 0xff, 0xff, 0xff, 5]), Err(Unreadable));
        assert_eq!(read_all(&[2, 0, 9, b'x']), Err(Unreadable));
    }
}
