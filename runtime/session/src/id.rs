//! The id of a session: what makes its URL unguessable.

use std::{fmt, str::FromStr};

use rand::Rng as _;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// 128 random bits from the operating system's generator (RFC 9725 §5: session URLs must not be guessable).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u128);

impl SessionId {
    /// A new id.
    pub fn random() -> Self {
        Self(rand::rng().random())
    }

    /// Half of it: enough to tell sessions apart inside, too little to be used outside.
    #[expect(clippy::cast_possible_truncation, reason = "half is meant")]
    pub(crate) fn key(self) -> u64 {
        self.0 as u64
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SessionId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let hex = text.len() == 32
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !hex {
            return Err(());
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| ())
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let wrong = |()| D::Error::custom("a session's id is 32 hexadecimal digits");
        text.parse().map_err(wrong)
    }
}

impl utoipa::PartialSchema for SessionId {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::schema::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some("^[0-9a-f]{32}$"))
            .into()
    }
}

impl utoipa::ToSchema for SessionId {}

impl Serialize for SessionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_nothing_else_does() {
        let id = SessionId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_ne!(id, SessionId::random());
        for bad in [
            "",
            "0",
            "+0000000000000000000000000000000",
            &"F".repeat(32),
            &"0".repeat(33),
        ] {
            assert_eq!(bad.parse::<SessionId>(), Err(()), "{bad}");
        }
    }
}
