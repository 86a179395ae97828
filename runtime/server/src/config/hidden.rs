//! Values that nobody is to see again: not in `check-config`, the API, an error, the log, or a debug line.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A secret. It is read, and written as [`HIDDEN`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A path or URL that may have a user, a password, or a key in it. It is read whole, and written without them.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Location(String);

impl Secret {
    /// The secret itself, for what needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Location {
    /// All of it, for what goes there.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Without user, password, query and fragment.
    pub fn shown(&self) -> String {
        lockgate_transcode::shown(&self.0)
    }
}

impl From<&str> for Location {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(SecretText)
    }
}

/// Takes texts. What is none is not shown, as serde would: it may be a secret whose quotes were forgotten.
struct SecretText;

impl de::Visitor<'_> for SecretText {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in quotes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret(text.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        Err(no_text())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(no_text())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        Err(no_text())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        Err(no_text())
    }
}

fn no_text<E: de::Error>() -> E {
    E::custom("a secret is a text; put it in quotes")
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown(), f)
    }
}

impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

/// What stands in a secret's place.
pub const HIDDEN: &str = "(kept secret)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_shown_without_what_opens_it() {
        for (whole, shown) in [
            (
                "rtsp://admin:pa@ss@cam.example:554/main?key=1",
                "rtsp://…@cam.example:554/main?…",
            ),
            ("srt://host:9000?passphrase=x", "srt://host:9000?…"),
            ("https://id.example/keys#x", "https://id.example/keys?…"),
            ("file:///srv/a.mp4", "file:///srv/a.mp4"),
            ("clips/a@b.mp4", "clips/a@b.mp4"),
        ] {
            let location = Location::from(whole);
            assert_eq!(location.shown(), shown);
            assert_eq!(
                toml::Value::try_from(&location).unwrap().as_str(),
                Some(shown)
            );
            assert_eq!(format!("{location:?}"), format!("{shown:?}"));
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::from("hunter2hunter2");
        assert_eq!(format!("{secret:?}"), HIDDEN);
        assert_eq!(
            toml::Value::try_from(&secret).unwrap().as_str(),
            Some(HIDDEN)
        );
        #[derive(Debug, Deserialize)]
        struct Holder {
            #[expect(dead_code, reason = "it is refused")]
            secret: Secret,
        }
        let error = toml::from_str::<Holder>("secret = 123456789").unwrap_err();
        assert!(!error.message().contains("123456789"), "{error}");
    }
}
