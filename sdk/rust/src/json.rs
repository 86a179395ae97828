//! Reading JSON: configurations and claims. Written for components: a general reader would be most of their size.
//!
//! Numbers are the nearest `f64`; what is whole up to 2^53 is read into integers as well. Errors name the field: they are read by whoever wrote the configuration.

use std::{
    collections::{BTreeMap, btree_map},
    fmt, vec,
};

use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Expected,
    IntoDeserializer as _, MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor, value,
};

/// Arrays and objects inside each other.
const DEPTH_MAX: u8 = 64;

/// Reads a text into a type.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    parse(text).and_then(T::deserialize).map_err(|bad| bad.0)
}

/// The members of an object; none where the text is none.
pub(crate) fn members(text: &str) -> BTreeMap<String, Value> {
    match parse(text) {
        Ok(Value::Object(members)) => members,
        _ => BTreeMap::new(),
    }
}

/// A text that is one value and nothing else. Only what follows is generic over what is read, and so copied into the
/// plugin for each type.
fn parse(text: &str) -> Result<Value, Bad> {
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
    };
    let value = reader.value()?;
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.wrong("nothing more is wanted")),
    }
}

/// Any JSON value.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number: the nearest `f64`.
    Number(f64),
    /// A text.
    String(String),
    /// `[…]`
    Array(Vec<Value>),
    /// `{…}`
    Object(BTreeMap<String, Value>),
}

impl Value {
    /// The text, of a text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, of a number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The values, of an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }

    /// What an object has under a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Self::Object(members) => members.get(key),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, to: &mut fmt::Formatter) -> fmt::Result {
                to.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Number(number as f64))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
                Ok(Value::Number(number as f64))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
                Ok(Value::Number(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value::String(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = items.next_element()? {
                    values.push(value);
                }
                Ok(Value::Array(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((key, value)) = items.next_entry()? {
                    members.insert(key, value);
                }
                Ok(Value::Object(members))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// What is wrong, in words.
#[derive(Debug)]
#[doc(hidden)]
pub struct Bad(String);

impl Bad {
    /// In a member of an object.
    fn within(self, key: &str) -> Self {
        Self([key, ": ", &self.0].concat())
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for Bad {}

impl serde::de::Error for Bad {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self(what.to_string())
    }

    // What is there is told by its type: printing any number would cost a component 15 kB.
    fn invalid_type(there: Unexpected, wanted: &dyn Expected) -> Self {
        let there = match there {
            Unexpected::Bool(_) => "true or false",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number",
            Unexpected::Char(_) | Unexpected::Str(_) => "a text",
            Unexpected::Unit | Unexpected::Option => "null",
            Unexpected::Seq => "an array",
            Unexpected::Map => "an object",
            _ => "something else",
        };
        Self::custom(format_args!("{wanted} is wanted, not {there}"))
    }

    fn invalid_value(_: Unexpected, wanted: &dyn Expected) -> Self {
        Self::custom(format_args!("{wanted} is wanted"))
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: u8,
}

impl Reader<'_> {
    fn wrong(&self, what: &str) -> Bad {
        Bad(format!("{what} at byte {}", self.at))
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.byte()? {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes a byte if it is the next after white space.
    fn take(&mut self, wanted: u8) -> bool {
        let is_there = self.peek() == Some(wanted);
        self.at += usize::from(is_there);
        is_there
    }

    fn word(&mut self, word: &str) -> Result<(), Bad> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or(&[]);
        if !rest.starts_with(word.as_bytes()) {
            return Err(self.wrong("a value is wanted"));
        }
        self.at += word.len();
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Bad> {
        let from = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == from {
            return Err(self.wrong("a digit is wanted"));
        }
        Ok(())
    }

    fn number(&mut self) -> Result<f64, Bad> {
        let from = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        let text = self.text.get(from..self.at).unwrap_or("");
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(self.wrong("this number is too large")),
        }
    }

    fn string(&mut self) -> Result<String, Bad> {
        if !self.take(b'"') {
            return Err(self.wrong("a text is wanted"));
        }
        let mut from = self.at;
        let mut whole = String::new();
        loop {
            let byte = self.byte();
            match byte {
                Some(b'"' | b'\\') => {}
                Some(0..0x20) | None => return Err(self.wrong("the text does not end")),
                Some(_) => {
                    self.at += 1;
                    continue;
                }
            }
            // Both are ASCII, so this is a border of characters.
            let part = self.text.get(from..self.at).unwrap_or("");
            self.at += 1;
            whole.push_str(part);
            if byte == Some(b'"') {
                return Ok(whole);
            }
            whole.push(self.escaped()?);
            from = self.at;
        }
    }

    fn escaped(&mut self) -> Result<char, Bad> {
        let byte = self.byte();
        self.at += 1;
        Ok(match byte {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let mut code = self.unit()?;
                if (0xd800..0xdc00).contains(&code) {
                    self.word("\\u")?;
                    let low = self.unit()?;
                    // A low half only makes a character.
                    code = match low {
                        0xdc00..0xe000 => 0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00),
                        _ => code,
                    };
                }
                char::from_u32(code).ok_or_else(|| self.wrong("half a character"))?
            }
            _ => return Err(self.wrong("there is no such escape")),
        })
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Result<u32, Bad> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.byte().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.wrong("four hexadecimal digits are wanted"));
            };
            unit = unit * 16 + digit;
            self.at += 1;
        }
        Ok(unit)
    }

    fn deeper(&mut self, then: fn(&mut Self) -> Result<Value, Bad>) -> Result<Value, Bad> {
        if self.depth == DEPTH_MAX {
            return Err(self.wrong("this is nested too deep"));
        }
        self.depth += 1;
        self.at += 1;
        let read = then(self);
        self.depth -= 1;
        read
    }

    fn value(&mut self) -> Result<Value, Bad> {
        match self.peek() {
            Some(b'n') => self.word("null").map(|()| Value::Null),
            Some(b't') => self.word("true").map(|()| Value::Bool(true)),
            Some(b'f') => self.word("false").map(|()| Value::Bool(false)),
            Some(b'"') => self.string().map(Value::String),
            Some(b'[') => self.deeper(Self::array),
            Some(b'{') => self.deeper(Self::object),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            _ => Err(self.wrong("a value is wanted")),
        }
    }

    fn array(&mut self) -> Result<Value, Bad> {
        let mut values = Vec::new();
        if self.take(b']') {
            return Ok(Value::Array(values));
        }
        loop {
            values.push(self.value()?);
            if self.take(b']') {
                return Ok(Value::Array(values));
            }
            self.want(b',', "a comma or ] is wanted")?;
        }
    }

    fn object(&mut self) -> Result<Value, Bad> {
        let mut members = BTreeMap::new();
        if self.take(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            let key = self.string()?;
            self.want(b':', "a colon is wanted")?;
            members.insert(key, self.value()?);
            if self.take(b'}') {
                return Ok(Value::Object(members));
            }
            self.want(b',', "a comma or } is wanted")?;
        }
    }

    fn want(&mut self, byte: u8, what: &str) -> Result<(), Bad> {
        if self.take(byte) {
            return Ok(());
        }
        Err(self.wrong(what))
    }
}

/// Whole numbers are told from others up to here: 2^53.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

impl<'de> Deserializer<'de> for Value {
    type Error = Bad;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Bool(value) => visitor.visit_bool(value),
            Self::Number(number) if number.trunc() != number || number.abs() > WHOLE_MAX => {
                visitor.visit_f64(number)
            }
            Self::Number(number) if number.is_sign_positive() => visitor.visit_u64(number as u64),
            Self::Number(0.0) => visitor.visit_f64(-0.0),
            Self::Number(number) => visitor.visit_i64(number as i64),
            Self::String(text) => visitor.visit_string(text),
            Self::Array(values) => {
                let mut items = Items(values.into_iter());
                let value = visitor.visit_seq(&mut items)?;
                match items.0.next() {
                    None => Ok(value),
                    Some(_) => Err(Bad("fewer items are wanted".to_owned())),
                }
            }
            Self::Object(members) => visitor.visit_map(Members {
                rest: members.into_iter(),
                next: None,
            }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Bad> {
        match self {
            Self::Null => visitor.visit_none(),
            value => visitor.visit_some(value),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Bad> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Bad> {
        match self {
            Self::String(name) => visitor.visit_enum(name.into_deserializer()),
            Self::Object(mut members) if members.len() == 1 => match members.pop_first() {
                Some((name, content)) => visitor.visit_enum(Variant { name, content }),
                None => visitor.visit_unit(),
            },
            _ => Err(Bad("a name or {name: content} is wanted".to_owned())),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Items(vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for &mut Items {
    type Error = Bad;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Bad> {
        self.0
            .next()
            .map(|value| seed.deserialize(value))
            .transpose()
    }
}

struct Members {
    rest: btree_map::IntoIter<String, Value>,
    next: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Members {
    type Error = Bad;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Bad> {
        self.next = self.rest.next();
        let Some((key, _)) = &self.next else {
            return Ok(None);
        };
        let key: value::StrDeserializer<Bad> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Bad> {
        let (key, value) = self.next.take().unwrap_or_default();
        seed.deserialize(value).map_err(|bad| bad.within(&key))
    }
}

/// The variant of an enum with its content: `{"name": content}`.
struct Variant {
    name: String,
    content: Value,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = Bad;
    type Variant = Value;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Value), Bad> {
        let name: value::StringDeserializer<Bad> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self.content))
    }
}

impl<'de> VariantAccess<'de> for Value {
    type Error = Bad;

    fn unit_variant(self) -> Result<(), Bad> {
        <()>::deserialize(self)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Bad> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Bad> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Bad> {
        self.deserialize_any(visitor)
    }
}

#[cfg(test)]
mod tests;
