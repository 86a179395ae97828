//! Names that come from outside, checked once and carried as types.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// The name of a broadcast as it stands in URLs: 1 to 64 of `A–Z a–z 0–9 . _ -`, not starting with a dot.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BroadcastName(Arc<str>);

/// The id of a track within its broadcast: `source`, a rung such as `720p60`, `opus` or `aac`.
/// The same characters as a [`BroadcastName`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrackId(Arc<str>);

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing at all.
    #[error("a name must have at least one character")]
    Empty,
    /// Longer than [`NAME_LEN_MAX`].
    #[error("a name has at most {NAME_LEN_MAX} characters, this one has {0}")]
    TooLong(usize),
    /// A character outside the allowed set, or a dot in front.
    #[error(
        "a name is made of A–Z, a–z, 0–9, '.', '_' and '-' and does not start with '.'; found {0:?}"
    )]
    BadCharacter(char),
}

fn check(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_LEN_MAX {
        return Err(NameError::TooLong(text.chars().count()));
    }
    if text.starts_with('.') {
        return Err(NameError::BadCharacter('.'));
    }
    match text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
    {
        Some(bad) => Err(NameError::BadCharacter(bad)),
        None => Ok(()),
    }
}

macro_rules! name_type {
    ($name:ident) => {
        impl $name {
            /// Checks a text and takes it as a name.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check(text)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::schema::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .min_length(Some(1))
                    .max_length(Some(NAME_LEN_MAX))
                    .pattern(Some("^[A-Za-z0-9_-][A-Za-z0-9._-]*$"))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name_type!(BroadcastName);
name_type!(TrackId);

impl TrackId {
    /// What the publisher sent, unchanged: video.
    pub fn source() -> Self {
        Self("source".into())
    }

    /// One of the layers that a publisher sends (simulcast), by its `rid` (RFC 8851): `source-RID`. `None` if that is no
    /// name.
    pub fn layer(rid: &str) -> Option<Self> {
        Self::new(&format!("source-{rid}")).ok()
    }

    /// The H.264 of a live peer as HLS has it: the same pictures as [`source`](Self::source), cut where segments begin.
    pub fn passthrough() -> Self {
        Self("passthrough".into())
    }

    /// Opus audio, for WebRTC.
    pub fn opus() -> Self {
        Self("opus".into())
    }

    /// AAC audio, for HLS.
    pub fn aac() -> Self {
        Self("aac".into())
    }
}

/// The longest name, in characters: it must fit a file name and a metrics label beside others.
pub const NAME_LEN_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_escape_a_path_or_a_header_are_refused() {
        for bad in [
            "", ".", "..", ".env", "a/b", "a%2fb", "a b", "ä", "a\0", "a\nb", "a?b", "a#b",
        ] {
            assert!(BroadcastName::new(bad).is_err(), "{bad:?} was accepted");
        }
        assert_eq!(
            BroadcastName::new(&"x".repeat(65)),
            Err(NameError::TooLong(65))
        );
    }

    #[test]
    fn ordinary_names_are_taken_as_they_are() {
        for good in ["demo", "Bunny-1", "a.b_c", "720p60", &"x".repeat(64)] {
            assert_eq!(BroadcastName::new(good).unwrap().as_str(), good);
        }
    }
}
