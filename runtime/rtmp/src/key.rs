//! Stream keys: `name?token=…` or `name?user=…&pass=…`.

use lockgate_ports::ingest::Credentials;

/// A stream key with the application it was sent to, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) credentials: Credentials,
}

impl Key {
    /// Encoders have one field for the key and one for the address, so credentials may stand behind either.
    pub(crate) fn parse(app: &str, key: &str) -> Self {
        let (name, query) = split(key);
        let (_, app_query) = split(app);
        Self {
            name: name.trim_matches('/').to_owned(),
            credentials: Credentials::of_query(query).or(Credentials::of_query(app_query)),
        }
    }
}

/// The application without what stands behind it.
pub(crate) fn app_name(app: &str) -> &str {
    split(app).0.trim_matches('/')
}

fn split(text: &str) -> (&str, &str) {
    text.split_once('?').unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stands_behind_the_key_or_the_address() {
        for (app, key, name, token) in [
            ("live", "cam?token=a.b.c", "cam", Some("a.b.c")),
            ("live?token=x", "cam", "cam", Some("x")),
            ("live?token=x", "cam?token=y&z=1", "cam", Some("y")),
            ("live/", "cam", "cam", None),
            ("live", "/cam?token=", "cam", None),
        ] {
            let parsed = Key::parse(app, key);
            assert_eq!(
                (parsed.name.as_str(), parsed.credentials.token.as_deref()),
                (name, token)
            );
            assert_eq!(app_name(app), "live");
        }
        let parsed = Key::parse("live", "cam?user=ann&pass=north");
        let login = ("ann".to_owned(), "north".to_owned());
        assert_eq!(parsed.credentials.login, Some(login));
    }
}
